"""Every block of docs/providers.md is a configuration that `fleetgate check` takes without a word."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from proxy.app import build
from proxy.app.check import warnings
from proxy.app.served import listing, table
from proxy.globs import is_glob

TEXT = (Path(__file__).parents[2] / "docs" / "providers.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", TEXT, re.M | re.S)
CASES = {f"{title} {n}": block for title, part in BLOCKS for n, block in enumerate(re.findall(r"```yaml\n(.*?)```", part, re.S), 1)}
VENDORS = (
    *("OpenAI", "Anthropic", "Gemini", "Azure OpenAI", "Groq", "Mistral", "Together", "OpenRouter", "DeepSeek"),
    *("vLLM", "llama.cpp", "LM Studio", "Ollama"),
)


def files(folder: Path, block: str) -> build.Files:
    (folder / "fleetgate.yaml").write_text(block)
    (folder / "AGENTS.md").write_text("---\nname: clerk\ndescription: d\nversion: 1.0.0\n---\n")
    (folder / "policies").mkdir()
    (folder / "policies" / "baseline.yaml").write_text("policy: {}\n")
    env = {name: f"sk-{name.lower()}" for name in re.findall(r"env:(\w+)", block)}
    return build.read(folder / "fleetgate.yaml", env)


def test_every_vendor_has_its_block() -> None:
    assert [title for title, _ in BLOCKS] == [*VENDORS, "Several for one model"]
    assert all(re.search(r"```yaml\n", part) for _, part in BLOCKS)


@pytest.mark.parametrize("case", CASES)
def test_a_block_can_be_pasted(tmp_path: Path, case: str) -> None:
    read = files(tmp_path, CASES[case])
    assert warnings(read) == []
    models, settings = table(read.settings), read.settings
    for rule in settings.models:
        name = rule.pattern.replace("*", "x")
        protocols = settings.providers[rule.provider].protocols
        found = [models.target(name, protocol) for protocol in protocols]
        assert all(target is not None for target in found), (rule.pattern, protocols)
        if not is_glob(rule.pattern):
            assert all(target is not None and target.price is not None for target in found), f"{rule.pattern} has no price"
        assert len(models.targets(name, protocols[0])) == 1 + len(rule.failover)
    made = build.providers(settings)
    assert {p.name for p in made} == set(settings.providers)
    assert all(p.local or p.credentials(next(iter(p.base_urls))) for p in made), "the key would not be sent"
    assert ("{model}" in str(made)) != bool(listing(settings)), "a provider with the model in its path has no list of models"

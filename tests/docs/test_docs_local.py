"""Every block of docs/local.md is a configuration that `fleetgate check` takes without a word, and every cause is in its table."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest
from test_docs_providers import files

from proxy.app import build
from proxy.app.check import warnings
from proxy.app.served import table
from proxy.engine.sound import Cause

TEXT = (Path(__file__).parents[2] / "docs" / "local.md").read_text(encoding="utf-8")
BLOCKS = dict(re.findall(r"^### ([^\n]+)\n.*?```yaml\n(.*?)```", TEXT, re.M | re.S))
SERVERS = ("llama.cpp", "Ollama", "vLLM", "LM Studio")


def test_every_server_has_its_block_and_names_its_sources() -> None:
    assert tuple(BLOCKS) == SERVERS
    parts = re.split(r"^### ", TEXT, flags=re.M)[1:]
    assert all("Source:" in part for part in parts)


@pytest.mark.parametrize("server", SERVERS)
def test_a_block_can_be_pasted_and_serves_every_chat_dialect(tmp_path: Path, server: str) -> None:
    read = files(tmp_path, BLOCKS[server])
    assert warnings(read) == []
    models, settings = table(read.settings), read.settings
    for rule in settings.models:
        for dialect in ("openai.chat", "openai.responses", "anthropic.messages", "gemini.generate", "ollama.chat"):
            target = models.target(rule.pattern, dialect)
            assert target is not None, (rule.pattern, dialect)
            assert target.local
    made = build.providers(settings)
    assert all(provider.local and provider.queue == settings.providers[provider.name].limits.queue for provider in made)


def test_every_cause_is_documented() -> None:
    assert re.findall(r"^\| `(\w+)` \|", TEXT, re.M) == list(get_args(Cause))

"""The input of policies: what stands in it, what is left out, and arguments that only mean one thing."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1]))

from simulating import ROOT

from proxy.app import build
from proxy.app.trial import Case, Trials
from proxy.effects import Effect
from proxy.engine.exchange import Exchange
from proxy.policy.cache import Reads
from proxy.policy.input import SAMPLES, Subject, arguments, document
from proxy.policy.opa import EVERYTHING
from proxy.policy.rego import HOOKS
from proxy.policy.rego_stage import RegoStage
from proxy.wire.call import ToolCall

ODD = [
    "{",
    '{"a": 1, "a": 2}',
    '{"b": {"a": 1, "a": 2}}',
    "NaN",
    '{"a": Infinity}',
    "9007199254740993",
    "1" * 5000,
    "1e999",
    "0." + "1" * 40,
    "[" * 65 + "]" * 65,
    "[" * 100_000,
    "text",
]


@pytest.mark.parametrize("text", ODD, ids=[text[:20] for text in ODD])
def test_arguments_that_not_everybody_reads_alike_are_null(text: str) -> None:
    assert arguments(text) is None


@pytest.mark.parametrize(("text", "value"), [("", {}), ('{"a": [1, 2.5, "x", null]}', {"a": [1, 2.5, "x", None]}), ("[[]]", [[]])])
def test_arguments_are_parsed(text: str, value: Any) -> None:
    assert arguments(text) == value


@given(st.text(max_size=60))
def test_arguments_never_raise(text: str) -> None:
    arguments(text)


@pytest.fixture(scope="module")
def seen() -> Exchange:
    """An exchange that passed all stages before the policies."""
    found: list[Exchange] = []
    trials = Trials(build.read(ROOT / "fleetgate.yaml", {}, simulate=True))
    tool = {"type": "function", "function": {"name": "read_x"}}
    body = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": "hi"}], "tools": [tool]}
    original = RegoStage.request

    async def request(self: RegoStage, ex: Exchange) -> Any:
        found.append(ex)
        return await original(self, ex)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RegoStage, "request", request)
        assert asyncio.run(trials.decide(Case("triage", body))).decision == "allow"
    return found[0]


def shape(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: shape(v) for k, v in value.items()}
    return [shape(v) for v in value[:1]] if isinstance(value, list) else 0


def test_what_is_built_has_the_shape_of_the_sample(seen: Exchange) -> None:
    call = ToolCall("1", "read_file", '{"path": "README.md"}', b"")
    subject = Subject(seen, seen.route.targets, call, [Effect("fs.read", "README.md", frozenset({"b", "a"}))])
    made = document("tool_call", subject, EVERYTHING)
    sample = json.loads(json.dumps(SAMPLES["tool_call"]))
    for name in ("findings", "budgets"):
        made.pop(name)
        sample.pop(name)
    made["request"]["system"] = ["x"]
    flags = made["tool_call"]["effects"][0].pop("flags")
    sample["tool_call"]["effects"][0].pop("flags")
    assert flags == ["a", "b"]
    assert {k: shape(v) for k, v in made.items() if k not in ("agent", "model")} == {
        k: shape(v) for k, v in sample.items() if k not in ("agent", "model")
    }
    assert made["agent"].keys() == sample["agent"].keys()
    assert made["agent"]["team"] == "support"
    assert made["model"].keys() == sample["model"].keys()
    assert made["cost"]["estimated_usd"] > 0


def test_only_what_is_read_is_built(seen: Exchange) -> None:
    assert document("request", Subject(seen), Reads((("agent", "id"), ("stream",)), fixed=True)).keys() == {"agent", "stream"}
    assert document("request", Subject(seen), Reads((), fixed=True)) == {}


def test_every_part_is_documented() -> None:
    text = (ROOT / "docs" / "rego.md").read_text(encoding="utf-8")
    for hook in HOOKS:
        for name, value in SAMPLES[hook].items():
            assert f"`{name}" in text, name
            for key in value if isinstance(value, dict) else ():
                assert f"`.{key}" in text or f"`{name}.{key}" in text or f"`{name}.{key}[]" in text, f"{name}.{key}"

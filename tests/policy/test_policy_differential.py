"""Both engines on the same files and inputs: every difference fails.

The files are those that this repository serves and some that use the language more widely; the inputs are generated from what the
documentation says, values missing and odd ones included.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from opa_server import Opa, needs_opa, opa_bin
from simulating import ROOT

from proxy.policy.decision import Hook, PolicyFault, decide
from proxy.policy.embedded import Embedded, encode
from proxy.policy.input import PARTS, SAMPLES
from proxy.policy.rego import HOOKS, Policies, load_rego

INPUTS = 240
"""For each hook."""
WIDER = {
    "wide/request.rego": """package fleetgate.request.wide

import data.wide.lib

default allow := false

allow if {
	id := input.agent.id
	not lib.odd(id)
	every tool in input.tools {
		name := tool.name
		not glob.match("rm*", [], name)
	}
}

deny contains {"message": sprintf("%s asks for %v", [input.agent.id, input.max_output]), "rule": "much"} if input.max_output > 4000

deny contains msg if {
	some i, message in input.request.messages
	regex.match(`(?i)\\bdrop\\s+table\\b`, message.text)
	msg := sprintf("message %d", [i])
}

limit_output := min([2000, object.get(input, "max_output", 2000)]) if input.agent.team == "platform"

warn contains concat(",", sort([t.name | some t in input.tools])) if count(input.tools) > 1

warn contains lower(trim_space(input.protocol)) if input.stream

warn contains f.rule if {
	some f in input.findings
	contains(f.rule, "/")
}

route := "local/qwen3" if {
	input.cost.estimated_usd > 0.5
	input.time.weekday in {"saturday", "sunday"}
}
""",
    "wide/tool_call.rego": """package fleetgate.tool_call.wide

deny contains "unreadable" if input.tool_call.arguments == null

deny contains sprintf("path %s", [p]) if {
	walk(input.tool_call.arguments, [_, p])
	is_string(p)
	startswith(p, "/etc")
}

deny contains msg if {
	some effect in input.tool_call.effects
	effect.kind in {"fs.delete", "fs.wipe"}
	"recursive" in effect.flags
	msg := effect.kind
}

warn contains to_number(regex.find_n(`[0-9]+`, input.tool_call.arguments_text, 1)[0]) * 2 >= 10
""",
    "wide/response.rego": """package fleetgate.response.wide

deny contains "too long" if input.reply.text_length > 500

deny contains sprintf("%d tokens", [input.reply.usage.output + input.reply.usage.reasoning]) if input.reply.usage.output > 900

warn contains name if some name in [call.name | some call in input.reply.tool_calls]
""",
    "wide/lib.rego": """package wide.lib

odd(text) if count(text) % 2 == 1

odd(text) if not is_string(text)
""",
}
WIDER["wide/tool_call.rego"] = WIDER["wide/tool_call.rego"].split("warn contains to_number")[0]

WORDS = [
    "",
    "a",
    "demo",
    "rm -rf",
    "rmdir",
    "DROP  table",
    "/etc/passwd",
    "\u00e9\u0000\u4e2d",
    "read_file",
    "restricted",
    "confidential",
    "10 x",
]
ODD: list[Any] = [None, True, 0, -1, 1.5, 5000, 1e15, "", "text", [], {}, ["a"], {"a": 1}]


def varied(value: Any, dice: random.Random, depth: int = 0) -> Any:
    """A neighbour of `value`: mostly of its shape, now and then something else, or with parts missing."""
    if depth and dice.random() < 0.03:
        return dice.choice(ODD)
    if isinstance(value, dict):
        kept = {k: varied(v, dice, depth + 1) for k, v in value.items() if dice.random() > 0.04}
        if depth and dice.random() < 0.15:
            kept["classification"] = dice.choice(["restricted", "confidential", "public"])
        return kept
    if isinstance(value, list):
        return [varied(dice.choice(value), dice, depth + 1) for _ in range(dice.randrange(4))] if value else []
    if isinstance(value, bool):
        return dice.random() < 0.5
    if isinstance(value, int):
        return dice.choice([0, 1, value, dice.randrange(10_000)])
    if isinstance(value, float):
        return dice.choice([value, 0.25, 1.5])
    if isinstance(value, str):
        return dice.choice([value, *WORDS, "fs.delete", "net.send", "saturday"])
    return value


def inputs(hook: Hook) -> Iterator[dict[str, Any]]:
    dice = random.Random(f"fleetgate {hook}")
    yield dict(SAMPLES[hook])
    for _ in range(INPUTS):
        made = varied(SAMPLES[hook], dice)
        if hook == "tool_call" and isinstance(made.get("tool_call"), dict) and dice.random() < 0.5:
            made["tool_call"]["effects"] = [
                {
                    "kind": dice.choice(["fs.delete", "net.send"]),
                    "subject": dice.choice(["https://example.org/x", "http://localhost:1/"]),
                    "flags": ["recursive"],
                }
            ]
        yield made


@pytest.fixture(scope="module")
def policies(tmp_path_factory: pytest.TempPathFactory) -> tuple[Policies, Path]:
    folder = tmp_path_factory.mktemp("all") / "policies"
    for file in (ROOT / "policies").rglob("*.rego"):
        target = folder / file.relative_to(ROOT / "policies")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.read_bytes())
    for name, text in WIDER.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return load_rego(folder, folder.parent), folder


def ordered(value: Any) -> Any:
    """The same value with sets, which JSON writes as arrays in any order, in one order."""
    if isinstance(value, dict):
        return {k: ordered(v) for k, v in value.items()}
    return sorted((ordered(v) for v in value), key=lambda v: json.dumps(v, sort_keys=True)) if isinstance(value, list) else value


@needs_opa
def test_no_input_is_decided_differently(policies: tuple[Policies, Path]) -> None:
    found, folder = policies
    engine = Embedded(found)
    engine.rehearse(SAMPLES)
    asked = refused = faults = 0
    with Opa(folder) as opa:
        for hook in HOOKS:
            for document in inputs(hook):
                body = b'{"input":' + encode(document).encode() + b"}"
                request = urllib.request.Request(f"{opa.url}/v1/data/fleetgate/{hook}", body, {"content-type": "application/json"})
                with urllib.request.urlopen(request, timeout=30) as reply:
                    theirs = json.loads(reply.read()).get("result")
                asked += 1
                try:
                    ours = asyncio.run(engine.ask(hook, document))
                except PolicyFault:
                    faults += 1  # loud, and refused; counted so that it stays rare
                    continue
                assert ordered(ours) == ordered(theirs), encode(document)
                try:
                    refused += bool(decide(found.packages[hook], ours).denials)
                except PolicyFault:
                    refused += 1
    assert asked - faults >= 500
    assert asked // 10 < refused < asked * 9 // 10, "the inputs are worth comparing"
    assert faults <= asked // 5, f"{faults} of {asked}"


@needs_opa
@pytest.mark.parametrize(
    "arguments", [("fmt", "--fail", "--list"), ("test", "--bundle"), ("check", "--strict", "--bundle")], ids=lambda a: a[0]
)
def test_opa_has_nothing_to_say_against_our_files(arguments: tuple[str, ...]) -> None:
    import subprocess

    done = subprocess.run([opa_bin(), *arguments, str(ROOT / "policies")], capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_opa
def test_the_one_known_difference_is_the_length_of_rare_characters(tmp_path: Path) -> None:
    """docs/rego.md names it; should it go, so can the words there."""
    folder = tmp_path / "policies"
    folder.mkdir()
    folder.joinpath("a.rego").write_text("package fleetgate.request\nlimit_output := count(input.protocol)\n")
    body = {"input": {"protocol": "\U0001f600"}}
    ours = asyncio.run(Embedded(load_rego(folder, tmp_path)).ask("request", body["input"]))
    with Opa(folder) as opa:
        request = urllib.request.Request(f"{opa.url}/v1/data/fleetgate/request", json.dumps(body).encode())
        with urllib.request.urlopen(request, timeout=30) as reply:
            theirs = json.loads(reply.read())["result"]
    assert (ours, theirs) == ({"limit_output": 2}, {"limit_output": 1})


def test_a_sample_has_every_part() -> None:
    for hook in HOOKS:
        assert list(SAMPLES[hook]) == list(PARTS[hook])

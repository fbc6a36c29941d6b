"""What people read about an agent: every value with its place, every doubt, and every widening."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from proxy.identity import show
from proxy.identity.directory import Directory
from proxy.model import Grant

ROOT = Path(__file__).parents[2]
NOW = 1_800_000_000.0  # 2027-01-15


def load(tmp_path: Path, text: str, baseline: str = "policy: {}") -> Directory:
    (tmp_path / "AGENTS.md").write_text(f"---\n{text}\n---\n")
    (tmp_path / "baseline.yaml").write_text(baseline)
    return Directory.load(tmp_path, ["AGENTS.md"], tmp_path / "baseline.yaml")


FULL = """name: a
description: d
version: 1.0.0
maxTurns: 9
policy:
  mode: enforce
  owner: {team: t}
  models: {allow: [gpt-*], deny: [gpt-4], default: gpt-5, fallback: [gpt-6]}
  budgets:
    request: {max_input_tokens: 1000, max_output_tokens: 100}
    day: {usd: 2.5}
  routing: {local_ok: true, threshold: 0.3, pinned: true}
  data: {pii: warn}"""


def test_the_effective_policy_names_each_place(tmp_path: Path) -> None:
    text = show.show(load(tmp_path, FULL, "policy: {tools: {deny: [rm]}}"), "a")
    for line in (
        "agent a 1.0.0",
        "  team: t  [AGENTS.md:8 policy.owner.team]",
        "  default model: gpt-5  [AGENTS.md:9 policy.models.default]",
        "  fallback: gpt-6  [AGENTS.md:9 policy.models.fallback]",
        "    pii: warn  [AGENTS.md:14 policy.data.pii]",
        "    only gpt-*, not gpt-4  [AGENTS.md:9 policy.models.allow]",
        "    not rm  [baseline.yaml:1 policy.tools.deny]",
        "    up to 1,000  [AGENTS.md:11 policy.budgets.request.max_input_tokens]",
        "    up to 9  [AGENTS.md:5 maxTurns]",
        "    agent:a/day/usd: 2.50 USD per day, then deny  [AGENTS.md:12 policy.budgets.day.usd]",
        "    identical tool calls: warn at 3, block at 5  [no file says so]",
        "    yes  [AGENTS.md:13 policy.routing.local_ok]",
        "    threshold 0.3  [AGENTS.md:13 policy.routing.threshold]",
        "    pinned: only the model that is asked for serves  [AGENTS.md:13 policy.routing.pinned]",
    ):
        assert line in text.splitlines()
    assert show.show(load(tmp_path, FULL), "b") == "No agent b is defined in AGENTS.md."


def test_the_listing_has_a_line_for_each_agent(tmp_path: Path) -> None:
    lines = show.listing(load(tmp_path, "agents: [{name: b, policy: {mode: shadow}}, {name: a, version: '2'}]")).splitlines()
    assert [line.split()[:4] for line in lines] == [
        ["AGENT", "VERSION", "TEAM", "MODE"],
        ["a", "2", "-", "enforce"],
        ["b", "-", "-", "shadow"],
    ]


def test_json_forms_are_plain_data(tmp_path: Path) -> None:
    directory = load(tmp_path, FULL)
    (data,) = json.loads(json.dumps(show.listing_json(directory)))
    assert data == json.loads(json.dumps(show.as_json(directory.agents["a"])))
    assert data["models"] == [{"allow": ["gpt-*"], "deny": ["gpt-4"], "shadow": False, "source": "AGENTS.md:9 policy.models.allow"}]
    assert data["budgets"][0]["limit"] == "2.50"
    assert (data["mode"], data["max_turns"][0]["value"], data["local_ok"]) == ("enforce", 9, True)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: a", "warning: AGENTS.md: agent a has no description"),
        ("name: a", "warning: AGENTS.md: agent a has no version"),
        ("name: a\npolicy: {oops: 1}", "error: AGENTS.md:3: policy.oops: unknown key"),
        ("name: a\npolicy: {oops: 1}", "warning: agent a has no valid file and is left with the baseline"),
        ("name: a\npolicy: {mode: shadow}", "warning: AGENTS.md: agent a is in shadow mode"),
        (
            "name: a\npolicy: {budgets: {session: {tool_calls: 1}}}",
            "warning: AGENTS.md:3 policy.budgets.session.tool_calls: accepted, not enforced in this version (agent a)",
        ),
        ("name: a\npolicy: {loops: {on_detect: [downgrade]}}", "warning: AGENTS.md:3 policy.loops: has the step `downgrade`"),
        ("name: a\npolicy: {budgets: {on_exceed: downgrade}}", "warning: AGENTS.md:3 policy.budgets.on_exceed: accepted, not enforced"),
        (
            "name: a\npolicy: {compliance: {review_by: 2027-01-14}}",
            "warning: AGENTS.md:3 policy.compliance.review_by: the review was due on 2027-01-14 (agent a)",
        ),
        (
            "name: a\npolicy: {models: {allow: [claude-*]}}",
            "warning: AGENTS.md:3 policy.models.allow: no model is allowed both here and at baseline.yaml:1 policy.models.allow",
        ),
        ("name: a\nmodel: claude-x", "warning: AGENTS.md: agent a may not use its own default model claude-x"),
        (
            "name: a\ndisallowedTools: ['Bash(rm:*)']",
            "warning: AGENTS.md:3 disallowedTools: Bash(rm:*) refuses the whole tool in this version",
        ),
        ("name: a\nloops: {}", "warning: AGENTS.md:3 loops: stands outside `policy`"),
    ],
)
def test_lint_finds(tmp_path: Path, text: str, words: str) -> None:
    found = show.lint(load(tmp_path, text, "policy: {models: {allow: [gpt-*]}}"), NOW)
    assert [line for line in found if line.startswith(words)] != []


def test_a_clean_directory_has_nothing_to_lint(tmp_path: Path) -> None:
    text = "name: a\ndescription: d\nversion: 1.0.0\npolicy: {compliance: {review_by: 2027-01-15}, models: {allow: ['*-mini']}}"
    assert show.lint(load(tmp_path, text, "policy: {models: {allow: [gpt-*]}}"), NOW) == []
    assert show.lint(Directory.load(ROOT, ["AGENTS.md"], ROOT / "policies/baseline.yaml"), NOW) == []


def test_a_diff_sees_both_lists_of_a_map_of_tools(tmp_path: Path) -> None:
    old = load(tmp_path, "name: a\ntools: {x: true, y: false}").agents["a"]
    new = load(tmp_path, "name: a\ntools: {x: true, w: true, z: false}").agents["a"]
    assert show.diff(old, new) == [
        "widens: tools (tools) allow + w",
        "tightens: tools (tools) deny + z",
        "widens: tools (tools) deny - y",
    ]


def grant(tmp_path: Path, policy: str) -> Grant:
    return load(tmp_path, f"name: a\npolicy: {policy}").agents["a"]


@pytest.mark.parametrize(
    ("old", "new", "lines"),
    [
        ("{}", "{}", []),
        (
            "{models: {allow: [x, y]}}",
            "{models: {allow: [y, z]}}",
            ["widens: models (policy.models.allow) allow + z", "tightens: models (policy.models.allow) allow - x"],
        ),
        (
            "{models: {deny: [x]}}",
            "{models: {deny: [y]}}",
            ["tightens: models (policy.models.deny) deny + y", "widens: models (policy.models.deny) deny - x"],
        ),
        ("{}", "{tools: {allow: [x]}}", ["tightens: tools (policy.tools.allow) new rule: only x"]),
        ("{tools: {allow: [x]}}", "{}", ["widens: tools (policy.tools.allow) rule gone: only x"]),
        ("{budgets: {day: {usd: 1}}}", "{budgets: {day: {usd: 2}}}", ["widens: day/usd 1.00 USD -> 2.00 USD"]),
        ("{budgets: {day: {tokens: 10}}}", "{}", ["widens: day/tokens 10 -> no limit"]),
        ("{budgets: {run: {gco2e: 2.5}}}", "{budgets: {run: {gco2e: 1}}}", ["tightens: run/gco2e 2.5 gCO2e -> 1 gCO2e"]),
        ("{}", "{maxTurns: 5}", ["tightens: max_turns no limit -> 5", "tightens: session/max_turns no limit -> 5"]),
        ("{loops: {identical: {block: 5}}}", "{loops: {identical: {block: 9}}}", ["widens: loops.identical.block 5 -> 9"]),
        ("{routing: {local_ok: true}}", "{routing: {local_ok: false}}", ["tightens: local_ok true -> false"]),
        ("{routing: {threshold: 0.3}}", "{routing: {threshold: 0.5}}", ["widens: routing.threshold 0.3 -> 0.5"]),
        ("{}", "{routing: {max_threshold: 0.5}}", ["tightens: routing.max_threshold - -> 0.5"]),
        ("{routing: {threshold: 0.3}}", "{}", ["widens: routing.threshold 0.3 -> -"]),
        ("{}", "{routing: {pinned: true}}", ["tightens: routing.pinned"]),
        ("{routing: {pinned: true}}", "{}", ["widens: routing.pinned is gone"]),
        ("{tools: {deny: [y]}}", "{tools: {deny: [y, z]}}", ["tightens: tools (policy.tools.deny) deny + z"]),
        ("{tools: {allow: [x]}}", "{tools: {allow: [x], deny: [y]}}", ["tightens: tools (policy.tools.allow) deny + y"]),
        (
            "{budgets: {day: {usd: 1}, on_exceed: warn}}",
            "{budgets: {day: {usd: 1}, on_exceed: deny}}",
            ["tightens: day/usd no limit -> 1.00 USD", "widens: day/usd/warn 1.00 USD -> no limit"],
        ),
        ("{}", "{mode: shadow}", ["widens: loops run dry", "widens: mode enforce -> shadow"]),
        ("{models: {default: x}}", "{models: {default: y}}", ["changes: default_model x -> y"]),
        (
            "{budgets: {request: {max_output_tokens: 5}}}",
            "{budgets: {request: {max_output_tokens: 4}}}",
            ["tightens: max_output_tokens 5 -> 4"],
        ),
    ],
)
def test_a_diff_says_what_widens(tmp_path: Path, old: str, new: str, lines: list[str]) -> None:
    assert show.diff(grant(tmp_path, old), grant(tmp_path, new)) == lines

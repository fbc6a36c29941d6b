"""What a file says becomes a layer: the design's own example, names, dialects, and errors that void the agent."""

from __future__ import annotations

import textwrap

import pytest

from proxy.identity.agents_md import parse_agents
from proxy.identity.aliases import split_names, tool_lists
from proxy.identity.layers import Layer, tool_name
from proxy.model import Reason

EXAMPLE = """---
name: invoice-triage
description: Sorts inbound invoices
version: 1.4.0
model: claude-sonnet-4-5
tools: [Read, Grep, "Bash(git diff:*)"]
disallowedTools: [WebFetch]
maxTurns: 40
policy:
  id: invoice-triage
  owner: {team: payments, contact: oncall@example.com}
  mode: enforce
  models: {allow: ["claude-*", "local/*"], deny: [], default: claude-sonnet-4-5, fallback: [local/qwen3]}
  tools: {allow: ["read_*"], deny: [delete_*], require_approval: [send_email],
          args: [{tool: [bash, shell, exec], field: command, regex: 'rm\\s+-rf', action: deny}]}
  budgets: {request: {max_input_tokens: 60000, max_output_tokens: 4000},
            session: {tokens: 400000, usd: 5.00, llm_calls: 60}, day: {tokens: 3000000, usd: 40}, on_exceed: deny}
  loops: {identical: {warn: 3, block: 5}, max_period: 5, on_detect: block}
  delegation: {max_depth: 2, allow: ["*"]}
  routing: {local_ok: true}
  data: {classification: confidential, residency: [eu], pii: redact, secrets: block, injection: warn, log_content: hash}   # off | warn
  compliance: {risk_level: high, frameworks: [GDPR], human_in_the_loop: true, review_by: 2027-01-31}
---
"""


def layer(text: str, file: str = "AGENTS.md") -> Layer:
    text = textwrap.dedent(text)
    read = parse_agents(text if text.startswith("---") else f"---\n{text}\n---\n", file)
    assert read.errors == ()
    (agent,) = read.agents
    assert agent.layer is not None
    return agent.layer


def denies(given: Layer, tool: str) -> bool:
    return not all(c.allows(tool) for c in given.tools)


def test_the_example_of_the_public_contract() -> None:
    found = layer(EXAMPLE)
    assert {t: denies(found, t) for t in ("Read", "Bash", "read_mail", "WebFetch", "delete_x", "Write")} == {
        "Read": False,
        "Bash": False,
        "read_mail": False,
        "WebFetch": True,
        "delete_x": True,
        "Write": True,
    }
    assert [c.allow for c in found.models] == [("claude-*", "local/*")]
    assert found.texts["default_model"][0] == "claude-sonnet-4-5"
    assert (found.texts["team"][0], found.texts["version"][0], found.fallback) == ("payments", "1.4.0", ("local/qwen3",))
    assert [limit.value for limit in (*found.max_input, *found.max_output, *found.max_turns)] == [60000, 4000, 40]
    assert {b.name: (b.limit, b.unit, b.reason) for b in found.budgets} == {
        "session/tokens": (400_000, "tokens", Reason.BUDGET_EXCEEDED),
        "session/usd": (5_000_000_000, "usd", Reason.BUDGET_EXCEEDED),
        "session/llm_calls": (60, "requests", Reason.BUDGET_EXCEEDED),
        "day/tokens": (3_000_000, "tokens", Reason.BUDGET_EXCEEDED),
        "day/usd": (40_000_000_000, "usd", Reason.BUDGET_EXCEEDED),
        "session/max_turns": (40, "requests", Reason.STEP_LIMIT),
    }
    assert {key: value for key, (value, _) in found.loops.items()} == {
        "warn": 3,
        "block": 5,
        "steps": ("warn", "nudge", "block"),
        "max_period": 5,
    }
    assert found.local_ok is not None
    assert found.local_ok[0]
    assert found.data["residency"][0] == "eu"
    assert found.review_by is not None
    assert str(found.review_by[1]) == "AGENTS.md:22 policy.compliance.review_by"
    assert [(c.tools, c.key, c.action) for c in found.tool_args] == [
        (("send_email",), "", "require_approval"),
        (("bash", "shell", "exec"), "command", "deny"),
    ]
    assert str(found.tool_args[1].source) == "AGENTS.md:15 policy.tools.args[0]"


@pytest.mark.parametrize(
    ("text", "allowed", "refused"),
    [
        ("name: a\ntools: Read, Grep, Bash(git diff:*, git log:*)", ["Read", "Grep", "Bash"], ["Write"]),
        ("name: a\nallowed-tools: Bash(git:*) Read", ["Bash", "Read"], ["git:*)", "Write"]),
        ("name: a\ntools: {bash: true, write: false}", ["bash"], ["write", "edit"]),
        ("name: a\ntools: {write: false}", ["bash"], ["write"]),
        ("name: a\ntools: {'*': false, bash: true}", ["bash"], ["edit"]),
        ("name: a\ntools: []", [], ["bash"]),
        ("name: a\ndisallowedTools: WebFetch, Bash", ["Read"], ["WebFetch", "Bash"]),
        ("name: a\ndisallowedTools: {WebFetch: true}", ["Read"], ["WebFetch"]),
        ("name: a\npermission: {edit: ask, bash: {'npm test*': allow, '*': deny}, webfetch: deny}", ["edit", "bash"], ["webfetch"]),
        ("name: a\npermissions: {shell: {'*': deny}, files: {read: allow}}", ["files"], ["shell"]),
        ("name: a\npermissions: {browser: false}", ["x"], ["browser"]),
        ("name: a\npermission: {'*': deny, bash: allow, edit: {'*.md': allow}}", ["bash", "edit"], ["webfetch"]),
        ("name: a\ngovernance: {policy: {allowed_tools: [x]}}", ["x"], ["y"]),
        ("name: a\ngovernance: {blocked_tools: [x]}", ["y"], ["x"]),
        ("name: a\nsecurity: {allowed_tools: [x, z], denied_tools: [z]}", ["x"], ["y", "z"]),
        ("name: a\ntools: [x, y]\nsecurity: {allowed_tools: [y, z]}", ["y"], ["x", "z"]),
        ("name: a\npolicy: {tools: {deny: ['Bash(rm:*)']}}", ["Read"], ["Bash"]),
        ("name: a\ntools: [x]\nallowed-tools: y\npolicy: {tools: {allow: [z], deny: [y]}}", ["x", "z"], ["y", "w"]),
        ("name: a\ntools: {x: true, z: false}\npolicy: {tools: {allow: [z, y]}}", ["x", "y"], ["z", "w"]),
    ],
)
def test_dialects_of_tools(text: str, allowed: list[str], refused: list[str]) -> None:
    found = layer(text)
    assert [t for t in allowed if denies(found, t)] == []
    assert [t for t in refused if not denies(found, t)] == []


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("constraints: {budget: {max_token_usage: 9}}", "session/tokens", 9),
        ("constraints: {limits: {max_llm_calls: 7}}", "session/llm_calls", 7),
        ("agent: {max_turns: 3}", "session/max_turns", 3),
        ("steps: 4", "session/max_turns", 4),
        ("policy: {maxTurns: 5}", "session/max_turns", 5),
    ],
)
def test_dialects_of_limits(text: str, key: str, value: int) -> None:
    (rule,) = layer(f"name: a\n{text}").budgets
    assert (rule.name, rule.limit) == (key, value)


def test_other_dialects() -> None:
    found = layer(
        "agent_id: a\nname: The A\ndisplay_name: A thing\nclient: openai/gpt-5\n"
        "metadata: {owner: pay, data_classification: internal, version: '2'}"
    )
    assert {key: text for key, (text, _) in found.texts.items()} == {
        "description": "A thing",
        "default_model": "gpt-5",
        "team": "pay",
        "version": "2",
    }
    assert found.data["classification"][0] == "internal"
    assert found.data["classification"][1].key == "metadata.data_classification"
    assert layer("name: a\nmodel: [x, y, z]").fallback == ("y", "z")
    assert "default_model" not in layer("name: a\nmodel: inherit").texts
    most = layer("name: a\ngovernance: {max_tokens_per_request: 100, blocked_patterns: []}")
    assert [limit.value for limit in (*most.max_input, *most.max_output)] == [100, 100]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: Invoice Triage", "AGENTS.md:2: name: 'Invoice Triage'; expected at most 64 of a-z, 0-9, dot, dash and underscore "),
        ("description: x\npolicy: {}", "AGENTS.md:2: an agent without a name; expected name: a-slug"),
        ("name: 7", "AGENTS.md:2: name: 7"),
        ("name: a\npolicy:\n  budget: {}", "AGENTS.md:4: policy.budget: unknown key (did you mean budgets?)"),
        ("name: a\npolicy: {budgets: {day: {usd: .nan}}}", "AGENTS.md:3: policy.budgets.day.usd: .nan is not a number"),
        ("name: a\nsecurity: {allowed_tools: all}", "AGENTS.md:3: security.allowed_tools: 'all'; expected a list"),
        ("name: a\nconstraints: {budget: {max_token_usage: -1}}", "AGENTS.md:3: constraints.budget.max_token_usage: -1"),
        ("name: a\npermission: {bash: sometimes}", "AGENTS.md:3: permission.bash: 'sometimes'"),
        ("agents: [{name: a}, {name: b}, {name: a}]", "AGENTS.md:2: agent a stands here twice"),
        ("agents: [{name: a}]\npolicy: {mode: shadow}", "AGENTS.md:3: policy: a policy beside the list of agents"),
        ("agents: [{name: a}, b]", "AGENTS.md:2: agents[1]: 'b'; expected a mapping with a name"),
    ],
)
def test_errors_name_the_place_and_the_remedy(text: str, words: str) -> None:
    read = parse_agents(f"---\n{text}\n---\n", "AGENTS.md")
    assert str(read.errors[0]).startswith(words)
    assert len(read.errors) == 1


def test_a_wrong_agent_of_a_list_gives_no_layer_and_leaves_the_others() -> None:
    text = "---\nagents:\n  - {name: good, policy: {models: {deny: [x]}}}\n  - {name: bad, policy: {models: {deny: [x]}, oops: 1}}\n---\n"
    agents = {a.id: a.layer for a in parse_agents(text, "AGENTS.md").agents}
    assert agents["bad"] is None
    assert agents["good"] is not None


def test_a_policy_key_outside_policy_is_pointed_out() -> None:
    assert list(layer("name: a\nbudgets: {day: {usd: 1}}").warnings) == [
        "AGENTS.md:3 budgets: stands outside `policy` and has no effect; indent it below `policy:`"
    ]


def test_a_custom_agent_file_is_named_by_itself() -> None:
    read = parse_agents("---\ndescription: x\ntools: [a]\n---\n", ".github/agents/reviewer.agent.md")
    assert [a.id for a in read.agents] == ["reviewer"]
    assert parse_agents("---\ndescription: x\ntools: [a]\n---\n", "docs/AGENTS.md").agents == ()


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("Read, Grep", ["Read", "Grep"]),
        ("Read Grep\tBash", ["Read", "Grep", "Bash"]),
        ("Bash(git diff:*) Read", ["Bash(git diff:*)", "Read"]),
        ("Bash(a, b), Read", ["Bash(a, b)", "Read"]),
        ("Bash(open", ["Bash(open"]),
        (" , ,", []),
        ("a)b c", ["a)b", "c"]),
    ],
)
def test_names_in_a_string(text: str, names: list[str]) -> None:
    assert split_names(text) == names


def test_tool_lists_of_a_map() -> None:
    assert tool_lists({"a": True, "b": False, "c": "ask", "d": "deny", "e": "allow"}) == (["a", "c", "e"], ["b", "d"])
    assert tool_lists({"*": False}) == ([], [])


@pytest.mark.parametrize(("pattern", "name"), [("Bash(x)", "Bash"), ("Bash", "Bash"), ("(x)", "(x)"), ("mcp__a", "mcp__a"), ("f(", "f(")])
def test_the_tool_of_a_pattern(pattern: str, name: str) -> None:
    assert tool_name(pattern) == name


def test_a_model_pattern_is_taken_as_it_stands() -> None:
    found = layer("name: a\npolicy: {models: {allow: ['m(x)']}}")
    assert [found.models[0].allows(m) for m in ("m(x)", "m")] == [True, False]


def test_an_error_in_one_carrier_voids_the_agent_in_all_of_the_file() -> None:
    text = '---\nname: a\ntools: 5\n---\n<!-- agent-policy: {"policy": {"models": {"deny": ["x"]}}} -->\n'
    read = parse_agents(text, "AGENTS.md")
    assert len(read.errors) == 1
    assert [a.layer for a in read.agents] == [None, None]


def test_a_policy_beside_the_list_voids_all_of_it_unless_it_is_a_named_agents() -> None:
    lost = parse_agents("---\nagents: [{name: a}, {name: b}]\npolicy: {}\n---\n", "AGENTS.md")
    assert [(a.id, a.layer) for a in lost.agents] == [("a", None), ("b", None)]
    named = parse_agents("---\nname: c\nagents: [{name: a}]\npolicy: {}\n---\n", "AGENTS.md")
    assert named.errors == ()
    assert [a.id for a in named.agents] == ["c", "a"]


def test_values_of_dialects_that_say_nothing_are_pointed_out() -> None:
    found = layer("name: a\npermissions: read-only\nconstraints: {limits: {max_tool_calls: 3}}")
    assert list(found.warnings) == ["AGENTS.md:3 permissions: is not a map of tool names and is ignored"]
    assert [s.key for s in found.unused] == ["constraints.limits.max_tool_calls"]

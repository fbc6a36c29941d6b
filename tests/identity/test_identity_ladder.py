"""What files say about loops and sub-agents, and how several of them add up."""

from __future__ import annotations

import pytest

from proxy.identity.agents_md import parse_agents
from proxy.identity.grants import combine
from proxy.identity.layers import Layer
from proxy.identity.show import diff
from proxy.model import IMPLIED, LADDER, Grant, LoopLimits, Persona


def layer(policy: str) -> Layer:
    read = parse_agents(f"---\nname: a\npolicy: {policy}\n---\n", "AGENTS.md")
    assert read.errors == ()
    found = read.agents[0].layer
    assert found is not None
    return found


def grant(*policies: str) -> Grant:
    return combine("a", None, [layer(policy) for policy in policies])


@pytest.mark.parametrize(
    ("policies", "ladder", "act"),
    [
        (["{}"], IMPLIED["block"], "block"),
        (["{loops: {on_detect: warn}}"], ("warn",), "warn"),
        (["{loops: {on_detect: nudge}}"], ("warn", "nudge"), "nudge"),
        (["{loops: {on_detect: [block, persona]}}"], ("persona", "block"), "block"),
        (["{loops: {on_detect: [strip_tools, nudge]}}"], ("nudge", "strip_tools"), "nudge"),
        (["{loops: {on_detect: [escalate]}}"], ("escalate",), "block"),
        (["{loops: {on_detect: block}}", "{loops: {on_detect: warn}}"], IMPLIED["block"], "block"),
        (["{loops: {on_detect: warn}}", "{loops: {on_detect: [persona, downgrade]}}"], ("warn", "persona", "downgrade"), "nudge"),
        (["{loops: {identical: {warn: 2}}}"], IMPLIED["block"], "block"),
        (["{loops: {identical: {block: 4}}}", "{loops: {on_detect: warn}}"], IMPLIED["block"], "block"),
        (["{loops: {on_detect: block}}", "{loops: {on_detect: [escalate]}}"], IMPLIED["block"], "block"),
        (["{loops: {on_detect: [block, escalate]}}", "{loops: {on_detect: [escalate]}}"], ("block", "escalate"), "block"),
        (["{loops: {on_detect: [escalate]}}", "{loops: {on_detect: [block]}}"], ("block",), "block"),
        (["{loops: {on_detect: nudge}}", "{loops: {on_detect: [escalate]}}"], ("warn", "nudge", "escalate"), "block"),
        (["{loops: {on_detect: []}}"], IMPLIED["block"], "block"),
    ],
)
def test_steps_of_several_files_add_up_in_the_order_of_the_ladder(policies: list[str], ladder: tuple[str, ...], act: str) -> None:
    loops = grant(*policies).loops
    assert (loops.ladder, loops.act) == (ladder, act)


def test_persona_and_model_come_from_the_nearest_and_the_longest_period_holds() -> None:
    first = "{loops: {persona: {system: Debug., temperature: 0.5}, downgrade: small, max_period: 7}}"
    assert grant(first).loops == LoopLimits(
        source=grant(first).loops.source, steps=IMPLIED["block"], persona=Persona("Debug.", 0.5), downgrade="small", max_period=7
    )
    loops = grant(first, "{loops: {persona: {system: Look.}, downgrade: tiny, max_period: 3}}").loops
    assert (loops.persona, loops.downgrade, loops.max_period) == (Persona("Look."), "tiny", 7)
    assert grant("{loops: {max_period: 3}}").loops.max_period == 3


@pytest.mark.parametrize(
    "policy",
    [
        "{loops: {on_detect: [jump]}}",
        "{loops: {on_detect: 7}}",
        "{loops: {persona: {temperature: 1}}}",
        "{loops: {persona: {system: x, temperature: 3}}}",
        "{loops: {downgrade: [a]}}",
        "{delegation: {fan_out: 0}}",
    ],
)
def test_what_is_no_ladder_is_an_error(policy: str) -> None:
    read = parse_agents(f"---\nname: a\npolicy: {policy}\n---\n", "AGENTS.md")
    assert len(read.errors) == 1
    assert read.agents[0].layer is None


def test_sub_agents_and_durations_are_limits_and_clauses_like_the_others() -> None:
    found = grant(
        "{delegation: {allow: [b*], max_depth: 3, fan_out: 9}, budgets: {session: {duration_s: 60}}}",
        "{delegation: {allow: [bc], max_depth: 1, fan_out: 20}, budgets: {session: {duration_s: 90}}}",
    )
    assert [limits[0].value for limits in (found.max_depth, found.fan_out, found.max_duration)] == [1, 9, 60]
    assert [all(clause.allows(name) for clause in found.delegates) for name in ("bc", "bd", "c")] == [True, False, False]


def test_agent_format_says_the_same_in_other_words() -> None:
    text = "---\nname: a\nconstraints: {budget: {max_duration_seconds: 60}, limits: {max_delegation_depth: 2, max_tool_calls: 9}}\n---\n"
    found = parse_agents(text, "AGENTS.md").agents[0].layer
    assert found is not None
    assert [limit.value for limit in (*found.max_duration, *found.max_depth)] == [60, 2]
    assert [source.key for source in found.unused] == ["constraints.limits.max_tool_calls"]


def test_a_changed_ladder_is_another_policy_and_shows_in_a_diff() -> None:
    before, after = grant("{loops: {on_detect: block}}"), grant("{loops: {on_detect: [warn, block, persona]}}")
    assert before.digest != after.digest
    assert grant("{delegation: {max_depth: 1}}").digest != grant("{delegation: {max_depth: 2}}").digest
    assert diff(before, after) == ["widens: loops.on_detect -nudge", "tightens: loops.on_detect +persona"]
    assert diff(grant("{delegation: {max_depth: 2}}"), grant("{delegation: {max_depth: 3}}")) == ["widens: delegation.max_depth 2 -> 3"]
    assert set(LADDER) > {"persona"}

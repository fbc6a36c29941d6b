"""The policy stage on an exchange: what it refuses, what it lowers, and that a known tool list is judged once."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, cast

import pytest

from proxy.engine.exchange import Exchange
from proxy.engine.ports import Client
from proxy.identity.agents_md import parse_agents
from proxy.identity.grants import combine
from proxy.model import Deny, Grant, Reason
from proxy.policy.stage import REMEMBERED, REMEMBERED_TOOLS, ContractStage
from proxy.wire.call import Call, Message, Tools, ToolSpec


class Clock:
    """Stands still."""

    def now(self) -> float:
        return 0.0

    def ns(self) -> int:
        return 0


def grant(policy: str) -> Grant:
    layer = parse_agents(f"---\nname: a\npolicy: {policy}\n---\n", "AGENTS.md").agents[0].layer
    assert layer is not None
    return combine("a", None, [layer])


def run(stage: ContractStage, found: Grant, call: Call) -> tuple[Deny | None, Exchange]:
    ex = Exchange(cast(Any, None), Clock(), cast(Client, None), "openai")
    ex.grant, ex.call = found, call
    return asyncio.run(stage.request(ex)), ex


CHAT = Call("chat", "m", b"", tools=Tools((ToolSpec("t"),)), messages=(Message(b"", "user", ("hi",)), Message(b"", "assistant", ("yo",))))


@pytest.mark.parametrize(
    ("policy", "reason", "shadow"),
    [
        ("{}", None, False),
        ("{models: {allow: [x]}}", Reason.MODEL_NOT_ALLOWED, False),
        ("{tools: {deny: [t]}}", Reason.TOOL_NOT_ALLOWED, False),
        ("{maxTurns: 1}", Reason.STEP_LIMIT, False),
        ("{mode: shadow, tools: {deny: [t]}}", Reason.TOOL_NOT_ALLOWED, True),
    ],
)
def test_the_contract_decides(policy: str, reason: Reason | None, shadow: bool) -> None:
    deny, ex = run(ContractStage(), grant(policy), CHAT)
    assert (deny.reason if deny else None) == reason
    assert (deny.shadow if deny else False) == shadow
    assert (ex.decisions == [("policy", "the contract allows it")]) == (reason is None)


def test_an_enforced_refusal_of_tools_wins_over_a_dry_one_of_models() -> None:
    found = replace(grant("{tools: {deny: [t]}}"), models=grant("{mode: shadow, models: {allow: [x]}}").models)
    deny, _ = run(ContractStage(), found, CHAT)
    assert deny is not None
    assert (deny.reason, deny.shadow) == (Reason.TOOL_NOT_ALLOWED, False)


@pytest.mark.parametrize(
    ("operation", "asked", "expected"),
    [("chat", None, 10), ("chat", 50, 10), ("chat", 5, None), ("embeddings", None, None), ("count_tokens", None, None)],
)
def test_the_output_ceiling_is_set_for_chat_alone(operation: str, asked: int | None, expected: int | None) -> None:
    call = replace(CHAT, operation=cast(Any, operation), max_output=asked)
    deny, ex = run(ContractStage(), grant("{budgets: {request: {max_output_tokens: 10}}}"), call)
    assert deny is None
    assert ex.max_output == expected
    assert any("output ceiling 10" in words for _, words in ex.decisions) == (expected is not None)


def test_a_dry_ceiling_is_only_noted() -> None:
    _, ex = run(ContractStage(), grant("{mode: shadow, budgets: {request: {max_output_tokens: 10}}}"), CHAT)
    assert ex.max_output is None
    assert [f.rule for f in ex.findings] == ["shadow/max_output"]


def test_listing_models_asks_for_none() -> None:
    assert run(ContractStage(), grant("{models: {allow: []}}"), Call("models", "", b""))[0] is None


def test_a_known_tool_list_is_judged_once_per_grant_and_no_verdict_is_mixed_up() -> None:
    asked: list[str] = []

    def allows(name: str) -> bool:
        asked.append(name)
        return False

    base = grant("{tools: {allow: [x]}}")
    found = replace(base, tools=(replace(base.tools[0], allows=allows),))
    stage = ContractStage()
    first, second = run(stage, found, CHAT)[0], run(stage, found, CHAT)[0]
    assert asked == ["t"]
    assert first is second
    assert first is not None
    assert run(stage, grant("{}"), CHAT)[0] is None
    assert run(stage, found, replace(CHAT, tools=Tools((ToolSpec("t"),))))[0] is not None
    assert asked == ["t", "t"]


def test_verdicts_are_bounded_and_right_after_the_bound() -> None:
    stage, found = ContractStage(), grant("{tools: {allow: ['ok*']}}")
    for i in range(REMEMBERED + 10):
        name = f"ok{i}" if i % 2 else f"no{i}"
        deny, _ = run(stage, found, replace(CHAT, tools=Tools((ToolSpec(name),))))
        assert (deny is None) == bool(i % 2)
    assert len(stage._verdicts) <= REMEMBERED


def test_long_tool_lists_are_judged_each_time_and_fill_no_memory() -> None:
    stage, found = ContractStage(), grant("{tools: {deny: [bad]}}")
    many = tuple(ToolSpec(f"t{n}") for n in range(REMEMBERED_TOOLS + 1))
    assert run(stage, found, replace(CHAT, tools=Tools(many)))[0] is None
    assert run(stage, found, replace(CHAT, tools=Tools((*many, ToolSpec("bad")))))[0] is not None
    assert len(stage._verdicts) == 0


def test_what_costs_more_than_the_table_says_is_recorded() -> None:
    deny, ex = run(ContractStage(), grant("{}"), replace(CHAT, dearer=("service_tier", "modalities")))
    assert deny is None
    assert [f.rule for f in ex.findings] == ["billing/service_tier", "billing/modalities"]


def test_verdicts_on_models_are_each_grants_own_and_bounded() -> None:
    stage, strict, free = ContractStage(), grant("{models: {allow: ['ok*']}}"), grant("{}")
    for i in range(REMEMBERED + 10):
        call = replace(CHAT, model=f"ok{i}" if i % 2 else f"no{i}")
        for _ in range(2):
            assert (run(stage, strict, call)[0] is None) == bool(i % 2)
            assert run(stage, free, call)[0] is None
    assert len(stage._names) <= REMEMBERED
    named = replace(CHAT, model="ok", aliases=("bad",))
    denying = grant("{models: {deny: [bad]}}")
    assert run(stage, denying, replace(CHAT, model="ok"))[0] is None
    assert run(stage, denying, named)[0] is not None
    assert run(stage, denying, replace(CHAT, model="bad:latest"))[0] is not None
    assert run(stage, denying, replace(CHAT, model="bad:latest", operation="models"))[0] is not None


def test_ceilings_are_each_grants_own_and_bounded() -> None:
    stage = ContractStage()
    low, high = (grant(f"{{budgets: {{request: {{max_output_tokens: {most}}}}}}}") for most in (10, 2000))
    for asked in (None, *range(1, REMEMBERED + 10)):
        for found, most in ((low, 10), (high, 2000)):
            ex = run(stage, found, replace(CHAT, max_output=asked))[1]
            assert ex.max_output == (most if asked is None or asked > most else None)
    assert len(stage._names) <= REMEMBERED


def test_a_grant_that_takes_the_place_of_another_is_judged_anew() -> None:
    stage, old = ContractStage(), grant("{models: {allow: [x]}}")
    assert run(stage, old, CHAT)[0] is not None
    free = grant("{budgets: {request: {max_output_tokens: 10}}}")
    stage._names = {(id(free), "m", (), None): stage._said(old, CHAT)}
    deny, ex = run(stage, free, CHAT)
    assert (deny, ex.max_output) == (None, 10)

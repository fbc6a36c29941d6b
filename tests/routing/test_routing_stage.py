"""The route that an exchange gets."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from types import SimpleNamespace
from typing import Any

import pytest
from routing_case import GRANT, HARD, Case, only, rule, table

from proxy.engine.exchange import Exchange
from proxy.engine.ports import SystemClock
from proxy.model import Grant, Reason, Target
from proxy.routing.stage import REMEMBERED, RoutingStage
from proxy.wire.call import Operation
from proxy.wire.openai_chat import ChatCodec
from proxy.wire.openai_other import ModelsCodec


def test_a_simple_request_goes_to_the_local_model_with_the_asked_one_behind() -> None:
    case = Case()
    assert (case.route.reason, case.models) == ("local", ["small", "strong"])
    assert case.route.targets[0].local
    assert case.route.difficulty is not None
    assert case.ex.asked_model == "strong"
    assert case.ex.decisions[0][1].startswith("local: here small; difficulty 0.")


@pytest.mark.parametrize(
    "case",
    [
        {"text": HARD},
        {"tools": 1},
        {"mode": "off"},
        {"simple_to": None},
        {"simple_to": "nowhere"},
        {"simple_to": "strong"},
        {"grant": dataclasses.replace(GRANT, local_ok=False)},
        {"grant": dataclasses.replace(GRANT, models=only("strong"))},
        {"operation": "embeddings"},
        {"operation": "count_tokens"},
        {"text": ""},
    ],
)
def test_everything_else_goes_where_it_was_sent(case: dict[str, Any]) -> None:
    found = Case(**case)
    assert (found.route.reason, found.models) == ("requested", ["strong"])


def spare(provider: str) -> Any:
    return SimpleNamespace(provider=provider, upstream_model=None, price=None)


def test_failover_stands_behind_the_model_that_was_asked_and_before_the_agents_fallbacks() -> None:
    doubled, second = rule("double", "cloud"), rule("second", "cloud")
    doubled.failover, second.failover = (spare("other"), spare("here")), (spare("here"),)
    grant = dataclasses.replace(GRANT, local_ok=False, fallback=("second", "spare"))
    case = Case(model="double", rules=(doubled, second), grant=grant)
    assert case.route.reason == "requested"
    assert [(t.provider, t.model) for t in case.route.targets] == [
        ("cloud", "double"),
        ("other", "double"),
        ("here", "double"),
        ("cloud", "second"),
        ("here", "second"),
        ("cloud", "spare"),
    ]
    assert case.ex.decisions[0][1].endswith("; then other double, here double, cloud second, here second, cloud spare")
    narrow = Case(model="double", rules=(doubled, second), grant=dataclasses.replace(grant, models=only("double")))
    assert {t.model for t in narrow.route.targets} == {"double"}, "a model that is not granted stays out, however it is named"


def test_the_score_is_there_for_hard_requests_too_and_absent_when_off() -> None:
    hard, off, other = Case(text=HARD), Case(mode="off"), Case(operation="embeddings")
    assert hard.route.difficulty is not None
    assert hard.route.difficulty > 0.35
    assert "asks for reasoning" in hard.route.why
    assert off.route.difficulty is None
    assert other.route.difficulty is None
    assert off.ex.decisions == [("routing", "requested: cloud strong")]


def test_a_dry_run_reports_and_changes_nothing() -> None:
    case = Case(mode="shadow")
    assert (case.route.reason, case.models) == ("requested", ["strong"])
    assert case.route.difficulty is not None
    assert [f.rule for f in case.ex.findings] == ["routing/would-go-local"]
    assert Case(mode="shadow", text=HARD).ex.findings == []
    assert Case().ex.findings == []


def test_a_simple_request_can_be_translated() -> None:
    case = Case(simple_to="claude")
    assert case.models == ["claude", "strong"]
    assert [target.wire for target in case.route.targets] == ["anthropic.messages", ""]


def test_fallbacks_follow_when_they_are_allowed_and_served() -> None:
    grant = dataclasses.replace(
        GRANT, local_ok=False, fallback=("strong", "claude", "lost", "spare", "small"), models=only("strong", "spare")
    )
    assert Case(grant=grant).models == ["strong", "spare"]
    assert Case(grant=dataclasses.replace(grant, models=())).models == ["strong", "claude", "spare", "small"]
    assert Case(grant=grant, operation="embeddings").models == ["strong"]
    assert Case(grant=dataclasses.replace(grant, local_ok=True, models=())).models == ["small", "strong", "claude", "spare"]


def test_auto_takes_the_default_model_or_the_simple_one() -> None:
    assert Case(model="auto", text=HARD).models == ["strong"]
    assert Case(model="auto").models == ["small", "strong"]
    assert Case(model="auto", mode="shadow").models == ["strong"]
    assert Case(model="auto").ex.asked_model == "auto"
    alone = Case(model="auto", grant=dataclasses.replace(GRANT, default_model=None))
    assert (alone.route.reason, alone.models) == ("local", ["small"])


@pytest.mark.parametrize(
    ("grant", "words"),
    [
        (dataclasses.replace(GRANT, default_model=None), "agent triage has no default model"),
        (dataclasses.replace(GRANT, models=only("spare")), "agent triage may not use its default model strong"),
    ],
)
def test_auto_needs_a_default_model_that_the_agent_may_use(grant: Grant, words: str) -> None:
    deny = Case(model="auto", text=HARD, grant=grant).deny
    assert deny is not None
    assert (deny.reason, deny.status) == (Reason.MODEL_NOT_ALLOWED, 403)
    assert words in deny.message


def test_auto_never_takes_a_default_model_that_the_agent_may_not_use_as_a_fallback() -> None:
    grant = dataclasses.replace(GRANT, models=only("small"))
    assert Case(model="auto", grant=grant).models == ["small"]


def test_a_pattern_does_not_swallow_auto() -> None:
    assert Case(model="auto", text=HARD, rules=(rule("*", "cloud"),)).models == ["strong"]
    assert Case(model="auto", text=HARD, rules=(rule("auto", "cloud"),)).models == ["strong"]


@pytest.mark.parametrize(
    ("model", "operation", "words"),
    [
        ("claude", "embeddings", "speaks anthropic and not openai, and embeddings is not translated"),
        ("nope", "chat", "no rule of `models` matches 'nope'"),
    ],
)
def test_refuses_what_nobody_serves_and_says_why(model: str, operation: Operation, words: str) -> None:
    for mode in ("off", "enforce"):
        case = Case(model=model, mode=mode, operation=operation)
        assert case.deny is not None
        assert case.deny.reason is Reason.MODEL_NOT_ALLOWED
        assert words in case.deny.message
        assert not hasattr(case.ex, "route")


def test_a_list_of_models_is_asked_of_the_provider_that_speaks_the_protocol() -> None:
    target = Target("cloud", "", "", "openai", None)
    case = Case(operation="models", model="", listing={"openai": target})
    assert (case.route.targets, case.route.difficulty) == ((target,), None)


def test_where_no_provider_speaks_the_protocol_the_named_models_are_listed() -> None:
    grant = dataclasses.replace(GRANT, models=only("strong", "claude"), fallback=("claude", "spare"))
    case = Case(operation="models", model="", listing={}, protocol="anthropic", grant=grant)
    assert case.route.targets == ()
    assert case.ex.answer is not None
    assert [item["id"] for item in json.loads(case.ex.answer)["data"]] == ["strong", "claude"]


def test_a_list_of_models_shows_only_those_that_the_agent_may_use() -> None:
    case = Case(operation="models", model="", listing={"openai": Target("cloud", "", "", "openai", None)}, grant=with_models("a"))
    case.ex.codec = ModelsCodec("openai")
    case.ex.reply_body = b'{"object":"list","data":[{"id":"a"},{"id":"b"}]}'
    assert asyncio.run(RoutingStage(table()).reply(case.ex)) is None
    assert case.ex.reply_body == b'{"object":"list","data":[{"id":"a"}]}'


def test_other_replies_are_left_alone() -> None:
    case = Case()
    case.ex.codec = ChatCodec()
    case.ex.reply_body = b'{"data":[{"id":"b"}]}'
    assert asyncio.run(RoutingStage(table()).reply(case.ex)) is None
    assert case.ex.reply_body == b'{"data":[{"id":"b"}]}'


def with_models(*names: str) -> Grant:
    return dataclasses.replace(GRANT, models=only(*names))


@pytest.mark.parametrize(
    ("case", "model", "found"),
    [
        ({}, "spare", "spare"),
        ({}, "", "small"),
        ({"simple_to": None, "grant": dataclasses.replace(GRANT, local_ok=False, fallback=("spare", "small"))}, "", "small"),
        ({"grant": dataclasses.replace(GRANT, fallback=("claude",))}, "claude", "claude"),
    ],
)
def test_a_call_that_cannot_be_paid_may_go_elsewhere(case: dict[str, Any], model: str, found: str) -> None:
    there = Case(text=HARD, **case)
    targets = there.stage.instead(there.ex, model)
    assert not isinstance(targets, str)
    assert [target.model for target in targets] == [found]


@pytest.mark.parametrize(
    ("case", "model", "words"),
    [
        ({"grant": dataclasses.replace(GRANT, models=only("strong"))}, "spare", "agent triage may not use spare"),
        ({}, "strong", "strong is what would serve it already"),
        ({}, "claude", "the provider of claude is not among those that the rules have looked at"),
        ({}, "nowhere", "no rule of `models` matches 'nowhere'"),
        ({"simple_to": "spare"}, "", "no local server has spare"),
        ({"grant": dataclasses.replace(GRANT, local_ok=False)}, "", "the agent may use no local model"),
        ({"operation": "embeddings"}, "spare", "only chats go to another model"),
    ],
)
def test_and_else_it_is_said_why_not(case: dict[str, Any], model: str, words: str) -> None:
    there = Case(text=HARD, **case)
    assert words in str(there.stage.instead(there.ex, model))


def test_nothing_goes_past_the_rule_that_says_where_it_goes() -> None:
    there = Case(text=HARD)
    there.ex.route_to, there.ex.route_rule = "strong", "policies/a.yaml:3"
    assert "a rule has it served by strong alone (policies/a.yaml:3)" in str(there.stage.instead(there.ex, "spare"))


def again(there: Case, **changed: Any) -> Exchange:
    """Return a second exchange, with `changed` fields, once it went through the stage of `there`."""
    ex = Exchange(there.ex.rt, SystemClock(), there.ex.client, "openai")
    ex.codec, ex.call, ex.grant, ex.headers, ex.session = there.ex.codec, there.ex.call, there.ex.grant, {}, ""
    for name, value in changed.items():
        setattr(ex, name, value)
    asyncio.run(there.stage.request(ex))
    return ex


def test_a_route_that_hangs_on_nothing_else_is_made_once_for_an_agent_and_a_model() -> None:
    there = Case(mode="off")
    known = again(there)
    assert known.route is there.route
    assert known.decisions == there.ex.decisions
    assert again(there, grant=dataclasses.replace(GRANT)).route is not there.route
    assert [t.model for t in again(there, route_to="small", route_rule="a.yaml:3").route.targets] == ["small"]
    assert again(there, call=dataclasses.replace(there.ex.call, model="spare")).route.targets[0].model == "spare"
    for n in range(REMEMBERED + 1):
        again(there, grant=dataclasses.replace(GRANT, agent=f"a{n}"))
    assert len(there.stage._plain) <= REMEMBERED


@pytest.mark.parametrize("case", [{}, {"mode": "shadow"}, {"mode": "off", "grant": dataclasses.replace(GRANT, fallback=("spare",))}])
def test_a_route_that_hangs_on_the_call_is_made_each_time(case: dict[str, Any]) -> None:
    there = Case(text=HARD, **case)
    assert again(there).route is not there.route
    assert there.stage._plain == {}

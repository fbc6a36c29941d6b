"""Which requests go to the simple model: rules, hints, pressure, and what a conversation has to lose."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import pytest
from routing_case import GRANT, HARD, PROVIDERS, Case, rule

from proxy.engine.exchange import Exchange
from proxy.model import Deny, Price, Reason, RoutingLimits, Usage
from proxy.routing.choice import cheap_bound
from proxy.routing.memory import Conversations
from proxy.routing.models import ModelTable
from proxy.routing.stage import Around, Options
from proxy.wire.call import Call, Media, Message, ToolCall, ToolResult, Tools, ToolSpec

ANY = RoutingLimits()
ENFORCE = Options("enforce", "small")
CACHED = Price(((0, 3_000_000_000),), ((0, 15_000_000_000),), ((0, 300_000_000),))
HELLO = Message(b"", "user", ("Hello",))
ANSWER = Message(b"", "assistant", ("Hi!",))
CALLED = Message(b"", "assistant", (), (ToolCall("1", "t", "{}", b"s"),))
RESULT = Message(b"", "tool", ("42",), tool_results=(ToolResult("1", b"d"),))


def chat(*messages: Message, model: str = "strong", **more: Any) -> Call:
    return Call("chat", model, b"x" * 40, messages=messages, **more)


def able(**words: Any) -> tuple[Any, ...]:
    found = rule("small", "here")
    found.__dict__.update(words)
    return (found,)


# --- rules ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "words", "goes"),
    [
        (chat(HELLO, tools=Tools((ToolSpec("t"),))), {"tools": True}, True),
        (chat(HELLO, tools=Tools((ToolSpec("t"),))), {"tools": False}, False),
        (chat(HELLO, tools=Tools((ToolSpec("t"),))), {}, False),
        (chat(HELLO, CALLED, RESULT, HELLO), {}, False),
        (chat(Message(b"", "user", ("Hi",), media=(Media("image_url", 9),))), {}, False),
        (chat(Message(b"", "user", ("Hi",), media=(Media("image_url", 9),))), {"images": True}, True),
        (chat(HELLO, wants_json=True), {"json": False}, False),
        (chat(HELLO, wants_json=True), {"json": True}, True),
        (chat(HELLO), {"context": 20}, False),
        (chat(HELLO), {"context": 100}, True),
    ],
)
def test_goes_only_to_what_can_serve_it(call: Call, words: dict[str, Any], goes: bool) -> None:
    case = Case(call=call, rules=able(**words), options=dataclasses.replace(ENFORCE, threshold=0.7))
    assert case.route.reason == ("local" if goes else "requested")
    assert goes or "not to small: " in case.route.why


@pytest.mark.parametrize(
    ("routing", "goes"),
    [
        (RoutingLimits(), True),
        (RoutingLimits(threshold=1.0), True),
        (RoutingLimits(threshold=0.0), False),
        (RoutingLimits(pinned=True), False),
    ],
)
def test_the_agents_file_can_only_tighten(routing: RoutingLimits, goes: bool) -> None:
    case = Case(grant=dataclasses.replace(GRANT, routing=routing, fallback=("spare",)))
    assert (case.route.reason == "local") is goes
    wide = Case(text=HARD, grant=dataclasses.replace(GRANT, routing=RoutingLimits(threshold=1.0, max_threshold=1.0)))
    assert wide.route.reason == "requested"


def test_a_pinned_agent_stays_on_the_model_that_it_asks_for() -> None:
    case = Case(grant=dataclasses.replace(GRANT, routing=RoutingLimits(pinned=True), fallback=("spare",)))
    assert case.models == ["strong"]
    assert "pins it" in str(case.stage.instead(case.ex, "spare"))


# --- data -------------------------------------------------------------------------------------------------------------------------

SECRET = dataclasses.replace(GRANT, data={"classification": "restricted"})
STRICT = dataclasses.replace(ENFORCE, local_only=("restricted",), threshold=0.0)
EUROPE = dataclasses.replace(GRANT, data={"residency": "eu"})


@pytest.mark.parametrize(
    ("case", "rule"),
    [
        ({"grant": SECRET, "options": STRICT}, "routing.local_only"),
        ({"grant": SECRET, "options": dataclasses.replace(STRICT, mode="off")}, "routing.local_only"),
        ({"grant": SECRET, "options": STRICT, "operation": "embeddings"}, "routing.local_only"),
        ({"grant": SECRET, "options": STRICT, "operation": "count_tokens"}, "routing.local_only"),
        ({"grant": dataclasses.replace(SECRET, fallback=("spare",)), "options": STRICT}, "routing.local_only"),
        ({"grant": EUROPE}, "policy.data.residency"),
        ({"grant": EUROPE, "model": "small"}, "policy.data.residency"),
        ({"grant": EUROPE, "model": "auto"}, "policy.data.residency"),
    ],
)
def test_data_goes_to_nobody_who_may_not_have_it(case: dict[str, Any], rule: str) -> None:
    found = Case(text=HARD, **case)
    assert isinstance(found.deny, Deny)
    assert (found.deny.reason, found.deny.rule) == (Reason.POLICY_DENIED, rule)
    assert found.stage.providers(found.ex) == (("here",) if rule == "routing.local_only" else ())
    assert not hasattr(found.ex, "route")


def test_a_fallback_that_may_have_the_data_serves_it() -> None:
    case = Case(text=HARD, grant=dataclasses.replace(SECRET, fallback=("spare", "small")), options=STRICT)
    assert (case.route.reason, case.models) == ("fallback", ["small"])
    assert case.stage.candidates(case.ex) == ()
    assert "routing.local_only" in str(case.stage.instead(case.ex, "spare"))


def test_a_rule_that_names_a_model_does_not_open_it() -> None:
    case = Case(text=HARD, grant=SECRET, options=STRICT, model="small")
    case.ex.route_to, case.ex.route_rule = "strong", "policies/a.yaml:3"
    deny = asyncio.run(case.stage.request(case.ex))
    assert deny is not None
    assert deny.reason is Reason.POLICY_DENIED
    case.ex.route_to = "small"
    assert asyncio.run(case.stage.request(case.ex)) is None
    assert [target.model for target in case.ex.route.targets] == ["small"]


def test_a_provider_in_the_region_serves() -> None:
    grant = dataclasses.replace(GRANT, data={"residency": "us"}, fallback=("claude",))
    case = Case(text=HARD, grant=grant)
    assert case.models == ["strong", "claude"]
    assert Case(grant=grant).route.reason == "requested", "the local server is in no region"


def test_a_dry_run_reports_what_it_would_keep_in() -> None:
    case = Case(text=HARD, grant=dataclasses.replace(EUROPE, shadow=True))
    assert case.models == ["strong"]
    assert [(f.rule, "cloud is in us" in f.detail) for f in case.ex.findings] == [("shadow/policy_denied", True)]


def test_a_fallback_or_a_downgrade_must_be_able_to_serve_it() -> None:
    call = chat(HELLO, tools=Tools((ToolSpec("t"),)))
    case = Case(call=call, grant=dataclasses.replace(GRANT, fallback=("small",)), rules=able(tools=False))
    assert case.models == ["strong"]
    assert "it is offered tools" in str(case.stage.instead(case.ex, "small"))
    tight = Case(call=chat(HELLO), grant=dataclasses.replace(GRANT, fallback=("small",)), rules=able(context=16))
    assert tight.models == ["strong"]
    assert "may not fit into 16 tokens" in str(tight.stage.instead(tight.ex, "small"))


# --- hints ------------------------------------------------------------------------------------------------------------------------


def test_a_hint_moves_the_score_and_says_so() -> None:
    plain, easy, hard = (
        Case(text=HARD, headers=h) for h in ({}, {"x-fleetgate-task": " Classification "}, {"X-Fleetgate-Task": "reasoning"})
    )
    scores = [case.route.difficulty for case in (easy, plain, hard)]
    assert None not in scores
    assert scores == sorted(scores, key=lambda s: s or 0)
    assert "hint classification (-0.15)" in easy.route.why
    assert easy.route.reason == "requested", "a hint alone moves no hard request"


def test_a_hint_that_nobody_knows_counts_for_nothing() -> None:
    case, plain = Case(headers={"x-fleetgate-task": "trivial\x1b[2J"}), Case()
    assert case.route.difficulty == plain.route.difficulty
    assert "names no task that is known" in case.ex.decisions[0][1]
    assert "trivial" not in str(case.ex.decisions)


def test_no_hint_reaches_what_rules_forbid() -> None:
    for grant in (dataclasses.replace(GRANT, local_ok=False), dataclasses.replace(GRANT, routing=RoutingLimits(pinned=True))):
        case = Case(headers={"x-fleetgate-task": "classification"}, grant=grant)
        assert case.route.reason == "requested"


# --- pressure ---------------------------------------------------------------------------------------------------------------------


class Burning:
    """Budgets that burn by `share` over plan."""

    def __init__(self, share: float) -> None:
        self.share, self.asked = share, 0

    async def __call__(self, ex: Exchange) -> float:
        self.asked += 1
        return self.share


def pressed(share: float, most: float | None = 1.0, limits: RoutingLimits = ANY) -> tuple[Case, Burning]:
    burning = Burning(share)
    options = Options("enforce", "small", 0.0, most)
    return Case(options=options, around=Around(pressure=burning), grant=dataclasses.replace(GRANT, routing=limits)), burning


def test_budgets_that_burn_too_fast_raise_the_threshold_within_bounds() -> None:
    case, burning = pressed(0.9)
    assert case.route.reason == "local"
    assert "threshold 0.90 instead of 0, budgets are 90% over plan" in case.route.why
    assert burning.asked == 1
    assert pressed(0.0)[0].route.reason == "requested"
    assert pressed(1.0, limits=RoutingLimits(max_threshold=0.01))[0].route.reason == "requested"
    for never in (pressed(1.0, None), pressed(1.0, 0.0)):
        assert (never[0].route.reason, never[1].asked) == ("requested", 0)


def test_budgets_are_not_looked_at_where_that_changes_nothing() -> None:
    burning = Burning(1.0)
    Case(options=Options("enforce", "small", 1.0, 1.0), around=Around(pressure=burning))
    Case(call=chat(HELLO, CALLED, RESULT), options=Options("enforce", "small", 0.0, 1.0), around=Around(pressure=burning))
    Case(options=Options("enforce", "small", 0.0, 1.0), grant=dataclasses.replace(GRANT, local_ok=False), around=Around(pressure=burning))
    assert burning.asked == 0


# --- conversations ----------------------------------------------------------------------------------------------------------------


def closed(case: Case) -> None:
    async def release() -> None:
        for _, each in case.ex.defers:
            await each(case.ex)

    asyncio.run(release())


def served(case: Case, usage: Usage, at: int = 0) -> None:
    """End the exchange, served by its route's target `at`."""
    case.ex.target, case.ex.usage, case.ex.outcome = case.route.targets[at], usage, "ok"
    closed(case)


def turn(known: Conversations, *messages: Message, **more: Any) -> Case:
    options = dataclasses.replace(ENFORCE, threshold=more.pop("threshold", 0.6))
    more.setdefault("rules", able(tools=True))
    return Case(call=chat(*messages, **more.pop("call", {})), session="s", options=options, around=Around(conversations=known), **more)


def test_a_task_stays_where_it_went_and_the_next_may_return() -> None:
    known = Conversations()
    first = turn(known, HELLO)
    assert first.route.reason == "local"
    served(first, Usage(10))
    after = turn(known, HELLO, CALLED, RESULT)
    assert (after.route.reason, after.route.why, after.route.difficulty) == ("local", "its task is served there", None)
    assert after.models == ["small", "strong"]
    served(after, Usage(10))
    following = turn(known, HELLO, CALLED, RESULT, ANSWER, Message(b"", "user", (HARD,)))
    assert following.route.reason == "requested"
    served(following, Usage(10))
    assert turn(known, HELLO, CALLED, RESULT, ANSWER, Message(b"", "user", (HARD,)), CALLED, RESULT).route.reason == "requested"


def test_a_task_leaves_a_model_that_cannot_go_on_or_may_not() -> None:
    known = Conversations()
    served(turn(known, HELLO), Usage(10))
    tight = turn(known, HELLO, CALLED, RESULT, rules=able(tools=True, context=10))
    assert (tight.route.reason, tight.route.why) == ("requested", "it leaves small: it may not fit into 10 tokens")
    assert turn(known, HELLO, CALLED, RESULT, rules=able(tools=False)).route.reason == "requested"
    pinned = dataclasses.replace(GRANT, routing=RoutingLimits(pinned=True))
    assert turn(known, HELLO, CALLED, RESULT, grant=pinned).route.reason == "requested"


@pytest.mark.parametrize("at", [1])
def test_a_task_that_fell_back_stays_there(at: int) -> None:
    known = Conversations()
    served(turn(known, HELLO), Usage(10), at)
    assert turn(known, HELLO, CALLED, RESULT).route.reason == "requested"


def test_nothing_is_remembered_of_what_failed_or_belongs_to_no_session() -> None:
    known = Conversations()
    case = turn(known, HELLO)
    case.ex.outcome = "upstream_error"
    served_by = case.route.targets[0]
    case.ex.target = served_by
    closed(case)
    assert turn(known, HELLO, CALLED, RESULT).route.reason == "requested"
    assert Case().ex.defers == []


def priced(known: Conversations, *messages: Message) -> Case:
    """A turn of a conversation on a model whose provider sells what it keeps at a tenth."""
    case = Case(call=chat(HELLO), session="s")
    case.stage = type(case.stage)(
        ModelTable([rule("strong", "cloud"), rule("small", "here")], PROVIDERS, lambda *_: CACHED, lambda model: "o200k_base"),
        dataclasses.replace(ENFORCE, threshold=0.6),
        {},
        Around(conversations=known, tokens=lambda call, target: 0),
    )
    case.ex.call, case.ex.defers = chat(*messages), []
    case.ex.findings, case.ex.decisions = [], []
    case.deny = asyncio.run(case.stage.request(case.ex))
    return case


def test_a_conversation_stays_where_much_of_it_is_kept() -> None:
    for tokens, goes in ((50_000, "requested"), (1_500, "local")):
        known = Conversations()
        first = priced(known, Message(b"", "user", (HARD,)))
        assert first.route.reason == "requested"
        served(first, Usage(tokens, 600))
        second = priced(known, Message(b"", "user", (HARD,)), ANSWER, HELLO)
        assert second.route.reason == goes
        assert ("would lose more" in second.route.why) is (goes == "requested")
        other = priced(known, HELLO)
        assert other.route.reason == "local", "a conversation of its own in the same session has nothing to lose"


def test_a_sub_agent_is_judged_on_its_own() -> None:
    known = Conversations()
    served(priced(known, Message(b"", "user", (HARD,))), Usage(50_000, 600))
    case = Case(call=chat(Message(b"", "user", (HARD,)), ANSWER, HELLO), session="s", options=ENFORCE, around=Around(conversations=known))
    case.ex.depth = 1
    asyncio.run(case.stage.request(case.ex))
    assert case.ex.route.reason == "local"


# --- bad input --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "messages",
    [
        (),
        (Message(b"", "user", ()),),
        (Message(b"", "user", ("",)),),
        (Message(b"", "user", (), media=(Media("image_url", 10**6),)),),
        (RESULT, RESULT),
        (Message(b"", "user", ("x" * 1_000_000,)),),
        (Message(b"", "user", ("数える。 Считай. احسب. Compte ! 数える " * 100,)),),
        (Message(b"", "user", ("\ud800\x00" * 1000,)),),
    ],
)
def test_takes_whatever_comes(messages: tuple[Message, ...]) -> None:
    case = Case(call=chat(*messages))
    assert case.deny is None
    assert case.route.difficulty is None or 0 <= case.route.difficulty <= 1


def test_the_cheap_bound_is_one() -> None:
    target = Case().route.targets[0]
    assert cheap_bound(chat(HELLO), target) == 20

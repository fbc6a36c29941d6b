"""The graded end of a budget, a key's own limit, notices, and what a hold is about."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from budget_bench import CAP, Bench, headers, run
from budget_exchange import LOCAL, STRONG, USD, WALL, FixedClock, exchange, grant, refused, rule

from proxy.budget.hold import about
from proxy.engine.exchange import Exchange
from proxy.engine.notice import Notice
from proxy.model import FREE, Nanos, Price, Principal, Reason, Target, Usage
from proxy.money import dearest

CHEAP = Target("stub", "mini", "mini", "openai", Price(((0, USD // 1000),), ((0, USD // 100),)))
FREE_LOCAL = dataclasses.replace(LOCAL, price=FREE)
LONG = {"max_tokens": 1000}


class Elsewhere:
    """Knows where models are served, and keeps what it was asked."""

    def __init__(self, **served: tuple[Target, ...] | str) -> None:
        self.served, self.asked = served, list[str]()

    def __call__(self, ex: Exchange, model: str) -> tuple[Target, ...] | str:
        self.asked.append(model)
        return self.served[model or "local"]


def graded(on_exceed: str, **served: tuple[Target, ...] | str) -> Bench:
    bench = Bench(rule(limit=0.0001, on_exceed=on_exceed))
    bench.stage.instead = Elsewhere(**served)
    return bench


@pytest.mark.parametrize(("on_exceed", "word"), [("downgrade:mini", "downgrade"), ("local", "local")])
def test_a_call_that_does_not_fit_goes_elsewhere_at_the_price_there(on_exceed: str, word: str) -> None:
    async def body() -> None:
        target = CHEAP if word == "downgrade" else FREE_LOCAL
        bench, ex = graded(on_exceed, mini=(CHEAP,), local=(FREE_LOCAL,)), exchange(LONG | {"messages": _long()})
        assert await bench.stage.request(ex) is None
        assert (ex.route.targets, ex.route.reason) == ((target,), word)
        assert "budget cap is used up" in ex.route.why
        assert any(stage == "budget" and "cap" in words and word in words for stage, words in ex.decisions)
        assert [finding.rule for finding in ex.findings] == [f"budget/{word}"]
        assert target.price is not None
        held = (await bench.balance(CAP))[1]
        assert held == 0 if word == "local" else 0 < held <= 100_000
        await bench.close(ex, Usage(input=1, output=1), 11)
        assert await bench.balance(CAP) == (11, 0)

    run(body)


def test_what_fits_goes_where_it_was_going() -> None:
    async def body() -> None:
        bench, ex = Bench(rule(limit=1.0, on_exceed="downgrade:mini")), exchange(LONG)
        bench.stage.instead = elsewhere = Elsewhere()
        assert await bench.stage.request(ex) is None
        assert (ex.route.targets, elsewhere.asked) == ((STRONG,), [])

    run(body)


@pytest.mark.parametrize(
    ("served", "words"),
    [
        ("agent a may not use mini", "agent a may not use mini"),
        ((STRONG,), "there This call needs"),
        ((_UN := Target("x", "u", "u", "openai", None),), "not known"),
    ],
)
def test_where_that_does_not_help_the_refusal_says_both(served: Any, words: str) -> None:
    async def body() -> None:
        bench, ex = graded("downgrade:mini", mini=served), exchange(LONG | {"messages": _long()})
        deny = await bench.stage.request(ex)
        message = refused(Reason.REQUEST_TOO_COSTLY, deny)
        assert "budget cap ever has" in message
        assert "would have had it served by mini" in message
        assert words in message
        assert await bench.balance(CAP) == (0, 0)

    run(body)


def test_a_call_is_moved_twice_at_most() -> None:
    async def body() -> None:
        bench = Bench(rule(limit=0.0001, on_exceed="downgrade:mini"))
        bench.stage.instead = elsewhere = Elsewhere(mini=(STRONG,))
        refused(Reason.REQUEST_TOO_COSTLY, await bench.stage.request(exchange(LONG | {"messages": _long()})))
        assert elsewhere.asked == ["mini", "mini"]

    run(body)


def test_without_another_route_a_graded_budget_refuses() -> None:
    async def body() -> None:
        bench, ex = Bench(rule(limit=0.0001, on_exceed="local")), exchange(LONG | {"messages": _long()})
        assert "a local model: no other route" in refused(Reason.REQUEST_TOO_COSTLY, await bench.stage.request(ex))

    run(body)


def _long() -> list[dict[str, str]]:
    return [{"role": "user", "content": "word " * 500}]


def test_a_key_brings_its_own_limit_over_all_of_its_calls() -> None:
    async def body() -> None:
        bench, owner = Bench(), grant()

        def call(limit: int | None, key: str = "k1") -> Exchange:
            ex = exchange(LONG, given=owner)
            ex.principal = Principal("triage", key, limit=None if limit is None else Nanos(limit))
            return ex

        worst = dearest(100, 1000, STRONG.price or FREE)
        first = call(2 * worst)
        assert await bench.stage.request(first) is None
        assert (await bench.balance("key:limit|usd|key=k1|total"))[1] > 0
        await bench.close(first, Usage(input=1, output=1), 2 * worst - 1000)
        assert "key:limit" in refused(Reason.BUDGET_EXCEEDED, await bench.stage.request(call(2 * worst)))
        assert await bench.stage.request(call(2 * worst, "k2")) is None, "each key has its own"
        assert await bench.stage.request(call(None)) is None, "a key that is made anew without a limit"

    run(body)


def test_what_a_hold_is_about_is_short_json_of_names() -> None:
    ex = exchange()
    ex.session, ex.run = 's"1', "r1"
    assert json.loads(about(ex)) == {
        "agent": "triage",
        "key": "0011aabb",
        "session": 's"1',
        "run": "r1",
        "model": "gpt-4o",
        "provider": "stub",
    }
    ex = exchange(targets=())
    assert json.loads(about(ex)) == {"agent": "triage", "key": "0011aabb", "session": "s1"}


def told(ex: Exchange) -> list[Notice]:
    found: list[Notice] = []
    ex.rt = dataclasses.replace(ex.rt, tell=found.append)
    return found


def test_a_threshold_and_a_first_refusal_are_told_once_each() -> None:
    async def body() -> None:
        bench = Bench(rule(limit=0.02, warn_at=(0.5, 0.8)))

        async def call(spends: int) -> list[Notice]:
            ex = exchange(LONG, clock=FixedClock())
            found = told(ex)
            deny = await bench.stage.request(ex)
            if deny is None:
                await bench.close(ex, Usage(input=1, output=1), spends)
            return found

        assert await call(11_000_000) == []
        (notice,) = await call(6_000_000)
        assert (notice.kind, notice.key, notice.time) == ("budget", f"{CAP} 0.5", WALL)
        assert notice.facts["threshold"] == 0.5
        assert "50 % used" in notice.text
        (notice,) = await call(2_900_000)
        assert notice.key == f"{CAP} 0.8"
        (notice,) = await call(0)
        assert notice.facts["refused"] is True
        assert notice.facts["spent"] == 19_900_000
        assert await call(0) == [], "once"

    run(body)


def test_what_was_told_is_forgotten_when_it_grows_large(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body() -> None:
        monkeypatch.setattr("proxy.budget.watch.REMEMBERED", 1)
        bench = Bench(rule("one", 0.00001), rule("slots", 0, "concurrency"))
        for _ in range(2):
            ex = exchange(LONG)
            found = told(ex)
            assert await bench.stage.request(ex) is not None
            assert len(found) <= 1
        slots = Bench(rule("slots", 0, "concurrency"))
        ex = exchange(LONG)
        found = told(ex)
        assert await slots.stage.request(ex) is not None
        assert found == [], "slots come back by themselves"

    run(body)


def test_headers_of_a_call_that_was_moved_are_its_own() -> None:
    async def body() -> None:
        bench, ex = graded("downgrade:mini", mini=(CHEAP,)), exchange(LONG | {"messages": _long()})
        ex.max_output = 900
        assert await bench.stage.request(ex) is None
        assert ex.max_output == 900, "what policy set stands"
        assert len(ex.reply_headers) == len(headers(ex))

    run(body)

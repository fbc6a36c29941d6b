"""The contract of every budget store, over any sequence of verbs: doubled, at once, late, cancelled at their await, cut off by a fault.

Two stores on one place, whose clocks differ, against `store_model`. After each step what is spent and held is what the model says, and
never more than a limit.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from redis_server import shared_url
from store_cases import LATE, SCHEMES, url_of
from store_model import Model, alike

from proxy.budget.port import BudgetStore, Claim, Ended, Exceeded, Held
from proxy.engine.ports import StoreError
from proxy.stores import Stores, open_store, sqlite_path
from proxy.stores.faults import Unreachable
from proxy.stores.redis_place import is_redis
from proxy.stores.sqlite import SqliteBudget

KINDS = {
    claim.counter: claim
    for claim in (
        Claim("brief", "usd", None, 0, 30.0),
        Claim("dollars", "usd", 100, 0, LATE),
        Claim("tokens", "tokens", 60, 0, LATE),
        Claim("slots", "concurrency", 40, 0, LATE),
        Claim("made", "requests", None, 0, LATE),
        Claim("hour", "usd", 80, 0, LATE, span=3600.0),
        Claim("minute", "tokens", 50, 0, 1.0, span=60.0),
        Claim("rate", "requests", 70, 0, LATE, span=60.0),
        Claim("watched", "output_tokens", None, 0, LATE, span=600.0),
    )
}
UNITS = ("usd", "tokens", "concurrency", "requests", "output_tokens")
HOLDS = st.sampled_from("abcdef")
AMOUNTS = st.dictionaries(st.sampled_from(sorted(KINDS)), st.integers(0, 40), min_size=1)
TOTALS = st.dictionaries(st.sampled_from(UNITS), st.integers(0, 60))
SHARES = st.dictionaries(st.sampled_from(UNITS), st.integers(0, 4))
MODES = st.sampled_from(["once", "once", "once", "twice", "together", "cancelled", "cut"])
PHASES = [phase for phase in Phase if phase is not Phase.explain]
Make = Callable[[BudgetStore, float], Coroutine[Any, Any, Any]]


class Place:
    """Where the stores under test are, and what can go wrong there while a verb runs."""

    def __init__(self, url: str) -> None:
        self.url = shared_url() if is_redis(url) else url
        self.path = None if is_redis(url) else sqlite_path(url)
        self.other: sqlite3.Connection | None = None
        self.opened: list[Stores] = []
        for suffix in ("", "-wal", "-shm") if self.path else ():
            Path(f"{self.path}{suffix}").unlink(missing_ok=True)

    def stores(self) -> list[BudgetStore]:
        """Two of them, as if in two processes."""
        if self.path:
            self.other = sqlite3.connect(f"file:{self.path}", isolation_level=None, uri=True)
            return [SqliteBudget(self.path, busy_s=0.02) for _ in range(2)]
        self.opened = [open_store(self.url) for _ in range(1 if self.url == "memory:" else 2)]
        return [self.opened[0].budget, self.opened[-1].budget]

    def hurt(self) -> None:
        """Lock the file, or end all connections and forget the scripts."""
        if self.other:
            with contextlib.suppress(sqlite3.OperationalError):
                self.other.execute("BEGIN IMMEDIATE")
        elif is_redis(self.url) and "REDIS_URL" not in os.environ:
            with redis.Redis.from_url(self.url.partition("?")[0]) as other:
                other.script_flush()
                other.client_kill_filter(_type="normal", skipme=True)

    def heal(self) -> None:
        if self.other and self.other.in_transaction:
            self.other.execute("ROLLBACK")

    async def close(self) -> None:
        for stores in self.opened:
            await stores.close()
        if self.other:
            self.other.close()


class Machine(RuleBasedStateMachine):
    url = "memory:"

    @initialize(skew=st.integers(-16, 16), start=st.sampled_from([0.0, 1_795_000_000.0]))
    def start(self, skew: int, start: float) -> None:
        self.loop = asyncio.new_event_loop()
        self.place = Place(self.url)
        self.stores = self.loop.run_until_complete(self._open())
        self.skews = (0.0, skew / 4)
        self.model = Model(KINDS, lasting=self.url != "memory:")
        self.now, self.turn = start + 100.0, 0

    async def _open(self) -> list[BudgetStore]:
        return self.place.stores()

    def pick(self) -> tuple[BudgetStore, float]:
        """One of the stores, now this, now that, and what its clock says."""
        self.turn = self.turn * 5 + 3 & 0xFF
        which = (self.turn >> 3) & 1
        now = self.now + self.skews[which]
        return self.stores[which], now

    def used(self, now: float) -> None:
        """Note that some clock said `now`."""
        self.model.fastest = max(self.model.fastest, now)

    def play(self, mode: str, make: Make) -> tuple[list[Any], float]:
        """Send a verb in one of `MODES` and return its answers that are known, and the time that it had."""
        store, now = self.pick()
        other, _ = self.pick()
        answers = self.loop.run_until_complete(self._play(mode, make, [store, other], now))
        for answer in answers:
            assert not isinstance(answer, BaseException) or isinstance(answer, StoreError), answer
        return answers, now

    async def _play(self, mode: str, make: Make, stores: Sequence[BudgetStore], now: float) -> list[Any]:
        store, other = stores
        if mode == "twice":
            return [await outcome(make, store, now), await outcome(make, other, now)]
        if mode == "together":
            return list(await asyncio.gather(outcome(make, store, now), outcome(make, other, now)))
        if mode == "cancelled":
            task = asyncio.ensure_future(outcome(make, store, now))
            for _ in range(self.turn % 4):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        if mode == "cut":
            task = asyncio.ensure_future(outcome(make, store, now))
            for _ in range(self.turn % 4):
                await asyncio.sleep(0)
            self.place.hurt()
            await task
            self.place.heal()
            for each in self.stores:
                await back(each, now)
        return [await outcome(make, store, now)]  # whatever came of it: the same verb again finds out

    @rule(hold_id=HOLDS, amounts=AMOUNTS, life=st.integers(1, 200), mode=MODES)
    def reserve(self, hold_id: str, amounts: dict[str, int], life: int, mode: str) -> None:
        model, about = self.model, f"{hold_id} for {life}"
        claims = [KINDS[key]._replace(amount=amount) for key, amount in sorted(amounts.items())]
        expires = self.now + life
        answers, now = self.play(mode, lambda store, now: store.reserve(hold_id, claims, now, expires, about))
        assert alike(answers)
        answer, standing = answers[0], model.holds.get(hold_id)
        if hold_id in model.settled or (standing and [c[:4] for c in standing.claims] != [c[:4] for c in claims]):
            assert isinstance(answer, StoreError)
        elif standing:
            assert isinstance(answer, Held)
        elif isinstance(answer, Exceeded):
            assert model.verdict(claims, now) is not True
            assert all(model.refused_rightly(a, claims, now) for a in answers)
            self.used(now)  # it looked, so windows have rolled on
        else:
            assert isinstance(answer, Held)
            assert model.verdict(claims, now) is not False
            self.used(now)
            model.reserve(hold_id, claims, now, expires, about)
            self.right(answers[0], claims, now)

    @rule(hold_id=HOLDS, amounts=TOTALS, life=st.none() | st.integers(1, 200), mode=MODES)
    def extend(self, hold_id: str, amounts: dict[str, int], life: int | None, mode: str) -> None:
        model, hold = self.model, self.model.holds.get(hold_id)
        expires = None if life is None else self.now + life
        answers, now = self.play(mode, lambda store, now: store.extend(hold_id, amounts, now, expires))
        assert alike(answers)
        if hold is None:
            assert isinstance(answers[0], StoreError)
            return
        more = model.more(hold, amounts)
        if isinstance(answers[0], Exceeded):
            assert model.verdict(more, now) is not True
            assert all(model.refused_rightly(a, more, now) for a in answers)
        else:
            assert isinstance(answers[0], Held)
            assert model.verdict(more, now) is not False
            self.used(now)
            model.extend(hold, amounts, expires)
            self.right(answers[0], hold.claims, now)

    def right(self, answer: Held, claims: Sequence[Claim], now: float) -> None:
        assert len(answer.balances) == len(claims)
        for claim, balance in zip(claims, answer.balances, strict=True):
            assert self.model.says(claim.counter, balance, now), (claim, balance)

    @rule(hold_id=HOLDS, shares=SHARES, refund=st.sets(st.sampled_from(sorted(KINDS)), max_size=2), mode=MODES)
    def settle(self, hold_id: str, shares: dict[str, int], refund: set[str], mode: str) -> None:
        hold = self.model.holds.get(hold_id)
        claims = hold.claims if hold else ()
        amounts = {u: min([c.amount for c in claims if c.unit == u], default=9) * share // 4 for u, share in shares.items()}
        answers, now = self.play(mode, lambda store, now: store.settle(hold_id, amounts, now, refund))
        self.used(now)
        self.ended_once(answers, mode, self.model.settle(hold_id, amounts, now, refund))

    @rule(hold_id=HOLDS, mode=MODES)
    def release(self, hold_id: str, mode: str) -> None:
        answers, now = self.play(mode, lambda store, now: store.release(hold_id, now))
        self.used(now)
        self.ended_once(answers, mode, self.model.settle(hold_id, {}, now))

    def ended_once(self, answers: list[Any], mode: str, ends: bool) -> None:
        """One call that ended the hold, or none; of a call whose answer was lost, the next may not know."""
        assert all(isinstance(answer, bool) for answer in answers)
        if mode in ("cancelled", "cut"):
            assert sum(answers) <= ends
        else:
            assert sum(answers) == ends

    @rule(mode=MODES)
    def sweep(self, mode: str) -> None:
        answers, now = self.play(mode, lambda store, now: store.sweep(now))
        self.used(now)
        expected = self.model.sweep(now)
        found: list[Ended] = sorted([ended for answer in answers for ended in answer], key=lambda e: e.hold_id)
        if mode in ("cancelled", "cut"):
            assert all(ended in expected for ended in found)
        else:
            assert found == expected, "each once"

    @rule(hold_ids=st.sets(HOLDS, min_size=1), mode=MODES)
    def recorded(self, hold_ids: set[str], mode: str) -> None:
        """The ledger has them."""
        self.play(mode, lambda store, now: store.recorded(sorted(hold_ids)))
        self.model.recorded(sorted(hold_ids))

    @rule(seconds=st.sampled_from([0.25, 1, 7, 30, 61, 130, 3700]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(seconds=st.integers(1, 5))
    def step_back(self, seconds: int) -> None:
        self.now -= seconds

    @rule(ahead=st.sampled_from([0.0, 100.0, 1e6, 1e9]))
    def look_from_afar(self, ahead: float) -> None:
        """Who only looks may have any clock."""
        store, now = self.pick()
        self.loop.run_until_complete(outcome(balances, store, now + ahead))

    @invariant()
    def never_over_the_limit(self) -> None:
        if not hasattr(self, "stores"):
            return
        store, now = self.pick()
        found = self.loop.run_until_complete(outcome(balances, store, now))
        assert isinstance(found, dict), found
        for key, claim in KINDS.items():
            assert self.model.says(key, found[key], now), (key, found[key], self.model.bounds(key, now), self.model.held(key))
            assert claim.limit is None or sum(found[key]) <= claim.limit

    def teardown(self) -> None:
        if hasattr(self, "stores"):
            for store in self.stores:
                self.loop.run_until_complete(store.close())
            self.loop.run_until_complete(self.place.close())
            self.loop.close()


def balances(store: BudgetStore, now: float) -> Coroutine[Any, Any, Any]:
    return store.balances(sorted(KINDS), now)


async def back(store: BudgetStore, now: float) -> None:
    """Wait until `store` answers again: a real server is asked for a new connection."""
    for _ in range(2000):
        if not isinstance(await outcome(balances, store, now), Unreachable):
            return
        await asyncio.sleep(0.001)
    raise AssertionError("the store did not come back")


async def outcome(make: Make, store: BudgetStore, now: float) -> Any:
    """The answer of a verb, or the fault that it raised."""
    try:
        return await make(store, now)
    except StoreError as e:
        return e


@pytest.mark.parametrize("scheme", SCHEMES)
def test_spent_and_held_never_exceed_the_limit(scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.stores.sqlite.LAZY_S", 0.0)
    monkeypatch.setattr("proxy.stores.redis_link.BACKOFF_S", 0.001)
    machine = type("Bound", (Machine,), {"url": url_of(scheme, tmp_path)})
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large]
    examples = int(os.environ.get("FLEETGATE_EXAMPLES", "80" if scheme == "memory" else "25"))
    how = settings(max_examples=examples, stateful_step_count=40, deadline=None, suppress_health_check=checks, phases=PHASES)
    run_state_machine_as_test(machine, settings=how)

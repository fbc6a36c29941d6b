"""The invariant of every budget store, over any sequence of verbs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from redis_server import shared_url
from store_cases import LATE, SCHEMES, url_of

from proxy.budget.port import BudgetStore, Claim, Held, Unit
from proxy.engine.ports import StoreError
from proxy.stores import Stores, open_store, sqlite_path
from proxy.stores.redis_place import is_redis

LIMITS = {"a": 100, "b": 60, "c": None}
UNITS: dict[str, Unit] = {"a": "usd", "b": "tokens", "c": "requests"}
AMOUNTS = st.dictionaries(st.sampled_from(sorted(LIMITS)), st.integers(0, 50), min_size=1)


class Machine(RuleBasedStateMachine):
    """Any sequence of verbs, against the simplest model of the contract."""

    url = "memory:"

    @initialize()
    def start(self) -> None:
        if self.url.startswith("sqlite"):
            path = sqlite_path(self.url)
            assert path is not None
            for suffix in ("", "-wal", "-shm"):
                Path(f"{path}{suffix}").unlink(missing_ok=True)
        self.loop = asyncio.new_event_loop()
        url = shared_url() if is_redis(self.url) else self.url
        self.opened: list[Stores] = [open_store(url)]
        if url != "memory:":  # a second process on the same store
            self.opened.append(open_store(url))
        self.turn = 0
        self.now = 0.0
        self.holds: dict[int, tuple[dict[str, int], float] | None] = {}
        self.spent = dict.fromkeys(LIMITS, 0)

    @property
    def store(self) -> BudgetStore:
        """One of the stores on the file, now this, now that."""
        self.turn = self.turn * 5 + 3 & 0xFF
        return self.opened[(self.turn >> 3) % len(self.opened)].budget

    def do(self, work: Awaitable[object]) -> object:
        async def wait() -> object:
            return await work

        return self.loop.run_until_complete(wait())

    def held(self, key: str) -> int:
        return sum(hold[0].get(key, 0) for hold in self.holds.values() if hold)

    @rule(number=st.integers(0, 6), amounts=AMOUNTS, life=st.integers(1, 9))
    def reserve(self, number: int, amounts: dict[str, int], life: int) -> None:
        claims = [Claim(k, UNITS[k], LIMITS[k], v, LATE) for k, v in amounts.items()]
        work = self.store.reserve(str(number), claims, self.now, self.now + life)
        if number in self.holds and self.holds[number] is None:
            with pytest.raises(StoreError):
                self.do(work)
            return
        limited = [(k, v, limit) for k, v in amounts.items() if (limit := LIMITS[k]) is not None]
        fits = all(self.spent[k] + self.held(k) + v <= limit for k, v, limit in limited)
        standing = self.holds.get(number)
        if standing and standing[0] != amounts:
            with pytest.raises(StoreError):
                self.do(work)
            return
        answer = self.do(work)
        if standing:
            assert isinstance(answer, Held)
            return
        assert isinstance(answer, Held) == fits
        if fits:
            self.holds[number] = (amounts, self.now + life)

    @rule(number=st.integers(0, 6), share=st.integers(0, 4))
    def settle(self, number: int, share: int) -> None:
        hold = self.holds.get(number)
        used = {k: v * share // 4 for k, v in hold[0].items()} if hold else {"a": 7}
        ended = self.do(self.store.settle(str(number), {UNITS[k]: v for k, v in used.items()}, self.now))
        assert ended == bool(hold)
        self.holds[number] = None
        for key, amount in used.items() if hold else ():
            self.spent[key] += amount

    @rule(seconds=st.integers(0, 6))
    def sweep(self, seconds: int) -> None:
        self.now += seconds
        over = [n for n, hold in self.holds.items() if hold and hold[1] <= self.now]
        ended: Any = self.do(self.store.sweep(self.now))
        assert len(ended) == len(over)
        for number in over:
            hold = self.holds[number]
            assert hold
            for key, amount in hold[0].items():
                self.spent[key] += amount
            self.holds[number] = None

    @invariant()
    def never_over_the_limit(self) -> None:
        if not hasattr(self, "opened"):
            return
        found = self.do(self.store.balances(sorted(LIMITS), self.now))
        assert found == {key: (self.spent[key], self.held(key)) for key in LIMITS}
        assert all(limit is None or self.spent[key] + self.held(key) <= limit for key, limit in LIMITS.items())

    def teardown(self) -> None:
        if hasattr(self, "opened"):
            for stores in self.opened:
                self.do(stores.close())
            self.loop.close()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_spent_and_held_never_exceed_the_limit(scheme: str, tmp_path: Path) -> None:
    machine = type("Bound", (Machine,), {"url": url_of(scheme, tmp_path)})
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large]
    examples = 60 if scheme == "memory" else 25
    how = settings(max_examples=examples, stateful_step_count=25, deadline=None, suppress_health_check=checks)
    run_state_machine_as_test(machine, settings=how)

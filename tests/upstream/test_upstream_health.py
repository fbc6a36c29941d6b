"""When a circuit opens, who may try, and how it closes again."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from proxy.upstream.health import LONGEST_S, Breaker


def opened(failures: int = 3, cooldown_s: float = 5.0) -> Breaker:
    breaker = Breaker(failures, cooldown_s)
    for _ in range(failures):
        breaker.failed(100.0)
    return breaker


def test_so_many_in_a_row_open_it_and_not_one_less() -> None:
    breaker = Breaker(3, 5)
    for _ in range(2):
        breaker.failed(0)
    assert (breaker.state, breaker.rest(0)) == ("closed", 0)
    breaker.worked()
    for _ in range(2):
        breaker.failed(0)
    assert breaker.state == "closed", "what worked in between starts the count anew"
    breaker.failed(0)
    assert (breaker.state, breaker.rest(0)) == ("open", 5)


def test_off_never_opens() -> None:
    breaker = Breaker(0, 5)
    for _ in range(100):
        breaker.failed(0)
    assert breaker.state == "closed"


def test_one_trial_for_each_cooldown() -> None:
    breaker = opened()
    assert breaker.rest(104.9) == pytest.approx(0.1)
    assert breaker.rest(105) == 0
    assert breaker.state == "half open"
    assert [breaker.rest(105), breaker.rest(109)] == [5, 1]
    assert breaker.rest(110) == 0, "the first trial did not come back"


def test_a_trial_that_fails_doubles_the_cooldown_up_to_the_longest() -> None:
    breaker, now, found = opened(), 100.0, []
    for _ in range(5):
        now += breaker.rest(now)
        assert breaker.rest(now) == 0
        breaker.failed(now, trial=True)
        found.append(breaker.rest(now))
    assert found == [10, 20, LONGEST_S, LONGEST_S, LONGEST_S]


def test_a_trial_that_works_closes_it_and_forgets() -> None:
    breaker = opened()
    breaker.failed(105, trial=True)
    assert breaker.rest(115) == 0
    breaker.worked()
    assert (breaker.state, breaker.row, breaker.rest(115)) == ("closed", 0, 0)
    for _ in range(3):
        breaker.failed(200)
    assert breaker.rest(200) == 5, "the next time starts with the first cool-down"


def test_what_was_under_way_before_it_opened_changes_nothing_when_it_fails() -> None:
    breaker = opened()
    for _ in range(50):
        breaker.failed(101)
    assert breaker.rest(101) == 4


class Machine(RuleBasedStateMachine):
    """A provider that is up or down, requests that go and come back in any order, and a clock."""

    LIMIT, BASE_S = 3, 5.0

    def __init__(self) -> None:
        super().__init__()
        self.breaker, self.now, self.row = Breaker(self.LIMIT, self.BASE_S), 0.0, 0
        self.out: list[bool] = []
        self.trials: list[float] = []

    @rule(seconds=st.floats(0, 40))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def a_request_comes(self) -> None:
        trial = self.breaker.open
        if self.breaker.rest(self.now) > 0:
            return
        if trial:
            assert not self.trials or self.now - self.trials[-1] >= self.BASE_S - 1e-9, "two trials within one cool-down"
            self.trials.append(self.now)
        self.out.append(trial)

    @precondition(lambda self: self.out)
    @rule(worked=st.booleans(), data=st.data())
    def a_request_ends(self, worked: bool, data: st.DataObject) -> None:
        trial = self.out.pop(data.draw(st.integers(0, len(self.out) - 1)))
        if worked:
            self.breaker.worked()
            self.row, self.trials = 0, []
            assert self.breaker.state == "closed"
        else:
            self.breaker.failed(self.now, trial)
            self.row += 1

    @precondition(lambda self: self.out)
    @rule()
    def a_client_leaves(self) -> None:
        self.out.pop()

    @invariant()
    def it_is_open_after_so_many_failures_in_a_row_alone(self) -> None:
        assert self.breaker.row == self.row
        assert self.breaker.open == (self.row >= self.LIMIT)
        assert self.BASE_S <= self.breaker.cooldown_s <= LONGEST_S

    @invariant()
    def nobody_stays_away_for_longer_than_the_longest(self) -> None:
        if self.breaker.open and self.breaker._until > self.now:
            assert self.breaker.rest(self.now) <= LONGEST_S


TestMachine = Machine.TestCase

"""The order of stages is proven before a request comes."""

from __future__ import annotations

import pytest

from proxy.engine.exchange import Exchange
from proxy.engine.stage import PlanError, Stage, compile_plan
from proxy.model import Deny


def stage(stage_name: str, wants: set[str], makes: set[str]) -> Stage:
    class Some(Stage):
        name, needs, gives = stage_name, frozenset(wants), frozenset(makes)

        async def request(self, ex: Exchange) -> Deny | None:
            return None

    return Some()


def test_a_stage_that_needs_what_nobody_gave_is_refused() -> None:
    with pytest.raises(PlanError, match="budget needs route"):
        compile_plan([stage("budget", {"route"}, set()), stage("routing", set(), {"route"})], [])


def test_a_field_has_one_giver_and_a_stage_one_place() -> None:
    with pytest.raises(PlanError, match="gives route a second time"):
        compile_plan([stage("a", set(), {"route"}), stage("b", set(), {"route"})], [])
    with pytest.raises(PlanError, match="its name"):
        compile_plan([stage("a", set(), set()), stage("a", set(), set())], [])


def test_hooks_that_nobody_overrides_are_not_in_the_plan() -> None:
    class Silent(Stage):
        name = "silent"

    plan = compile_plan([stage("a", set(), {"x"}), Silent(), stage("b", {"x", "headers"}, set())], {"headers"})
    assert [name for name, _ in plan.request] == ["a", "b"]
    assert plan.reply == ()
    assert plan.taps == ()

"""Which calls are drawn to be compared, and where the second look at one goes."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from routing_case import GRANT, HARD, Case

from proxy.engine.exchange import Exchange
from proxy.model import Deny
from proxy.routing.sample import SampleStage, comparable
from proxy.routing.stage import Options
from proxy.wire.call import ToolSpec


def drawn(ex: Exchange, share: float = 1.0, draw: float = 0.0) -> bool:
    taken: list[Exchange] = []
    stage = SampleStage(share, taken.append, lambda ex: None, lambda: draw)
    assert asyncio.run(stage.request(ex)) is None
    assert stage.tap(ex) is None
    return taken == [ex]


def test_what_went_local_is_drawn_by_its_share() -> None:
    ex = Case().ex
    assert ex.route.reason == "local"
    assert drawn(ex, 0.5, 0.49)
    assert not drawn(ex, 0.5, 0.5)


@pytest.mark.parametrize("more", [{"text": HARD}, {"mode": "shadow"}, {"model": "small"}])
def test_what_stayed_is_not_drawn(more: dict[str, Any]) -> None:
    assert not drawn(Case(**more).ex)


def test_what_a_rule_sent_or_is_a_sample_or_would_have_effects_is_not_drawn() -> None:
    for name, value in (("route_to", "small"), ("sample_of", "x")):
        ex = Case().ex
        setattr(ex, name, value)
        assert not comparable(ex)
    ex = Case().ex
    ex.call = replace(ex.call, thread="resp_1")
    assert not comparable(ex)
    ex = Case().ex
    ex.call = replace(ex.call, tools=replace(ex.call.tools, specs=(ToolSpec("web", kind="web_search"),)))
    assert not comparable(ex)


def test_one_without_the_asked_model_behind_it_is_not_drawn() -> None:
    ex = Case().ex
    ex.route = replace(ex.route, targets=ex.route.targets[:1])
    assert not drawn(ex)


def second(case: Case, **given: str) -> Deny | None:
    case.ex.sample_of = "first"
    for name, value in given.items():
        setattr(case.ex, name, value)
    return asyncio.run(case.stage.request(case.ex))


@pytest.mark.parametrize("model", ["strong", "auto"])
def test_a_sample_goes_to_the_asked_model_alone(model: str) -> None:
    case = Case(model=model)
    assert second(case) is None
    assert [t.model for t in case.ex.route.targets] == ["strong"]
    assert (case.ex.route.reason, case.ex.route.why) == ("requested", "sample of first")
    assert not comparable(case.ex)


def test_a_sample_goes_nowhere_else_where_rules_or_data_keep_it_away() -> None:
    deny = second(Case(), route_to="small", route_rule="policies/a.yaml:3")
    assert deny is not None
    assert (deny.reason, deny.rule) == ("model_not_allowed", "policies/a.yaml:3")
    case = Case(grant=replace(GRANT, data={"classification": "secret"}), options=Options("enforce", "small", local_only=("secret",)))
    deny = second(case)
    assert deny is not None
    assert (deny.reason, deny.rule) == ("model_not_allowed", "routing.sample")

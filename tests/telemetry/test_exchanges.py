from __future__ import annotations

from dataclasses import replace

import pytest
from record_samples import SERVED

from proxy.telemetry import exchanges
from proxy.telemetry.exchanges import Exchanges


def counted(of: Exchanges, name: str) -> dict[tuple[str, ...], int]:
    found = next(counter for counter in of.counters if counter.family[0] == name)
    return {key: cell[0] for key, cell in found.cells.items()}


def test_exchanges_of_one_kind_count_in_the_same_places_and_others_in_their_own() -> None:
    found = Exchanges(10)
    for agent in ("a", "b", "a"):
        found.count(replace(SERVED, agent=agent))
    found.count(replace(SERVED, agent="a", route="local", team="other"))
    who = ("gpt-5-mini", "openai")
    assert counted(found, "fleetgate_requests") == {("a", *who, "ok", ""): 3, ("b", *who, "ok", ""): 1}
    assert counted(found, "fleetgate_tokens")["a", *who, "input"] == 3 * SERVED.input_tokens
    assert counted(found, "fleetgate_routed") == {("downgrade",): 3, ("local",): 1}
    assert counted(found, "fleetgate_team_cost_usd") == {("payments",): 3 * SERVED.cost, ("other",): SERVED.cost}


def test_a_kind_counts_what_its_first_exchange_did_not_have() -> None:
    found = Exchanges(10)
    found.count(replace(SERVED, input_tokens=0, output_tokens=0, cost=0, marks={"closed": 5}))
    found.count(SERVED)
    assert counted(found, "fleetgate_tokens")["invoice-triage", "gpt-5-mini", "openai", "input"] == SERVED.input_tokens
    assert counted(found, "fleetgate_cost_usd") == {("invoice-triage", "gpt-5-mini", "openai"): SERVED.cost}
    assert [sum(h.row("openai")[:-1]) for h in found.histograms if h.family[2]] == [1, 1]


def test_places_are_kept_within_bounds_and_sums_stay_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchanges, "MAX_KINDS", 3)
    found = Exchanges(100)
    for number in range(20):
        found.count(replace(SERVED, agent=f"agent-{number % 5}"))
    assert len(found._kinds) <= 3
    assert set(counted(found, "fleetgate_requests").values()) == {4}


@pytest.mark.parametrize("change", [{"agent": "", "outcome": "denied"}, {"reason": "model_not_allowed"}, {"model": "m" * 5000}])
def test_what_anybody_may_say_is_not_kept(change: dict[str, str]) -> None:
    found = Exchanges(10)
    found.count(replace(SERVED, **change))  # type: ignore[arg-type]
    found.count(replace(SERVED, **change))  # type: ignore[arg-type]
    assert found._kinds == {}
    assert sum(counted(found, "fleetgate_requests").values()) == 2

"""What routing did, summed, and the thresholds that records speak for."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.engine.record import Record
from proxy.telemetry.routed import LEAST, WOULD, Line, fit_quality, fit_saving, report, words

S = 1_000_000_000


def record(number: int, difficulty: float | None = None, *, began: str = "requested", **more: Any) -> Record:
    fields: dict[str, Any] = {
        "agent": "a",
        "operation": "chat",
        "model_asked": "big",
        "model": "big",
        "route": "requested",
        "outcome": "ok",
        "decisions": (("policy", "allowed"), ("routing", f"{began}: cloud big; difficulty 0.1")),
        "marks": {"sent": 0, "last_byte": 3 * S, "closed": 3 * S},
    } | more
    return Record(f"id{number}", 1_795_600_000.0 + number, difficulty=difficulty, **fields)


def local(number: int, difficulty: float = 0.1, **more: Any) -> Record:
    marks = {"sent": 0, "last_byte": 1 * S, "closed": 1 * S}
    return record(number, difficulty, began="local", **{"model": "small", "route": "local", "saved": 2 * S, "marks": marks} | more)


RECORDS = (
    record(1, 0.9, cost=6 * S),
    local(2),
    local(3, agent="b"),
    local(4, route="fallback", model="big", cost=1 * S, saved=0, fallbacks=(("here", "small", "json", 9, 9, 0, 5),)),
    record(5, None, cost=1 * S),
    record(6, 0.2, findings=((WOULD, "x"),), would_save=S),
    record(7, 0.1, outcome="denied"),
    record(8, None, operation="embeddings"),
    record(
        9, None, agent="b", route="local", model="small", decisions=(("routing", "requested: cloud big"), ("budget", "local: here small"))
    ),
)


def test_sums_what_was_moved_and_what_it_saved() -> None:
    found = report(RECORDS)
    total = found.total
    assert (total.calls, total.scored, total.local, total.back, total.would) == (7, 5, 3, 1, 1)
    assert (total.cost, total.saved, total.would_save) == (8 * S, 4 * S, S)
    assert total.seconds == pytest.approx(4.0)
    assert [(line.key, line.calls, line.local) for line in found.agents] == [("a", 5, 2), ("b", 2, 1)]
    assert [line.key for line in found.models] == ["big"]


def test_the_text_fits_a_terminal_and_says_all_of_it() -> None:
    text = words(report((*RECORDS, record(10, agent="x" * 60 + "\x1b[2J", cost=123_456_789 * S))), "since 2026-11-25 00:00:00")
    assert max(map(len, text.splitlines())) <= 80
    for part in (
        "8 chats, 5 scored",
        "routed      3 to the simple model: 37.5% of calls",
        "fell back   1: 33.3% of those (1 json)",
        "4 saved",
        "in shadow   1 would go",
    ):
        assert part in text
    assert "\x1b" not in text
    shadow = words(report([record(1, 0.1, findings=((WOULD, "x"),), would_save=S, cost=S)]), "of all records")
    assert "in shadow   1 would go: 100.0% of calls, 1.00 USD" in shadow
    assert "routed " not in shadow
    assert "0 chats" in words(report(()), "of all records")


def test_the_json_has_the_same_numbers() -> None:
    found = json.loads(json.dumps(report(RECORDS).as_json()))
    assert found["total"]["saved_share"] == pytest.approx(4 / 12, abs=1e-4)
    assert (found["total"]["share"], found["total"]["fallback_rate"]) == (pytest.approx(0.4286), pytest.approx(0.3333))
    assert found["total"]["saved_usd"] == "4.00"
    assert Line("none").as_json()["share"] == 0.0


SCORED = tuple(record(n, n / 10, cost=n * S) for n in range(10))


@pytest.mark.parametrize(
    ("wanted", "of", "threshold", "reached"),
    [(0.3, "calls", 0.201, 0.3), (0.25, "calls", 0.201, 0.3), (1.0, "calls", 0.901, 1.0), (0.2, "dollars", 0.401, 10 / 45)],
)
def test_fits_the_threshold_to_a_saving(wanted: float, of: Any, threshold: float, reached: float) -> None:
    fit = fit_saving(SCORED, wanted, of)
    assert fit.threshold == pytest.approx(threshold)
    assert fit.reached == pytest.approx(reached)
    assert fit.calls == 10


def test_a_saving_counts_what_could_not_be_scored_and_what_rules_kept() -> None:
    kept = [record(20 + n, 0.05, route_why="difficulty 0.05: x; not to small: it uses tools") for n in range(10)]
    fit = fit_saving((*SCORED, *kept), 0.9, "calls")
    assert fit.threshold is None
    assert "only 50.0% of calls are new tasks that may go" in fit.problem
    assert fit_saving((), 0.1, "calls").threshold is None
    assert fit_saving([record(1)], 0.1, "calls").threshold is None


def test_equal_scores_go_together() -> None:
    assert fit_saving([record(n, 0.5) for n in range(4)], 0.25, "calls").reached == 1.0


def test_fits_the_threshold_to_a_quality() -> None:
    well = [local(n, 0.1 + n / 1000) for n in range(30)]
    worse = [local(100 + n, 0.5 + n / 1000, route="fallback" if n % 2 else "local") for n in range(20)]
    fit = fit_quality((*well, *worse), 0.95)
    assert fit.threshold is not None
    assert 0.5 < fit.threshold < 0.51
    assert fit.reached >= 0.95
    assert fit_quality(well, 1.0).threshold == pytest.approx(0.13)
    assert fit_quality([local(n, route="fallback") for n in range(40)], 0.5).problem == "below no threshold 50% ended well"
    assert f"{LEAST} say something" in fit_quality(well[:5], 0.5).problem


def test_samples_are_told_of_and_count_in_nothing_else() -> None:
    sample = record(9, None, cost=4 * S, decisions=(("sample", "sample of id2"), ("routing", "requested: cloud big; sample of id2")))
    refused = record(10, None, outcome="denied", decisions=(("sample", "sample of id3"),))
    found, without = report((*RECORDS, sample, refused)), report(RECORDS)
    assert found.as_json() == without.as_json() | {"samples": {"calls": 1, "cost_usd": "4.00"}}
    assert "compared    1 asked again for 4.00 USD" in words(found, "today")
    assert "compared" not in words(without, "today")

"""What the steady load says of its samples: what grew is named, and what stays within its bounds is not."""

from __future__ import annotations

from benchmarks.steady import GAINED, faults, summary


def samples(rss: list[float], fds: list[int] | None = None) -> list[dict[str, float]]:
    return [{"rss_mb": mb, "fds": n, "threads": 9, "tasks": 40} for mb, n in zip(rss, fds or [60] * len(rss), strict=True)]


def test_a_flat_run_has_no_faults() -> None:
    found = summary(samples([200, 204, 196, 200]))
    assert found["rss_spread"] == 0.02
    assert found["rss_mb"] == {"first": 200, "last": 200, "least": 196, "most": 204}
    assert found["rss_curve"] == [200, 204, 196, 200]
    assert faults([found], 100, 100) == []


def test_what_grows_or_is_missing_is_named() -> None:
    grown = summary(samples([200, 210, 220, 230], [60, 62, 66, 61 + GAINED]))
    assert faults([summary(samples([200])), grown], 100, 99) == [
        "replica 1: rss_spread 7.0%",
        "replica 1: fds grew",
        "100 calls and 99 records",
    ]

"""Records for the tests of this folder."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from benchmarks.records import TYPICAL
from proxy.engine.record import Record

MS = 1_000_000
SERVED = replace(
    TYPICAL,
    id="01jd3k8x9vq2m4n6p8r0s2t4w6",
    session="s-1",
    model_asked="gpt-5",
    route="downgrade",
    route_why="budget fleet-month is at 0.80",
    difficulty=0.12,
    cache_write_tokens=30,
    cache_write_1h_tokens=12,
    reasoning_tokens=100,
    media=(("input_audio", 80), ("output_image", 12)),
    price="genai-prices",
    loop="warn;rule=identical;count=3",
    wasted=4_000_000,
    wasted_new=1_000_000,
    findings=(("secrets/aws-key", "1 place"), ("shadow/model_not_allowed", "")),
    decisions=(("policy", "gpt-5 allowed by AGENTS.md:12 policy.models.allow"), ("budget", "0.05 USD held of fleet-month")),
    charges=(),
)
REFUSED = Record(
    id="01jd3k8x9vq2m4n6p8r0s2t4w7",
    time=1_795_244_761.0,
    agent="invoice-triage",
    session="s-1",
    protocol="openai",
    operation="chat",
    model_asked="gpt-5",
    status=402,
    outcome="denied",
    reason="budget_exceeded",
    rule="budgets/fleet.yaml:3 budgets[0].limit",
    message="fleet-month is spent.",
    remedy="Wait for the first of the month, or raise the limit.",
    marks={"body": MS, "closed": 2 * MS},
)
STRANGER = Record(
    id="01jd3k8x9vq2m4n6p8r0s2t4w8",
    time=1_795_244_762.0,
    model_asked="attacker-model",
    status=401,
    outcome="denied",
    reason="unauthenticated",
    message="No key was sent.",
    remedy="Send a key.",
    marks={"closed": MS},
)


def served(number: int, **changes: Any) -> Record:
    """A served record with an id and time of its own."""
    return replace(SERVED, **{"id": f"id-{number:06d}", "time": float(number), **changes})

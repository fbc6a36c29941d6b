"""The record of a typical call: served, streaming, a long prompt, an agent with a version and a budget."""

from __future__ import annotations

from proxy.engine.record import Record

MARKS_MS = {"body": 1, "admitted": 2, "sent": 3, "head": 400, "first_byte": 403, "last_byte": 1003, "closed": 1004}
TYPICAL = Record(
    id="",
    time=1_795_244_760.5,
    agent="invoice-triage",
    team="payments",
    version="1.4.0",
    file_digest="ab" * 32,
    policy_digest="cd" * 32,
    key_id="k12",
    session="invoice-triage/s-1",
    session_source="x-fleetgate-session",
    protocol="openai",
    operation="chat",
    stream=True,
    model_asked="gpt-5-mini",
    model="gpt-5-mini",
    provider="openai",
    route="requested",
    status=200,
    upstream_status=200,
    outcome="ok",
    input_tokens=5000,
    output_tokens=600,
    cache_read_tokens=2000,
    cost=12_345_678,
    decisions=(("policy", "gpt-5-mini allowed by AGENTS.md:12 policy.models.allow"), ("budget", "reserved in fleet-month")),
    charges=(("fleet-month|usd||2026-11", "usd", 12_345_678),),
    marks={mark: ms * 1_000_000 for mark, ms in MARKS_MS.items()},
    bytes_in=60_000,
    bytes_out=4_321,
    config="c7",
)

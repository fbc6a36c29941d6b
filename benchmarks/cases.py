"""What is measured, as data: kinds of requests with their targets, sets of features, and how far each curve goes."""

from __future__ import annotations

import hashlib
import json
from functools import partial

from benchmarks import bodies
from benchmarks.bodies import Body
from benchmarks.dialects import CHAT, GENERATE, MESSAGES, OLLAMA, RESPONSES, Dialect
from benchmarks.measure import Case
from benchmarks.process import ROOT
from benchmarks.targets import AGENTS, Fleet

STREAMS, STREAM_ROUNDS = 128, 3
"""Streams at a time, and of each round: their events come 20 ms apart, so a round takes a second and gives some 6,000 events. One round in
a few is off by a fifth (see docs/benchmarks.md), so each repeat takes the middle one of so many."""
EVERY_MS = 20


def _stream(name: str, body: partial[Body], limit: float | None, dialect: Dialect = CHAT) -> Case:
    return Case(name, body, STREAMS, limit, stream=True, dialect=dialect, connections=STREAMS, rounds=STREAM_ROUNDS)


def _whole(dialect: Dialect) -> Case:
    return Case(f"60 KB {dialect.name}", partial(bodies.agent, dialect=dialect), 800, 0.8, dialect=dialect)


def _events(dialect: Dialect) -> Case:
    return _stream(f"{dialect.name} stream event", partial(bodies.small, stream=True, dialect=dialect), 0.7, dialect)


def _translated(spoken: Dialect, served: Dialect) -> Case:
    """Return the case of a request in one dialect for a model that is served in another only."""
    name = f"60 KB {spoken.name} to {served.name}"
    return Case(name, partial(bodies.agent, dialect=spoken, model=served.model), 500, 3.0, dialect=spoken)


SPEED = (
    Case("400 B", bodies.small, 2_500, 0.6),
    Case("60 KB", bodies.agent, 2_000, 0.8),
    Case("1 MB", bodies.large, 320, 1.0),
    _stream("stream event", partial(bodies.small, stream=True), 0.7),
)
ALL_NEW = Case("60 KB, all new", bodies.all_new, 400)
ALL_NEW_MS = 3.0
"""What it may cost more, once, to read 60 KB of which nothing is known."""
DIALECTS = (
    *(_whole(dialect) for dialect in (RESPONSES, MESSAGES, GENERATE, OLLAMA)),
    *(_events(dialect) for dialect in (RESPONSES, MESSAGES, GENERATE, OLLAMA)),
    _translated(MESSAGES, CHAT),
    _translated(GENERATE, CHAT),
    _translated(OLLAMA, CHAT),
    _translated(CHAT, MESSAGES),
)
PEERS = (
    Case("400 B", bodies.small, 400),
    Case("60 KB", bodies.agent, 200),
    _stream("stream event", partial(bodies.small, stream=True), None),
)

# --- features ------------------------------------------------------------------------------------------------------------------

FEATURE_CASES = (
    Case("400 B", bodies.small, 1_500),
    Case("60 KB", bodies.agent, 1_000),
    Case("1 MB", bodies.large, 200),
    *(
        Case(f"{name}, stream", make, count, stream=True, connections=64, per_event=False)
        for name, make, count in (
            ("400 B", partial(bodies.small, stream=True), 64),
            ("60 KB", partial(bodies.agent, stream=True), 64),
            ("1 MB", partial(bodies.large, stream=True), 64),
        )
    ),
)
PLAIN = """---
name: bench
description: The agent that the benchmark plays
policy:
  models: {allow: ["gpt-*"], deny: ["gpt-3*"]}
  tools: {allow: ["tool_*"], deny: ["delete_*"]}
---
Sort invoices.
"""
_DATA = "policy:\n  data: {classification: confidential, pii: redact, secrets: block, injection: warn}\n"
_TRACES = 'telemetry: {{otlp_endpoint: "http://127.0.0.1:{upstream}", sample: 0.01}}\n'
_REGO = tuple(sorted(f for f in (ROOT / "policies").glob("*.rego") if not f.name.endswith("_test.rego")))


def _guarded(agents: str) -> str:
    return agents.replace("policy:\n", _DATA, 1)


_OFF = Fleet("keys and contract", store="memory:", agents=PLAIN, budgets=None)
FEATURES = (
    _OFF,
    Fleet("+ budgets", store="memory:"),
    Fleet("+ Rego", store="memory:", agents=PLAIN, budgets=None, policies=_REGO),
    Fleet("+ guards", store="memory:", agents=_guarded(PLAIN), budgets=None),
    Fleet("+ ledger on SQLite", agents=PLAIN, budgets=None),
    Fleet("+ traces, 1 % kept", store="memory:", agents=PLAIN, budgets=None, more=_TRACES),
    Fleet("all, on SQLite", agents=_guarded(AGENTS), more=_TRACES, policies=_REGO),
)

_AGENTS_A_FILE = 400


def many_agents(count: int) -> Fleet:
    """Return Fleetgate with so many agents, each with a key and a budget of its own."""
    files = {}
    for start in range(0, count, _AGENTS_A_FILE):
        lines = [_AGENT.format(number) for number in range(start, min(count, start + _AGENTS_A_FILE))]
        files[f"agents/{start:05d}.yaml"] = "agents:\n" + "".join(lines)
    keys = [{"agent": f"a{n}", "sha256": hashlib.sha256(bodies.key_of(n).encode()).hexdigest()} for n in range(count)]
    files["keys.yaml"] = json.dumps({"keys": keys})
    return Fleet("fleetgate", files=files, env={"FLEETGATE_AGENTS": "AGENTS.md,agents/*.yaml"})


_AGENT = '- {{name: a{}, description: One of many, policy: {{models: {{allow: ["gpt-*"]}}}}}}\n'


def of_many_agents(count: int) -> Case:
    """Return the case of requests from so many agents in turn."""
    return Case(f"{count:,}", partial(bodies.of_agents, count), max(2_000, count))


# --- curves --------------------------------------------------------------------------------------------------------------------

LENGTHS = (1, 10, 50, 200, 500, 1_000)
"""Messages of a conversation."""
LENGTH_BASE, LENGTH_LIMIT = 50, 1.5
"""A conversation of the longest length costs at most so many times one of the base length."""
AGENT_COUNTS = (1, 10, 100, 1_000, 10_000)
STREAM_COUNTS = (1, 10, 100, 500, 1_000, 2_000)
EVENTS_A_SECOND = 10_000
"""With more streams at a time, events are further apart, so that stub and load generator can follow."""
RATE, RATE_P50_US, RATE_P99_US = 300.0, 500.0, 2_000.0
"""Requests of 60 KB a second, and what may be added to each."""
FIRST_BYTE = Case("first byte of a stream", bodies.prompt, STREAMS, stream=True)
STREAM_RATE, FIRST_BYTE_US = 40.0, 500.0
"""So many streams begin a second, each with its first event at once, and how much later that may arrive."""
RSS_MB, GROWN_MB = 150.0, 2.0
"""What a process may take, and by how much more after the second half of a run than after the first, to be called flat."""
REDIS_US = 15.0
"""What a shared store may add in CPU to what counters in memory cost."""


def of_length(messages: int) -> Case:
    """Return the case of a conversation of so many short messages, all but the last one known."""
    return Case(f"{messages:,}", partial(bodies.talk, messages), 400)


def every_ms(streams: int) -> int:
    """Return how far apart the events of so many streams are."""
    return max(EVERY_MS, streams * 1000 // EVENTS_A_SECOND)


def of_streams(streams: int) -> Case:
    """Return the case of so many streams at a time."""
    body = partial(bodies.small, stream=True, every_ms=every_ms(streams))
    return Case(f"{streams:,}", body, max(streams, 3), stream=True, connections=streams, warm=partial(bodies.small, stream=True))

"""Where an exchange stands in a distributed trace: the W3C context that came with it, and the one that goes on upstream.

Decides which trace an exchange belongs to, whether it is sampled, and what a provider is told of it. Makes no spans and sends nothing.
Ids cost nothing: they are parts of the request id, so that a trace that begins here bears the id that the client was told. What is not
a context by the standard's own words is treated as if it had not come. Cannot fail.

Source: W3C Trace Context (2021) §3.2 and §3.3, Level 2 §3.2.2.5 (random trace ids); W3C Baggage (2024) §3.3.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol
from urllib.parse import unquote

if TYPE_CHECKING:
    from proxy.engine.exchange import Exchange
    from proxy.engine.record import Record

PARENT, STATE, BAGGAGE = "traceparent", "tracestate", "baggage"
MAX_STATE = 512
MAX_BAGGAGE = 8192
MAX_VALUE = 256
_parent = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)
_state = re.compile(r"[\x20-\x7e\t]+", re.ASCII)
_LOW = (1 << 56) - 1
_MASK = (1 << 64) - 1
Headers = Mapping[str, str]


class Tracing(Protocol):
    """Follows exchanges. Both verbs are called in the exchange's own task and must neither block nor raise."""

    def begin(self, ex: Exchange) -> Trace:
        """Return where `ex` stands, from its headers alone."""
        ...

    def end(self, ex: Exchange, record: Record) -> None:
        """Take what became of it."""
        ...


@dataclass(frozen=True, slots=True)
class Remote:
    """A context that came with a request."""

    trace_id: str
    span_id: str
    sampled: bool


@dataclass(slots=True)
class Trace:
    """Where one exchange stands.

    Attributes:
        trace_id, span_id: 32 and 16 hex digits; the span is the exchange's own.
        parent: the span of the caller that it is a part of, empty for none.
        sampled: as decided when it began.
        remote: the context that came with the request, adopted or not.
        state: the caller's `tracestate`, where its trace is adopted.
        baggage: what of the caller's baggage the operator wants to see.
        attempts: how many targets were asked, each in a span of its own.
    """

    trace_id: str
    span_id: str
    parent: str = ""
    sampled: bool = False
    remote: Remote | None = None
    state: str = ""
    baggage: tuple[tuple[str, str], ...] = ()
    attempts: int = 0
    propagate: Literal["all", "local", "none"] = "all"

    def attempt(self, number: int) -> str:
        """Return the id of the span of the `number`th target that was asked, from 1."""
        return numbered(self.span_id, number)

    def upstream(self, headers: list[tuple[str, str]], local: bool) -> list[tuple[str, str]]:
        """Return `headers` as they go to the next target: with the context of its span in place of the client's, where it may know."""
        self.attempts += 1
        told = self.propagate == "all" or (self.propagate == "local" and local)
        gone = (PARENT, STATE) if local and told else (PARENT, STATE, BAGGAGE)
        kept = [header for header in headers if header[0].lower() not in gone]
        if told:
            kept.append((PARENT, f"00-{self.trace_id}-{self.attempt(self.attempts)}-{'01' if self.sampled else '00'}"))
            if self.state:
                kept.append((STATE, self.state))
        return kept


def numbered(span_id: str, number: int) -> str:
    """Return the id of the `number`th span below `span_id`: another one for each number, and never none."""
    return f"{(int(span_id, 16) + number * 0x9E3779B97F4A7C15) & _MASK or 1:016x}"


def begun(ex_id: str, remote: Remote | None, ratio: float) -> Trace:
    """Return the trace of the exchange `ex_id`: the caller's, sampled as there, or one that begins here, sampled by `ratio`."""
    span_id = ex_id[16:] if ex_id[16:].strip("0") else "1".rjust(16, "0")
    if remote is not None:
        return Trace(remote.trace_id, span_id, remote.span_id, remote.sampled, remote)
    return Trace(ex_id, span_id, sampled=drawn(ex_id, ratio))


def drawn(trace_id: str, ratio: float) -> bool:
    """Return whether a trace is among the share `ratio` of all: by its last 56 bits, so that everyone who looks draws alike."""
    return ratio >= 1.0 or (int(trace_id[-14:], 16) & _LOW) < ratio * (_LOW + 1)


def remote_of(headers: Headers) -> Remote | None:
    """Return the context that `headers` bring, None where there is none, more than one, or what is none by the standard."""
    value = headers.get(PARENT)
    if value is None or not single(headers, PARENT):
        return None
    match = _parent.fullmatch(value.strip())
    if match is None:
        return None
    version, trace_id, span_id, flags, more = match.groups()
    if version == "ff" or (version == "00" and more) or not trace_id.strip("0") or not span_id.strip("0"):
        return None
    return Remote(trace_id, span_id, bool(int(flags, 16) & 1))


def single(headers: Headers, name: str) -> bool:
    """Return whether a header stands there once at most."""
    every = getattr(headers, "getall", None)
    return every is None or len(every(name, ())) < 2


def state_of(headers: Headers) -> str:
    """Return the `tracestate` as it may go on, empty where it is none or too long."""
    every = getattr(headers, "getall", None)
    value = ",".join(every(STATE, ())) if every is not None else headers.get(STATE, "")
    return value if value and len(value) <= MAX_STATE and _state.fullmatch(value) else ""


def baggage_of(headers: Headers, wanted: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """Return the members of the baggage that are `wanted`, decoded and cut to `MAX_VALUE` characters."""
    value = headers.get(BAGGAGE)
    if value is None or len(value) > MAX_BAGGAGE:
        return ()
    found: dict[str, str] = {}
    for member in value.split(","):
        name, is_one, text = member.partition("=")
        found.setdefault(name.strip(), unquote(text.partition(";")[0].strip())[:MAX_VALUE]) if is_one else None
    return tuple((name, found[name]) for name in wanted if name in found)

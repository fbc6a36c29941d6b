"""The input of policies: one request, tool call or reply in the words of this house, whatever protocol it came in. Pure.

Built in parts, and only the parts that policies read: the texts of the conversation above all. `PARTS` is the documented contract
(docs/rego.md): names may be added to it and never change their meaning.

Arguments of a tool call are given parsed only where everybody parses them alike; else `arguments` is null and `arguments_text` has them
as they came, so a policy that looks for something in `arguments` should refuse what is null.
"""

from __future__ import annotations

import json
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from typing import Any, Protocol

from proxy.effects import Effect
from proxy.engine.exchange import Exchange
from proxy.model import Target
from proxy.policy.cache import Reads
from proxy.policy.contract import turns
from proxy.policy.decision import Hook
from proxy.wire.blocks import carried
from proxy.wire.call import Message, ToolCall, ToolSpec

WIDEST = 1 << 53
"""Whole numbers beyond this are not the same number to every reader of JSON."""
DEEPEST = 64
BYTES_A_TOKEN = 4
DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


@dataclass(frozen=True, slots=True)
class Facts:
    """What is looked up for an exchange before its route is known: where it could be served, and what is left of its budgets."""

    targets: Callable[[Exchange], Sequence[Target]]
    budgets: Callable[[Exchange], Awaitable[list[dict[str, Any]]]]


class Subject:
    """What is decided on: an exchange, with a tool call or at its reply, where it might be served and what it has left."""

    __slots__ = ("budgets", "call", "effects", "ex", "targets")

    def __init__(self, ex: Exchange, targets: Sequence[Target] = (), call: ToolCall | None = None, effects: Sequence[Effect] = ()) -> None:
        self.ex, self.targets, self.call, self.effects = ex, targets, call, effects
        self.budgets: list[dict[str, Any]] = []


class Part(Protocol):
    """Makes one part of the input."""

    def __call__(self, subject: Subject) -> Any:
        """Return the part, as plain data."""
        ...


def document(hook: Hook, subject: Subject, what: Reads) -> dict[str, Any]:
    """Return the input for `hook` with the parts that are read."""
    parts = PARTS[hook]
    return {name: make(subject) for name, make in parts.items() if what.covers(name)}


def _agent(subject: Subject) -> dict[str, Any]:
    grant = subject.ex.grant
    return {
        "id": grant.agent,
        "team": grant.team,
        "version": grant.version,
        "description": grant.description,
        "data": dict(grant.data),
        "shadow": grant.shadow,
    }


def _session(subject: Subject) -> dict[str, Any]:
    return {"id": subject.ex.session, "source": subject.ex.session_source}


def _run(subject: Subject) -> dict[str, Any]:
    return {"id": subject.ex.run, "parent": subject.ex.parent}


def _counters(subject: Subject) -> dict[str, Any]:
    messages = subject.ex.call.messages
    return {"messages": len(messages), "turns": turns(messages), "tool_calls": sum(carried(messages, "calls", _calls))}


def _calls(messages: Sequence[Message]) -> int:
    return sum([len(message.tool_calls) for message in messages])


def _offers(messages: Sequence[Message]) -> list[ToolSpec]:
    return [spec for message in messages for spec in message.offers]


def _cost(subject: Subject) -> dict[str, Any]:
    """Return a rough price: a token for four bytes of the request, and all of the output ceiling where there is one."""
    ex, price = subject.ex, _targets(subject)[0].price if _targets(subject) else None
    if price is None:
        return {"estimated_usd": None}
    size = len(ex.call.body) // BYTES_A_TOKEN
    wanted = (_max_output(subject) or 0) * ex.call.choices
    return {"estimated_usd": (size * price.input[0][1] + wanted * price.output[0][1]) / 1e15}


def _max_output(subject: Subject) -> int | None:
    ex = subject.ex
    return ex.max_output if ex.max_output is not None else ex.call.max_output


def _targets(subject: Subject) -> Sequence[Target]:
    ex = subject.ex
    return ex.route.targets if hasattr(ex, "route") else subject.targets


def _model(subject: Subject) -> dict[str, Any]:
    ex, found = subject.ex, _targets(subject)
    served = ex.target
    return {
        "asked": ex.asked_model or ex.call.model,
        "aliases": list(ex.call.aliases),
        "targets": [{"provider": t.provider, "model": t.model, "local": t.local} for t in found],
        "provider": served.provider if served is not None else found[0].provider if found else None,
        "served": served.model if served is not None else None,
    }


def _tools(subject: Subject) -> list[dict[str, Any]]:
    call = subject.ex.call
    specs = [*call.tools.specs, *chain.from_iterable(carried(call.messages, "offers", _offers))]
    return [{"name": spec.name, "kind": spec.kind, "model": spec.model or None} for spec in specs]


def _loop(subject: Subject) -> dict[str, Any]:
    loop = subject.ex.loop
    return {"level": loop.level, "rule": loop.rule, "count": loop.count}


def _findings(subject: Subject) -> list[dict[str, Any]]:
    return [{"rule": f.rule, "detail": f.detail} for f in subject.ex.findings]


def _time(subject: Subject) -> dict[str, Any]:
    wall = subject.ex.clock.now()
    now = datetime.fromtimestamp(wall, UTC)
    return {
        "unix_ns": int(wall * 1000) * 1_000_000,
        "rfc3339": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "hour": now.hour,
        "minute": now.minute,
        "weekday": DAYS[now.weekday()],
    }


def _request(subject: Subject) -> dict[str, Any]:
    call = subject.ex.call
    return {
        "system": [text for message in call.system for text in message.texts],
        "messages": [_message(message) for message in call.messages],
        "extra": list(call.extra),
        "tools_text": call.tools.text,
        "bytes": len(call.body),
    }


def _message(message: Message) -> dict[str, Any]:
    return {
        "role": message.role,
        "text": "\n".join(message.texts),
        "tool_calls": [call.name for call in message.tool_calls],
        "tool_results": len(message.tool_results),
        "media": [media.kind for media in message.media],
    }


def _tool_call(subject: Subject) -> dict[str, Any]:
    call = subject.call
    if call is None:
        raise ValueError("no tool call is decided on")
    shown = _call(call)
    shown["effects"] = [{"kind": e.kind, "subject": e.subject, "flags": sorted(e.flags), "evidence": e.evidence} for e in subject.effects]
    return shown


def _call(call: ToolCall) -> dict[str, Any]:
    return {"name": call.name, "arguments": arguments(call.arguments), "arguments_text": call.arguments}


def _reply(subject: Subject) -> dict[str, Any]:
    ex, meter = subject.ex, subject.ex.meter
    if meter is None:
        raise ValueError("no reply is decided on")
    usage = meter.usage
    return {
        "text_length": sum(map(len, meter.texts)),
        "tool_calls": [_call(call) for call in meter.tool_calls],
        "finish": meter.finish,
        "model": meter.model,
        "stream": ex.call.stream,
        "usage": None
        if usage is None
        else {"input": usage.total_input, "output": usage.output, "reasoning": usage.reasoning, "cache_read": usage.cache_read},
    }


COMMON: Mapping[str, Part] = {
    "id": lambda s: s.ex.id,
    "agent": _agent,
    "session": _session,
    "run": _run,
    "counters": _counters,
    "cost": _cost,
    "budgets": lambda s: s.budgets,
    "model": _model,
    "operation": lambda s: s.ex.call.operation,
    "protocol": lambda s: s.ex.codec.protocol,
    "dialect": lambda s: s.ex.codec.dialect,
    "stream": lambda s: s.ex.call.stream,
    "max_output": _max_output,
    "tools": _tools,
    "loop": _loop,
    "findings": _findings,
    "time": _time,
    "request": _request,
}
PARTS: Mapping[Hook, Mapping[str, Part]] = {
    "request": COMMON,
    "tool_call": {**COMMON, "tool_call": _tool_call},
    "response": {**COMMON, "reply": _reply},
}
"""The parts of the input, by what is decided on."""


_CALL = {"name": "read_file", "arguments": {"path": "README.md"}, "arguments_text": '{"path": "README.md"}'}
_SAMPLE: Mapping[str, Any] = {
    "id": "019a9e5c-0000",
    "agent": {"id": "demo", "team": "platform", "version": "1.0.0", "description": "", "data": {}, "shadow": False},
    "session": {"id": "s1", "source": "header"},
    "run": {"id": "", "parent": ""},
    "counters": {"messages": 1, "turns": 0, "tool_calls": 0},
    "cost": {"estimated_usd": 0.01},
    "budgets": [{"name": "fleet", "unit": "usd", "window": "day", "limit": 5.0, "left": 4.5}],
    "model": {
        "asked": "gpt-5-mini",
        "aliases": [],
        "targets": [{"provider": "openai", "model": "gpt-5-mini", "local": False}],
        "provider": "openai",
        "served": None,
    },
    "operation": "chat",
    "protocol": "openai",
    "dialect": "openai.chat",
    "stream": False,
    "max_output": 1000,
    "tools": [{"name": "read_file", "kind": "function", "model": None}],
    "loop": {"level": "none", "rule": "", "count": 0},
    "findings": [{"rule": "secrets/example", "detail": ""}],
    "time": {"unix_ns": 1_790_000_000_000_000_000, "rfc3339": "2026-09-21T14:13:20Z", "hour": 14, "minute": 13, "weekday": "monday"},
    "request": {
        "system": ["You are a helper."],
        "messages": [{"role": "user", "text": "hello", "tool_calls": [], "tool_results": 0, "media": []}],
        "extra": [],
        "tools_text": "read_file",
        "bytes": 200,
    },
}
SAMPLES: Mapping[Hook, Mapping[str, Any]] = {
    "request": _SAMPLE,
    "tool_call": {
        **_SAMPLE,
        "tool_call": {**_CALL, "effects": [{"kind": "fs.read", "subject": "README.md", "flags": [], "evidence": "README.md"}]},
    },
    "response": {
        **_SAMPLE,
        "reply": {
            "text_length": 5,
            "tool_calls": [_CALL],
            "finish": "stop",
            "model": "gpt-5-mini",
            "stream": False,
            "usage": {"input": 10, "output": 5, "reasoning": 0, "cache_read": 0},
        },
    },
}
"""An input for each hook, on which policies are tried when they are read."""


class _OddError(ValueError):
    """JSON that two readers would read in two ways."""


def arguments(text: str) -> Any:
    """Return the arguments of a tool call where they mean the same to everybody; None where they do not, or are no JSON."""
    try:
        value = json.loads(text or "{}", object_pairs_hook=_pairs, parse_int=_whole, parse_float=_fraction, parse_constant=_constant)
    except (ValueError, RecursionError):
        return None
    return value if _depth(value) <= DEEPEST else None


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _OddError("a key twice")
    return found


def _whole(text: str) -> int:
    value = int(text) if len(text) <= 20 else WIDEST + 1
    if abs(value) > WIDEST:
        raise _OddError("a number that not everybody can hold")
    return value


def _fraction(text: str) -> float:
    value = float(text)
    if not math.isfinite(value) or len(text) > 32:
        raise _OddError("a number that not everybody can hold")
    return value


def _constant(text: str) -> Any:
    raise _OddError(text)


def _depth(value: Any) -> int:
    deepest, level = 0, [value]
    while level and deepest <= DEEPEST:
        deepest += 1
        level = [x for v in level if isinstance(v, dict | list) for x in (v.values() if isinstance(v, dict) else v)]
    return deepest

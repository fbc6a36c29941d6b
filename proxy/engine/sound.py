"""Whether the reply of a local model is one that a client can be given, or one that the asked model should give instead.

    empty       no text and no tool call
    foreign     not a reply of the dialect
    refused     the server's filter, or a refusal, stands where an answer should
    tool        a call of a tool that was not offered, arguments that are no JSON object, or no call where one was demanded
    json        JSON was asked for and this is none, or not of the schema's shape
    repetition  the same piece again and again
    length      cut off below the ceiling that was asked for: the local model's own limit

Pure, and bounded: a schema is looked at for types, required members and listed values, as deep and as wide as `MOST` allows; the rest of it
is believed. What cannot be read as the hub's (a dialect without translation) is looked at for being empty alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import msgspec

from proxy.model import Usage
from proxy.wire import jsonio
from proxy.wire.call import Call
from proxy.wire.translate.bridge import DIALECTS, Untranslatable, asked_beside, steps
from proxy.wire.translate.hub import Ended, Failed, Step, Stop, ToolBegan, ToolMore, Words

Cause = Literal[
    "down",
    "busy",
    "slow",
    "cut",
    "error",
    "context",
    "untranslatable",
    "empty",
    "foreign",
    "refused",
    "tool",
    "json",
    "repetition",
    "length",
    "budget",
]
"""Why a local target was replaced; the words of the record and of the metric."""
MOST, DEEPEST = 2000, 16
"""How many values of an answer are compared with its schema, and how deep."""
_REFUSAL = re.compile(rb'"refusal"\s*:\s*"[^"]')
"""Stands in an event alone where a model itself refused: in texts and arguments the quotes are escaped."""
_object_decoder = msgspec.json.Decoder(dict[str, Any])
_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "number": (int, float),
    "integer": (int,),
    "boolean": (bool,),
    "null": (type(None),),
}


@dataclass(frozen=True, slots=True)
class Flaw:
    """Why a reply cannot be passed on: the cause, and what exactly, without any of its words."""

    cause: Cause
    words: str


@dataclass(frozen=True, slots=True)
class Heard:
    """A whole reply: its answer, its tool calls as (name, arguments), and why it stopped. `failed`: it holds the server's error."""

    text: str = ""
    calls: tuple[tuple[str, str], ...] = ()
    stop: Stop | None = None
    failed: bool = False
    refusal: bool = False


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the request wants of its answer.

    Attributes:
        tools: the names on offer, None where calls are not looked at (tools that are no functions take no JSON).
        choice: `none`, `any` or `tool:NAME` where the request says so.
        json: the answer must be JSON; of `schema` where there is one.
        ceiling: output tokens that were asked for at most, None where nobody said.
        chants: tells whether a text is one piece again and again.
    """

    tools: frozenset[str] | None = frozenset()
    choice: str = ""
    json: bool = False
    schema: Mapping[str, Any] | None = None
    ceiling: int | None = None
    chants: Callable[[str], bool] = lambda text: False


def wanted(call: Call, dialect: str, ceiling: int | None, chants: Callable[[str], bool]) -> Wanted:
    """Return what `call`, of a client of `dialect`, wants. What the hub cannot say wants no certain shape."""
    specs = call.tools.specs
    names = frozenset(spec.name for spec in specs) if all(spec.kind == "function" for spec in specs) else None
    if not specs and not call.wants_json:
        return Wanted(ceiling=ceiling, chants=chants)
    asked = asked_beside(call, dialect)
    if asked is None:
        return Wanted(names, ceiling=ceiling, chants=chants)
    return Wanted(names, asked.choice, asked.json or asked.schema is not None, asked.schema, ceiling, chants)


def heard(dialect: str, body: bytes) -> Heard | None:
    """Return what a whole reply of `dialect` says, None where that is not the hub's to read.

    Raises:
        Untranslatable: it is not a reply of the dialect.
    """
    spoken = DIALECTS.get(dialect)
    if spoken is None:
        return None
    try:
        reply = jsonio.decoded(_object_decoder, body)
        said = spoken.read_reply(reply)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Untranslatable("no JSON object") from None
    found = _gathered(steps(said))
    return Heard(found.text, found.calls, said.stop, refusal=_declined(reply))


def overheard(dialect: str, events: Iterable[bytes]) -> Heard | None:
    """Return what a whole stream of `dialect` says, None where that is not the hub's to read."""
    spoken = DIALECTS.get(dialect)
    if spoken is None:
        return None
    reader, refused, found = spoken.reader(), False, list[Step]()
    for raw in events:
        refused = refused or _REFUSAL.search(raw) is not None
        found += reader.event(raw)
    return replace(_gathered(found), refusal=refused)


def _gathered(found: Iterable[object]) -> Heard:
    text, calls, names, stop, failed = [""], dict[int, list[str]](), dict[int, str](), None, False
    for step in found:
        if isinstance(step, Words):
            text += [step.text] if not step.thought else []
        elif isinstance(step, ToolBegan):
            names[step.index] = step.name
        elif isinstance(step, ToolMore):
            calls.setdefault(step.index, []).append(step.arguments)
        elif isinstance(step, Ended):
            stop = step.stop or stop
        elif isinstance(step, Failed):
            failed = True
    return Heard("".join(text), tuple((name, "".join(calls.get(i, ()))) for i, name in names.items()), stop, failed)


def _declined(reply: dict[str, Any]) -> bool:
    """Return whether the model itself refused, as OpenAI's chats say it beside the content."""
    choices = reply.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    message = first.get("message") if isinstance(first, dict) else None
    return isinstance(message, dict) and isinstance(message.get("refusal"), str) and bool(message["refusal"])


def flaw(said: Heard, want: Wanted, usage: Usage | None) -> Flaw | None:
    """Return why `said` cannot be passed on as the answer to what is wanted, None where it can."""
    if said.failed:
        return Flaw("error", "an error in place of an answer")
    if said.refusal or said.stop == "filter":
        return Flaw("refused", "a refusal in place of an answer")
    if not said.text.strip() and not said.calls:
        return Flaw("empty", "no answer in the reply")
    return _wrong_call(said, want) or _cut(said, want, usage) or _wrong_text(said, want)


def _wrong_call(said: Heard, want: Wanted) -> Flaw | None:
    if want.tools is None:
        return None
    for name, arguments in said.calls:
        if name not in want.tools:
            return Flaw("tool", "a call of a tool that was not offered")
        if arguments.strip() and not isinstance(jsonio.parsed(arguments.encode("utf-8", "replace")), dict):
            return Flaw("tool", "arguments of a tool call that are no JSON object")
    needed = want.choice.removeprefix("tool:") if want.choice.startswith("tool:") else ""
    if (want.choice == "any" and not said.calls) or (needed and all(name != needed for name, _ in said.calls)):
        return Flaw("tool", "no call of the tool that was demanded")
    return None


def _cut(said: Heard, want: Wanted, usage: Usage | None) -> Flaw | None:
    if said.stop != "length":
        return None
    if want.ceiling is None or (usage is not None and usage.output < want.ceiling):
        return Flaw("length", "cut off below the ceiling that was asked for")
    return None


def _wrong_text(said: Heard, want: Wanted) -> Flaw | None:
    if said.calls:
        return None
    if not want.json:
        return Flaw("repetition", "one piece again and again") if want.chants(said.text) else None
    value = _json(said.text)
    if value is _json:
        return Flaw("json", "no JSON where JSON was asked for")
    if want.schema is not None and not _Shape().fits(value, want.schema):
        return Flaw("json", "JSON that is not of the schema's shape")
    return None


def _json(text: str) -> Any:
    """Return the value that `text` is, this function where it is none."""
    try:
        return msgspec.json.decode(text.encode("utf-8", "replace"))
    except (msgspec.DecodeError, RecursionError):
        return _json


class _Shape:
    """Compares values with one schema, `MOST` of them: past that, and where the schema says more than is looked at, they fit."""

    def __init__(self) -> None:
        self._left = MOST

    def fits(self, value: Any, schema: Any, depth: int = 0) -> bool:
        """Return whether `value` has the type, the required members and the listed values of `schema`."""
        self._left -= 1
        if self._left < 0 or depth > DEEPEST or not isinstance(schema, Mapping):
            return True
        if not _typed(value, schema.get("type")):
            return False
        listed = schema.get("enum")
        if isinstance(listed, list) and value not in listed:
            return False
        if isinstance(value, list):
            return all(self.fits(one, schema.get("items"), depth + 1) for one in value)
        return not isinstance(value, dict) or self._members(value, schema, depth)

    def _members(self, value: dict[str, Any], schema: Mapping[str, Any], depth: int) -> bool:
        required, known = schema.get("required"), schema.get("properties")
        if isinstance(required, list) and any(isinstance(name, str) and name not in value for name in required):
            return False
        if not isinstance(known, Mapping):
            return True
        return all(self.fits(value[name], inner, depth + 1) for name, inner in known.items() if name in value)


def _typed(value: Any, named: Any) -> bool:
    """Return whether `value` is of the type, or one of the types, that a schema names; unknown words fit all."""
    names = [name.lower() for name in (named if isinstance(named, list) else [named]) if isinstance(name, str)]
    if not names or any(name not in _TYPES for name in names):
        return True
    for name in names:
        if isinstance(value, bool):
            if name == "boolean":
                return True
        elif isinstance(value, _TYPES[name]) or (name == "integer" and isinstance(value, float) and value.is_integer()):
            return True
    return False

"""What a row of the matrix is: one operation of one dialect, how to ask for it, and how to read what comes back.

A row knows its protocol alone. What is provoked, and what must come of it, stands in `matrix.py` and is the same for every row.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from proxy.model import Usage

WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


@dataclass(frozen=True, slots=True)
class Ask:
    """A request in no protocol.

    Attributes:
        text: what the user says, its directive for the provider included.
        ceiling: on output tokens.
        usage: the client wants usage in the stream.
        tools: names of the tools that it offers.
        choices: how many answers it wants.
        steps: how many identical tool calls, with their results, follow the user's message.
        unknown_result: the last message is the result of a call that nobody made.
    """

    text: str
    model: str
    stream: bool = False
    ceiling: int | None = 64
    usage: bool = True
    tools: tuple[str, ...] = ()
    choices: int = 1
    steps: int = 0
    unknown_result: bool = False


@dataclass(slots=True)
class Seen:
    """What the client read: one text and one stop for each choice; stops are `stop`, `length`, `tool`, or empty in a stream that broke.

    `error` is the message of the error that ended a stream. `usage` is None where none came.
    """

    texts: list[str] = field(default_factory=list)
    tools: list[tuple[str, Any]] = field(default_factory=list)
    stops: list[str] = field(default_factory=list)
    usage: Usage | None = None
    error: str = ""


Read = Callable[[bytes], Seen]


@dataclass(frozen=True, slots=True)
class Row:
    """One operation in one dialect.

    Attributes:
        name: `messages`, or `messages -> openai.chat` where the target speaks another dialect.
        method, route: as the registry lists it; `path` fills in the model.
        protocol: of the client. operation: the record's word.
        family: how the names of its models begin: who serves it.
        build: a request's JSON.
        whole: reads, and checks, a buffered reply. stream: the same of a stream, None where there is none.
        error: checks an error body and returns its message.
        usage: the provider's usage object for so many tokens in and out, for scripts.
        cannot: what it has not (`tools`, `choices`, `history`, `usage option`, ...), each with the reason.
        streamed: content type of a stream.
        stream_path: the path of a streamed request, where that is another.
        headers: what a client of the protocol sends beside its key.
        key: the header that carries the key, with what stands before it.
        target: the row that its provider speaks, where that is another dialect.
        silent: the provider reports no usage unless a script says so, so that a bound is charged.
    """

    name: str
    method: str
    route: str
    protocol: str
    operation: str
    family: str
    build: Callable[[Ask], Mapping[str, Any]]
    whole: Read
    stream: Read | None
    error: Callable[[bytes], str]
    usage: Callable[[int, int], Mapping[str, Any]]
    cannot: Mapping[str, str] = field(default_factory=dict)
    streamed: str = "text/event-stream"
    stream_path: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    key: tuple[str, str] = ("authorization", "Bearer ")
    silent: bool = False
    target: Row | None = None

    @property
    def free(self) -> bool:
        """Whether it costs nothing."""
        return "cost" in self.cannot

    @property
    def routes(self) -> set[tuple[str, str]]:
        """What it takes of the registry's routes."""
        paths = {"" if "buffered" in self.cannot else self.route, self.stream_path.partition("?")[0]} - {""}
        return {(self.method, path) for path in paths}

    def asked_at(self, ask: Ask) -> re.Pattern[str]:
        """Return what matches the path that its provider is asked at."""
        path = (self.target or self).path(replace(ask, model="MODEL")).partition("?")[0]
        return re.compile(re.escape(path).replace("MODEL", "[a-z0-9.:-]+"))

    def path(self, ask: Ask) -> str:
        """Return where `ask` is sent."""
        route = self.stream_path if ask.stream and self.stream_path else self.route
        return route.replace("{model}", ask.model)


def objects(value: Any) -> dict[str, Any]:
    """Return `value`, which must be a JSON object."""
    assert isinstance(value, dict), value
    return value


def strict(body: bytes) -> Any:
    """Return the JSON that `body` is, strictly: no duplicate keys, no NaN."""

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len({k for k, _ in items}) == len(items), f"a key came twice: {[k for k, _ in items]}"
        return dict(items)

    def constant(name: str) -> Any:
        raise AssertionError(f"{name} is no JSON")

    return json.loads(body, object_pairs_hook=pairs, parse_constant=constant)


def sse(body: bytes) -> Iterator[tuple[str, Any]]:
    """Yield (event, data) of a stream of server-sent events: data as JSON, or the text `[DONE]`. Every event must be whole."""
    text = body.decode("utf-8", "strict").replace("\r\n", "\n")
    assert not text or text.endswith("\n\n"), f"the last event is not whole: {text[-200:]!r}"
    for block in text.split("\n\n")[:-1]:
        name, data = "", []
        for line in block.split("\n"):
            key, colon, value = line.partition(":")
            assert colon, f"no field: {line!r}"
            value = value.removeprefix(" ")
            if key == "event":
                name = value
            elif key == "data":
                data.append(value)
            else:
                assert key in ("", "id", "retry"), f"no field of an event: {line!r}"
        if data:
            joined = "\n".join(data)
            yield name, joined if joined == "[DONE]" else strict(joined.encode())


def arguments(text: str) -> Any:
    """Return the arguments of a finished tool call, which must be an object."""
    return objects(strict(text.encode()))


def no_stream(operation: str) -> dict[str, str]:
    """Return what an operation that generates nothing lacks."""
    why = f"{operation} generates no text"
    return {
        "stream": f"{operation} has no streams",
        "text": why,
        "tools": why,
        "choices": why,
        "history": why,
        "ceiling": why,
        "usage option": why,
        "cached": why,
    }

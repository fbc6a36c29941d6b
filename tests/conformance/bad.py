"""Requests that should never have been sent: what real clients, broken ones and hostile ones put on each path.

None may bring a 5xx or silence. What is refused is refused in the protocol's own shape and never sent on; what is not is answered, by the
provider's own word where it is the provider's to judge.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from matrix import NATIVE, ROWS
from rows import Ask, Row

Made = tuple[bytes, Mapping[str, str]]
"""A body, and headers laid over the client's."""


def _asked(row: Row, **more: Any) -> dict[str, Any]:
    return dict(row.build(Ask("Speak.", f"{row.family}-main", **more)))


def _with(change: Callable[[Row], Any], **headers: str) -> Callable[[Row], Made]:
    """What `change` makes of a row's request, as JSON unless it is bytes."""

    def make(row: Row) -> Made:
        body = change(row)
        return (body if isinstance(body, bytes) else json.dumps(body).encode()), headers

    return make


def _deep(row: Row) -> bytes:
    return json.dumps(_asked(row) | {"x": None}).encode().replace(b'"x": null', b'"x": ' + b"[" * 5000 + b"]" * 5000)


def _replaced(old: bytes, new: bytes) -> Callable[[Row], bytes]:
    return lambda row: json.dumps(_asked(row)).encode().replace(old, new)


def _many(row: Row) -> Any:
    """10,001 messages, in whatever holds the conversation; without one, 10,001 texts."""
    body = _asked(row)
    for key in ("messages", "contents", "input", "requests"):
        if isinstance(body.get(key), list):
            return body | {key: body[key][:1] * 10_001}
    return body | {"x": ["y"] * 10_001}


def _foreign(name: str) -> Callable[[Row], Any]:
    """The body of another dialect, on this path."""
    other = next(row for row in NATIVE if row.name == name)
    return lambda row: _asked(other) | ({"model": f"{row.family}-main"} if "model" in _asked(other) else {})


BAD: Mapping[str, Callable[[Row], Made]] = {
    "no body at all": _with(lambda row: b""),
    "a body that is null": _with(lambda row: None),
    "a list in place of the request": _with(lambda row: [_asked(row)]),
    "an empty object": _with(lambda row: {}),
    "JSON said to be XML": _with(_asked, **{"content-type": "application/xml"}),
    "JSON said to be UTF-16": _with(_asked, **{"content-type": "application/json; charset=utf-16"}),
    "JSON in UTF-16": _with(lambda row: json.dumps(_asked(row)).encode("utf-16")),
    "a multipart form": _with(lambda row: b"--x\r\n\r\n{}\r\n--x--", **{"content-type": "multipart/form-data; boundary=x"}),
    "a compression that it is not in": _with(_asked, **{"content-encoding": "gzip"}),
    "a compression that nobody knows": _with(_asked, **{"content-encoding": "snappy"}),
    "a chat completions body": _with(_foreign("chat")),
    "a responses body": _with(_foreign("responses")),
    "an Anthropic body": _with(_foreign("messages")),
    "a Gemini body": _with(_foreign("gemini v1beta")),
    "an Ollama body": _with(_foreign("ollama generate")),
    "the result of a call that nobody made": _with(lambda row: _asked(row, unknown_result=True)),
    "NUL in a text": _with(_replaced(b"Speak.", b"Spe\\u0000ak.")),
    "a bare NUL": _with(_replaced(b"Speak.", b"Spe\0ak.")),
    "half of a surrogate pair": _with(_replaced(b"Speak.", b"\\ud83d")),
    "bytes that are not UTF-8": _with(_replaced(b"Speak.", b"\xff\xfe")),
    "brackets 5,000 deep": _with(_deep),
    "10,001 messages": _with(_many),
    "a number of 400 digits": _with(lambda row: json.dumps(_asked(row))[:-1].encode() + b', "temperature": 1' + b"0" * 400 + b"}"),
    "1e999": _with(lambda row: json.dumps(_asked(row))[:-1].encode() + b', "temperature": 1e999}'),
    "NaN": _with(lambda row: json.dumps(_asked(row))[:-1].encode() + b', "temperature": NaN}'),
    "a ceiling of -1": _with(lambda row: _asked(row, ceiling=-1)),
    "a ceiling of a trillion": _with(lambda row: _asked(row, ceiling=10**12)),
    "a ceiling in words": _with(lambda row: json.loads(json.dumps(_asked(row, ceiling=987654)).replace("987654", '"many"'))),
    "minus three answers": _with(lambda row: _asked(row) | {"n": -3, "candidateCount": -3}),
    "a stream that is maybe": _with(lambda row: _asked(row) | {"stream": "maybe"}),
    "a model that is a number": _with(lambda row: _asked(row) | {"model": 7}),
    "a model with a line break": _with(lambda row: _asked(row) | {"model": "gpt\r\nx: y"}),
    "everything null": _with(lambda row: dict.fromkeys(_asked(row))),
    "everything a number": _with(lambda row: dict.fromkeys(_asked(row), 1)),
    "everything a list of lists": _with(lambda row: {key: [[[]]] for key in _asked(row)}),
}
"""What is sent, by what it is called."""


@dataclass(frozen=True, slots=True)
class BadCell:
    """One row and one request that should never have been sent."""

    row: Row
    name: str

    def __str__(self) -> str:
        return f"{self.row.name}/{self.name}"


def bad_cells() -> list[BadCell]:
    """Return all of them: every row that takes a body, every request. A translation has one row for each dialect of clients."""
    rows = {row.name.split(" -> ")[0] + ("->" if "->" in row.name else ""): row for row in reversed(ROWS) if "body" not in row.cannot}
    return [BadCell(row, name) for row in reversed(rows.values()) for name in BAD]

"""The requests: what an agent sends, in three sizes. Histories are fixed, each request carries a last user message that is new.

`Body.request(i)` is a whole HTTP request as bytes; only a number in the last message changes from one to the next, so a proxy that keeps
what it knows of the history has one new message to look at, and one that does not has all of them.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.dialects import CHAT, Dialect

KEY = "fg-bench-0123456789abcdef0123456789abcdef"
MARK = "@@@@@@@@"
TEXT = (
    "the invoice from our supplier was checked against order and delivery note before payment queue team total amount line "
    "item currency date vendor account tax rate function returns value error when file path read write test passed failed "
    "module import server request token budget agent session model please look into why this happens and report what changed"
)
WORDS = TEXT.split()


@dataclass(frozen=True, slots=True)
class Body:
    """Requests of one kind: for each session the bytes before and after the changing number."""

    sessions: Sequence[tuple[bytes, bytes]]

    def request(self, number: int) -> bytes:
        before, after = self.sessions[number % len(self.sessions)]
        return b"%s%08d%s" % (before, number, after)

    def size(self) -> int:
        """Bytes of one request's body."""
        return len(self.request(0).split(b"\r\n\r\n", 1)[1])


@dataclass(frozen=True, slots=True)
class NewBody:
    """Requests in which the changing number stands in every message, so that a proxy knows none of them."""

    text: bytes

    def request(self, number: int) -> bytes:
        return self.text.replace(MARK.encode(), b"%08d" % number)

    def size(self) -> int:
        """Bytes of one request's body."""
        return len(self.text.split(b"\r\n\r\n", 1)[1])


@dataclass(frozen=True, slots=True)
class Form:
    """How a conversation is sent: in which dialect, to which model, whether a stream is wanted, how far apart its events are to be (0: as
    the stub has it), and whether the first of them is to come at once."""

    dialect: Dialect = CHAT
    model: str = CHAT.model
    stream: bool = False
    every_ms: int = 0
    at_once: bool = False
    key: str = KEY


def small(sessions: int = 64, stream: bool = False, dialect: Dialect = CHAT, model: str = "", every_ms: int = 0) -> Body:
    """About 400 bytes: four short messages, no tools."""
    histories = [_history(random.Random(i), messages=3, words=5) for i in range(sessions)]
    return _body(histories, [], last_words=6, form=Form(dialect, model or dialect.model, stream, every_ms))


def agent(sessions: int = 8, dialect: Dialect = CHAT, model: str = "", stream: bool = False) -> Body:
    """About 60 KB: 40 messages with tool calls and results, 15 tools."""
    histories = [_history(random.Random(100 + i), messages=39, words=208, tools=True) for i in range(sessions)]
    return _body(histories, _tools(15), last_words=100, form=Form(dialect, model or dialect.model, stream))


def all_new() -> NewBody:
    """The conversation of `agent`, new in every message."""
    history = _history(random.Random(100), messages=40, words=208, tools=True)
    for message in history:
        message["content"] = f"{MARK} {message['content'] or ''}"
    call = CHAT.write(CHAT.model, False, history, _tools(15))
    return NewBody(b"".join(_head(json.dumps(call, separators=(",", ":")).encode(), Form())))


def large(sessions: int = 4, stream: bool = False) -> Body:
    """About 1 MB: 200 messages."""
    histories = [_history(random.Random(200 + i), messages=199, words=900, tools=True) for i in range(sessions)]
    return _body(histories, _tools(15), last_words=100, form=Form(stream=stream))


def prompt() -> Body:
    """The requests of `small`, for streams whose first event comes at once."""
    histories = [_history(random.Random(i), messages=3, words=5) for i in range(64)]
    return _body(histories, [], last_words=6, form=Form(stream=True, at_once=True))


def talk(messages: int, sessions: int = 8) -> Body:
    """A conversation of so many messages of some 200 bytes, without tools: what grows is the number of messages."""
    histories = [_history(random.Random(300 + i), messages=messages - 1, words=30) if messages > 1 else [] for i in range(sessions)]
    return _body(histories, [], last_words=30)


def of_agents(count: int) -> Body:
    """About 400 bytes, from so many agents in turn, each with a key and a conversation of its own."""
    history = _history(random.Random(400), messages=3, words=5)
    return Body([_body([history], [], last_words=6, form=Form(key=key_of(i))).sessions[0] for i in range(count)])


def key_of(number: int) -> str:
    """Return the key of one of many agents."""
    return f"fg-bench-{number:032x}"


def fresh() -> Body:
    """About 400 bytes, and every request begins a session of its own: what must not make memory grow."""
    return _body([[{"role": "system", "content": f"Sort invoices. Case {MARK}."}]], [], last_words=40)


def _words(rng: random.Random, count: int) -> str:
    return " ".join(rng.choices(WORDS, k=count))


def _history(rng: random.Random, messages: int, words: int, tools: bool = False) -> list[dict[str, object]]:
    found: list[dict[str, object]] = [{"role": "system", "content": "You sort invoices. " + _words(rng, words)}]
    found.append({"role": "user", "content": _words(rng, words)})
    del found[messages:]
    while len(found) < messages:
        if tools and len(found) % 4 == 2 and len(found) + 2 <= messages:
            call = {"name": f"tool_{rng.randrange(15)}", "arguments": json.dumps({"path": _words(rng, 4), "line": rng.randrange(10**6)})}
            identity = f"call_{rng.randrange(10**9)}"
            found.append({"role": "assistant", "content": None, "tool_calls": [{"id": identity, "type": "function", "function": call}]})
            found.append({"role": "tool", "tool_call_id": identity, "content": _words(rng, words + words // 2)})
        else:
            found.append({"role": "assistant" if found[-1]["role"] in ("user", "tool") else "user", "content": _words(rng, words)})
    return found


def _tools(count: int) -> list[dict[str, object]]:
    rng = random.Random(7)
    properties = {name: {"type": "string", "description": _words(rng, 12)} for name in ("path", "query", "reason")}
    schema = {"type": "object", "properties": properties, "required": ["path"], "additionalProperties": False}
    return [
        {"type": "function", "function": {"name": f"tool_{i}", "description": _words(rng, 40), "parameters": schema}} for i in range(count)
    ]


def _body(histories: list[list[dict[str, object]]], tools: list[dict[str, object]], last_words: int, form: Form = Form()) -> Body:
    sessions = []
    for i, history in enumerate(histories):
        messages: list[dict[str, object]] = list(history)
        if MARK not in json.dumps(history):
            messages.append({"role": "user", "content": f"Step {MARK}: " + _words(random.Random(i), last_words)})
        else:
            messages.append({"role": "user", "content": _words(random.Random(i), last_words)})
        call = form.dialect.write(form.model, form.stream, messages, tools)
        sessions.append(_request(json.dumps(call, separators=(",", ":")).encode(), form))
    return Body(sessions)


def _request(body: bytes, form: Form) -> tuple[bytes, bytes]:
    head, body = _head(body, form)
    before, after = body.split(MARK.encode())
    return head + before, after


def _head(body: bytes, form: Form) -> tuple[bytes, bytes]:
    """Return the head of a request, and `body`."""
    apart = f"X-Every-Ms: {form.every_ms}\r\n" if form.every_ms else ""
    apart += "X-At-Once: 1\r\n" if form.at_once else ""
    head = (
        f"POST {form.dialect.target(form.model, form.stream)} HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: bench\r\n"
        f"Accept: application/json\r\n{form.dialect.headers}{apart}Authorization: Bearer {form.key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode()
    return head, body

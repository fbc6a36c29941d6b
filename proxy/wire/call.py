"""What a codec makes of a request and of a reply: views over raw bytes that the rest of the house can read without knowing a protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

Operation = Literal["chat", "embeddings", "count_tokens", "models", "show"]
"""What is asked for: any text that a model makes is `chat`; `show` asks about one model."""
EventKind = Literal["text", "tool", "usage", "end", "error", "other"]
Span = tuple[int, int]


OPAQUE = "encrypted"
"""The kind of media that an encrypted text is, which the provider alone can read."""
SHOWN = 200
"""Longest place that an error names: a key is the caller's text."""


class WireError(Exception):
    """Bytes that are not what the protocol says: `pointer` is a JSON pointer (or a short name) of the place, `message` is for people."""

    def __init__(self, protocol: str, pointer: str, message: str) -> None:
        pointer = "".join(c if c.isprintable() else "?" for c in pointer[:SHOWN])
        self.protocol, self.pointer, self.message = protocol, pointer, message
        super().__init__(f"{protocol} {pointer}: {message}")


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One tool call that a model asked for: `arguments` is the text as sent; `signature` is equal for equal (name, canonical arguments).

    `place` says where it stands in a reply, in the words of the protocol's editor (`wire.base.Editor`); empty in a request.
    """

    id: str
    name: str
    arguments: str
    signature: bytes
    place: str = ""


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a tool gave back: the id of its call and a digest (16 bytes) of the content."""

    id: str
    digest: bytes
    error: bool = False


@dataclass(frozen=True, slots=True)
class Media:
    """An image, audio or document part: `kind` as the protocol's part type, `size` in bytes of its JSON, `detail` where images have one."""

    kind: str
    size: int
    detail: str = ""
    width: int = 0
    height: int = 0


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool that the request offers to the model. `kind` is `function`, or the name of a provider's own tool (`web_search`).

    Where servers could read one tool under several names there is a spec for each. `model` is the model that a provider's tool asks.
    """

    name: str
    kind: str = "function"
    model: str = ""


@dataclass(slots=True)
class Message:
    """One message of a conversation, parsed once and remembered (see `wire.memo`).

    Everything but `counts`, `opening` and `seen` is fixed when it is made. Those are caches: tokens by vocabulary name, which the token
    estimate fills, a digest of how the texts begin, by sessions, and what each rule set found, by guards. Emptying them changes cost,
    never a decision. `texts` are all texts that the model reads, arguments of tool calls included. `offers` are tools that it gives the
    model from here on, `refers` is the id of something that the provider keeps and that stands here by reference, and `item` says that it
    is a part of a turn: the calls of one step then stand in several of them (all three in OpenAI Responses).
    """

    fingerprint: bytes
    role: str
    texts: tuple[str, ...]
    tool_calls: tuple[ToolCall, ...] = ()
    tool_results: tuple[ToolResult, ...] = ()
    media: tuple[Media, ...] = ()
    counts: dict[str, int] = field(default_factory=dict)
    opening: bytes = field(default=b"", compare=False)
    seen: dict[str, tuple[Any, ...]] = field(default_factory=dict, compare=False)
    offers: tuple[ToolSpec, ...] = ()
    refers: str = ""
    item: bool = False


@dataclass(slots=True)
class Tools:
    """The tools of a request, remembered by their raw bytes like a message; `text` is what the model reads of them."""

    specs: tuple[ToolSpec, ...] = ()
    text: str = ""
    counts: dict[str, int] = field(default_factory=dict)
    seen: dict[str, tuple[Any, ...]] = field(default_factory=dict, compare=False)


@dataclass(slots=True)
class Call:
    """A request as one protocol's codec read it.

    Attributes:
        operation: what is asked for.
        model: the model name as the client wrote it; where a protocol has several for one model, the shortest.
        stream: the client wants server-sent events.
        max_output: the client's ceiling on output tokens for one choice, or None.
        choices: how many answers it wants (`n`).
        wants_usage: the client itself asked for usage in the stream (always true where the protocol always sends it).
        system: the system prompt where the protocol keeps it outside the messages.
        messages: the conversation, oldest first: a tuple, or `wire.blocks` of a long one. It never changes.
        tools: what is offered.
        extra: other texts that count as input (an output schema, the inputs of an embedding).
        overhead: input tokens that the provider adds to such a call, where those are more than all protocols have.
        tokens_given: input that came as token ids (embeddings): already counted.
        hints: session signals of the body, name to value (`metadata.user_id`, `prompt_cache_key`, `user`).
        thread: the ids, with spaces between, of all that the provider keeps and reads as input too: an earlier response, a conversation,
            a cached content, items by reference.
        wants_json: the answer must be JSON, so that words of ours in its place would not be understood.
        aliases: other names of `model`, where the protocol has several for one: a rule that denies any of them denies it.
        dearer: members that can raise the price above the one that is reserved at.
        members: for each top-level key of the body, the span [start, end) of its value; edits splice there.
        latest: the raw bytes of the last messages, as many as were split off: at least those that were never seen.
    """

    operation: Operation
    model: str
    body: bytes
    stream: bool = False
    max_output: int | None = None
    choices: int = 1
    wants_usage: bool = True
    system: tuple[Message, ...] = ()
    messages: Sequence[Message] = ()
    tools: Tools = field(default_factory=Tools)
    extra: tuple[str, ...] = ()
    overhead: int = 0
    tokens_given: int = 0
    hints: Mapping[str, str] = field(default_factory=dict)
    thread: str = ""
    wants_json: bool = False
    aliases: tuple[str, ...] = ()
    dearer: tuple[str, ...] = ()
    members: Mapping[str, Span] = field(default_factory=dict)
    latest: Sequence[bytes] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class Steer:
    """How a model that goes in circles is helped out of them. The client sees nothing of it: it changes what goes upstream alone.

    Attributes:
        note: words that the model reads at the end of the conversation, after all that a provider may have cached; empty for none.
        system: a system prompt that takes the place of the client's own, None to leave it.
        temperature: the temperature to sample at, None to leave it.
        no_tools: the model may not call tools on this turn.
    """

    note: str = ""
    system: str | None = None
    temperature: float | None = None
    no_tools: bool = False


class Edit(msgspec.Struct):
    """What must change in a body before it goes upstream; None or False leaves that part as it is."""

    model: str | None = None
    max_output: int | None = None
    ask_usage: bool = False
    max_output_key: str = ""
    steer: Steer | None = None


class Event(msgspec.Struct):
    """One event of a stream: its bytes as they came, what it is, and the texts it carries.

    `text` is model output of any kind (answer, refusal, reasoning, tool arguments); `tool` names the tool whose call starts here, or
    several, one a line.
    """

    raw: bytes
    kind: EventKind
    text: str = ""
    tool: str = ""

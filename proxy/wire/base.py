"""The one interface that every protocol implements: a codec for requests, a meter for replies.

A codec is stateless and does no I/O. It reads what the house needs, keeps the client's bytes, and edits by splicing: what it does not
understand goes through untouched. A meter reads one reply as it passes.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, Protocol

from proxy.model import Deny, Usage
from proxy.wire.call import Call, Edit, Event, EventKind, Message, ToolCall, Tools
from proxy.wire.frame import Frames
from proxy.wire.memo import Memo
from proxy.wire.prefix import Prefixes
from proxy.wire.sse import Splitter
from proxy.wire.translate.carried import Carried

PART, TEXT = 160, 60
"""Bytes that one call, result, media part or tool, and one text, take beside their letters."""


def weigh_message(message: Message) -> int:
    """Return the bytes that the parts of a message take beside their letters: what is cut fine takes many times its JSON."""
    parts = len(message.tool_calls) + len(message.tool_results) + len(message.media) + len(message.offers)
    return TEXT * len(message.texts) + PART * parts


class Memos:
    """The memos of one process: messages, tool lists, the latest bodies, what stands around conversations, and what was carried into other
    dialects. Shared by all codecs; cleared at will.

    Args:
        max_bytes: memory for messages and tools; the bodies and what was carried may each take as much again, the frames a quarter of it.
    """

    __slots__ = ("carried", "frames", "messages", "prefixes", "tools")

    def __init__(self, max_bytes: int = 12 << 20) -> None:
        self.messages: Memo[Message] = Memo(max_bytes * 3 // 4, weigh_message)
        self.tools: Memo[Tools] = Memo(max_bytes // 4, lambda tools: PART * len(tools.specs))
        self.prefixes = Prefixes(max_bytes)
        self.frames = Frames(self.prefixes, max_bytes // 4)
        self.carried = Carried(max_bytes)

    def clear(self) -> None:
        """Forget everything; decisions stay the same."""
        self.messages.clear()
        self.tools.clear()
        self.prefixes.clear()
        self.frames.clear()
        self.carried.clear()


class Framing(Protocol):
    """Cuts a stream's bytes into whole events, across any chunk boundary; all that goes in comes out, unchanged and in order."""

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the events that `chunk` completes, terminators included. Raises WireError when one grows over the bound."""
        ...

    def rest(self) -> bytes:
        """Return the bytes of the unfinished event at the end, once; usually none."""
        ...


class Meter(ABC):
    """Reads one successful reply as it passes, buffered or streamed.

    Attributes:
        usage: what the provider reported so far, or None; `exact` is true on it.
        texts: pieces of model output seen, for counting when no usage came.
        reply_id: the id by which a later call can refer to this reply, where the provider keeps it.
        part_ids: the ids by which one can refer to parts of it.
        pieces: how many stream events carried model output: a floor of the output tokens.
        tool_calls: complete tool calls of the reply (all choices).
        finish: the provider's finish or stop reason, if one came.
        model: the model that the provider says it served.
        ended: the protocol's own terminal event was seen (streams) or the body was complete (buffered).
        failed: the stream carried the provider's error event.
        withheld: the newest event was read and not passed on, since the stream is cut before it.
        odd: something in it was not the protocol's, so that a call or a text may stand in it that nobody has read.
        turns: is another number after an event that `cut` would need; None where it needs all of them.
        repeats: events that `again` could read are brought here too, so that it may pay to be ready for them.
        says: what kind of event `again` reads.
    """

    turns: int | None = None
    repeats = True
    says: EventKind = "text"

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.texts: list[str] = []
        self.pieces = 0
        self.tool_calls: list[ToolCall] = []
        self.reply_id = ""
        self.part_ids: list[str] = []
        self.finish = ""
        self.model = ""
        self.ended = False
        self.failed = False
        self.withheld = False
        self.odd = False

    def again(self, raw: bytes) -> str | None:
        """Read an event that is as the newest one but for its words, and return those; None for any other, which `event` must read.

        What it says is taken in exactly as `event` would.
        """
        return None

    def follow(self, raw: bytes, text: str) -> None:
        """Read an event that another meter of the reply, which has read the same ones, has read by `again`."""
        self.event(raw)

    @property
    def calling(self) -> bool:
        """Whether a tool call has begun that is not complete yet."""
        return False

    @abstractmethod
    def buffered(self, body: bytes) -> None:
        """Read a whole reply body. A body that is not the protocol's is no error here: usage stays None, and the bound is charged."""

    @abstractmethod
    def event(self, raw: bytes) -> Event:
        """Read one whole stream event (terminator included). Never raises: what it does not understand is kind `other`."""

    def cut(self, deny: Deny | None) -> bytes:
        """Return the events that end an unfinished stream well-formed.

        With a deny of the budget family the ending is the protocol's own `length`; with any other deny, or None for a lost upstream,
        it is the protocol's error event.
        """
        raise NotImplementedError


THOUGHT = "thought/"
"""How the name of a channel begins whose text must stay as it is, since the provider signs it or it is no plain text: it may stop a reply
and is never rewritten."""


class Editor(ABC):
    """Changes one reply of a protocol: words that must not pass as they are, and tool calls that must not pass.

    What it does not change keeps its bytes. A tool call that is withheld leaves words in its place, so that numbering, stop reason and
    the order of events stay what a client expects. One editor for one reply; it reads events in their order.

    Attributes:
        refused: `ToolCall.place` to the words that the client reads instead.
        arguments: `ToolCall.place` to the arguments, JSON text, that the client gets.
        kept: places of the calls that pass. All three are filled while the reply goes on, for a call before its last event is edited.
        repeats: the protocol says its texts again in events that bring nothing new.
    """

    repeats: ClassVar[bool] = False

    def __init__(self) -> None:
        self.refused: dict[str, str] = {}
        self.arguments: dict[str, str] = {}
        self.kept: set[str] = set()

    @abstractmethod
    def texts(self, raw: bytes) -> list[tuple[str, str | None]]:
        """Return the pieces of text in one stream event, each with its channel: pieces of one channel follow one another as one text.

        None in the place of a piece says that the channel is over. Arguments of tool calls are no text here. An event that cannot be read
        has none.
        """

    @abstractmethod
    def edit(self, raw: bytes, texts: Mapping[str, str]) -> list[bytes]:
        """Return the events that leave in the place of one: itself, untouched, where nothing in it must change.

        Called once, in order, for each event that belongs to tool calls, and after the first change for all events.

        Args:
            raw: the event.
            texts: what the pieces of a channel in it become, together.
        """

    @abstractmethod
    def whole(self, body: bytes, change: Callable[[str], str]) -> bytes:
        """Return a buffered reply with each text put through `change`, and its tool calls as they may pass; the same object where nothing
        changes."""


class Codec(ABC):
    """One protocol operation: how to read its requests, edit them, and meter its replies.

    Attributes:
        protocol: openai, anthropic, gemini or ollama: whose base URL, credentials and error shape it takes.
        name: the operation; with the protocol it names the dialect (`openai.chat`).
        streams: content type of a streamed reply to what cuts it into events; the first is the one that we send ourselves.
    """

    protocol: str
    name: ClassVar[str]
    streams: Mapping[str, Callable[[], Framing]] = {"text/event-stream": Splitter}

    @functools.cached_property
    def dialect(self) -> str:
        """Protocol and operation, as `openai.chat`; asked for many times a request."""
        return f"{self.protocol}.{self.name}"

    @abstractmethod
    def decode(self, body: bytes, memos: Memos) -> Call:
        """Return the call that `body` is.

        Raises:
            WireError: not the protocol's JSON: not an object, duplicate or look-alike keys, wrong types of what we rely on.
        """

    @abstractmethod
    def rewrite(self, call: Call, edit: Edit) -> bytes:
        """Return the body with `edit` spliced in; the very same object when nothing changes."""

    @abstractmethod
    def meter(self, call: Call) -> Meter:
        """Return a fresh meter for the reply to `call`."""

    @abstractmethod
    def upstream_path(self, call: Call, model: str) -> str:
        """Return the path below the provider's base URL for `call`, starting with a slash; `model` is the provider's name for it."""

    def content_type(self, call: Call) -> str:
        """Return the content type of the replies to `call` that we make ourselves."""
        return next(iter(self.streams)) if call.stream else "application/json"

    def editor(self, call: Call) -> Editor | None:
        """Return an editor of the reply to `call`; None where nothing is said that could be changed."""
        return None

    def speak(self, call: Call, text: str, id: str) -> bytes | None:
        """Return a whole, well-formed reply to `call` in which the assistant says `text` and stops; None where nobody speaks.

        It is one body, or where the call asks for a stream all of its events. `id` makes the reply's id.
        """
        return None


class ListCodec(Codec):
    """A route that lists models: its replies are cut down to what the agent may use."""

    @abstractmethod
    def filter(self, body: bytes, may_use: Callable[[str], bool]) -> bytes:
        """Return the list `body` without the models that `may_use` refuses; the same object when all may be used.

        A body that cannot be read as a list of models becomes an empty one: what we cannot filter is not shown.
        """

    @abstractmethod
    def listing(self, names: Sequence[str]) -> bytes:
        """Return a list of the models `names`, for clients whose dialect no provider speaks: their calls are translated."""


def created_of(id: str) -> int:
    """Return the UTC second in which the exchange `id` began: its first twelve hex digits are milliseconds."""
    return int(id[:12], 16) // 1000


Routes = Mapping[tuple[str, str], Codec]
"""(method, path) to the codec that answers there: what each protocol's module hands to the registry."""

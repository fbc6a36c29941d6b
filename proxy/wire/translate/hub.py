"""The hub of translation: what all chat dialects can say, and nothing that only one of them can.

A dialect reads its own requests and replies into these types and writes them out again, so n dialects need 2n readers and writers and not
n² translators. What the hub cannot hold is dropped by a rule that docs/translation.md states, or, where dropping it would change what was
asked, refused as `Untranslatable`. Pure; no I/O, no clock.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from proxy.model import Deny, Usage

if TYPE_CHECKING:
    from proxy.wire.translate.carried import Carried

Stop = Literal["stop", "length", "tool", "filter"]
Role = Literal["system", "user", "assistant"]


MAX_DROPPED, SHOWN = 32, 64
"""How many names of what was left out are kept, and the longest piece of a caller's own words in one, or in a refusal."""


class Untranslatable(Exception):
    """The request holds something that the other dialect has no words for; the message names it (`/tools/3: a computer_use tool`)."""

    def __init__(self, words: str) -> None:
        super().__init__(shown(words, 4 * SHOWN))


def shown(words: str, longest: int = SHOWN) -> str:
    """Return `words`, which may be a caller's, short enough and without what does not print."""
    return "".join(c if c.isprintable() else "?" for c in words[:longest])


class Text(msgspec.Struct, frozen=True):
    """Words, of whoever's turn it is."""

    text: str


class Thought(msgspec.Struct, frozen=True):
    """Reasoning that a model showed. Signatures do not carry over; in a request it is left out, in a reply it is shown where possible."""

    text: str


class Image(msgspec.Struct, frozen=True):
    """An image: base64 `data` of type `mime`, or a `url`."""

    mime: str = ""
    data: str = ""
    url: str = ""
    detail: str = ""


class ToolUse(msgspec.Struct, frozen=True):
    """A tool call: `arguments` is JSON text of an object."""

    id: str
    name: str
    arguments: str


class ToolOutput(msgspec.Struct, frozen=True):
    """What a tool gave back to the call `id` (of tool `name`, where known)."""

    id: str
    name: str
    parts: tuple[Text | Image, ...]
    error: bool = False


Part = Text | Thought | Image | ToolUse | ToolOutput
Tie = tuple[str, str]
"""The id and the name of a call, or of what it is that a tool gave back."""
SEEN: Final = (Text, Image)
"""What a user shows beside the outputs of tools; as a tuple, since `isinstance` builds a union anew each time that it is asked."""


TIED: Final = (ToolUse, ToolOutput)
"""What has a tie; as a tuple, as `SEEN`."""
Ties = tuple[Tie, ...]
PART = 200
"""Bytes that one part of a turn, or one tool, takes beside its letters."""


@dataclass(slots=True)
class Piece:
    """What a turn, or the tools, became: `items` in JSON, together with the turns of `rest`, which follow and have the same role. `size`
    is bytes of memory, by estimate."""

    rest: Sequence[Turn]
    items: tuple[msgspec.Raw, ...]
    dropped: tuple[str, ...]
    size: int


@dataclass(slots=True)
class Turn:
    """One turn: tool outputs stand in user turns, tool uses and thoughts in the assistant's.

    Role and parts are fixed when it is made, and so are `ties`, those of its calls or outputs, and whether it is `silent`, since it says
    nothing that carries over. The others are caches: `pieces` is what it became for each target, `tied` the turn that it is with other ids
    and names for its calls and outputs. Emptying them changes cost, never a byte.
    """

    role: Role
    parts: tuple[Part, ...]
    ties: Ties = field(init=False, compare=False, repr=False)
    silent: bool = field(init=False, compare=False, repr=False)
    pieces: dict[str, Piece] = field(default_factory=dict, init=False, compare=False, repr=False)
    tied: tuple[Ties, Turn] | None = field(default=None, init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        self.ties = tuple([(part.id, part.name) for part in self.parts if isinstance(part, TIED)])
        self.silent = {*map(type, self.parts)} <= {Thought}

    def cost(self) -> int:
        """Return the bytes that it takes beside its letters, with what the caches hold, by estimate."""
        own = PART * len(self.parts) + sum([piece.size for piece in self.pieces.values()])
        return own if self.tied is None else own + self.tied[1].cost()


class Tool(msgspec.Struct, frozen=True):
    """A function that the model may call; `schema` is its JSON Schema."""

    name: str
    description: str
    schema: dict[str, Any]
    strict: bool | None = None


@dataclass(slots=True)
class Offered:
    """All tools of a request; `pieces` is a cache of what they became for each target."""

    tools: list[Tool]
    pieces: dict[str, Piece] = field(default_factory=dict)

    def cost(self) -> int:
        """Return the bytes that they take beside their letters, with what the cache holds, by estimate."""
        return PART * len(self.tools) + sum([piece.size for piece in self.pieces.values()])


@dataclass(slots=True)
class Asked:
    """A whole request.

    Attributes:
        choice: `auto`, `none`, `any`, or `tool:NAME`; empty where nothing was said.
        parallel: whether several tool calls at once are fine; None where nothing was said.
        schema: the JSON Schema that the answer must fit; `json` asks for JSON of any shape.
        effort: how hard the model should think, in OpenAI's words (`low`, `medium`, `high`, ...); empty where nothing was said.
        include_usage: the client itself wants usage in its stream, where its protocol leaves that open.
        ceiling_key: the member that holds the output ceiling, where the dialect has several and the server may know only one.
        id: a name for the reply where the provider gives it none: unique, letters and digits.
        framing: the content type of the reply that the client waits for, where its protocol has several ways to frame a stream.
        dropped: what was left out by the documented rules, for the record; filled by `drop`.
        offered: the tools as they were read, where what they became is to be kept.
        carried: what is known, which also keeps what turns and tools become; None where nothing is known or kept.
    """

    model: str
    turns: list[Turn] = field(default_factory=list)
    tools: list[Tool] = field(default_factory=list)
    choice: str = ""
    parallel: bool | None = None
    stream: bool = False
    max_output: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop: list[str] = field(default_factory=list)
    seed: int | None = None
    json: bool = False
    schema: dict[str, Any] | None = None
    schema_name: str = ""
    effort: str = ""
    include_usage: bool = False
    ceiling_key: str = ""
    id: str = ""
    framing: str = ""
    dropped: list[str] = field(default_factory=list)
    offered: Offered | None = None
    carried: Carried | None = None

    def drop(self, name: str) -> None:
        """Note that what `name` says is left out."""
        note((name,), self.dropped)

    def drop_thoughts(self) -> None:
        """Note that reasoning is left out: its signature proves it to no other server."""
        self.drop("reasoning of earlier turns")


def note(names: Iterable[str], dropped: list[str]) -> None:
    """Add `names` to what was left out; each once, and within bounds, since they may be a caller's own words."""
    for name in names:
        if name in dropped:
            continue
        name = shown(name)
        if name not in dropped and len(dropped) < MAX_DROPPED:
            dropped.append(name)


@dataclass(slots=True)
class Said:
    """A whole reply with one choice. `model` is what the provider calls itself."""

    id: str
    model: str
    parts: list[Text | Thought | ToolUse]
    stop: Stop
    usage: Usage


# --- streams -----------------------------------------------------------------------------------------------------------------------


class Began(msgspec.Struct, frozen=True):
    """The reply begins; `usage` holds the input's tokens where the provider says them first."""

    id: str
    model: str
    usage: Usage | None = None


class Words(msgspec.Struct, frozen=True):
    """Some more text (or, with `thought`, reasoning)."""

    text: str
    thought: bool = False


class ToolBegan(msgspec.Struct, frozen=True):
    """A tool call begins; `index` counts the calls of this reply from 0."""

    index: int
    id: str
    name: str


class ToolMore(msgspec.Struct, frozen=True):
    """Some more of the arguments of call `index`."""

    index: int
    arguments: str


class Ended(msgspec.Struct, frozen=True):
    """The reply is over. May come without usage (`usage=None`) and once more with it."""

    stop: Stop | None
    usage: Usage | None = None


class Failed(msgspec.Struct, frozen=True):
    """The provider's error event."""

    message: str


Step = Began | Words | ToolBegan | ToolMore | Ended | Failed


class StreamReader(ABC):
    """Reads one streamed reply of a dialect into steps."""

    @abstractmethod
    def event(self, raw: bytes) -> list[Step]:
        """Return what one whole event (its framing included) says. Never raises: what it does not understand says nothing."""


class StreamWriter(ABC):
    """Writes one streamed reply in a dialect, byte for byte as its provider would frame it."""

    @abstractmethod
    def step(self, step: Step) -> bytes:
        """Return the bytes that say `step`; often none. After `Ended` with a stop, blocks that are open are closed at `end`."""

    @abstractmethod
    def end(self) -> bytes:
        """Return the protocol's own ending, with the usage of the last `Ended`. Called once, after the last step of a whole stream."""

    @abstractmethod
    def cut(self, deny: Deny) -> bytes:
        """Return the ending of a stream that is cut: `length` for a spent budget, else the protocol's error event (as `Meter.cut`)."""


class Dialect(ABC):
    """One chat dialect: how it reads and writes requests and replies. Stateless; one of each serves everybody."""

    name: str
    """The codec's dialect, as `openai.chat`."""
    history: str = "messages"
    """The member that holds the conversation."""
    prompts: frozenset[str] = frozenset()
    """Names of the member that holds a system prompt apart from the conversation."""
    headers: tuple[tuple[str, str], ...] = ()
    """Headers without which a provider of this dialect does not answer, beside the transport's own."""

    @abstractmethod
    def read_request(self, body: dict[str, Any], model: str, stream: bool) -> Asked:
        """Return what a request of this dialect asks.

        Args:
            body: its JSON, decoded strictly by the codec before.
            model, stream: as the codec's `Call` has them (in some protocols they stand in the path).

        Raises:
            Untranslatable: it asks for what no other dialect has.
        """

    @abstractmethod
    def write_request(self, asked: Asked) -> dict[str, Any]:
        """Return the JSON of a request. Streams ask for usage wherever the dialect has to be asked. Raises Untranslatable."""

    @abstractmethod
    def read_reply(self, body: dict[str, Any]) -> Said:
        """Return what a whole reply says; what it lacks is empty. Raises Untranslatable when it is not a reply of this dialect."""

    @abstractmethod
    def write_reply(self, said: Said, asked: Asked) -> dict[str, Any]:
        """Return the JSON of a reply to `asked`."""

    @abstractmethod
    def reader(self) -> StreamReader:
        """Return a fresh reader of one streamed reply."""

    @abstractmethod
    def writer(self, asked: Asked) -> StreamWriter:
        """Return a fresh writer of one streamed reply to `asked`."""

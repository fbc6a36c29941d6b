"""The few doors between the engine and the world. Everything behind them can be replaced: by a test script, or by another library."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import msgspec

from proxy.model import Target

if TYPE_CHECKING:
    from proxy.engine.record import Record


class UpstreamError(Exception):
    """The provider could not be asked, or its answer broke off.

    Attributes:
        kind: `connect` (nothing was sent), `timeout`, `cut` (the connection ended inside a reply), `protocol` (not HTTP),
            `too_large` (a reply over the bound).
        status: an HTTP status if one was seen, else 0.
        retryable: whether another target may be tried: true only when this one surely did no work.
        retry_after_s: when trying again can help, where that is known.
        busy: it never got to the provider, since all connections that we allow to it were taken: that says nothing about the provider.
    """

    def __init__(
        self,
        kind: Literal["connect", "timeout", "cut", "protocol", "too_large"],
        message: str,
        status: int = 0,
        retry_after_s: float | None = None,
        busy: bool = False,
    ) -> None:
        self.kind, self.status, self.retryable = kind, status, kind == "connect"
        self.retry_after_s, self.busy = retry_after_s, busy
        super().__init__(message)


class StoreError(Exception):
    """Shared state cannot be read or written: the exchange is denied with `store_unavailable`."""


class ClientGone(Exception):
    """The client closed its side; nobody is there to answer."""


class BodyTooLarge(Exception):
    """The request body is over the limit."""


class BodyTimeout(Exception):
    """The request body did not arrive in time."""


class UpstreamRequest(msgspec.Struct):
    """What the engine asks of the transport. `path` stands below the provider's base URL; `headers` are the client's, filtered.

    `alone`: no other target is behind this one, so that what cost nothing may be sent to it again; `note` is told of that, as
    `Exchange.note` is.

    `spare`: another target takes its place as soon as it fails, so that it waits in no line; the engine says by `report`, which the
    transport sets, whether the server did answer.

    `idle`: set by the transport while it surely did no work: it waits for a connection, or to be sent again. Who leaves then owes nothing.
    """

    target: Target
    method: str
    path: str
    headers: Sequence[tuple[str, str]]
    body: bytes
    stream: bool
    alone: bool = False
    note: Callable[[str, str], None] = lambda stage, words: None
    idle: bool = False
    spare: bool = False
    report: Callable[[bool], None] = lambda answered: None


Take = Callable[[Sequence[bytes]], int]
"""Takes pieces of a body from the front, and returns how many. Never waits, never raises."""


class UpstreamReply(Protocol):
    """A reply whose head has arrived.

    `close()` is safe at any time and drops the connection unless the body has arrived to its end; whoever waits for the body then gets an
    UpstreamError.
    """

    status: int
    headers: Mapping[str, str]

    async def read(self, limit: int) -> bytes:
        """Return the whole body, decoded from any content encoding.

        Raises:
            UpstreamError: cut, timeout, or over `limit` bytes.
        """
        ...

    def chunks(self, take: Take | None = None) -> AsyncIterator[bytes]:
        """Yield the body as it arrives, decoded from any content encoding; raises UpstreamError as `read` does.

        Pieces that `take` takes, asked where they come in while the next is awaited, are not yielded.
        """
        ...

    def close(self) -> None:
        """Let go of the connection."""
        ...


class Transport(Protocol):
    """Asks providers. Knows their base URLs and keys, which nobody else sees."""

    async def send(self, request: UpstreamRequest) -> UpstreamReply:
        """Return the reply once its head is here.

        Raises:
            UpstreamError: no connection, no reply in time, or not HTTP.
        """
        ...

    async def close(self) -> None:
        """Close all connections."""
        ...


class Client(Protocol):
    """The client's side of one exchange."""

    async def read(self, limit: int) -> bytes:
        """Return the request body, expanded if it came compressed.

        Raises:
            BodyTooLarge: over `limit` bytes as sent or expanded.
            BodyTimeout: it did not arrive in time.
            ClientGone: the client went away.
        """
        ...

    async def send(self, status: int, headers: Sequence[tuple[str, str]], body: bytes) -> None:
        """Send a whole reply. Raises ClientGone."""
        ...

    async def start(self, status: int, headers: Sequence[tuple[str, str]]) -> None:
        """Begin a reply of unknown length. Raises ClientGone."""
        ...

    async def write(self, data: bytes) -> None:
        """Send a piece of the body, waiting while the client is slow. Raises ClientGone."""
        ...

    def push(self, data: bytes) -> bool:
        """Send a piece of the body if the client takes it at once; False, and nothing is sent, where it is slow or gone or nothing was sent
        yet."""
        ...

    async def end(self) -> None:
        """Finish a reply that was begun. Raises ClientGone."""
        ...


class Clock(Protocol):
    """Time, injected so that tests own it."""

    def now(self) -> float:
        """UTC seconds since the epoch."""
        ...

    def ns(self) -> int:
        """Monotonic nanoseconds for durations."""
        ...


class SystemClock:
    """The machine's clocks."""

    now = staticmethod(time.time)
    ns = staticmethod(time.perf_counter_ns)


class Sink(Protocol):
    """Takes finished records: ledger, metrics, log. Must not block; what it cannot do at once it queues, bounded."""

    name: str

    def record(self, record: Record) -> None:
        """Take one record."""
        ...

    async def close(self) -> None:
        """Write out what is queued."""
        ...


QuestionKind = Literal["tool_call", "loop", "budget", "request"]
Beat = Callable[[], Awaitable[None]]
"""Called every few seconds while somebody waits, to keep the client's stream alive; raises ClientGone when nobody waits any more."""


@dataclass(frozen=True, slots=True)
class Question:
    """What a person is asked to allow.

    Attributes:
        kind: what is held. agent, session, run, exchange: whose it is.
        what: its name in a word: the tool, the loop's rule, the budget.
        digest: of all that is asked (a tool's arguments): what has the same agent, session, kind, what and digest is one question, and one
            decision answers it.
        rule: which rule asks and where it is written. why: its words.
        preview: what a person needs to see of it; secrets hidden, bounded.
        timeout_s: how long to wait, None for the setting `approvals.timeout_s`.
        default: what follows when nobody decides in that time, None for the setting `approvals.default`.
    """

    kind: QuestionKind
    agent: str
    session: str
    run: str
    exchange: str
    what: str
    digest: str
    rule: str
    why: str = ""
    preview: str = ""
    timeout_s: float | None = None
    default: Literal["deny", "allow"] | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a question: whether it is allowed, who said so (empty: nobody did) and why. `id` names the question for people."""

    allowed: bool
    by: str = ""
    why: str = ""
    id: str = ""

    @property
    def decided(self) -> bool:
        """Whether somebody decided, or nobody did in time."""
        return bool(self.by)


class Approver(Protocol):
    """Asks a person, and waits."""

    async def ask(self, question: Question, beat: Beat | None = None) -> Answer:
        """Return what is decided, at once where that was decided before. Never longer than the question's time; without a `beat`, when
        nothing can be sent meanwhile, no longer than clients wait for a reply (`approvals.buffered_s`). Who asks the same again finds
        the decision that was made meanwhile.

        Raises:
            ClientGone: from `beat`.
            StoreError: the question cannot be kept.
        """
        ...

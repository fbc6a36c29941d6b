"""The exchange: one client request and its one reply, and all that became known of it.

Mutable, and owned by one task. Fields that a stage gives are slots without a default: reading one before its stage ran is an
AttributeError, which the engine turns into a refusal, never a guess.
"""

from __future__ import annotations

import os
import random
import secrets
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from proxy.engine.capture import Capturing
from proxy.engine.notice import Tell, nobody
from proxy.engine.ports import Answer, Approver, Beat, Client, Clock, Question, Sink, Transport
from proxy.engine.stage import Plan
from proxy.engine.trace import Trace, Tracing
from proxy.model import NO_LOOP, Deny, Finding, Grant, LoopSignal, Nanos, Principal, Route, Target, Usage
from proxy.wire.base import Codec, Meter
from proxy.wire.call import Call, Steer
from proxy.wire.translate.bridge import Bridge
from proxy.wire.translate.carried import Carried

if TYPE_CHECKING:
    from proxy.engine.gate import Gate
    from proxy.engine.pace import Pace

Release = Callable[["Exchange"], Coroutine[Any, Any, None]]
Count = Callable[["Exchange"], int]
Charges = tuple[tuple[str, str, int], ...]
"""What an exchange was charged: counter, unit, amount (nanos for `usd`); counters that it was charged nothing are left out."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one exchange, in bytes. Deadlines are the transport's and the edge's."""

    max_body: int = 32 << 20
    max_reply: int = 64 << 20


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a local target that can be replaced may take, in seconds, and what tells that its answer is one piece again and again.

    See `engine.cascade`: `first_byte_s` is for the first output of a stream, `answer_s` for what is looked at whole.
    """

    first_byte_s: float = 10.0
    answer_s: float = 60.0
    chants: Callable[[str], bool] = lambda text: False


@dataclass(frozen=True, slots=True)
class Left:
    """A target that was asked and replaced: why, in a word and in words, what it used and cost, and how long it took, in ns."""

    provider: str
    model: str
    cause: str
    words: str
    usage: Usage
    cost: Nanos
    ns: int


class Nobody:
    """Implements `Approver` where nobody can be asked: refuses."""

    async def ask(self, question: Question, beat: Beat | None = None) -> Answer:
        """See `Approver`."""
        return Answer(False, why="nobody can be asked here")


@dataclass(frozen=True, slots=True)
class Runtime:
    """One immutable snapshot of everything that files configure. An exchange finishes on the snapshot that it started with."""

    version: str
    plan: Plan
    transport: Transport
    sinks: tuple[Sink, ...]
    limits: Limits = Limits()
    refusal: Literal["error", "message"] = "error"
    count: Count = lambda ex: ex.meter.pieces if ex.meter is not None else 0
    """A floor of the output tokens seen so far in a stream; asked only when its pieces outnumber the hold."""
    tell: Tell = nobody
    """Takes what people outside should hear of."""
    patience: Patience = Patience()
    approver: Approver = field(default_factory=Nobody)
    """Asks people (see `engine.approval.approved`)."""
    tracing: Tracing | None = None
    """Follows exchanges as parts of distributed traces; None where nobody wants any."""
    capture: Capturing | None = None
    """Keeps what is said; None where nothing is kept."""
    carried: Carried | None = None
    """What was carried into other dialects before; None to carry all of each call."""


_NOTHING: Mapping[str, str] = {}


class Exchange:
    """See the module. `id` sorts by time and is the request id and the decision id."""

    __slots__ = (
        "agent",
        "answer",
        "asked_model",
        "bill",
        "body",
        "bridge",
        "call",
        "client",
        "clock",
        "codec",
        "cost",
        "decisions",
        "defers",
        "deny",
        "depth",
        "findings",
        "gate",
        "grant",
        "headers",
        "held_input",
        "held_output",
        "history",
        "id",
        "left",
        "look_at",
        "loop",
        "marks",
        "max_output",
        "meter",
        "method",
        "named_agent",
        "outcome",
        "pace",
        "parent",
        "path",
        "peer",
        "principal",
        "protocol",
        "query",
        "redactions",
        "reply_body",
        "reply_headers",
        "route",
        "route_rule",
        "route_to",
        "rt",
        "run",
        "sample_of",
        "sent",
        "served",
        "session",
        "session_source",
        "sizes",
        "spent",
        "started",
        "status",
        "steer",
        "stopped",
        "t0_ns",
        "target",
        "trace",
        "upstream_status",
        "usage",
        "wall",
    )

    # given by the edge
    id: str
    rt: Runtime
    clock: Clock
    client: Client
    protocol: str
    """The dialect that refusals speak: the codec's, or the likeliest one where no route matched."""
    codec: Codec
    """Not set for a path that nobody meters."""
    method: str
    path: str
    """Below any `/agent/{id}` prefix, without the query."""
    query: str
    headers: Mapping[str, str]
    """Case-insensitive."""
    named_agent: str | None
    """The agent that the path prefix names."""
    peer: str
    t0_ns: int
    wall: float

    # given by stages
    principal: Principal
    agent: str
    grant: Grant
    body: bytes
    call: Call
    session: str
    session_source: str
    run: str
    """What the call draws from together with others: `KEYID/NAME`, `open:AGENT/NAME`, or the session of who began it all."""
    parent: str
    depth: int
    """How many agents began one another before this one, as far as anybody knows; 0 for a first one."""
    route: Route
    max_output: int | None
    """The output ceiling to send upstream where it differs from the client's own, else None."""
    answer: bytes | None
    """The whole reply, where a stage knows it and no provider need be asked."""
    route_to: str
    """The model that a rule has this served by, empty for most; `route_rule` says which rule."""
    route_rule: str
    sample_of: str
    """The exchange whose answer this one, which we began, is to be compared with; empty for whatever a client asks."""
    redactions: Mapping[str, str]
    """Texts that the provider must not see, to what stands for them; empty for most."""
    held_output: int
    """How many output tokens the hold covers, over all choices; 0 when nothing is generated."""
    held_input: int
    """How many tokens of prompt the hold covers; 0 where nothing is held."""
    pace: Pace | None
    """Has the hold of a stream grow as it goes; None where the hold covers the whole reply."""
    history: int
    """Tokens of what the provider keeps and reads as input too: 0 for nothing, -1 where nobody knows how many."""
    look_at: int
    """The number of stream pieces at which the output is counted against the hold next."""

    # known as it goes
    asked_model: str
    loop: LoopSignal
    findings: list[Finding]
    decisions: list[tuple[str, str]]
    defers: list[tuple[str, Release]]
    bill: Callable[[Exchange], Charges] | None
    """What says, once usage and cost are fixed, what the settle charges to each counter; None where nothing is held."""
    marks: dict[str, int]
    deny: Deny | None
    stopped: Deny | None
    """Why this exchange was stopped from outside while it ran; its task is cancelled then."""
    target: Target | None
    bridge: Bridge | None
    meter: Meter | None
    gate: Gate | None
    """What holds the reply back until it may pass; None where nobody looks at it."""
    usage: Usage | None
    left: Sequence[Left]
    """The targets that were asked before the one that served, and replaced; `spent` is what they cost."""
    steer: Steer | None
    trace: Trace | None
    reply_headers: list[tuple[str, str]]

    def __init__(self, rt: Runtime, clock: Clock, client: Client, protocol: str) -> None:
        self.rt, self.clock, self.client, self.protocol = rt, clock, client, protocol
        self.wall, self.t0_ns = clock.now(), clock.ns()
        self.id = new_id(self.wall)
        self.peer = self.query = self.asked_model = self.outcome = ""
        self.session = self.session_source = self.run = self.parent = ""
        self.route_to = self.route_rule = self.sample_of = ""
        self.named_agent = self.answer = self.max_output = self.steer = self.pace = self.trace = None
        self.deny = self.stopped = self.target = self.bridge = self.meter = self.gate = self.usage = self.bill = None
        self.sent = self.started = self.served = False
        self.depth = self.status = self.upstream_status = 0
        self.held_output = self.held_input = self.look_at = self.history = 0
        self.cost = self.spent = Nanos(0)
        self.loop, self.redactions, self.left, self.reply_body = NO_LOOP, _NOTHING, (), b""
        self.findings, self.decisions, self.defers, self.reply_headers = [], [], [], []
        self.marks, self.sizes = {}, [0, 0]

    @property
    def shown(self) -> Meter | None:
        """What has read a reply as the client has seen it, where that may be less than came: it ends a stream that fails."""
        return None if self.gate is None else self.gate.shown

    def defer(self, name: str, release: Release) -> None:
        """Have `release(self)` run when the exchange closes, last deferred first. Call it just *before* the acquire is awaited."""
        self.defers.append((name, release))

    def note(self, stage: str, words: str) -> None:
        """Keep what `stage` decided and why, in words, for `fleetgate explain`. Facts only: no secret, no prompt text."""
        self.decisions.append((stage, words))

    def find(self, rule: str, detail: str = "") -> None:
        """Add a finding; it shows in `x-fleetgate-findings` and on the record."""
        self.findings.append(Finding(rule, detail))

    def mark(self, name: str) -> None:
        """Remember when `name` happened, in ns since the start."""
        self.marks[name] = self.clock.ns() - self.t0_ns


_random = random.Random(secrets.randbits(256))  # noqa: S311  ids are names, not secrets; the system's source costs a system call each
os.register_at_fork(after_in_child=lambda: _random.seed(secrets.randbits(256)))


def new_id(wall: float) -> str:
    """Return an id of 32 hex digits that sorts by time: 48 bits of milliseconds, then 80 random bits."""
    return f"{int(wall * 1000) & 0xFFFFFFFFFFFF:012x}{_random.getrandbits(80):020x}"

"""Loops that no single conversation shows: agents that call one another in circles, two that hand the same back and forth, and storms.

Per run it is known which session began which, whom the latest calls were made by and what they were handed, and when sub-agents began.
`judged` and `refused` are pure and decide on that; `Runs` is the memory, of one process and bounded, behind `Memory` so that it can be
shared. Correlation comes from what clients send, so who hides its parent is seen as a first agent: what must hold whatever headers say is
a budget over the run, bound to the key. Forgetting widens no permission; it begins a count anew.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol

from proxy.loops.detection import NOTHING, Detection, Level, capped
from proxy.loops.handed import NOTHING_NEW, Handed, alike
from proxy.model import Deny, Grant, Limit, LoopLimits, Reason, Source

RUNS, SESSIONS, VISITS, BIRTHS = 5_000, 256, 32, 10_000
"""Runs that are kept, and sessions, changes of speaker and births of a minute of each."""
ENTRIES = 100_000
"""What all runs keep together, in sessions: a change of speaker is as large as four, and eight births are as large as one. 40 MB."""
STORM_S, FAN_OUT = 60.0, 100
"""The window in which new sub-agents of a run are counted, and how many are a storm where no file says so."""
CYCLE_WARN, CYCLE_BLOCK = 2, 3
"""How often an agent stands in the chain of who called whom, neighbours counted once."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A call: of `agent` in `session` of `run`, begun by `parent` (a session, empty for none), with `handed` as what is new in it."""

    run: str
    session: str
    agent: str
    parent: str
    now: float
    handed: Handed = NOTHING_NEW


@dataclass(frozen=True, slots=True)
class Seen:
    """What a run shows.

    Attributes:
        chain: the agents from the first known one down to this one.
        rounds: how often the same went back and forth between this agent and `other`; `near`: only nearly the same; `apart`: no
            conversation of either goes on, so that nothing shows that one waits for the other.
        born: sub-agents that began within `STORM_S`, this one included; `new` says that it did just now.
    """

    chain: tuple[str, ...]
    rounds: int = 0
    other: str = ""
    near: bool = False
    apart: bool = False
    born: int = 0
    new: bool = False


class Memory(Protocol):
    """Remembers runs."""

    def arrive(self, call: Arrival) -> Seen:
        """Take a call in and return what its run shows."""
        ...

    def refuse(self, call: Arrival) -> None:
        """Take back that `call`, which arrived just now, began its session: it was refused."""
        ...


@dataclass(slots=True)
class _Visit:
    """The calls of one agent in a row: what the first of them was handed."""

    agent: str
    session: str
    handed: Handed

    def repeats(self, before: _Visit) -> str:
        """Return `same` or `near` where the same was handed over as then, else nothing.

        A conversation that begins is handed the same only where that is equal: prompts made from one template are alike and no loop. Of
        those that go on nothing but the same one is compared.
        """
        new, old = self.handed, before.handed
        if not new.digest:
            return ""
        if new.fresh:
            return "same" if old.fresh and new.digest == old.digest else ""
        if self.session != before.session:
            return ""
        if new.digest == old.digest:
            return "same"
        return "near" if new.sketch and old.sketch and alike(new.sketch, old.sketch) else ""


@dataclass(slots=True)
class _Run:
    sessions: OrderedDict[str, tuple[str, str]] = field(default_factory=OrderedDict)
    visits: deque[_Visit] = field(default_factory=lambda: deque(maxlen=VISITS))
    births: deque[float] = field(default_factory=lambda: deque(maxlen=BIRTHS))
    size: int = 0

    def grown(self) -> int:
        """Return by how much this has grown since it was asked last, as `ENTRIES` counts."""
        before, self.size = self.size, len(self.sessions) + 4 * len(self.visits) + len(self.births) // 8
        return self.size - before


class Runs:
    """Implements `Memory` in this process. One loop's."""

    def __init__(self, most: int = RUNS, entries: int = ENTRIES) -> None:
        self._runs: OrderedDict[str, _Run] = OrderedDict()
        self._most, self._entries, self.size = most, entries, 0

    def arrive(self, call: Arrival) -> Seen:
        """See `Memory`."""
        run = self._runs.setdefault(call.run, _Run())
        self._runs.move_to_end(call.run)
        new = call.session not in run.sessions
        if new and len(run.sessions) >= SESSIONS:
            run.sessions.popitem(last=False)
        parent = call.parent or run.sessions.get(call.session, ("", ""))[1]
        run.sessions[call.session] = (call.agent, parent)
        run.sessions.move_to_end(call.session)
        while run.births and run.births[0] <= call.now - STORM_S:
            run.births.popleft()
        if new and call.parent:
            run.births.append(call.now)
        if (not run.visits or run.visits[-1].agent != call.agent) and not _retried(run.visits, call):
            run.visits.append(_Visit(call.agent, call.session, call.handed))
        rounds = _rounds(run.visits) if run.visits[-1].agent == call.agent else _Rounds()
        self._forget(run)
        return Seen(_chain(run, replace(call, parent=parent)), *rounds, len(run.births), new and bool(call.parent))

    def _forget(self, run: _Run) -> None:
        """Forget the runs that were silent for longest, but not `run`, until what is kept is within bounds."""
        self.size += run.grown()
        while len(self._runs) > self._most or (self.size > self._entries and len(self._runs) > 1):
            self.size -= self._runs.popitem(last=False)[1].size

    def refuse(self, call: Arrival) -> None:
        """See `Memory`."""
        run = self._runs.get(call.run)
        if run is not None and run.sessions.pop(call.session, None) is not None and run.births:
            run.births.pop()


def _chain(run: _Run, call: Arrival) -> tuple[str, ...]:
    """Return the agents above a call and its own, the first one first."""
    found, seen, above = [call.agent], {call.session}, call.parent
    while above and above not in seen:
        seen.add(above)
        agent, parent = run.sessions.get(above, (above.rpartition("/")[0], ""))
        if agent:
            found.append(agent)
        above = parent
    return tuple(reversed(found))


class _Rounds(NamedTuple):
    rounds: int = 0
    other: str = ""
    near: bool = False
    apart: bool = False


def _retried(visits: Sequence[_Visit], call: Arrival) -> bool:
    """Return whether a conversation that goes on is sent again as it was: clients of two agents may both be trying again."""
    last = next((visit for visit in reversed(visits) if visit.session == call.session), None)
    return last is not None and not call.handed.fresh and call.handed.turn == last.handed.turn


def _rounds(visits: Sequence[_Visit]) -> _Rounds:
    """Return how many visits of the newest speaker were handed the same as the newest, with one other agent in between that was, too.

    All are compared with the newest: where each is a little different from the one before, the work goes on.
    """
    if len(visits) < 2:
        return _Rounds()
    last, other = visits[-1], visits[-2]
    count, near, apart, place = 1, False, last.handed.fresh and other.handed.fresh, len(visits) - 1
    while place >= 2 and visits[place - 2].agent == last.agent and visits[place - 1].agent == other.agent:
        ways = [last.repeats(visits[place - 2])]
        if place >= 3 and visits[place - 3].agent == other.agent:
            ways.append(other.repeats(visits[place - 3]))
        if not all(ways):
            break
        count, near, place = count + 1, near or "near" in ways, place - 2
    return _Rounds(count, other.agent, near, apart)


def judged(seen: Seen, limits: LoopLimits) -> Detection:
    """Return what circles and ping-pong in the run come to, under the thresholds for identical calls."""
    agent = seen.chain[-1]
    single = [name for i, name in enumerate(seen.chain) if i == 0 or seen.chain[i - 1] != name]
    visits = single.count(agent)
    if visits >= CYCLE_WARN:
        level: Level = "block" if visits >= CYCLE_BLOCK else "warn"
        evidence = f"agent {agent} stands {visits} times in the chain of who called whom, {len(single)} long"
        return Detection(capped(level, limits), "delegation_cycle", visits, len(single) - 1, (), evidence)
    if seen.rounds < min(limits.warn, limits.block):
        return NOTHING
    block, nudge = (2 * limits.block, limits.block) if seen.near else (limits.block, limits.warn + 1)
    level = "warn" if seen.apart else "block" if seen.rounds >= block else "nudge" if seen.rounds >= nudge else "warn"
    evidence = f"agents {agent} and {seen.other} handed each other {'nearly ' if seen.near else ''}the same {seen.rounds} times in a row"
    return Detection(capped(level, limits), "ping_pong", seen.rounds, seen.rounds - 1, (), evidence)


def refused(seen: Seen, grant_of: Callable[[str], Grant | None], own: Grant) -> Deny | None:
    """Return why the run may not have this sub-agent: whom its caller may call, how deep, and how many in a minute."""
    chain = seen.chain
    if len(chain) > 1 and (deny := _not_allowed(chain, grant_of)) is not None and not deny.shadow:
        return deny
    dry = deny if len(chain) > 1 else None
    for distance, agent in enumerate(reversed(chain[:-1]), start=1):
        grant = own if agent == own.agent else grant_of(agent)
        for limit in grant.max_depth if grant is not None else ():
            if distance > limit.value:
                message = f"agent {own.agent} would be {distance} levels below {agent}, which may have {limit.value}"
                found = _deny(Reason.POLICY_DENIED, message, "delegation.max_depth", limit)
                if not found.shadow:
                    return found
                dry = dry or found
    return _storm(seen, own) or dry


def _not_allowed(chain: Sequence[str], grant_of: Callable[[str], Grant | None]) -> Deny | None:
    caller, agent = chain[-2:]
    grant = grant_of(caller) if caller != agent else None
    for clause in grant.delegates if grant is not None else ():
        if not clause.allows(agent):
            place = Limit(0, clause.source, clause.shadow)
            return _deny(Reason.POLICY_DENIED, f"agent {caller} may not have {agent} as a sub-agent", "delegation.allow", place)
    return None


def _storm(seen: Seen, own: Grant) -> Deny | None:
    if not seen.new:
        return None
    dry = own.loops.shadow or own.loops.act != "block"  # for the limit that no file names
    for limit in own.fan_out or (Limit(FAN_OUT, Source("default", 0), dry),):
        if seen.born > limit.value:
            message = f"{seen.born} sub-agents of one run began within a minute, and {limit.value} may"
            return _deny(Reason.LOOP_DETECTED, message, "delegation.fan_out", limit)
    return None


def _deny(reason: Reason, message: str, key: str, limit: Limit) -> Deny:
    source = limit.source
    rule = f"{key} ({source.file}:{source.line})" if source.line else f"{key} (default)"
    return Deny(reason, message, rule, "Do the work in the agent that is at work, or have its owner change the rule.", limit.shadow)

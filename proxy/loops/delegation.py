"""Loops that no single conversation shows: agents that call one another in circles, two that hand the same back and forth, and storms.

Per run it is known which session began which, whom the latest calls were made by and what they were handed, and when sub-agents began.
`judged` and `refused` are pure and decide on that; `Runs` is the memory, of one process and bounded, behind `Memory` so that it can be
shared. Correlation comes from what clients send, so who hides its parent is seen as a first agent: what must hold whatever headers say is
a budget over the run, bound to the key. Forgetting widens no permission; it begins a count anew.

Source: for the sketch, A. Broder, "On the resemblance and containment of documents" (1997), bottom-k.
"""

from __future__ import annotations

import re
import zlib
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from heapq import nsmallest
from typing import Protocol

from proxy.loops.detection import NOTHING, Detection, Level, capped
from proxy.model import Deny, Grant, Limit, LoopLimits, Reason, Source

RUNS, SESSIONS, VISITS = 5_000, 256, 32
"""Runs that are kept, and sessions and changes of speaker of each: at most some 40 KiB a run, mostly far less."""
STORM_S, FAN_OUT = 60.0, 100
"""The window in which new sub-agents of a run are counted, and how many are a storm where no file says so."""
SKETCH, SHINGLE, READ, ALIKE = 24, 3, 4096, 0.7
"""Hashes of a sketch, words of a shingle, characters that are read, and the resemblance from which two texts are near-identical."""
_word = re.compile(r"\w+")
Sketch = tuple[int, ...]
CYCLE_WARN, CYCLE_BLOCK = 2, 3
"""How often an agent stands in the chain of who called whom, neighbours counted once."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A call: of `agent` in `session` of `run`, begun by `parent` (a session, empty for none), `handed` the sketch of what is new in it."""

    run: str
    session: str
    agent: str
    parent: str
    now: float
    handed: Sketch = ()


@dataclass(frozen=True, slots=True)
class Seen:
    """What a run shows.

    Attributes:
        chain: the agents from the first known one down to this one.
        rounds: how often the same went back and forth between this agent and `other`.
        born: sub-agents that began within `STORM_S`, this one included; `new` says that it did just now.
    """

    chain: tuple[str, ...]
    rounds: int = 0
    other: str = ""
    born: int = 0
    new: bool = False


class Memory(Protocol):
    """Remembers runs."""

    def arrive(self, call: Arrival) -> Seen:
        """Take a call in and return what its run shows."""
        ...


def sketch(texts: Sequence[str]) -> Sketch:
    """Return the smallest hashes of the shingles of `texts`: near-identical texts share most of them."""
    words = _word.findall(" ".join(texts)[:READ].casefold())
    shingles = {" ".join(words[i : i + SHINGLE]) for i in range(max(1, len(words) - SHINGLE + 1))} if words else ()
    return tuple(nsmallest(SKETCH, {zlib.crc32(shingle.encode("utf-8", "replace")) for shingle in shingles}))


def alike(a: Sketch, b: Sketch) -> bool:
    """Return whether two texts are near-identical by their sketches."""
    if a == b:
        return True
    both = set(nsmallest(SKETCH, {*a, *b}))
    return bool(both) and len(both.intersection(a, b)) >= ALIKE * len(both)


@dataclass(slots=True)
class _Visit:
    """The calls of one agent in a row: what the first of them was handed."""

    agent: str
    session: str
    handed: Sketch

    def repeats(self, before: _Visit) -> bool:
        """Whether the same was handed over as then; to another session exactly the same, since batches are alike and no loop."""
        if self.session != before.session:
            return bool(self.handed) and self.handed == before.handed
        return bool(self.handed) and alike(self.handed, before.handed)


@dataclass(slots=True)
class _Run:
    sessions: OrderedDict[str, tuple[str, str]] = field(default_factory=OrderedDict)
    visits: deque[_Visit] = field(default_factory=lambda: deque(maxlen=VISITS))
    births: deque[float] = field(default_factory=lambda: deque(maxlen=1024))


class Runs:
    """Implements `Memory` in this process. One loop's."""

    def __init__(self, most: int = RUNS) -> None:
        self._runs: OrderedDict[str, _Run] = OrderedDict()
        self._most = most

    def arrive(self, call: Arrival) -> Seen:
        """See `Memory`."""
        run = self._runs.get(call.run)
        if run is None:
            if len(self._runs) >= self._most:
                self._runs.popitem(last=False)
            run = self._runs[call.run] = _Run()
        else:
            self._runs.move_to_end(call.run)
        new = call.session not in run.sessions
        if new and len(run.sessions) >= SESSIONS:
            run.sessions.popitem(last=False)
        run.sessions[call.session] = (call.agent, call.parent)
        if new and call.parent:
            run.births.append(call.now)
        if not run.visits or run.visits[-1].agent != call.agent:
            run.visits.append(_Visit(call.agent, call.session, call.handed))
        rounds, other = _rounds(run.visits)
        born = sum(1 for at in run.births if at > call.now - STORM_S)
        return Seen(_chain(run, call), rounds, other, born, new and bool(call.parent))


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


def _rounds(visits: Sequence[_Visit]) -> tuple[int, str]:
    """Return how many visits of the newest speaker in a row were handed the same, with one other agent in between that was, too."""
    if len(visits) < 2:
        return 0, ""
    last, other = visits[-1], visits[-2].agent
    rounds, place = 1, len(visits) - 1
    while place >= 2 and visits[place - 2].agent == last.agent and visits[place - 1].agent == other:
        if not visits[place].repeats(visits[place - 2]):
            break
        if place >= 3 and visits[place - 3].agent == other and not visits[place - 1].repeats(visits[place - 3]):
            break
        rounds, place = rounds + 1, place - 2
    return rounds, other


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
    level = "block" if seen.rounds >= limits.block else "nudge" if seen.rounds > limits.warn else "warn"
    evidence = f"agents {agent} and {seen.other} handed each other nearly the same {seen.rounds} times in a row"
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
    for limit in own.fan_out or (Limit(FAN_OUT, Source("default", 0)),):
        if seen.born > limit.value:
            message = f"{seen.born} sub-agents of one run began within a minute, and {limit.value} may"
            return _deny(Reason.LOOP_DETECTED, message, "delegation.fan_out", limit)
    return None


def _deny(reason: Reason, message: str, key: str, limit: Limit) -> Deny:
    source = limit.source
    rule = f"{key} ({source.file}:{source.line})" if source.line else f"{key} (default)"
    return Deny(reason, message, rule, "Do the work in the agent that is at work, or have its owner change the rule.", limit.shadow)

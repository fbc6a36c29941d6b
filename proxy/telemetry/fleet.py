"""What every agent does just now and did today, kept in memory and brought up to date from the ledger when somebody looks.

The first look of a day takes sums from the rollup, from then on each look takes the records that were written since: so it sees what all
replicas do, and costs nothing while nobody looks. Where the rollup is far behind, every look takes its sums anew; what is passed over then
is not lost silently: `fresh` says that some is left out, `gap` up to when calls are missing from the last minutes. Decides what is counted
(today is that of UTC; a clock that jumps to another day begins anew) and who is stuck. Bounded: a row an agent that called today, a few
sessions a row, so many records a look. All methods are for one thread at a time (`lock`); what cannot be read is a `StoreError`.
"""

from __future__ import annotations

import sqlite3
import threading
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from proxy.money import dollars
from proxy.telemetry import rollup
from proxy.telemetry.rollup import Reach

DAY_S, MINUTES = 86_400, 15
ACTIVE_S, STUCK_S = 120.0, 600.0
STEP, FAR = 5_000, 20_000
"""Records that one look takes one by one, and from how many behind on sums are taken anew instead."""
MOST_REPLAYED = 50_000
"""Records of the last minutes that the first look goes through."""
MOST_STUCK, MOST_FRESH = 20, 5_000
STUCK_LEVELS = frozenset(("nudge", "block"))
STUCK_REASONS = frozenset(("loop_detected", "step_limit"))


class Line(NamedTuple):
    """What is read of one record."""

    seq: int
    id: str
    time: float
    agent: str
    team: str
    session: str
    model: str
    outcome: str
    reason: str
    rule: str
    tokens: int
    cost: int
    loop: str
    ns: int


class Refusal(NamedTuple):
    """The last refusal of an agent."""

    id: str
    time: float
    reason: str
    rule: str


class Loop(NamedTuple):
    """The last loop signal of an agent: its header, and where it was seen."""

    said: str
    time: float
    session: str


@dataclass(slots=True)
class Standing:
    """One agent today: sums, the calls of the last minutes (by minute since 1970), and when each session that is stuck last called."""

    team: str = ""
    calls: int = 0
    refused: int = 0
    tokens: int = 0
    cost: int = 0
    loops: int = 0
    last: float = 0.0
    refusal: Refusal | None = None
    loop: Loop | None = None
    minutes: dict[int, int] = field(default_factory=dict)
    stuck: dict[str, float] = field(default_factory=dict)

    def recent(self, now: float) -> list[int]:
        """Return the calls of the last minutes, oldest first, the one that runs last."""
        minute = int(now) // 60
        return [self.minutes.get(m, 0) for m in range(minute - MINUTES + 1, minute + 1)]

    def per_minute(self, now: float) -> int:
        """Return the calls of the last 60 seconds, of the minute before in proportion."""
        minute, into = divmod(int(now), 60)
        return round(self.minutes.get(minute, 0) + self.minutes.get(minute - 1, 0) * (60 - into) / 60)

    def is_stuck(self, now: float) -> bool:
        """Return whether the last call of one of its sessions was that of one that goes in circles, not long ago."""
        return any(now - at < STUCK_S for at in self.stuck.values())

    def is_active(self, now: float) -> bool:
        """Return whether it called not long ago."""
        return now - self.last < ACTIVE_S

    def pass_by(self, line: Line) -> None:
        """Note when a call was, and how its session does; sums stay as they are."""
        minute = int(line.time) // 60
        self.minutes[minute] = self.minutes.get(minute, 0) + 1
        if len(self.minutes) > 2 * MINUTES:
            for old in sorted(self.minutes)[:-MINUTES]:
                del self.minutes[old]
        self.last = max(self.last, line.time)
        self.stuck.pop(line.session, None)
        if line.reason in STUCK_REASONS or line.loop.partition(";")[0] in STUCK_LEVELS:
            self.stuck[line.session] = line.time
            if len(self.stuck) > MOST_STUCK:
                del self.stuck[next(iter(self.stuck))]

    def add(self, line: Line) -> None:
        """Count a call."""
        self.pass_by(line)
        self.team = line.team or self.team
        self.calls += 1
        self.refused += line.outcome == "denied"
        self.tokens += line.tokens
        self.cost += line.cost
        if line.reason:
            self.refusal = Refusal(line.id, line.time, line.reason, line.rule)
        if line.loop:
            self.loops += 1
            self.loop = Loop(line.loop, line.time, line.session)


_LINE = (
    "seq, id, time, agent, team, session, substr(CASE model WHEN '' THEN model_asked ELSE model END, 1, 200), outcome, reason, rule,"
    " input_tokens + cache_read_tokens + cache_write_tokens + cache_write_1h_tokens + output_tokens, cost, loop,"
    " coalesce(marks ->> 'closed', 0)"
)
_SUMS = (
    "SELECT agent, max(team), sum(calls), sum(refused), sum(input + output), sum(cost), sum(loops) FROM main.days"
    " WHERE hour >= ? GROUP BY 1"
)
_LAST = "SELECT max(time) FROM ledger.records WHERE agent = ?"
_NOTES = "SELECT agent, max(time), id, reason, rule FROM main.notes WHERE kind = ? AND time >= ? AND agent <> '' GROUP BY 1"


class Fleet:
    """See the module."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.agents: dict[str, Standing] = {}
        self.reach = Reach(0, 0, 0.0)
        self._day = self.upto = 0
        self._file: Path | None = None
        self._fresh: deque[Line] = deque()
        self._passed = False
        self.loads, self.touched = 0, set[str]()
        """How often all was taken anew, and who called since `touched` was last cleared."""
        self._sums = [0, 0, 0, 0, 0]
        self.gap = 0.0
        """Up to when the calls of the last minutes are not counted by minute, UTC seconds; 0 where all are."""

    def fresh(self) -> tuple[list[Line], bool]:
        """Return what was written since this was last asked, oldest first, and whether some of it is left out."""
        lines, lost = list(self._fresh), len(self._fresh) > MOST_FRESH or self._passed
        self._fresh.clear()
        self._passed = False
        return lines[-MOST_FRESH:], lost

    def sums(self) -> dict[str, Any]:
        """Return the sums over all agents today."""
        calls, refused, tokens, cost, loops = self._sums
        return {"calls": calls, "refused": refused, "tokens": tokens, "usd": dollars(cost), "loops": loops}

    def look(self, ledger: Path, now: float, most_s: float) -> None:
        """Bring everything up to date.

        Args:
            ledger: the ledger's file.
            now: UTC seconds.
            most_s: how long the rollup may be followed.

        Raises:
            StoreError: the ledger or its rollup cannot be read.
        """
        self.reach = rollup.follow(ledger, now, most_s)
        today = int(now) // DAY_S * DAY_S
        with rollup.reading(ledger) as db:
            last = db.execute("SELECT max(seq) FROM ledger.records").fetchone()[0] or 0
            known = self._file == ledger and self._day == today and self.upto <= last
            if not known or last - self.upto > FAR:
                before = self.upto
                self._load(db, today, now)
                self._passed = self._passed or (self._file == ledger and self.upto != before)
                self._file, self._day = ledger, today
            else:
                self._follow(db, today)

    def _load(self, db: sqlite3.Connection, today: int, now: float) -> None:
        self.upto = db.execute("SELECT upto FROM main.reached").fetchone()[0]
        agents = {row[0]: Standing(*row[1:]) for row in db.execute(_SUMS, (today,))}
        for name, standing in agents.items():
            standing.last = db.execute(_LAST, (name,)).fetchone()[0] or 0.0
        for agent, time, id, reason, rule in db.execute(_NOTES, ("refused", today)):
            agents.setdefault(agent, Standing()).refusal = Refusal(id, time, reason, rule)
        for agent, time, _, session, said in db.execute(_NOTES, ("loop", today)):
            agents.setdefault(agent, Standing()).loop = Loop(said, time, session)
        sql = f"SELECT {_LINE} FROM ledger.records WHERE time >= ? AND seq <= ? ORDER BY time DESC LIMIT ?"  # noqa: S608 - fixed parts only
        lines = db.execute(sql, (now - MINUTES * 60, self.upto, MOST_REPLAYED)).fetchall()
        self.gap = lines[-1][2] if len(lines) == MOST_REPLAYED else 0.0
        for line in sorted(map(Line._make, lines)):
            if line.agent in agents:
                agents[line.agent].pass_by(line)
        agents.pop("", None)
        self.agents, self.loads = agents, self.loads + 1
        self.touched.clear()
        each = [(s.calls, s.refused, s.tokens, s.cost, s.loops) for s in agents.values()]
        self._sums = [sum(amounts) for amounts in zip(*each, strict=True)] or [0, 0, 0, 0, 0]

    def _follow(self, db: sqlite3.Connection, today: int) -> None:
        while True:
            sql = f"SELECT {_LINE} FROM ledger.records WHERE seq > ? ORDER BY seq LIMIT ?"  # noqa: S608 - fixed parts only
            lines = [Line(*row) for row in db.execute(sql, (self.upto, STEP))]
            if not lines:
                return
            self.upto = lines[-1].seq
            self._count(lines, today)
            self._fresh.extend(lines)
            while len(self._fresh) > MOST_FRESH + 1:  # one more says that some are gone
                self._fresh.popleft()

    def _count(self, lines: Iterable[Line], today: int) -> None:
        for line in lines:
            if line.agent and line.time >= today:
                self.agents.setdefault(line.agent, Standing()).add(line)
                self.touched.add(line.agent)
                whole = self._sums
                whole[0] += 1
                whole[1] += line.outcome == "denied"
                whole[2] += line.tokens
                whole[3] += line.cost
                whole[4] += bool(line.loop)

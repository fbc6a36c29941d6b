"""The fleet as a page shows it: what the files say of each agent, what it does, who stopped it and what it has left, a row an agent.

Decides the state of an agent and the order of rows; reads no store. A row is made for those alone that are shown; what all are sorted and
filtered by is cheap. Call it in a thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from proxy.app.balances import agent_of, balance_json
from proxy.control.rules import Kill, Seen, kills
from proxy.model import Grant
from proxy.money import dollars
from proxy.telemetry.fleet import Standing
from proxy.telemetry.trails import loop_of

STATES = ("stuck", "killed", "active", "idle")
"""In the order in which they sort."""
NOBODY = Standing()
RECENT_S = 180.0
"""Whoever called longer ago than that has no calls a minute."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Which rows, and in which order: `part` of the name or team, in any letter case."""

    part: str = ""
    states: frozenset[str] = frozenset(STATES)
    team: str | None = None
    sort: str = "usd"
    down: bool = True
    offset: int = 0
    limit: int = 50


class Entry(NamedTuple):
    """One agent, before it is shown. `grant` None: the files do not know it."""

    agent: str
    team: str
    grant: Grant | None
    standing: Standing
    state: str
    killed_by: str | None
    budget: Mapping[str, Any] | None
    per_minute: int


_KEYS: dict[str, Callable[[Entry], Any]] = {
    "agent": lambda e: e.agent.casefold(),
    "team": lambda e: e.team.casefold(),
    "state": lambda e: -STATES.index(e.state),
    "calls_per_min": lambda e: e.per_minute,
    "calls": lambda e: e.standing.calls,
    "refused": lambda e: e.standing.refused,
    "tokens": lambda e: e.standing.tokens,
    "usd": lambda e: e.standing.cost,
    "loops": lambda e: e.standing.loops,
    "budget": lambda e: -1.0 if e.budget is None else e.budget["used"],
    "last_seen": lambda e: e.standing.last,
    "last_refusal": lambda e: e.standing.refusal.time if e.standing.refusal else 0.0,
}
SORTS = tuple(_KEYS)


def entries(
    grants: Mapping[str, Grant],
    standings: Mapping[str, Standing],
    stopped: Mapping[str, str],
    fullest: Mapping[str, Mapping[str, Any]],
    now: float,
) -> list[Entry]:
    """Return all agents of the files, and those that called today without being in them (any more), by name.

    There may be many, and nobody else runs meanwhile: so what an agent cannot have is not looked for.
    """
    found = []
    for agent in (*grants, *(name for name in standings if name not in grants)):
        found.append(entry(agent, (grants.get(agent), standings.get(agent), stopped.get(agent), fullest.get(agent)), now))
    found.sort(key=_KEYS["agent"])
    return found


Facts = tuple[Grant | None, Standing | None, str | None, Mapping[str, Any] | None]
"""What there is of an agent: its grant, what it did today, which kill stops it, the fullest of its budgets."""


def entry(agent: str, facts: Facts, now: float) -> Entry:
    """Return the entry of one agent."""
    grant, standing, killed_by, budget = facts
    state = "killed" if killed_by is not None else "idle"
    if standing is None:
        return Entry(agent, grant.team if grant is not None else "", grant, NOBODY, state, killed_by, budget, 0)
    if killed_by is None:
        state = "stuck" if standing.stuck and standing.is_stuck(now) else "active" if standing.is_active(now) else "idle"
    per_minute = standing.per_minute(now) if now - standing.last < RECENT_S else 0
    return Entry(agent, grant.team if grant is not None else standing.team, grant, standing, state, killed_by, budget, per_minute)


def page(found: Sequence[Entry], asked: Asked, now: float) -> dict[str, Any]:
    """Return the rows that are asked for, and how many there are; `found` are by name."""
    part, kept = asked.part.casefold(), list(found)
    if asked.states < set(STATES):
        kept = [e for e in kept if e.state in asked.states]
    if asked.team is not None:
        kept = [e for e in kept if e.team == asked.team]
    if part:
        kept = [e for e in kept if part in e.agent.casefold() or part in e.team.casefold()]
    kept.sort(key=_KEYS[asked.sort], reverse=asked.down)
    shown = [row(e, now) for e in kept[asked.offset : asked.offset + asked.limit]]
    return {"total": len(kept), "offset": asked.offset, "limit": asked.limit, "agents": shown}


def counted(found: Sequence[Entry]) -> dict[str, int]:
    """Return how many agents are in each state, and the calls a minute of all."""
    count = dict.fromkeys(STATES, 0)
    for e in found:
        count[e.state] += 1
    return {**count, "calls_per_min": sum([e.per_minute for e in found])}


def row(e: Entry, now: float) -> dict[str, Any]:
    """Return an agent as a page shows it."""
    s, grant = e.standing, e.grant
    said = None if s.loop is None else loop_of(s.loop.said)
    return {
        "agent": e.agent,
        "team": e.team,
        "description": grant.description if grant is not None else "",
        "version": grant.version if grant is not None else "",
        "known": grant is not None,
        "state": e.state,
        "killed_by": e.killed_by,
        "calls_per_min": e.per_minute,
        "minutes": s.recent(now),
        "calls": s.calls,
        "refused": s.refused,
        "tokens": s.tokens,
        "usd": dollars(s.cost),
        "loops": s.loops,
        "last_seen": s.last or None,
        "loop": None if said is None or s.loop is None else said | {"time": s.loop.time, "session": s.loop.session},
        "last_refusal": None if s.refusal is None else s.refusal._asdict(),
        "budget": None if e.budget is None else balance_json(e.budget),
    }


def stopped(board: Iterable[Kill], grants: Mapping[str, Grant], others: Iterable[str], now: float) -> dict[str, str]:
    """Return the agents that a kill of them, of their team or of all holds for, each with the first one's target."""
    holding = [kill for kill in board if kill.kind in ("agent", "team", "all") and kill.holds(now)]
    if not holding:
        return {}
    found = {}
    for agent, team in (*((name, grant.team) for name, grant in grants.items()), *((name, "") for name in others)):
        seen = Seen(agent=agent, team=team)
        kill = next((kill for kill in holding if kills(kill, seen)), None)
        if kill is not None:
            found[agent] = kill.target
    return found


def fullest(balances: Iterable[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Return of each agent the fullest budget that it has alone; `balances` come fullest first."""
    found: dict[str, Mapping[str, Any]] = {}
    for balance in balances:
        agent = agent_of(balance["name"], balance["scope"])
        if agent and "session=" not in balance["scope"] and "run=" not in balance["scope"]:
            found.setdefault(agent, balance)
    return found

"""Which run a call draws from, who began the agent that makes it, and how deep below the first one that is.

A key that is bound to a run has all of its calls there. Else the run is the one that `x-fleetgate-run` names, which is a run of the
caller's own key; else that of the session which the parent headers name, within the same key; else the call's own session. So no header
reaches a run of another key, and what must hold whatever headers say is written in the key.

What is remembered, in one process and within bounds, is which run and which parent a session named. Where that was forgotten (or another
replica saw it) a parent is taken for a first agent whose run is its session: that is right for clients that name no run, and the others do
better to send `x-fleetgate-run` with each call. Nothing here can fail or refuse.

Source: headers of sub-agents as seen on the wire from Claude Code 2.1 and Codex 0.169, autumn 2026; older Codex, whose threads are
sessions of their own, from its sources of 2025 (`codex-api`, `headers.rs`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from proxy.engine.exchange import Exchange
from proxy.globs import is_glob, matcher
from proxy.identity.fields import MAX_ID, SLUG
from proxy.identity.headers import CLAUDE_PARENT, PARENT, UPKEEP, Present
from proxy.identity.runs import namespace, run_name
from proxy.identity.sessions import bounded, one_part

MAX_KNOWN = 20_000
MAX_DEPTH = 64
"""Nobody counts further."""


class Place(NamedTuple):
    """Where a call stands: its run, the id of who began its agent (empty for a first one), and how many began one another before it."""

    run: str
    parent: str
    depth: int


class Node(NamedTuple):
    """An agent at work: a session, and the sub-agent or thread within it, empty for the first."""

    session: str
    inner: str = ""


class Known(NamedTuple):
    """What is remembered of a node."""

    run: str
    parent: Node | None


class Lineage:
    """See the module. One loop's.

    Args:
        most: how many nodes are kept; the oldest are forgotten first, by halves.
    """

    __slots__ = ("_half", "_matches", "_old", "_young")

    def __init__(self, most: int = MAX_KNOWN) -> None:
        self._half = max(1, most // 2)
        self._young: dict[tuple[str, Node], Known] = {}
        self._old: dict[tuple[str, Node], Known] = {}
        self._matches: dict[str, Callable[[str], bool]] = {}

    def keep(self, key_id: str, node: Node, known: Known) -> None:
        """Remember what `node` of the key `key_id` named."""
        if len(self._young) >= self._half:
            self._old, self._young = self._young, {}
        self._young[key_id, node] = known

    def find(self, key_id: str, node: Node) -> Known | None:
        """Return what is remembered of `node`, None when nothing is."""
        return self._young.get((key_id, node)) or self._old.get((key_id, node))

    def depth(self, key_id: str, node: Node) -> int:
        """Return how many nodes are known to stand above `node`; at least one above a sub-agent within a session. Circles end."""
        seen: set[Node] = set()
        while node not in seen and len(seen) < MAX_DEPTH:
            known = self.find(key_id, node)
            if known is None or known.parent is None:
                return len(seen) + bool(node.inner)
            seen.add(node)
            node = known.parent
        return len(seen)

    def covers(self, pattern: str, agent: str) -> bool:
        """Return whether a key for `pattern` may act as `agent`."""
        if not is_glob(pattern):
            return pattern == agent
        if pattern not in self._matches:
            if len(self._matches) >= self._half:
                self._matches.clear()
            self._matches[pattern] = matcher((pattern,))
        return self._matches[pattern](agent)


def place_of(ex: Exchange, found: Present, lineage: Lineage) -> Place:
    """Return where the call of `ex`, whose session is known, stands."""
    principal = ex.principal
    if found.run is None and not found.parents and found.subagent is None and not principal.run:
        return Place(ex.session, "", 0)
    key_id, (parent, node, above) = principal.key_id, _parent(ex, found, lineage)
    named = principal.run or _named(ex, found)
    run = named or ex.session
    if not named and above is not None:
        known = lineage.find(key_id, above)
        run = above.session if known is None else known.run
    depth = 0 if above is None else min(1 + lineage.depth(key_id, above), MAX_DEPTH)
    if (above is not None or (named and not principal.run)) and above != node:
        lineage.keep(key_id, node, Known(run, above))
    child = bool(principal.run) and not principal.run.startswith(f"{key_id}/")
    return Place(run, parent, max(depth, int(child)))


def _named(ex: Exchange, found: Present) -> str:
    """Return the run that the header names, as one of the caller's own; nothing where it names none."""
    value = ex.headers[found.run].strip() if found.run is not None else ""
    if not value:
        return ""
    mine = namespace(ex.principal.key_id, ex.agent)
    return run_name(mine, one_part(bounded(value.removeprefix(f"{mine}/"))))


def _parent(ex: Exchange, found: Present, lineage: Lineage) -> tuple[str, Node, Node | None]:
    """Return (the parent's id for the record, the call's own node, the node above it, None for a first agent)."""
    headers, session = ex.headers, ex.session
    main, own = Node(session), session.rpartition("/")[2]
    for name in found.parents:
        value = bounded(headers[name])
        if not value:
            continue
        low = name.lower()
        if low == PARENT:
            return value, main, Node(_session(ex, headers[name], lineage))
        if low == CLAUDE_PARENT:
            inner = _text(headers, found.claude)
            return value, Node(session, inner), Node(session, value)
        thread = _text(headers, found.thread)
        if thread in ("", own):  # Codex, where each thread is a session of its own
            return value, main, Node(f"{ex.agent}/{one_part(value)}")
        return value, Node(session, thread), Node(session, "" if value == own else value)
    if found.subagent is not None and (kind := bounded(headers[found.subagent])):  # of the first level: the session's main agent began it
        inner = kind if found.subagent == found.claude else ""
        return own, Node(session, inner), None if kind in UPKEEP and not inner else main
    return "", main, None


def _text(headers: Mapping[str, str], name: str | None) -> str:
    return "" if name is None else bounded(headers[name])


def _session(ex: Exchange, value: str, lineage: Lineage) -> str:
    """Return the session that our parent header names: of the caller's agent, or, as AGENT/SESSION, of another that its key may be."""
    agent, _, rest = value.strip().rpartition("/")
    if rest and 0 < len(agent) <= MAX_ID and re.fullmatch(SLUG, agent) and lineage.covers(ex.principal.agent, agent):
        return f"{agent}/{bounded(rest)}"
    return f"{ex.agent}/{one_part(bounded(value))}"

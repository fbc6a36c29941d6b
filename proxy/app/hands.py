"""Human hands on the running fleet: the kill switch as the admin plane and the command line use it.

Decides whether the name of a kill names anything, and does nothing where it does not, unless forced. What is known: agents, teams, keys and
models from the files and the store; sessions and runs from the last exchanges of the ledger. One whose first call still runs is not among
them: that one needs force.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxy.app.build import Files
from proxy.control.approvals import decide
from proxy.control.port import ControlStore, Entry
from proxy.control.questions import Case, Decision, Timing, Undecided
from proxy.control.rules import MAX_KILLS, Kill, Kind, clean, known, seconds_of, target_of
from proxy.engine.ports import StoreError
from proxy.identity.mesh import SPIFFE
from proxy.identity.tokens import JWT
from proxy.settings import Settings
from proxy.telemetry.query import Filter, Journal

if TYPE_CHECKING:
    from proxy.app.house import House

RECENT = 1000
"""Exchanges of the ledger in which sessions and runs are looked for."""


class UnknownTarget(LookupError):
    """A kill would be about nothing that is known; nothing was done."""


@dataclass(frozen=True, slots=True)
class Order:
    """A kill as somebody asks for it; `lasts` as `1h`, empty for until it is lifted."""

    target: str
    reason: str
    by: str
    lasts: str = ""
    force: bool = False


def names_of(kind: Kind, files: Files, keys: Iterable[str], journal: Journal | None) -> list[str]:
    """Return the names, or globs, that exist of a kind. Reads the ledger for sessions and runs: call it in a thread."""
    grants = files.directory.agents.values()
    if kind == "agent":
        return list(files.directory.agents)
    if kind == "team":
        return sorted({grant.team for grant in grants if grant.team})
    if kind == "key":
        auth = files.settings.auth
        return [*keys, *([f"{JWT}*"] if auth.mode == "jwt" else []), *([f"{SPIFFE}*"] if auth.spiffe is not None else [])]
    if kind == "model":
        return [rule.pattern for rule in files.settings.models]
    if journal is None or kind == "all":
        return []
    recent = journal.rows(Filter(limit=RECENT))
    return list({record.session if kind == "session" else record.run for record in recent} - {""})


async def order(store: ControlStore, asked: Order, names: Sequence[str] | None, now: float) -> Kill:
    """Carry out a kill.

    Args:
        store: where it is kept.
        asked: what is asked for.
        names: all that are known of its kind; None where nobody can tell.
        now: UTC seconds.

    Raises:
        UnknownTarget: no such thing is known, and it is not forced.
        ValueError: the target or the time means nothing, or there are too many kills.
        StoreError: it could not be kept.
    """
    kind, name = target_of(asked.target)
    until = now + seconds_of(asked.lasts) if asked.lasts else None
    if kind != "all" and not asked.force:
        if names is None:
            raise UnknownTarget(
                f"nobody can tell whether there is a {kind} {clean(name, 60)}; nothing was done (force does it all the same)"
            )
        if not known(kind, name, names):
            listed = ", ".join(sorted(names)[:10]) or "none"
            raise UnknownTarget(
                f"no {kind} is known as {clean(name, 60)} (known: {clean(listed)}); nothing was done (force does it all the same)"
            )
    kill = Kill(kind, name, clean(asked.reason), clean(asked.by, 80) or "somebody", now, until)
    if not await store.kill(kill):
        raise ValueError(f"{MAX_KILLS} kills hold already; lift some first, or stop more with one glob")
    return kill


async def known_names(target: str, files: Files, keys: Iterable[str], journal: Journal | None) -> list[str]:
    """Return what is known of the kind that `target` names. Raises ValueError for a target that means nothing."""
    kind, _ = target_of(target)
    try:
        return await asyncio.to_thread(names_of, kind, files, tuple(keys), journal)
    except OSError as e:
        raise StoreError(str(e)) from None


def timing(settings: Settings) -> tuple[Timing, float]:
    """Return how people are asked, and how long a client waits where nothing can be sent to it meanwhile."""
    said = settings.approvals
    return Timing(said.timeout_s, said.keep_s, said.default), said.buffered_s


class HouseHands:
    """What people may do through the admin plane of `house`. Implements `admin.hands.Hands`."""

    def __init__(self, house: House) -> None:
        self._house, self._store = house, house.stores.control

    async def kills(self) -> Sequence[Kill]:
        """See `Hands`."""
        return await self._store.kills(self._house.clock.now())

    async def log(self, limit: int) -> Sequence[Entry]:
        """See `Hands`."""
        return await self._store.log(limit)

    async def kill(self, target: str, reason: str, by: str, lasts: str, force: bool) -> Kill:
        """See `Hands`. What runs here is stopped before it returns. Nothing is looked up where that could keep it from being done."""
        house = self._house
        names = None if force or target_of(target)[0] == "all" else await known_names(target, house.files, house.key_ids(), house.journal)
        done = await order(self._store, Order(target, reason, by, lasts, force), names, house.clock.now())
        await house.refresh_control()
        return done

    async def resume(self, target: str, reason: str, by: str) -> bool:
        """See `Hands`."""
        lifted = await self._store.resume(target, clean(by, 80), clean(reason), self._house.clock.now())
        await self._house.refresh_control()
        return lifted

    async def cases(self) -> Sequence[Case]:
        """See `Hands`."""
        return await self._store.cases(self._house.clock.now())

    async def case(self, name: str) -> Case | None:
        """See `Hands`."""
        return await self._store.case(name)

    async def decide(self, name: str, decision: Decision) -> Case | Undecided:
        """See `Hands`. Who waits here hears of it before it returns."""
        house = self._house
        found = await decide(self._store, name, decision, house.clock.now(), house.files.settings.approvals.keep_s)
        await house.refresh_control()
        return found

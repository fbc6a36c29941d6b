"""The kill switch's look at requests, and at those that run already.

A request is held against the kills three times, each time as soon as more is known of it: after identity, so that nothing is read for
who is stopped; after its session; after its route, from which stopped models are taken. What runs when a kill comes is stopped by the
engine. The board changes and the running exchanges are looked at in one step without a wait between, and an exchange counts as running
before its first stage: so one that is admitted in that moment is seen by one or the other.

How it fails: while the store cannot be read the last known kills hold. When that has lasted `STALE_S`, nobody knows who is stopped, so
everything is refused with `store_unavailable`, until the store is read again. Where the store is away and budgets go on by its lease,
they do so with the last known kills, as far as that reaches: what no hold bounds is refused.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Callable, Sequence
from typing import ClassVar

from proxy.control.port import ControlStore, Versions
from proxy.control.rules import Kill, Seen, deny_of, first, news
from proxy.engine.exchange import Exchange
from proxy.engine.live import Live
from proxy.engine.notice import Notice, Tell
from proxy.engine.ports import StoreError
from proxy.engine.stage import Stage
from proxy.model import Deny, Target

log = logging.getLogger("fleetgate.control")
REREAD_S = 5.0
"""How often kills are read though nothing says that they changed: a server that lost writes may count on from an old number."""
STALE_S = 15.0
"""How long the store may be unreadable before the last known kills are not relied on any more."""


def seen_of(ex: Exchange) -> Seen:
    """Return what is known of an exchange so far."""
    grant, principal, call = getattr(ex, "grant", None), getattr(ex, "principal", None), getattr(ex, "call", None)
    runs = tuple(filter(None, (ex.run, principal.run if principal is not None else "")))
    return Seen(
        agent=getattr(ex, "agent", ""),
        team=grant.team if grant is not None else "",
        key=principal.key_id if principal is not None else "",
        session=ex.session,
        runs=runs,
        models=_models(ex, (call.model, *call.aliases) if call is not None and call.model else ()),
    )


def _models(ex: Exchange, asked: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of the models that an exchange asks for and is served by: once one serves it, that alone."""
    route = getattr(ex, "route", None)
    targets = (ex.target,) if ex.target is not None and ex.served else route.targets if route is not None else ()
    return (*asked, *(name for target in targets if target is not None for name in names_of(target)))


def names_of(target: Target) -> tuple[str, ...]:
    """Return the names of what a target is asked for."""
    return tuple(filter(None, (target.model, target.upstream_model)))


class KillBoard:
    """The kills that this process knows of, and how sure it is of them.

    Args:
        store: where they are kept.
        live: the exchanges that run.
        now: UTC seconds.
        seconds: monotonic seconds.
        lends: whether the store is away just now and budgets go on without it, within a bound of money.
    """

    def __init__(
        self,
        store: ControlStore,
        live: Live,
        now: Callable[[], float],
        seconds: Callable[[], float],
        lends: Callable[[], bool] = lambda: False,
    ) -> None:
        self._store, self._live, self._now, self._seconds, self._lends = store, live, now, seconds, lends
        self.kills: tuple[Kill, ...] = ()
        self.versions: Versions | None = None
        self._failing: float | None = None
        self._read = seconds()
        self.problem = ""
        self._one = asyncio.Lock()

    @property
    def stale(self) -> bool:
        """Whether the store has been unreadable for too long, and no lease bounds what goes on."""
        return self._unread() and not self._lends()

    @property
    def lent(self) -> bool:
        """Whether it has been unreadable for too long, and a lease bounds what goes on."""
        return self._unread() and self._lends()

    def _unread(self) -> bool:
        return self._failing is not None and self._seconds() - self._failing > STALE_S

    def active(self) -> int:
        """Return how many kills hold."""
        now = self._now()
        return sum(kill.holds(now) for kill in self.kills)

    def refusal(self, ex: Exchange) -> Deny | None:
        """Return why an exchange is stopped."""
        if not self.kills and self._failing is None:
            return None
        if self.stale:
            raise StoreError(f"kills cannot be read for over {STALE_S:g} s: {self.problem}")
        found = first(self.kills, seen_of(ex), self._now())
        return None if found is None else deny_of(found)

    def stops(self, target: Target) -> Deny | None:
        """Return why a model must not be asked."""
        found = first(self.kills, Seen(models=names_of(target)), self._now())
        return None if found is None else deny_of(found)

    async def refresh(self, tell: Tell) -> bool:
        """Read what changed and stop what runs and must not; return whether the questions to people changed.

        Never raises for a store that cannot be read: that is remembered, and see the module.
        """
        async with self._one:
            return await self._look(tell)

    async def _look(self, tell: Tell) -> bool:
        began = self._seconds()
        try:
            versions = await self._store.versions()
            old = self.versions
            if old is None or old.kills != versions.kills or self._failing is not None or began - self._read >= REREAD_S:
                self._read = began
                self._use(await self._store.kills(self._now()), tell, first_look=old is None)
        except StoreError as e:
            if self._failing is None:
                self._failing = began
                log.error("kills cannot be read, the last known ones hold: %s", e)
            self.problem = str(e)
            return False
        if self._failing is not None:
            log.info("kills can be read again")
        self._failing, self.problem, self.versions = None, "", versions
        return old is not None and old.questions != versions.questions

    def _use(self, kills: Sequence[Kill], tell: Tell, first_look: bool) -> None:
        """Swap to `kills` and stop what runs: no wait in between."""
        new = news(self.kills, kills)
        self.kills = tuple(kills)
        stopped = self._live.stop(self.refusal_of(new)) if new else 0
        for kill in new:
            log.warning("killed %s by %s: %s; %d running exchanges stopped", kill.target, kill.by, kill.reason, stopped)
            if not first_look:
                facts = {"target": kill.target, "by": kill.by, "reason": kill.reason, "until": kill.until, "stopped": stopped}
                tell(Notice("kill", f"{kill.target} {kill.since}", deny_of(kill).message, facts, self._now()))

    def refusal_of(self, kills: Sequence[Kill]) -> Callable[[Exchange], Deny | None]:
        """Return what looks at exchanges with `kills` alone."""

        def find(ex: Exchange) -> Deny | None:
            found = first(kills, seen_of(ex), self._now())
            return None if found is None else deny_of(found)

        return find


class KillStage(Stage):
    """Refuses agents, teams, keys and bound runs that are stopped, from headers alone."""

    name: ClassVar[str] = "kill"
    needs: ClassVar[frozenset[str]] = frozenset({"principal", "agent", "grant"})

    def __init__(self, board: KillBoard) -> None:
        self._board = board

    async def request(self, ex: Exchange) -> Deny | None:
        """Refuse whom a kill stops."""
        return self._board.refusal(ex)


class KillSessionStage(KillStage):
    """Looks again once session, run and the model asked for are known."""

    name: ClassVar[str] = "kill-session"
    needs: ClassVar[frozenset[str]] = frozenset({"call", "session"})


class KillRouteStage(Stage):
    """Takes stopped models out of the route; refuses where none is left."""

    name: ClassVar[str] = "kill-route"
    needs: ClassVar[frozenset[str]] = frozenset({"route"})

    def __init__(self, board: KillBoard) -> None:
        self._board = board

    async def request(self, ex: Exchange) -> Deny | None:
        """See the class."""
        if not self._board.kills or not ex.route.targets:
            return None
        verdicts = [(target, self._board.stops(target)) for target in ex.route.targets]
        left = tuple(target for target, deny in verdicts if deny is None)
        if len(left) == len(verdicts):
            return None
        if not left:
            return verdicts[0][1]
        ex.route = dataclasses.replace(ex.route, targets=left)
        ex.note(self.name, f"stopped and not asked: {', '.join(target.model for target, deny in verdicts if deny is not None)}")
        return None


class KillLeaseStage(Stage):
    """Refuses what costs nothing that a lease would bound, while nobody can read who is stopped."""

    name: ClassVar[str] = "kill-lease"
    needs: ClassVar[frozenset[str]] = frozenset({"held_output"})

    def __init__(self, board: KillBoard) -> None:
        self._board = board

    async def request(self, ex: Exchange) -> Deny | None:
        """See the class."""
        if ex.bill is None and self._board.lent:
            raise StoreError(f"kills cannot be read, and nothing bounds what goes on meanwhile: {self._board.problem}")
        return None

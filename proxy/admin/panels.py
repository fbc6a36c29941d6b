"""The routes that the dashboard reads: parameters in, JSON out.

Decides what a parameter may say, and that nothing here is read or written as JSON on the event loop: two threads of their own do, each
question has a deadline, and who asks while too many wait is told to come back. While they work, threads take turns ten times as often as
usual: the loop, which serves calls, waits half a millisecond for its turn and not five. What there is to read comes in through `Panels`.

How it fails: unknown or senseless parameters are a 400, what nobody knows a 404, a ledger that cannot be read or takes too long a 503.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from aiohttp import web

from proxy.admin.answers import answer, answer_text, as_json
from proxy.admin.asked import Query
from proxy.telemetry.sums import Part
from proxy.telemetry.trails import SORTS, Place, Refused, Wanted, place_of

T = TypeVar("T")
DEADLINE_S = 8.0
MOST_WAITING = 32
HOUR_S, DAY_S = 3600, 86_400
STEPS = {"hour": HOUR_S, "day": DAY_S}
FLEET_SORTS = (
    "agent",
    "team",
    "state",
    "calls_per_min",
    "calls",
    "refused",
    "tokens",
    "usd",
    "loops",
    "budget",
    "last_seen",
    "last_refusal",
)
STATES = ("active", "idle", "killed", "stuck")
BUDGET_SORTS = ("used", "name", "remaining", "resets_at", "exhausted_in")


class Panels(Protocol):
    """What there is to read. Each method may take a while: they are called in threads."""

    def fleet(self, part: str, states: Iterable[str], team: str | None, order: tuple[str, bool], window: tuple[int, int]) -> dict[str, Any]:
        """Return a page of the fleet; `order` is (what by, whether descending), `window` (offset, limit)."""
        ...

    def agent(self, name: str) -> dict[str, Any]:
        """Return all about one agent. Raises LookupError."""
        ...

    def series(self, part: Part, step_s: int) -> dict[str, Any]:
        """Return sums over time."""
        ...

    def teams(self, part: Part) -> dict[str, Any]:
        """Return what each team did."""
        ...

    def routing(self, part: Part) -> dict[str, Any]:
        """Return what routing did."""
        ...

    def sessions(self, wanted: Wanted) -> dict[str, Any]:
        """Return a page of sessions."""
        ...

    def session(self, name: str, limit: int, after: Place | None) -> dict[str, Any]:
        """Return one session's timeline. Raises LookupError."""
        ...

    def run(self, name: str) -> dict[str, Any]:
        """Return the sessions of a run as a tree. Raises LookupError."""
        ...

    def decisions(self, wanted: Refused, limit: int, after: Place | None) -> dict[str, Any]:
        """Return a page of refusals."""
        ...

    def dry_runs(self, wanted: Refused) -> dict[str, Any]:
        """Return what would have been refused."""
        ...

    def budgets(self, chosen: Mapping[str, str], order: tuple[str, bool], window: tuple[int, int]) -> dict[str, Any]:
        """Return a page of balances."""
        ...

    def burn(self, counter: str) -> dict[str, Any]:
        """Return what a counter was charged over time and by whom. Raises LookupError."""
        ...

    def config(self) -> dict[str, Any]:
        """Return the snapshot in force and what became of the last reloads."""
        ...

    def news(self) -> Sequence[tuple[str, dict[str, Any]]]:
        """Return what changed since the last call, as events."""
        ...


class Turns:
    """How often threads take turns while somebody reads: it is one setting of the whole process, so all readers share it."""

    SHORT_S = 0.0005

    def __init__(self) -> None:
        self._lock, self._count, self._usual_s = threading.Lock(), 0, 0.0

    @contextmanager
    def short(self) -> Iterator[None]:
        """Have turns be short; as before once nobody wants that any more."""
        with self._lock:
            self._count += 1
            if self._count == 1:
                self._usual_s = sys.getswitchinterval()
                sys.setswitchinterval(min(self.SHORT_S, self._usual_s))
        try:
            yield
        finally:
            with self._lock:
                self._count -= 1
                if not self._count:
                    sys.setswitchinterval(self._usual_s)


TURNS = Turns()


class Readers:
    """Reads in threads of its own, so many questions at once, each with a deadline (`DEADLINE_S` unless said)."""

    def __init__(self, deadline_s: float | None = None) -> None:
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="fleetgate-panels")
        self._deadline_s = deadline_s
        self._waiting = 0

    async def read(self, ask: Callable[[], T]) -> T:
        """Return what `ask` does.

        Raises:
            web.HTTPException: nobody knows it, too many wait, or it took too long.
        """
        if self._waiting >= MOST_WAITING:
            raise web.HTTPServiceUnavailable(text="Too many questions at once.", headers={"Retry-After": "2"})
        self._waiting += 1
        asked = asyncio.get_running_loop().run_in_executor(self._threads, _polite, ask)
        asked.add_done_callback(self._done)
        try:
            async with asyncio.timeout(DEADLINE_S if self._deadline_s is None else self._deadline_s):
                return await asyncio.shield(asked)
        except TimeoutError:
            raise web.HTTPServiceUnavailable(text="This took too long; ask for less.", headers={"Retry-After": "5"}) from None
        except LookupError as e:
            raise web.HTTPNotFound(text=str(e.args[0])) from None

    def _done(self, asked: asyncio.Future[Any]) -> None:
        self._waiting -= 1
        if not asked.cancelled():
            asked.exception()  # whoever asked may have gone

    def close(self) -> None:
        """Take no more questions."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _polite(ask: Callable[[], T]) -> T:
    with TURNS.short():
        return ask()


class PanelPages:
    """The handlers."""

    def __init__(self, panels: Panels, readers: Readers, now: Callable[[], float], state: Callable[[], Mapping[str, Any]]) -> None:
        self._panels, self._readers, self._now, self._state = panels, readers, now, state

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.get("/api/v1/fleet", self.fleet),
            web.get("/api/v1/agents/{agent:.+}", self.agent),
            web.get("/api/v1/series", self.series),
            web.get("/api/v1/teams", self.teams),
            web.get("/api/v1/sessions", self.sessions),
            web.get("/api/v1/sessions/{session:.+}", self.session),
            web.get("/api/v1/runs/{run:.+}", self.run),
            web.get("/api/v1/decisions", self.decisions),
            web.get("/api/v1/shadow", self.dry_runs),
            web.get("/api/v1/burn", self.burn),
            web.get("/api/v1/routing", self.routing),
            web.get("/api/v1/config", self.config),
        ]

    async def fleet(self, request: web.Request) -> web.Response:
        """The fleet."""
        q = Query(request.query, self._now(), ("q", "state", "team", "sort", "limit", "offset"))
        states = q.words("state", STATES)
        order, window = q.order(FLEET_SORTS, "-usd"), q.window()
        return await self._answer(lambda: self._panels.fleet(q.text("q") or "", states, q.text("team"), order, window))

    async def agent(self, request: web.Request) -> web.Response:
        """One agent."""
        Query(request.query, self._now(), ())
        return await self._answer(lambda: self._panels.agent(request.match_info["agent"]))

    async def series(self, request: web.Request) -> web.Response:
        """Sums over time."""
        q = Query(request.query, self._now(), ("step", "since", "until", "agent", "team", "model"))
        step = STEPS[q.one_of("step", tuple(STEPS), "hour")]
        part = self._part(q)
        if part.until - part.since > 800 * step:
            raise web.HTTPBadRequest(text="A series has at most 800 points; take `step=day`, or a shorter time.")
        return await self._answer(lambda: self._panels.series(part, step))

    async def teams(self, request: web.Request) -> web.Response:
        """Teams."""
        part = self._part(Query(request.query, self._now(), ("since", "until")))
        return await self._answer(lambda: self._panels.teams(part))

    async def routing(self, request: web.Request) -> web.Response:
        """Routing."""
        part = self._part(Query(request.query, self._now(), ("since", "until", "agent", "team")))
        return await self._answer(lambda: self._panels.routing(part))

    def _part(self, q: Query) -> Part:
        since, until = q.when("since", DAY_S), q.when("until", 0)
        if not 0 <= until - since <= 1100 * DAY_S:
            raise web.HTTPBadRequest(text="`since` must come before `until`, by at most three years.")
        return Part(since, until, q.text("agent"), q.text("team"), q.text("model"))

    async def sessions(self, request: web.Request) -> web.Response:
        """Sessions."""
        q = Query(request.query, self._now(), ("agent", "q", "run", "since", "sort", "limit", "offset"))
        (sort, down), (offset, limit) = q.order(tuple(SORTS), "-last"), q.window()
        wanted = Wanted(q.when("since", DAY_S), q.text("agent"), q.text("run"), q.text("q") or "", sort, down, offset, limit)
        return await self._answer(lambda: self._panels.sessions(wanted))

    async def session(self, request: web.Request) -> web.Response:
        """One session's timeline."""
        q = Query(request.query, self._now(), ("agent", "limit", "cursor"))
        name, agent = request.match_info["session"], q.text("agent")
        limit, after = q.window()[1], q.place(place_of)

        def ask() -> dict[str, Any]:
            found = self._panels.session(name, limit, after)
            if agent not in (None, found["session"]["agent"]):
                raise LookupError("The ledger has no such session of this agent.")
            return found

        return await self._answer(ask)

    async def run(self, request: web.Request) -> web.Response:
        """One run's tree."""
        Query(request.query, self._now(), ())
        return await self._answer(lambda: self._panels.run(request.match_info["run"]))

    async def decisions(self, request: web.Request) -> web.Response:
        """What was refused."""
        q = Query(request.query, self._now(), ("agent", "reason", "rule", "since", "until", "limit", "cursor"))
        wanted = self._refused(q)
        limit, after = q.window()[1], q.place(place_of)
        return await self._answer(lambda: self._panels.decisions(wanted, limit, after))

    async def dry_runs(self, request: web.Request) -> web.Response:
        """What would have been refused."""
        wanted = self._refused(Query(request.query, self._now(), ("agent", "reason", "rule", "since", "until")))
        return await self._answer(lambda: self._panels.dry_runs(wanted))

    def _refused(self, q: Query) -> Refused:
        return Refused(q.when("since", DAY_S), q.when("until", 0), q.text("agent"), q.text("reason"), q.text("rule") or "")

    async def budgets(self, request: web.Request) -> web.Response:
        """A page of balances."""
        q = Query(request.query, self._now(), ("q", "unit", "agent", "scope", "sort", "limit", "offset"))
        chosen = {name: value for name in ("q", "unit", "agent", "scope") if (value := q.text(name)) is not None}
        if chosen.get("scope", "shared") != "shared":
            raise web.HTTPBadRequest(text="`scope` can be `shared` alone.")
        order, window = q.order(BUDGET_SORTS, "-used"), q.window()
        return await self._answer(lambda: self._panels.budgets(chosen, order, window))

    async def burn(self, request: web.Request) -> web.Response:
        """What one budget was charged."""
        counter = Query(request.query, self._now(), ("counter",)).text("counter")
        if counter is None:
            raise web.HTTPBadRequest(text="`counter` must be that of a budget, as /api/v1/budgets has it.")
        return await self._answer(lambda: self._panels.burn(counter))

    async def config(self, request: web.Request) -> web.Response:
        """The configuration."""
        Query(request.query, self._now(), ())
        found = await self._readers.read(self._panels.config)
        left = {name: value for name, value in self._state().items() if name not in ("config", "config_errors")}
        return answer(found | {"state": left})

    async def _answer(self, ask: Callable[[], dict[str, Any]]) -> web.Response:
        return answer_text(await self._readers.read(lambda: as_json(ask())))

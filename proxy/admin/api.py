"""The admin port's HTTP: `/healthz`, `/readyz`, `/metrics`, `/` and `/api/v1`.

Decides which answer a path gives and who sees it (`guard` says who is authorised). It reads through `AdminViews` and knows no store,
pipeline or configuration. Reading the ledger and writing the metrics happen in a thread, so that the data plane goes on; what may read all
of the ledger in threads apart from those that guards work in. Whatever changes
something is a POST with a secret in a header, which no browser sends by itself, so a page that it was lured to can change nothing; no
answer carries a CORS header, so it can read nothing either. What people may change is `hands`.

How it fails: input that means nothing is a 400 that says what was expected, a ledger or store that cannot be read is a 503, and a bug is
aiohttp's 500 without details (they are in the log).
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from proxy.admin.answers import HEADERS, answer
from proxy.admin.auth import Gate
from proxy.admin.contents import Reading, content_routes
from proxy.admin.guard import CALLER, PAGES, Guard, wants_page
from proxy.admin.hands import MAX_BODY, Hands, routes
from proxy.admin.links import links
from proxy.admin.live import Live
from proxy.admin.logins import Logins
from proxy.admin.pages import WEB, Pages, read_files
from proxy.admin.panels import PanelPages, Panels, Readers
from proxy.admin.signin import SignIn
from proxy.engine.record import Record
from proxy.money import dollars
from proxy.telemetry.explain import explain
from proxy.telemetry.query import BYS, Filter, Group, Journal
from proxy.telemetry.tables import parse_when
from proxy.telemetry.trails import view

MAX_LIMIT = 1000
LONGEST_S = 60.0
"""How long sums over the ledger may take: who wants more asks the command line."""
_FILTERS = ("agent", "session", "model", "reason", "outcome")


@dataclasses.dataclass(frozen=True, slots=True)
class AdminViews:
    """What the admin plane shows.

    Attributes:
        ready: whether requests can be served now, and facts about it (`draining`, `store`, `config`, `config_errors`); must be quick.
        metrics: the metrics and their content type, for what the scraper accepts; called in a thread.
        agents: one mapping for each agent, in the order to show.
        budgets: one mapping for each budget counter; may ask the store.
        ledger: where records are read; called in a thread.
        now: UTC seconds.
        pairs: the answers of local models beside those of the models that were asked for, newest first; called in a thread.
        hands: what people may do; None where nothing can be changed.
        web: the folder of the dashboard's files.
        panels: what the dashboard reads; None where there is none.
        contents: what is kept of what was said; None where nobody may read it.
    """

    ready: Callable[[], tuple[bool, Mapping[str, Any]]]
    metrics: Callable[[str], tuple[bytes, str]]
    agents: Callable[[], Sequence[Mapping[str, Any]]]
    budgets: Callable[[], Awaitable[Sequence[Mapping[str, Any]]]]
    ledger: Journal
    now: Callable[[], float] = time.time
    pairs: Callable[[], Sequence[Mapping[str, Any]]] = tuple
    hands: Hands | None = None
    web: Path = WEB
    panels: Panels | None = None
    contents: Reading | None = None


def briefly(entry: logging.LogRecord) -> bool:
    """Have bytes that are no HTTP logged as one line without any of them, and not as a failure: whoever scans a port fills no log."""
    e = entry.exc_info[1] if entry.exc_info else None
    if isinstance(e, HttpProcessingError):
        entry.levelno, entry.levelname = logging.INFO, "INFO"
        entry.msg, entry.args, entry.exc_info = "what is no HTTP came to the admin port (%s)", (type(e).__name__,), None
    return True


def build_admin(views: AdminViews, token: str | None, host: str = "127.0.0.1") -> web.Application:
    """Return the admin plane's application.

    Args:
        views: what it shows.
        token: the value of FLEETGATE_ADMIN_TOKEN, or None.
        host: the address that its port will be bound to, as configured.

    Run it with `access_log=None`.
    """
    logging.getLogger("aiohttp.server").addFilter(briefly)
    gate, logins, files = Gate(token, host), Logins(), Pages(read_files(views.web))
    readers = Readers(LONGEST_S)
    pages = _Pages(views, files, readers)
    app = web.Application(middlewares=[Guard(gate, logins, views.now).middleware()], client_max_size=MAX_BODY)
    app.add_routes([*SignIn(gate, logins, views.now).routes(), web.get(f"{PAGES}{{name:.+}}", files.file)])
    app.add_routes(
        [
            web.get("/", pages.index),
            web.get("/healthz", pages.healthz),
            web.get("/readyz", pages.readyz),
            web.get("/metrics", pages.metrics),
            web.get("/api/v1/agents", pages.agents),
            web.get("/api/v1/budgets", pages.budgets),
            web.get("/api/v1/exchanges", pages.exchanges),
            web.get("/api/v1/decisions/{id}", pages.decision),
            web.get("/api/v1/pairs", pages.pairs),
        ]
    )

    async def ended(_: web.Application) -> None:
        readers.close()

    app.on_shutdown.append(ended)
    if views.panels is not None:
        panels_of(app, views, views.panels, logins)
    if views.contents is not None:
        app.add_routes(content_routes(views.contents, gate))
    if views.hands is not None:
        app.add_routes([*routes(views.hands, views.now), *links(views.hands, views.now)])
    return app


def panels_of(app: web.Application, views: AdminViews, panels: Panels, logins: Logins) -> None:
    """Add what the dashboard reads: the routes, and the stream of what is new."""
    readers = Readers()
    live = Live(panels.news, readers, views.now)

    async def ended(_: web.Application) -> None:
        await live.close()
        readers.close()

    pages = PanelPages(panels, readers, views.now, lambda: views.ready()[1])
    app.add_routes([*pages.routes(), web.get("/api/v1/events", live.listen)])
    app[_PANELS] = pages
    app.on_shutdown.append(ended)


_PANELS = web.AppKey("panels", PanelPages)


class _Pages:
    """The handlers."""

    def __init__(self, views: AdminViews, files: Pages, readers: Readers) -> None:
        self._views, self._files, self._readers = views, files, readers

    async def index(self, request: web.Request) -> web.Response:
        """Give a browser the dashboard, and say what there is to read to anybody else."""
        if self._files.there and wants_page(request):
            return self._files.index(request)
        routes = {r.resource.canonical for r in request.app.router.routes() if r.resource is not None}
        return answer({"fleetgate": "admin plane", "paths": sorted(routes - {"/"})})

    async def healthz(self, request: web.Request) -> web.Response:
        """200 for as long as the process answers."""
        return answer({"ok": True})

    async def readyz(self, request: web.Request) -> web.Response:
        """200 when requests can be served, else 503; why is for the authorised."""
        ready, detail = self._views.ready()
        shown = dict(detail) if request[CALLER].how != "none" else {}
        return answer({"ready": ready} | shown, 200 if ready else 503)

    async def metrics(self, request: web.Request) -> web.Response:
        """The metrics, in the format that the scraper asks for."""
        body, kind = await asyncio.to_thread(self._views.metrics, request.headers.get("Accept", ""))
        return web.Response(body=body, headers={**HEADERS, "Content-Type": kind})

    async def agents(self, request: web.Request) -> web.Response:
        """All agents and what they may do."""
        return answer({"agents": [dict(a) for a in self._views.agents()]})

    async def budgets(self, request: web.Request) -> web.Response:
        """All budgets and what is left of them; with any parameter a page of those that were looked up last."""
        if request.query and _PANELS in request.app:
            return await request.app[_PANELS].budgets(request)
        return answer({"budgets": [dict(b) for b in await self._views.budgets()]})

    async def exchanges(self, request: web.Request) -> web.Response:
        """Records, newest first; with `by=` sums instead."""
        where, by = _filter(request.query, self._views.now()), request.query.get("by")
        if by is None:
            records = await self._readers.read(lambda: self._views.ledger.rows(where))
            return answer({"exchanges": [record_json(r) for r in records]})
        known = next((b for b in BYS if b == by), None)
        if known is None:
            raise web.HTTPBadRequest(text=f"`by` must be one of {', '.join(BYS)}.")
        groups = await self._readers.read(lambda: self._views.ledger.groups(known, where))
        return answer({"by": known, "groups": [group_json(g) for g in groups]})

    async def pairs(self, request: web.Request) -> web.Response:
        """The pairs that routing has sampled."""
        return answer({"pairs": list(await asyncio.to_thread(self._views.pairs))})

    async def decision(self, request: web.Request) -> web.Response:
        """One record, and its story in words."""
        record = await asyncio.to_thread(self._views.ledger.one, request.match_info["id"])
        if record is None:
            raise web.HTTPNotFound(text="The ledger has no exchange with this id (it is written a moment after the exchange closes).")
        content = "" if self._views.contents is None else self._views.contents.level(record.agent)
        return answer({"exchange": record_json(record), "explain": explain(record), "view": view(record), "content": content})


def _filter(query: Mapping[str, str], now: float) -> Filter:
    unknown = set(query) - {*_FILTERS, "since", "until", "limit", "by"}
    if unknown:
        raise web.HTTPBadRequest(text=f"Known parameters: {', '.join((*_FILTERS, 'since', 'until', 'limit', 'by'))}.")
    limit = query.get("limit", "100")
    if not (limit.isascii() and limit.isdigit() and len(limit) <= 6 and 1 <= int(limit) <= MAX_LIMIT):
        raise web.HTTPBadRequest(text=f"`limit` must be a number from 1 to {MAX_LIMIT}.")
    try:
        since, until = (parse_when(query[name], now) if name in query else None for name in ("since", "until"))
    except ValueError as e:
        raise web.HTTPBadRequest(text=str(e)) from None
    agent, session, model, reason, outcome = (query.get(name) for name in _FILTERS)
    return Filter(agent, session, model, reason, outcome, since, until, int(limit))


def record_json(record: Record) -> dict[str, Any]:
    """Return a record as JSON shows it: every field by its name, and the cost in dollars too."""
    return dataclasses.asdict(record) | {"cost_usd": dollars(record.cost)}


def group_json(group: Group) -> dict[str, Any]:
    """Return a group as JSON shows it."""
    return dataclasses.asdict(group) | {"cost_usd": dollars(group.cost)}

"""What the dashboard reads of the house: the fleet, one agent, sums, sessions, decisions, budgets, configuration, and what is new.

Decides how facts of the files, of the stores' last look and of the ledger come together. All methods may take a while and read files: call
them in a thread, never on the loop. They change nothing but what is remembered to answer faster. How they fail: `StoreError` where the
ledger cannot be read, `LookupError` for what nobody knows.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from proxy.app import roster
from proxy.app.balances import agent_of, balance_json
from proxy.app.changes import problems_json
from proxy.app.contents import HouseContents
from proxy.app.listing import Listing
from proxy.app.roster import Asked, Entry
from proxy.identity import show
from proxy.model.footprints import decimal
from proxy.money import dollars
from proxy.policy import show as rules
from proxy.telemetry import rollup, sums, trails
from proxy.telemetry.fleet import MINUTES, Fleet, Line
from proxy.telemetry.rollup import Reach
from proxy.telemetry.sums import Part
from proxy.telemetry.trails import Place, Refused, Wanted

if TYPE_CHECKING:
    from proxy.app.house import House

FOLLOW_S, CATCH_UP_S = 0.05, 0.3
"""How long one request follows the ledger before it answers with what there is, and how long a look for what is new does."""
DAY_S = 86_400
MOST_CHANGED, MOST_ENDED = 100, 50
RESYNC_S = 5.0
"""How often pages are told at most that they have missed something: each of them reads all anew."""
BUDGET_SORTS: dict[str, Callable[[Mapping[str, Any]], Any]] = {
    "used": lambda b: b["used"],
    "name": lambda b: b["name"],
    "remaining": lambda b: b["remaining"],
    "resets_at": lambda b: b["resets_at"] or float("inf"),
    "exhausted_in": lambda b: float("inf") if b["exhausted_in"] is None else b["exhausted_in"],
}


class HousePanels:
    """See the module. Implements `admin.panels.Panels`."""

    def __init__(self, house: House) -> None:
        self._house, self._fleet = house, Fleet()
        self._listing = Listing(house, self._fleet)
        self._seen: dict[str, Any] = {}
        self._watching = threading.Lock()
        self._lost, self._resynced = False, 0.0

    # --- the fleet ----------------------------------------------------------------------------------------------------------------

    def fleet(self, part: str, states: Iterable[str], team: str | None, order: tuple[str, bool], window: tuple[int, int]) -> dict[str, Any]:
        """Return a page of the fleet, with its totals."""
        now, asked = self._house.clock.now(), Asked(part, frozenset(states), team, *order, *window)
        with self._fleet.lock:
            self._fleet.look(self._house.journal.file(), now, FOLLOW_S)
            self._listing.update(now)
            page = roster.page(self._listing.entries, asked, now)
            whole = {"totals": self._listing.totals() | {"inflight": self._house.inflight()}, "teams": self._listing.teams}
            return {"now": now} | self._reached(self._fleet.reach, self._gap(now)) | page | whole

    def _gap(self, now: float) -> str:
        """Return what the fleet's last minutes lack, empty for nothing."""
        gap = self._fleet.gap
        if now - gap >= MINUTES * 60:
            return ""
        return f"calls before {datetime.fromtimestamp(gap, UTC):%H:%M:%S} UTC are missing from calls a minute and from who is stuck"

    def agent(self, name: str) -> dict[str, Any]:
        """Return all about one agent. Raises LookupError for one that neither the files nor the ledger know."""
        house, now = self._house, self._house.clock.now()
        files = house.files
        grant = files.directory.grant(name)
        with self._fleet.lock:
            self._fleet.look(house.journal.file(), now, FOLLOW_S)
            self._listing.update(now)
            entry = self._listing.of(name)
        with rollup.reading(house.journal.file()) as db:
            today = Part(_today(now), now, agent=name)
            versions, used, emitted = sums.versions(db, name), sums.models(db, today), sums.emitted(db, today)
        if entry is None and not versions:
            raise LookupError("Neither the files nor the ledger know this agent.")
        for version in versions:
            version["now"] = grant is not None and (version["policy_digest"], version["file_digest"]) == (grant.digest, grant.file_digest)
        own = [b for b in house.gauges.found if agent_of(b["name"], b["scope"]) == name]
        return {
            "row": roster.row(entry or Entry(name, "", None, roster.NOBODY, "idle", None, None, 0), now),
            "policy": None if grant is None else show.as_json(grant),
            "rules": [] if grant is None else rules.as_json(files.rules, grant),
            "text": "" if grant is None else f"{show.show(files.directory, name)}\n{rules.section(files.rules, grant)}",
            "versions": versions,
            "budgets": [balance_json(b) for b in own],
            "models": used,
            "emitted": emitted,
            "log_content": "off" if grant is None else grant.data.get("log_content", "off"),
        }

    # --- the ledger ---------------------------------------------------------------------------------------------------------------

    def series(self, part: Part, step_s: int) -> dict[str, Any]:
        """Return sums over time."""
        return self._read(lambda db: {"step": "day" if step_s == DAY_S else "hour", "points": sums.series(db, part, step_s)})

    def teams(self, part: Part) -> dict[str, Any]:
        """Return what each team did."""
        return self._read(lambda db: {"teams": sums.teams(db, part)})

    def routing(self, part: Part) -> dict[str, Any]:
        """Return what routing did."""
        return self._read(lambda db: sums.routing(db, part))

    def sessions(self, wanted: Wanted) -> dict[str, Any]:
        """Return a page of sessions."""
        return self._read(lambda db: trails.sessions(db, wanted) | {"offset": wanted.offset, "limit": wanted.limit})

    def session(self, name: str, limit: int, after: Place | None) -> dict[str, Any]:
        """Return one session's timeline. Raises LookupError."""

        def read(db: Any) -> dict[str, Any]:
            found = trails.session(db, name)
            if found is None:
                raise LookupError("The ledger has no such session.")
            content = HouseContents(self._house).level(found["agent"])
            return {"session": found, "run": found["run"], "content": content} | trails.timeline(db, name, limit, after)

        return self._read(read)

    def run(self, name: str) -> dict[str, Any]:
        """Return the sessions of a run as a tree. Raises LookupError."""

        def read(db: Any) -> dict[str, Any]:
            found = trails.run(db, name)
            if found is None:
                raise LookupError("The ledger has no such run.")
            return found

        return self._read(read)

    def decisions(self, wanted: Refused, limit: int, after: Place | None) -> dict[str, Any]:
        """Return a page of refusals, the first one with counts."""
        return self._read(lambda db: trails.refusals(db, wanted, limit, after) | ({} if after is not None else trails.counted(db, wanted)))

    def dry_runs(self, wanted: Refused) -> dict[str, Any]:
        """Return what would have been refused."""
        return self._read(lambda db: {"rules": trails.dry_runs(db, wanted)})

    def _read(self, ask: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        file = self._house.journal.file()
        reach = rollup.follow(file, self._house.clock.now(), FOLLOW_S)
        with rollup.reading(file) as db:
            return self._reached(reach) | ask(db)

    @staticmethod
    def _reached(reach: Reach, gap: str = "") -> dict[str, Any]:
        return {"as_of": reach.as_of or None, "stale": reach.stale or gap or None}

    # --- budgets ------------------------------------------------------------------------------------------------------------------

    def budgets(self, chosen: Mapping[str, str], order: tuple[str, bool], window: tuple[int, int]) -> dict[str, Any]:
        """Return a page of the balances of the last look; `chosen` by `q`, `unit`, `agent` and `scope`."""
        gauges, part = self._house.gauges, chosen.get("q", "").casefold()
        (sort, down), (offset, limit) = order, window
        found = [
            b
            for b in gauges.found
            if part in f"{b['name']} {b['scope']}".casefold()
            and chosen.get("unit") in (None, b["unit"])
            and ("agent" not in chosen or agent_of(b["name"], b["scope"]) == chosen["agent"])
            and (chosen.get("scope") != "shared" or not agent_of(b["name"], b["scope"]))
        ]
        found.sort(key=lambda b: (b["name"], b["counter"]))
        found.sort(key=BUDGET_SORTS[sort], reverse=down)
        shown = [balance_json(b) for b in found[offset : offset + limit]]
        return {"total": len(found), "offset": offset, "limit": limit, "looked_at": gauges.looked_at or None, "budgets": shown}

    def burn(self, counter: str) -> dict[str, Any]:
        """Return what a counter was charged over time and by whom. Raises LookupError for one that nobody knows."""
        house, now = self._house, self._house.clock.now()
        name, unit, scope, _ = parts if len(parts := counter.rsplit("|", 3)) == 4 else ("", "", "", "")
        budget = next((b for b in house.gauges.found if b["counter"] == counter), None)
        agent = agent_of(name, scope.lstrip(","))

        def read(db: Any) -> dict[str, Any]:
            points = sums.burned_by(db, agent, counter, now - 32 * DAY_S) if agent else sums.burned(db, counter)
            top, count, all_ = sums.spenders(db, counter)
            if agent:
                all_ = sum(amount for _, amount in points)
                top, count = [(agent, all_)], 1
            if not points and budget is None:
                raise LookupError("Nothing was charged to such a counter, and no budget of now has it.")
            return _burned(points, unit) | _spent(top, count, all_, unit)

        return {"counter": counter, "unit": unit, "budget": None if budget is None else balance_json(budget)} | self._read(read)

    # --- configuration ------------------------------------------------------------------------------------------------------------

    def config(self) -> dict[str, Any]:
        """Return the snapshot in force, its files, and what became of the last reloads."""
        house = self._house
        files, changes, settings = house.files, house.changes, house.files.settings
        return {
            "version": files.version,
            "since": changes.since or None,
            "stale": bool(house.problems),
            "restart": list(settings.needs_restart(house.started)),
            "counts": {
                "agents": len(files.directory.agents),
                "budgets": len(files.budgets),
                "rules": len(files.rules.rules),
                "providers": len(settings.providers),
                "models": len(settings.models),
            },
            "files": [{"path": name, "sha256": f.sha256, "bytes": f.size} for name, f in sorted(changes.files.items())[:1000]],
            "problems": problems_json(house.problems),
            "history": [change.as_json() for change in changes.all()],
        }

    # --- what is new --------------------------------------------------------------------------------------------------------------

    def news(self) -> list[tuple[str, dict[str, Any]]]:
        """Return what changed since the last call, as events; the first call returns nothing that was there before."""
        house, now = self._house, self._house.clock.now()
        with self._watching:
            with self._fleet.lock:
                self._fleet.look(house.journal.file(), now, CATCH_UP_S)
                lines, lost = self._fleet.fresh()
                self._listing.update(now)
                news = self._told(now)
            self._lost = self._lost or lost
            if self._lost and not 0 <= now - self._resynced < RESYNC_S:
                self._lost, self._resynced = False, now
                news.insert(0, ("resync", {"why": "more happened at once than is told one by one"}))
            if lines:
                news.append(("exchanges", _ended(lines)))
            versions = house.kills.versions
            state: dict[str, Any] = {
                "kill": None if versions is None else versions.kills,
                "approvals": None if versions is None else versions.questions,
                "config": (house.files.version, house.problems),
            }
            told: dict[str, dict[str, Any]] = {
                "kill": {"kills": len(house.kills.kills)},
                "approvals": {},
                "config": {"version": house.files.version, "stale": bool(house.problems), "problems": len(house.problems)},
            }
            news += [(name, told[name]) for name, value in state.items() if name in self._seen and self._seen[name] != value]
            self._seen = state
            return news

    def _told(self, now: float) -> list[tuple[str, dict[str, Any]]]:
        """Return the event of the agents that called or whose state changed, nothing where none did."""
        moved = self._listing.moved()
        if not moved:
            return []
        shown = [roster.row(e, now) for e in moved[:MOST_CHANGED]]
        totals = self._listing.totals() | {"inflight": self._house.inflight()}
        return [("fleet", {"now": now, "agents": shown, "more": len(moved) > MOST_CHANGED, "totals": totals})]


def _today(now: float) -> float:
    return float(int(now) // DAY_S * DAY_S)


def _amount(amount: int, unit: str) -> Any:
    return dollars(amount) if unit == "usd" else decimal(amount) if unit == "gco2e" else amount


def _burned(points: Sequence[tuple[int, int]], unit: str) -> dict[str, Any]:
    spent, shown = 0, []
    for t, amount in points:
        spent += amount
        shown.append({"t": t, "amount": _amount(amount, unit), "spent": _amount(spent, unit)})
    steps = [b[0] - a[0] for a, b in pairwise(points)]
    return {"step": min(steps, default=600), "points": shown}


def _spent(top: Sequence[tuple[str, int]], count: int, all_: int, unit: str) -> dict[str, Any]:
    shown = [{"agent": a, "amount": _amount(n, unit), "share": round(n / all_, 4) if all_ else 0.0} for a, n in top]
    rest = all_ - sum(n for _, n in top)
    return {"agents": shown, "others": {"agents": count - len(top), "amount": _amount(rest, unit)}}


def _ended(lines: Sequence[Line]) -> dict[str, Any]:
    shown = [
        {
            "id": line.id,
            "time": line.time,
            "agent": line.agent,
            "session": line.session,
            "model": line.model,
            "outcome": line.outcome,
            "reason": line.reason,
            "rule": line.rule,
            "usd": dollars(line.cost),
            "tokens": line.tokens,
            "total_ms": round(line.ns / 1e6, 2),
            "loop": line.loop,
        }
        for line in lines[: -MOST_ENDED - 1 : -1]
    ]
    return {"exchanges": shown, "more": len(lines) > MOST_ENDED}

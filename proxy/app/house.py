"""The house: what lives as long as the process, and the snapshot that it currently runs on.

A reload builds a whole new snapshot and swaps one reference; exchanges that run keep the one they started with. What cannot change
without a restart (addresses, store) is reported, not half-applied.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from proxy import __version__, pipeline
from proxy.app import build
from proxy.app.audit import swept
from proxy.app.balances import Board
from proxy.app.build import Files
from proxy.app.capture import open_capture
from proxy.app.changes import Changes, read_all
from proxy.app.gauges import Gauges
from proxy.app.hands import timing
from proxy.app.policies import Opas
from proxy.app.sampler import Sampler
from proxy.app.served import listing, table
from proxy.app.storage import AnyLedger, open_contents, open_ledger, open_pairs, open_stores
from proxy.app.tokens import Tokens
from proxy.app.traces import open_traces
from proxy.budget.learned import Learned
from proxy.budget.port import Ended
from proxy.budget.settle import floor_output, settle_usage
from proxy.control.approvals import Approvals
from proxy.control.kill import KillBoard
from proxy.engine.again import AgainStage
from proxy.engine.exchange import Nobody, Runtime
from proxy.engine.notice import Notice, Tell, nobody
from proxy.engine.ports import Clock, Sink, SystemClock
from proxy.engine.run import Engine
from proxy.engine.stage import Plan
from proxy.identity.issuer import TokenRing
from proxy.identity.keys import KeyEntry, KeyRing
from proxy.identity.lineage import Lineage
from proxy.identity.threads import Threads
from proxy.loops.stage import Past
from proxy.routing.memory import Conversations
from proxy.routing.models import ModelTable
from proxy.settings import Settings
from proxy.telemetry.ledger_redis import RedisLedger
from proxy.telemetry.logs import AccessLog
from proxy.telemetry.metrics import Metrics
from proxy.upstream.steady import SteadyTransport
from proxy.upstream.webhook import Surroundings, Webhooks
from proxy.wire.base import Memos

log = logging.getLogger("fleetgate.app")


class House:
    """Stores, sinks, engine and the current snapshot.

    Args:
        files: what the configuration says now.
        simulator: root URL of a simulated provider that takes the place of every upstream.
        extra_keys: keys that live only as long as the process.
        started: what holds from the start of the server on (`AT_START`), where that is not what the files say now.

    Raises:
        ValueError, StoreError: the store or the ledger cannot be opened.
    """

    def __init__(
        self,
        files: Files,
        *,
        simulator: str | None = None,
        extra_keys: Iterable[KeyEntry] = (),
        clock: Clock | None = None,
        started: Settings | None = None,
    ) -> None:
        self.clock: Clock = clock or SystemClock()
        self.simulator, self._extra, self.started = simulator, tuple(extra_keys), started or files.settings
        store = self.started.store
        self.stores = open_stores(store, self.started.listen.workers)
        self.journal: AnyLedger = open_ledger(store, self.stores)
        self.metrics = Metrics(__version__)
        self.memos = Memos()
        self.learned = Learned()
        self.threads, self.lineage = Threads(elsewhere=store.place is not None or self.started.listen.workers > 1), Lineage()
        self.again, self.past = AgainStage(), Past()
        self.conversations = Conversations()
        self.engine = Engine(settle_usage, on_lost=self.metrics.store_error)
        self.sampler = Sampler(self.engine, open_pairs(store))
        self.sinks: tuple[Sink, ...] = (self.journal, self.metrics, AccessLog(), self.sampler)
        self.contents = open_contents(store, self.stores.blocking, self.started.telemetry.capture_mb)
        self.capture = open_capture(self.started.telemetry, self.contents, self.metrics)
        self.traces = open_traces(self.started)
        self.webhooks = Webhooks(Surroundings(self.engine.spawn, self.clock, self.metrics.webhook))
        self.problems: tuple[str, ...] = ()
        self.gauges, self.changes = Gauges(self), Changes()
        self.draining, self.warming = False, True
        self.reloading = asyncio.Lock()
        self.kills, self.approvals = self._kill_board(), self._approvals()
        self._keys_seen = self.stores.keys.version()
        self._stored = tuple(self.stores.keys.keys())
        self._ring = KeyRing(())
        self._transport: SteadyTransport | None = None
        self.opas, self.tokens = Opas(), Tokens(self.clock, self.engine.spawn)
        self._show()
        self.use(files)

    def _kill_board(self) -> KillBoard:
        def lends() -> bool:
            return bool(self.started.store.lease and self.stores.problem)

        return KillBoard(self.stores.control, self.engine.live, self.clock.now, lambda: self.clock.ns() / 1e9, lends=lends)

    def _approvals(self) -> Approvals:
        return Approvals(self.stores.control, self.clock.now, lambda: timing(self.files.settings), self.told, self.link, self.engine.spawn)

    def _show(self) -> None:
        """Have the metrics look at what lives here."""
        self.metrics.watch(self.journal)
        if isinstance(shipped := self.journal, RedisLedger):
            self.metrics.watch_shipping(lambda: shipped.shipping)
        if self.traces is not None:
            self.metrics.spans = self.traces.counts
        self.metrics.watch_circuits(self.circuits)
        self.metrics.watch_kills(self.kills.active)
        self.metrics.watch_keys(self.tokens.numbers)
        self.metrics.watch_policies(self.opas.gauge)

    def ring(self) -> KeyRing:
        """Return the keys of this moment."""
        return self._ring

    def use(self, files: Files) -> None:
        """Swap to the snapshot of `files`."""
        old: Files | None = getattr(self, "files", None)
        models, board, tokens = table(files.settings), Board(files), self.tokens.build(files)
        parts = self._parts(files, models, tokens)
        plan, second = pipeline.plan(parts), pipeline.sample_plan(parts) if parts.sampled else None
        transport = self._transport
        if transport is None or old is None or _upstreams(old.settings) != _upstreams(files.settings):
            retired, transport = transport, build.transport(files.settings, self.simulator)
            self._transport = transport
            if retired is not None:
                self.engine.spawn(transport.follow(retired))
        # From here on nothing can fail.
        self.files, self.table, self.board = files, models, board
        self._rekey()
        self.tokens.use(files, tokens)
        self.opas.use(files)
        hooks = build.hooks(files.settings)
        self.webhooks.use(hooks)
        self.runtime = self._runtime(files, plan, transport, self.webhooks.tell if hooks else nobody)
        self.sampler.runtime = None if second is None else replace(self.runtime, plan=second, approver=Nobody())
        self.problems = ()
        self.metrics.config(files.version, stale=False)
        if old is not None and old.directory.baseline is not None and files.directory.baseline is None:
            log.warning("the operator's baseline is gone: agents are held to their own files alone")
        if old is not None and (restart := files.settings.needs_restart(self.started)):
            log.warning("%s changed: that takes effect at the next start", " and ".join(restart))

    def _parts(self, files: Files, models: ModelTable, tokens: TokenRing | None) -> pipeline.Parts:
        return pipeline.Parts(
            settings=files.settings,
            directory=files.directory,
            budgets=files.budgets,
            table=models,
            listing=listing(files.settings),
            ring=self.ring,
            memos=self.memos,
            store=self.stores.budget,
            threads=self.threads,
            learned=self.learned,
            lineage=self.lineage,
            again=self.again,
            past=self.past,
            conversations=self.conversations,
            rules=files.rules,
            rego=files.rego,
            opa=self.opas.of(files.settings),
            kills=self.kills,
            tokens=tokens,
            samples=(self.sampler.take, self.sampler.listen),
        )

    def _runtime(self, files: Files, plan: Plan, transport: SteadyTransport, tell: Tell) -> Runtime:
        return Runtime(
            files.version,
            plan,
            transport,
            self.sinks,
            build.limits(files.settings),
            files.settings.refusal,
            floor_output,
            tell,
            patience=pipeline.patience(files.settings),
            approver=self.approvals,
            tracing=None if self.traces is None else self.traces.tracer,
            capture=self.capture,
            carried=self.memos.carried,
        )

    def keep_old(self, problems: Iterable[str]) -> None:
        """Stay on the current snapshot because the files have `problems`, and say so everywhere."""
        self.problems = tuple(problems)
        self.metrics.config(self.files.version, stale=True)
        for problem in self.problems:
            log.error("configuration not applied: %s", problem)
        self.announce(build.refused(self.problems, self.files.version))

    async def note_files(self) -> None:
        """Remember what the last reading of the files came to, for people to see."""
        found = await asyncio.to_thread(read_all, self.files.settings)
        self.changes.note(found, self.files.version, self.problems, self.clock.now())

    async def refresh_keys(self) -> None:
        """Re-read the store's keys if they changed; the store is read in a thread, the ring is swapped on the loop.

        Raises:
            StoreError: the store cannot be read; the keys stay as they were.
        """
        found = await asyncio.to_thread(self._changed_keys)
        if found is not None:
            self._keys_seen, self._stored = found
            self._rekey()

    async def refresh_control(self) -> None:
        """Do what people ordered since the last look. A store that cannot be read is remembered, and shows in `/readyz`."""
        if await self.kills.refresh(self.announce):
            self.approvals.wake()

    def announce(self, notice: Notice) -> None:
        """Have people outside hear of what every process that shares files and store sees."""
        self.told(notice)

    def told(self, notice: Notice) -> None:
        """Have people outside hear of something."""
        self.runtime.tell(notice)

    def link(self, name: str, secret: str) -> str:
        """Return the URL where whoever has it may decide one question, empty where nobody says how the admin plane is reached."""
        url = self.files.settings.listen.admin_url
        return f"{url.rstrip('/')}/approve/{name}?token={secret}" if url else ""

    def key_ids(self) -> list[str]:
        """Return the public ids of all keys."""
        return [key.id for key in (*self.files.keys, *self._stored, *self._extra)]

    def _changed_keys(self) -> tuple[int, tuple[KeyEntry, ...]] | None:
        version = self.stores.keys.version()
        return None if version == self._keys_seen else (version, tuple(self.stores.keys.keys()))

    def _rekey(self) -> None:
        self._ring = KeyRing([*self.files.keys, *self._stored, *self._extra])

    def journal_problem(self) -> str:
        """Return why the ledger does not take records, or nothing."""
        return self.journal.problem

    def inflight(self) -> int:
        """Return how many exchanges run."""
        return self.engine.live.inflight

    def circuits(self) -> Mapping[str, bool]:
        """Return for each provider whether its circuit is open."""
        return {} if self._transport is None else self._transport.circuits()

    async def keep(self, ended: Sequence[Ended]) -> None:
        """Leave a record of each hold that a sweep found without one. Raises StoreError; what is not done then comes again."""
        found = await asyncio.to_thread(swept, ended, self.journal, self.clock.now())
        for record in found.records:
            for sink in self.sinks:
                sink.record(record)
        if found.known:
            await self.stores.budget.recorded(found.known)

    def drain(self) -> None:
        """Prepare to stop: not ready any more, and nothing is sent to a provider again."""
        self.draining = True
        self.sampler.stop()
        if self._transport is not None:
            self._transport.hurry()

    async def close(self) -> None:
        """Finish spawned work, flush the sinks, close everything."""
        self.webhooks.hurry()
        await self.engine.drain(10)
        for sink in (*self.sinks, *([self.capture] if self.capture else ())):
            await sink.close()
        if self.traces is not None:  # last: a collector that hangs must not take the time that records need
            await asyncio.to_thread(self.traces.tracer.stop)
        if self._transport is not None:
            await self._transport.close()
        await self.opas.close()
        await self.stores.close()


def _upstreams(settings: Settings) -> tuple[object, ...]:
    return (settings.providers, settings.limits, settings.upstream)

"""The workers of one supervisor: starts them, asks them, restarts those that die, ends them.

A worker is a new interpreter, so nothing of the supervisor's threads or connections lives on in it. It counts as up when it listens. One
that ends is started again, after a wait that doubles with each quick death; one that does not answer for `HUNG_S` is killed, and then is
one that ended. While it is away the kernel gives its share of new connections to the others.

Counters outlive their process: what a worker counted is kept when it ends, as it was last read. What it counted after that (`SNAP_S` at
most) is in the ledger alone.

How it fails: a worker that cannot start takes the whole start back, with what it said; later it is only tried again. A supervisor that
dies closes the channels, and its workers end by themselves.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import logging
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

from proxy.app.channel import Channel, open_channel
from proxy.app.worker import Job
from proxy.telemetry.merging import Family, Past, unpack
from proxy.telemetry.metrics import Metrics

log = logging.getLogger("fleetgate.app")
ASK_S, SNAP_S = 0.5, 5.0
"""How often a worker is asked how it does, and what it counted."""
ANSWER_S = 2.0
HUNG_S = 30.0
START_S = 120.0
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 30.0
STEADY_S = 30.0
"""A worker that was up for so long died of something new: the wait begins anew."""
SETTLE_S = 15.0
"""How long a worker may take to settle and write after its exchanges had their time."""
_CODE = "import json, sys; sys.path[:] = json.loads(sys.argv[2]); from proxy.app.worker import main; main(int(sys.argv[1]))"


class Worker:
    """One process, from its start to its end."""

    def __init__(self, number: int, process: asyncio.subprocess.Process, channel: Channel) -> None:
        self.number, self.process, self._channel = number, process, channel
        self.up: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.failed = ""
        self.state: Mapping[str, Any] = {}
        self.counted: Sequence[Family] = ()
        self.told: Any = None
        """What its supervisor had it know last."""
        self.answered = time.monotonic()
        self._asked: dict[int, asyncio.Future[Any]] = {}
        self._ids = 0

    @property
    def ready(self) -> bool:
        """Whether it serves, as it said last."""
        return bool(self.state.get("ready")) and self.process.returncode is None

    async def listen(self) -> None:
        """Take in what it says until it is gone."""
        while (message := await self._channel.receive()) is not None:
            if "up" in message and not self.up.done():
                self.up.set_result(True)
            self.failed = message.get("failed", self.failed)
            future = self._asked.pop(message.get("id", 0), None)
            if future is not None and not future.done():
                self.answered = time.monotonic()
                future.set_result(message["value"])
        for future in self._asked.values():
            future.cancel()
        if not self.up.done():
            self.up.set_result(False)

    async def ask(self, what: str, within_s: float | None = None, told: Any = None) -> Any:
        """Return its answer, None where none comes in time (`ANSWER_S` unless said). `told` goes with the question."""
        self._ids += 1
        number, future = self._ids, asyncio.get_running_loop().create_future()
        self._asked[number] = future
        self._channel.send({"id": number, "ask": what, "told": told})
        done, _ = await asyncio.wait([future], timeout=ANSWER_S if within_s is None else within_s)
        self._asked.pop(number, None)
        return future.result() if done and not future.cancelled() else None

    def signal(self, end: Callable[[asyncio.subprocess.Process], None]) -> None:
        """Terminate or kill it, if it is there."""
        with contextlib.suppress(ProcessLookupError):
            end(self.process)

    async def gone(self) -> int:
        """Return its exit code once it has ended."""
        return await self.process.wait()

    def hang_up(self) -> None:
        """Close the channel."""
        self._channel.close()


class Crew:
    """See the module.

    Args:
        job: what every worker is started with.
        count: how many there are.
        metrics: the supervisor's, which count restarts.
    """

    def __init__(self, job: Job, count: int, metrics: Metrics) -> None:
        self._job, self._count, self._metrics = job, count, metrics
        self.workers: dict[int, Worker] = {}
        self.past = Past()
        self.telling = asyncio.Lock()
        """Held by who tells all workers of a change."""
        self._stopping = asyncio.Event()
        self._keepers: list[asyncio.Task[None]] = []
        self._begun: dict[int, asyncio.Future[str]] = {}
        self._followers: set[asyncio.Task[Any]] = set()

    async def start(self) -> None:
        """Start all and wait until all listen. Raises ValueError with the reason of the first that cannot."""
        loop = asyncio.get_running_loop()
        self._begun = {number: loop.create_future() for number in range(1, self._count + 1)}
        self._keepers = [asyncio.ensure_future(self._keep(number)) for number in self._begun]
        for future in asyncio.as_completed(self._begun.values()):
            if problem := await future:
                raise ValueError(problem)

    async def run(self) -> None:
        """Keep the workers up until cancelled; raises what must not happen in one of its tasks."""
        await asyncio.gather(*(asyncio.shield(keeper) for keeper in self._keepers))

    async def stop(self, drain_s: float) -> None:
        """End all: exchanges get `drain_s`, settles and records some more, then it is over. Does nothing the second time."""
        self._stopping.set()
        for worker in self.workers.values():
            worker.signal(asyncio.subprocess.Process.terminate)
        late = (await asyncio.wait(self._keepers, timeout=drain_s + SETTLE_S))[1] if self._keepers else ()
        if late:
            log.error("%d workers did not end in time and are killed; what they held expires", len(late))
        for worker in self.workers.values():
            worker.signal(asyncio.subprocess.Process.kill)
        await asyncio.gather(*self._keepers, *self._followers, return_exceptions=True)

    async def ask(self, what: str, within_s: float | None = None) -> list[Any]:
        """Return the answers of all that are up."""
        up = [worker for worker in self.workers.values() if worker.up.done()]
        found = await asyncio.gather(*(worker.ask(what, within_s) for worker in up))
        return [value for value in found if value is not None]

    async def counted(self) -> list[Sequence[Family]]:
        """Return what all workers have counted, those that ended too; of one that does not answer what it said last."""
        await asyncio.gather(*(self._snap(worker) for worker in self.workers.values()))
        return [self.past.families, *(worker.counted for worker in self.workers.values())]

    async def _keep(self, number: int) -> None:
        """Have worker `number` run, again and again."""
        deaths, begun = 0, self._begun[number]
        while not self._stopping.is_set():
            began = time.monotonic()
            why = await self._life(number)
            if self._stopping.is_set():
                return
            if not begun.done():
                begun.set_result(f"worker {number} cannot serve: {why}")
                return
            deaths = 1 if time.monotonic() - began > STEADY_S else deaths + 1
            pause_s = min(FIRST_WAIT_S * 2 ** (min(deaths, 16) - 1), LONGEST_WAIT_S)
            log.error("worker %d is gone (%s); it is started again in %g s", number, why, pause_s)
            self._metrics.restarted()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause_s)

    async def _life(self, number: int) -> str:
        """Start worker `number`, wait for its end and return why it came."""
        try:
            worker = self.workers[number] = await self._spawn(number)
        except OSError as e:
            return f"it cannot be started: {e.strerror or e}"
        listener, follower = self._tracked(worker.listen()), self._tracked(self._follow(worker))
        if self._stopping.is_set():
            worker.signal(asyncio.subprocess.Process.terminate)
        code = await worker.gone()
        follower.cancel()
        await asyncio.wait([listener, follower])  # what it said last has been heard: the channel ends with it
        worker.hang_up()
        self.past.keep(worker.counted)
        del self.workers[number]
        return worker.failed or f"it ended with {code}"

    async def _spawn(self, number: int) -> Worker:
        ours, theirs = socket.socketpair()
        with theirs:
            flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # as multiprocessing does
            command = [sys.executable, *flags, "-P", "-c", _CODE, str(theirs.fileno()), json.dumps(sys.path), f"fleetgate worker {number}"]
            try:
                process = await asyncio.create_subprocess_exec(*command, pass_fds=[theirs.fileno()], stdin=asyncio.subprocess.DEVNULL)
            except OSError:
                ours.close()
                raise
        channel = await open_channel(ours)
        channel.send(dataclasses.asdict(dataclasses.replace(self._job, number=number)))
        return Worker(number, process, channel)

    async def _follow(self, worker: Worker) -> None:
        """Ask a worker how it does for as long as it is there; kill it where it does not answer."""
        done, _ = await asyncio.wait([worker.up], timeout=START_S)
        if not done:
            log.error("worker %d is not up after %g s and is killed", worker.number, START_S)
            worker.signal(asyncio.subprocess.Process.kill)
            return
        log.info("worker %d is up (process %d)", worker.number, worker.process.pid)
        worker.answered, snapped = time.monotonic(), 0.0
        while True:
            worker.state = await worker.ask("state") or {}
            begun = self._begun[worker.number]
            if worker.state and not begun.done():
                begun.set_result("")
            if time.monotonic() - snapped > SNAP_S:
                await self._snap(worker)
                snapped = time.monotonic()
            if time.monotonic() - worker.answered > HUNG_S and not self._stopping.is_set():
                log.error("worker %d has not answered for %g s and is killed", worker.number, HUNG_S)
                worker.signal(asyncio.subprocess.Process.kill)
                return
            await asyncio.sleep(ASK_S)

    async def _snap(self, worker: Worker) -> None:
        found = await worker.ask("metrics") if worker.up.done() else None
        if found is not None:
            worker.counted = unpack(found)

    def _tracked(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.ensure_future(work)
        self._followers.add(task)
        task.add_done_callback(self._followers.discard)
        return task

"""Asking people, and waiting for them: the approver of the engine, on the store that all replicas share.

A question is a row in the store. Whoever decides it (the command line, the admin plane of any replica, a link) writes that row; who waits
looks at it when something changed, which every replica notices within half a second, and every few seconds anyway. Nothing is kept in this
process alone: one that dies while it waits loses nothing, since the client's next try of the same finds the row and what became of it.

How it fails: a question that cannot be written raises StoreError, which refuses. A store that fails while somebody waits is tried again
until the time is over, and then the answer is no: a default of `allow` needs a store that can record it.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

from proxy.control.port import ControlStore, Entry
from proxy.control.questions import (
    MAX_PENDING,
    Case,
    Decision,
    Timing,
    Undecided,
    answered,
    decided,
    digest,
    id_of,
    left,
    opened,
)
from proxy.engine.approval import ALIVE_S
from proxy.engine.notice import Notice, Tell
from proxy.engine.ports import Answer, Beat, Question, StoreError

log = logging.getLogger("fleetgate.control")
LOOK_S = 2.0
"""How often who waits looks at the row without having been woken."""
TRIES = 16
"""How often a step is tried over another's."""
MAX_TOOL = 80
"""Characters of a tool's name that stand in a notice."""
Spawn = Callable[[Coroutine[Any, Any, None]], None]


class Approvals:
    """Implements `engine.ports.Approver`.

    Args:
        store: where questions are kept.
        now: UTC seconds.
        timing, buffered_s: the settings of this moment; the second bounds waits in which nothing can be sent to the client.
        tell: takes the news of a new question.
        link: returns the URL of a question's page for its id and secret, empty where there is none.
        spawn: runs what is still to be written when a wait is broken off.
    """

    def __init__(
        self,
        store: ControlStore,
        now: Callable[[], float],
        timing: Callable[[], tuple[Timing, float]],
        tell: Tell,
        link: Callable[[str, str], str],
        spawn: Spawn,
    ) -> None:
        self._store, self._now, self._timing, self._tell, self._link, self._spawn = store, now, timing, tell, link, spawn
        self._changed = asyncio.Event()
        self._opening = Counter[str]()
        """Questions by agent that are being written just now."""

    def wake(self) -> None:
        """Have all who wait look at their rows."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def ask(self, question: Question, beat: Beat | None = None) -> Answer:
        """See `Approver.ask`."""
        timing, buffered_s = self._timing()
        timeout = timing.timeout_s if question.timeout_s is None else question.timeout_s
        found = await self._open(question, timing)
        if isinstance(found, Answer):
            return found
        wait = timeout if beat is not None else min(timeout, buffered_s)
        done = False
        try:
            answer = await self._wait(question, found, wait, beat)
            done = answer is not None
            return answer or Answer(False, why="a decision that is made later holds for the next try", id=found.id)
        finally:
            if not done:
                self._spawn(self._leave(found.id))

    async def _open(self, question: Question, timing: Timing) -> Case | Answer:
        """Return the row of a question that waits, or what it answers at once."""
        name = id_of(question)
        for _ in range(TRIES):
            now, old = self._now(), await self._store.case(name)
            if old is not None:
                answer, step = answered(old, now)
                if answer is not None:
                    if step is None or await self._store.save(step, old.version):
                        return answer
                    continue
            found = await self._write(question, old, timing, now)
            if found is not None:
                return found
        raise StoreError("a question could not be written: others wrote it each time")

    async def _write(self, question: Question, old: Case | None, timing: Timing, now: float) -> Case | Answer | None:
        """Write a question that nobody has decided and return it, or why it is not asked; None where others wrote it meanwhile."""
        fresh, agent = old is None or old.over(now), question.agent
        secret = secrets.token_urlsafe(32)
        case = opened(question, old, now, timing, digest(secret))
        self._opening[agent] += fresh
        try:
            if fresh and await self._store.waiting(agent, now) + self._opening[agent] > MAX_PENDING:
                return Answer(False, why=f"{MAX_PENDING} questions of this agent wait already")
            if not await self._store.save(case, 0 if old is None else old.version):
                return None
        finally:
            self._opening[agent] -= fresh
            if not self._opening[agent]:
                del self._opening[agent]
        if fresh:
            self._tell(self._notice(case, secret))
        return case

    async def _wait(self, question: Question, case: Case, seconds: float, beat: Beat | None) -> Answer | None:
        """Return what becomes of the question, None when nobody decides in time."""
        loop = asyncio.get_running_loop()
        ends = loop.time() + seconds
        alive = loop.time() + ALIVE_S
        while True:
            changed = self._changed
            found = await self._look(question, case)
            if found is not None:
                return found
            now = loop.time()
            if now >= ends:
                return None
            if beat is not None and now >= alive:
                await beat()
                alive = loop.time() + ALIVE_S
            await _until(changed, min(ends, alive, now + LOOK_S) - now)

    async def _look(self, question: Question, case: Case) -> Answer | None:
        """Return what the row answers; a store that fails answers nothing."""
        try:
            for _ in range(TRIES):
                now, found = self._now(), await self._store.case(case.id)
                if found is None or found.over(now):  # somebody else took the one use, or it is over: it is asked anew
                    timing, _ = self._timing()
                    again = await self._open(question, timing)
                    return again if isinstance(again, Answer) else None
                answer, step = answered(found, now)
                if answer is None or step is None or await self._store.save(step, found.version):
                    return answer
        except StoreError as e:
            log.error("approval %s: the store cannot be read, asking on: %s", case.id, e)
        return None

    async def _leave(self, name: str) -> None:
        """Write that nobody waits any more."""
        try:
            found = await self._store.case(name)
            gone = None if found is None else left(found, self._now())
            if found is not None and gone is not None:
                await self._store.save(gone, found.version)
        except StoreError as e:
            log.warning("approval %s: it could not be written that nobody waits any more: %s", name, e)

    def _notice(self, case: Case, secret: str) -> Notice:
        q, link = case.question, self._link(case.id, secret)
        what = named(q.what) if q.kind == "tool_call" else q.what
        text = f"Agent {q.agent} asks to be allowed: {what} ({q.rule}). Decide: {link or f'fleetgate approvals show {case.id}'}"
        facts = {"id": case.id, "kind": q.kind, "agent": q.agent, "session": q.session, "run": q.run, "what": q.what, "rule": q.rule}
        return Notice("approval", f"{case.id} {case.asked}", text, {**facts, "until": case.expires, "link": link}, case.asked)


def named(tool: str) -> str:
    """Return the name of a tool as it may stand in a sentence: a model chose it, and it must not read as words or a link of ours."""
    return "".join(c if c.isalnum() or c in "_-." else "?" for c in tool[:MAX_TOOL])


async def _until(changed: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(max(seconds, 0.0)):
            await changed.wait()
    except TimeoutError:
        pass


async def decide(store: ControlStore, name: str, decision: Decision, now: float, keep_s: float) -> Case | Undecided:
    """Decide a question and log it, once; return it, or why it cannot be decided.

    Raises:
        StoreError: the store cannot be used.
    """
    for _ in range(TRIES):
        old = await store.case(name)
        case = decided(old, decision, now, keep_s)
        if not isinstance(case, Case) or old is None:
            return case
        until = case.expires if decision.lasts_s is not None else None
        target = f"approval:{case.id} {case.question.agent} {case.question.what}"
        entry = Entry(now, case.by, "approve" if decision.allowed else "deny", target, case.reason, until)
        if await store.save(case, old.version, entry):
            return case
    raise StoreError("a decision could not be written: others wrote the same question each time")

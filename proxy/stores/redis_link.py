"""A link to a Redis or Valkey store, for everything that is kept there. It reconnects by itself. Connections are redis-py's.

How to use it, on the event loop (`RedisLink`) or anywhere else (`BlockingLink`, which has the same verbs without `await`):

    link.key("kills")                                     # "{tenant}:kills": every key of ours is made like this
    await link.call("HSET", link.key("kills"), "a", "…")  # one command
    await link.run(SCRIPT, [link.key("kills")], ["…"])    # one Lua script (a `Script`, made once): atomic, loaded when needed

Answers are what the server says: bytes, int, None, lists. Commands that are submitted in one turn of the loop, or while an answer is
waited for, go out together, in their order, over one connection: a busy loop pays one round trip for many. All keys of a tenant are in one
hash slot, so on a cluster one connection (to the server that has the slot) is enough; `MOVED` leads there.

How it fails: `Unreachable` (a `StoreError`) when there is no connection within `connect_s`, no answer within `command_s`, or an answer
that says "not now". After a connection failed, calls fail at once until the next attempt is due (`BACKOFF_S`, doubled up to
`MOST_BACKOFF_S`). What was sent when a connection ended may have been done: it is sent again only where the caller says that doing it
twice is the same as once (`again=True`); redis-py itself is told to repeat nothing. Nothing waits for ever and nothing is queued without
bound.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any

import hiredis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import AuthenticationError, BusyLoadingError, MovedError, NoScriptError, RedisError, ResponseError
from redis.exceptions import TimeoutError as Overdue

from proxy.engine.ports import StoreError
from proxy.stores.faults import AWAY, Lost, Moved, Unreachable, fault
from proxy.stores.redis_dial import dialled, said
from proxy.stores.redis_place import Address, Place

BACKOFF_S, MOST_BACKOFF_S = 0.05, 1.0
MOST_WAITING = 20_000
"""Commands that wait for a connection; more fail at once."""
MOST_AT_ONCE = 1000
"""Commands in one round trip: what comes behind them waits for their answers."""
_LUA = Path(__file__).parent / "lua"

Word = str | bytes | int | float


class Script:
    """A Lua script: its text and its SHA-1, by which servers know it."""

    __slots__ = ("sha", "text")

    def __init__(self, text: str) -> None:
        self.text, self.sha = text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

    @classmethod
    def of(cls, name: str) -> Script:
        """Return the script in `lua/NAME.lua`."""
        return cls((_LUA / f"{name}.lua").read_text("utf-8"))


class _Command:
    """One command as it is sent, who waits for the answer, and the same with the whole script in case the server does not know it."""

    __slots__ = ("future", "sent", "whole")

    def __init__(self, sent: bytes, whole: Sequence[Word] | None, future: asyncio.Future[Any]) -> None:
        self.sent, self.whole, self.future = sent, whole, future

    def answer(self, found: Any) -> None:
        """Hand the answer, or why there is none, to who waits."""
        if self.future.done():
            return
        if isinstance(found, StoreError):
            self.future.set_exception(type(found)(*found.args))
        elif isinstance(found, ResponseError):
            self.future.set_exception(fault(said(found)))
        else:
            self.future.set_result(found)


class RedisLink:
    """See the module. For one loop at a time; it connects when it is first used."""

    def __init__(self, place: Place) -> None:
        self.place, self.key = place, place.key
        self.problem = ""
        self.round_trips = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connection: AbstractConnection | None = None
        self._out: list[_Command] = []
        self._due = self._closed = False
        self._sending: asyncio.Task[None] | None = None
        self._retry_at, self._backoff = 0.0, BACKOFF_S
        self._moved: Address | None = None

    async def call(self, *words: Word, again: bool = False) -> Any:
        """Return the answer to one command.

        Args:
            words: the command and its arguments.
            again: send it once more when the connection ends before the answer: doing it twice must be the same as doing it once.

        Raises:
            Unreachable: see the module.
            StoreError: the server refuses the command.
        """
        return await self._ask(words, None, again)

    async def run(self, script: Script, keys: Sequence[str], args: Sequence[Word], *, again: bool = False) -> Any:
        """Return the answer of `script`; see `call`."""
        words = (len(keys), *keys, *args)
        return await self._ask(("EVALSHA", script.sha, *words), ("EVAL", script.text, *words), again)

    async def close(self) -> None:
        """Send what was submitted, wait for its answers (`command_s` at most), and let go of the connection."""
        here = self._loop is not None and self._loop is asyncio.get_running_loop()
        if here and (self._out or self._sending is not None):
            try:
                await self.call("PING")  # answered after all that is in front of it
            except StoreError:
                pass
        self._closed = True
        if here and self._sending is not None:
            self._sending.cancel()
        if here:
            await self._drop()

    # --- sending ----------------------------------------------------------------------------------------------------------------

    async def _ask(self, words: Sequence[Word], whole: Sequence[Word] | None, again: bool) -> Any:
        try:
            return await self._submit(words, whole)
        except Moved:
            pass
        except Lost:
            if not again:
                raise
        return await self._submit(words, whole)

    def _submit(self, words: Sequence[Word], whole: Sequence[Word] | None) -> asyncio.Future[Any]:
        if self._closed:
            raise StoreError("the Redis store is closed")
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop, self._connection, self._sending, self._due, self._out = loop, None, None, False, []
        if len(self._out) >= MOST_WAITING:
            raise Unreachable("the Redis store is too far behind")
        try:
            sent = _packed(words)
        except UnicodeEncodeError:
            raise StoreError("a name that is not text cannot be kept in the Redis store") from None
        future = loop.create_future()
        self._out.append(_Command(sent, whole, future))
        if not self._due and self._sending is None:
            self._due = True
            loop.call_soon(self._flush)
        return future

    def _flush(self) -> None:
        """Send what was submitted in this turn of the loop; what comes while its answers are awaited goes out behind them."""
        self._due = False
        if self._out and self._sending is None and self._loop is not None:
            self._sending = self._loop.create_task(self._send())

    async def _send(self) -> None:
        try:
            while self._out:
                batch, self._out = self._out[:MOST_AT_ONCE], self._out[MOST_AT_ONCE:]
                batch = [command for command in batch if not command.future.done()]
                if batch:
                    await self._exchange(batch)
        finally:
            self._sending = None

    async def _exchange(self, batch: Sequence[_Command]) -> None:
        """Have `batch` answered, whatever comes."""
        try:
            connection = await self._ready()
            found = await self._talk(connection, [command.sent for command in batch])
            unknown = [i for i, one in enumerate(found) if isinstance(one, NoScriptError) and batch[i].whole is not None]
            if unknown:
                wholes = [_packed(whole) for i in unknown if (whole := batch[i].whole) is not None]
                for i, one in zip(unknown, await self._talk(connection, wholes), strict=True):
                    found[i] = one
        except StoreError as e:
            await self._drop()
            found = [e] * len(batch)
        except BaseException:
            for command in batch:
                command.answer(Lost("the connection to the Redis store ended"))
            await self._drop()
            raise
        for command, one in zip(batch, found, strict=True):
            command.answer(one)
        await self._heed([one for one in found if isinstance(one, ResponseError)])

    async def _talk(self, connection: AbstractConnection, commands: Sequence[bytes]) -> list[Any]:
        """Return the answers to `commands`, refusals among them; raises Unreachable when they do not come."""
        found: list[Any] = []
        self.round_trips += 1
        try:
            async with asyncio.timeout(self.place.command_s):
                await connection.send_packed_command(b"".join(commands), check_health=False)
                for _ in commands:
                    try:
                        found.append(await connection.read_response())
                    except ResponseError as e:
                        found.append(e)
        except (TimeoutError, Overdue):
            raise Unreachable(f"the Redis store did not answer within {self.place.command_s:g} s") from None
        except (AuthenticationError, BusyLoadingError) as e:  # an answer, though redis-py takes it for the end of a connection
            raise fault(said(e)) from None
        except (RedisError, OSError):
            raise Lost("the connection to the Redis store ended") from None
        return found

    async def _heed(self, refusals: Sequence[ResponseError]) -> None:
        """Leave a server that says that it is the wrong one."""
        for refusal in refusals:
            if isinstance(refusal, MovedError):
                self._moved = (refusal.host or self.place.hosts[0][0], int(refusal.port))
            if isinstance(refusal, MovedError) or said(refusal).partition(" ")[0] in AWAY:
                await self._drop()

    # --- connecting -------------------------------------------------------------------------------------------------------------

    async def _ready(self) -> AbstractConnection:
        """Return the connection, made now where there is none; raises Unreachable, at once while the next attempt is not due."""
        if self._connection is not None:
            return self._connection
        loop = asyncio.get_running_loop()
        if loop.time() < self._retry_at:
            raise Unreachable(self.problem or "the Redis store cannot be reached")
        try:
            self._connection = await dialled(self.place, self._moved)
        except StoreError as e:
            self.problem, self._moved = str(e), None
            self._retry_at = loop.time() + self._backoff
            self._backoff = min(MOST_BACKOFF_S, self._backoff * 2)
            raise
        self.problem, self._backoff, self._retry_at = "", BACKOFF_S, 0.0
        return self._connection

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.disconnect(nowait=True)


def _packed(words: Sequence[Word]) -> bytes:
    """Return a command as it is sent. What redis-py does for it is written in Python and took half of a call."""
    packed: bytes = hiredis.pack_command(tuple(words))  # type: ignore[arg-type]  # its stub means tuples of any length
    return packed


class BlockingLink:
    """The same for callers without an event loop, or on another thread: a thread of its own runs the link. Safe in any thread."""

    def __init__(self, place: Place) -> None:
        self.place, self.key = place, place.key
        self._link = RedisLink(place)
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    def call(self, *words: Word, again: bool = False) -> Any:
        """See `RedisLink.call`."""
        return self._wait(self._link.call(*words, again=again))

    def run(self, script: Script, keys: Sequence[str], args: Sequence[Word], *, again: bool = False) -> Any:
        """See `RedisLink.run`."""
        return self._wait(self._link.run(script, keys, args, again=again))

    def close(self) -> None:
        """Let go of the connection and the thread."""
        with self._lock:
            loop, self._loop = self._loop, None
        if loop is not None:
            asyncio.run_coroutine_threadsafe(self._link.close(), loop).result(self._longest())
            loop.call_soon_threadsafe(loop.stop)

    def _longest(self) -> float:
        return 2 * (self.place.connect_s + self.place.command_s) + 1.0

    def _wait(self, work: Coroutine[Any, Any, Any]) -> Any:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=_forever, args=(self._loop,), name="fleetgate-redis", daemon=True).start()
            loop = self._loop
        future = asyncio.run_coroutine_threadsafe(work, loop)
        try:
            return future.result(self._longest())
        except TimeoutError:
            future.cancel()
            raise Unreachable("the Redis store did not answer") from None


def _forever(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
    finally:
        loop.run_until_complete(asyncio.sleep(0))  # connections that were told to close
        loop.close()

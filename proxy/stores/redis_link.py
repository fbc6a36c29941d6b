"""A link to a Redis or Valkey store, for everything that is kept there. It reconnects by itself.

How to use it, on the event loop (`RedisLink`) or anywhere else (`BlockingLink`, which has the same verbs without `await`):

    link.key("kills")                                     # "{tenant}:kills": every key of ours is made like this
    await link.call("HSET", link.key("kills"), "a", "…")  # one command
    await link.run(SCRIPT, [link.key("kills")], ["…"])    # one Lua script (a `Script`, made once): atomic, loaded when needed
    async for said in link.listen(link.key("kill")):      # what is published; None each time that it (re)connected:
        ...                                               # read everything anew then, since what was said meanwhile is lost

Answers are what hiredis makes of them: bytes, int, None, lists. Commands that are submitted in one turn of the loop go out together, in
their order, over one connection. All keys of a tenant are in one hash slot, so on a cluster one connection (to the server that has the
slot) is enough; `MOVED` leads there.

How it fails: `Unreachable` (a `StoreError`) when there is no connection within `connect_s`, no answer within `command_s`, or an answer
that says "not now". After a connection failed, calls fail at once until the next attempt is due (`BACKOFF_S`, doubled up to
`MOST_BACKOFF_S`). What was sent when a connection ended may have been done: it is sent again only where the caller says that doing it
twice is the same as once (`again=True`). Nothing waits for ever and nothing is queued without bound.
"""

from __future__ import annotations

import asyncio
import hashlib
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

from proxy.engine.ports import StoreError
from proxy.stores.faults import Lost, Moved, Unreachable
from proxy.stores.redis_place import Place
from proxy.stores.redis_wire import Command, Future, Wire, Word

BACKOFF_S, MOST_BACKOFF_S = 0.05, 1.0
MOST_WAITING = 20_000
"""Commands that wait for a connection; more fail at once."""
PING_S = 10.0
"""How long a connection that listens may be silent before it is tried."""
_LUA = Path(__file__).parent / "lua"


class Script:
    """A Lua script: its text and its SHA-1, by which servers know it."""

    __slots__ = ("sha", "text")

    def __init__(self, text: str) -> None:
        self.text, self.sha = text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

    @classmethod
    def of(cls, name: str) -> Script:
        """Return the script in `lua/NAME.lua`."""
        return cls((_LUA / f"{name}.lua").read_text("utf-8"))


class RedisLink:
    """See the module. For one loop at a time; it connects when it is first used."""

    def __init__(self, place: Place) -> None:
        self.place, self.key = place, place.key
        self.problem = ""
        self.round_trips = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wire: Wire | None = None
        self._out: list[Command] = []
        self._due = self._closed = False
        self._connecting: asyncio.Task[None] | None = None
        self._retry_at, self._backoff = 0.0, BACKOFF_S
        self._moved: tuple[str, int] | None = None

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
        if self._loop is not None and self._loop is asyncio.get_running_loop() and (self._out or self._wire is not None):
            try:
                await self.call("PING")  # answered after all that is in front of it
            except StoreError:
                pass
        self._closed = True
        if self._connecting is not None:
            self._connecting.cancel()
        if self._wire is not None and self._loop is not None and not self._loop.is_closed():
            self._wire.lose(Unreachable("the Redis store was closed"))

    async def listen(self, channel: str) -> AsyncIterator[bytes | None]:
        """Yield what is published on `channel`, and None whenever (again) nothing is missed from now on. Never ends, never raises."""
        backoff = BACKOFF_S
        while True:
            heard: asyncio.Queue[bytes | None] = asyncio.Queue()
            wire: Wire | None = None
            try:
                wire = await self._opened(heard.put_nowait)
                await wire.ask("SUBSCRIBE", channel)
                backoff = BACKOFF_S
                yield None
                while True:
                    try:
                        async with asyncio.timeout(PING_S):
                            said = await heard.get()
                    except TimeoutError:
                        await wire.ask("PING")
                        continue
                    if said is None:
                        raise Lost("the connection to the Redis store ended")
                    yield said
            except (StoreError, OSError):
                await asyncio.sleep(backoff)
                backoff = min(MOST_BACKOFF_S, backoff * 2)
            finally:
                if wire is not None:
                    wire.lose(Unreachable("nobody listens any more"))

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

    def _submit(self, words: Sequence[Word], whole: Sequence[Word] | None) -> Future:
        if self._closed:
            raise StoreError("the Redis store is closed")
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop, self._wire, self._connecting, self._due, self._out = loop, None, None, False, []
        if len(self._out) >= MOST_WAITING:
            raise Unreachable("the Redis store is too far behind")
        future = loop.create_future()
        try:
            self._out.append(Command(words, future, whole))
        except UnicodeEncodeError:
            raise StoreError("a name that is not text cannot be kept in the Redis store") from None
        if not self._due:
            self._due = True
            loop.call_soon(self._flush)
        return future

    def _flush(self) -> None:
        """Send what was submitted in this turn of the loop, or see to it that there is a connection."""
        self._due = False
        if not self._out or self._connecting is not None or self._loop is None:
            return
        if self._wire is not None and self._wire.alive:
            commands, self._out = [command for command in self._out if not command.future.done()], []
            if commands:
                self.round_trips += 1
                self._wire.send(commands)
        elif self._loop.time() < self._retry_at:
            self._fail(Unreachable(self.problem or "the Redis store cannot be reached"))
        else:
            self._connecting = self._loop.create_task(self._connect())

    def _fail(self, why: StoreError) -> None:
        waiting, self._out = self._out, []
        for command in waiting:
            if not command.future.done():
                command.future.set_exception(type(why)(*why.args))

    # --- connecting -------------------------------------------------------------------------------------------------------------

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            if self._wire is not None and self._wire.moved is not None:
                host, port = self._wire.moved
                self._moved = (host or self.place.hosts[0][0], port)
            self._wire = await self._opened()
            self.problem, self._backoff, self._retry_at = "", BACKOFF_S, 0.0
        except StoreError as e:
            self.problem = str(e)
            self._moved = None
            self._retry_at = loop.time() + self._backoff
            self._backoff = min(MOST_BACKOFF_S, self._backoff * 2)
            self._fail(e)
        finally:
            self._connecting = None
        self._flush()

    async def _opened(self, on_message: Callable[[bytes | None], None] | None = None) -> Wire:
        """Return a connection that is ready for commands; raises Unreachable."""
        place = self.place
        try:
            async with asyncio.timeout(place.connect_s):
                if place.kind == "sentinel":
                    return await self._greeted(await self._primary(), on_message)
                hosts = place.hosts if self._moved is None else (self._moved, *place.hosts)
                why: StoreError | None = None
                for host in hosts or (None,):
                    try:
                        return await self._greeted(host, on_message)
                    except StoreError as e:
                        why = why or e
                raise why or Unreachable("the Redis store has no address")
        except TimeoutError:
            raise Unreachable(f"the Redis store at {place} did not answer within {place.connect_s:g} s") from None

    async def _greeted(self, host: tuple[str, int] | None, on_message: Callable[[bytes | None], None] | None) -> Wire:
        place = self.place
        wire = await self._dialled(host, on_message)
        try:
            if place.password:
                await wire.ask("AUTH", *((place.username,) if place.username else ()), place.password)
            if place.db:
                await wire.ask("SELECT", place.db)
            if place.kind != "cluster" and (await self._role(wire)) == b"slave":
                raise Unreachable("the Redis store cannot be used: it is a read-only replica")
        except BaseException as e:
            wire.lose(Unreachable("the Redis store could not be greeted"))
            if isinstance(e, StoreError):
                raise Unreachable(f"{e} ({place})") from None
            raise
        return wire

    async def _role(self, wire: Wire) -> Any:
        try:
            return (await wire.ask("ROLE"))[0]
        except Unreachable as e:
            if "ACL" in str(e):  # a user who may not ask: its first write will say so
                return None
            raise
        except StoreError:
            return None

    async def _dialled(self, host: tuple[str, int] | None, on_message: Callable[[bytes | None], None] | None) -> Wire:
        place, loop = self.place, asyncio.get_running_loop()

        def made() -> Wire:
            return Wire(place.command_s, on_message)

        try:
            if host is None:
                return (await loop.create_unix_connection(made, place.path))[1]
            tls = ssl.create_default_context(cafile=place.ca) if place.tls else None
            return (await loop.create_connection(made, *host, ssl=tls))[1]
        except OSError as e:
            why = "no answer" if isinstance(e, TimeoutError) else e.strerror or str(e)
            raise Unreachable(f"the Redis store at {place} cannot be reached: {why}") from None

    async def _primary(self) -> tuple[str, int]:
        """Return where the sentinels say that the primary is."""
        why = "no sentinel answers"
        for host in self.place.hosts:
            try:
                wire = await self._dialled(host, None)
            except Unreachable:
                continue
            try:
                found = await wire.ask("SENTINEL", "get-master-addr-by-name", self.place.master)
            except StoreError as e:
                why = str(e)
                continue
            finally:
                wire.lose(Unreachable("asked"))
            if found:
                return found[0].decode(), int(found[1])
            why = f"no sentinel knows {self.place.master}"
        raise Unreachable(f"the Redis store at {self.place} cannot be reached: {why}")


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
        loop.close()

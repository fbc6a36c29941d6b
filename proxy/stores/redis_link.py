"""A link to a Redis or Valkey store, for everything that is kept there. It reconnects by itself; redis-py dials.

How to use it, on the event loop (`RedisLink`) or anywhere else (`redis_blocking.BlockingLink`, the same without `await`):

    link.key("kills")                                     # "{tenant}:kills": every key of ours is made like this
    await link.call("HSET", link.key("kills"), "a", "…")  # one command
    await link.run(SCRIPT, [link.key("kills")], ["…"])    # one Lua script (a `Script`, made once): atomic, loaded when needed
    link.submit(asked)                                    # something that is packed when it is sent, and answered (`Asked`)

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
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import hiredis

from proxy.engine.ports import StoreError
from proxy.stores.faults import AWAY, Lost, Moved, Unreachable, fault
from proxy.stores.redis_dial import dialled
from proxy.stores.redis_place import Address, Place
from proxy.stores.redis_wire import Refusal, Wire

BACKOFF_S, MOST_BACKOFF_S = 0.05, 1.0
MOST_WAITING = 20_000
"""Commands that wait for a connection; more fail at once."""
MOST_AT_ONCE = 100
"""Commands in one round trip, which must be answered within `command_s`: what comes behind them waits for their answers. One of them may be
dozens of verbs of budgets, each some 50 µs of the server's time."""
_LUA = Path(__file__).parent / "lua"

Word = str | bytes | int | float


class Script:
    """A Lua script: its text and its SHA-1, by which servers know it."""

    __slots__ = ("sha", "text")

    def __init__(self, text: str) -> None:
        self.text, self.sha = text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

    @classmethod
    def of(cls, *names: str) -> Script:
        """Return the script in `lua/NAME.lua`, of several one behind the other."""
        return cls("\n".join([(_LUA / f"{name}.lua").read_text("utf-8") for name in names]))


class Asked(Protocol):
    """One command for the server, and who waits for its answer."""

    def live(self) -> bool:
        """Say whether anybody still waits. What nobody waits for is not sent."""
        ...

    def packed(self, *, whole: bool = False) -> bytes:
        """Return the command as it is sent; with the whole script in it where the server does not know that."""
        ...

    def answer(self, found: Any) -> None:
        """Hand the answer, or why there is none (a `StoreError` or `Refusal`), to who waits."""
        ...


class _Command:
    """One command as it is sent, who waits for the answer, and the same with the whole script in case the server does not know it."""

    __slots__ = ("future", "sent", "whole")

    def __init__(self, sent: bytes, whole: Sequence[Word] | None, future: asyncio.Future[Any]) -> None:
        self.sent, self.whole, self.future = sent, whole, future

    def live(self) -> bool:
        return not self.future.done()

    def packed(self, *, whole: bool = False) -> bytes:
        return self.sent if self.whole is None or not whole else packed(self.whole)

    def answer(self, found: Any) -> None:
        tell(self.future, found)


class RedisLink:
    """See the module. For one loop at a time; it connects when it is first used."""

    def __init__(self, place: Place) -> None:
        self.place, self.key = place, place.key
        self.problem = ""
        self.round_trips = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wire: Wire | None = None
        self._out: list[Asked] = []
        self._under_way: Sequence[Asked] = ()
        self._unknown: Sequence[int] = ()
        self._found: list[Any] = []
        self._due = self._closed = False
        self._dialling: asyncio.Task[None] | None = None
        self._deadline = 0.0
        self._watch: asyncio.TimerHandle | None = None
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
        if here and (self._out or self._under_way or self._dialling is not None):
            try:
                await self.call("PING")  # answered after all that is in front of it
            except StoreError:
                pass
        self._closed = True
        if here and self._dialling is not None:
            self._dialling.cancel()
        if here:
            self._drop()

    # --- submitting -------------------------------------------------------------------------------------------------------------

    def here(self) -> asyncio.AbstractEventLoop:
        """Return the running loop, which the link is for from now on; raises StoreError once it is closed."""
        if self._closed:
            raise StoreError("the Redis store is closed")
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop, self._wire, self._dialling, self._watch, self._due = loop, None, None, None, False
            self._out, self._under_way, self._unknown, self._found = [], (), (), []
        return loop

    @property
    def last(self) -> Asked | None:
        """What was submitted last, if it was not sent yet."""
        return self._out[-1] if self._out else None

    def submit(self, asked: Asked) -> None:
        """Have `asked` sent behind what was submitted before. Raises Unreachable where too much waits; see `here`."""
        if len(self._out) >= MOST_WAITING:
            raise Unreachable("the Redis store is too far behind")
        self._out.append(asked)
        if not self._due and not self._under_way and self._dialling is None and self._loop is not None:
            self._due = True
            self._loop.call_soon(self._flush)

    async def _ask(self, words: Sequence[Word], whole: Sequence[Word] | None, again: bool) -> Any:
        try:
            return await self._one(words, whole)
        except Moved:
            pass
        except Lost:
            if not again:
                raise
        return await self._one(words, whole)

    def _one(self, words: Sequence[Word], whole: Sequence[Word] | None) -> asyncio.Future[Any]:
        future = self.here().create_future()
        self.submit(_Command(packed(words), whole, future))
        return future

    # --- sending ----------------------------------------------------------------------------------------------------------------

    def _flush(self) -> None:
        """Send what was submitted in this turn of the loop; what comes while its answers are awaited goes out behind them."""
        self._due = False
        loop = self._loop
        if loop is None or self._under_way or self._dialling is not None or not self._out:
            return
        if self._wire is not None:
            self._send(self._wire, loop)
        elif loop.time() < self._retry_at:
            self._refuse(Unreachable(self.problem or "the Redis store cannot be reached"))
        else:
            self._dialling = loop.create_task(self._dial(loop))

    def _send(self, wire: Wire, loop: asyncio.AbstractEventLoop) -> None:
        while self._out and not self._under_way:
            batch, self._out = self._out[:MOST_AT_ONCE], self._out[MOST_AT_ONCE:]
            self._under_way = [asked for asked in batch if asked.live()]
        if self._under_way:
            self._talk(wire, loop, [asked.packed() for asked in self._under_way])

    def _talk(self, wire: Wire, loop: asyncio.AbstractEventLoop, packets: Sequence[bytes]) -> None:
        self.round_trips += 1
        self._deadline = loop.time() + self.place.command_s
        if self._watch is None:
            self._watch = loop.call_at(self._deadline, self._overdue)
        wire.send(b"".join(packets), len(packets))

    def answered(self, found: list[Any]) -> None:
        """See `Owner.answered`."""
        if self._unknown:
            for i, one in zip(self._unknown, found, strict=True):
                self._found[i] = one
            found, self._unknown, self._found = self._found, (), []
        else:
            self._unknown = [i for i, one in enumerate(found) if type(one) is Refusal and str(one).startswith("NOSCRIPT")]
            if self._unknown and self._wire is not None and self._loop is not None:
                self._found = found
                self._talk(self._wire, self._loop, [self._under_way[i].packed(whole=True) for i in self._unknown])
                return
        batch, self._under_way = self._under_way, ()
        for asked, one in zip(batch, found, strict=True):
            asked.answer(one)
            if type(one) is Refusal:
                self._heed(str(one))
        self._flush()

    def _heed(self, refusal: str) -> None:
        """Leave a server that says that it is the wrong one."""
        word, _, rest = refusal.partition(" ")
        if word == "MOVED":
            host, _, port = rest.rpartition(" ")[2].rpartition(":")
            self._moved = (host or self.place.hosts[0][0], int(port)) if port.isdecimal() else None
        if word == "MOVED" or word in AWAY:
            self._drop()

    def _overdue(self) -> None:
        """Fail what is under way if its time is over; else look again when it is."""
        self._watch = None
        if not self._under_way or self._loop is None:
            return
        if self._loop.time() < self._deadline:
            self._watch = self._loop.call_at(self._deadline, self._overdue)
        else:
            self._fail(Unreachable(f"the Redis store did not answer within {self.place.command_s:g} s"))

    def ended(self, wire: Wire) -> None:
        """See `Owner.ended`."""
        if wire is self._wire:
            self._fail(Lost("the connection to the Redis store ended"))

    def _fail(self, why: StoreError) -> None:
        """Fail what is under way, and go on with the rest on another connection."""
        self._drop()
        batch, self._under_way, self._unknown, self._found = self._under_way, (), (), []
        for asked in batch:
            asked.answer(why)
        self._flush()

    def _refuse(self, why: StoreError) -> None:
        """Fail what waits to be sent."""
        waiting, self._out = self._out, []
        for asked in waiting:
            asked.answer(why)

    # --- connecting -------------------------------------------------------------------------------------------------------------

    async def _dial(self, loop: asyncio.AbstractEventLoop) -> None:
        """Connect and send what waits, or fail it."""
        try:
            self._wire = Wire(await dialled(self.place, self._moved), self)
        except StoreError as e:
            self.problem, self._moved = str(e), None
            self._retry_at = loop.time() + self._backoff
            self._backoff = min(MOST_BACKOFF_S, self._backoff * 2)
            self._dialling = None
            self._refuse(e)
        except BaseException:
            self._dialling = None
            self._refuse(Lost("the connection to the Redis store ended"))
            raise
        else:
            self.problem, self._backoff, self._retry_at, self._dialling = "", BACKOFF_S, 0.0, None
            self._flush()

    def _drop(self) -> None:
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.close()


def packed(words: Sequence[Word]) -> bytes:
    """Return a command as it is sent. Raises StoreError for a word that is no text."""
    try:
        sent: bytes = hiredis.pack_command(tuple(words))  # type: ignore[arg-type]  # its stub means tuples of any length
    except UnicodeEncodeError:
        raise StoreError("a name that is not text cannot be kept in the Redis store") from None
    return sent


def tell(future: asyncio.Future[Any], found: Any) -> None:
    """Hand an answer, or why there is none, to who waits for `future`."""
    if future.done():
        return
    if isinstance(found, Refusal):
        future.set_exception(fault(str(found)))
    elif isinstance(found, StoreError):
        future.set_exception(type(found)(*found.args))
    else:
        future.set_result(found)

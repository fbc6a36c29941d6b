"""One connection to a Redis server: commands out, answers in, in order.

Everything that is sent in one go arrives in one packet and is answered in one, so a busy loop pays one round trip for many commands.
A script that the server does not know (it was restarted, it failed over, somebody flushed it) is sent whole, in its place in the order.

How it fails: when the connection ends, when an answer is overdue or is no Redis protocol, everybody who waits on it gets an
`Unreachable`, and the connection is of no use any more.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, cast

import hiredis

from proxy.stores.faults import AWAY, Lost, Unreachable, fault

Future = asyncio.Future[Any]
Word = str | bytes | int | float


class Command:
    """One command: its bytes, who waits for the answer, and the same with the whole script in case the server does not know it."""

    __slots__ = ("data", "future", "whole")

    def __init__(self, words: Sequence[Word], future: Future, whole: Sequence[Word] | None = None) -> None:
        self.data: bytes = hiredis.pack_command((*words,))  # type: ignore[arg-type]  # its stub means any length
        self.future, self.whole = future, whole


class Wire(asyncio.Protocol):
    """See the module.

    Args:
        command_s: how long an answer may take.
        on_message: gets what is published on channels that were subscribed to, and None when the connection has ended.
    """

    def __init__(self, command_s: float, on_message: Callable[[bytes | None], None] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._command_s, self._on_message = command_s, on_message
        self._reader = hiredis.Reader()
        self._waiting: deque[tuple[float, Command]] = deque()
        self._transport: asyncio.Transport | None = None
        self._watch: asyncio.TimerHandle | None = None
        self.alive = False
        self.moved: tuple[str, int] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport, self.alive = cast("asyncio.Transport", transport), True  # uvloop's are none by descent

    def send(self, commands: Sequence[Command]) -> None:
        """Send `commands` in one go. The connection must be alive."""
        assert self._transport is not None  # noqa: S101 - it is alive
        now = self._loop.time()
        self._waiting.extend([(now, command) for command in commands])
        self._transport.write(b"".join([command.data for command in commands]))
        if self._watch is None:
            self._watch = self._loop.call_later(self._command_s, self._look)

    async def ask(self, *words: Word) -> Any:
        """Send one command and return its answer; raises StoreError."""
        if not self.alive:
            raise Lost("the connection to the Redis store ended")
        future = self._loop.create_future()
        self.send([Command(words, future)])
        return await future

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self._reader.feed(data)
        try:
            while (reply := self._reader.gets()) is not False:
                self._answer(reply)
        except hiredis.ProtocolError as e:
            self.lose(Unreachable(f"the Redis store does not speak its protocol: {e}"))

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self.lose(Lost("the connection to the Redis store ended"))

    def lose(self, why: Unreachable) -> None:
        """Give the connection up: all who wait get `why`."""
        if self.alive and self._on_message is not None:
            self._on_message(None)
        self.alive = False
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        if self._transport is not None:
            self._transport.abort()
        waiting, self._waiting = self._waiting, deque()
        for _, command in waiting:
            if not command.future.done():
                command.future.set_exception(type(why)(*why.args))

    def _answer(self, reply: Any) -> None:
        if self._on_message is not None and isinstance(reply, list) and reply[:1] == [b"message"]:
            self._on_message(reply[2])
            return
        if not self._waiting:  # nobody asked: a connection that says such things is none of ours
            raise hiredis.ProtocolError("an answer that nobody asked for")
        _, command = self._waiting.popleft()
        if isinstance(reply, hiredis.ReplyError):
            self._refused(command, str(reply))
        elif not command.future.done():
            command.future.set_result(reply)

    def _refused(self, command: Command, text: str) -> None:
        if text.startswith("NOSCRIPT") and command.whole is not None:
            self.send([Command(command.whole, command.future)])
            return
        if not command.future.done():
            command.future.set_exception(fault(text))
        word, _, rest = text.partition(" ")
        if word == "MOVED":
            host, _, port = rest.rpartition(" ")[2].rpartition(":")
            self.moved = (host.strip("[]"), int(port))
        if word == "MOVED" or word in AWAY:
            self.lose(Lost("the Redis store is another server now") if word != "NOAUTH" else Unreachable(str(fault(text))))

    def _look(self) -> None:
        """Give up when the oldest answer is overdue."""
        self._watch = None
        if not self._waiting:
            return
        left = self._waiting[0][0] + self._command_s - self._loop.time()
        if left <= 0:
            self.lose(Unreachable(f"the Redis store did not answer within {self._command_s:g} s"))
        else:
            self._watch = self._loop.call_later(left, self._look)

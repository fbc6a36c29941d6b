"""Webhooks: tell an address of the operator's what happens, signed, off the path of every exchange.

`Webhooks.tell` never blocks and never raises: a notice goes into a bounded queue for each hook that wants it (the oldest is lost when one
is full), and one task for each hook with something in its queue sends them in order. What comes again within a while, of one kind and one
key, is told once. Delivery is tried a few times, then given up; a receiver that saw a notice twice knows it by its id.

URLs come from the configuration alone, redirects are not followed and answers are not read. Fails by losing notices, each counted and each
but those that came again in the log; a hook that hangs keeps nobody waiting but its own queue.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
from collections import OrderedDict, deque
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, Literal
from urllib.parse import urlsplit

import aiohttp

from proxy import __version__
from proxy.engine.exchange import new_id
from proxy.engine.notice import Notice
from proxy.engine.ports import Clock
from proxy.wire.jsonio import dumps

log = logging.getLogger("fleetgate.webhook")

SIGNATURE = "x-fleetgate-signature"
MOST_WAITING = 100
"""Notices that wait for one hook."""
MOST_SEEN = 1000
AGAIN_S = 300.0
"""Two notices of one kind and key within this time are told once."""
DELAYS_S = (0.5, 2.0, 8.0)
"""The waits before a notice is tried again."""
FLUSH_S = 4.0
"""How long what waits may take at shutdown."""
MAX_TEXT = 2000
MAX_FACTS = 32 << 10
AGAIN = frozenset({408, 425, 429})
"""Statuses below 500 with which trying again can help."""

Outcome = Literal["delivered", "failed", "dropped", "repeated"]


@dataclass(frozen=True, slots=True)
class Hook:
    """Whom to tell: `url` (http or https) may be a secret itself and is never shown; `secret` signs, empty for no signature."""

    url: str = field(repr=False)
    secret: bytes = field(repr=False)
    events: frozenset[str]
    format: Literal["json", "slack"] = "json"
    timeout_s: float = 5.0

    @property
    def shown(self) -> str:
        """Where it is, without what may be secret."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What senders need: `spawn` runs work that somebody waits for at the end, `count` takes what became of a notice."""

    spawn: Callable[[Coroutine[Any, Any, None]], None]
    clock: Clock
    count: Callable[[Outcome], None]
    delays_s: Sequence[float] = DELAYS_S


class Webhooks:
    """See the module. Belongs to one loop, on which all of its methods are called."""

    def __init__(self, at: Surroundings) -> None:
        self._at = at
        self._senders: dict[Hook, Sender] = {}
        self._seen: OrderedDict[tuple[str, str], int] = OrderedDict()
        self._hurried = False

    def use(self, hooks: Iterable[Hook]) -> None:
        """Tell these from now on; one that is gone still gets what waits for it."""
        self._senders = {hook: self._senders.get(hook) or Sender(hook, self._at) for hook in hooks}

    def tell(self, notice: Notice) -> None:
        """Take `notice` for all hooks that want its kind."""
        wanted = [sender for hook, sender in self._senders.items() if notice.kind in hook.events]
        if not wanted:
            return
        if self._told(notice):
            self._at.count("repeated")
            return
        now = self._at.clock.now()
        id = new_id(now)
        for sender in wanted:
            sender.put(id, notice, notice.time or now)

    def hurry(self) -> None:
        """Prepare to stop: send what waits, without waiting long for anything."""
        for sender in self._senders.values():
            sender.hurry()

    def _told(self, notice: Notice) -> bool:
        now, which = self._at.clock.ns(), (notice.kind, notice.key)
        last = self._seen.get(which)
        if last is not None and now - last < AGAIN_S * 1e9:
            return True
        self._seen[which] = now
        self._seen.move_to_end(which)
        if len(self._seen) > MOST_SEEN:
            self._seen.popitem(last=False)
        return False


class Sender:
    """One hook, its queue, and the task that empties it while there is something in it."""

    def __init__(self, hook: Hook, at: Surroundings) -> None:
        self.hook, self._at = hook, at
        self._queue: deque[tuple[str, bytes]] = deque()
        self._sent: tuple[str, bytes] | None = None
        self._working = False
        self._hurry = asyncio.Event()
        self._scope: asyncio.Timeout | None = None
        self._until: float | None = None

    def put(self, id: str, notice: Notice, time: float) -> None:
        """Queue `notice`, which happened at `time`, under `id`."""
        if len(self._queue) >= MOST_WAITING:
            self._lost(self._queue.popleft()[0], "dropped", "too many wait")
        self._queue.append((id, slack_body(notice) if self.hook.format == "slack" else json_body(id, notice, time)))
        if not self._working:
            self._working = True
            self._at.spawn(self._work())

    def hurry(self) -> None:
        """Give what waits `FLUSH_S` more seconds, and no pause between tries."""
        self._hurry.set()
        self._until = asyncio.get_running_loop().time() + FLUSH_S
        if self._scope is not None:
            self._scope.reschedule(self._until)

    async def _work(self) -> None:
        self._scope = scope = asyncio.timeout_at(self._until)
        try:
            async with scope, self._session() as session:
                while self._queue:
                    self._sent = id, body = self._queue.popleft()
                    why = await self._deliver(session, body)
                    self._sent = None
                    if why:
                        self._lost(id, "failed", why)
                    else:
                        self._at.count("delivered")
                self._working = False  # before anything else is awaited, so that no notice is left behind
        except TimeoutError:
            for id, _ in (*filter(None, (self._sent,)), *self._queue):
                self._lost(id, "dropped", "the process ends")
            self._queue.clear()
            self._working = False
        except BaseException:
            self._working = False
            raise
        finally:
            self._scope = None if self._scope is scope else self._scope

    def _session(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=1, force_close=True),
            timeout=aiohttp.ClientTimeout(total=self.hook.timeout_s),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
        )

    async def _deliver(self, session: aiohttp.ClientSession, body: bytes) -> str:
        """Send `body`, several times if need be; return why it could not be delivered, empty when it was."""
        why = ""
        for delay in (*self._at.delays_s, None):
            why, again = await self._post(session, body)
            if not why or not again or delay is None or self._hurry.is_set():
                break
            with suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await self._hurry.wait()
        return why

    async def _post(self, session: aiohttp.ClientSession, body: bytes) -> tuple[str, bool]:
        """Send once; return why it was not taken, and whether trying again can help."""
        headers = {"content-type": "application/json", "user-agent": f"fleetgate/{__version__}"}
        if self.hook.secret:
            headers[SIGNATURE] = sign(self.hook.secret, body, int(self._at.clock.now()))
        try:
            async with session.post(self.hook.url, data=body, headers=headers, allow_redirects=False) as reply:
                status = reply.status
        except TimeoutError:
            return f"no answer within {self.hook.timeout_s:g} s", True
        except (aiohttp.ClientError, OSError, ValueError) as e:
            return type(e).__name__, True  # its text may hold the URL
        if 200 <= status < 300:
            return "", False
        return f"status {status}{', and redirects are not followed' if 300 <= status < 400 else ''}", status >= 500 or status in AGAIN

    def _lost(self, id: str, outcome: Outcome, why: str) -> None:
        self._at.count(outcome)
        log.warning("webhook %s: notice %s %s: %s", self.hook.shown, id, outcome, why)


def sign(secret: bytes, body: bytes, now: int) -> str:
    """Return the value of `x-fleetgate-signature` for `body` sent at `now` (whole UTC seconds)."""
    digest = hmac.new(secret, b"%d." % now + body, hashlib.sha256).hexdigest()
    return f"t={now},v1={digest}"


def json_body(id: str, notice: Notice, time: float) -> bytes:
    """Return what a hook of format `json` gets; facts beyond `MAX_FACTS` bytes are left out, and `truncated` says so.

    A number that JSON has no word for is null.
    """
    facts = {name: None if isinstance(value, float) and not isfinite(value) else value for name, value in notice.facts.items()}
    shown = {"id": id, "kind": notice.kind, "text": notice.text[:MAX_TEXT], "time": time, "facts": facts}
    body = dumps(shown)
    return body if len(body) <= MAX_FACTS else dumps({**shown, "facts": {"truncated": True}})


def slack_body(notice: Notice) -> bytes:
    """Return what a hook of format `slack` gets.

    No address but the notice's own link becomes a link, and Slack does not open that one itself to show what is there.

    Source: docs.slack.dev, "Sending messages using incoming webhooks", "Formatting message text" (`&`, `<`, `>` are control characters) and
    "Unfurling links in messages".
    """
    before, link, after = notice.text[:MAX_TEXT].rpartition(str(notice.facts.get("link") or "\0"))
    text = f"[fleetgate {notice.kind}] {before.replace('://', ':_//')}{link}{after.replace('://', ':_//')}"
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return dumps({"text": text, "unfurl_links": False, "unfurl_media": False})

"""An issuer at work: its key document, fetched in the background, and the tokens that were checked with it.

`KeySource` keeps the document: it is fetched again every `refresh_s`, sooner after a failure, and once out of turn when a token names a key
that is not in it, at most every `AGAIN_S` and once for all who wait. A document that cannot be fetched again is used for `stale_s` and
then not: nobody could revoke a key any more. `TokenRing` answers who a token proves. One that was checked is remembered by its SHA-256, so
that it costs one signature; it is forgotten when it ends, and when its key leaves the document.

How it fails: without a document that may be used nobody is let in, with `store_unavailable`, as trying again may help. A server of keys
that hangs costs whoever names an unknown key `WAIT_S`, and nobody else anything.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from proxy.engine.ports import Clock
from proxy.identity.keyset import KeySet, KeySetError, read_keys
from proxy.identity.tokens import RULE, Proof, TokenRules, misfit, opened, proven, refused
from proxy.model import Deny, Principal, Reason

log = logging.getLogger("fleetgate.identity")
AGAIN_S = 10.0
"""The least time between two fetches that tokens cause."""
WAIT_S = 2.0
"""The longest that a request waits for a document."""
RETRY_S = (1.0, 2.0, 5.0, 10.0, 30.0)
"""Rests after failures in a row; the last one goes on."""
MOST_TOKENS = 10_000
_S = 1_000_000_000


class FetchError(Exception):
    """The document cannot be had; the message says why, without anything secret."""


@dataclass(frozen=True, slots=True)
class Terms:
    """How often a document is fetched, and how long one may be used that cannot be fetched again; seconds."""

    refresh_s: float = 300.0
    stale_s: float = 3600.0


class KeySource:
    """The key document of one issuer. Belongs to one loop.

    Args:
        fetch: gets the document, with a deadline of its own; raises FetchError. None for a document from a file, given to `put`.
        spawn: runs work that somebody waits for at the end.
    """

    def __init__(
        self,
        fetch: Callable[[], Awaitable[bytes]] | None,
        clock: Clock,
        spawn: Callable[[Coroutine[Any, Any, None]], None],
        terms: Terms = Terms(),
    ) -> None:
        self._fetch, self._clock, self._spawn, self.terms = fetch, clock, spawn, terms
        self.keys: KeySet | None = None
        self.problem = ""
        self.errors = 0
        self._failures = 0
        self._raw = b""
        self._got_ns: int | None = None
        self._asked_ns: int | None = None
        self._going: asyncio.Event | None = None

    def put(self, keys: KeySet) -> None:
        """Use `keys`, of a file: they never grow stale."""
        self.keys = keys

    def take_over(self, old: KeySource) -> None:
        """Go on with what `old` fetched from the same address, which is no younger for that; the next fetch is due at once."""
        self.keys, self._raw, self._got_ns, self.errors = old.keys, old._raw, old._got_ns, old.errors

    @property
    def age_s(self) -> float | None:
        """How old the document is, None without one or where it is a file's."""
        return None if self._got_ns is None else (self._clock.ns() - self._got_ns) / _S

    @property
    def usable(self) -> bool:
        """Whether there is a document that may still be used."""
        if self.keys is None:
            return False
        got = self._got_ns
        return got is None or self._clock.ns() - got <= self.terms.stale_s * _S

    @property
    def due(self) -> bool:
        """Whether it is time to fetch."""
        if self._fetch is None or self._going is not None:
            return False
        if self._asked_ns is None:
            return True
        rest = RETRY_S[min(self._failures, len(RETRY_S)) - 1] if self._failures else self.terms.refresh_s
        return self._clock.ns() - self._asked_ns >= rest * _S

    def begin(self) -> None:
        """Fetch in the background, if nobody does."""
        if self._fetch is not None and self._going is None:
            self._going, self._asked_ns = asyncio.Event(), self._clock.ns()
            self._spawn(self._work(self._fetch, self._going))

    async def again(self) -> None:
        """Wait for a fetch that is under way, or begin one if that is not too soon; `WAIT_S` at most."""
        if self._going is None and (self._asked_ns is None or self._clock.ns() - self._asked_ns >= AGAIN_S * _S):
            self.begin()
        if self._going is not None:
            try:
                async with asyncio.timeout(WAIT_S):
                    await self._going.wait()
            except TimeoutError:
                pass

    async def _work(self, fetch: Callable[[], Awaitable[bytes]], going: asyncio.Event) -> None:
        try:
            raw = await fetch()
            if raw != self._raw:
                self.keys, self._raw = read_keys(raw), raw
                self._say(self.keys)
        except (FetchError, KeySetError) as e:
            self.errors, self._failures, self.problem = self.errors + 1, self._failures + 1, str(e)
            log.error("the key document of %s cannot be used: %s", RULE, e)
        else:
            self._got_ns, self._failures, self.problem = self._clock.ns(), 0, ""
        finally:
            self._going = None
            going.set()

    def _say(self, keys: KeySet) -> None:
        count, why = keys.left_out
        log.info("the key document of %s has %d keys%s", RULE, len(keys.keys), f", {count} left out ({why})" if count else "")


class TokenRing:
    """Says whom a token proves. One for each set of rules; the source may outlive it."""

    def __init__(self, rules: TokenRules, source: KeySource) -> None:
        self.rules, self.source = rules, source
        self._salt = hashlib.sha256(rules.issuer.encode())
        self._seen: KeySet | None = None
        self._proofs: OrderedDict[bytes, Proof] = OrderedDict()

    def __len__(self) -> int:
        return len(self._proofs)

    async def prove(self, token: str, now: float) -> Principal | Deny:
        """Return whom `token` proves at `now` (UTC seconds), or why it proves nobody."""
        source = self.source
        if (deny := misfit(token, self.rules)) is not None:
            return deny
        if not source.usable:
            head = opened(token, self.rules)
            if isinstance(head, Deny):
                return head
            await source.again()
            if not source.usable:
                return _unusable()
        if source.keys is not self._seen:
            self._keep(source.keys)
        digest = self._digest(token)
        proof = self._proofs.get(digest)
        if proof is None:
            return await self._check(token, digest, now)
        self._proofs.move_to_end(digest)
        if now >= proof.ends:
            del self._proofs[digest]
            return refused("The token has expired.", f"Get a new token from {self.rules.issuer}.")
        return proof.principal

    async def _check(self, token: str, digest: bytes, now: float) -> Principal | Deny:
        """Check a token that is not remembered."""
        head = opened(token, self.rules)
        if isinstance(head, Deny):
            return head
        keys = self.source.keys
        key = keys.find(head.kid) if keys is not None else None
        if key is None and head.kid is not None:
            await self.source.again()
            keys = self.source.keys if self.source.usable else None
            key = keys.find(head.kid) if keys is not None else None
        if key is None:
            said = "names no key, and the issuer has several" if head.kid is None else "names a key that its issuer does not have"
            return refused(f"The token {said}.", f"Get a new token from {self.rules.issuer}.")
        proof = proven(token, head, key, self.rules, now)
        if isinstance(proof, Deny):
            return proof
        if keys is self._seen:  # else the document changed while we waited: the next look checks again
            self._proofs[digest] = proof
            if len(self._proofs) > MOST_TOKENS:
                self._proofs.popitem(last=False)
        return proof.principal

    def _keep(self, keys: KeySet | None) -> None:
        """Forget the tokens whose keys left the document."""
        ids = {key.id for key in keys.keys} if keys is not None else set()
        self._proofs = OrderedDict((digest, proof) for digest, proof in self._proofs.items() if proof.key in ids)
        self._seen = keys

    def _digest(self, token: str) -> bytes:
        salted = self._salt.copy()
        salted.update(token.encode())
        return salted.digest()


def _unusable() -> Deny:
    message = "The keys of the tokens' issuer cannot be had, so no token can be checked."
    return Deny(Reason.STORE_UNAVAILABLE, message, RULE, "Try again; operators find why in /readyz and the log.", retry_after_s=5)

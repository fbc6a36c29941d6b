"""The identity provider's side of the house: builds what checks tokens from the settings, and keeps its key document fresh.

What was fetched, and which tokens were checked, outlives an edit of other settings; another issuer or another address begins anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from proxy.app.build import Files
from proxy.engine.ports import Clock
from proxy.identity.issuer import FetchError, KeySource, Terms, TokenRing
from proxy.identity.keyset import KeySetError, read_keys
from proxy.identity.mapping import AgentMap
from proxy.identity.tokens import TokenRules
from proxy.settings.jwt import Jwt
from proxy.upstream.jwks import JwksEndpoint


class Tokens:
    """Checks tokens for the house. `ring` is what the current snapshot uses, None where tokens do not count."""

    def __init__(self, clock: Clock, spawn: Callable[[Coroutine[Any, Any, None]], None]) -> None:
        self._clock, self._spawn = clock, spawn
        self.ring: TokenRing | None = None
        self._settings: Jwt | None = None
        self._also_keys = False

    def build(self, files: Files) -> TokenRing | None:
        """Return what checks tokens by `files`, with all that is still good of what is there; nothing changes yet."""
        auth, old = files.settings.auth, self.ring
        jwt = auth.jwt if auth.mode == "jwt" else None
        if jwt is None:
            return None
        if old is not None and jwt == self._settings and files.keyset is None:
            return old
        rules = TokenRules(
            jwt.issuer,
            frozenset(jwt.audience),
            frozenset(jwt.algorithms),
            jwt.agent_claim,
            AgentMap(jwt.map, jwt.fleet_claims),
            jwt.leeway_s,
        )
        if old is not None and self._settings is not None and files.keyset is None and _place(jwt) == _place(self._settings):
            return TokenRing(rules, old.source)
        source = self._source(jwt, files)
        if old is not None and self._settings is not None and jwt.jwks_url is not None and jwt.jwks_url == self._settings.jwks_url:
            source.take_over(old.source)  # its own token is renewed every hour, and nobody is to wait for that
        return TokenRing(rules, source)

    def use(self, files: Files, ring: TokenRing | None) -> None:
        """Take what `build` made of `files` into use."""
        auth = files.settings.auth
        self.ring, self._settings, self._also_keys = ring, auth.jwt, auth.also_keys

    def _source(self, jwt: Jwt, files: Files) -> KeySource:
        terms = Terms(jwt.refresh_s, jwt.stale_s)
        if jwt.jwks_url is None:
            source = KeySource(None, self._clock, self._spawn, terms)
            if files.keyset is not None:
                source.put(files.keyset)
            return source
        return KeySource(_endpoint(jwt, jwt.jwks_url).fetch, self._clock, self._spawn, terms)

    def refresh(self) -> None:
        """Begin to fetch the key document, if it is time to."""
        if self.ring is not None and self.ring.source.due:
            self.ring.source.begin()

    @property
    def down(self) -> bool:
        """Whether nobody can be let in because no token can be checked."""
        return self.ring is not None and not self.ring.source.usable and not self._also_keys

    def state(self) -> Mapping[str, Any]:
        """Return what operators want to know: whether tokens can be checked, how old the keys are, what went wrong last."""
        if self.ring is None:
            return {"state": "off"}
        source = self.ring.source
        age, keys = source.age_s, source.keys
        return {
            "state": "down" if not source.usable else "stale" if source.problem else "ok",
            "keys": len(keys.keys) if keys is not None else 0,
            "left_out": keys.left_out[0] if keys is not None else 0,
            "age_s": None if age is None else round(age, 1),
            "error": source.problem,
        }

    def numbers(self) -> tuple[float | None, int]:
        """Return the age of the key document in seconds, None without one, and how often it could not be fetched."""
        return (None, 0) if self.ring is None else (self.ring.source.age_s, self.ring.source.errors)


def unfetched(jwt: Jwt | None) -> list[str]:
    """Return what keeps the key document of `jwt` from being used, in words; for `fleetgate check`."""
    if jwt is None or jwt.jwks_url is None:
        return []
    try:
        count, why = read_keys(asyncio.run(_endpoint(jwt, jwt.jwks_url).fetch())).left_out
    except (FetchError, KeySetError) as e:
        return [f"auth.jwt.jwks_url: {e}: while that lasts no token can be checked, and a server that starts is not ready"]
    return [f"auth.jwt.jwks_url: {count} of the keys there cannot be used ({why})"] if count else []


def _endpoint(jwt: Jwt, url: str) -> JwksEndpoint:
    return JwksEndpoint(url, jwt.jwks_ca, jwt.jwks_token.reveal() if jwt.jwks_token is not None else "")


def _place(jwt: Jwt) -> tuple[object, ...]:
    return jwt.jwks_url, jwt.jwks_ca, jwt.jwks_token, jwt.refresh_s, jwt.stale_s

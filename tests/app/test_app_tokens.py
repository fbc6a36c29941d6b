"""What of an issuer outlives an edit, what operators see of it, and what `check` says."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Coroutine
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any, cast

from issuing import AUDIENCE, ISSUER, NOW, RSA, claims, document, jwk, signed

from proxy.app.build import Files
from proxy.app.tokens import Tokens, unfetched
from proxy.identity.issuer import TokenRing
from proxy.identity.keyset import KeySet, read_keys
from proxy.model import Principal
from proxy.settings.jwt import Jwt
from proxy.settings.kinds import Secret
from proxy.settings.sections import Auth

SAID = Jwt(issuer=ISSUER, audience=(AUDIENCE,), jwks_url="http://127.0.0.1:1/k")


class Clock:
    """Stands, until it is moved."""

    at = 0.0

    def now(self) -> float:
        return NOW + self.at

    def ns(self) -> int:
        return int(self.at * 1e9)


def files(auth: Auth, keyset: KeySet | None = None) -> Files:
    return cast(Files, SimpleNamespace(settings=SimpleNamespace(auth=auth), keyset=keyset))


def use(tokens: Tokens, jwt: Jwt | None, also_keys: bool = False, keyset: KeySet | None = None) -> TokenRing | None:
    found = files(Auth(mode="jwt" if jwt is not None else "keys", jwt=jwt, also_keys=also_keys), keyset)
    ring = tokens.build(found)
    tokens.use(found, ring)
    return ring


def test_an_edit_elsewhere_keeps_keys_and_tokens_and_another_issuer_none() -> None:
    tokens = Tokens(Clock(), lambda work: work.close())
    ring = use(tokens, SAID)
    assert ring is not None
    assert use(tokens, dataclasses.replace(SAID)) is ring
    mapped = use(tokens, dataclasses.replace(SAID, map=(("a", "b"),)))
    assert mapped is not None
    assert mapped is not ring
    assert mapped.source is ring.source
    moved = use(tokens, dataclasses.replace(SAID, jwks_url="http://127.0.0.1:2/k"))
    assert moved is not None
    assert moved.source is not ring.source
    assert use(tokens, None) is None
    assert tokens.state() == {"state": "off"}
    assert tokens.numbers() == (None, 0)
    assert not tokens.down
    tokens.refresh()


def test_operators_see_keys_that_come_and_grow_old() -> None:
    clock, tasks = Clock(), list[asyncio.Future[None]]()

    def spawn(work: Coroutine[Any, Any, None]) -> None:
        tasks.append(asyncio.ensure_future(work))

    async def play() -> None:
        tokens = Tokens(clock, spawn)
        ring = use(tokens, SAID)
        assert ring is not None
        assert tokens.down
        tokens.refresh()
        tokens.refresh()
        await asyncio.gather(*tasks)
        assert len(tasks) == 1
        state = tokens.state()
        assert (state["state"], state["keys"], state["age_s"]) == ("down", 0, None)
        assert state["error"].startswith("it cannot be fetched")
        assert tokens.numbers() == (None, 1)
        use(tokens, SAID, also_keys=True)
        assert not tokens.down

    asyncio.run(play())


def test_a_renewed_token_of_our_own_keeps_the_keys_and_makes_them_no_younger() -> None:
    clock = Clock()

    async def play() -> None:
        tokens = Tokens(clock, lambda work: work.close())
        first = use(tokens, dataclasses.replace(SAID, jwks_token=Secret("a", "file:t")))
        assert first is not None
        first.source.keys, first.source._got_ns = read_keys(document(jwk(RSA, "k1"))), 0
        clock.at = 3000
        second = use(tokens, dataclasses.replace(SAID, jwks_token=Secret("b", "file:t")))
        assert second is not None
        assert second.source is not first.source
        assert second.source.due
        assert isinstance(await second.prove(signed(claims(exp=NOW + 9000)), NOW), Principal)
        clock.at = 3601
        assert tokens.down

    asyncio.run(play())


def test_keys_of_a_file_are_taken_anew_with_each_edit() -> None:
    async def play() -> None:
        tokens, said = Tokens(Clock(), lambda work: work.close()), dataclasses.replace(SAID, jwks_url=None, jwks_file=Path("k"))
        first = use(tokens, said, keyset=read_keys(document(jwk(RSA, "k1"))))
        assert first is not None
        assert isinstance(await first.prove(signed(claims()), NOW), Principal)
        assert tokens.state()["state"] == "ok"
        second = use(tokens, said, keyset=read_keys(document(jwk(RSA, "k2"))))
        assert second is not None
        assert not isinstance(await second.prove(signed(claims()), NOW), Principal)

    asyncio.run(play())


def test_check_fetches_the_document_once() -> None:
    answers = [document(jwk(RSA, "k1")), document(jwk(RSA, "k1"), {"kty": "oct"}), b"<html>"]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = answers.pop(0)
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    said = dataclasses.replace(SAID, jwks_url=f"http://127.0.0.1:{server.server_address[1]}/k")
    try:
        assert unfetched(said) == []
        assert unfetched(said) == ["auth.jwt.jwks_url: 1 of the keys there cannot be used (a symmetric key)"]
        assert unfetched(said)[0].startswith("auth.jwt.jwks_url: it is no JSON, or says something twice: while that lasts")
    finally:
        server.shutdown()
        server.server_close()
    assert unfetched(SAID)[0].startswith("auth.jwt.jwks_url: it cannot be fetched")
    assert unfetched(None) == []

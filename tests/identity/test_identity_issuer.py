"""The key document at work: fetched, exchanged, withdrawn, away; and tokens that cost one signature."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from issuing import AUDIENCE, EC, ISSUER, NOW, OTHER, RSA, claims, document, jwk, signed

from proxy.identity import issuer
from proxy.identity.issuer import AGAIN_S, FetchError, KeySource, Terms, TokenRing
from proxy.identity.keyset import read_keys
from proxy.identity.mapping import AgentMap
from proxy.identity.tokens import TokenRules, proven, token_id
from proxy.model import Deny, Principal, Reason

RULES = TokenRules(ISSUER, frozenset({AUDIENCE}), frozenset({"RS256", "ES256"}), "sub", AgentMap(()), 30.0)
GOOD = signed(claims())
CRAWLER = Principal("crawler", token_id(ISSUER, "crawler"))


class World:
    """A clock, a provider of documents, and the tasks that were spawned."""

    def __init__(self, *keys: dict[str, Any]) -> None:
        self.at, self.fetches = 0.0, 0
        self.answer: bytes | Exception = document(*keys)
        self.hang: asyncio.Event | None = None
        self.tasks: set[asyncio.Task[None]] = set()
        self.source = KeySource(self.fetch, self, self.spawn, Terms(300, 3600))
        self.ring = TokenRing(RULES, self.source)

    def now(self) -> float:
        return NOW + self.at

    def ns(self) -> int:
        return int((self.at + 1000) * 1e9)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self.tasks.add(asyncio.ensure_future(work))

    async def fetch(self) -> bytes:
        self.fetches += 1
        if self.hang is not None:
            await self.hang.wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def refresh(self) -> None:
        assert self.source.due
        self.source.begin()
        await asyncio.gather(*self.tasks)

    async def prove(self, token: str = GOOD) -> Principal | Deny:
        return await self.ring.prove(token, self.now())


def run(play: Callable[[World], Coroutine[Any, Any, None]], *keys: dict[str, Any]) -> None:
    async def whole() -> None:
        world = World(*(keys or (jwk(RSA, "k1"),)))
        await play(world)
        if world.hang is not None:
            world.hang.set()
        await asyncio.gather(*world.tasks)

    asyncio.run(whole())


def refusal(found: Principal | Deny, reason: Reason = Reason.UNAUTHENTICATED) -> Deny:
    assert isinstance(found, Deny)
    assert found.reason is reason
    return found


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The tokens whose signatures were checked."""
    seen: list[str] = []

    def counted(token: str, *more: Any) -> Any:
        seen.append(token)
        return proven(token, *more)

    monkeypatch.setattr(issuer, "proven", counted)
    return seen


def test_a_token_costs_one_signature_until_it_ends(checks: list[str]) -> None:
    async def play(world: World) -> None:
        for _ in range(5):
            assert await world.prove() == CRAWLER
        assert checks == [GOOD]
        world.at = 629.9
        assert await world.prove() == CRAWLER
        world.at = 630
        assert "expired" in refusal(await world.prove()).message
        assert len(world.ring) == 0
        assert "expired" in refusal(await world.prove()).message
        assert checks == [GOOD, GOOD]

    run(play)


def test_a_bad_token_is_never_remembered(checks: list[str]) -> None:
    async def play(world: World) -> None:
        bad = signed(claims(), OTHER)
        refusal(await world.prove(bad))
        refusal(await world.prove(bad))
        assert (len(world.ring), len(checks)) == (0, 2)
        nobody = signed(claims(sub="Nobody"))
        refusal(await world.prove(nobody), Reason.UNKNOWN_AGENT)
        refusal(await world.prove(nobody), Reason.UNKNOWN_AGENT)
        assert checks.count(nobody) == 1

    run(play)


def test_what_differs_in_one_character_is_another_token() -> None:
    async def play(world: World) -> None:
        assert await world.prove() == CRAWLER
        refusal(await world.prove(GOOD[:-2]))
        refusal(await world.prove(GOOD + "="))

    run(play)


def test_the_memory_of_tokens_is_bounded(monkeypatch: pytest.MonkeyPatch, checks: list[str]) -> None:
    monkeypatch.setattr(issuer, "MOST_TOKENS", 2)

    async def play(world: World) -> None:
        tokens = [signed(claims(jti=str(i))) for i in range(3)]
        for token in (tokens[0], tokens[1], tokens[0], tokens[2], tokens[0], tokens[1]):
            assert await world.prove(token) == CRAWLER
        assert len(world.ring) == 2
        assert checks == [tokens[0], tokens[1], tokens[2], tokens[1]]

    run(play)


def test_a_key_that_leaves_the_document_takes_its_tokens_along(checks: list[str]) -> None:
    async def play(world: World) -> None:
        other = signed(claims(), EC, "ES256", {"kid": "k2"})
        assert await world.prove() == CRAWLER
        assert await world.prove(other) == CRAWLER
        world.answer, world.at = document(jwk(EC, "k2")), 300
        await world.refresh()
        assert "a key that its issuer does not have" in refusal(await world.prove()).message
        assert await world.prove(other) == CRAWLER
        assert checks == [GOOD, other]

    run(play, jwk(RSA, "k1"), jwk(EC, "k2"))


def test_another_key_under_the_same_name_is_another_key() -> None:
    async def play(world: World) -> None:
        assert await world.prove() == CRAWLER
        world.answer, world.at = document(jwk(OTHER, "k1")), 300
        await world.refresh()
        assert "signature" in refusal(await world.prove()).message

    run(play)


def test_a_new_key_is_fetched_once_for_all_who_wait() -> None:
    async def play(world: World) -> None:
        assert await world.prove() == CRAWLER
        world.answer, world.at = document(jwk(RSA, "k1"), jwk(EC, "k2")), AGAIN_S
        world.hang = asyncio.Event()
        waiting = [asyncio.ensure_future(world.prove(signed(claims(jti=str(i)), EC, "ES256", {"kid": "k2"}))) for i in range(50)]
        await asyncio.sleep(0)
        assert await world.prove() == CRAWLER  # nobody else waits
        world.hang.set()
        assert await asyncio.gather(*waiting) == [CRAWLER] * 50
        assert world.fetches == 2

    run(play)


@pytest.mark.parametrize("kid", ["nope", "../../etc/passwd", "k1' OR '1'='1", "k1\0", "k1\r\nx: y", "http://evil.example/", "🙂"])
def test_a_key_that_does_not_exist_costs_one_fetch_in_a_while(kid: str) -> None:
    async def play(world: World) -> None:
        assert await world.prove() == CRAWLER
        bad = signed(claims(), OTHER, header={"kid": kid})
        for _ in range(20):
            deny = refusal(await world.prove(bad))
            assert kid not in deny.message + deny.remedy
        assert world.fetches == 1
        world.at = AGAIN_S
        for _ in range(20):
            refusal(await world.prove(bad))
        assert world.fetches == 2

    run(play)


def test_a_server_of_keys_that_hangs_harms_only_who_names_an_unknown_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(issuer, "WAIT_S", 0.01)

    async def play(world: World) -> None:
        assert await world.prove() == CRAWLER
        world.at, world.hang = 20, asyncio.Event()
        refusal(await world.prove(signed(claims(), OTHER, header={"kid": "new"})))
        assert await world.prove() == CRAWLER
        assert not world.source.due
        assert world.fetches == 2

    run(play)


def test_a_token_without_a_key_id_needs_a_single_key() -> None:
    async def play(world: World) -> None:
        bare = signed(claims(), header=b'{"alg": "RS256"}')
        assert await world.prove(bare) == CRAWLER
        world.answer, world.at = document(jwk(RSA, "k1"), jwk(EC, "k2")), 300
        await world.refresh()
        assert await world.prove(bare) == CRAWLER  # it was checked with a key that is still there
        again = signed(claims(jti="2"), header=b'{"alg": "RS256"}')
        assert "names no key" in refusal(await world.prove(again)).message
        assert world.fetches == 2

    run(play)


def test_the_document_is_kept_while_it_cannot_be_had_and_not_for_ever(checks: list[str]) -> None:
    async def play(world: World) -> None:
        long = signed(claims(exp=NOW + 90_000))
        assert await world.prove(long) == CRAWLER
        world.answer = FetchError("it cannot be fetched")
        for world.at in (300, 1000, 3600):
            await world.refresh()
            assert await world.prove(long) == CRAWLER
        assert (world.source.errors, world.source.problem, world.source.age_s) == (3, "it cannot be fetched", 3600)
        world.at = 3600.1
        deny = refusal(await world.prove(long), Reason.STORE_UNAVAILABLE)
        assert (deny.status, deny.retry_after_s) == (503, 5)
        refusal(await world.prove(signed(claims(), OTHER, header={"kid": "new"})), Reason.STORE_UNAVAILABLE)
        world.answer, world.at = document(jwk(RSA, "k1")), 3700
        await world.refresh()
        assert await world.prove(long) == CRAWLER
        assert world.source.problem == ""
        assert checks == [long]

    run(play)


@pytest.mark.parametrize("answer", [b"<html>", document(), document(jwk(RSA, "k1"), jwk(OTHER, "k1"))])
def test_a_document_that_is_none_changes_nothing(answer: bytes) -> None:
    async def play(world: World) -> None:
        assert await world.prove() == CRAWLER
        world.answer, world.at = answer, 300
        await world.refresh()
        assert await world.prove() == CRAWLER
        assert world.source.errors == 1

    run(play)


def test_without_a_document_nobody_is_let_in_and_junk_waits_for_nothing() -> None:
    async def play(world: World) -> None:
        world.answer = FetchError("no")
        refusal(await world.prove("junk.junk.junk"))
        refusal(await world.prove("x" * 9000))
        refusal(await world.prove(signed(claims(), alg="none")))
        assert world.fetches == 0
        for _ in range(5):
            refusal(await world.prove(), Reason.STORE_UNAVAILABLE)
        assert world.fetches == 1

    run(play)


def test_it_is_fetched_again_in_time_and_sooner_after_a_failure() -> None:
    async def play(world: World) -> None:
        await world.refresh()
        for world.at in (1, 299.9):
            assert not world.source.due
        world.answer, world.at = FetchError("no"), 300
        await world.refresh()
        at = 300.0
        for rest in (1.0, 2.0, 5.0, 10.0, 30.0, 30.0):
            world.at = at + rest - 0.1
            assert not world.source.due
            world.at = at = at + rest
            await world.refresh()

    run(play)


def test_keys_of_a_file_never_grow_old() -> None:
    async def play(world: World) -> None:
        source = KeySource(None, world, world.spawn)
        source.put(read_keys(document(jwk(RSA, "k1"))))
        ring = TokenRing(RULES, source)
        world.at = 1e6
        long = signed(claims(exp=NOW + 2e6))
        assert await ring.prove(long, world.now()) == CRAWLER
        refusal(await ring.prove(signed(claims(), header={"kid": "x"}), world.now()))
        assert not source.due
        assert source.age_s is None
        assert world.fetches == 0

    run(play)

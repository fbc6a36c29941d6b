"""Identity from headers alone: who gets in as which agent, and what the others are told."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Literal, cast

import pytest
from issuing import AUDIENCE, ISSUER, NOW, RSA, claims, document, jwk, signed
from multidict import CIMultiDict

from proxy.engine.exchange import Exchange
from proxy.engine.ports import Client
from proxy.identity.directory import Directory
from proxy.identity.issuer import KeySource, TokenRing
from proxy.identity.keys import KeyEntry, KeyRing, hash_key
from proxy.identity.keyset import read_keys
from proxy.identity.mapping import AgentMap
from proxy.identity.stage import REMEMBERED, IdentityStage
from proxy.identity.tokens import TokenRules, token_id
from proxy.model import Deny, Nanos, Principal, Reason

KEYS = {"fg-a": "team/a", "fg-gone": "gone", "fg-team": "team/*", "fg-all": "*"}
RING = KeyRing([*(KeyEntry(agent, hash_key(key)) for key, agent in KEYS.items()), KeyEntry("team/a", hash_key("fg-old"), expires=5.0)])


class Clock:
    """Stands at ten."""

    def now(self) -> float:
        return 10.0

    def ns(self) -> int:
        return 0


def directory(tmp_path: Path, *names: str) -> Directory:
    (tmp_path / "AGENTS.md").write_text("---\nagents:\n" + "".join(f"  - {{name: {n}}}\n" for n in names) + "---\n" if names else "# prose")
    found = Directory.load(tmp_path, ["AGENTS.md"], None)
    assert found.errors == ()
    return found


def exchange(headers: dict[str, str], query: str = "", named: str | None = None) -> Exchange:
    ex = Exchange(cast(Any, None), Clock(), cast(Client, None), "openai")
    ex.headers, ex.query, ex.named_agent = CIMultiDict(headers), query, named
    return ex


def run(
    found: Directory, headers: dict[str, str], named: str | None = None, mode: Literal["keys", "open"] = "keys"
) -> tuple[Deny | None, Exchange]:
    ex = exchange(headers, named=named)
    return asyncio.run(IdentityStage(found, lambda: RING, mode).request(ex)), ex


def test_for_whom_keys_speak_is_kept_for_each_and_within_bounds(tmp_path: Path) -> None:
    stage, keys = IdentityStage(directory(tmp_path, "team/a", "team/b"), lambda: rings[0], "keys"), range(REMEMBERED + 9)
    entries = [KeyEntry(f"team/{'ab'[n % 2]}", hash_key(f"fg-{n}")) for n in keys]
    rings = [KeyRing(entries)]
    for n in (*keys, *keys):
        if n % 256 == 0:
            rings[0] = KeyRing(entries)  # so that ids of principals come back
        ex = exchange(bearer(f"fg-{n}"))
        assert asyncio.run(stage.request(ex)) is None
        assert (ex.agent, ex.principal.key_id) == (entries[n].agent, entries[n].id)
    assert len(stage._known) <= REMEMBERED
    other = exchange(bearer("fg-0", x_fleetgate_agent="team/b"))
    assert isinstance(asyncio.run(stage.request(other)), Deny), "the request has a word in it"


def bearer(key: str, **more: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}", **{k.replace("_", "-"): v for k, v in more.items()}}


@pytest.mark.parametrize(
    ("headers", "named", "agent", "key_agent"),
    [
        (bearer("fg-a"), None, "team/a", "team/a"),
        (bearer("fg-a", x_fleetgate_agent="team/a"), None, "team/a", "team/a"),
        (bearer("fg-a"), "team/a", "team/a", "team/a"),
        (bearer("fg-team", x_fleetgate_agent="team/b"), None, "team/b", "team/*"),
        (bearer("fg-team"), "team/b", "team/b", "team/*"),
        (bearer("fg-all", x_fleetgate_agent="team/b"), "team/b", "team/b", "*"),
    ],
)
def test_a_key_gets_in_as_its_agent(tmp_path: Path, headers: dict[str, str], named: str | None, agent: str, key_agent: str) -> None:
    found = directory(tmp_path, "team/a", "team/b")
    deny, ex = run(found, headers, named)
    assert deny is None
    assert (ex.agent, ex.grant) == (agent, found.agents[agent])
    assert ex.principal == Principal(key_agent, hash_key(headers["Authorization"][7:])[:8])
    assert ex.decisions == [("identity", f"agent {agent} by key {ex.principal.key_id}")]


@pytest.mark.parametrize(
    ("headers", "named", "reason", "words"),
    [
        ({}, None, Reason.UNAUTHENTICATED, "carries no key"),
        ({"x-api-key": "fg-a", "api-key": "fg-team"}, None, Reason.UNAUTHENTICATED, "two different keys"),
        (bearer("fg-nope"), None, Reason.UNAUTHENTICATED, "not one of ours"),
        (bearer("fg-old"), None, Reason.UNAUTHENTICATED, "has expired"),
        (bearer("fg-gone"), None, Reason.UNKNOWN_AGENT, "No file defines agent gone."),
        (bearer("fg-a", x_fleetgate_agent="team/b"), None, Reason.UNKNOWN_AGENT, "for agent team/a and cannot act as team/b"),
        (bearer("fg-a"), "team/b", Reason.UNKNOWN_AGENT, "for agent team/a and cannot act as team/b"),
        (bearer("fg-team", x_fleetgate_agent="team/a"), "team/b", Reason.UNKNOWN_AGENT, "two different agents"),
        (bearer("fg-team"), None, Reason.UNKNOWN_AGENT, "several agents (team/*) and the request names none"),
        (bearer("fg-team", x_fleetgate_agent="other"), None, Reason.UNKNOWN_AGENT, "The key is for agents team/*, which other is not."),
        (bearer("fg-team", x_fleetgate_agent="team/z"), None, Reason.UNKNOWN_AGENT, "No file defines agent team/z."),
        (bearer("fg-all", x_fleetgate_agent="<b>" * 90), None, Reason.UNKNOWN_AGENT, "not a name that an agent can have"),
        (bearer("fg-all", x_fleetgate_agent="*"), None, Reason.UNKNOWN_AGENT, "not a name that an agent can have"),
    ],
)
def test_everybody_else_is_told_why(tmp_path: Path, headers: dict[str, str], named: str | None, reason: Reason, words: str) -> None:
    deny, ex = run(directory(tmp_path, "team/a", "team/b"), headers, named)
    assert deny is not None
    assert deny.reason is reason
    assert words in deny.message
    assert deny.remedy.endswith(".")
    assert deny.rule
    assert "fg-" not in deny.message + deny.remedy + deny.rule
    assert not hasattr(ex, "grant")


def test_an_unknown_agent_is_told_where_to_define_it(tmp_path: Path) -> None:
    deny, _ = run(directory(tmp_path, "team/a"), bearer("fg-gone"))
    assert deny is not None
    assert deny.remedy == "Define it in AGENTS.md (front matter `name: gone`)."


@pytest.mark.parametrize(
    ("names", "headers", "agent", "words"),
    [
        (("a",), {}, "a", ""),
        (("a",), bearer("whatever"), "a", ""),
        (("a", "b"), {"x-fleetgate-agent": "b"}, "b", ""),
        (("a", "b"), {}, "", "There are several agents and the request names none."),
        (("a",), {"x-fleetgate-agent": "b"}, "", "No file defines agent b."),
        ((), {}, "", "No agent is defined in AGENTS.md."),
    ],
)
def test_open_mode(tmp_path: Path, names: tuple[str, ...], headers: dict[str, str], agent: str, words: str) -> None:
    deny, ex = run(directory(tmp_path, *names), headers, mode="open")
    if agent:
        assert deny is None
        assert (ex.agent, ex.principal.key_id) == (agent, "open")
    else:
        assert deny is not None
        assert (deny.reason, deny.message) == (Reason.UNKNOWN_AGENT, words)


def test_the_ring_is_asked_anew_each_time(tmp_path: Path) -> None:
    rings = [KeyRing([]), RING]
    stage = IdentityStage(directory(tmp_path, "team/a"), lambda: rings[0], "keys")
    assert asyncio.run(stage.request(exchange(bearer("fg-a")))) is not None
    rings.pop(0)
    assert asyncio.run(stage.request(exchange(bearer("fg-a")))) is None


def test_an_agent_named_twice_by_header_is_refused_whatever_comes_first(tmp_path: Path) -> None:
    for names, refused in ((("team/a", "team/b"), True), (("team/b", "team/a"), True), (("team/a", "team/a"), False)):
        ex = exchange({})
        ex.headers = CIMultiDict([("Authorization", "Bearer fg-team"), *(("x-fleetgate-agent", name) for name in names)])
        deny = asyncio.run(IdentityStage(directory(tmp_path, "team/a", "team/b"), lambda: RING, "keys").request(ex))
        assert (deny is not None and "twice" in deny.message) is refused


BOUND = KeyRing(
    [
        KeyEntry("team/a", hash_key("fg-parent")),
        KeyEntry("team/a", hash_key("fg-child"), run=f"{hash_key('fg-parent')[:8]}/nightly", usd=Nanos(5)),
    ]
)
NIGHTLY = f"{hash_key('fg-parent')[:8]}/nightly"


@pytest.mark.parametrize("named", [None, "", " ", "nightly", f" {NIGHTLY} "])
def test_a_bound_key_may_name_its_run_or_none(tmp_path: Path, named: str | None) -> None:
    ex = exchange(bearer("fg-child", **({} if named is None else {"x_fleetgate_run": named})))
    assert asyncio.run(IdentityStage(directory(tmp_path, "team/a"), lambda: BOUND, "keys").request(ex)) is None
    assert ex.principal == Principal("team/a", hash_key("fg-child")[:8], NIGHTLY, Nanos(5))


@pytest.mark.parametrize("named", [["other"], ["ffffffff/nightly"], ["nightly", "other"], ["x" * 9000]])
def test_a_bound_key_may_name_no_other_run(tmp_path: Path, named: list[str]) -> None:
    ex = exchange({})
    ex.headers = CIMultiDict([("Authorization", "Bearer fg-child"), *(("x-fleetgate-run", name) for name in named)])
    deny = asyncio.run(IdentityStage(directory(tmp_path, "team/a"), lambda: BOUND, "keys").request(ex))
    assert deny is not None
    assert deny.reason is Reason.POLICY_DENIED
    assert deny.message == f"The key is bound to run {NIGHTLY} and cannot act in another."
    assert deny.rule == f"key {hash_key('fg-child')[:8]}"
    assert ex.agent == "team/a", "the record says who"


# --- tokens -----------------------------------------------------------------------------------------------------------------


class AtNow(Clock):
    """Stands at the time of the tokens."""

    def now(self) -> float:
        return NOW


def by_token(found: Directory, headers: dict[str, str], query: str = "", also_keys: bool = False) -> tuple[Deny | None, Exchange]:
    rules = TokenRules(ISSUER, frozenset({AUDIENCE}), frozenset({"RS256"}), "sub", AgentMap([("{a}", "{a}"), ("x:all", "team/*")]), 30.0)

    async def play() -> tuple[Deny | None, Exchange]:
        source = KeySource(None, AtNow(), lambda work: work.close())
        source.put(read_keys(document(jwk(RSA, "k1"))))
        ex = exchange(headers, query)
        ex.wall = NOW
        return await IdentityStage(found, lambda: RING, "jwt", TokenRing(rules, source), also_keys).request(ex), ex

    return asyncio.run(play())


@pytest.mark.parametrize("carrier", ["authorization", "x-api-key", "x-goog-api-key", "api-key", ""])
def test_a_token_gets_in_as_its_agent_by_any_carrier(tmp_path: Path, carrier: str) -> None:
    token = signed(claims(sub="a"))
    headers = {carrier: f"bearer {token}" if carrier == "authorization" else token} if carrier else {}
    deny, ex = by_token(directory(tmp_path, "a"), headers, "" if carrier else f"key={token}")
    assert deny is None
    assert (ex.agent, ex.principal) == ("a", Principal("a", token_id(ISSUER, "a")))


def test_a_fleet_token_is_a_fleet_key(tmp_path: Path) -> None:
    found, token = directory(tmp_path, "team/a", "b"), signed(claims(sub="x:all"))
    assert by_token(found, bearer(token, x_fleetgate_agent="team/a"))[0] is None
    for more, words in (({}, "The token is for several agents (team/*)"), ({"x_fleetgate_agent": "b"}, "The token is for agents team/*")):
        deny, _ = by_token(found, bearer(token, **more))
        assert deny is not None
        assert deny.reason is Reason.UNKNOWN_AGENT
        assert words in deny.message


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ({}, "carries no token"),
        (bearer("fg-a"), "is no signed JWT"),
        ({"x-api-key": signed(claims()), "api-key": signed(claims(sub="b"))}, "two different keys"),
        (bearer(signed(claims(exp=1.0))), "has expired"),
    ],
)
def test_in_token_mode_nothing_else_counts(tmp_path: Path, headers: dict[str, str], words: str) -> None:
    deny, ex = by_token(directory(tmp_path, "team/a"), headers)
    assert deny is not None
    assert deny.reason is Reason.UNAUTHENTICATED
    assert words in deny.message
    assert not hasattr(ex, "grant")


def test_keys_count_beside_tokens_where_that_is_set(tmp_path: Path) -> None:
    found = directory(tmp_path, "team/a")
    deny, ex = by_token(found, bearer("fg-a"), also_keys=True)
    assert deny is None
    assert ex.principal.key_id == hash_key("fg-a")[:8]
    assert by_token(found, bearer("fg-nope"), also_keys=True)[0] is not None


def test_a_token_for_one_agent_cannot_name_another(tmp_path: Path) -> None:
    deny, _ = by_token(directory(tmp_path, "a", "b"), bearer(signed(claims(sub="a")), x_fleetgate_agent="b"))
    assert deny is not None
    assert deny.message == "The token is for agent a and cannot act as b."
    assert deny.remedy == "Use a token for b, or leave the name out."

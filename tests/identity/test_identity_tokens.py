"""Tokens: which hold, and why the others do not. Real keys and signatures, whatever the header says."""

from __future__ import annotations

import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from issuing import AUDIENCE, EC, ED, ISSUER, NOW, OTHER, RSA, claims, document, jwk, segment, signed

from proxy.identity.keyset import ALGORITHMS, SigningKey, read_keys
from proxy.identity.mapping import AgentMap
from proxy.identity.tokens import MAX_TOKEN, Opened, Proof, TokenRules, opened, proven, token_id
from proxy.model import Deny, Principal, Reason

KEYS = read_keys(document(jwk(RSA, "k1"), jwk(EC, "k2"), jwk(ED, "k3")))
PEM = RSA.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
DER = RSA.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def rules(**more: Any) -> TokenRules:
    given: dict[str, Any] = {"agent_claim": "sub", "agents": AgentMap(()), "leeway_s": 30.0, "algorithms": frozenset(ALGORITHMS)} | more
    return TokenRules(ISSUER, frozenset({AUDIENCE, "other"}), **given)


def prove(token: str, held: TokenRules | None = None, now: float = NOW, key: SigningKey = KEYS.keys[0]) -> Proof | Deny:
    held = held or rules()
    head = opened(token, held)
    return head if isinstance(head, Deny) else proven(token, head, key, held, now)


def principal(token: str, held: TokenRules | None = None) -> Principal | Deny:
    found = prove(token, held)
    return found if isinstance(found, Deny) else found.principal


@pytest.mark.parametrize(
    ("key", "alg", "kid", "index"),
    [(RSA, "RS256", "k1", 0), (RSA, "PS384", "k1", 0), (RSA, "RS512", "k1", 0), (EC, "ES256", "k2", 1), (ED, "EdDSA", "k3", 2)],
)
def test_a_token_proves_its_agent(key: Any, alg: str, kid: str, index: int) -> None:
    token = signed(claims(), key, alg, {"kid": kid})
    assert opened(token, rules()) == Opened(alg, kid)
    proof = prove(token, key=KEYS.keys[index])
    assert proof == Proof(Principal("crawler", token_id(ISSUER, "crawler")), NOW + 630, KEYS.keys[index].id)


def test_a_token_of_the_library_is_one_too() -> None:
    token = jwt.encode(claims(aud=["a", "other"]), RSA, "RS256", headers={"kid": "k1"})
    assert isinstance(principal(token), Principal)


def test_the_public_id_is_the_subjects_and_holds_no_secret() -> None:
    assert token_id(ISSUER, "a") == token_id(ISSUER, "a")
    assert len({token_id(ISSUER, "a"), token_id(ISSUER, "b"), token_id("other", "a"), token_id(f"{ISSUER}\0a", "")}) == 4
    assert len(token_id(ISSUER, "\ud800")) == 20


def hs256(secret: bytes) -> str:
    """A token signed with a public thing as if it were a secret; the library refuses to make one."""
    import hashlib
    import hmac

    text = f"{segment(json.dumps({'alg': 'HS256', 'kid': 'k1'}).encode())}.{segment(json.dumps(claims()).encode())}"
    return f"{text}.{segment(hmac.new(secret, text.encode(), hashlib.sha256).digest())}"


GOOD = signed(claims())
BOMB = b'{"a":' * 700 + b"1" + b"}" * 700
BAD: dict[str, tuple[str, str]] = {
    "expired": (signed(claims(exp=NOW - 31)), "The token has expired."),
    "ends just now": (signed(claims(exp=NOW - 30)), "The token has expired."),
    "not yet": (signed(claims(nbf=NOW + 31)), "does not hold yet"),
    "issued in the future": (signed(claims(iat=NOW + 31)), "issued in the future"),
    "without end": (signed(claims(exp=None)), "has no end"),
    "end as text": (signed(claims(exp="never")), "exp is no time"),
    "end as a flag": (signed(claims(exp=True)), "exp is no time"),
    "end beyond time": (signed(claims(exp=1e300)), "exp is no time"),
    "infinite end": (signed(json.dumps(claims()).encode().replace(b'"exp": 1800000600.0', b'"exp": 1e999')), "exp is no time"),
    "end as NaN": (signed(json.dumps(claims(exp=float("nan"))).encode()), "no JSON, or says something twice"),
    "nbf as a list": (signed(claims(nbf=[1])), "nbf is no time"),
    "iat as text": (signed(claims(iat="1")), "iat is no time"),
    "wrong audience": (signed(claims(aud="else")), "audience is another"),
    "wrong audiences": (signed(claims(aud=["else", "more"])), "audience is another"),
    "audience in a list of lists": (signed(claims(aud=[[AUDIENCE]])), "audience is another"),
    "audience as an object": (signed(claims(aud={AUDIENCE: 1})), "audience is another"),
    "no audience": (signed(claims(aud=None)), "audience is another"),
    "wrong issuer": (signed(claims(iss="https://evil.example")), "of another issuer"),
    "issuer with a slash": (signed(claims(iss=f"{ISSUER}/")), "of another issuer"),
    "issuers": (signed(claims(iss=[ISSUER])), "of another issuer"),
    "no issuer": (signed(claims(iss=None)), "of another issuer"),
    "no subject": (signed(claims(sub=None)), "no subject"),
    "empty subject": (signed(claims(sub="")), "no subject"),
    "subjects": (signed(claims(sub=["crawler"])), "no subject"),
    "subject as a number": (signed(claims(sub=7)), "no subject"),
    "subject too long": (signed(claims(sub="s" * 1025)), "no subject"),
    "none": (signed(claims(), alg="none"), "not signed with an algorithm that is taken"),
    "None": (signed(claims(), header={"alg": "None"}), "not signed with an algorithm that is taken"),
    "no algorithm": (signed(claims(), header=b'{"kid": "k1"}'), "not signed with an algorithm that is taken"),
    "algorithms": (signed(claims(), header={"alg": ["RS256"]}), "not signed with an algorithm that is taken"),
    "HS256 by PEM": (hs256(PEM), "not signed with an algorithm that is taken"),
    "HS256 by DER": (hs256(DER), "not signed with an algorithm that is taken"),
    "algorithm of another kind": (signed(claims(), header={"alg": "ES256"}), "is not for its algorithm"),
    "algorithm not the signature's": (signed(claims(), header={"alg": "RS384"}), "signature of the token does not hold"),
    "another's signature": (signed(claims(), OTHER), "signature of the token does not hold"),
    "claims exchanged": (
        ".".join([GOOD.split(".")[0], segment(json.dumps(claims(sub="admin")).encode()), GOOD.split(".")[2]]),
        "signature",
    ),
    "no signature": (GOOD.rpartition(".")[0] + ".", "signature of the token does not hold"),
    "signature of junk": (GOOD.rpartition(".")[0] + ".!!!!", "signature of the token does not hold"),
    "claims twice": (signed(b'{"sub": "a", "sub": "b"}'), "no JSON, or says something twice"),
    "claims as a list": (signed(b"[1]"), "is no object"),
    "claims as text": (signed(b"hello"), "no JSON"),
    "claims not in UTF-8": (signed(b'{"sub": "\xff"}'), "no JSON"),
    "claims as a bomb": (signed(BOMB), "of another issuer"),
    "claims as a deep bomb": (signed(b"[" * 3000), "no JSON"),
    "header twice": (signed(claims(), header=b'{"alg": "RS256", "alg": "none", "kid": "k1"}'), "header of the token is no JSON"),
    "header as a bomb": (signed(claims(), header=b"[" * 3000), "header of the token is no JSON"),
    "header as a list": (signed(claims(), header=b"[]"), "asks for what is not understood"),
    "critical": (signed(claims(), header={"crit": ["exp"]}), "asks for what is not understood"),
    "unencoded": (signed(claims(), header={"b64": False, "crit": ["b64"]}), "asks for what is not understood"),
    "unencoded by stealth": (signed(claims(), header={"b64": False}), "asks for what is not understood"),
    "kid as a number": (signed(claims(), header={"kid": 1}), "key id of the token is no short text"),
    "kids": (signed(claims(), header={"kid": ["k1"]}), "key id of the token is no short text"),
    "empty kid": (signed(claims(), header={"kid": ""}), "key id of the token is no short text"),
    "long kid": (signed(claims(), header={"kid": "k" * 257}), "key id of the token is no short text"),
    "a megabyte": ("e" * (1 << 20), f"longer than {MAX_TOKEN} characters"),
    "too long": (signed(claims(more="x" * MAX_TOKEN)), f"longer than {MAX_TOKEN} characters"),
    "not ASCII": (GOOD + "é", "no signed JWT"),
    "one part": ("hello", "no signed JWT"),
    "five parts": (f"{GOOD}.a.b", "no signed JWT"),
    "dots": ("..", "header of the token is no JSON"),
    "junk": ("!.!.!", "header of the token is no JSON"),
    "a key of ours": ("fg-crawler-abc", "no signed JWT"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_token_proves_nothing(name: str) -> None:
    token, words = BAD[name]
    found = principal(token)
    assert isinstance(found, Deny)
    assert found.reason is Reason.UNAUTHENTICATED
    assert words in found.message
    assert found.remedy.endswith(".")
    assert all(part not in found.message + found.remedy for part in ("evil", "else", "admin", PEM.decode()))


@pytest.mark.parametrize("name", ["jku", "jwk", "x5u", "x5c"])
def test_a_key_in_the_header_is_not_looked_at(name: str) -> None:
    value: Any = jwk(OTHER, "k1") if name == "jwk" else "https://evil.example/keys"
    assert isinstance(principal(signed(claims(), OTHER, header={name: value})), Deny)


def test_clocks_may_differ_by_the_leeway() -> None:
    for more in ({"exp": NOW - 29}, {"nbf": NOW + 29}, {"iat": NOW + 29}):
        assert isinstance(principal(signed(claims(**more))), Principal)
        assert isinstance(principal(signed(claims(**more)), rules(leeway_s=0.0)), Deny)


def test_an_algorithm_that_is_not_listed_is_refused() -> None:
    found = principal(GOOD, rules(algorithms=frozenset({"ES256"})))
    assert isinstance(found, Deny)
    assert found.remedy == "Have the issuer sign with one of ES256."


def test_what_the_map_does_not_know_is_nobody() -> None:
    held = rules(agents=AgentMap([("system:serviceaccount:payments:*", "invoice-triage")]))
    assert principal(signed(claims(sub="system:serviceaccount:payments:bot")), held) == Principal(
        "invoice-triage", token_id(ISSUER, "system:serviceaccount:payments:bot")
    )
    found = principal(signed(claims(sub="system:serviceaccount:x\n:bot")), held)
    assert isinstance(found, Deny)
    assert found.reason is Reason.UNKNOWN_AGENT
    assert found.message == "The token is for system:serviceaccount:x?:bot, which is no agent here."
    assert found.remedy == "Add a rule for it to auth.jwt.map."


@pytest.mark.parametrize("value", [None, ["crawler"], {"a": 1}, 5, True])
def test_a_claim_that_is_no_text_is_nobody(value: Any) -> None:
    found = principal(signed(claims(agent=value)), rules(agent_claim="agent"))
    assert isinstance(found, Deny)
    assert found.reason is Reason.UNKNOWN_AGENT
    assert "no text in its claim agent" in found.message

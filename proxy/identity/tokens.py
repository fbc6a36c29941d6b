"""Tokens (JWT) of an identity provider: what one must be to prove an agent.

Decides in this order, and the first that fails is the refusal: size and form, the algorithm against the list (only those in which the
issuer alone can sign; `none` and secrets shared with us are never on it, whatever the header says), the key by its id, the signature, then
the claims: issuer, audience, times within the leeway, subject, and at last the agent by the map. Of a token without a valid signature
nothing but header and length is looked at, and what is in it is never repeated. Pure: time and keys are arguments.

Source: RFC 7519 (claims), RFC 7515 §4.1 (header), RFC 8725 (best current practice: one issuer, explicit algorithms, audience checked).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from proxy.identity.keyset import MAX_KID, SigningKey, strict_json
from proxy.identity.mapping import AgentMap, claim_at
from proxy.model import Deny, Principal, Reason

if TYPE_CHECKING:
    from jwt.api_jws import PyJWS

MAX_TOKEN = 8192
MAX_SUBJECT = 1024
LATEST = 1e11
"""A time after this (the year 5138) is no time."""
RULE = "auth.jwt"
JWT = "jwt:"
"""How the public ids of those begin who came with a token."""


@dataclass(frozen=True, slots=True)
class TokenRules:
    """What tokens are held against. `audiences`: one of them must be among the token's; `leeway_s`: how far clocks may differ."""

    issuer: str
    audiences: frozenset[str]
    algorithms: frozenset[str]
    agent_claim: str
    agents: AgentMap
    leeway_s: float


@dataclass(frozen=True, slots=True)
class Opened:
    """What the header of a token says: nobody has proved it yet."""

    algorithm: str
    kid: str | None


@dataclass(frozen=True, slots=True)
class Proof:
    """A token that holds: whom it proves (or why it is nobody here), until when (UTC seconds), by which key."""

    principal: Principal | Deny
    ends: float
    key: str


def refused(message: str, remedy: str) -> Deny:
    """Return the refusal of a token that proves nothing."""
    return Deny(Reason.UNAUTHENTICATED, message, RULE, remedy)


def opened(token: str, rules: TokenRules) -> Opened | Deny:
    """Return what the header says, or why the token is none that could hold."""
    if wrong := misfit(token, rules):
        return wrong
    remedy = _send(rules)
    try:
        header = strict_json(_decoded(token.partition(".")[0]))
    except (ValueError, binascii.Error):
        return refused("The header of the token is no JSON, or says something twice.", remedy)
    if not isinstance(header, dict) or "crit" in header or header.get("b64", True) is not True:
        return refused("The header of the token asks for what is not understood here.", remedy)
    algorithm, kid = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str) or algorithm not in rules.algorithms:
        taken = ", ".join(sorted(rules.algorithms))
        return refused("The token is not signed with an algorithm that is taken here.", f"Have the issuer sign with one of {taken}.")
    if kid is not None and (not isinstance(kid, str) or not 0 < len(kid) <= MAX_KID):
        return refused("The key id of the token is no short text.", remedy)
    return Opened(algorithm, kid)


def misfit(token: str, rules: TokenRules) -> Deny | None:
    """Return why `token` is none by its length and form alone, None where it may be one."""
    if len(token) > MAX_TOKEN:
        return refused(f"The token is longer than {MAX_TOKEN} characters.", _send(rules))
    if not token.isascii() or token.count(".") != 2:
        return refused("What the request carries is no signed JWT.", _send(rules))
    return None


@cache
def _jws() -> PyJWS:
    from jwt.api_jws import PyJWS  # noqa: PLC0415

    return PyJWS()


def proven(token: str, head: Opened, key: SigningKey, rules: TokenRules, now: float) -> Proof | Deny:
    """Return what `token` proves at `now` (UTC seconds), its signature checked with `key`, or why it proves nothing."""
    check, remedy = key.keys.get(head.algorithm), f"Get a new token from {rules.issuer}."
    if check is None:
        return refused("The key that the token names is not for its algorithm.", remedy)
    from jwt.exceptions import PyJWTError  # noqa: PLC0415  loaded where tokens are checked, and only there

    try:
        payload = _jws().decode_complete(token, check, [head.algorithm])["payload"]
    except PyJWTError:
        return refused("The signature of the token does not hold.", remedy)
    try:
        claims = strict_json(payload)
    except ValueError:
        return refused("What the token says is no JSON, or says something twice.", remedy)
    if not isinstance(claims, dict):
        return refused("What the token says is no object.", remedy)
    if wrong := _addressed(claims, rules) or _timely(claims, rules.leeway_s, now):
        return refused(wrong, remedy)
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= MAX_SUBJECT:
        return refused("The token has no subject, or one that is no text.", remedy)
    return Proof(_principal(claims, subject, rules), claims["exp"] + rules.leeway_s, key.id)


def token_id(issuer: str, subject: str) -> str:
    """Return the public id of whoever `subject` is: the same for all of its tokens, for budgets, runs and kills."""
    who = f"{issuer}\0{subject}".encode("utf-8", "surrogatepass")
    return f"{JWT}{hashlib.sha256(who).hexdigest()[:16]}"


def _addressed(claims: Mapping[str, Any], rules: TokenRules) -> str:
    """Return why the token is not from the issuer, or not for us; nothing where it is."""
    if claims.get("iss") != rules.issuer:
        return "The token is of another issuer."
    found = claims.get("aud")
    audiences = [found] if isinstance(found, str) else found
    if not isinstance(audiences, list) or not all(isinstance(a, str) for a in audiences) or rules.audiences.isdisjoint(audiences):
        return "The token is not for this service: its audience is another."
    return ""


def _timely(claims: Mapping[str, Any], leeway_s: float, now: float) -> str:
    """Return why the token does not hold at `now`; nothing where it does."""
    for name in ("exp", "nbf", "iat"):
        if name in claims and not _time(claims[name]):
            return f"The token's {name} is no time."
    if "exp" not in claims:
        return "The token has no end (exp)."
    if now >= claims["exp"] + leeway_s:
        return "The token has expired."
    if "nbf" in claims and now < claims["nbf"] - leeway_s:
        return "The token does not hold yet (nbf)."
    if "iat" in claims and now < claims["iat"] - leeway_s:
        return "The token was issued in the future (iat): a clock is wrong."
    return ""


def _time(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and 0 <= value <= LATEST


def _principal(claims: Mapping[str, Any], subject: str, rules: TokenRules) -> Principal | Deny:
    key_id, value = token_id(rules.issuer, subject), claim_at(claims, rules.agent_claim)
    where = f"{RULE}.agent_claim {rules.agent_claim}"
    if not isinstance(value, str):
        remedy = f"Have the issuer write an agent there, or name another claim in {RULE}.agent_claim."
        return Deny(Reason.UNKNOWN_AGENT, f"The token has no text in its claim {rules.agent_claim}.", where, remedy)
    agent = rules.agents.agent(value)
    if not agent:
        shown = "".join(c if c.isprintable() else "?" for c in value[:120])
        return Deny(Reason.UNKNOWN_AGENT, f"The token is for {shown}, which is no agent here.", where, f"Add a rule for it to {RULE}.map.")
    return Principal(agent, key_id)


def _send(rules: TokenRules) -> str:
    return f"Send a signed JWT of {rules.issuer}."


def _decoded(segment: str) -> bytes:
    return base64.b64decode(segment + "=" * (-len(segment) % 4), altchars=b"-_", validate=True)

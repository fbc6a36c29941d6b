"""The section `auth.jwt`: whose tokens prove an agent, and which. `proxy.identity.tokens` checks them. See docs/identity.md."""

# ruff: noqa: RUF009  (`setting` makes a dataclass field, which is what the rule cannot see)

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from proxy.identity.keyset import ALGORITHMS
from proxy.identity.mapping import MOST_RULES, MapError, Rule
from proxy.settings.fields import setting
from proxy.settings.kinds import Choice, Flag, Kind, Listed, Number, PathOf, Secret, SecretRef, Surroundings, Text, Wrong, loopback, shown


class JwksUrl(Kind):
    """Where a key document is fetched: whoever can change it on the way is every agent."""

    words = "an https URL; http only on loopback"

    def read(self, value: object, at: Surroundings) -> str:
        """See `Kind.read`."""
        if not isinstance(value, str) or not value.isascii() or not value.isprintable() or set(value) & set(' \\"<>'):
            raise Wrong("not a URL", self.words)
        try:
            parts = urlsplit(value)
            port = parts.port
        except ValueError:
            raise Wrong("not a URL", self.words) from None
        if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
            raise Wrong("not an absolute URL", self.words)
        if "@" in parts.netloc or "#" in value:
            raise Wrong("a URL with a user or a fragment", self.words, "a token goes into jwks_token")
        if parts.scheme == "http" and not loopback(parts.hostname):
            raise Wrong("plain http to another machine", self.words, "whoever can change the answer on the way could be any agent")
        return value


class Mapped(Kind):
    """Patterns of names and the agents that they speak for, in order."""

    words = 'a mapping of pattern to agent, as {"system:serviceaccount:payments:*": invoice-triage}'
    text = False

    def read(self, value: object, at: Surroundings) -> tuple[tuple[str, str], ...]:
        """See `Kind.read`."""
        if not isinstance(value, dict) or not value or len(value) > MOST_RULES:
            raise Wrong(shown(value) if value else "no rule", self.words)
        for pattern, agent in value.items():
            if not isinstance(pattern, str) or not isinstance(agent, str):
                raise Wrong(f"{shown(pattern)}: {shown(agent)}", self.words)
            try:
                Rule(pattern, agent)
            except MapError as e:
                raise Wrong(f"{shown(pattern)}: {e}", self.words) from None
        return tuple(value.items())


@dataclass(frozen=True, slots=True, kw_only=True)
class Jwt:
    """Tokens (JWT) of an identity provider, or of Kubernetes. See docs/identity.md."""

    issuer: str = setting(Text("the issuer's URL, exactly as in `iss`"), "Whose tokens count: `iss`, to the letter.")
    audience: tuple[str, ...] = setting(
        Listed(Text("an audience"), "an audience, or a list of them"), "Whom they are for: one of these is in `aud`."
    )
    jwks_url: str | None = setting(JwksUrl(), "Where the issuer publishes its keys. This or `jwks_file`.", None)
    jwks_file: Path | None = setting(PathOf("file"), "A file with its keys (JWKS); edits are picked up.", None)
    jwks_ca: Path | None = setting(PathOf("file"), "Authorities for the certificate of `jwks_url`, PEM; default: the system's.", None)
    jwks_token: Secret | None = setting(SecretRef(), "A bearer token that `jwks_url` asks for, as a Kubernetes API server does.", None)
    agent_claim: str = setting(Text("the name of a claim", 200), "The claim that says which agent; dots lead into objects.", "sub")
    map: tuple[tuple[str, str], ...] = setting(
        Mapped(), "Which agent a value of that claim is; first match wins, no match is refused. Without it the value is the agent.", ()
    )
    fleet_claims: bool = setting(
        Flag(), "Take a glob in the claim itself (`team-a/*`) as a fleet. Only where the issuer alone decides what stands there.", False
    )
    algorithms: tuple[str, ...] = setting(
        Listed(Choice(ALGORITHMS), f"a list of {', '.join(f'`{a}`' for a in ALGORITHMS)}"),
        "How tokens may be signed.",
        ("RS256", "ES256", "EdDSA"),
    )
    leeway_s: float = setting(Number(0, 300), "How far the clocks of issuer and proxy may differ, in seconds.", 30.0)
    refresh_s: float = setting(Number(10, 86_400), "How often the keys are fetched: one that was withdrawn holds that long.", 300.0)
    stale_s: float = setting(
        Number(60, 604_800), "How long fetched keys are used while they cannot be fetched again; then every token is refused (503).", 3600.0
    )

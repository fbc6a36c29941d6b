"""SPIFFE ids that a service mesh vouches for: its proxy ends mutual TLS next to us and says in a header who called.

Decides whom such a header proves. It counts only where the connection itself comes from an address that the operator trusts; from anywhere
else it is passed over as if it were not there, so whoever sends it from elsewhere needs a token like everybody. Of several elements the
last counts: the proxy next to us appended it, and what stands before it may be what a client wrote. A header of a trusted proxy that
cannot be read, or whose last element has not exactly one SPIFFE id, refuses. Pure.

Source: Envoy, "x-forwarded-client-cert" (elements joined by `,`, pairs by `;`, values with these or `=` in double quotes, `"` as `\\"`;
in APPEND_FORWARD the last element is of the current client); SPIFFE-ID §2 (scheme, trust domain, path; 2048 bytes at most).
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Mapping, Sequence

from proxy.identity.headers import values
from proxy.identity.mapping import AgentMap
from proxy.model import Deny, Principal, Reason

RULE = "auth.spiffe"
XFCC = "x-forwarded-client-cert"
SPIFFE = "spiffe:"
"""How the public ids of those begin whom a mesh vouches for."""
MAX_HEADER = 16_384
MAX_ID = 2048
REMEMBERED = 1024
_ID = re.compile(r"spiffe://[a-z0-9._-]{1,255}(/[A-Za-z0-9._-]+)+")
_PAIR = re.compile(r'\s*+([A-Za-z]++)=(?:"((?:[^"\\]|\\.)*+)"\s*+|([^",;]*+))([,;]|\Z)')

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Mesh:
    """Says whom a mesh vouches for.

    Args:
        header: the name of its header, in lower case.
        trusted: the addresses of its proxies.
        agents: which agent a SPIFFE id is.
    """

    def __init__(self, header: str, trusted: Sequence[Network], agents: AgentMap) -> None:
        self._header, self._trusted, self._agents = header, tuple(trusted), agents
        self._peers: dict[str, bool] = {}

    def prove(self, headers: Mapping[str, str], peer: str) -> Principal | Deny | None:
        """Return whom the header proves, why it proves nobody, or None where it does not count or is not there."""
        if self._header not in headers or not self._trusts(peer):
            return None
        found = values(headers, self._header)
        name = last_id(found[-1]) if len(found) == 1 else ""
        if not name:
            message = f"The header {self._header} of the mesh names no SPIFFE id, or several."
            return Deny(Reason.UNAUTHENTICATED, message, RULE, "Have the mesh's proxy set the header with the URI of the client alone.")
        agent = self._agents.agent(name)
        if not agent:
            remedy = f"Add a rule for it to {RULE}.map."
            return Deny(Reason.UNKNOWN_AGENT, f"The mesh vouches for {name[:120]}, which is no agent here.", RULE, remedy)
        return Principal(agent, f"{SPIFFE}{hashlib.sha256(name.encode()).hexdigest()[:16]}")

    def _trusts(self, peer: str) -> bool:
        known = self._peers.get(peer)
        if known is None:
            if len(self._peers) >= REMEMBERED:
                self._peers.clear()
            known = self._peers[peer] = self._within(peer)
        return known

    def _within(self, peer: str) -> bool:
        try:
            address = ipaddress.ip_address(peer)
        except ValueError:
            return False
        plain = getattr(address, "ipv4_mapped", None) or address
        return any(plain.version == network.version and plain in network for network in self._trusted)


def last_id(header: str) -> str:
    """Return the SPIFFE id of the last element of a header, nothing where it has none, several, or cannot be read."""
    at, uris, more = 0, list[str](), True
    if len(header) > MAX_HEADER:
        return ""
    while more:
        pair = _PAIR.match(header, at)
        if pair is None:
            return ""
        key, quoted, plain, end = pair.groups()
        if key.lower() == "uri":
            uris.append(plain.strip(" \t") if quoted is None else re.sub(r"\\(.)", r"\1", quoted))
        if end == ",":
            uris = []
        at, more = pair.end(), bool(end)
    found = uris[0] if len(uris) == 1 else ""
    return found if len(found) <= MAX_ID and _ID.fullmatch(found) and not re.search(r"/\.\.?(/|$)", found) else ""

"""The section `auth.spiffe`: whose word counts for who is behind a connection. `proxy.identity.mesh` takes it. See docs/identity.md."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from proxy.identity.mesh import XFCC, Network
from proxy.settings.fields import setting
from proxy.settings.jwt import Mapped
from proxy.settings.kinds import Kind, Listed, Surroundings, Wrong, shown


class Cidr(Kind):
    """A network; all addresses there are is none."""

    words = "a network, as 10.0.0.0/8 or ::1/128"

    def read(self, value: object, at: Surroundings) -> Network:
        """See `Kind.read`."""
        try:
            found = ipaddress.ip_network(value if isinstance(value, str) else "")
        except ValueError:
            raise Wrong(shown(value), self.words) from None
        if not found.prefixlen:
            raise Wrong(shown(value), self.words, "anybody could write the header and be any agent")
        return found


class HeaderName(Kind):
    """A header of those that are never passed on to a provider."""

    words = "the name of a header that begins with x-forwarded-"

    def read(self, value: object, at: Surroundings) -> str:
        """See `Kind.read`."""
        name = value.lower() if isinstance(value, str) else ""
        if not re.fullmatch(r"x-forwarded-[a-z0-9-]{1,80}", name):
            raise Wrong(shown(value), self.words, f"mostly {XFCC}")
        return name


@dataclass(frozen=True, slots=True, kw_only=True)
class Spiffe:
    """SPIFFE ids from a service mesh that ends mutual TLS in front. See docs/identity.md."""

    trusted: tuple[Network, ...] = setting(
        Listed(Cidr(), "a list of networks"), "Where the mesh's proxies connect from: only there the header counts."
    )
    map: tuple[tuple[str, str], ...] = setting(Mapped(), "Which agent a SPIFFE id is; first match wins, no match is refused.")
    header: str = setting(HeaderName(), "The header in Envoy's form, of which the last element counts.", XFCC)

"""Who may read the admin plane, and who may change something.

Decides one thing of a request: is it authorised. It is, with the admin token, from anywhere. Without a token it is only when it comes
over loopback to a socket bound to loopback, was not passed on by a proxy, and names a loopback host: a web page that points a name of
its own at 127.0.0.1 sends that name along (DNS rebinding). Behind `kubectl port-forward` the peer is loopback but the socket is not, so
the token is asked for. No token set means that nobody is authorised off loopback. Fails closed: what cannot be read is not authorised.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections.abc import Sequence

_PASSED_ON = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-real-ip")
_LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})


class Gate:
    """The rule for one admin port.

    Args:
        token: the admin token; None or empty when none is set.
        host: the address that the port is bound to, as configured.
    """

    def __init__(self, token: str | None, host: str) -> None:
        self._token = _digest(token) if token else None
        self._bound_local = is_loopback(host)
        self._hosts = _LOCAL_NAMES | {f"[{host}]" if ":" in host else host.lower()}

    @property
    def has_token(self) -> bool:
        """Whether there is a token to ask for."""
        return self._token is not None

    def why_not(self, peer: str | None, headers: Sequence[tuple[str, str]]) -> str:
        """Return why a request is not authorised, or nothing when it is.

        Args:
            peer: the address of the other end of the connection, never what a header claims; None when unknown.
            headers: all of the request's headers, repeated ones repeated.
        """
        if self.proves(headers):
            return ""
        if not self._bound_local or peer is None or not is_loopback(peer) or any(k.lower() in _PASSED_ON for k, _ in headers):
            return _NEED_TOKEN if self._token is not None else _NO_TOKEN
        hosts = [v for k, v in headers if k.lower() == "host"]
        if len(hosts) != 1 or host_name(hosts[0]) not in self._hosts:
            return "This host name is not one of the admin plane. Use localhost or 127.0.0.1, or send the admin token."
        return ""

    def why_no_change(self, headers: Sequence[tuple[str, str]]) -> str:
        """Return why a request may not change anything, or nothing when it may: with the token alone, wherever it comes from."""
        if self.proves(headers):
            return ""
        return _NEED_TOKEN if self._token is not None else _NO_CHANGE

    def proves(self, headers: Sequence[tuple[str, str]]) -> bool:
        """Return whether the headers carry the token."""
        sent = [v for k, v in headers if k.lower() == "authorization"]
        if len(sent) != 1:
            return False
        scheme, _, value = sent[0].partition(" ")
        return scheme.lower() == "bearer" and self.is_token(value.strip())

    def is_token(self, value: str) -> bool:
        """Return whether `value` is the token, in constant time."""
        return self._token is not None and hmac.compare_digest(_digest(value), self._token)


_NEED_TOKEN = "Send `Authorization: Bearer` with the value of FLEETGATE_ADMIN_TOKEN."  # noqa: S105 - advice, not a token
_NO_TOKEN = "The admin plane can be read from this machine alone. Set FLEETGATE_ADMIN_TOKEN to read it from elsewhere."  # noqa: S105
_NO_CHANGE = "Nothing can be changed here until FLEETGATE_ADMIN_TOKEN is set; the command line can."


def _digest(token: str) -> bytes:
    """Return a digest, so that comparing tells nothing of the length either."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


def is_loopback(host: str) -> bool:
    """Say whether an address or name is loopback. `localhost` is; any other name is not, whatever it resolves to."""
    try:
        address = ipaddress.ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return host.lower() == "localhost"
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)


def host_name(header: str) -> str:
    """Return the name in a Host header, lower case, without its port; IPv6 stays in brackets."""
    name = header.strip().lower()
    if name.startswith("["):
        end = name.find("]")
        return name[: end + 1] if end > 0 and _is_port(name[end + 1 :]) else ""
    host, _, port = name.partition(":")
    return host if not port or port.isdigit() else ""


def _is_port(rest: str) -> bool:
    return not rest or (rest[0] == ":" and rest[1:].isdigit())

"""Which forward proxy a provider is reached through, as the process environment says. Pure: it opens nothing.

`https_proxy`, `http_proxy` and `no_proxy` hold, in lower case first and else in upper case; an empty one counts as not set. Servers on
this machine (`localhost`, loopback and unspecified addresses) are never asked through a proxy, whatever the environment says: it could
not reach them, or would reach its own.

`no_proxy` is a list with commas or blanks between: `*` for everything, an address, a network (`10.0.0.0/8`), or a name, which with or
without a leading dot stands for itself and all below it; each may end with `:port`.

A proxy is spoken to in HTTP/1.1 without TLS. What names another way (`socks5://`, `https://`) is refused rather than passed over, because
requests would leave by a way that nobody chose. No error and no `repr` shows user or password.

Source: curl(1), ENVIRONMENT; RFC 9110 §9.3.6, §11.7; RFC 7617.
"""

from __future__ import annotations

import ipaddress
import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

WANTED = "http://[USER:PASSWORD@]HOST:PORT"
_HOST = re.compile(r"[A-Za-z0-9._-]{1,253}|[0-9A-Fa-f:.]{2,45}")


class BadProxy(ValueError):
    """A variable names no proxy that can be used. `got` is safe to show."""

    def __init__(self, variable: str, got: str) -> None:
        self.variable, self.got = variable, got
        super().__init__(f"${variable}: {got}, expected {WANTED}")


@dataclass(frozen=True, slots=True)
class ForwardProxy:
    """One proxy. `authorization` is the value of `Proxy-Authorization`, or nothing."""

    variable: str
    host: str
    port: int
    authorization: str = field(default="", repr=False)

    def headers(self) -> tuple[tuple[str, str], ...]:
        """Return what proves to the proxy who asks."""
        return (("Proxy-Authorization", self.authorization),) if self.authorization else ()


@dataclass(frozen=True, slots=True)
class Proxies:
    """The proxies of one environment. Made by `of_environment`; without arguments there are none."""

    by_scheme: Mapping[str, tuple[str, str]] = field(default_factory=dict, repr=False)
    exempt: tuple[str, ...] = ()

    def of(self, url: str) -> ForwardProxy | None:
        """Return the proxy that stands before `url`, or None.

        Raises:
            BadProxy: there should be one, and it cannot be used.
        """
        parts = urlsplit(url)
        variable, text = self.by_scheme.get(parts.scheme, ("", ""))
        host = (parts.hostname or "").rstrip(".")
        if not text or _here(host):
            return None
        port = parts.port or (443 if parts.scheme == "https" else 80)
        if any(_exempt(entry, host, port) for entry in self.exempt):
            return None
        return _read(variable, text)


DIRECT = Proxies()
"""No proxy for anything."""


def of_environment(env: Mapping[str, str]) -> Proxies:
    """Return the proxies that `env` names."""
    found = {}
    for scheme in ("http", "https"):
        variable = next((name for name in (f"{scheme}_proxy", f"{scheme}_proxy".upper()) if env.get(name)), None)
        if variable is not None:
            found[scheme] = (variable, env[variable].strip())
    exempt = env.get("no_proxy") or env.get("NO_PROXY") or ""
    return Proxies(found, tuple(entry.lower() for entry in re.split(r"[,\s]+", exempt) if entry))


def _read(variable: str, text: str) -> ForwardProxy:
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        host, port = parts.hostname or "", parts.port or 80
    except ValueError:
        raise BadProxy(variable, "not a URL") from None
    if parts.scheme != "http":
        raise BadProxy(variable, "a proxy that is spoken to in another way")
    if not _HOST.fullmatch(host) or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise BadProxy(variable, "more or less than a host and a port")
    if parts.username is None and parts.password is None:
        return ForwardProxy(variable, host, port)
    pair = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
    return ForwardProxy(variable, host, port, "Basic " + b64encode(pair.encode()).decode())


def _here(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    address = _address(host)
    return address is not None and (address.is_loopback or address.is_unspecified)


def _exempt(entry: str, host: str, port: int) -> bool:
    """Tell whether the entry of `no_proxy` covers `host`."""
    if entry == "*":
        return True
    address = _address(host)
    if address is not None and "/" in entry:
        try:
            return address in ipaddress.ip_network(entry, strict=False)
        except ValueError:
            return False
    name, only = entry, ""
    if entry.startswith("[") or entry.count(":") == 1:
        name, _, only = entry.rpartition(":") if not entry.endswith("]") else (entry, "", "")
        name = name.strip("[]")
    if only and only != str(port):
        return False
    if address is not None:
        return address == _address(name)
    name = name.removeprefix("*").lstrip(".").rstrip(".")
    return bool(name) and (host == name or host.endswith("." + name))


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address

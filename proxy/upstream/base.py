"""What is known of a provider: where it is, how it wants to be paid for, how long it may take, and nothing that a request could change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, unquote_plus, urlencode

from proxy.engine.ports import UpstreamError

MODEL = "{model}"
"""Stands in the path of a base URL for the name that the provider knows the model by."""
_AUTH = {"anthropic": "x-api-key", "gemini": "x-goog-api-key"}


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Seconds: to a connection, to the reply's head, between two pieces of a body, and from the request to the reply's last byte."""

    connect_s: float = 10.0
    first_byte_s: float = 300.0
    idle_s: float = 120.0
    total_s: float = 1800.0


@dataclass(frozen=True, slots=True)
class Provider:
    """One upstream.

    Attributes:
        name: as in the configuration.
        base_urls: protocol to base URL, without a trailing slash; `{model}` in a path stands for the model's name.
        api_key: the secret, or None where the server wants none. Never printed.
        headers: fixed extra headers.
        local: a server of one's own: no price, short keep-alive, replaced by the next target when it is down.
        auth: how it wants the key, where that is not its protocol's way: `bearer`, `none`, or the name of a header.
        query: fixed parameters of every request. Never printed.
        deadlines, connections: its own bounds, None for the transport's.
        retries: how often what did no work is sent again.
        queue: calls in flight from which on a call that another target can take does not wait here; None for no such bound.
        warm: connections that are opened ahead.
    """

    name: str
    base_urls: Mapping[str, str]
    api_key: str | None = field(default=None, repr=False)
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    local: bool = False
    auth: str | None = None
    query: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    deadlines: Deadlines | None = None
    connections: int | None = None
    retries: int = 0
    queue: int | None = None
    warm: int = 0

    def credentials(self, protocol: str) -> tuple[tuple[str, str], ...]:
        """Return the headers that prove who pays, in the manner of `protocol` or in the provider's own."""
        auth = self.auth or _AUTH.get(protocol, "bearer")
        if self.api_key is None or auth == "none":
            return ()
        if auth == "bearer":
            return (("Authorization", f"Bearer {self.api_key}"),)
        return ((auth, self.api_key),)


def busy(name: str, connections: int, connect_s: float) -> UpstreamError:
    """Return the error of a request that found no free connection in time."""
    return UpstreamError("connect", f"all {connections} connections to {name} were taken for {connect_s:g} s", busy=True)


def refused(name: str) -> UpstreamError:
    """Return the error of a request that a forward proxy did not pass on to `name`: it wants to know who asks."""
    return UpstreamError("connect", f"no connection to {name} (the proxy answered 407)")


def located(base: str, path: str, model: str, query: tuple[tuple[str, str], ...]) -> str:
    """Return `base` (a URL or its path) and `path` with the model's name and the fixed parameters in their places.

    A client's own parameter of the same name is dropped, in whatever case it is written: the operator's holds.

    Raises:
        UpstreamError: the name would lead to another place.
    """
    if MODEL in base:
        if model in ("", ".", ".."):
            raise UpstreamError("protocol", "the model's name cannot stand in a path")
        base = base.replace(MODEL, quote(model, safe=""))
    if not query:
        return base + path
    path, _, theirs = path.partition("?")
    ours = {name.lower() for name, _ in query}
    kept = [part for part in theirs.split("&") if part and unquote_plus(part.partition("=")[0]).lower() not in ours]
    return f"{base}{path}?{'&'.join([*kept, urlencode(query)])}"

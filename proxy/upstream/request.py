"""Writing the head of a request: what never changes for an endpoint is made once, the rest is checked and joined.

It decides which headers the transport itself answers for (framing, `Host`, credentials and what the operator has set) and that nothing
in a header or a path can start a new line. A request that cannot be written safely is an UpstreamError of kind `protocol`; its message
names the header at most, never a value.

Source: RFC 9112 §3 and §5; RFC 9110 §5.5, §7.6.1, §8.6.
"""

from __future__ import annotations

import re
from collections.abc import Sequence, Set
from urllib.parse import urlsplit

from proxy.engine.ports import UpstreamError, UpstreamRequest
from proxy.http1 import TOKEN
from proxy.upstream.base import MODEL, Provider, located
from proxy.upstream.proxies import ForwardProxy

FRAMING = frozenset(
    {"connection", "content-length", "expect", "host", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}
)
REMEMBERED = 1000
"""Request lines and header names that are kept; past this they are all forgotten, which costs time and nothing else."""

LONGEST_KEPT = 1024
"""A longer one is made anew each time: both are the client's, and a thousand long ones are megabytes."""

_TOKEN = re.compile(TOKEN.decode() + "+")
_PATH = re.compile(r"/[\x21\x22\x24-\x7e]*")
_WITH_LENGTH = frozenset({"POST", "PUT", "PATCH"})


class Endpoint:
    """Where the requests of one protocol to one provider go, and how their heads begin.

    Attributes:
        origin: host, port, and whether TLS is spoken.
        proxied: a forward proxy reads these requests, which name their target in full (RFC 9112 §3.2.2). Behind TLS none does.
    """

    def __init__(self, provider: Provider, protocol: str, proxy: ForwardProxy | None = None) -> None:
        url = urlsplit(provider.base_urls[protocol])
        tls = url.scheme == "https"
        self.origin = (url.hostname or "", url.port or (443 if tls else 80), tls)
        self.proxied = proxy is not None and not tls
        authority = url.netloc.rpartition("@")[2]
        self._before = f"http://{authority}" if self.proxied else ""
        self._base, self._query = url.path.rstrip("/"), provider.query
        self._by_model = MODEL in self._base
        fixed = {"host": ("Host", authority), "accept-encoding": ("Accept-Encoding", "identity")}
        for name, value in (*provider.credentials(protocol), *provider.headers):
            if name.lower() not in FRAMING or name.lower() == "host":
                fixed[name.lower()] = (name, value)
        if proxy is not None and self.proxied:
            fixed |= {name.lower(): (name, value) for name, value in proxy.headers()}
        self._fixed = _lines(list(fixed.values()))
        for name, _ in fixed.values():
            _check_name(name)
        self._starts: dict[tuple[str, ...], str] = {}
        self._passes = _Passes(FRAMING | fixed.keys())

    def head(self, request: UpstreamRequest) -> bytes:
        """Return the head of `request`. Raises UpstreamError (protocol)."""
        method, path, headers, size = request.method, request.path, request.headers, len(request.body)
        key = (method, path, request.target.upstream_model) if self._by_model else (method, path)
        start = self._starts.get(key) or self._start(key, request)
        passes = self._passes
        kept = [header for header in headers if passes[header[0]]]
        length = f"Content-Length: {size}\r\n\r\n" if size or method in _WITH_LENGTH else "\r\n"
        try:
            return f"{start}{_lines(kept)}{length}".encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            raise UpstreamError("protocol", "a header has characters that cannot be sent") from None

    def _start(self, key: tuple[str, ...], request: UpstreamRequest) -> str:
        method, target = request.method, located(self._base, request.path, request.target.upstream_model, self._query)
        if not _TOKEN.fullmatch(method) or not _PATH.fullmatch(target):
            raise UpstreamError("protocol", "the method or path has characters that cannot be sent")
        if len(self._starts) >= REMEMBERED:
            self._starts.clear()
        start = f"{method} {self._before}{target} HTTP/1.1\r\n{self._fixed}"
        if len(target) <= LONGEST_KEPT:
            self._starts[key] = start
        return start


class _Passes(dict[str, bool]):
    """Names of a client's headers that were seen, and whether they pass; `ours` do not. What is no name is an UpstreamError."""

    def __init__(self, ours: Set[str]) -> None:
        super().__init__()
        self._ours = ours

    def __missing__(self, name: str) -> bool:
        _check_name(name)
        if len(self) >= REMEMBERED:
            self.clear()
        passing = name.lower() not in self._ours
        if len(name) <= LONGEST_KEPT:
            self[name] = passing
        return passing


def _check_name(name: str) -> None:
    if not _TOKEN.fullmatch(name):
        raise UpstreamError("protocol", "a header's name has characters that cannot be sent")


def _lines(headers: Sequence[tuple[str, str]]) -> str:
    """Return header lines, each of which is one line: the line ends are counted, so a value cannot bring its own."""
    text = "".join([f"{name}: {value}\r\n" for name, value in headers])
    count = len(headers)
    if text.count("\n") != count or text.count("\r") != count or "\0" in text:
        raise UpstreamError("protocol", "a header has characters that cannot be sent")
    return text

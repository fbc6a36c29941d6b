"""Which headers cross the proxy, in both directions, and the ones it adds.

Upwards: all but hop-by-hop headers, the client's credentials, our own, and what the transport sets itself. Downwards: all but
hop-by-hop headers and those that describe an encoding we have undone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING
from urllib.parse import unquote_plus

from proxy.money import dollars

if TYPE_CHECKING:
    from proxy.engine.exchange import Exchange
    from proxy.model import Route

HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Source: RFC 9110 §7.6.1 and RFC 2616 §13.5.1."""

_NOT_UP = HOP | {
    "host",
    "content-length",
    "content-type",
    "content-encoding",
    "accept-encoding",
    "expect",
    "authorization",
    "x-api-key",
    "x-goog-api-key",
    "api-key",
    "cookie",
    "forwarded",
    "openai-organization",
    "openai-project",
    "x-goog-user-project",
    "x-goog-fieldmask",
    "x-http-method-override",
}
"""Three would move the bill to another account of the operator's. The last two have Google leave parts out of its reply, usage or the name
of a tool among them, or take the request for another. Source: Google Cloud, "System parameters"."""
_NOT_DOWN = HOP | {"content-length", "content-encoding", "set-cookie", "server", "date", "alt-svc", "strict-transport-security"}
MAX_RETRY_AFTER_S = 30


MOST_KEPT, LONGEST_KEPT = 1000, 128


class _Fates(dict[str, int]):
    """Header names seen on one way, and what becomes of them; bounded in number and length, since names are others'."""

    def __init__(self, fate_of: Callable[[str], int]) -> None:
        super().__init__()
        self._fate_of = fate_of

    def __missing__(self, name: str) -> int:
        fate = self._fate_of(name.lower())
        if len(self) < MOST_KEPT and len(name) <= LONGEST_KEPT:
            self[name] = fate
        return fate


_STOPS, _PASSES, _CAPPED = range(3)
_up = _Fates(lambda low: _STOPS if low in _NOT_UP or low.startswith(("x-fleetgate-", "x-forwarded-")) else _PASSES)
_down = _Fates(lambda low: _STOPS if low in _NOT_DOWN or low.startswith("x-fleetgate-") else _CAPPED if low == "retry-after" else _PASSES)


def upstream_headers(headers: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return the client's headers that go upstream; a header that `Connection` names is hop-by-hop too.

    A body was read as JSON, so it goes up as JSON: bytes can be JSON and a protocol buffer at once, and Google takes either.
    """
    named = headers.get("connection", "")
    found = [item for item in headers.items() if _up[item[0]]]
    if named and named != "keep-alive":
        extra = {h.strip().lower() for h in named.split(",")}
        found = [item for item in found if item[0].lower() not in extra]
    if "content-type" in headers:
        found.append(("content-type", "application/json"))
    return found


_NO_QUERY = frozenset({"key", "fields", "access_token", "oauth_token", "bearer_token", "callback", "quotauser", "userproject"})
_PLAIN_QUERY = frozenset({"$alt", "$prettyprint"})


def upstream_query(query: str) -> str:
    """Return the client's query without its key, and without what Google's servers would take headers, a body or an account from.

    Its paths for OpenAI's clients take such parameters too. Source: Google Cloud, "System parameters".
    """
    if not query:
        return query
    return "&".join(part for part in query.split("&") if _asks(unquote_plus(part.partition("=")[0]).lower()))


def _asks(name: str) -> bool:
    return name in _PLAIN_QUERY or not (name in _NO_QUERY or name.startswith("$"))


def forwarded(headers: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return the provider's headers that go to the client; a long `Retry-After` is capped, since some clients sleep it out."""
    return [(name, value if fate == _PASSES else _capped(value)) for name, value in headers.items() if (fate := _down[name])]


def passed_on(ex: Exchange, headers: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return the provider's headers that go to the client with a reply that was served, with the content type of its own dialect."""
    found = forwarded(headers)
    if ex.bridge is None:
        return found
    return [*[h for h in found if h[0].lower() != "content-type"], ("content-type", ex.codec.content_type(ex.call))]


def _capped(value: str) -> str:
    try:
        return str(min(int(float(value)), MAX_RETRY_AFTER_S))
    except (ValueError, OverflowError):
        return str(MAX_RETRY_AFTER_S)


def served_as(ex: Exchange, route: Route) -> str:
    """Return why the target that serves was chosen: where it is not the route's first, or took the place of one, as a fallback."""
    first = route.targets[0] if route.targets else ex.target
    return "fallback" if ex.left or (ex.target is not None and ex.target is not first and ex.target != first) else route.reason


def ours(ex: Exchange) -> list[tuple[str, str]]:
    """Return the `x-fleetgate-*` headers of the reply, from what is known when its head goes out."""
    found = [("x-fleetgate-request-id", ex.id), *ex.reply_headers]
    route = getattr(ex, "route", None)
    if route is not None:
        if ex.target is not None:
            found += [("x-fleetgate-model", ex.target.model), ("x-fleetgate-route", served_as(ex, route))]
        if route.difficulty is not None:
            found.append(("x-fleetgate-difficulty", f"{route.difficulty:.2f}"))
    found.append(("x-fleetgate-loop", ex.loop.header()))
    if ex.findings:
        found.append(("x-fleetgate-findings", ",".join(dict.fromkeys(f.rule for f in ex.findings))))
    if ex.usage is not None and ex.served and not ex.call.stream:
        found.append(("x-fleetgate-cost-usd", dollars(ex.cost)))
    return found

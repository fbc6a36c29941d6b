"""Which headers cross the proxy, in both directions, and the ones it adds.

Upwards: all but hop-by-hop headers, the client's credentials, our own, and what the transport sets itself. Downwards: all but
hop-by-hop headers and those that describe an encoding we have undone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import unquote_plus

from proxy.money import dollars

if TYPE_CHECKING:
    from proxy.engine.exchange import Exchange

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


_fates: dict[str, bool] = {}
"""Header names seen on the way up and whether they go on; bounded in number and length, since names are the client's."""
LONGEST_KEPT = 128


def _goes_up(name: str) -> bool:
    fate = _fates.get(name)
    if fate is None:
        low = name.lower()
        fate = low not in _NOT_UP and not low.startswith(("x-fleetgate-", "x-forwarded-"))
        if len(_fates) < 1000 and len(name) <= LONGEST_KEPT:
            _fates[name] = fate
    return fate


def upstream_headers(headers: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return the client's headers that go upstream; a header that `Connection` names is hop-by-hop too.

    A body was read as JSON, so it goes up as JSON: bytes can be JSON and a protocol buffer at once, and Google takes either.
    """
    named = headers.get("connection", "")
    found = [item for item in headers.items() if _goes_up(item[0])]
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
    found = []
    for name, value in headers.items():
        low = name.lower()
        if low in _NOT_DOWN or low.startswith("x-fleetgate-"):
            continue
        found.append((name, _capped(value) if low == "retry-after" else value))
    return found


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


def ours(ex: Exchange) -> list[tuple[str, str]]:
    """Return the `x-fleetgate-*` headers of the reply, from what is known when its head goes out."""
    found = [("x-fleetgate-request-id", ex.id), *ex.reply_headers]
    route = getattr(ex, "route", None)
    if ex.target is not None and route is not None:
        moved = ex.left or (route.targets and ex.target != route.targets[0])
        found.append(("x-fleetgate-model", ex.target.model))
        found.append(("x-fleetgate-route", "fallback" if moved else route.reason))
    if route is not None and route.difficulty is not None:
        found.append(("x-fleetgate-difficulty", f"{route.difficulty:.2f}"))
    found.append(("x-fleetgate-loop", ex.loop.header()))
    if ex.findings:
        found.append(("x-fleetgate-findings", ",".join(dict.fromkeys(f.rule for f in ex.findings))))
    if ex.usage is not None and ex.served and not ex.call.stream:
        found.append(("x-fleetgate-cost-usd", dollars(ex.cost)))
    return found

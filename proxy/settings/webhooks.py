"""The section `webhooks`: whom to tell what happens. `proxy.upstream.webhook` tells them."""

# ruff: noqa: RUF009  (`setting` makes a dataclass field, which is what the rule cannot see)

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, get_args
from urllib.parse import urlsplit

from proxy.engine.notice import NoticeKind
from proxy.model import Source
from proxy.settings.fields import setting
from proxy.settings.kinds import Choice, Listed, Number, Secret, SecretRef, Surroundings, Wrong

KINDS: tuple[str, ...] = get_args(NoticeKind)
NOBODY = Source("", 0)


@dataclass(frozen=True, slots=True)
class HookUrl(SecretRef):
    """An address to post to, written out or as a reference, since with many services knowing it is enough to post there."""

    words: str = "an http or https URL, or `env:NAME` or `file:PATH` of one"

    def read(self, value: object, at: Surroundings) -> Secret | None:
        """See `SecretRef.read`. The URL itself is not shown in errors."""
        written = isinstance(value, str) and re.match(r"https?:", value, re.IGNORECASE)
        found = Secret(str(value), "literal") if written else SecretRef(self.words).read(value, at)
        if found is not None:
            _check(found.reveal())
        return found


def _check(url: str) -> None:
    expected = "http://HOST[:PORT]/PATH or https://..., without user or fragment"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise Wrong("not a URL", expected) from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0 or not url.isascii() or not url.isprintable() or " " in url:
        raise Wrong("not an absolute http or https URL", expected)
    if "@" in parts.netloc or "#" in url or "\\" in url:
        raise Wrong("a URL with a user or a fragment", expected)


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """Each tells one address what happens. A list; see docs/webhooks.md."""

    url: Secret | None = setting(HookUrl(), "Where notices are posted. Redirects are not followed.")
    secret: Secret | None = setting(SecretRef(), "Signs each notice. Only `format: slack` can do without.", None)
    events: tuple[str, ...] = setting(
        Listed(Choice(KINDS), f"a list of {', '.join(f'`{k}`' for k in KINDS)}"), "The kinds of notices that it gets.", KINDS
    )
    format: Literal["json", "slack"] = setting(
        Choice(("json", "slack")), "`json`: id, kind, text, time and facts. `slack`: `text` alone, as Slack and others take it.", "json"
    )
    timeout_s: float = setting(Number(0, 30, above=True), "How long one try may take, in seconds.", 5.0)
    source: Source = NOBODY

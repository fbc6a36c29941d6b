"""What is known of a provider: where it is, how it wants to be paid for, and nothing that a request could change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Provider:
    """One upstream.

    Attributes:
        name: as in the configuration.
        base_urls: protocol to base URL, without a trailing slash.
        api_key: the secret, or None where the server wants none. Never printed.
        headers: fixed extra headers.
        local: a server of one's own: no price, short keep-alive, replaced by the next target when it is down.
    """

    name: str
    base_urls: Mapping[str, str]
    api_key: str | None = field(default=None, repr=False)
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    local: bool = False

    def credentials(self, protocol: str) -> tuple[tuple[str, str], ...]:
        """Return the headers that prove who pays, in the manner of `protocol`."""
        if self.api_key is None:
            return ()
        if protocol == "anthropic":
            return (("x-api-key", self.api_key),)
        if protocol == "gemini":
            return (("x-goog-api-key", self.api_key),)
        return (("Authorization", f"Bearer {self.api_key}"),)

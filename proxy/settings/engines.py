"""The kind of `policy.engine`."""

from __future__ import annotations

from proxy.settings.kinds import Kind, Surroundings, Wrong, base_url, shown

EMBEDDED, OPA = "embedded", "opa:"


class PolicyEngine(Kind):
    """`embedded`, or `opa:` and the root of a server: `opa:http://127.0.0.1:8181`."""

    words = "`embedded` or `opa:http://HOST:PORT`"

    def read(self, value: object, at: Surroundings) -> str:
        """See `Kind.read`."""
        if value == EMBEDDED:
            return EMBEDDED
        if not isinstance(value, str) or not value.startswith(OPA):
            raise Wrong(shown(value), self.words)
        url = base_url(value.removeprefix(OPA))
        if url.count("/") > 2 or "{" in url:
            raise Wrong("a URL with a path", self.words, "the server's root")
        return OPA + url

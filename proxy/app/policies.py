"""The OPA servers of the house: one for each address that a snapshot names, how the present one does, and what operators see of it.

Where policies are enforced (`policy.on_error: deny`) and the server does not answer, or has no bundles yet, no call would pass: the replica
is then not ready, so that others are asked. Whether a call passes is never decided here.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from proxy.app.build import Files
from proxy.policy.opa import OpaServer
from proxy.settings import Settings
from proxy.settings.engines import EMBEDDED, OPA
from proxy.telemetry.policy_metrics import PolicyGauge

log = logging.getLogger("fleetgate.policy")
EVERY_S = 2.0


class Opas:
    """See the module. `use` says which files are in force."""

    def __init__(self) -> None:
        self._servers: dict[tuple[str, int], OpaServer] = {}
        self._files: Files | None = None
        self._told: tuple[bool | None, str, str] = (None, "", "")

    def of(self, settings: Settings) -> OpaServer | None:
        """Return the OPA server that `settings` names, the same one as long as they do; None for the embedded engine."""
        policy = settings.policy
        if not policy.engine.startswith(OPA):
            return None
        named = (policy.engine.removeprefix(OPA), policy.timeout_ms)
        if named not in self._servers:
            self._servers[named] = OpaServer(*named)
        return self._servers[named]

    def use(self, files: Files) -> None:
        """Take the snapshot of `files` into use."""
        self._files = files

    @property
    def _server(self) -> OpaServer | None:
        return None if self._files is None or not self._files.rego else self.of(self._files.settings)

    @property
    def down(self) -> bool:
        """Whether no call can pass because the server is away."""
        server, files = self._server, self._files
        return server is not None and files is not None and server.health.up is False and files.settings.policy.on_error == "deny"

    def state(self) -> str:
        """Return how the engine of Rego does: `none`, `embedded`, or of the OPA server `ok`, `failing` or `down`."""
        server = self._server
        if self._files is None or not self._files.rego:
            return "none"
        if server is None:
            return "embedded"
        return "down" if server.health.up is False else "failing" if server.failing else "ok"

    def detail(self) -> Mapping[str, Any] | None:
        """Return what the last look at the server found; None where no server decides."""
        server = self._server
        if server is None:
            return None
        health = server.health
        return {"url": server.url, "up": health.up, "revision": health.revision, "bundle_refused": health.refused, "errors": server.errors}

    def gauge(self) -> PolicyGauge | None:
        """Return what the metrics show; None without policies in Rego."""
        files, server = self._files, self._server
        if files is None or not files.rego:
            return None
        if server is None:
            return PolicyGauge(EMBEDDED, files.version)
        health = server.health
        return PolicyGauge("opa", health.revision, health.up, bool(health.refused), server.errors)

    async def run(self) -> None:
        """Look again and again until cancelled."""
        while True:
            await asyncio.sleep(EVERY_S)
            await self.look()

    async def look(self) -> None:
        """Look how the server does, and log what changed."""
        server = self._server
        if server is None:
            return
        health = await server.look()
        now = (health.up, health.revision, health.refused)
        if now == self._told:
            return
        before, self._told = self._told, now
        if health.up is not before[0]:
            if not health.up:
                log.error("OPA at %s does not answer, or has not activated its bundles", server.url)
            elif before[0] is not None:
                log.warning("OPA at %s answers again", server.url)
        if health.up and health.revision != before[1]:
            log.info("OPA at %s decides by %s", server.url, health.revision or "policies of no known revision")
        if health.refused and health.refused != before[2]:
            log.error("OPA at %s did not take a bundle and goes on with the one before: %s", server.url, health.refused)

    async def close(self) -> None:
        """Let go of all servers."""
        for server in self._servers.values():
            await server.close()

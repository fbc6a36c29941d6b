"""What a client caused: the calls that reached the provider, and the ledger's records, each looked at once."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import Any

from serving import Proxy, Simulator
from simulating import get

DEADLINE_S = 20.0


@dataclass(slots=True)
class Watched:
    """A simulated provider, the proxy before it, and what tests have seen of them."""

    sim: Simulator
    proxy: Proxy
    _seen: set[str] = field(default_factory=set)

    def calls(self) -> list[dict[str, Any]]:
        """What reached the provider since the last time, oldest first."""
        found = self.sim.calls()
        self.sim.reset()
        return found

    def records(self, count: int) -> list[dict[str, Any]]:
        """The ledger's records since the last time, oldest first: exactly `count`.

        Records are written a moment after an exchange closes, when it is already counted: the metrics say how many there must be.
        """
        deadline = time.monotonic() + DEADLINE_S
        while (closed := self._closed()) < len(self._seen) + count or len(rows := self._rows()) < closed:
            assert time.monotonic() < deadline, f"{closed - len(self._seen)} exchanges closed, not {count}"
        found = [r for r in rows if r["id"] not in self._seen]
        self._seen.update(r["id"] for r in found)
        assert len(found) == count, [(r["protocol"], r["operation"], r["status"], r["reason"]) for r in found]
        return found

    def _closed(self) -> int:
        status, text = get(f"{self.proxy.admin_url}/metrics")
        assert status == 200
        lines = [line for line in text.decode().splitlines() if line.startswith("fleetgate_requests_total{")]
        return round(sum(float(line.rsplit(" ", 1)[1]) for line in lines))

    def _rows(self) -> list[dict[str, Any]]:
        status, body = get(f"{self.proxy.admin_url}/api/v1/exchanges?limit=1000")
        assert status == 200, body
        return sorted(json.loads(body)["exchanges"], key=lambda r: str(r["id"]))

"""What a client caused: the calls that reached the provider, and the ledger's records, each looked at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from serving import Proxy, Simulator


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
        """The ledger's records since the last time, oldest first: exactly `count`."""
        found = [r for r in self.proxy.records(len(self._seen) + count) if r["id"] not in self._seen]
        self._seen.update(r["id"] for r in found)
        assert len(found) == count, [(r["protocol"], r["operation"], r["status"], r["reason"]) for r in found]
        return found

"""How far shipping is behind: what each group of shippers has not taken yet, has taken and not finished, and since when.

Decides nothing. Asks the server only; raises StoreError.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from prometheus_client.core import GaugeMetricFamily, Metric

from proxy.engine.ports import StoreError
from proxy.telemetry.stream import Link


@dataclass(frozen=True, slots=True)
class Lag:
    """One group.

    Attributes:
        group, target: its name, and where it ships to.
        behind: records that nobody has taken yet; None where the server cannot say.
        pending: records that a shipper has taken and not finished.
        oldest: when the oldest record that was not shipped was recorded, UTC seconds; None where all are.
        shippers: (name, records taken and not finished, seconds since it last asked for some).
    """

    group: str
    target: str = ""
    behind: int | None = 0
    pending: int = 0
    oldest: float | None = None
    shippers: tuple[tuple[str, int, float], ...] = field(default=())

    def age(self, now: float) -> float:
        """Return for how many seconds the oldest record has waited."""
        return 0.0 if self.oldest is None else max(now - self.oldest, 0.0)


def lags(link: Link) -> list[Lag]:
    """Return the groups of the stream, none where nobody ships; raises StoreError."""
    stream = link.key("ledger")
    try:
        groups = [_facts(found) for found in link.call("XINFO", "GROUPS", stream, again=True)]
    except StoreError as e:
        if "no such key" in str(e):
            return []
        raise
    return [_lag(link, stream, facts) for facts in groups]


def _lag(link: Link, stream: str, facts: dict[str, Any]) -> Lag:
    group = facts["name"].decode(errors="replace")
    target = link.call("HGET", link.key("ledger-targets"), group, again=True) or b""
    pending = link.call("XPENDING", stream, group, again=True)
    unseen = link.call("XRANGE", stream, f"({facts['last-delivered-id'].decode()}", "+", "COUNT", 1, again=True)
    waiting = [int(at.partition(b"-")[0]) / 1000 for at in (pending[1], unseen[0][0] if unseen else None) if at]
    consumers = [_facts(found) for found in link.call("XINFO", "CONSUMERS", stream, group, again=True)]
    behind = 0 if not unseen else facts.get("lag")
    shippers = tuple((c["name"].decode(errors="replace"), int(c["pending"]), c["idle"] / 1000) for c in consumers)
    return Lag(group, target.decode(errors="replace"), behind, int(pending[0]), min(waiting, default=None), shippers)


def _facts(found: Any) -> dict[str, Any]:
    return {name.decode(): value for name, value in zip(found[::2], found[1::2], strict=True)}


def families(shown: Iterable[Lag], now: float) -> Iterator[Metric]:
    """Yield the metrics of `shown`."""
    behind = GaugeMetricFamily("fleetgate_ledger_unshipped", "Records that the group has not shipped yet.", labels=("group",))
    age = GaugeMetricFamily(
        "fleetgate_ledger_unshipped_seconds", "For how long the oldest record that the group has not shipped has waited.", labels=("group",)
    )
    for lag in shown:
        if lag.behind is not None:
            behind.add_metric((lag.group,), lag.behind + lag.pending)
        age.add_metric((lag.group,), lag.age(now))
    yield from (behind, age)

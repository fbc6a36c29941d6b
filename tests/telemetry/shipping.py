"""What the tests of shipping share: a stream with records in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from record_samples import served

from proxy.engine.record import Record
from proxy.stores.redis_blocking import BlockingLink
from proxy.telemetry.ship import GROUP, Shipment
from proxy.telemetry.stream import Entry, packed


def add(link: BlockingLink, *records: Record | str) -> list[str]:
    """Put records into the stream, or served ones of these ids; return the ids of the entries."""
    whole = [served(i, id=r, time=1000.0 + i) if isinstance(r, str) else r for i, r in enumerate(records)]
    return [link.call("XADD", link.key("ledger"), "*", "r", packed(r)).decode() for r in whole]


def all_of(shipment: Shipment) -> tuple[int, int]:
    """Step until nothing is left; return what was taken and what of it was new."""
    taken = new = 0
    while (step := shipment.step())[0]:
        taken, new = taken + step[0], new + step[1]
    return taken, new


def taken_by_the_dead(link: BlockingLink, most: int, name: str = "dead") -> list[Entry]:
    """Take entries as a shipper that will never come back; return them."""
    answer: Any = link.call("XREADGROUP", "GROUP", GROUP, name, "COUNT", most, "STREAMS", link.key("ledger"), ">")
    return [(entry[0], entry[1][1], False) for entry in answer[0][1]]


def waiting(link: BlockingLink) -> int:
    """Entries that the stream holds."""
    return int(link.call("XLEN", link.key("ledger")))


def ids(count: int, letter: str = "r") -> Sequence[str]:
    return [f"{letter}{i:04}" for i in range(count)]

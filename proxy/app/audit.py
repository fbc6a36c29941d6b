"""Whether the counters say what the records say, and the records of holds that nobody settled.

Every record holds what its settle charged to each counter, so the ledger alone can recompute every counter. A hold that a sweep ended
(its process died) has no exchange that could leave a record: it gets one here, with what the sweep charged.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from typing import Any

from proxy.budget.port import Ended
from proxy.engine.ports import StoreError
from proxy.engine.record import Record
from proxy.telemetry.query import Journal

log = logging.getLogger("fleetgate.audit")
EXPIRED = "expired"
"""The outcome of a hold that a sweep ended."""
_ABOUT = ("agent", "team", "session", "run", "model", "provider", "key_id", "protocol")


def swept(ended: Sequence[Ended], journal: Journal, now: float) -> list[Record]:
    """Return the records of holds that a sweep ended at `now`. Reads the ledger, so call it in a thread.

    Where the exchange lived and has its record (only its settle was lost), the new one holds what was charged beyond that.
    """
    return [_expired(hold, _known(journal, hold.hold_id), now) for hold in ended]


def _known(journal: Journal, hold_id: str) -> Record | None:
    try:
        return journal.one(hold_id)
    except StoreError as e:
        log.error("hold %s expired, and the ledger cannot say whether it has a record: %s", hold_id, e)
        return None


def _expired(hold: Ended, known: Record | None, now: float) -> Record:
    said = () if known is None else known.charges
    charges = dict[tuple[str, str], int]()
    for counter, unit, amount in (*hold.charged, *((c, u, -a) for c, u, a in said)):
        charges[counter, unit] = charges.get((counter, unit), 0) + amount
    return Record(
        id=hold.hold_id,
        time=now,
        **_facts(hold.about),
        outcome=EXPIRED,
        message="The process that held this died, or could not settle it: all that was held is charged.",
        remedy="See the server's log of that time.",
        usage_exact=False,
        cost=max([amount for (_, unit), amount in charges.items() if unit == "usd"], default=0),
        charges=tuple([(counter, unit, amount) for (counter, unit), amount in charges.items() if amount]),
    )


def _facts(about: str) -> dict[str, Any]:
    """Return what the reserve said that the hold is about; nothing where it said nothing that can be read."""
    try:
        found = json.loads(about) if about else {}
    except (ValueError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {name: found[name] for name in _ABOUT if isinstance(found.get(name), str)}

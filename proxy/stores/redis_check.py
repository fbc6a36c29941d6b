"""What must be right about a Redis or Valkey server before anything is kept there; asked once, at the start.

A server that may throw away counters when its memory is full would let budgets be overspent, and so would one of another tenant's keys:
both are refused with the cause. So is a tenant that another release has taken: two that do not know of each other would spend each other's
budgets and kill each other's agents. A release that has a name (`store.release`) takes its tenant at its first start, for good. What the
server does not let us ask (a managed one, an ACL) is not held against it.
"""

from __future__ import annotations

import re

from proxy.engine.ports import StoreError
from proxy.stores.redis_blocking import BlockingLink

SCHEMA = 1
"""What our keys look like. A store that a newer version has written is refused rather than guessed at."""
OLDEST = (6, 2)
"""The first Redis with `ZADD GT`; every Valkey has it."""
_TYPES = {
    "meta": "hash",
    "holds": "zset",
    "settled": "zset",
    "counters": "zset",
    "keys": "hash",
    "keys:version": "string",
    "ledger": "stream",
    "ledger-targets": "hash",
}


def admit(link: BlockingLink) -> None:
    """Return when the server may be used.

    Raises:
        ValueError: it cannot be reached or must not be used; the message says why.
    """
    at = f"store {link.place}"
    try:
        link.call("PING", again=True)
        facts = _facts(link)
        for name, wanted in _TYPES.items():
            found = link.call("TYPE", link.key(name), again=True).decode()
            if found not in ("none", wanted):
                raise ValueError(f"{at}: {link.key(name)} is a {found} of somebody else; give Fleetgate a tenant or a database of its own")
        link.call("HSETNX", link.key("meta"), "schema", SCHEMA, again=True)
        schema = int(link.call("HGET", link.key("meta"), "schema", again=True))
        owner = _owner(link)
    except StoreError as e:
        raise ValueError(f"{at}: {e}") from None
    if owner != link.place.release:
        hint = f"to hand it over, remove the field `release` of {link.key('meta')}"
        taken = f"tenant {link.place.tenant} belongs to release {owner}, and this is {link.place.release}"
        raise ValueError(f"{at}: {taken}: give each a tenant of its own ({hint})")
    if schema > SCHEMA:
        raise ValueError(f"{at}: written by a newer version (schema {schema}, this one knows {SCHEMA})")
    version = tuple(int(part) for part in re.findall(r"\d+", facts.get("redis_version", ""))[:2])
    if version and version < OLDEST:
        raise ValueError(f"{at}: needs Redis {OLDEST[0]}.{OLDEST[1]} or newer, or Valkey; this is {facts['redis_version']}")
    policy = facts.get("maxmemory_policy", "")
    if policy.startswith("allkeys"):
        raise ValueError(f"{at}: its maxmemory-policy is {policy}, which would throw counters away; set it to noeviction")


def _owner(link: BlockingLink) -> str:
    """Return which release has the tenant: this one, where none had it or this one has no name."""
    if not link.place.release:
        return ""
    link.call("HSETNX", link.key("meta"), "release", link.place.release, again=True)
    found: bytes = link.call("HGET", link.key("meta"), "release", again=True)
    return found.decode("utf-8", "replace")


def _facts(link: BlockingLink) -> dict[str, str]:
    found: dict[str, str] = {}
    for section in ("server", "memory"):
        try:
            text = link.call("INFO", section, again=True).decode()
        except StoreError:
            continue
        found.update(line.split(":", 1) for line in text.splitlines() if ":" in line)
    return found

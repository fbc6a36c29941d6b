"""What can go wrong with a store that is not in this process, in the words that people see.

Decides which answers of a Redis server mean "not now" (`Unreachable`: the verb may be tried again later, here or elsewhere) and which
mean that it will never work (`StoreError`). Every one of them refuses the call that needed an answer.
"""

from __future__ import annotations

from proxy.engine.ports import StoreError


class Unreachable(StoreError):
    """The store did not answer, or cannot serve now. Whether the verb was done is not known."""


class Lost(Unreachable):
    """The connection ended while an answer was waited for: the verb may have been done."""


class Moved(Unreachable):
    """Another server has this key now: the verb was not done."""


_NOT_NOW = {
    "LOADING": "it is still reading its data",
    "OOM": "its memory is full (raise maxmemory; the policy must be noeviction)",
    "MISCONF": "it cannot write its snapshot to disk and takes no writes",
    "READONLY": "it is a read-only replica",
    "MASTERDOWN": "it is a replica that has lost its primary",
    "CLUSTERDOWN": "the cluster is down",
    "TRYAGAIN": "the cluster is moving the keys",
    "ASK": "the cluster is moving the keys",
    "BUSY": "it is busy with a script",
    "NOREPLICAS": "it has too few replicas to take writes",
    "UNBLOCKED": "it was made a replica",
    "NOAUTH": "it wants a password: set store.password",
    "WRONGPASS": "it refuses the user or the password",
    "NOPERM": "its user may not do that (ACL)",
    "ERR": "",
}
AWAY = frozenset({"READONLY", "MASTERDOWN", "UNBLOCKED", "NOAUTH"})
"""Answers after which the connection is of no use: the next one may lead to another server."""


def fault(reply: str) -> StoreError:
    """Return the exception for the error `reply` of a server."""
    word, _, rest = reply.partition(" ")
    if word == "MOVED":
        return Moved(f"the Redis store's keys have moved: {rest}")
    if word == "WRONGTYPE":
        return StoreError("the Redis store holds something else under one of our keys: give Fleetgate a tenant or database of its own")
    if word in _NOT_NOW and word != "ERR":
        return Unreachable(f"the Redis store cannot be used: {_NOT_NOW[word]}")
    if "without a password configured" in rest or "invalid password" in rest or "invalid username-password" in rest:
        return Unreachable(f"the Redis store cannot be used: {_NOT_NOW['WRONGPASS']}")
    return StoreError(f"the Redis store refused a command: {reply[:200]}")

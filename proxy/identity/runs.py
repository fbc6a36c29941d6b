"""Names of runs: whose they are, so that nobody draws from another's.

A run is `KEYID/NAME`, where the id is that of the key that named it; in open mode `open:AGENT/NAME`; and where a call names none, its
session, `AGENT/SESSION`. What stands after the last slash has none, so the three never meet: an agent's name has no colon, and one that
looks like a key's id is the operator's own choice.

Pure. Nothing here refuses anything; who may act in which run is decided by `identity.stage`.
"""

from __future__ import annotations

import re

KEY_ID = re.compile(r"[0-9a-f]{8}")
OPEN = "open"
"""The key id of everybody in open mode."""
RUN = r"[^\x00-\x20\x7f/]{1,128}|[0-9a-z*?][0-9a-z._/-]{0,63}/[^\x00-\x20\x7f/]{1,128}"
"""How an operator may write a run: its name alone, or all of it."""


def run_name(owner: str, name: str) -> str:
    """Return the run `name` (without a slash) of the key with the id `owner`."""
    return f"{owner}/{name}"


def whole(run: str, key_id: str) -> str:
    """Return `run` as an operator wrote it for the key `key_id`: a name alone is a run of that key's own."""
    return run if not run or "/" in run else run_name(key_id, run)


def namespace(key_id: str, agent: str) -> str:
    """Return what stands before the names of runs that the key `key_id` names as `agent`."""
    return f"{OPEN}:{agent}" if key_id == OPEN else key_id


def owner(run: str) -> str:
    """Return the id of the key that `run` belongs to; nothing for a session's and for those of open mode."""
    head = run.rpartition("/")[0]
    return head if KEY_ID.fullmatch(head) else ""


def parent_of(run: str, key_id: str) -> str:
    """Return the id of the key that the key `key_id`, bound to `run`, is a child of; nothing where it is nobody's."""
    found = owner(run)
    return "" if found == key_id else found

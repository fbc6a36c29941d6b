"""`keys create|list|revoke`: keys live in the store, only as hashes; a new one is shown once.

A key may be bound to a run (`--run`), which it and its parent then draw from together, and to an amount of its own (`--usd`).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import time
from typing import Any

from proxy.app import build
from proxy.app.build import Files
from proxy.app.storage import open_keys
from proxy.globs import matcher
from proxy.identity.keys import KeyEntry, KeyRing, hash_key, load_keys_file, new_key
from proxy.identity.runs import RUN, owner, run_name
from proxy.model import Nanos
from proxy.money import dollars, nanos
from proxy.settings import Settings, load_settings
from proxy.telemetry.tables import moment, parse_when, table

AHEAD = re.compile(r"\d+\s?[a-zA-Z]")
"""A time from now, as opposed to a date."""


def add(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the commands."""
    group = commands.add_parser("keys", help="create, list and revoke agents' keys").add_subparsers(metavar="VERB", required=True)
    p = group.add_parser("create", parents=[common], help="print a new key, once")
    p.add_argument("agent", help='the agent, or a pattern for a fleet key ("team-a/*")')
    p.add_argument("--expires", type=_until, metavar="WHEN", help="a date, or a time from now such as 30d or 12h")
    p.add_argument(
        "--run", dest="bound", type=_run, metavar="RUN", help="bind it to a run: a name, KEYID/NAME of another key, or AGENT/SESSION"
    )
    p.add_argument("--parent", metavar="KEYID", help="the key whose run that is")
    p.add_argument("--usd", type=_usd, metavar="AMOUNT", help="the most that it may spend in all, in dollars")
    p.set_defaults(run=_create)
    p = group.add_parser("list", parents=[common], help="list keys by their ids")
    p.add_argument("--json", action="store_true")
    p.set_defaults(run=_list)
    words = "revoke one key, or all of an agent, and the child keys of their runs; running servers notice within a second"
    p = group.add_parser("revoke", parents=[common], help=words)
    p.add_argument("key", metavar="ID|AGENT")
    p.set_defaults(run=_revoke)


def _settings(args: argparse.Namespace) -> Settings:
    """Return the settings alone: a mistake in another file must not keep anybody from revoking a key."""
    return load_settings(args.config, os.environ, simulate=True)


def _create(args: argparse.Namespace) -> int:
    files = build.read(args.config, os.environ, simulate=True)
    agents = files.directory.agents
    if not any(map(matcher([args.agent]), agents)):
        sys.stderr.write(f"fleetgate: no agent of this configuration is called {args.agent} (known: {', '.join(sorted(agents)[:20])})\n")
        return 1
    now = time.time()
    key = new_key(args.agent)
    with open_keys(files.settings.store) as store:
        run = _bound(args, files, [*files.keys, *store.keys()], now)
        store.add(KeyEntry(args.agent, hash_key(key), args.expires, now, run=run, usd=args.usd))
    sys.stdout.write(key + "\n")
    return 0


def _bound(args: argparse.Namespace, files: Files, keys: list[KeyEntry], now: float) -> str:
    """Return the run that the new key is bound to, empty for none; a name alone is a run of its own. Raises ValueError."""
    run, parent = args.bound or "", args.parent
    if parent is not None:
        return _of_parent(run, _known(parent, keys, now))
    head = run.rpartition("/")[0]
    if head and owner(run):
        return _of_parent(run, _known(head, keys, now))
    if head and head not in files.directory.agents:
        raise ValueError(f"--run {run}: {head} is no key's id and no agent; write NAME, KEYID/NAME or AGENT/SESSION")
    return run


def _of_parent(run: str, parent: KeyEntry) -> str:
    """Return the run of `parent` that `run` names: of a parent that is bound itself there is only that one."""
    named = run if "/" in run or not run else run_name(parent.id, run)
    if parent.run and named in ("", parent.run):
        return parent.run
    if parent.run:
        raise ValueError(f"--run {run}: key {parent.id} is bound to run {parent.run} itself; leave --run out to share it")
    if owner(named) != parent.id:
        raise ValueError(f"--run {run or 'is missing'}: name the run of key {parent.id}, as --run NAME --parent {parent.id}")
    return named


def _known(key_id: str, keys: list[KeyEntry], now: float) -> KeyEntry:
    """Return the key with that id. Raises ValueError for one that does not hold: a child would not either."""
    found = next((key for key in keys if key.id == key_id), None)
    if found is None or not KeyRing(keys).holds(found, now):
        raise ValueError(f"no key {key_id} holds now; see `fleetgate keys list`")
    return found


def _run(text: str) -> str:
    if not re.fullmatch(RUN, text):
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a run: write NAME, KEYID/NAME or AGENT/SESSION, without spaces")
    return text


def _usd(text: str) -> Nanos:
    try:
        return nanos(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not an amount of dollars such as 2.50") from None


def _until(text: str) -> float:
    """Return the moment that `text` names: a date, or a time from now."""
    now = time.time()
    try:
        when = parse_when(text, now)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a time: write 12h, 30d, 2027-01-31 or 2027-01-31T08:00") from None
    if AHEAD.fullmatch(text.strip()):
        when = now + (now - when)
    if when <= now:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is in the past")
    return when


def _list(args: argparse.Namespace) -> int:
    settings = _settings(args)
    entries = [(entry, "file") for entry in (load_keys_file(settings.auth.keys) if settings.auth.keys is not None else ())]
    if settings.store.kind != "memory":
        with open_keys(settings.store) as store:
            entries += [(entry, "store") for entry in store.keys()]  # noqa: SIM118  a method of the port, not a mapping
    if args.json:
        sys.stdout.write(json.dumps([_shown(e, f) for e, f in entries], indent=1) + "\n")
        return 0
    rows = [(e.id, e.agent, e.run, _amount(e) or "", moment(e.created) if e.created else "", _end(e), f) for e, f in entries]
    head = ("ID", "AGENT", "RUN", "USD", "CREATED (UTC)", "EXPIRES (UTC)", "FROM")
    sys.stdout.write(table(head, rows) + "\n" if rows else "no keys\n")
    return 0


def _shown(entry: KeyEntry, origin: str) -> dict[str, Any]:
    return {
        "id": entry.id,
        "agent": entry.agent,
        "run": entry.run or None,
        "usd": _amount(entry),
        "parent": entry.parent or None,
        "created": entry.created or None,
        "expires": entry.expires,
        "from": origin,
    }


def _amount(entry: KeyEntry) -> str | None:
    return None if entry.usd is None else dollars(entry.usd)


def _end(entry: KeyEntry) -> str:
    return moment(entry.expires) if entry.expires else "never"


def _revoke(args: argparse.Namespace) -> int:
    with open_keys(_settings(args).store) as store:
        count = store.revoke(args.key)
    if not count:
        sys.stderr.write(f"fleetgate: the store has no key {args.key} (keys of a file are revoked there)\n")
        return 1
    sys.stdout.write(f"revoked {count} key{'s' if count > 1 else ''}\n")
    return 0

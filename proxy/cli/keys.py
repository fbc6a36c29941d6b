"""`keys create|list|revoke`: keys live in the store, only as hashes; a new one is shown once."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import sys
import time
from typing import Any

from proxy.app import build
from proxy.globs import matcher
from proxy.identity.keys import KeyEntry, load_keys_file, new_key
from proxy.settings import Settings, load_settings
from proxy.stores.keys import SqliteKeys
from proxy.telemetry.tables import moment, parse_when, table

AHEAD = re.compile(r"\d+\s?[a-zA-Z]")
"""A time from now, as opposed to a date."""


def add(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the commands."""
    group = commands.add_parser("keys", help="create, list and revoke agents' keys").add_subparsers(metavar="VERB", required=True)
    p = group.add_parser("create", parents=[common], help="print a new key, once")
    p.add_argument("agent", help='the agent, or a pattern for a fleet key ("team-a/*")')
    p.add_argument("--expires", type=_until, metavar="WHEN", help="a date, or a time from now such as 30d or 12h")
    p.set_defaults(run=_create)
    p = group.add_parser("list", parents=[common], help="list keys by their ids")
    p.add_argument("--json", action="store_true")
    p.set_defaults(run=_list)
    p = group.add_parser("revoke", parents=[common], help="revoke one key, or all of an agent; running servers notice within a second")
    p.add_argument("key", metavar="ID|AGENT")
    p.set_defaults(run=_revoke)


def _settings(args: argparse.Namespace) -> Settings:
    """Return the settings alone: a mistake in another file must not keep anybody from revoking a key."""
    return load_settings(args.config, os.environ, simulate=True)


def _store(settings: Settings) -> SqliteKeys:
    path = settings.store.path
    if path is None:
        raise ValueError("store memory: keeps no keys between processes; list hashes in auth.keys, or use store: sqlite:PATH")
    return SqliteKeys(path)


def _create(args: argparse.Namespace) -> int:
    files = build.read(args.config, os.environ, simulate=True)
    agents = files.directory.agents
    if not any(map(matcher([args.agent]), agents)):
        sys.stderr.write(f"fleetgate: no agent of this configuration is called {args.agent} (known: {', '.join(sorted(agents)[:20])})\n")
        return 1
    now = time.time()
    expires = args.expires
    key = new_key(args.agent)
    store = _store(files.settings)
    try:
        store.add(KeyEntry(args.agent, hashlib.sha256(key.encode()).hexdigest(), expires, now))
    finally:
        store.close()
    sys.stdout.write(key + "\n")
    return 0


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
    if settings.store.path is not None:
        store = _store(settings)
        try:
            entries += [(entry, "store") for entry in store.keys()]  # noqa: SIM118  a method of the port, not a mapping
        finally:
            store.close()
    if args.json:
        shown = [{"id": e.id, "agent": e.agent, "created": e.created or None, "expires": e.expires, "from": f} for e, f in entries]
        sys.stdout.write(json.dumps(shown, indent=1) + "\n")
        return 0
    rows = [(e.id, e.agent, moment(e.created) if e.created else "", moment(e.expires) if e.expires else "never", f) for e, f in entries]
    sys.stdout.write(table(("ID", "AGENT", "CREATED (UTC)", "EXPIRES (UTC)", "FROM"), rows) + "\n" if rows else "no keys\n")
    return 0


def _revoke(args: argparse.Namespace) -> int:
    store = _store(_settings(args))
    try:
        count = store.revoke(args.key)
    finally:
        store.close()
    if not count:
        sys.stderr.write(f"fleetgate: the store has no key {args.key} (keys of a file are revoked there)\n")
        return 1
    sys.stdout.write(f"revoked {count} key{'s' if count > 1 else ''}\n")
    return 0

"""`budgets`: what is spent, held and left of every budget, for how long at this pace, and whether the counters say what the records say.

Reads the store itself where it is one that several processes can read, else the running server's admin port.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from proxy.app import build
from proxy.app.balances import NOTHING, Board, agent_of, balance_json, balances
from proxy.app.build import Files
from proxy.app.storage import open_stores, reading
from proxy.cli.arguments import seconds
from proxy.cli.asking import asked as admin
from proxy.cli.audit import audit
from proxy.cli.bars import Look, render, title
from proxy.engine.ports import StoreError
from proxy.globs import matcher
from proxy.model import Grant
from proxy.telemetry.charges import Recent
from proxy.telemetry.tables import moment

WATCH_S = 2.0
PIPED = 160
"""Columns where standard output is no window."""
HOUR_S = 3600.0

Balances = list[dict[str, Any]]


def add(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the command."""
    p = commands.add_parser("budgets", parents=[common], help="show what is spent, held and left, and for how long at this pace")
    p.add_argument("--agent", metavar="GLOB", help="only what calls of these agents draw from")
    p.add_argument("--name", metavar="GLOB", help="only budgets of this name")
    p.add_argument("--json", action="store_true")
    p.add_argument(
        "--watch", type=seconds(0.1, 86_400), nargs="?", const=WATCH_S, metavar="SECONDS", help="show it again and again (every 2 seconds)"
    )
    p.add_argument("--audit", action="store_true", help="compare every counter with what the records say; 1 when they differ")
    p.set_defaults(run=_budgets)


def _budgets(args: argparse.Namespace) -> int:
    files = build.read(args.config, os.environ, simulate=True)
    if args.audit:
        return audit(files, as_json=args.json)
    read = _reader(args, files)
    if args.watch is None:
        sys.stdout.write(_page(args, read()) + "\n")
        return 0
    while True:
        page, tty = _page(args, read()), sys.stdout.isatty()
        if args.json:
            sys.stdout.write(page + "\n")
        elif tty:
            sys.stdout.write(f"\x1b[H\x1b[J{page}\n\n{moment(time.time())} UTC, every {args.watch:g} s\n")
        else:
            sys.stdout.write(f"{moment(time.time())} UTC\n{page}\n\n")
        sys.stdout.flush()
        time.sleep(args.watch)


def _page(args: argparse.Namespace, found: Balances) -> str:
    named = matcher((args.name,)) if args.name else None
    shown = [b for b in found if named is None or named(b["name"]) or named(title(b))]
    return json.dumps(shown, indent=None if args.watch else 1) if args.json else render(shown, time.time(), look())


def look() -> Look:
    """Return what standard output can show."""
    tty, encoding = sys.stdout.isatty(), (getattr(sys.stdout, "encoding", None) or "utf-8").lower()
    width = shutil.get_terminal_size().columns if tty or "COLUMNS" in os.environ else PIPED
    return Look(width, colour=tty and "NO_COLOR" not in os.environ, unicode=encoding.replace("-", "").startswith("utf"))


def _reader(args: argparse.Namespace, files: Files) -> Callable[[], Balances]:
    """Return what looks up the balances, nearest to their limits first."""
    wanted = matcher((args.agent,)) if args.agent else None
    if files.settings.store.kind != "memory":
        board = Board(files)
        grants = [grant for name, grant in sorted(files.directory.agents.items()) if wanted is None or wanted(name)]
        return lambda: asyncio.run(_stored(files, board, grants))

    def asked() -> Balances:
        found: Balances = admin(files.settings, "/api/v1/budgets")["budgets"]
        return found if wanted is None else [b for b in found if not (agent := agent_of(b["name"], b["scope"])) or wanted(agent)]

    return asked


async def _stored(files: Files, board: Board, grants: Sequence[Grant]) -> Balances:
    """Return the balances from the store itself."""
    now = time.time()
    recent = await asyncio.to_thread(_recent, files, now)
    stores = open_stores(files.settings.store)
    try:
        claims = await board.fleet(grants, now, recent)
        return [balance_json(b) for b in await balances(stores.budget, claims, now, recent)]
    finally:
        await stores.close()


def _recent(files: Files, now: float) -> Recent:
    """Return what was charged in the last hour; nothing while there is no ledger."""
    try:
        with reading(files.settings.store) as journal:
            return journal.recent(now - HOUR_S, now)
    except StoreError:
        return NOTHING

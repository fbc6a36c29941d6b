"""`approvals list|show|approve|deny`: answer what agents wait for, on any server that shares the store."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Sequence
from typing import Any

from proxy.app.storage import open_control
from proxy.cli.control import person, settings_of, span
from proxy.control.approvals import decide
from proxy.control.questions import UNDECIDED, Case, Decision, Undecided, case_json, state
from proxy.control.rules import seconds_of
from proxy.telemetry.tables import moment, printable, table


def add(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the commands."""
    words = "answer what agents wait for"
    group = commands.add_parser("approvals", help=words).add_subparsers(metavar="VERB", required=True)
    p = group.add_parser("list", parents=[common], help="show what waits; with --all what was decided too")
    p.add_argument("--all", action="store_true")
    p.add_argument("--json", action="store_true")
    p.set_defaults(run=lambda args: asyncio.run(_list(args)))
    p = group.add_parser("show", parents=[common], help="show one question, with what the tool would be given")
    p.add_argument("id", metavar="ID")
    p.add_argument("--json", action="store_true")
    p.set_defaults(run=lambda args: asyncio.run(_show(args)))
    p = group.add_parser("approve", parents=[common], help="let it pass, once or for a time")
    p.add_argument("id", metavar="ID")
    p.add_argument("--reason", default="", metavar="TEXT")
    p.add_argument("--for", dest="lasts", type=span, metavar="TIME", help="let the same pass as often as asked for 30m, 1h, 2d")
    p.set_defaults(run=lambda args: asyncio.run(_decide(args, allowed=True)))
    p = group.add_parser("deny", parents=[common], help="refuse it; who asked is told why")
    p.add_argument("id", metavar="ID")
    p.add_argument("--reason", required=True, metavar="TEXT")
    p.set_defaults(run=lambda args: asyncio.run(_decide(args, allowed=False)), lasts=None)


async def _list(args: argparse.Namespace) -> int:
    now = time.time()
    async with open_control(settings_of(args).store) as store:
        found: Sequence[Case] = await store.cases(now)
    shown = [case for case in found if args.all or (case.status == "pending" and not case.over(now))]
    if args.json:
        sys.stdout.write(json.dumps([case_json(case, now) for case in shown], indent=1) + "\n")
        return 0
    rows = [(c.id, moment(c.asked), c.question.agent, f"{c.question.kind}: {c.question.what}"[:60], state(c, now), c.by) for c in shown]
    head = ("ID", "ASKED (UTC)", "AGENT", "WHAT", "STATE", "BY")
    sys.stdout.write((table(head, rows) if rows else "nothing waits") + "\n")
    return 0


async def _show(args: argparse.Namespace) -> int:
    now = time.time()
    async with open_control(settings_of(args).store) as store:
        case = await store.case(args.id)
    if case is None:
        return _failed(args.id, "unknown")
    said = case_json(case, now)
    if args.json:
        sys.stdout.write(json.dumps(said, indent=1) + "\n")
        return 0
    times = ("asked", "deadline", "waits", "expires", "decided")
    for name, value in said.items():
        if name == "preview" or value in (None, ""):
            continue
        text = f"{moment(value)} UTC" if name in times else printable(str(value))
        sys.stdout.write(f"{name:9} {text}\n")
    for line in case.question.preview.splitlines():
        sys.stdout.write(f"  {printable(line)}\n")
    return 0


async def _decide(args: argparse.Namespace, *, allowed: bool) -> int:
    settings = settings_of(args)
    lasts = seconds_of(args.lasts) if args.lasts else None
    async with open_control(settings.store) as store:
        decision = Decision(allowed, person(), args.reason, lasts)
        found = await decide(store, args.id, decision, time.time(), settings.approvals.keep_s)
    if not isinstance(found, Case):
        return _failed(args.id, found)
    sys.stdout.write(f"{found.status} {found.id}: {printable(found.question.what)} of {printable(found.question.agent)}\n")
    return 0


def _failed(name: str, why: Undecided) -> int:
    sys.stderr.write(f"fleetgate: approval {printable(name)[:40]}: {UNDECIDED[why]}\n")
    return 1

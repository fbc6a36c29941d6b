"""`kill` and `resume`: stop agents, teams, sessions, runs, keys or models now, on every server that shares the store, and let them go on.

They write the store; running servers look at it several times a second. A kill of something that nobody knows does nothing and exits
with 1, unless forced. A mistake in another file keeps nobody from stopping something: names cannot be checked then, and `--force` goes on.
"""

from __future__ import annotations

import argparse
import asyncio
import getpass
import json
import os
import sys
import time
from collections.abc import Sequence
from typing import Any

from proxy.app import build
from proxy.app.hands import Order, UnknownTarget, known_names, order
from proxy.app.storage import open_control, open_keys, reading
from proxy.config import ConfigError, ConfigErrors
from proxy.control.port import entry_json, kill_json
from proxy.control.rules import clean, seconds_of, target_of
from proxy.engine.ports import StoreError
from proxy.settings import Settings, load_settings
from proxy.telemetry.tables import moment, printable, table

TARGETS = "agent:NAME, team:NAME, session:ID, run:ID, key:ID, model:NAME (names may be globs), or all"


def add(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the commands."""
    p = commands.add_parser("kill", parents=[common], help="stop an agent, team, session, run, key, model or all, now")
    p.add_argument("target", nargs="?", type=_target, metavar="TARGET", help=TARGETS)
    p.add_argument("--reason", metavar="TEXT", help="why; the agents are told")
    p.add_argument("--for", dest="lasts", type=span, metavar="TIME", help="end by itself after 30m, 1h, 2d")
    p.add_argument("--force", action="store_true", help="also what nobody knows (yet)")
    p.add_argument("--list", action="store_true", help="show what is stopped")
    p.add_argument("--log", action="store_true", help="show who stopped, resumed and decided what")
    p.add_argument("--json", action="store_true")
    p.set_defaults(run=_kill, usage=p.error)
    p = commands.add_parser("resume", parents=[common], help="lift a kill")
    p.add_argument("target", type=_target, metavar="TARGET", help="exactly as `fleetgate kill --list` shows it")
    p.add_argument("--reason", default="", metavar="TEXT")
    p.set_defaults(run=_resume)


def _target(text: str) -> str:
    try:
        target_of(text)
    except ValueError as e:
        raise argparse.ArgumentTypeError(str(e)) from None
    return text.strip()


def span(text: str) -> str:
    """Return a length of time as typed, for argparse."""
    try:
        seconds_of(text)
    except ValueError as e:
        raise argparse.ArgumentTypeError(str(e)) from None
    return text


def settings_of(args: argparse.Namespace) -> Settings:
    """Return the settings alone: a mistake in another file must not keep anybody from stopping something."""
    return load_settings(args.config, os.environ, simulate=True)


def person() -> str:
    """Return who calls, as the operating system knows them."""
    try:
        return clean(getpass.getuser(), 60)
    except (OSError, KeyError):
        return f"uid {os.getuid()}"


def _kill(args: argparse.Namespace) -> int:
    if args.list or args.log:
        if args.target:
            args.usage("--list and --log take no target")
        return asyncio.run(_show(args))
    if not args.target or not clean(args.reason or ""):
        args.usage("a kill needs a TARGET and a --reason")
    return asyncio.run(_do(args))


async def _do(args: argparse.Namespace) -> int:
    settings = settings_of(args)
    asked = Order(args.target, args.reason, person(), args.lasts or "", args.force)
    try:
        async with open_control(settings.store) as store:
            kill = await order(store, asked, None if args.force else await _names(args, settings), time.time())
    except UnknownTarget as e:
        sys.stderr.write(f"fleetgate: {printable(str(e.args[0]))}\n")
        return 1
    if args.json:
        sys.stdout.write(json.dumps(kill_json(kill), indent=1) + "\n")
    else:
        until = f" until {moment(kill.until)} UTC" if kill.until is not None else f"; `fleetgate resume {kill.target}` lifts it"
        sys.stdout.write(f"killed {printable(kill.target)}{printable(until)}\n")
    return 0


async def _names(args: argparse.Namespace, settings: Settings) -> Sequence[str] | None:
    """Return what is known of the target's kind, None where the files do not tell."""
    try:
        files = build.read(args.config, os.environ, simulate=True)
    except (ConfigErrors, ConfigError) as e:
        sys.stderr.write(f"fleetgate: the files cannot be read ({e}), so names cannot be checked\n")
        return None
    with open_keys(settings.store) as keys, reading(settings.store) as ledger:
        ids = [key.id for key in (*files.keys, *keys.keys())]
        try:
            return await known_names(args.target, files, ids, ledger)
        except StoreError as e:
            sys.stderr.write(f"fleetgate: {e}\n")
            return None


async def _show(args: argparse.Namespace) -> int:
    async with open_control(settings_of(args).store) as store:
        kills, log = await store.kills(time.time()), await store.log(200)
    if args.json:
        shown = [entry_json(e) for e in log] if args.log else [kill_json(k) for k in kills]
        sys.stdout.write(json.dumps(shown, indent=1) + "\n")
    elif args.log:
        rows = [(moment(e.time), e.by, e.action, e.target, _until(e.until), e.reason) for e in log]
        head = ("TIME (UTC)", "WHO", "WHAT", "TARGET", "UNTIL (UTC)", "WHY")
        sys.stdout.write((table(head, rows) if rows else "nothing was done yet") + "\n")
    else:
        shown_kills = [(k.target, k.by, moment(k.since), _until(k.until) or "resumed", k.reason) for k in kills]
        sys.stdout.write(
            (table(("TARGET", "WHO", "SINCE (UTC)", "UNTIL (UTC)", "WHY"), shown_kills) if kills else "nothing is stopped") + "\n"
        )
    return 0


def _until(seconds: float | None) -> str:
    return "" if seconds is None else moment(seconds)


def _resume(args: argparse.Namespace) -> int:
    return asyncio.run(_lift(args))


async def _lift(args: argparse.Namespace) -> int:
    now = time.time()
    async with open_control(settings_of(args).store) as store:
        lifted = await store.resume(args.target, person(), clean(args.reason), now)
        left = await store.kills(now)
    still = f"; still stopped: {printable(clean(', '.join(kill.target for kill in left)))}" if left else ""
    if not lifted:
        sys.stderr.write(f"fleetgate: no kill of {printable(args.target)} holds{still}\n")
        return 1
    sys.stdout.write(f"resumed {printable(args.target)}{still}\n")
    return 0

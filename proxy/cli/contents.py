"""`explain --content` and `ledger erase`: reading what is kept of what was said in one exchange, and erasing it. Both are logged first."""

from __future__ import annotations

import argparse
import asyncio
import sys
import textwrap
import time
from collections.abc import Iterator
from typing import Any

from proxy.app.contents import NOTHING, Places, erase, read
from proxy.app.storage import contents_of, open_control, open_pairs, reading
from proxy.cli.control import person
from proxy.control.rules import clean
from proxy.settings import Settings
from proxy.telemetry.content import Content, Part, Turn, Whose
from proxy.telemetry.tables import count, moment, printable

WIDTH = 100
_BY = "on the command line"


def add(p: argparse.ArgumentParser) -> None:
    """Add what belongs to `erase` to the command `ledger`."""
    p.add_argument("--why", metavar="TEXT", help="why `erase` deletes what was said; it is logged")


def content_of(settings: Settings, name: str) -> Content | None:
    """Return what is kept of an exchange, the reading logged. Raises ValueError and StoreError."""

    async def ask() -> Content | None:
        async with open_control(settings.store) as control:
            with contents_of(settings.store, settings.telemetry.capture_mb) as contents:
                return await read(contents, control, name, f"{person()} ({_BY})", time.time())

    return asyncio.run(ask())


def erase_of(args: argparse.Namespace, settings: Settings) -> int:
    """Run `ledger erase`. Raises ValueError and StoreError."""
    if bool(args.session) == bool(args.agent) or not clean(args.why or ""):
        raise ValueError("ledger erase: needs one of --session and --agent, and a --why")
    whose = Whose(args.session or "", args.agent or "")

    async def do() -> int:
        async with open_control(settings.store) as control:
            with contents_of(settings.store, settings.telemetry.capture_mb) as contents, reading(settings.store) as journal:
                places = Places(contents, open_pairs(settings.store), journal)
                return await erase(places, control, whose, (f"{person()} ({_BY})", args.why), time.time())

    gone = asyncio.run(do())
    sys.stdout.write(f"erased what was said in {count(gone)} exchanges of {printable(str(whose))}; their records stay\n")
    return 0


def said(content: Content | None) -> str:
    """Return in words what is kept, as text for a terminal."""
    if content is None:
        return "\n".join(textwrap.wrap(NOTHING, WIDTH))
    lines = [f"What was said ({content.level}), kept until {moment(content.until)} UTC"]
    if content.before:
        lines.append(f"  {count(content.before)} messages that came with it stand before this")
    lines += [line for turn in content.request for line in _turn(turn)]
    if content.left_out:
        lines.append(f"  {count(content.left_out)} more messages had no room")
    if content.reply:
        lines.append(
            f"The reply{f' ({printable(content.finish)})' if content.finish else ''}{', not all of it' if content.reply_cut else ''}"
        )
        lines += [line for turn in content.reply for line in _turn(turn)]
    return "\n".join(lines)


def _turn(turn: Turn) -> Iterator[str]:
    yield f"  {printable(turn.role)}"
    for part in turn.parts:
        yield from _part(part)


def _part(part: Part) -> Iterator[str]:
    heads = {"tool_call": f"calls {part.name}", "tool_result": "was given by a tool", "media": f"{part.name}, {count(part.size)} bytes"}
    if part.kind in heads:
        yield f"    [{printable(heads[part.kind])}]"
    for line in part.text.splitlines():
        yield f"    {printable(line)}"
    if part.cut:
        yield f"    … {count(part.cut)} more characters were cut off"


def as_json(content: Content | None) -> Any:
    """Return what is kept as JSON shows it."""
    return None if content is None else content.as_json()

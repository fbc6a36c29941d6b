"""`top`: the fleet as it works, an agent a line, drawn anew every few seconds; one snapshot where standard output is no window.

`q` or Ctrl-C ends it, and the screen is as it was before. A ledger that cannot be read for a moment is said on the screen and tried again.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import select
import shutil
import sys
import termios
import time
import tty
from collections.abc import Iterator
from typing import Any

from proxy.app.storage import FileJournal
from proxy.cli.arguments import seconds, whole
from proxy.cli.asking import journal_of
from proxy.engine.ports import StoreError
from proxy.settings import load_settings
from proxy.telemetry.screen import SORTS, Look, render, snapshot

PIPED = 160
EVERY_S = 2.0
_ENTER, _LEAVE, _HOME, _CLEAR_LINE, _CLEAR_REST = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l", "\x1b[H", "\x1b[K", "\x1b[J"


def add(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the command."""
    p = commands.add_parser("top", parents=[common], help="watch agents work: calls, dollars, refusals, loops")
    p.add_argument("--minutes", type=whole(240), default=15, metavar="N", help="how far back, 1 to 240 (default: %(default)s)")
    p.add_argument("--every", type=seconds(0.2, 3600), default=EVERY_S, metavar="SECONDS", help="between two looks (default: %(default)s)")
    p.add_argument("--sort", choices=SORTS, default="usd", help="(default: %(default)s)")
    p.add_argument("--once", action="store_true", help="one snapshot; so it is where standard output is no window")
    p.set_defaults(run=_top)


def _look(live: bool) -> Look:
    """Return what standard output can show now: a window may have changed."""
    terminal, encoding = sys.stdout.isatty(), (getattr(sys.stdout, "encoding", None) or "utf-8").lower()
    size = shutil.get_terminal_size((PIPED, 24))
    height = size.lines if live else 1 << 30
    colour = terminal and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
    width = size.columns if terminal or "COLUMNS" in os.environ else PIPED
    return Look(width, height, colour, unicode=encoding.replace("-", "").startswith("utf"))


def _top(args: argparse.Namespace) -> int:
    settings = load_settings(args.config, os.environ, simulate=True)
    with journal_of(settings) as journal:
        if args.once or not (sys.stdin.isatty() and sys.stdout.isatty()):
            sys.stdout.write(render(snapshot(journal.now(), time.time(), args.minutes, args.sort), _look(live=False)) + "\n")
            return 0
        with _screen():
            while True:
                _draw(_page(journal, args))
                if _asked_to_end(args.every):
                    return 0


def _page(journal: FileJournal, args: argparse.Namespace) -> str:
    look = _look(live=True)
    try:
        return render(snapshot(journal.now(), time.time(), args.minutes, args.sort), look)
    except (StoreError, ValueError) as e:
        return f"{e}"[: look.width]


def _draw(page: str) -> None:
    """Write the page over the one before, without a flicker."""
    lines = [f"{line}{_CLEAR_LINE}" for line in page.split("\n")]
    sys.stdout.write(_HOME + "\n".join(lines) + _CLEAR_REST)
    sys.stdout.flush()


@contextlib.contextmanager
def _screen() -> Iterator[None]:
    """Draw on a screen of our own, and give the keys as they are pressed; afterwards all is as it was."""
    before = termios.tcgetattr(sys.stdin)
    sys.stdout.write(_ENTER)
    try:
        tty.setcbreak(sys.stdin)
        yield
    except KeyboardInterrupt:
        pass
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
        sys.stdout.write(_LEAVE)
        sys.stdout.flush()


def _asked_to_end(seconds: float) -> bool:
    """Wait, and say whether `q` was pressed meanwhile; another key has it drawn at once."""
    if not select.select([sys.stdin], [], [], seconds)[0]:
        return False
    return os.read(sys.stdin.fileno(), 64) in (b"", b"q", b"Q", b"\x1b")

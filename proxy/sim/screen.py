"""How the demo talks: colour and live text on a terminal, plain lines in a pipe. Writes, decides nothing.

`NO_COLOR` is honoured. Pauses between scenes are for people and exist on a terminal only.
"""

from __future__ import annotations

import os
import shutil
import textwrap
import time
from typing import TextIO

_CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}


class Screen:
    """One place to write to.

    Args:
        out: where.
        tty: whether a person watches: colours, live text, pauses.
        pause_s: how long a person gets to read a scene.
    """

    def __init__(self, out: TextIO, *, tty: bool, pause_s: float = 1.6) -> None:
        self._out, self._tty, self._pause_s = out, tty, pause_s
        self._colour = tty and not os.environ.get("NO_COLOR")
        self._width = min(110, shutil.get_terminal_size((100, 24)).columns)
        self._working = False

    def _paint(self, text: str, *names: str) -> str:
        codes = ";".join(_CODES[n] for n in names)
        return f"\x1b[{codes}m{text}\x1b[0m" if self._colour and text else text

    def line(self, text: str = "") -> None:
        """Write one line."""
        self._clear()
        self._out.write(f"{text}\n")
        self._out.flush()

    def working(self, text: str) -> None:
        """Say what is being waited for; the next line takes its place."""
        if self._tty:
            self._clear()
            self._out.write(self._paint(f"  … {text}", "dim"))
            self._out.flush()
            self._working = True

    def _clear(self) -> None:
        if self._working:
            self._out.write("\r\x1b[2K")
            self._working = False

    def scene(self, number: int, of: int, title: str) -> None:
        """Open a scene."""
        self.line()
        self.line(f"{self._paint(f'{number}/{of}', 'cyan')} {self._paint(title, 'bold')}")

    def asked(self, who: str, what: str) -> None:
        """Say what an agent asked."""
        self._marked("→", "cyan", f"{who}: {what}")

    def passed(self, text: str) -> None:
        """Say that Fleetgate let something through."""
        self._marked("✓", "green", text)

    def warned(self, text: str) -> None:
        """Say that Fleetgate let it through with a warning."""
        self._marked("!", "yellow", text)

    def stopped(self, text: str) -> None:
        """Say that Fleetgate stopped something."""
        self._marked("✗", "red", text)

    def detail(self, name: str, text: str) -> None:
        """Add a named detail to what was just said."""
        body = textwrap.fill(text, self._width, initial_indent=f"      {name:<10}", subsequent_indent=" " * 16)
        self.line(self._paint(body, "dim"))

    def why(self, text: str) -> None:
        """Close a scene with what it is good for, and give a person time to read it."""
        self.line(self._paint(textwrap.fill(text, self._width, initial_indent="    ", subsequent_indent="    "), "yellow"))
        if self._tty:
            time.sleep(self._pause_s)

    def live(self, piece: str) -> None:
        """Write a piece of text as it comes; `\\n` ends it."""
        self._clear()
        self._out.write(piece)
        if self._tty:
            self._out.flush()

    def _marked(self, mark: str, colour: str, text: str) -> None:
        body = textwrap.fill(text, self._width, initial_indent="", subsequent_indent="    ", break_long_words=False)
        self.line(f"  {self._paint(mark, colour)} {body}")

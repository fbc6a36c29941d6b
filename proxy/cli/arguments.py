"""What several commands take: a moment, a whole number, a number of seconds. What is none is said in words that argparse shows."""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable

from proxy.telemetry.tables import parse_when


def when(text: str) -> float:
    """Return the moment that `text` names, in seconds since 1970: `2d` ago, `today`, a date."""
    try:
        return parse_when(text, time.time())
    except ValueError as e:
        raise argparse.ArgumentTypeError(str(e)) from None


def whole(most: int) -> Callable[[str], int]:
    """Return the type of a whole number from 1 to `most`."""

    def take(text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) <= len(str(most)) and 1 <= int(text) <= most):
            raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a number from 1 to {most}")
        return int(text)

    return take


def seconds(least: float, most: float) -> Callable[[str], float]:
    """Return the type of a number of seconds within these bounds."""

    def take(text: str) -> float:
        try:
            found = float(text)
        except ValueError:
            found = math.nan
        if not least <= found <= most:
            raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a number of seconds from {least:g} to {most:g}")
        return found

    return take

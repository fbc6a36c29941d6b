"""When a request is sent to the same provider again. Pure: one function, which is told all that counts.

Only what surely did no work: no connection could be made, or the provider said so (429, 503, 529) and that waiting is short. Never after
a byte of the reply went to the client, never what was cut or late (the provider may have worked), never a 500, 502 or 504 (it did).
Whether there is another target, which is better than waiting, is the caller's to know.
"""

from __future__ import annotations

from dataclasses import dataclass

AGAIN = frozenset({429, 503, 529})
"""Statuses that say that nothing was done. Source: RFC 9110 §15.6.4, RFC 6585 §4; 529 is Anthropic's `overloaded_error`."""
LONGEST_S = 2.0
"""A longer wait is the client's to decide."""
FIRST_S = 0.25


@dataclass(frozen=True, slots=True)
class Failure:
    """What came of an attempt: the kind of UpstreamError, or a status with its `Retry-After`."""

    kind: str = ""
    status: int = 0
    retry_after: str | None = None


def pause_s(failure: Failure, tried: int, retries: int, left_s: float, luck: float) -> float | None:
    """Return how long to wait before the next attempt, or None to leave it at this one.

    Args:
        tried: attempts made so far, 1 or more.
        retries: how many may follow the first.
        left_s: what is left of the deadline that holds for all attempts.
        luck: a number from 0 to 1 that spreads the attempts of many clients.
    """
    if tried > retries or not (failure.kind == "connect" or failure.status in AGAIN):
        return None
    backoff = min(LONGEST_S, FIRST_S * 2 ** (tried - 1)) * (0.5 + luck / 2)
    asked = _seconds(failure.retry_after)
    if asked > LONGEST_S:
        return None
    pause = max(asked, backoff)
    return pause if pause < left_s else None


def _seconds(retry_after: str | None) -> float:
    """Return the seconds that the header names; a date, or what is no number, is a long time."""
    if retry_after is None:
        return 0.0
    try:
        found = float(retry_after)
    except ValueError:
        return LONGEST_S + 1
    return found if 0 <= found <= LONGEST_S else LONGEST_S + 1

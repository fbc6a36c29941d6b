"""What a kill holds for, and how long: pure.

A kill names one kind of thing by a name or a glob. It holds for a request as soon as that is known of it: the agent, its team, the key and
a run that the key is bound to from the headers alone; session, run and the model asked for once the body is read; the models that would
serve it once it is routed. Names count in any letter case, so that nobody slips past by shouting.

Nothing here waits or raises but `target_of` and `seconds_of`, which read what people type.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, cast, get_args

from proxy.globs import matcher, overlap
from proxy.model import Deny, Reason

Kind = Literal["agent", "team", "session", "run", "key", "model", "all"]
KINDS: tuple[str, ...] = get_args(Kind)
MAX_NAME = 256
MAX_REASON = 400
MAX_KILLS = 1000
"""Kills that may hold at once: each request is held against all of them."""
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_SPAN = re.compile(r"(\d{1,6})\s?([smhdw])", re.ASCII)
LONGEST_S = 10 * 365 * 86_400.0


@dataclass(frozen=True, slots=True)
class Kill:
    """One stop: what for, why, who said so, and its times in UTC seconds; `until` None for one that stands until it is lifted."""

    kind: Kind
    name: str
    reason: str
    by: str
    since: float
    until: float | None = None

    @property
    def target(self) -> str:
        """As people write it: `agent:crawler`, or `all`."""
        return "all" if self.kind == "all" else f"{self.kind}:{self.name}"

    def holds(self, now: float) -> bool:
        """Return whether it is not over."""
        return self.until is None or now < self.until


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known of an exchange so far; what is not yet is empty."""

    agent: str = ""
    team: str = ""
    key: str = ""
    session: str = ""
    runs: tuple[str, ...] = ()
    models: tuple[str, ...] = ()

    def names(self, kind: Kind) -> tuple[str, ...]:
        """Return its names of that kind."""
        if kind == "run":
            return self.runs
        if kind == "model":
            return self.models
        one = {"agent": self.agent, "team": self.team, "key": self.key, "session": self.session}.get(kind, "")
        return (one,) if one else ()


def target_of(text: str) -> tuple[Kind, str]:
    """Return the kind and the name or glob of a target as people write it.

    Raises:
        ValueError: it is none.
    """
    kind, colon, name = text.strip().partition(":")
    if kind == "all" and not colon:
        return "all", "*"
    if kind not in KINDS or kind == "all" or not name or len(name) > MAX_NAME or not name.isprintable():
        expected = f"`all`, or one of {', '.join(k for k in KINDS if k != 'all')} with a name or a glob, as agent:crawler or team:web-*"
        raise ValueError(f"{clean(text, 60)!r} names nothing that can be stopped; write {expected}")
    return cast(Kind, kind), name


def seconds_of(text: str) -> float:
    """Return the seconds of `90s`, `15m`, `1h`, `2d` or `1w`.

    Raises:
        ValueError: it is none of these, nothing, or more than ten years.
    """
    match = _SPAN.fullmatch(text.strip().lower())
    seconds = float(int(match[1]) * _UNITS[match[2]]) if match else 0.0
    if not 0 < seconds <= LONGEST_S:
        raise ValueError(f"{clean(text, 40)!r} is not a length of time: write 90s, 15m, 1h, 2d or 1w")
    return seconds


def clean(text: str, most: int = MAX_REASON) -> str:
    """Return `text` fit to be shown anywhere: bounded, on one line, without characters that do not print."""
    said = "".join(c if c.isprintable() else " " for c in text.strip()[: most + 1]).strip()
    return said if len(said) <= most else f"{said[: most - 1]}…"


@functools.lru_cache(maxsize=4 * MAX_KILLS)
def _named(name: str) -> Callable[[str], bool]:
    return matcher((name.casefold(),))


def kills(kill: Kill, seen: Seen) -> bool:
    """Return whether a kill is about what is known of an exchange."""
    if kill.kind == "all":
        return True
    names = seen.names(kill.kind)
    if not names:
        return False
    matches = _named(kill.name)
    return any(matches(name.casefold()) for name in names)


def first(board: Iterable[Kill], seen: Seen, now: float) -> Kill | None:
    """Return the first kill that holds for an exchange."""
    return next((kill for kill in board if kill.holds(now) and kills(kill, seen)), None)


def known(kind: Kind, name: str, names: Iterable[str]) -> bool:
    """Return whether a kill would be about anything that exists: `names` are all of that kind, as names or globs."""
    return kind == "all" or any(overlap(name.casefold(), one.casefold()) for one in names)


def deny_of(kill: Kill) -> Deny:
    """Return the refusal that a kill is."""
    until = "" if kill.until is None else f" until {datetime.fromtimestamp(kill.until, UTC):%Y-%m-%d %H:%M:%S} UTC"
    what = "All agents are stopped" if kill.kind == "all" else f"{kill.kind.capitalize()} {kill.name} is stopped"
    message = f"{what} by {kill.by}{until}: {kill.reason or 'no reason given'}"
    message = message if message.endswith((".", "!", "?")) else f"{message}."
    first_of_all = "Use another model, or" if kill.kind == "model" else "Stop, and"
    remedy = f"{first_of_all} ask {kill.by}; `fleetgate resume {kill.target}` lets it go on."
    return Deny(Reason.AGENT_KILLED, message, f"kill {kill.target}", remedy, lasting=True, resets_at=kill.until)


def news(before: Sequence[Kill], after: Sequence[Kill]) -> list[Kill]:
    """Return the kills of `after` that `before` does not have."""
    old = {(kill.target, kill.since) for kill in before}
    return [kill for kill in after if (kill.target, kill.since) not in old]

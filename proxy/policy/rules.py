"""Rules of files: what one is, which of them can hold for an agent, and what follows when several do. Pure.

All rules that match are heard. Of their actions the strictest decides: deny, then require_approval, then redact, then limit and route,
then warn. A rule that runs dry (`shadow`) is only noted, and never stands in front of one that does not.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, tzinfo
from typing import Literal

from proxy.model import Approval, Deny, Grant, Reason, Source
from proxy.policy.fields import LEVELS
from proxy.policy.match import Match

Action = Literal["deny", "require_approval", "redact", "limit", "route", "warn"]
Direction = Literal["request", "tool_definition", "tool_result", "tool_call", "reply"]
MOST_NAMED = 3
"""Rules that a refusal names beside its first, where a person may lift it."""
ORDER: tuple[Action, ...] = ("deny", "require_approval", "redact", "limit", "route", "warn")
"""The strictest first."""
REMEMBERED = 1024
"""Agents whose rules are kept picked out, and tools of one agent; when full they start anew."""
On = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Window:
    """Days (Monday is 0) and minutes of the day, in a time zone; over midnight where `start` is not before `end`."""

    days: frozenset[int]
    start: int
    end: int
    zone: tzinfo

    def holds(self, now: float) -> bool:
        """Return whether `now`, UTC seconds, is inside. After midnight the day is still the one on which the window opened."""
        local = datetime.fromtimestamp(now, self.zone)
        minute, day = local.hour * 60 + local.minute, local.weekday()
        if self.start < self.end:
            return day in self.days and self.start <= minute < self.end
        if minute >= self.start:
            return day in self.days
        return minute < self.end and (day - 1) % 7 in self.days


@dataclass(frozen=True, slots=True)
class When:
    """Where a rule looks at all; None is everywhere. `level` is the lowest classification (an index of `fields.LEVELS`);
    an agent that has none is public."""

    agent: On | None = None
    team: On | None = None
    model: On | None = None
    provider: On | None = None
    tool: On | None = None
    level: int = 0
    window: Window | None = None

    def covers(self, grant: Grant) -> bool:
        """Return whether the rule is about the agent of `grant`."""
        if self.agent is not None and not self.agent(grant.agent):
            return False
        if self.team is not None and not self.team(grant.team):
            return False
        return LEVELS.index(grant.data.get("classification", LEVELS[0])) >= self.level

    @property
    def everywhere(self) -> bool:
        """Whether nothing narrows it."""
        return self == When()


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule as it is enforced. `mode` of its file and switches of the operator are in `action` and `shadow`."""

    id: str
    action: Action
    source: Source
    directions: frozenset[Direction]
    when: When = field(default=When(), compare=False)
    match: Match | None = field(default=None, compare=False)
    title: str = ""
    severity: str = "medium"
    owasp: tuple[str, ...] = ()
    shadow: bool = False
    message: str = ""
    remedy: str = ""
    route_to: str = ""
    max_output: int = 0
    reach: int | None = 0
    shipped: bool = False
    text: str = ""
    approval: Approval = field(default_factory=Approval)

    @property
    def place(self) -> str:
        """Where it is written and what it is called: `policies/x.yaml:12 (no-prod-drop)`."""
        return f"{self.source.file}:{self.source.line} ({self.id})"

    @property
    def words(self) -> str:
        """What it says, in a sentence."""
        said = self.message or self.title or f"Rule {self.id} forbids this"
        return said if said.endswith((".", "!", "?")) else f"{said}."

    @property
    def everything(self) -> bool:
        """Whether it holds for all that comes."""
        return self.when.everywhere and (self.match is None or self.match.trivial)


class RuleSet:
    """All rules of a snapshot, in the order of their files.

    Attributes:
        digest: 12 hex digits that change with any rule: what was found in a message is remembered under it.
        texts: the rules on texts by direction.
    """

    def __init__(self, rules: Iterable[Rule] = ()) -> None:
        self.rules = tuple(rules)
        said = "\0".join(f"{r.source}\0{r.text}\0{r.action}\0{r.shadow}" for r in self.rules)
        self.digest = hashlib.sha256(said.encode("utf-8", "surrogatepass")).hexdigest()[:12]
        self.texts: Mapping[Direction, tuple[Rule, ...]] = {
            direction: tuple(r for r in self.rules if direction in r.directions and r.match is not None and r.match.text)
            for direction in ("request", "tool_definition", "tool_result", "reply")
        }
        self._views: dict[int, tuple[Grant, View]] = {}

    def view(self, grant: Grant) -> View:
        """Return the rules that can hold for the agent of `grant`, remembered for it."""
        known = self._views.get(id(grant))
        if known is None or known[0] is not grant:
            if len(self._views) >= REMEMBERED:
                self._views.clear()
            known = self._views[id(grant)] = grant, View(rule for rule in self.rules if rule.when.covers(grant))
        return known[1]


class View:
    """The rules that can hold for one agent, by what they look at.

    Attributes:
        asked: those on a request as a whole, by `when` alone.
        texts: those on texts of a request, each with the directions that it looks at.
        offered: those on the tools that a request offers, by `when` alone.
        replies: those on the texts of replies.
        calls: those on tool calls.
        reach: how many characters of a reply must be seen at once; 0 for none, None for all.
    """

    def __init__(self, rules: Iterable[Rule]) -> None:
        self.rules = tuple(rules)
        plain = [rule for rule in self.rules if rule.match is None]
        self.asked = tuple(rule for rule in plain if "request" in rule.directions)
        self.offered = tuple(rule for rule in plain if "tool_definition" in rule.directions)
        self.calls = tuple(rule for rule in self.rules if "tool_call" in rule.directions)
        self.replies = tuple(rule for rule in self.rules if "reply" in rule.directions)
        texts = {"request", "tool_definition", "tool_result"}
        self.texts = frozenset(rule.id for rule in self.rules if rule.match is not None and rule.directions & texts)
        reaches = [rule.reach for rule in self.replies]
        self.reach: int | None = None if None in reaches else max((r for r in reaches if r is not None), default=0)
        self._tools: dict[str, tuple[tuple[Rule, ...], tuple[Rule, ...]]] = {}

    def on_call(self, tool: str, kinds: frozenset[str]) -> Sequence[Rule]:
        """Return the rules that can hold for a call of `tool` with effects of these kinds."""
        known = self._tools.get(tool)
        if known is None:
            about = [rule for rule in self.calls if rule.when.tool is None or rule.when.tool(tool)]
            open_ = tuple(rule for rule in about if rule.match is None or rule.match.kinds is None)
            known = open_, tuple(rule for rule in about if rule.match is not None and rule.match.kinds is not None)
            if len(tool) <= 256:
                if len(self._tools) >= REMEMBERED:
                    self._tools.clear()
                self._tools[tool] = known
        if not kinds:
            return known[0]
        return [*known[0], *[r for r in known[1] if r.match is not None and r.match.kinds is not None and r.match.kinds & kinds]]


def strictest(rules: Iterable[Rule]) -> list[Rule]:
    """Return the rules by their action, the strictest first; of one action those that are enforced first."""
    return sorted(rules, key=lambda rule: (rule.shadow, ORDER.index(rule.action)))


def refusal(rules: Iterable[Rule], reason: Reason) -> Deny | None:
    """Return the refusal that follows from the rules that hold, dry where only dry ones refuse; None where none refuses."""
    refusing = [rule for rule in strictest(rules) if rule.action in ("deny", "require_approval")]
    if not refusing:
        return None
    first = deny_of(refusing[0], reason)
    if first.approval is None or first.shadow:
        return first
    others = [rule for rule in refusing[1:] if not rule.shadow]
    approval = functools.reduce(Approval.beside, [rule.approval for rule in others], first.approval)
    return replace(first, rule=" and ".join([first.rule, *[rule.place for rule in others[:MOST_NAMED]]]), approval=approval)


def deny_of(rule: Rule, reason: Reason) -> Deny:
    """Return the refusal of one rule."""
    if rule.action == "require_approval":
        words = f"{rule.words} A person must approve it."
        return Deny(reason, words, rule.place, rule.remedy or APPROVE, rule.shadow, approval=rule.approval)
    return Deny(reason, rule.words, rule.place, rule.remedy or f"Ask whoever keeps {rule.source.file}.", rule.shadow)


APPROVE = "Have a person do it, or ask whoever keeps the rule to allow it."

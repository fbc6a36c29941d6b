"""Which budgets a call touches, and of which window. Pure: `now` is an argument.

A rule sees a call when every dimension of its scope matches; a dimension that the call has no value for (no run, say) does not match.
`*` makes one counter for each value, any other pattern selects and shares one. Values that come from clients go into counter keys only
when short and plain, else as a digest.

Thousands of rules cost no more than the few that can match: rules are found by their first literal dimension, and what team, agent and
key decide is remembered for each combination of them.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from proxy import globs
from proxy.budget.port import Claim, Unit
from proxy.budget.windows import CALENDAR, calendar, span_of
from proxy.model import BudgetRule

DIMENSIONS = ("fleet", "team", "agent", "session", "run", "model", "provider", "key")
SESSION_S = 86_400.0
"""A session's or run's counter is forgotten this long after its last call."""
GRACE_S = 86_400.0
"""A counter is kept this long after its window, for late settles and for people who look."""
FOREVER = 253_402_300_799.0
"""The end of the year 9999: counters without a window never expire."""

_STATIC = ("fleet", "team", "agent", "key")
_INDEXED = ("agent", "team", "key")
_TARGET = frozenset({"model", "provider"})
_PLAIN = re.compile(r"[A-Za-z0-9._:/@+-]{1,96}")
_REMEMBERED = 10_000

Amounts = Mapping[str, int]


class Facts(msgspec.Struct):
    """What a call is, for matching. `targets` are the (provider, model) pairs that may serve it."""

    team: str
    agent: str
    key: str
    session: str
    run: str
    targets: tuple[tuple[str, str], ...] = ()
    fleet: str = "fleet"


def window_of(rule: BudgetRule, now: float) -> tuple[str, float | None]:
    """Return the name of the window of `rule` that holds `now`, and when it ends (UTC seconds; None when no clock ends it)."""
    if rule.window in CALENDAR:
        return calendar(rule.window, now)
    return (rule.window.replace(" ", "-") if span_of(rule.window) else rule.window), None


def safe(value: str) -> str:
    """Return `value` as it may stand in a counter's key: itself when short and plain, else its digest."""
    if _PLAIN.fullmatch(value):
        return value
    return "#" + hashlib.blake2b(value.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def matcher(pattern: str) -> Callable[[str], bool] | None:
    """Return what decides whether a value matches `pattern`, or None for `*`, which every value does."""
    if pattern == "*":
        return None
    return globs.matcher((pattern,))


class _Rule:
    """One rule, split into what team, agent and key decide and what each call decides; `opens`: more than its session."""

    __slots__ = ("dynamic", "opens", "rule", "static", "static_each", "target_bound")

    def __init__(self, rule: BudgetRule) -> None:
        self.rule = rule
        scope = list(rule.scope)
        named = {dimension for dimension, _ in scope}
        if rule.window in ("session", "run") and rule.window not in named:
            scope.append((rule.window, "*"))
        parts = [(dimension, matcher(pattern)) for dimension, pattern in scope]
        self.static = [(d, m) for d, m in parts if d in _STATIC]
        self.static_each = [d for d, m in self.static if m is None and d != "fleet"]
        self.dynamic = [(d, m) for d, m in parts if d not in _STATIC]
        self.target_bound = any(d in _TARGET for d, _ in self.dynamic)
        self.opens = self.dynamic not in ([], [("session", None)])

    def prefix(self, facts: Facts) -> str | None:
        """Return the start of the counter's key when team, agent and key match, else None."""
        for dimension, match in self.static:
            value = getattr(facts, dimension)
            if not value or (match is not None and not match(value)):
                return None
        each = "".join([f",{d}={safe(getattr(facts, d))}" for d in self.static_each])
        return f"{self.rule.name}|{self.rule.unit}|{each[1:]}"

    def suffix(self, facts: Facts, target: tuple[str, str] | None) -> str | None:
        """Return what session, run and target add to the key when they match, else None."""
        found = ""
        for dimension, match in self.dynamic:
            if dimension in _TARGET:
                value = "" if target is None else target[dimension == "model"]
            else:
                value = facts.session if dimension == "session" else facts.run
            if not value or (match is not None and not match(value)):
                return None
            if match is None:
                found += f",{dimension}={safe(value)}"
        return found


Matching = tuple[tuple[_Rule, str], ...]
_Row = tuple[str, str, Unit, int | None, float, float, BudgetRule, float | None, float, _Rule | None]
"""What the counter's key begins with, and ends with where a call adds to it (else the former is all of it), unit, limit, when the counter
expires, or how long after the call (then the former is 0), the rule as it was read, when the window ends, its span if it rolls, and the
rule as it is compiled where a call adds more than its session."""
_claim = tuple.__new__
"""Making a claim without its named-tuple wrapper takes half the time, and every call makes several."""


class Plan:
    """The rules that one caller's calls touch, with all of their claims that the calls themselves do not decide.

    Keys of counters are written once for each calendar window, not once a call. `size` is the number of rules. `money` has the indices and
    limits of the claims on dollars, `watched` the indices of those whose rule has something to say; they and `words` hold when every rule
    makes one claim (`regular`, and the call has a session).
    """

    __slots__ = ("_from", "_matching", "_rows", "_until", "carbon", "money", "regular", "size", "watched", "words")

    def __init__(self, matching: Matching) -> None:
        self._matching, self._rows, self.size = matching, list[_Row](), len(matching)
        self._from = self._until = 0.0
        rules = [compiled.rule for compiled, _ in matching]
        self.regular = not any(compiled.opens for compiled, _ in matching)
        self.money: Sequence[tuple[int, int]] = tuple(
            [(i, rule.limit) for i, rule in enumerate(rules) if rule.unit == "usd" and enforced(rule)]
        )
        self.carbon = any(rule.unit == "gco2e" and enforced(rule) for rule in rules)
        self.watched: Sequence[int] = tuple([i for i, rule in enumerate(rules) if talks(rule)])
        self.words = sys.intern(held_by(rules))  # most agents are held by the same rules of the fleet

    def _arrange(self, now: float) -> None:
        """Write the keys of the windows that hold `now`, and remember until when they stand."""
        self._rows, self._from, self._until = [], now, FOREVER
        for compiled, prefix in self._matching:
            rule = compiled.rule
            (name, resets_at), span = window_of(rule, now), float(span_of(rule.window))
            expires, stays = FOREVER, 0.0
            if resets_at is not None:
                expires = resets_at + GRACE_S
                self._until = min(self._until, resets_at)
            elif span or rule.window in ("session", "run") or rule.unit == "concurrency":
                expires, stays = 0.0, span + GRACE_S if span else SESSION_S
            limit = rule.limit if enforced(rule) else None
            head, tail = (prefix, f"|{name}") if compiled.dynamic else (f"{prefix}|{name}", "")
            opens = compiled if compiled.opens else None
            self._rows.append((head, tail, rule.unit, limit, expires, stays, rule, resets_at, span, opens))

    def claims(self, facts: Facts, now: float, amounts: Amounts) -> list[Claim]:
        """Return what a call with `facts` that can use at most `amounts` (by unit) claims; units not in `amounts` are not claimed."""
        if not self._from <= now < self._until:
            self._arrange(now)
        found: list[Claim] = []
        session = f",session={safe(facts.session)}" if facts.session else ""
        for head, tail, unit, limit, expires, stays, rule, resets_at, span, opens in self._rows:
            if unit not in amounts:
                continue
            amount = amounts[unit]
            if stays:
                expires = now + stays
            if opens is not None:
                found += _open(opens, facts, head, _claim(Claim, (tail, unit, limit, amount, expires, rule, resets_at, None, span)))
                continue
            if tail:
                if not session:
                    continue
                head = f"{head}{session}{tail}"
            found.append(_claim(Claim, (head, unit, limit, amount, expires, rule, resets_at, None, span)))
        return found


def _open(compiled: _Rule, facts: Facts, prefix: str, made: Claim) -> list[Claim]:
    """Return the claims of a rule that looks at run, targets or certain sessions; `made` has all but the counter, and its end."""
    found: dict[str, Claim] = {}
    for target in dict.fromkeys(facts.targets) if compiled.target_bound else (None,):
        suffix = compiled.suffix(facts, target)
        if suffix is not None:
            counter = f"{prefix}{suffix}{made.counter}"
            # two targets of one counter: it is owed whoever of them serves
            found[counter] = made._replace(counter=counter, target=None if counter in found else target)
    return list(found.values())


def enforced(rule: BudgetRule) -> bool:
    """Return whether `rule` may refuse; others only count."""
    return not rule.shadow and rule.on_exceed != "warn"


def talks(rule: BudgetRule) -> bool:
    """Return whether `rule` may leave a finding."""
    return rule.shadow or rule.on_exceed == "warn" or bool(rule.warn_at)


def held_by(rules: Iterable[BudgetRule | None]) -> str:
    """Return the words that say which rules hold a call."""
    return f"reserved in {', '.join(dict.fromkeys([rule.name for rule in rules if rule is not None]))}"


class RuleSet:
    """Rules, arranged so that those of a call are found without trying all."""

    __slots__ = ("_by_literal", "_others", "_plans")

    def __init__(self, rules: Iterable[BudgetRule]) -> None:
        self._by_literal: dict[tuple[str, str], list[_Rule]] = {}
        self._others: list[_Rule] = []
        self._plans: dict[tuple[str, str, str], Plan] = {}
        for rule in rules:
            compiled = _Rule(rule)
            scope = dict(rule.scope)
            literal = next(((d, scope[d]) for d in _INDEXED if d in scope and not globs.is_glob(scope[d])), None)
            (self._others if literal is None else self._by_literal.setdefault(literal, [])).append(compiled)

    def matching(self, facts: Facts) -> Matching:
        """Return the rules that team, agent and key of `facts` let match, each with the start of its counter's key."""
        near = [r for d in _INDEXED for r in self._by_literal.get((d, getattr(facts, d)), ())]
        return tuple([(r, prefix) for r in (*near, *self._others) if (prefix := r.prefix(facts)) is not None])

    def plan(self, facts: Facts) -> Plan:
        """Return the plan of the caller in `facts`, remembered."""
        who = (facts.team, facts.agent, facts.key)
        found = self._plans.get(who)
        if found is None:
            if len(self._plans) >= _REMEMBERED:
                self._plans.clear()
            found = self._plans[who] = Plan(self.matching(facts))
        return found

    def claims(self, facts: Facts, now: float, amounts: Amounts) -> list[Claim]:
        """Return what `Plan.claims` does for the caller in `facts`."""
        return self.plan(facts).claims(facts, now, amounts)

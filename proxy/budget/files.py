"""Reading `budgets/*.yaml`: every entry becomes one `BudgetRule` a unit, or an error that says file, line and what was meant.

What nobody enforces is refused here rather than read and forgotten: a limit that is written and not enforced is worse than none. Short
windows of `limits:` slide: a rate that is counted by the clock's minutes lets twice as much through at their edge.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from proxy.budget.rules import DIMENSIONS
from proxy.budget.windows import SLIDING, WINDOWS, span_of
from proxy.config import ConfigError, ConfigErrors, Doc, KeyPath, load_yaml, near
from proxy.model import BudgetRule, Reason, Source
from proxy.model.footprints import MICRO
from proxy.money import nanos

_BUDGET = frozenset({"name", "scope", "limit", "window", "warn_at", "on_exceed", "mode"})
_UNITS = ("usd", "tokens", "input_tokens", "output_tokens", "requests", "gco2e")
_RATES = (*_UNITS[1:5], "concurrency")
_LIMIT = frozenset({"name", "scope", *_RATES, "window", "mode"})
_ACTIONS = ("deny", "warn", "local", "downgrade")
_MODEL = re.compile(r"[^\x00-\x20\x7f*?\[\]]{1,256}")
MAX_COUNT = 10**15
MAX_GRAMS = 10**12


def load_budgets(folder: Path, name: str | None = None) -> tuple[tuple[BudgetRule, ...], tuple[Path, ...]]:
    """Return the rules of all `*.yaml` and `*.yml` files in `folder`, and those files. A folder that is not there has none.

    Args:
        folder: where to look; sub-folders are not read.
        name: how messages name the folder (default: as given).

    Raises:
        ConfigErrors: everything that is wrong in any of them.
    """
    files = tuple(sorted(p for p in folder.iterdir() if p.suffix in (".yaml", ".yml") and p.is_file())) if folder.is_dir() else ()
    rules: list[BudgetRule] = []
    errors: list[ConfigError] = []
    names: dict[str, Source] = {}
    for path in files:
        try:
            doc = load_yaml(path, str(Path(name or folder) / path.name))
        except ConfigError as e:
            errors.append(e)
            continue
        found, wrong = budgets_of(doc, names)
        rules += found
        errors += wrong
    if errors:
        raise ConfigErrors(errors)
    return tuple(rules), files


def budgets_of(doc: Doc, names: dict[str, Source] | None = None) -> tuple[list[BudgetRule], list[ConfigError]]:
    """Return the rules of one file and all that is wrong in it. `names` holds those taken by files before."""
    names = {} if names is None else names
    rules: list[BudgetRule] = []
    errors: list[ConfigError] = []
    if doc.value is None:
        return rules, errors
    if not isinstance(doc.value, dict):
        return rules, [doc.error((), "not a mapping", "budgets: and limits:")]
    for section, items in doc.value.items():
        if section not in ("budgets", "limits"):
            errors.append(doc.error((section,), "unknown key", hint=near(section, ("budgets", "limits"))))
            continue
        if not isinstance(items, list):
            if items is not None:
                errors.append(doc.error((section,), "not a list", f"a list of {section}"))
            continue
        for i in range(len(items)):
            try:
                rules += _Entry(doc, (section, i), names).rules()
            except ConfigError as e:
                errors.append(e)
    return rules, errors


class _Entry:
    """One item of either list."""

    def __init__(self, doc: Doc, path: KeyPath, names: dict[str, Source]) -> None:
        self.doc, self.path, self.names = doc, path, names
        self.limits = path[0] == "limits"
        value: Any = doc.value
        for part in path:
            value = value[part]
        if not isinstance(value, dict):
            raise doc.error(path, "not a mapping", "name:, scope:, limit:, window:")
        self.value: Mapping[str, Any] = value
        known = _LIMIT if self.limits else _BUDGET
        for key in value:
            if key not in known:
                raise doc.error((*path, key), "unknown key", hint=near(key, known))

    def error(self, key: str, got: str, expected: str = "", hint: str = "") -> ConfigError:
        return self.doc.error((*self.path, key), got, expected, hint)

    def rules(self) -> list[BudgetRule]:
        name = self._name()
        source = Source(self.doc.file, self.doc.line(self.path), f"{self.path[0]}.{name}")
        base = BudgetRule(
            name=name,
            scope=self._scope(),
            unit="requests",
            limit=0,
            window=self._window(),
            source=source,
            warn_at=self._warn_at(),
            on_exceed=self._on_exceed(),
            reason=Reason.RATE_LIMITED if self.limits else Reason.BUDGET_EXCEEDED,
            shadow=self._shadow(),
        )
        self.names[name] = source
        return [self._rule(base, unit, amount) for unit, amount in self._amounts().items()]

    @staticmethod
    def _rule(base: BudgetRule, unit: Any, amount: int) -> BudgetRule:
        if unit == "concurrency":
            return replace(base, unit=unit, limit=amount, window="total", warn_at=())
        return replace(base, unit=unit, limit=amount)

    def _name(self) -> str:
        name = self.value.get("name")
        if not isinstance(name, str) or not name or len(name) > 64 or not all(c.isalnum() or c in "-_." for c in name):
            raise self.error("name", "no name" if name is None else f"{name!r}", "letters, digits, - _ . (at most 64)")
        if name in self.names:
            raise self.error("name", f"the name {name!r} is taken at {self.names[name]}", "a name of its own")
        return name

    def _scope(self) -> tuple[tuple[str, str], ...]:
        scope = self.value.get("scope", {})
        if scope is None:
            return ()
        if not isinstance(scope, dict):
            raise self.error("scope", f"{scope!r}", 'a mapping such as {agent: "*"}')
        for dimension, pattern in scope.items():
            at = (*self.path, "scope", dimension)
            if dimension not in DIMENSIONS:
                raise self.doc.error(at, "unknown dimension", hint=near(dimension, DIMENSIONS))
            if not isinstance(pattern, str) or not pattern:
                raise self.doc.error(at, f"{pattern!r}", 'a name, a glob, or "*" for one counter each')
        return tuple((d, scope[d]) for d in DIMENSIONS if d in scope and (d, scope[d]) != ("fleet", "*"))

    def _window(self) -> str:
        window = self.value.get("window")
        if window is None and self.limits and set(_UNITS).isdisjoint(self.value):
            return "total"
        if isinstance(window, str) and window.startswith("rolling"):
            if not span_of(window):
                raise self.error("window", f"{window!r}", "rolling 30m, rolling 24h, rolling 7d: from 60s to 366d")
            return " ".join(window.split())
        if window not in WINDOWS:
            expected = f"{' | '.join(WINDOWS)} | rolling 24h"
            raise self.error("window", "no window" if window is None else f"{window!r}", expected, near(str(window), WINDOWS))
        return SLIDING.get(window, window) if self.limits else str(window)

    def _warn_at(self) -> tuple[float, ...]:
        values = self.value.get("warn_at", [])
        values = values if isinstance(values, list) else [values]
        if not all(isinstance(v, int | float) and not isinstance(v, bool) and 0 < v <= 1 for v in values):
            raise self.error("warn_at", f"{values!r}", "fractions of the limit such as [0.5, 0.8]")
        return tuple(sorted(float(v) for v in values))

    def _on_exceed(self) -> str:
        action = self.value.get("on_exceed", "deny")
        if isinstance(action, str) and action in ("deny", "warn", "local"):
            return action
        if isinstance(action, str) and action.startswith("downgrade:"):
            action = {"downgrade": action.partition(":")[2].strip()}
        if isinstance(action, dict) and list(action) == ["downgrade"]:
            model = action["downgrade"]
            if not isinstance(model, str) or not _MODEL.fullmatch(model):
                raise self.error("on_exceed", f"{model!r}", "one model's name, such as {downgrade: gpt-4o-mini}")
            return f"downgrade:{model}"
        raise self.error("on_exceed", f"{action!r}", "deny | warn | local | {downgrade: MODEL}", near(str(action), _ACTIONS))

    def _shadow(self) -> bool:
        mode = self.value.get("mode", "enforce")
        if mode not in ("enforce", "shadow"):
            raise self.error("mode", f"{mode!r}", "enforce | shadow", near(str(mode), ("enforce", "shadow")))
        return bool(mode == "shadow")

    def _amounts(self) -> dict[str, int]:
        units = _RATES if self.limits else _UNITS
        path: KeyPath = self.path if self.limits else (*self.path, "limit")
        given = self.value if self.limits else self.value.get("limit")
        if not isinstance(given, dict):
            raise self.error("limit", "no limit" if given is None else f"{given!r}", "a mapping such as {usd: 5.00}")
        for key in () if self.limits else given:
            if key not in units:
                raise self.doc.error((*path, key), "unknown unit", hint=near(key, units))
        found = {unit: self._amount((*path, unit), unit, given[unit]) for unit in units if unit in given}
        if not found:
            raise self.doc.error(path, "no limit", " and/or ".join(units))
        return found

    def _amount(self, at: KeyPath, unit: str, value: Any) -> int:
        if unit == "usd":
            try:
                if isinstance(value, bool) or not isinstance(value, int | float | str):
                    raise ValueError(f"{value!r} is not an amount of dollars")
                return nanos(value)
            except ValueError as e:
                raise self.doc.error(at, str(e), "dollars such as 5.00") from None
        if unit == "gco2e":
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MAX_GRAMS:
                raise self.doc.error(at, f"{value!r}", "grams of CO2 equivalents such as 500")
            return int(value * MICRO)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_COUNT:
            raise self.doc.error(at, f"{value!r}", "a whole number of at least 0")
        return value

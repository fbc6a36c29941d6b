"""One layer: what one file says about one agent, as clauses and limits that each know where they are written.

A layer is filled while its file is read (`agents_md`, `aliases`) and only read after that (`grants`). It decides nothing: which
layers hold together, and that they intersect, is `grants`' business. Values reach a layer checked; nothing here fails.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from proxy.globs import allower, matcher
from proxy.model import ArgumentClause, BudgetRule, Clause, Limit, Reason, Source
from proxy.model.footprints import MICRO
from proxy.money import nanos
from proxy.patterns import pattern

Unit = Literal["usd", "tokens", "input_tokens", "output_tokens", "requests", "gco2e"]
Kind = Literal["models", "tools", "delegates"]
Bound = Literal["max_input", "max_output", "max_turns", "max_duration", "max_depth", "fan_out"]
UNITS: dict[str, Unit] = {
    "usd": "usd",
    "tokens": "tokens",
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "llm_calls": "requests",
    "gco2e": "gco2e",
}


def tool_name(pattern: str) -> str:
    """Return the tool that `pattern` speaks of: `Bash(git diff:*)` is about `Bash`; what is in the brackets is about its arguments."""
    return pattern.partition("(")[0].strip() if pattern.endswith(")") and not pattern.startswith("(") else pattern


def _compile(kind: Kind, allow: Sequence[str] | None, deny: Sequence[str]) -> Callable[[str], bool]:
    """Return the predicate of both lists; tool patterns with arguments match by their tool's name."""
    if kind != "tools":
        return allower(allow, deny)
    return allower(None if allow is None else map(tool_name, allow), map(tool_name, deny))


def _called(tools: Sequence[str]) -> Callable[[str], bool]:
    """Return the predicate of tool names in folded letter case."""
    return matcher(tool_name(tool).casefold() for tool in tools)


@dataclass(slots=True)
class Layer:
    """What one file says about one agent.

    Attributes:
        budgets: rules whose name is only the key (`session/usd`) and whose scope is empty: both are made when the agent is known.
        loops: warn, block, steps, persona, downgrade, max_period: (value, where) by name.
        routing: threshold, max_threshold, pinned: (value, where) by name.
        texts: default_model, fallback, team, version, description: (text, where); the nearest layer's word is taken.
        data: the `policy.data` values: (text, where).
        unused: keys that are accepted and not enforced in this version.
        warnings: what the reader of the file should know.
    """

    file: str
    digest: str = ""
    shadow: bool = False
    models: tuple[Clause, ...] = ()
    tools: tuple[Clause, ...] = ()
    max_input: tuple[Limit, ...] = ()
    max_output: tuple[Limit, ...] = ()
    max_turns: tuple[Limit, ...] = ()
    max_duration: tuple[Limit, ...] = ()
    max_depth: tuple[Limit, ...] = ()
    fan_out: tuple[Limit, ...] = ()
    delegates: tuple[Clause, ...] = ()
    budgets: tuple[BudgetRule, ...] = ()
    loops: dict[str, tuple[Any, Source]] = field(default_factory=dict)
    local_ok: tuple[bool, Source] | None = None
    routing: dict[str, tuple[Any, Source]] = field(default_factory=dict)
    texts: dict[str, tuple[str, Source]] = field(default_factory=dict)
    fallback: tuple[str, ...] = ()
    data: dict[str, tuple[str, Source]] = field(default_factory=dict)
    tool_args: tuple[ArgumentClause, ...] = ()
    review_by: tuple[str, Source] | None = None
    unused: tuple[Source, ...] = ()
    warnings: tuple[str, ...] = ()

    def arguments(self, tools: Sequence[str], key: str, regex: str, action: Any, source: Source) -> None:
        """Add a clause on the arguments of tools. Raises PatternError where RE2 does not take `regex`."""
        found = pattern(regex).found
        self.tool_args += (ArgumentClause(tuple(tools), key, regex, action, source, self.shadow, _called(tools), found),)

    def approve(self, tools: Sequence[str], source: Source) -> None:
        """Add tools that a person must approve each call of."""
        if tools:
            self.arguments(tools, "", "", "require_approval", source)

    def limit(self, bound: Bound, value: float, source: Source) -> None:
        """Add an upper bound."""
        setattr(self, bound, (*getattr(self, bound), Limit(int(value), source, self.shadow)))

    def amount(self, window: str, key: str, value: float, source: Source, how: tuple[str, tuple[float, ...]] = ("deny", ())) -> None:
        """Add the budget `value` per `window`; `key` is one of `UNITS`, `how` is (on_exceed, warn_at)."""
        limit = nanos(value) if key == "usd" else int(value * MICRO) if key == "gco2e" else int(value)
        rule = BudgetRule(f"{window}/{key}", (), UNITS[key], limit, window, source, how[1], how[0], shadow=self.shadow)
        self.budgets += (rule,)

    def turns(self, value: float, source: Source) -> None:
        """Add the most model turns of a session: a limit on the history, and a counted budget that a client cannot forget."""
        self.limit("max_turns", value, source)
        rule = BudgetRule("session/max_turns", (), "requests", int(value), "session", source, reason=Reason.STEP_LIMIT, shadow=self.shadow)
        self.budgets += (rule,)

    def restrict(
        self, kind: Kind, allow: Sequence[str] | None, deny: Sequence[str], source: Source, deny_source: Source | None = None
    ) -> None:
        """Add a clause on models, tools or sub-agents; `source` is where its allow-list is written, or both where `deny_source` is None."""
        if allow is None and not deny:
            return
        names = None if allow is None else tuple(allow)
        denied_at = deny_source or source
        place = source if allow is not None else denied_at
        clause = Clause(names, tuple(deny), place, self.shadow, _compile(kind, allow, deny), denied_at)
        setattr(self, kind, (*getattr(self, kind), clause))

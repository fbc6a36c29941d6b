"""The words of `fleetgate agents list | show | lint | diff`: what holds for an agent, and where each value is written.

Pure formatting of a loaded directory: reads no file and no clock. Lines that start with `error:` make a check fail, `warning:` does not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from proxy.globs import overlap
from proxy.identity.directory import Directory
from proxy.identity.layers import Layer
from proxy.model import LADDER, ArgumentClause, BudgetRule, Clause, Grant, Limit, RoutingLimits, Source
from proxy.model.footprints import decimal
from proxy.money import dollars

MOST_COMPARED = 250_000
"""Allow-lists whose lengths in characters multiply to more are not compared pattern by pattern: that would take too long."""


def listing(directory: Directory) -> str:
    """Return one line an agent: name, version, team, mode, models."""
    rows = [("AGENT", "VERSION", "TEAM", "MODE", "MODELS")]
    for name, grant in sorted(directory.agents.items()):
        words = dict.fromkeys(_clause_words(c) for c in grant.models)
        models = " and ".join(w for w in words if w != "any") or "any configured model"
        rows.append((name, grant.version or "-", grant.team or "-", "shadow" if grant.shadow else "enforce", models))
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    return "\n".join("  ".join((*(cell.ljust(w) for cell, w in zip(row, widths, strict=False)), row[4])).rstrip() for row in rows)


def show(directory: Directory, agent: str) -> str:
    """Return the effective policy of `agent` with the file and line of every value, or a line that says there is no such agent."""
    grant = directory.grant(agent)
    if grant is None:
        return f"No agent {agent} is defined in {', '.join(directory.where) or 'any file'}."
    lines = [f"agent {grant.agent}" + (f" {grant.version}" if grant.version else ""), *_head(directory, grant)]
    lines += _section("models", [(_clause_words(c), c.source, c.shadow) for c in grant.models] or [("any configured model", None, False)])
    lines += _section("tools", [(_clause_words(c), c.source, c.shadow) for c in grant.tools] or [("any tool", None, False)])
    lines += _section("tool calls", [(_argument_words(c), c.source, c.shadow) for c in grant.tool_args])
    for title, limits in (("input tokens of a request", grant.max_input), ("output tokens of a request", grant.max_output)):
        lines += _section(title, [(f"up to {limit.value:,}", limit.source, limit.shadow) for limit in limits])
    lines += _section("turns of a session", [(f"up to {limit.value:,}", limit.source, limit.shadow) for limit in grant.max_turns])
    lines += _section("seconds of a session", [(f"up to {limit.value:,}", limit.source, limit.shadow) for limit in grant.max_duration])
    lines += _section("sub-agents", [(_clause_words(c), c.source, c.shadow) for c in grant.delegates])
    lines += _section("levels of sub-agents", [(f"up to {limit.value:,}", limit.source, limit.shadow) for limit in grant.max_depth])
    lines += _section(
        "new sub-agents of a run in a minute", [(f"up to {limit.value:,}", limit.source, limit.shadow) for limit in grant.fan_out]
    )
    lines += _section("budgets", [(_budget_words(b), b.source, b.shadow) for b in grant.budgets])
    loops = grant.loops
    words = f"identical tool calls: warn at {loops.warn}, {loops.act} at {loops.block}"
    steps = f"steps: {', '.join(loops.ladder)}{f' to {loops.downgrade}' if loops.downgrade else ''}"
    lines += _section("loops", [(words, loops.source, loops.shadow), (steps, loops.source, loops.shadow)])
    lines += _section("local models", [("yes" if grant.local_ok else "no", grant.local_ok_source, False)])
    lines += _section("routing", [(words, source, False) for words, source in _routing_words(directory, grant)])
    lines += _section(
        "data", [(f"{key}: {value}", _data_source(directory, grant, key), False) for key, value in sorted(grant.data.items())]
    )
    return "\n".join(lines)


def _routing_words(directory: Directory, grant: Grant) -> Iterator[tuple[str, Source | None]]:
    """Yield what holds of thresholds and pinned models, and where it is written."""
    layers = [*([directory.baseline] if directory.baseline else []), *(directory.layers or {}).get(grant.agent, ())]
    for key in ("threshold", "max_threshold", "pinned"):
        value = getattr(grant.routing, key)
        if value not in (None, False):
            words = "pinned: only the model that is asked for serves" if key == "pinned" else f"{key.replace('_', ' ')} {value:g}"
            yield words, next((layer.routing[key][1] for layer in layers if key in layer.routing and layer.routing[key][0] == value), None)


def _head(directory: Directory, grant: Grant) -> Iterator[str]:
    own = list((directory.layers or {}).get(grant.agent, ()))
    every = [directory.baseline, *own] if directory.baseline else own
    for name, key in (("description", "description"), ("team", "team"), ("default model", "default_model"), ("fallback", "fallback")):
        found = next((layer.texts[key] for layer in reversed(own if key == "description" else every) if key in layer.texts), None)
        if found:
            yield f"  {name}: {found[0]}  [{found[1]}]"
    yield f"  mode: {'shadow: its own rules refuse only dry' if grant.shadow else 'enforce'}"
    yield f"  digests: policy {grant.digest[:16]}, file {grant.file_digest[:16] or 'none'}"


def _data_source(directory: Directory, grant: Grant, key: str) -> Source | None:
    """Return where the value that holds is written: the nearest file that says it (None for one made of several)."""
    own = (directory.layers or {}).get(grant.agent, ())
    every = [*own[::-1], *([directory.baseline] if directory.baseline else [])]
    return next((layer.data[key][1] for layer in every if key in layer.data and layer.data[key][0] == grant.data[key]), None)


def _section(title: str, rows: Iterable[tuple[str, Source | None, bool]]) -> list[str]:
    found = [f"    {words}{' (dry run)' if dry else ''}  [{source or 'no file says so'}]" for words, source, dry in rows]
    return [f"  {title}:", *found] if found else []


def _clause_words(clause: Clause) -> str:
    parts = []
    if clause.allow is not None:
        parts.append("any" if "*" in clause.allow else f"only {', '.join(clause.allow)}" if clause.allow else "none")
    if clause.deny:
        parts.append(f"not {', '.join(clause.deny)}")
    return ", ".join(parts) or "any"


def _argument_words(clause: ArgumentClause) -> str:
    where = f" where {clause.key or 'any argument'} holds {clause.regex}" if clause.regex else ""
    return f"{', '.join(clause.tools)}: {clause.action}{where}"


def _budget_words(rule: BudgetRule) -> str:
    amount = _amount(rule.limit, rule.unit) + ("" if rule.unit in ("usd", "gco2e") else f" {rule.unit}")
    return f"{rule.name}: {amount} per {rule.window}, then {rule.on_exceed}"


def _amount(limit: int, unit: str) -> str:
    return f"{dollars(limit)} USD" if unit == "usd" else f"{decimal(limit)} gCO2e" if unit == "gco2e" else f"{limit:,}"


def as_json(grant: Grant) -> dict[str, Any]:
    """Return the grant as plain data; every rule names its file, line and key."""
    return {
        "agent": grant.agent,
        "version": grant.version,
        "description": grant.description,
        "team": grant.team,
        "mode": "shadow" if grant.shadow else "enforce",
        "digest": grant.digest,
        "file_digest": grant.file_digest,
        "models": [_clause_json(c) for c in grant.models],
        "tools": [_clause_json(c) for c in grant.tools],
        "tool_args": [_args_json(c) for c in grant.tool_args],
        "default_model": grant.default_model,
        "fallback": list(grant.fallback),
        "max_input_tokens": [_limit_json(limit) for limit in grant.max_input],
        "max_output_tokens": [_limit_json(limit) for limit in grant.max_output],
        "max_turns": [_limit_json(limit) for limit in grant.max_turns],
        "budgets": [_budget_json(b) for b in grant.budgets],
        "loops": {
            "warn": grant.loops.warn,
            "block": grant.loops.block,
            "act": grant.loops.act,
            "steps": list(grant.loops.ladder),
            "shadow": grant.loops.shadow,
        },
        "local_ok": grant.local_ok,
        "routing": {
            "threshold": grant.routing.threshold,
            "max_threshold": grant.routing.max_threshold,
            "pinned": grant.routing.pinned,
        },
        "data": dict(grant.data),
    }


def listing_json(directory: Directory) -> list[dict[str, Any]]:
    """Return all agents as plain data."""
    return [as_json(grant) for _, grant in sorted(directory.agents.items())]


def _clause_json(clause: Clause) -> dict[str, Any]:
    allow = None if clause.allow is None else list(clause.allow)
    return {"allow": allow, "deny": list(clause.deny), "shadow": clause.shadow, "source": str(clause.source)}


def _limit_json(limit: Limit) -> dict[str, Any]:
    return {"value": limit.value, "shadow": limit.shadow, "source": str(limit.source)}


def _args_json(clause: ArgumentClause) -> dict[str, Any]:
    named = {"tools": list(clause.tools), "field": clause.key, "regex": clause.regex, "action": clause.action}
    return {**named, "shadow": clause.shadow, "source": str(clause.source)}


def _budget_json(rule: BudgetRule) -> dict[str, Any]:
    limit = dollars(rule.limit) if rule.unit == "usd" else decimal(rule.limit) if rule.unit == "gco2e" else rule.limit
    said = {"name": rule.name, "unit": rule.unit, "limit": limit, "window": rule.window, "on_exceed": rule.on_exceed}
    return {**said, "shadow": rule.shadow, "source": str(rule.source)}


# --- lint ------------------------------------------------------------------------------------------------------------------------


def lint(directory: Directory, now: float) -> list[str]:
    """Return what is wrong (`error: ...`) and what deserves a look (`warning: ...`) in the agents' files; `now` is UTC seconds."""
    found = [f"error: {e}" for e in directory.errors]
    layers = [("the baseline", directory.baseline)] if directory.baseline else []
    today = datetime.fromtimestamp(now, UTC).date().isoformat()
    for name, grant in directory.agents.items():
        own = (directory.layers or {}).get(name, ())
        layers += [(f"agent {name}", layer) for layer in own]
        found += [f"warning: {words}" for words in _doubts(grant, own)]
    for who, layer in layers:
        found += [f"warning: {words}" for words in _layer_doubts(who, layer, today)]
    return found


def _layer_doubts(who: str, layer: Layer, today: str) -> Iterator[str]:
    yield from layer.warnings
    for source in layer.unused:
        yield f"{source}: accepted, not enforced in this version ({who})"
    if layer.review_by is not None and layer.review_by[0] < today:
        yield f"{layer.review_by[1]}: the review was due on {layer.review_by[0]} ({who})"
    for clause in (*layer.tools, *layer.models):
        for pattern in clause.deny:
            if pattern.endswith(")") and "(" in pattern:
                yield f"{clause.deny_source or clause.source}: {pattern} refuses the whole tool in this version ({who})"


def _doubts(grant: Grant, own: Sequence[Layer]) -> Iterator[str]:
    where = own[-1].file if own else "its file"
    if not own:
        yield f"agent {grant.agent} has no valid file and is left with the baseline"
        return
    if not grant.description:
        yield f"{where}: agent {grant.agent} has no description"
    if not grant.version:
        yield f"{where}: agent {grant.agent} has no version"
    if grant.shadow:
        yield f"{where}: agent {grant.agent} is in shadow mode: its own rules refuse nothing"
    if grant.default_model and not grant.may_use(grant.default_model):
        yield f"{where}: agent {grant.agent} may not use its own default model {grant.default_model}"
    for kind, clauses in (("model", grant.models), ("tool", grant.tools)):
        pair = _disjoint([c for c in clauses if c.allow is not None and not c.shadow])
        if pair:
            yield f"{pair[1].source}: no {kind} is allowed both here and at {pair[0].source}: agent {grant.agent} may use none"


def _disjoint(clauses: Sequence[Clause]) -> tuple[Clause, Clause] | None:
    """Return two clauses whose allow-lists share no name at all."""
    for i, one in enumerate(clauses):
        for other in clauses[i + 1 :]:
            a, b = one.allow or (), other.allow or ()
            if len("".join(a)) * len("".join(b)) <= MOST_COMPARED and not any(overlap(p, q) for p in a for q in b):
                return one, other
    return None


# --- diff ------------------------------------------------------------------------------------------------------------------------


def diff(a: Grant, b: Grant) -> list[str]:
    """Return how `b` differs from `a`, a line each: `widens: ...`, `tightens: ...` or `changes: ...`."""
    lines = [*_clause_diff("models", a.models, b.models), *_clause_diff("tools", a.tools, b.tools)]
    lines += _clause_diff("delegation.allow", a.delegates, b.delegates)
    for name, old, new in (
        ("max_input_tokens", a.max_input, b.max_input),
        ("max_output_tokens", a.max_output, b.max_output),
        ("max_turns", a.max_turns, b.max_turns),
        ("session.duration_s", a.max_duration, b.max_duration),
        ("delegation.max_depth", a.max_depth, b.max_depth),
        ("delegation.fan_out", a.fan_out, b.fan_out),
    ):
        lines += _bound_diff(name, _firm(old), _firm(new))
    lines += _gained(map(_argument_diff, a.tool_args), map(_argument_diff, b.tool_args))
    old_rules, new_rules = ({r.name.removeprefix(f"agent:{g.agent}/"): r for r in g.budgets if not r.shadow} for g in (a, b))
    for key in sorted(old_rules.keys() | new_rules.keys()):
        before, after = old_rules.get(key), new_rules.get(key)
        lines += _bound_diff(key, before.limit if before else None, after.limit if after else None, key.split("/")[1])
    lines += _bound_diff("loops.identical.warn", a.loops.warn, b.loops.warn)
    lines += _bound_diff("loops.identical.block", a.loops.block, b.loops.block)
    for step in LADDER:
        if (step in a.loops.ladder) != (step in b.loops.ladder):
            lines.append(
                f"{'widens' if step in a.loops.ladder else 'tightens'}: loops.on_detect {'-' if step in a.loops.ladder else '+'}{step}"
            )
    if a.loops.shadow != b.loops.shadow:
        lines.append(f"{'widens' if b.loops.shadow else 'tightens'}: loops {'run dry' if b.loops.shadow else 'are enforced'}")
    if a.shadow != b.shadow:
        lines.append(f"{'widens' if b.shadow else 'tightens'}: mode {'enforce -> shadow' if b.shadow else 'shadow -> enforce'}")
    if a.local_ok != b.local_ok:
        lines.append(f"{'widens' if b.local_ok else 'tightens'}: local_ok {a.local_ok} -> {b.local_ok}".lower())
    lines += _routing_diff(a.routing, b.routing)
    for name in ("version", "team", "default_model", "fallback", "description"):
        if getattr(a, name) != getattr(b, name):
            lines.append(f"changes: {name} {getattr(a, name) or '-'} -> {getattr(b, name) or '-'}")
    return lines


def _routing_diff(a: RoutingLimits, b: RoutingLimits) -> list[str]:
    """Compare thresholds (None is no bound) and pinned models."""
    lines = []
    for key in ("threshold", "max_threshold"):
        old, new = getattr(a, key), getattr(b, key)
        if old != new:
            wider = new is None or (old is not None and new > old)
            words = f"{'-' if old is None else old} -> {'-' if new is None else new}"
            lines.append(f"{'widens' if wider else 'tightens'}: routing.{key} {words}")
    if a.pinned != b.pinned:
        lines.append("tightens: routing.pinned" if b.pinned else "widens: routing.pinned is gone")
    return lines


def _argument_diff(clause: ArgumentClause) -> str:
    return "" if clause.shadow or clause.action == "warn" else f"tool calls {_argument_words(clause)}"


def _gained(old: Iterable[str], new: Iterable[str]) -> list[str]:
    """Compare restrictions by their words: a new one tightens, one that is gone widens."""
    before, after = set(filter(None, old)), set(filter(None, new))
    return [*(f"tightens: + {w}" for w in sorted(after - before)), *(f"widens: - {w}" for w in sorted(before - after))]


def _firm(limits: Sequence[Limit]) -> int | None:
    return next((limit.value for limit in limits if not limit.shadow), None)


def _bound_diff(name: str, old: int | None, new: int | None, unit: str = "") -> list[str]:
    if old == new:
        return []
    tighter = old is None or (new is not None and new < old)
    before, after = ("no limit" if n is None else _amount(n, unit) for n in (old, new))
    return [f"{'tightens' if tighter else 'widens'}: {name} {before} -> {after}"]


def _clause_diff(kind: str, old: Sequence[Clause], new: Sequence[Clause]) -> Iterator[str]:
    """Compare clauses that stand under the same key of the same file; one that is only on one side is a rule gained or lost."""
    before = {(c.source.file, c.source.key, c.allow is None): c for c in old if not c.shadow}
    after = {(c.source.file, c.source.key, c.allow is None): c for c in new if not c.shadow}
    for at in sorted(before.keys() | after.keys()):
        a, b = before.get(at), after.get(at)
        place = f"{kind} ({at[1]})"
        if a is None or b is None:
            yield f"tightens: {place} new rule: {_clause_words(b)}" if b else f"widens: {place} rule gone: {_clause_words(a)}" if a else ""
            continue
        yield from _list_diff(f"{place} allow", a.allow, b.allow, ("widens", "tightens"))
        yield from _list_diff(f"{place} deny", a.deny, b.deny, ("tightens", "widens"))


def _list_diff(place: str, old: Sequence[str] | None, new: Sequence[str] | None, words: tuple[str, str]) -> Iterator[str]:
    """Compare two lists; `words` says what an added and a removed pattern do."""
    if old is None or new is None:  # neither has one: the key of a clause says so
        return
    for pattern in new:
        if pattern not in old:
            yield f"{words[0]}: {place} + {pattern}"
    for pattern in old:
        if pattern not in new:
            yield f"{words[1]}: {place} - {pattern}"

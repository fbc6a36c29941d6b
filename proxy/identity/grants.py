"""Folds layers into one grant: the operator's baseline, then the agent's files, outermost first.

Every fold is an intersection. Clauses are simply kept (a name must pass them all), numbers take the minimum, yes-or-no takes no, and
only words that restrict nothing (default model, team, version, description) come from the nearest file. So a layer can tighten what the
others say and never widen it. A shadow layer refuses only dry, and never replaces an enforced value. Pure; cannot fail.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from proxy.identity.layers import Layer
from proxy.model import IMPLIED, LADDER, BudgetRule, Clause, Grant, Limit, LoopLimits, RoutingLimits, Source

STRICTER: Mapping[str, tuple[str, ...]] = {
    "classification": ("public", "internal", "confidential", "restricted"),
    "pii": ("off", "warn", "redact", "block"),
    "secrets": ("off", "warn", "redact", "block"),
    "injection": ("off", "warn", "redact", "block"),
    "log_content": ("full", "redacted", "hash", "off", "none"),
}
"""Orders of `policy.data` values, the strictest last."""
_SAID_NOTHING = {dry: LoopLimits(shadow=dry) for dry in (False, True)}
_ROUTED_FREELY = RoutingLimits()
_NO_DATA: Mapping[str, str] = MappingProxyType({})
"""What most of thousands of agents have, once for all of them."""


def combine(agent: str, baseline: Layer | None, layers: Sequence[Layer]) -> Grant:
    """Return the grant of `agent` under `baseline` and its own `layers`, outermost first."""
    every = [*([baseline] if baseline else []), *layers]
    local_ok, local_source = _local_ok(every)
    grant = Grant(
        agent=agent,
        team=_nearest(every, "team"),
        version=_nearest(layers, "version"),
        file_digest=_file_digest(layers),
        digest="",
        models=tuple(c for layer in every for c in layer.models),
        tools=tuple(c for layer in every for c in layer.tools),
        default_model=_nearest(every, "default_model") or None,
        fallback=next((layer.fallback for layer in reversed(every) if layer.fallback), ()),
        max_input=smallest(limit for layer in every for limit in layer.max_input),
        max_output=smallest(limit for layer in every for limit in layer.max_output),
        max_turns=smallest(limit for layer in every for limit in layer.max_turns),
        max_duration=smallest(limit for layer in every for limit in layer.max_duration),
        max_depth=smallest(limit for layer in every for limit in layer.max_depth),
        delegates=tuple(c for layer in every for c in layer.delegates),
        fan_out=smallest(limit for layer in every for limit in layer.fan_out),
        budgets=_budgets(agent, every),
        loops=_loops(every, bool(layers) and all(layer.shadow for layer in layers)),
        local_ok=local_ok,
        local_ok_source=local_source,
        routing=_routing(every),
        shadow=bool(layers) and all(layer.shadow for layer in layers),
        description=_nearest(layers, "description"),
        data=_data(every),
        tool_args=tuple(c for layer in every for c in layer.tool_args),
        firm_data=_data([layer for layer in every if not layer.shadow]),
    )
    return replace(grant, digest=digest(grant))


def smallest(limits: Iterable[Limit]) -> tuple[Limit, ...]:
    """Return the smallest enforced limit and, when it is smaller still, the smallest shadow one."""
    enforced: Limit | None = None
    dry: Limit | None = None
    for limit in limits:
        if limit.shadow:
            dry = limit if dry is None or limit.value < dry.value else dry
        else:
            enforced = limit if enforced is None or limit.value < enforced.value else enforced
    if enforced is None:
        return () if dry is None else (dry,)
    return (enforced,) if dry is None or dry.value >= enforced.value else (enforced, dry)


def _budgets(agent: str, layers: Sequence[Layer]) -> tuple[BudgetRule, ...]:
    """Return one rule per key (`session/usd`) and kind of answer: the smallest that denies, and smaller ones that warn or run dry."""
    found: dict[tuple[str, str], BudgetRule] = {}
    for layer in layers:
        for rule in layer.budgets:
            kind = "shadow" if rule.shadow else "" if rule.on_exceed == "deny" else rule.on_exceed
            best = found.get((rule.name, kind))
            if best is None or rule.limit < best.limit:
                found[rule.name, kind] = rule
    rules: list[BudgetRule] = []
    for (key, kind), rule in found.items():
        firm = found.get((key, ""))
        if kind and firm is not None and firm.limit <= rule.limit:
            continue
        scope = (("agent", agent), (rule.window, "*")) if rule.window in ("session", "run") else (("agent", agent),)
        rules.append(replace(rule, name=f"agent:{agent}/{key}" + (f"/{kind}" if kind else ""), scope=scope))
    return tuple(rules)


def _loops(layers: Sequence[Layer], shadow: bool) -> LoopLimits:
    """Return the tightest loop thresholds of the enforced layers; only where none speaks, those of shadow layers, dry."""
    speaking = [layer for layer in layers if layer.loops and not layer.shadow]
    dry = not speaking and (shadow or any(layer.loops for layer in layers))
    said = [layer.loops for layer in (speaking or [layer for layer in layers if layer.loops])]
    if not said:
        return _SAID_NOTHING[dry]
    standard = _SAID_NOTHING[False]
    warn = min((loops["warn"][0] for loops in said if "warn" in loops), default=standard.warn)
    block = min((loops["block"][0] for loops in said if "block" in loops), default=standard.block)
    period = max((loops["max_period"][0] for loops in said if "max_period" in loops), default=standard.max_period)
    steps = _ladder(said) or standard.ladder
    persona, downgrade = (next((loops[key][0] for loops in reversed(said) if key in loops), None) for key in ("persona", "downgrade"))
    source = next(iter(said[-1].values()))[1]
    return LoopLimits(min(warn, block), block, _strongest(steps), source, dry, steps, persona, downgrade or "", period)


def _ladder(said: Sequence[Mapping[str, tuple[Any, Source]]]) -> tuple[str, ...]:
    """Return the steps that any of the files takes. Who says at how many a loop is blocked and no steps means the usual ones.

    Where one of them refuses, no other can have a person asked instead.
    """
    ladders = [loops["steps"][0] if "steps" in loops else IMPLIED["block"] for loops in said if "steps" in loops or "block" in loops]
    named = {step for steps in ladders for step in steps}
    if any("block" in steps and "escalate" not in steps for steps in ladders):
        named.discard("escalate")
    return tuple(step for step in LADDER if step in named)


def _strongest(steps: Sequence[str]) -> str:
    """Return the strongest word of `LoopLimits.act` that the steps of a ladder come to."""
    if "block" in steps or "escalate" in steps:
        return "block"
    return "nudge" if set(steps) - {"warn"} else "warn"


def _local_ok(layers: Sequence[Layer]) -> tuple[bool, Source | None]:
    said = [layer.local_ok for layer in layers if layer.local_ok is not None]
    if not said:
        return False, None
    deciding = next((word for word in said if not word[0]), said[-1])
    return deciding


def _routing(layers: Sequence[Layer]) -> RoutingLimits:
    """Return the lowest thresholds that any layer names; pinned where any says so."""
    said = [layer.routing for layer in layers if layer.routing]
    if not said:
        return _ROUTED_FREELY
    least, most = (min((float(one[key][0]) for one in said if key in one), default=None) for key in ("threshold", "max_threshold"))
    return RoutingLimits(least, most, any(one["pinned"][0] for one in said if "pinned" in one))


def _data(layers: Sequence[Layer]) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for layer in layers:
        for key, (value, _) in layer.data.items():
            old = found.get(key)
            if old is None or (key not in STRICTER and key not in ("residency", "retention_days")):
                found[key] = value
            elif key == "residency":
                found[key] = ",".join(place for place in old.split(",") if place in value.split(","))
            elif key == "retention_days":
                found[key] = str(min(int(float(old)), int(float(value))))
            else:
                found[key] = max(old, value, key=STRICTER[key].index)
    return found or _NO_DATA


def _nearest(layers: Sequence[Layer], text: str) -> str:
    return next((layer.texts[text][0] for layer in reversed(layers) if text in layer.texts), "")


def _file_digest(layers: Sequence[Layer]) -> str:
    digests = list(dict.fromkeys(layer.digest for layer in layers))
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest() if digests else ""


def digest(grant: Grant) -> str:
    """Return the SHA-256 (hex) of what the grant allows: equal for equal policy, wherever its lines stand."""

    def names(clauses: tuple[Clause, ...]) -> list[Any]:
        return [[None if c.allow is None else sorted(c.allow), sorted(c.deny), c.shadow] for c in clauses]

    def limits(given: tuple[Limit, ...]) -> list[Any]:
        return [[limit.value, limit.shadow] for limit in given]

    loops = grant.loops
    body = [
        [grant.agent, grant.team, grant.shadow, grant.default_model, grant.fallback, grant.local_ok, dict(grant.data)],
        [names(grant.models), names(grant.tools)],
        [limits(grant.max_input), limits(grant.max_output), limits(grant.max_turns)],
        sorted([b.name, b.unit, b.limit, b.on_exceed, list(b.warn_at), b.shadow] for b in grant.budgets),
        [loops.warn, loops.block, loops.act, loops.shadow],
    ]
    if loops != LoopLimits(loops.warn, loops.block, loops.act, loops.source, loops.shadow, IMPLIED[loops.act]) and loops.steps:
        persona = [loops.persona.system, loops.persona.temperature] if loops.persona is not None else []
        body.append([list(loops.steps), persona, loops.downgrade, loops.max_period])
    more = [limits(grant.max_duration), limits(grant.max_depth), names(grant.delegates), limits(grant.fan_out)]
    if any(more):
        body.append(more)
    if grant.routing != _ROUTED_FREELY:
        body.append([grant.routing.threshold, grant.routing.max_threshold, grant.routing.pinned])
    if grant.shadow and grant.firm_data:
        body.append([dict(grant.firm_data)])
    if grant.tool_args:
        body.append([sorted([[sorted(c.tools), c.key, c.regex, c.action, c.shadow] for c in grant.tool_args], key=str)])
    return hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

"""Which keys an agent's metadata has, what each may hold, and which of them this version only accepts.

`POLICY` is the whole of the `policy:` block and of the operator's baseline. `AGENT` is what we read around it, in the words of the
neighbouring formats; unknown keys there are somebody else's and are ignored. `NOT_ENFORCED` is the one list of promises not yet kept:
`fleetgate agents lint` names each use of them.
"""

from __future__ import annotations

from typing import Any

from proxy.model import LADDER
from proxy.shapes import Choice, Day, Either, Flag, ListOf, Number, Shape, Table, Text

SLUG = r"[a-z0-9][a-z0-9._-]*(/[a-z0-9][a-z0-9._-]*)*"
MAX_ID = 64

slug = Text(MAX_ID, SLUG, "a name of a-z, 0-9, dot, dash and underscore, such as invoice-triage")
pattern = Text(256, r"[^\x00-\x1f\x7f]+", "text (a name or a glob with * and ?)")
word = Text(128, r"[^\x00-\x1f\x7f]+")
patterns = ListOf(pattern, hint="a list in [ ]")
tokens = Number(0, 10**12, whole=True)
calls = Number(0, 10**9, whole=True)
usd = Number(0, 10**9)
grams = Number(0, 10**12)
amounts: dict[str, Shape] = {"tokens": tokens, "input_tokens": tokens, "output_tokens": tokens, "usd": usd, "llm_calls": calls}
amounts |= {"gco2e": grams}
share = Number(0, 1, above=True)
part = Number(0, 1)
action = Choice(("off", "warn", "redact", "block"))

version = Either((Text(64, what="text such as 1.4.0"), Number(0, 10**9)))
"""An unquoted `1.0` is a number to other YAML readers; ours reads it as text."""

on_exceed = Either((Choice(("deny", "warn", "local", "downgrade")), Table({"downgrade": pattern}, required=("downgrade",))))

POLICY = Table(
    {
        "schema": Number(1, 1, whole=True),
        "id": slug,
        "owner": Either((word, Table({"team": word, "contact": word}))),
        "mode": Choice(("enforce", "shadow")),
        "models": Table({"allow": patterns, "deny": patterns, "default": pattern, "fallback": patterns}),
        "tools": Table(
            {
                "allow": patterns,
                "deny": patterns,
                "require_approval": patterns,
                "args": ListOf(
                    Table(
                        {
                            "tool": Either((pattern, patterns)),
                            "field": word,
                            "regex": Text(1000),
                            "action": Choice(("deny", "warn", "require_approval")),
                        },
                        required=("tool", "regex", "action"),
                    )
                ),
            }
        ),
        "budgets": Table(
            {
                "request": Table({"max_input_tokens": tokens, "max_output_tokens": Number(1, 10**12, whole=True)}),
                "session": Table({**amounts, "tool_calls": calls, "duration_s": calls}),
                "run": Table(amounts),
                "day": Table(amounts),
                "warn_at": Either((share, ListOf(share, most=10))),
                "on_exceed": on_exceed,
            }
        ),
        "maxTurns": Number(1, 10**9, whole=True),
        "loops": Table(
            {
                "identical": Table({"warn": Number(1, 10**6, whole=True), "block": Number(1, 10**6, whole=True)}),
                "max_period": Number(1, 50, whole=True),
                "on_detect": Either((Choice(("block", "nudge", "warn")), ListOf(Choice(LADDER), most=len(LADDER)))),
                "persona": Table({"system": Text(8192), "temperature": Number(0, 2)}, required=("system",)),
                "downgrade": pattern,
            }
        ),
        "delegation": Table(
            {"max_depth": Number(0, 100, whole=True), "allow": patterns, "fan_out": Number(1, 10**6, whole=True)},
        ),
        "routing": Table({"local_ok": Flag(), "threshold": part, "max_threshold": part, "pinned": Flag()}),
        "data": Table(
            {
                "classification": Choice(("public", "internal", "confidential", "restricted")),
                "residency": ListOf(word, most=50),
                "pii": action,
                "secrets": action,
                "injection": action,
                "log_content": Choice(("none", "off", "hash", "redacted", "full")),
                "retention_days": Number(0, 36500, whole=True),
            }
        ),
        "compliance": Table(
            {
                "risk_level": Choice(("low", "medium", "high", "critical")),
                "frameworks": ListOf(word, most=50),
                "human_in_the_loop": Flag(),
                "review_by": Day(),
            }
        ),
    },
    what="a mapping (the policy block)",
    doc={
        "id": "Stable id of the agent; default: its name.",
        "mode": "enforce, or shadow: the rules of this file note what they would refuse.",
        "models": "Which models may be asked for; deny wins over allow.",
        "tools": "Which tools a request may offer and the model may call, and with which arguments; deny wins over allow.",
        "budgets": "Upper bounds per request, per session, per run and per UTC day.",
        "maxTurns": "Most model turns in one session.",
        "loops": "What is a loop, and the steps that are taken against it.",
        "delegation": "Which sub-agents may be called, how deep, and how many of a run may begin in a minute.",
        "routing": "Which simple requests a local model may serve; pinned: only the model that is asked for serves.",
    },
)

BASELINE = Table({"policy": POLICY, "description": Text(4096), "version": version}, required=("policy",))

permission = Either((Flag(), Choice(("allow", "ask", "deny"))))
tool_names: Shape = Either((ListOf(pattern), Text(8192, what="names separated by commas or spaces"), Table({}, values=permission)))
turns = Number(1, 10**9, whole=True)

AGENT: dict[str, Shape] = {
    "name": Text(256),
    "agent_id": slug,
    "id": slug,
    "description": Text(4096),
    "version": version,
    "model": Either((pattern, patterns)),
    "client": pattern,
    "tools": tool_names,
    "allowed-tools": tool_names,
    "disallowedTools": tool_names,
    "maxTurns": turns,
    "steps": turns,
    "policy": POLICY,
}
"""Keys of the neighbouring formats that we use, and so check. Everything else outside `policy` is ignored."""

NOT_ENFORCED: tuple[str, ...] = (
    "budgets.session.tool_calls",
    "compliance.risk_level",
    "compliance.frameworks",
    "compliance.human_in_the_loop",
)
"""Keys that are read and checked, and do nothing yet: lint says "accepted, not enforced in this version"."""

BESIDE = frozenset(POLICY.keys) - {"id", "tools", "maxTurns", "compliance", "mode", "schema", "owner", "data", "routing"}
"""Policy keys that have no effect outside `policy` and mean nothing to a neighbour: lint warns."""


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of an agent's metadata, of a file with an `agents:` list, and of the baseline's `policy`."""
    by_policy: dict[str, Any] = {"required": ["policy"], "properties": {"policy": {"required": ["id"]}}}
    by_id: dict[str, Any] = {"required": ["id"], "properties": {"id": {"type": "string"}}}
    named: list[dict[str, Any]] = [{"required": ["name"]}, {"required": ["agent_id"]}, by_id, by_policy]
    agent = {key: shape.schema() for key, shape in AGENT.items() if key != "policy"}
    agent["id"] = {"anyOf": [slug.schema(), {"not": {"type": "string"}}]}  # an id that is no text is another tool's
    agent["policy"] = {"$ref": "#/$defs/policy"}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Agent metadata that Fleetgate enforces",
        "description": "Front matter of AGENTS.md, a sidecar agents/<id>.yaml, or a file with an `agents:` list of the same.",
        "$ref": "#/$defs/file",
        "$defs": {
            "policy": POLICY.schema(),
            "agent": {
                "type": "object",
                "properties": agent,
                "if": {"required": ["policy"]},
                "then": {"anyOf": named},
                "allOf": [
                    {
                        "if": {"required": ["name"], "not": {"anyOf": named[1:]}},
                        "then": {"properties": {"name": slug.schema()}},
                    }
                ],
            },
            "file": {
                "if": {"required": ["agents"], "properties": {"agents": {"items": {"type": "object"}}}},
                "then": {
                    "properties": {"agents": {"type": "array", "items": {"allOf": [{"$ref": "#/$defs/agent"}, {"anyOf": named}]}}},
                },
                "else": {"$ref": "#/$defs/agent"},
            },
        },
    }

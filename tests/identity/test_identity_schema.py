"""The validator and the published JSON Schema accept and refuse the same documents, and a refusal says where and why."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from proxy import shapes as schema
from proxy.config import Doc
from proxy.identity import fields
from proxy.identity.agents_md import parse_agents

ROOT = Path(__file__).parents[2]
SCHEMA_FILE = ROOT / "docs/schema/agent-policy.schema.json"

GOOD = [
    "name: a",
    "name: a-b.c_d/e\nversion: 1.4.0",
    "name: a\nversion: 1.0",
    "name: a\nid: 7",
    "name: a\npolicy: {}",
    "policy: {id: a}",
    "agent_id: a\nname: A Person Can Read",
    "name: Nice Name\npolicy: {id: nice-name}",
    "id: a\npolicy: {models: {allow: []}}",
    "name: a\nmodel: [x, y]",
    "name: a\ntools: Read, Grep",
    "name: a\ntools: {bash: true, write: false, edit: ask}",
    "name: a\ntools: []",
    "name: a\nmaxTurns: 40",
    "name: a\nglobs: [x]\nalwaysApply: maybe",
    "name: a\npolicy: {schema: 1, mode: shadow, owner: me}",
    "name: a\npolicy: {budgets: {session: {usd: 0.5, tokens: 0}, warn_at: 0.8, on_exceed: warn}}",
    "name: a\npolicy: {budgets: {session: {duration_s: 60, tool_calls: 3}, warn_at: [0.5, 1]}}",
    "name: a\npolicy: {budgets: {on_exceed: {downgrade: small}}}",
    "name: a\npolicy: {data: {pii: redact, secrets: off, residency: [eu]}}",
    "name: a\npolicy: {loops: {identical: {warn: 2, block: 4}, max_period: 5, on_detect: nudge}}",
    "name: a\npolicy: {tools: {args: [{tool: [bash], field: command, regex: 'rm', action: deny}], require_approval: [x]}}",
    "name: a\npolicy: {compliance: {risk_level: high, review_by: 2027-01-31}, delegation: {max_depth: 2, allow: ['*']}}",
    "agents: [{name: a}, {name: b, policy: {routing: {local_ok: true}}}]",
    "title: only prose metadata",
]
BAD = [
    "name: Not A Slug",
    "name: -a",
    "name: " + "a" * 65,
    "policy: {}",
    "id: 7\npolicy: {}",
    "id: Not A Slug",
    "name: a\npolicy: []",
    "name: a\npolicy:",
    "name: a\npolicy: {modells: {}}",
    "name: a\npolicy: {models: {allow: claude-*}}",
    "name: a\npolicy: {models: {allow: [1]}}",
    "name: a\npolicy: {models: {allow: ['']}}",
    "name: a\npolicy: {mode: observe}",
    "name: a\npolicy: {owner: 7}",
    "name: a\npolicy: {budgets: {session: {usd: -1}}}",
    "name: a\npolicy: {budgets: {session: {usd: '5'}}}",
    "name: a\npolicy: {budgets: {session: {usd: 1000000001}}}",
    "name: a\npolicy: {budgets: {session: {tokens: 1.5}}}",
    "name: a\npolicy: {budgets: {session: {tokens: true}}}",
    "name: a\npolicy: {budgets: {session: {llm_calls: 10000000000000}}}",
    "name: a\npolicy: {budgets: {request: {max_output_tokens: 0}}}",
    "name: a\npolicy: {budgets: {day: {duration_s: 1}}}",
    "name: a\npolicy: {budgets: {warn_at: 0}}",
    "name: a\npolicy: {budgets: {warn_at: 2}}",
    "name: a\npolicy: {budgets: {on_exceed: shrug}}",
    "name: a\npolicy: {budgets: {on_exceed: {}}}",
    "name: a\npolicy: {data: {pii: maybe}}",
    "name: a\npolicy: {data: {pii: on}}",
    "name: a\npolicy: {routing: {local_ok: 1}}",
    "name: a\npolicy: {tools: {args: [{tool: x}]}}",
    "name: a\npolicy: {compliance: {review_by: soon}}",
    "name: a\npolicy: {loops: {identical: {warn: 0}}}",
    "name: a\nmaxTurns: lots",
    "name: a\nmaxTurns: 0",
    "name: a\ntools: 5",
    "name: a\ntools: {bash: maybe}",
    "name: a\nmodel: {x: y}",
    "agents: [{description: nameless}]",
    "agents: [{name: a, policy: {oops: 1}}]",
]


@pytest.fixture(scope="module")
def published() -> jsonschema.Draft202012Validator:
    content = json.loads(SCHEMA_FILE.read_text())
    jsonschema.Draft202012Validator.check_schema(content)
    return jsonschema.Draft202012Validator(content)


def test_the_published_schema_is_the_one_the_validator_has() -> None:
    assert json.loads(SCHEMA_FILE.read_text()) == fields.json_schema()


def read(text: str) -> tuple[Any, bool]:
    result = parse_agents(f"---\n{text}\n---\n", "AGENTS.md")
    value = yaml.safe_load(text)
    return json.loads(json.dumps(value, default=str)), not result.errors


@pytest.mark.parametrize("text", GOOD)
def test_both_accept(text: str, published: jsonschema.Draft202012Validator) -> None:
    value, accepted = read(text)
    assert accepted
    assert [e.message for e in published.iter_errors(value)] == []


@pytest.mark.parametrize("text", BAD)
def test_both_refuse(text: str, published: jsonschema.Draft202012Validator) -> None:
    value, accepted = read(text)
    assert not accepted
    assert not published.is_valid(value)


@pytest.mark.parametrize(
    ("shape", "value", "words"),
    [
        (schema.Text(), 5, "5; expected text (put it in quotes)"),
        (schema.Text(3), "abcd", "4 characters"),
        (schema.Flag(), "yes", "'yes'; expected true | false"),
        (schema.Choice(("enforce", "shadow")), "shadoww", "did you mean shadow?"),
        (schema.Choice(("a", "b")), False, "false; expected a | b"),
        (schema.Number(0, 5), "3", "'3'; expected a number from 0 to 5"),
        (schema.Number(0, 5, whole=True), 2.5, "2.5; expected a whole number"),
        (schema.Number(0, 1, above=True), 0, "above 0"),
        (schema.ListOf(schema.Text()), "x", "write [x]"),
        (schema.ListOf(schema.Text(), most=1), ["a", "b"], "2 items"),
        (schema.Table({"ab": schema.Flag()}), {"abc": True}, "unknown key (did you mean ab?)"),
        (schema.Table({"ab": schema.Flag()}, required=("ab",)), {}, "no ab"),
        (schema.Table({"ab": schema.Flag()}), [], "a list; expected a mapping (keys: ab)"),
        (schema.Either((schema.Flag(), schema.Text())), {}, "a mapping; expected true | false, or text"),
        (schema.Day(), "2027-02-30", "'2027-02-30'; expected a date"),
        (schema.Text(), None, "nothing; expected text"),
        (schema.Text(), "x" * 300, "300 characters"),
    ],
)
def test_errors_say_what_was_found_and_expected(shape: schema.Shape, value: Any, words: str) -> None:
    (error,) = shape.check(Doc("f.yaml", value), (), value)
    assert words in str(error)


@pytest.mark.parametrize("dotted", fields.NOT_ENFORCED)
def test_every_key_that_is_not_enforced_exists(dotted: str) -> None:
    shape: schema.Shape = fields.POLICY
    for key in dotted.split("."):
        assert isinstance(shape, schema.Table)
        shape = shape.keys[key]


@pytest.mark.parametrize(
    ("shape", "value", "fits"),
    [
        (schema.Day(), "soon", True),
        (schema.Day(), 7, False),
        (schema.Number(0, 1), True, False),
        (schema.Either((schema.Flag(), schema.Text())), False, True),
        (schema.Either((schema.Flag(), schema.Text())), [], False),
        (schema.Either((schema.Either((schema.Flag(),)), schema.Text())), True, True),
    ],
)
def test_a_shape_knows_its_type(shape: schema.Shape, value: Any, fits: bool) -> None:
    assert shape.fits(value) is fits

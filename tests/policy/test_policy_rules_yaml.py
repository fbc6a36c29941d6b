"""Files of rules: every mistake with its line, the schema says the same, and shipped rules can be switched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from rule_cases import effect, names, rules, tool_call

from proxy.config import ConfigErrors, parse_yaml
from proxy.effects import EFFECTS
from proxy.guards.danger import DANGERS, Danger
from proxy.model import Grant, Reason
from proxy.policy import fields, show
from proxy.policy.facts import CallFacts
from proxy.policy.rules import RuleSet, refusal
from proxy.policy.rules_yaml import doubts, load_rules, read_rules, shipped_rules

ROOT = Path(__file__).parents[2]
SCHEMA = ROOT / "docs/schema/policy-rules.schema.json"
DOCS = (ROOT / "docs/policies.md").read_text()

GOOD = [
    "{}",
    "rules: []",
    "{mode: shadow, description: x}",
    "rules: [{id: a, action: deny}]",
    "rules: [{id: a, action: warn, severity: low, owasp: [LLM01, ASI10], title: t, message: m, remedy: r, mode: enforce}]",
    "rules: [{id: a, match: {contains: [x]}, action: redact}]",
    "rules: [{id: a, match: {regex: 'a+'}, when: {direction: [reply, request]}, action: deny, reach: 20}]",
    "rules: [{id: a, action: {route: {to: m}}}]",
    "rules: [{id: a, action: {limit: {max_output_tokens: 5}}}]",
    "rules: [{id: a, match: {any: [{all: [{none: [{path: {regex: x}}]}]}]}, action: deny}]",
    "rules: [{id: a, when: {hours: 22:00-06:00, days: [mon, sun], timezone: UTC}, action: deny}]",
    "rules: [{id: a, match: {effect: [fs.read, {kind: [fs.write], subject: {glob: x}}]}, action: require_approval}]",
    "rules: [{id: a, match: {argument: [{pointer: /x, equals: [1, true, z]}, {pointer: /, glob: '*'}]}, action: deny}]",
    "shipped: off",
    "shipped: {use-sudo: off, wipe-disk: shadow, stay-behind: warn}",
]
BAD = [
    ("rules: {}", 1, "expected a list"),
    ("ruls: []", 1, "did you mean rules?"),
    ("rules:\n  - {action: deny}", 2, "no id"),
    ("rules:\n  - {id: a}", 2, "no action"),
    ("rules:\n  - {id: A b, action: deny}", 2, "'A b'"),
    ("rules:\n  - id: a\n    acton: deny\n    action: deny", 3, "did you mean action?"),
    ("rules:\n  - {id: a, action: denied}", 2, "did you mean deny?"),
    ("rules:\n  - {id: a, action: route}", 2, "route without its argument"),
    ("rules:\n  - {id: a, action: {route: {to: x}, limit: {max_output_tokens: 1}}}", 2, "2 actions"),
    ("rules:\n  - {id: a, action: {limit: {max_output_tokens: 0}}}", 2, "from 1"),
    ("rules:\n  - {id: a, action: deny, severity: huge}", 2, "low | medium | high | critical"),
    ("rules:\n  - {id: a, action: deny, owasp: [LLM11]}", 2, "OWASP"),
    ("rules:\n  - {id: a, action: deny, when: {direction: sideways}}", 2, "tool_definition"),
    ("rules:\n  - {id: a, action: deny, when: {hours: 9-17}}", 2, "hours such as"),
    ("rules:\n  - {id: a, action: deny, match: {efect: fs.read}}", 2, "did you mean effect?"),
    ("rules:\n  - {id: a, action: deny, match: {effect: fs.raed}}", 2, "did you mean fs.read?"),
    ("rules:\n  - {id: a, action: deny, match: {argument: {equals: 1}}}", 2, "no pointer"),
    ("rules:\n  - {id: a, action: deny, match: {regex: " + "a" * 1001 + "}}", 2, "1 to 1000 characters"),
    ("shipped: maybe", 1, "off | shadow | warn"),
]
WRONG = [
    ("{id: a, action: deny, match: {}}", "no condition"),
    ("{id: a, action: deny, match: {any: []}}", "an empty list"),
    ("{id: a, action: deny, match: {regex: '(a'}}", "missing )"),
    ("{id: a, action: deny, match: {regex: '(?=a)'}}", "RE2"),
    ("{id: a, action: deny, match: {command: {regex: '('}}}", "missing )"),
    ("{id: a, action: deny, match: {command: {}}}", "no condition"),
    ("{id: a, action: deny, match: {effect: []}}", "an empty list"),
    ("{id: a, action: deny, match: {argument: []}}", "an empty list"),
    ("{id: a, action: deny, match: {argument: {pointer: /a}}}", "a pointer alone"),
    ("{id: a, action: deny, match: {host: 10.0.0.0/99}}", "10.0.0.0/99"),
    ("{id: a, action: redact}", "only texts"),
    ("{id: a, action: redact, match: {path: x}}", "only texts"),
    ("{id: a, action: {route: {to: m}}, match: {path: x}}", "too late"),
    ("{id: a, action: deny, match: {path: x}, when: {direction: request}}", "are of tool calls"),
    ("{id: a, action: deny, match: {contains: x}, when: {direction: request, tool: t}}", "tool_call or tool_definition"),
    ("{id: a, action: deny, when: {direction: reply}}", "no `match`"),
    ("{id: a, action: deny, when: {direction: []}}", "an empty list"),
    ("{id: a, action: deny, when: {hours: 10:00-12:00, timezone: Mars/Olympus}}", "UTC always works"),
    ("{id: a, action: deny, when: {timezone: UTC}}", "a time zone alone"),
]


@pytest.fixture(scope="module")
def published() -> jsonschema.Draft202012Validator:
    content = json.loads(SCHEMA.read_text())
    jsonschema.Draft202012Validator.check_schema(content)
    return jsonschema.Draft202012Validator(content)


def plain(text: str) -> Any:
    return json.loads(json.dumps(parse_yaml(text, "r.yaml").value))


def test_the_published_schema_is_not_stale() -> None:
    assert json.loads(SCHEMA.read_text()) == fields.json_schema()


@pytest.mark.parametrize("text", GOOD)
def test_both_accept(text: str, published: jsonschema.Draft202012Validator) -> None:
    read_rules(parse_yaml(text, "r.yaml"))
    assert [e.message for e in published.iter_errors(plain(text))] == []


@pytest.mark.parametrize(("text", "line", "words"), BAD)
def test_both_refuse(text: str, line: int, words: str, published: jsonschema.Draft202012Validator) -> None:
    with pytest.raises(ConfigErrors) as e:
        read_rules(parse_yaml(text, "r.yaml"))
    assert any(error.line == line and words in str(error) for error in e.value.errors), str(e.value)
    assert not published.is_valid(plain(text))


@pytest.mark.parametrize(("item", "words"), WRONG)
def test_what_only_the_reader_can_see(item: str, words: str) -> None:
    with pytest.raises(ConfigErrors) as e:
        read_rules(parse_yaml(f"# a comment\nrules:\n  - {item}\n", "r.yaml"))
    (error,) = e.value.errors
    assert (error.file, error.line) == ("r.yaml", 3)
    assert words in str(error)


def test_all_mistakes_come_at_once() -> None:
    with pytest.raises(ConfigErrors) as e:
        read_rules(parse_yaml("rules:\n  - {id: a, action: deny, match: {}}\n  - {id: b, action: redact}\n", "r.yaml"))
    assert [error.line for error in e.value.errors] == [2, 3]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("action: deny", {"request"}),
        ("action: deny, match: {contains: x}", {"request", "tool_result"}),
        ("action: deny, match: {path: x}", {"tool_call"}),
        ("action: deny, when: {tool: x}", {"tool_call"}),
        ("action: deny, when: {tool: x, direction: tool_definition}", {"tool_definition"}),
        ("action: deny, match: {contains: x}, when: {direction: [reply, tool_call]}", {"reply", "tool_call"}),
    ],
)
def test_directions(body: str, expected: set[str]) -> None:
    assert rules(f"rules: [{{id: a, {body}}}]")[0].directions == expected


def files(tmp_path: Path, **texts: str) -> list[tuple[Path, str]]:
    found = []
    for name, text in texts.items():
        path = tmp_path / f"{name}.yaml"
        path.write_text(text)
        found.append((path, f"policies/{name}.yaml"))
    return found


def test_files_add_up_and_each_id_stands_once(tmp_path: Path) -> None:
    found = load_rules(files(tmp_path, a="rules: [{id: one, action: warn}]", b="mode: shadow\nrules: [{id: two, action: deny}]", c=""))
    assert names(found.rules)[:2] == ["one", "two"]
    assert [rule.shadow for rule in found.rules[:2]] == [False, True]
    assert found.rules[0].place == "policies/a.yaml:1 (one)"
    assert {rule.id for rule in found.rules[2:]} == {rule.id for rule in shipped_rules()}
    with pytest.raises(ConfigErrors) as e:
        load_rules(
            files(
                tmp_path, a="rules: [{id: one, action: warn}]", b="rules: [{id: one, action: deny}, {id: wipe-disk, action: deny}]", c="x"
            )
        )
    said = str(e.value)
    assert "policies/b.yaml:1: rule one is also at policies/a.yaml:1" in said
    assert "wipe-disk ships with Fleetgate" in said
    assert "policies/c.yaml:1" in said


@pytest.mark.parametrize(
    ("shipped", "expected"),
    [
        ("{}", ("deny", False)),
        ("{wipe-disk: shadow}", ("deny", True)),
        ("{wipe-disk: warn}", ("warn", False)),
        ("{wipe-disk: off}", None),
        ("off", None),
        ("shadow", ("deny", True)),
        ("warn", ("warn", False)),
    ],
)
def test_shipped_rules_are_switched(tmp_path: Path, shipped: str, expected: tuple[str, bool] | None) -> None:
    found = {rule.id: rule for rule in load_rules(files(tmp_path, a=f"shipped: {shipped}")).rules}
    rule = found.get("wipe-disk")
    assert (None if rule is None else (rule.action, rule.shadow)) == expected
    assert ("cloud-metadata" in found) == (shipped != "off")


def test_a_word_on_one_rule_goes_before_a_word_on_all_and_files_must_agree(tmp_path: Path) -> None:
    found = load_rules(files(tmp_path, a="shipped: off", b="shipped: {wipe-disk: shadow}")).rules
    assert names(found) == ["wipe-disk"]
    for text, words in (
        ("{wipe-disk: off}", "wipe-disk: off, and shadow at"),
        ("{wipe-dusk: off}", "did you mean wipe-disk?"),
    ):
        with pytest.raises(ConfigErrors) as e:
            load_rules(files(tmp_path, a="shipped: {wipe-disk: shadow}", b=f"shipped: {text}"))
        assert words in str(e.value)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("action: deny", "refuses everything"),
        ("action: deny, match: {regex: '.*'}", "refuses everything"),
        ("action: require_approval, match: {glob: '*'}", "refuses everything"),
        ("action: deny, match: {any: [{regex: a?}, {contains: x}]}", "refuses everything"),
        ("action: deny, when: {direction: reply}, match: {regex: 'a+'}", "give it a `reach`"),
        ("action: deny, when: {direction: reply}, match: {none: [{contains: a}]}", "give it a `reach`"),
        ("action: deny, when: {direction: reply}, match: {regex: 'a+'}, reach: 9", ""),
        ("action: deny, when: {direction: reply}, match: {contains: abc}", ""),
        ("action: warn", ""),
        ("action: deny, when: {agent: a}", ""),
        ("action: deny, match: {contains: x, regex: '.*'}", ""),
    ],
)
def test_slips_are_warned_of(body: str, words: str) -> None:
    found = doubts(RuleSet(rules(f"rules: [{{id: a, {body}}}]")))
    assert (len(found), words in "".join(found)) == (int(bool(words)), True)


def test_a_rule_set_s_digest_changes_with_its_rules() -> None:
    one, two = "rules: [{id: a, match: {contains: x}, action: deny}]", "rules: [{id: a, match: {contains: y}, action: deny}]"
    digests = {RuleSet(rules(text)).digest for text in (one, two, "\n" + one, one.replace("deny", "warn"), f"mode: shadow\n{one}", one)}
    assert len(digests) == 5


# --- the rules that ship ---------------------------------------------------------------------------------------------------------


def test_every_shipped_rule_tells_people_what_it_is() -> None:
    found = shipped_rules()
    assert len({rule.id for rule in found}) == len(found) > 30
    for rule in found:
        assert rule.title, rule.id
        assert rule.message, rule.id
        assert rule.owasp, rule.id
        assert rule.remedy or rule.action == "warn", rule.id
        assert not rule.shadow
    assert doubts(RuleSet(found)) == []


def examples(danger: Danger) -> Any:
    for kind in danger.kinds:
        for flag in danger.some or {None}:
            yield effect(kind, *danger.every, *([flag] if flag else []))


@pytest.mark.parametrize("danger", DANGERS, ids=lambda d: d.title)
def test_every_class_of_danger_is_denied_from_the_start(danger: Danger) -> None:
    view = RuleSet(shipped_rules()).view(Grant("a", "", "", "", "", (), ()))
    for found in examples(danger):
        facts = CallFacts(tool_call({}, "bash"), [found])
        held = [r for r in view.on_call("bash", frozenset({found.kind})) if r.match is not None and r.match.test(facts, True)]
        deny = refusal(held, Reason.TOOL_CALL_BLOCKED)
        assert deny is not None, found
        assert not deny.shadow


# --- the documentation -----------------------------------------------------------------------------------------------------------


def test_every_example_of_the_docs_is_read() -> None:
    blocks = [part.partition("```")[0] for part in DOCS.split("```yaml\n")[1:]]
    assert len(blocks) >= 3
    for block in blocks:
        read_rules(parse_yaml(block, "docs"))


def test_the_docs_name_every_key_effect_and_shipped_rule() -> None:
    keys = [*fields.RULE.keys, *fields.WHEN.keys, *fields.MATCH.keys, *fields.DIRECTIONS, *fields.SEVERITIES, *fields.SWITCHES]
    assert [key for key in keys if f"`{key}`" not in DOCS and f"{key}:" not in DOCS and f": {key}" not in DOCS] == []
    assert [kind for kind, meaning in EFFECTS.items() if f"| `{kind}` | {meaning} |" not in DOCS] == []
    table = DOCS.partition("<!-- shipped -->")[2].partition("<!-- /shipped -->")[0]
    rows = [f"| `{r.id}` | {r.severity} | {r.action} | {r.title} |" for r in shipped_rules()]
    assert [line for line in table.splitlines() if line.startswith("| `")] == rows


def test_yaml_readers_agree_on_the_shipped_files() -> None:
    for path in sorted((ROOT / "proxy/policy/baseline").glob("*.yaml")):
        assert yaml.safe_load(path.read_text())["description"], path


def test_the_rules_of_an_agent_are_listed_with_their_place() -> None:
    found = RuleSet(
        rules("mode: shadow\nrules:\n  - {id: one, action: warn, when: {agent: a}}\n  - {id: two, action: deny, when: {agent: b}}")
    )
    a = Grant("a", "", "", "", "", (), ())
    assert show.section(found, a) == "  rules:\n    one: warn (dry run)  [r.yaml:3]"
    assert show.section(RuleSet(), a) == ""
    assert [(row["id"], row["mode"], row["source"]) for row in show.as_json(found, a)] == [("one", "shadow", "r.yaml:3")]


def test_a_file_that_is_no_yaml_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigErrors) as e:
        load_rules([*files(tmp_path, a="rules: ["), (tmp_path / "gone.yaml", "gone.yaml")])
    assert "policies/a.yaml:2: not valid YAML" in str(e.value)
    assert "gone.yaml: cannot be read" in str(e.value)

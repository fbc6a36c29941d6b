"""What the rules and the contract say of calls, replies and requests, and which of several words counts."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from rule_cases import effect, exchange, grant, names, ruleset, tool_call

from proxy.effects import Effect
from proxy.engine.exchange import Exchange
from proxy.model import Deny, Reason, Source, Target
from proxy.policy.facts import MAX_CHARS
from proxy.policy.judge import ContractJudge, RuleJudge, label
from proxy.policy.rule_stage import RuleStage
from proxy.policy.rules import REMEMBERED, Rule, RuleSet
from proxy.wire.call import Call, Message, ToolResult, Tools, ToolSpec


def judged(rules: RuleSet, arguments: Any = None, *effects: Effect, tool: str = "tool", ex: Exchange | None = None) -> Deny | None:
    judge = RuleJudge(rules, lambda ex: ("openai",))
    return asyncio.run(judge.judge(ex or exchange(grant()), tool_call(arguments or {}, tool), effects))


def contract(policy: str, tool: str, arguments: Any = None) -> tuple[Deny | None, Exchange]:
    ex = exchange(grant(policy))
    return asyncio.run(ContractJudge().judge(ex, tool_call(arguments if arguments is not None else {}, tool), ())), ex


def asked(rules: RuleSet, call: Call, policy: str = "{}", now: float = 0.0) -> tuple[Deny | None, Exchange]:
    ex = exchange(grant(policy), call, now)
    return asyncio.run(RuleStage(rules, lambda ex: ("openai", "local")).request(ex)), ex


def say(*texts: str, **more: Any) -> Call:
    return Call("chat", "m", json.dumps(texts).encode(), messages=tuple(Message(t.encode(), "user", (t,)) for t in texts), **more)


# --- which word counts -----------------------------------------------------------------------------------------------------------


def test_deny_goes_before_approval_and_both_before_the_rest() -> None:
    match = "match: {path: x}"
    found = judged(ruleset(f"{match}, action: warn", f"{match}, action: require_approval", f"{match}, action: deny"), {"path": "x"})
    assert found is not None
    assert (found.reason, found.rule, found.shadow) == (Reason.TOOL_CALL_BLOCKED, "r.yaml:4 (r2)", False)
    found = judged(ruleset(f"{match}, action: warn", f"{match}, action: require_approval"), {"path": "x"})
    assert found is not None
    assert "A person must approve it." in found.message
    assert judged(ruleset(f"{match}, action: warn"), {"path": "x"}) is None


def test_a_dry_rule_never_stands_in_front_of_an_enforced_one() -> None:
    ex = exchange(grant())
    both = ruleset("match: {path: x}, action: deny, mode: shadow", "match: {path: x}, action: require_approval")
    found = judged(both, {"path": "x"}, ex=ex)
    assert found is not None
    assert not found.shadow
    assert [f.rule for f in ex.findings] == ["rule/r0", "rule/r1"]
    found = judged(ruleset("match: {path: x}, mode: shadow"), {"path": "x"})
    assert found is not None
    assert found.shadow


def test_every_rule_that_holds_leaves_one_finding_however_often() -> None:
    ex, rules = exchange(grant()), ruleset("match: {path: x}, action: warn")
    for _ in range(3):
        judged(rules, {"path": "x"}, ex=ex)
    assert [(f.rule, f.detail) for f in ex.findings] == [("rule/r0", "warn: r.yaml:2 (r0)")]


# --- when ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("when", "holds"),
    [
        ("{tool: TO*}", True),
        ("{tool: [x, y]}", False),
        ("{agent: a, direction: tool_call}", True),
        ("{agent: 'b*', direction: tool_call}", False),
        ("{team: lab, direction: tool_call}", True),
        ("{team: x, direction: tool_call}", False),
        ("{model: 'M', direction: tool_call}", True),
        ("{model: served, direction: tool_call}", True),
        ("{model: x, direction: tool_call}", False),
        ("{provider: there, direction: tool_call}", True),
        ("{provider: openai, direction: tool_call}", False),
        ("{data: internal, direction: tool_call}", True),
        ("{data: confidential, direction: tool_call}", True),
        ("{data: restricted, direction: tool_call}", False),
    ],
)
def test_where_a_rule_looks(when: str, holds: bool) -> None:
    ex = exchange(grant("{owner: lab, data: {classification: confidential}}"))
    ex.target = Target("there", "served", "served", "openai", None)
    assert (judged(ruleset(f"when: {when}"), ex=ex) is not None) == holds


@pytest.mark.parametrize(
    ("when", "now", "holds"),
    [
        ("{hours: 09:00-17:00}", 9 * 3600, True),
        ("{hours: 09:00-17:00}", 17 * 3600, False),
        ("{hours: 22:00-06:00}", 23 * 3600, True),
        ("{hours: 22:00-06:00}", 5 * 3600, True),
        ("{hours: 22:00-06:00}", 6 * 3600, False),
        ("{days: thu}", 0, True),  # 1970-01-01 was a Thursday
        ("{days: [mon, fri]}", 0, False),
        ("{hours: 22:00-06:00, days: [thu]}", 86400 + 5 * 3600, True),
        ("{hours: 22:00-06:00, days: [fri]}", 86400 + 5 * 3600, False),
        ("{hours: 01:00-02:00, timezone: Europe/Berlin}", 0, True),
    ],
)
def test_when_a_rule_looks(when: str, now: float, holds: bool) -> None:
    assert (asked(ruleset(f"when: {when}"), say("x"), now=now)[0] is not None) == holds


# --- calls -----------------------------------------------------------------------------------------------------------------------


def test_rules_on_effects_are_heard_only_where_such_an_effect_is() -> None:
    rules = ruleset("match: {effect: fs.delete}", "match: {path: x}")
    view = rules.view(grant())
    assert names(view.on_call("t", frozenset())) == ["r1"]
    assert names(view.on_call("t", frozenset({"fs.delete"}))) == ["r1", "r0"]
    assert names(view.on_call("t", frozenset({"fs.read"}))) == ["r1"]
    assert judged(rules, {}, effect("fs.delete")) is not None


def test_views_and_tools_that_are_remembered_are_bounded() -> None:
    rules = ruleset("when: {tool: 'b*'}")
    for _ in range(REMEMBERED + 5):
        view = rules.view(grant())
    for i in range(REMEMBERED + 5):
        assert len(view.on_call(f"{'ab'[i % 2]}{i}", frozenset())) == i % 2
    assert len(view.on_call("b" * 1000, frozenset())) == 1
    assert len(rules._views) <= REMEMBERED
    assert len(view._tools) <= REMEMBERED


def test_long_arguments_are_judged_too() -> None:
    rules = ruleset("match: {path: secret.txt}")
    assert judged(rules, {"content": "x" * 100_000, "path": "secret.txt"}) is not None
    assert judged(rules, {"content": "x" * 100_000, "path": "other.txt"}) is None
    assert judged(rules, {"content": "x" * MAX_CHARS, "path": "other.txt"}) is not None


ARGS = "{tools: {args: [{tool: bash, field: command, regex: 'rm', action: deny}]}}"


@pytest.mark.parametrize(
    ("policy", "tool", "arguments", "reason"),
    [
        ("{}", "any", {}, None),
        ("{tools: {allow: [read_*]}}", "read_x", {}, None),
        ("{tools: {allow: [read_*]}}", "write_x", {}, Reason.TOOL_NOT_ALLOWED),
        ("{tools: {deny: [Delete]}}", "delete", {}, Reason.TOOL_NOT_ALLOWED),
        ("{tools: {require_approval: [send_*]}}", "SEND_mail", {}, Reason.TOOL_CALL_BLOCKED),
        ("{tools: {require_approval: [send_*]}}", "read", {}, None),
        (
            ARGS,
            "Bash",
            {"Command": "rm x"},
            Reason.TOOL_CALL_BLOCKED,
        ),
        (ARGS, "bash", {"note": "rm x"}, None),
        (ARGS, "other", {"command": "rm x"}, None),
        (ARGS, "bash", "rm x", Reason.TOOL_CALL_BLOCKED),
        ("{tools: {args: [{tool: bash, field: a.b, regex: '^5$', action: deny}]}}", "bash", {"a": {"b": 5}}, Reason.TOOL_CALL_BLOCKED),
        ("{tools: {args: [{tool: bash, field: a.b, regex: '^5$', action: deny}]}}", "bash", {"a.b": 5}, Reason.TOOL_CALL_BLOCKED),
        ("{tools: {args: [{tool: ['b*'], regex: 'rm', action: deny}]}}", "bash", {"x": ["r\u200bm"]}, Reason.TOOL_CALL_BLOCKED),
        ("{tools: {args: [{tool: bash, regex: 'rm', action: require_approval}]}}", "bash", {"x": "rm"}, Reason.TOOL_CALL_BLOCKED),
        ("{tools: {args: [{tool: bash, regex: 'rm', action: warn}]}}", "bash", {"x": "rm"}, None),
        (ARGS, "bash", {"x": "a" * MAX_CHARS}, Reason.TOOL_CALL_BLOCKED),
        (ARGS, "other", {"x": "a" * MAX_CHARS}, None),
        ("{tools: {args: [{tool: bash, regex: 'rm', action: deny}]}}", "bash", {"x": "a" * 70_000 + "rm"}, Reason.TOOL_CALL_BLOCKED),
    ],
)
def test_the_contract_holds_for_calls(policy: str, tool: str, arguments: Any, reason: Reason | None) -> None:
    deny, ex = contract(policy, tool, arguments)
    assert (deny.reason if deny else None) == reason
    assert deny is None or "AGENTS.md:3 policy.tools." in deny.rule
    assert [f.rule for f in ex.findings] == (["contract/tools.args"] if "warn" in policy else [])


def test_a_shadow_contract_refuses_calls_only_dry() -> None:
    deny, _ = contract("{mode: shadow, tools: {deny: [x], args: [{tool: x, regex: a, action: deny}]}}", "x", {"a": "a"})
    assert deny is not None
    assert deny.shadow


# --- requests --------------------------------------------------------------------------------------------------------------------


def test_texts_are_scanned_once_and_the_verdict_is_that_of_the_rules_in_force() -> None:
    call = say("banana", "apple")
    deny, _ = asked(ruleset("match: {contains: banana}"), call)
    assert deny is not None
    assert (deny.reason, deny.rule) == (Reason.POLICY_DENIED, "r.yaml:2 (r0)")
    for message in call.messages:
        (key,) = message.seen
        message.seen[key] = ()
    assert asked(ruleset("match: {contains: banana}"), call)[0] is None, "what is remembered is believed"
    assert asked(ruleset("match: {contains: [banana]}"), call)[0] is not None, "other rules remember nothing yet"


def test_what_is_remembered_of_a_text_does_not_depend_on_whose_it_was() -> None:
    call, rules = say("banana"), ruleset("match: {contains: banana}, when: {agent: b}")
    assert asked(rules, call)[0] is None
    assert asyncio.run(RuleStage(rules, lambda ex: ()).request(exchange(grant(name="b"), call))) is not None


RESULT = Call("chat", "m", b"", messages=(Message(b"", "tool", ("x",), tool_results=(ToolResult("1", b""),)),))


def offer(text: str) -> Call:
    return Call("chat", "m", b"", tools=Tools((ToolSpec("t"),), text))


@pytest.mark.parametrize(
    ("body", "call", "holds"),
    [
        ("match: {contains: x}, when: {direction: tool_result}", say("x"), False),
        ("match: {contains: x}, when: {direction: tool_result}", RESULT, True),
        ("match: {contains: x}, when: {direction: request}", Call("chat", "m", b"", system=(Message(b"", "system", ("x",)),)), True),
        ("match: {contains: x}", Call("chat", "m", b"", extra=("x",)), True),
        ("match: {contains: x}, when: {direction: tool_definition}", offer("x"), True),
        ("match: {contains: x}, when: {direction: tool_definition, tool: u}", offer("x"), False),
        ("when: {tool: t, direction: tool_definition}", offer(""), True),
        ("when: {tool: u, direction: tool_definition}", offer(""), False),
        ("when: {model: m}", Call("chat", "m", b""), True),
        ("when: {model: n}", Call("chat", "m", b"", aliases=("n",)), True),
        ("when: {model: m}", Call("models", "m", b""), False),
        ("when: {provider: local}", Call("chat", "m", b""), True),
        ("when: {provider: other}", Call("chat", "m", b""), False),
        ("match: {contains: x}", say("y" * 70_000 + "x"), True),
    ],
)  # fmt: skip
def test_where_rules_on_requests_look(body: str, call: Call, holds: bool) -> None:
    assert (asked(ruleset(body), call)[0] is not None) == holds
    assert (asked(ruleset(body), call)[0] is not None) == holds, "and again, from what is remembered"


def test_a_line_break_in_arguments_is_hidden_as_the_body_writes_it() -> None:
    _, ex = asked(ruleset("match: {regex: P1.+P2}, action: redact"), say('{"key": "P1\\nP2"}'))
    assert ex.redactions["P1\nP2"] == ex.redactions["P1\\nP2"]


def test_redaction_hides_each_place_and_leaves_placeholders_of_others_alone() -> None:
    rules = ruleset("match: {regex: 'P[0-9]+'}, action: redact")
    deny, ex = asked(rules, say("P1 and P22, not [R0_1]"))
    assert deny is None
    assert ex.redactions == {"P1": "[R0_2]", "P22": "[R0_3]"}
    assert asked(ruleset("match: {contains: P1}, action: redact, mode: shadow"), say("P1"))[1].redactions == {}


def test_limits_and_routes() -> None:
    lower = ruleset("action: {limit: {max_output_tokens: 10}}", "action: {limit: {max_output_tokens: 5}}", "action: {route: {to: n}}")
    _, ex = asked(lower, say("x"))
    assert (ex.max_output, ex.route_to, ex.route_rule) == (5, "n", "r.yaml:4 (r2)")
    assert asked(lower, say("x", max_output=3))[1].max_output is None
    _, ex = asked(ruleset("action: {route: {to: n}}, mode: shadow"), say("x"))
    assert (ex.route_to, [f.rule for f in ex.findings]) == ("", ["rule/r0"])


# --- replies ---------------------------------------------------------------------------------------------------------------------


def test_spans_of_a_reply_and_how_far_they_reach() -> None:
    when = "when: {direction: reply}"
    rules = ruleset(
        f"{when}, match: {{contains: abc}}, action: redact",
        f"{when}, match: {{contains: 'x'}}, action: warn",
        f"{when}, match: {{contains: dry}}, mode: shadow",
        f"{when}, match: {{contains: wet}}, action: redact, mode: shadow",
        f"{when}, match: {{contains: stop}}",
        "when: {direction: reply, model: other}, match: {contains: never}",
    )
    judge, ex = RuleJudge(rules, lambda ex: ()), exchange(grant())
    assert judge.reach(ex.grant) == 5
    found = {(s.rule, s.instead, s.deny is not None) for s in judge.spans(ex, "abc x dry wet stop never")}
    assert found == {
        ("rule/r0", "[R0]", False),
        ("rule/r1", None, False),
        ("rule/r2", None, False),
        ("shadow/policy_denied", None, False),
        ("rule/r3", None, False),
        ("rule/r4", None, True),
    }
    assert RuleJudge(ruleset(f"{when}, match: {{regex: 'a+'}}"), lambda ex: ()).reach(ex.grant) is None
    assert RuleJudge(ruleset(f"{when}, match: {{regex: 'a+'}}, reach: 7"), lambda ex: ()).reach(ex.grant) == 7
    assert RuleJudge(ruleset("match: {path: x}"), lambda ex: ()).reach(ex.grant) == 0


@pytest.mark.parametrize(("name", "word"), [("hide-names", "HIDE_NAMES"), ("7-up", "UP"), ("0", "REDACTED")])
def test_the_word_of_a_placeholder(name: str, word: str) -> None:
    assert label(Rule(name, "redact", Source("r.yaml", 1), frozenset())) == word


@pytest.mark.parametrize(
    ("said", "default"),
    [
        (("allow", "deny"), "deny"),
        (("deny", "allow"), "deny"),
        (("allow", "allow"), "allow"),
        (("allow", ""), None),
    ],
)
def test_where_two_rules_ask_the_stricter_default_follows_and_both_are_named(said: tuple[str, str], default: str | None) -> None:
    asks = [f"approval: {{default: {word}}}" if word else "message: x" for word in said]
    deny = judged(ruleset(*[f"match: {{path: x}}, action: require_approval, {ask}" for ask in asks]), {"path": "x"})
    assert deny is not None
    assert deny.approval is not None
    assert deny.approval.default == default
    assert deny.rule.count(" and ") == 1

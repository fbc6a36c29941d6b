"""The guards' look at replies: what each mode does with a text and with the arguments of a call, and who decides on calls."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import re
from collections.abc import Sequence
from typing import Any

import pytest
from multidict import CIMultiDict

from proxy.effects import Effect
from proxy.engine.exchange import Exchange, Limits, Runtime
from proxy.engine.inspector import PASSES, Span, Verdict
from proxy.engine.ports import Answer, Beat, Question
from proxy.engine.stage import compile_plan
from proxy.guards import inspection
from proxy.guards.base import Hit, Surface, TextGuard
from proxy.guards.inspection import Inspection, Looks
from proxy.guards.watch import watch_of
from proxy.model import Approval, Deny, Grant, Reason
from proxy.wire import jsonio
from proxy.wire.call import ToolCall


class Words(TextGuard):
    """Finds `key-` and two digits."""

    name = "words"
    surfaces = frozenset[Surface]({"reply", "tool_call"})
    reach = 7
    digest = "1"

    def scan(self, text: str, surface: Surface) -> Sequence[Hit]:
        return [Hit("words/key", m.start(), m.end(), "KEY", "a key") for m in re.finditer("key-[0-9]{2}", text)]


class Refuses:
    """Refuses calls whose arguments hold a word."""

    def __init__(self, word: str, shadow: bool = False) -> None:
        self.deny, self.word = Deny(Reason.TOOL_CALL_BLOCKED, "Not that.", rule=f"rule-{word}", shadow=shadow), word
        self.seen: list[str] = []

    async def judge(self, ex: Exchange, call: ToolCall, effects: Sequence[Effect]) -> Deny | None:
        self.seen.append(call.arguments)
        return self.deny if self.word in call.arguments else None


class _Clock:
    def now(self) -> float:
        return 1.0

    def ns(self) -> int:
        return 1


def look(mode: str, *judges: Refuses, shadow: bool = False, hidden: dict[str, str] | None = None) -> tuple[Exchange, Inspection]:
    nothing: Any = None
    ex = Exchange(Runtime("v", compile_plan([], ()), nothing, (), Limits()), _Clock(), nothing, "openai")
    ex.headers = CIMultiDict()
    ex.redactions = hidden or {}
    ex.grant = Grant("a", "t", "1", "", "", (), (), shadow=shadow, data={"words": mode})
    return ex, Inspection(ex, Looks(watch_of([Words()], ex.grant), ex.grant, (), judges))


def call(arguments: str) -> ToolCall:
    return ToolCall("1", "bash", arguments, jsonio.signature("bash", arguments), "0/0")


def judged(found: Inspection, asked: ToolCall) -> Verdict:
    return asyncio.run(found.judge(asked))


@pytest.mark.parametrize(("mode", "reach", "calls"), [("off", 0, False), ("warn", 7, True), ("redact", 7, True), ("block", 7, True)])
def test_what_is_looked_at(mode: str, reach: int, calls: bool) -> None:
    _, found = look(mode)
    assert (found.reach, found.calls) == (reach, calls)


def test_a_reply_to_a_dry_agent_is_held_to_the_baseline() -> None:
    ex, _ = look("block", shadow=True)
    ex.grant = dataclasses.replace(ex.grant, firm_data={"words": "redact"})
    (span,) = Inspection(ex, Looks(watch_of([Words()], ex.grant), ex.grant, (), ())).spans("x key-12")
    assert (span.instead, span.deny) == ("[KEY]", None)
    ex.grant = dataclasses.replace(ex.grant, firm_data={"words": "block"})
    (span,) = Inspection(ex, Looks(watch_of([Words()], ex.grant), ex.grant, (), ())).spans("x key-12")
    assert span.deny is not None
    assert not span.deny.shadow


def test_each_mode_on_texts() -> None:
    for mode, shadow, instead, denies in (
        ("warn", False, None, False),
        ("redact", False, "[KEY]", False),
        ("block", False, None, True),
        ("block", True, None, False),
    ):
        ex, found = look(mode, shadow=shadow)
        spans = found.spans("x key-12 y key-34 key-12")
        assert [(s.start, s.instead, s.deny is not None) for s in spans] == [(at, instead, denies) for at in (2, 11, 18)]
        assert not ex.findings, "asked about the same words again and again"
        for span, text in zip(spans, ("key-12", "key-34", "key-12"), strict=True):
            found.took(span, text)
        dry = ["shadow/content_blocked"] if shadow else []
        assert [f.rule for f in ex.findings] == ["words/key", *dry] * 2
        found.took(Span(0, 1, "restored"), "[EMAIL_1]")
        assert len(ex.findings) == 2 + 2 * len(dry)


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspection, "MAX_TOLD", 1)
    ex, found = look("warn")
    for text in ("a", "b", "a", "b"):
        found.took(Span(0, 1, rule="words/key"), text)
    assert len(ex.findings) == 3


def test_placeholders_become_originals() -> None:
    _, found = look("off", hidden={"a@b.io": "[EMAIL_1]"})
    assert (found.reach or 0) > len("[EMAIL_1]")
    assert found.calls
    assert found.spans("to [EMAIL_1] and [EMAIL_2]") == [Span(3, 12, "a@b.io")]


def test_arguments() -> None:
    nested = json.dumps({"to": "[EMAIL_1]", "inner": json.dumps({"k": "[EMAIL_1]"})})
    _, found = look("off", hidden={'a"b': "[EMAIL_1]"})
    verdict = judged(found, call(nested))
    assert json.loads(verdict.arguments or "") == {"to": 'a"b', "inner": json.dumps({"k": 'a"b'})}
    assert judged(found, call("{}")) is PASSES
    ex, found = look("redact")
    assert (judged(found, call('{"a": "k\\u0065y-12", "n": 1.0}'))).arguments == '{"a": "[KEY]", "n": 1.0}'
    assert (judged(found, call("echo key-12"))).arguments == "echo [KEY]", "what is no JSON is judged as text"
    assert [f.rule for f in ex.findings] == ["words/key"]
    ex, found = look("block", Refuses("never"))
    verdict = judged(found, call('{"a":"key-12"}'))
    assert (verdict.words or "").startswith("The reply holds what agent a must not pass on")
    assert [f.rule for f in ex.findings] == ["words/key", "content_blocked"]
    assert ex.decisions[0][0] == "guards"
    assert "withheld a call of bash" in ex.decisions[0][1]


def test_the_first_refusal_counts_and_dry_runs_are_findings() -> None:
    dry, first, second = Refuses("rm", shadow=True), Refuses("rm"), Refuses("rm")
    ex, found = look("off", dry, first, second, hidden={"rm -rf": "[CMD_1]"})
    verdict = judged(found, call('{"c":"[CMD_1] /"}'))
    assert verdict.words == "Not that. Rule: rule-rm."
    assert (first.seen, second.seen) == (['{"c":"rm -rf /"}'], []), "what the agent would run is judged"
    assert [(f.rule, f.detail) for f in ex.findings] == [("shadow/tool_call_blocked", "rule-rm"), ("tool_call_blocked", "rule-rm")]
    assert judged(found, call('{"c":"ls"}')) is PASSES


def test_where_two_judges_ask_a_person_is_told_of_both_and_the_stricter_default_follows() -> None:
    asked: list[Question] = []

    class Person:
        async def ask(self, question: Question, beat: Beat | None = None) -> Answer:
            asked.append(question)
            return Answer(True, "ann", "fine", "q1")

    judges = [Refuses("rm"), Refuses("rm")]
    for judge, default in zip(judges, ("allow", "deny"), strict=True):
        judge.deny = dataclasses.replace(judge.deny, rule=f"rule-{default}", approval=Approval(9.0, default))  # type: ignore[arg-type]
    ex, found = look("off", *judges)
    ex.agent = "a"
    ex.rt = dataclasses.replace(ex.rt, approver=Person())
    assert judged(found, call('{"c":"rm"}')) is PASSES
    (question,) = asked
    assert (question.rule, question.default, question.timeout_s) == ("rule-allow and rule-deny", "deny", 9.0)


@pytest.mark.parametrize(("mode", "withheld"), [("warn", False), ("redact", False), ("block", True)])
def test_the_names_of_arguments_are_looked_at_too(mode: str, withheld: bool) -> None:
    ex, found = look(mode)
    assert (judged(found, call('{"key-12": "x"}')).words is not None) is withheld
    assert [f.rule for f in ex.findings][:1] == ["words/key"]


SECRET = "AKIA" + "Q7XH2LMNB4ZKPD3T"


@pytest.mark.parametrize("at", range(inspection.PREVIEW - 24, inspection.PREVIEW + 2, 3))
def test_a_secret_at_the_edge_of_what_people_see_is_hidden(at: int) -> None:
    arguments = json.dumps({"text": "x" * (at - 11) + " " + SECRET + " " + "y" * 50})
    shown = inspection.preview(arguments)
    assert "AKIA" not in shown[: inspection.PREVIEW]
    assert len(shown) > inspection.PREVIEW, "who shows it sees that there is more"


def test_a_secret_in_escapes_is_hidden_from_people() -> None:
    escaped = "".join(f"\\u{ord(c):04x}" for c in SECRET)
    shown = inspection.preview('{"to": "ann", "key": "' + escaped + '"}')
    assert escaped not in shown
    assert '"to": "ann"' in shown
    assert SECRET not in inspection.preview(f"not JSON {SECRET} ")


def test_what_is_too_long_to_be_looked_at_is_said_to_be_more() -> None:
    assert len(inspection.preview(" " * 10 * inspection.PREVIEW)) > inspection.PREVIEW
    assert inspection.preview("{}") == "{}"

"""The guard stage on an exchange: what is noted, hidden or refused; a message is scanned once; replies are looked at."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any, ClassVar, cast

import pytest

from proxy.engine.exchange import Exchange
from proxy.engine.ports import Client
from proxy.guards.base import Hit, Surface, TextGuard
from proxy.guards.inspection import Inspection
from proxy.guards.stage import INLINE_CHARS, MOST_FINDINGS, REMEMBERED, GuardStage
from proxy.guards.watch import watch_of
from proxy.identity.agents_md import parse_agents
from proxy.identity.grants import combine
from proxy.model import Deny, Finding, Grant, Reason
from proxy.wire.blocks import SIZE, joined
from proxy.wire.call import Call, Message, ToolCall, ToolResult, Tools


class Clock:
    """Stands still."""

    def now(self) -> float:
        return 0.0

    def ns(self) -> int:
        return 0


class Words(TextGuard):
    """Finds a word."""

    name: ClassVar[str] = "pii"
    surfaces: ClassVar[frozenset[Surface]] = frozenset({"prompt", "tool_result", "reply", "tool_definition", "tool_call"})

    def __init__(self, word: str = "secret", digest: str = "1", open: bool = False) -> None:
        self.reach, self.digest, self.word, self.open = 20, digest, word, open
        self.scanned: list[tuple[str, Surface]] = []

    def scan(self, text: str, surface: Surface) -> Sequence[Hit]:
        self.scanned.append((text, surface))
        at = text.find(self.word)
        return () if at < 0 else (Hit("pii/word", at, at + len(self.word), "WORD", "a word", self.open),)


def grant(data: str, mode: str = "enforce") -> Grant:
    layer = parse_agents(f"---\nname: a\npolicy: {{mode: {mode}, data: {{{data}}}}}\n---\n", "AGENTS.md").agents[0].layer
    assert layer is not None
    return combine("a", None, [layer])


def exchange(found: Grant, *messages: Message, tools: str = "", extra: tuple[str, ...] = (), thread: str = "") -> Exchange:
    ex = Exchange(cast(Any, None), Clock(), cast(Client, None), "openai")
    body = json.dumps({"m": [text for m in messages for text in m.texts], "t": tools, "e": extra}).encode()
    ex.id, ex.grant = "0123abcd", found
    ex.call = Call("chat", "m", body, messages=messages, tools=Tools(text=tools), extra=extra, thread=thread)
    return ex


def run(stage: GuardStage, ex: Exchange) -> Deny | None:
    return asyncio.run(stage.request(ex))


def user(text: str) -> Message:
    return Message(b"", "user", (text,))


@pytest.mark.parametrize(
    ("data", "denied", "hidden"),
    [
        ("pii: off", False, False),
        ("pii: warn", False, False),
        ("pii: redact", False, True),
        ("pii: block", True, False),
        ("secrets: block", False, False),
    ],
)
def test_what_follows_is_the_agents_setting(data: str, denied: bool, hidden: bool) -> None:
    ex = exchange(grant(data), user("my secret here"))
    deny = run(GuardStage([Words()]), ex)
    assert (deny is not None) is denied
    assert ex.redactions == ({"secret": "[WORD_1]"} if hidden else {})
    assert [f.rule for f in ex.findings] == (["pii/word"] if data.startswith("pii") and "off" not in data else [])
    if deny is not None:
        assert (deny.reason, deny.rule, deny.shadow) == (Reason.CONTENT_BLOCKED, "pii/word (data.pii: block)", False)
        assert "secret" not in deny.message


def test_a_dry_run_hides_nothing_and_its_refusal_is_one() -> None:
    ex = exchange(grant("pii: redact", "shadow"), user("my secret"))
    assert run(GuardStage([Words()]), ex) is None
    assert ex.redactions == {}
    deny = run(GuardStage([Words()]), exchange(grant("pii: block", "shadow"), user("my secret")))
    assert deny is not None
    assert deny.shadow


@pytest.mark.parametrize("body", [b'{"card": 4111}', b'{"4111": 1}', b'["{\\"4111\\": 4111}"]', b'["4111"]', b"[41.11]"])
def test_what_rules_hide_is_hidden_or_refused(body: bytes) -> None:
    ex = exchange(grant("pii: off"), user("4111"))
    ex.call.body = body
    ex.redactions = {"4111": "[CARDS_1]"}
    deny = run(GuardStage([]), ex)
    assert (deny is not None) is (body[:1] == b"{")
    assert deny is None or (deny.reason, deny.shadow) == (Reason.CONTENT_BLOCKED, False)


def test_a_text_full_of_findings_makes_no_record_full_of_them() -> None:
    ex = exchange(grant("pii: warn"), *[user("secret")] * (MOST_FINDINGS + 9))
    assert run(GuardStage([Words()]), ex) is None
    assert len(ex.findings) == MOST_FINDINGS
    ex = exchange(grant("pii: warn"), user("secret"))
    ex.findings = [Finding("loop/x", "")] * MOST_FINDINGS
    assert run(GuardStage([Words()]), ex) is None
    assert [f.rule for f in ex.findings].count("pii/word") == 1


@pytest.mark.parametrize(
    ("base", "own", "refused", "hidden"),
    [
        ("block", "off", False, False),
        ("block", "warn", False, False),
        ("redact", "off", None, True),
        ("redact", "block", True, True),
        ("warn", "block", True, False),
        ("warn", "redact", None, False),
    ],
)
def test_a_dry_agent_is_held_to_the_baseline(base: str, own: str, refused: bool | None, hidden: bool) -> None:
    """`refused`: whether the refusal is dry, None for no refusal."""
    every = parse_agents(f"---\nname: base\npolicy: {{data: {{pii: {base}}}}}\n---\n", "AGENTS.md").agents[0].layer
    layer = parse_agents(f"---\nname: a\npolicy: {{mode: shadow, data: {{pii: {own}}}}}\n---\n", "AGENTS.md").agents[0].layer
    assert every is not None
    assert layer is not None
    ex = exchange(combine("a", every, [layer]), user("my secret"))
    deny = run(GuardStage([Words()]), ex)
    assert (None if deny is None else deny.shadow) is refused
    assert bool(ex.redactions) is hidden
    assert [f.rule for f in ex.findings] == ["pii/word"]


def test_every_text_is_looked_at_as_what_it_is() -> None:
    guard = Words()
    result = Message(b"", "tool", ("r",), tool_results=(ToolResult("1", b""),))
    ex = exchange(grant("pii: warn"), user("u"), Message(b"", "assistant", ("a",)), result, tools="t", extra=("e",))
    ex.call.system = (Message(b"", "system", ("s",)),)
    run(GuardStage([guard]), ex)
    assert dict(guard.scanned) == {"s": "prompt", "u": "prompt", "a": "reply", "r": "tool_result", "t": "tool_definition", "e": "prompt"}


def test_a_message_is_scanned_once_for_a_rule_set_and_its_finding_stays() -> None:
    guard, message, found = Words(), user("my secret"), grant("pii: warn")
    stage = GuardStage([guard])
    for _ in range(3):
        ex = exchange(found, message)
        run(stage, ex)
        assert [f.rule for f in ex.findings] == ["pii/word"]
    assert len(guard.scanned) == 1
    other = Words(digest="2")
    run(GuardStage([other]), exchange(found, message))
    assert len(other.scanned) == 1


def test_a_long_conversation_is_judged_as_one_that_nobody_knows_and_scanned_once() -> None:
    words = Words()
    stage = GuardStage([words])
    history = tuple([user("my secret" if n == 5 else f"word {n}") for n in range(2 * SIZE + 3)])
    turns = [joined((), history), joined(joined((), history)[: 2 * SIZE], (user("more"),))]
    for turn in turns:
        ex = exchange(grant("pii: redact"), *turn)
        ex.call.messages = turn
        assert run(stage, ex) is None
        assert ex.redactions == {"secret": "[WORD_1]"}
        assert [f.rule for f in ex.findings] == ["pii/word"]
    assert len(words.scanned) == len(history) + 1


def test_long_new_texts_are_scanned_as_well() -> None:
    ex = exchange(grant("pii: redact"), user("x" * INLINE_CHARS + " secret"))
    assert run(GuardStage([Words()]), ex) is None
    assert ex.redactions == {"secret": "[WORD_1]"}


def test_what_is_open_is_refused_where_it_should_be_hidden() -> None:
    ex = exchange(grant("pii: redact"), user("my secret"))
    deny = run(GuardStage([Words(open=True)]), ex)
    assert deny is not None
    assert deny.reason == Reason.CONTENT_BLOCKED
    assert ex.redactions == {}


def test_what_is_written_out_of_reach_is_refused() -> None:
    ex = exchange(grant("pii: redact"), user("my secret"))
    ex.call.body = b'{"secret": 1}'
    deny = run(GuardStage([Words()]), ex)
    assert deny is not None
    assert deny.rule == "redaction"


def test_escapes_inside_json_text_are_read() -> None:
    ex = exchange(grant("pii: redact"), user('{"a": "my s\\u0065cret"}'))
    assert run(GuardStage([Words()]), ex) is None
    assert ex.redactions == {"secret": "[WORD_1]"}


def test_a_kept_history_marks_the_numbers_and_earlier_ones_stay() -> None:
    ex = exchange(grant("pii: redact"), user("my secret"), thread="resp_1")
    ex.redactions = {"other": "[WORD_abcd-1]"}
    assert run(GuardStage([Words()]), ex) is None
    assert ex.redactions == {"other": "[WORD_abcd-1]", "secret": "[WORD_abcd-2]"}


def test_lists_of_models_are_not_looked_at() -> None:
    ex = exchange(grant("pii: block"), user("my secret"))
    ex.call.operation = "models"
    assert run(GuardStage([Words()]), ex) is None


def test_watches_are_remembered_and_bounded() -> None:
    stage, found = GuardStage([Words()]), grant("pii: warn")
    assert stage.watch(found) is stage.watch(found)
    for _ in range(REMEMBERED + 1):
        stage.watch(grant("pii: warn"))
    assert watch_of([Words()], grant("pii: off")).guards == ()
    assert watch_of([Words()], found).strictest("warn")


# --- replies -------------------------------------------------------------------------------------------------------------------------


def looks(
    data: str, mode: str = "enforce", redactions: dict[str, str] | None = None, guard: Words | None = None
) -> tuple[Inspection, Exchange]:
    ex = exchange(grant(data, mode))
    ex.redactions = redactions or {}
    found = GuardStage([guard or Words()]).inspect(ex)
    assert found is not None
    return found, ex


def test_a_reply_that_nobody_looks_at_has_no_inspection() -> None:
    assert GuardStage([Words()]).inspect(exchange(grant("pii: off"))) is None


@pytest.mark.parametrize(
    ("data", "mode", "instead", "denied"),
    [
        ("pii: warn", "enforce", None, False),
        ("pii: redact", "enforce", "[WORD]", False),
        ("pii: block", "enforce", None, True),
        ("pii: block", "shadow", None, False),
        ("pii: redact", "shadow", None, False),
    ],
)
def test_spans_of_a_reply(data: str, mode: str, instead: str | None, denied: bool) -> None:
    inspection, ex = looks(data, mode)
    (span,) = inspection.spans("my secret")
    assert (span.start, span.end, span.instead, span.deny is not None) == (3, 9, instead, denied)
    inspection.took(span, "secret")
    inspection.took(span, "secret")
    assert [f.rule for f in ex.findings].count("pii/word") == 1


def test_what_a_stream_cannot_hold_back_whole_stops_it() -> None:
    inspection, _ = looks("pii: redact", guard=Words("s" * 20))
    (span,) = inspection.spans("s" * 20)
    assert span.deny is not None


def test_originals_come_back_in_texts_and_arguments() -> None:
    inspection, _ = looks("pii: redact", redactions={"a\\nb": "[KEY_1]", "a\nb": "[KEY_1]"})
    (span,) = inspection.spans("say [KEY_1] and [KEY_2]")
    assert (span.start, span.end, span.instead) == (4, 11, "a\nb")
    verdict = asyncio.run(inspection.judge(ToolCall("1", "t", '{"k": "[KEY_1]"}', b"")))
    assert verdict.arguments is not None
    assert json.loads(verdict.arguments) == {"k": "a\nb"}


@pytest.mark.parametrize(("data", "kept"), [("pii: warn", True), ("pii: redact", False), ("pii: block", None)])
def test_arguments_of_a_call(data: str, kept: bool | None) -> None:
    inspection, _ = looks(data)
    verdict = asyncio.run(inspection.judge(ToolCall("1", "t", '{"k": "my secret"}', b"")))
    assert (verdict.words is not None) is (kept is None)
    if kept is False:
        assert json.loads(verdict.arguments or "") == {"k": "my [WORD]"}

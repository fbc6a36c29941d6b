"""A question to people, step by step: what it answers, who may decide it and when, and what is shown of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from proxy.control.questions import (
    ANY,
    DEFAULT,
    MAX_PREVIEW,
    Case,
    Decision,
    Timing,
    answered,
    case_json,
    decided,
    digest,
    id_of,
    left,
    matches,
    opened,
    state,
)
from proxy.engine.ports import Answer, Question

NOW = 1_800_000_000.0
TIMING = Timing(300, 3600)
QUESTION = Question("tool_call", "clerk", "s1", "r1", "e1", "send_email", "d1", "policies/x.yaml:3 (mail)", "why", "{}")
YES, NO = Decision(True, "ann", "fine"), Decision(False, "bob", "no")


def case(**more: Any) -> Case:
    return opened(replace(QUESTION, **more), None, NOW, TIMING, digest("secret"))


def after(one: Case, decision: Decision, now: float = NOW + 1) -> Case:
    found = decided(one, decision, now, 3600)
    assert isinstance(found, Case)
    return found


def test_the_same_question_has_one_id_and_another_has_another() -> None:
    assert id_of(QUESTION) == id_of(replace(QUESTION, exchange="e2", run="r2", preview="x", rule="y", why="z"))
    others = [
        replace(QUESTION, kind="loop"),
        replace(QUESTION, agent="other"),
        replace(QUESTION, session="other"),
        replace(QUESTION, what="other"),
        replace(QUESTION, digest="other"),
    ]
    assert len({id_of(q) for q in [QUESTION, *others]}) == 6
    assert id_of(replace(QUESTION, agent="a", session="b\0c")) != id_of(replace(QUESTION, agent="a\0b", session="c\ud800"))


def test_an_id_is_too_long_for_two_questions_to_be_made_alike() -> None:
    assert len(id_of(QUESTION)) == 32


def test_a_preview_says_that_it_is_not_all() -> None:
    whole = case(preview="x" * MAX_PREVIEW).question.preview
    assert whole == "x" * MAX_PREVIEW
    part = case(preview="x" * MAX_PREVIEW + "rm -rf /").question.preview
    assert len(part) <= MAX_PREVIEW
    assert part.endswith("(there is more that is not shown)")
    lines = case(preview="a\n" * MAX_PREVIEW).question.preview
    assert lines.endswith("(there is more that is not shown)")


@pytest.mark.parametrize("keep_s", [1.0, 300.0, 3600.0])
@pytest.mark.parametrize("timeout_s", [1.0, 300.0, 3600.0])
def test_the_default_follows_however_short_questions_are_kept(keep_s: float, timeout_s: float) -> None:
    asked = replace(QUESTION, timeout_s=timeout_s, default="allow")
    one = opened(asked, None, NOW, Timing(300, keep_s), digest("secret"))
    assert answered(one, NOW + timeout_s - 0.1) == (None, None)
    answer, step = answered(one, NOW + timeout_s + 0.1)
    assert answer is not None
    assert step is not None
    assert (answer.allowed, answer.by) == (True, DEFAULT)
    again = opened(asked, one, NOW + timeout_s - 0.5, Timing(300, keep_s), "")
    assert answered(again, NOW + timeout_s + 0.1)[0] == answer, "who asks again waits for the same end"


def test_nobody_has_decided() -> None:
    assert answered(case(), NOW + 1) == (None, None)
    assert answered(case(), NOW + 3600) == (None, None)


def test_an_approval_holds_once() -> None:
    approved = after(case(), YES)
    answer, used = answered(approved, NOW + 2)
    assert answer == Answer(True, "ann", "fine", approved.id)
    assert used is not None
    assert (used.uses, used.version) == (0, approved.version + 1)
    assert answered(used, NOW + 3) == (None, None)
    assert used.over(NOW + 3)
    again = opened(QUESTION, used, NOW + 4, TIMING, digest("other"))
    assert (again.status, again.version, again.token, again.asked) == ("pending", used.version + 1, digest("other"), NOW + 4)


def test_an_approval_for_a_time_holds_until_then() -> None:
    approved = after(case(), replace(YES, lasts_s=60))
    assert (approved.uses, approved.expires) == (ANY, NOW + 61)
    assert answered(approved, NOW + 60) == (Answer(True, "ann", "fine", approved.id), None)
    assert answered(approved, NOW + 61) == (None, None)


def test_a_denial_is_remembered() -> None:
    denied = after(case(), NO)
    assert answered(denied, NOW + 3600) == (Answer(False, "bob", "no", denied.id), None)
    assert answered(denied, NOW + 3601) == (None, None)


def test_a_default_of_allow_counts_from_the_deadline_on() -> None:
    waiting = case(default="allow", timeout_s=60.0)
    assert answered(waiting, NOW + 59) == (None, None)
    answer, by = answered(waiting, NOW + 60)
    assert answer == Answer(True, DEFAULT, "nobody decided in time", waiting.id)
    assert by is not None
    assert (by.status, by.uses, by.token, by.by) == ("approved", 0, "", DEFAULT)


def test_waiting_on_keeps_the_question_and_its_link() -> None:
    first = case()
    again = opened(replace(QUESTION, exchange="e2"), first, NOW + 3500, TIMING, digest("new"))
    assert (again.asked, again.token, again.question, again.version) == (NOW, first.token, first.question, 2)
    assert (again.waits, again.expires) == (NOW + 3800, NOW + 3800)
    anew = opened(QUESTION, first, NOW + 3600, TIMING, digest("new"))
    assert (anew.asked, anew.token) == (NOW + 3600, digest("new"))


@pytest.mark.parametrize(
    ("one", "decision", "now", "why"),
    [
        (None, YES, NOW, "unknown"),
        (case(), YES, NOW + 3600, "expired"),
        (after(case(), NO), YES, NOW + 2, "decided"),
        (case(), replace(YES, token="wrong"), NOW, "foreign"),
        (case(), replace(YES, token=""), NOW, "foreign"),
        (after(case(), NO), replace(YES, token="secret"), NOW + 2, "foreign"),
    ],
)
def test_what_cannot_be_decided(one: Case | None, decision: Decision, now: float, why: str) -> None:
    assert decided(one, decision, now, 3600) == why


def test_a_link_decides_once() -> None:
    assert matches(case(), "secret")
    approved = after(case(), replace(YES, token="secret"))
    assert not matches(approved, "secret")
    assert not matches(approved, "")


def test_who_decides_is_shown_as_text() -> None:
    denied = after(case(), Decision(False, "\x1b[2J", "a\nb" + "x" * 900))
    assert denied.by == "[2J"
    assert denied.reason.startswith("a b")
    assert len(denied.reason) == 400
    assert after(case(), Decision(True, "")).by == "somebody"


def test_leaving() -> None:
    gone = left(case(), NOW + 5)
    assert gone is not None
    assert (gone.waits, gone.status) == (NOW + 5, "pending")
    assert left(gone, NOW + 6) is None
    assert left(after(case(), NO), NOW + 6) is None


def test_what_comes_from_outside_is_bounded_and_prints() -> None:
    said = case(what="a\x1b[2J\ud800" + "x" * 999, preview="one\x07\ntwo\u202e\n" + "y" * 9000).question
    assert said.what.isprintable()
    assert len(said.what) == 200
    assert len(said.preview) <= 4000
    assert said.preview.split("\n")[:2] == ["one", "two"]


@pytest.mark.parametrize(
    ("one", "now", "words"),
    [
        (case(), NOW + 1, "waits"),
        (case(), NOW + 300, "open"),
        (case(), NOW + 3600, "over"),
        (after(case(), YES), NOW + 2, "approved"),
        (after(case(), NO), NOW + 2, "denied"),
        (after(case(), NO), NOW + 9999, "denied, over"),
        (replace(after(case(), YES), uses=0), NOW + 2, "approved, used"),
    ],
)
def test_states(one: Case, now: float, words: str) -> None:
    assert state(one, now) == words


def test_json_shows_no_secret() -> None:
    shown = case_json(case(), NOW)
    assert (shown["state"], shown["what"], shown["uses"]) == ("waits", "send_email", 0)
    assert case_json(after(case(), replace(YES, lasts_s=9)), NOW)["uses"] is None
    assert digest("secret") not in str(shown)

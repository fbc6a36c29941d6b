"""How steps are told apart, what is kept of them, and how much each counts."""

from __future__ import annotations

import contextlib
import gc

import pytest
from conversing import asked, call, got, human, steps
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.loops import facts as f
from proxy.loops.facts import ANSWER, DONE, EMPTY, ERROR, NO_TEXT, alike, text_of
from proxy.loops.rules import detect
from proxy.loops.score import EXACT, NEAR, SHAPE, WEIGHTS, again, load, total
from proxy.loops.steps import Steps
from proxy.loops.trail import MAX_NAME, MOST, NO_TRAIL, SIZE, follow
from proxy.model import LoopLimits
from proxy.wire.call import Message


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("", EMPTY),
        ("\n\n\n\n", EMPTY),
        ("total 12\ndrwxr-xr-x", ANSWER),
        ("bash: jq: command not found", ERROR),
        ('{"errors": 0, "state": "running"}', ANSWER),
        ('{"error": null, "rows": [4]}', ANSWER),
        ("12 passed, 0 failed", ANSWER),
        ('{"success": true}', DONE),
        ("x" * 900 + " Traceback (most recent call last)", ERROR),
        ("x" * 900 + " Traceback " + "x" * 900, ANSWER),
    ],
)
def test_kinds_of_results(text: str, kind: int) -> None:
    assert text_of((text,)).kind == kind


def test_a_result_that_is_marked_as_an_error_is_one() -> None:
    assert text_of(("fine",), True).kind == ERROR
    assert text_of((), True) == NO_TEXT


def test_texts_are_alike_as_far_as_they_share_words() -> None:
    one = text_of(("SELECT name FROM students WHERE town = 'Rome'",))
    other = text_of(("SELECT name FROM students WHERE town = 'Romes'",))
    assert alike(one, one) == 1.0
    assert 0.85 < alike(one, other) < 1.0
    assert alike(one, text_of(("the quick brown fox jumps over it",))) < 0.3
    assert alike(one, text_of((" ".join(f"word{n}" for n in range(200)),))) == 0.0
    assert alike(NO_TEXT, one) == 0.0


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("[Chunk ID: abcdef] 12 rows", "[Chunk ID: fedcba] 12 rows", True),
        ("Wall time: 1.5\n12 rows", "Wall time: 22.75\n12 rows", True),
        ('{"wall_seconds": 0.1, "rows": 12}', '{"wall_seconds": 7, "rows": 12}', True),
        ('{"created":17, "rows": 12}', '{"created":18, "rows": 12}', False),
        ('{"create_time":17, "rows": 12}', '{"create_time":18, "rows": 12}', True),
        ("12 passed in 0.31s", "12 passed in 1.7s", True),
        ("12 passed in 0.31 minutes", "12 passed in 1.7 minutes", False),
        ("commit 3f2a9b1c is ready", "commit a0b1c2d3 is ready", True),
        ("commit 3f2a9b1cx is ready", "commit a0b1c2d3x is ready", False),
        ("price 123456", "price 654321", False),
        ("decade", "facade", False),
        ("x" * 500 + " 3f2a9b1c", "x" * 500 + " a0b1c2d3", True),
        ("y" * 250 + " 3f2a9b1c " + "y" * 250, "y" * 250 + " a0b1c2d3 " + "y" * 250, False),
    ],
)
def test_what_a_frame_adds_each_time_makes_no_difference(one: str, other: str, same: bool) -> None:
    assert (text_of((one,)).digest == text_of((other,)).digest) == same


def filled(text: f.Text) -> set[str]:
    """Return which facts of a text were computed."""
    found = set()
    for name in ("bits", "digest", "kind", "long", "sketch"):
        with contextlib.suppress(AttributeError):
            object.__getattribute__(text, name)
            found.add(name)
    return found


def test_nothing_of_a_humans_new_turn_is_read() -> None:
    talk = [human("what of it"), asked(said="this"), human("and then"), asked(said="that"), human("an invoice of 3f2a9b1c")]
    assert detect(talk, LoopLimits()).level == "none"
    assert filled(f.facts(talk[-1]).said) == set()
    assert detect([*talk, asked(said="well"), human("something else")], LoopLimits()).level == "none"
    assert filled(f.facts(talk[-1]).said) == {"digest", "long"}


def test_answers_of_other_calls_are_not_read() -> None:
    talk = [human("go"), asked(call("ls", '{"a": 1}')), got("x" * 900), asked(call("cat", '{"b": 2}')), got("y" * 900)]
    assert detect(talk, LoopLimits()).level == "none"
    assert [filled(f.facts(message).said) for message in talk[2::2]] == [set(), set()]


def test_a_message_keeps_nothing_of_its_neighbours() -> None:
    talk = steps(("ls", "x y z"), ("ls", "x y z"))
    detect(talk, LoopLimits())
    for message in talk:
        others = [other.texts[0] for other in talk if other is not message and other.texts and other.texts[0] not in message.texts]
        assert not any(other in texts_in(message.seen) for other in others)


def texts_in(seen: object) -> set[str]:
    """Return the texts that can be reached from what a message remembers."""
    found: set[str] = set()
    queue, known = [seen], set[int]()
    while queue:
        value = queue.pop()
        if id(value) in known or isinstance(value, type):
            continue
        known.add(id(value))
        if isinstance(value, str):
            found.add(value)
        queue += [one for one in gc.get_referents(value) if not isinstance(one, type)]
    return found


def test_several_answers_are_one_in_any_order() -> None:
    one, other = text_of(("Traceback",)), text_of((" ".join(f"word{n}" for n in range(90)),))
    both = f.Several([one, other])
    assert (both.digest, both.sketch) == (f.Several([other, one]).digest, one.sketch | other.sketch)
    assert (both.kind, both.long, both.bits) == (ERROR, True, both.sketch.bit_count())
    done, empty = text_of(("done",)), text_of(("",))
    assert [f.Several(texts).kind for texts in ([done, done], [done, empty], [done, other])] == [DONE, DONE, ANSWER]


@given(st.text(max_size=9000))
@settings(deadline=None, max_examples=60)
def test_any_text_has_facts_of_bounded_size(text: str) -> None:
    found = text_of((text, text))
    assert found.bits <= f.KEPT
    assert found.sketch.bit_length() <= f.BITS
    assert alike(found, text_of((text, text))) == 1.0


def first(messages: list[Message]) -> tuple[str, int, float] | None:
    known = Steps(messages).upto(20)
    found = again(known, 0, 19)
    return found and (found.how, found.lag, round(found.weight, 2))


SURE = "I am quite sure that this must be the way to go about it, so let me try."
OTHER = "Something else entirely comes to mind now: perhaps the file was moved by somebody."


def told(*words: tuple[str, str, str]) -> list[Message]:
    messages = [human("go")]
    for n, (said, command, result) in enumerate(words):
        messages += [asked(call("bash", command, f"c{n}"), said=said), got(result, f"c{n}")]
    return messages


def test_how_a_step_is_done_again() -> None:
    w = WEIGHTS
    answer, error = w.again[EXACT][ANSWER], w.again[EXACT][ERROR]
    assert first(steps(("ls", "x y z"), ("pwd", "other"))) is None
    assert first(steps(("ls", "x y z"), ("ls", "x y z"))) == (EXACT, 1, round(answer + w.at_once, 2))
    assert first(steps(("ls", "x y z"), ("pwd", "q"), ("ls", "x y z"))) == (EXACT, 2, answer)
    assert first(steps(("ls", "x y z"), ("ls", "changed"))) is None
    assert first(told((SURE, "ls", "error: no"), (OTHER, "ls", "error: no"))) == (EXACT, 1, round(error + w.at_once + w.despite, 2))
    assert first(told((SURE, "ls", "x y z"), (SURE, "ls", "x y z"))) == (EXACT, 1, round(answer + w.at_once + w.words, 2))
    assert first(told((SURE, "pay 10", "success"), (SURE, "pay 10", "success"))) == (EXACT, 1, w.again[EXACT][DONE])
    near = [("cat /srv/data/first.txt", "x y z"), ("cat /srv/data/firsts.txt", "x y z")]
    assert first(steps(*near)) == (NEAR, 1, w.again[NEAR][ANSWER])
    assert first(told((SURE, *near[0]), (OTHER, *near[1]))) == (NEAR, 1, round(w.again[NEAR][ANSWER] * w.reworded, 2))
    errors = [("get 17", "Error: no such item among those of the shop: 17"), ("get 18", "Error: no such item among those of the shop: 18")]
    assert first(steps(*errors)) is None
    assert first(steps(*[(command, errors[0][1]) for command, _ in errors])) == (SHAPE, 1, w.again[SHAPE][ERROR])
    names = [
        ("open Rome", "Error: no such town among those of the map: Rome"),
        ("open Roma", "Error: no such town among those of the map: Roma"),
    ]
    assert first(steps(*names)) == (NEAR, 1, round(w.again[NEAR][ERROR] * w.alike, 2))
    assert first(steps(("get 17", "Error: no"), ("get 18", "Error: everything else went wrong too"))) is None
    assert first(steps(("cat a", "Error: no"), ("a very different command", "Error: no"))) is None


def test_of_several_ways_the_heaviest_counts() -> None:
    found = first(
        steps(("cat firsts.txt", "error: gone away"), ("cat first.txt", "error: gone again"), ("cat first2.txt", "error: gone away"))
    )
    assert found is not None
    assert found[2] == WEIGHTS.again[NEAR][ERROR]


def test_a_blind_retry_is_no_loop_and_weak_ones_make_a_warning_at_most() -> None:
    known = Steps(steps(("ls", "error: no"), ("ls", "error: no"))).upto(2)
    (retry,) = [one for one in (again(known, 0, 5),) if one is not None]
    assert total([retry]) == 0.0
    assert total([retry, retry]) > 0.0
    weak = retry._replace(how=NEAR, kind=ANSWER, weight=0.4)
    assert total([weak] * 20) == WEIGHTS.weak < WEIGHTS.nudge


def test_weights_are_data() -> None:
    text = '{"again": {"exact": {"answer": 1, "error": 2, "empty": 3, "done": 4}}, "alike": 5, "reworded": 6, "at_once": 7, "words": 8, '
    found = load(text + '"despite": 9, "weak": 10, "warn": 11, "nudge": 12, "block": 13}')
    assert found.again == {"exact": (1.0, 2.0, 3.0, 4.0)}
    assert (found.alike, found.despite, found.block) == (5.0, 9.0, 13.0)
    assert WEIGHTS.warn < WEIGHTS.nudge < WEIGHTS.block


# --- trails ---------------------------------------------------------------------------------------------------------------------------

SCRIPT = st.lists(st.tuples(st.sampled_from(["ls", "cat a", "cat b"]), st.sampled_from(["", "x", "error: no", "success"])), max_size=10)


@given(SCRIPT, st.integers(0, 10))
@settings(deadline=None)
def test_a_trail_goes_on_as_if_the_history_were_there(script: list[tuple[str, str]], at: int) -> None:
    messages = steps(*script)
    cut = 1 + 2 * min(at, len(script))
    rest = messages[cut:]
    if rest:
        trail = follow(messages[:cut], rest[0].tool_calls)
        assert detect(rest[1:], LoopLimits(), trail) == detect(messages, LoopLimits())
    assert detect(rest, LoopLimits(), follow(messages[:cut], ())) == detect(messages, LoopLimits())


def test_a_trail_is_small_whatever_came() -> None:
    calls = [call("tool" * 100 + str(n), '{"a": "%s"}' % ("x" * 9000), f"id{n}" * 50) for n in range(64)]
    trail = NO_TRAIL
    for _ in range(30):
        trail = follow([got("y" * 9000)], calls, trail)
    assert len(trail.packed) == MOST * SIZE <= 3200
    assert all(len(name) <= MAX_NAME for name in trail.names)
    assert len(trail.packed) + sum(map(len, trail.names)) <= 4096


def test_what_is_sent_again_beside_a_trail_counts_once() -> None:
    messages = steps(*[("ls", "x")] * 3)
    trail = follow(messages, ())
    assert detect(messages[-2:], LoopLimits(), trail).count == 3
    assert detect([human("stop")], LoopLimits(), trail).level == "none"
    assert detect([got("x")], LoopLimits(), trail).count == 3

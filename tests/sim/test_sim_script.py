"""What a script may say, and that a wrong one is never taken for a reply."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.sim.script import PLAIN, Script, ScriptError, read_script


def test_a_request_without_wishes_has_the_plain_script() -> None:
    assert read_script(None, "hello") == (PLAIN, "hello")


def test_a_directive_is_read_and_taken_out_of_the_text() -> None:
    script, text = read_script(None, 'Say it. [[sim: {"tokens": 5, "usage": false}]] Please.')
    assert script == Script(tokens=5, usage=False)
    assert text == "Say it.  Please."


def test_brackets_inside_the_directive_do_not_end_it() -> None:
    script, text = read_script(None, '[[sim: {"text": "a]] b", "tool_calls": [[{"x": 1}]]}]]'.replace('[[{"x": 1}]]', "[]"))
    assert (script.text, text) == ("a]] b", "")


def test_the_header_wins_key_by_key() -> None:
    script, _ = read_script('{"tokens": 9}', '[[sim: {"tokens": 1, "chunk_ms": 3}]]')
    assert (script.tokens, script.chunk_ms) == (9, 3)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"tokns": 1}, "unknown key 'tokns'"),
        ({"tokens": "1"}, "tokens must be int"),
        ({"tokens": True}, "tokens must be int"),
        ({"tokens": -1}, "tokens must be between"),
        ({"tokens": 1_000_001}, "tokens must be between"),
        ({"status": 200}, "status must be between 400 and 599"),
        ({"text": 3}, "text must be str"),
        ({"nothing": 1}, "nothing must be bool"),
        ({"usage": 1}, "usage must be dict or bool"),
        ({"tool_calls": [1]}, "a tool call must be"),
        ({"repeat_tool": {"arguments": {}}}, "a tool call must be"),
    ],
)
def test_a_wrong_script_says_what_is_wrong(wrong: dict[str, object], says: str) -> None:
    for header, text in ((json.dumps(wrong), ""), (None, f"[[sim: {json.dumps(wrong)}]]")):
        with pytest.raises(ScriptError, match=says):
            read_script(header, text)


@pytest.mark.parametrize(("header", "text"), [("{", ""), ("[]", ""), (None, "[[sim: {]]"), (None, "[[sim: {}"), (None, "[[sim: []]]")])
def test_what_is_not_an_object_is_refused(header: str | None, text: str) -> None:
    with pytest.raises(ScriptError):
        read_script(header, text)


def test_tool_arguments_may_be_data_or_text() -> None:
    script = Script(tool_calls=[{"name": "a", "arguments": {"x": [1]}}, {"name": "b", "arguments": "not json"}, {"name": "c"}])
    assert script.tools() == (("a", '{"x":[1]}'), ("b", "not json"), ("c", "{}"))


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    for tried in (text, f"[[sim:{text}"):
        try:
            read_script(None, tried)
        except ScriptError:
            continue

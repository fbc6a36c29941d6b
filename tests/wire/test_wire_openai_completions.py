from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.model import Deny, Reason, Usage
from proxy.wire.base import Memos
from proxy.wire.call import Call, Edit, Event, WireError
from proxy.wire.frame import MAX_MESSAGES
from proxy.wire.openai_completions import CompletionsCodec
from proxy.wire.openai_reply import MAX_MODEL
from proxy.wire.sse import Splitter, data_of

GOLDEN = Path(__file__).parent / "golden"
COSTLY = Deny(Reason.BUDGET_EXCEEDED, "The day's budget is spent.", "budgets/main.yaml:3 day", "Wait for tomorrow.")
codec = CompletionsCodec()


def decode(body: bytes | dict[str, Any]) -> Call:
    return codec.decode(body if isinstance(body, bytes) else json.dumps(body).encode(), Memos())


def ask(prompt: Any = "hi", **more: Any) -> dict[str, Any]:
    return {"model": "m", "prompt": prompt, **more}


def chunk(*choices: dict[str, Any], **more: Any) -> bytes:
    return b"data: %b\n\n" % json.dumps({"id": "c1", "created": 5, "model": "m", "choices": list(choices), **more}).encode()


def says(text: str, index: int | None = 0, finish: str | None = None) -> dict[str, Any]:
    return {"index": index, "text": text, "finish_reason": finish}


def run(asked: dict[str, Any], *events: bytes) -> tuple[Any, list[Event]]:
    meter = codec.meter(decode(asked))
    return meter, [meter.event(raw) for raw in events]


def test_the_golden_request() -> None:
    call = decode((GOLDEN / "completions_request.json").read_bytes())
    assert (call.operation, call.model, call.stream, call.max_output, call.choices) == ("chat", "gpt-3.5-turbo-instruct", True, 40, 6)
    assert not call.wants_usage
    assert [(m.role, m.texts) for m in call.messages] == [("user", ("Say späße",)), ("user", ("Say no",))]
    assert (call.extra, call.tokens_given, call.hints) == (('" the end"',), 0, {"user": "u-1"})
    assert codec.upstream_path(call, "m") == "/completions"
    assert codec.meter(call).usage is None


@pytest.mark.parametrize(
    ("prompt", "texts", "tokens", "choices"),
    [
        ("hi", ["hi"], 0, 1),
        ("", [], 0, 1),
        (None, [], 0, 1),
        (["a", "b", "c"], ["a", "b", "c"], 0, 3),
        ([1, 2, 3], [], 3, 1),
        ([[1, 2], [3]], [], 3, 2),
    ],
)
def test_every_form_of_a_prompt(prompt: Any, texts: list[str], tokens: int, choices: int) -> None:
    call = decode(ask(prompt))
    assert [text for message in call.messages for text in message.texts] == texts
    assert (call.tokens_given, call.choices) == (tokens, choices)
    assert decode(ask(prompt, n=2)).choices == 2 * choices
    assert decode(ask(prompt, n=2, best_of=5)).choices == 5 * choices


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"[]", "JSON object"),
        (ask({}), "/prompt: must be a text, texts, or token ids"),
        (ask(7), "/prompt"),
        (ask(["a", 1]), "/prompt: must be a text, up to"),
        (ask(["a", ["b"]]), "/prompt"),
        (ask([{"role": "user"}]), "/prompt"),
        (ask(["a"] * (MAX_MESSAGES + 1)), "/prompt: must be a text, up to 10000 texts"),
        (b'{"model":"m","prompt":"a","prompt":"b"}', "stands here twice"),
        (ask(Prompt="x"), "in other letters"),
        (ask(n=0), "/n"),
        (ask(best_of=129), "/best_of"),
        (ask(max_tokens=-1), "/max_tokens"),
        (ask(max_tokens=5, n_predict=-1), "/n_predict"),
        (ask(echo=1), "/echo"),
        (ask(models=["x"]), "/models: names other models"),
    ],
)
def test_what_is_refused(body: bytes | dict[str, Any], words: str) -> None:
    with pytest.raises(WireError, match=words):
        decode(body)


def test_a_request_may_ask_for_no_output_which_is_held_as_the_least_and_no_ceiling_is_none() -> None:
    assert decode(ask(max_tokens=0)).max_output == 1
    assert decode(ask()).max_output is None
    assert decode(ask(x_documents="a text that is long enough to be counted as input, by all means, here")).extra


@pytest.mark.parametrize(
    ("asked", "edit", "expected"),
    [
        ({}, Edit(), {}),
        ({"max_tokens": 9}, Edit(model="m", max_output=9, ask_usage=True), {}),
        ({"max_tokens": 0}, Edit(max_output_key="max_completion_tokens"), {}),
        ({"max_tokens": 0}, Edit(max_output_key="max_tokens"), {"max_tokens": 1}),
        ({"max_tokens": 7}, Edit(max_output_key="max_tokens"), {}),
        ({}, Edit(model="other"), {"model": "other"}),
        ({}, Edit(max_output=5), {"max_tokens": 5}),
        ({"stream": True}, Edit(ask_usage=True), {"stream_options": {"include_usage": True}}),
        ({"stream": True, "stream_options": {"include_usage": True}}, Edit(ask_usage=True), {}),
        ({"stream": True, "stream_options": {"a": 1}}, Edit(ask_usage=True), {"stream_options": {"include_usage": True, "a": 1}}),
    ],
)
def test_rewrite_changes_what_must_change(asked: dict[str, Any], edit: Edit, expected: dict[str, Any]) -> None:
    call = decode(ask(**asked))
    found = codec.rewrite(call, edit)
    assert json.loads(found) == ask(**asked) | expected
    assert (found is call.body) is not bool(expected)


def test_the_golden_stream() -> None:
    raw = (GOLDEN / "completions_stream.sse").read_bytes()
    meter, events = run(ask(), *Splitter().feed(raw))
    assert b"".join(event.raw for event in events) == raw
    assert [(event.kind, event.text) for event in events] == [
        ("text", "Twelve"),
        ("text", " €."),
        ("other", ""),
        ("usage", ""),
        ("end", ""),
    ]
    assert meter.usage == Usage(input=6, output=3)
    assert (meter.texts, meter.pieces, meter.finish) == (["Twelve", " €."], 2, "stop")
    assert (meter.model, meter.ended, meter.failed) == ("gpt-3.5-turbo-instruct", True, False)


def test_a_whole_reply() -> None:
    meter = codec.meter(decode(ask(n=2)))
    usage = {"prompt_tokens": 5, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 2}}
    body = {"model": "m" * 999, "choices": [says("a", 0, "stop"), says("b", None, "length")], "usage": usage}
    meter.buffered(json.dumps(body).encode())
    assert (meter.usage, meter.texts, meter.finish) == (Usage(3, 4, 2), ["ab"], "length")
    assert (len(meter.model), meter.ended, meter.failed) == (MAX_MODEL, True, False)


def test_replies_that_are_none() -> None:
    for body, texts, failed in ((b'{"error":{"message":"no"}}', [], True), (b"<html>", ["<html>"], False), (b"[1]", ["[1]"], False)):
        meter = codec.meter(decode(ask()))
        meter.buffered(body)
        assert (meter.texts, meter.failed, meter.ended, meter.usage) == (texts, failed, True, None)


def test_a_stream_is_over_when_every_answer_is() -> None:
    usage = {"prompt_tokens": 5, "completion_tokens": 2}
    meter, _ = run(ask(["a", "b"]), chunk(says("x", 0, "stop"), usage=usage))
    assert (meter.finish, meter.usage) == ("", Usage(5, 2, exact=False))
    meter.event(chunk(says("y", 1, "length"), usage=usage | {"completion_tokens": 4}))
    assert (meter.finish, meter.usage) == ("length", Usage(5, 4))


def test_odd_events() -> None:
    meter, events = run(
        ask(),
        b": ping\n\n",
        b'data: {"choices":[{"text":7}]}\n\n',
        b'data: {"choices":[],"usage":{"prompt_tokens":"x"}}\n\n',
        b"data: x\n\n",
    )
    assert [event.kind for event in events] == ["other", "text", "usage", "other"]
    assert meter.usage is None
    assert meter.event(b'data: {"error":{"message":"no"}}\n\n').kind == "error"
    assert meter.failed


def test_half_a_surrogate_hides_no_usage() -> None:
    meter, _ = run(ask(), chunk(says("\ud800", 0, "stop"), usage={"prompt_tokens": 5, "completion_tokens": 2}))
    assert (meter.usage, meter.texts) == (Usage(5, 2), ["\ufffd"])


@pytest.mark.parametrize("index", [-1, 7, None, 10**9])
def test_answers_with_impossible_numbers_count_too(index: int | None) -> None:
    meter, _ = run(ask(echo=True), chunk(says("hi there", index)))
    assert meter.texts == ["hi there" if index is not None else " there"]


@given(st.text("ab ", max_size=9), st.text("ab ", max_size=9), st.data())
def test_a_prompt_that_is_repeated_is_no_output(prompt: str, said: str, data: st.DataObject) -> None:
    text = prompt + said
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=5)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    meter, _ = run(ask(["other", prompt], echo=True, n=2), *(chunk(says(piece, 3)) for piece in pieces))
    assert "".join(meter.texts) == said


def test_what_only_looks_like_the_prompt_is_output() -> None:
    meter, _ = run(ask("one two", echo=True), chunk(says("one", 0)), chunk(says(" evil", 0)), chunk(says(" two", 0)))
    assert meter.texts == [" evil", " two"]
    assert run(ask("one", echo=False), chunk(says("one", 0)))[0].texts == ["one"]


def test_cut_ends_all_open_answers_or_says_why() -> None:
    meter, _ = run(ask(["a", "b"]), chunk(says("x", 0, "stop")), chunk(says("y", 1)))
    last, done = Splitter().feed(meter.cut(COSTLY))
    data = json.loads(data_of(last))
    assert (data["id"], data["created"], data["object"]) == ("c1", 5, "text_completion")
    assert data["choices"] == [{"index": 1, "text": "", "logprobs": None, "finish_reason": "length"}]
    assert data["fleetgate"]["reason"] == "budget_exceeded"
    assert done == b"data: [DONE]\n\n"
    for deny in (None, Deny(Reason.TOOL_CALL_BLOCKED, "No.")):
        error, done = Splitter().feed(meter.cut(deny))
        assert json.loads(data_of(error))["error"]["message"]
        assert done == b"data: [DONE]\n\n"
    meter.event(chunk(says("", 1, "stop")))
    assert meter.cut(COSTLY) == b"data: [DONE]\n\n"
    assert json.loads(data_of(Splitter().feed(run(ask())[0].cut(COSTLY))[0]))["id"] == "cmpl-cut"


def test_a_meter_for_a_call_of_another_codec() -> None:
    meter = codec.meter(Call("chat", "m", b""))
    meter.event(chunk(says("x", 0, "stop")))
    assert (meter.texts, meter.finish) == (["x"], "stop")


def test_words_of_ours() -> None:
    id = "0199f0000000aaaaaaaa"
    whole = json.loads(codec.speak(decode(ask()), "No.", id) or b"")
    assert (whole["id"], whole["object"], whole["choices"][0]["text"]) == (f"cmpl-{id}", "text_completion", "No.")
    assert whole["usage"]["total_tokens"] == 0
    for options, chunks in (({}, 2), ({"stream_options": {"include_usage": True}}, 3)):
        asked = ask(stream=True, **options)
        said = codec.speak(decode(asked), "No.", id) or b""
        meter, events = run(asked, *Splitter().feed(said))
        assert len(events) == chunks
        assert (meter.texts, meter.finish, meter.ended) == (["No."], "stop", True)


@given(
    st.binary(max_size=60),
    st.recursive(
        st.none() | st.integers() | st.text(max_size=3),
        lambda i: (
            st.lists(i, max_size=2)
            | st.dictionaries(st.sampled_from(["choices", "index", "text", "usage", "error", "finish_reason"]), i, max_size=3)
        ),
    ),
)
def test_a_meter_never_raises(noise: bytes, value: Any) -> None:
    meter = codec.meter(decode(ask(echo=True)))
    for raw in (
        noise,
        b"data: " + noise + b"\n\n",
        b"data: %b\n\n" % json.dumps(value).encode(),
        chunk(),
        chunk(*([value] if value else [])),
    ):
        assert meter.event(raw).raw == raw
    meter.buffered(noise)
    assert meter.cut(COSTLY)

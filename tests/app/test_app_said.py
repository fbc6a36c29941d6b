"""What is kept of an exchange: what was new in it, what the client was given, in every dialect, and no more than there is room for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from proxy.app.said import PART_BYTES, Said, content_of
from proxy.engine.capture import Heard
from proxy.engine.exchange import Exchange
from proxy.telemetry.content import Content, Mark, Part, Turn
from proxy.wire.base import Memos
from proxy.wire.registry import find

GOLDEN = Path(__file__).parents[1] / "wire" / "golden"
CHAT = "/v1/chat/completions"
KEY = "AKIA" + "Q7XH2LMNB4ZKPD3T"
MAIL = "jane.doe@corp-mail.com"
SSE, JSON = "text/event-stream", "application/json"
Messages = Sequence[Mapping[str, Any]]


def heard(body: bytes = b"", kind: str = JSON, status: int = 200, cut: bool = False) -> Heard:
    made = Heard(cast(Exchange, SimpleNamespace(client=None)), lambda _: True, 1 << 20, lambda size: True)
    made.status, made.kind, made.said, made.cut = status, kind, [body] if body else [], cut
    return made


def said(body: bytes, reply: Heard, path: str = CHAT, query: str = "", **more: Any) -> Said:
    codec = find("POST", path, {}, query)
    assert codec is not None
    fields: dict[str, Any] = {"level": "full", "until": 9.0, "hides": {}} | more
    return Said("id1", 1.0, "a", "a/s", codec=codec, call=codec.decode(body, Memos()), heard=reply, **fields)


def chat(messages: Any, **more: Any) -> bytes:
    return json.dumps({"model": "m", "messages": messages, **more}).encode()


def answer(text: str = "fine") -> bytes:
    return json.dumps({"choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}]}).encode()


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def model(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def texts(turns: Sequence[Turn]) -> list[str]:
    return [part.text for turn in turns for part in turn.parts]


def kept(messages: Messages, known: Mark | None = None, most: int = 1 << 16, **more: Any) -> Content:
    return content_of(said(chat(messages), heard(answer()), **more), known, most)


# --- dialects ----------------------------------------------------------------------------------------------------------------------------

GEMINI = "/v1beta/models/gemini-2.5-pro:"
REPLIES = {
    "chat": (CHAT, "", "chat_request.json", "chat_reply.json", JSON, ["Twelve euros.", "Hm.", '{"id":8}', "pwd"]),
    "chat stream": (CHAT, "", "chat_request.json", "chat_stream.sse", SSE, ["Twelve €.", '{"id":8}', "{}"]),
    "messages stream": ("/v1/messages", "", "messages_request.json", "messages_stream.sse", SSE, ["Hm.Twelve €", '{"path": "a"}']),
    "responses": ("/v1/responses", "", "responses_request.json", "responses_reply.json", JSON, ["Hm.", "Twelve euros.", "No more."]),
    "responses stream": ("/v1/responses", "", "responses_request.json", "responses_stream.sse", SSE, ["Hm.Twelve €.", '{"id":8}']),
    "gemini": (f"{GEMINI}generateContent", "", "gemini_request.json", "gemini_reply.json", JSON, ["Let me see.", "Two things."]),
    "gemini array": (f"{GEMINI}streamGenerateContent", "", "gemini_request.json", "gemini_stream.json", JSON, ["Let me see.Seven "]),
    "gemini sse": (f"{GEMINI}streamGenerateContent", "alt=sse", "gemini_request.json", "gemini_stream.sse", SSE, ["Let me see.Seven "]),
    "ollama": ("/api/chat", "", "ollama_chat_request.json", "ollama_chat_stream.ndjson", "application/x-ndjson", ["Hm.Twelve €."]),
    "completions": ("/v1/completions", "", "completions_request.json", "completions_stream.sse", SSE, ["Twelve €."]),
}


@pytest.mark.parametrize("case", REPLIES.values(), ids=REPLIES)
def test_what_the_client_was_given_is_read_in_its_own_dialect(case: tuple[str, str, str, str, str, list[str]]) -> None:
    path, query, request, reply, kind, expected = case
    body = json.loads((GOLDEN / request).read_bytes())
    if "gemini" not in request:
        body["stream"] = reply.endswith(("sse", "ndjson"))
    found = content_of(said(json.dumps(body).encode(), heard((GOLDEN / reply).read_bytes(), kind), path, query), None, 1 << 16)
    assert [turn.role for turn in found.reply] == ["assistant"]
    assert texts(found.reply)[: len(expected)] == expected
    assert found.request[0].role in ("system", "user")
    assert found.left_out == found.before == 0
    assert found.finish or "completions" in request


def test_calls_and_their_results_stand_apart_from_what_is_said() -> None:
    body = (GOLDEN / "chat_request.json").read_bytes()
    found = content_of(said(body, heard()), None, 1 << 16)
    call, result = found.request[2].parts[1], found.request[3].parts[0]
    assert (call.kind, call.name, call.id, call.text) == ("tool_call", "get_invoice", "call_1", '{"id": 7, "full": true}')
    assert (result.kind, result.id, result.text) == ("tool_result", "call_1", "Invoice 7: 12 EUR")
    assert [p.text for p in found.request[2].parts] == ["Better look it up.", '{"id": 7, "full": true}', "ls -l"]
    assert [(p.kind, p.name, p.size) for p in found.request[1].parts[-2:]] == [("media", "image_url", 125), ("media", "input_audio", 71)]


def test_several_results_in_one_message_each_have_their_call() -> None:
    results = [{"type": "tool_result", "tool_use_id": name, "content": f"of {name}"} for name in ("t1", "t2")]
    body = json.dumps({"model": "m", "max_tokens": 1, "system": "be", "messages": [{"role": "user", "content": results}]}).encode()
    found = content_of(said(body, heard(), "/v1/messages"), None, 1 << 16)
    assert [(p.kind, p.id, p.text) for p in found.request[1].parts] == [("tool_result", "t1", "of t1"), ("tool_result", "t2", "of t2")]
    assert (found.request[0].role, texts(found.request[:1])) == ("system", ["be"])


def test_inputs_of_embeddings_are_texts() -> None:
    body = json.dumps({"model": "m", "input": ["one", "two"]}).encode()
    found = content_of(said(body, heard(b'{"data": []}'), "/v1/embeddings"), None, 1 << 16)
    assert texts(found.request) == ["one", "two"]
    assert found.reply == ()
    empty = json.dumps({"model": "m", "input": [[1, 2]]}).encode()
    assert content_of(said(empty, heard(), "/v1/embeddings"), None, 1 << 16).request == ()


@pytest.mark.parametrize("reply", [heard(), heard(answer(), status=403), heard(b"<html>", "text/html"), heard(b"{", JSON)])
def test_what_is_no_reply_of_the_protocol_s_leaves_the_request(reply: Heard) -> None:
    found = content_of(said(chat([user("hi")]), reply), None, 1 << 16)
    assert texts(found.request) == ["hi"]
    assert [t for t in texts(found.reply) if t == "fine"] == []


def test_a_stream_that_cannot_be_cut_into_events_is_no_reply() -> None:
    found = content_of(said(chat([user("hi")], stream=True), heard(b"data: " + b"x" * (20 << 20), SSE)), None, 1 << 16)
    assert found.reply == ()


# --- what is new -------------------------------------------------------------------------------------------------------------------------


def test_each_turn_keeps_what_it_brings() -> None:
    talk: list[dict[str, Any]] = [{"role": "system", "content": "be nice"}, user("one")]
    first = kept(talk)
    assert (texts(first.request), first.before, texts(first.reply)) == (["be nice", "one"], 0, ["fine"])
    talk += [model("fine"), user("two"), user("three")]
    second = kept(talk, first.mark)
    assert (texts(second.request), second.before) == (["two", "three"], 3)
    talk += [model("fine"), user("two")]
    assert texts(kept(talk, second.mark).request) == ["two"], "words that were said before are new when they are said again"


def test_examples_at_the_beginning_of_a_session_are_kept() -> None:
    assert texts(kept([user("q"), model("a"), user("now")]).request) == ["q", "a", "now"]


def test_what_the_model_never_said_is_kept_where_it_did_not_reply() -> None:
    first = content_of(said(chat([user("one")]), heard(status=403)), None, 1 << 16)
    assert not first.mark.replied
    assert texts(kept([user("one"), model("made up"), user("two")], first.mark).request) == ["made up", "two"]


def test_the_same_request_once_more_shows_its_last_turn() -> None:
    talk = [user("one"), model("fine"), user("two")]
    again = kept(talk, kept(talk).mark)
    assert (texts(again.request), again.before) == (["two"], 2)
    assert texts(kept([user("one")], kept([user("one")]).mark).request) == ["one"]


@pytest.mark.parametrize("prefill", [[], [model("{")]])
def test_a_conversation_that_was_shortened_is_new_behind_its_last_reply(prefill: list[dict[str, str]]) -> None:
    long = kept([user(str(n)) for n in range(10)])
    short = [user("summary"), model("fine"), user("go on"), *prefill]
    found = kept(short, long.mark)
    assert (texts(found.request), found.before) == (["go on", *[p["content"] for p in prefill]], 2)


def test_a_thread_that_the_provider_keeps_brings_only_what_is_new() -> None:
    body = json.dumps({"model": "m", "previous_response_id": "resp_1", "input": "and now?"}).encode()
    found = content_of(said(body, heard(), "/v1/responses"), Mark(7, "ab", "", True), 1 << 16)
    assert (texts(found.request), found.before) == (["and now?"], 0)


def test_a_system_prompt_is_kept_when_it_is_new_or_other() -> None:
    def turn(system: str, *messages: dict[str, str], known: Mark | None = None) -> Content:
        body = {"model": "m", "max_tokens": 1, "system": system, "messages": messages}
        return content_of(said(json.dumps(body).encode(), heard(), "/v1/messages"), known, 1 << 16)

    first = turn("be nice", user("one"))
    second = turn("be nice", user("one"), user("two"), known=first.mark)
    third = turn("be quick", user("one"), user("two"), user("three"), known=second.mark)
    assert [texts(t.request) for t in (first, second, third)] == [["be nice", "one"], ["two"], ["be quick", "three"]]


# --- room and levels ---------------------------------------------------------------------------------------------------------------------


def test_what_has_no_room_is_cut_and_said_and_the_newest_come_first() -> None:
    found = kept([user(f"{n}" * 500) for n in range(9)], most=900)
    assert texts(found.reply) == ["fine"]
    assert [turn.parts[0].text[:1] for turn in found.request] == ["7", "8"]
    oldest, newest = found.request[0].parts[0], found.request[1].parts[0]
    assert (newest.size, newest.cut, len(newest.text)) == (500, 0, 500)
    assert oldest.cut == 500 - len(oldest.text) > 0
    assert found.left_out == 7
    assert sum(len(t) + PART_BYTES for t in texts([*found.request, *found.reply])) <= 900


def test_a_long_reply_leaves_half_of_the_room() -> None:
    found = content_of(said(chat([user("q" * 2000)]), heard(answer("a" * 2000), cut=True)), None, 1000)
    assert [len(t) for t in texts(found.reply)] == [500 - PART_BYTES]
    assert [len(t) for t in texts(found.request)] == [500 - PART_BYTES]
    assert found.reply_cut


def test_room_is_counted_in_bytes_and_no_letter_is_torn() -> None:
    part = kept([user("€" * 100)], most=2 * PART_BYTES + 50).request[0].parts[0]
    assert set(part.text) == {"€"}
    assert len(part.text.encode()) <= 50 + PART_BYTES
    assert part.cut == 100 - len(part.text)


def test_thousands_of_parts_do_not_take_more_than_the_room() -> None:
    parts: list[dict[str, Any]] = [{"type": "image_url", "image_url": {"url": "x"}}] * 1500 + [{"type": "text", "text": "t"}] * 1500
    calls = [{"id": f"c{n}", "type": "function", "function": {"name": "f", "arguments": "{}"}} for n in range(1500)]
    talk: Messages = [{"role": "user", "content": parts}, {"role": "assistant", "content": None, "tool_calls": calls}, user("hi")]
    found = kept(talk)
    assert sum(len(turn.parts) for turn in found.request) <= (1 << 16) // PART_BYTES


@pytest.mark.parametrize("level", ["redacted", "full"])
def test_no_secret_is_kept_at_any_level(level: str) -> None:
    arguments = json.dumps({"token": KEY, "to": MAIL})
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": arguments}}
    talk = [user(f"my key is {KEY} {MAIL}"), {"role": "assistant", "content": None, "tool_calls": [call]}]
    talk.append({"role": "tool", "tool_call_id": "c", "content": f"{KEY} {MAIL}"})
    found = content_of(said(chat(talk), heard(answer(f"{KEY} {MAIL}")), level=level), None, 1 << 16)
    every = " ".join(texts([*found.request, *found.reply]))
    assert KEY not in every
    assert every.count(MAIL) == (4 if level == "full" else 0)


def test_a_secret_that_a_stream_says_in_pieces_is_found() -> None:
    events = [{"choices": [{"index": 0, "delta": {"content": piece}}]} for piece in ("it is AK", "IAQ7XH2LMN", "B4ZKPD3T.", "")]
    body = b"".join(b"data: %b\n\n" % json.dumps(event).encode() for event in events) + b"data: [DONE]\n\n"
    found = content_of(said(chat([user("hi")], stream=True), heard(body, SSE)), None, 1 << 16)
    assert texts(found.reply) == ["it is [AWS_KEY]."]


def test_what_the_provider_did_not_see_is_not_kept_redacted() -> None:
    def turn(level: str) -> list[str]:
        found = content_of(said(chat([user("of Project Moonshot")]), heard(), level=level, hides={"Moonshot": "[NAME_1]"}), None, 1 << 16)
        return texts(found.request)

    assert turn("redacted") == ["of Project [NAME_1]"]
    assert turn("full") == ["of Project Moonshot"]


def test_hashes_are_equal_for_equal_texts() -> None:
    def digest(text: str) -> str:
        return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"

    found = content_of(said(chat([user("fine"), user("x" * 9000)]), heard(answer()), level="hash"), None, 4096)
    assert texts(found.request) == [digest("fine"), digest("x" * 9000)]
    assert texts(found.reply) == [digest("fine")]
    assert [p.cut for turn in found.request for p in turn.parts] == [0, 0]


def test_a_part_says_how_long_the_whole_was() -> None:
    assert kept([user("hello")]).request == (Turn("user", (Part("text", "hello", size=5),)),)
    assert replace(kept([user("hello")]), request=()).as_json()["level"] == "full"

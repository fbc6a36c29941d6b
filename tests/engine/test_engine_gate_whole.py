"""Whole replies through the gate, and replies that are carried into another dialect behind it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from engine_script import CLAUDE, STRONG, Outcome, Says, play
from gate_cases import GOOGLE, OLLAMA, PROTOCOLS, WORDS, Inspecting, Look, Text, Use

from proxy.engine.inspector import Inspector
from proxy.model import Target, Usage

SAYS = "my secret-42 is out"
HIDES = Look(r"secret-[0-9]{2}", reach=9)
_ASK = {"model": "strong", "messages": [{"role": "user", "content": "hi"}]}


def _chat(*tools: str) -> Any:
    calls = [{"id": f"call_{i}", "type": "function", "function": {"name": t, "arguments": '{"a":"P"}'}} for i, t in enumerate(tools)]
    message = {"role": "assistant", "content": SAYS, "tool_calls": calls}
    choices = [{"index": 0, "message": message, "finish_reason": "tool_calls"}]
    usage = {"prompt_tokens": 10, "completion_tokens": 7, "total_tokens": 17}
    return {"id": "c", "object": "chat.completion", "model": "strong", "choices": choices, "usage": usage}


def _messages(*tools: str) -> Any:
    calls = [{"type": "tool_use", "id": f"toolu_{i}", "name": t, "input": {"a": "P"}} for i, t in enumerate(tools)]
    thinking = {"type": "thinking", "thinking": SAYS, "signature": "c2ln"}
    content = [thinking, {"type": "text", "text": SAYS}, *calls]
    usage = {"input_tokens": 10, "output_tokens": 7}
    base = {"id": "m", "type": "message", "role": "assistant", "model": "claude", "stop_reason": "tool_use", "stop_sequence": None}
    return base | {"content": content, "usage": usage}


def _responses(*tools: str) -> Any:
    calls = [
        {"type": "function_call", "id": f"fc_{i}", "call_id": f"call_{i}", "name": t, "arguments": '{"a":"P"}', "status": "completed"}
        for i, t in enumerate(tools)
    ]
    said = {"type": "output_text", "text": SAYS, "annotations": []}
    item = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [said]}
    usage = {"input_tokens": 10, "output_tokens": 7, "total_tokens": 17}
    base = {"id": "resp_1", "object": "response", "created_at": 1, "status": "completed", "model": "strong"}
    return base | {"output": [item, *calls], "usage": usage}


def _gemini(*tools: str) -> Any:
    parts = [{"text": SAYS}, *[{"functionCall": {"name": t, "args": {"a": "P"}}} for t in tools]]
    usage = {"promptTokenCount": 10, "candidatesTokenCount": 7, "totalTokenCount": 17}
    candidate = {"content": {"parts": parts, "role": "model"}, "finishReason": "STOP", "index": 0}
    return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "strong"}


def _ollama(*tools: str) -> Any:
    message = {"role": "assistant", "content": SAYS, "tool_calls": [{"function": {"name": t, "arguments": {"a": "P"}}} for t in tools]}
    end = {"done": True, "done_reason": "stop", "prompt_eval_count": 10, "eval_count": 7}
    return {"model": "strong", "created_at": "t", "message": message, **end}


CASES: dict[str, tuple[str, Any, Any, Target]] = {
    "chat": ("/v1/chat/completions", _ASK, _chat, STRONG),
    "messages": ("/v1/messages", _ASK | {"max_tokens": 9}, _messages, CLAUDE),
    "responses": ("/v1/responses", {"model": "strong", "input": "hi"}, _responses, STRONG),
    "gemini": ("/v1/models/strong:generateContent", {"contents": [{"parts": [{"text": "hi"}]}]}, _gemini, GOOGLE),
    "ollama": ("/api/chat", _ASK | {"stream": False}, _ollama, OLLAMA),
}
ALL = pytest.mark.parametrize("name", CASES)


def ask(name: str, body: bytes, look: Inspector) -> Outcome:
    path, asked, _, target = CASES[name]
    return play(json.dumps(asked).encode(), Says([body]), path=path, targets=[target], stages=[Inspecting(look)])


def written(name: str, *tools: str) -> bytes:
    return json.dumps(CASES[name][2](*tools), indent=1).encode()


@ALL
def test_a_clean_reply_is_byte_identical(name: str) -> None:
    body = written(name, "a", "b")
    for look in (Look(), Look("nowhere", reach=7)):
        out = ask(name, body, look)
        assert out.caller.got == body
        assert [call.name for call in look.judged] == ["a", "b"]
        assert out.record.tools == (("a", "passed"), ("b", "passed"))
        assert (out.record.outcome, out.exchange.usage) == ("ok", Usage(input=10, output=7))


@ALL
@pytest.mark.parametrize("tools", [("good", "bad"), ("bad", "good"), ("bad",), ("bad", "bad")])
def test_a_refused_call_leaves_words(name: str, tools: Sequence[str]) -> None:
    look = Look(r"secret-[0-9]{2}", reach=9, refused=frozenset({"bad"}), arguments=("P", "hoho"))
    out = ask(name, written(name, *tools), look)
    text = out.caller.got.decode()
    assert json.loads(text)
    assert text.count(WORDS) == tools.count("bad")
    assert ('"bad"' in text, '"good"' in text, "my [X] is out" in text) == (False, "good" in tools, True)
    assert text.count("secret-42") == (1 if name == "messages" else 0), "thinking alone stays as it was signed"
    finish = {"chat": ("tool_calls", "stop"), "messages": ("tool_use", "end_turn")}.get(name)
    assert finish is None or f'"{finish["good" not in tools]}"' in text
    assert ("hoho" in text) == ("good" in tools)
    assert out.record.tools == tuple((tool, "passed" if tool == "good" else "withheld") for tool in tools)
    assert (out.record.outcome, out.exchange.usage) == ("ok", Usage(input=10, output=7))


@ALL
def test_what_is_blocked_is_refused_whole(name: str) -> None:
    out = ask(name, written(name), Look(r"secret-[0-9]{2}", reach=9, blocks=True))
    assert (out.caller.status, out.record.reason) == (403, "content_blocked")
    assert b"secret-" not in out.caller.got
    assert out.exchange.usage == Usage(input=10, output=7)


@ALL
def test_what_cannot_be_read_is_refused(name: str) -> None:
    for body in (b'{"choices":3,"output":4,"content":5,"candidates":6,"message":7}', b'{"choices":'):
        out = ask(name, body, Look())
        assert (out.caller.status, out.record.reason) == (502, "upstream_error")
        assert body not in out.caller.got


# --- translation -----------------------------------------------------------------------------------------------------------------------

WIRES = {
    "openai.chat": ("chat", "chat"),
    "anthropic.messages": ("messages", "messages"),
    "openai.responses": ("responses", "responses"),
    "gemini.generate": ("gemini-events", "gemini"),
    "ollama.chat": ("ollama", "ollama"),
}
CLIENTS = {"chat": "openai.chat", "messages": "anthropic.messages", "responses": "openai.responses", "ollama": "ollama.chat"}
PAIRS = [(client, wire) for client, own in CLIENTS.items() for wire in WIRES if wire != own]


@pytest.mark.parametrize(("client", "wire"), PAIRS)
def test_a_translated_stream(client: str, wire: str) -> None:
    asks, speaks = PROTOCOLS[client], PROTOCOLS[WIRES[wire][0]]
    events = speaks.write([Text(["my sec", "ret-4", "2 is out"]), Use("good", ('{"a":"P"}',)), Use("bad")])
    look = Look(r"secret-[0-9]{2}", reach=9, refused=frozenset({"bad"}), arguments=("P", "hi"))
    target = Target("other", "strong", "strong", wire.partition(".")[0], STRONG.price, wire=wire)
    says = Says(events, kind=speaks.kind)
    out = play(json.dumps(asks.ask).encode(), says, path=asks.path, targets=[target], stages=[Inspecting(look)])
    got = asks.read(out.caller.got)
    assert got.text.replace("\n", "") == f"my [X] is out{WORDS}"
    assert got.calls == [("good", {"a": "hi"})]
    assert (out.record.outcome, out.exchange.usage) == ("ok", Usage(input=10, output=7))
    blocked = play(
        json.dumps(asks.ask).encode(),
        Says(events, kind=speaks.kind),
        path=asks.path,
        targets=[target],
        stages=[Inspecting(Look(r"secret-[0-9]{2}", reach=9, blocks=True))],
    )
    got = asks.read(blocked.caller.got)
    assert (got.text in ("", "my sec"[: 6 if speaks.whole else 0]) or got.text == "", got.calls, got.failed) == (True, [], True)


@pytest.mark.parametrize(("client", "wire"), PAIRS)
def test_a_translated_reply(client: str, wire: str) -> None:
    path, asked, _, _ = CASES[client]
    target = Target("other", "strong", "strong", wire.partition(".")[0], STRONG.price, wire=wire)
    look = Look(r"secret-[0-9]{2}", reach=9, refused=frozenset({"bad"}), arguments=("P", "hi"))
    says = Says([written(WIRES[wire][1], "good", "bad")])
    out = play(json.dumps(asked).encode(), says, path=path, targets=[target], stages=[Inspecting(look)])
    text = out.caller.got.decode()
    assert (text.count(WORDS), "my [X] is out" in text, '"bad"' in text, '"good"' in text) == (1, True, False, True)
    assert out.record.outcome == "ok"

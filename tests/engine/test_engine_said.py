"""`refusal: message`: a decision in the assistant's mouth, in each dialect, only for decisions and only where words can be read."""

from __future__ import annotations

import json
from typing import Literal

import pytest
from engine_script import ASK, STREAM, Outcome, play

from proxy.engine.exchange import Exchange
from proxy.engine.stage import Stage
from proxy.model import Deny, Reason
from proxy.wire.refusals import DECIDED

CLAUDE_ASK = json.dumps({"model": "claude", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}).encode()
CLAUDE_STREAM = CLAUDE_ASK[:-1] + b',"stream":true}'
JSON_ASK = ASK[:-1] + b',"response_format":{"type":"json_object"}}'
WORDS = "No. Rule: AGENTS.md:3 x. Ask ops."


class Refuser(Stage):
    name = "refuser"

    def __init__(self, reason: Reason) -> None:
        self.reason = reason

    async def request(self, ex: Exchange) -> Deny | None:
        return Deny(self.reason, "No.", rule="AGENTS.md:3 x", remedy="Ask ops.")


def refused(
    body: bytes,
    reason: Reason = Reason.POLICY_DENIED,
    *,
    path: str = "/v1/chat/completions",
    refusal: Literal["error", "message"] = "message",
) -> Outcome:
    found = play(body, path=path, stages=(Refuser(reason),), refusal=refusal)
    assert found.upstream.asked == []
    assert found.record.reason == str(reason)
    return found


def test_a_buffered_chat_says_it() -> None:
    caller = refused(ASK).caller
    said = json.loads(caller.got)
    assert (caller.status, caller.headers["content-type"]) == (200, "application/json")
    assert caller.headers["x-fleetgate-refusal"] == "policy_denied"
    assert said["choices"][0]["message"]["content"] == WORDS
    assert (said["choices"][0]["finish_reason"], said["usage"]["total_tokens"]) == ("stop", 0)


@pytest.mark.parametrize("usage", [False, True])
def test_a_streamed_chat_says_it(usage: bool) -> None:
    caller = refused(STREAM[:-1] + b',"stream_options":{"include_usage":true}}' if usage else STREAM).caller
    assert caller.headers["content-type"] == "text/event-stream"
    chunks = [json.loads(line[6:]) for line in caller.got.split(b"\n\n") if line.startswith(b"data: {")]
    assert "".join(c["choices"][0]["delta"].get("content", "") for c in chunks if c["choices"]) == WORDS
    assert [c["choices"] == [] for c in chunks].count(True) == usage
    assert caller.got.endswith(b"data: [DONE]\n\n")


def test_anthropic_says_it_too() -> None:
    said = json.loads(refused(CLAUDE_ASK, path="/v1/messages").caller.got)
    assert (said["content"], said["stop_reason"]) == ([{"type": "text", "text": WORDS}], "end_turn")
    events = refused(CLAUDE_STREAM, path="/v1/messages").caller.got.split(b"\n\n")
    names = [event.split(b"\n")[0].removeprefix(b"event: ").decode() for event in events if event]
    assert names == ["message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta", "message_stop"]


@pytest.mark.parametrize("reason", Reason)
def test_only_decisions_are_said(reason: Reason) -> None:
    caller = refused(ASK, reason).caller
    assert (caller.status == 200) == (reason in DECIDED)
    assert ("x-fleetgate-refusal" in caller.headers) == (reason in DECIDED)


def test_where_words_cannot_be_read_it_stays_an_error() -> None:
    assert refused(JSON_ASK).caller.status == 403
    assert refused(b'{"model":"m","input":"x"}', path="/v1/embeddings").caller.status == 403
    assert refused(ASK, refusal="error").caller.status == 403
    broken = play(b"{", refusal="message")
    assert (broken.caller.status, broken.record.reason) == (400, "malformed_request")

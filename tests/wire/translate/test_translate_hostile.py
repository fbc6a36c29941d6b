"""Whatever a provider sends or a client asks: a stream is read without a fault, a reply or a request is read or refused."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.wire import jsonio
from proxy.wire.translate.bridge import DIALECTS
from proxy.wire.translate.hub import Asked, Untranslatable

# fmt: off
KEYS = [
    "id", "model", "role", "type", "text", "name", "content", "parts", "message", "messages", "contents", "input", "output", "item",
    "index", "choices", "delta", "tool_calls", "function", "arguments", "args", "finish_reason", "usage", "error", "candidates",
    "functionCall", "functionResponse", "inlineData", "mimeType", "data", "finishReason", "usageMetadata", "promptTokenCount", "done",
    "done_reason", "eval_count", "thinking", "response", "output_index", "summary", "status", "incomplete_details", "reason",
    "content_block", "partial_json", "stop_reason", "tools", "system", "systemInstruction", "generationConfig", "options", "format",
    "instructions", "tool_choice", "toolConfig", "functionDeclarations", "parameters", "input_schema", "strict", "images", "call_id",
    "image_url", "url", "source", "output_config", "response_format", "json_schema", "schema", "stop", "reasoning", "thinkingConfig",
    "thinkingBudget",
]
WORDS = [
    "", "x", "user", "assistant", "model", "tool", "system", "text", "image", "image_url", "function", "function_call", "tool_use",
    "tool_result", "custom", "json_schema", "STOP", "stop", "error", "message_start", "content_block_start", "content_block_delta",
    "content_block_stop", "message_delta", "response.created", "response.output_item.added", "response.output_item.done",
    "response.function_call_arguments.delta", "response.completed", "response.failed",
]
# fmt: on
leaves = st.sampled_from([*WORDS, None, 0, 1, -1, 1.5, 1e308, 2**70, True, False])
values = st.recursive(leaves, lambda v: st.lists(v, max_size=3) | st.dictionaries(st.sampled_from(KEYS), v, max_size=5), max_leaves=20)
objects = st.dictionaries(st.sampled_from(KEYS), values, max_size=6)
each = pytest.mark.parametrize("dialect", list(DIALECTS))


@each
@given(sent=st.lists(objects | values | st.binary(max_size=40), max_size=4))
def test_a_stream_is_told_to_everybody(dialect: str, sent: list[Any]) -> None:
    reader = DIALECTS[dialect].reader()
    writers = [client.writer(Asked("m", stream=True, id="9")) for client in DIALECTS.values()]
    for value in sent:
        raw = value if isinstance(value, bytes) else jsonio.encoded(value)
        for event in (raw + b"\n", b"data: " + raw + b"\n\n"):
            for step in reader.event(event):
                for writer in writers:
                    writer.step(step)
    for writer in writers:
        assert isinstance(writer.end(), bytes)


@each
@given(body=objects)
def test_a_reply_is_told_to_everybody_or_refused(dialect: str, body: dict[str, Any]) -> None:
    with contextlib.suppress(Untranslatable):
        said = DIALECTS[dialect].read_reply(body)
        for client in DIALECTS.values():
            assert jsonio.encoded(client.write_reply(said, Asked("m", id="9")))


@each
@given(body=objects)
def test_a_request_is_carried_or_refused(dialect: str, body: dict[str, Any]) -> None:
    try:
        asked = DIALECTS[dialect].read_request(body, "m", False)
    except Untranslatable:
        return
    for target in DIALECTS.values():
        with contextlib.suppress(Untranslatable):
            assert jsonio.encoded(target.write_request(asked))

"""Anthropic Messages and its token counter: how their requests read and are edited. Replies are read in `wire.anthropic_reply`.

The system prompt stands outside the messages; newer clients also put `role: system` messages among them. `max_tokens` is required by the
provider; we leave its absence to the provider unless a ceiling has to be set.

Source: Anthropic API reference, "Create a Message", "Count tokens in a Message"; types of the Python SDK 2.11 (2026-11).
"""

from __future__ import annotations

from dataclasses import replace

from proxy.wire import jsonio, steering
from proxy.wire.anthropic_edit import MessagesEditor
from proxy.wire.anthropic_messages import MESSAGE, PROTOCOL, SYSTEM, TOOLS, parse_message, parse_system, parse_tools
from proxy.wire.anthropic_reply import CountMeter, MessagesMeter, sse
from proxy.wire.base import Codec, Editor, Memos, Meter, Routes
from proxy.wire.call import Call, Edit, Message, Steer, Tools
from proxy.wire.fields import MAX_TOKENS, Fields, guarded
from proxy.wire.keys import Keys
from proxy.wire.openai_chat import NO_TOOLS

_INPUTS = ("output_config", "output_format", "prefill")
# fmt: off
_KEYS = Keys({
    "model", "messages", "system", "max_tokens", "tools", "metadata", "stream", "output_config", "output_format", "prefill",
    "cache_control", "container", "context_management", "diagnostics", "inference_geo", "service_tier", "speed", "stop_sequences",
    "temperature", "thinking", "tool_choice", "top_k", "top_p", "user_profile_id", "workspace_id", "betas",
})
# fmt: on


class MessagesCodec(Codec):
    """POST /v1/messages."""

    protocol = PROTOCOL
    name = "messages"

    def decode(self, body: bytes, memos: Memos) -> Call:
        """See `Codec.decode`."""
        known = memos.frames.find(self.dialect, body)
        if known is not None:
            return known
        fields = Fields(body, _KEYS, PROTOCOL, memos.prefixes)
        call = _conversation(fields, memos)
        call.stream = fields.boolean("stream")
        call.max_output = fields.integer("max_tokens", 1, MAX_TOKENS)
        return memos.frames.keep(self.dialect, call, fields.read)

    def rewrite(self, call: Call, edit: Edit) -> bytes:
        """See `Codec.rewrite`. Usage always comes, so there is none to ask for."""
        changes: dict[str, bytes] = {}
        if edit.model is not None and edit.model != call.model:
            changes["model"] = jsonio.dumps(edit.model)
        if edit.max_output is not None and edit.max_output != call.max_output:
            changes["max_tokens"] = b"%d" % edit.max_output
        if edit.steer is not None:
            changes |= _steered(call, edit, edit.steer)
        return jsonio.splice(call.body, call.members, changes) if changes else call.body

    def meter(self, call: Call) -> Meter:
        """See `Codec.meter`."""
        return MessagesMeter()

    def editor(self, call: Call) -> Editor:
        """See `Codec.editor`."""
        return MessagesEditor()

    def speak(self, call: Call, text: str, id: str) -> bytes | None:
        """See `Codec.speak`."""
        usage = {"input_tokens": 0, "output_tokens": 0}
        base = {"id": f"msg_{id}", "type": "message", "role": "assistant", "model": call.model, "usage": usage}
        if not call.stream:
            content = [{"type": "text", "text": text}]
            return jsonio.dumps(base | {"content": content, "stop_reason": "end_turn", "stop_sequence": None})
        return b"".join(
            [
                sse("message_start", {"message": base | {"content": [], "stop_reason": None, "stop_sequence": None}}),
                sse("content_block_start", {"index": 0, "content_block": {"type": "text", "text": ""}}),
                sse("content_block_delta", {"index": 0, "delta": {"type": "text_delta", "text": text}}),
                sse("content_block_stop", {"index": 0}),
                sse("message_delta", {"delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": usage}),
                sse("message_stop", {}),
            ]
        )

    def upstream_path(self, call: Call, model: str) -> str:
        """See `Codec.upstream_path`."""
        return "/v1/messages"


class CountTokensCodec(Codec):
    """POST /v1/messages/count_tokens: the provider counts and charges nothing."""

    protocol = PROTOCOL
    name = "count_tokens"

    def decode(self, body: bytes, memos: Memos) -> Call:
        """See `Codec.decode`."""
        known = memos.frames.find(self.dialect, body)
        if known is not None:
            return known
        fields = Fields(body, _KEYS, PROTOCOL, memos.prefixes)
        call = _conversation(fields, memos)
        call.operation = "count_tokens"
        return memos.frames.keep(self.dialect, call, fields.read)

    def rewrite(self, call: Call, edit: Edit) -> bytes:
        """See `Codec.rewrite`; only the model can change."""
        if edit.model is None or edit.model == call.model:
            return call.body
        return jsonio.splice(call.body, call.members, {"model": jsonio.dumps(edit.model)})

    def meter(self, call: Call) -> Meter:
        """See `Codec.meter`."""
        return CountMeter()

    def upstream_path(self, call: Call, model: str) -> str:
        """See `Codec.upstream_path`."""
        return "/v1/messages/count_tokens"


def _steered(call: Call, edit: Edit, steer: Steer) -> dict[str, bytes]:
    """Return what `steer` changes. One who thinks samples at 1, and only one of temperature and `top_p` may be said.

    Source: Anthropic, "Extended thinking", feature compatibility; "Tool use", controlling the output (`none`).
    """
    found: dict[str, bytes] = {}
    if steer.system is not None:
        found["system"] = jsonio.dumps(steer.system)
    if steer.note:
        found["messages"] = steering.conversation(call, "messages", replace(steer, system=None))
    heat = steering.temperature_for(call, edit, bool(steering.value(call, "temperature")))
    if heat is not None and not any(steering.value(call, key) for key in ("thinking", "top_p")):
        found["temperature"] = jsonio.dumps(min(steer.temperature or 0, 1))
    if steer.no_tools and steering.value(call, "tools").strip(b"[] \t\r\n"):
        found["tool_choice"] = b'{"type":"none"}'
    return found


def _conversation(fields: Fields, memos: Memos) -> Call:
    extra = [text for key in _INPUTS if (text := fields.json_text(key))]
    return Call(
        operation="chat",
        model=fields.model(),
        body=fields.body,
        system=_system(fields, memos),
        messages=fields.messages("messages", memos.messages, parse_message, MESSAGE),
        tools=_tools(fields, memos),
        extra=(*extra, *fields.unknown()),
        wants_json=any(b'"json_' in (fields.raw(key) or b"") for key in _INPUTS[:2]),
        hints=fields.hints(()),
        dearer=fields.dearer(),
        members=fields.members,
    )


def _system(fields: Fields, memos: Memos) -> tuple[Message, ...]:
    raw = fields.raw("system")
    if raw is None or raw == b"[]":
        return ()
    if raw.startswith(b"["):
        return tuple(fields.messages("system", memos.messages, parse_system, SYSTEM))
    return (memos.messages.get(SYSTEM + raw, guarded(parse_system, PROTOCOL, "system")),)


def _tools(fields: Fields, memos: Memos) -> Tools:
    raw, more = fields.raw("tools"), fields.offers()
    listed = NO_TOOLS if raw is None else memos.tools.get(TOOLS + raw, parse_tools)
    return Tools(listed.specs + more, listed.text, listed.counts) if more else listed


ROUTES: Routes = {("POST", "/v1/messages"): MessagesCodec(), ("POST", "/v1/messages/count_tokens"): CountTokensCodec()}

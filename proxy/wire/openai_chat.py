"""OpenAI Chat Completions: how its requests read and are edited. Its replies are read in `wire.openai_reply`.

Relied on, and so checked: model, messages, stream, the output ceilings, `n`, `stream_options.include_usage`, tools. All else is the
provider's to judge and goes through as it came.

Source: OpenAI API reference, "Create chat completion"; types of the Python SDK 3.52 (2026-11).
"""

from __future__ import annotations

from proxy.wire import jsonio, steering
from proxy.wire.base import Codec, Editor, Memos, Meter, Routes, created_of
from proxy.wire.call import Call, Edit, Steer, Tools
from proxy.wire.fields import MAX_TOKENS, Fields
from proxy.wire.keys import Keys
from proxy.wire.openai_edit import ChatEditor
from proxy.wire.openai_messages import PROTOCOL, parse_functions, parse_message, parse_tools
from proxy.wire.openai_reply import DONE, ChatMeter

_CEILINGS = ("max_completion_tokens", "max_tokens")
_HINTS = ("user", "safety_identifier", "prompt_cache_key")
_INPUTS = ("response_format", "prediction")
# fmt: off
_KEYS = Keys({
    "model", "messages", "stream", "max_tokens", "max_completion_tokens", "n", "stream_options", "tools", "functions",
    "response_format", "prediction", "user", "safety_identifier", "prompt_cache_key", "metadata", "audio", "frequency_penalty",
    "function_call", "logit_bias", "logprobs", "modalities", "moderation", "parallel_tool_calls", "presence_penalty",
    "prompt_cache_options", "prompt_cache_retention", "reasoning_effort", "seed", "service_tier", "stop", "store", "temperature",
    "tool_choice", "top_logprobs", "top_p", "verbosity", "web_search_options",
})
# fmt: on
_STREAM_KEYS = Keys({"include_usage"})
_TRUE_USAGE = (b'{"include_usage":true}', b'{"include_usage": true}')


class ChatCodec(Codec):
    """POST /v1/chat/completions."""

    protocol = PROTOCOL
    name = "chat"

    def decode(self, body: bytes, memos: Memos) -> Call:
        """See `Codec.decode`."""
        known = memos.frames.find(self.dialect, body)
        if known is not None:
            return known
        fields = Fields(body, _KEYS, PROTOCOL, memos.prefixes)
        check_moderation(fields)
        check_ceiling(fields)
        ceilings = [c for c in (fields.integer(key, 1, MAX_TOKENS) for key in _CEILINGS) if c is not None]
        stream = fields.boolean("stream")
        call = Call(
            operation="chat",
            model=fields.model(),
            body=body,
            stream=stream,
            max_output=max(ceilings) if ceilings else None,
            choices=fields.integer("n", 1, 128) or 1,
            wants_usage=wants_usage(fields) if stream else True,
            messages=fields.messages("messages", memos.messages, parse_message),
            tools=_tools(fields, memos),
            extra=_extra(fields),
            wants_json=_wants_json(fields),
            hints=fields.hints(_HINTS),
            dearer=fields.dearer(),
            members=fields.members,
        )
        return memos.frames.keep(self.dialect, call, fields.read)

    def rewrite(self, call: Call, edit: Edit) -> bytes:
        """See `Codec.rewrite`."""
        changes: dict[str, bytes] = {}
        if edit.model is not None and edit.model != call.model:
            changes["model"] = jsonio.dumps(edit.model)
        if edit.max_output is not None:
            value = b"%d" % edit.max_output
            mine = [key for key in _CEILINGS if _value(call, key) not in (b"", b"null")]
            for key in mine or [edit.max_output_key or _CEILINGS[0]]:
                if _value(call, key) != value:
                    changes[key] = value
        if edit.ask_usage and call.stream and not call.wants_usage:
            changes["stream_options"] = ask_usage(_value(call, "stream_options"))
        if edit.steer is not None:
            changes |= _steered(call, edit, edit.steer)
        return jsonio.splice(call.body, call.members, changes) if changes else call.body

    def meter(self, call: Call) -> Meter:
        """See `Codec.meter`."""
        return ChatMeter()

    def editor(self, call: Call) -> Editor:
        """See `Codec.editor`."""
        return ChatEditor()

    def speak(self, call: Call, text: str, id: str) -> bytes | None:
        """See `Codec.speak`."""
        base = {"id": f"chatcmpl-{id}", "created": created_of(id), "model": call.model}
        finish = {"index": 0, "finish_reason": "stop", "logprobs": None}
        nothing = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
        if not call.stream:
            message = {"role": "assistant", "content": text, "refusal": None}
            return jsonio.dumps(base | {"object": "chat.completion", "choices": [finish | {"message": message}], "usage": nothing})
        base["object"] = "chat.completion.chunk"
        words = {"index": 0, "delta": {"role": "assistant", "content": text}, "logprobs": None, "finish_reason": None}
        chunks = [base | {"choices": [words]}, base | {"choices": [finish | {"delta": {}}]}]
        if call.wants_usage:
            chunks.append(base | {"choices": [], "usage": nothing})
        return b"".join([b"data: %b\n\n" % jsonio.dumps(chunk) for chunk in chunks]) + DONE

    def upstream_path(self, call: Call, model: str) -> str:
        """See `Codec.upstream_path`."""
        return "/chat/completions"


def _steered(call: Call, edit: Edit, steer: Steer) -> dict[str, bytes]:
    """Return what `steer` changes; the tools stay as they are, so that what is cached of them stays."""
    found: dict[str, bytes] = {}
    if steer.note or steer.system is not None:
        found["messages"] = steering.conversation(call, "messages", steer, model=edit.model or call.model)
    if (heat := steering.temperature_for(call, edit, bool(steering.value(call, "temperature")))) is not None:
        found["temperature"] = heat
    if steer.no_tools:
        for offered, choice in (("tools", "tool_choice"), ("functions", "function_call")):
            if steering.value(call, offered).strip(b"[] \t\r\n"):
                found[choice] = b'"none"'
    return found


def _value(call: Call, key: str) -> bytes:
    start, end = call.members.get(key, (0, 0))
    return call.body[start:end]


def _wants_json(fields: Fields) -> bool:
    raw = fields.raw("response_format")
    return raw is not None and b'"json_' in raw


def check_moderation(fields: Fields) -> None:
    """Refuse a moderator that is no moderation model: it would be a model that no rule has seen. Raises WireError."""
    raw = fields.raw("moderation")
    value = None if raw is None else jsonio.strict(raw, PROTOCOL, "/moderation")
    model = value.get("model") if isinstance(value, dict) else None
    if value is not None and not (isinstance(model, str) and "moderation" in model):
        raise fields.error("moderation", "must name a moderation model")


def check_ceiling(fields: Fields) -> None:
    """Refuse a ceiling by another name, which some servers heed before the one that rules have seen. Raises WireError.

    Source: `tools/server` of llama.cpp, which takes its own `n_predict` on OpenAI's paths too (2026-11).
    """
    if fields.raw("n_predict") is not None:
        raise fields.error("n_predict", "is another name for the ceiling on output; write `max_tokens`")


def wants_usage(fields: Fields) -> bool:
    """Return whether a stream was asked to report usage."""
    raw = fields.raw("stream_options")
    if raw is None or raw in _TRUE_USAGE:
        return raw is not None
    inner = Fields(raw, _STREAM_KEYS, PROTOCOL)
    return inner.boolean("include_usage")


def ask_usage(options: bytes) -> bytes:
    """Return the value of `stream_options` that asks for usage as well, from the one that is there (or nothing)."""
    if options in (b"", b"null"):
        return _TRUE_USAGE[0]
    return jsonio.splice(options, jsonio.members(options, PROTOCOL), {"include_usage": b"true"})


def _tools(fields: Fields, memos: Memos) -> Tools:
    listed, more = _listed(fields, memos), fields.offers()
    return Tools(listed.specs + more, listed.text, listed.counts) if more else listed


def _listed(fields: Fields, memos: Memos) -> Tools:
    raw, old = fields.raw("tools"), fields.raw("functions")
    if raw is None and old is None:
        return NO_TOOLS
    if raw is None and old is not None:
        return memos.tools.get(b"functions:" + old, lambda key: parse_functions(key[10:]))
    new = memos.tools.get(raw or b"[]", parse_tools)
    if old is None:
        return new
    both = parse_functions(old)
    return Tools(new.specs + both.specs, new.text + both.text)


def _extra(fields: Fields) -> tuple[str, ...]:
    texts = [text for key in _INPUTS if (text := fields.json_text(key))]
    return (*texts, *fields.unknown())


NO_TOOLS = Tools()
ROUTES: Routes = {("POST", "/v1/chat/completions"): ChatCodec()}

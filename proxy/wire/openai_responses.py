"""OpenAI Responses: how its requests read and are edited. Its items are read in `wire.openai_responses_items`, its replies in
`wire.openai_responses_reply`.

The provider may keep history (`previous_response_id`, `conversation`, items by reference) and prompts: such a call names a thread, whose
text nobody here has seen. A stored prompt can bring tools of its own, so it counts as a tool too. `background` is refused: such a reply
comes after its exchange is over, so nobody would meter it.

Source: OpenAI API reference, "Create a model response"; types of the Python SDK 3.52 (2026-11).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from proxy.wire import jsonio, steering
from proxy.wire import openai_responses_items as items
from proxy.wire.base import Codec, Editor, Memos, Meter, Routes
from proxy.wire.blocks import carried
from proxy.wire.call import Call, Edit, Message, Steer, Tools, ToolSpec
from proxy.wire.fields import MAX_TOKENS, Fields, guarded
from proxy.wire.keys import Keys
from proxy.wire.openai_chat import NO_TOOLS, check_moderation
from proxy.wire.openai_messages import PROTOCOL
from proxy.wire.openai_responses_edit import ResponsesEditor
from proxy.wire.openai_responses_reply import ResponsesMeter
from proxy.wire.openai_responses_tools import TOOLS, parse_tools
from proxy.wire.openai_responses_write import spoken

_HINTS = ("user", "safety_identifier", "prompt_cache_key")
_KEPT = ("previous_response_id", "conversation", "prompt")
"""Members that name what the provider keeps, the most telling one first."""
_HINT_OBJECTS = ("metadata", "client_metadata")
OVERHEAD, PRO_OVERHEAD = 80, 16_000
"""Input tokens around a call, and around one that is thought through in mode `pro`, where the model is asked several times: at most 79
were seen in recorded replies, and 1,538 around eleven tokens of question in the one that was recorded in mode `pro`."""
_PROMPT = ToolSpec("prompt", "prompt")
MAX_EMPTY = 64
"""Bytes up to which an array without items is taken for one."""
# fmt: off
_KEYS = Keys({
    "model", "input", "instructions", "stream", "max_output_tokens", "tools", "text", "prompt", "previous_response_id", "conversation",
    "background", "user", "safety_identifier", "prompt_cache_key", "metadata", "client_metadata", "store", "access_programs",
    "context_management", "image", "include", "max_tool_calls", "moderation", "parallel_tool_calls", "prompt_cache_options",
    "prompt_cache_retention", "reasoning", "service_tier", "stream_options", "temperature", "tool_choice", "top_logprobs", "top_p",
    "truncation",
})
# fmt: on


class ResponsesCodec(Codec):
    """POST /v1/responses."""

    protocol = PROTOCOL
    name = "responses"

    def decode(self, body: bytes, memos: Memos) -> Call:
        """See `Codec.decode`."""
        known = memos.frames.find(self.dialect, body)
        if known is not None and not _told(known.messages):
            return known
        fields = Fields(body, _KEYS, PROTOCOL, memos.prefixes, history="input")
        if fields.boolean("background"):
            raise fields.error(
                "background", "a background reply comes when its request is over, so nobody could meter it; stream it instead"
            )
        check_moderation(fields)
        messages, text = _input(fields, memos), fields.raw("text")
        kept = {key: _id(fields, key) for key in _KEPT}
        hints = fields.hints(_HINTS, _HINT_OBJECTS) | {key: id for key, id in kept.items() if id}
        if fields.raw("store") is not None:
            hints["store"] = "true" if fields.boolean("store") else "false"
        call = Call(
            operation="chat",
            model=fields.model(),
            body=body,
            stream=fields.boolean("stream"),
            max_output=fields.integer("max_output_tokens", 1, MAX_TOKENS),
            system=_system(fields, memos),
            messages=messages,
            tools=_tools(fields, memos, messages),
            overhead=PRO_OVERHEAD if _pro(fields) else OVERHEAD,
            extra=(*(() if text is None else (text.decode(),)), *fields.unknown()),
            hints=hints,
            thread=" ".join(dict.fromkeys(filter(None, (*kept.values(), *[m.refers for m in messages])))),
            wants_json=text is not None and b'"json_' in text,
            dearer=fields.dearer(),
            members=fields.members,
        )
        return call if _told(messages) else memos.frames.keep(self.dialect, call, fields.read)

    def rewrite(self, call: Call, edit: Edit) -> bytes:
        """See `Codec.rewrite`. Usage always comes, so there is none to ask for."""
        changes: dict[str, bytes] = {}
        if edit.model is not None and edit.model != call.model:
            changes["model"] = jsonio.dumps(edit.model)
        if edit.max_output is not None and edit.max_output != call.max_output:
            changes["max_output_tokens"] = b"%d" % edit.max_output
        if edit.steer is not None:
            changes |= _steered(call, edit, edit.steer)
        return jsonio.splice(call.body, call.members, changes) if changes else call.body

    def meter(self, call: Call) -> Meter:
        """See `Codec.meter`."""
        return ResponsesMeter(keeps=call.hints.get("store") != "false")

    def editor(self, call: Call) -> Editor:
        """See `Codec.editor`."""
        return ResponsesEditor()

    def speak(self, call: Call, text: str, id: str) -> bytes | None:
        """See `Codec.speak`."""
        return spoken(call.model, text, id, call.stream)

    def upstream_path(self, call: Call, model: str) -> str:
        """See `Codec.upstream_path`."""
        return "/responses"


def _steered(call: Call, edit: Edit, steer: Steer) -> dict[str, bytes]:
    """Return what `steer` changes; the note is an item of its own, also where the provider keeps what came before.

    The system prompt stands in `instructions`, or in the first items of the input, where some clients put it.
    """
    found: dict[str, bytes] = {}
    given = steering.value(call, "input")
    if steer.system is not None and given.startswith(b"[") and call.messages and call.messages[0].role in steering.SYSTEM:
        found["input"] = given = steering.conversation(call, "input", replace(steer, note=""))
        if steering.value(call, "instructions"):
            found["instructions"] = b"null"
    elif steer.system is not None:
        found["instructions"] = jsonio.dumps(steer.system)
    if steer.note:
        note = {"type": "message", "role": "user"}
        item = jsonio.dumps(note | {"content": [{"type": "input_text", "text": steer.note}]})
        text = given.startswith(b'"')
        found["input"] = steering.with_words(given, steer.note, "") if text else steering.appended(given or b"[]", item)
    if (heat := steering.temperature_for(call, edit, bool(steering.value(call, "temperature")))) is not None:
        found["temperature"] = heat
    if steer.no_tools and steering.value(call, "tools").strip(b"[] \t\r\n"):
        found["tool_choice"] = b'"none"'
    return found


def _told(messages: Sequence[Message]) -> bool:
    """Return whether an item says more than words of the conversation: tools that it hands over, or what the provider keeps."""
    return any(carried(messages, "told", lambda part: [m for m in part if m.refers or m.offers] != []))


def _input(fields: Fields, memos: Memos) -> Sequence[Message]:
    """Return the items of `input`; a request that continues what the provider keeps may have none."""
    start, end = fields.members.get("input", (0, 0))
    if end - start <= MAX_EMPTY and fields.body[start:end].strip(b"[] \t\r\n") in (b"", b"null"):
        return ()
    if fields.body[start : start + 1] == b'"':
        raw = fields.body[start:end]
        return (memos.messages.get(items.TEXT + raw, guarded(items.parse_text, PROTOCOL, "input")),)
    return fields.messages("input", memos.messages, items.parse_item, items.ITEM)


def _system(fields: Fields, memos: Memos) -> tuple[Message, ...]:
    found = []
    for key, word, parse in (("prompt", items.PROMPT, items.parse_prompt), ("instructions", items.INSTRUCTIONS, items.parse_instructions)):
        raw = fields.raw(key)
        if raw is not None:
            found.append(memos.messages.get(word + raw, guarded(parse, PROTOCOL, key)))
    return tuple(found)


def _tools(fields: Fields, memos: Memos, messages: Sequence[Message]) -> Tools:
    """Return all tools that the model is given: listed, switched on by other members, or handed over in the conversation.

    What comes on top of the list makes a list of its own, which is remembered too: the same object every turn.
    """
    raw, more = fields.raw("tools"), fields.offers()
    listed = NO_TOOLS if raw is None else memos.tools.get(TOOLS + raw, guarded(parse_tools, PROTOCOL, "tools"))
    if fields.raw("prompt") is not None:
        more = (*more, _PROMPT)
    if given := [spec for message in messages if message.offers for spec in message.offers]:
        more = tuple(dict.fromkeys((*more, *given)))
    if not more:
        return listed
    return memos.tools.get(b"%b%b\0%b" % (TOOLS, raw or b"", repr(more).encode()), lambda key: Tools(listed.specs + more, listed.text))


def _id(fields: Fields, key: str) -> str:
    """Return the id in a member that is an id or an object with one."""
    raw = fields.raw(key)
    value: Any = None if raw is None else jsonio.strict(raw, PROTOCOL, f"/{key}")
    if isinstance(value, dict):
        jsonio.look_alikes(value, ("id",), PROTOCOL)
        value = value.get("id")
    if raw is not None and (not isinstance(value, str) or not value):
        raise fields.error(key, "must be an id, or an object with one")
    return jsonio.clean(value) if isinstance(value, str) else ""


def _pro(fields: Fields) -> bool:
    raw = fields.raw("reasoning")
    value = None if raw is None else jsonio.strict(raw, PROTOCOL, "/reasoning")
    return isinstance(value, dict) and value.get("mode") not in (None, "standard")


ROUTES: Routes = {("POST", "/v1/responses"): ResponsesCodec()}

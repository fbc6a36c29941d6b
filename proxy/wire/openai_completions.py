"""OpenAI's legacy completions: how their requests read and are edited, and their replies.

One request may hold several prompts, each a text or a list of token ids, and gets `n` answers to each; of `best_of` that are made for it
all are charged. With `echo` an answer repeats its prompt, which is no output.

Source: OpenAI API reference, "Create completion"; types of the Python SDK 3.52 (2026-11).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec
from msgspec.structs import replace

from proxy.model import Deny, Usage
from proxy.wire import jsonio, refusals, steering
from proxy.wire.base import Codec, Editor, Memos, Meter, Routes, created_of
from proxy.wire.call import Call, Edit, Event, Message, Steer
from proxy.wire.fields import MAX_TOKENS, Fields
from proxy.wire.frame import MAX_MESSAGES
from proxy.wire.keys import Keys
from proxy.wire.openai_chat import ask_usage, check_ceiling, wants_usage
from proxy.wire.openai_edit import ChatEditor
from proxy.wire.openai_messages import PROTOCOL
from proxy.wire.openai_reply import BROKEN, CUT_SHORT, DONE, MAX_MODEL, loose, usage_of
from proxy.wire.reading import Reading
from proxy.wire.sse import data_of

_PROMPT = b"completions prompt:"
# fmt: off
_KEYS = Keys({
    "model", "prompt", "suffix", "max_tokens", "n", "best_of", "stream", "stream_options", "user", "echo", "frequency_penalty",
    "logit_bias", "logprobs", "presence_penalty", "seed", "stop", "temperature", "top_p",
})
# fmt: on
_TOKEN_BYTES = b"0123456789[], \t\r\n"
_NOTHING = msgspec.Raw(b"")
MAX_ANSWERS = 128 * MAX_MESSAGES


@dataclass(slots=True)
class Prompted(Call):
    """A call with `prompts` prompts and `each` answers to every one, which repeat first what is in `echoed` for their prompt."""

    prompts: int = 1
    each: int = 1
    echoed: tuple[str, ...] = ()


class CompletionsCodec(Codec):
    """POST /v1/completions. Each prompt is a message of the user; prompts of token ids are counted and not decoded.

    A ceiling of 0 asks for no answer, and OpenAI gives none. An Ollama server reads it as no ceiling at all, so it is held like 1, and a
    local server is asked for 1.

    Source: `server/routes.go` and `runner` of Ollama, `num_predict` (2026-11).
    """

    protocol = PROTOCOL
    name = "completions"

    def decode(self, body: bytes, memos: Memos) -> Call:
        """See `Codec.decode`."""
        fields = Fields(body, _KEYS, PROTOCOL)
        check_ceiling(fields)
        messages, prompts, tokens = _prompts(fields, memos)
        each = fields.integer("n", 1, 128) or 1
        ceiling = fields.integer("max_tokens", 0, MAX_TOKENS)
        stream, suffix = fields.boolean("stream"), fields.json_text("suffix")
        echoed = tuple("".join(message.texts) for message in messages) if fields.boolean("echo") else ()
        return Prompted(
            operation="chat",
            model=fields.model(),
            body=body,
            stream=stream,
            max_output=max(1, ceiling) if ceiling is not None else None,
            choices=prompts * max(each, fields.integer("best_of", 1, 128) or 1),
            wants_usage=wants_usage(fields) if stream else True,
            messages=messages,
            extra=(*(() if suffix is None else (suffix,)), *fields.unknown()),
            tokens_given=tokens,
            hints=fields.hints(("user",)),
            dearer=fields.dearer(),
            members=fields.members,
            prompts=prompts,
            each=each,
            echoed=echoed,
        )

    def rewrite(self, call: Call, edit: Edit) -> bytes:
        """See `Codec.rewrite`."""
        changes: dict[str, bytes] = {}
        if edit.model is not None and edit.model != call.model:
            changes["model"] = jsonio.dumps(edit.model)
        if edit.max_output is not None and edit.max_output != call.max_output:
            changes["max_tokens"] = b"%d" % edit.max_output
        elif edit.max_output_key == "max_tokens" and _zero(call):
            changes["max_tokens"] = b"1"
        if edit.ask_usage and call.stream and not call.wants_usage:
            start, end = call.members.get("stream_options", (0, 0))
            changes["stream_options"] = ask_usage(call.body[start:end])
        if edit.steer is not None:
            changes |= _steered(call, edit, edit.steer)
        return jsonio.splice(call.body, call.members, changes) if changes else call.body

    def meter(self, call: Call) -> Meter:
        """See `Codec.meter`."""
        return CompletionsMeter(call if isinstance(call, Prompted) else Prompted(call.operation, call.model, call.body))

    def editor(self, call: Call) -> Editor:
        """See `Codec.editor`."""
        return ChatEditor()

    def speak(self, call: Call, text: str, id: str) -> bytes | None:
        """See `Codec.speak`."""
        choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": "stop"}
        base = {"id": f"cmpl-{id}", "object": "text_completion", "created": created_of(id), "model": call.model}
        usage = {"usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}}
        if not call.stream:
            return jsonio.dumps(base | {"choices": [choice]} | usage)
        chunks = [base | {"choices": [choice]}] + ([base | {"choices": []} | usage] if call.wants_usage else [])
        return b"".join([b"data: %b\n\n" % jsonio.dumps(chunk) for chunk in chunks]) + DONE

    def upstream_path(self, call: Call, model: str) -> str:
        """See `Codec.upstream_path`."""
        return "/completions"


def _steered(call: Call, edit: Edit, steer: Steer) -> dict[str, bytes]:
    """Return what `steer` changes. A prompt that is one text takes the note, unless it fills a gap or is said again to the client."""
    found: dict[str, bytes] = {}
    prompt = steering.value(call, "prompt")
    apart = not steering.value(call, "suffix") and steering.value(call, "echo") != b"true"
    if steer.note and apart and prompt.startswith(b'"'):
        found["prompt"] = steering.with_words(prompt, f"{steer.note}\n\n", "")
    if (heat := steering.temperature_for(call, edit, bool(steering.value(call, "temperature")))) is not None:
        found["temperature"] = heat
    return found


def _zero(call: Call) -> bool:
    start, end = call.members.get("max_tokens", (0, 0))
    return call.body[start:end] == b"0"


def _prompts(fields: Fields, memos: Memos) -> tuple[tuple[Message, ...], int, int]:
    """Return the prompts that are texts, how many there are of any kind, and how many token ids stand in those of token ids.

    In JSON made of digits, commas and brackets there is at most one number more than there are commas; decoding millions of them to
    count them would cost far more.
    """
    raw = fields.raw("prompt")
    if raw is None:
        return (), 1, 0
    if raw.startswith(b'"'):
        return (memos.messages.get(_PROMPT + raw, _read),), 1, 0
    if not raw.startswith(b"["):
        raise fields.error("prompt", "must be a text, texts, or token ids")
    if not raw.translate(None, _TOKEN_BYTES):
        return (), max(1, raw.count(b"[") - 1), raw.count(b",") + 1
    items = jsonio.elements(raw, PROTOCOL, "/prompt")
    if len(items) > MAX_MESSAGES or not all(item.startswith(b'"') for item in items):
        raise fields.error("prompt", f"must be a text, up to {MAX_MESSAGES} texts, or token ids")
    return memos.messages.get_all([_PROMPT + item for item in items], _read), len(items), 0


def _read(key: bytes) -> Message:
    reading = Reading()
    reading.text(jsonio.strict(key[len(_PROMPT) :], PROTOCOL, "/prompt"))
    return reading.message(key, "user")


class _Choice(msgspec.Struct):
    index: int | None = None
    text: str | None = None
    finish_reason: str | None = None


class _Reply(msgspec.Struct):
    id: str | None = None
    created: int | None = None
    model: str | None = None
    choices: list[_Choice] | None = None
    usage: msgspec.Raw = _NOTHING
    error: msgspec.Raw = _NOTHING


_reply_decoder = msgspec.json.Decoder(_Reply)


@dataclass(slots=True)
class _Head:
    """What the chunks of one stream share."""

    id: str = "cmpl-cut"
    created: int = 0
    finished: set[int] = field(default_factory=set)


class CompletionsMeter(Meter):
    """Reads one reply. Usage of an unfinished stream is not exact until its last chunk or `[DONE]` came."""

    turns: int = 0

    def __init__(self, call: Prompted) -> None:
        super().__init__()
        self._answers = call.prompts * call.each
        self._each, self._echoed = call.each, call.echoed
        self._repeated: dict[int, int] = {}
        self._head = _Head()
        self._newest: Usage | None = None

    def buffered(self, body: bytes) -> None:
        """See `Meter.buffered`."""
        self.ended = True
        try:
            reply = jsonio.decoded(_reply_decoder, body)
        except BROKEN:
            self.odd = True
            self.texts.append(body.decode("utf-8", "replace"))
            self.usage = usage_of(loose(body).usage)
            return
        self._take(reply)
        self.usage = self._newest
        self.failed = len(reply.error) > 4 and not reply.choices

    def event(self, raw: bytes) -> Event:
        """See `Meter.event`."""
        data = data_of(raw)
        try:
            reply = jsonio.decoded(_reply_decoder, data)
        except BROKEN:
            return self._odd(raw, data)
        if len(reply.error) > 4:
            self.failed = True
            return Event(raw, "error")
        text = self._take(reply)
        reported = len(reply.usage) > 4
        if reported and self._newest is not None:
            whole = not reply.choices or len(self._head.finished) >= self._answers
            self.usage = self._newest if whole else replace(self._newest, exact=False)
        return Event(raw, "text" if text else "usage" if reported and not reply.choices else "other", text)

    def _odd(self, raw: bytes, data: bytes) -> Event:
        if data.strip() == b"[DONE]":
            self.ended, self.usage = True, self._newest
            return Event(raw, "end")
        if not data.lstrip().startswith(b"{"):
            return Event(raw, "other")
        self.odd = True
        text = data.decode("utf-8", "replace")
        self._say(text)
        return Event(raw, "text", text)

    def _say(self, text: str) -> None:
        if text:
            self.texts.append(text)
            self.pieces += 1

    def _take(self, reply: _Reply) -> str:
        """Take one body or chunk in; return the text of all choices in it."""
        self.model = (reply.model or self.model)[:MAX_MODEL]
        self.turns += self._head.id != (reply.id or self._head.id)
        self._head.id, self._head.created = reply.id or self._head.id, reply.created or self._head.created
        self._newest = usage_of(reply.usage) or self._newest
        said, finish = "", ""
        for position, choice in enumerate(reply.choices or ()):
            index = position if choice.index is None else choice.index
            said += self._made(index, choice.text or "")
            if choice.finish_reason is not None and len(self._head.finished) < MAX_ANSWERS:
                self._head.finished.add(index)
                self.turns += 1
                finish = choice.finish_reason
        if finish and len(self._head.finished) >= self._answers:
            self.finish = finish
        self._say(said)
        return said

    def _made(self, index: int, text: str) -> str:
        """Return what of `text` the model made: all that comes after the prompt, where that is repeated."""
        if not self._echoed or not 0 <= index < self._answers:
            return text
        prompt, at = self._echoed[index // self._each], self._repeated.get(index, 0)
        same = prompt[at : at + len(text)]
        self._repeated[index] = at + len(same) if text.startswith(same) else len(prompt)
        return text.removeprefix(same)

    def cut(self, deny: Deny | None) -> bytes:
        """See `Meter.cut`."""
        if deny is None or deny.reason not in CUT_SHORT:
            return refusals.error_event(PROTOCOL, deny or refusals.LOST) + DONE
        head = self._head
        still_open = [index for index in range(min(self._answers, 128)) if index not in head.finished]
        if not still_open:
            return DONE
        chunk = {
            "id": head.id,
            "object": "text_completion",
            "created": head.created,
            "model": self.model,
            "choices": [{"index": index, "text": "", "logprobs": None, "finish_reason": "length"} for index in still_open],
            "fleetgate": refusals.decision(deny),
        }
        return b"data: %b\n\n" % jsonio.dumps(chunk) + DONE


ROUTES: Routes = {("POST", "/v1/completions"): CompletionsCodec()}

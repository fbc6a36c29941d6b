"""Ollama's chat and generate: how their requests read and are edited. Replies are read in `wire.ollama_reply`.

Relied on, and so checked: the model's name, messages or prompt, tools, `stream` (which is true when it is not there), and in `options` the
output ceiling `num_predict`. Zero and negative ceilings mean none, so they read as absent and are replaced where one must be set. A chat
or generate without anything to say only loads or unloads the model: it costs nothing and reads as `show`.

A model's short name and its longer spellings are one model; see `wire.ollama_messages` for how rules see it.

Source: Ollama API reference and `api/types.go` of the server; types of the Python SDK 0.6.3 (2026-11).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

from proxy.wire import jsonio, steering
from proxy.wire.base import Codec, Editor, Framing, Memos, Meter, Routes
from proxy.wire.call import Call, Edit, Message, Steer, Tools
from proxy.wire.fields import MAX_TOKENS, Fields, guarded
from proxy.wire.keys import Keys
from proxy.wire.ndjson import Lines
from proxy.wire.ollama_edit import OllamaEditor
from proxy.wire.ollama_messages import MESSAGE, PROTOCOL, aliases, model_of, parse_message
from proxy.wire.ollama_reply import EPOCH, OllamaMeter, line_of
from proxy.wire.openai_chat import NO_TOOLS
from proxy.wire.openai_messages import parse_tools

# fmt: off
_SHARED = {
    "model", "name", "stream", "format", "options", "keep_alive", "think", "logprobs", "top_logprobs", "truncate", "shift",
    "_debug_render_only",
}
_CHAT_KEYS = Keys({*_SHARED, "messages", "tools"})
_GENERATE_KEYS = Keys({
    *_SHARED, "prompt", "suffix", "system", "template", "context", "raw", "images", "width", "height", "steps",
})
_OPTION_KEYS = Keys({
    "num_predict", "num_ctx", "stop", "temperature", "seed", "top_k", "top_p", "min_p", "typical_p", "repeat_last_n", "repeat_penalty",
    "presence_penalty", "frequency_penalty", "num_keep", "num_batch", "num_gpu", "main_gpu", "use_mmap", "num_thread", "mirostat",
    "mirostat_tau", "mirostat_eta", "penalize_newline", "tfs_z", "numa", "low_vram", "f16_kv", "logits_all", "vocab_only", "use_mlock",
    "embedding_only", "draft_num_predict",
})
# fmt: on
_TOKEN_BYTES = b"0123456789[], \t\r\n"


class ChatCodec(Codec):
    """POST /api/chat."""

    protocol = PROTOCOL
    name: ClassVar[str] = "chat"
    streams: Mapping[str, Callable[[], Framing]] = {"application/x-ndjson": Lines}

    def decode(self, body: bytes, memos: Memos) -> Call:
        """See `Codec.decode`."""
        known = memos.frames.find(self.dialect, body)
        if known is not None:
            return known
        fields = Fields(body, _CHAT_KEYS, PROTOCOL, memos.prefixes)
        call = _call(fields, one_model(fields))
        if fields.raw("messages") in (None, b"[]"):
            call.operation = "show"
        else:
            call.messages = fields.messages("messages", memos.messages, parse_message, MESSAGE)
        call.tools = _tools(fields, memos)
        return memos.frames.keep(self.dialect, call, fields.read)

    def rewrite(self, call: Call, edit: Edit) -> bytes:
        """See `Codec.rewrite`. Usage always comes, so there is none to ask for."""
        changes: dict[str, bytes] = {}
        if edit.model is not None and edit.model != call.model:
            changes["model"] = jsonio.dumps(edit.model)
        options: dict[str, bytes] = {}
        if edit.max_output is not None and edit.max_output != call.max_output:
            options["num_predict"] = b"%d" % edit.max_output
        if edit.steer is not None:
            changes |= self._steered(call, edit.steer)
            if (heat := steering.temperature_for(call, edit, False)) is not None:
                options["temperature"] = heat
        if options:
            changes["options"] = steering.object_with(steering.value(call, "options"), options)
        return jsonio.splice(call.body, call.members, changes) if changes else call.body

    def _steered(self, call: Call, steer: Steer) -> dict[str, bytes]:
        """Return what `steer` changes. There is no choice of tools here, so none are offered."""
        found: dict[str, bytes] = {}
        if (steer.note or steer.system is not None) and call.operation == "chat":
            found["messages"] = steering.conversation(call, "messages", steer, "")
        if steer.no_tools and steering.value(call, "tools"):
            found["tools"] = b"[]"
        return found

    def meter(self, call: Call) -> Meter:
        """See `Codec.meter`."""
        return OllamaMeter(self.name == "generate", call.model)

    def upstream_path(self, call: Call, model: str) -> str:
        """See `Codec.upstream_path`."""
        return f"/api/{self.name}"

    def editor(self, call: Call) -> Editor:
        """See `Codec.editor`."""
        return OllamaEditor()

    def speak(self, call: Call, text: str, id: str) -> bytes:
        """See `Codec.speak`. Replies have no id here."""
        generate = self.name == "generate"
        end = {"done": True, "done_reason": "stop", "prompt_eval_count": 0, "eval_count": 0}
        first = line_of(call.model, EPOCH, text, generate)
        if not call.stream:
            return jsonio.dumps(first | end)
        return b"%b\n%b\n" % (jsonio.dumps(first), jsonio.dumps(line_of(call.model, EPOCH, "", generate) | end))


class GenerateCodec(ChatCodec):
    """POST /api/generate. The prompt and its pictures read as a message of the user's; a suffix and a template are texts beside it."""

    name = "generate"

    def decode(self, body: bytes, memos: Memos) -> Call:
        """See `Codec.decode`."""
        fields = Fields(body, _GENERATE_KEYS, PROTOCOL)
        call = _call(fields, one_model(fields))
        tokens, other = _context(fields)
        beside = [text for key in ("suffix", "template") if (text := words(fields, key))]
        call.extra = (*beside, *other, *call.extra)
        call.tokens_given = tokens
        call.system = _spoken(fields, memos, "system", "system")
        call.messages = _spoken(fields, memos, "prompt", "user", "images")
        call.tools = _tools(fields, memos)
        if not (call.messages or call.system or beside or other or tokens):
            call.operation = "show"
        return call

    def _steered(self, call: Call, steer: Steer) -> dict[str, bytes]:
        """Return what `steer` changes. What fills a gap, or is given as it is, has no place for words of ours."""
        found: dict[str, bytes] = {}
        prompt = steering.value(call, "prompt")
        plain = not steering.value(call, "suffix") and steering.value(call, "raw") != b"true"
        if steer.note and plain and prompt.startswith(b'"'):
            found["prompt"] = steering.with_words(prompt, steer.note, "")
        if steer.system is not None and plain:
            found["system"] = jsonio.dumps(steer.system)
        return found


def _call(fields: Fields, model: str) -> Call:
    """Return what chat and generate share."""
    ceiling, others = _options(fields)
    form = fields.raw("format")
    wants_json = form not in (None, b'""')
    schema = [form.decode()] if form is not None and wants_json and form != b'"json"' else []
    return Call(
        operation="chat",
        model=model,
        aliases=aliases(model),
        body=fields.body,
        stream=fields.raw("stream") is None or fields.boolean("stream"),
        max_output=ceiling,
        extra=(*schema, *others, *fields.unknown()),
        hints=fields.hints(()),
        wants_json=wants_json,
        dearer=fields.dearer(),
        members=fields.members,
    )


def one_model(fields: Fields) -> str:
    """Return the model of a request in which `name` is no name for it: a server that took it for one would ask another model."""
    if fields.raw("name") is not None:
        raise fields.error("name", "is not a member of this request; name the model in `model`")
    return model_of(fields)


def inner_options(fields: Fields) -> Fields | None:
    """Return the members of `options`, None when there are none."""
    raw = fields.raw("options")
    return None if raw is None else Fields(raw, _OPTION_KEYS, PROTOCOL)


def _options(fields: Fields) -> tuple[int | None, list[str]]:
    """Return the output ceiling, and the options that we do not know and that could hold a prompt."""
    inner = inner_options(fields)
    if inner is None:
        return None, []
    raw = inner.raw("num_predict")
    if raw is not None and raw[:1] == b"-" and raw[1:].isdigit():
        return None, inner.unknown()
    return inner.integer("num_predict", 0, MAX_TOKENS) or None, inner.unknown()


def _tools(fields: Fields, memos: Memos) -> Tools:
    raw, more = fields.raw("tools"), fields.offers()
    listed = NO_TOOLS if raw is None else memos.tools.get(raw, guarded(parse_tools, PROTOCOL, "tools"))
    return Tools(listed.specs + more, listed.text, listed.counts) if more else listed


def words(fields: Fields, key: str) -> str | None:
    """Return a member that the model reads as text, JSON where it is none."""
    text = fields.text(key)
    return fields.json_text(key) if text is None else jsonio.clean(text)


def _spoken(fields: Fields, memos: Memos, key: str, role: str, images: str = "") -> tuple[Message, ...]:
    """Return the text under `key`, and the pictures beside it, as a message through the memo; nothing where both are empty."""
    text, pictures = fields.raw(key), fields.raw(images) if images else None
    if text in (None, b'""') and pictures in (None, b"[]"):
        return ()
    raw = b'{"role":"%b","content":%b' % (role.encode(), text or b'""')
    raw += b"}" if pictures is None else b',"images":%b}' % pictures
    return (memos.messages.get(MESSAGE + raw, guarded(parse_message, PROTOCOL, key)),)


def _context(fields: Fields) -> tuple[int, list[str]]:
    """Return how many token ids an earlier reply's `context` brings, or its JSON where it is something else."""
    raw = fields.raw("context")
    if raw is None or not raw.strip(b"[], \t\r\n"):
        return 0, []
    if raw.translate(None, _TOKEN_BYTES):
        return 0, [raw.decode()]
    return raw.count(b",") + 1, []


ROUTES: Routes = {("POST", "/api/chat"): ChatCodec(), ("POST", "/api/generate"): GenerateCodec()}

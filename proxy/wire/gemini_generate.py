"""Gemini's generateContent and streamGenerateContent: how their requests read and are edited. Replies are read in `wire.gemini_reply`.

The model stands in the path and is the one that is asked and billed, so a `model` in the body must be the same. Members are read under
both of their names (see `wire.gemini_contents`); what we do not rely on is the provider's to judge and goes through as it came.

Source: Gemini API reference, "Generating content" and "GenerationConfig"; types of the `google-genai` Python SDK 3.4 (2026-11).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from urllib.parse import quote

from proxy.wire import jsonio, steering
from proxy.wire.base import Codec, Editor, Memos, Meter
from proxy.wire.call import Call, Edit, Message, Steer, Tools, WireError
from proxy.wire.fields import MAX_TOKENS, Fields, guarded
from proxy.wire.gemini_contents import (
    CONTENT,
    PROTOCOL,
    SYSTEM,
    TOOLS,
    Members,
    check_tool_config,
    parse_content,
    parse_system,
    parse_tools,
    snake,
)
from proxy.wire.gemini_edit import GenerateEditor
from proxy.wire.gemini_frame import ARRAY, SSE, Frame
from proxy.wire.gemini_reply import GenerateMeter
from proxy.wire.openai_chat import NO_TOOLS

KEYS = Members(
    "contents", "model", "systemInstruction", "tools", "toolConfig", "generationConfig", "safetySettings", "cachedContent", "labels",
    "serviceTier", "store", "continuationToken",
)  # fmt: skip
_GENERATION = Members(
    "maxOutputTokens", "candidateCount", "responseMimeType", "responseSchema", "responseJsonSchema", "responseFormat",
    "responseModalities", "thinkingConfig", "speechConfig", "imageConfig", "temperature", "topP", "topK", "seed", "stopSequences",
    "presencePenalty", "frequencyPenalty", "responseLogprobs", "logprobs", "mediaResolution", "enableEnhancedCivicAnswers",
    "routingConfig", "modelConfig", "modelSelectionConfig",
)  # fmt: skip
_SCHEMAS = ("responseSchema", "responseJsonSchema", "responseFormat")
_OTHER_MODELS = ("routingConfig", "modelConfig", "modelSelectionConfig")
_STANDARD: Mapping[str, frozenset[bytes]] = {
    "responseModalities": frozenset({b'["TEXT"]', b'["text"]', b'["Text"]', b"[]"}),
    "speechConfig": frozenset({b"{}"}),
    "imageConfig": frozenset({b"{}"}),
    "serviceTier": frozenset({b'"standard"', b'"flex"', b'"unspecified"', b'"STANDARD"', b'"FLEX"'}),
}
"""Member to the values that cost what the table says."""


def spelled(fields: Fields, name: str) -> str:
    """Return the name under which `name` stands in the body: the documented one, or that with underscores."""
    return name if name in fields.members else snake(name)


def dearer(fields: Fields, names: tuple[str, ...]) -> tuple[str, ...]:
    """Return those of `names` that can raise the price, under the names that findings have."""
    given = ((name, fields.raw(spelled(fields, name))) for name in names)
    return tuple(snake(name) for name, raw in given if raw is not None and raw.replace(b" ", b"") not in _STANDARD[name])


def own_model(fields: Fields, model: str) -> None:
    """Refuse a body whose model is not that of the path.

    Raises:
        WireError: it is not, so nobody could tell which of them is asked.
    """
    if fields.raw("model") is not None and fields.text("model") not in (model, f"models/{model}"):
        raise fields.error("model", f"is not {model}, the model in the path")


def conversation(fields: Fields, memos: Memos, model: str) -> Call:
    """Return the call that a request to `model` is.

    Raises:
        WireError: see `Codec.decode`.
    """
    own_model(fields, model)
    config = fields.raw(spelled(fields, "toolConfig"))
    if config is not None:
        check_tool_config(config)
    call = Call(
        operation="chat",
        model=model,
        body=fields.body,
        system=_system(fields, memos),
        messages=_contents(fields, memos),
        tools=_tools(fields, memos),
        extra=(*fields.unknown(), *([] if config is None else [config.decode()])),
        hints=_labels(fields),
        thread=" ".join(filter(None, (fields.text(spelled(fields, key)) for key in ("cachedContent", "continuationToken")))),
        dearer=(*fields.dearer(), *dearer(fields, ("serviceTier",))),
        members=fields.members,
    )
    generation = fields.raw(spelled(fields, "generationConfig"))
    if generation is not None:
        _generation(call, Fields(generation, _GENERATION, PROTOCOL))
    return call


def _contents(fields: Fields, memos: Memos) -> Sequence[Message]:
    start, _ = fields.members.get("contents", (0, 0))
    raw = fields.raw("contents") if start and fields.body.startswith(b"{", start) else None
    if raw is None:
        return fields.messages("contents", memos.messages, parse_content, CONTENT)
    return (memos.messages.get(CONTENT + raw, guarded(parse_content, PROTOCOL, "contents")),)


def _system(fields: Fields, memos: Memos) -> tuple[Message, ...]:
    raw = fields.raw(spelled(fields, "systemInstruction"))
    return () if raw is None else (memos.messages.get(SYSTEM + raw, guarded(parse_system, PROTOCOL, "systemInstruction")),)


def _tools(fields: Fields, memos: Memos) -> Tools:
    raw, more = fields.raw("tools"), fields.offers()
    listed = NO_TOOLS if raw is None else memos.tools.get(TOOLS + raw, parse_tools)
    return Tools(listed.specs + more, listed.text, listed.counts) if more else listed


def _labels(fields: Fields) -> dict[str, str]:
    raw = fields.raw("labels")
    value = None if raw is None else jsonio.strict(raw, PROTOCOL, "/labels")
    found = value.items() if isinstance(value, dict) else ()
    return {f"labels.{jsonio.clean(key)}": jsonio.clean(item) for key, item in found if isinstance(item, str)}


def _generation(call: Call, config: Fields) -> None:
    """Read what `generationConfig` says into `call`."""
    for name in _OTHER_MODELS:
        if config.raw(spelled(config, name)) is not None:
            raise config.error(f"generationConfig/{name}", "has the provider choose another model, which no rule would see")
    call.max_output = config.integer(spelled(config, "maxOutputTokens"), 1, MAX_TOKENS)
    call.choices = config.integer(spelled(config, "candidateCount"), 1, 128) or 1
    schemas = [text for name in _SCHEMAS if (text := config.json_text(spelled(config, name)))]
    call.extra = (*call.extra, *schemas, *config.unknown())
    kind = config.text(spelled(config, "responseMimeType")) or "text/plain"
    call.wants_json = bool(schemas) or kind != "text/plain"
    call.dearer = (*call.dearer, *dearer(config, ("responseModalities", "speechConfig", "imageConfig")))


class GeminiCodec(Codec):
    """What all operations of a path share.

    Args:
        version: of the API, as the path has it.
        model: in the path; empty where there is none.
        odd: a query parameter that is not taken, or nothing.
    """

    protocol = PROTOCOL
    verb = ""

    def __init__(self, version: str, model: str = "", odd: str = "") -> None:
        self.version, self.model, self._odd = version, model, odd

    def check(self) -> None:
        """Refuse a query that could change what is asked.

        Raises:
            WireError: it has a parameter that is not known here.
        """
        if self._odd:
            raise WireError(PROTOCOL, f"?{self._odd}", "is not taken here; known are `alt`, `key`, `pageSize`, `pageToken`, `prettyPrint`")

    def rewrite(self, call: Call, edit: Edit) -> bytes:
        """See `Codec.rewrite`; the model stands in the path, and in the body only where the client wrote it there too."""
        changes = self.changes(call, edit)
        return jsonio.splice(call.body, call.members, changes) if changes else call.body

    def changes(self, call: Call, edit: Edit) -> dict[str, bytes]:
        """Return the new values of top-level members."""
        return model_changes(call.body, call.members, edit.model)

    def upstream_path(self, call: Call, model: str) -> str:
        """See `Codec.upstream_path`."""
        return f"/{self.version}/models/{segment(model)}:{self.verb}"


@functools.lru_cache(maxsize=1024)
def segment(model: str) -> str:
    """Return a model's name as a segment of a path. It can come from a client of another protocol, so nothing in it may end the segment."""
    return quote(model, safe="-._~:@")


def model_changes(body: bytes, members: Mapping[str, tuple[int, int]], model: str | None) -> dict[str, bytes]:
    """Return the change of `model` in an object that has one, nothing where it does not."""
    start, end = members.get("model", (0, 0))
    if model is None or body[start:end] in (b"", b"null"):
        return {}
    return {"model": jsonio.dumps(f"models/{model}" if body.startswith(b'"models/', start) else model)}


def _steered(call: Call, steer: Steer) -> dict[str, bytes]:
    """Return what `steer` changes. Beside a cached content there may be neither a system prompt nor a tool configuration, and without
    declared functions no configuration of their calls.

    Source: Gemini API, "Context caching"; "Function calling", mode `NONE`.
    """
    found: dict[str, bytes] = {}
    if steer.note and (contents := _with_note(call, steer.note)):
        found["contents"] = contents
    if call.thread:
        return found
    if steer.system is not None:
        found[_name(call, "systemInstruction")] = jsonio.dumps({"parts": [{"text": steer.system}]})
    if steer.no_tools and any(spec.kind == "function" for spec in call.tools.specs):
        key = _name(call, "toolConfig")
        config = steering.value(call, key)
        inner = "function_calling_config" if config and snake("functionCallingConfig") in jsonio.members(config, PROTOCOL) else ""
        found[key] = steering.object_with(config, {inner or "functionCallingConfig": b'{"mode":"NONE"}'})
    return found


def _name(call: Call, name: str) -> str:
    return name if name in call.members or snake(name) not in call.members else snake(name)


def _with_note(call: Call, note: str) -> bytes:
    """Return `contents` with the note behind them, nothing where the last one is the model's.

    Outputs of functions stand alone in their content: some of Google's servers refuse others beside them.
    """
    last, raw = call.messages[-1], steering.value(call, "contents")
    if last.role == "assistant":
        return b""
    array = raw if raw.startswith(b"[") else b"[" + raw + b"]"
    part = jsonio.dumps({"text": note})
    content = jsonio.elements(array, PROTOCOL, "/contents")[-1]
    start, end = jsonio.members(content, PROTOCOL).get("parts", (0, 0))
    if last.role == "user" and not last.tool_results and content[start : start + 1] == b"[":
        begin = len(array[:-1].rstrip()) - len(content)
        return steering.written(array, [((begin + start, begin + end), steering.appended(content[start:end], part))])
    return steering.appended(array, b'{"role":"user","parts":[%b]}' % part)


class GenerateCodec(GeminiCodec):
    """POST /{version}/models/{model}:generateContent and :streamGenerateContent.

    Args:
        version, model, odd: see `GeminiCodec`.
        frame: how the reply is streamed; None for one that is not.
    """

    name = "generate"

    def __init__(self, version: str, model: str = "", odd: str = "", frame: Frame | None = None) -> None:
        super().__init__(version, model, odd)
        self._frame = frame
        self.verb = "generateContent" if frame is None else "streamGenerateContent"
        if frame is not None:
            self.streams = {frame.content_type: frame.framing}

    def decode(self, body: bytes, memos: Memos) -> Call:
        """See `Codec.decode`."""
        self.check()
        kind = f"{self.dialect} {self.model} {self.verb}"
        known = memos.frames.find(kind, body)
        if known is not None:
            return known
        fields = Fields(body, KEYS, PROTOCOL, memos.prefixes, history="contents")
        call = conversation(fields, memos, self.model)
        call.stream = self._frame is not None
        return memos.frames.keep(kind, call, fields.read)

    def changes(self, call: Call, edit: Edit) -> dict[str, bytes]:
        """See `GeminiCodec.changes`; the ceiling goes where the body has one, under the name that it has there."""
        found, inner = super().changes(call, edit), dict[str, bytes]()
        if edit.steer is None and (edit.max_output is None or edit.max_output == call.max_output):
            return found
        key = "generationConfig" if "generationConfig" in call.members else "generation_config"
        config = steering.value(call, key)
        named = jsonio.members(config, PROTOCOL) if config else {}
        if edit.max_output is not None and edit.max_output != call.max_output:
            inner["max_output_tokens" if "max_output_tokens" in named else "maxOutputTokens"] = b"%d" % edit.max_output
        if edit.steer is not None:
            found |= _steered(call, edit.steer)
            if (heat := steering.temperature_for(call, edit, "temperature" in named)) is not None:
                inner["temperature"] = heat
        if inner:
            found[key if key in call.members else "generationConfig"] = steering.object_with(config, inner)
        return found

    def meter(self, call: Call) -> Meter:
        """See `Codec.meter`."""
        return GenerateMeter(self._frame or SSE)

    def editor(self, call: Call) -> Editor:
        """See `Codec.editor`."""
        return GenerateEditor(self._frame is not ARRAY)

    def speak(self, call: Call, text: str, id: str) -> bytes | None:
        """See `Codec.speak`."""
        candidate = {"content": {"parts": [{"text": text}], "role": "model"}, "finishReason": "STOP", "index": 0}
        usage = {"promptTokenCount": 0, "candidatesTokenCount": 0, "totalTokenCount": 0}
        said = jsonio.dumps({"candidates": [candidate], "usageMetadata": usage, "modelVersion": call.model, "responseId": id})
        return said if self._frame is None else self._frame.whole(said)


class TargetCodec(GenerateCodec):
    """Asks on behalf of a client of another protocol: there is no path or query of its own, and streams come as events."""

    def __init__(self) -> None:
        super().__init__("v1beta", frame=SSE)

    def upstream_path(self, call: Call, model: str) -> str:
        """See `Codec.upstream_path`."""
        path = f"/{self.version}/models/{segment(model)}"
        return f"{path}:streamGenerateContent?alt=sse" if call.stream else f"{path}:generateContent"

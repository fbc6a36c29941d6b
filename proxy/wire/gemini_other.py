"""Gemini's smaller operations: counting tokens, embeddings, the list of models and the words about one.

Counting is free. An embedding's reply carries no usage in most versions of the API, so what it was bound to is charged then. Each request
of a batch names its model again; one that differs from the path's would be asked without any rule having seen it, and is refused.

Source: Gemini API reference, "Counting tokens", "Embeddings", "Models"; types of the `google-genai` Python SDK 3.4 (2026-11).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from proxy.wire import jsonio
from proxy.wire.base import ListCodec, Memos, Meter
from proxy.wire.call import Call, Edit, Event, Message, WireError
from proxy.wire.fields import Fields, guarded
from proxy.wire.frame import MAX_MESSAGES
from proxy.wire.gemini_contents import CONTENT, PROTOCOL, Members, parse_content
from proxy.wire.gemini_generate import KEYS, GeminiCodec, conversation, model_changes, own_model, segment, spelled
from proxy.wire.gemini_reply import usage_of
from proxy.wire.openai_other import PlainMeter
from proxy.wire.openai_reply import BROKEN

_COUNT = Members(*KEYS.names, "generateContentRequest")
_EMBED = Members("model", "content", "taskType", "title", "outputDimensionality", "embedContentConfig")
_BATCH = Members("model", "requests")


class _Embedded(msgspec.Struct, rename="camel"):
    usage_metadata: msgspec.Raw = msgspec.Raw(b"")


class _Item(msgspec.Struct):
    name: str


_embedded_decoder = msgspec.json.Decoder(_Embedded)
_item_decoder = msgspec.json.Decoder(_Item)


class CountTokensCodec(GeminiCodec):
    """POST /{version}/models/{model}:countTokens: contents, or a whole request to be counted."""

    name = "count_tokens"
    verb = "countTokens"

    def decode(self, body: bytes, memos: Memos) -> Call:
        """See `Codec.decode`."""
        self.check()
        fields = Fields(body, _COUNT, PROTOCOL, memos.prefixes, history="contents")
        whole = fields.raw(spelled(fields, "generateContentRequest"))
        if whole is None:
            call = conversation(fields, memos, self.model)
        elif fields.members.keys() - {"model", "generateContentRequest", "generate_content_request"}:
            raise fields.error("generateContentRequest", "stands beside other members; which of them is counted?")
        else:
            own_model(fields, self.model)
            call = conversation(Fields(whole, KEYS, PROTOCOL), memos, self.model)
            call.body, call.members = body, fields.members
        call.operation = "count_tokens"
        return call

    def changes(self, call: Call, edit: Edit) -> dict[str, bytes]:
        """See `GeminiCodec.changes`."""
        found = super().changes(call, edit)
        for key in ("generateContentRequest", "generate_content_request"):
            start, end = call.members.get(key, (0, 0))
            whole = call.body[start:end]
            if whole.startswith(b"{"):
                members = jsonio.members(whole, PROTOCOL)
                inner = model_changes(whole, members, edit.model)
                found |= {key: jsonio.splice(whole, members, inner)} if inner else {}
        return found

    def meter(self, call: Call) -> Meter:
        """See `Codec.meter`."""
        return PlainMeter(free=True)


class EmbedMeter(Meter):
    """Reads the reply of an embedding: its usage, where one is given."""

    def buffered(self, body: bytes) -> None:
        """See `Meter.buffered`."""
        self.ended = True
        try:
            self.usage = usage_of(_embedded_decoder.decode(body).usage_metadata)
        except BROKEN:
            self.usage = None

    def event(self, raw: bytes) -> Event:
        """Never called for what we asked: embeddings do not stream."""
        return Event(raw, "other")


class EmbedCodec(GeminiCodec):
    """POST /{version}/models/{model}:embedContent."""

    name = "embed"
    verb = "embedContent"

    def decode(self, body: bytes, memos: Memos) -> Call:
        """See `Codec.decode`."""
        self.check()
        fields = Fields(body, _EMBED, PROTOCOL)
        message, texts = _embedded(fields, memos, self.model)
        return Call("embeddings", self.model, body, messages=(message,), extra=texts, members=fields.members)

    def meter(self, call: Call) -> Meter:
        """See `Codec.meter`."""
        return EmbedMeter()


class BatchEmbedCodec(EmbedCodec):
    """POST /{version}/models/{model}:batchEmbedContents."""

    verb = "batchEmbedContents"

    def decode(self, body: bytes, memos: Memos) -> Call:
        """See `Codec.decode`."""
        self.check()
        fields = Fields(body, _BATCH, PROTOCOL)
        own_model(fields, self.model)
        requests = _requests(body, fields.members.get("requests", (0, 0)))
        if not 0 < len(requests) <= MAX_MESSAGES:
            raise fields.error("requests", f"must be an array of 1 to {MAX_MESSAGES} items")
        found = [_embedded(Fields(raw, _EMBED, PROTOCOL), memos, self.model) for raw in requests]
        extra = [text for _, texts in found for text in texts] + fields.unknown()
        messages = tuple(message for message, _ in found)
        return Call("embeddings", self.model, body, messages=messages, extra=tuple(extra), members=fields.members)

    def changes(self, call: Call, edit: Edit) -> dict[str, bytes]:
        """See `GeminiCodec.changes`; each request names the model again."""
        found = super().changes(call, edit)
        requests = _requests(call.body, call.members["requests"])
        edited = [_renamed(raw, edit.model) for raw in requests]
        return found if edited == requests else found | {"requests": b"[%b]" % b",".join(edited)}


def _requests(body: bytes, span: tuple[int, int]) -> list[bytes]:
    return jsonio.elements(memoryview(body)[span[0] : span[1]], PROTOCOL, "/requests")


def _renamed(raw: bytes, model: str | None) -> bytes:
    members = jsonio.members(raw, PROTOCOL)
    inner = model_changes(raw, members, model)
    return jsonio.splice(raw, members, inner) if inner else raw


def _embedded(fields: Fields, memos: Memos, model: str) -> tuple[Message, tuple[str, ...]]:
    """Return the content of one request, and the texts that stand beside it."""
    own_model(fields, model)
    raw = fields.raw("content")
    if raw is None:
        raise fields.error("content", "must be a content with `parts`")
    message = memos.messages.get(CONTENT + raw, guarded(parse_content, PROTOCOL, "content"))
    beside = (fields.text("title"), fields.json_text(spelled(fields, "embedContentConfig")))
    return message, (*filter(None, beside), *fields.unknown())


class ShowCodec(GeminiCodec):
    """GET /{version}/models/{model}: what the provider says about one model, which costs nothing."""

    name = "show"

    def decode(self, body: bytes, memos: Memos) -> Call:
        """Return the call; there is no body to read."""
        self.check()
        return Call(operation="show", model=self.model, body=body)

    def meter(self, call: Call) -> Meter:
        """Return a meter that charges nothing."""
        return PlainMeter(free=True)

    def upstream_path(self, call: Call, model: str) -> str:
        """See `Codec.upstream_path`."""
        return f"/{self.version}/models/{segment(model)}"


class ModelsCodec(GeminiCodec, ListCodec):
    """GET /{version}/models."""

    name = "models"

    def decode(self, body: bytes, memos: Memos) -> Call:
        """Return the call; there is no body to read."""
        self.check()
        return Call(operation="models", model="", body=body)

    def meter(self, call: Call) -> Meter:
        """Return a meter that charges nothing."""
        return PlainMeter(free=True)

    def upstream_path(self, call: Call, model: str) -> str:
        """See `Codec.upstream_path`."""
        return f"/{self.version}/models"

    def listing(self, names: Sequence[str]) -> bytes:
        """See `ListCodec.listing`."""
        methods = ["generateContent", "countTokens"]
        return jsonio.dumps(
            {"models": [{"name": f"models/{name}", "displayName": name, "supportedGenerationMethods": methods} for name in names]}
        )

    def filter(self, body: bytes, may_use: Callable[[str], bool]) -> bytes:
        """See `ListCodec.filter`. The token of the next page stays."""
        try:
            members = jsonio.members(body, PROTOCOL)
            start, end = members["models"]
            items = jsonio.elements(body[start:end], PROTOCOL, "/models")
            kept = [raw for raw in items if may_use(_item_decoder.decode(raw).name.removeprefix("models/"))]
        except (WireError, KeyError, *BROKEN):
            return b'{"models":[]}'
        return body if len(kept) == len(items) else jsonio.splice(body, members, {"models": b"[%b]" % b",".join(kept)})

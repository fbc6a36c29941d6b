"""The smaller routes of Ollama: embeddings, the list of models, the words about one, and the server's version.

What downloads, creates, copies or deletes models has no codec, and so is refused.

Source: Ollama API reference, "Generate embeddings", "List models", "Show model details", "Get version"; types of the Python SDK 0.6.3
(2026-11).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence

import msgspec

from proxy.wire import jsonio
from proxy.wire.base import Codec, ListCodec, Memos, Meter, Routes
from proxy.wire.call import Call, Edit, WireError
from proxy.wire.fields import Fields
from proxy.wire.keys import Keys
from proxy.wire.ollama import inner_options, one_model, words
from proxy.wire.ollama_messages import PROTOCOL, aliases, model_of, plain_name
from proxy.wire.ollama_reply import usage_of
from proxy.wire.openai_other import PlainMeter
from proxy.wire.openai_reply import BROKEN, MAX_MODEL

_SHOW_KEYS = Keys({"model", "name", "verbose", "system", "template", "options"})
_EMBED_KEYS = Keys({"model", "name", "input", "prompt", "truncate", "dimensions", "keep_alive", "options"})
_texts_decoder = msgspec.json.Decoder(list[str])


class _Listed(msgspec.Struct):
    model: str = ""
    name: str = ""


class _Counted(msgspec.Struct):
    model: str = ""
    prompt_eval_count: int | None = None


_listed_decoder = msgspec.json.Decoder(_Listed)
_counted_decoder = msgspec.json.Decoder(_Counted)


class ShowCodec(Codec):
    """POST /api/show: the words about one model, which cost nothing. Old clients name it in `name`."""

    protocol = PROTOCOL
    name = "show"

    def decode(self, body: bytes, memos: Memos) -> Call:
        """See `Codec.decode`."""
        fields = Fields(body, _SHOW_KEYS, PROTOCOL)
        key = "model" if fields.raw("model") not in (None, b'""') else "name"
        model = model_of(fields, key)
        if key == "model" and fields.raw("name") not in (None, b'""', fields.raw("model")):
            raise fields.error("name", "names another model than `model`")
        return Call(operation="show", model=model, aliases=aliases(model), body=body, members=fields.members)

    def rewrite(self, call: Call, edit: Edit) -> bytes:
        """See `Codec.rewrite`; only the model can change, under each name that it has."""
        if edit.model is None or edit.model == call.model:
            return call.body
        name = jsonio.dumps(edit.model)
        return jsonio.splice(call.body, call.members, {"model": name} | ({"name": name} if "name" in call.members else {}))

    def meter(self, call: Call) -> Meter:
        """See `Codec.meter`."""
        return PlainMeter(free=True)

    def upstream_path(self, call: Call, model: str) -> str:
        """See `Codec.upstream_path`."""
        return "/api/show"


class EmbedCodec(Codec):
    """POST /api/embed, and /api/embeddings as it was before: the one takes texts in `input`, the other a text in `prompt`.

    Args:
        path: which of them.
    """

    protocol = PROTOCOL
    name = "embed"

    def __init__(self, path: str) -> None:
        self._path = path

    def decode(self, body: bytes, memos: Memos) -> Call:
        """See `Codec.decode`. Whatever stands where the texts should is counted as it stands."""
        fields = Fields(body, _EMBED_KEYS, PROTOCOL)
        model = one_model(fields)
        options = inner_options(fields)
        beside = options.unknown() if options is not None else []
        return Call(
            operation="embeddings",
            model=model,
            aliases=aliases(model),
            body=body,
            extra=(*(text for key in ("input", "prompt") for text in _inputs(fields, key)), *beside, *fields.unknown()),
            members=fields.members,
        )

    def rewrite(self, call: Call, edit: Edit) -> bytes:
        """See `Codec.rewrite`; only the model can change."""
        if edit.model is None or edit.model == call.model:
            return call.body
        return jsonio.splice(call.body, call.members, {"model": jsonio.dumps(edit.model)})

    def meter(self, call: Call) -> Meter:
        """See `Codec.meter`."""
        return EmbedMeter()

    def upstream_path(self, call: Call, model: str) -> str:
        """See `Codec.upstream_path`."""
        return self._path


def _inputs(fields: Fields, key: str) -> list[str]:
    raw = fields.raw(key)
    if raw is None:
        return []
    if raw.startswith(b"["):
        with contextlib.suppress(msgspec.DecodeError):
            return [jsonio.clean(text) for text in _texts_decoder.decode(raw)]
    text = words(fields, key)
    return [text] if text else []


class EmbedMeter(PlainMeter):
    """Reads the counts of an embedding, which stand at the top of the reply; the old route has none."""

    def buffered(self, body: bytes) -> None:
        """See `Meter.buffered`."""
        self.ended = True
        try:
            found = _counted_decoder.decode(body)
        except BROKEN:
            return
        self.model = found.model[:MAX_MODEL]
        self.usage = usage_of(found.prompt_eval_count, None, said=False)


class TagsCodec(ListCodec):
    """GET /api/tags: the models that the server has. A model is shown when the agent may use it by its short name or with its tag."""

    protocol = PROTOCOL
    name = "models"

    def decode(self, body: bytes, memos: Memos) -> Call:
        """Return the call; there is no body to read."""
        return Call(operation="models", model="", body=body)

    def rewrite(self, call: Call, edit: Edit) -> bytes:
        """Return the body as it is."""
        return call.body

    def meter(self, call: Call) -> Meter:
        """Return a meter that charges nothing."""
        return PlainMeter(free=True)

    def upstream_path(self, call: Call, model: str) -> str:
        """See `Codec.upstream_path`."""
        return "/api/tags"

    def listing(self, names: Sequence[str]) -> bytes:
        """See `ListCodec.listing`."""
        return jsonio.dumps({"models": [{"name": name, "model": name, "size": 0, "digest": "", "details": {}} for name in names]})

    def filter(self, body: bytes, may_use: Callable[[str], bool]) -> bytes:
        """See `ListCodec.filter`."""
        try:
            members = jsonio.members(body, PROTOCOL)
            start, end = members["models"]
            items = [(raw, _name(raw)) for raw in jsonio.elements(body[start:end], PROTOCOL, "/models")]
        except (WireError, KeyError, msgspec.DecodeError, UnicodeDecodeError):
            return b'{"models":[]}'
        kept = [raw for raw, name in items if name and (may_use(plain_name(name)) or may_use(name))]
        if len(kept) == len(items):
            return body
        return jsonio.splice(body, members, {"models": b"[%b]" % b",".join(kept)})


def _name(raw: bytes) -> str:
    found = _listed_decoder.decode(raw)
    return found.model or found.name


class VersionCodec(TagsCodec):
    """GET /api/version: which server it is; clients ask to see whether one is there."""

    name = "version"

    def upstream_path(self, call: Call, model: str) -> str:
        """See `Codec.upstream_path`."""
        return "/api/version"

    def listing(self, names: Sequence[str]) -> bytes:
        """Return a version that says that no Ollama server is here."""
        return b'{"version":"0.0.0"}'

    def filter(self, body: bytes, may_use: Callable[[str], bool]) -> bytes:
        """Return `body`: it names no models."""
        return body


ROUTES: Routes = {
    ("POST", "/api/show"): ShowCodec(),
    ("POST", "/api/embed"): EmbedCodec("/api/embed"),
    ("POST", "/api/embeddings"): EmbedCodec("/api/embeddings"),
    ("GET", "/api/tags"): TagsCodec(),
    ("GET", "/api/version"): VersionCodec(),
}

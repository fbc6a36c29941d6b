"""The smaller metered OpenAI routes, embeddings and the list of models; and Anthropic's list of models, which differs in few places.

Source: OpenAI API reference, "Create embeddings" and "List models"; Anthropic API reference, "List Models"; SDK types (2026-11).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from proxy.model import Usage
from proxy.wire import jsonio
from proxy.wire.base import Codec, ListCodec, Memos, Meter, Routes
from proxy.wire.call import Call, Edit, Event, WireError
from proxy.wire.fields import Fields
from proxy.wire.keys import Keys
from proxy.wire.openai_messages import PROTOCOL
from proxy.wire.openai_reply import loose, usage_of

_KEYS = Keys({"input", "model", "dimensions", "encoding_format", "user"})
_texts_decoder = msgspec.json.Decoder(list[str])
_TOKEN_BYTES = b"0123456789[], \t\r\n"


class _Item(msgspec.Struct):
    id: str


_item_decoder = msgspec.json.Decoder(_Item)


class PlainMeter(Meter):
    """Reads replies that generate nothing: usage and model alone. Without usage in the body it stays None unless the route is free."""

    def __init__(self, free: bool = False) -> None:
        super().__init__()
        self.usage = Usage() if free else None
        self._free = free

    def buffered(self, body: bytes) -> None:
        """See `Meter.buffered`."""
        self.ended = True
        if not self._free:
            found = loose(body)
            self.model = found.model if isinstance(found.model, str) else ""
            self.usage = usage_of(found.usage)

    def event(self, raw: bytes) -> Event:
        """Never called for what we asked: these routes do not stream."""
        return Event(raw, "other")


class EmbeddingsCodec(Codec):
    """POST /v1/embeddings. `extra` holds the texts; input that is token ids is counted and not decoded."""

    protocol = PROTOCOL
    name = "embeddings"

    def decode(self, body: bytes, memos: Memos) -> Call:
        """See `Codec.decode`."""
        fields = Fields(body, _KEYS, PROTOCOL)
        texts, tokens = _inputs(fields)
        user = fields.text("user")
        return Call(
            operation="embeddings",
            model=fields.model(),
            body=body,
            extra=(*texts, *fields.unknown()),
            tokens_given=tokens,
            hints={"user": user} if user else {},
            members=fields.members,
        )

    def rewrite(self, call: Call, edit: Edit) -> bytes:
        """See `Codec.rewrite`; only the model can change."""
        if edit.model is None or edit.model == call.model:
            return call.body
        return jsonio.splice(call.body, call.members, {"model": jsonio.dumps(edit.model)})

    def meter(self, call: Call) -> Meter:
        """See `Codec.meter`."""
        return PlainMeter()

    def upstream_path(self, call: Call, model: str) -> str:
        """See `Codec.upstream_path`."""
        return "/embeddings"


def _inputs(fields: Fields) -> tuple[list[str], int]:
    """Return the texts of `input`, and how many token ids stand in it.

    In JSON made of digits, commas and brackets there is at most one number more than there are commas; decoding millions of them to
    count them would cost far more.
    """
    text = fields.text("input")
    if text is not None:
        return [text], 0
    raw = fields.raw("input")
    if raw is None or not raw.startswith(b"["):
        raise fields.error("input", "must be a text, texts, or token ids")
    if not raw.translate(None, _TOKEN_BYTES):
        if not raw.strip(b"[], \t\r\n"):
            raise fields.error("input", "must not be empty")
        return [], raw.count(b",") + 1
    try:
        return [jsonio.clean(item) for item in _texts_decoder.decode(raw)], 0
    except msgspec.DecodeError:
        raise fields.error("input", "must be a text, texts, or token ids") from None


class ModelsCodec(ListCodec):
    """GET /v1/models in the dialect of `protocol`, openai or anthropic."""

    name = "models"

    def __init__(self, protocol: str = PROTOCOL) -> None:
        self.protocol, self.dialect = protocol, f"{protocol}.{self.name}"
        self._path, self._nothing = _DIALECTS[protocol]

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
        return self._path

    def listing(self, names: Sequence[str]) -> bytes:
        """See `ListCodec.listing`."""
        if self.protocol == "anthropic":
            data = [{"type": "model", "id": name, "display_name": name, "created_at": "1970-01-01T00:00:00Z"} for name in names]
            ends = {"first_id": names[0] if names else None, "last_id": names[-1] if names else None}
            return jsonio.dumps({"data": data, "has_more": False, **ends})
        listed = [{"id": name, "object": "model", "created": 0, "owned_by": "fleetgate"} for name in names]
        return jsonio.dumps({"object": "list", "data": listed})

    def filter(self, body: bytes, may_use: Callable[[str], bool]) -> bytes:
        """See `ListCodec.filter`. Anthropic's cursors stay while more pages follow, so that paging goes on; on the last page they name
        what is shown.
        """
        try:
            members = jsonio.members(body, self.protocol)
            start, end = members["data"]
            items = [(raw, _item_decoder.decode(raw).id) for raw in jsonio.elements(body[start:end], self.protocol, "/data")]
        except (WireError, KeyError, msgspec.DecodeError, UnicodeDecodeError):
            return self._nothing
        kept = [(raw, name) for raw, name in items if may_use(name)]
        if len(kept) == len(items):
            return body
        changes = {"data": b"[%b]" % b",".join(raw for raw, _ in kept)}
        more = members.get("has_more", (0, 0))
        if body[more[0] : more[1]] == b"false":
            for key, index in (("first_id", 0), ("last_id", -1)):
                if key in members:
                    changes[key] = jsonio.dumps(kept[index][1] if kept else None)
        return jsonio.splice(body, members, changes)


_DIALECTS = {
    "openai": ("/models", b'{"object":"list","data":[]}'),
    "anthropic": ("/v1/models", b'{"data":[],"has_more":false,"first_id":null,"last_id":null}'),
}
"""Protocol to upstream path and empty list."""

ROUTES: Routes = {("POST", "/v1/embeddings"): EmbeddingsCodec(), ("GET", "/v1/models"): ModelsCodec("openai")}

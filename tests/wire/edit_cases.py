"""What the tests of all editors share."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from proxy.wire.base import Editor, Framing, Meter

GOLDEN = Path(__file__).parent / "golden"


def sse(value: Any) -> bytes:
    """One event as most providers frame it."""
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def data(raw: bytes) -> Any:
    """The JSON of an event."""
    return json.loads(raw[raw.index(b"{") :])


def verdicts(editor: Editor, meter: Meter, refused: Mapping[str, str], arguments: Mapping[str, str] | None = None) -> None:
    """Have the calls that `meter` has read refused by their tool's name, or given other arguments; the others pass."""
    for call in meter.tool_calls:
        if call.name in refused:
            editor.refused[call.place] = refused[call.name]
        else:
            editor.kept.add(call.place)
        if arguments and call.name in arguments:
            editor.arguments[call.place] = arguments[call.name]


def through(editor: Editor, meter: Meter, events: Sequence[bytes], refused: Mapping[str, str], arguments: Any = None) -> list[Any]:
    """What leaves of `events` whose calls are judged when all are read; each event's JSON."""
    for raw in events:
        meter.event(raw)
    assert not meter.odd
    verdicts(editor, meter, refused, arguments)
    return [data(raw) for event in events for raw in editor.edit(event, {})]


def whole(editor: Editor, meter: Meter, value: Any, refused: Mapping[str, str], arguments: Any = None) -> Any:
    """The same for a whole reply."""
    body = json.dumps(value).encode()
    meter.buffered(body)
    assert not meter.odd
    verdicts(editor, meter, refused, arguments)
    return json.loads(editor.whole(body, lambda text: text))


def untouched(editor: Editor, meter: Meter, framing: Framing, name: str) -> None:
    """Check that a golden stream stays as it is, and that its texts are those that the meter reads."""
    stream = (GOLDEN / name).read_bytes()
    texts, seen = "", ""
    for raw in framing.feed(stream):
        event = meter.event(raw)
        pieces = [piece for _, piece in editor.texts(raw) if piece]
        if event.kind == "text":
            seen += event.text
            texts += "".join(pieces)
        assert editor.edit(raw, {}) == [raw]
    assert texts == seen != ""
    assert not meter.odd

"""Events of the Responses protocol, and the meter that reads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from proxy.wire.call import Event
from proxy.wire.openai_responses_reply import ResponsesMeter
from proxy.wire.sse import Splitter

GOLDEN = Path(__file__).parent / "golden"
STREAM = (GOLDEN / "responses_stream.sse").read_bytes()
EVENTS = Splitter().feed(STREAM)


def event(name: str, **members: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), json.dumps({"type": name, **members}).encode())


def run(*events: bytes, keeps: bool = True) -> tuple[ResponsesMeter, list[Event]]:
    meter = ResponsesMeter(keeps)
    return meter, [meter.event(raw) for raw in events]


def message(text: str) -> dict[str, Any]:
    return {"id": "m", "type": "message", "content": [{"type": "output_text", "text": text}]}


WORDS = event("response.output_text.delta", output_index=0, content_index=0, delta="good")


def call_item(arguments: str, id: str = "c1") -> dict[str, Any]:
    return {"type": "function_call", "id": f"fc_{id}", "call_id": id, "name": "f", "arguments": arguments}

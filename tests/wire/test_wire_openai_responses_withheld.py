"""What a cut withheld is not said again by the events that end the stream."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from proxy.model import Deny, Reason
from proxy.wire.openai_responses_reply import ResponsesMeter
from proxy.wire.sse import Splitter, data_of

STREAM = (Path(__file__).parent / "golden" / "responses_stream.sse").read_bytes()
COSTLY = Deny(Reason.BUDGET_EXCEEDED, "The day's budget is spent.", "budgets/main.yaml:3 day", "Wait for tomorrow.")


def cut_at(wanted: str, withheld: bool) -> list[dict[str, Any]]:
    """Return the events that end a stream that is cut at the first event of that type."""
    meter = ResponsesMeter()
    for raw in Splitter().feed(STREAM):
        meter.event(raw)
        if json.loads(data_of(raw))["type"] == wanted:
            break
    meter.withheld = withheld
    return [json.loads(data_of(raw)) for raw in Splitter().feed(meter.cut(COSTLY))]


def said(last: dict[str, Any]) -> str:
    return "".join(part["text"] for item in last["response"]["output"] if item["type"] == "message" for part in item["content"])


def test_a_piece_of_text_that_was_withheld() -> None:
    passed, held = cut_at("response.output_text.delta", False), cut_at("response.output_text.delta", True)
    assert said(passed[-1])
    assert said(held[-1]) == ""
    assert next(e for e in held if e["type"] == "response.output_text.done")["text"] == ""


def test_an_item_that_was_withheld_when_it_became_whole() -> None:
    passed, held = cut_at("response.output_item.done", False), cut_at("response.output_item.done", True)
    assert len(passed[-1]["response"]["output"]) == 1
    assert held[-1]["response"]["output"] == []


def test_an_event_that_says_nothing_takes_nothing_back() -> None:
    assert cut_at("response.in_progress", True) == cut_at("response.in_progress", False)

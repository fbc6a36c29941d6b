"""Streams whose parts come mixed, told in every dialect: what is read back is what was said, however it was cut and ordered."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hub_cases import gathered, mixed, read, streamed
from hypothesis import given
from hypothesis import strategies as st

from proxy.wire.base import Framing
from proxy.wire.jsonarray import Elements
from proxy.wire.ndjson import Lines
from proxy.wire.sse import Splitter
from proxy.wire.translate.bridge import DIALECTS
from proxy.wire.translate.hub import Asked, Failed, Said, Step, Text, Thought, ToolUse

FRAMINGS: dict[str, tuple[str, Callable[[], Framing]]] = {
    "openai.chat": ("", Splitter),
    "anthropic.messages": ("", Splitter),
    "gemini.generate": ("application/json", Elements),
    "ollama.chat": ("", Lines),
    "openai.responses": ("", Splitter),
}


def said(found: Said) -> tuple[str, str, list[ToolUse], str, int]:
    """What a reply says, whatever the order of its kinds of parts: some dialects have one of their own."""
    text = "".join(part.text for part in found.parts if isinstance(part, Text))
    thought = "".join(part.text for part in found.parts if isinstance(part, Thought)).replace("\n\n", "")
    return text, thought, [part for part in found.parts if isinstance(part, ToolUse)], found.stop, found.usage.total


@pytest.mark.parametrize("dialect", list(DIALECTS))
@given(steps=mixed())
def test_what_was_said_is_read_back(dialect: str, steps: list[Step]) -> None:
    framing, cuts = FRAMINGS[dialect]
    asked = Asked("asked", stream=True, framing=framing, include_usage=True, id="9")
    wanted, found = said(gathered(steps)), said(gathered(read(DIALECTS[dialect], streamed(DIALECTS[dialect], asked, steps), cuts())))
    if dialect == "ollama.chat" and wanted[3] == "filter":  # it has no word for that
        wanted = (*wanted[:3], "tool" if wanted[2] else "stop", wanted[4])
    assert found == wanted


@pytest.mark.parametrize("dialect", list(DIALECTS))
@given(steps=mixed(), data=st.data())
def test_a_fault_anywhere_is_the_last_thing_that_is_told(dialect: str, steps: list[Step], data: st.DataObject) -> None:
    framing, cuts = FRAMINGS[dialect]
    steps.insert(data.draw(st.integers(0, len(steps))), Failed("gone"))
    stream = streamed(DIALECTS[dialect], Asked("asked", stream=True, framing=framing, id="9"), steps)
    told = read(DIALECTS[dialect], stream, cuts())
    assert told[-1] == Failed("gone")
    assert told.count(Failed("gone")) == 1

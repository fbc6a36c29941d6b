"""What must hold for every conversation and every reply: nothing is lost on the way there and back but what the rules leave out."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hub_cases import merged
from hypothesis import given, settings
from hypothesis import strategies as st
from translating import CHAT, MESSAGES, bridge

from proxy.model import Usage
from proxy.wire import jsonio
from proxy.wire.sse import Splitter
from proxy.wire.translate.bridge import DIALECTS, steps
from proxy.wire.translate.hub import (
    Asked,
    Began,
    Ended,
    Image,
    Part,
    Said,
    Step,
    Stop,
    Text,
    Thought,
    Tool,
    ToolBegan,
    ToolMore,
    ToolOutput,
    ToolUse,
    Turn,
    Untranslatable,
    Words,
)

letters = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
names = st.from_regex(r"[a-zA-Z0-9_-]{1,12}", fullmatch=True)
texts = st.builds(Text, letters)
images = st.one_of(
    st.builds(Image, st.sampled_from(["image/png", "image/svg+xml"]), st.sampled_from(["AAAA", ""])),
    st.builds(Image, url=st.sampled_from(["https://x.test/a.png", "http://127.0.0.1/b"])),
)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | letters, lambda v: st.lists(v) | st.dictionaries(letters, v), max_leaves=5
)
arguments = st.dictionaries(letters, values, max_size=3).map(lambda value: jsonio.encoded(value).decode())
uses = st.builds(ToolUse, names, names, arguments)
outputs = st.builds(ToolOutput, names, st.just(""), st.lists(texts, max_size=1).map(tuple))
turns = st.one_of(
    st.builds(Turn, st.just("user"), st.lists(texts | images, min_size=1, max_size=3).map(tuple)),
    st.builds(Turn, st.just("user"), st.lists(outputs, min_size=1, max_size=3).map(tuple)),
    st.builds(Turn, st.just("assistant"), st.tuples(st.lists(texts, max_size=2), st.lists(uses, max_size=2)).map(lambda t: (*t[0], *t[1]))),
)
tools = st.builds(
    Tool,
    names,
    st.just("") | letters,
    st.fixed_dictionaries({"type": st.just("object")}, optional={"x": values}),
    st.none() | st.booleans(),
)


@st.composite
def asked(draw: st.DrawFn) -> Asked:
    """A request that both dialects can say in full."""
    offered = draw(st.lists(tools, max_size=2))
    system = draw(st.lists(texts, max_size=2))
    found = Asked("m", [Turn("system", tuple(system)), *draw(st.lists(turns, max_size=4)), Turn("user", (Text("end"),))], offered)
    found.choice = draw(st.sampled_from(["auto", "none", "any", "tool:f"])) if offered else ""
    found.parallel = draw(st.none() | st.booleans()) if offered and found.choice != "none" else None
    found.stream = draw(st.booleans())
    found.max_output = draw(st.integers(1, 10**6))
    found.temperature = draw(st.none() | st.floats(0, 1))
    found.stop = draw(st.lists(names, max_size=2))
    found.schema = draw(st.none() | st.just({"type": "object", "title": "T"}))
    return found


def place(part: Part) -> int:
    return 0 if isinstance(part, ToolOutput) else 2 if isinstance(part, ToolUse) else 1


def settled(asked: Asked) -> Asked:
    """What two requests that mean the same have in common: neighbours of a role are one turn, results stand first and calls last."""
    asked.turns = merged(asked.turns)
    for i, turn in enumerate(asked.turns):
        parts = [ToolOutput(p.id, "", p.parts, p.error) if isinstance(p, ToolOutput) else p for p in turn.parts]
        asked.turns[i] = Turn(turn.role, tuple(sorted(parts, key=place)))
    asked.schema_name = ""
    asked.include_usage = False
    return asked


@pytest.mark.parametrize("dialect", [CHAT, MESSAGES])
@given(asked=asked())
def test_a_request_written_and_read_again_is_the_same(dialect: str, asked: Asked) -> None:
    written = json.loads(jsonio.encoded(DIALECTS[dialect].write_request(asked)))
    again = DIALECTS[dialect].read_request(written, "m", asked.stream)
    assert asked.dropped == again.dropped == []
    assert settled(again) == settled(asked)


@given(asked=asked())
def test_a_request_that_went_through_both_is_the_same(asked: Asked) -> None:
    chat = DIALECTS[CHAT].read_request(json.loads(jsonio.encoded(DIALECTS[CHAT].write_request(asked))), "m", asked.stream)
    message = json.loads(jsonio.encoded(DIALECTS[MESSAGES].write_request(chat)))
    assert settled(DIALECTS[MESSAGES].read_request(message, "m", asked.stream)) == settled(asked)


stops: st.SearchStrategy[Stop] = st.sampled_from(["stop", "length", "tool", "filter"])
usages = st.builds(Usage, st.integers(0, 99), st.integers(20, 99), st.integers(0, 99), st.integers(0, 99), reasoning=st.integers(0, 20))


@st.composite
def said(draw: st.DrawFn) -> Said:
    """A reply as each dialect can say it: a thought, a text, calls, each there or not."""
    parts: list[Text | Thought | ToolUse] = [*draw(st.lists(st.builds(Thought, letters), max_size=1)), *draw(st.lists(texts, max_size=1))]
    calls = draw(st.lists(uses, max_size=3, unique_by=lambda use: use.id))
    stop = draw(stops.filter(lambda stop: stop != "stop")) if calls else draw(stops)
    return Said("7", "m", [*parts, *calls], stop, draw(usages))


@pytest.mark.parametrize("dialect", [CHAT, MESSAGES])
@given(said=said())
def test_a_reply_written_and_read_again_is_the_same(dialect: str, said: Said) -> None:
    written = json.loads(jsonio.encoded(DIALECTS[dialect].write_reply(said, Asked("m"))))
    again = DIALECTS[dialect].read_reply(written)
    again.id = "7"
    assert again == said


@pytest.mark.parametrize("dialect", [CHAT, MESSAGES])
@given(said=said(), data=st.data())
def test_a_stream_written_and_read_again_is_the_same(dialect: str, said: Said, data: st.DataObject) -> None:
    """However the words were cut, whichever calls came at the same time, and however the bytes arrive."""
    writer = DIALECTS[dialect].writer(Asked("m", include_usage=True, stream=True))
    out = b"".join([writer.step(step) for step in shuffled(data, steps(said))]) + writer.end()
    splitter, reader = Splitter(), DIALECTS[dialect].reader()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(out)), max_size=5)))
    pieces = [out[a:b] for a, b in zip([0, *cuts], [*cuts, len(out)], strict=True)]
    found = [step for piece in pieces for raw in splitter.feed(piece) for step in reader.event(raw)]
    assert told(found) == said


def shuffled(data: st.DataObject, whole: list[Step]) -> list[Step]:
    """The same steps, with words and arguments in pieces, and the pieces of the calls in any order that keeps each call's own."""
    plain: list[Step] = []
    calls: list[list[Step]] = []
    for step in whole:
        if isinstance(step, Words):
            plain += [Words(piece, step.thought) for piece in pieced(data, step.text)]
        elif isinstance(step, ToolBegan):
            calls.append([step])
        elif isinstance(step, ToolMore):
            calls[-1] += [ToolMore(step.index, piece) for piece in pieced(data, step.arguments)]
        else:
            plain.append(step)
    last = plain.pop()
    begun = [call.pop(0) for call in calls]
    mixed: list[Step] = []
    while any(calls):
        mixed.append(data.draw(st.sampled_from([call for call in calls if call])).pop(0))
    return [*plain, *begun, *mixed, last]


def pieced(data: st.DataObject, text: str) -> list[str]:
    cut = data.draw(st.integers(0, len(text)))
    return [piece for piece in (text[:cut], text[cut:]) if piece]


def told(found: list[Step]) -> Said:
    """The reply that steps tell."""
    reply = Said("7", "", [], "stop", Usage())
    calls: list[tuple[str, str, list[str]]] = []
    for step in found:
        if isinstance(step, Began):
            reply.model = step.model
        elif isinstance(step, Words):
            kind = Thought if step.thought else Text
            if reply.parts and isinstance(reply.parts[-1], kind):
                reply.parts[-1] = kind(reply.parts[-1].text + step.text)
            else:
                reply.parts.append(kind(step.text))
        elif isinstance(step, ToolBegan):
            assert step.index == len(calls)
            calls.append((step.id, step.name, []))
        elif isinstance(step, ToolMore):
            calls[step.index][2].append(step.arguments)
        elif isinstance(step, Ended):
            reply.stop, reply.usage = step.stop or reply.stop, step.usage or reply.usage
    reply.parts += [ToolUse(id, name, "".join(pieces)) for id, name, pieces in calls]
    return reply


@pytest.mark.parametrize(("source", "target"), [(CHAT, MESSAGES), (MESSAGES, CHAT)])
@given(raw=st.lists(st.binary(max_size=30) | values.map(jsonio.encoded), max_size=4))
@settings(max_examples=50)
def test_no_stream_makes_a_reader_fail(source: str, target: str, raw: list[bytes]) -> None:
    back = bridge(source, target, {"stream": True}).back()
    assert back.event(b"".join(b"data: " + piece + b"\n\n" for piece in raw)) is not None


json_like = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "text", "user", "tool", "f", "function"]),
    lambda v: (
        st.lists(v, max_size=2) | st.dictionaries(st.sampled_from(["type", "text", "function", "name", "content", "source", "url"]), v)
    ),
    max_leaves=6,
)
KEYS = [
    "system",
    "tools",
    "tool_choice",
    "thinking",
    "output_config",
    "response_format",
    "stop",
    "stop_sequences",
    "stream_options",
    "seed",
]


@pytest.mark.parametrize(("source", "target"), [(CHAT, MESSAGES), (MESSAGES, CHAT)])
@given(more=st.dictionaries(st.sampled_from(KEYS), json_like, max_size=3), content=json_like)
def test_no_request_makes_a_reader_fail(source: str, target: str, more: dict[str, Any], content: Any) -> None:
    """Whatever a client writes is carried or refused by name."""
    body = {"messages": [{"role": "user", "content": content}], **more}
    with contextlib.suppress(Untranslatable):
        found = DIALECTS[source].read_request(body, "m", stream=False)
        assert DIALECTS[target].write_request(found)["model"] == "m"

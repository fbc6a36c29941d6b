"""What the tests of dialects share: requests and replies of every kind as the hub has them, and a stream's steps put together again."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from hypothesis import strategies as st

from proxy.model import Deny, Reason, Usage
from proxy.wire.base import Framing
from proxy.wire.translate.bridge import steps
from proxy.wire.translate.calls import Names, tied
from proxy.wire.translate.draft import Draft
from proxy.wire.translate.given import joined, neighbours
from proxy.wire.translate.hub import (
    Asked,
    Began,
    Dialect,
    Ended,
    Image,
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
    Words,
)

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
ANYWHERE = {"type": "object", "properties": {}}
SPENT = Deny(Reason.BUDGET_EXCEEDED, "The budget is spent.")
BLOCKED = Deny(Reason.CONTENT_BLOCKED, "No.", rule="guard")

words = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=30)
names = st.from_regex(r"[a-z_]{1,12}", fullmatch=True)
values = st.recursive(st.none() | st.booleans() | st.integers(-9, 9) | words, lambda inner: st.lists(inner, max_size=3), max_leaves=4)
arguments = st.dictionaries(names, values, max_size=3).map(lambda value: json.dumps(value, separators=(",", ":"), ensure_ascii=False))
schemas = st.sampled_from([CITY, ANYWHERE, {"type": "object", "properties": {"n": {"type": ["integer", "null"]}}}])
images = st.builds(Image, mime=st.just("image/png"), data=st.just(PIXEL))
numbers = st.none() | st.integers(0, 2) | st.floats(0, 2)
whole = st.none() | st.integers(1, 10**6)


@st.composite
def exchanges(draw: st.DrawFn) -> list[Turn]:
    """A call or more with their outputs: the assistant's turn and the user's."""
    number = draw(st.integers(0, 10**6))
    count = draw(st.integers(1, 3))
    uses = [ToolUse(f"call_{number}_{i}", draw(names), draw(arguments)) for i in range(count)]
    said = draw(st.lists(words.map(Text), max_size=1))
    outputs = [ToolOutput(use.id, use.name, (Text(draw(words)),)) for use in uses]
    return [Turn("assistant", (*said, *uses)), Turn("user", tuple(outputs))]


@st.composite
def turns(draw: st.DrawFn, pictures: bool = True) -> list[Turn]:
    """A conversation as every dialect can say it: the system first, the user next and last, roles that take turns, calls answered."""
    found = [Turn("system", (Text(draw(words)),))] if draw(st.booleans()) else []
    shown = st.lists(images, max_size=2) if pictures else st.just([])
    found.append(Turn("user", (Text(draw(words)), *draw(shown))))
    for _ in range(draw(st.integers(0, 2))):
        found += [*draw(exchanges()), Turn("assistant", (Text(draw(words)),)), Turn("user", (Text(draw(words)),))]
    return found


tools = st.lists(st.builds(Tool, names, st.just("") | words, schemas), max_size=3, unique_by=lambda tool: tool.name)


@st.composite
def requests(draw: st.DrawFn) -> Asked:
    """A request that no dialect has to leave anything out of."""
    asked = Asked("some-model", draw(turns()), draw(tools), stream=draw(st.booleans()), max_output=draw(whole))
    asked.temperature, asked.top_p = draw(numbers), draw(numbers)
    asked.json = draw(st.booleans())
    if not asked.json:
        asked.schema = draw(st.none() | schemas)
    return asked


counts = st.integers(0, 10**9)


@st.composite
def usages(draw: st.DrawFn, cached: bool = True, reasoning: bool = True) -> Usage:
    """Tokens of a reply."""
    thought = draw(counts) if reasoning else 0
    return Usage(draw(counts), draw(counts) + thought, draw(counts) if cached else 0, reasoning=thought)


@st.composite
def replies(draw: st.DrawFn, id: str = "", cached: bool = True, reasoning: bool = True) -> Said:
    """A reply in the order that all dialects have: thought, text, calls."""
    parts: list[Text | Thought | ToolUse] = []
    parts += draw(st.lists(words.map(Thought), max_size=1))
    parts += draw(st.lists(words.map(Text), max_size=1))
    parts += [ToolUse(f"call_{i}", draw(names), draw(arguments)) for i in range(draw(st.integers(0, 3)))]
    called = any(isinstance(part, ToolUse) for part in parts)
    stop: Stop = draw(st.sampled_from(["tool" if called else "stop", "length"]))
    return Said(id, draw(names), parts, stop, draw(usages(cached, reasoning)))


def gathered(told: Iterable[Step]) -> Said:
    """Return the reply that the steps of a stream tell."""
    draft = Draft()
    for step in told:
        draft.add(step)
    return Said(draft.id, draft.model, draft.parts(), draft.stop, draft.usage or Usage(exact=False))


def streamed(dialect: Dialect, asked: Asked, told: Iterable[Step]) -> bytes:
    """Return the stream that says `told`."""
    writer = dialect.writer(asked)
    return b"".join([writer.step(step) for step in told]) + writer.end()


def read(dialect: Dialect, stream: bytes, framing: Framing) -> list[Step]:
    """Return the steps of a stream."""
    reader = dialect.reader()
    events = framing.feed(stream)
    rest = framing.rest()
    return [step for event in ([*events, rest] if rest else events) for step in reader.event(event)]


def there_and_back(dialect: Dialect, said: Said, framing: Framing, asked: Asked | None = None) -> Said:
    """Return `said` as it reads after it was streamed."""
    return gathered(read(dialect, streamed(dialect, asked or Asked("asked-model", stream=True), steps(said)), framing))


def request(dialect: Dialect, body: dict[str, Any], model: str = "some-model", stream: bool = False) -> Asked:
    """Return what `body` asks."""
    return dialect.read_request(json.loads(json.dumps(body)), model, stream)


def asked_again(dialect: Dialect, asked: Asked) -> Asked:
    """Return `asked` as it reads after it was written, as writers take it: neighbours of one role are one turn, outputs have names."""
    found = request(dialect, dialect.write_request(asked), asked.model, asked.stream)
    found.turns = merged(tied(found.turns, Names()))
    return found


def merged(turns: Iterable[Turn]) -> list[Turn]:
    """Return `turns` with neighbours of one role made one, without those that say nothing."""
    return [joined(first, rest) for _, first, rest in neighbours(turns)]


@st.composite
def mixed(draw: st.DrawFn) -> list[Step]:
    """The steps of one reply whose words and calls come mixed, in pieces, with usage anywhere; a call's own pieces keep their order."""
    calls = draw(st.lists(st.tuples(names, arguments), max_size=3))
    threads: list[list[Step]] = [[Words(text, draw(st.booleans())) for text in draw(st.lists(words, max_size=4))]]
    for i, (name, text) in enumerate(calls):
        cut = draw(st.integers(0, len(text)))
        threads.append([ToolBegan(i, f"id_{i}", name), ToolMore(i, text[:cut]), ToolMore(i, text[cut:])])
    threads.append([Ended(None, Usage(draw(counts), draw(counts)))])
    owners = draw(st.permutations([i for i, thread in enumerate(threads) for _ in thread]))
    order = [threads[owner].pop(0) for owner in owners]
    return [Began("r1", "m"), *order, Ended(draw(st.sampled_from(["length", "filter", "tool" if calls else "stop"])))]

"""Finds orders in what should be data: tool results and tool definitions that talk to the model instead of to the reader.

Decides by signs with weights (`data/instructions.py`) that add up within a passage, by the form of the text (`anomalies`: characters that
nobody sees, counterfeit turns of a chat, a task in the middle of a table or e-mail, encoded orders). It says that a text tries, not that a
model would obey; an attack in plain, polite words about the matter at hand is not found. No model is asked.

What the user says is the user's order, so in prompts only what no person types is looked for: invisible and tag characters, and the marks
of a chat template.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import ClassVar, NamedTuple

import re2

from proxy.guards.anomalies import VERSION, anomalies, decoded, misplaced, templates, unseen
from proxy.guards.base import Compiled, Hit, Surface, TextGuard, apart
from proxy.guards.data.instructions import SIGNS
from proxy.guards.data.sign import Sign
from proxy.guards.folding import folded, strange

PASSAGE = 600
"""Bytes within which signs add up."""
BEFORE, AFTER = 120, 200
"""Bytes around a stem in which its signs are looked for."""
CROWDED = 20_000
ENOUGH = 1.0


class Found(NamedTuple):
    """A sign and where it stands, in bytes."""

    start: int
    end: int
    id: str
    weight: float


class InjectionGuard(TextGuard):
    """See the module."""

    name: ClassVar[str] = "injection"
    surfaces: ClassVar[frozenset[Surface]] = frozenset({"prompt", "tool_result", "tool_definition"})

    def __init__(self) -> None:
        self.reach = None
        stems = sorted({stem for sign in SIGNS for stem in sign.stems}, key=len, reverse=True)
        self._signs = _by_stem(stems)
        self._stems = re2.compile("|".join(map(re2.escape, stems)))
        self._patterns = Compiled({sign.id: f"(?s){sign.pattern}" for sign in SIGNS})
        self.digest = hashlib.sha256(repr((SIGNS, VERSION, PASSAGE, BEFORE, AFTER)).encode()).hexdigest()[:12]

    def scan(self, text: str, surface: Surface) -> Sequence[Hit]:
        """See `TextGuard.scan`."""
        hits = [*unseen(text), *templates(text)]
        if surface != "prompt":
            hits += self._orders(text)
        return apart(hits)

    def _orders(self, text: str) -> Iterator[Hit]:
        plain, places = folded(text)
        raw = _lower(plain)
        found = [
            (f"injection/{passage.id}", _characters(raw, passage.start), _characters(raw, passage.end), "text that gives the model orders")
            for passage in _passages(list(self._near_stems(raw)))
        ]
        for rule, start, end, detail in [*found, *anomalies(raw)]:
            if places is not None:
                start, end = places[start], places[end - 1] + 1
            yield Hit(rule, start, end, "INSTRUCTION", detail)
        yield from misplaced(text)
        for start, end, inner in decoded(text):
            if any(_passages(list(self._near_stems(_lower(inner))))):
                yield Hit("injection/encoded", start, end, "INSTRUCTION", "encoded text that gives the model orders")

    def _near_stems(self, raw: bytes) -> Iterator[Found]:
        """Find signs near their stems; weak ones are looked for only where enough of them could be together."""
        weak: list[Found] = []
        done: dict[str, int] = {}
        for count, match in enumerate(self._stems.finditer(raw)):
            if count >= CROWDED:
                yield Found(0, 1, "crowded", ENOUGH)
                return
            start, end = match.span()
            for sign in self._signs[raw[start:end]]:
                if sign.weight < ENOUGH:
                    weak.append(Found(start, end, sign.id, sign.weight))
                elif done.get(sign.id, -1) < start and (found := self._look(sign.id, sign.weight, raw, start, end)):
                    done[sign.id] = found.end
                    yield found
        for place in _together(weak):
            if done.get(place.id, -1) < place.start and (found := self._look(place.id, place.weight, raw, place.start, place.end)):
                done[place.id] = found.end
                yield found

    def _look(self, id: str, weight: float, raw: bytes, start: int, end: int) -> Found | None:
        base = max(0, start - BEFORE)
        near = self._patterns[id].search(raw[base : end + AFTER])
        return None if near is None else Found(base + near.start(), base + near.end(), id, weight)


def _by_stem(stems: Sequence[str]) -> dict[bytes, list[Sign]]:
    """Return, for each of `stems`, the signs that may stand where it was found: whose own stem is inside it, or begins in it."""
    whole, begun = defaultdict[str, set[int]](set), defaultdict[str, set[int]](set)
    for number, sign in enumerate(SIGNS):
        for stem in sign.stems:
            whole[stem].add(number)
            for size in range(4, len(stem)):
                begun[stem[:size]].add(number)
    found: dict[bytes, list[Sign]] = {}
    for stem in stems:
        length = len(stem)
        numbers = {n for at in range(length) for end in range(at + 1, length + 1) for n in whole.get(stem[at:end], ())}
        numbers.update(n for at in range(length - 3) for n in begun.get(stem[at:], ()))
        found[stem.encode()] = [SIGNS[number] for number in sorted(numbers)]
    return found


def _together(places: list[Found]) -> Iterator[Found]:
    """Yield those of `places`, in order, that have others near them which together could be enough."""
    first, given = 0, 0
    for i, last in enumerate(places):
        while last.start - places[first].start > PASSAGE:
            first += 1
        near = places[first : i + 1]
        if sum({place.id: place.weight for place in near}.values()) >= ENOUGH:
            yield from places[max(first, given) : i + 1]
            given = i + 1


def _passages(found: list[Found]) -> Iterator[Found]:
    """Yield the passages whose signs are enough: from the first sign to the last, named by the heaviest."""
    found.sort()
    first, free = 0, 0
    for i, last in enumerate(found):
        while last.start - found[first].start > PASSAGE:
            first += 1
        signs = {sign.id: sign for sign in found[max(first, free) : i + 1]}
        if sum(sign.weight for sign in signs.values()) >= ENOUGH:
            heaviest = max(signs.values(), key=lambda sign: sign.weight)
            free = i + 1
            yield Found(min(s.start for s in signs.values()), max(s.end for s in signs.values()), heaviest.id, heaviest.weight)


def _lower(text: str) -> bytes:
    """Return `text` in small letters, as bytes; as many characters as before."""
    if any(len(c.lower()) != 1 or c != c.lower() for c in set(strange(text))):
        return "".join([c.lower() if len(c.lower()) == 1 else c for c in text]).encode("utf-8", "replace")
    return text.encode("utf-8", "replace").lower()


def _characters(raw: bytes, count: int) -> int:
    """Return how many characters the first `count` bytes are."""
    return count if raw.isascii() else len(raw[:count].decode("utf-8", "ignore"))

"""What a client says of its own task, and what that moves: `x-fleetgate-task` is one word of a closed list.

A hint shifts the difficulty by a fixed amount and no further; what rules forbid stays forbidden whatever it says, and where it lies the
client harms itself. Words in the prompt that ask for an easy route count for nothing: what is asked is judged without them too, and the
harder judgement holds. Pure.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Iterator

TASK_HEADER = "x-fleetgate-task"
TASKS = {
    "classification": -0.15,
    "validation": -0.15,
    "formatting": -0.15,
    "extraction": -0.12,
    "translation": -0.10,
    "summary": -0.10,
    "question": 0.0,
    "writing": 0.05,
    "code": 0.15,
    "mathematics": 0.15,
    "planning": 0.20,
    "reasoning": 0.20,
}
"""How much harder a task of this kind is than its words look."""

_BEGS = re.compile(
    r"\b(?:(?:this|it|that|the (?:task|question|request|problem|prompt))(?: is|'s| should be)(?: an?)?"
    r"(?: (?:very|really|super|extremely|pretty|quite|rather|so|just|all))* (?:simple|easy|trivial|straightforward|basic)"
    r"|(?:local|small|smaller|cheap|cheaper|cheapest|weaker)(?: local)? model|difficulty(?: score)?(?: is|:| =|=) ?\d|score this as"
    r"|route this|no reasoning (?:is )?(?:needed|required)|low difficulty)\b",
    re.IGNORECASE,
)
_SIGNS = ("simple", "easy", "trivial", "straightforward", "basic", " model", "difficulty", "score this", "route this", "no reasoning")
_WORDS = ("simple", "easy", "trivial", "straightforward", "basic", "model", "difficulty", "score", "route", "reasoning")
"""The words of `_SIGNS`: without any of them there is nothing to look for."""
_BEFORE, _STRIDE, _BEHIND = 96, 32, 96
"""Characters before such a sign and behind it in which the words stand that it belongs to, and how many of its kind one look is for."""
_END = re.compile(r"[.!?\n]")
MOST = 8192
"""Characters of a prompt, half of them at its start and half at its end, in which such words are looked for: more than are judged."""


def shift(task: str, score: float) -> float:
    """Return `score` as a hint of `task`, a word of `TASKS`, leaves it."""
    return min(1.0, max(0.0, score + TASKS[task]))


def may_beg(words: Collection[str]) -> bool:
    """Return whether a prompt with these words, in lower case, may ask for an easy route."""
    return any(word in words for word in _WORDS)


def unbegged(text: str) -> str | None:
    """Return `text` without the sentences that ask for an easy route, None where it has none."""
    if len(text) <= MOST:
        return _without(text)
    head, tail = _without(text[: MOST // 2]), _without(text[-MOST // 2 :])
    if head is None and tail is None:
        return None
    kept = text[MOST // 2 : -MOST // 2]
    return (text[: MOST // 2] if head is None else head) + kept + (text[-MOST // 2 :] if tail is None else tail)


def _without(text: str) -> str | None:
    low = text.lower()
    if len(low) != len(text):  # a letter that has two in lower case
        low = text
    spans = [span for sign in _SIGNS for span in _around(low, sign)]
    if not spans:
        return None
    ends = [0, *[found.end() for found in _END.finditer(text)], len(text)]
    kept = [text[a:b] for a, b in itertools.pairwise(ends) if not any(a <= start < b for start, _ in spans)]
    return "".join(kept)


def _around(text: str, sign: str) -> Iterator[tuple[int, int]]:
    """Yield where such words stand around each `sign` in `text`: the pattern alone takes ten times as long over all of it."""
    at = text.find(sign)
    while at >= 0:
        begin, end = max(0, at - _BEFORE), at + _STRIDE + _BEHIND
        for found in _BEGS.finditer(text, begin, end):
            yield found.span()
        at = text.find(sign, at + _STRIDE)

"""How much each step that was done before counts towards a loop, and how much makes one.

A step is done *again* when an earlier one made the same call, or nearly the same, and the same came of it. The same call with another
answer is progress, whatever the call: so polls go on. How much one such step counts depends on how alike the calls are and on what kind of
answer it is; the weights are data (`weights.json`), fitted to traces of real agents, and docs/loops.md says how. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import NamedTuple

from proxy.loops.facts import ANSWER, DONE, EMPTY, ERROR, KINDS, Text, alike
from proxy.loops.steps import Step

EXACT, SHAPE, NEAR = "exact", "shape", "near"
"""How alike two calls are: equal; equal but for numbers and ids; of the same tools and in similar words."""
NEAR_AT, SAME_AT = 0.76, 0.84
"""From when on calls are near, and answers and words the same (`facts.alike`)."""

WORDY = 32
"""Shingles that words must have for it to mean something that they come again."""


class Weights(NamedTuple):
    """What `weights.json` says.

    Attributes:
        again: by how alike the calls are and the kind of the answer. alike: factor where an error is only much the same.
        reworded: factor where calls are only near and the agent says something else each time: it works through a list.
        at_once: more for a step that does the one before it exactly again. words: more where its words are the same too.
        despite: more where the one before failed and the agent said something before it did the same: that was no blind retry.
        weak: what steps can count together that are only near and no errors. warn, nudge, block: what makes each level.
    """

    again: Mapping[str, tuple[float, ...]]
    alike: float
    reworded: float
    at_once: float
    words: float
    despite: float
    weak: float
    warn: float
    nudge: float
    block: float


class Again(NamedTuple):
    """A step that was done before: how alike the calls are, what kind of answer came, how many steps ago, and how much that counts."""

    how: str
    kind: int
    lag: int
    weight: float


def load(text: str) -> Weights:
    """Return the weights that a JSON text holds."""
    given = json.loads(text)
    again = {how: tuple([float(kinds[name]) for name in KINDS]) for how, kinds in given["again"].items()}
    return Weights(again, *[float(given[name]) for name in Weights._fields[1:]])


WEIGHTS = load(files("proxy.loops").joinpath("weights.json").read_text("utf-8"))


def again(known: Sequence[Step], at: int, reach: int, weights: Weights = WEIGHTS) -> Again | None:
    """Return how the step `at` of `known`, the newest first, was done before within `reach` steps; None where it was not."""
    step = known[at]
    key, tools, shape, answers = step.key, step.tools, step.shape, step.answers
    best: Again | None = None
    for place in range(at + 1, min(at + 1 + reach, len(known))):
        old = known[place]
        if old.key != key and old.tools != tools and (old.shape != shape or step.call.long):
            continue  # neither exact, nor of one shape, nor near; what follows makes texts be read
        equal = old.answers == answers or not answers or not old.answers or (old.result.digest == step.result.digest != b"")
        if not equal and not _loosely(step, old):
            continue
        if old.key == key:
            if equal:
                return Again(EXACT, step.result.kind, place - at, _exact(step, old, place - at, weights))
            if not step.call.long:
                continue
        found = _near(step, old, place - at, weights, equal)
        if found is not None and (best is None or found.weight > best.weight):
            best = found
    return best


def _loosely(step: Step, old: Step) -> bool:
    """Return whether the answers of two steps need not be equal: both are errors, or the call is long."""
    return old.tools == step.tools and (step.call.long or (old.result.kind == ERROR and step.result.kind == ERROR))


def _exact(step: Step, old: Step, lag: int, weights: Weights) -> float:
    weight = weights.again[EXACT][step.result.kind]
    if step.result.kind == DONE:
        return weight
    if lag == 1:
        weight += weights.at_once
        if step.result.kind == ERROR and step.said.bits >= WORDY:
            weight += weights.despite
    return weight + weights.words if step.said.bits >= WORDY and alike_texts(step.said, old.said) else weight


def _near(step: Step, old: Step, lag: int, weights: Weights, equal: bool) -> Again | None:
    """Return how `step` does nearly what `old` did, with the same answer (`equal`) or, of errors and long calls, much the same."""
    how = SHAPE if old.shape == step.shape and not step.call.long else NEAR
    kind = step.result.kind
    weight = weights.again[how][kind]
    if not weight:
        return None
    if how is NEAR and (old.tools != step.tools or alike(old.call, step.call) < NEAR_AT):
        return None
    if not equal:
        if how is SHAPE or alike(old.result, step.result) < SAME_AT:
            return None  # other numbers asked for, other numbers came: so goes a list, or a poll that counts
        weight *= weights.alike
    if kind in (ANSWER, DONE) and step.said.digest and not alike_texts(step.said, old.said):
        weight *= weights.reworded
    return Again(how, kind, lag, weight)


def alike_texts(a: Text, b: Text) -> bool:
    """Return whether two texts say the same."""
    return alike(a, b) >= SAME_AT


def total(run: Sequence[Again], weights: Weights = WEIGHTS) -> float:
    """Return how much a run of steps counts together."""
    retry = len(run) == 1 and run[0].how is EXACT and run[0].kind == ERROR and run[0].weight < weights.warn
    weak = strong = 0.0
    for n, one in enumerate(run):
        if one.kind != ERROR and (one.how is not EXACT or any(map(_moved, run[n + 1 : n + one.lag]))):
            weak += one.weight
        else:
            strong += one.weight
    return min(weak, weights.weak) + (0.0 if retry else strong)


def _moved(one: Again) -> bool:
    """Return whether a step may have changed something, so that to do again what was done before it (run the tests) is no repeat."""
    return one.how is not EXACT and one.kind in (EMPTY, DONE)

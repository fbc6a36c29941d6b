"""What was learned of difficulty: weights for the numbers and words of a message, kept as data beside this file.

`scripts/train_difficulty.py` makes `difficulty.json` from prompts that a strong and a weak model both answered and were marked on: the
score is how much a prompt of its kind stands to gain from the strong model, as a share from 0 to 1. The file names the rows that it was
made from, their licences, the seed and how well it did on rows that it had not seen. Pure once the file is read; a file that does not fit
these features is a fault at start, never a wrong score.
"""

from __future__ import annotations

import bisect
import functools
import itertools
import math
from dataclasses import dataclass
from pathlib import Path

import msgspec

from proxy.routing.features import KINDS, NUMBERS, Kind, Seen

FILE = Path(__file__).with_name("difficulty.json")
_FAR = 3.0
"""Numbers further from their mean than this many deviations count as this far: one odd message is no argument."""
PAIRED = 256
"""Tokens at the start of a message whose neighbours count: there the task is stated, and more would cost more than they tell."""

Scale = tuple[float, float, float]
"""Of a number: mean, deviation, and what one deviation more adds."""
Split = tuple[int, float, "Branch", "Branch", float, float]
"""Which number is asked, where it divides, the branches up to there and above, and what either adds."""
Branch = Split | None


class Written(msgspec.Struct):
    """The weights as the file has them.

    Attributes:
        terms: word or pair of neighbouring words to (how rare it is, its weight).
        numbers: by kind of message, the scale of each number; empty for kinds of which too little is known.
        prior: by kind, the scales of numbers by name: what is known without learning.
        trees: by kind, trees of decisions on numbers. A tree lists its nodes, the root first: [number, threshold, node up to it, node above
            it, value], and [-1, 0, 0, 0, value] for a leaf.
        steps: by kind, the raw scores below which each hundredth of its rows lay, in rising order.
        level: by kind, (score of its easiest, score of its hardest).
    """

    terms: dict[str, tuple[float, float]]
    numbers: dict[Kind, tuple[Scale, ...]]
    prior: dict[Kind, dict[str, Scale]]
    trees: dict[Kind, list[list[tuple[int, float, int, int, float]]]]
    steps: dict[Kind, tuple[float, ...]]
    level: dict[Kind, tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Weights:
    """The weights in the form that scoring reads fast: see `Written`.

    Attributes:
        gains, squares: of a word, or of two neighbours: how rare it is, times its weight and times itself.
        base: by kind, what its trees say before they ask anything.
    """

    gains: dict[object, float]
    squares: dict[object, float]
    numbers: dict[Kind, tuple[tuple[int, Scale], ...]]
    trees: dict[Kind, tuple[Branch, ...]]
    base: dict[Kind, float]
    steps: dict[Kind, tuple[float, ...]]
    level: dict[Kind, tuple[float, float]]


class WeightsError(Exception):
    """The file of weights does not fit this version."""


class _Document(msgspec.Struct):
    """The file as it is written: the weights, and under `about` where they come from."""

    about: dict[str, object]
    weights: Written


def read(path: Path = FILE) -> Weights:
    """Return the weights in the file at `path`.

    Raises:
        WeightsError: it cannot be read, or was made for other features.
    """
    try:
        return compiled(msgspec.json.decode(path.read_bytes(), type=_Document).weights)
    except (OSError, msgspec.DecodeError) as e:
        raise WeightsError(f"{path.name}: {e}") from None
    except (ValueError, LookupError):
        raise WeightsError(f"{path.name}: made for other features than these; run scripts/train_difficulty.py") from None


def compiled(written: Written) -> Weights:
    """Return `written` in the form that scoring reads.

    Raises:
        ValueError, LookupError: it was made for other features.
    """
    by_kind = (written.numbers, written.prior, written.trees, written.steps, written.level)
    if any(set(part) != set(KINDS) for part in by_kind) or any(row and len(row) != len(NUMBERS) for row in written.numbers.values()):
        raise ValueError("other kinds or numbers")
    if any(len(steps) < 2 for steps in written.steps.values()):
        raise ValueError("no steps")
    terms = {tuple(term.split(" ")) if " " in term else term: known for term, known in written.terms.items()}
    return Weights(
        {term: rare * weight for term, (rare, weight) in terms.items()},
        {term: rare * rare for term, (rare, _) in terms.items()},
        {
            kind: (*enumerate(written.numbers[kind]), *[(NUMBERS.index(name), scale) for name, scale in written.prior[kind].items()])
            for kind in KINDS
        },
        {kind: tuple([_branch(tree, 0) for tree in trees]) for kind, trees in written.trees.items()},
        {kind: sum([tree[0][4] for tree in trees]) for kind, trees in written.trees.items()},
        written.steps,
        written.level,
    )


def _branch(tree: list[tuple[int, float, int, int, float]], at: int) -> Branch:
    number, threshold, low, high, value = tree[at]
    if number < 0:
        return None
    if not at < low < len(tree) or not at < high < len(tree) or number >= len(NUMBERS):
        raise ValueError("not a tree of these numbers")
    return number, threshold, _branch(tree, low), _branch(tree, high), tree[low][4] - value, tree[high][4] - value


@functools.cache
def weights() -> Weights:
    """Return the weights that ship, read once."""
    return read()


def parts(seen: Seen, known: Weights) -> tuple[float, list[float]]:
    """Return what the words and each number add to the raw score of `seen`."""
    values, said = seen.numbers, [0.0] * len(NUMBERS)
    for at, (mean, deviation, weight) in known.numbers[seen.kind]:
        said[at] += min(_FAR, max(-_FAR, (values[at] - mean) / deviation)) * weight
    for branch in known.trees[seen.kind]:
        while branch is not None:
            at, threshold, low, high, less, more = branch
            if values[at] <= threshold:
                said[at] += less
                branch = low
            else:
                said[at] += more
                branch = high
    return _worded(seen, known), said


def _worded(seen: Seen, known: Weights) -> float:
    """Return what the words of `seen` and their neighbours add: the mean weight of those that are known, the rare ones first."""
    gains = known.gains
    found: list[object] = [*filter(gains.__contains__, seen.counts)]
    found += dict.fromkeys(filter(gains.__contains__, itertools.pairwise(seen.tokens[:PAIRED])))
    if not found:
        return 0.0
    return sum(map(gains.__getitem__, found)) / math.sqrt(sum(map(known.squares.__getitem__, found)))


def raw(seen: Seen, known: Weights) -> float:
    """Return the raw score of `seen`: only its order among messages of its kind means something."""
    words, numbers = parts(seen, known)
    return words + sum(numbers) + known.base[seen.kind]


def share(value: float, kind: Kind, known: Weights) -> float:
    """Return the raw score `value` of a message of `kind` as a share from 0 to 1."""
    steps = known.steps[kind]
    at = bisect.bisect_left(steps, value)
    low, high = steps[max(0, at - 1)], steps[min(at, len(steps) - 1)]
    inside = (value - low) / (high - low) if high > low else 0.0
    place = (max(0, at - 1) + min(1.0, max(0.0, inside))) / (len(steps) - 1)
    least, most = known.level[kind]
    return least + (most - least) * min(1.0, max(0.0, place))

"""What was learned of difficulty: weights for the numbers and words of a message, kept as data beside this file.

`scripts/train_difficulty.py` makes `difficulty.json` from prompts that a strong and a weak model both answered and were marked on: the
score is how much a prompt of its kind stands to gain from the strong model, as a share from 0 to 1. The file names the rows that it was
made from, their licences, the seed and how well it did on rows that it had not seen. Pure once the file is read; a file that does not fit
these features is a fault at start, never a wrong score.
"""

from __future__ import annotations

import bisect
import functools
import math
from dataclasses import dataclass
from pathlib import Path

import msgspec

from proxy.routing.features import KINDS, NUMBERS, Kind, Seen

FILE = Path(__file__).with_name("difficulty.json")
_FAR = 3.0
"""Numbers further from their mean than this many deviations count as this far: one odd message is no argument."""


class WeightsError(Exception):
    """The file of weights does not fit this version."""


@dataclass(frozen=True, slots=True)
class Weights:
    """The file.

    Attributes:
        terms: word or pair of words to (how rare it is, its weight).
        mean, deviation: of each number over the rows.
        numbers: weight of each number, by kind of message.
        length: by kind, (mean, deviation, weight) of the length's logarithm: what is known without learning.
        steps: by kind, the scores below which each hundredth of its rows lay, in rising order.
        level: by kind, (score of its easiest, score of its hardest).
    """

    terms: dict[str, tuple[float, float]]
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    numbers: dict[Kind, tuple[float, ...]]
    length: dict[Kind, tuple[float, float, float]]
    steps: dict[Kind, tuple[float, ...]]
    level: dict[Kind, tuple[float, float]]


class _Document(msgspec.Struct):
    """The file as it is written: the weights, and under `about` where they come from."""

    about: dict[str, object]
    weights: Weights


def read(path: Path = FILE) -> Weights:
    """Return the weights in the file at `path`.

    Raises:
        WeightsError: it cannot be read, or was made for other features.
    """
    try:
        found = msgspec.json.decode(path.read_bytes(), type=_Document).weights
    except (OSError, msgspec.DecodeError) as e:
        raise WeightsError(f"{path.name}: {e}") from None
    rows = (found.mean, found.deviation, *found.numbers.values())
    if any(len(row) != len(NUMBERS) for row in rows) or any(set(part) != set(KINDS) for part in (found.numbers, found.length, found.steps)):
        raise WeightsError(f"{path.name}: made for other features than these; run scripts/train_difficulty.py")
    return found


@functools.cache
def weights() -> Weights:
    """Return the weights that ship, read once."""
    return read()


def parts(seen: Seen, known: Weights) -> tuple[float, list[float], float]:
    """Return what the words, each number and the length add to the raw score of `seen`."""
    terms, log = known.terms, math.log
    words = square = 0.0
    for term in filter(terms.__contains__, seen.terms):
        (rare, weight), count = terms[term], seen.terms[term]
        value = rare if count == 1 else rare * (1.0 + log(count))
        square += value * value
        words += value * weight
    if square:
        words /= math.sqrt(square)
    rows = zip(seen.numbers, known.mean, known.deviation, known.numbers[seen.kind], strict=True)
    numbers = [min(_FAR, max(-_FAR, (number - mean) / deviation)) * weight for number, mean, deviation, weight in rows]
    mean, deviation, weight = known.length[seen.kind]
    return words, numbers, weight * min(2.0, max(-2.0, (math.log1p(seen.chars) - mean) / deviation))


def raw(seen: Seen, known: Weights) -> float:
    """Return the raw score of `seen`: only its order among messages of its kind means something."""
    words, numbers, length = parts(seen, known)
    return words + sum(numbers) + length


def share(value: float, kind: Kind, known: Weights) -> float:
    """Return the raw score `value` of a message of `kind` as a share from 0 to 1."""
    steps = known.steps[kind]
    at = bisect.bisect_left(steps, value)
    low, high = steps[max(0, at - 1)], steps[min(at, len(steps) - 1)]
    inside = (value - low) / (high - low) if high > low else 0.0
    place = (max(0, at - 1) + min(1.0, max(0.0, inside))) / (len(steps) - 1)
    least, most = known.level[kind]
    return least + (most - least) * min(1.0, max(0.0, place))

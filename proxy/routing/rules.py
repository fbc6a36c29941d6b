"""How hard a request is, as a number that a person can check, and which model it is therefore sent to.

The score joins independent hints: each is a chance that the request needs the stronger model, and the score is the chance that at least
one of them is right. Weights are set by hand. It knows words and shapes, not meaning: a short question can be hard, and a long one easy.
Pure.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from proxy.routing.features import Features, features, last_user_text
from proxy.wire.call import Call

MAX_TURNS_LOCAL = 6
"""User turns up to which a conversation may go to the simple model: longer ones depend on what was said before."""


@dataclass(frozen=True, slots=True)
class Difficulty:
    """A score from 0 (simple) to 1 (hard), and up to three reasons, heaviest first."""

    score: float
    reasons: tuple[str, ...]


def difficulty(call: Call) -> Difficulty | None:
    """Return how hard `call` looks, or None when its last message is not a user's turn with text."""
    text = last_user_text(call)
    return None if text is None else judge(features(call, text))


def judge(seen: Features) -> Difficulty:
    """Return the difficulty that the features speak for."""
    hints = [(weight, why) for weight, why in _hints(seen) if weight > 0.02]
    easy = 1.0
    for weight, _ in hints:
        easy *= 1.0 - weight
    score = 1.0 - easy
    hints.sort(reverse=True)
    reasons = [why for _, why in hints[:3]]
    if seen.easy and not seen.hard and not seen.fenced:
        score *= 0.7
        reasons = ["asks for a routine job", *reasons[:2]]
    return Difficulty(min(1.0, max(0.0, score)), tuple(reasons) or ("short and plain",))


def _hints(seen: Features) -> tuple[tuple[float, str], ...]:
    return (
        (0.70 * min(1.0, math.log2(1 + seen.chars / 150) / 5.0), "long"),
        (0.20 * min(1.0, seen.hard / 3), "words of reasoning"),
        (0.30 * min(1.0, (seen.maths + seen.digits * 0.5) / 30), "mathematics"),
        (0.12 * min(1.0, seen.amounts / 5) * (seen.digits >= 2), "amounts to work out"),
        (0.25 if seen.fenced else 0.20 * min(1.0, seen.code / 5), "code"),
        (0.12 * min(1.0, max(0, seen.questions - 1) / 3), "several questions"),
        (0.15 * min(1.0, seen.steps / 8), "several parts"),
        (0.25 * min(1.0, max(0, seen.turns - 1) / 6), "a long conversation"),
        (0.30 if seen.tools else 0.0, "tools to choose from"),
        (0.25 if seen.results else 0.0, "results of tools to weigh"),
        (0.30 if seen.media else 0.0, "images or files"),
        (0.20 * min(1.0, math.log2(1 + seen.context_bytes / 16384) / 5), "much context"),
    )


def simple(call: Call, score: float, threshold: float) -> bool:
    """Tell if `call` may go to the simple model: an easy, plain question early in a conversation."""
    if score >= threshold or call.tools.specs or call.operation != "chat":
        return False
    turns = 0
    for message in call.messages:
        if message.media or message.tool_calls or message.tool_results:
            return False
        turns += message.role == "user"
    return turns <= MAX_TURNS_LOCAL

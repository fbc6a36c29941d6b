"""How hard a request is, as a number that a person can check, and which model it is therefore sent to.

What the message says is judged by learned weights (`proxy.routing.learned`): the share of messages of its kind that gain less from the
stronger model. What stands around it (tools, turns, images, much context) can only make it harder: each such hint is a chance that the
request needs the stronger model, and the score is the chance that at least one of them is right. A routine job that is named at the start
(translate, classify, extract) makes it easier, and so does being too short to say much. It knows words and shapes, not meaning: a short
question can be hard, and a long one easy. Pure.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from proxy.routing.features import HEAD, NUMBERS, TAIL, Seen, last_user_text, look
from proxy.routing.hints import may_beg, unbegged
from proxy.routing.learned import Weights, parts, share, weights
from proxy.wire.call import Call

MAX_TURNS_LOCAL = 6
"""User turns up to which a conversation may go to the simple model: longer ones depend on what was said before."""
_ROUTINE = re.compile(
    r"\b(classif|categori[sz]|label\b|sentiment|translat|extract|summari[sz]|rewrite|rephrase|paraphrase|proofread|format\b|convert|spell"
    r"|klassifizier|übersetz|fasse|traduc|traduis|traduire|résume|resume\b)"
)
_REASON = re.compile(
    r"\b(prove|proof|derive|explain why|analy[sz]e|compare|critique|evaluate|justify|design|architect|implement|refactor|optimi[sz]e|debug"
    r"|deadlock|trade-?offs?|diagnose|investigate|beweise|erkläre|begründe|analysiere|demuestra|analiza|prouve|démontre)\b"
)
_SHORT = 12
"""Words from which on a plain message says what it wants."""


@dataclass(frozen=True, slots=True)
class Difficulty:
    """A score from 0 (simple) to 1 (hard), and up to three reasons, heaviest first."""

    score: float
    reasons: tuple[str, ...]


def difficulty(call: Call) -> Difficulty | None:
    """Return how hard `call` looks, or None when its last message is not a user's turn with text."""
    text = last_user_text(call)
    if text is None:
        return None
    seen = look(call, text)
    found = judge(seen, weights())
    plain = unbegged(text) if len(text) > HEAD + TAIL or may_beg(seen.counts) else None
    if plain is None:
        return found
    honest = judge(look(call, plain), weights())
    return max(found, honest, key=lambda one: one.score)


def judge(seen: Seen, known: Weights) -> Difficulty:
    """Return the difficulty that what is seen speaks for."""
    words, numbers = parts(seen, known)
    said = share(words + sum(numbers) + known.base[seen.kind], seen.kind, known)
    heaviest = sorted([*zip(map(abs, numbers), NUMBERS, numbers, strict=True), (abs(words), "its wording", words)], reverse=True)[:3]
    reasons = [(weight, f"{name} ({'+' if signed > 0 else '-'})") for weight, name, signed in heaviest]
    if seen.kind == "other":
        said, why = _plain(seen, said)
        reasons += [(1.0, one) for one in why]
    easy = 1.0 - said
    for weight, why_harder in _around(seen):
        if weight > 0.02:
            easy *= 1.0 - weight
            reasons.append((weight, why_harder))
    reasons.sort(key=lambda reason: -reason[0])
    return Difficulty(1.0 - easy, tuple([why for _, why in reasons[:3]]))


def _plain(seen: Seen, said: float) -> tuple[float, list[str]]:
    """Return the score of a message without a form of its own, of which benchmarks teach little, and why."""
    why: list[str] = []
    reasons = _REASON.search(seen.start) is not None
    if seen.words < _SHORT and seen.chars < 8 * _SHORT and not reasons:
        said *= (1 + seen.words) / (1 + _SHORT)
        why.append("short and plain")
    if reasons:
        return 1.0 - (1.0 - said) * 0.7, ["asks for reasoning"]
    if _ROUTINE.search(seen.start):
        return said * 0.5, [*why, "asks for a routine job"]
    return said, why


def _around(seen: Seen) -> tuple[tuple[float, str], ...]:
    return (
        (0.25 * min(1.0, max(0, seen.turns - 1) / 6), "a long conversation"),
        (0.30 if seen.tools else 0.0, "tools to choose from"),
        (0.25 if seen.results else 0.0, "results of tools to weigh"),
        (0.30 if seen.media else 0.0, "images or files"),
        (0.20 * min(1.0, math.log2(1 + seen.context_bytes / 16384) / 5), "much context"),
    )


def early(call: Call) -> bool:
    """Tell if `call` stands early in a conversation: later turns depend on what was said before."""
    turns = 0
    for message in reversed(call.messages):
        turns += message.role == "user" and not message.tool_results
        if turns > MAX_TURNS_LOCAL:
            return False
    return True

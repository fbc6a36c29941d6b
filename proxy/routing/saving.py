"""Whether moving a conversation to another model pays: what this turn saves there against what the next one loses here.

A provider keeps the prompt of a turn for some minutes and sells it again at a fraction of its price. A turn that goes elsewhere is not
kept, and what was kept may be gone when the conversation comes back: then all of it is read at the full price once more. So a turn moves
when it saves more than that. Estimates of tokens, exact prices; pure.
"""

from __future__ import annotations

from dataclasses import dataclass

from proxy.model import Nanos, Price, Usage
from proxy.money import cost

LEAST_CACHED = 1024
"""Tokens of a prompt below which providers keep nothing. Source: OpenAI and Anthropic, "Prompt caching" (minimum cacheable length)."""
KEPT_S, KEPT_LONG_S = 300.0, 3600.0
"""How long they keep the rest: five minutes from the last use, an hour where that was paid for. Source: as above."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn, in tokens: all of its prompt, what of that the provider has kept, and the answer as it is expected."""

    prompt: int
    kept: int
    answer: int


def gain(turn: Turn, here: Price, there: Price) -> Nanos:
    """Return what `turn` costs less `there` (nothing kept) than `here`, where the kept part is read at the price of cached tokens."""
    kept = min(turn.kept, turn.prompt)
    stay = cost(Usage(input=turn.prompt - kept, cache_read=kept, output=turn.answer), here)
    return Nanos(stay - cost(Usage(input=turn.prompt, output=turn.answer), there))


def loss(turn: Turn, here: Price) -> Nanos:
    """Return how much more the next turn costs `here` when the kept part has to be read, and kept, anew."""
    kept = min(turn.kept, turn.prompt)
    again = cost(Usage(cache_write=kept), here)
    return Nanos(max(0, again - cost(Usage(cache_read=kept), here)))


def pays(turn: Turn, here: Price, there: Price) -> bool:
    """Tell if `turn` should go `there`: with nothing kept there is nothing to lose."""
    return not min(turn.kept, turn.prompt) or gain(turn, here, there) > loss(turn, here)


def kept_of(usage: Usage, protocol: str, age_s: float, price: Price) -> int:
    """Return how many tokens the provider still keeps of a conversation whose last turn used `usage`, `age_s` seconds ago.

    Anthropic's keep what is marked and say so; others keep a long prompt by themselves.
    """
    told = usage.cache_read + usage.cache_write + usage.cache_write_1h
    if price.cache_read is None or age_s > (KEPT_LONG_S if usage.cache_write_1h else KEPT_S):
        return 0
    kept = told if protocol == "anthropic" else usage.total_input
    return kept if kept >= LEAST_CACHED else 0

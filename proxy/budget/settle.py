"""What a finished exchange used and cost: the provider's own numbers where they can be true, else a bound of what passed.

Pure arithmetic over the exchange; changes nothing. Never raises for odd numbers: usage that no such reply can have is replaced by the
bound and marked inexact, so that no provider can refund a budget by lying about it, or empty one by a slip.
"""

from __future__ import annotations

import functools

from msgspec.structs import replace

from proxy.budget.estimate import FAMILIES, OWN, bound, count_floor, count_output, family_of
from proxy.engine.exchange import Exchange
from proxy.model import FREE, Nanos, Target, Usage
from proxy.money import cost
from proxy.wire.base import Meter
from proxy.wire.call import Call

DEFAULT_MAX_OUTPUT = 16_384
"""What an answer without any ceiling is taken to be at most, for one choice."""
ABSURD = 10
"""Usage this many times above the bound, and above any context window, is a slip of the provider's."""
LARGEST_CONTEXT = 2_000_000
LARGEST_KNOWN = 1_050_000
"""What a model reads at most where the price table does not say."""
CHARS = 6
"""Characters a token of output, above which its provider's count is looked at."""
PLAIN_SHARE, OTHER_SHARE, MIXED_SHARE = 0.9, 0.6, 0.2
"""What a plain count is a floor with, of a reply counted in its own vocabulary, in another, and with thoughts or tools' words in it."""
NOTHING = Usage()
_HIDDEN = ("o1", "o3", "o4", "gpt-5", "codex", "grok-4", "grok-code", "computer-use")
_OPEN_GEMINI = ("gemini-1", "gemini-2.0")
_OTHER = ("audio", "realtime", "image")
_THINKS = frozenset({"thinking", "reasoning", "reasoning_effort", "think", "generationConfig"})
"""Members that may have a model think. One that says that it shall not is among them: then more is held than must be."""


def settle_usage(ex: Exchange) -> tuple[Usage, Nanos]:
    """Return what `ex` used and what that costs at the price of the target that served it.

    Nothing when nothing was sent, when the provider answered with an error, or when the call generates nothing to pay for.
    """
    target = ex.target
    if not ex.sent or target is None or ex.upstream_status >= 300 or not paid(ex):
        return NOTHING, Nanos(0)
    usage = _usage(ex, target)
    price = target.price if target.price is not None else FREE
    return usage, cost(usage, price)


def paid(ex: Exchange) -> bool:
    """Return whether the operation of `ex` costs tokens at all: counting tokens and listing models do not."""
    return ex.call.operation in ("chat", "embeddings")


def tokenizer_of(target: Target) -> str:
    """Return the family or model name that says how `target` counts."""
    return target.upstream_model if target.tokenizer == "o200k_base" else target.tokenizer


def stored(ex: Exchange, target: Target) -> int:
    """Return how many tokens of what the provider keeps are read as input too, at most: where nobody knows, all that the model reads."""
    if ex.history >= 0:
        return ex.history
    return target.context or LARGEST_KNOWN


def hides_reasoning(model: str, call: Call | None = None) -> bool:
    """Return whether `model` may bill output that its stream does not show: what passed then bounds nothing.

    Claude shows a summary of what it thinks and bills the thoughts, so it hides them where `call` has it think. Sound and pictures are
    billed by other units than their words. Source: Anthropic, "Extended thinking" (summarized thinking); OpenAI, "Reasoning models".
    """
    if _hides(model):
        return True
    return call is not None and not _THINKS.isdisjoint(call.members) and "claude" in model.lower()


@functools.lru_cache(maxsize=4096)
def _hides(model: str) -> bool:
    name = model.lower().rpartition("/")[2].removeprefix("ft:").removeprefix("openai.")
    if name.startswith("gemini") and not name.startswith(_OPEN_GEMINI):
        return True
    return name.startswith(_HIDDEN) or any(word in name for word in _OTHER)


def floor_output(ex: Exchange) -> int:
    """Return a floor of the output tokens that passed so far: the plain count of the text, without ratio, slack or what is in flight.

    All of the text is counted again each time (counts of parts do not add up), so ask at growing distances, not at every event.
    """
    target, meter = ex.target, ex.meter
    return 0 if target is None or meter is None else count_floor(meter, tokenizer_of(target))


def _usage(ex: Exchange, target: Target) -> Usage:
    meter = ex.meter
    if meter is None:
        return _unseen(ex, target)
    reported = meter.usage
    if reported is None:
        return _passed(ex, target, meter)
    if not _sane(reported, ex, target):
        ex.note("settle", "the provider's usage cannot be true; charged what was seen instead")
        return _passed(ex, target, meter)
    whole = bool(meter.ended or meter.finish)
    if whole and reported.exact:
        least = _least_output(ex, target, meter, reported.output)
        if least <= reported.output:
            return reported
        ex.note("settle", f"the provider says {reported.output} tokens for a text of {least} at least; charged those")
        return replace(reported, output=least, exact=False)
    return _at_least(reported, _passed(ex, target, meter), whole)


def _at_least(reported: Usage, seen: Usage, whole: bool) -> Usage:
    """Return the greater of both in each direction. What a provider said of the prompt before its stream broke off stands."""
    missing = seen.input - reported.total_input if whole or not reported.total_input else 0
    output = max(reported.output, seen.output)
    return replace(reported, input=reported.input + max(0, missing), output=output, exact=False)


def _least_output(ex: Exchange, target: Target, meter: Meter, said: int) -> int:
    """Return the fewest output tokens that the text which passed can be, as far as that has to be known to believe `said`.

    Counted only where pieces or characters outnumber what the provider says, as they never do for an honest one by much. A plain count is
    a floor only of answers in a vocabulary that we have; other vocabularies make fewer tokens of a text, thoughts are shown that were
    billed as fewer, and what a provider's tools said stands in the reply too.
    """
    if ex.call.operation != "chat" or (meter.pieces <= said and sum(map(len, meter.texts)) <= CHARS * said):
        return 0
    tokenizer = tokenizer_of(target)
    share = PLAIN_SHARE if FAMILIES[family_of(tokenizer)].ratio == 1.0 else OTHER_SHARE
    if hides_reasoning(target.upstream_model, ex.call) or any(spec.kind not in OWN for spec in ex.call.tools.specs):
        share = MIXED_SHARE
    return int(count_floor(meter, tokenizer) * share)


def _unseen(ex: Exchange, target: Target) -> Usage:
    """Nothing of the reply came: it may have used all that was held."""
    return Usage(input=_prompt(ex, target), output=_ceiling(ex), exact=False)


def _passed(ex: Exchange, target: Target, meter: Meter) -> Usage:
    seen = bool(meter.ended or meter.pieces or meter.texts or (ex.call.stream and ex.started))
    if not seen:
        return _unseen(ex, target)
    return Usage(input=_prompt(ex, target), output=_output(ex, target, meter), exact=False)


def _prompt(ex: Exchange, target: Target) -> int:
    """Return the most that the prompt can have been, and no more than is held for it."""
    most = bound(ex.call, tokenizer_of(target)) + stored(ex, target)
    return min(most, ex.held_input) if ex.held_input else most


def _output(ex: Exchange, target: Target, meter: Meter) -> int:
    """Return a bound of the output behind what was seen; all that was held where a model thinks out of sight."""
    if ex.call.operation != "chat":
        return 0
    if hides_reasoning(target.upstream_model, ex.call):
        return _ceiling(ex)
    return count_output(meter, tokenizer_of(target), _ceiling(ex))


def _ceiling(ex: Exchange) -> int:
    """Return the most output that the call could get: what was held, else its own ceiling, else the default.

    A stream whose hold grows may have got more than is held so far: as much as it was asked for. One that said nothing got nothing.
    """
    grows = ex.pace is not None and ex.meter is not None and bool(ex.meter.pieces or ex.meter.texts)
    if (ex.held_output and not grows) or ex.call.operation != "chat":
        return ex.held_output
    own = ex.max_output if ex.max_output is not None else ex.call.max_output
    return (DEFAULT_MAX_OUTPUT if own is None else own) * max(1, ex.call.choices)


def _sane(usage: Usage, ex: Exchange, target: Target) -> bool:
    """Return whether such a reply can have used that: no prompt is nothing, no text comes from nothing, no slip is a million dollars."""
    read, made = usage.total_input, usage.output
    if min(usage.input, made, usage.cache_read, usage.cache_write, usage.cache_write_1h, usage.reasoning) < 0:
        return False
    if usage.exact and not (read and made):
        said = ex.call.operation == "chat" and ex.meter is not None and any(ex.meter.texts)
        if not read or said:
            return False
    if read + made <= LARGEST_CONTEXT:
        return True
    return read + made <= ABSURD * (bound(ex.call, tokenizer_of(target)) + stored(ex, target) + _ceiling(ex))

"""How many tokens a call is before anyone was asked: exact where the vocabulary is public, an upper bound elsewhere.

OpenAI's models are counted with their own vocabularies. Others are counted with the nearest one and a ratio that was measured to bound
them; what a provider adds by itself (search results that its own tools fetch) is nobody's to know beforehand. What was counted is kept
on the message, so a turn costs what is new in it.

Long new text and the first use of a vocabulary go to a thread, which lets go of the interpreter while it encodes.
"""

from __future__ import annotations

import asyncio
import functools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from proxy.budget.images import rule_of, tokens_of
from proxy.budget.vocabulary import CUT_TOKENS, LEAST_PIECE, load, loaded, tokens
from proxy.wire.base import Meter
from proxy.wire.blocks import carried
from proxy.wire.call import OPAQUE, Call, Media, Message, Tools

INLINE_CHARS = 32_768
"""New text up to this length is counted on the loop (about a millisecond), more in a thread."""
IN_FLIGHT_TOKENS = 64
"""Added to what was seen of a stream that broke off: what the provider had made and we had not read."""
PER_CALL, _PER_RESULT = 10, 6
"""Tokens around a tool call and a tool result, measured upper bounds."""
_RUN = 4
"""Characters of text per token at most, in a vocabulary that is not the one we count with."""
_PER_EXTRA = 400
"""Hundredths of a token around a text that stands beside the messages."""


@dataclass(frozen=True, slots=True)
class Family:
    """How models of one kind count.

    Attributes:
        vocabulary: the vocabulary that text is counted with.
        ratio: real tokens per token of that vocabulary, at most.
        per_message, per_request: tokens around each message, and around all.
        tools: tokens that offering any tool adds.
        image: the most that one image can be, where its size is not known.
        images: the rule of `budget.images` that counts those whose size is.
        key: under which name the bound of a message is remembered, set by `__post_init__` like `hundredths`, the ratio times 100.
    """

    vocabulary: str
    ratio: float = 1.0
    per_message: int = 5
    per_request: int = 10
    tools: int = 50
    image: int = 1500
    images: str = ""
    key: str = ""
    hundredths: int = 100

    def __post_init__(self) -> None:
        object.__setattr__(self, "hundredths", round(self.ratio * 100))
        numbers = (self.vocabulary, self.hundredths, self.per_message, self.image, self.tools, self.images)
        object.__setattr__(self, "key", "bound " + " ".join(map(str, numbers)))


FAMILIES: dict[str, Family] = {
    # Source: OpenAI cookbook "How to count tokens with tiktoken" (3 a message, the role, 1 for a name, 3 for the reply) and the vision
    # guide (85 + 170 per 512-pixel tile, at most 8 tiles after scaling; patch models 1536 by 2.46; gpt-4o-mini 2833 + 5667 per tile).
    "o200k_base": Family("o200k_base", image=3800),
    "gpt-4o-mini": Family("o200k_base", image=48_200),
    "cl100k_base": Family("cl100k_base"),
    # Source: Anthropic vision guide (width by height / 750; at most 4784 at high resolution), tool use pricing (346 to 700 for tools).
    "claude": Family("o200k_base", 1.35, per_message=6, per_request=110, tools=700, image=4800, images="claude"),
    # Source: Gemini token guide (258 a tile of 768 pixels; 2240 at ultra-high resolution).
    "gemini": Family("o200k_base", 1.15, per_message=5, per_request=40, tools=300, image=4200, images="gemini"),
    "other": Family("o200k_base", 1.3, per_message=8, per_request=110, tools=600, image=5000),
}
"""Families by name; a target's `tokenizer` is one of these names. Ratios were measured on recorded provider replies, rounded up."""

OWN = ("function", "custom")
_TOOL, _TYPED_TOOL, _READING_TOOL = 8, 1_000, 16_000
_READS = ("web_", "google_", "url_context", "mcp", "code_", "file_search", "image_generation", "tool_search", "advisor")
"""Provider tools that run on its side; what they read is billed as input. 16,000 covers most calls recorded, but bounds none."""

_CL100K = ("gpt-4-", "gpt-3.5", "gpt-35", "ft:gpt-4-", "ft:gpt-3.5", "text-embedding-", "davinci-002", "babbage-002")
_O200K = ("gpt-4o", "gpt-4.1", "gpt-4.5", "gpt-5", "chatgpt-", "codex-", "o1", "o3", "o4", "ft:gpt-4o", "ft:gpt-4.1", "computer-use")


@functools.lru_cache(maxsize=4096)
def family_of(model: str) -> str:
    """Return the name of the family that `model` counts like; a name in `FAMILIES` is its own."""
    if model in FAMILIES:
        return model
    name = model.lower().rpartition("/")[2].removeprefix("openai.").removeprefix("openai-")
    if "claude" in name:
        return "claude"
    if "gemini" in name:
        return "gemini"
    if name.startswith("gpt-4o-mini"):
        return "gpt-4o-mini"
    if name.startswith(_O200K):
        return "o200k_base"
    if name == "gpt-4" or name.startswith(_CL100K):
        return "cl100k_base"
    return "other"


@functools.lru_cache(maxsize=4096)
def family_for(model: str) -> Family:
    """Return how `model` counts: its family, with the rule that it counts images by."""
    family = FAMILIES[family_of(model)]
    images = family.images or rule_of(model)
    return replace(family, images=images) if images != family.images else family


def tokenizer_for(model: str) -> tuple[str, float]:
    """Return the vocabulary that counts text for `model` (or a family), and the ratio that makes the count an upper bound."""
    family = family_for(model)
    return family.vocabulary, family.ratio


def count(call: Call, tokenizer: str) -> int:
    """Return the tokens of all texts of `call` in the vocabulary of `tokenizer` (a family or model), without ratio or overheads."""
    name = family_for(tokenizer).vocabulary
    total = call.tokens_given + _tools(call.tools, name) + sum([tokens(text, name) for text in call.extra])
    return total + sum([_message(message, name) for message in (*call.system, *call.messages)])


def bound(call: Call, tokenizer: str) -> int:
    """Return how many input tokens `call` is at most, for a model that counts like `tokenizer` (a family or model)."""
    family = family_for(tokenizer)
    return _bound(call, family, _known(call, family.key))


def _bound(call: Call, family: Family, weight: int | None) -> int:
    """Return `bound`; `weight` is that of all messages where it is known."""
    if weight is None:
        weight = sum(carried(call.messages, family.key, lambda part: sum([_weight(message, family) for message in part])))
    if call.system:
        weight += sum([_weight(message, family) for message in call.system])
    if call.extra:
        counted = [(tokens(text, family.vocabulary) * family.hundredths, _stretched((text,), family)) for text in call.extra]
        weight += sum(map(max, counted)) + _PER_EXTRA * len(counted)
    weight += call.tokens_given * family.hundredths + _tools_weight(call.tools, family)
    return -(-weight // 100) + family.per_request + call.overhead


def bound_now(call: Call, tokenizer: str) -> int | None:
    """Return `bound`, or None when that takes long: much text is new, or the vocabulary is not loaded.

    What is new mostly stands at the end, so it is looked for from there; nothing is counted before it is known to be little.
    """
    family = family_for(tokenizer)
    if not loaded(family.vocabulary):
        return None
    key, new, fresh = family.key, 0, list[Message]()
    for message in reversed(call.messages):
        if key in message.counts:
            break
        fresh.append(message)
        new += sum(map(len, message.texts))
    if new + _other_chars(call, key) > INLINE_CHARS:
        return None
    for message in fresh:
        _weight(message, family)
    known = _known(call, key)
    if known is None:  # an older message was forgotten, or new ones stand before old ones
        new += sum([len(text) for message in call.messages if key not in message.counts for text in message.texts])
    return None if new > INLINE_CHARS else _bound(call, family, known)


async def measure(call: Call, tokenizers: Iterable[str]) -> dict[str, int]:
    """Return `bound` for each of `tokenizers`, without holding the loop for long."""
    found: dict[str, int] = {}
    for name in tokenizers:
        if name not in found:
            await load(family_for(name).vocabulary)
            known = bound_now(call, name)
            found[name] = known if known is not None else await asyncio.to_thread(bound, call, name)
    return found


def count_output(meter: Meter, tokenizer: str, ceiling: int) -> int:
    """Return a bound of the output tokens of a reply whose usage never came: what was seen, and what was in flight.

    Never above `ceiling`, which is what was held (0 for no ceiling); text beyond it is not even counted.
    """
    tally = Tally(tokenizer)
    tally.take(meter.texts, ceiling)
    found = tally.bound(meter) + IN_FLIGHT_TOKENS
    return min(found, ceiling) if ceiling else found


class Tally:
    """Counts what a stream has said from above, part by part: parts are mostly more tokens than their whole.

    A piece is a token at least. Where next to no piece is more than one token of our vocabulary, the server sends each of its tokens as
    it comes, and their number is the count; had it sent several at once, pieces of two words would be among them. Else the family's ratio
    holds for all.

    Args:
        tokenizer: a family or model.
    """

    __slots__ = ("_count", "_many", "_over", "_read", "_total", "family")

    def __init__(self, tokenizer: str) -> None:
        self.family = family_for(tokenizer)
        self._read = self._total = self._many = self._over = self._count = 0

    def take(self, texts: Sequence[str], enough: int = 0) -> None:
        """Count those of `texts` that are new, until `enough` tokens are found (0: all)."""
        new = texts[self._read :] if self._read else texts
        name, ratio = self.family.vocabulary, self.family.ratio
        self._total += tokens("".join(new), name, enough)
        for text in new if ratio != 1.0 else ():
            found = _piece(text, name) if len(text) <= _SHORT else len(text)
            if found > 1:
                self._many += 1
                self._over += math.ceil(found * ratio)
        self._count += len(texts) - self._read
        self._read = len(texts)

    def bound(self, meter: Meter) -> int:
        """Return how many tokens what was counted is at most."""
        pieces, ratio = meter.pieces, self.family.ratio
        if ratio == 1.0:
            return max(pieces, self._total)
        if pieces >= _SURE and pieces == self._count and self._many <= pieces * _FEW:
            return pieces - self._many + self._over
        return max(pieces, math.ceil(self._total * ratio))


_SHORT = 24
_SURE, _FEW = 32, 0.02
"""Pieces of a stream that show how its server cuts it, and the share of them that may be more than one token."""


@functools.lru_cache(maxsize=16_384)
def _piece(text: str, name: str) -> int:
    """Return the tokens of a short text without the space around it; the same pieces come again and again."""
    return tokens(text.strip(" "), name)


def count_floor(meter: Meter, tokenizer: str) -> int:
    """Return a floor of the output tokens seen: the plain count of the text, where long text was cut less than the cuts can add."""
    name = family_for(tokenizer).vocabulary
    text = "".join(meter.texts)
    return max(0, tokens(text, name) - CUT_TOKENS * (len(text) // LEAST_PIECE))


def _message(message: Message, name: str) -> int:
    """Return the tokens of `message` in vocabulary `name`, counted once."""
    total = message.counts.get(name)
    if total is None:
        total = sum([tokens(text, name) for text in message.texts])
        for call in message.tool_calls:
            total += tokens(call.name, name) + PER_CALL
        total += _PER_RESULT * len(message.tool_results)
        message.counts[name] = total
    return total


def _weight(message: Message, family: Family) -> int:
    """Return what `message` is at most for `family`, in hundredths of a token: so a conversation is one sum of known numbers."""
    weight = message.counts.get(family.key)
    if weight is None:
        counted = _message(message, family.vocabulary) * family.hundredths
        weight = max(counted, _stretched(message.texts, family)) + 100 * family.per_message
        if message.media:
            weight += 100 * sum([_media(part, family) for part in message.media])
        message.counts[family.key] = weight
    return weight


def _stretched(texts: Iterable[str], family: Family) -> int:
    """Return what `texts` are at most however long the tokens of our vocabulary are, in hundredths of a token.

    A hundred spaces, or equals signs, are one token of ours and many of a vocabulary that knows no such runs: no ratio bounds that.
    Source: llama.cpp, commit f9d42c5 (Gemma counts runs of spaces by 16); tokens of words are shorter than `_RUN` characters on average.
    """
    return 0 if family.ratio == 1.0 else sum(map(len, texts)) * 100 // _RUN


def _tools(tools: Tools, name: str) -> int:
    found = tools.counts.get(name)
    if found is None:
        found = tools.counts[name] = tokens(tools.text, name)
    return found


def _tools_weight(tools: Tools, family: Family) -> int:
    if not tools.text and not tools.specs:
        return 0
    weight = tools.counts.get(family.key)
    if weight is None:
        each = sum([_TOOL if spec.kind in OWN else _provider_tool(spec.kind) for spec in tools.specs])
        most = max(_tools(tools, family.vocabulary) * family.hundredths, _stretched((tools.text,), family))
        weight = tools.counts[family.key] = most + 100 * (family.tools + each)
    return weight


def _known(call: Call, key: str) -> int | None:
    """Return what all messages weigh, None when any was never weighed under `key`."""
    try:
        return sum(carried(call.messages, key, lambda part: sum([message.counts[key] for message in part])))
    except KeyError:
        return None


def _other_chars(call: Call, key: str) -> int:
    """Return how much text beside the messages was never weighed under `key`."""
    total = 0 if key in call.tools.counts else len(call.tools.text)
    for message in call.system:
        if key not in message.counts:
            total += sum(map(len, message.texts))
    return total + sum(map(len, call.extra))


def _provider_tool(kind: str) -> int:
    """Return what a provider's own tool adds: its instructions, and for one that reads for the model, a bound of what it reads."""
    return _READING_TOOL if kind.startswith(_READS) else _TYPED_TOOL


def _media(part: Media, family: Family) -> int:
    """Return how many tokens `part` is at most. Audio, video and documents are bounded by their size, or by a large file's worth."""
    if "image" in part.kind:
        known = tokens_of(family.images, part)
        return family.image if known is None else known
    if part.kind == OPAQUE:
        return part.size // _OPAQUE_CHARS
    return _UNSEEN_FILE if part.size < _REFERENCE else max(family.image, part.size // 2)


_OPAQUE_CHARS = 4
"""Characters of an encrypted text per token of what it holds, at least: some seven were seen in recorded replies."""
_REFERENCE = 1024
_UNSEEN_FILE = 40_000
"""What a file counts that the request only names: the provider reads it, we cannot."""

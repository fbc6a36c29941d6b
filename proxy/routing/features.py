"""What can be seen cheaply of a request that hints at how hard it is: numbers and words of the last user message, the shape of the call.

Pure and bounded: of a long message only its head and its tail are read, and its length counts as it is. Nothing here judges; what the
numbers weigh was learned (`proxy.routing.learned`) or is written in `proxy.routing.rules`. A change of any number here needs new weights:
`scripts/train_difficulty.py` makes them from these very functions.
"""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from proxy.wire.call import Call

HEAD, TAIL = 3072, 1024
"""Characters read at the start and at the end of a long message: tasks are stated there, with the material between."""
MAX_TURNS = 64

Kind = Literal["choice", "amounts", "code", "formula", "other"]
"""What a message mostly is: a question with answers to choose from, a story with amounts, code, formulas, or anything else."""
KINDS: tuple[Kind, ...] = ("choice", "amounts", "code", "formula", "other")

NUMBERS = (
    *("its length", "its number of words", "how many numbers it has", "its sentences", "its lines", "the length of its words"),
    *("repeated words", "a share of long words", "digits", "mathematics", "formulas", "dollar signs", "percentages", "questions"),
    *("large numbers", "small numbers", "fractions", "long answers to choose from", "unlike answers to choose from", "answers in numbers"),
    *("the length of the question", "loops in code", "branches in code", "parentheses", "brackets", "commas", "quotation marks", "names"),
    *("a gap to fill", "an exception to find", "two statements to judge", "comparisons", "words of amounts", "other scripts"),
)
"""What each number of `Seen.numbers` is, in words."""

_token = re.compile(r"[a-z]+|\d|[^\w\s]")
_number = re.compile(r"\d+(?:[.,]\d+)*")
_name = re.compile(r"[A-Z](?<!\w.)")
"""A capital at the start of a word; the letter comes first, so that the rest of the text is skipped fast."""
_option = re.compile(r"^[A-D]\. (.*)$", re.MULTILINE)
_formula = re.compile(r"\$[^$=^_\\]*[=^_\\]")
_CODE = ("```", "def ", "[PYTHON]", "assert ", "#include", "function (", "function(", "SELECT ", "){", ") {", ");")
_ASKS = frozenset("how what calculate find compute many much".split())
_SPELT = ("one", "two", "three", "four", "five", "six", "half", "twice", "dozen")
_COMPARED = ("half", "twice", "third", "quarter", "percent", "each", "every", "remaining", "left", "total", "than")
_AMOUNTS = (*_COMPARED, "thrice", "times", "more", "less", "per", "fewer", "double", "triple", "average", "rest")
_LOOPS, _BRANCHES = ("for", "while"), ("if", "elif", "else", "case")
_MATHS = "=^\\$%<>+|*/"
_AMOUNTS_CHARS = 1500
_LARGEST = 1e15


@dataclass(frozen=True, slots=True)
class Seen:
    """One request as it looks: what kind of message it is, its numbers (see `NUMBERS`), its words and pairs of neighbouring words with
    how often they come, and the shape of the call around it."""

    kind: Kind
    numbers: tuple[float, ...]
    terms: dict[str, int]
    chars: int
    start: str
    turns: int = 1
    tools: int = 0
    media: int = 0
    results: int = 0
    context_bytes: int = 0

    @property
    def words(self) -> int:
        """How many words the message has, of what was read of it."""
        return round(math.expm1(self.numbers[NUMBERS.index("its number of words")]))


def last_user_text(call: Call) -> str | None:
    """Return the text of the last message if it is a user's turn with text of its own (not just tool results), else None."""
    if not call.messages or call.messages[-1].role != "user":
        return None
    texts = call.messages[-1].texts
    text = texts[0] if len(texts) == 1 else "\n".join(texts)
    return text or None


def look(call: Call, text: str) -> Seen:
    """Return how `call` looks, whose last user message says `text`."""
    chars = len(text)
    if chars > HEAD + TAIL:
        text = text[:HEAD] + "\n" + text[-TAIL:]
    tail = call.messages[-MAX_TURNS:]
    tokens = _token.findall(text.lower())
    terms = terms_of(tokens)
    kind = kind_of(text, terms)
    return Seen(
        kind=kind,
        numbers=numbers_of(text, chars, tokens, terms, kind),
        terms=terms,
        chars=chars,
        start=text[:200].lower(),
        turns=sum(m.role == "user" and not m.tool_results for m in tail),
        tools=len(call.tools.specs),
        media=len(call.messages[-1].media),
        results=sum(len(m.tool_results) for m in tail),
        context_bytes=len(call.body),
    )


def kind_of(text: str, terms: Mapping[str, int]) -> Kind:
    """Return what `text`, which has `terms`, mostly is."""
    if "\nB. " in text:
        return "choice"
    if any(mark in text for mark in _CODE):
        return "code"
    if "$" in text and ("\\" in text or (any(mark in text for mark in "=^_") and _formula.search(text))):
        return "formula"
    if len(text) < _AMOUNTS_CHARS and ("?" in terms or not _ASKS.isdisjoint(terms)):
        spelt = sum([terms.get(word, 0) for word in _SPELT])
        if spelt + len(_number.findall(text)) >= 2:
            return "amounts"
    return "other"


def terms_of(tokens: Sequence[str]) -> dict[str, int]:
    """Return `tokens`, alone and in pairs of neighbours, with how often each comes."""
    terms = dict(Counter(tokens))
    terms.update(Counter(map(" ".join, itertools.pairwise(tokens))))
    return terms


def numbers_of(text: str, chars: int, tokens: Sequence[str], terms: Mapping[str, int], kind: Kind) -> tuple[float, ...]:
    """Return the numbers of `text`, whose whole length is `chars`, in the order of `NUMBERS`."""
    log, count, get = math.log1p, text.count, terms.get
    words = list(itertools.compress(tokens, map(str.isalpha, tokens)))
    sizes = list(map(len, words))
    many = max(1, len(words))
    values = [value for value in map(_value, _number.findall(text)) if value < _LARGEST]
    options = _option.findall(text) if kind == "choice" else []
    lengths = [len(option) for option in options]
    question = text.find("\nA. ") if options else -1
    code = kind == "code"
    return (
        log(chars),
        log(len(words)),
        log(len(values)),
        log(get(".", 0) + get("!", 0) + get("?", 0)),
        log(count("\n")),
        sum(sizes) / many,
        len(set(words)) / many,
        len([size for size in sizes if size > 8]) / many,
        log(sum(map(str.isdigit, tokens))),
        log(sum([get(mark, 0) for mark in _MATHS])),
        log(get("\\", 0)),
        log(get("$", 0)),
        log(get("%", 0)),
        min(8.0, get("?", 0)),
        log(max(values, default=0.0)),
        log(min(values, default=0.0)),
        min(20.0, sum([value != int(value) for value in values])),
        log(sum(lengths) / max(1, len(lengths))),
        (max(lengths) - min(lengths)) / (1 + max(lengths)) if lengths else 0.0,
        sum([any(map(str.isdigit, option)) for option in options[:8]]),
        log(question if question >= 0 else len(text)),
        log(sum([get(word, 0) for word in _LOOPS])) if code else 0.0,
        log(sum([get(word, 0) for word in _BRANCHES])) if code else 0.0,
        log(get("(", 0)),
        log(get("[", 0)),
        log(get(",", 0)),
        log(get("'", 0) + get('"', 0)),
        len(_name.findall(text)) / many,
        float("___" in text),
        float("NOT" in text or "EXCEPT" in text),
        float("Statement 1" in text),
        float(any(word in terms for word in _COMPARED)),
        min(30.0, sum([get(word, 0) for word in _AMOUNTS])),
        0.0 if text.isascii() else (len(text) - len(text.encode("ascii", "ignore"))) / len(text),
    )


def _value(number: str) -> float:
    plain = number.replace(",", "").rstrip(".")
    return float(plain) if plain.count(".") <= 1 else 0.0

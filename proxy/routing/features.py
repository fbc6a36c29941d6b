"""What can be seen cheaply of a request that hints at how hard it is: numbers and words of the last user message, the shape of the call.

Pure and bounded: of a long message only its head and its tail are read, and its length counts as it is. Nothing here judges; what the
numbers weigh was learned (`proxy.routing.learned`) or is written in `proxy.routing.rules`. A change of any number here needs new weights:
`scripts/train_difficulty.py` makes them from these very functions.
"""

from __future__ import annotations

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
    *("long numbers", "unlike numbers", "a share of signs", "long answers to choose from", "unlike answers to choose from"),
    *("answers in numbers", "repeated words in the answers", "the length of the question", "loops in code", "branches in code"),
    *("calls in code", "parentheses", "brackets", "commas", "quotation marks", "capitals", "names", "the length of its sentences"),
    *("a gap to fill", "an exception to find", "two statements to judge", "comparisons", "words of amounts", "other scripts"),
)
"""What each number of `Seen.numbers` is, in words."""

_token = re.compile(r"[a-z]+|[0-9]+|[^\s\w]")
_CHOICES = ("A. ", "B. ", "C. ", "D. ")
_formula = re.compile(r"\$[^$=^_\\]*[=^_\\]")
_digit = re.compile(r"[0-9]")
_method = re.compile(r"\.[a-z_]+\(")
_CODE = ("```", "def ", "[PYTHON]", "assert ", "#include", "function (", "function(", "SELECT ", "){", ") {", ");")
_ASKS = ("how", "what", "calculate", "find", "compute", "many", "much")
_SPELT = ("one", "two", "three", "four", "five", "six", "half", "twice", "dozen")
_COMPARED = ("half", "twice", "third", "quarter", "percent", "each", "every", "remaining", "left", "total", "than")
_AMOUNTS = (*_COMPARED, "thrice", "times", "more", "less", "per", "fewer", "double", "triple", "average", "rest")
_LOOPS, _BRANCHES = ("for", "while"), ("if", "elif", "else", "case")
_MATHS = "=^\\$%<>+|*/"
_AMOUNTS_CHARS = 1500
_CAPITALS = bytes(range(65, 91))
_LETTERS = _CAPITALS + bytes(range(97, 123))
_DIGITS = bytes(range(48, 58))
_PLAIN = _LETTERS + _DIGITS + b" \t\n\r_"


@dataclass(frozen=True, slots=True)
class Seen:
    """One request as it looks: what kind of message it is, its numbers (see `NUMBERS`), its words and pairs of neighbouring words with
    how often they come, and the shape of the call around it."""

    kind: Kind
    numbers: tuple[float, ...]
    tokens: Sequence[str]
    counts: Mapping[str, int]
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
    counts = Counter(tokens)
    kind = kind_of(text, counts)
    return Seen(
        kind=kind,
        numbers=numbers_of(text, chars, len(tokens), counts, kind),
        tokens=tokens,
        counts=counts,
        chars=chars,
        start=text[:200].lower(),
        turns=sum(m.role == "user" and not m.tool_results for m in tail),
        tools=len(call.tools.specs),
        media=len(call.messages[-1].media),
        results=sum(len(m.tool_results) for m in tail),
        context_bytes=len(call.body),
    )


def kind_of(text: str, counts: Mapping[str, int]) -> Kind:
    """Return what `text`, whose tokens come as often as `counts` says, mostly is."""
    if "\nB. " in text:
        return "choice"
    if any(mark in text for mark in _CODE):
        return "code"
    if "$" in text and ("\\" in text or (any(mark in text for mark in "=^_") and _formula.search(text))):
        return "formula"
    if len(text) < _AMOUNTS_CHARS and ("?" in counts or not counts.keys().isdisjoint(_ASKS)):
        spelt = sum([counts.get(word, 0) for word in _SPELT])
        if spelt + sum([counts[token] for token in counts if token.isdecimal()]) >= 2:
            return "amounts"
    return "other"


def numbers_of(text: str, chars: int, tokens: int, counts: Mapping[str, int], kind: Kind) -> tuple[float, ...]:
    """Return the numbers of `text`, of `chars` characters in all and `tokens` tokens that come as often as `counts` says: see `NUMBERS`."""
    log, count, get = math.log1p, text.count, counts.get
    raw = text.encode("ascii", "ignore")
    size = len(raw)
    capitals = size - len(raw.translate(None, _CAPITALS))
    digits = size - len(raw.translate(None, _DIGITS))
    signs = len(raw.translate(None, _PLAIN))
    numbers = [*filter(str.isdecimal, counts)]
    amounts = sum(map(counts.__getitem__, numbers))
    many = max(1, tokens - amounts - signs)
    sentences = get(".", 0) + get("!", 0) + get("?", 0)
    return (
        log(chars),
        log(many),
        log(amounts),
        log(sentences),
        log(count("\n")),
        (size - len(raw.translate(None, _LETTERS))) / many,
        len(counts) / max(1, tokens),
        sum(map((8).__lt__, map(len, counts))) / max(1, len(counts)),
        log(digits),
        log(sum([get(mark, 0) for mark in _MATHS])),
        *[log(get(mark, 0)) for mark in "\\$%"],
        min(8.0, get("?", 0)),
        float(min(12, max(map(len, numbers), default=0))),
        log(len(numbers)),
        signs / max(1, size),
        *(_answers(text) if kind == "choice" else (0.0, 0.0, 0.0, 1.0, log(len(text)))),
        *(_steps(text, counts) if kind == "code" else (0.0, 0.0, 0.0)),
        *[log(get(mark, 0)) for mark in "([,"],
        log(get("'", 0) + get('"', 0)),
        log(capitals),
        capitals / many,
        log(many / max(1, sentences)),
        float("___" in text),
        float("NOT" in text or "EXCEPT" in text),
        float("Statement 1" in text),
        float(not counts.keys().isdisjoint(_COMPARED)),
        min(30.0, sum([get(word, 0) for word in _AMOUNTS])),
        (len(text) - size) / max(1, len(text)),
    )


def _answers(text: str) -> tuple[float, float, float, float, float]:
    """Return the numbers of a question with answers to choose from that are about its answers."""
    answers = [line[3:] for line in text.split("\n") if line.startswith(_CHOICES)]
    lengths = [*map(len, answers)] or [0]
    words = " ".join(answers).split()
    question = text.find("\nA. ")
    return (
        math.log1p(sum(lengths) / len(lengths)),
        (max(lengths) - min(lengths)) / (1 + max(lengths)),
        float(sum([_digit.search(answer) is not None for answer in answers[:8]])),
        len(set(words)) / max(1, len(words)),
        math.log1p(question if question >= 0 else len(text)),
    )


def _steps(text: str, counts: Mapping[str, int]) -> tuple[float, float, float]:
    """Return the numbers of code that are about its steps: loops, branches, calls of methods."""
    loops, branches = sum([counts.get(word, 0) for word in _LOOPS]), sum([counts.get(word, 0) for word in _BRANCHES])
    return math.log1p(loops), math.log1p(branches), math.log1p(len(_method.findall(text)))

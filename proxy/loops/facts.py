"""What is kept of one message so that steps can be compared: digests, bitmaps of its words, what kind of answer it is.

All of it is computed at most once a message, when first asked for, and remembered with it (`Message.seen`): a few hundred bytes of
numbers, and no text but the message's own. Most of it nobody asks for: the turn of a human needs no bitmap. A long text is read at its
beginning and its end only, so that a result of any size costs the same. Pure; nothing here can fail on any text.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple
from zlib import crc32

import re2

from proxy.wire.call import Message, ToolCall

SEEN = "loops"
"""Where a message remembers its facts."""
HEAD, TAIL = 2048, 1024
"""Characters of a long text that are read at its beginning and at its end."""
WHOLE, MAX_TEXTS = 8192, 64
"""Bytes that are read of all texts of one message together, and how many texts."""
SHORT = 300
"""Up to so many bytes a text is compared by its trigrams, above by its words."""
KEPT, BITS = 64, 512
"""How many of a text's shingles are kept (those with the smallest hashes), and how wide the bitmap is that they are kept in."""
EYED = 400
"""Bytes at each end of a text in which words of errors are looked for."""
BRIEF = 200
"""Longest text that can be a mere confirmation."""
MAX_CALLS = 64
"""Calls of one message that are looked at."""

ANSWER, ERROR, EMPTY, DONE = range(4)
"""Kinds of results: says something, says that it failed, says nothing, confirms that an action was done."""
KINDS = ("answer", "error", "empty", "done")

_APART = bytes(32 if n < 128 and not chr(n).isalnum() else n for n in range(256))
"""Punctuation parts words; what is beyond ASCII does not."""
_ALIKE = bytes(48 if 48 <= n < 58 else _APART[n] for n in range(256))
"""The same, and all digits are one."""
_FRAME = 240
# each way begins with what one character can be, so that the search runs over all others at once; what stands before it is looked at next
_IDS = re.compile(
    rb"[0-9](?<=\b[0-9])(?:(?=\d*[a-f])[0-9a-f]{5,}\b|\d*\.\d+(?= ?(?:ms|s|sec|seconds)\b))|[a-f](?<=\b[a-f])(?=[a-f]*\d)[0-9a-f]{5,}\b"
)
_VOLATILE = re.compile(
    rb"%b|(?<=[Ww]all time: )\d[\d.]*|(?<=_seconds\":)\s?\d[\d.]*|(?<=Chunk ID: )[0-9a-f]+|(?<=\"create_time\":)\s?\d[\d.]*" % _IDS.pattern
)
"""What a tool's frame adds to the same answer each time, near its beginning or its end: ids, how long it took."""
_NAMED = (b"all time: ", b'_seconds":', b"Chunk ID: ", b'"create_time":')
"""Names of what is volatile beside ids and times; most frames have none of them."""
_digit = re.compile(rb"[0-9]")
_FAILED = (
    b"error", b"exception", b"traceback", b"failed", b"failure", b"not found", b"no such", b"n't exist", b"not exist", b"invalid",
    b"denied", b"forbidden", b"unauthorized", b"could not", b"cannot", b"can't", b"couldn't", b"unable", b"unknown", b"undefined",
    b"usage:", b"timed out", b"refused", b"no match", b"no result", b"not recognized", b"did not", b"not a valid", b"illegal",
)  # fmt: skip
_failed = re2.compile(b"|".join([re.escape(word) for word in _FAILED])).search
_NONE = rb" (?:errors?|failures?|failed)\b"
_FINE = re.compile(
    rb"n(?<=\bn)o%b|0(?<=\b0)%b|z(?<=\bz)ero%b" % (_NONE, _NONE, _NONE)
    + rb"|\"(?:errors?|failed|failures?|exception)\": ?(?:null|0|\[\]|false|\"\"|none)"
)
"""Words of errors that tell of none."""
_DONE = (
    b"success",
    b"complete",
    b"done",
    b"ok",
    b"created",
    b"deleted",
    b"updated",
    b"saved",
    b"added",
    b"removed",
    b"sent",
    b"written",
    b"applied",
)
_OBSERVED = re.compile(
    r"\s*(?:[<\[(]|\*\*|#+ )?\s*(?:observations?\b|tool[ _](?:results?|outputs?|responses?)\b|function[ _](?:results?|responses?)\b"
    r"|execution (?:results?|logs?|output)\b|(?:stdout|output|result)s?\s*[:>\]])",
    re.IGNORECASE,
)
"""How a text begins with which a client hands a tool's answer to the model in the human's role."""


class Text:
    """A text by what it can be compared by, computed when it is first asked for.

    Attributes:
        digest: equal for equal texts, but for what a tool's frame adds each time; empty for no text. sketch: a bitmap of its shingles.
        bits: how many are set. long: the shingles are words and not trigrams. kind: what it is as a result.

    Args:
        texts: what stands together.
        size: how many characters that is.
        kind: what kind of result it is known to be, None to look.
    """

    __slots__ = ("_size", "_texts", "bits", "digest", "kind", "long", "sketch")

    digest: bytes
    sketch: int
    bits: int
    long: bool
    kind: int

    def __init__(self, texts: tuple[str, ...], size: int, kind: int | None = None) -> None:
        self._texts, self._size = texts, size
        if kind is not None:
            self.kind = kind

    def __getattr__(self, name: str) -> Any:
        """Compute what was not asked for before; a slot that is filled never comes here."""
        raw = _ends(self._texts)
        if name == "kind":
            self.kind = kind_of(raw)
        elif name in ("sketch", "bits"):
            self.sketch = sketch(raw)
            self.bits = self.sketch.bit_count()
        else:
            self.long, self.digest = len(raw) > SHORT, _digest(raw, self._size)
        return object.__getattribute__(self, name)


class Known(Text):
    """A text that is known by its facts alone."""

    __slots__ = ()

    def __init__(self, digest: bytes, sketch: int, long: bool, kind: int) -> None:
        self.digest, self.sketch, self.bits, self.long, self.kind = digest, sketch, sketch.bit_count(), long, kind


class Several(Text):
    """Several texts as one, in any order.

    Args:
        texts: two or more, of different digests.
    """

    __slots__ = ("_parts",)

    def __init__(self, texts: Sequence[Text]) -> None:
        self._parts = texts
        self.digest = digest(b"".join(sorted([text.digest for text in texts])))

    def __getattr__(self, name: str) -> Any:
        """See `Text`."""
        parts = self._parts
        if name in ("sketch", "bits"):
            found = 0
            for text in parts:
                found |= text.sketch
            self.sketch, self.bits = found, found.bit_count()
        elif name == "long":
            self.long = any(text.long for text in parts)
        else:
            kinds = {text.kind for text in parts}
            self.kind = ERROR if ERROR in kinds else next(iter(kinds)) if len(kinds) == 1 else DONE if kinds == {DONE, EMPTY} else ANSWER
        return object.__getattribute__(self, name)


class Facts:
    """One message.

    Attributes:
        calls: its calls' ids and facts. results: digests of the results that it brings. said: what it says beside its calls.
        role, item: as of the message, `NOBODY` where it says nothing. human: a person may have said it.
        answers: equal for equal results, empty for none.
    """

    __slots__ = ("answers", "calls", "human", "item", "results", "role", "said")

    def __init__(self, message: Message, calls: tuple[Made, ...], said: Text, role: str, human: bool) -> None:
        self.calls, self.said, self.role, self.human, self.item = calls, said, role, human, message.item
        self.results = tuple([result.digest for result in message.tool_results])
        self.answers = answers_of(self.results) if self.results else b""


class Made(NamedTuple):
    """A tool call: `signature` is equal for equal arguments, `shape` too where only numbers and ids in them differ."""

    id: str
    name: str
    signature: bytes
    shape: bytes
    text: Text


NOBODY = ""
"""The role of a message in the human's role that says nothing: a client that adds one is not heard."""
NO_TEXT = Known(b"", 0, False, EMPTY)


def facts(message: Message) -> Facts:
    """Return what is known of `message`, remembered from the first time that it was asked for."""
    found: Facts | None = message.seen.get(SEEN)  # type: ignore[assignment]  # nobody else writes there
    if found is None:
        found = read(message)
        message.seen[SEEN] = found  # type: ignore[assignment]
    return found


def read(message: Message) -> Facts:
    """Return the facts of `message`."""
    texts, results, role = message.texts, message.tool_results, message.role
    calls: tuple[Made, ...] = ()
    if message.tool_calls:
        own = {text for call in message.tool_calls for text in (call.name, call.arguments)}
        texts = tuple([text for text in texts if text not in own])
        calls = tuple([made(call) for call in message.tool_calls[:MAX_CALLS]])
    said = text_of(texts, results != () and any(result.error for result in results))
    human = role == "user" and not results
    if human and not (message.media or message.refers) and not any(map(_says, texts)):
        role, human = NOBODY, False
    if human and texts and _OBSERVED.match(texts[0]):
        human = False
    return Facts(message, calls, said, role, human)


def _says(text: str) -> bool:
    """Return whether there is anything to see in a text."""
    return (text[:1].isprintable() and not text[:1].isspace() and text != "") or any(c.isprintable() and not c.isspace() for c in text)


def made(call: ToolCall) -> Made:
    """Return the facts of one call."""
    raw = _ends((call.name, call.arguments))
    if len(raw) > SHORT:
        shape = digest(call.signature)  # where much is said, numbers are not what tells calls apart
    else:
        shape = digest(b" ".join([b"0" if b"0" in word else word for word in raw.translate(_ALIKE).split()]))
    return Made(call.id, call.name, call.signature, shape, Text((call.name, call.arguments), len(call.arguments), ANSWER))


def text_of(texts: tuple[str, ...], failed: bool = False) -> Text:
    """Return the facts of texts that stand together; `failed`: they are known to tell of an error."""
    if not texts:
        return NO_TEXT
    size = len(texts[0]) if len(texts) == 1 else sum(map(len, texts))
    return Text(texts[:MAX_TEXTS], size, ERROR if failed else None)


def kind_of(raw: bytes) -> int:
    """Return what kind of result a text is."""
    said = (raw[:EYED] + raw[-EYED:] if len(raw) > 2 * EYED else raw).lower()
    if _failed(said) is not None and _failed(_FINE.sub(b"", said)) is not None:
        return ERROR
    if len(raw) < 3 or not raw.strip():
        return EMPTY
    return DONE if len(raw) <= BRIEF and any(word in said for word in _DONE) else ANSWER


def sketch(raw: bytes) -> int:
    """Return a bitmap of the text's shingles: of all of a short text, of a fair sample (always the same) of a long one's."""
    if len(raw) > SHORT:
        shingles = set(map(crc32, set(raw.translate(_APART).split())))
    else:
        shingles = set(map(crc32, {raw[n : n + 3] for n in range(max(1, len(raw) - 2))}))
    bits = 0
    for shingle in sorted(shingles)[:KEPT]:
        bits |= 1 << (shingle >> 7) % BITS
    return bits


def alike(a: Text, b: Text) -> float:
    """Return how alike two texts are, 0 to 1: what they share of their shingles (Dice)."""
    if a.digest == b.digest:
        return 1.0
    both = a.bits + b.bits
    return 2 * (a.sketch & b.sketch).bit_count() / both if both and a.long is b.long else 0.0


def answers_of(digests: Iterable[bytes]) -> bytes:
    """Return what is equal for equal results, in any order."""
    return digest(b"".join(sorted(set(digests))))


def digest(raw: bytes) -> bytes:
    """Return 8 bytes that stand for `raw`."""
    return hashlib.blake2b(raw, digest_size=8).digest()


def _digest(raw: bytes, size: int) -> bytes:
    frames = len(raw) > 2 * _FRAME
    plain = _steady(raw[:_FRAME]) + raw[_FRAME:-_FRAME] + _steady(raw[-_FRAME:]) if frames else _steady(raw)
    return digest(plain + b"%d" % size if size > HEAD + TAIL else plain)


def _steady(frame: bytes) -> bytes:
    """Return `frame` with a mark for what is volatile. All of that but a chunk's id has digits."""
    for name in _NAMED:
        if name in frame:
            return _VOLATILE.sub(b"~", frame)
    return frame if _digit.search(frame) is None else _IDS.sub(b"~", frame)


def _ends(texts: tuple[str, ...]) -> bytes:
    """Return `texts` as one, without the middle of what is long."""
    ends = [text if len(text) <= HEAD + TAIL else text[:HEAD] + text[-TAIL:] for text in texts]
    return "\0".join(ends).encode("utf-8", "surrogatepass")[:WHOLE]

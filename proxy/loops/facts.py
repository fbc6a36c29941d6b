"""What is kept of one message so that steps can be compared: digests, bitmaps of its words, what kind of answer it is.

All of it is computed once a message and remembered with it (`Message.seen`), a few hundred bytes of numbers and no text. A long text is
read at its beginning and its end only, so that a result of any size costs the same. Pure; nothing here can fail on any text.
"""

from __future__ import annotations

import hashlib
import re
from typing import NamedTuple
from zlib import crc32

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
_VOLATILE = re.compile(
    rb"\b(?=[a-f]*\d)(?=\d*[a-f])[0-9a-f]{6,}\b|\b\d+\.\d+(?= ?(?:ms|s|sec|seconds)\b)"
    rb"|(?<=[Ww]all time: )\d[\d.]*|(?<=_seconds\":)\s?\d[\d.]*|(?<=Chunk ID: )[0-9a-f]+"
    rb"|(?<=\"create_time\":)\s?\d[\d.]*"
)
"""What a tool's frame adds to the same answer each time, near its beginning or its end: ids, how long it took."""
_FAILED = (
    b"error", b"exception", b"traceback", b"failed", b"failure", b"not found", b"no such", b"n't exist", b"not exist", b"invalid",
    b"denied", b"forbidden", b"unauthorized", b"could not", b"cannot", b"can't", b"couldn't", b"unable", b"unknown", b"undefined",
    b"usage:", b"timed out", b"refused", b"no match", b"no result", b"not recognized", b"did not", b"not a valid", b"illegal",
)  # fmt: skip
_FINE = re.compile(
    rb"\b(?:no|0|zero) (?:errors?|failures?|failed)\b|\"(?:errors?|failed|failures?|exception)\": ?(?:null|0|\[\]|false|\"\"|none)"
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


class Text(NamedTuple):
    """A text by what it can be compared by.

    Attributes:
        digest: equal for equal texts, but for what a tool's frame adds each time; empty for no text. sketch: a bitmap of its shingles.
        bits: how many are set. long: the shingles are words and not trigrams. kind: what it is as a result.
    """

    digest: bytes
    sketch: int
    bits: int
    long: bool
    kind: int


class Facts(NamedTuple):
    """One message.

    Attributes:
        calls: its calls' ids and facts. results: digests of the results that it brings. said: what it says beside its calls.
        role, item: as of the message, `NOBODY` where it says nothing. human: a person may have said it.
    """

    calls: tuple[Made, ...]
    results: tuple[bytes, ...]
    said: Text
    role: str
    item: bool
    human: bool


class Made(NamedTuple):
    """A tool call: `signature` is equal for equal arguments, `shape` too where only numbers and ids in them differ."""

    id: str
    name: str
    signature: bytes
    shape: bytes
    text: Text


NOBODY = ""
"""The role of a message in the human's role that says nothing: a client that adds one is not heard."""
NO_TEXT = Text(b"", 0, 0, False, EMPTY)


def facts(message: Message) -> Facts:
    """Return what is known of `message`, remembered from the first time that it was asked for."""
    found = message.seen.get(SEEN)
    if found is None:
        found = message.seen[SEEN] = read(message)
    return found  # type: ignore[return-value]  # nobody else writes there


def read(message: Message) -> Facts:
    """Return the facts of `message`."""
    calls = message.tool_calls[:MAX_CALLS]
    results = message.tool_results
    texts = message.texts
    if calls:
        own = {text for call in message.tool_calls for text in (call.name, call.arguments)}
        texts = tuple([text for text in texts if text not in own])
    said = text_of(texts, any(result.error for result in results))
    role = message.role
    if role == "user" and not (results or message.media or message.refers) and not any(map(_says, texts)):
        role = NOBODY
    human = role == "user" and not results and not (texts and _OBSERVED.match(texts[0]))
    return Facts(tuple([made(call) for call in calls]), tuple([r.digest for r in results]), said, role, message.item, human)


def _says(text: str) -> bool:
    """Return whether there is anything to see in a text."""
    return any(c.isprintable() and not c.isspace() for c in text)


def made(call: ToolCall) -> Made:
    """Return the facts of one call."""
    raw = _ends((call.name, call.arguments))
    if len(raw) > SHORT:
        shape = digest(call.signature)  # where much is said, numbers are not what tells calls apart
    else:
        shape = digest(b" ".join([b"0" if b"0" in word else word for word in raw.translate(_ALIKE).split()]))
    return Made(call.id, call.name, call.signature, shape, _text(raw, len(call.arguments), ANSWER))


def text_of(texts: tuple[str, ...], failed: bool = False) -> Text:
    """Return the facts of texts that stand together; `failed`: they are known to tell of an error."""
    if not texts:
        return NO_TEXT
    raw = _ends(texts[:MAX_TEXTS])
    return _text(raw, sum(map(len, texts)), ERROR if failed else kind_of(raw))


def kind_of(raw: bytes) -> int:
    """Return what kind of result a text is."""
    said = (raw[:EYED] + raw[-EYED:] if len(raw) > 2 * EYED else raw).lower()
    if _failed(said) and _failed(_FINE.sub(b"", said)):
        return ERROR
    if len(raw) < 3 or not raw.strip():
        return EMPTY
    return DONE if len(raw) <= BRIEF and any(word in said for word in _DONE) else ANSWER


def _failed(said: bytes) -> bool:
    return any(word in said for word in _FAILED)


def sketch(raw: bytes) -> int:
    """Return a bitmap of the text's shingles: of all of a short text, of a fair sample (always the same) of a long one's."""
    if len(raw) > SHORT:
        shingles = set(map(crc32, set(raw.translate(_APART).split())))
    else:
        shingles = {crc32(raw[n : n + 3]) for n in range(max(1, len(raw) - 2))}
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


def digest(raw: bytes) -> bytes:
    """Return 8 bytes that stand for `raw`."""
    return hashlib.blake2b(raw, digest_size=8).digest()


def _text(raw: bytes, size: int, kind: int) -> Text:
    if len(raw) > 2 * _FRAME:
        plain = _VOLATILE.sub(b"~", raw[:_FRAME]) + raw[_FRAME:-_FRAME] + _VOLATILE.sub(b"~", raw[-_FRAME:])
    else:
        plain = _VOLATILE.sub(b"~", raw)
    bits = sketch(raw)
    more = b"%d" % size if size > HEAD + TAIL else b""
    return Text(digest(plain + more), bits, bits.bit_count(), len(raw) > SHORT, kind)


def _ends(texts: tuple[str, ...]) -> bytes:
    """Return `texts` as one, without the middle of what is long."""
    ends = [text if len(text) <= HEAD + TAIL else text[:HEAD] + text[-TAIL:] for text in texts]
    return "\0".join(ends).encode("utf-8", "surrogatepass")[:WHOLE]

"""What a call hands its agent that is new, in a few numbers: whether two agents go in circles is decided on these.

New is what stands behind the model's last turn. A tool's result is the answer to a call, so it is the same only where the call was, too:
`ok` for another file is progress. A conversation that only begins has no past, and one that is sent again as it was is a retry. Pure.

Source: for the sketch, A. Broder, "On the resemblance and containment of documents" (1997), bottom-k.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Sequence
from heapq import nsmallest
from typing import NamedTuple

from proxy.loops.facts import facts
from proxy.wire.call import Call, Message

SKETCH, SHINGLE, ENDS, ALIKE = 24, 3, 2048, 0.7
"""Hashes of a sketch, words of a shingle, characters that are read at each end, and the resemblance from which texts are near-identical."""
KEPT = ("previous_response_id", "conversation")
"""Session signals that name a history of the provider's. A cached content is none: many conversations begin with it."""
SPOKEN = ("assistant", "reasoning")
STANDING = ("system", "developer")
"""Roles whose words are no news."""
_word = re.compile(r"\w+")
Sketch = tuple[int, ...]


class Handed(NamedTuple):
    """What is new in a call.

    Attributes:
        digest: equal for equal news, empty for none. sketch: near-identical texts share most of it; empty for results of tools.
        fresh: the conversation begins here. turn: equal where the conversation stands where it stood.
    """

    digest: bytes = b""
    sketch: Sketch = ()
    fresh: bool = True
    turn: bytes = b""


NOTHING_NEW = Handed()


def handed(call: Call) -> Handed:
    """Return what is new in `call`."""
    messages = call.messages
    end = len(messages)
    while end and _spoke(messages[end - 1]):
        end -= 1
    first = end
    while first and not _spoke(messages[first - 1]):
        first -= 1
    new = [message for message in messages[first:end] if message.role not in STANDING]
    texts = [text for message in new for text in message.texts]
    fresh = not first and not any(call.hints.get(key) for key in KEPT)
    turn = hashlib.blake2b(b"%d\0%b" % (len(messages), call.thread.encode("utf-8", "surrogatepass")), digest_size=8)
    if messages:
        turn.update(messages[-1].fingerprint)
    if not any(texts):
        return Handed(b"", (), fresh, turn.digest())
    results = any(message.tool_results for message in new) or (not fresh and all(not facts(message).human for message in new))
    said = hashlib.blake2b(digest_size=16)
    for asked in _asked(messages[:first]) if results else ():
        said.update(asked + b"\1")
    for text in texts:
        said.update(text.encode("utf-8", "surrogatepass") + b"\0")
    return Handed(said.digest(), () if results else sketch(texts), fresh, turn.digest())


def _spoke(message: Message) -> bool:
    return message.role in SPOKEN or bool(message.tool_calls)


def _asked(messages: Sequence[Message]) -> list[bytes]:
    """Return what stands for the model's last turn: its calls, or its words where those are its actions."""
    last: list[Message] = []
    for message in reversed(messages):
        if not _spoke(message):
            break
        last.append(message)
    calls = sorted(call.signature for message in last for call in message.tool_calls)
    return calls or [facts(message).said.digest for message in last]


def sketch(texts: Sequence[str]) -> Sketch:
    """Return the smallest hashes of the shingles of `texts`: near-identical texts share most of them."""
    text = " ".join(texts)
    words = _word.findall((text if len(text) <= 2 * ENDS else f"{text[:ENDS]} {text[-ENDS:]}").casefold())
    shingles = {" ".join(words[i : i + SHINGLE]) for i in range(max(1, len(words) - SHINGLE + 1))} if words else ()
    return tuple(nsmallest(SKETCH, {zlib.crc32(shingle.encode("utf-8", "replace")) for shingle in shingles}))


def alike(a: Sketch, b: Sketch) -> bool:
    """Return whether two texts are near-identical by their sketches."""
    if a == b:
        return True
    both = set(nsmallest(SKETCH, {*a, *b}))
    return bool(both) and len(both.intersection(a, b)) >= ALIKE * len(both)

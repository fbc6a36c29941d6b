"""The last steps of a conversation in a few bytes: what is remembered of one whose history is not in the next request.

A trail holds fixed-size records, so that its size is known: digests, bitmaps and kinds, no text but the names of the newest step's tools.
It is a value; who keeps it, under which id and for how long, is the stage's. Pure.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from proxy.loops.facts import BITS, NO_TEXT, Known, Text, made
from proxy.loops.steps import WIDE, Step, Steps, acted
from proxy.wire.call import Message, ToolCall

MOST = 12
"""Steps that are kept."""
MAX_NAMES, MAX_NAME = 4, 64
_STEP, _TEXT = struct.Struct(f"<{WIDE}sIL8s8s"), struct.Struct(f"<8s{BITS // 8}sB")
_NOTHING = bytes(8)


@dataclass(frozen=True, slots=True)
class Trail:
    """The records of at most `MOST` steps, the newest first, and the tools of the newest."""

    packed: bytes = b""
    names: tuple[str, ...] = ()

    def steps(self) -> tuple[Step, ...]:
        """Return the steps, the newest first; none but the newest has names."""
        found = [_unpack(self.packed, at) for at in range(0, len(self.packed), SIZE)]
        return (found[0]._replace(names=self.names), *found[1:]) if found else ()


NO_TRAIL = Trail()
SIZE = _STEP.size + 3 * _TEXT.size


def follow(messages: Sequence[Message], calls: Sequence[ToolCall], before: Trail = NO_TRAIL) -> Trail:
    """Return the trail of a conversation that the model went on with: `before`, then `messages`, then `calls` (none: words alone)."""
    steps = Steps(messages, before.steps()).upto(MOST)[:MOST]
    if calls:
        steps = [acted([made(call) for call in calls]), *steps[: MOST - 1]]
    names = tuple([name[:MAX_NAME] for name in steps[0].names[:MAX_NAMES]]) if steps else ()
    return Trail(b"".join([_pack(step) for step in steps]), names)


def _pack(step: Step) -> bytes:
    texts = [
        _TEXT.pack(text.digest, text.sketch.to_bytes(BITS // 8, "little"), text.kind << 1 | text.long)
        for text in (step.call, step.result, step.said)
    ]
    return _STEP.pack(step.key, step.tools, step.ids, step.shape, step.answers) + b"".join(texts)


def _unpack(packed: bytes, at: int) -> Step:
    key, tools, ids, shape, answers = _STEP.unpack_from(packed, at)
    call, result, said = [_text(packed, at + _STEP.size + n * _TEXT.size) for n in range(3)]
    return Step(key, tools, shape, call, b"" if answers == _NOTHING else answers, result, said, ids)


def _text(packed: bytes, at: int) -> Text:
    digest, sketch, flags = _TEXT.unpack_from(packed, at)
    if digest == _NOTHING:
        return NO_TEXT
    return Known(digest, int.from_bytes(sketch, "little"), bool(flags & 1), flags >> 1)

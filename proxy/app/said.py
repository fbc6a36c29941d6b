"""From what an exchange said to what is kept of it: which messages were new, what the client was given, and how much of it has room.

New is what stands behind the messages that were kept of its session before; of a session that nothing is kept of, all. A conversation
that does not go on where it was left (a client shortened it, or sends its last request once more) is new behind its last reply. So a
turn costs what is new in it, however long the conversation.

Runs in the writer's thread. Bytes that are not the protocol's are no error: what can be read of them is kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from proxy.engine.capture import Heard
from proxy.guards.logged import hashed, logged, logged_json
from proxy.telemetry.content import Content, Kind, Mark, Part, Turn
from proxy.wire.base import Codec, Editor, Framing, Meter
from proxy.wire.call import Call, Message, WireError
from proxy.wire.editing import Finder

ASSISTANT = ("assistant", "model")
PART_BYTES = 64
"""What each part takes of the room beside its text."""


@dataclass(frozen=True, slots=True)
class Said:
    """What is left of an exchange that has ended: the request as it was read, and the reply as its client was given it.

    `hides` are texts that the provider did not see, to what stood for them.
    """

    id: str
    time: float
    agent: str
    session: str
    level: str
    until: float
    codec: Codec
    call: Call
    heard: Heard
    hides: Mapping[str, str]


class Room:
    """Takes texts in while there is room for them.

    Args:
        level: `hash`, `redacted` or `full`.
        most: bytes of text.
        hide: is put before the guards where personal data is hidden.
    """

    def __init__(self, level: str, most: int, hide: Callable[[str], str] = str) -> None:
        self.left, self._level, self._hide = most, level, hide

    def part(self, most: int) -> Room:
        """Return a room of the same kind."""
        return Room(self._level, most, self._hide)

    def text(self, text: str, kind: Kind = "text", id: str = "", name: str = "") -> Part | None:
        """Return what is kept of a text, None where there is no room."""
        most = self.left - PART_BYTES
        if most <= 0:
            return None
        if self._level == "hash":
            self.left = most
            return Part(kind, hashed(text), name[:128], id[:128], len(text))
        whole = self._hide(text) if self._level == "redacted" else text
        kept = (logged_json if kind == "tool_call" else logged)(whole, self._level, most) or ""
        raw = kept.encode("utf-8", "replace")[:most]
        words = raw.decode("utf-8", "ignore")
        self.left = most - len(raw)
        gone = len(whole) - len(words) if len(whole) > most or len(words) < len(kept) else 0
        return Part(kind, words, name[:128], id[:128], len(text), max(0, gone))

    def media(self, kind: str, size: int) -> Part | None:
        """Return what is kept of something that is no text."""
        if self.left <= PART_BYTES:
            return None
        self.left -= PART_BYTES
        return Part("media", name=kind[:64], size=size)


def content_of(said: Said, known: Mark | None, most: int) -> Content:
    """Return what is kept of an exchange.

    Args:
        said: the exchange.
        known: how far its session is kept.
        most: bytes of texts.
    """
    hides = said.level == "redacted" and said.hides
    room, call = Room(said.level, most, Finder(said.hides).swapped if hides else str), said.call
    half = room.part(most // 2)
    reply, finish = _reply(said, half)
    room.left -= most // 2 - half.left
    new, before = fresh(call, known)
    system = () if known is not None and _digest(call) == known.system else call.system
    turns, left_out = _turns([*system, *new], room)
    if call.operation == "embeddings":
        turns = [*turns, *_inputs(call, room)]
    last = call.messages[-1].fingerprint.hex() if call.messages else ""
    mark = Mark(len(call.messages), last, _digest(call), bool(reply))
    return Content(
        said.id,
        said.time,
        said.agent,
        said.session,
        said.level,
        said.until,
        request=tuple(turns),
        before=before,
        reply=reply,
        finish=finish[:64],
        left_out=left_out,
        reply_cut=said.heard.cut,
        mark=mark,
    )


def fresh(call: Call, known: Mark | None) -> tuple[Sequence[Message], int]:
    """Return the messages of `call` that are new, and how many stand before them."""
    messages = call.messages
    if known is None or call.thread:
        return messages, 0
    at = known.count - 1
    if 0 <= at < len(messages) - 1 and messages[at].fingerprint.hex() == known.last:
        at += 1
        while known.replied and at < len(messages) - 1 and messages[at].role in ASSISTANT:
            at += 1  # the reply, which is kept
        return messages[at:], at
    end = len(messages)
    while end and messages[end - 1].role in ASSISTANT:
        end -= 1  # the beginning of a reply, which is to go on
    at = end
    while at and messages[at - 1].role not in ASSISTANT:
        at -= 1
    return messages[at:], at


def _digest(call: Call) -> str:
    return "".join([message.fingerprint.hex() for message in call.system])[:256]


def _turns(messages: Sequence[Message], room: Room) -> tuple[list[Turn], int]:
    """Return what is kept of messages, the newest first as long as there is room, and of how many nothing is."""
    found: list[Turn] = []
    for message in reversed(messages):
        if room.left <= PART_BYTES:
            break
        found.append(Turn(message.role[:32], tuple(_parts(message, room))))
    return found[::-1], len(messages) - len(found)


def _parts(message: Message, room: Room) -> list[Part]:
    texts, results = _texts(message), () if message.role in ASSISTANT else message.tool_results
    found: list[Part | None] = []
    if results:
        ids = [one.id for one in results] if len(results) == len(texts) else [results[0].id if len(results) == 1 else ""] * len(texts)
        found += [room.text(text, "tool_result", id) for text, id in zip(texts, ids, strict=True)]
    else:
        found += [room.text(text) for text in texts]
    found += [room.text(call.arguments, "tool_call", call.id, call.name) for call in message.tool_calls]
    found += [room.media(media.kind, media.size) for media in message.media]
    return [part for part in found if part is not None]


def _texts(message: Message) -> list[str]:
    """Return the texts of a message without the names and arguments of its calls, which are among them."""
    if not message.tool_calls:
        return list(message.texts)
    called = Counter([word for call in message.tool_calls for word in (call.name, call.arguments)])
    found = list[str]()
    for text in message.texts:
        if called[text] > 0:
            called[text] -= 1
        else:
            found.append(text)
    return found


def _inputs(call: Call, room: Room) -> list[Turn]:
    found = [part for text in call.extra if (part := room.text(text)) is not None]
    return [Turn("user", tuple(found))] if found else []


def _reply(said: Said, room: Room) -> tuple[tuple[Turn, ...], str]:
    """Return what is kept of what the client was given, and why the model stopped; nothing of an error."""
    heard, codec, call = said.heard, said.codec, said.call
    if not 200 <= heard.status < 300 or not heard.said:
        return (), ""
    meter, body = codec.meter(call), b"".join(heard.said)
    framing = codec.streams.get(heard.kind) if call.stream else None
    if framing is None:
        meter.buffered(body)
        texts = _whole(codec.editor(call), body)
    else:
        texts = _streamed(meter, framing(), body)
    found = [room.text(text) for text in texts]
    found += [room.text(one.arguments, "tool_call", one.id, one.name) for one in meter.tool_calls]
    kept = tuple([part for part in found if part is not None])
    return ((Turn("assistant", kept),) if kept else ()), meter.finish


def _whole(editor: Editor | None, body: bytes) -> list[str]:
    texts: list[str] = []

    def take(text: str) -> str:
        texts.append(text)
        return text

    if editor is not None:
        editor.whole(body, take)
    return [text for text in texts if text]


def _streamed(meter: Meter, framing: Framing, body: bytes) -> list[str]:
    try:
        events = [meter.event(raw) for raw in framing.feed(body)]
    except WireError:
        return []
    text = "".join([event.text for event in events if event.kind == "text"])
    return [text] if text else []

"""What the tests of the memory of translation share: a long conversation, and what it becomes with the memory and without."""

from __future__ import annotations

from typing import Any

from proxy.wire import jsonio
from proxy.wire.base import Memos
from proxy.wire.call import Edit, WireError
from proxy.wire.translate import carried as module
from proxy.wire.translate.bridge import DIALECTS, TARGETS, Bridge, Origin, Untranslatable
from proxy.wire.translate.carried import Carried
from proxy.wire.translate.hub import Asked, Text, Turn

CHAT, MESSAGES, OLLAMA, RESPONSES = "openai.chat", "anthropic.messages", "ollama.chat", "openai.responses"
PAIRS = [(source, target) for source in DIALECTS for target in DIALECTS if source != target]
Outcome = tuple[bytes, list[str]] | str


def outcome(source: str, target: str, body: bytes, memos: Memos, origin: Origin, edit: Edit) -> Outcome:
    """What a body becomes, and what is left out of it; or why it is refused."""
    codec = TARGETS[source]
    try:
        found = Bridge(codec, target, codec.decode(body, memos), edit, origin)
    except (Untranslatable, WireError) as e:
        return str(e)
    return found.body, found.dropped


def same(source: str, target: str, body: bytes, memos: Memos, edit: Edit) -> Outcome:
    """The outcome, which is that of a request that nobody has seen before."""
    whole = outcome(source, target, body, Memos(), Origin("9"), edit)
    assert outcome(source, target, body, memos, Origin("9", memos.carried), edit) == whole
    return whole


TALK = [
    Turn("system", (Text("Sort invoices."),)),
    *[Turn(role, (Text(f"{role} {i} " + "word " * 40),)) for i in range(30) for role in ("user", "assistant")],
    Turn("user", (Text("And now?"),)),
]


def talk(source: str, last: str) -> bytes:
    """A long conversation of a client's, with other last words."""
    asked = Asked("m", [*TALK[:-1], Turn("user", (Text(last),))])
    return jsonio.encoded(DIALECTS[source].write_request(asked))


def read_by(carried: Carried, generation: str) -> list[module.Known[Any]]:
    return [known for kind in getattr(carried, generation).values() for known in kind.values()]

"""The guards' look at a request: every text that the model would read, each once and never again.

Decides by the agent's `data:` settings: `warn` leaves a finding, `redact` has a placeholder sent in place of the text, `block` refuses
with `content_blocked`. What was found in a message is kept on it in the memo under the digest of the rule set, so a turn costs what is new
in it; forgetting changes cost, never a decision. Fails closed: a guard that raises is a refusal (the engine's).

A message that holds results of tools counts as a tool's word, all of it: an instruction in it was not the user's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import ClassVar

from proxy.engine.exchange import Exchange
from proxy.engine.inspector import CallJudge, TextJudge
from proxy.engine.redaction import Redactions, redactions_of
from proxy.engine.stage import Stage
from proxy.guards.base import CallGuard, Hit, Surface, TextGuard
from proxy.guards.inspection import Inspection, Looks
from proxy.guards.spelling import left, nested, unhidden
from proxy.guards.watch import Watch, refusal, refuses, unhideable, watch_of
from proxy.model import Deny, Grant
from proxy.wire.blocks import carried, unread
from proxy.wire.call import Call, Message

INLINE_CHARS = 65_536
"""New text up to this length is scanned on the loop (about a millisecond), more in a thread."""
REMEMBERED = 1024
MOST_FINDINGS = 1024
"""Findings of one request up to which each place is one; from there on a kind that was told of is not told again."""


class GuardStage(Stage):
    """See the module.

    Args:
        guards: all text guards of this snapshot.
        calls: all call guards.
        judges: who decides on tool calls.
        readers: who decides on the texts of replies beside the guards.
    """

    name: ClassVar[str] = "guards"
    needs: ClassVar[frozenset[str]] = frozenset({"call", "grant", "session"})

    def __init__(
        self,
        guards: Sequence[TextGuard],
        calls: Sequence[CallGuard] = (),
        judges: Sequence[CallJudge] = (),
        readers: Sequence[TextJudge] = (),
    ) -> None:
        self._guards, self._calls, self._judges, self._readers = tuple(guards), tuple(calls), tuple(judges), tuple(readers)
        self._known: dict[int, tuple[Grant, Looks]] = {}

    def watch(self, grant: Grant) -> Watch:
        """Return which guards look at the traffic of an agent with `grant`."""
        return self._looks(grant).watch

    def _looks(self, grant: Grant) -> Looks:
        """Return what looks at the traffic of an agent with `grant`, remembered for it."""
        known = self._known.get(id(grant))
        if known is None or known[0] is not grant:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            looks = Looks(watch_of(self._guards, grant), grant, self._calls, self._judges, self._readers)
            known = self._known[id(grant)] = grant, looks
        return known[1]

    async def request(self, ex: Exchange) -> Deny | None:
        """Scan what is new; note, hide or refuse what was found."""
        watch, call = self.watch(ex.grant), ex.call
        if call.operation in ("models", "show"):
            return None
        if ex.redactions and await _aside(left, call.body, ex.redactions):  # what rules and policies hide
            return unhideable(ex.grant)
        if not watch.guards:
            return None
        if _new_chars(call, watch.key) > INLINE_CHARS:
            await asyncio.to_thread(_scan_all, call, watch)
        given = ex.redactions
        deny = self._judge(ex, watch, list(_found(call, watch)))
        ours = {text: hidden for text, hidden in ex.redactions.items() if text not in given}
        if deny is None and ours and await _aside(unhidden, call.body, ours):
            return unhideable(ex.grant)
        return deny

    def inspect(self, ex: Exchange) -> Inspection | None:
        """Return what looks at the reply; None where nothing would be looked for."""
        looks = self._looks(ex.grant)
        return Inspection(ex, looks) if looks.at_calls or looks.reach != 0 or ex.redactions else None

    def _judge(self, ex: Exchange, watch: Watch, found: list[tuple[str, Hit]]) -> Deny | None:
        if not found:
            return None
        redactions: Redactions | None = None
        blocked: Hit | None = None
        dry: Hit | None = None
        listed = set[tuple[str, str]]()
        for text, hit in found:
            guard = hit.rule.partition("/")[0]
            mode = watch.modes[guard]
            if len(ex.findings) < MOST_FINDINGS or (hit.rule, hit.detail) not in listed:
                ex.find(hit.rule, hit.detail)
                listed.add((hit.rule, hit.detail))
            if refuses(mode, hit.open):
                blocked = blocked or hit
                continue
            if refuses(watch.dry.get(guard), hit.open):
                dry = dry or hit
            if mode == "redact":
                if redactions is None:
                    redactions = redactions_of(ex)
                redactions.hide(text[hit.start : hit.end], hit.label, quoted=text.lstrip()[:1] in ("{", "["))
        if redactions is not None:
            ex.redactions = redactions.forth
            ex.note(self.name, f"{len(redactions.forth)} texts are hidden from the provider")
        told = blocked or dry
        return None if told is None else refusal(told, ex.grant, "the request", shadow=blocked is None)


async def _aside(ask: Callable[[bytes, Mapping[str, str]], bool], body: bytes, words: Mapping[str, str]) -> bool:
    """Ask about a body, a long one in a thread."""
    return await asyncio.to_thread(ask, body, words) if len(body) > INLINE_CHARS else ask(body, words)


def _surface(message: Message) -> Surface:
    if message.tool_results:
        return "tool_result"
    return "reply" if message.role == "assistant" else "prompt"


def _new_chars(call: Call, key: str) -> int:
    new = sum([sum(map(len, m.texts)) for m in (*call.system, *unread(call.messages, key)) if key not in m.seen])
    return new + (0 if key in call.tools.seen else len(call.tools.text)) + sum(map(len, call.extra))


def _scan_all(call: Call, watch: Watch) -> None:
    for _ in _found(call, watch):
        pass


def _found(call: Call, watch: Watch) -> Iterator[tuple[str, Hit]]:
    """Yield each text with a hit in it."""
    key = watch.key
    yield from _seen(call.system, watch)
    for hits in carried(call.messages, key, lambda part: _seen(part, watch)):
        yield from hits
    if call.tools.text:
        seen = call.tools.seen.get(key)
        if seen is None:
            seen = call.tools.seen[key] = tuple(_scan((call.tools.text,), watch, "tool_definition"))
        yield from seen
    if call.extra:
        yield from _scan(call.extra, watch, "prompt")


def _seen(messages: Sequence[Message], watch: Watch) -> list[tuple[str, Hit]]:
    """Return what is found in messages, each of which is scanned once."""
    key, found = watch.key, list[tuple[str, Hit]]()
    for message in messages:
        seen = message.seen.get(key)
        if seen is None:
            seen = message.seen[key] = tuple(_scan(message.texts, watch, _surface(message)))
        if seen:
            found += seen
    return found


def _scan(texts: Iterable[str], watch: Watch, surface: Surface) -> Iterator[tuple[str, Hit]]:
    for text in texts:
        inside = nested(text)
        for guard in watch.guards:
            if surface in guard.surfaces:
                for said in (text, inside) if inside else (text,):
                    for hit in guard.scan(said, surface):
                        yield said, hit

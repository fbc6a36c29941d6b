"""The guards' look at a reply: its texts as they stream, its tool calls when they are complete.

Made for one exchange by the guard stage. Texts: what `block` forbids stops the reply before it, what `redact` hides is replaced, and a
placeholder that the request hid becomes the original again. Tool calls: their arguments are treated likewise, by the guards that look at
those; then the call guards say what the call would do, and the judges (contract, rules, policy engine) decide on exactly what the agent
would run. A refused call leaves words for the model and the person; a dry run leaves a finding.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace

from proxy.effects import Effect
from proxy.engine.approval import Held, lifted
from proxy.engine.exchange import Exchange
from proxy.engine.inspector import PASSES, CallJudge, Span, TextJudge, Verdict, spliced
from proxy.engine.redaction import PLACEHOLDER, REACH
from proxy.guards.base import CallGuard, Hit
from proxy.guards.catalog import text_guards
from proxy.guards.watch import Watch, refusal, refuses
from proxy.model import Deny, Grant, Reason
from proxy.wire import jsonio
from proxy.wire.call import ToolCall
from proxy.wire.editing import change_strings, replace_words
from proxy.wire.refusals import sentence

INLINE_ARGUMENTS = 4096
"""Characters of arguments up to which the call guards look at once; longer code takes milliseconds, and does so in a thread."""
PREVIEW = 4000
"""Characters of arguments that a person is shown."""
MAX_TOLD = 1024
"""Different things found in one reply that are told of once each; more are told of as often as they come."""

_NO_TEXTS: Mapping[str, str] = {}


class Looks:
    """What looks at the replies of one agent, the same for each of them.

    Args:
        watch: the text guards of the agent.
        grant: the agent's.
        calls: the call guards.
        judges: who decides on calls, first refusal first.
        readers: who decides on texts beside the guards.

    Attributes:
        reach: as of the inspector, where the request hid nothing.
        at_calls: whether tool calls are looked at.
    """

    __slots__ = ("at_calls", "guards", "judges", "reach", "readers", "watch")

    def __init__(
        self, watch: Watch, grant: Grant, calls: Sequence[CallGuard], judges: Sequence[CallJudge], readers: Sequence[TextJudge] = ()
    ) -> None:
        self.watch, self.guards, self.judges = watch, calls, judges
        self.readers = tuple([reader for reader in readers if reader.reach(grant) != 0])
        self.reach = longest([*watch.reaches, *[reader.reach(grant) for reader in self.readers]])
        self.at_calls = bool(judges or watch.arguments)


def longest(reaches: Sequence[int | None]) -> int | None:
    """Return the reach that covers all of `reaches`: None where one is unbounded."""
    return None if None in reaches else max([r for r in reaches if r is not None], default=0)


class Inspection:
    """Implements `engine.gate.Inspector` for the exchange `ex`."""

    __slots__ = ("_back", "_ex", "_looks", "_told", "_watch", "calls", "reach")

    def __init__(self, ex: Exchange, looks: Looks) -> None:
        self._ex, self._looks, self._watch = ex, looks, looks.watch
        self._back: Mapping[str, str] = _NO_TEXTS
        self.reach, self.calls = looks.reach, looks.at_calls
        if ex.redactions:
            self._back = {hidden: text for text, hidden in ex.redactions.items()}
            self.reach, self.calls = longest((looks.reach, REACH)), True
        self._told: set[tuple[str, bytes]] = set()

    def spans(self, text: str) -> list[Span]:
        """See `Inspector.spans`."""
        found = [self._span(hit, guard.reach) for guard in self._watch.texts for hit in guard.scan(text, "reply")]
        for reader in self._looks.readers:
            found += reader.spans(self._ex, text)
        if self._back and "[" in text:
            matches = PLACEHOLDER.finditer(text)
            found += [Span(m.start(), m.end(), self._back[m.group()]) for m in matches if m.group() in self._back]
        if len(found) > 1:
            found.sort(key=lambda span: span.start)
        return found

    def _span(self, hit: Hit, reach: int | None = None) -> Span:
        mode = self._watch.modes[hit.rule.partition("/")[0]]
        unseen = hit.open or (reach is not None and hit.end - hit.start >= reach)
        deny = refusal(hit, self._ex.grant, "the reply") if refuses(mode, unseen) else None
        instead = f"[{hit.label or 'REDACTED'}]" if mode == "redact" else None
        return Span(hit.start, hit.end, instead, deny, hit.rule, hit.detail)

    def took(self, span: Span, text: str) -> None:
        """See `Inspector.took`: one finding for each thing that was found, however often it is said."""
        key = span.rule, hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        if not span.rule or key in self._told:
            return
        if len(self._told) < MAX_TOLD:
            self._told.add(key)
        self._ex.find(span.rule, span.detail)
        if self._watch.dry.get(span.rule.partition("/")[0]) == "block":
            self._ex.find(f"shadow/{Reason.CONTENT_BLOCKED}", span.rule)

    async def judge(self, call: ToolCall) -> Verdict:
        """See `Inspector.judge`."""
        said, deny = self._scanned(call.arguments)
        arguments = self._restored(said)
        changed = arguments != call.arguments
        if changed:
            call = ToolCall(call.id, call.name, arguments, jsonio.signature(call.name, arguments), call.place)
        inline = len(call.arguments) <= INLINE_ARGUMENTS
        effects = self._effects(call) if inline else await asyncio.to_thread(self._effects, call)
        deny = deny or await self._first(call, effects)
        if deny is not None and deny.approval is not None:
            deny = await self._asked(deny, call, said)
        if deny is not None:
            self._ex.find(str(deny.reason), deny.rule)
            self._ex.note("guards", f"withheld a call of {call.name[:80]}: {deny.message} [{deny.rule}] {deny.remedy}")
            return Verdict(words=sentence(deny))
        return Verdict(arguments=arguments) if changed else PASSES

    def _effects(self, call: ToolCall) -> list[Effect]:
        return [effect for guard in self._looks.guards for effect in guard.effects(call)]

    def _scanned(self, arguments: str) -> tuple[str, Deny | None]:
        """Return the arguments without what text guards hide in them, and why they must not pass at all.

        They are read string by string, where something can be hidden, and as they are written: a name is no such string, and may be what
        makes a secret of the value beside it.
        """
        if not self._watch.arguments:
            return arguments, None
        denies: list[Deny] = []

        def look(text: str) -> list[Span]:
            spans = [self._span(hit) for guard in self._watch.arguments for hit in guard.scan(text, "tool_call")]
            for span in spans:
                self.took(span, text[span.start : span.end])
            denies.extend([span.deny for span in spans if span.deny is not None])
            return spans

        def change(text: str) -> str:
            return spliced(text, look(text))

        raw = arguments.encode("utf-8", "surrogatepass")
        whole = jsonio.loads(raw) is None
        if not whole:
            look(arguments)
        said = change(arguments) if whole else change_strings(raw, change).decode("utf-8", "surrogatepass")
        return said, denies[0] if denies else None

    async def _first(self, call: ToolCall, effects: Sequence[Effect]) -> Deny | None:
        """Return the first refusal; one that a person may lift only where nobody refuses for good."""
        asking: Deny | None = None
        for judge in self._looks.judges:
            deny = await judge.judge(self._ex, call, effects)
            if deny is None:
                continue
            if deny.shadow:
                self._ex.find(f"shadow/{deny.reason}", deny.rule)
            elif deny.approval is None:
                return deny
            else:
                asking = deny if asking is None else _both(asking, deny)
        return asking

    async def _asked(self, deny: Deny, call: ToolCall, said: str) -> Deny | None:
        """Have a person asked about a call: about exactly what the agent would run, shown without what guards would hide."""
        digest = hashlib.sha256(f"{call.name}\0{call.arguments}".encode("utf-8", "surrogatepass")).hexdigest()
        return await lifted(self._ex, deny, Held("tool_call", call.name, digest, preview(said)))

    def _restored(self, arguments: str) -> str:
        """Return the arguments with the originals in the place of their placeholders."""
        if not self._back or not any(hidden in arguments for hidden in self._back):
            return arguments
        raw = arguments.encode("utf-8", "surrogatepass")
        return replace_words(raw, self._back).decode("utf-8", "surrogatepass")


def _both(first: Deny, second: Deny) -> Deny:
    """Return what a person is asked where two judges ask: one yes lifts both."""
    approval = first.approval.beside(second.approval) if first.approval is not None and second.approval is not None else first.approval
    return replace(first, rule=f"{first.rule} and {second.rule}", approval=approval)


def preview(arguments: str) -> str:
    """Return what a person is shown of arguments: longer than `PREVIEW` where that is not all of them.

    More than is shown is scanned, so that no part of a secret stands at the end, and strings are read as what they say.
    """
    raw = arguments[: 4 * PREVIEW].encode("utf-8", "surrogatepass")
    said = hidden(change_strings(raw, hidden).decode("utf-8", "surrogatepass"))
    return said if len(arguments) <= 4 * PREVIEW else said.ljust(PREVIEW + 1, "…")


def hidden(text: str) -> str:
    """Return `text` without what any guard would find in it, whatever the agent's settings: for the eyes of others."""
    hits = [hit for guard in text_guards() for hit in guard.scan(text, "tool_call")]
    return spliced(text, [Span(hit.start, hit.end, f"[{hit.label or 'HIDDEN'}]") for hit in hits])

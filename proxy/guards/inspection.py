"""The guards' look at a reply: its texts as they stream, its tool calls when they are complete.

Made for one exchange by the guard stage. Texts: what `block` forbids stops the reply before it, what `redact` hides is replaced, and a
placeholder that the request hid becomes the original again. Tool calls: the originals are put back into the arguments, the call guards say
what the call would do, and the judges (contract, rules, policy engine) decide on exactly what the agent would run. A refused call leaves
words for the model and the person; a dry run leaves a finding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from proxy.effects import Effect
from proxy.engine.exchange import Exchange
from proxy.engine.gate import PASSES, CallJudge, Span, Verdict
from proxy.guards.base import CallGuard, Hit
from proxy.guards.redaction import PLACEHOLDER, REACH
from proxy.guards.watch import Watch, refusal
from proxy.model import Deny
from proxy.wire import jsonio
from proxy.wire.call import ToolCall
from proxy.wire.editing import replace_words
from proxy.wire.refusals import sentence


class Inspection:
    """Implements `engine.gate.Inspector`.

    Args:
        ex: the exchange.
        watch: the text guards of its agent.
        calls: the call guards.
        judges: who decides on calls, first refusal first.
    """

    def __init__(self, ex: Exchange, watch: Watch, calls: Sequence[CallGuard], judges: Sequence[CallJudge]) -> None:
        self._ex, self._watch, self._guards, self._judges = ex, watch, calls, judges
        self._back: Mapping[str, str] = {hidden: text for text, hidden in ex.redactions.items()}
        texts = [guard for guard in watch.guards if "reply" in guard.surfaces]
        self._texts = texts
        reaches = [guard.reach for guard in texts]
        if self._back:
            reaches.append(REACH)
        self.reach: int | None = None if None in reaches else max([r for r in reaches if r is not None], default=0)
        self.calls = bool(judges)

    def spans(self, text: str) -> list[Span]:
        """See `Inspector.spans`."""
        found = [self._span(text, hit) for guard in self._texts for hit in guard.scan(text, "reply")]
        if self._back:
            matches = PLACEHOLDER.finditer(text)
            found += [Span(m.start(), m.end(), self._back[m.group()]) for m in matches if m.group() in self._back]
        return _apart([span for span in found if span is not None])

    def _span(self, text: str, hit: Hit) -> Span | None:
        mode = self._watch.modes[hit.rule.partition("/")[0]]
        self._ex.find(hit.rule, hit.detail)
        if mode == "block":
            deny = refusal(hit, self._ex.grant, "the reply")
            if not deny.shadow:
                return Span(hit.start, hit.end, "", deny)
            self._ex.find(f"shadow/{deny.reason}", deny.rule)
            return None
        if mode != "redact":
            return None
        return Span(hit.start, hit.end, f"[{hit.label or 'REDACTED'}]")

    async def judge(self, call: ToolCall) -> Verdict:
        """See `Inspector.judge`."""
        arguments = self._restored(call.arguments)
        restored = arguments != call.arguments
        if restored:
            call = ToolCall(call.id, call.name, arguments, jsonio.signature(call.name, arguments), call.place)
        effects = [effect for guard in self._guards for effect in guard.effects(call)]
        deny = await self._first(call, effects)
        if deny is not None:
            self._ex.find(str(deny.reason), deny.rule)
            self._ex.note("guards", f"withheld a call of {call.name[:80]}: {deny.message} [{deny.rule}]")
            return Verdict(words=sentence(deny))
        return Verdict(arguments=arguments) if restored else PASSES

    async def _first(self, call: ToolCall, effects: Sequence[Effect]) -> Deny | None:
        for judge in self._judges:
            deny = await judge.judge(self._ex, call, effects)
            if deny is None:
                continue
            if not deny.shadow:
                return deny
            self._ex.find(f"shadow/{deny.reason}", deny.rule)
        return None

    def _restored(self, arguments: str) -> str:
        """Return the arguments with the originals in the place of their placeholders."""
        if not self._back or not any(hidden in arguments for hidden in self._back):
            return arguments
        raw = arguments.encode("utf-8", "surrogatepass")
        return replace_words(raw, self._back).decode("utf-8", "surrogatepass")


def _apart(spans: list[Span]) -> list[Span]:
    """Return spans in order, none over another; a refusal goes before a replacement, an earlier one before a later."""
    spans.sort(key=lambda span: (span.start, span.deny is None, -span.end))
    kept: list[Span] = []
    for span in spans:
        if kept and span.start < kept[-1].end:
            if span.deny is not None and kept[-1].deny is None:
                kept[-1] = Span(kept[-1].start, max(kept[-1].end, span.end), "", span.deny)
            continue
        kept.append(span)
    return kept

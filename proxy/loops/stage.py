"""Puts the loop signal on the exchange and takes the step that the agent's ladder has for it; refuses sub-agents that a run may not have,
and a session that lasts too long.

Needs the call, the grant and the session. What a request holds is judged by itself, so that it gets the same answer on every replica. Only
where the provider keeps the history (OpenAI Responses) is the trail that a reply ended with remembered by the reply's id: bounded, of one
process and one snapshot; forgetting begins the count anew. What no request shows (`Past`) is remembered in this process. What a loop has
cost is told to people and decides nothing. A dry run changes nothing and says what it would do. It fails closed like every stage; only the
step `escalate` waits, for a person.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from proxy.engine.approval import approved
from proxy.engine.exchange import Exchange, Nobody
from proxy.engine.notice import Notice
from proxy.engine.ports import Question
from proxy.engine.stage import Stage, Tap
from proxy.loops import ladder
from proxy.loops.chant import Watch, looked_at, whole
from proxy.loops.delegation import Arrival, Memory, Runs, judged, refused
from proxy.loops.detection import LEVELS, Detection
from proxy.loops.handed import KEPT, handed
from proxy.loops.ladder import GENTLE, Rung
from proxy.loops.rules import detect
from proxy.loops.span import Spans
from proxy.loops.trail import NO_TRAIL, Trail, follow
from proxy.loops.wasted import Costs
from proxy.model import Deny, Grant, LoopLimits, LoopSignal, Nanos, Reason
from proxy.money import dollars
from proxy.wire.call import Message, Steer

GrantOf = Callable[[str], Grant | None]
"""Gives an agent's grant."""
Serves = Callable[[str, str], bool]
"""Tells whether a model (first) is served to callers of a dialect (second)."""
DIALECT = "openai.responses"
MOST, MAX_ID, MOST_CALLS = 5_000, 256, 64
"""Trails that are kept, the longest id that one is kept under, and the most calls in one step of it."""


@dataclass(frozen=True, slots=True)
class Past:
    """What lives as long as the process: what sessions cost and when they began, and who began whom."""

    costs: Costs = field(default_factory=Costs)
    spans: Spans = field(default_factory=Spans)
    runs: Memory = field(default_factory=Runs)


class LoopStage(Stage):
    """See the module."""

    name = "loops"
    needs = frozenset({"call", "grant", "agent"})
    gives = frozenset({"loop"})

    def __init__(
        self, serves: Serves = lambda model, dialect: False, past: Past | None = None, grant_of: GrantOf = lambda agent: None
    ) -> None:
        self._serves, self._past, self._grant_of = serves, past or Past(), grant_of
        self._trails: dict[tuple[str, str], Trail] = {}

    async def request(self, ex: Exchange) -> Deny | None:
        """Set `ex.loop`, and do what the ladder says; deny at the level `block`."""
        if ex.call.operation != "chat":
            return None
        ex.defer("wasted", self._spent)
        limits, found = ex.grant.loops, self._found(ex)
        dry = self._past.spans.over(ex.session, ex.grant.max_duration, ex.wall) if ex.grant.max_duration else None
        if (dry is None or dry.shadow) and (ex.parent or ex.run != ex.session):
            deny, across = self._across(ex)
            dry, found = deny or dry, max(found, across, key=lambda one: LEVELS.index(one.level))
        if dry is not None and not dry.shadow:
            return dry
        return dry if found.level == "none" else await self._answered(ex, limits, found) or dry

    def tap(self, ex: Exchange) -> Tap | None:
        """Watch a stream of words for a model that says one thing for ever."""
        return Watch(ex) if looked_at(ex) else None

    async def reply(self, ex: Exchange) -> Deny | None:
        """Look at a whole reply for the same; it only leaves a finding."""
        if looked_at(ex):
            whole(ex)
        return None

    def _across(self, ex: Exchange) -> tuple[Deny | None, Detection]:
        """Return what the run that the call belongs to has to say: a refusal, and a loop."""
        parent = ex.parent if not ex.parent or "/" in ex.parent else f"{ex.agent}/{ex.parent}"
        call = Arrival(ex.run, ex.session, ex.agent, parent, ex.wall, handed(ex.call))
        seen = self._past.runs.arrive(call)
        if set(seen.chain) == {ex.agent}:  # sub-agents of its own, perhaps within one session
            seen = replace(seen, chain=(ex.agent,) * max(len(seen.chain), 1 + ex.depth))
        deny = refused(seen, self._grant_of, ex.grant)
        if seen.new and deny is not None and not deny.shadow:
            self._past.runs.refuse(call)
        return deny, judged(seen, ex.grant.loops)

    async def _answered(self, ex: Exchange, limits: LoopLimits, found: Detection) -> Deny | None:
        """Say what was found, and do what the ladder says."""
        step = ladder.rung(found, limits, self._usable(ex), lambda: self._earlier(ex, found))
        wasted, fresh = self._past.costs.since(ex.session, found.since)
        level = "warn" if limits.shadow else step.level
        action = "" if limits.shadow else step.action
        ex.loop = LoopSignal(level, found.rule, found.count, action, found.since, wasted, fresh)
        ex.note("loops", _words(found, step, limits, wasted))
        if step.level == "warn":
            return None
        if not limits.shadow:
            ex.rt.tell(_notice(ex, found, step, wasted))
        if step.level == "block":
            return await self._refused(ex, found, step)
        if limits.shadow:
            ex.find("shadow/loops", f"would take the steps {', '.join(step.steps)}: {_rule(found.rule, limits)}")
            return None
        self._steer(ex, found, step)
        return None

    async def _refused(self, ex: Exchange, found: Detection, step: Rung) -> Deny | None:
        """Return the refusal; None where a person lets the agent go on. Who can ask nobody refuses."""
        limits = ex.grant.loops
        message = f"the agent called {found.names} {found.evidence}" if found.names else f"the agent goes in circles: {found.evidence}"
        rule = _rule(found.rule, limits)
        if step.action == "escalate" and not limits.shadow and not isinstance(ex.rt.approver, Nobody):
            asked = Question("loop", ex.agent, ex.session, ex.run, ex.id, found.rule, ladder.question(found), rule, why=message)
            return await approved(ex, asked)
        return Deny(
            Reason.LOOP_DETECTED,
            message,
            rule=rule,
            remedy="change the approach or the arguments, or ask a person; a new user message starts the count anew",
            shadow=limits.shadow,
        )

    def _steer(self, ex: Exchange, found: Detection, step: Rung) -> None:
        """Take the steps that let the call go on. Rules of files come later, and what they say about the route holds."""
        limits = ex.grant.loops
        steer = ladder.steer(step, found, limits)
        if steer != Steer():
            ex.steer = steer
            ex.call.overhead += ladder.room(steer)
        if "downgrade" in step.steps:
            ex.route_to, ex.route_rule = limits.downgrade, _rule("downgrade", limits)

    def _usable(self, ex: Exchange) -> tuple[str, ...]:
        """Return the gentle steps that this call can be answered with: a model must be allowed and served, and tools be there."""
        model = ex.grant.loops.downgrade
        moves = bool(model) and model != ex.call.model and ex.grant.may_use(model) and self._serves(model, ex.codec.dialect)
        without = {"downgrade"} if not moves else set[str]()
        without |= set() if ex.call.tools.specs else {"strip_tools"}
        return tuple(step for step in GENTLE if step not in without)

    def _earlier(self, ex: Exchange, found: Detection) -> int:
        """Return on how many calls before this one the loop could have been nudged; where nobody sent the history, by its count."""
        limits = ex.grant.loops
        if any(ex.call.hints.get(key) for key in KEPT):
            return max(0, found.count - limits.warn)

        def earlier(messages: Sequence[Message]) -> Detection:
            return detect(messages, limits)

        return ladder.earlier(ex.call.messages, earlier)

    async def _spent(self, ex: Exchange) -> None:
        """Keep what the call cost; see `engine.exchange.Release`."""
        if ex.cost:
            self._past.costs.spent(ex.session, ex.cost)

    def _found(self, ex: Exchange) -> Detection:
        """Return what the detector makes of the request, and of what is remembered where the provider keeps the history."""
        if ex.codec.dialect != DIALECT:
            return detect(ex.call.messages, ex.grant.loops)
        before = self._before(ex)
        ex.defer(self.name, functools.partial(self._remember, before))
        return detect(ex.call.messages, ex.grant.loops, before)

    def _before(self, ex: Exchange) -> Trail:
        hints = ex.call.hints
        return next((trail for key in KEPT if (trail := self._trails.get((ex.agent, hints.get(key, ""))))), NO_TRAIL)

    async def _remember(self, before: Trail, ex: Exchange) -> None:
        """Keep the trail that the reply ends with; see `engine.exchange.Release`."""
        meter = ex.meter
        if meter is None or not ex.served or len(meter.tool_calls) > MOST_CALLS:
            return
        ids = [id for id in (meter.reply_id, ex.call.hints.get("conversation", "")) if 0 < len(id) <= MAX_ID]
        if not ids:  # nobody can go on from it
            return
        trail = follow(ex.call.messages, meter.tool_calls, before)
        for id in ids:
            self._trails.pop((ex.agent, id), None)  # a conversation that goes on is not the oldest
            if len(self._trails) >= MOST:
                del self._trails[next(iter(self._trails))]
            self._trails[ex.agent, id] = trail


def _words(found: Detection, step: Rung, limits: LoopLimits, wasted: Nanos) -> str:
    done = f"; {'would take' if limits.shadow else 'takes'} the steps {', '.join(step.steps)}" if step.steps else ""
    cost = f"; {dollars(wasted)} USD since it began" if wasted else ""
    return f"{step.level}: {found.names}, {found.evidence} (warn at {limits.warn}, block at {limits.block}){done}{cost}"


def _notice(ex: Exchange, found: Detection, step: Rung, wasted: Nanos) -> Notice:
    """Return what people hear of a loop, once for each step that is taken against it."""
    text = f"Agent {ex.agent} goes in circles: {found.names or found.rule}, {found.evidence}. Step taken: {step.steps[-1]}."
    facts: dict[str, str | int | float | bool | None] = {
        "agent": ex.agent, "session": ex.session, "run": ex.run, "rule": found.rule, "count": found.count, "since": found.since,
        "step": step.steps[-1], "wasted_usd": dollars(wasted), "decision_id": ex.id,
    }  # fmt: skip
    return Notice("loop", f"{ex.session}/{found.rule}/{step.steps[-1]}", text, facts, ex.wall)


def _rule(rule: str, limits: LoopLimits) -> str:
    where = f" ({limits.source.file}:{limits.source.line})" if limits.source is not None else " (default)"
    return f"loops.{rule}{where}"

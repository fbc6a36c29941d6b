"""Whether a request goes to the simple model: rules first, then its score, then what the conversation has to lose.

Only a new task of a user is scored; the turns that follow it (results of tools) go where the task went. Words of the client can shift a
score by a bounded amount, budgets that burn too fast can raise the threshold as far as settings and agent allow, and nothing of this
reaches what rules forbid. Fails towards the model that was asked for: what is not known moves nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Literal

from proxy.engine.exchange import Exchange
from proxy.model import RouteReason, Target, Usage
from proxy.routing.bounds import barred, held, too_long, unproven
from proxy.routing.hints import TASK_HEADER, TASKS, shift
from proxy.routing.memory import Conversations, Key, Last, task_of
from proxy.routing.models import AUTO, ModelTable
from proxy.routing.rules import Difficulty, difficulty, early
from proxy.routing.saving import Turn, kept_of, pays
from proxy.wire.call import Call

Mode = Literal["off", "shadow", "enforce"]
ANSWER = 400
"""Tokens of an answer, where the conversation has none yet to go by."""


async def no_pressure(ex: Exchange) -> float:
    """Know of no budget."""
    return 0.0


def cheap_bound(call: Call, target: Target) -> int:
    """Return a bound of the prompt's tokens that costs nothing: no vocabulary makes much more than one of two bytes of JSON."""
    return len(call.body) // 2


@dataclass(frozen=True, slots=True)
class Options:
    """The settings `routing`.

    Attributes:
        mode: whether requests are scored, and whether the score decides.
        simple_to: the model for simple requests.
        threshold: a difficulty below this is simple.
        max_threshold: how far budgets that burn too fast raise it; None for not at all.
        local_only: classes of data that stay on local models, whoever serves.
    """

    mode: Mode = "off"
    simple_to: str | None = None
    threshold: float = 0.35
    max_threshold: float | None = None
    local_only: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Around:
    """What others know: tokens of a prompt at a target, the pressure on a call's budgets (0..1), and where conversations were."""

    tokens: Callable[[Call, Target], int] = cheap_bound
    pressure: Callable[[Exchange], Awaitable[float]] = no_pressure
    conversations: Conversations = field(default_factory=Conversations)


@dataclass(slots=True)
class Choice:
    """What was found: the score, where the request goes instead of where it was sent, or would go if scores decided, and why."""

    score: float | None = None
    target: Target | None = None
    would: Target | None = None
    words: list[str] = field(default_factory=list)

    @property
    def reason(self) -> RouteReason:
        """The word for the route."""
        return "requested" if self.target is None else "local"


class Chooser:
    """See the module."""

    def __init__(self, table: ModelTable, options: Options, around: Around) -> None:
        self._table, self._options, self._around = table, options, around

    async def choose(self, ex: Exchange, asked: Target | None) -> Choice:
        """Return where `ex`, which would be served by `asked` (None: by nobody), goes."""
        choice = Choice()
        if self._options.mode == "off" or ex.call.operation != "chat":
            return choice
        found = difficulty(ex.call)
        target, key = self._candidate(ex), key_of(ex)
        if found is None:
            last = self._around.conversations.get(key)
            if target is not None and last is not None and last.local and last.task == task_of(ex.call.messages):
                if not (why := self._unfit(ex.call, target)):
                    choice.target = target
                    choice.words.append("its task is served there")
                else:
                    choice.words.append(f"it leaves {target.model}: {why}")
            self._watch(ex, key, choice)
            return choice
        score = self._hinted(ex, found, choice)
        if target is not None and (await self._simple(ex, score, choice)) and early(ex.call):
            self._settle(ex, target, asked, choice)
        self._watch(ex, key, choice)
        return choice

    def _candidate(self, ex: Exchange) -> Target | None:
        """Return the target for simple requests, if the rules let this agent's go there."""
        grant, model = ex.grant, self._options.simple_to
        if model is None or model == ex.call.model or not grant.local_ok or grant.routing.pinned or not grant.may_use(model):
            return None
        target = self._table.target(model, ex.codec.dialect)
        if target is None or barred(target, held(grant), self._options.local_only):
            return None
        return target

    def _unfit(self, call: Call, target: Target) -> str:
        why = unproven(call, target)
        if not why and target.context is not None and too_long(call, target, self._around.tokens(call, target)):
            why = f"it may not fit into {target.context} tokens"
        return why

    def _hinted(self, ex: Exchange, found: Difficulty, choice: Choice) -> float:
        """Return the score with the client's hint, and keep the words for both."""
        score, task = found.score, ex.headers.get(TASK_HEADER)
        words = ", ".join(found.reasons)
        if task is not None and (task := task.strip().lower()) in TASKS:
            score = shift(task, score)
            words += f"; hint {task} ({TASKS[task]:+.2f})"
        elif task is not None:
            ex.note("routing", f"{TASK_HEADER} names no task that is known, and counts for nothing; known: {', '.join(TASKS)}")
        choice.score = score
        choice.words.append(f"difficulty {score:.2f}: {words}")
        return score

    async def _simple(self, ex: Exchange, score: float, choice: Choice) -> bool:
        """Tell if `score` is below the threshold of the agent and of this moment."""
        options, own = self._options, ex.grant.routing
        least = options.threshold if own.threshold is None else min(options.threshold, own.threshold)
        if score < least:
            return True
        most = least if options.max_threshold is None else options.max_threshold
        most = most if own.max_threshold is None else min(most, own.max_threshold)
        if score >= most:
            return False
        pressure = await self._around.pressure(ex)
        raised = least + (most - least) * min(1.0, max(0.0, pressure))
        if raised > least:
            choice.words.append(f"threshold {raised:.2f} instead of {least:g}, budgets are {pressure:.0%} over plan")
        return score < raised

    def _settle(self, ex: Exchange, target: Target, asked: Target | None, choice: Choice) -> None:
        """A simple request: it goes to `target` unless that cannot do it, or moving costs more than it saves."""
        why = self._unfit(ex.call, target)
        if not why and asked is not None and not self._pays(ex, target, asked):
            why = "moving it would lose more of what the provider has kept of the prompt than it saves"
        if why:
            choice.words.append(f"not to {target.model}: {why}")
        elif self._options.mode == "enforce":
            choice.target = target
        else:
            choice.would = target
            ex.find("routing/would-go-local", f"difficulty {choice.score:.2f} is below the threshold: {target.model}")

    def _pays(self, ex: Exchange, target: Target, asked: Target) -> bool:
        last = self._around.conversations.get(key_of(ex))
        if last is None or last.local or asked.price is None or target.price is None:
            return True
        kept = kept_of(last.usage, last.protocol, ex.wall - last.time, asked.price)
        if not kept:
            return True
        turn = Turn(max(kept, self._around.tokens(ex.call, asked)), kept, last.usage.output or ANSWER)
        return pays(turn, asked.price, target.price)

    def _watch(self, ex: Exchange, key: Key, choice: Choice) -> None:
        """Remember where this turn was served once it was; what goes to the simple model at once, since releases take their time."""
        if not ex.session or self._options.simple_to is None:
            return
        known, task, chosen = self._around.conversations, task_of(ex.call.messages), choice.target
        before = known.get(key)
        if chosen is not None:
            known.put(key, Last(True, task, Usage(), chosen.protocol, ex.wall))

        async def remember(ended: Exchange) -> None:
            target, usage = ended.target, ended.usage or Usage()
            if target is not None and ended.outcome in ("", "ok") and ended.upstream_status < 300:
                known.put(key, Last(chosen is not None and target == chosen, task, usage, target.protocol, ended.clock.now()))
            elif chosen is not None:
                known.put(key, before or Last(False, 0, Usage(), chosen.protocol, ex.wall))

        ex.defer("routing", remember)


def key_of(ex: Exchange) -> Key:
    """Return the name of the conversation of `ex`: a session may hold several, and clients compact them."""
    opening = next((hash(m.texts) for m in ex.call.messages[:4] if m.role == "user"), 0)
    return ex.session, ex.depth, ex.call.model if ex.call.model != AUTO else "", opening

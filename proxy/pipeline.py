"""The one visible, ordered list of everything that looks at an exchange.

identity  first, from headers alone: nobody unauthenticated makes us read or parse a body
kill      at once: nothing is read for an agent, a team or a key that a person has stopped
decode    the body, once; what is not the protocol's own JSON goes no further
session   correlation for all that follows; never authority
kill-session  again, now that session, run and the model asked for are known
again     before anything that costs: what was decided about a stream holds for its repeat without streaming
loops     from the history in the request; before policy, so that policies can read the signal
policy    the agent's contract: models, tools, ceilings, steps
rules     the rules of files, on what passed the contract
rego      the policies of files, on what passed the rules
guards    secrets, personal data, injections in what is new; after policy, so that nothing is scanned for a call that is refused anyway
          judges replies, for contract, rules and policies too
routing   inside what policy allows; before the budget, which reserves at the dearest price that the route may use
kill-route  takes the models out of the route that a person has stopped
budget    last, so that nothing is held for a call that is refused anyway
kill-lease  only where a store has a lease: while kills cannot be read, what the budget did not bound goes no further
sample    only where `routing.sample` asks for it: draws calls whose local answers are compared, when nothing can refuse them any more
[send]    the engine asks the provider
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from proxy.budget.estimate import bound_now
from proxy.budget.grades import Instead
from proxy.budget.learned import Learned
from proxy.budget.left import left
from proxy.budget.port import BudgetStore
from proxy.budget.pressure import pressure
from proxy.budget.settle import tokenizer_of
from proxy.budget.stage import BudgetStage
from proxy.control.kill import KillBoard, KillLeaseStage, KillRouteStage, KillSessionStage, KillStage
from proxy.engine.again import AgainStage
from proxy.engine.decode import DecodeStage
from proxy.engine.exchange import Exchange, Patience
from proxy.engine.gate import CallJudge
from proxy.engine.stage import Plan, Stage, compile_plan
from proxy.guards.base import CallGuard
from proxy.guards.catalog import text_guards
from proxy.guards.stage import GuardStage
from proxy.guards.tools import ShellGuard
from proxy.identity.directory import Directory
from proxy.identity.issuer import TokenRing
from proxy.identity.keys import KeyRing
from proxy.identity.lineage import Lineage
from proxy.identity.mapping import AgentMap
from proxy.identity.mesh import Mesh
from proxy.identity.stage import IdentityStage, SessionStage
from proxy.identity.threads import Threads
from proxy.loops.chant import stuck
from proxy.loops.stage import LoopStage, Past
from proxy.model import BudgetRule, Target
from proxy.policy.embedded import Embedded
from proxy.policy.input import Facts
from proxy.policy.judge import ContractJudge, RuleJudge
from proxy.policy.opa import Opa, OpaServer
from proxy.policy.rego import NO_POLICIES, Policies
from proxy.policy.rego_stage import Engine, Rego, RegoJudge, RegoStage
from proxy.policy.rule_stage import RuleStage
from proxy.policy.rules import RuleSet
from proxy.policy.stage import ContractStage
from proxy.routing.choice import cheap_bound
from proxy.routing.memory import Conversations
from proxy.routing.models import ModelTable
from proxy.routing.sample import Listen, SampleStage, Take
from proxy.routing.stage import Around, Options, RoutingStage
from proxy.settings import Settings
from proxy.wire.base import Memos
from proxy.wire.call import Call

GIVEN = frozenset({"headers", "method", "path"})
"""What the edge sets before the first stage."""


HOLD_MARGIN_S = 120.0
"""How much longer a hold lives than the longest request: it may be tried on several targets, and is settled after its last byte."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What stages are built from: the snapshot's own parts, and those that live as long as the process."""

    settings: Settings
    directory: Directory
    budgets: Sequence[BudgetRule]
    table: ModelTable
    listing: Mapping[str, Target]
    ring: Callable[[], KeyRing]
    memos: Memos
    store: BudgetStore
    threads: Threads
    lineage: Lineage
    again: AgainStage
    rules: RuleSet
    rego: Policies = NO_POLICIES
    opa: OpaServer | None = None
    learned: Learned = field(default_factory=Learned)
    past: Past = field(default_factory=Past)
    conversations: Conversations = field(default_factory=Conversations)
    kills: KillBoard | None = None
    """Who is stopped; None where nothing is sent anyway."""
    tokens: TokenRing | None = None
    """Checks tokens; None where only keys count."""
    samples: tuple[Take, Listen] | None = None
    """Who compares answers of local models; None where nobody does."""

    @property
    def sampled(self) -> bool:
        """Whether any call is drawn for that."""
        asked = self.settings.routing
        return self.samples is not None and asked.mode == "enforce" and asked.sample > 0


def stages(parts: Parts) -> list[Stage]:
    """Return the stages in the order in which they run."""
    s, auth, asked = parts.settings, parts.settings.auth, parts.settings.routing
    options = Options(asked.mode, asked.simple_to, asked.threshold, asked.max_threshold, asked.local_only)
    around = Around(prompt_tokens, pressure(parts.budgets, parts.store), parts.conversations)
    routing = RoutingStage(parts.table, options, parts.listing, around)
    rules, rego = RuleJudge(parts.rules, routing.providers), policies(parts, routing)
    judges: list[CallJudge] = [ContractJudge(), rules]
    if rego is not None and rego.has("tool_call"):
        judges.append(RegoJudge(rego))
    kills = parts.kills
    budget = BudgetStage(
        parts.budgets,
        parts.store,
        default_max_output=s.budget.default_max_output,
        min_output=s.budget.min_output,
        step_output=s.budget.step_output,
        hold_s=s.longest_s() + HOLD_MARGIN_S,
    )
    budget.learned = parts.learned
    budget.instead = instead(routing, kills)
    return [
        IdentityStage(parts.directory, parts.ring, auth.mode, parts.tokens, auth.also_keys, mesh(s)),
        *([KillStage(kills)] if kills is not None else []),
        DecodeStage(parts.memos),
        SessionStage(parts.threads, parts.lineage),
        *([KillSessionStage(kills)] if kills is not None else []),
        parts.again,
        LoopStage(lambda model, dialect: bool(parts.table.targets(model, dialect)), parts.past, parts.directory.agents.get),
        ContractStage(),
        RuleStage(parts.rules, routing.providers),
        *([RegoStage(rego)] if rego is not None else []),
        GuardStage(text_guards(), call_guards(), judges, (rules,)),
        routing,
        *([KillRouteStage(kills)] if kills is not None else []),
        budget,
        *([KillLeaseStage(kills)] if kills is not None and s.store.lease else []),
        *([SampleStage(asked.sample, *parts.samples)] if parts.samples is not None and parts.sampled else []),
    ]


def prompt_tokens(call: Call, target: Target) -> int:
    """Return the bound of a prompt's tokens that its budget would count, a cheaper one where that takes long."""
    known = bound_now(call, tokenizer_of(target))
    return cheap_bound(call, target) if known is None else known


def instead(routing: RoutingStage, kills: KillBoard | None) -> Instead:
    """Return what says where a call may go that its budgets cannot pay: as routing says, and to no model that is stopped."""

    def look(ex: Exchange, model: str) -> tuple[Target, ...] | str:
        found = routing.instead(ex, model)
        if kills is None or isinstance(found, str):
            return found
        left = tuple([target for target in found if kills.stops(target) is None])
        return left or f"{found[0].model} is stopped"

    return look


def policies(parts: Parts, routing: RoutingStage) -> Rego | None:
    """Return the policies with the engine that decides on them, or None where there are none."""
    if not parts.rego:
        return None
    engine: Engine = Embedded(parts.rego) if parts.opa is None else Opa(parts.opa, parts.rego)
    facts = Facts(routing.candidates, left(parts.budgets, parts.store))
    return Rego(parts.rego, engine, facts, parts.settings.policy.on_error)


def patience(settings: Settings) -> Patience:
    """Return how long a local model may take where another stands behind it, and what its answers must not be."""
    return Patience(settings.routing.first_byte_s, settings.routing.answer_s, stuck)


def mesh(settings: Settings) -> Mesh | None:
    """Return what says whom a service mesh vouches for, None where its word does not count."""
    said = settings.auth.spiffe
    return None if said is None else Mesh(said.header, said.trusted, AgentMap(said.map))


def call_guards() -> tuple[CallGuard, ...]:
    """Return what says what tool calls would do: a new call guard is a line here."""
    return (ShellGuard(),)


def plan(parts: Parts) -> Plan:
    """Return the compiled plan. Raises PlanError when the order above cannot work."""
    return compile_plan(stages(parts), GIVEN)


def sample_plan(parts: Parts) -> Plan:
    """Return the plan for requests that we send once more ourselves: the same, without what would take them for the client's repeats."""
    return compile_plan([stage for stage in stages(parts) if stage.name not in ("again", "loops", "sample")], GIVEN)

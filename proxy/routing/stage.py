"""Chooses the route of an exchange: the model that was asked for, or a simpler local one, and the fallbacks behind it.

Needs the call and the grant, gives the route. Refuses only what nobody serves (`model_not_allowed`, saying why and where to call
instead) and `auto` without a default model; whether the agent may use the model that it asked for is the policy's decision, and whether
a target has a price is the budget's. In shadow mode simple requests are scored and reported, and go where they were going.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from proxy.engine.exchange import Exchange
from proxy.engine.stage import Stage
from proxy.model import Deny, Grant, Reason, Route, Target
from proxy.routing.bounds import barred, held, too_long, unable
from proxy.routing.choice import Around, Choice, Chooser, Mode, Options
from proxy.routing.models import AUTO, ModelTable
from proxy.wire.base import ListCodec

__all__ = ["Around", "Mode", "Options", "RoutingStage"]

REMEMBERED = 512
"""Routes that are kept; when full they start anew."""


class RoutingStage(Stage):
    """See the module.

    Args:
        table: the models that are served.
        options: the settings.
        listing: for each protocol the provider that is asked for its list of models.
        around: what others know (see `Around`).
    """

    name = "routing"
    needs = frozenset({"headers", "call", "session", "grant"})
    gives = frozenset({"route"})

    def __init__(
        self,
        table: ModelTable,
        options: Options = Options(),  # noqa: B008  frozen
        listing: Mapping[str, Target] | None = None,
        around: Around | None = None,
    ) -> None:
        self._table, self._options, self._listing = table, options, listing or {}
        self._around = around or Around()
        self._chooser = Chooser(table, options, self._around)
        self._plain: dict[tuple[int, str, str], tuple[Grant, Route, str]] = {}

    async def request(self, ex: Exchange) -> Deny | None:
        """Set `ex.route`, or refuse when nothing serves the model, or nothing that the agent's data may go to."""
        call, dialect = ex.call, ex.codec.dialect
        ex.asked_model = call.model
        if call.operation == "models":
            return self._list(ex)
        if ex.sample_of:
            return self._sampled(ex)
        if ex.route_to:
            return self._ruled(ex)
        key = (id(ex.grant), call.model, dialect)
        known = self._plain.get(key)
        if known is not None and known[0] is ex.grant:
            ex.route = known[1]
            ex.note("routing", known[2])
            return None
        model = self._model(ex)
        asked = () if model is None else self._table.targets(model, dialect)
        if not asked and model is not None:
            return _not_served(self._table.explain_missing(model, dialect))
        usable = self._permitted(ex, asked)
        choice = await self._chooser.choose(ex, usable[0] if usable else None)
        if model is None and choice.target is None:
            return _no_default(ex.grant)
        targets = [] if choice.target is None else [choice.target]
        targets += [target for target in usable if target not in targets]
        fallbacks = self._fallbacks(ex)
        targets += [target for target in fallbacks if target not in targets]
        if not targets:
            return self._kept_in(ex, asked)
        ex.route = _route(tuple(targets), choice, asked)
        words = f"{ex.route.reason}: {targets[0].provider} {targets[0].model}; {ex.route.why}".rstrip("; ")
        if len(targets) > 1:
            words += f"; then {', '.join(f'{target.provider} {target.model}' for target in targets[1:])}"
        ex.note("routing", words)
        if self._always(ex.grant):
            if len(self._plain) >= REMEMBERED:
                self._plain.clear()
            self._plain[key] = (ex.grant, ex.route, words)  # it holds the grant, so that its id stays its own
        return None

    def _always(self, grant: Grant) -> bool:
        """Return whether the route hangs on the agent and the name of the model alone, and on nothing that a call says or a moment is."""
        return self._options.mode == "off" and not grant.fallback and not grant.shadow

    def _model(self, ex: Exchange) -> str | None:
        """Return the model that is asked for; of `auto` the agent's default, None where it has none that it may use."""
        if ex.call.model != AUTO:
            return ex.call.model
        default = ex.grant.default_model
        return default if default is not None and ex.grant.may_use(default) else None

    def _permitted(self, ex: Exchange, targets: Sequence[Target]) -> tuple[Target, ...]:
        """Return those of `targets` that the agent's data may go to; what a dry run of its file would keep out is reported."""
        data, local_only = held(ex.grant), self._options.local_only
        kept = tuple([target for target in targets if not barred(target, data, local_only)])
        if ex.grant.shadow:
            dry = next((why for why in [barred(target, ex.grant.data, local_only) for target in kept] if why), "")
            if dry and all(finding.rule != "shadow/policy_denied" for finding in ex.findings):
                ex.find("shadow/policy_denied", dry)
        return kept

    def _kept_in(self, ex: Exchange, targets: Sequence[Target]) -> Deny:
        """Return the refusal of data that no target of the route may get."""
        why = barred(targets[0], held(ex.grant), self._options.local_only)
        rule = "routing.local_only" if "(routing.local_only)" in why else "policy.data.residency"
        message = f"Agent {ex.grant.agent} may not send its data to any provider that serves this: {why}."
        remedy = "Ask for a model that is served where the data may go, or list one under the agent's policy.models.fallback."
        return Deny(Reason.POLICY_DENIED, message, rule, remedy)

    def _ruled(self, ex: Exchange) -> Deny | None:
        """Route to the model that a rule of files names and nowhere else: it may say so because the others must not see this."""
        model, rule = ex.route_to, ex.route_rule
        targets = self._table.targets(model, ex.codec.dialect)
        if targets and not self._permitted(ex, targets):
            return self._kept_in(ex, targets)
        targets = self._permitted(ex, targets)
        if not targets or not ex.grant.may_use(model):
            why = f"agent {ex.grant.agent} may not use it" if targets else self._table.explain_missing(model, ex.codec.dialect)
            return Deny(
                Reason.MODEL_NOT_ALLOWED, f"A rule has this served by {model} alone: {why}.", rule, f"Have {model} allowed and served."
            )
        ex.route = Route(tuple(targets), "local" if targets[0].local else "downgrade", f"rule {rule}")
        ex.note("routing", f"{ex.route.reason}: {targets[0].provider} {targets[0].model}; rule {rule}")
        return None

    def _sampled(self, ex: Exchange) -> Deny | None:
        """Route a second look to the first target of the model that was asked for, and nowhere else, where the data may still go there."""
        model = self._model(ex)
        usable = () if model is None else self._permitted(ex, self._table.targets(model, ex.codec.dialect))
        if not usable or ex.route_to:
            why = f"A sample goes to the model that was asked for alone, and {ex.route_rule or 'what is configured'} keeps it from there."
            return Deny(Reason.MODEL_NOT_ALLOWED, why, ex.route_rule or "routing.sample", "Nothing: the client was answered before.")
        ex.route = Route(usable[:1], "requested", f"sample of {ex.sample_of}")
        ex.note("routing", f"requested: {usable[0].provider} {usable[0].model}; {ex.route.why}")
        return None

    def _list(self, ex: Exchange) -> Deny | None:
        """Have the provider that speaks the protocol asked; where none does, list what has a name in the configuration."""
        target = self._listing.get(ex.protocol)
        if target is not None:
            ex.route = Route((target,))
            return None
        grant, names = ex.grant, list(self._table.names())
        if isinstance(ex.codec, ListCodec):
            names += [name for name in (grant.default_model, *grant.fallback) if name]
            usable = [name for name in dict.fromkeys(names) if grant.may_use(name)]
            ex.answer = ex.codec.listing(usable)
        ex.route = Route(())
        ex.note("routing", f"no provider speaks {ex.protocol}: listed the models that `models` names")
        return None

    def candidates(self, ex: Exchange) -> tuple[Target, ...]:
        """Return where the model that is asked for could be served, before a route is chosen."""
        model = ex.grant.default_model if ex.call.model == AUTO else ex.call.model
        return () if model is None else self._permitted(ex, self._table.targets(model, ex.codec.dialect))

    def instead(self, ex: Exchange, model: str) -> tuple[Target, ...] | str:
        """Return where `model` may serve `ex` in place of its route (empty: a local model), or in words why nothing may.

        Inside the grant only, never past a rule that says where it goes, and with no provider that the rules have not looked at.
        """
        if ex.route_to:
            return f"a rule has it served by {ex.route_to} alone ({ex.route_rule})"
        if ex.call.operation != "chat":
            return "only chats go to another model"
        grant, simple_to = ex.grant, self._options.simple_to
        if grant.routing.pinned:
            return "the agent's file pins it to the model that is asked for (policy.routing.pinned)"
        names = [model] if model else [*([simple_to] if grant.local_ok and simple_to else []), *grant.fallback]
        seen, now = self.providers(ex), {target.model for target in ex.route.targets[:1]}
        why = "the agent may use no local model"
        for name in names:
            found = self._table.targets(name, ex.codec.dialect)
            found = tuple([t for t in found if t.local or model])
            if not found:
                why = f"no local server has {name}" if not model else self._table.explain_missing(name, ex.codec.dialect)
            elif not grant.may_use(name):
                why = f"agent {grant.agent} may not use {name}"
            elif name in now:
                why = f"{name} is what would serve it already"
            elif not (able := tuple([t for t in found if not self._kept_out(ex, t)])):
                why = f"{name} cannot serve it: {self._kept_out(ex, found[0])}"
            elif any(t.provider not in seen for t in able):
                why = f"the provider of {name} is not among those that the rules have looked at; name {name} in the agent's fallback"
            else:
                return able
        return why

    def _kept_out(self, ex: Exchange, target: Target) -> str:
        """Return why `target`, which nobody asked for by name, may not serve `ex`, empty where it may."""
        why = barred(target, held(ex.grant), self._options.local_only) or unable(ex.call, target)
        if not why and target.local and target.context is not None:
            long = too_long(ex.call, target, self._around.tokens(ex.call, target))
            why = f"it may not fit into {target.context} tokens" if long else ""
        return why

    def providers(self, ex: Exchange) -> tuple[str, ...]:
        """Return every provider that may come to serve this request, before a route is chosen."""
        asked = ex.grant.default_model if ex.call.model == AUTO else ex.call.model
        models = {asked, *ex.grant.fallback, self._options.simple_to}
        found = [t for model in models if model for t in self._table.targets(model, ex.codec.dialect)]
        data = held(ex.grant)
        return tuple({t.provider for t in found if not barred(t, data, self._options.local_only)})

    async def reply(self, ex: Exchange) -> Deny | None:
        """Take out of a list of models those that the agent may not use."""
        if ex.call.operation == "models" and isinstance(ex.codec, ListCodec):
            ex.reply_body = ex.codec.filter(ex.reply_body, ex.grant.may_use)
        return None

    def _fallbacks(self, ex: Exchange) -> list[Target]:
        """Return where the agent's file has a chat served when the targets before are down."""
        grant, found = ex.grant, list[Target]()
        if not grant.fallback or ex.call.operation != "chat" or grant.routing.pinned:
            return found
        for model in grant.fallback:
            if grant.may_use(model):
                found += [t for t in self._table.targets(model, ex.codec.dialect) if not self._kept_out(ex, t)]
        return found


def _route(targets: tuple[Target, ...], choice: Choice, asked: Sequence[Target]) -> Route:
    reason, why, other = choice.reason, "; ".join(choice.words), choice.would
    if choice.target is not None:
        other = next((target for target in targets[1:] if target in asked), None)
    elif targets[0] not in asked:
        reason, why = "fallback", "; ".join([*choice.words, "what was asked for is not where the data may go"])
    return Route(targets, reason, why, choice.score, other)


def _not_served(why: str) -> Deny:
    remedy = "ask for a model that is served, or add a rule to `models` in the configuration"
    return Deny(Reason.MODEL_NOT_ALLOWED, why, rule="models", remedy=remedy)


def _no_default(grant: Grant) -> Deny:
    model = grant.default_model
    return Deny(
        Reason.MODEL_NOT_ALLOWED,
        f"`{AUTO}` was asked for, and agent {grant.agent} "
        + ("has no default model" if model is None else f"may not use its default model {model}"),
        rule="routing.auto",
        remedy="name a model, or set policy.models.default in the agent's file to one that it may use",
    )

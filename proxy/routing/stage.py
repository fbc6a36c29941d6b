"""Chooses the route of an exchange: the model that was asked for, or a simpler local one, and the fallbacks behind it.

Needs the call and the grant, gives the route. Refuses only what nobody serves (`model_not_allowed`, saying why and where to call
instead) and `auto` without a default model; whether the agent may use the model that it asked for is the policy's decision, and whether
a target has a price is the budget's. In shadow mode simple requests are scored and reported, and go where they were going.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from proxy.engine.exchange import Exchange
from proxy.engine.stage import Stage
from proxy.model import Deny, Grant, Reason, Route, RouteReason, Target
from proxy.routing.models import AUTO, ModelTable
from proxy.routing.rules import Difficulty, difficulty, simple
from proxy.wire.base import ListCodec

Mode = Literal["off", "shadow", "enforce"]


class RoutingStage(Stage):
    """See the module.

    Args:
        table: the models that are served.
        mode: whether requests are scored, and whether the score decides.
        simple_to: the model for simple requests.
        threshold: a difficulty below this is simple.
        listing: for each protocol the provider that is asked for its list of models.
    """

    name = "routing"
    needs = frozenset({"call", "grant"})
    gives = frozenset({"route"})

    def __init__(
        self,
        table: ModelTable,
        mode: Mode = "off",
        simple_to: str | None = None,
        threshold: float = 0.35,
        listing: Mapping[str, Target] | None = None,
    ) -> None:
        self._table, self._mode, self._simple_to, self._threshold = table, mode, simple_to, threshold
        self._listing = listing or {}

    async def request(self, ex: Exchange) -> Deny | None:
        """Set `ex.route`, or refuse when nothing serves the model."""
        call, dialect = ex.call, ex.codec.dialect
        ex.asked_model = call.model
        if call.operation == "models":
            return self._list(ex)
        if ex.route_to:
            return self._ruled(ex)
        score = difficulty(call) if self._mode != "off" and call.operation == "chat" else None
        local = self._local(ex, score, dialect)
        targets = [] if local is None else [local]
        model: str | None = call.model
        if model == AUTO:
            default = ex.grant.default_model
            model = default if default is not None and ex.grant.may_use(default) else None
            if model is None and local is None:
                return _no_default(ex.grant)
        asked = () if model is None else self._table.targets(model, dialect)
        targets += asked if local is None else [target for target in asked if target != local]
        if not asked and model is not None:
            return Deny(
                Reason.MODEL_NOT_ALLOWED,
                self._table.explain_missing(model, dialect),
                rule="models",
                remedy="ask for a model that is served, or add a rule to `models` in the configuration",
            )
        if ex.grant.fallback and call.operation == "chat":
            self._add_fallbacks(targets, ex.grant, dialect)
        ex.route = _route(tuple(targets), local, score)
        words = f"{ex.route.reason}: {targets[0].provider} {targets[0].model}; {ex.route.why}".rstrip("; ")
        if len(targets) > 1:
            words += f"; then {', '.join(f'{target.provider} {target.model}' for target in targets[1:])}"
        ex.note("routing", words)
        return None

    def _ruled(self, ex: Exchange) -> Deny | None:
        """Route to the model that a rule of files names and nowhere else: it may say so because the others must not see this."""
        model, rule = ex.route_to, ex.route_rule
        targets = self._table.targets(model, ex.codec.dialect)
        if not targets or not ex.grant.may_use(model):
            why = f"agent {ex.grant.agent} may not use it" if targets else self._table.explain_missing(model, ex.codec.dialect)
            return Deny(
                Reason.MODEL_NOT_ALLOWED, f"A rule has this served by {model} alone: {why}.", rule, f"Have {model} allowed and served."
            )
        ex.route = Route(tuple(targets), "local" if targets[0].local else "downgrade", f"rule {rule}")
        ex.note("routing", f"{ex.route.reason}: {targets[0].provider} {targets[0].model}; rule {rule}")
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
        return () if model is None else tuple(self._table.targets(model, ex.codec.dialect))

    def instead(self, ex: Exchange, model: str) -> tuple[Target, ...] | str:
        """Return where `model` may serve `ex` in place of its route (empty: a local model), or in words why nothing may.

        Inside the grant only, never past a rule that says where it goes, and with no provider that the rules have not looked at.
        """
        if ex.route_to:
            return f"a rule has it served by {ex.route_to} alone ({ex.route_rule})"
        if ex.call.operation != "chat":
            return "only chats go to another model"
        grant = ex.grant
        names = [model] if model else [*([self._simple_to] if grant.local_ok and self._simple_to else []), *grant.fallback]
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
            elif any(t.provider not in seen for t in found):
                why = f"the provider of {name} is not among those that the rules have looked at; name {name} in the agent's fallback"
            else:
                return found
        return why

    def providers(self, ex: Exchange) -> tuple[str, ...]:
        """Return every provider that may come to serve this request, before a route is chosen."""
        models = {ex.call.model, ex.grant.default_model if ex.call.model == AUTO else None, *ex.grant.fallback, self._simple_to}
        return tuple({t.provider for model in models if model for t in self._table.targets(model, ex.codec.dialect)})

    async def reply(self, ex: Exchange) -> Deny | None:
        """Take out of a list of models those that the agent may not use."""
        if isinstance(ex.codec, ListCodec):
            ex.reply_body = ex.codec.filter(ex.reply_body, ex.grant.may_use)
        return None

    def _local(self, ex: Exchange, score: Difficulty | None, dialect: str) -> Target | None:
        """Return the target for simple requests if this is one that may go there; in shadow mode report it and return None."""
        grant, model = ex.grant, self._simple_to
        if score is None or model is None or model == ex.call.model or not grant.local_ok:
            return None
        if not simple(ex.call, score.score, self._threshold) or not grant.may_use(model):
            return None
        target = self._table.target(model, dialect)
        if target is None or self._mode == "enforce":
            return target
        ex.find("routing/would-go-local", f"difficulty {score.score:.2f} is below {self._threshold:g}: {model}")
        return None

    def _add_fallbacks(self, targets: list[Target], grant: Grant, dialect: str) -> None:
        for model in grant.fallback:
            if grant.may_use(model):
                targets += [target for target in self._table.targets(model, dialect) if target not in targets]


def _route(targets: tuple[Target, ...], local: Target | None, score: Difficulty | None) -> Route:
    reason: RouteReason = "requested" if local is None else "local"
    if score is None:
        return Route(targets, reason)
    return Route(targets, reason, f"difficulty {score.score:.2f}: {', '.join(score.reasons)}", score.score)


def _no_default(grant: Grant) -> Deny:
    model = grant.default_model
    return Deny(
        Reason.MODEL_NOT_ALLOWED,
        f"`{AUTO}` was asked for, and agent {grant.agent} "
        + ("has no default model" if model is None else f"may not use its default model {model}"),
        rule="routing.auto",
        remedy="name a model, or set policy.models.default in the agent's file to one that it may use",
    )

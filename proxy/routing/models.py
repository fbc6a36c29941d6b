"""Which provider serves a model name: the ordered rules of `models`, compiled once.

Decides the target of one model for one protocol, and explains in words why there is none. It does not decide whether the agent may use
the model (the grant does) or which of several models is asked (`proxy.routing.rules`). A model name is client input: names over
`MAX_NAME` match nothing, and what was resolved is remembered within a bound.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from proxy import globs
from proxy.model import FREE, Price, Target
from proxy.model.footprints import Footprint
from proxy.wire.translate.bridge import DIALECTS, PREFERRED

AUTO = "auto"
"""The model name that leaves the choice to us. No rule of `models` may have it: the policy lets it pass and trusts what we choose."""
MAX_NAME = 256
SHOWN = 80
"""Longest piece of a caller's model name that a message repeats."""
REMEMBERED = 1024
"""Resolved (model, protocol) pairs kept; past that all are forgotten at once, which costs a few microseconds each to find again."""

PATHS = {
    "openai": "/v1/chat/completions",
    "anthropic": "/v1/messages",
    "gemini": "/v1beta/models/MODEL:generateContent",
    "ollama": "/api/chat",
}
"""Where a client of each protocol calls, for hints."""


class Place(Protocol):
    """Where a rule says that a model is served."""

    @property
    def provider(self) -> str:
        """Name of the provider."""
        ...

    @property
    def upstream_model(self) -> str | None:
        """The provider's name for it, None for the name asked."""
        ...

    @property
    def price(self) -> Mapping[str, float] | None:
        """Dollars per million tokens that override the price table."""
        ...


class Rule(Place, Protocol):
    """What the table needs of a rule of `models`: the place that is asked first, and those behind it."""

    @property
    def pattern(self) -> str:
        """Name or glob."""
        ...

    @property
    def failover(self) -> Sequence[Place]:
        """Asked in this order when the ones before are down; the rule's own upstream model is the default of each."""
        ...

    @property
    def context(self) -> int | None:
        """The most tokens that the model reads, in place of what the price table knows."""
        ...

    @property
    def tools(self) -> bool | None:
        """Whether it can call tools, None where nobody says."""
        ...

    @property
    def images(self) -> bool | None:
        """Whether it can see images and files, likewise."""
        ...

    @property
    def json(self) -> bool | None:
        """Whether it can answer in JSON when told to, likewise."""
        ...

    @property
    def footprint(self) -> Mapping[str, float] | None:
        """What its answers take from the world, in place of an estimate."""
        ...


class Upstream(Protocol):
    """What the table needs of a provider."""

    @property
    def protocols(self) -> Sequence[str]:
        """What it speaks."""
        ...

    @property
    def operations(self) -> Sequence[str]:
        """Those that it has of its protocols' operations; empty for all."""
        ...

    @property
    def local(self) -> bool:
        """Whether it runs on the operator's own machines."""
        ...

    @property
    def region(self) -> str:
        """Where it keeps data, empty for nowhere that anybody said."""
        ...


PriceOf = Callable[[str, str, Mapping[str, float] | None], Price | None]
"""`(provider, upstream model, override)` to a price, or None when nothing names one."""


FootprintOf = Callable[[str, str, Mapping[str, float] | None], Footprint | None]
"""The same for what its answers take from the world."""


class ModelTable:
    """The rules of `models` over the providers, with prices and tokenizers bound.

    Args:
        rules: in order; the first whose pattern matches wins.
        providers: by name; a rule's provider that is missing here serves nothing.
        price_of: see `PriceOf`; asked with the name that the provider knows. Local servers are free unless the rule has a price.
        tokenizer_of: the vocabulary's name for that name.
        context_of: `(provider, upstream model)` to the most tokens that it reads, or None.
    """

    def __init__(
        self,
        rules: Sequence[Rule],
        providers: Mapping[str, Upstream],
        price_of: PriceOf,
        tokenizer_of: Callable[[str], str],
        context_of: Callable[[str, str], int | None] = lambda provider, model: None,
    ) -> None:
        self._rules = tuple((globs.matcher((rule.pattern,)), rule) for rule in rules)
        self._providers = dict(providers)
        self._price_of, self._tokenizer_of, self._context_of = price_of, tokenizer_of, context_of
        self.footprint_of: FootprintOf = lambda provider, model, written: None
        self._known: dict[tuple[str, str], tuple[Target, ...]] = {}

    def rule(self, model: str) -> Rule | None:
        """Return the first rule that matches `model`."""
        if not 0 < len(model) <= MAX_NAME:
            return None
        return next((rule for matches, rule in self._rules if matches(model)), None)

    def target(self, model: str, dialect: str) -> Target | None:
        """Return where `model` is served to a client of `dialect` (`openai.chat`, or a protocol alone), or None when nobody serves it.

        A provider that does not speak the client's dialect is asked in one that a chat can be translated to.
        """
        found = self.targets(model, dialect)
        return found[0] if found else None

    def targets(self, model: str, dialect: str) -> tuple[Target, ...]:
        """Return `target` and behind it those of the rule's failover that can be asked in `dialect` and have a price."""
        key = (model, dialect)
        if key in self._known:
            return self._known[key]
        found = self._resolve(model, dialect)
        if len(model) <= MAX_NAME:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            self._known[key] = found
        return found

    def outdated(self) -> bool:
        """Return whether a model that was asked for would be served otherwise by now: a price may begin on a day."""
        return any(self._resolve(*key) != found for key, found in self._known.items())

    def _resolve(self, model: str, dialect: str) -> tuple[Target, ...]:
        rule = self.rule(model)
        first = None if rule is None else self._at(rule, rule, (model, rule.upstream_model or model), dialect)
        if rule is None or first is None:
            return ()
        behind = [self._at(spare, rule, (model, spare.upstream_model or first.upstream_model), dialect) for spare in rule.failover]
        return (first, *[target for target in behind if target is not None and target.price is not None])

    def _at(self, place: Place, rule: Rule, names: tuple[str, str], dialect: str) -> Target | None:
        """Return where `place` of `rule` serves a model, which clients and the provider know by `names`."""
        model, upstream = names
        provider = self._providers.get(place.provider)
        wire = None if provider is None else _wire(provider, dialect)
        if provider is None or wire is None:
            return None
        return Target(
            provider=place.provider,
            model=model,
            upstream_model=upstream,
            protocol=wire.partition(".")[0],
            price=FREE if provider.local and place.price is None else self._price_of(place.provider, upstream, place.price),
            local=provider.local,
            tokenizer=self._tokenizer_of(upstream),
            wire=wire if wire != dialect else "",
            context=rule.context or self._context_of(place.provider, upstream),
            region=provider.region,
            tools=rule.tools,
            images=rule.images,
            json=rule.json,
            footprint=self.footprint_of(place.provider, upstream, rule.footprint),
        )

    def explain_missing(self, model: str, dialect: str) -> str:
        """Return in words why `target(model, dialect)` is None, and what to do instead."""
        if not 0 < len(model) <= MAX_NAME:
            return f"a model name has 1 to {MAX_NAME} characters"
        rule, model = self.rule(model), model[:SHOWN]
        if rule is None:
            return f"no rule of `models` matches {model!r}; known: {', '.join(r.pattern for _, r in self._rules[:20])}"
        provider = self._providers.get(rule.provider)
        if provider is None:
            return f"{model!r} matches `{rule.pattern}`, whose provider {rule.provider} is not configured"
        spoken = " and ".join(provider.protocols)
        instead = next((f"; call {PATHS[p]} instead" for p in provider.protocols if p in PATHS), "")
        protocol, _, operation = dialect.partition(".")
        if operation and dialect not in DIALECTS:
            instead = f", and {operation} is not translated"
        missing = f"has no {operation}" if protocol in provider.protocols else f"not {protocol}{instead}"
        return f"{model!r} matches `{rule.pattern}`, served by {rule.provider}, which speaks {spoken} and {missing}"

    def names(self) -> tuple[str, ...]:
        """Return the patterns without wildcards, which are models that surely exist, in order."""
        return tuple(dict.fromkeys(rule.pattern for _, rule in self._rules if not set(rule.pattern) & set("*?")))


def _wire(provider: Upstream, dialect: str) -> str | None:
    """Return the dialect that `provider` is asked in by a client of `dialect`: its own, else one that a chat can be translated to."""
    if _speaks(provider, dialect):
        return dialect
    if dialect not in DIALECTS:
        return None
    return next((wire for wire in PREFERRED if wire in DIALECTS and _speaks(provider, wire)), None)


def _speaks(provider: Upstream, dialect: str) -> bool:
    protocol, _, operation = dialect.partition(".")
    return protocol in provider.protocols and (not operation or not provider.operations or operation in provider.operations)

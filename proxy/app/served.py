"""What the settings say is served: the table of models, with what they cost and take from the world, and whose list of models is asked.

Prices, windows and vocabularies are those of today; what is written goes before what is known. Wrong settings were refused before.
"""

from __future__ import annotations

from collections.abc import Mapping

from proxy.budget.estimate import tokenizer_for
from proxy.budget.footprints import footprint_of, written
from proxy.budget.prices import context_of, price_from, price_of
from proxy.config import Doc
from proxy.model import FREE, Price, Target
from proxy.model.footprints import Footprint
from proxy.routing.models import FootprintOf, ModelTable
from proxy.settings import Settings
from proxy.upstream.base import MODEL


def table(settings: Settings) -> ModelTable:
    """Return the model table of `settings`, with prices of today and vocabularies bound."""
    written = {id(rule.price): rule.price_source for rule in settings.models if rule.price_source is not None}
    for spare in [spare for rule in settings.models for spare in rule.failover]:
        if spare.price_source is not None:
            written[id(spare.price)] = spare.price_source

    def price(provider: str, model: str, override: Mapping[str, float] | None) -> Price | None:
        if override is not None:
            at = written.get(id(override))
            return price_from(Doc(str(settings.file), override, {(): at.line if at else 1}), (), override)
        known = settings.providers[provider]
        if known.local:
            return FREE
        return price_of(next(iter(known.base_urls.values()), provider), model)

    def context(provider: str, model: str) -> int | None:
        return context_of(next(iter(settings.providers[provider].base_urls.values()), provider), model)

    found = ModelTable(settings.models, settings.providers, price, lambda model: tokenizer_for(model)[0], context)
    found.footprint_of = footprints(settings)
    return found


def footprints(settings: Settings) -> FootprintOf:
    """Return what says what models take from the world: what is written of them, else an estimate where those are wanted."""

    def footprint(provider: str, model: str, said: Mapping[str, float] | None) -> Footprint | None:
        if said is not None:
            return written(said, str(settings.file))
        if not settings.energy.estimate:
            return None
        known = settings.providers[provider]
        return footprint_of(next(iter(known.base_urls.values()), provider), model, settings.energy.zone)

    return footprint


def listing(settings: Settings) -> dict[str, Target]:
    """Return for each protocol the provider whose `GET /v1/models` is asked: the first that speaks it, your own servers last.

    One whose URL names a model has no list.
    """
    found: dict[str, Target] = {}
    for name, p in sorted(settings.providers.items(), key=lambda item: item[1].local):
        for protocol in [protocol for protocol, url in p.base_urls.items() if MODEL not in url]:
            found.setdefault(protocol, Target(name, "", "", protocol, FREE, local=p.local))
    return found

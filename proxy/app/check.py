"""What is not wrong but deserves a look before it is served: the warnings of `fleetgate check`."""

from __future__ import annotations

import time
from collections.abc import Iterator

from proxy.app.build import Files
from proxy.app.served import table
from proxy.app.tokens import unfetched
from proxy.budget.prices import free
from proxy.budget.rules import enforced
from proxy.identity.show import lint
from proxy.money import dollars
from proxy.policy.opa import unanswered
from proxy.policy.rules_yaml import doubts
from proxy.routing.models import ModelTable
from proxy.settings.engines import OPA
from proxy.settings.upstreams import PROTOCOLS, ModelRule

MOST_NAMES = 5
"""Budgets that a warning names."""


def warnings(files: Files) -> list[str]:
    """Return one line for each thing that an operator would want to know."""
    settings = files.settings
    found = [*settings.warnings, *(line.removeprefix("warning: ") for line in lint(files.directory, now=time.time()))]
    if files.directory.baseline is None:
        found.append(f"{settings.policies / 'baseline.yaml'}: not there, so nothing holds for all agents")
    if settings.store.lease:
        lease = dollars(settings.store.lease)
        shared = f", shared by its {settings.listen.workers} workers," if settings.listen.workers > 1 else ""
        found.append(f"store.lease: each replica may spend up to {lease} USD{shared} beyond its budgets while the store is away")
    found += doubts(files.rules)
    found += _rego(files)
    found += unfetched(settings.auth.jwt)
    models = table(settings)
    for rule in settings.models:
        if "*" not in rule.pattern and "?" not in rule.pattern:
            found += [f"{rule.source.file}:{rule.source.line}: {doubt}" for doubt in _doubts(files, models, rule)]
    for name, grant in files.directory.agents.items():
        model = grant.default_model
        if model and not any(models.target(model, protocol) for protocol in PROTOCOLS):
            found.append(f"agent {name}: no provider serves its preferred model {model}")
        if model and not grant.may_use(model):
            found.append(f"agent {name}: its preferred model {model} is not one that it may use")
    return found


def _doubts(files: Files, models: ModelTable, rule: ModelRule) -> Iterator[str]:
    """Yield what is odd about the model that a rule names."""
    name, provider = rule.pattern, files.settings.providers[rule.provider]
    target = next((t for p in provider.base_urls if (t := models.target(name, p)) is not None), None)
    if target is not None and target.price is None and not target.local:
        yield f"{name} has no price, so calls to it are refused as unpriced_model (give it one)"
    if target is not None and target.footprint is None and (carbon := _in_grams(files, name)):
        words = f"nobody knows what {name} emits, so budgets in gco2e ({carbon}) refuse it as unpriced_model"
        yield f"{words} (energy.estimate, or a footprint)"
    if target is not None and target.price is not None and free(target.price) and not target.local and rule.price is None:
        yield f"{name} costs nothing by {target.price.source}, so no budget in usd ends it (write its price if so)"
    asked = {t.provider for p in PROTOCOLS for t in models.targets(name, p)}
    for spare in rule.failover:
        if asked and spare.provider not in asked:
            yield f"{name} never fails over to {spare.provider}: no price, or no protocol of the rule's provider"


def _in_grams(files: Files, model: str) -> str:
    """Return the names of the budgets in grams that refuse `model` where nobody knows what it emits."""
    own = [rule for grant in files.directory.agents.values() if grant.may_use(model) for rule in grant.budgets]
    names = list(dict.fromkeys(rule.name for rule in (*files.budgets, *own) if rule.unit == "gco2e" and enforced(rule)))
    return ", ".join(names[:MOST_NAMES]) + (f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else "")


def _rego(files: Files) -> list[str]:
    """Return what is odd about the policies in Rego and their engine."""
    policies, settings = files.rego, files.settings.policy
    found = [
        f"{package.place('allow')}: {package.path} allows everything that no other package denies"
        for packages in policies.packages.values()
        for package in packages
        if package.always
    ]
    if not settings.engine.startswith(OPA):
        return found
    if not policies:
        return [f"policy.engine names an OPA server, and {files.settings.policies} has no Rego: nothing is asked of it"]
    return found + unanswered(settings.engine.removeprefix(OPA), settings.timeout_ms, policies)

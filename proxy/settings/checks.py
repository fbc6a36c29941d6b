"""Rules that join several settings: what each value alone cannot know. Pure; errors and warnings are returned."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from urllib.parse import urlsplit

from proxy.budget.footprints import known_zone
from proxy.config import ConfigError, KeyPath, near
from proxy.globs import is_glob, matcher
from proxy.routing.models import AUTO
from proxy.settings.kinds import loopback
from proxy.settings.sections import Settings
from proxy.settings.upstreams import ModelRule
from proxy.upstream.proxies import WANTED, BadProxy

Fault = Callable[..., ConfigError]
"""Makes the error for a path: `(path, got, expected, hint)`."""


def cross_check(settings: Settings, fault: Fault, given: Callable[[KeyPath], bool]) -> tuple[list[ConfigError], list[str]]:
    """Return what is wrong and what is merely odd in settings that are each valid alone; `given` tells what was written."""
    errors = [
        *_listen(settings, fault),
        *_auth(settings, fault),
        *_providers(settings, fault),
        *_proxies(settings),
        *_models(settings, fault),
        *_routing(settings, fault, given),
        *_budget(settings, fault),
        *_webhooks(settings, fault, given),
        *_telemetry(settings, fault),
        *_energy(settings, fault),
    ]
    return errors, [*_unreachable(settings.models), *_overheard(settings)]


def _proxies(settings: Settings) -> Iterator[ConfigError]:
    """Yield an error for each variable that names no usable proxy and would be needed."""
    bad: dict[str, tuple[str, str]] = {}
    for name, provider in settings.providers.items():
        for url in provider.base_urls.values():
            try:
                settings.proxies.of(url)
            except BadProxy as e:
                bad.setdefault(e.variable, (e.got, name))
    for variable, (got, name) in bad.items():
        yield ConfigError(f"${variable}", 0, got, WANTED, f"{name} is reached through it; upstream: {{proxy: none}} ignores it")


def _listen(settings: Settings, fault: Fault) -> Iterator[ConfigError]:
    listen, mode = settings.listen, settings.auth.mode
    if mode == "open" and not loopback(listen.host):
        yield fault(("auth", "mode"), f"open while listen.host is {listen.host}", "mode: keys", "anyone who reaches the port could spend")
    if listen.port and listen.port == listen.admin_port and listen.host == listen.admin_host:
        yield fault(("listen", "admin_port"), f"{listen.port} is the port of the data plane too", "another port")
    if listen.workers > 1 and settings.store.kind == "memory":
        hint = "each worker would have budgets, limits and keys of its own"
        yield fault(("listen", "workers"), f"{listen.workers} with store memory:", "1, or store: sqlite:PATH or redis://…", hint)


def _auth(settings: Settings, fault: Fault) -> Iterator[ConfigError]:
    auth, jwt = settings.auth, settings.auth.jwt
    if auth.keys is not None and (auth.mode == "open" or (auth.mode == "jwt" and not auth.also_keys)):
        hint = "also_keys: true takes keys beside tokens" if auth.mode == "jwt" else ""
        yield fault(("auth", "keys"), f"a key file that mode: {auth.mode} would not read", "mode: keys, or no key file", hint)
    if auth.spiffe is not None and auth.mode == "open":
        yield fault(("auth", "spiffe"), "a section that mode: open would not read", "mode: keys or jwt, or no such section")
    if auth.also_keys and auth.mode != "jwt":
        yield fault(("auth", "also_keys"), f"true with mode: {auth.mode}", "mode: jwt, or leave it out")
    if auth.mode == "jwt" and jwt is None:
        yield fault(("auth", "mode"), "jwt without auth.jwt", "jwt: {issuer: …, audience: …, jwks_url: …}")
    if jwt is None:
        return
    if auth.mode != "jwt":
        yield fault(("auth", "jwt"), f"a section that mode: {auth.mode} would not read", "mode: jwt, or no such section")
    if (jwt.jwks_url is None) == (jwt.jwks_file is None):
        both = "neither jwks_url nor jwks_file" if jwt.jwks_url is None else "both jwks_url and jwks_file"
        yield fault(("auth", "jwt"), both, "one of the two: where the issuer's keys come from")
    https = jwt.jwks_url is not None and jwt.jwks_url.startswith("https:")
    for name, value in (("jwks_ca", jwt.jwks_ca), ("jwks_token", jwt.jwks_token)):
        if value is not None and not https:
            yield fault(("auth", "jwt", name), "given, and jwks_url is no https URL", "an https URL, or leave it out")
    if jwt.stale_s < jwt.refresh_s:
        yield fault(("auth", "jwt", "stale_s"), f"{jwt.stale_s:g} is below refresh_s", f"at least {jwt.refresh_s:g}")
    if jwt.map and jwt.fleet_claims:
        yield fault(("auth", "jwt", "fleet_claims"), "true beside a map, which decides alone", "one of the two")


def _providers(settings: Settings, fault: Fault) -> Iterator[ConfigError]:
    for name, provider in settings.providers.items():
        at = ("providers", name, "auth")
        if provider.auth == "none" and provider.key_from:
            yield fault(at, "none beside an api_key, which would never be sent", "one of the two")
        if provider.auth not in (None, "none") and not provider.key_from:
            yield fault(at, f"{provider.auth} without an api_key", "api_key: env:NAME")


def _models(settings: Settings, fault: Fault) -> Iterator[ConfigError]:
    for rule in settings.models:
        at = ("models", rule.pattern)
        if rule.pattern == AUTO:
            yield fault(at, "a model of this name", "another name", f"`{AUTO}` leaves the choice to Fleetgate")
        provider = settings.providers.get(rule.provider)
        if provider is None:
            yield fault((*at, "provider"), f"no provider is called {rule.provider}", hint=near(rule.provider, settings.providers))
        if rule.upstream_model is not None and is_glob(rule.upstream_model):
            yield fault((*at, "upstream_model"), "a pattern", "one model name")
        for spare in rule.failover:
            here = (*at, "failover", spare.provider)
            if spare.provider not in settings.providers:
                yield fault(here, f"no provider is called {spare.provider}", hint=near(spare.provider, settings.providers))
            if spare.upstream_model is not None and is_glob(spare.upstream_model):
                yield fault((*here, "upstream_model"), "a pattern", "one model name")
            if spare.provider == rule.provider and spare.upstream_model in (None, rule.upstream_model):
                yield fault(
                    here, f"{spare.provider} once more", "another provider, or another model of it", "`retries` asks the same one again"
                )


def _routing(settings: Settings, fault: Fault, given: Callable[[KeyPath], bool]) -> Iterator[ConfigError]:
    routing = settings.routing
    if routing.max_threshold is not None and routing.max_threshold < routing.threshold:
        yield fault(("routing", "max_threshold"), f"{routing.max_threshold:g} is below threshold", f"at least {routing.threshold:g}")
    if routing.simple_to is None:
        if routing.mode == "enforce":
            yield fault(("routing", "mode"), "enforce without simple_to", "simple_to: MODEL")
        return
    if not given(("routing", "mode")):
        yield fault(("routing",), "simple_to without mode", "mode: shadow to try it, mode: enforce to use it")
    if not any(matcher((rule.pattern,))(routing.simple_to) for rule in settings.models):
        yield fault(("routing", "simple_to"), f"no rule of models matches {routing.simple_to}", "a model that is served")


def _budget(settings: Settings, fault: Fault) -> Iterator[ConfigError]:
    budget = settings.budget
    if budget.min_output > budget.default_max_output:
        yield fault(("budget", "min_output"), f"{budget.min_output} is above default_max_output", f"at most {budget.default_max_output}")


def _webhooks(settings: Settings, fault: Fault, given: Callable[[KeyPath], bool]) -> Iterator[ConfigError]:
    for i, hook in enumerate(settings.webhooks):
        if hook.format != "slack" and not given(("webhooks", i, "secret")):
            hint = "without one nobody can tell a forged notice"
            yield fault(("webhooks", i), "secret is missing", "secret: env:NAME or file:PATH", hint)


def _telemetry(settings: Settings, fault: Fault) -> Iterator[ConfigError]:
    telemetry = settings.telemetry
    if telemetry.otlp_endpoint is None:
        for name in ("otlp_headers", "otlp_ca", "otlp_metrics_s"):
            if getattr(telemetry, name):
                yield fault(("telemetry", name), "given without otlp_endpoint", "otlp_endpoint: http://HOST:4318, or leave it out")
        return
    if telemetry.otlp_ca is not None and not telemetry.otlp_endpoint.startswith("https:"):
        yield fault(("telemetry", "otlp_ca"), "given, and otlp_endpoint is no https URL", "an https URL, or leave it out")
    if not _installed("opentelemetry", "proto"):
        yield fault(("telemetry", "otlp_endpoint"), "OpenTelemetry's messages are not installed", "pip install 'fleetgate[otel]'")


def _energy(settings: Settings, fault: Fault) -> Iterator[ConfigError]:
    energy = settings.energy
    if not energy.estimate:
        if energy.zone is not None:
            yield fault(("energy", "zone"), "given without estimate", "estimate: true, or leave it out")
    elif not _installed("ecologits", "tracers"):
        yield fault(("energy", "estimate"), "EcoLogits is not installed", "pip install 'fleetgate[energy]'")
    elif not known_zone(energy.zone or "WOR"):
        yield fault(("energy", "zone"), f"nobody knows the electricity of {energy.zone}", "a code such as FRA, DEU or USA")


def _installed(package: str, module: str) -> bool:
    return find_spec(package) is not None and find_spec(f"{package}.{module}") is not None


def _overheard(settings: Settings) -> Iterator[str]:
    """Warn of what others on the way can read: a webhook's notices, a collector's key."""
    collector = urlsplit(settings.telemetry.otlp_endpoint or "")
    if settings.telemetry.otlp_headers and collector.scheme == "http" and not loopback(collector.hostname or ""):
        yield f"telemetry.otlp_headers go to {collector.hostname} over plain http, where others can read them; use https"
    for hook in settings.webhooks:
        parts = urlsplit(hook.url.reveal()) if hook.url is not None else None
        if parts is not None and parts.scheme == "http" and not loopback(parts.hostname or ""):
            yield f"{hook.source}: notices go to {parts.hostname} over plain http, where others can read them; use https"


def _unreachable(rules: tuple[ModelRule, ...]) -> Iterator[str]:
    """Warn of a rule that an earlier, wider one hides: every name that it matches is already taken."""
    earlier: list[tuple[ModelRule, Callable[[str], bool]]] = []
    for rule in rules:
        # two stand-ins that no pattern spells out: what an earlier pattern lets pass for both, it takes by a star of its own
        samples = [rule.pattern.replace("*", star).replace("?", "\ue003") for star in ("", "\ue000\ue001\ue002")]
        hiding = next((other for other, matches in earlier if all(map(matches, samples))), None)
        if hiding is not None:
            yield f"{rule.source}: never used, {hiding.pattern} at line {hiding.source.line} matches first; put the narrower one above"
        earlier.append((rule, matcher((rule.pattern,))))

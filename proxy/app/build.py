"""From files to a snapshot: read everything, check everything, and only then put it together.

`read` collects all errors of all files at once; `fleetgate check` prints them and `fleetgate serve` refuses to start on them. Nothing
here listens or connects.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from proxy.budget.files import load_budgets
from proxy.config import ConfigError, ConfigErrors
from proxy.engine.exchange import Limits
from proxy.engine.notice import Notice
from proxy.identity.directory import Directory
from proxy.identity.keys import KeyEntry, load_keys_file
from proxy.identity.keyset import KeySet, KeySetError, read_keys
from proxy.model import BudgetRule
from proxy.policy.embedded import Embedded
from proxy.policy.input import SAMPLES
from proxy.policy.rego import NO_POLICIES, Policies, load_rego
from proxy.policy.rules import RuleSet
from proxy.policy.rules_yaml import load_rules
from proxy.settings import Settings, load_settings
from proxy.settings.sections import Waits, expand
from proxy.settings.upstreams import ProviderLimits
from proxy.upstream.base import Deadlines, Provider
from proxy.upstream.lean import LeanTransport
from proxy.upstream.steady import SteadyTransport
from proxy.upstream.transport import AioTransport
from proxy.upstream.webhook import Hook

DATA = "data.yaml"
"""Rego's data, which is no file of rules."""
T = TypeVar("T")
E = TypeVar("E")


@dataclass(frozen=True, slots=True)
class Files:
    """All that the files say, checked; `version` identifies their contents (12 hex digits)."""

    settings: Settings
    directory: Directory
    budgets: tuple[BudgetRule, ...]
    keys: tuple[KeyEntry, ...]
    version: str
    rules: RuleSet
    rego: Policies = NO_POLICIES
    keyset: KeySet | None = None
    """The keys of `auth.jwt.jwks_file`."""


def read(path: Path, env: Mapping[str, str], *, simulate: bool = False) -> Files:
    """Return everything that the configuration at `path` names.

    Args:
        simulate: do without provider keys.

    Raises:
        ConfigErrors: all that is wrong, in all files.
    """
    before = digest([path])  # taken before it is read: an edit made meanwhile shows as another version later, never as this one
    settings, errors = _settings(path, env, simulate)
    version = _version(before, settings)
    errors += _unread(settings)
    rules = _tried(lambda: load_rules(rule_files(settings)), None, errors)
    rego = _tried(lambda: _rego(settings), NO_POLICIES, errors)
    directory = _tried(lambda: _directory(settings), None, errors)
    if directory is not None:
        errors += directory.errors
    budgets = _tried(lambda: load_budgets(settings.budgets, _named(settings.budgets, settings.file.parent))[0], (), errors)
    keys = _tried(lambda: _keys(settings), (), errors)
    keyset, wrong = _keyset(settings)
    errors += wrong
    if errors or directory is None or rules is None:
        raise ConfigErrors(errors)
    return Files(settings, directory, budgets, keys, version, rules, rego, keyset)


def _tried(read: Callable[[], T], otherwise: E, errors: list[ConfigError]) -> T | E:
    """Return what `read` does; where files are wrong `otherwise`, and `errors` take what is."""
    try:
        return read()
    except ConfigErrors as e:
        errors += e.errors
    except ConfigError as e:
        errors.append(e)
    return otherwise


def _directory(settings: Settings) -> Directory:
    baseline = settings.policies / "baseline.yaml"
    return Directory.load(settings.file.parent, settings.agents, baseline if baseline.exists() else None)


def _keys(settings: Settings) -> tuple[KeyEntry, ...]:
    return () if settings.auth.keys is None else tuple(load_keys_file(settings.auth.keys))


def unchanged(path: Path, files: Files) -> bool:
    """Return whether the configuration at `path` and all that it names say what `files` does. For that nothing need be understood."""
    return _version(digest([path]), files.settings) == files.version


def _version(configuration: str, settings: Settings) -> str:
    """Return the version of what the files say: of the `configuration`, known by its digest, and of all that it names."""
    return hashlib.sha256(f"{configuration}{digest(settings.inputs())}".encode()).hexdigest()[:12]


def _keyset(settings: Settings) -> tuple[KeySet | None, list[ConfigError]]:
    """Return the keys of the file that `auth.jwt` names, None without one, and what is wrong with it."""
    jwt = settings.auth.jwt
    if jwt is None or jwt.jwks_file is None:
        return None, []
    try:
        return read_keys(jwt.jwks_file.read_bytes()), []
    except (OSError, KeySetError) as e:
        why = str(e) if isinstance(e, KeySetError) else "it cannot be read"
        return None, [ConfigError(_named(jwt.jwks_file, settings.file.parent), 0, why, "a key document (JWKS) of public keys")]


def _settings(path: Path, env: Mapping[str, str], simulate: bool) -> tuple[Settings, list[ConfigError]]:
    """Return the settings; where only keys of providers are missing, also what is missing, so that other files are read nevertheless."""
    try:
        return load_settings(path, env, simulate=simulate), []
    except ConfigErrors as e:
        if simulate:
            raise
        try:
            return load_settings(path, env, simulate=True), list(e.errors)
        except ConfigErrors:
            raise e from None


def _unread(settings: Settings) -> list[ConfigError]:
    """Return an error for each file among the policies that this version does not read: a rule must not only look like one."""
    found = []
    for file in expand(settings.policies / "**" / "*.yml"):
        if not _tests(settings, file):
            name = _named(file, settings.file.parent)
            found.append(ConfigError(name, 0, "a policy that this version does not read", "*.yaml", "rename it to .yaml"))
    return found


def rule_files(settings: Settings) -> list[tuple[Path, str]]:
    """Return the files of rules, each with its name in messages: all YAML of `policies` but the baseline, Rego's data and what is below
    `tests/`.
    """
    found = [f for f in expand(settings.policies / "**" / "*.yaml") if f.name != DATA and not _tests(settings, f)]
    return [(file, _named(file, settings.file.parent)) for file in found if file != settings.policies / "baseline.yaml"]


def _rego(settings: Settings) -> Policies:
    """Return the Rego of `policies`, proven in the embedded engine where that is the one."""
    found = load_rego(settings.policies, settings.file.parent)
    if found and settings.policy.engine == "embedded":
        Embedded(found).rehearse(SAMPLES)
    return found


def _tests(settings: Settings, file: Path) -> bool:
    return "tests" in file.relative_to(settings.policies).parts[:-1]


def _named(path: Path, base: Path) -> str:
    """Return how messages name `path`: below the configuration's folder by its relative path."""
    return str(path.relative_to(base)) if path.is_relative_to(base) else str(path)


def digest(inputs: Iterable[Path]) -> str:
    """Return 12 hex digits that change when the content of any input changes; what is not there counts as absent."""
    h = hashlib.sha256()
    for pattern in inputs:
        for file in expand(pattern):
            try:
                content = file.read_bytes()
            except OSError:
                continue
            h.update(str(file).encode() + b"\0" + hashlib.sha256(content).digest())
    return h.hexdigest()[:12]


def providers(settings: Settings, simulator: str | None = None) -> tuple[Provider, ...]:
    """Return the upstreams; with a `simulator` (root URL) it takes the place of every one."""
    found = []
    for name, p in settings.providers.items():
        if simulator is not None:
            urls = {protocol: f"{simulator}/v1" if protocol == "openai" else simulator for protocol in p.base_urls}
            found.append(Provider(name, urls, "sk-simulated", local=p.local, queue=p.limits.queue if p.local else None))
            continue
        deadlines, connections = _bounds(settings.limits, p.limits)
        found.append(
            Provider(
                name,
                dict(p.base_urls),
                p.api_key.reveal() if p.api_key else None,
                tuple((k, v.reveal()) for k, v in p.headers),
                p.local,
                p.auth,
                tuple((k, v.reveal()) for k, v in p.query),
                deadlines,
                connections,
                p.retries,
                (p.limits.queue or connections) if p.local else None,
                p.limits.warm,
            )
        )
    return tuple(found)


def _bounds(common: Waits, own: ProviderLimits) -> tuple[Deadlines, int]:
    """Return the bounds of one provider: its own where it has them."""
    waits = Deadlines(
        own.connect_s or common.connect_s,
        own.first_byte_s or common.first_byte_s,
        own.idle_s or common.idle_s,
        own.total_s or common.total_s,
    )
    return waits, own.connections or common.connections


def transport(settings: Settings, simulator: str | None = None) -> SteadyTransport:
    """Return the transport to the providers of `settings`."""
    kind = LeanTransport if settings.upstream.transport == "lean" else AioTransport
    found, breaker = providers(settings, simulator), settings.upstream.breaker
    inner = kind(found, *_bounds(settings.limits, ProviderLimits()), settings.proxies)
    return SteadyTransport(inner, found, breaker.failures, breaker.cooldown_s)


def hooks(settings: Settings) -> tuple[Hook, ...]:
    """Return whom to tell; one whose address or secret is missing, where that is let pass, is left out."""
    found = []
    for hook in settings.webhooks:
        if hook.url is not None and (hook.secret is not None or hook.format == "slack"):
            secret = hook.secret.reveal().encode() if hook.secret is not None else b""
            found.append(Hook(hook.url.reveal(), secret, frozenset(hook.events), hook.format, hook.timeout_s))
    return tuple(found)


def refused(problems: Sequence[str], version: str) -> Notice:
    """Return what people outside hear of an edit that is not applied: where it is wrong, never what stands there."""
    first = next((found[1] for p in problems if (found := re.match(r"([^\s:]+:\d+):", p))), "")
    count = f"{len(problems)} problem{'s' if len(problems) != 1 else ''}"
    text = f"An edit of the configuration was not applied, the one before stays: {count}{f', the first at {first}' if first else ''}."
    key = hashlib.sha256("\n".join(problems).encode("utf-8", "replace")).hexdigest()
    return Notice("config", key, text, {"problems": len(problems), "first": first, "version": version})


def limits(settings: Settings) -> Limits:
    """Return the bounds of one exchange."""
    return Limits(max_body=settings.listen.max_body_mb << 20)

"""The settings: one frozen dataclass for each section of `fleetgate.yaml`, each field with its kind, its default and its meaning.

With `upstreams` this is the single place that knows them. The loader reads by it, environment variables are named by it, and
docs/configuration.md is generated from it. Nothing here reads a file.
"""

# ruff: noqa: RUF009  (`setting` makes a dataclass field, which is what the rule cannot see; the other defaults are frozen)

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from proxy.settings.engines import PolicyEngine
from proxy.settings.fields import deadline, setting
from proxy.settings.jwt import Jwt
from proxy.settings.kinds import GLOB, Choice, Flag, Host, Listed, Number, PathOf, Section, Special, Text, Whole
from proxy.settings.spiffe import Spiffe
from proxy.settings.store import Store
from proxy.settings.telemetry import Telemetry
from proxy.settings.upstreams import ModelRule, Provider
from proxy.settings.webhooks import Webhook
from proxy.upstream.proxies import DIRECT, Proxies

CLASSES = ("public", "internal", "confidential", "restricted")
"""What `data.classification` of an agent may be."""
AT_START = ("listen", "store", "telemetry")
"""Sections that a running server cannot change: its sockets, its counters and where its traces go."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """Serves the data plane over TLS."""

    cert: Path = setting(PathOf("file"), "Certificate chain, PEM.")
    key: Path = setting(PathOf("file"), "Private key, PEM.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Listen:
    """Where the two planes listen. The data plane serves agents, the admin plane operators."""

    host: str = setting(Host(), "Address of the data plane. Off loopback, `auth.mode: open` is refused.", "127.0.0.1")
    port: int = setting(Whole(0, 65535), "Port of the data plane; 0 takes any free one.", 8080)
    admin_host: str = setting(Host(), "Address of the admin plane.", "127.0.0.1")
    admin_port: int = setting(Whole(0, 65535), "Port of the admin plane; 0 takes any free one.", 9090)
    admin_url: str | None = setting(
        Text("a URL"), "Where people reach the admin plane: links to approve something begin with it. Default: no links.", None
    )
    max_body_mb: int = setting(Whole(1, 1024), "Largest request body, in MiB, as sent or expanded; more is refused with 413.", 32)
    workers: int = setting(
        Whole(1, 64),
        "Processes that serve the data plane together, on Linux; they share a store, so not `memory:`, and one admin plane. See "
        "docs/scaling.md.",
        1,
    )
    tls: Tls | None = setting(Section(Tls, optional=True), "Certificate and key of the data plane; without, it speaks plain HTTP.", None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Auth:
    """How agents prove who they are."""

    mode: Literal["keys", "jwt", "open"] = setting(
        Choice(("keys", "jwt", "open")),
        "`keys`: every call needs a key. `jwt`: a token of an identity provider (docs/identity.md). `open`: nothing, on loopback only.",
        "keys",
    )
    keys: Path | None = setting(PathOf("file"), "A file of key hashes beside those in the store, for keys kept in Git.", None)
    jwt: Jwt | None = setting(Section(Jwt, optional=True), "Whose tokens count with `mode: jwt`.", None)
    spiffe: Spiffe | None = setting(
        Section(Spiffe, optional=True), "Beside keys or tokens: workloads that a service mesh vouches for.", None
    )
    also_keys: bool = setting(Flag(), "With `mode: jwt`, keys count too: for the time in which agents change from one to the other.", False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Routing:
    """Sends simple requests to a cheaper model. See docs/routing.md."""

    simple_to: str | None = setting(Text("a model name"), "The model that simple requests go to; a rule of `models` must match it.", None)
    threshold: float = setting(Number(0, 1), "Requests with a difficulty below this are simple.", 0.35)
    max_threshold: float | None = setting(
        Number(0, 1), "How far the threshold rises as budgets burn faster than their windows pass. Default: it does not.", None
    )
    local_only: tuple[str, ...] = setting(
        Listed(Choice(CLASSES), "a list of classes of data"),
        "Agents whose `data.classification` is one of these are served by your own machines (`local: true`) alone.",
        (),
    )
    mode: Literal["off", "shadow", "enforce"] = setting(
        Choice(("off", "shadow", "enforce")), "`shadow` scores and reports only. Must be written when `simple_to` is.", "off"
    )
    first_byte_s: float = deadline(
        "How long a local model that a call was moved to may take to the first output of a stream; then the asked one answers.", 10.0
    )
    answer_s: float = deadline(
        "How long it may take to an answer that is looked at whole: no stream, or tools or JSON in it; then the asked one answers.", 60.0
    )
    sample: float = setting(
        Number(0, 1),
        "The share of calls served by the local model that are asked of the asked model once more, in the background and at its price, to "
        "compare both answers.",
        0.0,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Which engine evaluates the Rego of `policies`."""

    engine: str = setting(
        PolicyEngine(), "Who evaluates Rego: this process, or an OPA server that serves the same folder (docs/rego.md).", "embedded"
    )
    timeout_ms: int = setting(Whole(1, 30_000), "How long an OPA server may take for one decision.", 300)
    on_error: Literal["deny", "observe"] = setting(
        Choice(("deny", "observe")),
        "What follows when Rego cannot be evaluated: a refusal (`policy_unavailable`), or only a finding. With `observe` whoever can make "
        "the engine fail is held to no policy.",
        "deny",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """How output is bounded when a call is reserved."""

    default_max_output: int = setting(
        Whole(1, 10_000_000), "Output tokens reserved, and asked for upstream, when neither the call nor the agent has a ceiling.", 16384
    )
    min_output: int = setting(
        Whole(1, 10_000_000), "A ceiling lowered to fit a budget never falls below this; the call is refused instead.", 64
    )
    step_output: int = setting(
        Whole(1, 10_000_000),
        "Output tokens of one choice that a stream holds at a time, where its whole ceiling does not fit or nobody asked for one.",
        1024,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalsSection:
    """How people are asked what a rule, a loop or a budget leaves to them. See docs/approvals.md."""

    timeout_s: float = setting(Number(0, 3600, above=True), "How long an answer is waited for, where the rule does not say.", 300.0)
    default: Literal["deny", "allow"] = setting(
        Choice(("deny", "allow")), "What follows when nobody decides in that time, where the rule does not say.", "deny"
    )
    buffered_s: float = setting(
        Number(0, 3600, above=True),
        "How long a client waits at most where nothing can be sent to it meanwhile (a reply that is no stream); the question stays open.",
        50.0,
    )
    keep_s: float = setting(
        Number(1, 604_800), "How long a question stays open, and how long its decision holds for a client that tries again.", 3600.0
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Waits:
    """Deadlines, in seconds, and the number of connections. A provider may have its own."""

    connections: int = setting(Whole(1, 100_000), "Most connections to one provider; requests above that wait, `connect_s` at most.", 1000)
    connect_s: float = deadline("How long a request may wait for a connection to its provider.", 10.0)
    first_byte_s: float = deadline("How long a provider may take until its reply begins.", 300.0)
    idle_s: float = deadline("How long a reply that has begun may pause.", 120.0)
    total_s: float = deadline("How long a request to a provider may take in all, to the last byte of the reply.", 1800.0)
    body_s: float = deadline("How long a client may take to send its request body, or to take in a piece of a reply.", 60.0)
    drain_s: float = setting(Number(0, 86400), "How long running exchanges may take to finish at shutdown.", 30.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerSection:
    """Leaves a provider alone that fails again and again: its requests go to the next target, or are refused at once."""

    failures: int = setting(
        Whole(0, 1000), "So many failures in a row (no connection, no answer, 5xx) open its circuit. 0 switches that off.", 5
    )
    cooldown_s: float = setting(
        Number(0, 30, above=True), "How long it is left alone then; twice as long each time that a trial fails, 30 seconds at most.", 5.0
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamSection:
    """How providers are asked."""

    transport: Literal["lean", "aiohttp"] = setting(
        Choice(("lean", "aiohttp")), "The HTTP client: Fleetgate's own, a fourth of the cost, or aiohttp's.", "lean"
    )
    proxy: Literal["environment", "none"] = setting(
        Choice(("environment", "none")),
        "Forward proxies: those that `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` name (docs/providers.md), or none whatever they name.",
        "environment",
    )
    breaker: BreakerSection = setting(Section(BreakerSection), "When a provider that fails is left alone.", BreakerSection())


@dataclass(frozen=True, slots=True, kw_only=True)
class Energy:
    """Estimates of the energy and the greenhouse gases that answers take. Needs the extra `energy` (docs/energy.md)."""

    estimate: bool = setting(Flag(), "Estimate them for each call, from what is known of its model.", False)
    zone: str | None = setting(
        Text("a code of three letters", 3),
        "Whose electricity it is, as ISO 3166-1 alpha-3 (`FRA`). Default: where the provider's data centres are taken to be.",
        None,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings of one `fleetgate.yaml`, environment variables applied. Paths are resolved against the folder of the file."""

    file: Path
    warnings: tuple[str, ...] = ()
    secret_files: tuple[Path, ...] = ()
    proxies: Proxies = DIRECT
    listen: Listen = setting(Section(Listen), "", Listen())
    agents: tuple[str, ...] = setting(
        Listed(Text("a path or a glob"), "a list of files or globs"), "The files that describe agents.", ("AGENTS.md",)
    )
    policies: Path = setting(PathOf("folder"), "Folder of rules. If written, it must exist.", Path("policies"))
    budgets: Path = setting(PathOf("folder"), "Folder of budgets. If written, it must exist.", Path("budgets"))
    auth: Auth = setting(Section(Auth), "", Auth())
    providers: Mapping[str, Provider] = setting(Special("a mapping of name to provider"), "The upstreams.")
    models: tuple[ModelRule, ...] = setting(Special("a mapping of model name or pattern to rule"), "Who serves which model.")
    routing: Routing = setting(Section(Routing), "", Routing())
    store: Store = setting(
        Special("`memory:`, `sqlite:PATH`, `redis://HOST:PORT/DB`, or a mapping with `url`", text=True),
        "Where counters, keys and the ledger live. `memory:` forgets them when the process ends; a Redis or Valkey server is shared by "
        "all replicas. Its other URLs, `tenant`, `username`, `password`, `ca`, `timeout_s`, `lease` and others: docs/stores.md.",
        Store(kind="sqlite", path=Path("fleetgate.db")),
    )
    policy: Policy = setting(Section(Policy), "", Policy())
    refusal: Literal["error", "message"] = setting(
        Choice(("error", "message")),
        "How a refusal looks: the protocol's own error, or for clients that hide errors a reply in which the assistant says it (and "
        "`x-fleetgate-refusal` names the reason).",
        "error",
    )
    budget: Budget = setting(Section(Budget), "", Budget())
    approvals: ApprovalsSection = setting(Section(ApprovalsSection), "", ApprovalsSection())
    limits: Waits = setting(Section(Waits), "", Waits())
    upstream: UpstreamSection = setting(Section(UpstreamSection), "", UpstreamSection())
    telemetry: Telemetry = setting(Section(Telemetry), "", Telemetry())
    energy: Energy = setting(Section(Energy), "", Energy())
    webhooks: tuple[Webhook, ...] = setting(Special("a list of webhooks"), "Whom to tell what happens.", ())

    def longest_s(self) -> float:
        """Return the most seconds that a request to any provider may take."""
        return max(p.limits.total_s or self.limits.total_s for p in self.providers.values())

    def needs_restart(self, running: Settings) -> tuple[str, ...]:
        """Return the sections that differ from `running` and hold only from the next start."""
        return tuple(name for name in AT_START if getattr(self, name) != getattr(running, name))

    def inputs(self) -> Iterator[Path]:
        """Yield every file and glob whose change can change a running configuration."""
        yield self.file
        for pattern in self.agents:
            yield self.file.parent / pattern
        for folder in (self.policies, self.budgets):
            for suffix in ("yaml", "yml", "rego", "json"):
                yield folder / "**" / f"*.{suffix}"
        if self.auth.keys is not None:
            yield self.auth.keys
        if self.auth.jwt is not None:
            yield from (path for path in (self.auth.jwt.jwks_file, self.auth.jwt.jwks_ca) if path is not None)
        yield from self.secret_files


def expand(pattern: Path) -> list[Path]:
    """Return the files that the path or glob `pattern` names, sorted; a plain path is returned whether it exists or not.

    Folders whose name starts with two dots are left out: they are how a Kubernetes volume keeps its versions.
    """
    parts = pattern.parts
    first = next((i for i, part in enumerate(parts) if GLOB.search(part)), None)
    if first is None:
        return [pattern]
    base = Path(*parts[:first])
    found = sorted(base.glob(str(Path(*parts[first:]))))
    return [p for p in found if p.is_file() and not any(part.startswith("..") for part in p.relative_to(base).parts)]

"""The settings of `providers` and `models`: who is asked, in what manner, for which model. See `sections`."""

# ruff: noqa: RUF009  (as in `sections`)

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from proxy.model import Source
from proxy.settings.fields import deadline, setting
from proxy.settings.kinds import Choice, Flag, Listed, Secret, SecretRef, Section, Special, Text, Whole

PROTOCOLS = ("openai", "anthropic", "gemini", "ollama")
"""The protocols that are served."""
OPERATIONS = ("chat", "responses", "completions", "embeddings", "messages", "count_tokens", "generate", "embed", "show")
"""What a provider may be said to have of them; lists of models are always asked for."""
AUTHS = ("bearer", "x-api-key", "x-goog-api-key", "api-key", "none")
"""How a provider may want its key: as `Authorization: Bearer`, in a header of this name, or not at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderLimits:
    """Bounds of one provider, in place of those of `limits`."""

    connections: int | None = setting(Whole(1, 100_000), "Most connections to it. Default: `limits.connections`.", None)
    queue: int | None = setting(
        Whole(1, 100_000),
        "Calls in flight at a local server from which on it counts as busy: a call that was moved to it goes to the model that was asked "
        "for instead. Default: `connections`.",
        None,
    )
    warm: int = setting(
        Whole(0, 100),
        "Connections to it that are opened ahead, at the start and when its settings change; unused ones are closed after 55 seconds, 4 "
        "for a local server. With `upstream.transport: lean` alone.",
        0,
    )
    connect_s: float | None = deadline("Default: `limits.connect_s`.", None)
    first_byte_s: float | None = deadline("Default: `limits.first_byte_s`.", None)
    idle_s: float | None = deadline("Default: `limits.idle_s`.", None)
    total_s: float | None = deadline("Default: `limits.total_s`.", None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """One upstream. The name is a slug of your choice; models refer to it.

    Attributes:
        base_urls: protocol to base URL, for every protocol in `protocols`.
        key_from: the reference of `api_key` as written, also when the key itself is missing and that was let pass.
        headers: extra headers as (name, value); values may be secrets and are kept like one.
        query: fixed query parameters, likewise.
    """

    name: str = ""
    protocols: tuple[str, ...] = setting(
        Listed(Choice(PROTOCOLS), "a list of protocols"),
        "What it speaks: `openai` (base URL ends where `/chat/completions` begins), `anthropic`, `gemini` or `ollama` (base URL is the "
        "root). May be left out when `base_url` is a mapping.",
    )
    operations: tuple[str, ...] = setting(
        Listed(Choice(OPERATIONS), "a list of operations"),
        "What it has of its protocols, for a server that lacks some: `[chat, embeddings]` for one without `/responses`. A chat in another "
        "dialect is then translated. Default: all.",
        (),
    )
    base_urls: Mapping[str, str] = setting(
        Special("a URL, or a mapping of protocol to URL", text=True),
        "Where it is. Absolute, http or https, without user, query or fragment. `{model}` in its path stands for the name of "
        "the model that the provider knows, as in `https://X.openai.azure.com/openai/deployments/{model}`.",
        key="base_url",
    )
    api_key: Secret | None = setting(SecretRef(), "Its key. Never written out: a reference.", None)
    key_from: str = ""
    auth: str | None = setting(
        Choice(AUTHS),
        "How it wants the key: as `Authorization: Bearer`, in the header of that name, or not at all. Default: as its protocol has it "
        "(`bearer`; `x-api-key` for Anthropic's, `x-goog-api-key` for Gemini's).",
        None,
    )
    local: bool = setting(Flag(), "It runs on your own machines: its calls cost nothing unless a price says so.", False)
    region: str = setting(
        Text("a region"),
        "Where it keeps data, as agents name it in `data.residency` (`eu`). Default: nowhere that anybody may rely on.",
        "",
    )
    headers: tuple[tuple[str, Secret], ...] = setting(Special("a mapping of name to text, `env:NAME` or `file:PATH`"), "Extra headers.", ())
    query: tuple[tuple[str, Secret], ...] = setting(
        Special("a mapping of name to text, `env:NAME` or `file:PATH`"),
        "Query parameters of every request, such as Azure's `api-version`. A client's own of the same name is dropped.",
        (),
    )
    retries: int = setting(
        Whole(0, 5),
        "How often a request is sent again when nothing else is left to ask and it surely did no work: no connection, or 429, 503 or 529 "
        "with at most two seconds to wait.",
        1,
    )
    limits: ProviderLimits = setting(Section(ProviderLimits), "Its own bounds.", ProviderLimits())
    source: Source = Source("", 0)


_PRICE = Special("a mapping of input, output, cache_read, cache_write and cache_write_1h")


@dataclass(frozen=True, slots=True, kw_only=True)
class Failover:
    """A provider that is asked when those before it are down, the name that it knows the model by, and a price of its own."""

    provider: str = ""
    upstream_model: str | None = setting(Text("a model name"), "Default: the rule's.", None)
    price: Mapping[str, float] | None = setting(_PRICE, "Default: the price table's.", None)
    price_source: Source | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRule:
    """Which provider serves a model. The key is a name or a pattern with `*` and `?`; the first rule that matches wins.

    Attributes:
        price: dollars per million tokens as written, by kind of token, or None for the price table's.
    """

    pattern: str = ""
    provider: str = setting(Text("the name of a provider"), "Who serves it.")
    upstream_model: str | None = setting(Text("a model name"), "The name that the provider knows it by; default: the name asked for.", None)
    price: Mapping[str, float] | None = setting(
        _PRICE, "Dollars per million tokens, in place of the price table. `input` and `output` are required.", None
    )
    footprint: Mapping[str, float] | None = setting(
        Special("a mapping of gco2e and wh"),
        "What 1,000 tokens of its output take at most, in place of an estimate: grams of CO2 equivalents, and watt-hours if known "
        "(docs/energy.md).",
        None,
    )
    failover: tuple[Failover, ...] = setting(
        Special("a list of providers, or a mapping of provider to model name or {upstream_model, price}"),
        "Providers that are asked in this order when those before them are down or overloaded. Each is charged at its own price.",
        (),
    )
    context: int | None = setting(
        Whole(1, 100_000_000), "Most tokens that it reads and writes in one request. Default: the price table's.", None
    )
    tools: bool | None = setting(Flag(), "It can call tools: `true` lets requests with tools be moved to it, `false` keeps them off.", None)
    images: bool | None = setting(Flag(), "It can see images and files, likewise.", None)
    json: bool | None = setting(Flag(), "It can answer in JSON when told to: `false` keeps off requests that want it.", None)
    source: Source = Source("", 0)
    price_source: Source | None = None

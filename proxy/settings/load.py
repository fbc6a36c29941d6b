"""Reads `fleetgate.yaml` and the environment into `Settings`.

All errors of the file are collected and raised together, each with file and line, or with the name of the environment variable that
carries the value. An unknown key is an error with a hint; an unknown `FLEETGATE_` variable is a warning, because environments are
shared. What the file says and this version does not do is an error too: nothing is accepted that has no effect.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from proxy.budget.footprints import KEYS
from proxy.config import ConfigError, ConfigErrors, Doc, KeyPath, load_yaml, near
from proxy.model import Source
from proxy.settings.checks import cross_check
from proxy.settings.environment import Overrides
from proxy.settings.fields import keys
from proxy.settings.kinds import Listed, PathOf, Secret, SecretRef, Section, Surroundings, Wrong, base_url, shown
from proxy.settings.sections import Settings
from proxy.settings.store import Asked, Store, read_store
from proxy.settings.upstreams import PROTOCOLS, Failover, ModelRule, Provider
from proxy.settings.webhooks import Webhook
from proxy.upstream.proxies import DIRECT, of_environment

SLUG = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
PARAMETER = re.compile(r"[A-Za-z0-9._~-]{1,100}")
SECRET_PARAMETERS = frozenset({"key", "api_key", "api-key", "apikey", "token", "access_token", "sig", "code"})
HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
OURS = frozenset({"host", "content-length", "transfer-encoding", "connection", "te", "upgrade", "trailer", "expect", "content-encoding"})
SECRET_HEADERS = frozenset({"authorization", "proxy-authorization", "x-api-key", "api-key", "x-goog-api-key", "cookie"})
PRICES = ("input", "output", "cache_read", "cache_write", "cache_write_1h")
MAX_PRICE = 1_000_000


def load_settings(path: Path, env: Mapping[str, str], *, simulate: bool = False) -> Settings:
    """Return the settings that the file at `path` and the variables `env` make.

    Args:
        path: the configuration file; relative paths in it are relative to its folder.
        env: the environment: overrides (`FLEETGATE_<SECTION>_<KEY>`) and the values of `env:` secrets.
        simulate: a provider whose key is missing gets none, instead of that being an error.

    Raises:
        ConfigErrors: everything that is wrong.
    """
    try:
        doc = load_yaml(path)
    except ConfigError as e:
        raise ConfigErrors([e]) from None
    doc.value = {} if doc.value is None else doc.value
    if not isinstance(doc.value, dict):
        raise ConfigErrors([doc.error((), shown(doc.value), "a mapping of sections")])
    reader = Reader(doc, Surroundings(path.parent, env, simulate))
    values = reader.section(Settings, ())
    if reader.errors:
        raise ConfigErrors(reader.errors)
    warnings = tuple(reader.overrides.unknown)
    proxies = of_environment(env) if values["upstream"].proxy == "environment" else DIRECT
    settings = Settings(file=path, warnings=warnings, secret_files=tuple(reader.secret_files), proxies=proxies, **values)
    errors, more = cross_check(settings, reader.error, reader.given)
    if errors:
        raise ConfigErrors(errors)
    return dataclasses.replace(settings, warnings=warnings + tuple(more))


class Reader:
    """Reads one document section by section, keeping the errors."""

    def __init__(self, doc: Doc, at: Surroundings) -> None:
        self.doc, self.at = doc, at
        self.errors: list[ConfigError] = []
        self.secret_files: list[Path] = []
        self.overrides = Overrides(doc, at.env)
        self.errors += self.overrides.errors
        self._special = {
            "providers": self._providers,
            "models": self._models,
            "store": self._store,
            "base_url": self._base_urls,
            "headers": self._headers,
            "otlp_headers": self._headers,
            "resource": self._resource,
            "query": self._query,
            "price": self._price,
            "footprint": self._footprint,
            "failover": self._failover,
            "webhooks": self._webhooks,
        }

    def error(self, path: KeyPath, got: str, expected: str = "", hint: str = "") -> ConfigError:
        """Return the error for the value at `path`, naming the variable where one set it."""
        variable = next((self.overrides.used[path[:n]] for n in range(len(path), 0, -1) if path[:n] in self.overrides.used), None)
        if variable is not None:
            return ConfigError(f"${variable}", 0, got, expected, hint, path)
        return self.doc.error(path, got, expected, hint)

    def given(self, path: KeyPath) -> bool:
        """Tell if the file or a variable says something at `path`."""
        return path in self.doc.lines or path in self.overrides.used

    def wrong(self, path: KeyPath, e: Wrong) -> None:
        """Keep the error that `e` is at `path`."""
        self.errors.append(self.error(path, e.got, e.expected, e.hint))

    def source(self, path: KeyPath) -> Source:
        """Return where `path` is written."""
        return Source(self.doc.file, self.doc.line(path), ".".join(str(p) for p in path))

    def _at(self, path: KeyPath) -> Any:
        value: Any = self.doc.value
        for part in path:
            value = value[part]
        return value

    def section(self, of: type[Any], path: KeyPath) -> dict[str, Any]:
        """Return the values of the section `of` found at `path`, by field name, defaults included; errors are kept."""
        value = self._at(path)
        known = keys(of)
        found: dict[str, Any] = {}
        if not isinstance(value, dict):
            self.errors.append(self.error(path, shown(value), f"a mapping with {', '.join(known)}"))
            return found
        for key in value:
            if key not in known:
                self.errors.append(self.error((*path, key), "unknown key", hint=near(key, known)))
        for key, setting in known.items():
            if key in value:
                self._field(setting, (*path, key), value[key], found)
            elif setting.default is dataclasses.MISSING:
                self.errors.append(self.error(path, f"{key} is missing", setting.metadata["kind"].words))
            else:
                found[setting.name] = self._default(setting)
        return found

    def _default(self, setting: dataclasses.Field[Any]) -> Any:
        default = setting.default
        if isinstance(default, Path):
            return self.at.folder / default
        if isinstance(default, Store) and default.path is not None:
            return dataclasses.replace(default, path=self.at.folder / default.path)
        return default

    def _field(self, setting: dataclasses.Field[Any], path: KeyPath, value: object, found: dict[str, Any]) -> None:
        kind = setting.metadata["kind"]
        required = setting.default is dataclasses.MISSING
        try:
            if value is None and not required:
                found[setting.name] = self._default(setting)
            elif isinstance(kind, Section):
                before = len(self.errors)
                values = self.section(kind.of, path)
                if len(self.errors) == before:
                    found[setting.name] = kind.of(**values)
            elif path[-1] in self._special and not isinstance(kind, (Listed, PathOf)):
                found[setting.name] = self._special[str(path[-1])](path, value)
            else:
                found[setting.name] = kind.read(value, self.at)
                if isinstance(kind, SecretRef):
                    self._note_secret(value)
        except Wrong as e:
            self.wrong(path, e)

    def _note_secret(self, value: object) -> None:
        if isinstance(value, str) and value.startswith("file:"):
            self.secret_files.append(self.at.folder / value.removeprefix("file:"))

    # --- values with a reader of their own ---------------------------------------------------------------------------------

    def _providers(self, path: KeyPath, value: object) -> dict[str, Provider]:
        if not isinstance(value, dict) or not value:
            raise Wrong(shown(value) if value else "no provider", "a mapping of name to provider")
        found = {}
        for name, item in value.items():
            at = (*path, name)
            if not SLUG.fullmatch(name):
                self.errors.append(self.error(at, f"the name {shown(name)}", "a slug of a-z, 0-9 and -"))
            if isinstance(item, dict) and "protocols" not in item and isinstance(item.get("base_url"), dict):
                item["protocols"] = list(item["base_url"])
            before = len(self.errors)
            values = self.section(Provider, at)
            if len(self.errors) == before:
                values["base_urls"] = self._match_urls(values["base_urls"], values["protocols"], (*at, "base_url"))
                key = item.get("api_key")
                found[name] = Provider(name=name, source=self.source(at), key_from=key if isinstance(key, str) else "", **values)
        return found

    def _match_urls(self, urls: dict[str, str], protocols: tuple[str, ...], path: KeyPath) -> dict[str, str]:
        if "" not in urls:
            for odd in sorted(set(urls) ^ set(protocols)):
                self.errors.append(self.error(path, f"{odd} stands in only one of protocols and base_url", "the same in both"))
            return urls
        if len(protocols) > 1:
            hint = "write base_url: {openai: https://HOST/v1, anthropic: https://HOST}"
            self.errors.append(self.error(path, "one URL for several protocols", "a mapping of protocol to URL", hint))
        return dict.fromkeys(protocols, urls[""])

    def _base_urls(self, path: KeyPath, value: object) -> dict[str, str]:
        if not isinstance(value, dict):
            return {"": base_url(value)}  # for all its protocols
        found = {}
        for protocol, url in value.items():
            if protocol not in PROTOCOLS:
                self.errors.append(self.error((*path, protocol), "no protocol", ", ".join(PROTOCOLS), near(protocol, PROTOCOLS)))
            try:
                found[protocol] = base_url(url)
            except Wrong as e:
                self.wrong((*path, protocol), e)
        return found

    def _headers(self, path: KeyPath, value: object) -> tuple[tuple[str, Secret], ...]:
        return self._pairs(path, value, self._header, "a mapping of header name to value")

    def _query(self, path: KeyPath, value: object) -> tuple[tuple[str, Secret], ...]:
        return self._pairs(path, value, self._parameter, "a mapping of parameter to value")

    def _pairs(
        self, path: KeyPath, value: object, read: Callable[[str, object], Secret | None], expected: str
    ) -> tuple[tuple[str, Secret], ...]:
        if not isinstance(value, dict):
            raise Wrong(shown(value), expected)
        found = []
        for name, text in value.items():
            try:
                secret = read(name, text)
            except Wrong as e:
                self.wrong((*path, name), e)
                continue
            if secret is not None:
                found.append((name, secret))
        return tuple(found)

    def _resource(self, path: KeyPath, value: object) -> tuple[tuple[str, str], ...]:
        if not isinstance(value, dict):
            raise Wrong(shown(value), "a mapping of attribute name to text")
        for name, text in value.items():
            if not PARAMETER.fullmatch(name) or not isinstance(text, str) or not text.isprintable() or len(text) > 256:
                self.errors.append(self.error((*path, name), shown(text), "a dotted name, and text of 256 characters at most"))
        return tuple(value.items())

    def _header(self, name: str, value: object) -> Secret | None:
        if not HEADER_NAME.fullmatch(name) or name.lower() in OURS or name.lower().startswith("x-fleetgate-"):
            raise Wrong(f"the header {shown(name)}", "a header that is not Fleetgate's own to set")
        return self._value(value, "header", name.lower() in SECRET_HEADERS)

    def _parameter(self, name: str, value: object) -> Secret | None:
        if not PARAMETER.fullmatch(name):
            raise Wrong(f"the parameter {shown(name)}", "a name of letters, digits, ., _, ~ and -")
        return self._value(value, "query", name.lower() in SECRET_PARAMETERS)

    def _value(self, value: object, what: str, secret: bool) -> Secret | None:
        if not isinstance(value, str) or not value or not value.isascii() or not value.isprintable():
            raise Wrong(f"not text that a {what} can carry", "printable ASCII, quoted if it looks like a number")
        if value.startswith(("env:", "file:")):
            self._note_secret(value)
            return SecretRef().read(value, self.at)
        if secret:
            raise Wrong("a secret written out", SecretRef().words)
        return Secret(value, "literal")

    def _models(self, path: KeyPath, value: object) -> tuple[ModelRule, ...]:
        if not isinstance(value, dict) or not value:
            raise Wrong(shown(value) if value else "no model", "a mapping of model name or pattern to {provider: NAME}")
        found = []
        for pattern in value:
            at = (*path, pattern)
            if not 0 < len(pattern) <= 200 or not pattern.isprintable():
                self.errors.append(self.error(at, f"the pattern {shown(pattern)}", "a model name, * and ? allowed"))
            before = len(self.errors)
            values = self.section(ModelRule, at)
            if len(self.errors) == before:
                found.append(ModelRule(pattern=pattern, source=self.source(at), price_source=self._priced(at, values), **values))
        return tuple(found)

    def _priced(self, at: KeyPath, values: Mapping[str, Any]) -> Source | None:
        return None if values["price"] is None else self.source((*at, "price"))

    def _failover(self, path: KeyPath, value: object) -> tuple[Failover, ...]:
        expected = "a list of providers, or a mapping of provider to model name or {upstream_model, price}"
        if isinstance(value, list):
            if not all(isinstance(name, str) for name in value) or len(set(value)) != len(value):
                raise Wrong("a list with something else than names, or with one twice", expected)
            return tuple(Failover(provider=name) for name in value)
        if not isinstance(value, dict):
            raise Wrong(shown(value), expected)
        found = []
        for name, item in value.items():
            at = (*path, name)
            value[name] = {} if item is None else {"upstream_model": item} if isinstance(item, str) else item
            before = len(self.errors)
            values = self.section(Failover, at)
            if len(self.errors) == before:
                found.append(Failover(provider=name, price_source=self._priced(at, values), **values))
        return tuple(found)

    def _webhooks(self, path: KeyPath, value: object) -> tuple[Webhook, ...]:
        if not isinstance(value, list):
            raise Wrong(shown(value), "a list of webhooks, as [{url: https://..., secret: env:NAME}]")
        found = []
        for i in range(len(value)):
            at = (*path, i)
            before = len(self.errors)
            values = self.section(Webhook, at)
            if len(self.errors) == before:
                found.append(Webhook(source=self.source(at), **values))
        return tuple(found)

    def _price(self, path: KeyPath, value: object) -> dict[str, float]:
        if not isinstance(value, dict):
            raise Wrong(shown(value), "a mapping with input and output, in dollars per million tokens")
        for key, number in value.items():
            if key not in PRICES:
                self.errors.append(self.error((*path, key), "unknown key", hint=near(key, PRICES)))
            elif isinstance(number, bool) or not isinstance(number, (int, float)) or not 0 <= number <= MAX_PRICE:
                self.errors.append(self.error((*path, key), shown(number), f"dollars per million tokens, from 0 to {MAX_PRICE}"))
        for key in PRICES[:2]:
            if key not in value:
                self.errors.append(self.error(path, f"{key} is missing", "both input and output", "write 0 for what is free"))
        return dict(value)

    def _footprint(self, path: KeyPath, value: object) -> dict[str, float]:
        if not isinstance(value, dict) or "gco2e" not in value:
            raise Wrong(shown(value) if not isinstance(value, dict) else "no gco2e", "{gco2e: GRAMS, wh: WATT_HOURS} for 1,000 tokens")
        for key, number in value.items():
            if key not in KEYS:
                self.errors.append(self.error((*path, key), "unknown key", hint=near(key, KEYS)))
            elif isinstance(number, bool) or not isinstance(number, (int, float)) or not 0 <= number <= MAX_PRICE:
                self.errors.append(self.error((*path, key), shown(number), f"a number from 0 to {MAX_PRICE}"))
        return dict(value)

    def _store(self, path: KeyPath, value: object) -> Store:
        def wrong(key: str, e: Wrong) -> None:
            self.wrong((*path, key), e)

        return read_store(value, Asked(self.at, path not in self.overrides.used, wrong, self._note_secret))

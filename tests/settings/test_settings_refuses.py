"""What a configuration file may not say, and that the refusal names the line and what is expected."""

from __future__ import annotations

from pathlib import Path

import pytest
from settings_files import MODELS, PROVIDERS, errors, load

from proxy.config import ConfigErrors
from proxy.settings import load_settings


def jwt(more: str, beside: str = "", mode: str = "jwt") -> str:
    return f"auth: {{mode: {mode}, {beside}jwt: {{issuer: i, audience: a{', ' if more else ''}{more}}}}}\n"


WRONG = {
    "unknown section": ("lisen: {}\n", "fleetgate.yaml:1: lisen: unknown key (did you mean listen?)"),
    "unknown key": ("listen: {\n  prot: 1}\n", "fleetgate.yaml:2: listen.prot: unknown key (did you mean port?)"),
    "not a mapping": ("listen: 8080\n", "listen: 8080; expected a mapping with host, port"),
    "port": ("listen: {port: 70000}\n", "listen.port: 70000; expected a whole number from 0 to 65535"),
    "port as a flag": ("listen: {port: true}\n", "listen.port: True; expected a whole number"),
    "same port": ("listen: {port: 80, admin_port: 80}\n", "listen.admin_port: 80 is the port of the data plane too"),
    "host": ("listen: {host: 'a b'}\n", "listen.host: 'a b'; expected a host name or an IP address"),
    "tls without key": ("listen: {tls: {cert: fleetgate.yaml}}\n", "listen.tls: key is missing; expected the path of a file"),
    "tls file": ("listen: {tls: {cert: fleetgate.yaml, key: b.pem}}\n", "listen.tls.key: there is no file"),
    "no agents": ("agents: []\n", "agents: a list; expected a list of files or globs"),
    "agents twice": ("agents: [a, a]\n", "agents: the same entry twice"),
    "policies folder": ("policies: polices/\n", "policies: there is no folder"),
    "budgets folder": ("budgets: fleetgate.yaml\n", "budgets: there is no folder"),
    "open off loopback": (
        "auth: {mode: open}\nlisten: {host: 0.0.0.0}\n",
        "auth.mode: open while listen.host is 0.0.0.0; expected mode: keys",
    ),
    "open with keys": ("auth: {mode: open, keys: fleetgate.yaml}\n", "auth.keys: a key file that mode: open would not read"),
    "jwt": ("auth: {mode: jwt}\n", "auth.mode: jwt without auth.jwt; expected jwt: {issuer: …, audience: …, jwks_url: …}"),
    "jwt section": ("auth: {mode: jwt, jwt: {issuer: x}}\n", "auth.jwt: audience is missing; expected an audience, or a list of them"),
    "jwt beside keys": (
        jwt("jwks_url: https://h/k", mode="keys"),
        "auth.jwt: a section that mode: keys would not read; expected mode: jwt",
    ),
    "jwt without keys": (jwt(""), "auth.jwt: neither jwks_url nor jwks_file; expected one of the two"),
    "jwt with both": (jwt("jwks_url: https://h/k, jwks_file: fleetgate.yaml"), "auth.jwt: both jwks_url and jwks_file; expected one"),
    "jwt over plain http": (
        jwt("jwks_url: http://idp.example/k"),
        "auth.jwt.jwks_url: plain http to another machine; expected an https URL",
    ),
    "jwt by file scheme": (jwt("jwks_url: file:///etc/k"), "auth.jwt.jwks_url: not an absolute URL"),
    "jwt url": (jwt("jwks_url: 'https://h:x/k'"), "auth.jwt.jwks_url: not a URL"),
    "jwt url with a space": (jwt("jwks_url: 'https://h/ k'"), "auth.jwt.jwks_url: not a URL"),
    "jwt url with a user": (jwt("jwks_url: 'https://u:p@h/k'"), "auth.jwt.jwks_url: a URL with a user or a fragment"),
    "jwt none": (jwt("jwks_url: https://h/k, algorithms: [none]"), "auth.jwt.algorithms: 'none'; expected `RS256` or"),
    "jwt secret": (jwt("jwks_url: https://h/k, algorithms: [HS256]"), "auth.jwt.algorithms: 'HS256'; expected `RS256` or"),
    "jwt without algorithms": (jwt("jwks_url: https://h/k, algorithms: []"), "auth.jwt.algorithms: a list; expected a list of"),
    "jwt leeway": (jwt("jwks_url: https://h/k, leeway_s: 3000"), "auth.jwt.leeway_s: 3000; expected a number from 0 to 300"),
    "jwt stale": (
        jwt("jwks_url: https://h/k, refresh_s: 600, stale_s: 60"),
        "auth.jwt.stale_s: 60 is below refresh_s; expected at least 600",
    ),
    "jwt ca over http": (jwt("jwks_url: http://127.0.0.1/k, jwks_ca: fleetgate.yaml"), "auth.jwt.jwks_ca: given, and jwks_url is no https"),
    "jwt token": (jwt("jwks_url: https://h/k, jwks_token: abc"), "auth.jwt.jwks_token: a secret written out"),
    "jwt map": (jwt("jwks_url: https://h/k, map: {}"), "auth.jwt.map: no rule; expected a mapping of pattern to agent"),
    "jwt map of lists": (jwt("jwks_url: https://h/k, map: {a: [b]}"), "auth.jwt.map: 'a': a list; expected a mapping of pattern"),
    "jwt map rule": (
        jwt("jwks_url: https://h/k, map: {'a:*': '{b}'}"),
        "auth.jwt.map: 'a:*': {b} stands in the agent and not in the pattern",
    ),
    "jwt map and fleets": (jwt("jwks_url: https://h/k, fleet_claims: true, map: {a: b}"), "auth.jwt.fleet_claims: true beside a map"),
    "jwt keys": (jwt("jwks_url: https://h/k", "keys: fleetgate.yaml, "), "auth.keys: a key file that mode: jwt would not read"),
    "spiffe from anywhere": (
        "auth: {spiffe: {trusted: [0.0.0.0/0], map: {a: b}}}\n",
        "auth.spiffe.trusted: '0.0.0.0/0'; expected a network",
    ),
    "spiffe from nowhere": ("auth: {spiffe: {trusted: [], map: {a: b}}}\n", "auth.spiffe.trusted: a list; expected a list of networks"),
    "spiffe network": ("auth: {spiffe: {trusted: [10.0.0.1/8], map: {a: b}}}\n", "auth.spiffe.trusted: '10.0.0.1/8'; expected a network"),
    "spiffe for nobody": ("auth: {spiffe: {trusted: [10.0.0.0/8]}}\n", "auth.spiffe: map is missing; expected a mapping of pattern"),
    "spiffe by a key's header": (
        "auth: {spiffe: {trusted: [10.0.0.0/8], map: {a: b}, header: x-api-key}}\n",
        "auth.spiffe.header: 'x-api-key'; expected the name of a header",
    ),
    "spiffe for all": (
        "auth: {mode: open, spiffe: {trusted: [10.0.0.0/8], map: {a: b}}}\n",
        "auth.spiffe: a section that mode: open would not read; expected mode: keys or jwt",
    ),
    "keys too": ("auth: {also_keys: true}\n", "auth.also_keys: true with mode: keys; expected mode: jwt"),
    "auth mode": ("auth: {mode: key}\n", "auth.mode: 'key'; expected `keys` or `jwt` or `open` (did you mean keys?)"),
    "redis": ("store: redis://h:1/x\n", "store: the database is no number; expected redis://HOST:PORT/DB"),
    "store": ("store: postgres\n", "store: 'postgres'; expected `memory:`, `sqlite:PATH`, `redis://HOST:PORT/DB`"),
    "store with a password": ("store: redis://u:p@h/0\n", "store: a password written out; expected store: {url: …, password: env:NAME}"),
    "store password": ("store: {url: redis://h, password: hunter2}\n", "store.password: a secret written out"),
    "store key": ("store: {url: redis://h, tenent: x}\n", "store.tenent: unknown key (did you mean tenant?)"),
    "store tenant": ("store: {url: redis://h, tenant: '{x}'}\n", "store.tenant: '{x}'; expected letters"),
    "store without url": ("store: {tenant: x}\n", "store: nothing; expected"),
    "store user": ("store: {url: redis://h, username: 3}\n", "store.username: 3; expected the name of a user"),
    "store ca": ("store: {url: rediss://h, ca: none.pem}\n", "store.ca: there is no file"),
    "store ca in clear": (
        "store: {url: redis://h, ca: fleetgate.yaml}\n",
        "store.ca: given, and the URL is not encrypted; expected",
    ),
    "store cert alone": ("store: {url: rediss://h, cert: fleetgate.yaml}\n", "store.cert: without cert_key; expected both, or none"),
    "store key alone": ("store: {url: rediss://h, cert_key: fleetgate.yaml}\n", "store.cert_key: without cert; expected both"),
    "sentinel password": ("store: {url: redis://h, sentinel_password: env:A}\n", "store.sentinel_password: a password of sentinels, and"),
    "store timeout": ("store: {url: redis://h, timeout_s: 0}\n", "store.timeout_s: 0; expected a number above 0"),
    "store lease": ("store: {url: redis://h, lease: -1}\n", "store.lease: -1; expected US dollars"),
    "store lease nan": ("store: {url: redis://h, lease: .nan}\n", "store.lease: .nan is not a number one can count to"),
    "store records": ("store: {url: redis://h, records: 5}\n", "store.records: 5; expected a whole number"),
    "lease of a file": ("store: {url: 'sqlite:x.db', lease: 1}\n", "store.lease: a setting of a Redis store"),
    "sqlite without path": ("store: 'sqlite:'\n", "store: 'sqlite:'; expected"),
    "memory with path": ("store: memory:x\n", "store: 'memory:x'; expected"),
    "sqlite URL": ("store: sqlite:///x.db\n", "store: sqlite: with a URL; expected"),
    "engine": ("policy: {engine: opal}\n", "policy.engine: 'opal'; expected `embedded` or `opa:http://HOST:PORT`"),
    "opa without a server": ("policy: {engine: 'opa:'}\n", "policy.engine: not an absolute http or https URL"),
    "opa path": ("policy: {engine: 'opa:http://127.0.0.1:8181/v1'}\n", "policy.engine: a URL with a path"),
    "policy timeout": ("policy: {timeout_ms: 0}\n", "policy.timeout_ms: 0; expected a whole number from 1 to 30000"),
    "policy error": ("policy: {on_error: allow}\n", "policy.on_error: 'allow'; expected `deny` or `observe`"),
    "refusal": ("refusal: silent\n", "refusal: 'silent'; expected `error` or `message`"),
    "otlp url": ("telemetry: {otlp_endpoint: collector:4318}\n", "telemetry.otlp_endpoint: not an absolute http or https URL"),
    "otlp headers alone": ("telemetry: {otlp_headers: {a: b}}\n", "telemetry.otlp_headers: given without otlp_endpoint"),
    "otlp key": ("telemetry: {otlp_endpoint: 'http://x', otlp_headers: {x-api-key: k}}\n", "x-api-key: a secret written out"),
    "otlp ca": ("telemetry: {otlp_endpoint: 'http://x', otlp_ca: fleetgate.yaml}\n", "telemetry.otlp_ca: given, and otlp_endpoint is no"),
    "otlp resource": ("telemetry: {resource: {a b: c}}\n", "telemetry.resource.a b: 'c'; expected a dotted name"),
    "otlp resource list": ("telemetry: {resource: [a]}\n", "telemetry.resource: a list; expected a mapping"),
    "zone alone": ("energy: {zone: FRA}\n", "energy.zone: given without estimate"),
    "zone": ("energy: {estimate: true, zone: XXX}\n", "energy.zone: nobody knows the electricity of XXX"),
    "sample": ("telemetry: {sample: 2}\n", "telemetry.sample: 2; expected a number from 0 to 1"),
    "capture": ("telemetry: {capture: full}\n", "telemetry.capture: 'full'; expected `true` or `false`"),
    "capture nothing": ("telemetry: {capture_kb: 0}\n", "telemetry.capture_kb: 0; expected a whole number from 1 to 4096"),
    "threshold": ("routing: {threshold: 1.1}\n", "routing.threshold: 1.1; expected a number from 0 to 1"),
    "route without mode": ("routing: {simple_to: m}\n", "routing: simple_to without mode; expected mode: shadow"),
    "threshold that falls": ("routing: {threshold: 0.5, max_threshold: 0.4}\n", "routing.max_threshold: 0.4 is below threshold"),
    "class unknown": ("routing: {local_only: [secret]}\n", "routing.local_only"),
    "enforce nothing": ("routing: {mode: enforce}\n", "routing.mode: enforce without simple_to"),
    "workers apart": (
        "listen: {workers: 2}\nstore: 'memory:'\n",
        "fleetgate.yaml:1: listen.workers: 2 with store memory:; expected 1, or store: sqlite:PATH or redis://…",
    ),
    "workers of none": ("listen: {workers: 0}\n", "listen.workers: 0; expected a whole number from 1 to 64"),
    "budget": ("budget: {default_max_output: 5}\n", "budget.min_output: 64 is above default_max_output"),
    "breaker": ("upstream: {breaker: {cooldown_s: 31}}\n", "upstream.breaker.cooldown_s: 31; expected a number above 0, at most 30"),
    "zero wait": ("limits: {idle_s: 0}\n", "limits.idle_s: 0; expected a number above 0"),
}


@pytest.mark.parametrize("case", WRONG)
def test_refuses(tmp_path: Path, case: str) -> None:
    text, expected = WRONG[case]
    found = errors(tmp_path, text + PROVIDERS + MODELS)
    assert len(found) == 1
    assert expected in found[0].replace(str(tmp_path) + "/", "")


WRONG_PROVIDER = {
    "literal key": ("protocols: [openai], base_url: http://h, api_key: sk-live-123", "p.api_key: a secret written out, or no reference"),
    "literal key as a variable": ("protocols: [openai], base_url: http://h, api_key: 'env:sk-live-123'", "p.api_key: a secret written out"),
    "missing key": ("protocols: [openai], base_url: http://h, api_key: env:NOPE", "p.api_key: the environment variable NOPE is not set"),
    "missing file": (
        "protocols: [openai], base_url: http://h, api_key: file:nope",
        "p.api_key: the file nope cannot be read: No such file",
    ),
    "no protocol": ("base_url: http://h", "p: protocols is missing; expected a list of protocols"),
    "no URL": ("protocols: [openai]", "p: base_url is missing"),
    "protocol": ("protocols: [opnai], base_url: http://h", "'opnai'"),
    "one URL for two": ("protocols: [openai, anthropic], base_url: http://h", "p.base_url: one URL for several protocols"),
    "URLs do not match": ("protocols: [openai], base_url: {anthropic: http://h}", "stands in only one of protocols and base_url"),
    "URL of no protocol": ("protocols: [openai], base_url: {openai: http://h, http: http://h}", "p.base_url.http: no protocol"),
    "user in URL": ("protocols: [openai], base_url: 'http://u:sk-live-123@h'", "p.base_url: a URL with a user, a query or a fragment"),
    "query in URL": ("protocols: [openai], base_url: 'http://h/?key=sk-live-123'", "p.base_url: a URL with a user"),
    "empty query": ("protocols: [openai], base_url: 'http://h/v1?'", "p.base_url: a URL with a user"),
    "fragment": ("protocols: [openai], base_url: 'http://h/#a'", "p.base_url: a URL with a user"),
    "scheme": ("protocols: [openai], base_url: 'file:///etc/passwd'", "p.base_url: not an absolute http or https URL"),
    "relative": ("protocols: [openai], base_url: /v1", "p.base_url: not an absolute http or https URL"),
    "port of URL": ("protocols: [openai], base_url: 'http://h:99999'", "p.base_url: not a URL"),
    "blank in URL": ("protocols: [openai], base_url: 'http://h/a b'", "p.base_url: not a URL"),
    "header of ours": ("protocols: [openai], base_url: http://h, headers: {Host: x}", "p.headers.Host: the header 'Host'"),
    "header of Fleetgate": ("protocols: [openai], base_url: http://h, headers: {x-fleetgate-agent: x}", "the header 'x-fleetgate-agent'"),
    "literal in header": ("protocols: [openai], base_url: http://h, headers: {Authorization: sk-live-123}", "a secret written out"),
    "number in header": (
        "protocols: [openai], base_url: http://h, headers: {x-org: 12}",
        "p.headers.x-org: not text that a header can carry",
    ),
    "headers": ("protocols: [openai], base_url: http://h, headers: [a]", "p.headers: a list; expected a mapping"),
    "local": ("protocols: [openai], base_url: http://h, local: 'yes'", "p.local: 'yes'; expected `true` or `false`"),
    "unknown": ("protocols: [openai], base_url: http://h, apikey: env:KEY", "p.apikey: unknown key (did you mean api_key?)"),
    "model in the host": ("protocols: [openai], base_url: 'http://{model}.h/v1'", "p.base_url: a URL with braces"),
    "another brace": ("protocols: [openai], base_url: 'http://h/{name}/v1'", "{model} in the path is the only one there is"),
    "auth": ("protocols: [openai], base_url: http://h, auth: bearr", "p.auth: 'bearr'; expected `bearer` or `x-api-key`"),
    "auth for nothing": ("protocols: [openai], base_url: http://h, auth: api-key", "p.auth: api-key without an api_key"),
    "a key for nothing": ("protocols: [openai], base_url: http://h, auth: none, api_key: env:KEY", "p.auth: none beside an api_key"),
    "query": ("protocols: [openai], base_url: http://h, query: [a]", "p.query: a list; expected a mapping of parameter to value"),
    "literal in query": ("protocols: [openai], base_url: http://h, query: {key: sk-live-123}", "p.query.key: a secret written out"),
    "parameter": ("protocols: [openai], base_url: http://h, query: {'a b': c}", "p.query.a b: the parameter 'a b'"),
    "number in query": ("protocols: [openai], base_url: http://h, query: {v: 1}", "p.query.v: not text that a query can carry"),
    "retries": ("protocols: [openai], base_url: http://h, retries: 6", "p.retries: 6; expected a whole number from 0 to 5"),
    "limits": ("protocols: [openai], base_url: http://h, limits: {body_s: 1}", "p.limits.body_s: unknown key"),
    "operations": ("protocols: [openai], base_url: http://h, operations: [chats]", "p.operations: 'chats'; expected `chat`"),
}


@pytest.mark.parametrize("case", WRONG_PROVIDER)
def test_refuses_a_provider_and_shows_no_secret(tmp_path: Path, case: str) -> None:
    text, expected = WRONG_PROVIDER[case]
    found = errors(tmp_path, f"providers: {{p: {{{text}}}}}\n" + MODELS)
    assert expected in "\n".join(found)
    assert "sk-live" not in "\n".join(found)


WRONG_MODEL = {
    "provider": ('{"*": {provider: openal}}', "models.*.provider: no provider is called openal"),
    "no provider": ('{"*": {}}', "models.*: provider is missing"),
    "pattern upstream": ('{"a/*": {provider: p, upstream_model: "*"}}', "upstream_model: a pattern; expected one model name"),
    "price without output": ("{a: {provider: p, price: {input: 1}}}", "models.a.price: output is missing"),
    "price below zero": ("{a: {provider: p, price: {input: -1, output: 1}}}", "models.a.price.input: -1; expected dollars per million"),
    "price as text": ("{a: {provider: p, price: {input: free, output: 1}}}", "models.a.price.input: 'free'"),
    "price kind": ("{a: {provider: p, price: {input: 1, output: 1, cached: 1}}}", "models.a.price.cached: unknown key"),
    "footprint": ("{a: {provider: p, footprint: 3}}", "models.a.footprint: 3; expected {gco2e: GRAMS"),
    "footprint of nothing": ("{a: {provider: p, footprint: {wh: 1}}}", "models.a.footprint: no gco2e; expected {gco2e: GRAMS"),
    "footprint key": ("{a: {provider: p, footprint: {gco2e: 1, co2: 1}}}", "models.a.footprint.co2: unknown key"),
    "footprint number": ("{a: {provider: p, footprint: {gco2e: -1}}}", "models.a.footprint.gco2e: -1; expected a number from 0"),
    "price": ("{a: {provider: p, price: 3}}", "models.a.price: 3; expected a mapping"),
    "failover": ("{a: {provider: p, failover: q}}", "models.a.failover: 'q'; expected a list of providers, or a mapping"),
    "failover twice": ("{a: {provider: p, failover: [q, q]}}", "models.a.failover: a list with something else than names, or with one"),
    "failover of numbers": ("{a: {provider: p, failover: [1]}}", "models.a.failover: a list with something else than names"),
    "failover to nobody": ("{a: {provider: p, failover: [pp]}}", "models.a.failover.pp: no provider is called pp (did you mean p?)"),
    "failover to itself": ("{a: {provider: p, failover: [p]}}", "models.a.failover.p: p once more; expected another provider, or another"),
    "failover to itself by name": ("{a: {provider: p, upstream_model: b, failover: {p: b}}}", "models.a.failover.p: p once more"),
    "failover pattern": ('{"a*": {provider: p, failover: {p: "b*"}}}', "models.a*.failover.p.upstream_model: a pattern"),
    "failover key": ("{a: {provider: p, failover: {p: {model: b}}}}", "models.a.failover.p.model: unknown key"),
    "failover price": ("{a: {provider: p, failover: {p: {price: {input: 1}}}}}", "models.a.failover.p.price: output is missing"),
    "auto": ("{auto: {provider: p}}", "models.auto: a model of this name; expected another name (`auto` leaves the choice to Fleetgate)"),
    "none": ("{}", "models: no model"),
    "empty name": ('{"": {provider: p}}', "the pattern ''"),
}


@pytest.mark.parametrize("case", WRONG_MODEL)
def test_refuses_a_model_rule(tmp_path: Path, case: str) -> None:
    text, expected = WRONG_MODEL[case]
    assert expected in "\n".join(errors(tmp_path, PROVIDERS + f"models: {text}\n"))


def test_refuses_a_simple_model_that_nothing_serves(tmp_path: Path) -> None:
    text = PROVIDERS + "models: {a: {provider: p}}\nrouting: {simple_to: b, mode: shadow}\n"
    assert errors(tmp_path, text) == ["fleetgate.yaml:3: routing.simple_to: no rule of models matches b; expected a model that is served"]


def test_reports_all_errors_at_once(tmp_path: Path) -> None:
    assert len(errors(tmp_path, "listen: {port: x, prot: 1}\nstore: nowhere\nproviders: {}\n")) == 5


@pytest.mark.parametrize("text", ["- a\n", "just text\n", "{a: &b 1}\n", "listen: {port: 1, port: 2}\n"])
def test_refuses_what_is_no_mapping_or_no_plain_yaml(tmp_path: Path, text: str) -> None:
    assert errors(tmp_path, text)[0].startswith("fleetgate.yaml:1")


def test_says_what_is_missing_from_an_empty_file_and_where_there_is_none(tmp_path: Path) -> None:
    assert [e.split(": ", 1)[1] for e in errors(tmp_path, "")] == [
        "providers is missing; expected a mapping of name to provider",
        "models is missing; expected a mapping of model name or pattern to rule",
    ]
    with pytest.raises(ConfigErrors, match="cannot be read: No such file"):
        load_settings(tmp_path / "nope.yaml", {})


@pytest.mark.parametrize("host", ["", "*", "0.0.0.0", "::", "10.0.0.1", "localhost.example.com", "2130706433"])
def test_open_mode_is_refused_anywhere_else(tmp_path: Path, host: str) -> None:
    assert "listen.host" in errors(tmp_path, f"auth: {{mode: open}}\nlisten: {{host: '{host}'}}\n" + PROVIDERS + MODELS)[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("providers: {My_Provider: {protocols: [openai], base_url: http://h}}\n" + MODELS, "a slug of a-z, 0-9 and -"),
        ("providers: [p]\n" + MODELS, "providers: a list; expected a mapping of name to provider"),
        ("providers: {p: {protocols: [openai], base_url: {openai: 'http://h?a'}}}\n" + MODELS, "p.base_url.openai: a URL with a user"),
        (PROVIDERS + 'models: {"*": {provider: 7}}\n', "models.*.provider: 7; expected the name of a provider"),
        (PROVIDERS + MODELS + "limits: {idle_s: soon}\n", "limits.idle_s: 'soon'; expected a number above 0"),
        (PROVIDERS + MODELS + "agents: {}\n", "agents: a mapping; expected a list of files or globs"),
        (PROVIDERS + MODELS + "policies: 3\n", "policies: 3; expected the path of a folder"),
    ],
)
def test_refuses_odd_shapes(tmp_path: Path, text: str, expected: str) -> None:
    assert expected in "\n".join(errors(tmp_path, text))


def test_a_proxy_that_cannot_be_used_is_an_error_where_it_would_be(tmp_path: Path) -> None:
    env = {"HTTP_PROXY": "socks5://u:hush@proxy.test:1080"}
    (told,) = errors(tmp_path, "providers: {p: {protocols: [openai], base_url: http://h}}\n" + MODELS, env)
    assert told.startswith("$HTTP_PROXY: a proxy that is spoken to in another way; expected http://[USER:PASSWORD@]HOST:PORT")
    assert "hush" not in told
    for fine in ("base_url: http://localhost", "base_url: https://h"):
        load(tmp_path, f"providers: {{p: {{protocols: [openai], {fine}}}}}\n" + MODELS, env)
    settings = load(tmp_path, "providers: {p: {protocols: [openai], base_url: http://h}}\nupstream: {proxy: none}\n" + MODELS, env)
    assert settings.proxies.of("http://h") is None
    env = {"HTTP_PROXY": "http://u:hush@proxy.test:1080", "NO_PROXY": "h"}
    settings = load(tmp_path, "providers: {p: {protocols: [openai], base_url: http://h}}\n" + MODELS, env)
    assert settings.proxies.of("http://h") is None
    found = settings.proxies.of("http://other")
    assert found is not None
    assert found.host == "proxy.test"
    assert "hush" not in repr(settings)

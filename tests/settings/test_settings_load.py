"""What a configuration file may say, what it means, and what is secret in it."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import pytest
from settings_files import MODELS, PROVIDERS, errors, load

from proxy.settings import Secret, load_settings
from proxy.settings.sections import expand

ROOT = Path(__file__).parents[2]


def test_the_smallest_file_has_the_documented_defaults(tmp_path: Path) -> None:
    s = load(tmp_path, PROVIDERS + MODELS)
    assert (s.listen.host, s.listen.port, s.listen.admin_host, s.listen.admin_port, s.listen.max_body_mb) == (
        "127.0.0.1",
        8080,
        "127.0.0.1",
        9090,
        32,
    )
    assert (s.auth.mode, s.auth.keys, s.routing.mode, s.refusal) == ("keys", None, "off", "error")
    assert (s.store.kind, s.store.path, s.policies, s.budgets) == (
        "sqlite",
        tmp_path / "fleetgate.db",
        tmp_path / "policies",
        tmp_path / "budgets",
    )
    assert (s.budget.default_max_output, s.budget.min_output) == (16384, 64)
    assert (s.limits.connections, s.limits.connect_s, s.limits.total_s, s.longest_s()) == (1000, 10, 1800, 1800)
    assert (s.upstream.breaker.failures, s.upstream.breaker.cooldown_s) == (5, 5)
    assert (s.providers["p"].retries, s.providers["p"].auth, s.providers["p"].query) == (1, None, ())
    assert (s.limits.first_byte_s, s.limits.idle_s, s.limits.body_s, s.limits.drain_s) == (300, 120, 60, 30)
    assert s.warnings == ()
    assert {p.name for p in s.inputs()} == {"fleetgate.yaml", "AGENTS.md", "*.yaml", "*.yml", "*.rego", "*.json"}


def test_loads_a_full_file_and_resolves_paths_against_its_folder(tmp_path: Path) -> None:
    for folder in ("policies", "budgets"):
        (tmp_path / folder).mkdir()
    for file in ("AGENTS.md", "keys.yaml", "cert.pem", "key.pem", "vendor.key"):
        (tmp_path / file).write_text("content\n")
    text = """
listen: {host: 0.0.0.0, port: 1, admin_host: 127.0.0.1, admin_port: 2, tls: {cert: cert.pem, key: key.pem}}
agents: AGENTS.md
policies: policies/
budgets: budgets/
auth: {mode: keys, keys: keys.yaml}
providers:
  both:
    base_url: {openai: "https://h/v1/", anthropic: "https://h"}
    api_key: file:vendor.key
    headers: {x-org: acme, api-key: env:KEY}
    auth: api-key
    query: {api-version: 2024-10-21, note: env:KEY}
    retries: 2
    limits: {connections: 7, connect_s: 1, first_byte_s: 2, idle_s: 3, total_s: 4000}
  local: {protocols: [openai], base_url: "http://127.0.0.1:11434/v1", local: true}
models:
  "local/qwen3": {provider: local, upstream_model: "qwen3:8b", price: {input: 0, output: 0.5}}
  "*": {provider: both}
routing: {simple_to: local/qwen3, threshold: 0.2, mode: enforce}
store: "memory:"
policy: {engine: embedded}
refusal: error
budget: {default_max_output: 100, min_output: 10}
limits: {first_byte_s: 1.5, idle_s: 2, body_s: 3, drain_s: 0}
telemetry: {otlp_endpoint: null, capture: false}
"""
    s = load(tmp_path, text)
    both = s.providers["both"]
    assert both.protocols == ("openai", "anthropic")
    assert both.base_urls == {"openai": "https://h/v1", "anthropic": "https://h"}
    assert both.api_key is not None
    assert (both.api_key.reveal(), both.key_from) == ("content", "file:vendor.key")
    assert [(name, value.reveal()) for name, value in both.headers] == [("x-org", "acme"), ("api-key", "sk-very-secret")]
    assert [(name, value.reveal()) for name, value in both.query] == [("api-version", "2024-10-21"), ("note", "sk-very-secret")]
    assert (both.auth, both.retries, both.limits.connections, both.limits.connect_s) == ("api-key", 2, 7, 1)
    assert (both.limits.first_byte_s, both.limits.idle_s, both.limits.total_s, s.longest_s()) == (2, 3, 4000, 4000)
    assert s.providers["local"].local
    assert s.providers["local"].api_key is None
    qwen = s.models[0]
    assert (qwen.pattern, qwen.provider, qwen.upstream_model, qwen.price) == (
        "local/qwen3",
        "local",
        "qwen3:8b",
        {"input": 0, "output": 0.5},
    )
    assert str(qwen.price_source) == f"{tmp_path}/fleetgate.yaml:18 models.local/qwen3.price"
    assert s.listen.tls is not None
    assert (s.listen.tls.cert, s.auth.keys) == (tmp_path / "cert.pem", tmp_path / "keys.yaml")
    assert s.store.kind == "memory"
    assert s.agents == ("AGENTS.md",)
    inputs = set(s.inputs())
    assert {tmp_path / f for f in ("fleetgate.yaml", "AGENTS.md", "keys.yaml", "vendor.key")} <= inputs
    assert {tmp_path / "policies" / "**" / "*.rego", tmp_path / "budgets" / "**" / "*.yaml"} <= inputs


def test_loads_the_repository_s_own_file() -> None:
    s = load_settings(ROOT / "fleetgate.yaml", {}, simulate=True)
    assert {"openai", "anthropic", "local"} <= set(s.providers)
    assert {name: p.key_from for name, p in s.providers.items()}["anthropic"] == "env:ANTHROPIC_API_KEY"
    assert s.warnings == ()


def test_failover_is_a_list_of_providers_or_says_more_of_each(tmp_path: Path) -> None:
    text = """
providers: {p: {protocols: [openai], base_url: "http://h"}, q: {protocols: [openai], base_url: "http://h"}}
models:
  a: {provider: p, failover: [q]}
  b: {provider: p, failover: {q: "other/b", p: {upstream_model: b-2, price: {input: 1, output: 2}}}}
  c: {provider: p, failover: {q: }}
"""
    a, b, c = load(tmp_path, text).models
    assert [(s.provider, s.upstream_model, s.price) for s in a.failover] == [("q", None, None)]
    assert [(s.provider, s.upstream_model, s.price) for s in b.failover] == [
        ("q", "other/b", None),
        ("p", "b-2", {"input": 1, "output": 2}),
    ]
    assert str(b.failover[1].price_source) == f"{tmp_path}/fleetgate.yaml:5 models.b.failover.p.price"
    assert [(s.provider, s.upstream_model) for s in c.failover] == [("q", None)]


def test_warns_of_rules_without_effect(tmp_path: Path) -> None:
    text = """
providers: {p: {protocols: [openai, gemini], base_url: {openai: "http://h", gemini: "http://h"}}}
models:
  "gpt-*": {provider: p}
  gpt-?: {provider: p}
  "gpt-4*": {provider: p}
  "*-mini": {provider: p}
"""
    found = [w.removeprefix(f"{tmp_path}/fleetgate.yaml") for w in load(tmp_path, text).warnings]
    assert found == [
        ":5 models.gpt-?: never used, gpt-* at line 4 matches first; put the narrower one above",
        ":6 models.gpt-4*: never used, gpt-* at line 4 matches first; put the narrower one above",
    ]


def test_a_missing_key_passes_in_simulation_only(tmp_path: Path) -> None:
    p = load(tmp_path, PROVIDERS + MODELS, {}, simulate=True).providers["p"]
    assert (p.api_key, p.key_from) == (None, "env:KEY")
    assert load(tmp_path, PROVIDERS + MODELS, {"KEY": ""}, simulate=True).providers["p"].api_key is None
    assert "KEY is not set" in errors(tmp_path, PROVIDERS + MODELS, {"KEY": " "})[0]
    assert "cannot carry" in errors(tmp_path, PROVIDERS + MODELS, {"KEY": "a\nb"})[0]


def test_a_secret_shows_itself_to_nobody(tmp_path: Path) -> None:
    s = load(tmp_path, PROVIDERS + MODELS)
    secret = s.providers["p"].api_key
    assert secret is not None
    for text in (repr(s), str(secret), f"{secret}", f"{secret!r:>40}", str([secret]), str(vars(type(secret)))):
        assert "sk-very-secret" not in text
    for leak in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError):
            leak(secret)
    assert secret == Secret("sk-very-secret", "env:KEY")
    assert secret != Secret("another", "env:KEY")
    assert len({secret, Secret("sk-very-secret", "env:KEY")}) == 1


def test_globs_are_expanded_in_order_without_old_volume_versions(tmp_path: Path) -> None:
    for name in ("agents/b.yaml", "agents/a.yaml", "agents/..2026/a.yaml", ".claude/agents/x.md", "agents/folder.yaml/inner.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    patterns = ("AGENTS.md", "agents/**/*.yaml", ".claude/agents/*.md")
    found = [str(file.relative_to(tmp_path)) for pattern in patterns for file in expand(tmp_path / pattern)]
    assert found == ["AGENTS.md", "agents/a.yaml", "agents/b.yaml", ".claude/agents/x.md"]


def test_says_what_needs_a_restart(tmp_path: Path) -> None:
    old = load(tmp_path, PROVIDERS + MODELS)
    new = load(tmp_path, "listen: {port: 81}\nrefusal: error\nlimits: {idle_s: 1}\n" + PROVIDERS + MODELS)
    assert new.needs_restart(old) == ("listen",)
    assert old.needs_restart(old) == ()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.2", "::1", "[::1]"])
def test_open_mode_is_for_loopback_by_any_name(tmp_path: Path, host: str) -> None:
    s = load(tmp_path, f"auth: {{mode: open}}\nlisten: {{host: '{host}'}}\n" + PROVIDERS + MODELS)
    assert s.auth.mode == "open"
    assert s.listen.host == host.strip("[]")


def test_a_bare_off_is_a_word(tmp_path: Path) -> None:
    s = load(tmp_path, "routing: {simple_to: m, mode: off}\n" + PROVIDERS + MODELS)
    assert (s.routing.mode, s.routing.simple_to) == ("off", "m")


def test_a_header_whose_secret_is_missing_is_left_out_in_simulation(tmp_path: Path) -> None:
    text = "providers: {p: {protocols: [openai], base_url: http://h, headers: {x-a: env:NOPE, x-b: plain}}}\n" + MODELS
    assert [name for name, _ in load(tmp_path, text, simulate=True).providers["p"].headers] == ["x-b"]

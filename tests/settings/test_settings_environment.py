"""Settings from environment variables: laid over the file, held to the same checks, named in errors."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.config import ConfigErrors
from proxy.settings import Settings, load_settings

PROVIDERS = 'providers: {p: {protocols: [openai], base_url: "http://127.0.0.1:1/v1", api_key: env:KEY}}\n'
MODELS = 'models: {"*": {provider: p}}\n'
ENV = {"KEY": "sk-very-secret"}


def load(folder: Path, text: str, env: dict[str, str]) -> Settings:
    file = folder / "fleetgate.yaml"
    file.write_text(text)
    return load_settings(file, env)


def errors(folder: Path, text: str, env: dict[str, str]) -> list[str]:
    with pytest.raises(ConfigErrors) as e:
        load(folder, text, env)
    return [str(one).removeprefix(f"{folder}/") for one in e.value.errors]


def test_variables_override_the_file(tmp_path: Path) -> None:
    env = ENV | {
        "FLEETGATE_LISTEN_PORT": "81",
        "FLEETGATE_AGENTS": "a.md, b.md",
        "FLEETGATE_STORE": "memory:",
        "FLEETGATE_ROUTING_THRESHOLD": "0.5",
        "FLEETGATE_PROVIDERS_P_BASE_URL": "http://other/v1",
        "FLEETGATE_PROVIDERS_P_LOCAL": "true",
        "FLEETGATE_PROVIDERS_P_RETRIES": "3",
        "FLEETGATE_PROVIDERS_P_LIMITS_CONNECT_S": "1.5",
        "FLEETGATE_UPSTREAM_BREAKER_FAILURES": "0",
        "FLEETGATE_REFUSAL": "",
        "FLEETGATE_CONFIG": "x",
        "FLEETGATE_ADMIN_TOKEN": "y",
        "FLEETGATE_LISTEN_PROT": "1",
        "HOME": "/root",
    }
    s = load(tmp_path, "listen: {port: 80}\n" + PROVIDERS + MODELS, env)
    assert (s.listen.port, s.agents, s.store.kind, s.routing.threshold, s.refusal) == (81, ("a.md", "b.md"), "memory", 0.5, "error")
    assert s.providers["p"].base_urls == {"openai": "http://other/v1"}
    assert s.providers["p"].local
    assert (s.providers["p"].retries, s.providers["p"].limits.connect_s, s.upstream.breaker.failures) == (3, 1.5, 0)
    assert s.warnings == (
        "the environment variable FLEETGATE_LISTEN_PROT is no setting and is ignored (did you mean FLEETGATE_LISTEN_PORT?)",
    )


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("FLEETGATE_LISTEN_PORT", "http", "$FLEETGATE_LISTEN_PORT: listen.port: 'http'; expected a whole number from 0 to 65535"),
        ("FLEETGATE_LISTEN_PORT", "99999", "$FLEETGATE_LISTEN_PORT: listen.port: 99999; expected a whole number from 0 to 65535"),
        ("FLEETGATE_LIMITS_IDLE_S", "long", "$FLEETGATE_LIMITS_IDLE_S: limits.idle_s: 'long'; expected a number above 0, at most 86400"),
        ("FLEETGATE_LIMITS_IDLE_S", "nan", "$FLEETGATE_LIMITS_IDLE_S: limits.idle_s: nan; expected a number above 0, at most 86400"),
        ("FLEETGATE_PROVIDERS_P_LOCAL", "maybe", "$FLEETGATE_PROVIDERS_P_LOCAL: providers.p.local: 'maybe'; expected `true` or `false`"),
        ("FLEETGATE_AUTH_MODE", "jwt", "$FLEETGATE_AUTH_MODE: auth.mode: jwt without auth.jwt; expected jwt: {issuer: …"),
        ("FLEETGATE_STORE", "redis://h/x", "$FLEETGATE_STORE: store: the database is no number; expected redis://HOST:PORT/DB"),
        ("FLEETGATE_PROVIDERS_P_API_KEY", "sk-1", "$FLEETGATE_PROVIDERS_P_API_KEY: providers.p.api_key: a secret written out, or no "),
    ],
)
def test_a_wrong_variable_is_named(tmp_path: Path, name: str, text: str, expected: str) -> None:
    (found,) = errors(tmp_path, PROVIDERS + MODELS, ENV | {name: text})
    assert found.startswith(expected)


def test_a_variable_for_a_section_that_is_no_mapping_leaves_the_error_to_the_file(tmp_path: Path) -> None:
    (found,) = errors(tmp_path, "listen: 80\n" + PROVIDERS + MODELS, ENV | {"FLEETGATE_LISTEN_PORT": "81"})
    assert found.startswith("fleetgate.yaml:1: listen: 80; expected a mapping")


def test_a_variable_can_fill_a_section_that_the_file_does_not_have(tmp_path: Path) -> None:
    env = ENV | {"FLEETGATE_ROUTING_SIMPLE_TO": "m", "FLEETGATE_ROUTING_MODE": "shadow"}
    assert load(tmp_path, PROVIDERS + MODELS, env).routing.mode == "shadow"
    (found,) = errors(tmp_path, PROVIDERS + MODELS, ENV | {"FLEETGATE_LISTEN_TLS_KEY": "fleetgate.yaml"})
    assert "cert is missing" in found

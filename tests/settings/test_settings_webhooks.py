"""The section `webhooks`: what it takes, what it refuses, and what it warns of."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.app import build
from proxy.config import ConfigErrors
from proxy.settings import Settings, load_settings
from proxy.settings.webhooks import KINDS
from proxy.upstream.webhook import Hook

HEAD = 'providers: {p: {protocols: [openai], base_url: "http://127.0.0.1:1/v1"}}\nmodels: {"*": {provider: p}}\n'
ENV = {"HOOK": "hook-secret", "SLACK": "https://hooks.slack.example/services/T0/B0/very-secret"}


def load(folder: Path, hooks: str, env: dict[str, str] | None = None, *, simulate: bool = False) -> Settings:
    file = folder / "fleetgate.yaml"
    file.write_text(f"{HEAD}webhooks:\n{hooks}")
    return load_settings(file, ENV if env is None else env, simulate=simulate)


def test_hooks_are_read_with_their_defaults(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("https://b.example/x?y=z\n")
    settings = load(
        tmp_path,
        "  - {url: https://ops.example/fleetgate, secret: env:HOOK}\n"
        "  - {url: env:SLACK, format: slack, events: [kill, approval], timeout_s: 2}\n"
        "  - {url: file:url, secret: env:HOOK, events: loop}\n",
    )
    assert build.hooks(settings) == (
        Hook("https://ops.example/fleetgate", b"hook-secret", frozenset(KINDS)),
        Hook(ENV["SLACK"], b"", frozenset({"kill", "approval"}), "slack", 2.0),
        Hook("https://b.example/x?y=z", b"hook-secret", frozenset({"loop"})),
    )
    assert settings.warnings == ()
    assert tmp_path / "url" in settings.secret_files, "an edit of it is seen"
    assert "very-secret" not in repr(settings)
    assert build.hooks(load(tmp_path, "  []\n")) == ()


WRONG = {
    "  {url: https://a.example}": "webhooks: a mapping; expected a list of webhooks",
    "  - just text": "webhooks[0]: 'just text'; expected a mapping with url, secret",
    "  - {secret: env:HOOK}": "webhooks[0]: url is missing",
    "  - {url: https://a.example}": "webhooks[0]: secret is missing; expected secret: env:NAME",
    "  - {url: https://a.example, secret: hook-secret}": "webhooks[0].secret: a secret written out",
    "  - {url: https://a.example, secret: env:NOWHERE}": "webhooks[0].secret: the environment variable NOWHERE is not set",
    "  - {url: env:NOWHERE, secret: env:HOOK}": "webhooks[0].url: the environment variable NOWHERE is not set",
    "  - {url: env:HOOK, secret: env:HOOK}": "webhooks[0].url: not an absolute http or https URL",
    "  - {url: 'https://u:pw@a.example', secret: env:HOOK}": "webhooks[0].url: a URL with a user",
    "  - {url: 'https://a.example/#x', secret: env:HOOK}": "webhooks[0].url: a URL with a user or a fragment",
    "  - {url: 'https://a.example:99999/', secret: env:HOOK}": "webhooks[0].url: not a URL",
    "  - {url: 'https:///x', secret: env:HOOK}": "webhooks[0].url: not an absolute",
    "  - {url: 'https://a.example/a b', secret: env:HOOK}": "webhooks[0].url: not an absolute",
    "  - {url: 'ftp://a.example', secret: env:HOOK}": "webhooks[0].url: a secret written out, or no reference; expected an http",
    "  - {url: 7, secret: env:HOOK}": "webhooks[0].url: 7; expected an http",
    "  - {url: https://a.example, secret: env:HOOK, events: []}": "webhooks[0].events: a list; expected a list of `budget`",
    "  - {url: https://a.example, secret: env:HOOK, events: [moon]}": "webhooks[0].events: 'moon'; expected `budget` or",
    "  - {url: https://a.example, secret: env:HOOK, format: xml}": "webhooks[0].format: 'xml'; expected `json` or `slack`",
    "  - {url: https://a.example, secret: env:HOOK, timeout_s: 0}": "webhooks[0].timeout_s: 0; expected a number above 0",
    "  - {url: https://a.example, secret: env:HOOK, colour: red}": "webhooks[0].colour: unknown key",
}


@pytest.mark.parametrize("hooks", WRONG)
def test_refuses(tmp_path: Path, hooks: str) -> None:
    with pytest.raises(ConfigErrors) as caught:
        load(tmp_path, hooks)
    assert WRONG[hooks] in str(caught.value.errors[0])
    assert "hook-secret" not in str(caught.value)
    assert ":pw" not in str(caught.value)
    assert caught.value.errors[0].line >= 3


def test_a_hook_whose_secret_is_missing_is_left_out_in_simulation(tmp_path: Path) -> None:
    hooks = "  - {url: https://a.example, secret: env:HOOK}\n  - {url: env:SLACK, format: slack}\n"
    assert build.hooks(load(tmp_path, hooks, {}, simulate=True)) == ()


@pytest.mark.parametrize(
    ("url", "warned"),
    [
        ("http://ops.example/x", True),
        ("http://10.0.0.1:9000/", True),
        ("https://ops.example/x", False),
        ("http://127.0.0.1:9000/", False),
        ("http://[::1]:9000/", False),
        ("http://localhost/", False),
    ],
)
def test_warns_of_plain_http_to_another_machine(tmp_path: Path, url: str, warned: bool) -> None:
    warnings = load(tmp_path, f"  - {{url: '{url}', secret: env:HOOK}}\n").warnings
    assert bool(warnings) is warned
    if warned:
        assert warnings[0].startswith(f"{tmp_path / 'fleetgate.yaml'}:4")
        assert "over plain http" in warnings[0]

"""The setting `store`: what a Redis store may say, and that no password stands where it is committed."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.config import ConfigErrors
from proxy.settings import Settings, load_settings

REST = """
providers: {p: {protocols: [openai], base_url: "http://127.0.0.1:1/v1"}}
models: {m: {provider: p, price: {input: 1, output: 1}}}
"""


def load(tmp_path: Path, text: str, **env: str) -> Settings:
    path = tmp_path / "fleetgate.yaml"
    path.write_text(text + REST)
    return load_settings(path, env, simulate=True)


def test_a_url_alone_has_the_defaults(tmp_path: Path) -> None:
    store = load(tmp_path, "store: redis://h:1/2\n").store
    assert (store.kind, store.url, store.lease, store.records) == ("redis", "redis://h:1/2", 0, 200_000)
    assert store.place is not None
    assert (store.place.tenant, store.place.command_s) == ("fleetgate", 2.0)


def test_a_mapping_says_more(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hunter2\n")
    (tmp_path / "ca.pem").write_text("x")
    more = "password: 'file:secret', ca: ca.pem, timeout_s: 0.5, lease: 0.5, records: 5000"
    text = f"store: {{url: 'rediss://h', tenant: blue, release: prod/gate, username: gate, {more}}}"
    settings = load(tmp_path, text + "\n")
    store, place = settings.store, settings.store.place
    assert place is not None
    assert place.release == "prod/gate"
    assert (place.tenant, place.username, place.password, place.ca) == ("blue", "gate", "hunter2", tmp_path / "ca.pem")
    assert (place.connect_s, place.command_s, place.tls, store.lease, store.records) == (0.5, 0.5, True, 500_000_000, 5000)
    assert "hunter2" not in repr(settings)
    assert tmp_path / "secret" in settings.secret_files, "a new password is seen"


@pytest.mark.parametrize("name", ['""', "5", '"a\\tb"', '"' + "x" * 129 + '"'])
def test_what_is_no_name_of_a_release(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigErrors, match="a name of this installation"):
        load(tmp_path, f"store: {{url: 'redis://h', release: {name}}}\n")


def test_what_a_server_over_tls_is_shown(tmp_path: Path) -> None:
    for name in ("tls.crt", "tls.key"):
        (tmp_path / name).write_text("x")
    more = "cert: tls.crt, cert_key: tls.key, sentinel_password: env:SENTINEL"
    settings = load(tmp_path, f"store: {{url: 'rediss+sentinel://h/main', {more}}}\n", SENTINEL="between-us")
    place = settings.store.place
    assert place is not None
    assert (place.cert, place.cert_key, place.sentinel_password) == (tmp_path / "tls.crt", tmp_path / "tls.key", "between-us")
    assert "between-us" not in repr(settings)


def test_the_whole_url_may_be_a_secret_or_come_from_the_environment(tmp_path: Path) -> None:
    url = "redis://user:pass@h:7/1"
    for store in (
        load(tmp_path, "store: {url: env:REDIS, tenant: t}\n", REDIS=url).store,
        load(tmp_path, "", FLEETGATE_STORE=url).store,
    ):
        assert store.place is not None
        assert (store.place.username, store.place.password, store.url) == ("user", "pass", "redis://h:7/1")


@pytest.mark.parametrize("text", ["store: {url: env:NOT_SET}", "store: {url: redis://h, password: env:NOT_SET}"])
def test_a_secret_that_is_missing_is_never_let_pass(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigErrors, match="NOT_SET is not set"):
        load(tmp_path, text + "\n")


def test_a_mapping_may_name_any_store(tmp_path: Path) -> None:
    assert load(tmp_path, "store: {url: 'sqlite:x.db'}\n").store.path == tmp_path / "x.db"
    assert load(tmp_path, "store: {url: 'memory:', tenant: null}\n").store.kind == "memory"

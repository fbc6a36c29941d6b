"""The real `fleetgate check` accepts what the chart renders, laid out as by the kubelet; a swapped volume is an edit."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest
import yaml
from helm_chart import SETS, Root, Volume, needs_helm, one, pod_of, proxy_of
from opa_server import needs_opa, opa_bin
from serving import free_port
from simulating import START_S, end, get

from proxy.app.build import digest, read
from proxy.cli import main
from proxy.settings.environment import NOT_SETTINGS, settable, variable
from proxy.settings.sections import Settings
from proxy.settings.watch import look

pytestmark = needs_helm


def _at(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Root:
    root = Root(name, folder)
    for key, value in {**root.env, "OPENAI_API_KEY": "sk-1"}.items():
        monkeypatch.setenv(key, value)
    return root


@pytest.mark.parametrize("name", SETS)
def test_check_accepts_it(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    root = _at(name, tmp_path, monkeypatch)
    code = main(["check", "--config", str(root.config)])
    out = capsys.readouterr()
    assert code == 0, out.err
    assert "ok: configuration" in out.out
    warned = [w for w in (out.out + out.err).splitlines() if w.startswith("warning:")]
    known = (
        "auth.jwt.jwks_url: it cannot be fetched",
        "baseline.yaml: not there",
        "OPA at http://127.0.0.1:8181",
        "0.50 USD beyond its budgets",
    )
    assert [w for w in warned if not any(k in w for k in known)] == []


def test_check_refuses_what_the_chart_cannot_know(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = _at("production", tmp_path, monkeypatch)
    root.volumes["budgets"].write({"fleet.yaml": "budgets: [{name: x}]\n"})
    assert main(["check", "--config", str(root.config)]) == 1


@pytest.mark.parametrize("name", SETS)
def test_no_variable_is_mistaken_for_a_setting(name: str) -> None:
    known = {variable(path) for path, _ in settable(Settings)} | NOT_SETTINGS
    assert {e["name"] for e in proxy_of(name)["env"] if e["name"].startswith("FLEETGATE_")} <= known


def test_rules_and_spares_keep_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = _at("production", tmp_path, monkeypatch)
    settings = read(root.config, {**root.env}).settings
    assert [rule.pattern for rule in settings.models] == ["zz-first", "gpt-*", "claude-*", "local/qwen3"]
    assert [spare.provider for spare in settings.models[0].failover] == ["openai", "local"]
    assert (settings.limits.drain_s, settings.limits.total_s) == (600, 1200)
    assert settings.budget.default_max_output == 1_000_000
    assert settings.store.place is not None
    assert settings.store.place.tenant == "blue"
    assert settings.auth.mode == "keys"


def test_a_file_of_ones_own_listens_where_the_pod_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = _at("config-file", tmp_path, monkeypatch)
    settings = read(root.config, {**root.env, "OPENAI_API_KEY": "x", "REDIS_PASSWORD": "y"}).settings
    listen = settings.listen
    assert (listen.host, listen.port, listen.admin_host, listen.admin_port, listen.max_body_mb) == ("0.0.0.0", 8080, "0.0.0.0", 9090, 16)
    assert settings.store.place is not None
    assert settings.store.place.tenant == "red"


@pytest.mark.parametrize("what", ["config", "agents", "policies", "budgets", "keys", "providers"])
def test_a_swapped_volume_is_an_edit(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = _at("production", tmp_path, monkeypatch)
    inputs = read(root.config, root.env).settings.inputs
    before, was = look(inputs), digest(inputs())
    assert look(inputs) == before
    volume = root.volumes[what]
    files = {str(f.relative_to(volume.folder / "..data")): f.read_text() for f in (volume.folder / "..data").rglob("*") if f.is_file()}
    first = sorted(files)[0]
    volume.write({**files, first: files[first] + "\n"})
    assert look(inputs) != before
    if what != "providers":
        assert digest(inputs()) != was


@needs_opa
def test_opa_serves_the_volume_and_follows_a_swap(tmp_path: Path) -> None:
    volume = Volume(tmp_path)
    files = one("opa-sidecar", "ConfigMap", "-policies")["data"]
    (mounted,) = [v for v in pod_of("opa-sidecar")["volumes"] if v["name"] == "opa"]
    files = {item["path"]: files[item["key"]] for item in mounted["configMap"]["items"]}
    volume.write(files)
    (sidecar,) = pod_of("opa-sidecar")["initContainers"]
    port, health = free_port(), free_port()
    args = [a.replace(":8181", f":{port}").replace("0.0.0.0:8282", f"127.0.0.1:{health}") for a in sidecar["args"]]
    args = [str(tmp_path) if a == "/etc/opa/policies" else a for a in args]
    process = subprocess.Popen([opa_bin(), *args], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def denied() -> object:
        body = json.dumps({"input": {"agent": {"id": "owl"}}}).encode()
        asked = urllib.request.Request(f"http://127.0.0.1:{port}/v1/data/fleetgate/request/night/deny", data=body)
        with urllib.request.urlopen(asked, timeout=5) as reply:
            return json.load(reply).get("result")

    def becomes(wanted: object) -> bool:
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            assert process.poll() is None
            try:
                if get(f"http://127.0.0.1:{health}/health?bundles")[0] == 200 and denied() == wanted:
                    return True
            except OSError:
                time.sleep(0.05)
        return False

    try:
        assert becomes(["not at night"])
        volume.write({**files, "night.rego": files["night.rego"].replace("not at night", "never")})
        assert becomes(["never"])
    finally:
        end(process)


def test_a_shipper_finds_its_store_in_what_is_mounted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = _at("shipper", tmp_path, monkeypatch)
    monkeypatch.setenv("SHIP_TARGET", f"sqlite:{tmp_path}/all.db")
    args = one("shipper", "Deployment", "-shipper")["spec"]["template"]["spec"]["containers"][0]["args"]
    assert main([*args[: args.index("--config")], "--config", str(root.config)]) == 1
    assert "the Redis store at redis://demo-fleetgate-valkey:6379/0 cannot be reached" in capsys.readouterr().err


def test_the_store_is_told_by_its_mode() -> None:
    def store(name: str) -> object:
        return yaml.safe_load(one(name, "ConfigMap", "-config")["data"]["fleetgate.yaml"])["store"]

    assert store("minimal") == "sqlite:/data/fleetgate.db"
    valkey = {"url": "redis://demo-fleetgate-valkey:6379/0", "tenant": "fleets-demo", "password": "env:STORE_PASSWORD"}
    assert store("valkey") == valkey
    assert store("redis-tls") == {
        "url": "rediss+sentinel://s1.data.svc:26379,s2.data.svc:26380/main/0",
        "tenant": "green",
        "release": "fleets/demo",
        "password": "env:STORE_PASSWORD",
        "ca": "/run/fleetgate/store/ca.crt",
        "cert": "/run/fleetgate/store-client/tls.crt",
        "cert_key": "/run/fleetgate/store-client/tls.key",
        "sentinel_password": "env:STORE_SENTINEL_PASSWORD",
    }

"""What the chart installs works: a real server on its files answers the test pod's script, and the built-in store starts as it is told."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import redis
from helm_chart import Root, needs_helm, of_kind
from redis_server import needs_own_redis, server_bin
from serving import free_port
from simulating import START_S, Simulator, end, get

pytestmark = needs_helm
needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not here: the test pod's script calls it")


def _run_test_pod(name: str, port: int, **env: str) -> subprocess.CompletedProcess[str]:
    (pod,) = of_kind(name, "Pod")
    container = pod["spec"]["containers"][0]
    values = {e["name"]: e["value"] for e in container["env"] if "value" in e}
    values |= {"URL": f"http://127.0.0.1:{port}/v1/chat/completions", **env}
    command = [*container["command"], *container["args"]]
    return subprocess.run(command, env={**os.environ, **values}, capture_output=True, text=True, timeout=60, check=False)


def _ready(process: subprocess.Popen[bytes], admin: int) -> bool:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if get(f"http://127.0.0.1:{admin}/readyz")[0] == 200:
                return True
        except OSError:
            time.sleep(0.05)
    return False


def _known(port: int, key: str) -> bool:
    """Wait until a server that runs has seen a key that was made beside it."""
    asked = urllib.request.Request(f"http://127.0.0.1:{port}/fleetgate/v1/me", headers={"authorization": f"Bearer {key}"})
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(asked, timeout=10):
                return True
        except urllib.error.HTTPError:
            time.sleep(0.05)
    return False


@needs_curl
def test_the_test_pod_passes_against_a_real_server_and_fails_without_one(tmp_path: Path) -> None:
    with Simulator() as provider:
        root = Root("minimal", tmp_path)
        text = root.config.read_text().replace("https://api.openai.com", f"http://127.0.0.1:{provider.port}")
        root.volumes["config"].write({"fleetgate.yaml": text})
        port, admin = free_port(), free_port()
        ports = {"FLEETGATE_LISTEN_PORT": str(port), "FLEETGATE_LISTEN_ADMIN_PORT": str(admin)}
        env = {**{k: v for k, v in os.environ.items() if not k.startswith("FLEETGATE_")}, **root.env, **ports}
        command = [sys.executable, "-m", "proxy"]
        process = subprocess.Popen(
            [*command, "serve", "--config", str(root.config)], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            assert _ready(process, admin)
            made = subprocess.run([*command, "keys", "create", "demo"], env=env, capture_output=True, text=True, timeout=60, check=True)
            refused = _run_test_pod("minimal", port)
            assert _known(port, made.stdout.split()[0])
            asked = _run_test_pod("production", port, KEY=made.stdout.split()[0])
            wrong = _run_test_pod("production", port, KEY="fg-demo-nobody")
        finally:
            code = end(process)
        away = _run_test_pod("minimal", port)
    assert (refused.returncode, "a call without a key is refused" in refused.stdout) == (0, True)
    assert (asked.returncode, "a chat went through" in asked.stdout) == (0, True)
    assert wrong.returncode != 0
    assert away.returncode != 0
    assert code == 0


@needs_own_redis
def test_the_built_in_store_starts_as_it_is_told_and_wants_its_password(tmp_path: Path) -> None:
    (server,) = of_kind("valkey", "StatefulSet")
    args = server["spec"]["template"]["spec"]["containers"][0]["args"]
    args = [{"/data": str(tmp_path), "$(STORE_PASSWORD)": "x" * 24}.get(a, a) for a in args]
    port = free_port()
    process = subprocess.Popen([server_bin(), *args, "--port", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with redis.Redis(port=port, password="x" * 24) as client, redis.Redis(port=port) as stranger:
            deadline = time.monotonic() + START_S
            while True:
                try:
                    client.ping()
                    break
                except redis.ConnectionError:
                    assert time.monotonic() < deadline
                    time.sleep(0.05)
            assert list(client.config_get("maxmemory-policy").values()) in (["noeviction"], [b"noeviction"])
            with pytest.raises(redis.AuthenticationError):
                stranger.ping()
    finally:
        end(process)
    assert (tmp_path / "appendonlydir").is_dir()

"""The installer of test tools: what it says where a tool is missing or cannot be had, and what npm's lock holds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "tests" / "clients" / "package-lock.json"


def _has_a_tool(folder: str) -> bool:
    return Path(folder, "opa").exists() or Path(folder, "helm").exists()


def tools(cache: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    closed = {"npm_config_registry": "http://127.0.0.1:9/", "npm_config_cache": str(cache / "npm"), "npm_config_fetch_retries": "0"}
    env = {k: v for k, v in os.environ.items() if not k.lower().startswith("npm_config_")}
    command = [sys.executable, str(ROOT / "scripts" / "tools.py"), *arguments]
    env = {**env, **closed, "XDG_CACHE_HOME": str(cache), "GOPROXY": "off", "GOPATH": str(cache / "go"), "GOCACHE": str(cache / "gocache")}
    env = {**env, "OPA_BIN": "", "HELM_BIN": "", "PATH": os.pathsep.join(p for p in env["PATH"].split(os.pathsep) if not _has_a_tool(p))}
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=100, check=False)


def test_a_missing_tool_is_named_with_what_to_do(tmp_path: Path) -> None:
    done = tools(tmp_path, "where", "clients")
    assert (done.returncode, done.stdout) == (1, "")
    assert str(tmp_path) in done.stderr
    assert "scripts/tools.py installs them" in done.stderr


def test_without_a_network_it_warns_and_leaves_nothing_half_done(tmp_path: Path) -> None:
    done = tools(tmp_path)
    assert (done.returncode, done.stdout) == (0, "")
    assert "installing the Node clients" in done.stderr
    assert "WARNING: clients not installed, their tests will be skipped: npm ci failed (no network?)" in done.stderr
    assert "WARNING: opa not installed, their tests will be skipped: " in done.stderr
    assert "WARNING: helm not installed, their tests will be skipped: " in done.stderr
    assert list((tmp_path / "fleetgate-tests").iterdir()) == []


def test_opa_that_is_missing_is_named_with_what_to_do(tmp_path: Path) -> None:
    done = tools(tmp_path, "where", "opa")
    assert (done.returncode, done.stdout) == (1, "")
    assert "OPA is neither in OPA_BIN, on PATH" in done.stderr


def test_helm_that_is_missing_is_named_with_what_to_do(tmp_path: Path) -> None:
    done = tools(tmp_path, "where", "helm")
    assert (done.returncode, done.stdout) == (1, "")
    assert "Helm is neither in HELM_BIN, on PATH" in done.stderr


@pytest.mark.parametrize("arguments", [("where",), ("where", "nothing"), ("clients",)])
def test_usage(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = tools(tmp_path, *arguments)
    assert (done.returncode, done.stderr) == (2, "usage: scripts/tools.py [where clients|opa|helm]\n")


def test_the_lock_pins_every_package_by_its_hash_and_names_no_registry() -> None:
    lock = json.loads(LOCK.read_text(encoding="utf-8"))
    packages = {name: entry for name, entry in lock["packages"].items() if name}
    assert [name for name, entry in packages.items() if not entry.get("integrity", "").startswith("sha512-")] == []
    assert [name for name, entry in packages.items() if "resolved" in entry] == []

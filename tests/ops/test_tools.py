"""The installer of test tools: what it says where a tool is missing or cannot be had, and what npm's lock holds."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PIP = {
    "PIP_INDEX_URL": "http://127.0.0.1:9/",
    "PIP_EXTRA_INDEX_URL": "",
    "PIP_RETRIES": "0",
    "PIP_FIND_LINKS": "",
    "PIP_CONFIG_FILE": os.devnull,
}
LOCK = ROOT / "tests" / "clients" / "package-lock.json"


def _has_a_tool(folder: str) -> bool:
    return Path(folder, "opa").exists() or Path(folder, "helm").exists()


def tools(cache: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    closed = {"npm_config_registry": "http://127.0.0.1:9/", "npm_config_cache": str(cache / "npm"), "npm_config_fetch_retries": "0"}
    env = {k: v for k, v in os.environ.items() if not k.lower().startswith("npm_config_")}
    command = [sys.executable, str(ROOT / "scripts" / "tools.py"), *arguments]
    env = {**env, **closed, "XDG_CACHE_HOME": str(cache), "GOPROXY": "off", "GOPATH": str(cache / "go"), "GOCACHE": str(cache / "gocache")}
    env = {**env, "OPA_BIN": "", "HELM_BIN": "", "PATH": os.pathsep.join(p for p in env["PATH"].split(os.pathsep) if not _has_a_tool(p))}
    env = {**env, **dict.fromkeys(("POSTGRES_BIN", "REDIS_TLS_BIN", "PROMTOOL_BIN"), "/bin/true"), **PIP, **more}
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
    assert "WARNING: phoenix not installed, their tests will be skipped: pip install failed (no network?)" in done.stderr
    assert list((tmp_path / "fleetgate-tests").iterdir()) == []


def test_opa_that_is_missing_is_named_with_what_to_do(tmp_path: Path) -> None:
    done = tools(tmp_path, "where", "opa")
    assert (done.returncode, done.stdout) == (1, "")
    assert "OPA is neither in OPA_BIN, on PATH" in done.stderr


def test_helm_that_is_missing_is_named_with_what_to_do(tmp_path: Path) -> None:
    done = tools(tmp_path, "where", "helm")
    assert (done.returncode, done.stdout) == (1, "")
    assert "Helm is neither in HELM_BIN, on PATH" in done.stderr


def test_a_program_that_is_named_is_taken(tmp_path: Path) -> None:
    done = tools(tmp_path, "where", "postgres")
    assert (done.returncode, done.stdout) == (0, "/bin/true\n")


@pytest.mark.parametrize(("name", "words"), [("redis-tls", "A Redis server with TLS is not here"), ("promtool", "PROMTOOL_BIN")])
def test_a_debian_program_that_is_missing_is_named_with_what_to_do(tmp_path: Path, name: str, words: str) -> None:
    done = tools(tmp_path, "where", name, REDIS_TLS_BIN="", PROMTOOL_BIN="", PATH=str(tmp_path))
    assert (done.returncode, done.stdout) == (1, "")
    assert words in done.stderr


def test_a_server_without_tls_does_not_count(tmp_path: Path) -> None:
    plain = tmp_path / "redis-server"
    plain.write_text("#!/bin/sh\necho '# Missing implement of connection type tls'\n")
    plain.chmod(0o755)
    done = tools(tmp_path, "where", "redis-tls", REDIS_TLS_BIN="", PATH=f"{tmp_path}:/bin")
    assert (done.returncode, done.stdout) == (1, "")
    plain.write_text("#!/bin/sh\necho '# No tls-cert-file configured!'\n")
    done = tools(tmp_path, "where", "redis-tls", REDIS_TLS_BIN="", PATH=f"{tmp_path}:/bin")
    assert (done.returncode, done.stdout) == (0, f"{plain}\n")


@pytest.mark.skipif(not shutil.which("dpkg-deb"), reason="dpkg-deb is not on PATH: these packages are Debian's")
@pytest.mark.parametrize("only_a_script", [True, False])
def test_a_debian_package_is_unpacked_into_the_cache_and_finds_its_libraries(tmp_path: Path, only_a_script: bool) -> None:
    tree, bin_ = tmp_path / "tree", tmp_path / "bin"
    for folder in (tree / "etc/init.d/promtool", tree / "usr/bin", tree / "usr/lib/odd", tree / "DEBIAN", bin_):
        folder.mkdir(parents=True)
    (tree / "usr/lib/odd/libodd.so.1").touch()
    said_by = "$1" if only_a_script else "wrong"
    (tree / "usr/bin/promtool").write_text(f'#!/bin/sh\necho "{said_by} $LD_LIBRARY_PATH"\n')
    (tree / "usr/bin/promtool").chmod(0o755)
    shutil.copy(tree / "usr/bin/promtool", tree / "usr/bin/prometheus")
    if not only_a_script:
        (tree / "usr/lib/promtool").mkdir()
        shutil.copy(shutil.which("printenv") or "/usr/bin/printenv", tree / "usr/lib/promtool/promtool")
    (tree / "DEBIAN/control").write_text("Package: prometheus\nVersion: 1\nArchitecture: all\nMaintainer: a@b.c\nDescription: a\n")
    (bin_ / "apt-get").write_text(f'#!/bin/sh\nfor word; do case "$word" in Dir*) dpkg-deb -b {tree} "${{word#*=}}" ;; esac; done\n')
    (bin_ / "apt-get").chmod(0o755)
    env = {"PROMTOOL_BIN": "", "PATH": f"{bin_}:{_without(tmp_path, 'promtool')}"}
    done = tools(tmp_path, "install", "promtool", **env)
    assert "unpacking Debian's prometheus" in done.stderr, done.stderr
    path = tools(tmp_path, "where", "promtool", **env).stdout.strip()
    assert Path(path).parent == tmp_path / "fleetgate-tests" / "debian-prometheus"
    asked = "word" if only_a_script else "LD_LIBRARY_PATH"
    said = subprocess.run([path, asked], capture_output=True, text=True, check=True).stdout.strip()
    assert said.removeprefix("word ") == f"{Path(path).parent}/root/usr/lib/odd"
    assert [p.name for p in Path(path).parent.parent.iterdir()] == ["debian-prometheus"], "nothing half done is left"


def _without(folder: Path, name: str) -> Path:
    """A folder with the programs of /usr/bin, but for one."""
    programs = folder / "programs"
    programs.mkdir()
    for path in Path("/usr/bin").iterdir():
        if path.name != name:
            (programs / path.name).symlink_to(path)
    return programs


@pytest.mark.parametrize("arguments", [("where",), ("where", "nothing"), ("clients",)])
def test_usage(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = tools(tmp_path, *arguments)
    names = "clients|opa|helm|phoenix|postgres|redis-tls|promtool|chromium"
    assert (done.returncode, done.stderr) == (2, f"usage: scripts/tools.py [install|where {names}]\n")


def test_the_lock_pins_every_package_by_its_hash_and_names_no_registry() -> None:
    lock = json.loads(LOCK.read_text(encoding="utf-8"))
    packages = {name: entry for name, entry in lock["packages"].items() if name}
    assert [name for name, entry in packages.items() if not entry.get("integrity", "").startswith("sha512-")] == []
    assert [name for name, entry in packages.items() if "resolved" in entry] == []

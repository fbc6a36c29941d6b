"""The bill of materials: valid by its schema, complete, who needs whom, and the same bytes each time."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from simulating import ROOT

LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("sbom", ROOT / "scripts" / "sbom.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What cyclonedx-py makes of the lock, as scripts/sbom.sh calls it."""
    path = tmp_path_factory.mktemp("sbom") / "sbom.json"
    command = [sys.executable, "-W", "ignore", "-m", "cyclonedx_py", "requirements", "--pyproject", "pyproject.toml"]
    command += ["--output-reproducible", "--short-PURLs", "--no-validate", "-o", str(path), "requirements.lock"]
    assert " ".join(command[4:11]) in (ROOT / "scripts" / "sbom.sh").read_text()
    env = {**os.environ, "SOURCE_DATE_EPOCH": "1795658400"}
    subprocess.run(command, cwd=ROOT, env=env, check=True, capture_output=True)
    return path.read_text()


@pytest.fixture(scope="module")
def bill(script: ModuleType, made: str) -> dict[str, Any]:
    whole: dict[str, Any] = script.completed(json.loads(made), LOCK)
    return whole


@pytest.fixture
def files(made: str, tmp_path: Path) -> tuple[Path, Path]:
    lock, bom = tmp_path / "lock", tmp_path / "bom.json"
    lock.write_text(LOCK)
    bom.write_text(made)
    return lock, bom


def test_it_is_valid_and_the_same_each_time(
    script: ModuleType, bill: dict[str, Any], files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert script.main([str(path) for path in files]) == 0, "checked by the schema"
    assert json.loads(capsys.readouterr().out) == bill
    assert bill["specVersion"] == "1.6"
    assert bill["metadata"]["timestamp"] == "2026-11-26T02:00:00+00:00"
    assert "serialNumber" not in bill


def test_every_locked_package_is_in_with_its_hashes(bill: dict[str, Any]) -> None:
    locked = dict(re.findall(r"^([a-z0-9][a-z0-9._-]*)==(\S+)", LOCK, re.MULTILINE))
    packages = {c["name"]: c for c in bill["components"] if c.get("purl", "").startswith("pkg:pypi/")}
    assert {name: c["version"] for name, c in packages.items()} == locked
    hashes = {h["content"] for c in packages.values() for r in c["externalReferences"] for h in r.get("hashes", ())}
    assert hashes == set(re.findall(r"sha256:([0-9a-f]{64})", LOCK))


def test_who_needs_whom_leads_to_everything(script: ModuleType, bill: dict[str, Any]) -> None:
    edges = {d["ref"]: d.get("dependsOn", []) for d in bill["dependencies"]}
    root = bill["metadata"]["component"]["bom-ref"]
    seen, todo = set[str](), [root]
    while todo:
        ref = todo.pop()
        if ref not in seen:
            seen.add(ref)
            todo += edges[ref]
    assert seen == set(edges) == {root, *(c["bom-ref"] for c in bill["components"])}
    assert {"aiosignal", "yarl"} <= script.needs(LOCK)["aiohttp"]
    assert "yarl" not in script.needs(LOCK)["fleetgate"]


def test_what_is_no_package_is_in_by_its_digest(script: ModuleType, bill: dict[str, Any]) -> None:
    parts = {c["bom-ref"]: c["hashes"][0]["content"] for c in bill["components"] if c["type"] in ("data", "file")}
    assert parts == {ref: hashlib.sha256((ROOT / ref).read_bytes()).hexdigest() for ref in parts}
    found = {p.relative_to(ROOT).as_posix() for p in (ROOT / "proxy").rglob("*.tiktoken")}
    found |= {p.relative_to(ROOT).as_posix() for p in script.VENDORED.glob("*.js")}
    found |= {p.relative_to(ROOT).as_posix() for name in ("budget", "loops", "routing") for p in (ROOT / "proxy" / name).rglob("*.json")}
    assert set(parts) == found
    assert {c["name"]: c["licenses"][0]["license"]["id"] for c in bill["components"] if c["type"] == "file"}["htm.umd.js"] == "Apache-2.0"


def test_one_that_is_not_valid_is_not_printed(
    script: ModuleType, made: str, files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    files[1].write_text(made.replace('"type": "library"', '"type": "thing"', 1))
    assert script.main([str(path) for path in files]) == 1
    out = capsys.readouterr()
    assert out.out == ""
    assert "not valid by the schema" in out.err

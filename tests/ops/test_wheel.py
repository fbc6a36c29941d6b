"""What a user gets: the wheel's contents and metadata, built with the locked backend and no network."""

from __future__ import annotations

import hashlib
import os
import shutil
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).parents[2]


def build(tree: Path, dist: Path) -> Path:
    """Build the wheel from a copy of the sources in `tree`."""
    tree.mkdir(exist_ok=True)
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, tree / name)
    shutil.copytree(ROOT / "proxy", tree / "proxy", ignore=shutil.ignore_patterns("__pycache__"))
    return Path(next(WheelBuilder(str(tree)).build(directory=str(dist), versions=["standard"])))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    return zipfile.ZipFile(build(tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("dist")))


def test_the_same_sources_give_the_same_bytes(wheel: zipfile.ZipFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = os.umask(0o077)
    try:
        again = build(tmp_path / "elsewhere", tmp_path / "dist")
    finally:
        os.umask(before)
    assert wheel.filename is not None
    assert hashlib.sha256(again.read_bytes()).digest() == hashlib.sha256(Path(wheel.filename).read_bytes()).digest()
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1795658400")
    dated = build(tmp_path / "third", tmp_path / "dated")
    assert {info.date_time for info in zipfile.ZipFile(dated).infolist()} == {(2026, 11, 26, 2, 0, 0)}


def test_the_vocabularies_travel_with_it(wheel: zipfile.ZipFile) -> None:
    for name in ("cl100k_base", "o200k_base"):
        assert wheel.read(f"proxy/budget/vocab/{name}.tiktoken") == (ROOT / f"proxy/budget/vocab/{name}.tiktoken").read_bytes()


def test_every_source_and_data_file_is_in(wheel: zipfile.ZipFile) -> None:
    here = {p.relative_to(ROOT).as_posix() for p in (ROOT / "proxy").rglob("*") if p.is_file() and "__pycache__" not in p.parts}
    assert here <= set(wheel.namelist())


def test_nothing_else_is_in(wheel: zipfile.ZipFile) -> None:
    others = {name for name in wheel.namelist() if not name.startswith("proxy/")}
    assert {name.split("/")[0].split("-")[0] for name in others} == {"fleetgate"}
    assert not [name for name in wheel.namelist() if name.endswith((".db", ".pyc"))]


def test_metadata_names_the_command_and_the_licence(wheel: zipfile.ZipFile) -> None:
    info = next(name.split("/")[0] for name in wheel.namelist() if ".dist-info/" in name)
    metadata = Parser().parsestr(wheel.read(f"{info}/METADATA").decode())
    assert (metadata["Name"], metadata["License-Expression"], metadata["Requires-Python"]) == ("fleetgate", "Apache-2.0", ">=3.11")
    assert {"licenses/LICENSE", "licenses/NOTICE"} <= {name.removeprefix(f"{info}/") for name in wheel.namelist()}
    assert "fleetgate = proxy.cli:main" in wheel.read(f"{info}/entry_points.txt").decode()

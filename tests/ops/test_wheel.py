"""What a user gets: the wheel's contents and metadata, built with the locked backend and no network."""

from __future__ import annotations

import shutil
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    tree = tmp_path_factory.mktemp("tree")
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, tree / name)
    shutil.copytree(ROOT / "proxy", tree / "proxy", ignore=shutil.ignore_patterns("__pycache__"))
    built = next(WheelBuilder(str(tree)).build(directory=str(tmp_path_factory.mktemp("dist")), versions=["standard"]))
    return zipfile.ZipFile(built)


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

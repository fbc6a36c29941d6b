"""The locks fit pyproject.toml and each other: what is installed is what was asked for, by hash, and from no place in particular."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from simulating import ROOT

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
RUN: list[str] = PROJECT["project"]["dependencies"]
EXTRAS: list[str] = [line for lines in PROJECT["project"]["optional-dependencies"].values() for line in lines]
DEV: list[str] = PROJECT["dependency-groups"]["dev"]
BUILD: list[str] = PROJECT["build-system"]["requires"]
ASKED = {
    "requirements.lock": RUN,
    "requirements-extras.lock": RUN + EXTRAS,
    "requirements-dev.lock": RUN + EXTRAS + DEV,
    "requirements-build.lock": BUILD,
}
TEXTS = {name: (ROOT / name).read_text(encoding="utf-8") for name in ASKED}
_HASHES = r"((?: \\\n    --hash=sha256:[0-9a-f]{64})*)"
_ENTRY = re.compile(rf"^([a-z0-9][a-z0-9._-]*)==([^\s;\\]+)(?: ; [^\\\n]*[^\\\s])?{_HASHES}((?:\n    #.*)*)", re.MULTILINE)


def entries(name: str) -> list[tuple[str, str, str, str]]:
    """Name, version, hashes and who asked, of each line of one lock."""
    return _ENTRY.findall(TEXTS[name])


def locked(name: str) -> dict[str, tuple[str, str, str]]:
    """The same by name."""
    return {package: (version, hashes, via) for package, version, hashes, via in entries(name)}


def wrong(name: str, asked: Iterable[str]) -> list[str]:
    """Return what of `asked` a lock does not fulfil."""
    have, faults = locked(name), []
    for line in asked:
        need = Requirement(line)
        version = have.get(canonicalize_name(need.name), ("",))[0]
        if not version or not need.specifier.contains(version, prereleases=True):
            faults.append(f"{line}: locked is {version or 'nothing'}")
    return faults


@pytest.mark.parametrize("name", ASKED)
def test_a_lock_fulfils_what_is_asked_for(name: str) -> None:
    assert wrong(name, ASKED[name]) == [], "run: make lock"


def test_the_check_can_fail() -> None:
    assert wrong("requirements.lock", ["aiohttp>=99", "no-such-package"]) != []
    assert len(wrong("requirements.lock", ["aiohttp>=99", "no-such-package", "aiohttp"])) == 2


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-extras.lock"])
def test_nothing_is_locked_that_nobody_asks_for_any_more(name: str) -> None:
    direct = {package for package, (_, _, via) in locked(name).items() if "fleetgate (pyproject.toml" in via}
    assert direct == {canonicalize_name(Requirement(line).name) for line in ASKED[name]}, "run: make lock"


@pytest.mark.parametrize("name", ASKED)
def test_every_line_is_a_version_with_hashes_and_names_no_registry(name: str) -> None:
    text, have = TEXTS[name], entries(name)
    assert len(have) == len(re.findall(r"^[A-Za-z0-9]", text, re.MULTILINE)) > 3
    assert [package for package, _, hashes, _ in have if not hashes] == []
    assert re.findall(r"https?://|--(?:extra-)?index-url|--find-links| @ |^-e", text, re.MULTILINE) == []


def test_no_two_locks_name_different_versions() -> None:
    every: dict[str, set[str]] = {}
    for name in ASKED:
        for package in locked(name):
            versions = {version for other, version, _, _ in entries(name) if other == package}
            assert every.setdefault(package, versions) == versions, f"{package} in {name}"
    assert locked("requirements.lock").keys() < locked("requirements-extras.lock").keys() < locked("requirements-dev.lock").keys()

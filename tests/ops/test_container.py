"""The Dockerfile as text: no engine is needed to see that it copies what exists and runs as nobody in particular."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from benchmarks.process import MALLOC

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def steps() -> list[tuple[str, str]]:
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in lines]


def test_every_copied_file_exists_and_reaches_the_builder(steps: list[tuple[str, str]]) -> None:
    ignore = (ROOT / ".dockerignore").read_text().splitlines()
    copies = [shlex.split(rest) for word, rest in steps if word == "COPY" and "--from" not in rest]
    sources = [source for copy in copies for source in copy[:-1]]
    assert sources
    for source in sources:
        assert (ROOT / source).exists(), source
        assert f"!{source}" in ignore, source


def test_it_runs_as_a_number_and_without_a_shell(steps: list[tuple[str, str]]) -> None:
    last = dict(steps)
    user, group = last["USER"].split(":")
    assert int(user) > 0
    assert int(group) > 0
    assert json.loads(last["ENTRYPOINT"]) == ["fleetgate"]
    assert json.loads(last["CMD"]) == ["serve", "--config", "/etc/fleetgate/fleetgate.yaml"]
    assert json.loads(last["HEALTHCHECK"].split("CMD", 1)[1])[0].startswith("/opt/fleetgate/")


def test_everything_comes_hash_locked(steps: list[tuple[str, str]]) -> None:
    installs = [rest for word, rest in steps if word == "RUN" and "pip" in rest and " install " in rest]
    assert len(installs) == 3
    assert all("--require-hashes" in rest or "--no-index" in rest for rest in installs)


def test_benchmarks_use_the_same_allocator_settings(steps: list[tuple[str, str]]) -> None:
    env = next(rest for word, rest in reversed(steps) if word == "ENV")
    found = dict(part.split("=", 1) for part in env.split() if part.startswith("MALLOC_"))
    assert found == MALLOC

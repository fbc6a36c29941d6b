"""The Dockerfile as text: no engine is needed to see that it copies what exists and runs as nobody in particular."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
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


def test_the_proof_reads_every_step_of_it(steps: list[tuple[str, str]], tmp_path: Path) -> None:
    """The proof itself takes minutes and root; here, that it would pass over nothing and finds the release and the version."""
    code = f"import sys, json; sys.path.insert(0, {str(ROOT / 'scripts')!r}); import prove_image as p; "
    code += f"print(json.dumps(p.steps(open({str(ROOT / 'Dockerfile')!r}).read())))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert [tuple(step) for step in json.loads(done.stdout)] == [(word, rest.strip()) for word, rest in steps]
    known = set(re.findall(r'"([A-Z]{3,})"', (ROOT / "scripts" / "prove_image.py").read_text()))
    assert {word for word, _ in steps} <= known
    assert re.fullmatch(r"BASE=python:3\.\d+-slim-[a-z]+", steps[0][1])
    script = ROOT / "scripts" / "prove_image.sh"
    subprocess.run(["sh", "-n", str(script)], check=True)
    done = subprocess.run(["/bin/sh", str(script)], env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False)
    assert done.returncode != 0, "without its tools it does nothing"

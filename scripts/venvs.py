"""Virtual environments for servers that tests talk to and that must not share ours: made from a lock with hashes, kept in the cache."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from pathlib import Path

from installing import beside

Run = Callable[[list[str], str], None]
"""Runs a command; its second argument says what it is, for the error."""


def home(cache: Path, name: str, lock: Path) -> Path:
    """Return where the environment of this lock and this Python is, or will be. Environments of older locks may be deleted at will."""
    checksum = hashlib.sha256(f"{sys.version} {sys.platform}\n".encode() + lock.read_bytes())
    return cache / f"{name}-{checksum.hexdigest()[:16]}"


def make(at: Path, lock: Path, run: Run) -> None:
    """Make the environment."""
    with beside(at) as folder:
        run([sys.executable, "-m", "venv", "--without-pip", str(folder)], "python -m venv")
        pip = [sys.executable, "-m", "pip", "--python", str(python(folder)), "--disable-pip-version-check", "--quiet"]
        run([*pip, "install", "--require-hashes", "--only-binary=:all:", "--no-compile", "-r", str(lock)], "pip install")


def python(at: Path) -> Path:
    """Return the interpreter of an environment."""
    return at / "bin" / "python"

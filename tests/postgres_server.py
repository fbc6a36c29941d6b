"""A real PostgreSQL for tests, where one is here: `scripts/tools.py` says where. One server a test run, not as root.

`database()` gives a URL of an empty database; its owner `gate` has a password that the server asks for on TCP.
"""

from __future__ import annotations

import atexit
import itertools
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import Any

import psycopg
import pytest
from simulating import ROOT, START_S

PASSWORD = "s3cret-of-tests"
_NOBODY = 65534
_NUMBERS = itertools.count()


@cache
def _asked() -> tuple[str, str]:
    command = [sys.executable, str(ROOT / "scripts" / "tools.py"), "where", "postgres"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout.strip(), done.stderr.strip()


needs_postgres = pytest.mark.skipif(not _asked()[0], reason=_asked()[1] or "no PostgreSQL")


@cache
def _port() -> int:
    """Start the server; return its port."""
    folder = Path(tempfile.mkdtemp(prefix="fleetgate-pg-", dir="/tmp"))  # a socket's path must be short
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (folder / "password").write_text(PASSWORD)
    who: dict[str, Any] = {}
    if os.geteuid() == 0:  # PostgreSQL refuses to be root
        who = {"user": _NOBODY, "group": _NOBODY, "extra_groups": []}
        for path in (folder, folder / "password"):
            os.chown(path, _NOBODY, _NOBODY)
    env = {"PATH": os.environ["PATH"], "LC_ALL": "C", "HOME": str(folder)}
    bins = Path(_asked()[0]).resolve().parent if Path(_asked()[0]).is_symlink() else Path(_asked()[0]).parent
    make = [str(bins / "initdb"), "-D", str(folder / "data"), "-U", "gate", "--pwfile", str(folder / "password"), "-A", "scram-sha-256"]
    done = subprocess.run([*make, "--no-sync", "-E", "UTF8"], env=env, cwd=folder, capture_output=True, text=True, check=False, **who)
    assert done.returncode == 0, done.stdout + done.stderr
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = int(s.getsockname()[1])
    run = [str(bins / "postgres"), "-D", str(folder / "data"), "-k", str(folder), "-h", "127.0.0.1", "-p", str(port), "-c", "fsync=off"]
    process = subprocess.Popen(run, env=env, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **who)
    atexit.register(_end, process)
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        assert process.poll() is None, "PostgreSQL did not start"
        try:
            psycopg.connect(_url(port, "postgres")).close()
            return port
        except psycopg.OperationalError:
            time.sleep(0.05)
    raise AssertionError("PostgreSQL was not ready in time")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGINT)  # its fast shutdown
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _url(port: int, name: str) -> str:
    return f"postgresql://gate:{PASSWORD}@127.0.0.1:{port}/{name}"


def database() -> str:
    """The URL of an empty database."""
    name = f"t{os.getpid()}_{next(_NUMBERS)}"
    with psycopg.connect(_url(_port(), "postgres"), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return _url(_port(), name)


def query(url: str, text: str) -> list[Any]:
    """What another client sees."""
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(text)
        return cursor.fetchall() if cursor.description else []

"""Copies of what a proxy keeps, and what is known after an older one was put back: docs/operations.md says how, this is it done."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chaos import BUDGETS, DURABLE, MODELS, NANOS_A_CALL, asked, budget, until
from redis_server import RedisServer, needs_own_redis
from serving import Proxy, Simulator, post

from proxy.cli import main

BEFORE, AFTER = 3, 2
"""Calls before and after the copy."""


@pytest.fixture(scope="module")
def sim() -> Iterator[Simulator]:
    with Simulator() as sim:
        yield sim


@contextlib.contextmanager
def proxy(sim: Simulator, store: str) -> Iterator[Proxy]:
    with Proxy(sim, budgets=BUDGETS.format(usd=50), settings={"store": store, "models": MODELS}) as proxy:
        yield proxy


def call(proxy: Proxy, times: int) -> None:
    for _ in range(times):
        path, body, head = asked(proxy, anthropic=False, stream=False)
        reply = post(proxy.url + path, body, head)
        assert reply.status == 200
        assert proxy.record(reply.headers["x-fleetgate-request-id"])["cost"] == NANOS_A_CALL
    until(lambda: budget(proxy)[1] == 0)


def known(proxy: Proxy, store: str) -> tuple[int, int, list[Any]]:
    """What a store knows: calls spent, records, and what the audit finds."""
    (row,) = command(proxy, store, "budgets")
    audit = command(proxy, store, "budgets", "--audit")
    assert audit["audited"] == 1
    return round(float(row["spent"]) * 1e9) // NANOS_A_CALL, len(command(proxy, store, "ledger")), audit["differences"]


def command(proxy: Proxy, store: str, *words: str) -> Any:
    """What `fleetgate WORDS` says of a store, run here: a process for each would take as long as all else."""
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out):
        patch.setenv("FLEETGATE_STORE", store)
        patch.setenv("SIM_PROVIDER_KEY", "sk-any")
        patch.setattr("proxy.cli.audit.WAIT_S", 0.2)
        main([*words, "--json", "--config", str(proxy.config)])
    text = out.getvalue().strip()
    return json.loads(text) if text.startswith(("[", "{\n")) or "\n" not in text else [json.loads(line) for line in text.splitlines()]


def test_a_sqlite_file_is_copied_while_it_is_written_and_put_back(sim: Simulator, tmp_path: Path) -> None:
    with proxy(sim, "sqlite:fleetgate.db") as one:
        call(one, BEFORE)
        file = one.folder / "fleetgate.db"
        with contextlib.closing(sqlite3.connect(file)) as source, contextlib.closing(sqlite3.connect(tmp_path / "copy.db")) as copy:
            source.backup(copy)
        shutil.copy(file, tmp_path / "bare.db")
        call(one, AFTER)
        assert one.stop() == 0
        assert known(one, "sqlite:fleetgate.db") == (BEFORE + AFTER, BEFORE + AFTER, [])
        with contextlib.closing(sqlite3.connect(tmp_path / "bare.db")) as bare:
            tables = bare.execute("SELECT count(*) FROM sqlite_master WHERE name = 'records'").fetchone()[0]
            assert (bare.execute("SELECT count(*) FROM records").fetchone()[0] if tables else 0) < BEFORE, (
                "what stands in -wal is not in it"
            )
        for left in one.folder.glob("fleetgate.db*"):
            left.unlink()
        shutil.copy(tmp_path / "copy.db", file)
        assert known(one, "sqlite:fleetgate.db") == (BEFORE, BEFORE, []), "whole, as it was; what came after can be spent again"


@needs_own_redis
def test_a_redis_store_is_copied_and_put_back(sim: Simulator, tmp_path: Path) -> None:
    with RedisServer(*DURABLE) as server, server.client() as client, proxy(sim, server.url) as one:
        call(one, BEFORE)
        client.save()
        shutil.copy(server.folder / "dump.rdb", tmp_path)
        client.config_set("auto-aof-rewrite-percentage", 0)
        shutil.copytree(server.folder / "appendonlydir", tmp_path / "appendonlydir")
        shipped = f"sqlite:{tmp_path / 'all.db'}"
        call(one, AFTER)
        assert one.stop() == 0
        with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()):
            patch.setenv("SIM_PROVIDER_KEY", "sk-any")
            assert main(["ledger", "ship", "--to", shipped, "--config", str(one.config)]) == 0
        snapshot, log = RedisServer(), RedisServer("--appendonly", "yes")
        shutil.copy(tmp_path / "dump.rdb", snapshot.folder)
        shutil.copytree(tmp_path / "appendonlydir", log.folder / "appendonlydir")
        for copy in (snapshot, log):
            with copy:
                assert known(one, copy.url) == (BEFORE, BEFORE, []), "the counters and the stream are of one moment"
        assert len(command(one, shipped, "ledger")) == BEFORE + AFTER, "what was shipped is not lost"

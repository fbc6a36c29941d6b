"""What a worker is started with: what holds until the server's next start stays as the supervisor had it, whatever the files say by now."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from proxy.app import build
from proxy.app.house import House
from proxy.app.worker import Job, pack_held, with_held
from proxy.engine.record import Record
from proxy.settings import load_settings

ENV = {"KEY": "sk-test", "PW": "hunter2-canary"}
CONFIG = """
providers:
  openai: {protocols: [openai], base_url: https://api.openai.com/v1, api_key: env:KEY}
models: {"gpt-*": {provider: openai}}
listen: {workers: WORKERS, max_body_mb: BODY}
store: STORE
"""


def write(folder: Path, store: str, workers: int = 2, body: int = 32) -> Path:
    (folder / "AGENTS.md").write_text("---\nname: clerk\n---\n")
    path = folder / "fleetgate.yaml"
    path.write_text(CONFIG.replace("STORE", store).replace("WORKERS", str(workers)).replace("BODY", str(body)))
    return path


def test_a_worker_that_starts_after_an_edit_counts_in_the_store_of_the_others(tmp_path: Path) -> None:
    async def main() -> None:
        job = Job(1, "", 0, held=pack_held(load_settings(write(tmp_path, "sqlite:one.db"), ENV)))
        job = Job(**json.loads(json.dumps(dataclasses.asdict(job))))
        files = build.read(write(tmp_path, "sqlite:other.db", 9, 1), ENV)
        house = House(files, started=with_held(files.settings, job.held))
        try:
            assert house.journal.file() == tmp_path / "one.db"
            assert house.started.listen.workers == 2
            assert files.settings.needs_restart(house.started) == ("listen", "store")
            assert house.runtime.limits.max_body == 1 << 20, "what can change meanwhile is as the files have it"
        finally:
            await house.close()

    asyncio.run(main())
    assert not (tmp_path / "other.db").exists()


def test_secrets_pass_to_the_worker_and_show_nowhere(tmp_path: Path) -> None:
    store = "{url: 'redis://127.0.0.1:6379/0', password: 'env:PW'}"
    traces = "telemetry: {otlp_endpoint: 'http://127.0.0.1:4318', otlp_headers: {x-key: 'env:PW'}}"
    settings = load_settings(write(tmp_path, f"{store}\n{traces}"), ENV)
    job = Job(1, "", 0, held=pack_held(settings))
    found = with_held(load_settings(write(tmp_path, "sqlite:other.db"), ENV), job.held)
    assert (found.store, found.telemetry, found.listen) == (settings.store, settings.telemetry, settings.listen)
    assert found.store.place is not None
    assert found.store.place.password == ENV["PW"]
    assert found.telemetry.otlp_headers[0][1].reveal() == ENV["PW"]
    assert "held" not in repr(job)


def test_without_a_supervisor_the_files_say_all(tmp_path: Path) -> None:
    settings = load_settings(write(tmp_path, "sqlite:one.db"), ENV)
    assert with_held(settings, "") is settings


def test_records_are_written_before_a_collector_is_waited_for(tmp_path: Path) -> None:
    """Who ends a process gives it so many seconds, and what is left at their end is lost."""
    written: list[int] = []

    async def main() -> None:
        house = House(build.read(write(tmp_path, "sqlite:one.db"), ENV))
        stop = SimpleNamespace(stop=lambda: written.append(len(house.journal.rows())))
        house.traces = cast("Any", SimpleNamespace(tracer=stop))
        house.journal.record(Record("r1", 1_800_000_000.0))
        await house.close()

    asyncio.run(main())
    assert written == [1]

"""From files to a snapshot: all errors at once, a version that changes with any content, and swaps that are whole."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import pytest

from proxy.app import build
from proxy.app.check import warnings
from proxy.app.chores import Options, reload
from proxy.app.house import House
from proxy.app.process import connect_ahead
from proxy.app.served import table
from proxy.config import ConfigErrors
from proxy.identity.keys import KeyEntry
from proxy.settings import load_settings

CONFIG = """providers:
  openai: {protocols: [openai], base_url: https://api.openai.com/v1, api_key: env:KEY}
models:
  "cheap": {provider: openai, price: {input: 1, output: 2}}
  "gpt-*": {provider: openai}
auth: {mode: keys, keys: keys.yaml}
store: "memory:"
"""
AGENTS = "---\nname: clerk\ndescription: d\nversion: 1.0.0\n---\n"
ENV = {"KEY": "sk-test"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "fleetgate.yaml").write_text(CONFIG)
    (tmp_path / "AGENTS.md").write_text(AGENTS)
    (tmp_path / "keys.yaml").write_text(f"keys:\n  - {{agent: clerk, sha256: {'a' * 64}}}\n")
    for name in ("policies", "budgets"):
        (tmp_path / name).mkdir()
    (tmp_path / "policies/baseline.yaml").write_text("policy: {}\n")
    return tmp_path / "fleetgate.yaml"


def test_reading_gives_all_of_it(path: Path) -> None:
    files = build.read(path, ENV)
    assert list(files.directory.agents) == ["clerk"]
    assert [key.agent for key in files.keys] == ["clerk"]
    assert len(files.version) == 12
    assert build.read(path, ENV).version == files.version
    assert warnings(files) == []


def test_errors_of_all_files_are_collected(path: Path) -> None:
    for name in ("AGENTS.md", "keys.yaml", "budgets/a.yaml"):
        (path.parent / name).write_text("---\nname: a\npolicy: 1\n---\n" if name == "AGENTS.md" else "nonsense: [")
    with pytest.raises(ConfigErrors) as caught:
        build.read(path, {})
    where = [error.file for error in caught.value.errors]
    assert [Path(file).name for file in where] == ["fleetgate.yaml", "AGENTS.md", "a.yaml", "keys.yaml"]


@pytest.mark.parametrize("name", ["fleetgate.yaml", "AGENTS.md", "keys.yaml", "policies/baseline.yaml", "budgets/new.yaml"])
def test_the_version_changes_with_every_file(path: Path, name: str) -> None:
    before = build.read(path, ENV).version
    file = path.parent / name
    file.write_text((file.read_text() if file.exists() else "budgets: []") + "\n")
    assert build.read(path, ENV).version != before


def test_an_edit_while_reading_is_another_version_later(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was edited under the reader's hands must be applied by the next reload, not pass for what is in force."""
    real = load_settings

    def edited_meanwhile(*args: object, **kw: object) -> object:
        found = real(*args, **kw)  # type: ignore[arg-type]
        path.write_text(CONFIG.replace("input: 1", "input: 9"))
        return found

    monkeypatch.setattr(build, "load_settings", edited_meanwhile)
    half = build.read(path, ENV)
    monkeypatch.undo()
    whole = build.read(path, ENV)
    assert half.settings.models[0].price != whole.settings.models[0].price
    assert half.version != whole.version


def test_a_price_of_our_own_names_its_line(path: Path) -> None:
    target = table(build.read(path, ENV).settings).target("cheap", "openai")
    assert target is not None
    assert target.price is not None
    assert target.price.source == f"{path}:4"


def test_a_swap_is_whole_or_not_at_all(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        house = House(build.read(path, ENV))
        try:
            before = (house.files, house.runtime, house.table)
            (path.parent / "AGENTS.md").write_text(AGENTS.replace("clerk", "other"))

            def broken(parts: object) -> None:
                raise ValueError("this plan cannot work")

            with monkeypatch.context() as patched:
                patched.setattr("proxy.pipeline.plan", broken)
                await reload(house, Options(path), ENV)
            assert (house.files, house.runtime, house.table) == before
            assert house.problems == ("this plan cannot work",)
            assert b"fleetgate_config_stale 1.0" in house.metrics.render()[0]
            await reload(house, Options(path), ENV)
            assert list(house.files.directory.agents) == ["other"]
            assert not house.problems
            assert b"fleetgate_config_stale 0.0" in house.metrics.render()[0]
        finally:
            await house.close()

    asyncio.run(main())


def test_files_that_say_the_same_are_not_read_into_a_second_snapshot(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read, times = build.read, [0]

    def counted(*args: Any, **kwargs: Any) -> build.Files:
        times[0] += 1
        return read(*args, **kwargs)

    async def main() -> None:
        house = House(build.read(path, ENV))
        monkeypatch.setattr("proxy.app.build.read", counted)
        try:
            before = house.files
            for touched in ("AGENTS.md", "keys.yaml", path.name):
                (path.parent / touched).write_text((path.parent / touched).read_text())
                await reload(house, Options(path), ENV)
            assert (house.files is before, times) == (True, [0])
            (path.parent / "policies/more.yaml").write_text("rules: []\n")
            await reload(house, Options(path), ENV)
            assert (house.files.version == before.version, times) == (False, [1])
            (path.parent / path.name).unlink()
            await reload(house, Options(path), ENV)
            assert (times, len(house.problems)) == ([2], 1), "a configuration that went is an edit too"
        finally:
            await house.close()

    asyncio.run(main())


def test_what_an_agents_own_budget_in_grams_will_refuse_is_said(path: Path) -> None:
    def said(policy: str) -> list[str]:
        (path.parent / "AGENTS.md").write_text(AGENTS.replace("1.0.0\n", f"1.0.0\npolicy: {policy}\n"))
        return warnings(build.read(path, ENV))

    asked = said("{budgets: {day: {gco2e: 5}, session: {gco2e: 1}}}")
    names = "agent:clerk/session/gco2e, agent:clerk/day/gco2e"
    assert any(f"nobody knows what cheap emits, so budgets in gco2e ({names}) refuse it" in line for line in asked)
    assert said("{budgets: {day: {gco2e: 5}, on_exceed: warn}}") == []
    assert said("{models: {deny: [cheap]}, budgets: {day: {gco2e: 5}}}") == []


def test_connections_are_opened_ahead_at_the_start_and_by_a_reload(path: Path) -> None:
    def want(port: int, count: int) -> None:
        at = CONFIG.replace("https://api.openai.com", f"http://127.0.0.1:{port}")
        path.write_text(at.replace("env:KEY}", f"env:KEY, limits: {{warm: {count}}}}}"))

    async def main() -> None:
        come = asyncio.Semaphore(0)

        async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            come.release()
            assert await reader.read() == b"", "nothing is asked"
            writer.close()

        async with asyncio.timeout(20), await asyncio.start_server(hear, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            want(port, 2)
            house = House(build.read(path, ENV))
            try:
                connect_ahead(house)
                for _ in range(2):
                    await come.acquire()
                want(port, 3)
                await reload(house, Options(path), ENV)
                for _ in range(3):
                    await come.acquire()
                await house.engine.drain(20)
            finally:
                await house.close()

    asyncio.run(main())


def test_a_baseline_that_goes_is_said_loudly(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        house = House(build.read(path, ENV))
        try:
            (path.parent / "policies/baseline.yaml").unlink()
            await reload(house, Options(path), ENV)
        finally:
            await house.close()

    asyncio.run(main())
    assert "the operator's baseline is gone" in caplog.text
    assert any("baseline.yaml: not there" in line for line in warnings(build.read(path, ENV)))


def test_keys_of_file_store_and_process_stand_together(path: Path) -> None:
    def entry(key: str) -> KeyEntry:
        return KeyEntry("clerk", hashlib.sha256(key.encode()).hexdigest())

    async def main() -> None:
        house = House(build.read(path, ENV), extra_keys=[entry("extra")])
        try:
            assert house.ring().find("stored", 0) is None
            house.stores.keys.add(entry("stored"))
            await house.refresh_keys()
            assert all(house.ring().find(key, 0) for key in ("stored", "extra"))
            assert len(house.ring()) == 3
            (path.parent / "keys.yaml").write_text("keys: []\n")
            await reload(house, Options(path), ENV)
            assert len(house.ring()) == 2
            house.stores.keys.revoke("clerk")
            await house.refresh_keys()
            assert house.ring().find("stored", 0) is None
            assert house.ring().find("extra", 0)
        finally:
            await house.close()

    asyncio.run(main())

"""The watcher sees real files change in every way that people and Kubernetes change them, and only those."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
import uvloop

from proxy.settings import watch

DEADLINE_S = 5.0


def on_each_loop(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run `main` on the standard loop and on uvloop."""
    asyncio.run(main())
    uvloop.run(main())


class Watched:
    """A watcher at work. `until_seen` acts again and again, since nothing tells from outside when the system began to watch."""

    def __init__(self, paths: Callable[[], list[Path]]) -> None:
        self._loop = asyncio.get_running_loop()
        self._paths = paths
        self._looks = asyncio.Semaphore(0)
        self._changes = watch.changes(self._asked, settle_s=0.01)

    def _asked(self) -> list[Path]:
        self._loop.call_soon_threadsafe(self._looks.release)
        return list(self._paths())

    async def __aenter__(self) -> Watched:
        self._next = asyncio.ensure_future(anext(self._changes))
        async with asyncio.timeout(DEADLINE_S):
            await self._looks.acquire()
        return self

    async def whole_look(self) -> None:
        """Wait until the files were looked at from beginning to end: until the look after the next one begins."""
        async with asyncio.timeout(DEADLINE_S):
            while not self._looks.locked():
                await self._looks.acquire()
            for _ in range(2):
                await self._looks.acquire()

    async def until_seen(self, act: Callable[[], object]) -> None:
        """Do `act` until a change is seen."""
        async with asyncio.timeout(DEADLINE_S):
            while not self._next.done():
                act()
                await asyncio.wait([self._next], timeout=0.1)
        await self.change()

    async def change(self) -> None:
        """Wait for the next change."""
        await asyncio.wait_for(self._next, DEADLINE_S)
        self._next = asyncio.ensure_future(anext(self._changes))

    def quiet(self) -> bool:
        """Tell if no change is waiting."""
        return not self._next.done()

    async def __aexit__(self, *exc: object) -> None:
        self._next.cancel()
        await asyncio.wait_for(asyncio.gather(self._next, return_exceptions=True), DEADLINE_S)


@pytest.fixture(autouse=True)
def quick_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look often, so that tests need not wait."""
    monkeypatch.setattr(watch, "LOOK_S", 0.03)
    monkeypatch.setattr(watch, "SLOWEST_S", 0.03)


def in_place(path: Path) -> None:
    with path.open("a") as f:
        f.write("more")


def renamed_over(path: Path) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_text("a fresh file")
    fresh.rename(path)


def deleted_or_made(path: Path) -> None:
    if path.exists():
        path.unlink()
    else:
        path.write_text("again")


@pytest.mark.parametrize("how", [in_place, renamed_over, deleted_or_made])
@pytest.mark.parametrize("name", ["fleetgate.yaml", "policies/rules.yaml", "agents/deep/one.yaml"])
def test_sees_a_file_change(tmp_path: Path, how: Callable[[Path], None], name: str) -> None:
    async def main() -> None:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("first")
        inputs = [tmp_path / "fleetgate.yaml", tmp_path / "policies", tmp_path / "agents" / "**" / "*.yaml"]
        async with Watched(lambda: inputs) as watched:
            await watched.until_seen(lambda: how(file))

    on_each_loop(main)


@pytest.mark.parametrize("inputs", ["keys.yaml", "", "**/*.yaml", "*.yaml"])
def test_sees_a_volume_swapped_as_kubernetes_does(tmp_path: Path, inputs: str) -> None:
    versions = (f"..2026_{n}" for n in range(1000))

    def publish() -> None:
        version = next(versions)
        (tmp_path / version).mkdir()
        (tmp_path / version / "keys.yaml").write_text(version)
        (tmp_path / "..data_tmp").symlink_to(version)
        (tmp_path / "..data_tmp").rename(tmp_path / "..data")

    async def main() -> None:
        async with Watched(lambda: [tmp_path / inputs]) as watched:
            await watched.until_seen(publish)

    publish()
    (tmp_path / "keys.yaml").symlink_to("..data/keys.yaml")
    on_each_loop(main)


def test_sees_what_comes_into_being(tmp_path: Path) -> None:
    async def main() -> None:
        async with Watched(lambda: [tmp_path / "policies" / "**" / "*.yaml"]) as watched:
            await watched.whole_look()
            (tmp_path / "policies" / "team").mkdir(parents=True)
            (tmp_path / "policies" / "team" / "rules.yaml").write_text("a")
            await watched.change()
            (tmp_path / "policies" / "team" / "more.yaml").write_text("b")
            await watched.change()

    asyncio.run(main())


def test_asks_for_the_paths_anew_after_a_change(tmp_path: Path) -> None:
    async def main() -> None:
        inputs = [tmp_path / "one"]
        (tmp_path / "two").write_text("a")
        async with Watched(lambda: inputs) as watched:
            await watched.whole_look()
            inputs.append(tmp_path / "two")
            await watched.change()
            (tmp_path / "two").write_text("edited")
            await watched.change()

    asyncio.run(main())


def test_a_change_made_while_the_consumer_works_is_yielded_next(tmp_path: Path) -> None:
    async def main() -> None:
        file = tmp_path / "fleetgate.yaml"
        file.write_text("first")
        changes = watch.changes(lambda: [file], settle_s=0.01)
        async with aclosing(changes):
            first = asyncio.ensure_future(anext(changes))
            while not first.done():
                in_place(file)
                await asyncio.wait([first], timeout=0.05)
            in_place(file)
            await asyncio.wait_for(anext(changes), DEADLINE_S)

    asyncio.run(main())


def test_other_files_in_the_folder_wake_nobody(tmp_path: Path) -> None:
    async def main() -> None:
        file = tmp_path / "fleetgate.yaml"
        file.write_text("first")
        async with Watched(lambda: [file]) as watched:
            await watched.whole_look()
            (tmp_path / "fleetgate.db-wal").write_text("busy")
            await watched.whole_look()
            assert watched.quiet()
            file.write_text("second")
            await watched.change()

    asyncio.run(main())


def test_links_in_a_circle_come_to_an_end(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    assert watch.look(lambda: [tmp_path / "a"]) == {tmp_path / "a": ((str(tmp_path / "a"), 0, 0, 0, 0),)}


def test_stops_at_once_when_cancelled(tmp_path: Path) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with Watched(lambda: [tmp_path / "fleetgate.yaml"]) as watched:
            assert watched.quiet()
            t0 = loop.time()
        assert loop.time() - t0 < DEADLINE_S / 2

    on_each_loop(main)

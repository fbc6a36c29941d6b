"""The embedded engine: it answers, or it is a fault; nothing that goes wrong is a permission."""

from __future__ import annotations

import asyncio
import gc
import threading
from pathlib import Path
from typing import Any

import pytest
from rego_cases import REQUEST, denied, load, proven, said

from proxy.policy import embedded
from proxy.policy.decision import PolicyFault
from proxy.policy.embedded import Embedded, encode
from proxy.policy.rego import Module, Policies


def test_it_decides(tmp_path: Path) -> None:
    text = REQUEST + 'deny contains sprintf("no %s", [t.name]) if {\n\tsome t in input.tools\n\tstartswith(t.name, "rm")\n}\n'
    assert denied(said(tmp_path, text, {"tools": [{"name": "rm_all"}, {"name": "ls"}]})) == ["no rm_all"]
    assert denied(said(tmp_path, text, {"tools": []})) == []
    assert denied(said(tmp_path, text, {})) == []


def test_data_and_libraries_are_there(tmp_path: Path) -> None:
    files = {
        "a.rego": REQUEST + 'import data.lib\ndeny contains "big" if lib.big(input.max_output)\n',
        "lib.rego": "package lib\nbig(n) if n > data.limits.most\n",
        "data.yaml": "limits: {most: 10}\n",
    }
    assert denied(said(tmp_path, files, {"max_output": 11})) == ["big"]
    assert denied(said(tmp_path, files, {"max_output": 10})) == []


@pytest.mark.parametrize(
    ("rule", "document"),
    [
        ("allow if json.unmarshal(input.x)", {"x": "{"}),
        ("allow if 1 / input.x == 1", {"x": 0}),
        ("allow := input.x\nallow := input.y", {"x": True, "y": False}),
        ('allow if regex.match(input.x, "a")', {"x": "("}),
    ],
)
def test_what_raises_is_a_fault(tmp_path: Path, rule: str, document: Any) -> None:
    with pytest.raises(PolicyFault, match=r"policies/a\.rego:[23]: "):
        said(tmp_path, REQUEST + rule + "\n", document)


def test_deep_and_odd_input_is_a_fault_and_huge_input_too(tmp_path: Path) -> None:
    engine = Embedded(load(tmp_path, REQUEST + "deny contains 1 if input.x\n"))
    deep: Any = 1
    for _ in range(200):
        deep = [deep]
    for value in (deep, float("nan"), float("inf"), "x" * (5 << 20)):
        with pytest.raises(PolicyFault):
            asyncio.run(engine.ask("request", {"x": value}))


def test_half_surrogates_and_nul_do_no_harm(tmp_path: Path) -> None:
    text = REQUEST + 'deny contains "found" if contains(input.x, "bad")\n'
    assert denied(said(tmp_path, text, {"x": "\ud800 \x00 bad"})) == ["found"]
    assert encode({"x": "\ud800"}) == '{"x":"\ufffd"}'


def test_each_thread_has_an_engine_of_its_own(tmp_path: Path) -> None:
    engine = proven(tmp_path, REQUEST + 'deny contains "x" if input.stream\n')
    found: list[Any] = [asyncio.run(engine.ask("request", {"stream": True}))]
    threads = [threading.Thread(target=lambda: found.append(asyncio.run(engine.ask("request", {"stream": True})))) for _ in range(3)]
    for thread in threads:
        thread.start()
        thread.join()
    assert found == [{"deny": ["x"]}] * 4


def test_an_engine_that_panics_is_a_fault_and_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Embedded(load(tmp_path, REQUEST + 'deny contains "x" if input.time.hour == 1\n'))

    class Panic(BaseException):
        pass

    class Broken:
        def set_input_json(self, text: str) -> None:
            raise Panic

    monkeypatch.setattr(embedded._here, "of", {engine._key: Broken()})
    with pytest.raises(PolicyFault, match="the engine broke: Panic"):
        asyncio.run(engine.ask("request", {"time": {"hour": 1}}))
    assert asyncio.run(engine.ask("request", {"time": {"hour": 1}})) == {"deny": ["x"]}


def test_a_snapshot_may_be_let_go_of_in_any_thread(tmp_path: Path) -> None:
    """The engine is bound to its thread and says so when another one frees it, which pytest turns into a failure."""
    held = [[proven(tmp_path, REQUEST + 'deny contains "x" if input.stream\n')]]
    held[0].append(held[0])  # type: ignore[arg-type]  # a circle, as snapshots are: only the collector frees it
    asyncio.run(held[0][0].ask("request", {"stream": True}))

    def forget() -> None:
        held.clear()
        gc.collect()

    thread = threading.Thread(target=forget)
    thread.start()
    thread.join()
    gc.collect()


def test_a_thread_keeps_few_engines(tmp_path: Path) -> None:
    engines = [proven(tmp_path, REQUEST + f'deny contains "{n}" if input.stream\n') for n in range(embedded.KEPT + 2)]
    for n, engine in [*enumerate(engines), *enumerate(engines)]:
        assert asyncio.run(engine.ask("request", {"stream": True, "n": n})) == {"deny": [str(n)]}
        assert len(embedded._here.of) <= embedded.KEPT


def test_an_engine_that_could_not_be_made_decides_nothing() -> None:
    broken = Policies((Module("a.rego", "package fleetgate.request\ndeny contains", "fleetgate.request"),))
    engines = embedded._Engines()
    with pytest.raises(RuntimeError):
        engines.make("key", broken)
    assert engines.of == {}

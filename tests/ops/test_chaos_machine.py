"""On one machine under load: the disk fills up, OPA hangs, dies, is slow. Calls are refused, soon and clearly, and pass again."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from chaos import BUDGETS, LATEST_S, MODELS, NANOS_A_CALL, Load, Relay, asked, budget, clear, measured, metric, ok, ready, refused, until

sys.path.insert(0, str(Path(__file__).parents[1]))

from opa_server import Opa, needs_opa
from serving import Proxy, Simulator, post
from simulating import get

REGO = 'package fleetgate.request\ndeny contains "no" if input.max_output > 100000\n'
TIMEOUT_MS = 1000


@dataclass(slots=True)
class Machine:
    """A proxy with its file on a small disk and OPA behind a relay. `disk` is None where none may be mounted."""

    sim: Simulator
    opa: Opa
    relay: Relay
    proxy: Proxy
    disk: Path | None


def mounted(folder: Path) -> Path | None:
    """Return a disk of 16 MiB on `folder`, where this process may mount one."""
    if os.geteuid() != 0 or sys.platform != "linux":
        return None
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "fleetgate-test", str(folder)], capture_output=True, check=False)
    return folder if done.returncode == 0 else None


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    folder, policies = tmp_path_factory.mktemp("disk"), tmp_path_factory.mktemp("policies")
    policies.joinpath("a.rego").write_text(REGO)
    with contextlib.ExitStack() as stack:
        sim = stack.enter_context(Simulator())
        opa = stack.enter_context(Opa(policies, "--set=decision_logs.console=true", "--bundle", str(policies)))
        relay = Relay(opa.port)
        stack.callback(relay.close)
        disk = mounted(folder)
        if disk is not None:
            stack.callback(subprocess.run, ["umount", "--lazy", str(folder)], check=False)
        settings = {
            "store": f"sqlite:{folder / 'fleetgate.db'}",
            "models": MODELS,
            "policy": {"engine": f"opa:http://127.0.0.1:{relay.port}", "timeout_ms": TIMEOUT_MS},
        }
        proxy = stack.enter_context(Proxy(sim, budgets=BUDGETS.format(usd=50), policies={"a.rego": REGO}, settings=settings))
        yield Machine(sim, opa, relay, proxy, disk)


unruled, unkept = refused("policy_unavailable"), refused("store_unavailable")


@needs_opa
def test_an_opa_that_hangs(machine: Machine) -> None:
    with Load([machine.proxy]) as load:
        load.until(ok)
        machine.opa.signal(signal.SIGSTOP)
        try:
            load.until(unruled)
            began = time.monotonic()
            sent = machine.sim.stats()["total"]
            until(lambda: ready(machine.proxy)[0] == 503)
            assert ready(machine.proxy)[1]["policy"] == "down"
            assert metric(machine.proxy, "fleetgate_opa_up") == 0
            load.until(unruled)
            assert not any(ok(t) for t in load.since(began)), "without its word nothing passes"
            assert machine.sim.stats()["total"] == sent
            measured("refused within", max(t.took for t in load.told if unruled(t)))
        finally:
            machine.opa.signal(signal.SIGCONT)
        back = time.monotonic()
        assert measured("after OPA hung", load.until(ok, since=back)) < LATEST_S
        until(lambda: ready(machine.proxy)[0] == 200)
    clear(load, "policy_unavailable")


@needs_opa
def test_an_opa_that_dies(machine: Machine) -> None:
    with Load([machine.proxy]) as load:
        load.until(ok)
        machine.opa.kill()
        load.until(unruled)
        machine.opa.start()
        back = time.monotonic()
        assert measured("after OPA died", load.until(ok, since=back)) < LATEST_S
        until(lambda: ready(machine.proxy)[1]["policy"] == "ok")
    clear(load, "policy_unavailable")


@needs_opa
def test_an_opa_that_is_slow(machine: Machine) -> None:
    with Load([machine.proxy]) as load:
        load.until(ok)
        machine.relay.slow_s = 1.3 * TIMEOUT_MS / 1000
        try:
            load.until(unruled)
            until(lambda: ready(machine.proxy)[1]["policy"] == "failing")
            assert metric(machine.proxy, "fleetgate_opa_errors_total") > 0
        finally:
            machine.relay.slow_s = 0
        back = time.monotonic()
        assert measured("after OPA was slow", load.until(ok, since=back)) < LATEST_S
    clear(load, "policy_unavailable")


@needs_opa
def test_a_decision_is_found_again_in_opa_s_log_and_in_ours(machine: Machine) -> None:
    path, body, head = asked(machine.proxy, anthropic=False, stream=False)
    reply = post(machine.proxy.url + path, body, head)
    name = reply.headers["x-fleetgate-request-id"]
    (said,) = [words for stage, words in machine.proxy.record(name)["decisions"] if stage == "rego"]
    assert said.startswith("OPA decided on the request, its decision ")
    logged = [json.loads(line) for line in machine.opa.log().splitlines() if said.rsplit(" ", 1)[1] in line]
    assert [entry["input"]["id"] for entry in logged] == [name]
    told = json.loads(get(f"{machine.proxy.admin_url}/api/v1/decisions/{name}")[1])["explain"]
    assert said.rsplit(" ", 1)[1] in " ".join(told.split())


@needs_opa
def test_a_disk_that_is_full(machine: Machine) -> None:
    before = recorded(machine.proxy)
    with Load([machine.proxy]) as load:
        load.until(ok)
        with full(machine):
            load.until(unkept)
            measured("refused within", max(t.took for t in load.told if unkept(t)))
            until(lambda: ready(machine.proxy)[1]["ledger"] != "ok")
            assert metric(machine.proxy, "fleetgate_ledger_queue") > 0
            assert metric(machine.proxy, "fleetgate_store_errors_total") > 0
        back = time.monotonic()
        assert measured("after the disk was full", load.until(ok, since=back)) < LATEST_S
        until(lambda: ready(machine.proxy)[1]["ledger"] == "ok")
    clear(load, "store_unavailable")
    until(lambda: metric(machine.proxy, "fleetgate_ledger_queue") == 0)
    assert recorded(machine.proxy) == before + len(load.told), "each call has its record, refused ones too"
    spent, held, _ = budget(machine.proxy)
    assert metric(machine.proxy, "fleetgate_ledger_lost_total") == 0
    assert machine.sim.stats()["total"] * NANOS_A_CALL <= spent + held


def recorded(proxy: Proxy) -> int:
    """How many records the ledger has."""
    return sum(int(row["calls"]) for row in json.loads(get(f"{proxy.admin_url}/api/v1/exchanges?by=agent")[1])["groups"])


@contextlib.contextmanager
def full(machine: Machine) -> Iterator[None]:
    """Leave no room: on the disk where there is one of our own, else for any file of the proxy."""
    pid = machine.proxy._process.pid
    if machine.disk is None:
        before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (1, before[1]))
        yield
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)
        return
    with machine.disk.joinpath("filler").open("wb", buffering=0) as filler, contextlib.suppress(OSError):
        while True:
            filler.write(b"\0" * 4096)
    yield
    machine.disk.joinpath("filler").unlink()

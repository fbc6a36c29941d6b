"""The OPA server as engine: down, slow, odd answers; each a fault, soon, and never a permission."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from rego_cases import REQUEST, load

sys.path.insert(0, str(Path(__file__).parents[1]))

from opa_server import Opa as Server
from opa_server import needs_opa

from proxy.policy.decision import PolicyFault, decide
from proxy.policy.opa import FAILURES, Opa, OpaServer, unanswered

DENY = 'deny contains "no" if input.stream\n'
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


def against(answer: Answer, work: Callable[[OpaServer], Awaitable[Any]], timeout_ms: int = 2000) -> Any:
    """What `work` returns on a server that answers everything with `answer`."""

    async def main() -> Any:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", answer)
        runner = web.AppRunner(app, shutdown_timeout=0.01)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        server = OpaServer(f"http://127.0.0.1:{runner.addresses[0][1]}", timeout_ms, now=lambda: 0.0)
        try:
            return await work(server)
        finally:
            await server.close()
            await runner.cleanup()

    return asyncio.run(main())


def says(body: str, status: int = 200, kind: str = "application/json") -> Answer:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(text=body, status=status, content_type=kind)

    return answer


async def ask(server: OpaServer) -> Any:
    return await server.ask("request", {"stream": True})


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (says("{}", 500), "answered 500"),
        (says("{}", 404), "answered 404"),
        (says("no json"), "answered no JSON"),
        (says("<html>", kind="text/html"), "answered no JSON"),
        (says("[1]"), "answered no object"),
        (says("[" * 100_000), "answered no JSON"),
    ],
    ids=["500", "404", "text", "html", "array", "deep"],
)
def test_what_is_no_decision_is_a_fault(answer: Answer, expected: str) -> None:
    with pytest.raises(PolicyFault, match=expected):
        against(answer, ask)


def test_undefined_is_no_permission(tmp_path: Path) -> None:
    assert against(says("{}"), ask) is None
    packages = load(tmp_path, REQUEST + DENY).packages["request"]
    assert len(decide(packages, None).denials) == 1


def test_a_slow_server_is_a_fault_after_the_deadline() -> None:
    async def never(request: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    with pytest.raises(PolicyFault, match="did not answer within 50 ms"):
        against(never, ask, timeout_ms=50)


def test_a_server_that_fails_again_and_again_is_left_alone_and_tried_later() -> None:
    now = [0.0]
    asked = []

    async def broken(request: web.Request) -> web.StreamResponse:
        asked.append(request.path)
        return web.json_response({"result": {"deny": []}}) if now[0] > 5 else web.Response(status=500)

    async def work(server: OpaServer) -> Any:
        server._now = lambda: now[0]
        for _ in range(FAILURES):
            with pytest.raises(PolicyFault, match="answered 500"):
                await ask(server)
        with pytest.raises(PolicyFault, match="failed 5 times in a row"):
            await ask(server)
        now[0] = 2.0
        with pytest.raises(PolicyFault, match="answered 500"):
            await ask(server)
        with pytest.raises(PolicyFault, match="in a row"):
            await ask(server)
        now[0] = 6.0
        return await ask(server)

    assert against(broken, work) == {"deny": []}
    assert asked == ["/v1/data/fleetgate/request"] * 7


def test_a_server_that_is_down_is_a_fault_at_once() -> None:
    async def main() -> None:
        server = OpaServer("http://127.0.0.1:9", 2000)
        with pytest.raises(PolicyFault, match=r"OPA at http://127.0.0.1:9 cannot be reached"):
            await server.ask("request", {})
        await server.close()

    asyncio.run(main())


def test_huge_inputs_are_not_sent() -> None:
    async def work(server: OpaServer) -> None:
        with pytest.raises(PolicyFault, match="larger than 4 MiB"):
            await server.ask("request", {"x": "y" * (5 << 20)})

    against(says("{}"), work)


@pytest.mark.parametrize(
    ("rules", "prompts"),
    [
        (DENY, False),
        ('deny contains "x" if input.request.messages[0].text == "x"\n', True),
        ("f(x) := x\ndeny contains 1 if f(input)\n", True),
        ('deny contains "x" if input["request"]\n', True),
        ('# input.request\ndeny contains "input.request" if input.stream\n', False),
    ],
)
def test_the_conversation_is_sent_only_where_it_is_read(tmp_path: Path, rules: str, prompts: bool) -> None:
    reads = Opa(OpaServer("http://127.0.0.1:9", 1), load(tmp_path, REQUEST + rules)).reads["request"]
    assert reads.covers("request") == prompts
    assert reads.covers("agent")


@needs_opa
def test_a_real_server_decides_and_a_check_says_what_it_does_not_know(tmp_path: Path) -> None:
    policies = load(tmp_path, REQUEST + DENY)

    async def work(url: str) -> Any:
        server = OpaServer(url, 5000)
        try:
            return await ask(server)
        finally:
            await server.close()

    with Server(tmp_path / "policies") as opa:
        assert asyncio.run(work(opa.url)) == {"deny": ["no"]}
        assert unanswered(opa.url, 5000, policies) == []
        more = load(tmp_path, {"more.rego": "package fleetgate.response\n" + DENY})
        assert unanswered(opa.url, 5000, more) == [f"OPA at {opa.url} does not serve fleetgate.response: have it serve the same folder"]
    (down,) = unanswered(opa.url, 5000, more)
    assert "cannot be reached" in down
    assert "refused" in down

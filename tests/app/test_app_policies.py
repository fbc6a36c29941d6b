"""What the house shows of the engine that decides on Rego, and when a replica is not ready because of it."""

from __future__ import annotations

import asyncio
import logging
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web

from proxy.app.policies import Opas
from proxy.policy.decision import PolicyFault
from proxy.telemetry.policy_metrics import PolicyGauge, families


def files(engine: str, on_error: str = "deny", rego: bool = True) -> Any:
    policy = SimpleNamespace(engine=engine, timeout_ms=2000, on_error=on_error)
    return SimpleNamespace(settings=SimpleNamespace(policy=policy), rego=rego, version="v1")


def shown(opas: Opas) -> dict[str, float]:
    return {sample.name: sample.value for family in families(opas.gauge()) for sample in family.samples}


def test_without_a_server_there_is_nothing_to_look_at() -> None:
    opas = Opas()
    assert (opas.state(), opas.gauge(), opas.detail(), opas.down) == ("none", None, None, False)
    assert shown(opas) == {}
    opas.use(files("embedded"))
    asyncio.run(opas.look())
    assert (opas.state(), opas.gauge(), opas.detail(), opas.down) == ("embedded", PolicyGauge("embedded", "v1"), None, False)
    assert shown(opas) == {"fleetgate_policy_info": 1}
    opas.use(files("opa:http://127.0.0.1:9", rego=False))
    asyncio.run(opas.look())
    assert (opas.state(), opas.detail()) == ("none", None)


def test_a_server_is_looked_at_and_what_changes_is_said(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "fleetgate.policy")
    up, code = [True], [""]

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path == "/health":
            return web.Response(status=200 if up[0] else 500)
        if request.path == "/v1/status":
            bundle = {"active_revision": "r7", **({"code": code[0], "message": "digest mismatch"} if code[0] else {})}
            return web.json_response({"result": {"bundles": {"fleet": bundle}}})
        return web.Response(status=500)

    async def main() -> None:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", answer)
        runner = web.AppRunner(app, shutdown_timeout=0.01)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        opas = Opas()
        opas.use(files(f"opa:{url}"))
        assert (opas.state(), opas.down) == ("ok", False), "not looked at yet is not down"
        assert "fleetgate_opa_up" not in shown(opas)
        try:
            await opas.look()
            await opas.look()
            assert opas.detail() == {"url": url, "up": True, "revision": "fleet@r7", "bundle_refused": "", "errors": 0}
            assert caplog.text.count("decides by fleet@r7") == 1, "once"
            server = opas.of(files(f"opa:{url}").settings)
            assert server is not None
            with pytest.raises(PolicyFault):
                await server.ask("request", {})
            assert opas.state() == "failing"
            code[0] = "bundle_error"
            await opas.look()
            assert "did not take a bundle and goes on with the one before: fleet: digest mismatch" in caplog.text
            assert shown(opas) == {
                "fleetgate_policy_info": 1,
                "fleetgate_opa_up": 1,
                "fleetgate_opa_bundle_stale": 1,
                "fleetgate_opa_errors_total": 1,
            }
            up[0] = False
            await opas.look()
            assert (opas.state(), opas.down, shown(opas)["fleetgate_opa_up"]) == ("down", True, 0)
            assert "does not answer, or has not activated its bundles" in caplog.text
            opas.use(files(f"opa:{url}", "observe"))
            assert (opas.state(), opas.down) == ("down", False), "who only observes goes on"
            up[0] = True
            await opas.look()
            assert "answers again" in caplog.text
        finally:
            await opas.close()
            await runner.cleanup()

    asyncio.run(main())


def test_it_is_looked_at_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = []

    class Counting(Opas):
        async def look(self) -> None:
            looks.append(1)
            if len(looks) == 3:
                raise asyncio.CancelledError

    monkeypatch.setattr("proxy.app.policies.EVERY_S", 0.0)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(Counting().run())
    assert len(looks) == 3

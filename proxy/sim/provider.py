"""The simulated provider as an HTTP server: routes, keys, errors, and the window for tests under `/sim/`.

It listens on loopback unless told otherwise, needs no key unless told to, and keeps nothing on disk. A request that it cannot read gets
the vendor's own 400; a path that it does not serve gets the vendor's own 404. It is a test instrument: do not put it on a network.
"""

from __future__ import annotations

import asyncio
import json
import math
import signal
import sys
from typing import Any

from aiohttp import web

from proxy.sim import routes
from proxy.sim.answer import seed_of
from proxy.sim.calls import Calls
from proxy.sim.deliver import deliver, scripted
from proxy.sim.reply import Given, Invalid, Reply, Vendor
from proxy.sim.script import Script, ScriptError

try:
    from uvloop import new_event_loop
except ImportError:  # pragma: no cover - there is no uvloop for this platform
    from asyncio import new_event_loop  # type: ignore[assignment]

MAX_BODY = 64 << 20
CALLS = web.AppKey("calls", Calls)
_REQUIRE_KEY = web.AppKey("require_key", bool)
_KEY_HEADERS = {"anthropic": "x-api-key", "gemini": "x-goog-api-key"}
_NO_KEY = {
    "anthropic": "x-api-key header is required",
    "gemini": "Method doesn't allow unregistered callers. Please use API Key or other form of API consumer identity to call this API.",
    "openai": "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth"
    " (i.e. Authorization: Bearer YOUR_KEY).",
}


def _check_key(request: web.Request, vendor: Vendor) -> None:
    """Refuse a request without a key, if keys are wanted.

    Raises:
        Invalid: there is none.
    """
    if not request.app[_REQUIRE_KEY]:
        return
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    bearer = scheme.lower() == "bearer" and bool(token.strip())
    if bearer or request.headers.get(_KEY_HEADERS.get(vendor.name, "")):
        return
    raise Invalid(_NO_KEY.get(vendor.name, _NO_KEY["openai"]), status=401)


def _finite(text: str) -> float:
    """Return a number; one that no double can hold is none to a vendor either, and could not be written into a reply."""
    value = float(text)
    if math.isinf(value):
        raise ValueError(text)
    return value


def _loads(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body, parse_float=_finite)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise Invalid("We could not parse the JSON body of your request. The body must be a JSON object.")
    return value


def _answer(request: web.Request, body: bytes) -> tuple[Script, Reply, Vendor]:
    """Return the script, the reply and the vendor of one request. Never raises for what a client sent."""
    seed = seed_of([request.path, body.decode("utf-8", "replace")])
    headers = {k.lower(): v for k, v in request.headers.items()}
    vendor, operation = routes.find(request.method, request.path, headers)
    try:
        _check_key(request, vendor)
        if operation is None:
            raise Invalid(f"Invalid URL ({request.method} {request.path})", status=404)
        given = Given(_loads(body) if request.method == "POST" else {}, headers, request.path, dict(request.query))
        try:
            script, reply = operation(given)
        except (AttributeError, KeyError, TypeError) as e:
            # The vendor modules check what tests of a proxy are about, not every type; a vendor would answer 400 to the rest.
            raise Invalid(f"A member of the request has the wrong type ({type(e).__name__}).") from None
        return script, scripted(script, reply, vendor, seed), vendor
    except Invalid as e:
        return Script(), vendor.invalid(e, seed), vendor
    except ScriptError as e:
        return Script(), vendor.invalid(Invalid(f"simulated provider: {e}"), seed), vendor


async def _serve(request: web.Request) -> web.StreamResponse:
    body = await request.read()
    calls = request.app[CALLS]
    call = calls.begin(request.method, request.path, request.query_string, request.headers, body)
    try:
        script, reply, vendor = _answer(request, body)
        return await deliver(request, script, reply, vendor, call)
    except asyncio.CancelledError:
        call.aborted = True
        raise
    except ConnectionError:
        call.aborted = True
        return web.Response()  # nobody is there to read it
    finally:
        calls.end(call)


async def _list(request: web.Request) -> web.StreamResponse:
    """`GET /sim/calls`: what arrived, oldest first; `?idle_s=5` waits until nothing is running."""
    calls = request.app[CALLS]
    if "idle_s" in request.query:
        await calls.settled(min(60.0, float(request.query["idle_s"])))
    return web.json_response([call.shown() for call in calls.kept])


async def _stats(request: web.Request) -> web.StreamResponse:
    """`GET /sim/stats`: counts, which unlike the list are not bounded."""
    calls = request.app[CALLS]
    return web.json_response({"total": calls.total, "running": calls.running, "aborted": calls.aborted})


async def _reset(request: web.Request) -> web.StreamResponse:
    request.app[CALLS].reset()
    return web.json_response({"ok": True})


def build(*, require_key: bool = False) -> web.Application:
    """Return the application, with an empty list of calls."""
    app = web.Application(client_max_size=MAX_BODY)
    app[CALLS] = Calls()
    app[_REQUIRE_KEY] = require_key
    app.router.add_get("/sim/calls", _list)
    app.router.add_get("/sim/stats", _stats)
    app.router.add_post("/sim/reset", _reset)
    app.router.add_route("*", "/{path:.*}", _serve)
    return app


async def start(host: str = "127.0.0.1", port: int = 0, *, require_key: bool = False) -> tuple[web.AppRunner, int]:
    """Start the provider in the running loop; return the runner (`await runner.cleanup()` stops it) and the port."""
    runner = web.AppRunner(build(require_key=require_key), handler_cancellation=True, access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    await web.TCPSite(runner, host, port).start()
    return runner, int(runner.addresses[0][1])


async def _run(host: str, port: int, require_key: bool) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    runner, bound = await start(host, port, require_key=require_key)
    sys.stdout.write(f"simulated provider: OpenAI at http://{host}:{bound}/v1, Anthropic, Gemini and Ollama at http://{host}:{bound}\n")
    sys.stdout.flush()
    await stop.wait()
    await runner.cleanup()


def run(host: str = "127.0.0.1", port: int = 8089, *, require_key: bool = False) -> int:
    """Serve until SIGTERM or SIGINT (`fleetgate sim`); return the exit code. The first line on stdout says where it listens.

    Raises:
        OSError: the port is taken.
    """
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(_run(host, port, require_key))
    return 0

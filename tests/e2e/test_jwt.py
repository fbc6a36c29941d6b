"""Tokens against a real server with a real server of keys: who is let in, and that nothing is sent for anybody else."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from issuing import AUDIENCE, EC, ISSUER, OTHER, RSA, claims, document, jwk, signed
from raw import Raw, post
from redis_server import needs_redis, shared_url
from serving import Proxy, Simulator
from simulating import get

from proxy.stores.redis_place import place_of

AGENTS = """---
agents:
  - name: invoice-triage
    policy: {models: {allow: ["*"]}, tools: {allow: ["*"]}}
  - name: payments/bot
    policy: {models: {allow: ["*"]}, tools: {allow: ["*"]}}
---
"""
K8S = "system:serviceaccount:"
MAP = {f"{K8S}payments:*": "invoice-triage", f"{K8S}{{ns}}:{{name}}": "{ns}/{name}", "fleet": "payments/*"}
ADMIN = "canary-admin-token"


class Keys:
    """A server of keys; `answer` None hangs."""

    def __init__(self) -> None:
        self.answer: bytes | None = document(jwk(RSA, "k1"))
        self.asked = 0
        outer, self.free = self, threading.Event()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked += 1
                if outer.answer is None:
                    outer.free.wait(30)
                    return
                self.send_response(200)
                self.send_header("content-length", str(len(outer.answer)))
                self.end_headers()
                self.wfile.write(outer.answer)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/keys"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.free.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture(scope="module")
def sim() -> Iterator[Simulator]:
    with Simulator() as sim:
        yield sim


@pytest.fixture(scope="module")
def keys() -> Iterator[Keys]:
    keys = Keys()
    yield keys
    keys.close()


def settings(server: Keys, **more: Any) -> dict[str, Any]:
    jwt = {"issuer": ISSUER, "audience": AUDIENCE, "jwks_url": server.url, "map": MAP}
    return {"auth": {"mode": "jwt", "keys": None, "jwt": jwt} | more}


@pytest.fixture(scope="module")
def proxy(sim: Simulator, keys: Keys) -> Iterator[Proxy]:
    with Proxy(sim, agents=AGENTS, settings=settings(keys), env={"FLEETGATE_ADMIN_TOKEN": ADMIN}) as proxy:
        yield proxy


def token(sub: str = f"{K8S}payments:bot", key: Any = RSA, kid: str = "k1", alg: str = "RS256", **more: Any) -> str:
    now = time.time()
    times = {"iat": now - 5, "nbf": now - 5, "exp": now + 86_400}
    return signed(claims(sub=sub, **(times | more)), key, alg, {"kid": kid})


def ask(proxy: Proxy, headers: Mapping[str, str], query: str = "") -> Raw:
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 20}
    return post(f"{proxy.url}/v1/chat/completions{query}", body, dict(headers))


def refused(proxy: Proxy, sim: Simulator, headers: Mapping[str, str]) -> tuple[int, dict[str, Any]]:
    before = len(sim.calls())
    reply = ask(proxy, headers)
    assert len(sim.calls()) == before
    return reply.status, json.loads(reply.body)["fleetgate"]


def bearer(value: str, **more: str) -> dict[str, str]:
    return {"authorization": f"Bearer {value}", **{k.replace("_", "-"): v for k, v in more.items()}}


@pytest.mark.parametrize("carrier", ["authorization", "x-api-key", "x-goog-api-key", "api-key", "?key="])
def test_a_service_account_is_let_in_as_its_agent(proxy: Proxy, carrier: str) -> None:
    value = token()
    headers = {} if carrier == "?key=" else {carrier: f"Bearer {value}" if carrier == "authorization" else value}
    reply = ask(proxy, headers, f"?key={value}" if carrier == "?key=" else "")
    assert reply.status == 200
    record = proxy.record(reply.headers["x-fleetgate-request-id"])
    assert record["agent"] == "invoice-triage"
    assert record["key_id"].startswith("jwt:")
    assert value not in proxy.log()


def test_a_fleet_token_names_one_of_its_agents(proxy: Proxy, sim: Simulator) -> None:
    assert ask(proxy, bearer(token("fleet"), x_fleetgate_agent="payments/bot")).status == 200
    status, why = refused(proxy, sim, bearer(token("fleet"), x_fleetgate_agent="invoice-triage"))
    assert (status, why["reason"]) == (403, "unknown_agent")
    status, why = refused(proxy, sim, bearer(token("fleet")))
    assert (status, why["reason"]) == (403, "unknown_agent")


def test_the_token_never_goes_to_a_provider(proxy: Proxy, sim: Simulator) -> None:
    value = token(jti="canary")
    assert ask(proxy, bearer(value)).status == 200
    assert value.split(".")[1] not in json.dumps(sim.calls())


@pytest.mark.parametrize(
    ("value", "status", "reason"),
    [
        (token(exp=time.time() - 60), 401, "unauthenticated"),
        (token(nbf=time.time() + 600), 401, "unauthenticated"),
        (token(aud="else"), 401, "unauthenticated"),
        (token(iss="https://evil.example"), 401, "unauthenticated"),
        (token(key=OTHER), 401, "unauthenticated"),
        (token(kid="../../k1"), 401, "unauthenticated"),
        (token(alg="none"), 401, "unauthenticated"),
        (token(sub="nobody"), 403, "unknown_agent"),
        (token(sub=f"{K8S}other:gone"), 403, "unknown_agent"),
        ("e" * 50_000, 401, "unauthenticated"),
        ("fg-tester-" + "a" * 32, 401, "unauthenticated"),
        ("a.b.c", 401, "unauthenticated"),
    ],
    ids=["expired", "early", "audience", "issuer", "signature", "kid", "none", "nobody", "undefined", "long", "key", "junk"],
)
def test_everybody_else_is_refused(proxy: Proxy, sim: Simulator, value: str, status: int, reason: str) -> None:
    found, why = refused(proxy, sim, bearer(value))
    assert (found, why["reason"]) == (status, reason)
    assert why["remedy"]


def test_clocks_that_differ_by_ten_seconds_refuse_nobody(proxy: Proxy, sim: Simulator) -> None:
    now = time.time()
    skewed: tuple[dict[str, Any], ...] = ({"exp": now - 10}, {"nbf": now + 10}, {"iat": now + 10, "nbf": now + 10})
    for times in skewed:
        assert ask(proxy, bearer(token(**times))).status == 200
    status, why = refused(proxy, sim, bearer(token(exp=now - 100)))
    assert (status, why["reason"]) == (401, "unauthenticated")


def test_a_server_of_keys_that_hangs_stops_no_known_key_and_lets_no_other_in(proxy: Proxy, sim: Simulator, keys: Keys) -> None:
    before, keys.answer = keys.answer, None
    try:
        known, unknown = ask(proxy, bearer(token(jti="while it hangs"))), bearer(token(kid="k2", key=OTHER))
        status, why = refused(proxy, sim, unknown)
    finally:
        keys.answer = before
    assert known.status == 200
    assert (status, why["reason"]) == (401, "unauthenticated")
    assert "key" in json.loads(ask(proxy, unknown).body)["error"]["message"]


def test_keys_do_not_count_beside_tokens_unless_that_is_set(proxy: Proxy, sim: Simulator) -> None:
    made = proxy.command("keys", "create", "invoice-triage")
    assert refused(proxy, sim, bearer(made.stdout.strip()))[0] == 401


def test_a_megabyte_is_refused_at_the_door(proxy: Proxy, sim: Simulator) -> None:
    before = len(sim.calls())
    assert ask(proxy, bearer("e" * (1 << 20))).status in (400, 431)
    assert len(sim.calls()) == before


def test_two_tokens_are_none(proxy: Proxy, sim: Simulator) -> None:
    assert refused(proxy, sim, bearer(token(), x_api_key=token(jti="2")))[1]["reason"] == "unauthenticated"


def test_a_subject_can_be_stopped_by_its_public_id(proxy: Proxy, sim: Simulator) -> None:
    value = bearer(token(f"{K8S}payments:stopped"))
    reply = ask(proxy, value)
    name = proxy.record(reply.headers["x-fleetgate-request-id"])["key_id"]
    assert proxy.command("kill", f"key:{name}", "--reason", "test").returncode == 0
    deadline = time.monotonic() + 10
    while ask(proxy, value).status == 200:
        assert time.monotonic() < deadline
    assert refused(proxy, sim, value)[1]["reason"] == "agent_killed"
    assert ask(proxy, bearer(token())).status == 200


def test_operators_see_the_keys(proxy: Proxy) -> None:
    admin = {"authorization": f"Bearer {ADMIN}"}
    ready = post(f"{proxy.admin_url}/readyz", b"", admin, "GET")
    assert ready.status == 200
    found = json.loads(ready.body)["tokens"]
    assert (found["state"], found["keys"], found["error"]) == ("ok", 1, "")
    assert b"\nfleetgate_jwks_age_seconds " in post(f"{proxy.admin_url}/metrics", b"", admin, "GET").body


def test_keys_may_count_too_while_agents_change(sim: Simulator, keys: Keys) -> None:
    with Proxy(sim, agents=AGENTS, keys=("invoice-triage",), settings=settings(keys, keys="keys.yaml", also_keys=True)) as proxy:
        assert ask(proxy, bearer(proxy.key())).status == 200
        assert ask(proxy, bearer(token())).status == 200
        assert refused(proxy, sim, bearer("fg-nope"))[0] == 401


def test_a_server_is_not_ready_before_it_has_keys_and_then_is(sim: Simulator) -> None:
    keys = Keys()
    keys.answer = None
    proxy = Proxy(sim, agents=AGENTS, settings=settings(keys), env={"FLEETGATE_ADMIN_TOKEN": ADMIN})
    proxy._wait_ready = lambda: None  # type: ignore[method-assign]
    try:
        with proxy:
            deadline = time.monotonic() + 20
            while True:
                assert time.monotonic() < deadline
                try:
                    status, _ = get(f"{proxy.admin_url}/readyz")
                except OSError:
                    continue
                if keys.asked:
                    break
            assert status == 503
            status, why = refused(proxy, sim, bearer(token()))
            assert (status, why["reason"]) == (503, "store_unavailable")
            assert refused(proxy, sim, bearer("junk"))[0] == 401
            keys.answer = document(jwk(RSA, "k1"), jwk(EC, "k2"))
            keys.free.set()
            while get(f"{proxy.admin_url}/readyz")[0] != 200:
                assert time.monotonic() < deadline + 20
            assert ask(proxy, bearer(token(key=EC, kid="k2", alg="ES256"))).status == 200
    finally:
        keys.close()


def test_a_file_of_keys_is_followed(sim: Simulator) -> None:
    jwt = {"issuer": ISSUER, "audience": AUDIENCE, "jwks_file": "jwks.json", "map": MAP}
    files = {"jwks.json": document(jwk(RSA, "k1")).decode()}
    with Proxy(sim, agents=AGENTS, settings={"auth": {"mode": "jwt", "keys": None, "jwt": jwt}}, files=files) as proxy:
        assert ask(proxy, bearer(token())).status == 200
        (proxy.folder / "jwks.json").write_bytes(document(jwk(EC, "k2")))
        deadline = time.monotonic() + 10
        while ask(proxy, bearer(token())).status == 200:
            assert time.monotonic() < deadline
        assert refused(proxy, sim, bearer(token()))[0] == 401
        assert ask(proxy, bearer(token(key=EC, kid="k2", alg="ES256"))).status == 200
        (proxy.folder / "jwks.json").write_bytes(document(jwk(RSA, "k1"), jwk(OTHER, "k1")))
        checked = proxy.command("check")
        assert checked.returncode == 1
        assert "jwks.json: two different keys in it have the same kid" in checked.stdout + checked.stderr


@pytest.mark.parametrize(("trusted", "status"), [("127.0.0.0/8", 200), ("10.0.0.0/8", 401)])
def test_a_mesh_is_believed_from_its_own_addresses_alone(sim: Simulator, trusted: str, status: int) -> None:
    spiffe = {"trusted": [trusted], "map": {"spiffe://td/ns/payments/sa/*": "invoice-triage"}}
    with Proxy(sim, agents=AGENTS, settings={"auth": {"spiffe": spiffe}}) as proxy:
        before = len(sim.calls())
        reply = ask(proxy, {"x-forwarded-client-cert": "URI=spiffe://td/ns/payments/sa/bot", "x-forwarded-for": "127.0.0.1, 10.0.0.1"})
        assert reply.status == status
        assert len(sim.calls()) == before + (status == 200)
        assert "spiffe" not in json.dumps(sim.calls())
        assert refused(proxy, sim, {"x-forwarded-client-cert": "URI=spiffe://td/ns/other/sa/bot"})[0] == (403 if status == 200 else 401)


@needs_redis
def test_two_tenants_of_one_redis_share_no_token_budget_or_kill(sim: Simulator, keys: Keys) -> None:
    place = place_of(shared_url())
    budgets = {"budgets": [{"name": "few", "scope": {"agent": "*"}, "limit": {"requests": 1}, "window": "day"}]}

    def release(name: str) -> Proxy:
        auth = settings(keys)["auth"]
        store = {"url": f"redis://{place.hosts[0][0]}:{place.hosts[0][1]}/0", "tenant": f"{place.tenant}.{name}"}
        more = {"auth": {**auth, "jwt": {**auth["jwt"], "audience": name}}, "store": store}
        return Proxy(sim, agents=AGENTS, budgets=budgets, settings=more, env={"FLEETGATE_ADMIN_TOKEN": ADMIN})

    with release("blue") as blue, release("green") as green:
        of_blue, of_green = bearer(token(aud="blue")), bearer(token(aud="green"))
        assert refused(green, sim, of_blue)[1]["reason"] == "unauthenticated"
        assert refused(blue, sim, of_green)[1]["reason"] == "unauthenticated"
        assert ask(blue, of_blue).status == 200
        assert refused(blue, sim, of_blue)[1]["reason"] == "budget_exceeded"
        assert ask(green, of_green).status == 200, "its own budget is whole"
        assert blue.command("kill", "all", "--reason", "a drill").returncode == 0
        until = time.monotonic() + 30
        while refused(blue, sim, of_blue)[1]["reason"] != "agent_killed":
            assert time.monotonic() < until
        assert refused(green, sim, of_green)[1]["reason"] == "budget_exceeded", "nobody stopped it"
        assert len(green.records(3)) == 3

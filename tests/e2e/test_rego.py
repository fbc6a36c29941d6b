"""Rego over real sockets: requests, tool calls and replies decided on by the embedded engine, and by a real OPA where there is one."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from opa_server import Opa, needs_opa
from serving import Proxy, Raw, Simulator, free_port, post
from simulating import get

CHAT = "/v1/chat/completions"
POLICIES = {
    "request.rego": """package fleetgate.request
deny contains {"message": "no poems", "rule": "no-poems", "remedy": "Ask for prose."} if {
	some message in input.request.messages
	contains(message.text, "poem")
}
limit_output := 50 if input.agent.id == "tester"
route := "local/qwen3" if input.model.asked == "gpt-5-nano"
redact contains "Rumpelstiltskin"
warn contains "asks for much" if input.max_output > 500
""",
    "tool_call.rego": """package fleetgate.tool_call
deny contains sprintf("%s may not be deleted", [input.tool_call.arguments.path]) if {
	input.tool_call.name == "delete_file"
	input.tool_call.arguments.path != "/tmp/x"
}
deny contains "arguments that nobody can read" if input.tool_call.arguments == null
""",
    "response.rego": """package fleetgate.response
default allow := false
allow if input.reply.text_length < 200
""",
}
PATH = {"type": "object", "properties": {"path": {"type": "string"}}}
TOOL = {"type": "function", "function": {"name": "delete_file", "parameters": PATH}}


@pytest.fixture(scope="module")
def sim() -> Iterator[Simulator]:
    with Simulator() as sim:
        yield sim


@pytest.fixture(scope="module", params=["embedded", pytest.param("opa", marks=needs_opa)])
def proxy(request: pytest.FixtureRequest, sim: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    if request.param == "embedded":
        with Proxy(sim, policies=POLICIES) as proxy:
            yield proxy
        return
    folder = tmp_path_factory.mktemp("policies")
    for name, text in POLICIES.items():
        folder.joinpath(name).write_text(text)
    with Opa(folder) as opa, Proxy(sim, policies=POLICIES, settings={"policy": {"engine": f"opa:{opa.url}", "timeout_ms": 5000}}) as proxy:
        yield proxy


@pytest.fixture(autouse=True)
def fresh(sim: Simulator) -> None:
    sim.reset()


def ask(proxy: Proxy, text: str, script: Mapping[str, Any] | None = None, **more: Any) -> Raw:
    content = f"{text} [[sim: {json.dumps(script)}]]" if script else text
    body = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": content}], **more}
    return post(proxy.url + CHAT, body, {"authorization": f"Bearer {proxy.key()}"})


def test_a_denied_request_says_which_rule_and_never_goes_up(proxy: Proxy, sim: Simulator) -> None:
    reply = ask(proxy, "write a poem")
    assert reply.status == 403
    said = json.loads(reply.body)["fleetgate"]
    assert said["reason"] == "policy_denied"
    assert said["rule"] == "policies/request.rego:2 no-poems"
    assert said["remedy"] == "Ask for prose."
    assert sim.calls() == []


def test_what_is_owed_when_a_request_passes(proxy: Proxy, sim: Simulator) -> None:
    reply = ask(proxy, "who is Rumpelstiltskin?", model="gpt-5-nano", max_tokens=800)
    assert reply.status == 200
    assert reply.headers["x-fleetgate-route"] == "local"
    assert reply.headers["x-fleetgate-model"] == "local/qwen3"
    assert "policy/request" in reply.headers["x-fleetgate-findings"]
    (call,) = sim.calls()
    assert call["body"]["model"] == "qwen3:8b"
    assert call["body"]["max_tokens"] == 50
    assert "Rumpelstiltskin" not in json.dumps(call)


@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_call_is_withheld_and_another_passes(proxy: Proxy, stream: bool) -> None:
    def called(path: str) -> Raw:
        script = {"tool_calls": [{"name": "delete_file", "arguments": {"path": path}}]}
        return ask(proxy, "go", script, tools=[TOOL], stream=stream)

    kept = called("/data/report.txt")
    assert kept.status == 200
    assert b"/data/report.txt may not be deleted" in kept.body
    assert b'"tool_calls"' not in kept.body
    assert b'"tool_calls"' in called("/tmp/x").body


def test_a_reply_is_refused_whole(proxy: Proxy) -> None:
    assert ask(proxy, "go", {"text": "short"}).status == 200
    refused = ask(proxy, "go", {"text": "long " * 45})
    assert refused.status == 403
    assert json.loads(refused.body)["fleetgate"]["rule"] == "policies/response.rego:2 fleetgate.response.allow"
    assert b"long long" not in refused.body


def test_a_stream_passes_and_the_embedded_engine_says_so_late(proxy: Proxy) -> None:
    reply = ask(proxy, "go", {"text": "long " * 45}, stream=True)
    assert reply.status == 200
    findings = json.dumps(proxy.record(reply.headers["x-fleetgate-request-id"]))
    assert ("late/policy_denied" in findings) == ("opa:" not in proxy.config.read_text())


@pytest.mark.parametrize(("on_error", "status", "calls"), [("deny", 503, 0), ("observe", 200, 1)])
def test_an_engine_that_is_down_refuses_unless_it_is_only_to_observe(sim: Simulator, on_error: str, status: int, calls: int) -> None:
    settings = {"policy": {"engine": f"opa:http://127.0.0.1:{free_port()}", "on_error": on_error}}
    proxy = Proxy(sim, policies={"a.rego": POLICIES["request.rego"]}, settings=settings)
    proxy.awaited = "/healthz"
    with proxy:
        reply = ask(proxy, "hello")
        assert reply.status == status
        assert len(sim.calls()) == calls
        if calls:
            assert "policy/unavailable" in reply.headers["x-fleetgate-findings"]
        else:
            assert json.loads(reply.body)["fleetgate"]["reason"] == "policy_unavailable"
        ready, told = get(f"{proxy.admin_url}/readyz")
        assert (ready, json.loads(told)["policy"]) == (status, "down"), "who only observes goes on, so is ready"
        warned = proxy.command("check").stdout
        assert "cannot be reached: while that lasts every call is refused" in warned


def test_input_that_no_engine_takes_is_refused(sim: Simulator) -> None:
    with Proxy(sim, policies={"a.rego": POLICIES["request.rego"]}) as proxy:
        reply = ask(proxy, "x" * (5 << 20))
        assert reply.status == 503
        assert json.loads(reply.body)["fleetgate"]["reason"] == "policy_unavailable"
        assert sim.calls() == []


def test_a_package_in_shadow_mode_refuses_nothing_and_says_what_it_would(sim: Simulator) -> None:
    shadow = "# METADATA\n# custom:\n#   mode: shadow\n"
    with Proxy(sim, policies={"a.rego": shadow + POLICIES["request.rego"], "b.rego": shadow + POLICIES["tool_call.rego"]}) as proxy:
        script = {"tool_calls": [{"name": "delete_file", "arguments": {"path": "/data/report.txt"}}]}
        reply = ask(proxy, "write a poem", script, tools=[TOOL])
        assert reply.status == 200
        assert b'"tool_calls"' in reply.body
        assert "shadow/policy_denied" in reply.headers["x-fleetgate-findings"]
        assert "shadow/tool_call_blocked" in reply.headers["x-fleetgate-findings"]
        assert len(sim.calls()) == 1


def test_a_policy_that_allows_everything_is_warned_of(sim: Simulator) -> None:
    with Proxy(sim, policies={"a.rego": "package fleetgate.request\n\ndefault allow := true\n"}) as proxy:
        assert ask(proxy, "hello").status == 200
        assert "policies/a.rego:3: fleetgate.request allows everything" in proxy.command("check").stdout


def test_a_policy_on_replies_that_reads_budgets_leaves_streams_whole(sim: Simulator) -> None:
    policy = 'package fleetgate.response\ndeny contains "poor" if {\n\tsome budget in input.budgets\n\tbudget.left < 100\n}\n'
    agents = "---\nname: tester\npolicy: {models: {allow: ['*']}, budgets: {session: {usd: 5}}}\n---\nx\n"
    with Proxy(sim, policies={"response.rego": policy}, agents=agents) as proxy:
        assert ask(proxy, "hi").status == 403
        reply = ask(proxy, "hi", stream=True)
        assert (reply.status, b"[DONE]" in reply.body, b"internal" in reply.body) == (200, True, False)
        assert [rule for rule, _ in proxy.records()[-1]["findings"]] == ["policy/unheard"]

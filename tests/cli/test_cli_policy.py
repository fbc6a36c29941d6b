"""`fleetgate policy test|eval`: exit codes, words for people, JSON for machines."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from cli_cases import Folder, folder

sys.path.insert(0, str(Path(__file__).parents[1]))

from opa_server import needs_opa, opa_bin

REGO = """package fleetgate.request

deny contains {"message": "no poems", "rule": "no-poems", "remedy": "Ask for prose."} if {
	contains(input.request.messages[_].text, "poem")
}
"""
CALLS = """package fleetgate.tool_call

deny contains "not there" if input.tool_call.arguments.path == "/x"

warn contains "at night" if input.time.hour < 6
"""
TESTS = """tests:
  - name: poems
    agent: clerk
    request: {model: gpt-4o-mini, messages: [{role: user, content: a poem}]}
    expect: {decision: deny, reason: policy_denied, rule: no-poems, message: poems}
  - name: by night
    agent: clerk
    at: 2026-01-02T03:00:00Z
    tool_call: {name: read_file, arguments: {path: /y}}
    expect: {decision: allow, findings: [policy/tool_call]}
  - name: other dialect
    agent: team-a/scout
    path: /v1/messages
    request: {model: gpt-4o-mini, max_tokens: 10, messages: [{role: user, content: poem}]}
    expect: {decision: deny, rule: no-poems}
"""


@pytest.fixture
def good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    monkeypatch.delenv("OPA_BIN", raising=False)
    monkeypatch.setenv("PATH", "/nothing")
    made = folder(tmp_path)
    made.write("policies/a.rego", REGO)
    made.write("policies/b.rego", CALLS)
    made.write("policies/tests/a.yaml", TESTS)
    return made


def test_tests_that_pass(good: Folder) -> None:
    done = good.run("policy", "test")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[0] == "ok    policies/tests/a.yaml: poems"
    assert done.out.splitlines()[-1] == "3 tests, 0 failed"
    shown = good.run("policy", "test", "--json").json
    assert shown["ok"]
    assert [t["ok"] for t in shown["tests"]] == [True] * 3
    assert shown["opa"] is None


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "decision: deny, reason",
            "decision: allow, reason",
            "expected decision allow, got deny (policy_denied: policies/a.rego:3",
        ),
        ("reason: policy_denied", "reason: unpriced_model", "expected reason unpriced_model"),
        ("rule: no-poems, message", "rule: other, message", "expected a rule with 'other'"),
        ("message: poems", "message: songs", "expected a message with 'songs'"),
        ("[policy/tool_call]", "[policy/x]", "expected the finding policy/x, got policy/tool_call"),
        ("agent: clerk", "agent: nobody", "no agent is called nobody (known: clerk, team-a/scout)"),
        ("path: /v1/messages", "path: /v1/nothing", "/v1/nothing is no route"),
    ],
)
def test_a_test_that_fails_says_what_came_instead(good: Folder, old: str, new: str, said: str) -> None:
    good.write("policies/tests/a.yaml", TESTS.replace(old, new, 1))
    done = good.run("policy", "test")
    assert done.code == 1
    assert said in done.out
    assert "FAIL  policies/tests/a.yaml:" in done.out
    assert good.run("policy", "test", "--json").json["ok"] is False


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tests: []\n", "policies/tests/a.yaml:1: no tests"),
        ("- 1\n", "policies/tests/a.yaml:1: no tests"),
        ("tests:\n- 1\n", "a.yaml:2: tests[0]: no mapping"),
        ("tests:\n- {agent: clerk, requst: {}}\n", "a.yaml:2: tests[0].requst: unknown key (did you mean request?)"),
        ("tests:\n- {agent: clerk, expect: {decision: deny}}\n", "a.yaml:2: tests[0]: no agent, or nothing to decide on"),
        ("tests:\n- {agent: clerk, request: {}}\n", "a.yaml:2: tests[0].expect: nothing that is expected"),
        ("tests:\n- {agent: clerk, request: {}, expect: {decision: deny, rul: x}}\n", "expect.rul: unknown key (did you mean rule?)"),
        ("tests:\n- {agent: clerk, request: 1, expect: {decision: deny}}\n", "tests[0].request: no mapping"),
        ("tests:\n- {agent: clerk, tool_call: {nam: x}, expect: {decision: deny}}\n", "tests[0].tool_call: no tool call"),
        ("tests:\n- {agent: clerk, request: {}, at: noon, expect: {decision: deny}}\n", "tests[0].at: noon is no moment"),
        ("tests: {\n", "a.yaml:2: not valid YAML"),
    ],
)
def test_a_file_that_is_wrong_is_said_with_its_line(good: Folder, text: str, said: str) -> None:
    good.write("policies/tests/a.yaml", text)
    done = good.run("policy", "test")
    assert done.code == 1
    assert said in done.err


def test_no_tests_are_no_failure(good: Folder) -> None:
    (good.path / "policies/tests/a.yaml").unlink()
    done = good.run("policy", "test")
    assert (done.code, done.out) == (0, f"no tests below {good.path / 'policies'}\n")


def test_broken_policies_are_said_and_nothing_is_tested(good: Folder) -> None:
    good.write("policies/a.rego", REGO + "deny contains {\n")
    done = good.run("policy", "test")
    assert (done.code, done.out) == (1, "")
    assert "policies/a.rego:7: " in done.err


def test_opa_test_that_could_not_run_is_said(good: Folder) -> None:
    good.write("policies/a_test.rego", "package a_test\n\ntest_x if 1 == 1\n")
    assert "skip  opa test: OPA is neither in OPA_BIN nor on PATH" in good.run("policy", "test").out


@needs_opa
def test_opa_test_counts(good: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPA_BIN", opa_bin())
    good.write("policies/a_test.rego", "package a_test\n\ntest_x if 1 == 1\n")
    assert "ok    opa test: PASS: 1/1" in good.run("policy", "test").out
    good.write("policies/a_test.rego", "package a_test\n\ntest_x if 1 == 2\n")
    done = good.run("policy", "test")
    assert done.code == 1
    assert "FAIL  opa test: " in done.out
    monkeypatch.setenv("OPA_BIN", "/nothing/opa")
    assert "FAIL  opa test: it could not be run" in good.run("policy", "test").out


def test_eval_of_a_request(good: Folder) -> None:
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "a poem"}]}
    good.write("body.json", json.dumps(body))
    done = good.run("policy", "eval", str(good.path / "body.json"), "--agent", "clerk")
    assert done.code == 1
    lines = done.out.splitlines()
    assert lines[:4] == [
        "decision  deny (policy_denied)",
        "rule      policies/a.rego:3 no-poems",
        "message   No poems.",
        "remedy    Ask for prose.",
    ]
    assert lines[-1] == "reads     request.messages"
    shown = good.run("policy", "eval", str(good.path / "body.json"), "--agent", "clerk", "--json").json
    assert (shown["decision"], shown["rego_reads"]) == ("deny", ["request.messages"])
    good.write("body.json", json.dumps({**body, "messages": [{"role": "user", "content": "prose"}]}))
    assert good.run("policy", "eval", str(good.path / "body.json"), "--agent", "clerk").code == 0


def test_eval_of_a_tool_call(good: Folder) -> None:
    good.write("call.json", json.dumps({"tool_call": {"name": "read_file", "arguments": '{"path": "/x"}'}}))
    shown = good.run("policy", "eval", str(good.path / "call.json"), "--agent", "clerk", "--json").json
    assert (shown["decision"], shown["reason"]) == ("deny", "tool_call_blocked")
    assert shown["rule"] == "policies/b.rego:3 fleetgate.tool_call.deny"


@pytest.mark.parametrize(("text", "said"), [("{", "not valid JSON"), ("[]", "no JSON object"), ('{"tool_call": {}}', "no tool call")])
def test_eval_of_nonsense(good: Folder, text: str, said: str) -> None:
    good.write("x.json", text)
    done = good.run("policy", "eval", str(good.path / "x.json"), "--agent", "clerk")
    assert (done.code, done.out) == (1, "")
    assert said in done.err


def test_eval_of_nothing_and_wrong_usage(good: Folder) -> None:
    assert "No such file" in good.run("policy", "eval", str(good.path / "none.json"), "--agent", "clerk").err
    assert good.run("policy", "eval", "x.json").code == 2
    assert good.run("policy").code == 2

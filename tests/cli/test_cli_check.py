"""`fleetgate check`: every mistake with its line, warnings that are true, and never a different answer than `serve`."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_cases import CONFIG, Folder, folder, run

from proxy.cli import running
from proxy.model import Price


@pytest.fixture
def good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    monkeypatch.setenv("TEST_OPENAI_KEY", "sk-test")
    return folder(tmp_path)


def test_a_good_configuration_passes(good: Folder) -> None:
    done = good.run("check")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("ok: configuration ")
    assert "2 agents, 1 budget rules, 1 providers, 1 model rules" in done.out
    done = good.run("check", "--json")
    assert done.json["ok"]
    assert done.json["warnings"] == []
    assert len(done.json["version"]) == 12


def test_mistakes_in_several_files_come_all_at_once_each_with_its_line(good: Folder) -> None:
    good.write("AGENTS.md", "---\nname: clerk\npolicy:\n  models: {alow: [x]}\n  tools: 7\n---\n")
    good.write("budgets/b.yaml", "budgets:\n  - {name: all, scope: {flet: '*'}, limit: {usd: 10}, window: month}\n")
    good.write("budgets/c.yaml", "budgets:\n  - {name: c, scope: {fleet: '*'}, limit: {usd: 1}, window: fortnight}\n")
    good.write("policies/baseline.yaml", "policy:\n\n  budgets: {day: {usd: lots}}\n")
    good.write("policies/own.rego", "package own\n\ndeny if {\n")
    good.write("keys.yaml", "keys:\n  - {agent: clerk, sha256: xyz}\n")
    good.write("fleetgate.yaml", CONFIG + "auth: {mode: keys, keys: keys.yaml}\n")
    done = good.run("check")
    assert done.code == 1
    assert done.out == ""
    for place in (
        "policies/baseline.yaml:3: ",
        "budgets/b.yaml:2: ",
        "budgets/c.yaml:2: ",
        "keys.yaml:2: ",
        "policies/own.rego",
    ):
        assert place in done.err, done.err
    good.write("policies/baseline.yaml", "policy: {}\n")
    done = good.run("check")
    assert "AGENTS.md:4: " in done.err
    assert "did you mean allow?" in done.err
    assert "AGENTS.md:5: " in done.err
    assert "problems found; nothing was started or changed" in done.err.splitlines()[-1]


def test_mistakes_as_json_name_file_line_and_hint(good: Folder) -> None:
    good.write("fleetgate.yaml", CONFIG.replace("store:", "stoer:"))
    done = good.run("check", "--json")
    assert done.code == 1
    (error,) = done.json["errors"]
    assert (error["line"], error["key"], error["hint"]) == (8, "stoer", "did you mean store?")
    assert error["file"].endswith("fleetgate.yaml")


def test_a_missing_provider_key_hides_no_mistake_elsewhere(good: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TEST_OPENAI_KEY")
    good.write("AGENTS.md", "---\nname: clerk\npolicy: 7\n---\n")
    done = good.run("check")
    assert done.code == 1
    assert "fleetgate.yaml:5: providers.openai.api_key: the environment variable TEST_OPENAI_KEY is not set" in done.err
    assert "AGENTS.md:3: " in done.err


def test_without_providers_keys_as_quickstart_would_start(good: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TEST_OPENAI_KEY")
    assert good.run("check").code == 1
    assert good.run("check", "--quickstart").code == 0


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("fleetgate.yaml", "nonsense", "expected a mapping of sections"),
        (
            "fleetgate.yaml",
            CONFIG + "listen: {host: 0.0.0.0}\nauth: {mode: open}\n",
            "fleetgate.yaml:10: auth.mode: open while listen.host",
        ),
        ("fleetgate.yaml", CONFIG.replace("env:TEST_OPENAI_KEY", "sk-written-out-abc"), "a secret written out"),
        ("fleetgate.yaml", CONFIG.replace("[AGENTS.md]", "[GONE.md]"), "GONE.md: does not exist"),
        ("policies/baseline.yml", "policy: {}\n", "policies/baseline.yml: a policy that this version does not read"),
        (
            "policies/sub/x.yaml",
            "rules:\n  - {id: a, acton: deny}\n",
            "policies/sub/x.yaml:2: rules[0].acton: unknown key (did you mean action?)",
        ),
        (
            "policies/x.yaml",
            "rules:\n  - {id: a, match: {regex: '(a'}, action: deny}\n",
            "policies/x.yaml:2: rules[0].match.regex: missing )",
        ),
    ],
)
def test_what_check_refuses_serve_refuses(good: Folder, name: str, text: str, said: str) -> None:
    good.write(name, text)
    checked, served = good.run("check"), good.run("serve")
    assert (checked.code, served.code) == (1, 1)
    assert said in checked.err
    assert checked.err == served.err
    assert "sk-written" not in checked.err
    assert "sk-written" not in good.run("check", "--json").out


def test_no_configuration_at_all_says_where_it_looked(tmp_path: Path) -> None:
    done = run("check", "--config", str(tmp_path / "none.yaml"))
    assert done.code == 1
    assert "none.yaml: cannot be read: No such file or directory" in done.err


@pytest.mark.parametrize(
    ("config", "agents", "said"),
    [
        (CONFIG.replace('  "gpt-*"', '  "odd-model-7": {provider: openai}\n  "gpt-*"'), None, "fleetgate.yaml:7: odd-model-7 has no price"),
        (None, "---\nname: clerk\nmodel: mistral-large\n---\n", "agent clerk: no provider serves its preferred model mistral-large"),
        (
            None,
            "---\nname: clerk\nmodel: gpt-4o\npolicy: {models: {allow: [gpt-4o-mini]}}\n---\n",
            "agent clerk: its preferred model gpt-4o is not one that it may use",
        ),
        (CONFIG.replace('"gpt-*": {', '"gpt-*": {provider: openai}\n  "gpt-4o": {'), None, "never used, gpt-* at line 7 matches first"),
    ],
)
def test_warnings_do_not_fail_and_are_true(good: Folder, config: str | None, agents: str | None, said: str) -> None:
    if config is not None:
        good.write("fleetgate.yaml", config)
    if agents is not None:
        good.write("AGENTS.md", agents)
    done = good.run("check")
    assert done.code == 0, done.err
    assert f"warning: {said}" in done.out or any(said in line for line in done.out.splitlines() if line.startswith("warning: ")), done.out
    assert any(said in warning for warning in good.run("check", "--json").json["warnings"])


def test_a_baseline_that_is_not_there_is_a_warning(good: Folder) -> None:
    (good.path / "policies/baseline.yaml").unlink()
    assert "policies/baseline.yaml: not there" in good.run("check").out


@pytest.mark.parametrize(
    "arguments", [(), ("nonsense",), ("check", "--nonsense"), ("keys",), ("keys", "create"), ("ledger", "--by", "moon")]
)
def test_wrong_usage_is_two(arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert done.code == 2
    assert "usage: fleetgate" in done.err


def test_version_and_help() -> None:
    assert run("--version").out.startswith("fleetgate 0.")
    assert run("--help").code == 0


def test_a_model_that_costs_nothing_by_the_table_is_pointed_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = Price(((0, 0),), ((0, 0),), source="genai-prices openrouter/free")
    monkeypatch.setattr("proxy.app.served.price_of", lambda hint, model: free)
    fresh = folder(tmp_path)
    fresh.write("fleetgate.yaml", CONFIG.replace('  "gpt-*"', '  "odd-model-7": {provider: openai}\n  "gpt-*"'))
    assert "fleetgate.yaml:7: odd-model-7 costs nothing by genai-prices openrouter/free" in fresh.run("check", "--quickstart").out
    fresh.write(
        "fleetgate.yaml", CONFIG.replace('  "gpt-*"', '  "odd-model-7": {provider: openai, price: {input: 0, output: 0}}\n  "gpt-*"')
    )
    assert "costs nothing" not in fresh.run("check", "--quickstart").out, "it was said that it does"


def test_workers_without_a_shared_store_are_refused_by_check_and_serve(good: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    good.write("fleetgate.yaml", CONFIG.replace("sqlite:fleetgate.db", "'memory:'") + "listen: {workers: 2}\n")
    words = "listen.workers: 2 with store memory:; expected 1, or store: sqlite:PATH or redis://…"
    done = good.run("check")
    assert (done.code, f"fleetgate.yaml:{len(CONFIG.splitlines()) + 1}: {words}" in done.err) == (1, True), done.err
    good.write("fleetgate.yaml", CONFIG.replace("sqlite:fleetgate.db", "'memory:'"))
    assert good.run("check").code == 0
    monkeypatch.setenv("FLEETGATE_LISTEN_WORKERS", "")
    monkeypatch.setattr(running, "setup", lambda *a, **k: None)
    monkeypatch.setattr("proxy.app.tuning.at_start", lambda: None)
    done = good.run("serve", "--workers", "2")
    assert (done.code, f"$FLEETGATE_LISTEN_WORKERS: {words}" in done.err) == (1, True), done.err
    done = good.run("serve", "--workers", "two")
    assert (done.code, "a whole number from 1 to 64" in done.err) == (1, True)

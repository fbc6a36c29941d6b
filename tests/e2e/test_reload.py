"""A running server takes up edits of every file, made in every way that people and clusters make them, and never half of one."""

from __future__ import annotations

import json
import os
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from serving import PROVIDER_KEY, Proxy, Raw, Simulator, digest, post
from streams import CHAT, Stream

DEADLINE_S = 5.0
"""How long a test waits on a busy machine; what is promised, without load, is a second."""

AGENT = """---
name: {name}
description: A test agent
policy:
  models: {{allow: [{models}]}}
---
"""


@pytest.fixture(scope="module")
def sim() -> Iterator[Simulator]:
    with Simulator() as sim:
        yield sim


def ask(proxy: Proxy, model: str = "gpt-4o-mini", key: str = "", **headers: str) -> Raw:
    body = {"model": model, "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}
    return post(proxy.url + CHAT, body, {"authorization": f"Bearer {key or proxy.key()}", **headers})


def reason(reply: Raw) -> str:
    return "" if reply.status == 200 else str(json.loads(reply.body)["fleetgate"]["reason"])


def admin(proxy: Proxy, path: str) -> str:
    with urllib.request.urlopen(proxy.admin_url + path, timeout=10) as reply:
        return str(reply.read().decode())


def until(what: str, claim: Callable[[], object]) -> None:
    """Wait until `claim` holds."""
    began = time.monotonic()
    while not claim():
        assert time.monotonic() - began < DEADLINE_S, f"{what}: not within {DEADLINE_S} s"
    print(f"{(time.monotonic() - began) * 1000:6.0f} ms  {what}")  # pytest -rP shows what it really took


def in_place(file: Path, text: str) -> None:
    file.write_text(text, encoding="utf-8")


def by_rename(file: Path, text: str) -> None:
    new = file.with_name(f".{file.name}.new")
    new.write_text(text, encoding="utf-8")
    new.replace(file)


Write = Callable[[Path, str], None]
EDITS = pytest.mark.parametrize("write", [in_place, by_rename], ids=lambda f: f.__name__)


def settings(proxy: Proxy, write: Write = in_place, **changes: Any) -> None:
    found = yaml.safe_load(proxy.config.read_text())
    for section, value in changes.items():
        found[section] = {**found.get(section, {}), **value} if isinstance(value, dict) else value
    write(proxy.config, yaml.safe_dump(found, sort_keys=False))


@EDITS
def test_every_kind_of_file_is_taken_up(sim: Simulator, write: Write) -> None:
    budget = {"budgets": [{"name": "all", "scope": {"fleet": "*"}, "limit": {"usd": 10}, "window": "month"}]}
    baseline = {"policy": {"models": {"allow": ["*"]}}}
    with Proxy(sim, budgets=budget, policies={"baseline.yaml": baseline}) as proxy:
        assert ask(proxy).status == 200
        folder = proxy.folder

        agents = (folder / "AGENTS.md").read_text()
        write(folder / "AGENTS.md", agents.replace('models: {allow: ["*"]}', "models: {allow: [gpt-4o]}"))
        until(f"AGENTS.md {write.__name__}", lambda: reason(ask(proxy)) == "model_not_allowed")
        write(folder / "AGENTS.md", agents)
        until(f"AGENTS.md back {write.__name__}", lambda: ask(proxy).status == 200)

        write(folder / "policies/baseline.yaml", yaml.safe_dump({"policy": {"models": {"deny": ["gpt-4o-mini"]}}}))
        until(f"baseline {write.__name__}", lambda: reason(ask(proxy)) == "model_not_allowed")
        assert "policies/baseline.yaml:" in ask(proxy).body.decode(), "the refusal names the file"
        write(folder / "policies/baseline.yaml", yaml.safe_dump(baseline))
        until(f"baseline back {write.__name__}", lambda: ask(proxy).status == 200)

        budget["budgets"][0]["limit"] = {"usd": 0.0000001}
        write(folder / "budgets/test.yaml", yaml.safe_dump(budget))
        until(f"budget {write.__name__}", lambda: ask(proxy).status == 402)
        write(folder / "budgets/test.yaml", yaml.safe_dump({"budgets": []}))
        until(f"budget gone {write.__name__}", lambda: ask(proxy).status == 200)

        new = "fg_" + "n" * 40
        write(folder / "keys.yaml", yaml.safe_dump({"keys": [{"agent": "tester", "sha256": digest(new)}]}))
        until(f"keys {write.__name__}", lambda: ask(proxy, key=new).status == 200)
        assert ask(proxy).status == 401, "the key that was taken out is dead"
        write(folder / "keys.yaml", yaml.safe_dump({"keys": [{"agent": "tester", "sha256": digest(proxy.key())}]}))
        until(f"keys back {write.__name__}", lambda: ask(proxy).status == 200)

        settings(proxy, write, models={"gpt-4o-mini": {"provider": "local"}})  # lands below gpt-*, so it changes nothing
        settings(proxy, write, models={"gpt-*": {"provider": "anthropic"}})
        until(f"fleetgate.yaml {write.__name__}", lambda: ask(proxy).status == 200 and sim.calls()[-1]["path"] == "/v1/messages")


def swap(folder: Path, version: str, files: dict[str, str]) -> None:
    """Publish `files` as a Kubernetes volume does: a folder with a new name, and `..data` pointed at it in one rename."""
    new = folder / f"..{version}"
    new.mkdir(parents=True)
    for name, text in files.items():
        (new / name).write_text(text, encoding="utf-8")
    link = folder / "..data_tmp"
    link.symlink_to(new.name)
    link.replace(folder / "..data")
    for name in files:
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(f"..data/{name}")


def test_a_kubernetes_volume_is_taken_up(sim: Simulator) -> None:
    with Proxy(sim) as proxy:
        agents, policies = proxy.folder / "mounted", proxy.folder / "rules"
        swap(agents, "1", {"AGENTS.md": AGENT.format(name="tester", models='"*"')})
        swap(policies, "1", {"baseline.yaml": "policy: {models: {allow: ['*']}}\n"})
        settings(proxy, agents=["mounted/*.md"], policies="rules/")
        until("moved to volumes", lambda: "applied" in proxy.log())
        assert ask(proxy).status == 200
        swap(agents, "2", {"AGENTS.md": AGENT.format(name="tester", models="gpt-4o")})
        until("agents by ..data", lambda: reason(ask(proxy)) == "model_not_allowed")
        assert ask(proxy, "gpt-4o").status == 200
        swap(policies, "2", {"baseline.yaml": "policy: {models: {deny: [gpt-4o]}}\n"})
        until("policies by ..data", lambda: reason(ask(proxy, "gpt-4o")) == "model_not_allowed")


def test_agents_appear_and_disappear_with_their_files(sim: Simulator) -> None:
    more = {"agents/one.md": AGENT.format(name="one", models='"*"')}
    with Proxy(sim, settings={"agents": ["AGENTS.md", "agents/*.md"]}, files=more, keys=("tester", "*")) as proxy:
        key = proxy.key("*")
        assert ask(proxy, key=key, **{"x-fleetgate-agent": "two"}).status == 403
        (proxy.folder / "agents/two.md").write_text(AGENT.format(name="two", models="gpt-4o-mini"), encoding="utf-8")
        until("a new agent file", lambda: ask(proxy, key=key, **{"x-fleetgate-agent": "two"}).status == 200)
        (proxy.folder / "agents/one.md").unlink()
        until("a removed agent file", lambda: reason(ask(proxy, key=key, **{"x-fleetgate-agent": "one"})) == "unknown_agent")
        assert ask(proxy).status == 200


BROKEN = [
    ("AGENTS.md", "---\nname: tester\npolicy:\n  models: {allowed: [x]}\n---\n", "AGENTS.md:4: "),
    ("AGENTS.md", None, "AGENTS.md"),
    ("policies/baseline.yaml", "policy:\n  budgets: {day: {usd: much}}\n", "policies/baseline.yaml:2: "),
    ("budgets/test.yaml", "budgets:\n  - {name: all, scope: {fleet: '*'}, limit: {usd: -1}, window: month}\n", "budgets/test.yaml:2: "),
    ("keys.yaml", "keys:\n  - {agent: tester, sha256: nonsense}\n", "keys.yaml:2: "),
    ("fleetgate.yaml", "listen: {port: 99999}\n", "fleetgate.yaml:1: "),
    ("fleetgate.yaml", "\t- {", "fleetgate.yaml:1: "),
    ("policies/more.rego", "package fleetgate.reqest\n", "policies/more.rego:1: "),
]


@pytest.mark.parametrize(("name", "text", "said"), BROKEN, ids=[f"{n}-{i}" for i, (n, _, _) in enumerate(BROKEN)])
def test_a_wrong_edit_changes_nothing_and_says_where(shared: Proxy, name: str, text: str | None, said: str) -> None:
    file = shared.folder / name
    before = file.read_text() if file.exists() else None
    version = json.loads(admin(shared, "/readyz"))["config"]
    if text is None:
        file.unlink()
    else:
        file.write_text(text, encoding="utf-8")
    until(f"{name} refused", lambda: "fleetgate_config_stale 1.0" in admin(shared, "/metrics"))
    ready = json.loads(admin(shared, "/readyz"))
    assert ready["ready"], "it serves on, on the old snapshot"
    assert ready["config"] == version
    assert any(said in error for error in ready["config_errors"]), ready
    assert f"not applied: {next(e for e in ready['config_errors'] if said in e)}" in shared.log()
    assert ask(shared).status == 200
    if before is None:
        file.unlink()
    else:
        file.write_text(before, encoding="utf-8")
    until(f"{name} mended", lambda: "fleetgate_config_stale 0.0" in admin(shared, "/metrics"))
    assert json.loads(admin(shared, "/readyz"))["config_errors"] == []
    assert ask(shared).status == 200


@pytest.fixture(scope="module")
def shared(sim: Simulator) -> Iterator[Proxy]:
    budget = {"budgets": [{"name": "all", "scope": {"fleet": "*"}, "limit": {"usd": 10}, "window": "month"}]}
    with Proxy(sim, budgets=budget, policies={"baseline.yaml": {"policy": {"models": {"allow": ["*"]}}}}) as proxy:
        yield proxy


def test_a_running_stream_finishes_on_the_snapshot_it_started_with(sim: Simulator) -> None:
    price = {"input": 1, "output": 1}
    with Proxy(sim, settings={"models": {"gpt-*": {"provider": "openai", "price": price}}}) as proxy, Proxy(sim) as other:
        before = json.loads(admin(proxy, "/readyz"))["config"]
        with Stream(proxy, 60, 50) as stream:
            stream.until(b'"content"')
            changed = yaml.safe_load(proxy.config.read_text())
            changed["models"]["gpt-*"]["price"] = {"input": 1000, "output": 1000}
            changed["providers"]["openai"]["base_url"] = f"{other.url}/v1"  # another upstream: the old connections are retired
            in_place(proxy.config, yaml.safe_dump(changed, sort_keys=False))
            until("a price and a provider", lambda: json.loads(admin(proxy, "/readyz"))["config"] != before)
            assert ask(proxy).status == 502, "a new call goes to the new provider, which does not know this key"
            assert b"[DONE]" not in stream.got
            assert b"[DONE]" in stream.rest(), "whole, over the connection that it had"
        record = proxy.record(stream.header("x-fleetgate-request-id"))
        assert record["outcome"] == "ok"
        assert record["config"] == before
        assert record["cost"] == (record["input_tokens"] + record["output_tokens"]) * 1000, "nanos, at the old price"


def test_a_price_holds_for_the_next_call(shared: Proxy) -> None:
    def cost() -> float:
        return float(ask(shared).headers["x-fleetgate-cost-usd"])

    before = cost()
    text = shared.config.read_text()
    settings(shared, models={"gpt-*": {"provider": "openai", "price": {"input": 500, "output": 500}}})
    until("a price", lambda: cost() > 100 * before)
    in_place(shared.config, text)
    until("a price back", lambda: cost() == before)


def test_what_holds_at_the_next_start_is_said(shared: Proxy) -> None:
    text = shared.config.read_text()
    settings(shared, listen={"port": 1}, store="memory:")
    until("listen and store", lambda: "listen and store changed: that takes effect at the next start" in shared.log())
    assert ask(shared).status == 200
    assert "fleetgate_config_stale 0.0" in admin(shared, "/metrics")
    in_place(shared.config, text)


def test_a_rotated_secret_file_is_taken_up(sim: Simulator) -> None:
    provider = {"protocols": ["openai"], "base_url": f"{sim.url}/v1", "api_key": "file:provider.key"}
    with Proxy(sim, settings={"providers": {"openai": provider}}, files={"provider.key": PROVIDER_KEY}) as proxy:
        assert ask(proxy).status == 200
        assert digest(PROVIDER_KEY) in sim.calls()[-1]["keys"].values()
        by_rename(proxy.folder / "provider.key", "sk-rotated\n")

        def rotated() -> bool:
            assert ask(proxy).status == 200
            return digest("sk-rotated") in sim.calls()[-1]["keys"].values()

        until("a secret file", rotated)
        assert "sk-rotated" not in proxy.log()


def test_a_burst_of_edits_ends_on_the_last_one(sim: Simulator) -> None:
    with Proxy(sim) as proxy:
        file = proxy.folder / "AGENTS.md"
        for i in range(60):
            (by_rename if i % 2 else in_place)(file, AGENT.format(name="tester", models=f"gpt-4o-mini, m{i}"))
            os.sched_yield()
        in_place(file, AGENT.format(name="tester", models="gpt-4o"))
        until("a burst", lambda: reason(ask(proxy)) == "model_not_allowed")
        assert ask(proxy, "gpt-4o").status == 200

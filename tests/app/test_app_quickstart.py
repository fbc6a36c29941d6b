"""The first minute: a real `serve --quickstart`, its printed command run as it stands, and nothing left of its key."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from serving import ROOT, Simulator, digest, post

from proxy.app import build, quickstart

AGENTS = """---
agents:
  - name: alone
    description: May use nothing that is served
    version: 1.0.0
    policy: {models: {allow: [mistral-*]}}
  - name: worker
    description: May use one model
    version: 1.0.0
    policy: {models: {allow: [gpt-5-mini, claude-*]}}
---
"""


def config(openai: str, anthropic: str) -> str:
    return f"""listen: {{port: 0, admin_port: 0}}
providers:
  openai: {{protocols: [openai], base_url: {openai}, api_key: env:OPENAI_API_KEY}}
  anthropic: {{protocols: [anthropic], base_url: {anthropic}, api_key: env:ANTHROPIC_API_KEY}}
  local: {{protocols: [openai], base_url: "http://127.0.0.1:9/v1", local: true}}
models:
  "gpt-*": {{provider: openai}}
  "claude-*": {{provider: anthropic}}
  "local/*": {{provider: local}}
store: sqlite:fleetgate.db
"""


@dataclass(frozen=True, slots=True)
class Started:
    """What the server printed until it was ready."""

    text: str
    folder: Path

    @property
    def curl(self) -> list[str]:
        """The printed command, as a shell would read it."""
        return shlex.split(next(line for line in self.text.splitlines() if line.startswith("curl ")))

    @property
    def key(self) -> str:
        """The key in the printed command."""
        return next(word for part in self.curl for word in part.split() if word.startswith("fg-"))


def folder(
    path: Path, agents: str = AGENTS, openai: str = "https://api.openai.com/v1", anthropic: str = "https://api.anthropic.com"
) -> Path:
    (path / "AGENTS.md").write_text(agents)
    (path / "fleetgate.yaml").write_text(config(openai, anthropic))
    (path / "policies").mkdir()
    (path / "policies/baseline.yaml").write_text("policy: {}\n")
    return path


@contextlib.contextmanager
def started(path: Path, **env: str) -> Iterator[Started]:
    """Run `fleetgate serve --quickstart` on the folder until its last line is there."""
    dropped = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY")
    clean = {
        k: v for k, v in os.environ.items() if k not in dropped and not k.startswith("FLEETGATE_") and not k.lower().endswith("_proxy")
    }
    command = [sys.executable, "-m", "proxy", "serve", "--quickstart", "--config", str(path / "fleetgate.yaml")]
    with (path / "errors").open("wb") as errors:
        process = subprocess.Popen(command, cwd=ROOT, env=clean | env, stdout=subprocess.PIPE, stderr=errors)
    assert process.stdout is not None
    text, deadline = "", time.monotonic() + 60
    try:
        while "simulated provider answers" not in text and "so not usable" not in text:
            ready, _, _ = select.select([process.stdout], [], [], deadline - time.monotonic())
            piece = os.read(process.stdout.fileno(), 65536).decode() if ready else ""
            assert piece, text + (path / "errors").read_text()
            text += piece
        yield Started(text, path)
    finally:
        process.terminate()
        code = process.wait(15)
        process.stdout.close()
    assert code == 0
    assert "Traceback" not in (path / "errors").read_text()


def ask(run: Started) -> tuple[str, dict[str, str], bytes]:
    """URL, headers and body of the printed command."""
    words = run.curl
    headers = dict(words[i + 1].split(": ", 1) for i, word in enumerate(words) if word == "-H")
    return words[1], headers, words[words.index("-d") + 1].encode()


def test_the_printed_command_works_as_it_stands(tmp_path: Path) -> None:
    with started(folder(tmp_path)) as run:
        assert re.match(r"Fleetgate \S+ serves 2 agents on http://127\.0\.0\.1:\d+ \(admin: http://127\.0\.0\.1:\d+\)\n", run.text)
        assert "(agent worker; this key works until you stop the server)" in run.text
        assert "For the real ones set ANTHROPIC_API_KEY or OPENAI_API_KEY and run again." in run.text
        try:
            done = subprocess.run(
                [*run.curl, "--silent", "--fail-with-body", "--noproxy", "*"], capture_output=True, check=False, timeout=30
            )
        except FileNotFoundError:
            pytest.skip("curl is not on PATH: apt-get install curl")
        assert done.returncode == 0, done.stdout
        assert json.loads(done.stdout)["choices"][0]["message"]["content"]
        key = run.key
        assert post(run.curl[1], b"{}", {"authorization": "Bearer fg-other"}).status == 401
    for file in tmp_path.iterdir():
        if file.is_file():
            content = file.read_bytes()
            assert key.encode() not in content, f"{file.name} holds the key"
            if file.suffix.startswith(".db"):
                assert digest(key).encode() not in content


def test_the_key_ends_with_the_server(tmp_path: Path) -> None:
    folder(tmp_path)
    with started(tmp_path) as first:
        _, headers, body = ask(first)
    with started(tmp_path) as second:
        assert post(second.curl[1], body, headers).status == 401


def test_with_a_providers_key_nothing_is_simulated(tmp_path: Path) -> None:
    with Simulator() as sim, started(folder(tmp_path, openai=f"{sim.url}/v1"), OPENAI_API_KEY="sk-real-one") as run:
        assert "simulated" not in run.text
        assert "Not set, so not usable: ANTHROPIC_API_KEY." in run.text
        url, headers, body = ask(run)
        assert url.endswith("/v1/chat/completions")
        assert json.loads(body)["model"] == "gpt-5-mini", "the first of the usual ones that this agent may use"
        assert post(url, body, headers).status == 200
        (call,) = sim.calls()
        assert digest("sk-real-one") in call["keys"].values()
        assert digest(run.key) not in call["keys"].values()
        assert "sk-real-one" not in run.text


def test_with_anthropics_key_alone_the_command_is_anthropics(tmp_path: Path) -> None:
    with Simulator() as sim, started(folder(tmp_path, anthropic=sim.url), ANTHROPIC_API_KEY="sk-ant-real") as run:
        assert "Not set, so not usable: OPENAI_API_KEY." in run.text
        url, headers, body = ask(run)
        assert url.endswith("/v1/messages")
        assert headers["x-api-key"] == run.key
        assert headers["anthropic-version"] == "2023-06-01"
        reply = post(url, body, headers)
        assert reply.status == 200, reply.body
        assert sim.calls()[0]["path"].endswith("/v1/messages")


def files(path: Path, **env: str) -> build.Files:
    return build.read(path / "fleetgate.yaml", env, simulate=True)


def test_demo_goes_first_and_the_agents_own_model_too(tmp_path: Path) -> None:
    both = AGENTS.replace("name: worker", "name: demo\n    model: claude-haiku-4-5")
    assert quickstart.first_agent(files(folder(tmp_path, both)), simulated=True) == ("demo", "claude-haiku-4-5")


def test_a_model_without_a_key_is_not_offered(tmp_path: Path) -> None:
    found = files(folder(tmp_path), ANTHROPIC_API_KEY="sk-a")
    assert quickstart.first_agent(found, simulated=False) == ("worker", "claude-sonnet-5")


@pytest.mark.parametrize("agents", ["Just words for agents.\n", AGENTS[: AGENTS.index("  - name: worker")] + "---\n"])
def test_nobody_to_start_with_is_one_sentence(tmp_path: Path, agents: str) -> None:
    path = folder(tmp_path, agents) / "fleetgate.yaml"
    command = [sys.executable, "-m", "proxy", "serve", "--quickstart", "--config", str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("fleetgate: no agent of this configuration can use any model")
    assert done.stderr.count("\n") == 1


PROVIDER = "  {}: {{protocols: [openai], base_url: http://127.0.0.1:9/v1{}}}\n"


@pytest.mark.parametrize(
    ("providers", "env", "simulated"),
    [
        ([("a", ", api_key: env:A")], {}, True),
        ([("a", ", api_key: env:A"), ("b", ", api_key: env:B")], {"B": "sk-b"}, False),
        ([("a", ", api_key: env:A"), ("l", ", local: true")], {}, True),
        ([("l", ", local: true")], {}, False),
        ([("a", "")], {}, False),
    ],
    ids=["no key", "one of two keys", "no key, and a server of one's own", "only servers of one's own", "a provider that asks for no key"],
)
def test_when_providers_are_simulated(tmp_path: Path, providers: list[tuple[str, str]], env: dict[str, str], simulated: bool) -> None:
    folder(tmp_path)
    lines = "".join(PROVIDER.format(*provider) for provider in providers)
    (tmp_path / "fleetgate.yaml").write_text(f'providers:\n{lines}models:\n  "*": {{provider: {providers[0][0]}}}\n')
    assert quickstart.needs_simulator(files(tmp_path, **env).settings) is simulated

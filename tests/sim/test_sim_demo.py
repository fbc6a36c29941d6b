"""The demo: its words, that a wrong answer fails it, and the real thing from end to end."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from serving import ROOT

from proxy.sim import demo, fleet
from proxy.sim.demo import REPORT, SCENES, bill_lines, chat, expect, play, refused, served
from proxy.sim.fleet import DemoError, Heard
from proxy.sim.screen import Screen

DENIED = {
    "error": {"message": "Agent a may not use model m. Rule: AGENTS.md:3. Ask for another.", "type": "permission_error"},
    "fleetgate": {
        "reason": "model_not_allowed",
        "rule": "AGENTS.md:3",
        "remedy": "Ask for another.",
        "remaining": "0.12 USD",
        "resets_at": "2027",
    },
}
ROWS = [
    {"key": "a", "calls": 2, "refused": 1, "input_tokens": 10, "output_tokens": 3, "cost": 1_500_000},
    {"key": "b", "calls": 1, "refused": 0, "input_tokens": 5, "output_tokens": 4, "cost": 2_000_000},
]


class Scripted:
    """A fleet that hears what a test says, for the words of scenes; the real one runs below."""

    def __init__(self, *answers: Heard) -> None:
        self.answers, self.asked = list(answers), list[tuple[str, dict[str, Any]]]()

    def ask(self, agent: str, body: dict[str, Any], on_text: Callable[[str], None] | None = None) -> Heard:
        self.asked.append((agent, body))
        found = self.answers.pop(0)
        if on_text is not None:
            on_text(found.text)
        return found

    def bill(self) -> list[dict[str, Any]]:
        return ROWS


def shown(tty: bool = False) -> tuple[Screen, io.StringIO]:
    out = io.StringIO()
    return Screen(out, tty=tty, pause_s=0), out


def test_a_refusal_shows_message_rule_and_remedy() -> None:
    screen, out = shown()
    refused(screen, Heard(403, body=DENIED))
    text = out.getvalue()
    assert "✗ 403 model_not_allowed: Agent a may not use model m." in text
    for part in ("AGENTS.md:3", "Ask for another.", "0.12 USD", "2027"):
        assert text.count(part) == 1


def test_a_served_reply_says_by_whom_and_for_how_much() -> None:
    headers = {
        "x-fleetgate-model": "local/q",
        "x-fleetgate-route": "local",
        "x-fleetgate-difficulty": "0.10",
        "x-fleetgate-cost-usd": "0.00",
    }
    assert served(Heard(200, headers)) == "200 answered by local/q, route local, difficulty 0.10, cost $0.00"
    assert served(Heard(200, {"x-fleetgate-model": "m", "x-fleetgate-route": "requested"}), "streamed") == "200 streamed by m"


def test_the_bill_is_sorted_and_adds_up() -> None:
    lines = bill_lines(ROWS)
    assert [line.split()[0] for line in lines[2:]] == ["b", "a", "total"]
    assert lines[-1].split() == ["total", "3", "1", "15", "7", "$0.003500"]
    with pytest.raises(DemoError, match="empty"):
        bill_lines([])


@pytest.mark.parametrize(
    ("heard", "status", "reason"),
    [(Heard(200), 403, "model_not_allowed"), (Heard(403, body=DENIED), 200, ""), (Heard(403, body=DENIED), 403, "tool_not_allowed")],
)
def test_another_answer_than_the_scene_is_about_fails(heard: Heard, status: int, reason: str) -> None:
    with pytest.raises(DemoError, match=f"expected {status}"):
        expect(heard, status, reason)


def test_no_scene_passes_on_a_proxy_that_lets_everything_through() -> None:
    message = {"choices": [{"message": {"tool_calls": [{"id": "1"}]}}], "usage": {"completion_tokens": 450}}
    blind = Heard(200, {}, message, "positive")
    for scene in SCENES[:-1]:
        with pytest.raises(DemoError):
            scene.play(Scripted(*[blind] * 20), shown()[0])


def test_a_stream_that_changed_on_the_way_fails() -> None:
    play(Scripted(Heard(200, text=REPORT)), shown()[0], SCENES[:1])
    with pytest.raises(DemoError, match="arrived as"):
        play(Scripted(Heard(200, text=REPORT[:-1])), shown()[0], SCENES[:1])


def test_scenes_are_numbered_and_end_with_why() -> None:
    screen, out = shown()
    play(Scripted(), screen, SCENES[-1:])
    text = out.getvalue()
    assert "1/1 The bill, by agent" in text
    assert "ledger" in text
    assert all(scene.why.endswith(".") for scene in SCENES)


def test_a_pipe_gets_plain_lines_and_a_terminal_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    for tty, escapes in ((False, False), (True, True)):
        screen, out = shown(tty)
        screen.working("waiting")
        screen.scene(1, 2, "title")
        screen.passed("fine")
        assert ("\x1b[" in out.getvalue()) == escapes
        assert ("waiting" in out.getvalue()) == tty
    monkeypatch.setenv("NO_COLOR", "1")
    screen, out = shown(tty=True)
    screen.passed("fine")
    assert "\x1b[3" not in out.getvalue()


def test_a_request_carries_its_script() -> None:
    body = chat("m", "Hello.", sim={"tokens": 3}, max_tokens=5)
    assert body == {"model": "m", "messages": [{"role": "user", "content": 'Hello. [[sim: {"tokens": 3}]]'}], "max_tokens": 5}


def test_the_demos_files_are_yaml() -> None:
    settings = yaml.safe_load(fleet.SETTINGS.format(port=1, admin_port=2, sim_port=3))
    assert settings["listen"]["port"] == 1
    agents = yaml.safe_load(fleet.AGENTS_MD.split("---")[1])["agents"]
    assert tuple(a["name"] for a in agents) == fleet.AGENTS
    assert yaml.safe_load(fleet.BUDGETS)["budgets"][0]["limit"] == {"usd": 0.02}


# --- the real thing ------------------------------------------------------------------------------------------------------------


def test_the_demo_from_end_to_end(tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-m", "proxy", "demo"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    for word in (
        "model_not_allowed",
        "tool_not_allowed",
        "route local",
        "warn;rule=identical;count=3",
        "loop_detected",
        "402 budget_exceeded",
    ):
        assert word in done.stdout
    total = re.search(r"total +(\d+) +(\d+) +\d+ +\d+ +\$0\.0\d+", done.stdout)
    assert total is not None
    assert int(total[2]) == 4, "four refusals: model, tool, loop, budget"
    assert "\x1b" not in done.stdout
    assert list(tmp_path.iterdir()) == [], "nothing is left behind"


def test_ctrl_c_leaves_nothing_behind(tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-c", "import sys; from proxy.sim.demo import run; sys.exit(run())"]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("2/"):
                break
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
        assert process.wait(30) == 130, rest
    assert "everything is cleaned up" in rest
    assert list(tmp_path.iterdir()) == []


def test_a_proxy_that_does_not_start_shows_its_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet, "SETTINGS", fleet.SETTINGS + "nonsense: 1\n")
    out = io.StringIO()
    assert demo.run(out) == 1
    assert "the demo failed: the proxy ended while it was starting" in out.getvalue()
    assert "nonsense" in out.getvalue()

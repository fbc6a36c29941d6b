"""`ledger` by any fields and in other shapes, `report` and `top`, on a ledger in a file, on a stream, and without one."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import replace
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pyarrow.parquet as pq
import pytest
from cli_cases import CONFIG, Folder, folder
from redis_server import needs_redis, shared_url
from serving import ROOT

from proxy.admin.api import record_json
from proxy.engine.record import Record
from proxy.stores.open import blocking_link
from proxy.stores.redis_place import place_of
from proxy.telemetry.ledger import Ledger, MemoryLedger
from proxy.telemetry.ledger_redis import RedisLedger
from proxy.telemetry.query import Filter

USD = 1_000_000_000
SERVED = Record(
    "01jd3k8x9vq2m4n6p8r0s2t4w6",
    1_795_244_760.5,
    agent="clerk",
    team="payments",
    model="m1",
    difficulty=0.5,
    outcome="ok",
    findings=(("secrets/aws-key", "1 place"),),
    decisions=(("policy", "allowed"),),
    marks={"sent": 1, "closed": 5},
    media=(("input_audio", 80),),
    charges=(("all|total", "usd", 5),),
    fallbacks=(("local", "small", "slow", 7, 4, 0, 2_500_000_000),),
)
CHROMIUM = os.environ.get("CHROMIUM_BIN") or shutil.which("chromium") or shutil.which("google-chrome")


def records() -> list[Record]:
    """Two agents of two teams, now; one of them with a name that would like to be more."""
    now = time.time()
    made = [
        Record(f"r{n}", now - n * 60, agent="clerk", team="office", model="m1", outcome="ok", cost=USD, input_tokens=5) for n in range(4)
    ]
    evil = replace(made[0], id="e1", agent="=1+1\x1b[2J\u202e", team="<script>", model="m2", cost=USD // 2)
    return [*made, evil, replace(made[0], id="d1", outcome="denied", reason="rate_limited", cost=0)]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    made = folder(tmp_path_factory.mktemp("reports"))
    ledger = Ledger(made.path / "fleetgate.db")
    for record in records():
        ledger.record(record)
    ledger.stop()
    return made


def test_the_bill_by_team_and_by_several_fields(place: Folder) -> None:
    done = place.run("ledger", "--by", "team", "--since", "1d")
    assert [line.split() for line in done.out.splitlines()][1:] == [
        ["office", "5", "1", "25", "0", "0", "4.00"],
        ["<script>", "1", "0", "5", "0", "0", "0.50"],
        ["total", "6", "1", "30", "0", "0", "4.50"],
    ]
    found = place.run("ledger", "--by", "team,model", "--json").json
    assert [(g["team"], g["model"], g["cost_usd"]) for g in found] == [("office", "m1", "4.00"), ("<script>", "m2", "0.50")]
    assert place.run("ledger", "--by", "team", "--limit", "1", "--json").json[0]["key"] == "office"


def test_csv_and_parquet_are_whole(place: Folder, tmp_path: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(place.run("ledger", "--csv").out)))
    assert len(rows) == 6
    assert next(r for r in rows if r["id"] == "e1")["agent"] == "'=1+1\\x1b[2J\\u202e"
    assert len(place.run("ledger", "--csv", "--limit", "2").out.splitlines()) == 3
    assert [r["calls"] for r in csv.DictReader(io.StringIO(place.run("ledger", "--by", "agent", "--csv").out))] == ["5", "1"]
    for more, count in (((), 6), (("--by", "agent"), 2)):
        done = place.run("ledger", *more, "--parquet", str(tmp_path / "x.parquet"))
        assert (done.code, done.out) == (0, f"{tmp_path}/x.parquet: {count} rows\n")
        assert pq.read_table(tmp_path / "x.parquet").num_rows == count


@pytest.mark.parametrize("arguments", [("--csv", "--json"), ("--by", "moon"), ("--by", ""), ("--by", "agent,agent")])
def test_what_means_nothing_is_wrong_usage(place: Folder, arguments: tuple[str, ...]) -> None:
    done = place.run("ledger", *arguments)
    assert (done.code, done.out) == (2, "")


def test_a_report_is_one_page(place: Folder, tmp_path: Path) -> None:
    out = tmp_path / "r.html"
    done = place.run("report", "--since", "2d", "--out", str(out))
    assert (done.code, done.out, done.err) == (0, f"{out}\n", "")
    text = out.read_text(encoding="utf-8")
    assert "$4.50" in text
    assert "<script" not in text
    assert [p.name for p in tmp_path.iterdir()] == ["r.html"], "nothing half done is left"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--out", "r.doc"), "neither .html nor .pdf"),
        (("--since", "today", "--until", "yesterday"), "begins before it ends"),
        (("--out", "/nonexistent/r.html"), "No such file"),
    ],
)
def test_a_report_that_cannot_be_made_says_why(place: Folder, arguments: tuple[str, ...], words: str) -> None:
    done = place.run("report", *arguments)
    assert (done.code, done.out) == (1, "")
    assert words in done.err


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not on PATH: apt-get install chromium")
def test_a_report_as_pdf(place: Folder, tmp_path: Path) -> None:
    done = place.run("report", "--out", str(tmp_path / "r.pdf"))
    assert (done.code, done.err) == (0, "")
    assert (tmp_path / "r.pdf").read_bytes().startswith(b"%PDF-")


def test_a_pdf_without_a_browser_says_what_to_do(place: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CHROMIUM_BIN", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "needs Chromium" in place.run("report", "--out", str(tmp_path / "r.pdf")).err
    for program in ("/bin/false", "/nonexistent"):
        monkeypatch.setenv("CHROMIUM_BIN", program)
        done = place.run("report", "--out", str(tmp_path / "r.pdf"))
        assert done.code == 1
        assert f"{program} did not print it" in done.err
    assert list(tmp_path.iterdir()) == []


def test_top_without_a_window_is_one_snapshot(place: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    done = place.run("top")
    assert (done.code, done.err) == (0, "")
    assert "clerk" in done.out
    assert done.out.replace("\n", "").isprintable(), "no colours, and no name's own"
    monkeypatch.setenv("COLUMNS", "40")
    assert max(map(len, place.run("top", "--once", "--sort", "calls").out.splitlines())) <= 40


@pytest.mark.parametrize("arguments", [("--minutes", "0"), ("--minutes", "x"), ("--every", "0"), ("--every", "x"), ("--sort", "luck")])
def test_top_used_wrongly(place: Folder, arguments: tuple[str, str]) -> None:
    assert place.run("top", *arguments).code == 2


class Terminal:
    """`fleetgate top` in a terminal of its own."""

    def __init__(self, place: Folder, *, columns: int, env: dict[str, str]) -> None:
        self.main, side = pty.openpty()
        command = [sys.executable, "-m", "proxy", "top", "--every", "0.2", "--config", str(place.path / "fleetgate.yaml")]
        env = {**{k: v for k, v in os.environ.items() if k != "NO_COLOR"}, "TERM": "xterm", "COLUMNS": str(columns), "LINES": "12", **env}
        self.process = subprocess.Popen(command, cwd=ROOT, stdin=side, stdout=side, stderr=side, env=env, start_new_session=True)
        os.close(side)
        self.said = b""

    def until(self, word: bytes) -> None:
        """Read until it has said `word`."""
        deadline = time.monotonic() + 60
        while word not in self.said:
            assert time.monotonic() < deadline, self.said
            if select.select([self.main], [], [], 1)[0]:
                self.said += os.read(self.main, 65536)

    def press(self, key: bytes) -> int:
        """Press a key, read to the end, and return the exit code."""
        os.write(self.main, key)
        self.until(b"\x1b[?1049l")
        try:
            return self.process.wait(60)
        finally:
            os.close(self.main)


def test_top_in_a_terminal_draws_again_and_leaves_it_as_it_was(place: Folder) -> None:
    terminal = Terminal(place, columns=80, env={})
    terminal.until(b"clerk")
    while terminal.said.count(b"\x1b[H") < 3:
        terminal.said += os.read(terminal.main, 65536)
    assert terminal.press(b"q") == 0
    assert terminal.said.startswith(b"\x1b[?1049h\x1b[?25l")
    assert b"\x1b[1m" in terminal.said, "colours"
    assert b"\\x1b[2J" in terminal.said, "a name's escapes are shown, not done"
    assert b"\x1b[2J" not in terminal.said.replace(b"\\x1b[2J", b"")
    assert terminal.said.rstrip().endswith(b"\x1b[?25h\x1b[?1049l")


def test_top_in_a_narrow_window_without_colour(place: Folder) -> None:
    terminal = Terminal(place, columns=40, env={"NO_COLOR": "1"})
    terminal.until(b"clerk")
    assert terminal.press(b"Q") == 0
    text = re.sub(rb"\x1b\[(?:\?[0-9]+[hl]|[HKJ])", b"", terminal.said)
    assert b"\x1b" not in text
    assert max(len(line) for line in text.decode().split("\n")) <= 80


@needs_redis
def test_a_stream_gives_the_same_answers(tmp_path: Path) -> None:
    url = shared_url()
    made = folder(tmp_path)
    made.write("fleetgate.yaml", CONFIG.replace("sqlite:fleetgate.db", url))
    link = blocking_link(place_of(url))
    ledger = RedisLedger(link, 1000)
    for record in records():
        ledger.record(record)
    ledger.stop()
    link.close()
    found = made.run("ledger", "--by", "team,model", "--json").json
    assert [(g["team"], g["calls"]) for g in found] == [("office", 5), ("<script>", 1)]
    assert len(made.run("ledger", "--csv").out.splitlines()) == 7
    assert "clerk" in made.run("top").out
    assert made.run("report", "--out", str(tmp_path / "r.html")).code == 0


class Admin(ThreadingHTTPServer):
    """An admin port whose ledger is `ledger`, with pages as small as a test wants them."""

    def __init__(self, ledger: MemoryLedger) -> None:
        super().__init__(("127.0.0.1", 0), AdminHandler)
        self.ledger, self.asked, self.status = ledger, list[str](), 200


class AdminHandler(BaseHTTPRequestHandler):
    server: Admin

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        given = parse_qs(urlsplit(self.path).query)
        until = datetime.fromisoformat(given["until"][0]).timestamp() if "until" in given else None
        rows = self.server.ledger.rows(Filter(until=until, limit=int(given["limit"][0])))
        body = json.dumps({"exchanges": [record_json(record) for record in rows]}).encode()
        self.send_response(self.server.status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.mark.parametrize("page", [4, 1000])
def test_a_store_in_memory_is_asked_of_its_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page: int) -> None:
    monkeypatch.setattr("proxy.cli.asking.PAGE", page)
    ledger = MemoryLedger()
    for record in [*records(), SERVED]:
        ledger.record(record)
    made = folder(tmp_path)
    with Admin(ledger) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        listen = f"listen: {{admin_port: {server.server_port}}}\n"
        made.write("fleetgate.yaml", CONFIG.replace("sqlite:fleetgate.db", '"memory:"') + listen)
        found = {g["team"]: g["calls"] for g in made.run("ledger", "--by", "team", "--json").json}
        assert found == {"office": 5, "<script>": 1, "payments": 1}
        assert len(server.asked) == (1 if page > 100 else 3), "page by page, no record twice"
        assert made.run("ledger", "--json").json[-1] == json.loads(json.dumps(record_json(SERVED))), "whole"
        assert "clerk" in made.run("top").out
        assert made.run("report", "--out", str(tmp_path / "r.html")).code == 0
        assert made.run("explain", SERVED.id).code == 0
        server.status = 403
        done = made.run("ledger")
        assert (done.code, "it answered 403" in done.err) == (1, True)
        server.shutdown()
        thread.join()
    for command in (("ledger", "--by", "team"), ("report", "--out", str(tmp_path / "r.html")), ("top",)):
        assert "is `fleetgate serve` running?" in made.run(*command).err

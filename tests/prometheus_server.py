"""A real Prometheus over what a test serves: `scripts/tools.py` says where it is, beside promtool."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from serving import free_port
from simulating import ROOT, START_S, end, get


@cache
def _asked() -> tuple[str, str]:
    command = [sys.executable, str(ROOT / "scripts" / "tools.py"), "where", "promtool"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout.strip(), done.stderr.strip()


needs_prometheus = pytest.mark.skipif(not _asked()[0], reason=_asked()[1] or "no Prometheus")


class Prometheus:
    """The HTTP API of a running Prometheus."""

    def __init__(self, url: str) -> None:
        self.url = url

    def ask(self, path: str, **parameters: str) -> Any:
        """The `data` of an answer; an error of Prometheus is a failure."""
        status, body = get(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}")
        answer = json.loads(body)
        assert status == 200, answer
        assert answer["status"] == "success", answer
        assert not answer.get("warnings"), answer
        return answer["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The samples that an expression gives now."""
        found: list[dict[str, Any]] = self.ask("query", query=expression)["result"]
        return found

    def until(self, expression: str) -> list[dict[str, Any]]:
        """What an expression gives, once it gives something."""
        deadline = time.monotonic() + START_S
        while not (found := self.query(expression)):
            assert time.monotonic() < deadline, f"{expression} gives nothing; {self.ask('targets')}"
            time.sleep(0.1)
        return found


@contextlib.contextmanager
def prometheus(folder: Path, target: str, rules: Path) -> Iterator[Prometheus]:
    """Run Prometheus in `folder`, scraping `target` (host:port) twice a second, with `rules`."""
    scrape = {"job_name": "fleetgate", "scrape_interval": "500ms", "scrape_timeout": "500ms", "static_configs": [{"targets": [target]}]}
    config = {"global": {"evaluation_interval": "1s"}, "rule_files": [str(rules)], "scrape_configs": [scrape]}
    folder.joinpath("prometheus.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    url = f"http://127.0.0.1:{free_port()}"
    program = str(Path(_asked()[0]).with_name("prometheus"))
    options = [f"--config.file={folder}/prometheus.yaml", f"--storage.tsdb.path={folder}/data", f"--web.listen-address={url[7:]}"]
    with folder.joinpath("prometheus.log").open("wb") as log:
        process = subprocess.Popen([program, *options, "--enable-feature=exemplar-storage"], stdout=log, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + START_S
        while True:
            with contextlib.suppress(OSError):
                if get(f"{url}/-/ready")[0] == 200:
                    break
            said = folder.joinpath("prometheus.log").read_text(encoding="utf-8")
            assert process.poll() is None, said
            assert time.monotonic() < deadline, said
            time.sleep(0.1)
        yield Prometheus(url)
    finally:
        end(process)

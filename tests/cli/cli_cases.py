"""A folder with a configuration, and the command line called in this process on it."""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proxy.cli import main

AGENTS = """---
agents:
  - name: clerk
    description: Files things
    version: 1.2.0
    policy:
      owner: {team: office}
      models: {allow: ["gpt-4o*"], default: gpt-4o-mini}
      tools: {deny: ["delete_*"]}
      budgets: {day: {usd: 2}}
  - name: team-a/scout
    description: Looks around
    version: 0.1.0
---
"""

CONFIG = """agents: [AGENTS.md]
policies: policies/
budgets: budgets/
providers:
  openai: {protocols: [openai], base_url: https://api.openai.com/v1, api_key: env:TEST_OPENAI_KEY}
models:
  "gpt-*": {provider: openai}
store: sqlite:fleetgate.db
"""

BASELINE = "policy:\n  models: {allow: ['*']}\n"
BUDGETS = "budgets:\n  - {name: all, scope: {fleet: '*'}, limit: {usd: 10}, window: month}\n"


@dataclass(frozen=True, slots=True)
class Done:
    """What a command left: exit code and both outputs."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The output as JSON."""
        return json.loads(self.out)


@dataclass(frozen=True, slots=True)
class Folder:
    """A configuration on disk."""

    path: Path

    def write(self, name: str, text: str) -> None:
        """Put a file there."""
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")

    def run(self, *arguments: str) -> Done:
        """Run `fleetgate ARGUMENTS --config FILE` in this process."""
        return run(*arguments, "--config", str(self.path / "fleetgate.yaml"))


def run(*arguments: str) -> Done:
    """Run `fleetgate ARGUMENTS` in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(arguments)
        except SystemExit as e:  # how argparse says that it was used wrongly
            code = int(e.code or 0)
    return Done(code, out.getvalue(), err.getvalue())


def folder(path: Path) -> Folder:
    """A folder with a valid configuration."""
    made = Folder(path)
    for name, text in (
        ("fleetgate.yaml", CONFIG),
        ("AGENTS.md", AGENTS),
        ("policies/baseline.yaml", BASELINE),
        ("budgets/b.yaml", BUDGETS),
    ):
        made.write(name, text)
    return made

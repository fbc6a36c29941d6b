"""`fleetgate agents list|show|lint|diff`: what the files say, for people and for machines."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_cases import AGENTS, Folder, folder


@pytest.fixture
def good(tmp_path: Path) -> Folder:
    return folder(tmp_path)


def test_list_names_every_agent(good: Folder) -> None:
    done = good.run("agents", "list")
    assert done.code == 0
    assert [line.split()[0] for line in done.out.splitlines()] == ["AGENT", "clerk", "team-a/scout"]
    assert [a["agent"] for a in good.run("agents", "list", "--json").json] == ["clerk", "team-a/scout"]


def test_show_gives_each_value_with_its_line(good: Folder) -> None:
    done = good.run("agents", "show", "clerk")
    assert done.code == 0
    assert "[AGENTS.md:8 policy.models.allow]" in done.out
    assert "[policies/baseline.yaml:2 policy.models.allow]" in done.out
    assert "2.00 USD per day" in done.out
    assert good.run("agents", "show", "clerk", "--json").json["agent"] == "clerk"


def test_show_of_a_stranger_names_those_there_are(good: Folder) -> None:
    done = good.run("agents", "show", "clark")
    assert (done.code, done.out) == (1, "")
    assert "no agent clark (known: clerk, team-a/scout)" in done.err


def test_lint_fails_on_errors_alone(good: Folder) -> None:
    assert good.run("agents", "lint").out == "ok: 2 agents\n"
    good.write("AGENTS.md", AGENTS.replace("    version: 0.1.0\n", ""))
    done = good.run("agents", "lint")
    assert done.code == 0
    assert done.out == "warning: AGENTS.md: agent team-a/scout has no version\n"
    assert good.run("agents", "lint", "--json").json == {"errors": [], "warnings": ["AGENTS.md: agent team-a/scout has no version"]}
    good.write("AGENTS.md", AGENTS.replace("usd: 2", "usd: two"))
    done = good.run("agents", "lint")
    assert done.code == 1
    assert "error: AGENTS.md:10: " in done.out
    shown = good.run("agents", "lint", "--json")
    assert shown.code == 1
    (error,) = shown.json["errors"]
    assert error.startswith("AGENTS.md:10: ")
    assert not any("AGENTS.md:10" in warning for warning in shown.json["warnings"])


def test_diff_tells_what_another_file_would_change(good: Folder) -> None:
    good.write("new/AGENTS.md", AGENTS.replace('"gpt-4o*"', '"gpt-*"').replace("usd: 2", "usd: 1"))
    done = good.run("agents", "diff", "clerk", str(good.path / "new/AGENTS.md"))
    assert done.code == 0
    assert "wide" in done.out
    assert "tight" in done.out
    assert good.run("agents", "diff", "clerk", str(good.path / "new/AGENTS.md"), "--json").json
    same = good.run("agents", "diff", "clerk", str(good.path / "AGENTS.md"))
    assert (same.code, same.out) == (0, "the effective policy stays the same\n")


def test_diff_with_a_wrong_or_missing_file_or_agent(good: Folder) -> None:
    good.write("new/AGENTS.md", "---\nname: clerk\npolicy: 1\n---\n")
    done = good.run("agents", "diff", "clerk", str(good.path / "new/AGENTS.md"))
    assert done.code == 1
    assert "AGENTS.md:3: " in done.err
    assert good.run("agents", "diff", "clerk", str(good.path / "gone.md")).code == 1
    done = good.run("agents", "diff", "nobody", str(good.path / "AGENTS.md"))
    assert done.code == 1
    assert "agent nobody is not in this configuration" in done.err

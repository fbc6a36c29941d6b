"""What files say of the arguments of tools and of approvals: read with its line, refused with its line, shown, compared, intersected."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.config import ConfigErrors
from proxy.identity.agents_md import parse_agents
from proxy.identity.directory import Directory
from proxy.identity.grants import combine
from proxy.identity.show import as_json, diff, show
from proxy.model import Grant

BASELINE = "policy:\n  tools:\n    require_approval: [send_*]\n"
AGENT = """---
name: a
description: d
version: 1
policy:
  tools:
    args:
      - {tool: [bash, sh], field: command, regex: 'rm\\s', action: deny}
      - {tool: edit, regex: 'x', action: warn}
---
"""


def folder(tmp_path: Path, agent: str = AGENT, baseline: str = BASELINE) -> Directory:
    (tmp_path / "AGENTS.md").write_text(agent)
    (tmp_path / "baseline.yaml").write_text(baseline)
    return Directory.load(tmp_path, ["AGENTS.md"], tmp_path / "baseline.yaml")


def grant(policy: str) -> Grant:
    layer = parse_agents(f"---\nname: a\npolicy: {policy}\n---\n", "AGENTS.md").agents[0].layer
    assert layer is not None
    return combine("a", None, [layer])


def test_all_layers_hold_together_and_are_shown_with_their_lines(tmp_path: Path) -> None:
    directory = folder(tmp_path)
    found = directory.agents["a"].tool_args
    assert [(c.tools, c.key, c.action, str(c.source)) for c in found] == [
        (("send_*",), "", "require_approval", "baseline.yaml:3 policy.tools.require_approval"),
        (("bash", "sh"), "command", "deny", "AGENTS.md:8 policy.tools.args[0]"),
        (("edit",), "", "warn", "AGENTS.md:9 policy.tools.args[1]"),
    ]
    words = show(directory, "a")
    assert "send_*: require_approval  [baseline.yaml:3 policy.tools.require_approval]" in words
    assert "bash, sh: deny where command holds rm\\s  [AGENTS.md:8 policy.tools.args[0]]" in words
    assert "edit: warn where any argument holds x" in words
    assert [row["action"] for row in as_json(directory.agents["a"])["tool_args"]] == ["require_approval", "deny", "warn"]


def test_an_expression_that_re2_does_not_take_voids_the_file_and_says_where(tmp_path: Path) -> None:
    directory = folder(tmp_path, AGENT.replace("'rm\\s'", "'(?=a)'"))
    (error,) = directory.errors
    assert str(error).startswith("AGENTS.md:8: policy.tools.args[0].regex: ")
    assert "no look-around" in str(error)
    assert [c.action for c in directory.agents["a"].tool_args] == ["require_approval"], "the baseline alone is left"


def test_a_baseline_with_such_an_expression_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigErrors, match=r"baseline.yaml:3: policy.tools.args\[0\].regex: missing \)"):
        folder(tmp_path, baseline="policy:\n  tools:\n    args: [{tool: x, regex: '(', action: deny}]\n")


def test_a_change_is_widening_or_tightening() -> None:
    bare, strict = grant("{}"), grant("{tools: {args: [{tool: x, regex: a, action: deny}], require_approval: [y]}}")
    assert diff(bare, strict) == [
        "tightens: + tool calls x: deny where any argument holds a",
        "tightens: + tool calls y: require_approval",
    ]
    assert [line.split(":")[0] for line in diff(strict, bare)] == ["widens", "widens"]
    assert diff(bare, grant("{tools: {args: [{tool: x, regex: a, action: warn}]}}")) == []
    assert bare.digest != strict.digest

"""Metadata is found in all four carriers with the right lines, and prose is never taken for it."""

from __future__ import annotations

import pytest

from proxy.identity.agents_md import Read, parse_agents
from proxy.identity.carriers import blocks, names_in

POLICY = "name: a\npolicy: {models: {deny: [x]}}\n"
JSON = '{"name": "a", "policy": {"models": {"deny": ["x"]}}}'


def deny_line(read: Read) -> int:
    assert read.errors == ()
    (agent,) = read.agents
    assert agent.layer is not None
    (clause,) = agent.layer.models
    assert (agent.id, clause.deny) == ("a", ("x",))
    assert clause.deny_source is not None
    assert clause.deny_source.key == "policy.models.deny"
    return clause.deny_source.line


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (f"---\n{POLICY}---\n# Hi\n", 3),
        (f"---\n{POLICY}...\n# Hi\n", 3),
        (f"\ufeff---\n{POLICY}---\n", 3),
        (f"---\n{POLICY}---\n".replace("\n", "\r\n"), 3),
        (f"\n\n---\n{POLICY}---\n", 5),
        (f"<!-- licence -->\n<!--\nmore\n-->\n\n---\n{POLICY}---\n", 8),
        (f"---  \n{POLICY}---\n", 3),
        (f"# Hi\n\n```yaml agent-policy\n{POLICY}```\n", 5),
        (f"# Hi\n\n  ~~~~  yaml   agent-policy\n{POLICY}~~~~~\n", 5),
        (f"```yaml\nname: other\n```\n```yaml agent-policy\n{POLICY}```\n```yaml agent-policy\nname: second\n```\n", 6),
        (f"# Hi\n<!-- agent-policy: {JSON} -->\nmore", 2),
        (f"# Hi\n<!-- agent-policy:\n{JSON}\n-->\nmore", 3),
        ('<!--\n  agent-policy:\n{"name": "a",\n\n "policy": {"models":\n {"deny": ["x"]}}}\n-->', 6),
        (f"---\ntitle: x\n---\n<!-- agent-policy: {JSON} -->\n", 4),
    ],
)
def test_each_carrier_gives_the_policy_and_its_line(text: str, line: int) -> None:
    assert deny_line(parse_agents(text, "AGENTS.md")) == line


def test_a_sidecar_is_the_whole_file_and_may_leave_its_name_to_the_file() -> None:
    assert deny_line(parse_agents(POLICY, "agents/z.yaml")) == 2
    assert deny_line(parse_agents("policy: {models: {deny: [x]}}", "agents/a.yaml")) == 1
    assert deny_line(parse_agents("policy: {models: {deny: [x]}}", "agents/a.policy.yml")) == 1
    assert parse_agents("", "agents/a.yaml").agents == ()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# Only prose\n\n---\n\nMore.\n",
        "---\n# AGENTS.md\nProject guidance.\n---\nMore prose\n",
        "---\nSome prose: with colons: everywhere\n---\n",
        "---\ntrigger: always_on\ndescription: **Rapla** is\n---\n",
        "---\n- a list\n- of things\n---\n",
        "---\ndescription: x\nglobs: '*.ts'\nalwaysApply: true\n---\n",
        "---\nnot closed\n",
        "---\n---\n",
        "---\ntitle: x\nagents: ['*']\n---\n",
        "```markdown\n<!-- agent-policy: {} -->\n```yaml agent-policy\nname: x\n",
        "<!-- AGENTS-META {} -->\n",
        "<!-- never closed\n---\nname: x\n---\n",
    ],
)
def test_prose_gives_nothing_and_no_error(text: str) -> None:
    read = parse_agents(text, "AGENTS.md")
    assert (read.agents, read.errors) == ((), ())
    assert len(read.digest) == 64


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("---\nname: a\n", "AGENTS.md:1: front matter that never ends"),
        ("---\nname: a\ntools: [x\n---\n", "AGENTS.md:"),
        ("---\nname: a\nname: b\n---\n", "AGENTS.md:3: name: this key stands here twice"),
        ("---\nname: &x a\n---\n", "AGENTS.md:2: an anchor"),
        ("```yaml agent-policy\n- x\n```\n", "AGENTS.md:2: the fenced block is not a mapping"),
        ("```yaml agent-policy\nname: x\n", "AGENTS.md:1: an agent-policy block that never ends"),
        ("<!-- agent-policy: {\n", "AGENTS.md:1: an agent-policy comment that never ends"),
        ("<!-- agent-policy: [] -->\n", "AGENTS.md:1: the comment is not a mapping"),
        ("<!-- agent-policy: {,} -->\n", "AGENTS.md:1: not valid YAML"),
    ],
)
def test_what_is_meant_as_metadata_and_cannot_be_read_is_an_error(text: str, words: str) -> None:
    (error,) = parse_agents(text, "AGENTS.md").errors
    assert str(error).startswith(words)


def test_a_file_that_cannot_be_parsed_still_names_its_agents() -> None:
    read = parse_agents("---\nagents:\n  - name: one\n  - {name: two}\n  - name: 'three' # x\n    policy: [\n---\n", "AGENTS.md")
    assert [a.id for a in read.agents] == ["one", "three"]
    assert all(a.layer is None for a in read.agents)
    assert len(read.errors) == 1
    assert names_in("no names") == ()


def test_a_comment_adds_to_the_agent_that_the_front_matter_names() -> None:
    text = '---\nname: a\ntools: [Read]\n---\n<!-- agent-policy: {"policy": {"models": {"deny": ["x"]}}} -->\n'
    read = parse_agents(text, "AGENTS.md")
    assert read.errors == ()
    assert [a.id for a in read.agents] == ["a", "a"]


def test_block_order_is_the_order_of_authority() -> None:
    text = f"---\nname: f\n---\n<!-- agent-policy: {JSON} -->\n```yaml agent-policy\n{POLICY}```\n"
    assert [b.carrier for b in blocks(text, "AGENTS.md")] == ["front matter", "fenced block", "comment"]


def test_a_file_made_to_be_slow_is_read_in_no_time() -> None:
    size = 60_000
    for text in (
        "``` x" + " " * size + "y",
        "<!-- " * (size // 5),
        "<!--\n" * (size // 5),
        "```\n" * (size // 4),
        "---\n" + "a: " * (size // 3),
    ):
        assert parse_agents(text, "AGENTS.md").agents == ()
    many = "".join(f"  kez{i}: 1\n" for i in range(3000))
    errors = parse_agents(f"---\nname: a\npolicy:\n{many}---\n", "AGENTS.md").errors
    assert len(errors) == 3000

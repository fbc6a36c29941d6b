"""docs/agents-md.md names every key, says truly which are enforced, and its examples load."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.identity import fields, headers
from proxy.identity.agents_md import parse_agents
from proxy.shapes import Table

TEXT = (Path(__file__).parents[2] / "docs/agents-md.md").read_text()
TABLE = TEXT.partition("## The keys of `policy`")[2].partition("##")[0]


def documented() -> Iterator[tuple[str, str]]:
    """Every key of the docs' table, dotted, with what the table says of it."""
    for row in re.findall(r"^\| (`.*?) \| .* \| (.*?) \|$", TABLE, re.MULTILINE):
        last = ""
        for key in re.findall(r"`([^`]+)`", row[0]):
            last = last.rpartition(".")[0] + key if key.startswith(".") else key
            yield last, row[1]


def leaves(table: Table, prefix: str = "") -> Iterator[str]:
    for key, shape in table.keys.items():
        if isinstance(shape, Table):
            yield from leaves(shape, f"{prefix}{key}.")
        else:
            yield prefix + key


def test_the_docs_have_every_key_and_no_other() -> None:
    assert sorted(key for key, _ in documented()) == sorted(leaves(fields.POLICY))


def test_accepted_in_the_docs_is_accepted_in_the_code() -> None:
    assert {key for key, state in documented() if state == "accepted"} == set(fields.NOT_ENFORCED)


@pytest.mark.parametrize(
    "word",
    [
        *(k for k in fields.AGENT),
        *(name for name in (headers.OURS, headers.RUN, headers.PARENT, headers.AGENT_HEADER)),
        "agents lint",
        "agents show",
    ],
)
def test_the_docs_name_it(word: str) -> None:
    assert word in TEXT


def test_the_example_of_the_docs_loads() -> None:
    example = TEXT.partition("```yaml\n---\n")[2].partition("```")[0]
    read = parse_agents("---\n" + example, "AGENTS.md")
    assert read.errors == ()
    assert [agent.id for agent in read.agents] == ["invoice-triage"]

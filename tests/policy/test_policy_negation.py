"""`not` over what may be missing: refused where the engines differ, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest
from rego_cases import REQUEST, problems, proven

HELPERS = "f(x) if x == 1\ng := input.x\nknown := {1, 2}\nmany contains input.y\ndefault usual := 1\nusual := 2 if input.z\n"
DIFFER = [
    'not startswith(input.x, "a")',
    "not f(input.x)",
    "not input.x in {1, 2}",
    "not count(input.x) == 0",
    "not input.x.y[input.z]",
    "not 1 + input.x == 2",
    "not f(g)",
    'not {"a": 1}[input.x]',
    "not 3 > input.x",
    "not input.x != 3",
    "not {input.x} == {1}",
    "not {1: input.x} == {1: 1}",
    "count([1 | not f(input.x)]) == 1",
    "not data.lib.f(input.x)",
    "not who.id in known",
    "not f(team)",
]
ALIKE = [
    "not input.x",
    "not input.x == 1",
    "not input.x == input.y",
    "not g",
    "not g == 1",
    "not count([y | y := input.x]) == 0",
    "not f(1)",
    "not 1 in known",
    "not 1 in many",
    "not f(usual)",
    'not {"a": 1} == {"a": 2}',
]
IMPORTS = "import input.agent as who\nimport input.agent.team\n"


@pytest.mark.parametrize("condition", DIFFER)
def test_what_differs_is_refused_with_its_line(tmp_path: Path, condition: str) -> None:
    files = {"a.rego": f'{REQUEST}{IMPORTS}{HELPERS}deny contains "x" if {condition}\n', "lib.rego": "package lib\nf(x) if x\n"}
    found = problems(tmp_path, files)
    assert len(found) == 1
    assert found[0].startswith("policies/a.rego:10: a `not` over what may be missing")


@pytest.mark.parametrize("condition", [c for c in ALIKE if not c.startswith("not count")])
def test_what_is_alike_is_taken(tmp_path: Path, condition: str) -> None:
    proven(tmp_path, f'{REQUEST}{IMPORTS}{HELPERS}deny contains "x" if {condition}\n')


def test_a_name_bound_before_is_taken(tmp_path: Path) -> None:
    body = "\tx := input.x\n\tnot f(x)\n\tsome t in input.tools\n\tnot t in known\n"
    proven(tmp_path, f'{REQUEST}{HELPERS}deny contains "x" if {{\n{body}}}\n')


@pytest.mark.parametrize(
    "condition",
    ['some {"name": n} in input.tools', '{"id": i} := input.agent', 'input.agent = {"id": i}', 'some [{"a": n}, 1] in input.tools'],
)
def test_an_object_as_a_pattern_is_refused(tmp_path: Path, condition: str) -> None:
    (found,) = problems(tmp_path, f'{REQUEST}deny contains "x" if {{\n\t{condition}\n}}\n')
    assert found.startswith("policies/a.rego:3: an object as a pattern")


def test_an_object_as_a_value_is_taken(tmp_path: Path) -> None:
    proven(tmp_path, f'{REQUEST}deny contains x if {{\n\tx := {{"message": "m"}}\n\tsome [a, b] in [[1, 2]]\n\ta == b\n}}\n')

"""Reading Rego files: what decides, where it is written, and what must not pass for a policy."""

from __future__ import annotations

from pathlib import Path

import pytest
from rego_cases import REQUEST, load, problems, proven, written

from proxy.policy.rego import code, load_rego

DENY = 'deny contains "no" if input.stream\n'
SHADOW = "# METADATA\n# title: Dry\n# custom:\n#   mode: shadow\n"

WRONG = {
    "no package": ("deny := true\n", "policies/a.rego:1: no package"),
    "nobody asks": ("package fleetgate.requests\n" + DENY, "policies/a.rego:1: package fleetgate.requests, which nobody asks"),
    "near miss": ("package fleetgate.requests\n" + DENY, "did you mean fleetgate.request?"),
    "decides nothing": ("\n" + REQUEST + "denied := true\n", "policies/a.rego:2: package fleetgate.request decides nothing"),
    "object": (REQUEST + "deny[x] if x := 1\n", "policies/a.rego:2: deny is an object here; expected deny contains message if ..."),
    "wrong hook": ("package fleetgate.tool_call\nroute := 1\n", "policies/a.rego:2: route in package fleetgate.tool_call"),
    "mode": (
        "# METADATA\n# custom:\n#   mode: dry\n" + REQUEST + DENY,
        "policies/a.rego:2: mode 'dry'; expected enforce or shadow",
    ),
    "metadata": ("# METADATA\n# custom: {\n" + REQUEST + DENY, "policies/a.rego:3: not valid YAML"),
    "nesting": (REQUEST + "deny := " + "[" * 40 + "]" * 40 + "\n", "policies/a.rego:2: brackets nested more than 10 deep"),
    "syntax": (REQUEST + DENY + "deny contains {\n", "policies/a.rego:4: "),
    "unknown function": (
        REQUEST + 'deny contains "x" if {\n\tinput.never\n\tfoo.bar(1)\n}\n',
        "policies/a.rego:4: foo.bar: no such function",
    ),
    "unknown builtin": (REQUEST + 'deny contains "x" if io.jwt.decode(input.x)\n', "policies/a.rego:2: io.jwt.decode: no such function"),
    "network": (
        REQUEST + 'deny contains "x" if http.send({"url": "http://x"}).status == 1\n',
        "policies/a.rego:2: http.send, which reaches out",
    ),
    "recursion": (REQUEST + "f(x) := f(x)\n" + DENY, "policies/a.rego:2: fleetgate.request.f calls itself"),
    "mutual": (
        REQUEST + "f(x) := g(x)\ng(x) := data.fleetgate.request.f(x)\n" + DENY,
        "policies/a.rego:2: fleetgate.request.f calls itself",
    ),
    "rules in a circle": (REQUEST + "a if b\nb if a\ndeny contains 1 if a\n", "policies/a.rego:2: policies/a.rego:2: recursion detected"),
    "unsafe": (REQUEST + "deny contains x if y\n", "policies/a.rego:2: "),
    "raises": (REQUEST + 'deny contains "x" if regex.match("(", input.agent.id)\n', "policies/a.rego:2: policies/a.rego:2: invalid regex"),
    "latin-1": (REQUEST + "# \udce9\n" + DENY, "policies/a.rego:2: not UTF-8 text"),
}


@pytest.mark.parametrize(("text", "expected"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_said_with_its_line(tmp_path: Path, text: str, expected: str) -> None:
    path = written(tmp_path, {}) / "a.rego"
    path.parent.mkdir()
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    found = problems(tmp_path, {})
    assert any(expected in line for line in found), found


def test_all_files_are_read_before_anything_is_said(tmp_path: Path) -> None:
    found = problems(tmp_path, {"a.rego": "x", "b.rego": "package fleetgate.x\n", "data.json": "{", "sub/data.yaml": "- 1\n"})
    assert [line.split(":")[0] for line in found] == ["policies/a.rego", "sub/data.yaml", "data.json", "policies/b.rego"]


def test_what_decides_and_where(tmp_path: Path) -> None:
    policies = load(
        tmp_path,
        {
            "a.rego": "package fleetgate.request.b\n\ndefault allow := false\n\nallow if input.stream\n",
            "b.rego": 'package fleetgate.request.a\n\nimport data.lib\n\ndeny contains "not so" if lib.f(1)\n',
            "lib.rego": "package lib\nf(x) if x == 1\n",
            "a_test.rego": "package whatever\ntest_x if true\n",
            "..old/c.rego": "package fleetgate.nonsense\n",
        },
    )
    assert [(p.path, p.allows, p.shadow) for p in policies.packages["request"]] == [
        ("fleetgate.request.a", False, False),
        ("fleetgate.request.b", True, False),
    ]
    assert policies.packages["tool_call"] == policies.packages["response"] == ()
    assert len(policies.modules) == 3
    first, second = policies.packages["request"]
    assert first.place("deny", "not so") == "policies/b.rego:5"
    assert second.place("allow") == "policies/a.rego:3"
    assert second.place("deny") == "policies/a.rego:1"


def test_words_in_texts_and_comments_are_no_rules(tmp_path: Path) -> None:
    text = REQUEST + '# allow := true\ndeny contains `\nallow := true\n` if input.stream\nx := "\\"#"\n'
    (package,) = load(tmp_path, text).packages["request"]
    assert not package.allows
    assert code('a "b # c" # d\n`e\nf` g').split() == ["a", "g"]


def test_a_package_runs_dry_when_all_its_files_say_so(tmp_path: Path) -> None:
    both = {"a.rego": SHADOW + REQUEST + DENY, "b.rego": "# Other words\n\n" + SHADOW + REQUEST + DENY}
    (package,) = load(tmp_path, both).packages["request"]
    assert package.shadow
    found = problems(tmp_path, {"b.rego": REQUEST + DENY})
    assert found == [
        "policies/b.rego:1: enforces, while another file of package fleetgate.request is in shadow mode; "
        "expected one mode for all files of a package"
    ]


def test_data_stands_below_its_folders(tmp_path: Path) -> None:
    files = {"a.rego": REQUEST + DENY, "data.yaml": "limits: {most: 3}\n", "x/y/data.json": '{"z": 1}'}
    assert load(tmp_path, files).data == {"limits": {"most": 3}, "x": {"y": {"z": 1}}}
    found = problems(tmp_path, {"data.json": '{"limits": 1}'})
    assert found == ["data.json:1: limits stands in another data file too; expected each name once"]


def test_no_folder_and_no_rego_is_no_policy(tmp_path: Path) -> None:
    assert not load_rego(tmp_path / "nothing", tmp_path)
    assert not load(tmp_path, {"data.yaml": "- not even read\n"})


def test_where_there_is_no_embedded_engine_opa_is_pointed_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.policy.embedded.AVAILABLE", False)
    (found,) = problems(tmp_path, REQUEST + DENY)
    assert "no embedded engine" in found
    assert "opa:http://127.0.0.1:8181" in found


def test_a_good_policy_is_proven(tmp_path: Path) -> None:
    lib = "package lib\n# ééé\nimport data.other as o\nf(x) := o.g(x)\n"
    proven(tmp_path, {"a.rego": REQUEST + DENY, "lib.rego": lib, "o.rego": "package other\ng(x) := x\n"})

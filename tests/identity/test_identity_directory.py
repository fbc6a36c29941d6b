"""Files are found once, read in order, combined by folder, and a bad one leaves its agent with the baseline alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from proxy.config import ConfigErrors
from proxy.identity.directory import Directory

ROOT = Path(__file__).parents[2]
BASELINE = "policy: {models: {allow: ['gpt-*']}, budgets: {session: {usd: 5}}}\n"


def write(base: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = base / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def fm(text: str) -> str:
    return f"---\n{text}\n---\n# prose\n"


def load(base: Path, files: dict[str, str], *patterns: str) -> Directory:
    write(base, {"policies/baseline.yaml": BASELINE, **files})
    return Directory.load(base, patterns or ("AGENTS.md",), base / "policies/baseline.yaml")


def test_the_repositorys_own_fleet_is_right() -> None:
    directory = Directory.load(ROOT, ["AGENTS.md"], ROOT / "policies/baseline.yaml")
    assert directory.errors == ()
    assert set(directory.agents) == {"demo", "triage", "researcher", "coder"}
    assert all(grant.description and grant.version and grant.team for grant in directory.agents.values())


def test_files_of_one_agent_intersect_shortest_folder_first(tmp_path: Path) -> None:
    directory = load(
        tmp_path,
        {
            "a/b/AGENTS.md": fm("name: x\nversion: '3'\npolicy: {models: {deny: [gpt-4]}}"),
            "AGENTS.md": fm("name: x\nversion: '1'\npolicy: {models: {allow: ['gpt-4', 'gpt-5', 'claude-x']}}"),
            "agents/x.yaml": "policy: {budgets: {session: {usd: 2}}}",
        },
        "**/AGENTS.md",
        "agents/*.yaml",
    )
    assert directory.errors == ()
    grant = directory.agents["x"]
    assert [c.source.file for c in grant.models] == ["policies/baseline.yaml", "AGENTS.md", "a/b/AGENTS.md"]
    assert [m for m in ("gpt-4", "gpt-5", "claude-x", "gpt-6") if grant.may_use(m)] == ["gpt-5"]
    assert grant.version == "3"
    assert [(b.name, b.limit, b.source.file) for b in grant.budgets] == [("agent:x/session/usd", 2 * 10**9, "agents/x.yaml")]
    assert [p.relative_to(tmp_path).as_posix() for p in directory.files] == [
        "AGENTS.md",
        "a/b/AGENTS.md",
        "agents/x.yaml",
        "policies/baseline.yaml",
    ]


@pytest.mark.parametrize(
    "text",
    [
        fm("name: x\npolicy: {models: {deny: [gpt-5]}, oops: 1}"),
        fm("name: x\npolicy: {models: {deny: [gpt-5]}"),
        fm("name: x\npolicy: {models: {deny: [gpt-5]}, budgets: {session: {usd: -1}}}"),
        fm("agents: [{name: x, policy: {models: {deny: [gpt-5]}}}, {name: x}]"),
    ],
)
def test_a_bad_file_never_half_applies(tmp_path: Path, text: str) -> None:
    directory = load(tmp_path, {"AGENTS.md": text})
    (error,) = directory.errors
    assert error.file == "AGENTS.md"
    grant = directory.grant("x")
    assert grant is not None
    assert [c.source.file for c in grant.models] == ["policies/baseline.yaml"]
    assert grant.may_use("gpt-5")
    assert [b.limit for b in grant.budgets] == [5 * 10**9]


def test_a_bad_file_takes_nothing_from_a_good_one(tmp_path: Path) -> None:
    directory = load(
        tmp_path,
        {"AGENTS.md": fm("name: x\npolicy: {models: {deny: [gpt-5]}}"), "sub/AGENTS.md": fm("name: x\npolicy: {oops: 1}")},
        "**/AGENTS.md",
    )
    assert len(directory.errors) == 1
    assert not directory.agents["x"].may_use("gpt-5")


def test_one_agent_in_two_files_of_a_folder_is_an_error(tmp_path: Path) -> None:
    files = {"agents/one.yaml": "name: x\npolicy: {models: {deny: [gpt-5]}}", "agents/two.yaml": "name: x"}
    directory = load(tmp_path, files, "agents/*.yaml")
    assert [str(e) for e in directory.errors] == [
        "agents/two.yaml:1: agent x is also in agents/one.yaml; expected one file a folder for an agent"
    ]
    assert directory.agents["x"].may_use("gpt-5")


def test_plain_files_and_unknown_agents_give_nothing(tmp_path: Path) -> None:
    directory = load(tmp_path, {"AGENTS.md": "# Build\n\nRun make.\n"})
    assert (dict(directory.agents), directory.errors) == ({}, ())
    assert directory.grant("x") is None


def test_a_plain_path_must_be_a_file(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    directory = load(tmp_path, {}, "missing.md", "folder", "none/*.md")
    assert [str(e) for e in directory.errors] == [
        "missing.md: does not exist; expected a file with agents (see `agents:` in the configuration)",
        "folder: is not a file; expected a file with agents (see `agents:` in the configuration)",
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("policy: {models: {allow: [x], oops: 1}}", "policies/baseline.yaml:1: policy.models.oops: unknown key"),
        ("policy: {id: x}", "policies/baseline.yaml:1: policy.id: an id"),
        ("models: {allow: [x]}", "policies/baseline.yaml:1: models: unknown key"),
        ("policy: [", "policies/baseline.yaml:2: not valid YAML"),
        ("", "policies/baseline.yaml:1: nothing; expected a mapping"),
    ],
)
def test_a_bad_baseline_raises(tmp_path: Path, text: str, words: str) -> None:
    write(tmp_path, {"policies/baseline.yaml": text})
    with pytest.raises(ConfigErrors) as caught:
        Directory.load(tmp_path, [], tmp_path / "policies/baseline.yaml")
    assert str(caught.value).startswith(words)
    with pytest.raises(ConfigErrors, match="cannot be read"):
        Directory.load(tmp_path, [], tmp_path / "nowhere.yaml")


def test_a_baseline_in_shadow_runs_dry(tmp_path: Path) -> None:
    write(tmp_path, {"AGENTS.md": fm("name: x"), "b.yaml": "policy: {mode: shadow, models: {deny: ['*']}}"})
    grant = Directory.load(tmp_path, ["AGENTS.md"], tmp_path / "b.yaml").agents["x"]
    assert grant.may_use("x")
    assert [c.shadow for c in grant.models] == [True]
    assert not grant.shadow


def test_links_are_not_walked_in_circles_and_nothing_is_read_twice(tmp_path: Path) -> None:
    write(tmp_path, {"a/AGENTS.md": fm("name: x"), "node_modules/p/AGENTS.md": fm("name: y"), ".git/AGENTS.md": fm("name: z")})
    (tmp_path / "a/loop").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "a/self").symlink_to(tmp_path / "a/self")
    (tmp_path / "b").symlink_to(tmp_path / "a", target_is_directory=True)
    directory = load(tmp_path, {}, "**/AGENTS.md", "a/AGENTS.md", "b/*.md", "a/self", "*/loop/a/AGENTS.md")
    assert set(directory.agents) == {"x"}
    assert [str(e).partition(";")[0] for e in directory.errors] == ["a/self: does not exist"]
    assert len([p for p in directory.files if p.name == "AGENTS.md"]) == 1


def test_what_is_no_ordinary_file_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "AGENTS.md")
    directory = load(tmp_path, {}, "AGENTS.md", "*.md")
    assert [str(e).partition(";")[0] for e in directory.errors] == ["AGENTS.md: is not a file"]


def test_files_outside_the_folder_keep_their_full_name(tmp_path: Path) -> None:
    write(tmp_path, {"conf/x": "", "agents/a.yaml": "policy: {models: {deny: [x]}}"})
    directory = Directory.load(tmp_path / "conf", [f"{tmp_path}/agents/*.yaml"], None)
    assert directory.agents["a"].models[0].source.file == f"{tmp_path}/agents/a.yaml"


def test_the_digest_follows_every_input(tmp_path: Path) -> None:
    first = load(tmp_path, {"AGENTS.md": fm("name: x")}).digest
    assert load(tmp_path, {}).digest == first
    second = load(tmp_path, {"AGENTS.md": fm("name: x") + "more"}).digest
    write(tmp_path, {"policies/baseline.yaml": BASELINE + "# more\n"})
    third = Directory.load(tmp_path, ["AGENTS.md"], tmp_path / "policies/baseline.yaml").digest
    assert len({first, second, third}) == 3


def test_an_oversized_file_is_refused(tmp_path: Path) -> None:
    directory = load(tmp_path, {"AGENTS.md": fm("name: x") + "x" * (64 << 10)})
    assert str(directory.errors[0]).startswith("AGENTS.md:1: more than 64 KiB")
    assert dict(directory.agents) == {}


def test_many_agents_load_and_stay_apart(tmp_path: Path) -> None:
    write(tmp_path, {f"agents/a{i}.yaml": f"policy: {{models: {{allow: [m{i}]}}}}" for i in range(300)})
    directory = Directory.load(tmp_path, ["agents/*.yaml"], None)
    assert len(directory.agents) == 300
    assert directory.agents["a7"].may_use("m7")
    assert not directory.agents["a7"].may_use("m8")


def test_a_folder_that_is_not_there_has_no_files(tmp_path: Path) -> None:
    directory = Directory.load(tmp_path / "nowhere", ["*.md", "**/*.md"], None)
    assert (dict(directory.agents), directory.errors, directory.files) == ({}, (), ())

"""Files that people edit: each mistake says file, line and what to do; what makes YAML dangerous is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.config import ConfigError, dotted, load_yaml, near, parse_yaml


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a: 1\nb: [1, 2", 3, "not valid YAML"),
        ("a: &x 1\nb: *x", 1, "anchor"),
        ("a: 1\nb: 2\na: 3", 3, "twice"),
        ("a:\n  b: 1\n  b: 2", 3, "twice"),
        ("a: !!python/object:os.system x", 1, "the tag"),
        ("? [1, 2]\n: x", 1, "a key that is not plain text"),
        ("<<: {a: 1}", 1, "plain text"),
        ("a: 1\n---\nb: 2", 2, "not valid YAML"),
        ("a: .nan", 1, "not a number"),
        ("a: .inf", 1, "not a number"),
        ("a: " + "[" * 40 + "]" * 40, 1, "nested more than"),
        ("a: **bold** text", 1, "not valid YAML"),
        ("a: \x00", 1, "not valid YAML"),
    ],
)
def test_what_is_wrong_says_where(text: str, line: int, words: str) -> None:
    with pytest.raises(ConfigError) as e:
        parse_yaml(text, "f.yaml")
    assert (e.value.file, e.value.line) == ("f.yaml", line)
    assert words in str(e.value)
    assert str(e.value).startswith(f"f.yaml:{line}: ")


def test_values_and_their_lines() -> None:
    doc = parse_yaml(
        "a: 1\nb:\n  - x\n  - {c: true, d: null, e: 1.5}\nversion: 1.0\nwhen: 2027-01-31\nhex: 0x10\nbig: 1_000", "f", first_line=10
    )
    assert doc.value == {
        "a": 1,
        "b": ["x", {"c": True, "d": None, "e": 1.5}],
        "version": "1.0",
        "when": "2027-01-31",
        "hex": 16,
        "big": 1000,
    }
    assert [doc.line(p) for p in [("a",), ("b", 1, "c"), ("version",), ("b", 9), ("none",)]] == [10, 13, 14, 11, 10]


def test_an_empty_document_is_none() -> None:
    assert parse_yaml("# nothing\n", "f").value is None


def test_a_file_is_bounded_text(tmp_path: Path) -> None:
    file = tmp_path / "f.yaml"
    file.write_bytes(b"\xef\xbb\xbfa: 1\r\nb: 2\r\n")
    assert load_yaml(file).value == {"a": 1, "b": 2}
    file.write_bytes(b"a: 1\n" * 100)
    with pytest.raises(ConfigError, match="more than"):
        load_yaml(file, max_bytes=64)
    file.write_bytes(b"a: 1\nb: \xff")
    with pytest.raises(ConfigError, match=r":2: not UTF-8"):
        load_yaml(file)
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load_yaml(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="more than 0 KiB"):
        parse_yaml("a: 1", "f", max_bytes=2)


def test_hints_and_paths() -> None:
    assert near("max_bodymb", ["max_body_mb", "port"]) == "did you mean max_body_mb?"
    assert near("x", ["alpha", "beta"]) == "known: alpha, beta"
    assert near("x", [str(i) for i in range(100)]) == ""
    assert dotted(("budgets", 0, "limit", "usd")) == "budgets[0].limit.usd"

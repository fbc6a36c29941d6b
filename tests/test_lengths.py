"""No file of code is longer than what one reads in one sitting: the bound that AGENTS.md names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
MOST = 350
CODE = frozenset({".py", ".js", ".mjs", ".css", ".lua", ".rego", ".sh"})


def code(root: Path) -> Iterator[Path]:
    """Yield what we wrote: neither what others did nor what a client's test installs."""
    for folder in ("proxy", "tests", "benchmarks", "scripts"):
        for path in (root / folder).rglob("*"):
            if path.suffix in CODE and not {"vendor", "node_modules"} & set(path.relative_to(root).parts):
                yield path


def too_long(root: Path) -> dict[str, int]:
    lengths = {path: path.read_bytes().count(b"\n") for path in code(root)}
    return {str(path.relative_to(root)): length for path, length in lengths.items() if length > MOST}


def test_no_file_is_too_long() -> None:
    assert f"up to {MOST} lines" in (ROOT / "AGENTS.md").read_text(encoding="utf-8")
    assert len(list(code(ROOT))) > 500, "they are looked at"
    assert too_long(ROOT) == {}


def test_the_check_can_fail(tmp_path: Path) -> None:
    for name, lines in (("proxy/a.py", MOST + 1), ("tests/b.py", MOST), ("proxy/vendor/c.js", 999), ("proxy/d.json", 999)):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x\n" * lines)
    assert too_long(tmp_path) == {"proxy/a.py": MOST + 1}

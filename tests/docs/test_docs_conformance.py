"""docs/conformance.md is what the matrix says."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "conformance"))

from paper import page

ROOT = Path(__file__).parents[2]


def test_the_page_is_the_matrix() -> None:
    written = (ROOT / "docs" / "conformance.md").read_text(encoding="utf-8")
    assert written == page(), "write it anew: python tests/conformance/paper.py > docs/conformance.md"

"""Writes docs/conformance.md from the matrix: `python tests/conformance/paper.py > docs/conformance.md`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2]))

from bad import BAD, bad_cells
from matrix import OUTCOMES, ROWS, cells
from outcomes import Outcome, Want
from rows import Row

HEAD = """# Conformance

Every protocol operation by every outcome, each cell over real sockets: a real proxy before the [simulated provider](simulator.md).
Generated from `tests/conformance/matrix.py`; run it with `.venv/bin/pytest tests/conformance -q`, and write this page anew with
`.venv/bin/python tests/conformance/paper.py > docs/conformance.md`. {cells} cells, and {bad} requests that should never have been sent.
Providers are asked by Fleetgate's own HTTP client; a part of the cells, and with `TEST_TRANSPORT=aiohttp` all of them, run on aiohttp's.

In each cell five things are asserted:

1. The client saw a well-formed answer or error of its own protocol: status, content type, JSON, the whole sequence of events.
2. One record is left, with outcome, reason, status, protocol, operation, model and stream as they were.
3. What was held is settled once: the provider's usage to the nano; without usage a bound between what it generated and what was held;
   nothing where nothing was sent or nothing costs.
4. Nothing stays held, and what is spent is the sum of the records.
5. The provider was called as often as it should be: not at all for a refusal.

`✓ ✓` is buffered and streamed, `✓` what has no streams. Where there is no such thing a note says why.
"""


def page() -> str:
    """Return the page."""
    notes: dict[str, int] = {}
    parts = [HEAD.format(cells=f"{len(cells()):,}", bad=f"{len(bad_cells()):,}")]
    for title, rows in _groups():
        parts.append(f"\n## {title}\n\n" + "\n".join(_table(rows, notes)) + "\n")
    parts.append(_bad())
    parts.append("\n" + "\n".join(f"[^{number}]: {why[0].upper()}{why[1:]}." for why, number in notes.items()) + "\n")
    return "".join(parts)


def _groups() -> Iterator[tuple[str, list[Row]]]:
    translated = [row for row in ROWS if "->" in row.name]
    for title, protocol in (("OpenAI", "openai"), ("Anthropic", "anthropic"), ("Gemini", "gemini"), ("Ollama", "ollama")):
        rows = [row for row in ROWS if row.protocol == protocol and row not in translated]
        for version in ("v1beta", "v1") if protocol == "gemini" else ("",):
            shown = [row for row in rows if version in row.name.split(",")[0].split(" ") or not version]
            yield (f"{title}, /{version}" if version else title), shown
    for protocol, title in (("openai", "OpenAI's"), ("anthropic", "Anthropic's"), ("gemini", "Gemini's"), ("ollama", "Ollama's")):
        rows = [row for row in translated if row.protocol == protocol]
        if rows:
            yield f"{title} clients, translated", rows


def _table(rows: Sequence[Row], notes: dict[str, int]) -> Iterator[str]:
    yield f"| | {' | '.join(row.name + (_note(row.cannot['stream'], notes) if 'stream' in row.cannot else '') for row in rows)} |"
    yield f"|---|{'---|' * len(rows)}"
    group = ""
    for outcome in OUTCOMES:
        if outcome.group != group:
            group = outcome.group
            yield f"| **{group}** |{' |' * len(rows)}"
        yield f"| {outcome.name} | {' | '.join(_cell(row, outcome, notes) for row in rows)} |"


def _cell(row: Row, outcome: Outcome, notes: dict[str, int]) -> str:
    wants = [outcome.want(row, stream) for stream in (False, True)]
    if "stream" in row.cannot:
        wants.pop()
    shown = ["✓" if isinstance(want, Want) else f"n/a{_note(want, notes)}" for want in wants]
    return shown[0] if set(shown) == {shown[0]} != {"✓"} else " ".join(shown)


def _note(why: str, notes: dict[str, int]) -> str:
    return f"[^{notes.setdefault(why, len(notes) + 1)}]"


def _bad() -> str:
    lines = [
        "\n## Requests that should never have been sent\n",
        "Each of these, at every operation that takes a body, gets a clear 4xx in the protocol's shape or a normal answer: never a 5xx,",
        "never silence; and what is refused never reaches the provider.\n",
        *(f"- {name}" for name in BAD),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())

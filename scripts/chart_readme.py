"""The table of values in charts/fleetgate/README.md, made of the comments in values.yaml (`# -- …` above a key, as helm-docs reads them).

scripts/chart_readme.py            writes the README anew
scripts/chart_readme.py --check    exits with 1 where it would change

A value without such a comment is an error: nothing that people may set is left without words.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml

CHART = Path(__file__).resolve().parents[1] / "charts" / "fleetgate"
BEGIN, END = "<!-- values: made by scripts/chart_readme.py -->", "<!-- end of values -->"
KEY = re.compile(r"^(?P<indent> *)(?P<key>[A-Za-z]\w*):(?P<rest>.*)$")


def rows(text: str) -> Iterator[tuple[str, str, str]]:
    """Yield path, default as JSON, and meaning of every value in the text of a values.yaml.

    Raises:
        ValueError: a value has no comment.
    """
    path, comment = list[tuple[int, str]](), list[str]()
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if stripped.startswith("# -- "):
            comment = [stripped.removeprefix("# -- ")]
        elif stripped.startswith("# ") and comment:
            comment.append(stripped.removeprefix("# "))
        elif found := KEY.match(line):
            indent = len(found["indent"])
            path = [step for step in path if step[0] < indent] + [(indent, found["key"])]
            if not found["rest"].strip():  # a section: its values follow
                continue
            name = ".".join(key for _, key in path)
            if not comment:
                raise ValueError(f"values.yaml:{number}: {name} has no comment that begins with `# --`")
            yield name, json.dumps(yaml.safe_load(found["rest"])), " ".join(comment)
            comment = []


def readme(old: str, values: str) -> str:
    """Return the README `old` with the table of `values`."""
    before, rest = old.split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    lines = ["| Value | Default | Meaning |", "|---|---|---|"]
    lines += [f"| `{name}` | `{default.replace('|', chr(92) + '|')}` | {text} |" for name, default, text in rows(values)]
    return before + BEGIN + "\n" + "\n".join(lines) + "\n" + END + after


def main(arguments: list[str]) -> int:
    """Write the README, or say that it is stale."""
    file = CHART / "README.md"
    old = file.read_text(encoding="utf-8")
    new = readme(old, (CHART / "values.yaml").read_text(encoding="utf-8"))
    if "--check" in arguments:
        return int(new != old)
    file.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Where a file keeps its metadata: finds the YAML or JSON in it and parses that, and does not look at what it says.

Four carriers: a whole YAML file (sidecar); YAML front matter; the first fenced block whose info string is `yaml agent-policy`; and an
HTML comment `<!-- agent-policy: {json} -->`. What only looks like front matter is prose, and prose is never an error: no second `---`,
or not a mapping, or not YAML and without any key of ours. A carrier that is meant (it has our marker or our keys) and cannot be read
is a ConfigError.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from proxy.config import ConfigError, Doc, parse_yaml

MAX_BYTES = 64 << 10
"""Cap on a file that carries metadata: agents can edit theirs."""

Carrier = Literal["sidecar", "front matter", "fenced block", "comment"]

_ours = re.compile(r"^[ \t]*(?:-[ \t]+)?[\"']?(?:name|id|agent_id|policy|agents|permissions|governance)[\"']?[ \t]*:", re.MULTILINE)
_name = re.compile(
    r"^[ \t]*(?:-[ \t]+)?[\"']?(?:name|agent_id)[\"']?[ \t]*:[ \t]*[\"']?([a-z0-9][a-z0-9._/-]*)[\"']?[ \t]*(?:#.*)?$", re.MULTILINE
)
_fence = re.compile(r" {0,3}(`{3,}|~{3,})(.*)$")
_comment = re.compile(r"<!--[ \t\n]*agent-policy:")


@dataclass(frozen=True, slots=True)
class Block:
    """One carrier of a file, parsed. `doc.value` is a mapping."""

    carrier: Carrier
    doc: Doc


def blocks(text: str, file: str) -> list[Block]:
    """Return the metadata blocks of `text`, in order of authority.

    Raises:
        ConfigError: a block that is meant as metadata cannot be read.
    """
    if file.endswith((".yaml", ".yml", ".json")):
        doc = parse_yaml(text, file, max_bytes=MAX_BYTES)
        if doc.value is None:
            return []
        return [_mapping(Block("sidecar", doc))]
    lines = text.split("\n")
    start, found = _front(text, lines, file)
    return found + _inside(lines, start, file)


def names_in(text: str) -> tuple[str, ...]:
    """Return the agent names that a file which cannot be parsed seems to define, as far as they can be read."""
    return tuple(dict.fromkeys(m.group(1) for m in _name.finditer(text)))


def _mapping(block: Block) -> Block:
    if not isinstance(block.doc.value, dict):
        raise block.doc.error((), f"the {block.carrier} is not a mapping", "keys and values, such as `name: my-agent`")
    return block


def _front(text: str, lines: Sequence[str], file: str) -> tuple[int, list[Block]]:
    """Return the index of the first line after the front matter (0 without one), and its block if it carries metadata."""
    first = _skip_comments(lines)
    if first >= len(lines) or lines[first].rstrip() != "---":
        return 0, []
    last = next((i for i in range(first + 1, len(lines)) if lines[i].rstrip() in ("---", "...")), None)
    if last is None:
        if re.match(r"(?:name|agent_id|policy|agents)[ \t]*:", lines[first + 1] if first + 1 < len(lines) else ""):
            raise ConfigError(file, first + 1, "front matter that never ends", "a line `---` after it")
        return 0, []
    body = "\n".join(lines[first + 1 : last])
    try:
        doc = parse_yaml(body, file, first_line=first + 2, max_bytes=MAX_BYTES)
    except ConfigError:
        if _ours.search(body):
            raise
        return last + 1, []
    return last + 1, [Block("front matter", doc)] if isinstance(doc.value, dict) else []


def _skip_comments(lines: Sequence[str]) -> int:
    """Return the index of the first line that is neither blank nor part of a leading HTML comment."""
    inside = False
    for i, line in enumerate(lines):
        text = line.strip()
        if not inside and text and not text.startswith("<!--"):
            return i
        inside = (inside or text.startswith("<!--")) and "-->" not in text
    return len(lines)


def _inside(lines: Sequence[str], start: int, file: str) -> list[Block]:
    """Return the fenced block and the comment found from line index `start` on, the first of each."""
    found: dict[Carrier, Block] = {}
    for i, fence in _outside_fences(lines, start):
        if fence is not None and "fenced block" not in found:
            body = "\n".join(lines[i + 1 : fence])
            if fence >= len(lines):
                raise ConfigError(file, i + 1, "an agent-policy block that never ends", f"a closing {lines[i].strip()[:3]}")
            doc = parse_yaml(body, file, first_line=i + 2, max_bytes=MAX_BYTES)
            found["fenced block"] = _mapping(Block("fenced block", doc))
        elif fence is None and "comment" not in found and (match := _comment.search("\n".join(lines[i : i + 2]))):
            found["comment"] = _mapping(Block("comment", _read_comment(lines, i, match.end(), file)))
    return [found[c] for c in ("fenced block", "comment") if c in found]


def _outside_fences(lines: Sequence[str], start: int) -> Iterator[tuple[int, int | None]]:
    """Yield (index, None) for each line outside fences that opens a comment, and (open, close) for each `yaml agent-policy` fence."""
    i = start
    while i < len(lines):
        match = _fence.match(lines[i])
        if not match:
            if "<!--" in lines[i]:
                yield i, None
            i += 1
            continue
        mark, info = match.group(1), match.group(2)
        close = i + 1
        while close < len(lines) and not _closes(lines[close], mark):
            close += 1
        if info.split() == ["yaml", "agent-policy"]:
            yield i, close
        i = close + 1


def _closes(line: str, mark: str) -> bool:
    match = _fence.match(line)
    return bool(match and not match.group(2).strip() and match.group(1)[0] == mark[0] and len(match.group(1)) >= len(mark))


def _read_comment(lines: Sequence[str], index: int, offset: int, file: str) -> Doc:
    text = "\n".join(lines[index:])
    end = text.find("-->", offset)
    if end < 0:
        raise ConfigError(file, index + 1, "an agent-policy comment that never ends", "-->")
    body = text[offset:end]
    line = index + 1 + text.count("\n", 0, offset)
    return parse_yaml(" " * 4 + body.lstrip(" \t") if not body.startswith("\n") else body, file, first_line=line, max_bytes=MAX_BYTES)

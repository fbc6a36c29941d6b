"""Reading the files that people edit: YAML with the line of every value, and one kind of error.

A value read here is a `Doc`: plain Python data plus a table of lines, so that every later check can say `file:line`. Anchors, aliases,
tags, duplicate keys and files over the cap are refused: they are how a small file becomes a large one, or says two things at once.
"""

from __future__ import annotations

import difflib
import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

KeyPath = tuple[str | int, ...]


class ConfigError(Exception):
    """Something is wrong in a file: where, what was found, what was expected, and what to do about it."""

    def __init__(self, file: str, line: int, got: str, expected: str = "", hint: str = "", path: KeyPath = ()) -> None:
        self.file, self.line, self.got, self.expected, self.hint, self.path = file, line, got, expected, hint, path
        super().__init__(str(self))

    def __str__(self) -> str:
        at = f"{self.file}:{self.line}" if self.line else self.file
        key = f"{dotted(self.path)}: " if self.path else ""
        expected = f"; expected {self.expected}" if self.expected else ""
        hint = f" ({self.hint})" if self.hint else ""
        return f"{at}: {key}{self.got}{expected}{hint}"


class ConfigErrors(Exception):
    """All that is wrong in one set of files, so that nobody has to fix them one run at a time."""

    def __init__(self, errors: Sequence[ConfigError]) -> None:
        self.errors = tuple(errors)
        super().__init__("\n".join(str(e) for e in errors))


def dotted(path: KeyPath) -> str:
    """Return `("budgets", 0, "name")` as `budgets[0].name`.

    For the same path it is the same text: thousands of agents name the same keys.
    """
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return sys.intern(text)


@dataclass(slots=True)
class Doc:
    """Data of one file: `value` is plain Python, `lines` gives the 1-based line of each path in it."""

    file: str
    value: Any
    lines: dict[KeyPath, int] = field(default_factory=dict)

    def line(self, path: KeyPath) -> int:
        """Return the line of `path`, or of the nearest parent that has one."""
        while path not in self.lines and path:
            path = path[:-1]
        return self.lines.get(path, 1)

    def error(self, path: KeyPath, got: str, expected: str = "", hint: str = "") -> ConfigError:
        """Return (do not raise) the error for the value at `path`."""
        return ConfigError(self.file, self.line(path), got, expected, hint, path)


_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def parse_yaml(text: str, file: str, first_line: int = 1, max_bytes: int = 1 << 20) -> Doc:
    """Return the YAML document `text`, whose first line is line `first_line` of `file`.

    Raises:
        ConfigError: not YAML, or YAML with anchors, tags, duplicate or non-text keys, more than one document, or over `max_bytes`.
    """
    if len(text.encode("utf-8", "surrogatepass")) > max_bytes:
        raise ConfigError(file, first_line, f"more than {max_bytes // 1024} KiB", "a smaller file")
    offset = first_line - 1
    try:
        for event in yaml.parse(text, Loader=_Loader):
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
                mark = event.start_mark
                raise ConfigError(file, (mark.line if mark else 0) + 1 + offset, "an anchor or alias", "the value itself", "write it out")
        node = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as e:
        mark = e.problem_mark or e.context_mark
        line = (mark.line if mark else 0) + 1 + offset
        raise ConfigError(file, line, f"not valid YAML: {e.problem or e.context}", hint="quote text that has : # * & or {") from None
    except (yaml.YAMLError, RecursionError, ValueError) as e:
        raise ConfigError(file, first_line, f"not valid YAML: {str(e).splitlines()[0]}") from None
    doc = Doc(file, None)
    doc.value = None if node is None else _construct(node, (), doc, offset, 0)
    return doc


def _construct(node: yaml.Node, path: KeyPath, doc: Doc, offset: int, depth: int) -> Any:
    line = node.start_mark.line + 1 + offset
    doc.lines.setdefault(path, line)
    if depth > 32:
        raise ConfigError(doc.file, line, "nested more than 32 levels deep", path=path)
    if isinstance(node, yaml.MappingNode):
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = _key(key_node, doc, offset, path)
            at = (*path, key)
            if key in found:
                raise ConfigError(doc.file, key_node.start_mark.line + 1 + offset, "this key stands here twice", "each key once", path=at)
            doc.lines[at] = key_node.start_mark.line + 1 + offset
            found[key] = _construct(value_node, at, doc, offset, depth + 1)
        return found
    if isinstance(node, yaml.SequenceNode):
        return [_construct(item, (*path, i), doc, offset, depth + 1) for i, item in enumerate(node.value)]
    return _scalar(node, doc, line, path)


def _key(node: yaml.Node, doc: Doc, offset: int, path: KeyPath) -> str:
    if not isinstance(node, yaml.ScalarNode) or node.tag == "tag:yaml.org,2002:merge":
        raise ConfigError(doc.file, node.start_mark.line + 1 + offset, "a key that is not plain text", "text", path=path)
    return str(node.value)


def _scalar(node: yaml.Node, doc: Doc, line: int, path: KeyPath) -> Any:
    tag = node.tag.removeprefix("tag:yaml.org,2002:")
    text = str(node.value)
    if tag == "str" or (path and path[-1] == "version"):
        return text
    if tag == "null":
        return None
    if tag == "bool":
        return text.lower() in ("true", "yes", "on")
    try:
        if tag == "int":
            return int(text.replace("_", ""), 0)
        if tag == "float":
            number = float(text.replace("_", "").replace(".inf", "inf").replace(".nan", "nan").replace(".NaN", "nan"))
            if math.isfinite(number):
                return number
            raise ConfigError(doc.file, line, f"{text} is not a number one can count to", "a finite number", path=path)
    except ValueError:
        return text  # 1:30 (sexagesimal) and 0o7-like spellings: text, and the reader of the field says what it wanted
    if tag == "timestamp":
        return text
    raise ConfigError(doc.file, line, f"the tag {node.tag}", "plain data", path=path)


def read_text(path: Path, file: str, max_bytes: int) -> str:
    """Return the text of `path` without a byte-order mark and with `\\n` line ends.

    Raises:
        ConfigError: unreadable, over `max_bytes`, or not UTF-8.
    """
    try:
        with path.open("rb") as f:
            raw = f.read(max_bytes + 1)
    except OSError as e:
        raise ConfigError(file, 0, f"cannot be read: {e.strerror or e}", "a readable file") from None
    if len(raw) > max_bytes:
        raise ConfigError(file, 1, f"more than {max_bytes // 1024} KiB", "a smaller file")
    try:
        return raw.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as e:
        line = raw.count(b"\n", 0, e.start) + 1
        raise ConfigError(file, line, "not UTF-8 text", "UTF-8") from None


def load_yaml(path: Path, file: str | None = None, max_bytes: int = 1 << 20) -> Doc:
    """Return the YAML file at `path`; `file` is how messages name it (default: the path itself)."""
    name = file or str(path)
    return parse_yaml(read_text(path, name, max_bytes), name, max_bytes=max_bytes)


def near(word: str, known: Iterable[str]) -> str:
    """Return a hint naming the nearest of `known` to `word`, or all of them when few, or nothing."""
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]}?"
    return f"known: {', '.join(names)}" if 0 < len(names) <= 30 else ""

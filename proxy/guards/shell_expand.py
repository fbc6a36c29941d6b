"""Expands shell words as far as they are constant: variables that were set, defaults, output of `echo` and decoders, braces, splitting.

What is not known is a hole. Where a text came from stays with it (`Value.taint`). Bounded: no word grows beyond `LONGEST` characters.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from fnmatch import fnmatchcase

from proxy.guards.findings import TooComplex, Value
from proxy.guards.paths import HOLE
from proxy.guards.shell_nodes import Output, Part, Script, Text, Variable, Word

LONGEST = 65_536
FIELDS = 4096
_BRACES = re.compile(r"\{([^{}\ue001]*,[^{}]*)\}")
_HIDE = str.maketrans("{,}", "\ue000\ue001\ue002")
_SHOW = str.maketrans("\ue000\ue001\ue002", "{,}")
_SPACE = re.compile(r"[ \t\n]+")
_UNQUOTED_GLOB = "*?["
_KNOWN = {
    "HOME": "~",
    "IFS": " ",
    "PWD": ".",
    "SHELL": "/bin/bash",
    "0": "bash",
    "TMPDIR": "/tmp",  # noqa: S108
    "XDG_CONFIG_HOME": "~/.config",
    "EUID": "",
    "": "",
}
_SECRET_NAME = re.compile(r"(?i).*(secret|token|passw|api_?key|private_?key|credential)")


def braces(word: Word) -> list[str] | None:
    """Return the words that `{a,b}` makes of a constant word; None where there is none."""
    if not any(isinstance(p, Text) and not p.quoted and "{" in p.text for p in word) or not all(isinstance(p, Text) for p in word):
        return None
    texts = ["".join(p.text.translate(_HIDE) if p.quoted else p.text for p in word if isinstance(p, Text))]
    for _ in range(16):
        if sum(map(len, texts)) > LONGEST or not any(_BRACES.search(text) for text in texts):
            break
        grown: list[str] = []
        for text in texts:
            match = _BRACES.search(text)
            choices = match[1].split(",") if match else [""]
            grown += [text[: match.start()] + c + text[match.end() :] for c in choices] if match else [text]
        texts = grown[: FIELDS + 1]
    return [text.translate(_SHOW) for text in texts] if len(texts) > 1 else None


class Expander(ABC):
    """Holds variables and expands words with them."""

    def __init__(self) -> None:
        """Know what every shell knows."""
        self.variables: dict[str, Value] = {}
        self.positional: list[str] = []
        self._taint: set[str] = set()

    @abstractmethod
    def output(self, script: Script) -> Value:
        """Judge a substitution and return what it prints."""

    def fields(self, words: list[Word]) -> tuple[list[str], frozenset[str]]:
        """Return the arguments that `words` make, and what they were made of."""
        before, self._taint = self._taint, set()
        found: list[str] = []
        for word in words:
            if len(found) > FIELDS:
                raise TooComplex
            if len(word) == 1 and isinstance(word[0], Text) and "{" not in word[0].text:
                found.append(word[0].text)
            elif (many := braces(word)) is not None:
                found += many
            else:
                found += self._split(word)
        taint, self._taint = frozenset(self._taint), before
        return found, taint

    def joined(self, word: Word) -> Value:
        """Return the one text that `word` makes where it is not split: assignments, redirections, documents."""
        before, self._taint = self._taint, set()
        text = "".join(self._part(part) for part in word)[:LONGEST]
        taint, self._taint = frozenset(self._taint), before
        return Value(text, taint)

    def _split(self, word: Word) -> list[str]:
        found: list[str] = []
        current: str | None = None
        for part in word:
            text = self._part(part)
            if isinstance(part, Text) or part.quoted:
                if isinstance(part, Variable) and part.name == "@" and len(word) <= 2:
                    self._part(part)
                    found += self.positional
                    continue
                current = (current or "") + text
                continue
            pieces = self._separator().split(text)
            for i, piece in enumerate(pieces):
                if i:
                    found += [current] if current is not None else []
                    current = None
                if piece:
                    current = (current or "") + piece
        found += [current] if current is not None else []
        return found

    def _separator(self) -> re.Pattern[str]:
        separator = self.variables.get("IFS", Value(" ")).text.replace(HOLE, "")
        return _SPACE if not separator.strip() else re.compile(f"[{re.escape(separator[:16])}]+")

    def _part(self, part: Part) -> str:
        if isinstance(part, Text):
            return part.text
        if isinstance(part, Output):
            value = self.output(part.script)
            self._taint |= value.taint
            return value.text.rstrip("\n") if not part.via else "/dev/fd/" + HOLE
        return self._variable(part)[:LONGEST]

    def _variable(self, part: Variable) -> str:
        value = self._lookup(part.name)
        rest = Value("", frozenset())
        if part.rest:
            rest = self.joined(part.rest)
        op = part.op
        if op == "!" and value and HOLE not in value.text:
            value = self._lookup(value.text)
        known = value is not None and HOLE not in value.text
        if op == "#len" or part.name == "((":
            return str(len(value.text)) if known and value and part.name != "((" else HOLE
        if op in (":-", "-", ":=", "=") and (value is None or not value.text):
            value = rest
            if op.endswith("="):
                self.variables[part.name] = rest
        elif op in (":+", "+"):
            value = rest if value else Value("")
        elif op and value and known:
            value = Value(_edited(value.text, op, rest.text), value.taint)
        if value is None:
            self._taint |= {"token"} if _SECRET_NAME.match(part.name) else set()
            return HOLE
        self._taint |= value.taint
        return value.text

    def _lookup(self, name: str) -> Value | None:
        if name in self.variables:
            return self.variables[name]
        if name in ("@", "*"):
            return Value(" ".join(self.positional)) if self.positional else None
        if name.isdigit() and 0 < int(name) <= len(self.positional):
            return Value(self.positional[int(name) - 1], self.variables.get("@taint", Value("")).taint)
        return Value(_KNOWN[name]) if name in _KNOWN else None


def _edited(text: str, op: str, rest: str) -> str:
    """Return what `${x<op>rest}` makes of a known text."""
    if HOLE in rest:
        return HOLE
    if op == ":":
        return _slice(text, rest)
    if op[0] in "^,":
        changed = text.upper() if op[0] == "^" else text.lower()
        return changed if len(op) == 2 else changed[:1] + text[1:]
    if op[0] == "/":
        old, _, new = rest.partition("/")
        plain = old.replace("\\", "")
        if any(c in old for c in _UNQUOTED_GLOB) or not plain:
            return HOLE
        return text.replace(plain, new, -1 if op.startswith("//") else 1)
    ends = range(len(text) + 1) if len(text) < 512 else range(0)
    if op[0] == "#":
        cuts = [i for i in ends if fnmatchcase(text[:i], rest)]
        return text[(max(cuts) if op == "##" else min(cuts)) :] if cuts else text
    if op[0] == "%":
        cuts = [i for i in ends if fnmatchcase(text[i:], rest)]
        return text[: (min(cuts) if op == "%%" else max(cuts))] if cuts else text
    return HOLE if op == "@" else text


def _slice(text: str, rest: str) -> str:
    numbers = rest.replace(" ", "").split(":")
    try:
        start = int(numbers[0] or 0)
        length = int(numbers[1]) if len(numbers) > 1 else len(text)
    except ValueError:
        return HOLE
    start = max(len(text) + start, 0) if start < 0 else start
    return text[start : start + length] if length >= 0 else text[start:length]

"""Reads the words of shell text: quoting, escapes, variables, substitutions, redirections, here-documents.

`WordReader` stands at a place in a text and moves on; what is inside a substitution is read by its `_list`, which `shell_reader` gives it.
Nothing is expanded here. It never fails on what a text holds, except with `TooComplex`.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod

from proxy.guards.findings import TooComplex
from proxy.guards.shell_nodes import COMMANDS, DEPTH, PIECES, Output, Redirect, Script, Simple, Text, Variable, Word

PLAIN = re.compile(r"[^\s'\"\\$`|&;()<>]+")
NAME = re.compile(r"[A-Za-z_]\w*|\d|[@*#?$!-]")
BLANK = re.compile(r"(?:[ \t\r\f\v]|\\\r?\n)+")
REDIRECT = re.compile(r"(\d*|\{\w+\})(<<<|<<-|<<|<>|>>|>\||>&|<&|&>>|&>|<(?!\()|>(?!\())")
_IN_DOUBLE = re.compile(r"[^\"\\$`]+")
_IN_BRACES = re.compile(r"[^'\"\\$`}]+")
_ASSIGN = re.compile(r"([A-Za-z_]\w*)(?:\[[^\]\n]*\])?\+?=")
_BRACED = re.compile(r"\{([!#]?)([A-Za-z_]\w*|\d+|[@*#?$!-])(\[[^\]}\n]*\])?(:?[-=+?]|##?|%%?|//?[#%]?|\^\^?|,,?|:|@)?")
_ANSI = re.compile(r"'((?:[^'\\]|\\.)*)'", re.DOTALL)
_ESCAPE = re.compile(r"\\(x[0-9A-Fa-f]{1,2}|u[0-9A-Fa-f]{1,4}|U[0-9A-Fa-f]{1,8}|[0-7]{1,4}|c.|.)", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "e": "\x1b", "E": "\x1b", "f": "\f", "v": "\v"}
_LONGEST_TEXT = 200


def unescape(text: str) -> str:
    """Return what `$'text'`, `printf` and `echo -e` make of `text`."""
    return _ESCAPE.sub(_one_escape, text).replace("\0", "") if "\\" in text else text


def _one_escape(match: re.Match[str]) -> str:
    code = match[1]
    if code[0] in "xuU" and len(code) > 1:
        return chr(min(int(code[1:], 16), 0x10FFFF))
    if code[0] in "01234567":
        return chr(int(code, 8))
    return _ESCAPES.get(code[0], code if code in "\\'\"?" else "\\" + code)


class WordReader(ABC):
    """Reads one text; `depth` is how deep in another it stands."""

    def __init__(self, text: str, depth: int = 0) -> None:
        """Stand at the start of `text`."""
        self._text = text
        self._at = 0
        self._end = len(text)
        self._depth = depth
        self._left = COMMANDS
        self._pieces = PIECES
        self._documents: list[tuple[Redirect, str, bool, bool]] = []

    @abstractmethod
    def _list(self, stops: frozenset[str] = frozenset(), closer: str = "") -> Script:
        """Read commands up to a word of `stops` (left there) or `closer` (gone past)."""

    @abstractmethod
    def _nested(self, text: str) -> Script:
        """Read another text as commands, one level deeper."""

    def _blanks(self) -> None:
        if blank := BLANK.match(self._text, self._at):
            self._at = blank.end()

    # Simple commands

    def _simple(self) -> Simple:
        node = Simple()
        text, start = self._text, self._at
        while True:
            self._blanks()
            if self._at >= self._end:
                break
            char = text[self._at]
            match = REDIRECT.match(text, self._at) if char in "<>&{0123456789" else None
            if match:
                node.redirects.append(self._redirect(match))
            elif char in "\n;&|()" or (char == "#" and text[self._at - 1 : self._at] in ("", " ", "\t", "\n", ";", "&", "|")):
                break
            elif not node.words and (assign := _ASSIGN.match(text, self._at)):
                self._at = assign.end()
                node.assigns.append((assign[1], self._values()))
            else:
                node.words.append(self._word())
        node.text = text[start : min(self._at, start + _LONGEST_TEXT)]
        return node

    def _values(self) -> list[Word]:
        if self._at < self._end and self._text[self._at] == "(":
            self._at += 1
            found: list[Word] = []
            while self._at < self._end:
                self._blanks()
                char = self._text[self._at : self._at + 1]
                if char == ")":
                    self._at += 1
                    break
                if char in "\n;&|(<>":
                    self._at += 1
                    continue
                found.append(self._word())
            return found
        return [self._word()] if self._at < self._end and self._text[self._at] not in " \t\n;&|)" else [[]]

    def _redirect(self, match: re.Match[str]) -> Redirect:
        self._at = match.end()
        self._blanks()
        found = Redirect(match[2], [], match[1])
        start = self._at
        word = self._word() if self._at < self._end and self._text[self._at] not in "\n;&|()" else []
        if match[2] in ("<<", "<<-"):
            raw = self._text[start : self._at]
            end = "".join(part.text for part in word if isinstance(part, Text)) if word else raw
            quoted = any(char in raw for char in "'\"\\")
            self._documents.append((found, end, quoted, match[2] == "<<-"))
            found.op = "<<"
        else:
            found.word = word
        return found

    def _read_documents(self) -> None:
        """Read the here-documents that begin at this line."""
        for redirect, end, quoted, tabs in self._documents:
            closing = re.compile(rf"^{'	*' if tabs else ''}{re.escape(end)}[ \t]*\r?$", re.MULTILINE).search(self._text, self._at)
            stop = closing.start() if closing else self._end
            body = self._text[self._at : stop]
            redirect.word = [Text(body, quoted=True)] if quoted else self._document(body)
            self._at = min(closing.end() + 1 if closing else self._end, self._end)
        self._documents.clear()

    def _document(self, body: str) -> Word:
        if "$" not in body and "`" not in body and "\\" not in body:
            return [Text(body, quoted=True)]
        inner = type(self)(body, self._depth + 1)
        if inner._depth > DEPTH:
            raise TooComplex
        return inner._quoted_parts(closer="")

    # Words

    def _spend(self) -> None:
        self._pieces -= 1
        if self._pieces < 0:
            raise TooComplex

    def _word(self) -> Word:
        self._spend()
        parts: Word = []
        text = self._text
        while self._at < self._end:
            if plain := PLAIN.match(text, self._at):
                parts.append(Text(plain[0]))
                self._at = plain.end()
                continue
            char = text[self._at]
            if char in "<>" and text.startswith("(", self._at + 1):
                self._at += 2
                parts.append(Output(self._list(closer=")"), via=char))
            elif char in " \t\n\r\f\v;|&()<>" or char.isspace():
                if (not parts and char in "\f\v") or (char.isspace() and char not in " \t\n\r\f\v"):
                    self._at += 1
                break
            else:
                self._quoting(char, parts)
        return parts

    def _quoting(self, char: str, parts: Word) -> None:
        self._spend()
        text = self._text
        if char == "\\":
            if self._at + 1 < self._end and text[self._at + 1] != "\n":
                parts.append(Text(text[self._at + 1], quoted=True))
            self._at = min(self._at + 2, self._end)
        elif char == "'":
            end = text.find("'", self._at + 1)
            end = self._end if end < 0 else end
            parts.append(Text(text[self._at + 1 : end], quoted=True))
            self._at = min(end + 1, self._end)
        elif char == '"':
            self._at += 1
            parts += self._quoted_parts(closer='"')
        elif char == "`":
            parts.append(self._backtick(quoted=False))
        else:
            self._dollar(parts, quoted=False)

    def _quoted_parts(self, closer: str) -> Word:
        parts: Word = [Text("", quoted=True)]
        text = self._text
        while self._at < self._end:
            if plain := _IN_DOUBLE.match(text, self._at):
                parts.append(Text(plain[0], quoted=True))
                self._at = plain.end()
                continue
            self._spend()
            char = text[self._at]
            if char == '"':
                self._at += 1
                if closer:
                    break
                parts.append(Text('"', quoted=True))
            elif char == "\\":
                after = text[self._at + 1 : self._at + 2]
                if after != "\n":
                    parts.append(Text(after if after in '$`"\\' else "\\" + after, quoted=True))
                self._at = min(self._at + 2, self._end)
            elif char == "`":
                parts.append(self._backtick(quoted=True))
            else:
                self._dollar(parts, quoted=True)
        return parts

    def _backtick(self, *, quoted: bool) -> Output:
        at = self._at + 1
        while (close := self._text.find("`", at)) > 0 and self._text[close - 1] == "\\":
            at = close + 1
        close = self._end if close < 0 else close
        inner = re.sub(r"\\([$`\\])", r"\1", self._text[self._at + 1 : close])
        self._at = min(close + 1, self._end)
        return Output(self._nested(inner), quoted)

    def _dollar(self, parts: Word, *, quoted: bool) -> None:
        text = self._text
        after = text[self._at + 1 : self._at + 2]
        if after == "(":
            end = text.find("))", self._at) if text.startswith("((", self._at + 1) else -1
            if end > 0:
                inner = text[self._at + 3 : end]
                self._at = end + 2
                parts.append(Variable("((", quoted, rest=[Output(self._nested(inner))] if "$(" in inner or "`" in inner else None))
                return
            self._at += 2
            parts.append(Output(self._list(closer=")"), quoted))
        elif after == "{":
            parts.append(self._braced(quoted=quoted))
        elif after == "'" and not quoted and (ansi := _ANSI.match(text, self._at + 1)):
            parts.append(Text(unescape(ansi[1]), quoted=True))
            self._at = ansi.end()
        elif after == '"' and not quoted:
            self._at += 1
        elif name := NAME.match(text, self._at + 1):
            parts.append(Variable(name[0], quoted))
            self._at = name.end()
        else:
            parts.append(Text("$", quoted=True))
            self._at += 1

    def _braced(self, *, quoted: bool) -> Variable:
        match = _BRACED.match(self._text, self._at + 1)
        if not match:
            self._at += 2
            name, op, prefix = "", "", ""
        else:
            self._at = match.end()
            prefix, name, op = match[1], match[2], match[4] or ""
            # All of an array: as many words as it has, quoted or not.
            quoted = quoted and match[3] not in ("[@]", "[*]")
        rest = self._rest_of_braces()
        return Variable(name, quoted, op="#len" if prefix == "#" else "!" if prefix else op, rest=rest)

    def _rest_of_braces(self) -> Word:
        rest: Word = []
        if self._depth > DEPTH:
            raise TooComplex
        self._depth += 1
        while self._at < self._end and self._text[self._at] != "}":
            if plain := _IN_BRACES.match(self._text, self._at):
                rest.append(Text(plain[0]))
                self._at = plain.end()
            else:
                self._quoting(self._text[self._at], rest)
        self._at = min(self._at + 1, self._end)
        self._depth -= 1
        return rest

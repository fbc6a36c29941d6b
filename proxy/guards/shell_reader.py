"""Reads shell text into commands: lists, pipelines, compound commands. It runs and expands nothing.

One pass over the text, in linear time; `TooComplex` where nesting or the number of commands is beyond what is judged. It is as lenient as
shells are, and more: what a shell would refuse is read as far as it goes, since tools repair and retry what they are given.

Source: POSIX.1-2024, XCU 2 (Shell Command Language); the Bash Reference Manual 5.3 for `$'..'`, `<(..)`, `&>`, `[[`, `{a,b}`.
"""

from __future__ import annotations

import re

from proxy.guards.findings import TooComplex
from proxy.guards.shell_nodes import DEPTH, Function, Group, Node, Pipeline, Redirect, Script, Simple, Text
from proxy.guards.shell_words import BLANK, NAME, PLAIN, REDIRECT, WordReader

_KEYWORD = re.compile(
    r"(if|then|else|elif|fi|for|select|while|until|do|done|case|esac|function|time|coproc|in|\{|\}|!|\[\[)(?=[\s;|&()<>]|$)"
)
_DEFINE = re.compile(r"([^\s;|&()<>'\"$`=]+)[ \t]*\([ \t]*\)")
_EMPTY = re.compile(r"\([ \t]*\)")
_BLOCK = frozenset({"then", "else", "elif", "do", "fi", "done"})
_CONDITION = re.compile(r"[<>|&()]+")


class Reader(WordReader):
    """Reads one text as a shell script."""

    def script(self) -> Script:
        """Read all of it.

        Raises:
            TooComplex: it nests too deep or holds too many commands.
        """
        found: Script = []
        while self._at < self._end:
            found += self._list()
            if self._at < self._end:
                self._at += 1
        return found

    # Lists and compound commands

    def _list(self, stops: frozenset[str] = frozenset(), closer: str = "") -> Script:
        if self._depth > DEPTH:
            raise TooComplex
        self._depth += 1
        found: Script = []
        while self._skip() < self._end:
            char = self._text[self._at]
            if char == ")":
                self._at += bool(closer)
                break
            word = _KEYWORD.match(self._text, self._at)
            if word and word[1] in stops:
                break
            before = self._at
            found.append(self._pipeline())
            if self._at == before:
                self._at += 1
        self._depth -= 1
        return found

    def _nested(self, text: str) -> Script:
        if self._depth >= DEPTH:
            raise TooComplex
        inner = Reader(text, self._depth + 1)
        inner._left, inner._pieces = self._left - 1, self._pieces
        found = inner.script()
        self._left, self._pieces = inner._left, inner._pieces
        return found

    def _skip(self, *, separators: bool = True) -> int:
        """Go past blanks, comments, line ends, `;` and `&`; return where that is."""
        text = self._text
        while self._at < self._end:
            if text[self._at] not in " \t\n#;&|\\\r\f\v":
                break
            if blank := BLANK.match(text, self._at):
                self._at = blank.end()
                continue
            char = text[self._at]
            if char == "#" and (self._at == 0 or text[self._at - 1] in " \t\r\n;&|()"):
                end = text.find("\n", self._at)
                self._at = self._end if end < 0 else end
            elif char == "\n" and separators:
                self._at += 1
                self._read_documents()
            elif char in ";&|" and separators and not text.startswith("&>", self._at):
                self._at += 1
            else:
                break
        return self._at

    def _pipeline(self) -> Pipeline:
        self._left -= 1
        if self._left < 0:
            raise TooComplex
        nodes = [self._command()]
        while self._skip(separators=False) < self._end and self._text[self._at] == "|" and not self._text.startswith("||", self._at):
            self._at += 2 if self._text.startswith("|&", self._at) else 1
            while self._skip(separators=False) < self._end and self._text[self._at] == "\n":
                self._at += 1
                self._read_documents()
            if self._at < self._end and self._text[self._at] not in ")|;&":
                nodes.append(self._command())
        return nodes

    def _command(self) -> Node:
        text = self._text
        self._skip(separators=False)
        if text.startswith("((", self._at):
            end = text.find("))", self._at)
            self._at = self._end if end < 0 else end + 2
            return Simple()
        if text.startswith("(", self._at):
            self._at += 1
            return self._with_redirects(Group(self._list(closer=")")))
        word = _KEYWORD.match(text, self._at)
        if not word:
            define = _DEFINE.match(text, self._at)
            if define:
                self._at = define.end()
                return self._function(define[1])
            return self._simple()
        return self._compound(word[1], word.end())

    def _compound(self, word: str, after: int) -> Node:
        start, self._at = self._at, after
        if word in ("!", "time", "coproc"):
            if self._depth > DEPTH:
                raise TooComplex
            self._depth += 1
            node = self._command()
            self._depth -= 1
            return node
        if word == "{":
            return self._with_redirects(Group(self._block("}", frozenset({"}"}))))
        if word in ("if", "while", "until"):
            return self._with_redirects(Group(self._block("fi" if word == "if" else "done")))
        if word in ("for", "select"):
            return self._for()
        if word == "case":
            return self._case()
        if word == "function" and self._skip(separators=False) < self._end:
            name = PLAIN.match(text := self._text, self._at)
            self._at = name.end() if name else self._at
            self._skip(separators=False)
            if empty := _EMPTY.match(text, self._at):
                self._at = empty.end()
            return self._function(name[0] if name else "")
        if word == "[[":
            return self._condition()
        self._at = start
        return self._simple() if word in ("in", "}") else Simple(text=self._stray(word))

    def _stray(self, word: str) -> str:
        self._at += len(word)
        return word

    def _block(self, end: str, stops: frozenset[str] = _BLOCK) -> Script:
        found: Script = []
        while True:
            found += self._list(stops)
            word = _KEYWORD.match(self._text, self._at)
            if not word or word[1] not in stops:
                return found
            self._at = word.end()
            if word[1] == end:
                return found

    def _with_redirects(self, group: Group) -> Group:
        while self._skip(separators=False) < self._end and (match := REDIRECT.match(self._text, self._at)):
            group.redirects.append(self._redirect(match))
        return group

    def _function(self, name: str) -> Function:
        while self._skip(separators=False) < self._end and self._text[self._at] == "\n":
            self._at += 1
        if self._depth > DEPTH:
            raise TooComplex
        self._depth += 1
        body = self._command()
        self._depth -= 1
        return Function(name, body)

    def _for(self) -> Group:
        self._skip(separators=False)
        group = Group([])
        if self._text.startswith("((", self._at):
            end = self._text.find("))", self._at)
            self._at = self._end if end < 0 else end + 2
        else:
            name = NAME.match(self._text, self._at)
            if name:
                group.variable, self._at = name[0], name.end()
            self._skip()
            word = _KEYWORD.match(self._text, self._at)
            if word and word[1] == "in":
                self._at = word.end()
                group.words = self._simple().words
        group.script = self._block("done")
        return self._with_redirects(group)

    def _case(self) -> Group:
        subject = self._simple_until_in()
        group = Group([[subject]])
        stops = frozenset({"esac"})
        while self._skip() < self._end:
            word = _KEYWORD.match(self._text, self._at)
            if word and word[1] == "esac":
                self._at = word.end()
                break
            close = self._text.find(")", self._at)
            line = self._text.find("\n", self._at)
            if close < 0 or 0 <= line < close:
                self._at = self._end if line < 0 else line + 1
                continue
            self._at = close + 1
            group.script += self._clause(stops)
        return self._with_redirects(group)

    def _clause(self, stops: frozenset[str]) -> Script:
        found: Script = []
        while self._at < self._end:
            blank = BLANK.match(self._text, self._at)
            self._at = blank.end() if blank else self._at
            word = _KEYWORD.match(self._text, self._at)
            if self._text.startswith(";;", self._at) or (word and word[1] in stops):
                self._at += 2 if not word else 0
                break
            if self._text[self._at : self._at + 1] in ("\n", ";", "&", "#"):
                self._step()
                continue
            before = self._at
            if self._depth > DEPTH:
                raise TooComplex
            self._depth += 1
            found.append(self._pipeline())
            self._depth -= 1
            self._at += self._at == before
        return found

    def _step(self) -> None:
        if self._text[self._at] == "#":
            self._skip(separators=False)
        else:
            self._at += 1
            if self._text[self._at - 1] == "\n":
                self._read_documents()

    def _simple_until_in(self) -> Simple:
        node = Simple()
        while self._skip(separators=False) < self._end:
            word = _KEYWORD.match(self._text, self._at)
            if (word and word[1] == "in") or self._text[self._at] in "\n;":
                self._at = word.end() if word else self._at
                break
            before = self._at
            node.redirects.append(Redirect("case", self._word()))
            self._at += self._at == before
        return node

    def _condition(self) -> Simple:
        node = Simple(words=[[Text("[[")]])
        start = self._at
        while self._skip() < self._end:
            if self._text.startswith("]]", self._at):
                self._at += 2
                break
            operator = _CONDITION.match(self._text, self._at)
            if operator:
                self._at = operator.end()
                continue
            before = self._at
            node.words.append(self._word())
            self._at += self._at == before
        node.text = self._text[start : min(self._at, start + 200)]
        return node

"""What shell text is made of: words of parts, commands, groups, pipelines. Plain data between the reader and the judge."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias, Union

DEPTH = 48
COMMANDS = 2000
PIECES = 16_000


@dataclass(slots=True)
class Text:
    """Plain characters; `quoted` when they are not subject to splitting, globs and braces."""

    text: str
    quoted: bool = False


@dataclass(slots=True)
class Variable:
    """`$name` or `${name<op><rest>}`; `op` is the rest's operator, as `:-`."""

    name: str
    quoted: bool
    op: str = ""
    rest: Word | None = None


@dataclass(slots=True)
class Output:
    """`$(..)`, backticks (`via` empty) or a process substitution (`via` is `<` or `>`)."""

    script: Script
    quoted: bool = False
    via: str = ""


Part: TypeAlias = Text | Variable | Output
Word: TypeAlias = list[Part]


@dataclass(slots=True)
class Redirect:
    """`op` and its target; `<<` carries the document as its word."""

    op: str
    word: Word
    fd: str = ""


@dataclass(slots=True)
class Simple:
    """Assignments, words, redirections."""

    assigns: list[tuple[str, list[Word]]] = field(default_factory=list)
    words: list[Word] = field(default_factory=list)
    redirects: list[Redirect] = field(default_factory=list)
    text: str = ""


@dataclass(slots=True)
class Group:
    """A list that acts as one command: subshell, braces, branch or loop. A `for` has its variable and words."""

    script: Script
    redirects: list[Redirect] = field(default_factory=list)
    variable: str = ""
    words: list[Word] = field(default_factory=list)


@dataclass(slots=True)
class Function:
    """A definition."""

    name: str
    body: Node


Node: TypeAlias = Union[Simple, Group, "Function"]
Pipeline: TypeAlias = list[Node]
Script: TypeAlias = list[Pipeline]

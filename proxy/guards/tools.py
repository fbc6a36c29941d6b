"""What a tool call would do, whatever the tool is called and however its arguments are written.

Tools of many SDKs do the same few things: run shell text, run code, read, write and delete files, fetch, send, ask a database. What a
tool does is told by the words of its name, and what its fields hold by theirs; of a tool with an unknown name the fields alone are
judged, so that a command does not hide behind a new name. Arguments are judged decoded: JSON in JSON, a list of words, or plain text
where they do not parse. Fails closed: what is larger or deeper than is judged is an effect of its own.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from typing import ClassVar

from proxy.effects import Effect
from proxy.guards import code, code_other
from proxy.guards.base import CallGuard
from proxy.guards.findings import Findings
from proxy.guards.shell_commands import shell
from proxy.guards.shell_dev import sql
from proxy.guards.shell_files import patched
from proxy.guards.unmask import unmask
from proxy.wire.call import ToolCall

LARGEST = 1_048_576
"""Characters of arguments that are decoded at all."""
_DEEPEST = 6
_FIELDS = 10_000
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")

_SHELL = frozenset(
    "bash sh shell exec cmd terminal command zsh console tty run_command execute_command local_shell ssh powershell pwsh".split()
)
_PYTHON = frozenset("python ipython jupyter notebook interpreter repl code script sandbox".split())
_JAVASCRIPT = frozenset("javascript js node nodejs deno bun typescript ts".split())
_SQL = frozenset("sql query database db postgres mysql sqlite bigquery snowflake".split())
_READ = frozenset("read view open cat load head show get download".split())
_WRITE = frozenset("write create edit replace patch save append insert update modify put overwrite str_replace multiedit".split())
_DELETE = frozenset("delete remove unlink rm erase trash destroy".split())
_FILE = frozenset("file files path folder directory dir document editor text fs str patch edit write read notebook".split())
_FETCH = frozenset("fetch http https curl url browse browser navigate request web webpage download scrape visit goto".split())
_MESSAGE = frozenset("email mail message sms slack tweet notify post".split())
_MONEY = frozenset("money payment pay transfer transaction invoice refund payout wire charge".split())

_COMMAND_FIELDS = frozenset("command cmd commands shell_command bash shell script commandline command_line cli run exec".split())
_CODE_FIELDS = frozenset("code source_code python_code program snippet source".split())
_PATH_FIELDS = frozenset(
    "path file_path filepath filename file_name file target_file absolute_path relative_path notebook_path dir directory folder"
    " relative_workspace_path"
    " source_path destination_path destination dest target_path source old_path new_path".split()
)
_URL_FIELDS = frozenset("url uri href link endpoint webpage address urls".split())
_SQL_FIELDS = frozenset("sql query statement".split())
_TEXT_FIELDS = frozenset("input text args arguments arg argv parameters params".split())
_POWERSHELL = re.compile(r"\b(?:iex|invoke-\w{3,20}|new-object|remove-item|start-process|downloadstring)\b", re.IGNORECASE)
_INTERPRETED = re.compile(r"#!\s*/\S*?(?:/env\s+)?(\w+)")


class ShellGuard(CallGuard):
    """Says what tool calls would do on machines, in networks and to data."""

    name: ClassVar[str] = "shell"

    def effects(self, call: ToolCall) -> Sequence[Effect]:
        """Return what `call` would do; an argument too large to judge is `exec.encoded` with the flag `too-large`."""
        found = Findings()
        words = frozenset(word.lower() for word in _WORDS.findall(unmask(call.name[:256])))
        kind = "javascript" if "javascript" in call.name[:256].lower() else _kind(words)
        if len(call.arguments) > LARGEST:
            if kind != "file":
                found.emit("exec.encoded", "", "too-large")
            return _listed(found)
        value = _decoded(call.arguments)
        _Fields(found, kind, words).judge(value)
        return _listed(found)


def _listed(found: Findings) -> Sequence[Effect]:
    return tuple(found.found.values())


def _kind(words: frozenset[str]) -> str:
    """Return what a tool with `words` in its name does: one word, empty when they do not tell."""
    if words & _JAVASCRIPT:
        return "javascript"
    if words & _PYTHON and not words & {"read", "search", "edit", "write", "review", "analyze"}:
        return "python" if not words & {"bash", "shell"} else "shell"
    if words & _SHELL:
        return "shell"
    if words & _SQL and not words & {"search", "knowledge", "docs"}:
        return "sql"
    if words & _FILE and words & (_READ | _WRITE | _DELETE | {"file", "files", "editor"}):
        return "file"
    return "fetch" if words & _FETCH else ""


class _Pairs(tuple[tuple[str, object], ...]):
    """An object with all of its members: of two with one name, nobody knows which the tool takes."""

    __slots__ = ()


_LOOSE = re.compile(
    r"[\"']?\b(\w{1,40})[\"']?\s{0,9}[:=]\s{0,9}"
    r"(?:\"((?:[^\"\\]|\\.){1,20000})|'((?:[^'\\]|\\.){1,20000})|`((?:[^`\\]|\\.){1,20000}))",
    re.DOTALL,
)
"""A member of an object that is no JSON: cut off, in single quotes, without quotes around its name."""


def _decoded(text: str, depth: int = 0) -> object:
    """Return what arguments mean: JSON, JSON in a JSON string, or the text itself where it is none."""
    try:
        value: object = json.loads(text, strict=False, object_pairs_hook=_Pairs)
    except (ValueError, RecursionError):
        return text
    if isinstance(value, str) and depth < 3 and value.lstrip()[:1] in ("{", "[", '"'):
        return _decoded(value, depth + 1)
    return value


class _Fields:
    """Judges the fields of one call."""

    def __init__(self, found: Findings, kind: str, words: frozenset[str]) -> None:
        self._found = found
        self._kind = kind
        self._words = words
        self._left = _FIELDS

    def judge(self, value: object) -> None:
        """Judge decoded arguments."""
        self._tool()
        if isinstance(value, str):
            self._text(unmask(value))
        elif isinstance(value, list) and self._kind in ("shell", "") and all(isinstance(v, str) for v in value):
            self._argv(value)
        else:
            self._walk("", value, 0)

    def _tool(self) -> None:
        """What the name alone says."""
        verbs = self._words & {"send", "post", "reply", "publish", "create", "forward", "notify"}
        if self._words & _MESSAGE and verbs:
            self._found.emit("message.send", "", "tool")
        if self._words & _MONEY and self._words & {"send", "make", "create", "schedule", "pay", "transfer", "update", "issue", "refund"}:
            self._found.emit("money.move", "", "tool")

    def _text(self, text: str) -> None:
        """Arguments that are no object: judged as what the tool runs, as all of it when that is not known."""
        if "*** " in text or "+++ " in text:
            patched(self._found, text)
        if self._kind in ("shell", "python", "javascript", "sql"):
            self._run(text)
        elif self._kind == "" and text.strip():
            shell(text, self._found)
        # Broken JSON: the strings in it are what the tool would see after a repair.
        if text.lstrip()[:1] in ("{", "["):
            for match in list(_LOOSE.finditer(text))[:32]:
                self._walk(_plain(match[1]), _unquoted(match[2] or match[3] or match[4]), 1)

    def _argv(self, words: list[object]) -> None:
        texts = [unmask(w) for w in words if isinstance(w, str)][:_FIELDS]
        shell(shlex.join(texts) if len(texts) > 1 else "".join(texts), self._found)

    def _walk(self, name: str, value: object, depth: int) -> None:
        self._left -= 1
        if self._left < 0 or depth > _DEEPEST:
            if self._left == -1 or depth > _DEEPEST:
                self._found.emit("exec.encoded", "", "too-large")
            return
        if isinstance(value, _Pairs):
            for key, inner in value:
                self._walk(_plain(key), inner, depth + 1)
        elif isinstance(value, list):
            self._list(name, value, depth)
        elif isinstance(value, str) and value:
            self._field(name, value, depth)

    def _list(self, name: str, value: list[object], depth: int) -> None:
        if (
            all(isinstance(v, str) for v in value)
            and value
            and (name in _COMMAND_FIELDS or (name in ("args", "argv") and self._kind == "shell"))
        ):
            if name == "commands" and any(" " in str(v) for v in value):
                self._run("\n".join(map(str, value)))
            else:
                self._argv(value)
            return
        for inner in value[:_FIELDS]:
            self._walk(name, inner, depth + 1)

    def _field(self, name: str, raw: str, depth: int) -> None:
        text = unmask(raw)
        if text[:1] in ("{", "[") and name in _TEXT_FIELDS | {""} and not isinstance(inner := _decoded(text), str):
            self._walk("", inner, depth + 1)
            return
        if self._kind in ("python", "javascript") and name in _CODE_FIELDS | _COMMAND_FIELDS | _TEXT_FIELDS:
            self._run(text)
        elif name in _COMMAND_FIELDS or (self._kind == "shell" and name in _TEXT_FIELDS | _CODE_FIELDS | {"stdin", "chars", "keys"}):
            self._shell(text)
        elif name in _CODE_FIELDS and self._kind != "file" and not _pathlike(text):
            self._code(text)
        elif name in _SQL_FIELDS and (self._kind == "sql" or name in ("sql", "statement")):
            sql(self._found, text)
        elif name in _URL_FIELDS or (self._kind == "fetch" and name in _TEXT_FIELDS):
            self._url(text)
        elif name in _PATH_FIELDS and _pathlike(text):
            self._path(text)
        elif self._words & {"patch", "edit", "apply"} and ("*** " in text or "+++ " in text):
            patched(self._found, text)
        elif self._kind in ("shell", "python", "javascript") and name not in (
            "description",
            "explanation",
            "reason",
            "cwd",
            "workdir",
            "timeout",
            "language",
        ):
            self._run(text)

    def _run(self, text: str) -> None:
        if self._kind == "python":
            self._code(text)
        elif self._kind == "javascript":
            code_other.judge("javascript", text, self._found, self._nested)
        elif self._kind == "sql":
            sql(self._found, text)
        else:
            self._shell(text)

    def _shell(self, text: str) -> None:
        interpreter = _INTERPRETED.match(text)
        if interpreter and interpreter[1].startswith(("python", "node", "perl", "ruby", "php")):
            self._code(text)
        else:
            shell(text, self._found)
        if _POWERSHELL.search(text):
            code_other.judge("powershell", text, self._found, self._nested)

    def _code(self, text: str) -> None:
        interpreter = _INTERPRETED.match(text)
        if interpreter and interpreter[1] in ("sh", "bash", "dash", "zsh", "ksh"):
            shell(text, self._found)
        else:
            code.python(text, self._found, self._nested)

    def _nested(self, text: str) -> None:
        shell(text, self._found)

    def _path(self, text: str) -> None:
        writes, deletes = self._words & _WRITE, self._words & _DELETE
        kind = "fs.delete" if deletes else "fs.write" if writes else "fs.read"
        if self._words & {"list", "search", "find", "glob", "grep", "ls", "stat", "exists"} and not writes and not deletes:
            return
        self._found.evidence = text
        self._found.path(kind, text)

    def _url(self, text: str) -> None:
        if text.startswith("file:"):
            self._found.path("fs.read", text)
        elif "://" in text or "." in text:
            sends = self._words & {"post", "send", "upload", "submit", "put", "publish"}
            self._found.evidence = text
            if sends:
                self._found.send(text, frozenset())
            else:
                self._found.url("net.fetch", text)


def _plain(key: object) -> str:
    """Return a field's name in one spelling: `filePath` is `file_path`."""
    words = _WORDS.findall(unmask(str(key)[:128]))
    return "_".join(word.lower() for word in words)


def _pathlike(text: str) -> bool:
    return 0 < len(text) < 1024 and "\n" not in text


def _unquoted(inner: str) -> str:
    try:
        return str(json.loads(f'"{inner}"', strict=False))
    except ValueError:
        return inner

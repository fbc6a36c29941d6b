"""What shell text would do: its commands in order, with variables, functions, pipes and files that it writes itself.

An abstract run: nothing is executed, every branch is taken, loops run once for each of a few known values. What a command would do is
said by the tables of `shell_commands`; what nobody can tell before it runs (`$1`, output of programs) is a hole that carries where it
came from, so that `curl .. | sh` and `cat key | nc ..` are seen through any number of pipes, variables, functions and files. Bounded by
`findings.STEPS` commands and `LARGEST` characters: more is an `exec.encoded` effect with the flag `too-large`, which the baseline refuses.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from proxy.guards.findings import NOTHING, Findings, TooComplex, Value
from proxy.guards.paths import HOLE, canonical, kinds
from proxy.guards.shell_expand import FIELDS, LONGEST, Expander
from proxy.guards.shell_nodes import Function, Group, Node, Pipeline, Redirect, Script, Simple, Text, Word
from proxy.guards.shell_reader import Reader
from proxy.guards.shell_run import Run

LARGEST = 65_536
NESTED = 12
_ROUNDS = 3
_LOCAL = frozenset({"local", "declare", "typeset", "export", "readonly", "let"})
_WORD = re.compile(r"[A-Za-z][\w.-]{2,40}")
_PICKERS = frozenset({"grep", "egrep", "fgrep", "rg", "awk", "gawk", "mawk", "nawk", "sed", "[[", "[", "test", "case"})
_NO_NAMES = frozenset(
    {"grep", "print", "awk", "pid", "comm", "cmd", "args", "match", "begin", "end", "echo", "index", "printf", "user", "root", "next"}
)


class Machine(Expander):
    """One script's state."""

    def __init__(self, found: Findings, judge: Callable[[Run, str], Value]) -> None:
        """Start with nothing set; effects go to `found`; `judge` knows the commands."""
        super().__init__()
        self.found = found
        self.depth = 0
        self._judge = judge
        self._called: set[str] = set()
        self._open: dict[str, str] = {}
        self.functions: dict[str, Node] = {}
        self.aliases: dict[str, str] = {}
        self.files: dict[str, Value] = {}
        self.processes: list[str] = []
        self._inside: list[str] = []

    # Texts

    def text(self, text: str, stdin: Value | None = None) -> Value:
        """Judge `text` as a script; return what it would print."""
        if len(text) > LARGEST or self.depth > NESTED:
            self.found.emit("exec.encoded", "", "too-large")
            return Value()
        self.depth += 1
        try:
            return self.script(Reader(text, self.depth).script(), stdin)
        except (TooComplex, RecursionError):
            self.found.emit("exec.encoded", "", "too-large")
            return Value()
        finally:
            self.depth -= 1

    def script(self, script: Script, stdin: Value | None) -> Value:
        """Judge pipelines in turn; return what they would print together."""
        parts, taint = [], frozenset[str]()
        for pipeline in script:
            value = self._pipeline(pipeline, stdin)
            parts.append(value.text)
            taint |= value.taint
        return Value("".join(parts)[:LONGEST], taint)

    def output(self, script: Script) -> Value:
        """Judge a substitution; its effects are the script's."""
        return self.script(script, None)

    def _pipeline(self, pipeline: Pipeline, stdin: Value | None) -> Value:
        value = stdin
        for node in pipeline:
            value = self.node(node, value)
        return value or NOTHING

    def node(self, node: Node, stdin: Value | None) -> Value:
        """Judge one command, simple or not."""
        self.found.spend()
        if isinstance(node, Simple):
            return self._simple(node, stdin)
        if isinstance(node, Function):
            return self._define(node)
        inputs, outs, bodies = self._redirects(node.redirects)
        stdin = inputs or stdin
        value = self._loop(node, stdin) if node.variable else self.script(node.script, stdin)
        return self._written(value, outs, bodies)

    def _loop(self, node: Group, stdin: Value | None) -> Value:
        choices, taint = self.fields(node.words)
        value = NOTHING
        known = [*dict.fromkeys(choices)]
        # Of many values the first ones stand for the rest, and each that is a place of note for itself.
        notable = [c for c in known[_ROUNDS:] if " " in c or kinds(canonical(c))][:FIELDS] if len(known) > _ROUNDS else []
        for choice in [*known[:_ROUNDS], *notable] or [HOLE]:
            self.variables[node.variable] = Value(choice, taint)
            value = self.script(node.script, stdin)
        return value

    def _define(self, node: Function) -> Value:
        self.functions[node.name] = node.body
        if _calls(node.body, node.name) > 1:
            self.found.emit("proc.bomb", node.name, "fork")
        return NOTHING

    # Simple commands

    def _simple(self, node: Simple, stdin: Value | None) -> Value:
        self.found.evidence = node.text
        env: dict[str, Value] = {}
        for name, words in node.assigns:
            texts = [self.joined(word) for word in words]
            env[name] = Value(" ".join(v.text for v in texts), frozenset().union(*(v.taint for v in texts)))
        inputs, outs, bodies = self._redirects(node.redirects)
        stdin = inputs if inputs is not None else stdin
        args, taint = self.fields(node.words)
        if not args:
            self.variables.update(env)
            # `$(<file)` prints the file.
            return self._written(inputs or NOTHING, outs, bodies)
        self.found.evidence = node.text
        if args == ["exec"]:
            self._keep(node.redirects)
        run = Run(self, "", args, taint, stdin, "", tuple(outs), env)
        value = self.start(args, run, "", stdin)
        return self._written(value, outs, bodies)

    def start(self, args: list[str], parent: Run, wrapped: str, stdin: Value | None) -> Value:
        """Judge a command by its words, however it is started."""
        self.found.spend()
        if not args:
            return Value()
        run = Run(self, program(args[0]), list(args[1:]), parent.taint, stdin, wrapped, parent.out, parent.env)
        if args[0] in self.aliases and not wrapped and args[0] not in self._inside:
            self._inside.append(args[0])
            value = self.text(self.aliases[args[0]] + " " + " ".join(args[1:]), stdin)
            self._inside.pop()
            return value
        if run.name in self.functions and wrapped in ("", "timeout", "time"):
            return self._call(run)
        self._watch(run)
        return self._judge(run, args[0])

    def finish(self) -> None:
        """Judge the functions that nothing called: what is defined may be run by a later call."""
        for name, body in list(self.functions.items()):
            if name not in self._called:
                try:
                    self.node(body, None)
                except (TooComplex, RecursionError):
                    self.found.emit("exec.encoded", "", "too-large")

    def _call(self, run: Run) -> Value:
        self._called.add(run.name)
        if run.name in self._inside or len(self._inside) > NESTED:
            return run.value()
        self._inside.append(run.name)
        before, self.positional = self.positional, run.args
        kept = self.variables.get("@taint", NOTHING)
        self.variables["@taint"] = Value("", run.taint)
        value = self.node(self.functions[run.name], run.stdin)
        self.positional = before
        self.variables["@taint"] = kept
        self._inside.pop()
        return value

    def _watch(self, run: Run) -> None:
        """Remember the names that a list of processes is searched for: `ps | grep sshd`, `[[ $line == *sshd* ]]`."""
        taint = run.taint | (run.stdin.taint if run.stdin else frozenset())
        if run.name in _PICKERS and "procs" in taint:
            for arg in run.args:
                if not arg.startswith("-") or run.name.startswith("["):
                    names = (w for w in _WORD.findall(arg) if w.lower() not in _NO_NAMES)
                    self.processes += [n for n in names if n not in self.processes][:8]

    # Redirections

    def _redirects(self, redirects: list[Redirect]) -> tuple[Value | None, list[str], list[str]]:
        stdin: Value | None = None
        outs: list[str] = []
        modes: list[str] = []
        for redirect in redirects:
            value = self.joined(redirect.word)
            op = redirect.op
            if op in (">&", "<&") and value.text in self._open:
                op, value = op[0] if op == "<&" else op, Value(self._open[value.text], value.taint)
            if op in ("<<", "<<<"):
                stdin = Value(value.text + "\n", value.taint)
            elif op == "<":
                stdin = self._read(value)
                if any(not isinstance(p, Text) and getattr(p, "via", "") for p in redirect.word):
                    stdin = Value(HOLE, value.taint)
            elif op == "case":
                if "procs" in value.taint:
                    stdin = value
            elif value.text and not (op in (">&", "<&") and re.fullmatch(r"\d+-?|-", value.text)):
                outs.append(value.text)
                modes.append(op)
                if op == "<>":
                    stdin = self._read(value)
        return stdin, outs, modes

    def _keep(self, redirects: list[Redirect]) -> None:
        """Remember what `exec 5<>/dev/tcp/host/port` opens for the commands that follow."""
        for redirect in redirects:
            if redirect.fd and len(self._open) < 16:
                self._open[redirect.fd] = self.joined(redirect.word).text

    def _read(self, value: Value) -> Value:
        path = value.text
        if path.startswith(("/dev/tcp/", "/dev/udp/")):
            self.found.url("net.fetch", ":".join(path.split("/")[3:5]), "socket")
            return Value(HOLE, frozenset({"net", "socket"}))
        return self.read(path)

    def read(self, path: str) -> Value:
        """Note that `path` is read; return what is known of it."""
        if (kept := self.files.get(canonical(path))) is not None:
            return kept
        if path.startswith("/dev/fd/") or path in ("-", "/dev/null", "/dev/stdin", "/dev/tty", "/dev/zero", "/dev/urandom", "/dev/random"):
            return Value()
        if named := re.search(r"/([A-Za-z][\w.-]*)\.pid$", path):
            self.processes.append(named[1])
            return Value(HOLE, frozenset({"procs"}))
        what = self.found.path("fs.read", path)
        return Value(HOLE, frozenset({"file"} | ({"secret"} if what & {"key", "account", "browser"} else set())))

    def _written(self, value: Value, outs: list[str], modes: list[str]) -> Value:
        for path, mode in zip(outs, modes, strict=True):
            if path in ("/dev/null", "/dev/stdout", "/dev/stderr", "/dev/tty", "-") or path.startswith(("/dev/fd/", "/dev/pts/")):
                continue
            if path.startswith(("/dev/tcp/", "/dev/udp/")):
                more = ["upload"] if value.taint & {"file", "secret"} else []
                self.found.send(":".join(path.split("/")[3:5]), value.taint, "socket", *more)
                continue
            self.write(path, value, append=">>" in mode)
        return NOTHING if outs and any("&" not in m or m.startswith("&>") for m in modes) else value

    def write(self, path: str, value: Value, *, append: bool = False) -> None:
        """Note that `value` is written to `path`, and remember it."""
        what = self.found.path("fs.write", path, *(["append"] if append else []), *sorted(value.taint & {"net", "decoded"}))
        if "device" in what:
            self.found.emit("fs.wipe", canonical(path), "device")
        name = canonical(path)
        if len(self.files) < 64:
            before = self.files.get(name, NOTHING) if append else NOTHING
            self.files[name] = Value((before.text + value.text)[:LONGEST], before.taint | value.taint)


def program(word: str) -> str:
    """Return the name of the program that `word` starts: without folder, `.exe` and letter case of Windows."""
    name = word.rsplit("/", 1)[-1] if not word.endswith("/") else word
    if "\\" in name:
        name = name.rsplit("\\", 1)[-1]
    return name[:-4].lower() if name.lower().endswith(".exe") else name


def _calls(node: Node, name: str) -> int:
    """Return how often `node` itself runs a command called `name`."""
    if isinstance(node, Simple):
        return int(bool(node.words) and _constant(node.words[0]) == name)
    return sum(_calls(n, name) for pipeline in node.script for n in pipeline) if isinstance(node, Group) else 0


def _constant(word: Word) -> str:
    return "".join(part.text for part in word if isinstance(part, Text))


__all__ = ["Machine", "Run", "program"]

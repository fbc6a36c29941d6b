"""What Python code would do: read with `ast`, in the order of the text, functions with the values they are called with.

Code that calls nothing and imports nothing has no effects, and is told apart by one search. Text that does not parse (another Python,
notebook magic, a cut) is judged by patterns instead (`code_other`), as is what is larger than `LARGEST`, which is an effect of its own.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Callable

from proxy.guards import code_other
from proxy.guards.code_calls import Calls
from proxy.guards.findings import Findings, TooComplex, Value
from proxy.guards.paths import HOLE

LARGEST = 65_536
NODES = 20_000
_ACTS = re.compile(r"import|__|\b(?:open|exec|eval|compile|getattr|globals|locals|vars|builtins|input|print)\b|^\s*[!%]", re.MULTILINE)
_MAGIC = re.compile(r"^\s*(?:!|%sx |%system |%%(?:bash|sh|shell)\b[^\n]*\n)(.*)$", re.MULTILINE)


def python(text: str, found: Findings, shell: Callable[[str], object], depth: int = 0) -> None:
    """Note in `found` what `text` would do; shell commands in it are judged by `shell`."""
    if len(text) > LARGEST or depth > 6:
        found.emit("exec.encoded", "", "too-large")
        return
    if not _ACTS.search(text):
        return
    for magic in _MAGIC.finditer(text):
        shell(magic[1] if not magic[0].lstrip().startswith("%%") else text[magic.end(1) - len(magic[1]) :])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(_MAGIC.sub("pass", text))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        code_other.judge("python", text, found, shell)
        return
    calls = Calls(found, shell, lambda inner: python(inner, found, shell, depth + 1))
    walker = _Walk(calls)
    nodes = _ordered(tree)
    if len(nodes) >= NODES:
        found.emit("exec.encoded", "", "too-large")
    try:
        walker.bind(nodes)
        walker.bind(nodes)
        walker.judge(nodes)
    except (RecursionError, TooComplex):
        found.emit("exec.encoded", "", "too-large")
    calls.together(text)


class _Walk:
    """Goes through a tree: first what names are worth, then what is called."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._names = calls.names
        self._functions: dict[str, ast.FunctionDef | ast.AsyncFunctionDef] = {}

    def bind(self, nodes: list[ast.AST]) -> None:
        for node in nodes:
            if isinstance(node, ast.Import):
                for alias in node.names:
                    self._names.objects[alias.asname or alias.name.split(".")[0]] = alias.name if alias.asname else alias.name.split(".")[0]
            elif isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    self._names.objects[alias.asname or alias.name] = f"{node.module or ''}.{alias.name}"
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                self._functions[node.name] = node
                self._returns(node)
            elif isinstance(node, ast.Assign):
                for target in node.targets:
                    self._assign(target, node.value)
            elif isinstance(node, ast.AnnAssign | ast.NamedExpr) and node.value is not None:
                self._assign(node.target, node.value)
            elif isinstance(node, ast.AugAssign):
                self._append(node)
            elif isinstance(node, ast.For | ast.AsyncFor | ast.comprehension):
                self._loop(node)
            else:
                self._used(node)

    def _used(self, node: ast.AST) -> None:
        if isinstance(node, ast.withitem) and node.optional_vars is not None:
            self._assign(node.optional_vars, node.context_expr)
        elif isinstance(node, ast.Call):
            self._parameters(node)

    def _assign(self, target: ast.expr, source: ast.expr) -> None:
        if isinstance(target, ast.Tuple | ast.List):
            same = isinstance(source, ast.Tuple | ast.List) and len(source.elts) == len(target.elts)
            for i, inner in enumerate(target.elts):
                self._assign(inner, source.elts[i] if same and isinstance(source, ast.Tuple | ast.List) else source)
            return
        key = target.id if isinstance(target, ast.Name) else self._names.name(target)
        if not key:
            return
        value, name = self._names.value(source), self._names.name(source)
        self._names.values[key] = value
        unresolved = name.endswith("()") and name[:-2] in self._functions
        if name and name != key and len(name) < 200 and not name.startswith(key + ".") and not unresolved:
            self._names.objects[key] = name
        if (parts := self._names.sequence(source)) is not None:
            self._names.lists[key] = parts

    def _returns(self, function: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        """Have a call of `function` stand for what it returns."""
        for node in function.body:
            for inner in ast.walk(node) if isinstance(node, ast.Return | ast.With | ast.If | ast.Try) else ():
                if isinstance(inner, ast.Return) and inner.value is not None:
                    value = inner.value.elts[0] if isinstance(inner.value, ast.Tuple) and inner.value.elts else inner.value
                    self._assign(ast.Name(function.name + "()"), value)

    def _append(self, node: ast.AugAssign) -> None:
        key = node.target.id if isinstance(node.target, ast.Name) else ""
        if key:
            old, new = self._names.values.get(key, Value()), self._names.value(node.value)
            both = old.text + new.text
            self._names.values[key] = Value(both if len(both) < 8192 else HOLE, old.taint | new.taint)

    def _loop(self, node: ast.For | ast.AsyncFor | ast.comprehension) -> None:
        many = self._names.sequence(node.iter)
        if isinstance(node.target, ast.Name):
            value = many[0] if many else Value(HOLE, self._names.value(node.iter).taint)
            self._names.values[node.target.id] = value
        elif isinstance(node.target, ast.Tuple):
            for inner in node.target.elts:
                if isinstance(inner, ast.Name):
                    self._names.values[inner.id] = Value(HOLE, self._names.value(node.iter).taint)

    def _parameters(self, node: ast.Call) -> None:
        function = self._functions.get(self._names.name(node.func).rsplit(".", 1)[-1])
        if function is None:
            return
        names = [a.arg for a in function.args.args]
        names = names[1:] if names[:1] == ["self"] else names
        given = dict(zip(names, node.args, strict=False)) | {k.arg: k.value for k in node.keywords if k.arg}
        for name, source in given.items():
            self._assign(ast.Name(name), source)

    def judge(self, nodes: list[ast.AST]) -> None:
        for node in nodes:
            if isinstance(node, ast.Call):
                self._calls.judge(node)
            elif isinstance(node, ast.Compare):
                self._calls.compare(node)
            elif isinstance(node, ast.While):
                self._calls.loop(node)


def _ordered(tree: ast.AST) -> list[ast.AST]:
    """Return the nodes of a tree in the order of its text, no more than `NODES`."""
    found: list[ast.AST] = []
    stack = [tree]
    while stack and len(found) < NODES:
        node = stack.pop()
        found.append(node)
        stack.extend(reversed(list(ast.iter_child_nodes(node))))
    return found

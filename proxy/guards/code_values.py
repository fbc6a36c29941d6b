"""What expressions of Python are worth as far as they are constant, and what names stand for.

Follows imports under any name, `getattr` and `__import__` with constant names, joined and decoded strings, variables, attributes and
parameters of functions that are called with known values. Never runs anything; unknown parts are holes.
"""

from __future__ import annotations

import ast
import base64
import binascii
import codecs
from collections.abc import Iterable
from urllib.parse import unquote

from proxy.guards.findings import Value
from proxy.guards.paths import HOLE

LONGEST = 65_536
DEEPEST = 60
_UNKNOWN = Value()
_PASS = frozenset(
    {"strip", "rstrip", "lstrip", "decode", "encode", "expanduser", "resolve", "absolute", "as_posix", "str", "bytes", "Path", "abspath"}
)
_DECODES = frozenset(
    {
        "base64.b64decode",
        "base64.urlsafe_b64decode",
        "base64.standard_b64decode",
        "base64.decodebytes",
        "base64.b32decode",
        "base64.b85decode",
        "base64.a85decode",
        "base64.b16decode",
        "binascii.unhexlify",
        "binascii.a2b_base64",
        "bytes.fromhex",
        "codecs.decode",
        "zlib.decompress",
        "gzip.decompress",
        "bz2.decompress",
        "lzma.decompress",
        "marshal.loads",
        "bytearray.fromhex",
        "urllib.parse.unquote",
    }
)


class Names:
    """Variables, what they hold, and what the names of a module stand for."""

    def __init__(self) -> None:
        self.values: dict[str, Value] = {}
        self.objects: dict[str, str] = {}
        self.lists: dict[str, list[Value]] = {}
        self._depth = 0

    # Names of things

    def name(self, node: ast.AST) -> str:
        """Return the dotted name that `node` stands for (`os.system`, `socket.socket().connect`), or nothing."""
        self._depth += 1
        try:
            return self._name(node) if self._depth < DEEPEST else ""
        finally:
            self._depth -= 1

    def _name(self, node: ast.AST) -> str:
        if isinstance(node, ast.Name):
            return self.objects.get(node.id, node.id)
        if isinstance(node, ast.Attribute):
            base = self.name(node.value)
            whole = f"{base}.{node.attr}"
            return self.objects.get(whole, whole.removeprefix("builtins.").removeprefix("__builtins__.")) if base else ""
        if isinstance(node, ast.Call):
            return self._called(node)
        if isinstance(node, ast.Subscript):
            base, key = self.name(node.value), self.value(node.slice).text
            if (
                base in ("globals()", "locals()", "vars()", "__builtins__", "builtins.__dict__", "__builtins__.__dict__")
                and HOLE not in key
            ):
                return self.objects.get(key, key)
            return key if base == "sys.modules" else f"{base}[]" if base else ""
        if isinstance(node, ast.NamedExpr | ast.Await | ast.Starred):
            return self.name(node.value)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):  # pathlib
            return self.name(node.left)
        return ""

    def _called(self, node: ast.Call) -> str:
        function = self.name(node.func)
        first = self.value(node.args[0]).text if node.args else ""
        if function in ("__import__", "importlib.import_module") and HOLE not in first:
            return first
        if function == "getattr" and len(node.args) > 1:
            attribute, base = self.value(node.args[1]).text, self.name(node.args[0])
            return f"{base}.{attribute}".removeprefix("builtins.").removeprefix("__builtins__.") if HOLE not in attribute else ""
        if function.endswith((".__getattribute__", ".__dict__.get", ".__dict__.__getitem__")) and HOLE not in first:
            return function.split(".__", 1)[0] + "." + first
        return self.objects.get(function + "()", function + "()") if function else ""

    # Values of expressions

    def value(self, node: ast.AST | None) -> Value:
        """Return what `node` is worth."""
        if node is None:
            return _UNKNOWN
        self._depth += 1
        try:
            found = self._value(node) if self._depth < DEEPEST else _UNKNOWN
            return found if len(found.text) <= LONGEST else Value(HOLE, found.taint)
        finally:
            self._depth -= 1

    def _value(self, node: ast.AST) -> Value:
        if isinstance(node, ast.Constant):
            return Value(node.value.decode("utf-8", "replace") if isinstance(node.value, bytes) else str(node.value))
        if isinstance(node, ast.Name):
            return self.values.get(node.id, _UNKNOWN)
        if isinstance(node, ast.JoinedStr):
            return joined(self.value(v.value) if isinstance(v, ast.FormattedValue) else self.value(v) for v in node.values)
        if isinstance(node, ast.BinOp):
            return self._binary(node)
        if isinstance(node, ast.Attribute):
            whole = self.name(node)
            if whole in self.values:
                return self.values[whole]
            return Value(HOLE, self.value(node.value).taint | ({"env"} if whole.startswith("os.environ") else frozenset()))
        if isinstance(node, ast.Call):
            return self._call(node)
        if isinstance(node, ast.Subscript):
            return self._subscript(node)
        return self._compound(node)

    def _compound(self, node: ast.AST) -> Value:
        if isinstance(node, ast.List | ast.Tuple | ast.Set):
            return Value(HOLE, frozenset().union(*(self.value(e).taint for e in node.elts[:512])))
        if isinstance(node, ast.Dict):
            return Value(HOLE, frozenset().union(*(self.value(e).taint for e in node.values[:64])))
        if isinstance(node, ast.IfExp):
            return self.value(node.body)
        if isinstance(node, ast.BoolOp):
            return self.value(node.values[0])
        if isinstance(node, ast.Await | ast.Starred | ast.NamedExpr):
            return self.value(node.value)
        if isinstance(node, ast.ListComp | ast.GeneratorExp):
            return Value(HOLE, self.value(node.generators[0].iter).taint | self.value(node.elt).taint)
        return _UNKNOWN

    def _binary(self, node: ast.BinOp) -> Value:
        left, right = self.value(node.left), self.value(node.right)
        if isinstance(node.op, ast.Add):
            return joined((left, right))
        if isinstance(node.op, ast.Div):  # pathlib
            return Value(left.text.rstrip("/") + "/" + right.text, left.taint | right.taint)
        if isinstance(node.op, ast.Mod) and "%" in left.text:
            parts = [self.value(e) for e in node.right.elts] if isinstance(node.right, ast.Tuple) else [right]
            text = left.text
            for part in parts[:32]:
                text = text.replace("%s", part.text, 1)
            return Value(text, left.taint.union(*(p.taint for p in parts)))
        if isinstance(node.op, ast.Mult) and right.text.isdigit() and len(left.text) * int(right.text[:6]) < 4096 and len(right.text) < 6:
            return Value(left.text * int(right.text), left.taint)
        return Value(HOLE, left.taint | right.taint)

    def _subscript(self, node: ast.Subscript) -> Value:
        if self.name(node.value) == "os.environ":
            return Value(HOLE, frozenset({"token"}))
        base = self.value(node.value)
        if isinstance(node.slice, ast.Slice) and HOLE not in base.text:
            step = node.slice.step
            if isinstance(step, ast.UnaryOp) and node.slice.lower is None and node.slice.upper is None:
                return Value(base.text[::-1], base.taint | {"decoded"})
            bounds = [self.value(b).text if b else "" for b in (node.slice.lower, node.slice.upper)]
            if all(b == "" or b.isdigit() for b in bounds):
                return Value(base.text[int(bounds[0] or 0) : int(bounds[1]) if bounds[1] else None], base.taint)
        return Value(HOLE, base.taint)

    def _call(self, node: ast.Call) -> Value:
        function = self.name(node.func)
        if function in ("os.getenv", "os.environ.get"):
            return Value(HOLE, frozenset({"token"}))
        args = [self.value(a) for a in node.args[:32]]
        taint = frozenset[str]().union(*(a.taint for a in args), *(self.value(k.value).taint for k in node.keywords[:16]))
        if isinstance(node.func, ast.Attribute):
            method = self._method(node, node.func, args, taint)
            if method is not None:
                return method
        if function in _DECODES:
            return decoded(function, args)
        if function in ("chr",) and args and args[0].text.isdigit():
            return Value(chr(min(int(args[0].text[:7]), 0x10FFFF)), taint)
        if function in ("os.path.join", "posixpath.join"):
            return Value("/".join(a.text.rstrip("/") if i < len(args) - 1 else a.text for i, a in enumerate(args)), taint)
        if function.rsplit(".", 1)[-1] in _PASS and args:
            return args[0]
        returned = self.values.get(function + "()")
        return Value(HOLE if returned is None else returned.text, taint | source(function) | (returned.taint if returned else frozenset()))

    def _method(self, node: ast.Call, func: ast.Attribute, args: list[Value], taint: frozenset[str]) -> Value | None:
        base = self.value(func.value)
        if func.attr == "join" and node.args and self.name(func.value) not in ("os.path",):
            parts = self.sequence(node.args[0])
            if parts is not None:
                return Value(base.text.join(p.text for p in parts), taint.union(*(p.taint for p in parts)))
        elif func.attr == "format" and HOLE not in base.text:
            text = base.text
            for arg in args:
                text = text.replace("{}", arg.text, 1)
            return Value(text, base.taint | taint)
        elif func.attr == "replace" and len(args) > 1 and HOLE not in base.text + args[0].text and args[0].text:
            return Value(base.text.replace(args[0].text, args[1].text), base.taint)
        elif func.attr in ("upper", "lower") and HOLE not in base.text:
            return Value(getattr(base.text, func.attr)(), base.taint)
        elif func.attr in _PASS and base.text.strip(HOLE):
            return base
        if base.taint and self.name(func) not in _DECODES:
            return Value(HOLE, base.taint | taint | source(self.name(node.func)))
        return None

    def sequence(self, node: ast.AST) -> list[Value] | None:
        """Return the elements of a list where they are known one by one."""
        if isinstance(node, ast.List | ast.Tuple):
            return [self.value(e) for e in node.elts[:512]]
        if isinstance(node, ast.Name | ast.Attribute):
            return self.lists.get(self.name(node))
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            left, right = self.sequence(node.left), self.sequence(node.right)
            return left + right if left is not None and right is not None else None
        if isinstance(node, ast.ListComp | ast.GeneratorExp) and self.name(getattr(node.elt, "func", node.elt)) == "chr":
            parts = self.sequence(node.generators[0].iter)
            if parts is not None and all(p.text.isdigit() for p in parts):
                return [Value(chr(min(int(p.text[:7]), 0x10FFFF)), frozenset({"decoded"})) for p in parts]
        if isinstance(node, ast.Call) and self.name(node.func) == "shlex.split" and node.args:
            text = self.value(node.args[0])
            return [Value(t, text.taint) for t in text.text.split()]
        return None


def source(function: str) -> frozenset[str]:
    """Return where the result of a call comes from."""
    if function.startswith(("requests.", "httpx.", "urllib.request.", "urllib2.", "aiohttp.", "http.client.")) or function.endswith(
        (".urlopen", ".recv")
    ):
        return frozenset({"net", "socket"} if function.endswith(".recv") else {"net"})
    if function.startswith("psutil.") or function in ("os.listdir('/proc')",):
        return frozenset({"procs"})
    if function == "os.environ.copy":
        return frozenset({"env"})
    return frozenset({"file"}) if function in ("open", "io.open", "open().read") else frozenset()


def joined(values: Iterable[Value]) -> Value:
    """Return texts one after the other."""
    known = list(values)
    return Value("".join(v.text for v in known), frozenset[str]().union(*(v.taint for v in known)))


def decoded(function: str, args: list[Value]) -> Value:
    """Return what a decoder makes of a known text."""
    value = args[0] if args else _UNKNOWN
    taint = value.taint | {"decoded"}
    if HOLE in value.text:
        return Value(HOLE, taint)
    data = value.text.encode("utf-8", "replace")
    try:
        if "b32" in function:
            text = base64.b32decode(data).decode("utf-8", "replace")
        elif "b85" in function:
            text = base64.b85decode(data).decode("utf-8", "replace")
        elif "64" in function or function == "base64.decodebytes":
            text = base64.b64decode(data.replace(b"-", b"+").replace(b"_", b"/") + b"==").decode("utf-8", "replace")
        elif "hex" in function or "b16" in function:
            text = bytes.fromhex(value.text).decode("utf-8", "replace")
        elif function == "codecs.decode" and len(args) > 1 and args[1].text.replace("_", "").replace("-", "") == "rot13":
            text = codecs.decode(value.text, "rot13")
        elif function == "urllib.parse.unquote":
            text = unquote(value.text)
        else:
            return Value(HOLE, taint)
    except (ValueError, binascii.Error):
        return Value(HOLE, taint)
    return Value(text.replace("\0", ""), taint)

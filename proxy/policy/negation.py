"""Finds expressions that the embedded engine and OPA decide differently. Pure: syntax trees in, lines out.

Where part of `not f(input.a)` is undefined, OPA has worked out that part before and the whole condition fails; the embedded engine
takes the `not` for true. A missing field would then pass where OPA refuses. So inside `not` everything must be sure to have a value:
names bound before, constants, comprehensions, rules that always have one. A plain reference, and `==` between such, mean the same to both.

A pattern `{"name": x}` matches objects of exactly these keys in OPA, and any that have them in the embedded engine.

Source: measured on OPA 1.19.1 and regorus 0.13.0, 2026-11, 24 forms.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

CONSTANTS = frozenset({"String", "RawString", "Number", "Bool", "Null"})
COMPREHENSIONS = frozenset({"ArrayCompr", "SetCompr", "ObjectCompr"})
Tree = Mapping[str, Any]
NEGATION = "a `not` over what may be missing, which OPA and the embedded engine decide differently; bind it to a name on a line before"
PATTERN = "an object as a pattern, which OPA and the embedded engine match differently; name the fields, as x := item.name"


def differing(tree: Tree, package: Sequence[Tree]) -> Iterator[tuple[int, str]]:
    """Yield line and words of what in `tree` may be decided differently; `package` has the trees of its whole package."""
    names = _Names(tree, package)
    stack: list[Any] = [tree.get("rules")]
    while stack:
        node = stack.pop()
        if isinstance(node, list):
            stack.extend(node)
        elif isinstance(node, Mapping):
            if "NotExpr" in node and not names.alike(node["NotExpr"]["expr"]):
                yield int(node["NotExpr"]["span"]["line"]), NEGATION
            if (line := _pattern(node)) is not None:
                yield line, PATTERN
            stack.extend(node.values())


class _Names:
    """What the names of one file may stand for."""

    def __init__(self, tree: Tree, package: Sequence[Tree]) -> None:
        self._unsure = {"input", "data"}
        for item in tree.get("imports") or ():
            alias = item.get("as")
            if isinstance(alias, list):
                self._unsure.add(alias[1])
            elif "RefDot" in item["refr"]:
                self._unsure.add(item["refr"]["RefDot"]["field"][1])
        rules = [rule for part in package for rule in part.get("rules") or ()]
        self._unsure |= {name for rule in rules if (name := _name(rule))}
        self._unsure -= {name for rule in rules if (name := _name(rule)) and self._always(rule)}

    def _always(self, rule: Tree) -> bool:
        """Return whether a rule has a value whatever the input: a set, a default, a constant."""
        if "Default" in rule:
            return True
        spec = rule["Spec"]
        if "Set" in spec["head"]:
            return "Var" in spec["head"]["Set"]["refr"]
        assign = spec["head"].get("Compr", {}).get("assign")
        return bool(assign) and not any(body["query"]["stmts"] for body in spec["bodies"]) and self.sure(assign["value"])

    def alike(self, expr: Tree) -> bool:
        """Return whether both engines decide `not expr` alike."""
        kind, inner = next(iter(expr.items()))
        if kind in ("Var", "RefDot", "RefBrack"):
            return self._plain(expr)
        if kind == "Call":
            return all(map(self.sure, inner["params"]))
        if kind == "BoolExpr":
            sides = (inner["lhs"], inner["rhs"])
            return all(self.sure(side) or (inner["op"] == "Eq" and self._plain(side)) for side in sides)
        if kind == "Membership":
            return all(map(self.sure, filter(None, (inner["key"], inner["value"], inner["collection"]))))
        return self.sure(expr)

    def sure(self, expr: Any) -> bool:
        """Return whether an expression has a value whatever the input."""
        if not isinstance(expr, Mapping):
            return False
        kind, inner = next(iter(expr.items()))
        if kind in CONSTANTS or kind in COMPREHENSIONS:
            return True
        if kind == "Var":
            return inner["value"] not in self._unsure
        if kind in ("Array", "Set"):
            return all(map(self.sure, inner["items"]))
        return kind == "Object" and all(self.sure(part) for entry in inner["fields"] for part in entry if _is_expr(part))

    def _plain(self, expr: Any) -> bool:
        """Return whether an expression is a reference from a name, with nothing unsure in its brackets."""
        while isinstance(expr, Mapping) and ("RefDot" in expr or "RefBrack" in expr):
            inner = expr.get("RefBrack") or expr["RefDot"]
            if "index" in inner and not self.sure(inner["index"]):
                return False
            expr = inner["refr"]
        return isinstance(expr, Mapping) and "Var" in expr


def _is_expr(part: Any) -> bool:
    return isinstance(part, Mapping) and "line" not in part


def _name(rule: Tree) -> str:
    """Return the first name of what a rule is called."""
    head = rule["Default"] if "Default" in rule else next(iter(rule["Spec"]["head"].values()))
    node = head["refr"]
    while "Var" not in node:
        node = (node.get("RefDot") or node["RefBrack"])["refr"]
    return str(node["Var"]["value"])


def _pattern(node: Tree) -> int | None:
    """Return the line of an object that is used as a pattern."""
    if "SomeIn" in node:
        inner = node["SomeIn"]
        return int(inner["span"]["line"]) if _has_object(inner["key"]) or _has_object(inner["value"]) else None
    if "AssignExpr" in node:
        inner = node["AssignExpr"]
        found = _has_object(inner["lhs"]) or (inner["op"] != "ColEq" and _has_object(inner["rhs"]))
        return int(inner["span"]["line"]) if found else None
    return None


def _has_object(expr: Any) -> bool:
    if not isinstance(expr, Mapping):
        return False
    return "Object" in expr or ("Array" in expr and any(map(_has_object, expr["Array"]["items"])))

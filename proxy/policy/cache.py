"""Which parts of the input a set of policies reads, and the decisions remembered on exactly those parts. Pure.

`reads` walks the syntax tree: a reference to `input` counts as far as it is written out, so `input.tools[i].name` reads all of
`input.tools`, and an `input` that is handed on reads everything. What a decision rests on beyond its input and the files (the clock,
chance, the network, balances) makes it unfit to be remembered. Doubt always reads more, never less.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Path = tuple[str, ...]
CHANGING = frozenset({"time.now_ns", "rand.intn", "uuid.rfc4122", "http.send", "opa.runtime", "net.lookup_ip_addr"})
"""Functions that answer differently each time."""
MOVING: frozenset[str] = frozenset({"id", "time", "budgets", "cost", "counters"})
"""Parts of the input that are other ones at every call."""
LONGEST_KEY = 16 << 10
_SPAN = "span"


@dataclass(frozen=True, slots=True)
class Reads:
    """What policies read: paths in the input, none below another, `()` for all of it; `fixed` when the same input always decides alike."""

    paths: tuple[Path, ...]
    fixed: bool

    @property
    def everything(self) -> bool:
        """Whether the whole input is read."""
        return () in self.paths

    def covers(self, *path: str) -> bool:
        """Return whether something at, above or below `path` is read."""
        return any(p[: len(path)] == path or path[: len(p)] == p for p in self.paths)


def reads(modules: Iterable[Mapping[str, Any]]) -> Reads:
    """Return what the syntax trees `modules` read."""
    paths: set[Path] = set()
    fixed = True
    for module in modules:
        aliases = _aliases(module.get("imports") or ())
        for kind, value in _found(module.get("rules") or (), aliases):
            if kind == "path":
                paths.add(value)
            elif ".".join(value) in CHANGING:
                fixed = False
    least = tuple(sorted(p for p in paths if not any(p[:n] in paths for n in range(len(p)))))
    return Reads(least, fixed and not any(not p or p[0] in MOVING for p in least))


def _aliases(imports: Sequence[Mapping[str, Any]]) -> dict[str, Path]:
    found: dict[str, Path] = {"input": ()}
    for item in imports:
        path = dotted(item["refr"])
        if path and path[0] == "input":
            alias = item.get("as")
            found[str(alias[1]) if isinstance(alias, list) else path[-1]] = path[1:]
    return found


def dotted(node: Any) -> Path | None:
    """Return a reference that is written out to its end, as its names; None when part of it is computed."""
    path, whole = chain(node)
    return path if whole else None


def chain(node: Any) -> tuple[Path, bool]:
    """Return the names of a reference as far as they are written out, and whether that is all of it; no names for anything else."""
    if not isinstance(node, Mapping):
        return (), False
    if "Var" in node:
        return (str(node["Var"]["value"]),), True
    if "RefDot" in node:
        path, whole = chain(node["RefDot"]["refr"])
        return (*path, str(node["RefDot"]["field"][1])) if whole and path else path, whole
    if "RefBrack" in node:
        path, whole = chain(node["RefBrack"]["refr"])
        index = node["RefBrack"]["index"]
        if whole and path and isinstance(index, Mapping) and "String" in index:
            return (*path, str(index["String"]["value"])), True
        return path, False
    return (), False


def _found(node: Any, aliases: Mapping[str, Path]) -> Iterator[tuple[str, Path]]:
    """Yield ("path", what of the input is read) and ("call", the function's names) below `node`."""
    for kind, path in references(node):
        if kind == "call":
            yield kind, path
        elif path[0] in aliases:
            yield kind, (*aliases[path[0]], *path[1:])


def references(node: Any) -> Iterator[tuple[str, Path]]:
    """Yield every reference below `node` as ("path", its names as far as they are written out), and ("call", name) of each call."""
    stack = [node]
    while stack:
        here = stack.pop()
        if isinstance(here, list | tuple):
            stack.extend(here)
            continue
        if not isinstance(here, Mapping):
            continue
        if "Var" in here or "RefDot" in here or "RefBrack" in here:
            path, _ = chain(here)
            if path:
                yield "path", path
            stack.extend(_indexes(here))
            continue
        if "Call" in here:
            name = dotted(here["Call"]["fcn"])
            if name:
                yield "call", name
        stack.extend(value for key, value in here.items() if key != _SPAN)


def _indexes(node: Any) -> Iterator[Any]:
    """Yield what is computed inside a reference: its brackets, and what it starts from if that is no name."""
    while isinstance(node, Mapping) and ("RefDot" in node or "RefBrack" in node):
        inner = node.get("RefBrack") or node["RefDot"]
        if "index" in inner:
            yield inner["index"]
        node = inner["refr"]
    if not (isinstance(node, Mapping) and "Var" in node):
        yield node


def pick(document: Mapping[str, Any], path: Path) -> list[Any]:
    """Return what stands at `path`, in a list of one; an empty list for nothing."""
    value: Any = document
    for name in path:
        if not isinstance(value, Mapping) or name not in value:
            return []
        value = value[name]
    return [value]


class Cache:
    """Documents of one snapshot by what they rest on. Bounded; when full it starts anew.

    Args:
        what: what the policies of each hook read.
        most: bytes of keys that are kept.
    """

    def __init__(self, what: Mapping[Any, Reads], most: int = 4 << 20) -> None:
        self._what, self._most = what, most
        self._kept: dict[tuple[str, str], Any] = {}
        self._size = 0
        self.hits = 0

    def ask(self, hook: str, document: Mapping[str, Any], evaluate: Callable[[], Any]) -> Any:
        """Return the decision on `document`: the one remembered, or what `evaluate` says."""
        what = self._what[hook]
        if not what.fixed:
            return evaluate()
        key = json.dumps([pick(document, path) for path in what.paths], separators=(",", ":"), ensure_ascii=False)
        if len(key) > LONGEST_KEY:
            return evaluate()
        known = self._kept.get((hook, key))
        if known is not None:
            self.hits += 1
            return known[0]
        answer = evaluate()
        if self._size + len(key) > self._most:
            self._kept.clear()
            self._size = 0
        self._size += len(key) + 200
        self._kept[hook, key] = (answer,)
        return answer

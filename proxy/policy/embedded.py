"""Rego in this process: regorus, one engine a thread, compiled once a snapshot.

What the engine would get wrong or die of is refused when the files are read: functions that it lacks or that reach out of the process,
functions that call themselves (the stack overflows), text of half surrogates. An engine that raises decides nothing: that is a
`PolicyFault`, and never a permission. It holds the interpreter while it works and cannot be interrupted, so inputs are bounded.

Source: gordon-to-regorus 0.13.0, measured 2026-11: engines are bound to their thread and panic (a BaseException) in another one; a
function that calls itself and a lone surrogate in `set_input` end the process; JSON deeper than 126 levels is refused; `http.send` is
silently undefined.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from proxy.config import ConfigError, ConfigErrors
from proxy.policy.cache import Cache, Reads, chain, dotted, reads, references
from proxy.policy.decision import ROOT, Hook, PolicyFault
from proxy.policy.negation import differing
from proxy.policy.rego import HOOKS, Module, Policies

AVAILABLE = find_spec("regorus") is not None
"""Whether this platform has a wheel of it."""

MAX_INPUT = 4 << 20
"""Characters of an input document: about a second of work."""
OUTSIDE = frozenset({"http.send", "opa.runtime", "net.lookup_ip_addr"})
"""Functions that reach out of the process; the engine has the names and no work behind them."""
_PLACE = re.compile(r"--> (.*?):(\d+):\d+")
_WORDS = re.compile(r"^error: (.+)$", re.MULTILINE)


KEPT = 4
"""Engines that a thread keeps, for as many snapshots: an older one is made anew if it is asked again."""


class _Engines(threading.local):
    """The engines of one thread, by whom they are for, the newest last.

    An engine may only be freed by the thread that made it, and a variable of a frame that an error came through lives as long as the
    error. So no variable ever holds one: who wants an engine says whose.
    """

    def __init__(self) -> None:
        self.of: dict[object, Any] = {}

    def make(self, key: object, policies: Policies) -> None:
        """Have an engine with `policies` for `key`; the oldest of many goes."""
        while len(self.of) >= KEPT:
            del self.of[next(iter(self.of))]
        self.of[key] = _engine()
        try:
            for module in policies.modules:
                self.of[key].add_policy(module.file, module.text)
            self.of[key].add_data_json(encode(policies.data))
        except BaseException:
            del self.of[key]  # half of the policies must not decide
            raise


_here = _Engines()


class Embedded:
    """The embedded engine of one snapshot.

    It holds no engine itself: those belong to the thread that made them, which alone may let go of them. What a snapshot holds is freed by
    whichever thread collects it.

    Args:
        policies: what to evaluate.

    Raises:
        ConfigErrors: what the engine cannot evaluate, by file and line.
    """

    def __init__(self, policies: Policies) -> None:
        if not AVAILABLE:
            first = policies.modules[0].file
            hint = "policy: {engine: opa:http://127.0.0.1:8181} asks an OPA server"
            raise ConfigErrors([ConfigError(first, 1, "Rego, which this platform has no embedded engine for", "an OPA server", hint)])
        self._policies, self._key = policies, object()
        trees = _trees(policies.modules)
        _check(policies.modules, trees)
        self.reads: Mapping[Hook, Reads] = {hook: reads(_heard(hook, policies.modules, trees)) for hook in HOOKS}
        self._cache = Cache(self.reads)

    def rehearse(self, samples: Mapping[Hook, Mapping[str, Any]]) -> None:
        """Evaluate once on each of `samples`, in an engine of its own.

        Raises:
            ConfigErrors: that failed.
        """
        error: ConfigError | None = None
        for hook, document in samples.items():
            try:
                self._ask(hook, document)
            except PolicyFault as e:
                where = e.args[1] if len(e.args) > 1 else (self._policies.modules[0].file, 1)
                error = ConfigError(where[0], where[1], str(e.args[0]), "policies that can be evaluated")
                break
        if error is not None:
            raise ConfigErrors([error])

    async def ask(self, hook: Hook, document: Mapping[str, Any], tell: object = None) -> Any:
        """Return the document of `data.fleetgate.<hook>` for the input `document`; there is nothing to tell of it.

        Raises:
            PolicyFault: it cannot be evaluated.
        """
        return self._cache.ask(hook, document, lambda: self._ask(hook, document))

    def _ask(self, hook: Hook, document: Mapping[str, Any]) -> Any:
        text = encode(document)
        if len(text) > MAX_INPUT:
            raise PolicyFault(f"what the policies read is larger than {MAX_INPUT >> 20} MiB")
        if self._key not in _here.of:
            _here.make(self._key, self._policies)
        try:
            return _evaluate(self._key, hook, text)
        except _PanickedError as e:
            del _here.of[self._key]
            raise PolicyFault(str(e)) from None


class _PanickedError(PolicyFault):
    """The engine broke; it is not used again."""


def encode(document: Mapping[str, Any]) -> str:
    """Return `document` as JSON that every engine reads alike: no half surrogates, no numbers that JSON lacks.

    Raises:
        PolicyFault: it has no such form.
    """
    try:
        text = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (ValueError, RecursionError) as e:
        raise PolicyFault(f"the input has no form in JSON: {e}") from None
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _evaluate(key: object, hook: Hook, text: str) -> Any:
    try:
        _here.of[key].set_input_json(text)
        found = json.loads(_here.of[key].eval_query_as_json(f"data.{ROOT}.{hook}"))
    except (KeyboardInterrupt, SystemExit):
        raise
    except Exception as e:  # noqa: BLE001  the binding raises RuntimeError for everything; nothing is let pass
        words, place = _said(e)
        raise PolicyFault(words, place) from None
    except BaseException as e:  # noqa: BLE001  a panic is no Exception
        raise _PanickedError(f"the engine broke: {type(e).__name__}") from None
    results = found.get("result")
    return results[0]["expressions"][0]["value"] if results else None


def _said(e: Exception) -> tuple[str, tuple[str, int] | None]:
    """Return the engine's words and where they point, without its excerpt of the source."""
    text = str(e).partition("Stack backtrace")[0]
    place = _PLACE.search(text)
    words = _WORDS.search(text)
    shown = (words[1] if words else text.strip().splitlines()[-1] if text.strip() else "it failed")[:200]
    where = (place[1], int(place[2])) if place else None
    return (f"{where[0]}:{where[1]}: {shown}" if where else shown), where


# --- what is checked before anything is evaluated ------------------------------------------------------------------------------------


def _trees(modules: Sequence[Module]) -> list[Mapping[str, Any]]:
    trees, errors = [], []
    for module in modules:
        try:
            _here.make(module, Policies((module,)))
            trees.append(_named(json.loads(_here.of[module].get_ast_as_json())[0]["ast"], module.text))
        except Exception as e:  # noqa: BLE001  as above
            words, where = _said(e)
            line = where[1] if where else 1
            errors.append(ConfigError(module.file, line, words.removeprefix(f"{module.file}:{line}: "), "Rego v1"))
        _here.of.pop(module, None)
    if errors:
        raise ConfigErrors(errors)
    return trees


def _named(tree: dict[str, Any], text: str) -> Mapping[str, Any]:
    """Return a tree whose imports have their alias by name: the engine tells only where it stands, in bytes."""
    raw = text.encode()
    for item in tree.get("imports") or ():
        at = item.get("as")
        if isinstance(at, dict):
            item["as"] = [at, raw[at["start"] : at["end"]].decode()]
    return tree


def _heard(hook: Hook, modules: Sequence[Module], trees: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Yield the trees that can have a part in the decisions of `hook`: its own and the libraries; all, when one looks across."""
    mine = [tree for module, tree in zip(modules, trees, strict=True) if module.hook in (None, hook)]
    across = any(_looks_across(tree, hook) for tree in mine)
    yield from trees if across else mine


def _looks_across(tree: Mapping[str, Any], hook: Hook) -> bool:
    """Return whether a tree refers to data that may be another hook's."""
    seen = references([tree.get("imports"), tree.get("rules")])
    return any(p[:1] == ("data",) and (len(p) == 1 or (p[1] == ROOT and p[2:3] != (hook,))) for kind, p in seen if kind == "path")


def _nodes(node: Any) -> Iterator[Mapping[str, Any]]:
    stack = [node]
    while stack:
        here = stack.pop()
        if isinstance(here, Mapping):
            yield here
            stack.extend(here.values())
        elif isinstance(here, list):
            stack.extend(here)


def _check(modules: Sequence[Module], trees: Sequence[Mapping[str, Any]]) -> None:
    """Refuse what must not be evaluated.

    Raises:
        ConfigErrors: unknown functions, functions that reach outside, functions that call themselves.
    """
    own = {path for module, tree in zip(modules, trees, strict=True) for path, _ in _functions(module, tree)}
    errors: list[ConfigError] = []
    calls: dict[str, set[str]] = {}
    known: dict[str, bool] = {}
    for module, tree in zip(modules, trees, strict=True):
        imports = _imports(tree)
        for caller, rule in _rules(module, tree):
            for name, line in _calls(rule):
                path = _resolved(name, module, imports, own)
                if path in own:
                    calls.setdefault(caller, set()).add(path)
                elif name in OUTSIDE:
                    errors.append(ConfigError(module.file, line, f"{name}, which reaches out of the process", "a decision on the input"))
                elif not known.setdefault(name, _builtin(name)):
                    hint = "the OPA server has it: policy: {engine: opa:URL}"
                    errors.append(ConfigError(module.file, line, f"{name}: no such function in the embedded engine", hint=hint))
    for module, tree in zip(modules, trees, strict=True):
        package = [other for part, other in zip(modules, trees, strict=True) if part.package == module.package]
        errors += [ConfigError(module.file, line, words) for line, words in differing(tree, package)]
    errors += _circles(modules, trees, calls)
    if errors:
        raise ConfigErrors(errors)


def _rules(module: Module, tree: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield each rule with its full name."""
    for rule in tree.get("rules") or ():
        spec = rule.get("Spec")
        head = next(iter(spec["head"].values())) if spec else {"refr": rule["Default"]["refr"]}
        path, _ = chain(head["refr"])
        yield f"{module.package}.{'.'.join(path)}", rule


def _functions(module: Module, tree: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    for path, rule in _rules(module, tree):
        spec = rule.get("Spec")
        if spec and "Func" in spec["head"]:
            yield path, int(spec["span"]["line"])
        elif not spec and rule["Default"].get("args"):
            yield path, int(rule["Default"]["span"]["line"])


def _imports(tree: Mapping[str, Any]) -> dict[str, str]:
    found = {}
    for item in tree.get("imports") or ():
        path = dotted(item["refr"])
        if path and path[0] == "data":
            alias = item.get("as")
            found[str(alias[1]) if isinstance(alias, list) else path[-1]] = ".".join(path[1:])
    return found


def _calls(rule: Any) -> Iterator[tuple[str, int]]:
    for node in _nodes(rule):
        if "Call" in node:
            path, _ = chain(node["Call"]["fcn"])
            yield ".".join(path), int(node["Call"]["span"]["line"])


def _resolved(name: str, module: Module, imports: Mapping[str, str], own: Iterable[str]) -> str:
    """Return the full name of what `name` calls from `module`."""
    first, _, rest = name.partition(".")
    if first == "data":
        return rest
    if first in imports:
        return f"{imports[first]}.{rest}".rstrip(".")
    return f"{module.package}.{name}"


def _engine() -> Any:
    import regorus  # noqa: PLC0415  loaded where there are modules, and only there

    return regorus.Engine()


def _builtin(name: str) -> bool:
    """Return whether the engine has a function of this name: asked without arguments it says how many it wants."""
    engine = _engine()
    try:
        engine.add_policy("probe", f"package probe\nx := {name}()\n")
        engine.eval_query_as_json("data.probe.x")
    except Exception as e:  # noqa: BLE001  as above
        return "could not find function" not in str(e)
    return True


def _circles(modules: Sequence[Module], trees: Sequence[Mapping[str, Any]], calls: Mapping[str, set[str]]) -> Iterator[ConfigError]:
    """Yield an error for each function that comes to call itself."""
    for module, tree in zip(modules, trees, strict=True):
        for path, line in dict(_functions(module, tree)).items():
            seen, todo = set[str](), list(calls.get(path, ()))
            while todo:
                here = todo.pop()
                if here not in seen:
                    seen.add(here)
                    todo.extend(calls.get(here, ()))
            if path in seen:
                yield ConfigError(module.file, line, f"{path} calls itself", "a function without recursion", "OPA refuses it too")

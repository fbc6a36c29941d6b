"""Reads the Rego files of the policies folder: which packages decide, on what, and whether each runs dry.

Reads the text alone, so that it says the same for both engines; what needs the language is the engine's (`embedded`). Files that end in
`_test.rego` are for `opa test`. Data comes from `data.yaml` and `data.json`, rooted at their folder as in an OPA bundle. Everything wrong
is an error with its line: a package that would decide nothing must not look like one that does.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from proxy.config import ConfigError, ConfigErrors, load_yaml, near, parse_yaml, read_text
from proxy.model import Source
from proxy.policy.decision import OUTPUTS, ROOT, Hook, Package

MAX_FILE = 256 << 10
MAX_DATA = 4 << 20
MAX_NESTING = 10
"""Brackets within brackets. Source: measured; the embedded engine's parser takes twice as long for each further one."""
HOOKS: tuple[Hook, ...] = get_args(Hook)
_ASIDE = re.compile(r'#[^\n]*|"(?:\\.|[^"\\\n])*"|`[^`]*`')
_PACKAGE = re.compile(r"^[ \t]*package[ \t]+([A-Za-z_][\w.]*)[ \t]*;?[ \t]*$", re.MULTILINE)
_ALL_OUTPUTS = frozenset().union(*OUTPUTS.values())
_RULE = re.compile(rf"^[ \t]*(?:default[ \t]+)?({'|'.join(sorted(_ALL_OUTPUTS))})\b([^\n]*)", re.MULTILINE)
_ALWAYS = re.compile(r"^[ \t]*(?:default[ \t]+)?allow[ \t]*:?=[ \t]*true[ \t]*$", re.MULTILINE)
_TEXT = re.compile(r'"(?:\\.|[^"\\\n])*"')


@dataclass(frozen=True, slots=True)
class Module:
    """One file: its name in messages, its text, and the package that it is of."""

    file: str
    text: str
    package: str

    @property
    def hook(self) -> Hook | None:
        """What its package decides on; None for a library."""
        parts = self.package.split(".")
        return next((h for h in HOOKS if parts[:2] == [ROOT, h]), None)


@dataclass(frozen=True, slots=True)
class Policies:
    """The Rego of one snapshot."""

    modules: tuple[Module, ...] = ()
    data: Mapping[str, Any] = field(default_factory=dict)
    packages: Mapping[Hook, tuple[Package, ...]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.modules)


NO_POLICIES = Policies()


def rego_files(folder: Path) -> list[Path]:
    """Return the policies below `folder`, tests left out."""
    return [f for f in _below(folder, "*.rego") if not f.name.endswith("_test.rego")]


def _below(folder: Path, pattern: str) -> list[Path]:
    found = sorted(folder.rglob(pattern))
    return [f for f in found if f.is_file() and not any(part.startswith("..") for part in f.relative_to(folder).parts)]


def load_rego(folder: Path, base: Path) -> Policies:
    """Return the policies below `folder`; messages name files relative to `base`.

    Raises:
        ConfigErrors: all that is wrong.
    """
    modules, errors = list[Module](), list[ConfigError]()
    for file in rego_files(folder):
        name = str(file.relative_to(base)) if file.is_relative_to(base) else str(file)
        try:
            modules.append(_module(name, read_text(file, name, MAX_FILE)))
        except ConfigError as e:
            errors.append(e)
    data: dict[str, Any] = {}
    if modules:
        for file in (*_below(folder, "data.yaml"), *_below(folder, "data.json")):
            try:
                _merge(data, file, folder)
            except ConfigError as e:
                errors.append(e)
    packages, wrong = _packages(modules)
    errors += wrong
    if errors:
        raise ConfigErrors(errors)
    return Policies(tuple(modules), data, packages)


def code(text: str) -> str:
    """Return `text` with comments and strings blanked out, line for line."""
    return _ASIDE.sub(lambda m: re.sub(r"[^\n]", " ", m.group()), text)


def _module(file: str, text: str) -> Module:
    bare = code(text)
    found = _PACKAGE.search(bare)
    if found is None:
        raise ConfigError(file, 1, "no package", "package fleetgate.request, fleetgate.tool_call or fleetgate.response")
    depth = 0
    for line, words in enumerate(bare.splitlines(), 1):
        for c in words:
            depth += (c in "([{") - (c in ")]}")
            if depth > MAX_NESTING:
                raise ConfigError(file, line, f"brackets nested more than {MAX_NESTING} deep", hint="give the inner part a name of its own")
    return Module(file, text, found[1])


def _merge(data: dict[str, Any], file: Path, folder: Path) -> None:
    """Add the document of `file` to `data`, below the names of its folders."""
    name = str(file.relative_to(folder))
    if file.suffix == ".json":
        try:
            value = json.loads(read_text(file, name, MAX_DATA))
        except (ValueError, RecursionError) as e:
            raise ConfigError(name, getattr(e, "lineno", 1), "not valid JSON") from None
    else:
        value = load_yaml(file, name, MAX_DATA).value
    if not isinstance(value, dict):
        raise ConfigError(name, 1, "no mapping", "a mapping of names to data")
    here = data
    for part in file.relative_to(folder).parts[:-1]:
        here = here.setdefault(part, {})
    for key, item in value.items():
        if key in here:
            raise ConfigError(name, 1, f"{key} stands in another data file too", "each name once")
        here[key] = item


def _packages(modules: Sequence[Module]) -> tuple[dict[Hook, tuple[Package, ...]], list[ConfigError]]:
    """Return the packages that decide, by hook in order of their paths, and what is wrong with them."""
    found: dict[Hook, tuple[Package, ...]] = dict.fromkeys(HOOKS, ())
    errors: list[ConfigError] = []
    grouped: dict[str, list[Module]] = {}
    for module in modules:
        grouped.setdefault(module.package, []).append(module)
    for path, parts in sorted(grouped.items()):
        hook = parts[0].hook
        try:
            if hook is not None:
                found[hook] += (_package(path, hook, parts),)
            elif path.split(".")[0] == ROOT:
                expected = ", ".join(f"{ROOT}.{h}" for h in HOOKS)
                raise _at_package(parts[0], f"package {path}, which nobody asks", expected, near(path, [f"{ROOT}.{h}" for h in HOOKS]))
        except ConfigError as e:
            errors.append(e)
    return found, errors


def _package(path: str, hook: Hook, parts: Sequence[Module]) -> Package:
    places: dict[str, Source] = {}
    shadows = {module.file: _shadow(module) for module in parts}
    for module in parts:
        bare = code(module.text)
        for found in _RULE.finditer(bare):
            word, rest, line = found[1], found[2].lstrip(), bare.count("\n", 0, found.start(1)) + 1
            if not rest.startswith(("if", ":=", "=", "contains", "{", "[", ".")) and rest:
                continue  # the word begins an expression, not a rule
            _check_head(module, hook, word, rest, line)
            places.setdefault(word, Source(module.file, line))
        _texts(module, places)
    outputs = _ALL_OUTPUTS & places.keys()
    if not outputs:
        expected = f"one of {', '.join(sorted(OUTPUTS[hook]))}"
        raise _at_package(parts[0], f"package {path} decides nothing", expected, f"put helpers into a package outside {ROOT}")
    if len(set(shadows.values())) > 1:
        odd = next(m for m in parts if not shadows[m.file])
        raise _at_package(odd, f"enforces, while another file of package {path} is in shadow mode", "one mode for all files of a package")
    always = "deny" not in outputs and any(_ALWAYS.search(code(module.text)) for module in parts)
    line = _package_line(parts[0])
    return Package(path, hook, Source(parts[0].file, line), "allow" in outputs, any(shadows.values()), places, always)


def _check_head(module: Module, hook: Hook, word: str, rest: str, line: int) -> None:
    if word not in OUTPUTS[hook]:
        raise ConfigError(module.file, line, f"{word} in package {module.package}", f"one of {', '.join(sorted(OUTPUTS[hook]))}")
    if rest.startswith(("[", ".")):
        raise ConfigError(module.file, line, f"{word} is an object here", f"{word} contains message if ...")


def _texts(module: Module, places: dict[str, Source]) -> None:
    """Note where each text of the source stands, so that a refusal can name its line; one that stands twice says nothing."""
    twice: set[str] = set()
    for found in _ASIDE.finditer(module.text):
        if not _TEXT.fullmatch(found.group()):
            continue
        key = found.group()
        if key in places:
            twice.add(key)
        places[key] = Source(module.file, module.text.count("\n", 0, found.start()) + 1)
    for key in twice:
        del places[key]


def _shadow(module: Module) -> bool:
    """Return whether the annotation above the package says `custom: {mode: shadow}`."""
    lines = module.text.splitlines()
    last = _package_line(module) - 1
    first = last
    while first and lines[first - 1].startswith("#"):
        first -= 1
    block = lines[first:last]
    start = next((i for i, line in enumerate(block) if line.strip() == "# METADATA"), None)
    if start is None:
        return False
    text = "\n".join(line.removeprefix("#").removeprefix(" ") for line in block[start + 1 :])
    value = parse_yaml(text, module.file, first + start + 2).value
    custom = value.get("custom") if isinstance(value, dict) else None
    mode = custom.get("mode", "enforce") if isinstance(custom, dict) else "enforce"
    if mode not in ("enforce", "shadow"):
        raise ConfigError(module.file, first + start + 2, f"mode {str(mode)[:40]!r}", "enforce or shadow")
    return bool(mode == "shadow")


def _package_line(module: Module) -> int:
    bare = code(module.text)
    found = _PACKAGE.search(bare)
    return bare.count("\n", 0, found.start(1) if found else 0) + 1


def _at_package(module: Module, got: str, expected: str, hint: str = "") -> ConfigError:
    return ConfigError(module.file, _package_line(module), got, expected, hint)


def mentions(modules: Iterable[Module], pattern: re.Pattern[str]) -> bool:
    """Return whether the code of any module, comments and texts left out, has `pattern`."""
    return any(pattern.search(code(module.text)) for module in modules)

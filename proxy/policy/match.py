"""Compiles the `match` of a rule to one predicate, once; what it costs later is what it looks at.

Pure. A predicate is asked with `doubt`: what counts where a thing cannot be told, as with a pointer into arguments that are no JSON. Rules
that refuse are asked to doubt in favour of refusing, and `none` turns that round, so that nobody slips past a rule by being unreadable.
"""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from proxy import globs
from proxy.config import Doc, KeyPath
from proxy.effects import Effect
from proxy.patterns import Pattern, PatternError, pattern
from proxy.policy.facts import Facts, at_pointer, plain, words_of

Test = Callable[[Facts, bool], bool]
Find = Callable[[str], list[tuple[int, int]]]
On = Callable[[str], bool]
TEXT = frozenset(("contains", "regex", "glob"))
CALL = frozenset(("command", "path", "url", "host", "effect", "argument"))


@dataclass(frozen=True, slots=True)
class Match:
    """A compiled `match`.

    Attributes:
        test: whether it holds.
        kinds: kinds of effects without one of which it cannot hold; None where it can hold without any.
        finds: what returns the spans of a text that it is about; empty where it is about none.
        text, call: whether it speaks of texts, of tool calls.
        longest: the most characters that a span can have; None where nobody can tell.
        trivial: it holds for everything.
    """

    test: Test
    kinds: frozenset[str] | None = None
    finds: tuple[Find, ...] = ()
    text: bool = False
    call: bool = False
    longest: int | None = 0
    trivial: bool = False

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Return what of `text`, which matches, the rule is about: all of it where that is no one place (or is hidden in it)."""
        found = sorted(span for find in self.finds for span in find(text))
        if not found:
            return [(0, len(text))]
        merged = [found[0]]
        for start, end in found[1:]:
            if start <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
            else:
                merged.append((start, end))
        return merged


def listed(value: Any) -> list[Any]:
    """Return a list as it is, and anything else as a list of one."""
    return value if isinstance(value, list) else [value]


def compile_match(doc: Doc, path: KeyPath, value: dict[str, Any]) -> Match:
    """Return the compiled `match` at `path`; its shape was checked.

    Raises:
        ConfigError: an expression that RE2 does not take, a network that is none, or no condition at all.
    """
    if not value:
        raise doc.error(path, "no condition", "at least one", "leave `match` out where `when` says it all")
    parts = [_PARTS[key](doc, (*path, key), item) for key, item in value.items()]
    return parts[0] if len(parts) == 1 else _all(parts)


def _all(parts: Sequence[Match]) -> Match:
    tests = tuple(part.test for part in parts)
    kinds = next((part.kinds for part in parts if part.kinds is not None), None)
    return _joined(parts, lambda facts, doubt: all(test(facts, doubt) for test in tests), kinds, all(p.trivial for p in parts))


def _joined(parts: Sequence[Match], test: Test, kinds: frozenset[str] | None, trivial: bool) -> Match:
    longest = [part.longest for part in parts]
    return Match(
        test=test,
        kinds=kinds,
        finds=tuple(find for part in parts for find in part.finds),
        text=any(part.text for part in parts),
        call=any(part.call for part in parts),
        longest=None if None in longest else max((n for n in longest if n is not None), default=0),
        trivial=trivial,
    )


def _any_of(doc: Doc, path: KeyPath, value: list[dict[str, Any]]) -> Match:
    parts = _each(doc, path, value)
    tests = tuple(part.test for part in parts)
    kinds = [part.kinds for part in parts]
    union = None if None in kinds else frozenset(kind for found in kinds if found for kind in found)
    return _joined(parts, lambda facts, doubt: any(test(facts, doubt) for test in tests), union, any(p.trivial for p in parts))


def _all_of(doc: Doc, path: KeyPath, value: list[dict[str, Any]]) -> Match:
    return _all(_each(doc, path, value))


def _none_of(doc: Doc, path: KeyPath, value: list[dict[str, Any]]) -> Match:
    parts = _each(doc, path, value)
    tests = tuple(part.test for part in parts)
    joined = _joined(parts, lambda facts, doubt: not any(test(facts, not doubt) for test in tests), None, False)
    longest = None if joined.text else 0  # what must not stand there can stand anywhere
    return Match(joined.test, None, (), joined.text, joined.call, longest)


def _each(doc: Doc, path: KeyPath, value: list[dict[str, Any]]) -> list[Match]:
    if not value:
        raise doc.error(path, "an empty list", "at least one condition")
    return [compile_match(doc, (*path, i), item) for i, item in enumerate(value)]


# --- texts -----------------------------------------------------------------------------------------------------------------------


def _contains(doc: Doc, path: KeyPath, value: Any) -> Match:
    phrases = [plain(phrase).casefold() for phrase in listed(value)]

    def test(facts: Facts, doubt: bool) -> bool:
        return any(phrase in text for text in map(str.casefold, facts.texts) for phrase in phrases)

    def find(text: str) -> list[tuple[int, int]]:
        folded = text.casefold()
        if len(folded) != len(text):  # folding moved the places: have the whole text found
            return []
        return [(at, at + len(phrase)) for phrase in phrases for at in _places(folded, phrase)]

    return Match(test, None, (find,), True, False, max(map(len, phrases)))


def _places(text: str, phrase: str) -> Iterable[int]:
    at = text.find(phrase)
    while at >= 0:
        yield at
        at = text.find(phrase, at + len(phrase))


def _regex(doc: Doc, path: KeyPath, value: Any) -> Match:
    found = _expressions(doc, path, value)
    finds = tuple(one.spans for one in found)
    trivial = any(one.found("") for one in found)
    return Match(lambda facts, doubt: any(one.found(t) for t in facts.texts for one in found), None, finds, True, False, None, trivial)


def _expressions(doc: Doc, path: KeyPath, value: Any, flags: str = "") -> list[Pattern]:
    found = []
    for i, text in enumerate(listed(value)):
        try:
            found.append(pattern(flags + text))
        except PatternError as e:
            at = (*path, i) if isinstance(value, list) else path
            raise doc.error(at, str(e), "a regular expression that RE2 takes", "no back-references, no look-around") from None
    return found


def _glob(doc: Doc, path: KeyPath, value: Any) -> Match:
    on = _named(value)
    return Match(lambda facts, doubt: any(map(on, facts.texts)), None, (), True, False, None, "*" in listed(value))


def _named(value: Any) -> On:
    """Return a predicate of globs that does not look at letter case."""
    matches = globs.matcher(text.casefold() for text in listed(value))
    return lambda text: matches(text.casefold())


def name_test(value: Any) -> On | None:
    """Return the predicate of the globs of a `when`, None where there are none."""
    return None if value is None else _named(value)


# --- calls -----------------------------------------------------------------------------------------------------------------------


def _said(doc: Doc, path: KeyPath, value: Any, spread: Callable[[str], Iterable[str]] = lambda glob: (glob,)) -> On:
    """Return the predicate of what a command, path or URL is held against; `spread` says what a glob also means."""
    if not isinstance(value, dict):
        value = {"glob": value}
    tests: list[On] = []
    if "glob" in value:
        tests.append(globs.matcher(more for text in listed(value["glob"]) for more in spread(text.casefold())))
    if "regex" in value:
        found = _expressions(doc, (*path, "regex"), value["regex"], "(?i)")
        tests.append(lambda text: any(one.found(text) for one in found))
    if "contains" in value:
        phrases = [phrase.casefold() for phrase in listed(value["contains"])]
        tests.append(lambda text: any(phrase in text for phrase in phrases))
    if not tests:
        raise doc.error(path, "no condition", "glob, regex or contains")
    return tests[0] if len(tests) == 1 else lambda text: any(test(text) for test in tests)


def below(glob: str) -> Iterable[str]:
    """Return what a glob on paths means: a relative one holds in any folder, and one that names a folder for all that is in it."""
    own = (glob,) if glob.startswith(("/", "~", "*")) else (glob, f"*/{glob}")
    for one in own:
        yield one
        if one.endswith("/"):
            yield one + "*"
            yield one[:-1]


def _command(doc: Doc, path: KeyPath, value: Any) -> Match:
    on = _said(doc, path, value)
    return Match(lambda facts, doubt: (facts.unread and doubt) or any(map(on, facts.commands)), call=True)


def _path(doc: Doc, path: KeyPath, value: Any) -> Match:
    on = _said(doc, path, value, below)
    return Match(lambda facts, doubt: (facts.unread and doubt) or any(map(on, facts.paths)), call=True)


def _url(doc: Doc, path: KeyPath, value: Any) -> Match:
    on = _said(doc, path, value)
    return Match(lambda facts, doubt: (facts.unread and doubt) or any(map(on, facts.urls)), call=True)


def _host(doc: Doc, path: KeyPath, value: Any) -> Match:
    networks, names = [], []
    for text in listed(value):
        if "/" not in text:
            names.append(text)
            continue
        try:
            networks.append(ipaddress.ip_network(text, strict=False))
        except ValueError:
            raise doc.error(path, text, "a host, a glob, or a network such as 10.0.0.0/8") from None
    named = _named(names)

    def on(host: str) -> bool:
        if named(host):
            return True
        if not networks or not (host[:1].isdigit() or ":" in host):
            return False
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return False
        return any(address in network for network in networks)

    return Match(lambda facts, doubt: (facts.unread and doubt) or any(map(on, facts.hosts)), call=True)


def _effect(doc: Doc, path: KeyPath, value: Any) -> Match:
    tests, kinds = [], set[str]()
    for i, item in enumerate(listed(value)):
        at = (*path, i) if isinstance(value, list) else path
        spec = {"kind": item} if isinstance(item, str) else item
        kinds.update(listed(spec["kind"]))
        tests.append(_one_effect(doc, at, spec))
    if not tests:
        raise doc.error(path, "an empty list", "at least one effect")
    return Match(lambda facts, doubt: any(test(e) for e in facts.effects for test in tests), frozenset(kinds), call=True)


def _one_effect(doc: Doc, path: KeyPath, spec: dict[str, Any]) -> Callable[[Effect], bool]:
    kinds = frozenset(listed(spec["kind"]))
    every, some, without = (frozenset(listed(spec.get(key, []))) for key in ("flags", "any_flag", "without"))
    on = _said(doc, (*path, "subject"), spec["subject"], below) if "subject" in spec else None

    def test(effect: Effect) -> bool:
        if effect.kind not in kinds or not every <= effect.flags or (some and not some & effect.flags) or without & effect.flags:
            return False
        return on is None or on(effect.subject.casefold())

    return test


def _argument(doc: Doc, path: KeyPath, value: Any) -> Match:
    parts = [_one_argument(doc, (*path, i) if isinstance(value, list) else path, item) for i, item in enumerate(listed(value))]
    if not parts:
        raise doc.error(path, "an empty list", "at least one argument")
    return Match(lambda facts, doubt: all(part(facts, doubt) for part in parts), call=True)


def _one_argument(doc: Doc, path: KeyPath, spec: dict[str, Any]) -> Test:
    tests: list[Callable[[Any], bool]] = []
    if "equals" in spec:
        wanted = [_same(item) for item in listed(spec["equals"])]
        tests.append(lambda found: _same(found) in wanted)
    rest = {key: spec[key] for key in ("glob", "regex", "contains") if key in spec}
    if rest:
        on = _said(doc, path, rest)
        tests.append(lambda found: on(words_of(found).casefold()))
    if "above" in spec:
        tests.append(partial(_over, bound=spec["above"], sign=1))
    if "below" in spec:
        tests.append(partial(_over, bound=spec["below"], sign=-1))
    if not tests:
        raise doc.error(path, "a pointer alone", "equals, glob, regex, contains, above or below")
    pointer = spec["pointer"]

    def test(facts: Facts, doubt: bool) -> bool:
        if facts.given is None:
            return doubt
        found = at_pointer(facts.given, pointer)
        return found is not None and all(test(found) for test in tests)

    return test


def _same(value: Any) -> Any:
    """Return a value so that equal ones are equal however they are written: 5, 5.0 and "5", `true` and "True"."""
    if isinstance(value, bool):
        return "true" if value else "false"
    number = _number(value)
    return number if number is not None else words_of(value).casefold()


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        return float(value.replace(",", "").strip("$€£ ") if isinstance(value, str) else value)
    except (ValueError, OverflowError):
        return None


def _over(value: Any, bound: float, sign: int) -> bool:
    number = _number(value)
    return number is None or math.isnan(number) or (number - bound) * sign > 0  # what is no number is over every bound


_PARTS: dict[str, Callable[[Doc, KeyPath, Any], Match]] = {
    "any": _any_of,
    "all": _all_of,
    "none": _none_of,
    "contains": _contains,
    "regex": _regex,
    "glob": _glob,
    "command": _command,
    "path": _path,
    "url": _url,
    "host": _host,
    "effect": _effect,
    "argument": _argument,
}

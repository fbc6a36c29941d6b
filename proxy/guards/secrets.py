"""Finds secrets: keys with a mark of their own, keys beside a vendor's name, passwords beside the word, private keys, passwords in URLs.

Two passes of RE2 over the text find the places worth a look (a literal with which keys begin; a telling name with an assignment behind
it); only there the pattern of a format is tried, and what fits must look random and not like a placeholder. RE2 in one pass beat a trie of
keywords by four to one here. Everything is bounded: what is tried is at most some thousand characters, and a text with more places
than `CROWDED` is a finding itself. What a secret opens, and whether it is still valid, is not asked.

Characters outside ASCII are no part of any secret; each stands for one that fits nothing, invisible ones are taken out first.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import ClassVar

import re2

from proxy.guards.base import Compiled, Hit, Surface, TextGuard, apart
from proxy.guards.data.formats import FORMATS, Format
from proxy.guards.data.vendors import KEYS, NOT_SECRET, PASSWORDS, VENDORS, Vendor
from proxy.guards.folding import shown
from proxy.guards.structures import PASSWORD_URL, STRUCTURES, Structure, real_password

REACH = 512
"""The most characters of a secret that a stream can hold back; a longer one stops it."""
CROWDED = 50_000
"""Places worth a look in one text, over which the text is a finding itself."""
FORMAT_CHARS = 2400

_TOKEN_CHAR = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")
_NAME = r"[\w.\- \t\"'\\\[\]()]{0,24}?"
_ASSIGN = r"(?:\"[ \t]{1,4}value=|=>|:{1,3}=|[?.|+]?=|:|[\"'],|>)"
_BEGUN = r"\s{0,12}[\"'`\\]{0,3}\s{0,4}[^\s\"'`<>,;\\(){}$]{6}"
_value = re.compile(rb"[\s\\\"'`]{0,40}([^\s\"'`<>,;\\(){}]{6,400})")
_random = re.compile(rb"[0-9]+|[a-z]+|[A-Z]+|[^0-9a-zA-Z]+")
_digit, _letter, _sign = re.compile(rb"[0-9]"), re.compile(rb"[A-Za-z]"), re.compile(rb"[^A-Za-z0-9_.]")
_uuid = re2.compile(r"(?i)[a-f0-9]{8}(?:-[a-f0-9]{4}){3}-[a-f0-9]{12}")


class SecretsGuard(TextGuard):
    """See the module."""

    name: ClassVar[str] = "secrets"
    surfaces: ClassVar[frozenset[Surface]] = frozenset({"prompt", "tool_result", "reply", "tool_definition", "tool_call"})

    def __init__(self) -> None:
        self.reach = REACH
        self._starts = _by_start()
        self._marked = re2.compile("|".join(map(_beginning, sorted(self._starts, key=len, reverse=True))))
        self._patterns = Compiled({f.id: f.pattern for f in FORMATS})
        self._vendors = {name: vendor for vendor in VENDORS for name in vendor.names}
        self._shapes = Compiled({vendor.id: f"(?i)(?:{vendor.shape})" for vendor in VENDORS})
        words = sorted([*self._vendors, *KEYS, *PASSWORDS], key=len, reverse=True)
        self._named = re2.compile(f"(?i)(?:{'|'.join(map(re2.escape, words))}){_NAME}{_ASSIGN}{_BEGUN}")
        self._vendor_word = re2.compile(f"(?i){'|'.join(map(re2.escape, sorted(self._vendors, key=len, reverse=True)))}")
        self._key_word = re2.compile(f"(?i){'|'.join(map(re2.escape, KEYS))}")
        self._password_word = re2.compile(f"(?i){'|'.join(map(re2.escape, PASSWORDS))}")
        rules = repr((FORMATS, VENDORS, KEYS, PASSWORDS, NOT_SECRET, [s.id for s in STRUCTURES], REACH))
        self.digest = hashlib.sha256(rules.encode()).hexdigest()[:12]

    def scan(self, text: str, surface: Surface) -> Sequence[Hit]:
        """See `TextGuard.scan`."""
        raw, places = shown(text)
        found = [*self._by_mark(raw), *self._by_name(raw)]
        return apart(found, places) if found else ()

    def _by_mark(self, raw: bytes) -> Iterator[Hit]:
        """Find what begins like a known format."""
        done = 0
        for count, match in enumerate(self._marked.finditer(raw)):
            if count >= CROWDED:
                yield _crowded()
                return
            at, end = match.span()
            if at < done:
                continue
            hit = self._marked_at(raw[at:end].decode("ascii"), raw, at)
            if hit is not None:
                done = hit.end
                yield hit
        if b"@" in raw and b"://" in raw:
            for url in PASSWORD_URL.finditer(raw):
                if real_password(url.group(1)):
                    start, end = url.span(1)
                    yield Hit("secrets/url-password", start, end, "PASSWORD", "a URL with a password in it")

    def _marked_at(self, mark: str, raw: bytes, at: int) -> Hit | None:
        for end in range(len(mark), 1, -1):
            for kind in self._starts.get(mark[:end], ()):
                hit = self._fits(kind, raw, at) if isinstance(kind, Format) else _structured(kind, raw, at)
                if hit is not None:
                    return hit
        return None

    def _fits(self, format: Format, raw: bytes, at: int) -> Hit | None:
        pattern, stop = self._patterns[format.id], at + FORMAT_CHARS
        if format.before:
            match = next((m for m in pattern.finditer(raw[max(0, at - format.before) : stop]) if m), None)
            base = max(0, at - format.before)
            if match is None or not match.start() + base <= at < match.end() + base:
                return None
        else:
            match, base = pattern.match(raw[at:stop]), at
        if match is None:
            return None
        start, end = (n + base for n in match.span(match.re.groups and 1))
        if not _bounded(raw, start, end) or raw.startswith((b"..", b"[.."), end):
            return None
        value = raw[start:end]
        if format.entropy and (_entropy(value) < format.entropy or blanked(value)):
            return None
        return Hit(f"secrets/{format.id}", start, end, format.label, f"a secret in the format {format.id}")

    def _by_name(self, raw: bytes) -> Iterator[Hit]:
        """Find what stands behind a telling name."""
        for count, match in enumerate(self._named.finditer(raw)):
            if count >= CROWDED:
                yield _crowded()
                return
            hit = self._named_at(raw, match.start(), match.end() - 6)
            if hit is not None:
                yield hit

    def _named_at(self, raw: bytes, start: int, end: int) -> Hit | None:
        found = _value.match(raw, end)
        if found is None:
            return None
        at = found.start(1)
        value = found.group(1).rstrip(b".:!?")
        if len(value) < 6 or value[:1] in b"$%/@&|*" or value.startswith((b"http", b"file:", b"env:")):
            return None
        stop = at + len(value)
        if raw.startswith((b"...", b"[..."), stop):
            return None
        name = raw[max(0, start - 32) : end].rstrip().rsplit(b"\n", 1)[-1]
        vendor = self._vendor(name, value)
        if vendor is not None:
            return Hit(f"secrets/{vendor.id}", at, stop, vendor.label, f"a secret beside the name {vendor.names[0]}")
        quoted = raw[at - 1 : at] in (b'"', b"'", b"`")
        if self._password_word.search(name):
            if _like_password(value, quoted) and raw[stop : stop + 1] not in (b"(", b"{"):
                return Hit("secrets/password", at, stop, "PASSWORD", "a password")
        elif self._key_word.search(name) and _like_key(value, quoted, raw[stop : stop + 1]):
            return Hit("secrets/generic-key", at, stop, "SECRET", "a key or token")
        return None

    def _vendor(self, name: bytes, value: bytes) -> Vendor | None:
        for match in self._vendor_word.finditer(name):
            if not _begins(name, match.start()):
                continue
            vendor = self._vendors[match.group().decode("ascii").lower()]
            if self._shapes[vendor.id].fullmatch(value) and _entropy(value) >= 2.4 and not blanked(value):
                return vendor
        return None


def _by_start() -> dict[str, list[Format | Structure]]:
    """Return all formats and structures by what they begin with."""
    known: dict[str, list[Format | Structure]] = {}
    kinds: list[Format | Structure] = [*STRUCTURES, *FORMATS]
    for kind in kinds:
        for start in kind.starts:
            known.setdefault(start, []).append(kind)
    return known


def _beginning(start: str) -> str:
    """Return the pattern that finds a beginning.

    A short one counts only where letters go on; none is lost for that, as no other can begin in the middle of a word.
    """
    more = "[A-Za-z0-9]{8}" if start in ("ey", "pat") else "[A-Za-z0-9]{4}"
    return str(re2.escape(start)) + (more if len(start) <= 3 and (start[-1].isalnum() or start[-1] == "_") else "")


def _crowded() -> Hit:
    return Hit("secrets/crowded", 0, 1, "SECRET", "too many places that look like secrets", open=True)


def _structured(structure: Structure, raw: bytes, at: int) -> Hit | None:
    span = structure.find(raw, at)
    if span is None:
        return None
    return Hit(f"secrets/{structure.id}", *span, structure.label, structure.detail)


def _bounded(raw: bytes, start: int, end: int) -> bool:
    """Tell whether no word goes on before `start` or behind `end`; the letter of an escape such as `\\n` is no word."""
    if end < len(raw) and raw[end] in _TOKEN_CHAR:
        return False
    if start == 0 or raw[start - 1] not in _TOKEN_CHAR or raw[start] not in _TOKEN_CHAR:
        return True
    return raw[start - 1] in b"nrt" and raw[start - 2 : start - 1] == b"\\"


def _begins(name: bytes, at: int) -> bool:
    """Tell whether a word begins at `at`: `oktaKey`, `my_okta`, `myOkta`, not `rookTable`."""
    before, first = name[at - 1 : at], name[at : at + 1]
    return not before.isalpha() or (
        first.isupper() and before.islower() and name[at + 1 : at + 2].islower() and name[at + 2 : at + 4].islower()
    )


def _entropy(value: bytes) -> float:
    """Return the bits per character by Shannon's measure."""
    total = len(value)
    return -sum(n / total * math.log2(n / total) for n in Counter(value).values())


_stop = re2.compile("|".join(map(re2.escape, NOT_SECRET)))


def blanked(value: bytes) -> bool:
    """Tell whether a value of a known format was made unusable: written in x, said to be an example, of one or two characters."""
    lower = value.lower()
    return len(set(lower)) <= 4 or b"xxxx" in lower or b"example" in lower or b"****" in lower or b"redacted" in lower


def placeholder(value: bytes) -> bool:
    """Tell whether a value stands for a secret instead of being one."""
    return blanked(value) or bool(_stop.search(value.lower()))


def _like_password(value: bytes, quoted: bool) -> bool:
    if not (6 if quoted else 8) <= len(value) <= 128:
        return False
    mixed = _digit.search(value) and _letter.search(value)
    if not mixed and not (quoted and _sign.search(value) and _letter.search(value)):
        return False
    return not placeholder(value) and _entropy(value) >= 2.2


def _like_key(value: bytes, quoted: bool, after: bytes) -> bool:
    if len(value) < (10 if quoted else 14) or after in (b"(", b"[", b"{"):
        return False
    digits = sum(map(value.count, b"0123456789"))
    if digits < 2 or digits == len(value) or value.startswith((b"/", b".")):
        return False
    if _uuid.fullmatch(value) or placeholder(value):
        return False
    return _entropy(value) >= 2.8 and len(_random.findall(value)) >= 5

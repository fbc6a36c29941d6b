"""The kinds of value that a setting can have: how each is read from YAML or from an environment variable, and how it is described.

A kind decides about one value alone. Rules that join several settings stand in `proxy.settings.checks`. What it refuses it raises as
`Wrong`, which the loader turns into an error with file and line; the value of a secret is never part of one.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from proxy.config import near

LATER = "comes in a later version"
GLOB = re.compile(r"[*?\[]")
MODEL = "{model}"
"""Stands in the path of a base URL for the name that the provider knows the model by."""


class Wrong(ValueError):
    """A value that its kind refuses: what was found, what was expected, and a hint."""

    def __init__(self, got: str, expected: str = "", hint: str = "") -> None:
        self.got, self.expected, self.hint = got, expected, hint
        super().__init__(got)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What values are read against: the folder of the file, the environment, and whether missing secrets are let pass."""

    folder: Path
    env: Mapping[str, str]
    simulate: bool = False


class Secret:
    """A value that no log, error or debugger print may show. `origin` says where it came from (`env:NAME`, `file:PATH`)."""

    __slots__ = ("_value", "origin")

    def __init__(self, value: str, origin: str) -> None:
        self._value, self.origin = value, origin

    def reveal(self) -> str:
        """Return the secret itself; call it only where it goes on the wire."""
        return self._value

    def __repr__(self) -> str:
        return f"Secret({self.origin})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value and other.origin == self.origin

    def __hash__(self) -> int:
        return hash((self.origin, self._value))

    def __reduce__(self) -> str:
        raise TypeError("a secret is not to be pickled or copied")


def shown(value: object) -> str:
    """Return `value` as an error message may show it: short, on one line."""
    text = "nothing" if value is None else repr(value) if not isinstance(value, (dict, list)) else type(value).__name__
    text = {"dict": "a mapping", "list": "a list"}.get(text, text)
    return text if len(text) <= 80 else text[:77] + "..."


class Kind:
    """One kind of value. `words` describes it in the documentation and in errors; `text` tells if a variable can carry it."""

    words = "a value"
    text = True

    def read(self, value: object, at: Surroundings) -> Any:
        """Return the setting that the YAML value means.

        Raises:
            Wrong: it means none.
        """
        raise NotImplementedError

    def from_text(self, text: str) -> object:
        """Return what `text` of an environment variable would be in YAML; raises Wrong."""
        return text


@dataclass(frozen=True, slots=True)
class Text(Kind):
    """Plain text, not empty, on one line."""

    words: str = "text"
    most: int = 500

    def read(self, value: object, at: Surroundings) -> str:
        """See `Kind.read`."""
        if not isinstance(value, str) or not value.strip() or not value.isprintable() or len(value) > self.most:
            raise Wrong(shown(value), self.words)
        return value


@dataclass(frozen=True, slots=True)
class Whole(Kind):
    """A whole number from `low` to `high`."""

    low: int
    high: int

    @property
    def words(self) -> str:  # type: ignore[override]
        """The range in words."""
        return f"a whole number from {self.low} to {self.high}"

    def read(self, value: object, at: Surroundings) -> int:
        """See `Kind.read`."""
        if isinstance(value, bool) or not isinstance(value, int) or not self.low <= value <= self.high:
            raise Wrong(shown(value), self.words)
        return value

    def from_text(self, text: str) -> object:
        """See `Kind.from_text`."""
        if not re.fullmatch(r"-?[0-9]{1,18}", text):
            raise Wrong(shown(text), self.words)
        return int(text)


@dataclass(frozen=True, slots=True)
class Number(Kind):
    """A number from `low` to `high`; `above` leaves `low` itself out."""

    low: float
    high: float
    above: bool = False

    @property
    def words(self) -> str:  # type: ignore[override]
        """The range in words."""
        return f"a number {f'above {self.low:g}, at most' if self.above else f'from {self.low:g} to'} {self.high:g}"

    def read(self, value: object, at: Surroundings) -> float:
        """See `Kind.read`."""
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not self.low <= value <= self.high:
            raise Wrong(shown(value), self.words)
        if self.above and value == self.low:
            raise Wrong(shown(value), self.words)
        return float(value)

    def from_text(self, text: str) -> object:
        """See `Kind.from_text`."""
        try:
            return float(text)
        except ValueError:
            raise Wrong(shown(text), self.words) from None


@dataclass(frozen=True, slots=True)
class Choice(Kind):
    """One of `options`; those in `later` are known, but not served by this version."""

    options: tuple[str, ...]
    later: tuple[str, ...] = ()

    @property
    def words(self) -> str:  # type: ignore[override]
        """The options in words."""
        return " or ".join(f"`{o}`" for o in self.options)

    def read(self, value: object, at: Surroundings) -> str:
        """See `Kind.read`."""
        if value is False and "off" in self.options:
            return "off"  # YAML reads a bare `off` as false
        if isinstance(value, str) and value in self.options:
            return value
        if isinstance(value, str) and value.split(":", 1)[0] in self.later:
            raise Wrong(f"{value.split(':', 1)[0]} {LATER}", self.words)
        raise Wrong(shown(value), self.words, near(str(value), self.options))


@dataclass(frozen=True, slots=True)
class Flag(Kind):
    """True or false."""

    words: str = "`true` or `false`"

    def read(self, value: object, at: Surroundings) -> bool:
        """See `Kind.read`."""
        if not isinstance(value, bool):
            raise Wrong(shown(value), self.words)
        return value

    def from_text(self, text: str) -> object:
        """See `Kind.from_text`."""
        known = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
        if text.lower() not in known:
            raise Wrong(shown(text), self.words)
        return known[text.lower()]


@dataclass(frozen=True, slots=True)
class Host(Kind):
    """A host name or an IP address to listen on."""

    words: str = "a host name or an IP address"

    def read(self, value: object, at: Surroundings) -> str:
        """See `Kind.read`."""
        name = value.strip("[]") if isinstance(value, str) else ""
        if not re.fullmatch(r"[A-Za-z0-9.:_%-]{1,253}", name):
            raise Wrong(shown(value), self.words)
        return name


def loopback(host: str) -> bool:
    """Tell if only this machine can reach `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


@dataclass(frozen=True, slots=True)
class PathOf(Kind):
    """The path of a file or folder that must be there, relative to the configuration file."""

    what: Literal["file", "folder"]

    @property
    def words(self) -> str:  # type: ignore[override]
        """The wanted thing in words."""
        return f"the path of a {self.what}"

    def read(self, value: object, at: Surroundings) -> Path:
        """See `Kind.read`."""
        if not isinstance(value, str) or not value.strip() or "\0" in value:
            raise Wrong(shown(value), self.words)
        path = at.folder / Path(value)
        if not (path.is_file() if self.what == "file" else path.is_dir()):
            raise Wrong(f"there is no {self.what} {path}", self.words)
        return path


@dataclass(frozen=True, slots=True)
class Listed(Kind):
    """A list of `item`s; a single one may stand without brackets, a variable joins them by commas."""

    item: Kind
    words: str
    empty: bool = False

    def read(self, value: object, at: Surroundings) -> tuple[Any, ...]:
        """See `Kind.read`."""
        items = [value] if isinstance(value, str) else value
        if not isinstance(items, Sequence) or (not items and not self.empty):
            raise Wrong(shown(value), self.words)
        found = tuple(self.item.read(item, at) for item in items)
        if len(set(found)) != len(found):
            raise Wrong("the same entry twice", self.words)
        return found

    def from_text(self, text: str) -> object:
        """See `Kind.from_text`."""
        return [part.strip() for part in text.split(",") if part.strip()]


@dataclass(frozen=True, slots=True)
class SecretRef(Kind):
    """Where a secret stands. A literal one is refused: the file that we read is one that people commit."""

    words: str = "`env:NAME` or `file:PATH`"

    def read(self, value: object, at: Surroundings) -> Secret | None:
        """Return the secret, or None when it is missing and `at.simulate` lets that pass."""
        scheme, _, name = value.partition(":") if isinstance(value, str) else ("", "", "")
        if scheme not in ("env", "file") or not name.strip() or (scheme == "env" and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name)):
            raise Wrong("a secret written out, or no reference" if isinstance(value, str) else shown(value), self.words)
        try:
            found = (at.env.get(name, "") if scheme == "env" else (at.folder / name).read_text("utf-8")).strip()
        except (OSError, UnicodeDecodeError) as e:
            found, why = "", f"the file {name} cannot be read: {getattr(e, 'strerror', None) or 'not UTF-8'}"
        else:
            why = f"the environment variable {name} is not set" if scheme == "env" else f"the file {name} is empty"
        if not found:
            if at.simulate:
                return None
            raise Wrong(why, hint="set it, or leave this provider out" if scheme == "env" else "")
        if not found.isascii() or not found.isprintable():
            raise Wrong(f"the secret in {value} has characters that a header cannot carry", "printable ASCII on one line")
        return Secret(found, str(value))


def base_url(value: object) -> str:
    """Return `value` as a base URL without a trailing slash.

    Raises:
        Wrong: not an absolute http(s) URL, or one with credentials, query or fragment. The URL itself is not shown: it may hold a key.
    """
    expected = "http://HOST[:PORT]/PATH or https://..., without user, query or fragment"
    if not isinstance(value, str) or not value.isprintable() or " " in value or "\\" in value:
        raise Wrong("not a URL", expected)
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        raise Wrong("not a URL", expected) from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise Wrong("not an absolute http or https URL", expected)
    if "@" in parts.netloc or "?" in value or "#" in value:
        raise Wrong("a URL with a user, a query or a fragment", expected, "keys go into api_key, headers or query")
    if set(parts.netloc + parts.path.replace(MODEL, "")) & set("{}"):
        raise Wrong("a URL with braces", expected, f"{MODEL} in the path is the only one there is")
    return value.rstrip("/")


@dataclass(frozen=True, slots=True)
class Section(Kind):
    """A nested mapping with its own settings; `optional` ones may be null."""

    of: type[Any]
    optional: bool = False
    words: str = "a mapping"
    text: bool = False


@dataclass(frozen=True, slots=True)
class Special(Kind):
    """A value with a reader of its own in `proxy.settings.load`."""

    words: str
    text: bool = field(default=False)

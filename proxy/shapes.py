"""A few shapes that a value can have: each checks a value in place, with its file and line, and says the same as JSON Schema.

One table built of these (`identity.fields`, `policy.fields`) is the only description of a file: the validator and the published JSON
Schema are both made from it, so that an editor and `fleetgate check` cannot disagree.
Nothing is changed or filled in here, and nothing raises: what is wrong comes back as a list of errors.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Protocol

from proxy.config import ConfigError, Doc, KeyPath, near

Errors = list[ConfigError]
HINTED = 20
"""Errors of one mapping that get a near-miss hint: finding one takes time, and agents can write these files."""


class Shape(Protocol):
    """What a value must look like."""

    @property
    def what(self) -> str:
        """The shape in words, for "expected ..."."""
        ...

    def fits(self, value: Any) -> bool:
        """Return whether `value` is of this shape's type at all (its range may still be wrong)."""
        ...

    def check(self, doc: Doc, path: KeyPath, value: Any) -> Errors:
        """Return what is wrong with `value` at `path` of `doc`."""
        ...

    def schema(self) -> dict[str, Any]:
        """Return the same as JSON Schema 2020-12."""
        ...


def quoted(value: Any) -> str:
    """Return `value` short enough for a message."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if value is None:
        return "nothing"
    text = ("true" if value else "false") if isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


@dataclass(frozen=True, slots=True)
class Text:
    """Text of 1 to `most` characters, all of `pattern` (our own expression, never a user's) where one is given."""

    most: int = 256
    pattern: str = ""
    what: str = "text"
    hint: str = ""

    def fits(self, value: Any) -> bool:
        """See Shape."""
        return isinstance(value, str)

    def check(self, doc: Doc, path: KeyPath, value: Any) -> Errors:
        """See Shape."""
        if not isinstance(value, str):
            return [doc.error(path, quoted(value), self.what, "put it in quotes" if isinstance(value, (int, float)) else "")]
        if not 0 < len(value) <= self.most:
            return [doc.error(path, f"{len(value)} characters", f"{self.what} of 1 to {self.most} characters")]
        if self.pattern and not re.fullmatch(self.pattern, value):
            return [doc.error(path, quoted(value), self.what, self.hint)]
        return []

    def schema(self) -> dict[str, Any]:
        """See Shape."""
        found: dict[str, Any] = {"type": "string", "minLength": 1, "maxLength": self.most}
        return found | {"pattern": f"^(?:{self.pattern})$"} if self.pattern else found


@dataclass(frozen=True, slots=True)
class Day:
    """A calendar date, `2027-01-31`."""

    what: str = "a date such as 2027-01-31"

    def fits(self, value: Any) -> bool:
        """See Shape."""
        return isinstance(value, str)

    def check(self, doc: Doc, path: KeyPath, value: Any) -> Errors:
        """See Shape."""
        try:
            if isinstance(value, str) and len(value) == 10 and date.fromisoformat(value) is not None:
                return []
        except ValueError:
            pass
        return [doc.error(path, quoted(value), self.what)]

    def schema(self) -> dict[str, Any]:
        """See Shape."""
        return {"type": "string", "format": "date", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"}


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few words. YAML 1.1 reads a bare `off` as false, so false is taken for `off` where `off` is a choice."""

    words: tuple[str, ...]

    @property
    def what(self) -> str:
        """See Shape."""
        return " | ".join(self.words)

    def fits(self, value: Any) -> bool:
        """See Shape."""
        return isinstance(value, str) or (value is False and "off" in self.words)

    def check(self, doc: Doc, path: KeyPath, value: Any) -> Errors:
        """See Shape."""
        if self.fits(value) and (value is False or value in self.words):
            return []
        close = near(value, self.words) if isinstance(value, str) else ""
        return [doc.error(path, quoted(value), self.what, close if close.startswith("did") else "")]

    def schema(self) -> dict[str, Any]:
        """See Shape."""
        return {"enum": [*self.words, *([False] if "off" in self.words else [])]}


@dataclass(frozen=True, slots=True)
class Flag:
    """True or false."""

    what: str = "true | false"

    def fits(self, value: Any) -> bool:
        """See Shape."""
        return isinstance(value, bool)

    def check(self, doc: Doc, path: KeyPath, value: Any) -> Errors:
        """See Shape."""
        return [] if isinstance(value, bool) else [doc.error(path, quoted(value), self.what)]

    def schema(self) -> dict[str, Any]:
        """See Shape."""
        return {"type": "boolean"}


@dataclass(frozen=True, slots=True)
class Number:
    """A finite number from `low` to `high`; `whole` asks for an integer (4.0 is one, as JSON Schema has it)."""

    low: int
    high: int
    whole: bool = False
    above: bool = False

    @property
    def what(self) -> str:
        """See Shape."""
        kind = "a whole number" if self.whole else "a number"
        return f"{kind} above {self.low} up to {self.high:,}" if self.above else f"{kind} from {self.low} to {self.high:,}"

    def fits(self, value: Any) -> bool:
        """See Shape."""
        return isinstance(value, (int, float)) and not isinstance(value, bool)

    def check(self, doc: Doc, path: KeyPath, value: Any) -> Errors:
        """See Shape."""
        good = self.fits(value) and self.low <= value <= self.high and not (self.above and value == self.low)
        if good and self.whole and isinstance(value, float) and not value.is_integer():
            good = False
        return [] if good else [doc.error(path, quoted(value), self.what)]

    def schema(self) -> dict[str, Any]:
        """See Shape."""
        lower = "exclusiveMinimum" if self.above else "minimum"
        return {"type": "integer" if self.whole else "number", lower: self.low, "maximum": self.high}


@dataclass(frozen=True, slots=True)
class ListOf:
    """A list of at most `most` items of one shape."""

    item: Shape
    most: int = 1000
    hint: str = ""

    @property
    def what(self) -> str:
        """See Shape."""
        return f"a list of {self.item.what}"

    def fits(self, value: Any) -> bool:
        """See Shape."""
        return isinstance(value, list)

    def check(self, doc: Doc, path: KeyPath, value: Any) -> Errors:
        """See Shape."""
        if not isinstance(value, list):
            hint = f"write [{value}]" if isinstance(value, str) and len(value) < 60 else self.hint
            return [doc.error(path, quoted(value), self.what, hint)]
        if len(value) > self.most:
            return [doc.error(path, f"{len(value)} items", f"at most {self.most}")]
        return [e for i, item in enumerate(value) for e in self.item.check(doc, (*path, i), item)]

    def schema(self) -> dict[str, Any]:
        """See Shape."""
        return {"type": "array", "maxItems": self.most, "items": self.item.schema()}


@dataclass(frozen=True, slots=True)
class Table:
    """A mapping with known keys. Unknown ones are errors with the nearest known name, unless `values` says what they may hold."""

    keys: Mapping[str, Shape]
    required: tuple[str, ...] = ()
    values: Shape | None = None
    what: str = "a mapping"
    doc: Mapping[str, str] = field(default_factory=dict)

    def fits(self, value: Any) -> bool:
        """See Shape."""
        return isinstance(value, dict)

    def check(self, doc: Doc, path: KeyPath, value: Any) -> Errors:
        """See Shape."""
        if not isinstance(value, dict):
            return [doc.error(path, quoted(value), self.what, f"keys: {', '.join(self.keys)}" if self.keys else "")]
        errors: Errors = []
        for key, item in value.items():
            shape = self.keys.get(key, self.values)
            if shape is None:
                hint = near(key, self.keys) if len(errors) < HINTED and len(key) <= 64 else ""
                errors.append(doc.error((*path, key), "unknown key", hint=hint))
            else:
                errors += shape.check(doc, (*path, key), item)
        errors += [doc.error(path, f"no {key}", f"{key}: {self.keys[key].what}") for key in self.required if key not in value]
        return errors

    def schema(self) -> dict[str, Any]:
        """See Shape."""
        found: dict[str, Any] = {"type": "object", "additionalProperties": False if self.values is None else self.values.schema()}
        if self.keys:
            found["properties"] = {
                key: shape.schema() | ({"description": self.doc[key]} if key in self.doc else {}) for key, shape in self.keys.items()
            }
        return found | {"required": list(self.required)} if self.required else found


@dataclass(frozen=True, slots=True)
class Either:
    """One of several shapes, told apart by type."""

    shapes: tuple[Shape, ...]

    @property
    def what(self) -> str:
        """See Shape."""
        return ", or ".join(s.what for s in self.shapes)

    def fits(self, value: Any) -> bool:
        """See Shape."""
        return any(s.fits(value) for s in self.shapes)

    def check(self, doc: Doc, path: KeyPath, value: Any) -> Errors:
        """See Shape."""
        for shape in self.shapes:
            if shape.fits(value):
                return shape.check(doc, path, value)
        return [doc.error(path, quoted(value), self.what)]

    def schema(self) -> dict[str, Any]:
        """See Shape."""
        return {"anyOf": [s.schema() for s in self.shapes]}


@dataclass(frozen=True, slots=True)
class Named:
    """A shape that is referred to by name, so that it can hold itself; `shape` gives it once it is made."""

    name: str
    shape: Callable[[], Shape]

    @property
    def what(self) -> str:
        """See Shape."""
        return self.shape().what

    def fits(self, value: Any) -> bool:
        """See Shape."""
        return self.shape().fits(value)

    def check(self, doc: Doc, path: KeyPath, value: Any) -> Errors:
        """See Shape."""
        return self.shape().check(doc, path, value)

    def schema(self) -> dict[str, Any]:
        """See Shape."""
        return {"$ref": f"#/$defs/{self.name}"}

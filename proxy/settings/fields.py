"""A field of a settings dataclass: its kind, its documentation and its name in the file."""

from __future__ import annotations

import dataclasses
from typing import Any

from proxy.settings.kinds import Kind, Number


def setting(kind: Kind, doc: str, default: Any = dataclasses.MISSING, key: str = "") -> Any:
    """Return a dataclass field that carries its kind and its documentation; without a default it is required.

    `key` is its name in the file where that differs from the field's.
    """
    return dataclasses.field(default=default, metadata={"kind": kind, "doc": doc, "key": key})


def keys(section: type[Any]) -> dict[str, dataclasses.Field[Any]]:
    """Return the settings of `section` by their name in the file; fields that the loader itself fills are not among them."""
    return {f.metadata["key"] or f.name: f for f in dataclasses.fields(section) if "kind" in f.metadata}


def deadline(doc: str, default: float | None) -> Any:
    """Return a field of seconds above 0."""
    return setting(Number(0, 86400, above=True), doc, default)

"""Plain values as they are kept in stores: JSON, read back by type."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

import msgspec

from proxy.control.port import FORGOTTEN_S
from proxy.control.questions import Case
from proxy.engine.ports import StoreError

T = TypeVar("T")


def encoded(value: Any) -> bytes:
    """Return a plain value as it is kept. Raises StoreError for a text that is none."""
    try:
        return msgspec.json.encode(value)
    except (UnicodeEncodeError, TypeError):
        raise StoreError("a text that is not UTF-8 cannot be kept") from None


def decoded(text: bytes | str, kind: type[T]) -> T:
    """Return what is kept as a value of `kind`. Raises StoreError for what is none."""
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.MsgspecError:
        raise StoreError("the store holds something else than it should among kills and questions") from None


def newest(cases: Iterable[Case], now: float) -> list[Case]:
    """Return those that are not long over, newest first."""
    return sorted((c for c in cases if now < c.expires + FORGOTTEN_S), key=lambda c: (c.asked, c.id), reverse=True)

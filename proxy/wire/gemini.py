"""Gemini: the model and the operation stand in the path, so a codec is made for each path."""

from __future__ import annotations

from collections.abc import Mapping

from proxy.wire.base import Codec, Routes

ROUTES: Routes = {}
PATTERNS: tuple[tuple[str, str], ...] = ()
"""(method, path as documentation writes it) of the routes that `find` knows."""


def find(method: str, path: str, headers: Mapping[str, str], query: str) -> Codec | None:
    """Return the codec of a path with a model in it, None when there is none."""
    return None

"""Gemini's dialect of the simulated provider."""

from __future__ import annotations

from collections.abc import Mapping

from proxy.sim import openai
from proxy.sim.reply import Operation, Vendor

OPERATIONS: Mapping[tuple[str, str], Operation] = {}
VENDOR = Vendor("gemini", openai.VENDOR.error, openai.VENDOR.stream_error, openai.VENDOR.invalid)


def find(method: str, path: str) -> Operation | None:
    """Return the operation of a path with a model in it, None when there is none."""
    return OPERATIONS.get((method, path))

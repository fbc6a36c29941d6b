"""Ollama's dialect of the simulated provider."""

from __future__ import annotations

from collections.abc import Mapping

from proxy.sim import openai
from proxy.sim.reply import Operation, Vendor

OPERATIONS: Mapping[tuple[str, str], Operation] = {}
VENDOR = Vendor("ollama", openai.VENDOR.error, openai.VENDOR.stream_error, openai.VENDOR.invalid)

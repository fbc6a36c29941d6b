"""OpenAI Responses in the simulated provider."""

from __future__ import annotations

from collections.abc import Mapping

from proxy.sim.reply import Operation

OPERATIONS: Mapping[tuple[str, str], Operation] = {}

"""What a guard takes for hostile texts: time by their length."""

from __future__ import annotations

import time

from proxy.guards.base import Surface, TextGuard


def linear(guard: TextGuard, unit: str, surface: Surface) -> bool:
    """Say whether eight times a text of `unit` takes no more than a fraction of what its square would."""

    def cost(size: int) -> float:
        text = unit * (size // len(unit))
        began = time.process_time()
        guard.scan(text, surface)
        return time.process_time() - began

    small = min(cost(50_000) for _ in range(3))
    return cost(400_000) < 40 * small + 0.5

"""How many tokens an image is, by its vendor's published rule, where its size in pixels is known. Pure.

What is not known (a URL, an unread format, a model without a published rule) is left to the bound of its family.
"""

from __future__ import annotations

import functools
import math

from proxy.wire.call import Media

_TILE = 512
_PATCH = 32
_MOST_PATCHES = 1536
_ORIGINAL = 12_000
"""An image that a newer OpenAI model is to see in its original size."""
_OPENAI: tuple[tuple[tuple[str, ...], str], ...] = (
    (("gpt-4o-mini",), "tile 2833 5667"),
    (("gpt-4.1-mini", "gpt-5-mini"), "patch 1.62"),
    (("gpt-4.1-nano", "gpt-5-nano"), "patch 2.46"),
    (("o4-mini",), "patch 1.72"),
    (("gpt-4o", "gpt-4.1", "gpt-4.5", "chatgpt-4o", "gpt-4-turbo"), "tile 85 170"),
    (("o1", "o3"), "tile 75 150"),
)
"""Source: OpenAI, "Images and vision", calculating costs: base and tile tokens, or 32-pixel patches times a factor of the model."""


def rule_of(model: str) -> str:
    """Return the name of the rule that `model` counts images by; empty where none is published that we know."""
    name = model.lower().rpartition("/")[2].removeprefix("ft:").removeprefix("openai.").removeprefix("openai-")
    if "claude" in name:
        return "claude"
    if "gemini" in name:
        return "gemini"
    return next((rule for prefixes, rule in _OPENAI if name.startswith(prefixes)), "")


def tokens_of(rule: str, part: Media) -> int | None:
    """Return how many tokens the image `part` is at most under `rule`, or None where that cannot be told."""
    if part.detail == "original":
        return _ORIGINAL
    width, height = part.width, part.height
    if not rule or width <= 0 or height <= 0:
        return None
    if rule == "claude":
        return _claude(width, height)
    if rule == "gemini":
        return _gemini(width, height)
    kind, *numbers = rule.split()
    if kind == "patch":
        return _patches(width, height, float(numbers[0]))
    return _tiles(width, height, part.detail, (int(numbers[0]), int(numbers[1])))


@functools.lru_cache(maxsize=4096)
def _tiles(width: int, height: int, detail: str, rates: tuple[int, int]) -> int:
    """Scaled down into 2048 by 2048, then to a shorter side of 768, and cut into tiles of 512. Source: as `_OPENAI`."""
    base, tile = rates
    if detail == "low":
        return base
    scale = min(1.0, 2048 / max(width, height))
    scale *= min(1.0, 768 / (min(width, height) * scale))
    across, down = (math.ceil(round(side * scale, 3) / _TILE) for side in (width, height))
    return base + tile * across * down


def _patches(width: int, height: int, factor: float) -> int:
    """Patches of 32 pixels, at most 1536 of them: a larger image is scaled down until it fits. Source: as `_OPENAI`."""
    return math.ceil(min(-(-width // _PATCH) * -(-height // _PATCH), _MOST_PATCHES) * factor)


def _claude(width: int, height: int) -> int:
    """Pixels by 750, or patches of 28 pixels, whichever is more; scaled down to what a model reads, 4784 tokens at most.

    Source: Anthropic, "Vision", evaluating image size.
    """
    return min(max(math.ceil(width * height / 750), -(-width // 28) * -(-height // 28)) + 8, 4800)


def _gemini(width: int, height: int) -> int:
    """258 a tile; 1120 where a model of the third generation scales it to one budget, whatever its size.

    Tiles are squares of two thirds of the shorter side, between 256 and 768 pixels; up to 384 by 384 there is one.
    Source: Google, "Understand and count tokens" and "Media resolution".
    """
    unit = max(256, min(768, int(min(width, height) / 1.5)))
    tiles = 1 if max(width, height) <= 384 else math.ceil(width / unit) * math.ceil(height / unit)
    return max(258 * tiles, 1120)

"""What models take from the world, by EcoLogits: its estimates as whole numbers, found once for each model.

Decides which of its models is meant, and makes of its formulas a part for each answer and a rate for output: they are straight lines in
the number of output tokens, so two looks are enough and no call pays for a third. The prompt is not among what it counts. A model that it
does not know has no footprint (None): whoever holds a budget to one must refuse, never guess. Needs the extra `energy`, and imports it
when it is first asked.

Source: EcoLogits 0.11, "LLM inference" methodology (energy per output token by active parameters, servers, data centre, embodied
impacts); its ranges come from what is known of a model's size and of its provider's data centres.
"""

from __future__ import annotations

import functools
import importlib
import logging
import math
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from proxy.model.footprints import MICRO, Footprint, Range

VENDORS = {
    "openai": "openai",
    "azure": "openai",
    "anthropic": "anthropic",
    "gemini": "google_genai",
    "google": "google_genai",
    "mistral": "mistralai",
    "cohere": "cohere",
    "huggingface": "huggingface_hub",
}
"""EcoLogits' providers by a word in ours, or in its URL."""
MAKERS = ("openai", "anthropic", "google_genai", "mistralai", "cohere")
"""Where a model is looked for when the provider says nothing, or resells it."""
TOKENS = 1_000_000
KEYS = ("gco2e", "wh")
"""What a user may say of a model."""


def footprint_of(provider_hint: str, model: str, zone: str | None = None) -> Footprint | None:
    """Return what answers of `model` take, None where that is not known.

    Args:
        provider_hint: our provider's name, or its URL.
        model: the name that the provider knows.
        zone: whose electricity it runs on, as ISO 3166-1 alpha-3; None for what EcoLogits takes its provider's data centres to be at.
    """
    low = provider_hint.lower()
    own = next((known for word, known in VENDORS.items() if word in low), None)
    return _found(own, model.rpartition("/")[2] if own is None else model, zone)


@functools.lru_cache(maxsize=4096)
def _found(own: str | None, model: str, zone: str | None) -> Footprint | None:
    tracers = importlib.import_module("ecologits.tracers.utils")
    logging.getLogger("ecologits").setLevel(logging.ERROR)
    for vendor in dict.fromkeys([own, *MAKERS] if own is not None else MAKERS):
        if tracers.models.find_model(provider=vendor, model_name=model) is not None:
            return _line(tracers, (vendor, model, zone))
    return None


def _line(tracers: Any, what: tuple[str | None, str, str | None]) -> Footprint | None:
    """Return the line through EcoLogits' answers for few and for many tokens."""
    vendor, model, zone = what
    few, many = (tracers.llm_impacts(vendor, model, tokens, math.inf, zone) for tokens in (1, 1 + TOKENS))
    if few.has_errors or many.has_errors:
        return None
    carbon = _pair(few.gwp.value, many.gwp.value, 1000)
    energy = _pair(few.energy.value, many.energy.value, 1000)
    return Footprint(*carbon, *energy, source=f"ecologits {version('ecologits')} {vendor}/{model}")


def _pair(few: Any, many: Any, unit: int) -> tuple[Range, Range]:
    """Return base and rate of one quantity, in millionths of `1/unit` of what EcoLogits measures in."""
    (low, high), (lower, higher) = _ends(few), _ends(many)
    scale = unit * MICRO
    rates = (lower - low) * scale, (higher - high) * scale
    bases = low * scale - rates[0] / TOKENS, high * scale - rates[1] / TOKENS
    return (max(0, math.floor(bases[0])), max(0, math.ceil(bases[1]))), (math.floor(rates[0]), math.ceil(rates[1]))


def _ends(value: Any) -> tuple[float, float]:
    return (value.min, value.max) if hasattr(value, "min") else (value, value)


def known_zone(zone: str) -> bool:
    """Return whether EcoLogits has the electricity of `zone`."""
    tracers = importlib.import_module("ecologits.tracers.utils")
    return tracers.electricity_mixes.find_electricity_mix(zone=zone) is not None


def written(rates: Mapping[str, float], source: str) -> Footprint:
    """Return the footprint that a user wrote at `source`: the most for 1,000 tokens of output, `gco2e` in grams, `wh` if known."""
    carbon, energy = (math.ceil(rates.get(key, 0) * 1000 * MICRO) for key in KEYS)
    return Footprint((0, 0), (carbon, carbon), (0, 0), (energy, energy), source)

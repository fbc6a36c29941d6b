"""What an answer takes from the world: energy and greenhouse gases, as estimates between two bounds. Whole numbers, no floats."""

from __future__ import annotations

from dataclasses import dataclass

MICRO = 1_000_000
"""Micrograms in a gram, micro-watt-hours in a watt-hour, and the tokens that a rate is for."""
Range = tuple[int, int]
"""The least and the most."""


@dataclass(frozen=True, slots=True)
class Footprint:
    """What the answers of one model take: a part for each answer, and a rate for a million tokens of its output.

    Attributes:
        carbon, carbon_rate: micrograms of CO2 equivalents.
        energy, energy_rate: micro-watt-hours.
        source: where the estimate comes from.
    """

    carbon: Range
    carbon_rate: Range
    energy: Range = (0, 0)
    energy_rate: Range = (0, 0)
    source: str = ""

    def emits(self, output: int) -> Range:
        """Return the micrograms of CO2 equivalents that an answer of `output` tokens takes."""
        return _along(self.carbon, self.carbon_rate, output)

    def uses(self, output: int) -> Range:
        """Return its micro-watt-hours."""
        return _along(self.energy, self.energy_rate, output)

    def output_for(self, micrograms: int) -> int:
        """Return the most output that surely takes no more than `micrograms`; negative when not even an empty answer fits."""
        left = (micrograms - self.carbon[1]) * MICRO
        if left < 0:
            return -1
        return left // self.carbon_rate[1] if self.carbon_rate[1] else UNBOUNDED

    def beside(self, other: Footprint) -> Footprint:
        """Return what both take together."""
        return Footprint(
            _sum(self.carbon, other.carbon),
            _sum(self.carbon_rate, other.carbon_rate),
            _sum(self.energy, other.energy),
            _sum(self.energy_rate, other.energy_rate),
        )


UNBOUNDED = 1 << 40
"""More output than any model gives."""


def _along(base: Range, rate: Range, output: int) -> Range:
    """Return the part for an answer and the rate for its output: the least rounded down, the most up."""
    return base[0] + rate[0] * output // MICRO, base[1] - (-rate[1] * output // MICRO)


def _sum(a: Range, b: Range) -> Range:
    return a[0] + b[0], a[1] + b[1]


def decimal(micro: int) -> str:
    """Return millionths of a unit as a plain decimal number: at most six places, no trailing zeros."""
    sign, micro = ("-", -micro) if micro < 0 else ("", micro)
    whole, rest = divmod(micro, MICRO)
    text = f"{rest:06d}".rstrip("0")
    return f"{sign}{whole}.{text}" if text else f"{sign}{whole}"

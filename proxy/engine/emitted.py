"""What an exchange took from the world, by the estimates of the models that worked for it: the one that answered, and those it replaced."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxy.model.footprints import Range

if TYPE_CHECKING:
    from proxy.engine.exchange import Exchange


@dataclass(frozen=True, slots=True)
class Emitted:
    """Micrograms of CO2 equivalents and micro-watt-hours, each the least and the most."""

    carbon: Range = (0, 0)
    energy: Range = (0, 0)


NOTHING = Emitted()


def emitted(ex: Exchange) -> Emitted:
    """Return what `ex` took, nothing where nobody knows a footprint. Of what it used, so once that is settled."""
    target, usage, left = ex.target, ex.usage, ex.left
    if not left and (target is None or target.footprint is None):
        return NOTHING
    parts = []
    if target is not None and target.footprint is not None and usage is not None and usage.total:
        parts.append((target.footprint, usage.output))
    if left:
        known = {(t.provider, t.model): t.footprint for t in ex.route.targets}
        parts += [(found, x.usage.output) for x in left if x.usage.total and (found := known.get((x.provider, x.model))) is not None]
    if not parts:
        return NOTHING
    carbon, energy = [f.emits(output) for f, output in parts], [f.uses(output) for f, output in parts]
    return Emitted(_total(carbon), _total(energy))


def _total(ranges: list[Range]) -> Range:
    return sum([low for low, _ in ranges]), sum([high for _, high in ranges])

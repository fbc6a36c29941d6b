"""What a reply used, what that costs, and where it can come from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NewType

import msgspec

from proxy.model.footprints import Footprint

Nanos = NewType("Nanos", int)
"""Integer nano-dollars: 1 USD is 1_000_000_000."""
NO_MONEY = Nanos(0)


class Usage(msgspec.Struct, frozen=True):
    """Tokens of one upstream reply, in disjoint parts that add up: `input` excludes both cache parts, `output` includes `reasoning`.

    Attributes:
        input: prompt tokens billed at the full input price.
        output: generated tokens, reasoning included.
        cache_read: prompt tokens served from the provider's cache.
        cache_write: prompt tokens written to it (five-minute lifetime, or of no stated lifetime).
        cache_write_1h: prompt tokens written to it for an hour (Anthropic prices these apart).
        reasoning: the part of `output` that was hidden reasoning.
        exact: the provider reported it; else it is a bound that we computed.
        media: the parts of `input`, `cache_read` and `output` that are no text and may be priced apart, as (kind of `MEDIA`, tokens).
    """

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    cache_write_1h: int = 0
    reasoning: int = 0
    exact: bool = True
    media: tuple[tuple[str, int], ...] = ()

    @property
    def total_input(self) -> int:
        """All prompt tokens, cached or not."""
        return self.input + self.cache_read + self.cache_write + self.cache_write_1h

    @property
    def total(self) -> int:
        """All tokens in and out."""
        return self.total_input + self.output


MEDIA = tuple(f"{part}_{kind}" for part in ("input", "cache_read", "output") for kind in ("audio", "image", "video"))
"""Kinds of tokens that are no text: what they are a part of, and the medium."""


@dataclass(frozen=True, slots=True)
class Price:
    """What a model costs, in nano-dollars per million tokens, with steps by prompt size.

    Each rate is a tuple of `(from_total_input_tokens, nanos_per_million)` in rising order, the first step at 0. The step that holds
    the whole prompt's size prices all of its tokens (as vendors do for long-context tiers). None means the vendor names no rate of
    its own for that kind, and the input (or output) rate is charged.
    """

    input: tuple[tuple[int, int], ...]
    output: tuple[tuple[int, int], ...]
    cache_read: tuple[tuple[int, int], ...] | None = None
    cache_write: tuple[tuple[int, int], ...] | None = None
    cache_write_1h: tuple[tuple[int, int], ...] | None = None
    source: str = ""
    media: tuple[tuple[str, tuple[tuple[int, int], ...]], ...] = ()
    """The rates of kinds of `MEDIA` that have one of their own; the others cost what text does."""
    digest: str = field(default="", compare=False)
    """8 hex digits that identify the rates, whatever their source."""


FREE = Price(input=((0, 0),), output=((0, 0),), source="local", digest="d5df8b0a")


@dataclass(frozen=True, slots=True)
class Target:
    """One place where a call can be served: a provider's name, the model name that it knows, how we meter and what it costs.

    `wire` is the dialect that the provider is asked in (`openai.chat`), empty for the client's own. `context` is the most tokens that
    the model reads, where the configuration or the price table knows it. `region` is where the provider keeps data, empty for nowhere
    that anybody said. `tools`, `images` and `json` say what the model is able to do, None where nobody said.
    """

    provider: str
    model: str
    upstream_model: str
    protocol: str
    price: Price | None
    local: bool = False
    tokenizer: str = "o200k_base"
    wire: str = ""
    context: int | None = None
    region: str = ""
    tools: bool | None = None
    images: bool | None = None
    json: bool | None = None
    footprint: Footprint | None = None
    """What its answers take from the world, None where nobody estimates that."""


RouteReason = Literal["requested", "local", "fallback", "downgrade"]


@dataclass(frozen=True, slots=True)
class Route:
    """Where a call may go, first target first, and why the first was chosen. `difficulty` is 0..1 when the request was scored.

    `other` is where it would have gone else: what was asked for, of a call that goes to the simple model; the simple model, of one that
    would go there if scores did more than report.
    """

    targets: tuple[Target, ...]
    reason: RouteReason = "requested"
    why: str = ""
    difficulty: float | None = None
    other: Target | None = None

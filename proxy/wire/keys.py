"""What the top-level keys of a body say by being there, found once for each set of keys.

Clients send the same keys in the same order all day, so the verdict is remembered by them, within bounds. It says which keys are unknown,
and which of them switch on what a rule must see:

- `ROGUE` names further models, which the server behind us would ask without any rule having seen them. Refused.
- `OFFERS` gives the model a tool without listing it among the tools. It counts as that tool.
- `DEARER` can raise the price above the one in the table. It is recorded.

Source: OpenAI API reference, "Create chat completion" (web_search_options, service_tier, modalities); Anthropic API reference (mcp_servers,
speed, inference_geo, service_tier); xAI "Live Search" (search_parameters); Alibaba Model Studio (enable_search); OpenRouter "Model routing"
and "Plugins" (models, plugins); LiteLLM proxy "Reliability" (fallbacks, user_config). Autumn 2026.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from proxy.wire import jsonio
from proxy.wire.call import WireError

ROGUE = frozenset({"models", "fallbacks", "context_window_fallbacks", "content_policy_fallbacks", "model_list", "user_config"})
OFFERS: Mapping[str, str] = {
    "web_search_options": "web_search",
    "search_parameters": "web_search",
    "enable_search": "web_search",
    "plugins": "plugins",
    "mcp_servers": "mcp_toolset",
}
"""Member to the tool that it is."""
DEARER: Mapping[str, frozenset[bytes]] = {
    "service_tier": frozenset({b'"auto"', b'"default"', b'"standard"', b'"standard_only"', b'"flex"'}),
    "speed": frozenset({b'"standard"'}),
    "inference_geo": frozenset({b'"global"'}),
    "modalities": frozenset({b'["text"]'}),
}
"""Member to the values that cost what the table says."""
NOTHING = frozenset({b"false", b"[]"})
"""Values that switch nothing on, beside null."""
MAX_KEYS = 1000
REMEMBERED = 256
REMEMBERED_CHARS = 1024


@dataclass(frozen=True, slots=True)
class Shape:
    """What one set of keys says; each tuple holds the keys of its kind that are there."""

    unknown: tuple[str, ...]
    rogue: tuple[str, ...]
    offers: tuple[str, ...]
    dearer: tuple[str, ...]


class Keys:
    """The keys that one operation knows.

    Args:
        known: their names.
    """

    __slots__ = ("_shapes", "known")

    def __init__(self, known: Collection[str]) -> None:
        self.known = frozenset(known)
        self._shapes: dict[tuple[str, ...], Shape] = {}

    def shape(self, keys: Iterable[str], protocol: str) -> Shape:
        """Return what `keys` say.

        Raises:
            WireError: too many, or one that a lenient server could take for a known one.
        """
        names = tuple(keys)
        found = self._shapes.get(names)
        if found is None:
            found = self._look(names, protocol)
            if sum(map(len, names)) <= REMEMBERED_CHARS:
                if len(self._shapes) >= REMEMBERED:
                    self._shapes.clear()
                self._shapes[names] = found
        return found

    def _look(self, names: tuple[str, ...], protocol: str) -> Shape:
        if len(names) > MAX_KEYS:
            raise WireError(protocol, "", f"more than {MAX_KEYS} members")
        watched = self.known | ROGUE | OFFERS.keys() | DEARER.keys()
        jsonio.look_alikes(names, watched, protocol)
        return Shape(
            unknown=tuple(name for name in names if name not in self.known),
            rogue=tuple(name for name in names if name in ROGUE),
            offers=tuple(name for name in names if name in OFFERS),
            dearer=tuple(name for name in names if name in DEARER),
        )

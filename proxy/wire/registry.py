"""Which codec answers for a request: the exact metered routes, and nothing that merely looks like one.

Each protocol's module brings its own `ROUTES`; a new protocol is one module and one name in `MODULES`. No normalising: a path with a
trailing slash, a doubled slash or a percent escape is another path, and a path that no codec claims is refused by the engine as
`unmetered_route`. Codecs keep no state, so one of each serves everybody; Gemini's, whose paths name the model, are made for each path.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from proxy.wire import anthropic, gemini, ollama, ollama_other, openai_chat, openai_completions, openai_other, openai_responses
from proxy.wire.base import Codec, Routes
from proxy.wire.openai_other import ModelsCodec

MODULES: Final = (openai_chat, openai_responses, openai_completions, openai_other, anthropic, ollama, ollama_other)
ROUTES: Final[Routes] = {route: codec for module in MODULES for route, codec in module.ROUTES.items()}
PATTERNS: Final = gemini.PATTERNS
"""(method, path as documentation writes it) of the routes with a model in their path."""
_anthropic_models: Final = ModelsCodec("anthropic")


def find(method: str, path: str, headers: Mapping[str, str], query: str = "") -> Codec | None:
    """Return the codec of a route, None when there is none.

    Args:
        method: as sent; routes are in upper case.
        path: below any agent prefix, as sent (not decoded), without the query.
        headers: case-insensitive, or with keys in lower case.
        query: as sent, without its question mark.
    """
    codec = ROUTES.get((method, path))
    if codec is None:
        return gemini.find(method, path, headers, query) if path.startswith(("/v1beta/", "/v1/models/")) else None
    if path == "/v1/models":
        if "x-goog-api-key" in headers:
            return gemini.find(method, path, headers, query)
        if "anthropic-version" in headers:
            return _anthropic_models
    return codec

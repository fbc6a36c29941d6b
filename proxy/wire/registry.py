"""Which codec answers for a request: the exact metered routes of this release, and nothing that merely looks like one.

No normalising: a path with a trailing slash, a doubled slash or a percent escape is another path, and a path that no codec claims is
refused by the engine as `unmetered_route`. Codecs keep no state, so one of each serves everybody.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from proxy.wire.anthropic import CountTokensCodec, MessagesCodec
from proxy.wire.base import Codec
from proxy.wire.openai_chat import ChatCodec
from proxy.wire.openai_other import EmbeddingsCodec, ModelsCodec

ROUTES: Final[Mapping[tuple[str, str], Codec]] = {
    ("POST", "/v1/chat/completions"): ChatCodec(),
    ("POST", "/v1/embeddings"): EmbeddingsCodec(),
    ("POST", "/v1/messages"): MessagesCodec(),
    ("POST", "/v1/messages/count_tokens"): CountTokensCodec(),
    ("GET", "/v1/models"): ModelsCodec("openai"),
}
_anthropic_models: Final = ModelsCodec("anthropic")


def find(method: str, path: str, headers: Mapping[str, str]) -> Codec | None:
    """Return the codec of a route, None when there is none.

    Args:
        method: as sent; routes are in upper case.
        path: below any agent prefix, as sent (not decoded), without the query.
        headers: case-insensitive, or with keys in lower case.
    """
    codec = ROUTES.get((method, path))
    if path == "/v1/models" and codec is not None and "anthropic-version" in headers:
        return _anthropic_models
    return codec

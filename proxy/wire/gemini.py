"""Gemini's paths: the model and the operation stand in them, so a codec is made for each, and remembered within bounds.

The model is kept to letters that no server reads in two ways: no escapes, slashes or colons (`tunedModels/` and the like are other paths,
and refused as such). Of the query only what changes nothing about the call is taken: `alt`, `key` (which is the client's and goes no
further), paging and print. Google's other system parameters can carry headers, a body or credentials past us, or take usage out of the
reply; a request with one is refused when it is decoded.

A stream comes as server-sent events with `alt=sse`, else as one JSON array that grows.

Source: Gemini API reference, "API versions explained"; Google Cloud, "System parameters".
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from urllib.parse import unquote_plus

from proxy.wire.base import Codec, Routes
from proxy.wire.gemini_frame import ARRAY, SSE
from proxy.wire.gemini_generate import GenerateCodec, TargetCodec
from proxy.wire.gemini_other import BatchEmbedCodec, CountTokensCodec, EmbedCodec, ModelsCodec, ShowCodec

ROUTES: Routes = {}
_VERSIONS = ("v1", "v1beta")
_Make = Callable[[str, str, str, bool], Codec]
_VERBS: Mapping[str, _Make] = {
    "generateContent": lambda version, model, odd, sse: GenerateCodec(version, model, odd),
    "streamGenerateContent": lambda version, model, odd, sse: GenerateCodec(version, model, odd, SSE if sse else ARRAY),
    "countTokens": lambda version, model, odd, sse: CountTokensCodec(version, model, odd),
    "embedContent": lambda version, model, odd, sse: EmbedCodec(version, model, odd),
    "batchEmbedContents": lambda version, model, odd, sse: BatchEmbedCodec(version, model, odd),
}
PATTERNS: tuple[tuple[str, str], ...] = (
    *(("POST", f"/{version}/models/{{model}}:{verb}") for version in _VERSIONS for verb in _VERBS),
    ("GET", "/v1beta/models"),
    ("GET", "/v1beta/models/{model}"),
)
"""(method, path as documentation writes it) of the routes that `find` knows; the last two also under `/v1`, with Google's key."""
_path = re.compile(r"/(v1|v1beta)/models/([A-Za-z0-9][A-Za-z0-9._-]{0,255})(?::([A-Za-z]{1,32}))?")
_ALT = frozenset({"json", "sse", "json;enum-encoding=int"})
_PLAIN = re.compile(r"[A-Za-z0-9_=+/.~-]{0,1024}")
_TAKEN = frozenset({"key", "pageSize", "pageToken", "prettyPrint", "$prettyPrint"})


def find(method: str, path: str, headers: Mapping[str, str], query: str) -> Codec | None:
    """Return the codec of a path, None when there is none."""
    if method == "GET":
        return _asked(path, headers, _read_query(query, False)[1])
    found = _path.fullmatch(path) if method == "POST" else None
    if found is None or found[3] not in _VERBS:
        return None
    sse, odd = _read_query(query, found[3] == "streamGenerateContent") if query else (False, "")
    return _codec(found[1], found[2], found[3], odd, sse)


def _asked(path: str, headers: Mapping[str, str], odd: str) -> Codec | None:
    """Return the codec of a path that is asked with GET. Under `/v1` other vendors have such paths too, so Google's key must show."""
    if path.startswith("/v1/") and "x-goog-api-key" not in headers:
        return None
    if path in ("/v1/models", "/v1beta/models"):
        return _models(path.split("/")[1], odd)
    found = _path.fullmatch(path)
    return None if found is None or found[3] is not None else _shown(found[1], found[2], odd)


@functools.lru_cache(maxsize=1024)
def _codec(version: str, model: str, verb: str, odd: str, sse: bool) -> Codec:
    return _VERBS[verb](version, model, odd, sse)


@functools.lru_cache(maxsize=64)
def _models(version: str, odd: str) -> Codec:
    return ModelsCodec(version, "", odd)


@functools.lru_cache(maxsize=1024)
def _shown(version: str, model: str, odd: str) -> Codec:
    return ShowCodec(version, model, odd)


def _read_query(query: str, streams: bool) -> tuple[bool, str]:
    """Return whether the reply comes as server-sent events, and the first parameter that is not taken."""
    sse, alts = False, 0
    for part in filter(None, query.split("&")):
        name, _, value = part.partition("=")
        name, value = unquote_plus(name), unquote_plus(value)
        if name in ("alt", "$alt"):
            alts += 1
            sse = value == "sse"
            taken = value in _ALT and alts == 1 and (streams or not sse)
        else:
            taken = name == "key" or (name in _TAKEN and _PLAIN.fullmatch(value) is not None)
        if not taken:
            return sse, name[:64] or "="
    return sse, ""


@functools.cache
def target_codec() -> Codec:
    """Return the codec of requests that were translated into this dialect: no path or query of a client's own stands behind them."""
    return TargetCodec()

"""The vocabularies that turn text into tokens: shipped with the package, checked, loaded once when first needed.

Never from the network. A file that is not what OpenAI published is refused: a wrong vocabulary would miscount every call.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import importlib.resources
import io
import threading

import tiktoken

PIECE = 8192
"""Longest text encoded in one go, in characters: bounds what a run of one character can cost, in time and memory."""
_LOOK_BACK = 512
LEAST_PIECE = PIECE - _LOOK_BACK
"""Shortest piece that long text is cut into, in characters."""
CUT_TOKENS = 3
"""The most tokens that one cut adds to a count, rounding up included."""

_O200K = "|".join(
    (
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"\p{N}{1,3}",
        r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    )
)
_CL100K = r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s"

_KNOWN: dict[str, tuple[str, str]] = {
    "o200k_base": (_O200K, "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d"),
    "cl100k_base": (_CL100K, "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7"),
}
"""How text is cut before merging, and the SHA-256 of the merge ranks. Source: tiktoken 0.14, tiktoken_ext/openai_public.py (MIT)."""

_loaded: dict[str, tiktoken.Encoding] = {}
_used: set[str] = set()
_lock = threading.Lock()


class VocabularyError(Exception):
    """A vocabulary is missing from the installation, or is not the published one."""


def loaded(name: str) -> bool:
    """Return whether vocabulary `name` is in memory already; loading takes some 0.3 s, so do it off the loop."""
    return name in _loaded


def vocabulary(name: str) -> tiktoken.Encoding:
    """Return vocabulary `name` (`o200k_base` or `cl100k_base`), loading it when first asked.

    Raises:
        VocabularyError: missing, or not the published one.
    """
    found = _loaded.get(name)
    if found is None:
        with _lock:
            found = _loaded.get(name)
            if found is None:
                found = _loaded[name] = _load(name)
    return found


async def load(name: str) -> None:
    """Load vocabulary `name` in a thread if it is not, and let this thread be the first to encode with it, with each part of its pattern.

    Its regular expressions serve the thread that used them first without a lock: a fifth of the time that counting takes.
    Source: regex-automata 0.4, `util::pool`, "owner".

    Raises:
        VocabularyError: as `vocabulary`.
    """
    if name not in _used:
        await asyncio.to_thread(vocabulary, name)
        tokens("a B 1;\n\n  c ", name)
        _used.add(name)


def _load(name: str) -> tiktoken.Encoding:
    pattern, digest = _KNOWN[name]
    file = importlib.resources.files("proxy.budget") / "vocab" / f"{name}.tiktoken"
    try:
        raw = file.read_bytes()
    except OSError as e:
        raise VocabularyError(f"the vocabulary {name} is missing from this installation: {e.strerror or e}") from None
    if hashlib.sha256(raw).hexdigest() != digest:
        raise VocabularyError(f"the vocabulary {name} of this installation is not the published one; reinstall")
    ranks = {base64.b64decode(token): int(rank) for token, rank in (line.split() for line in io.BytesIO(raw) if line.strip())}
    encoding = tiktoken.Encoding(name=name, pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
    encoding._mergeable_ranks = {}  # its encoder has its own copy; this one would cost 26 MB for looking up single tokens
    return encoding


def tokens(text: str, name: str, enough: int = 0) -> int:
    """Return how many tokens `text` is; special tokens in it are plain text.

    Exact up to `PIECE` characters. Longer text is cut into pieces, at a space where one is near (which keeps it exact), and each cut
    elsewhere is rounded up. Counting stops once it has found `enough` (0: never).
    """
    encode = vocabulary(name).encode_ordinary
    if len(text) <= PIECE:
        return len(encode(text)) if text else 0
    total = start = 0
    while start < len(text) and not (enough and total >= enough):
        end = start + PIECE
        if end < len(text):
            space = text.rfind(" ", end - _LOOK_BACK, end)
            end = space if space > start and not text[space - 1].isspace() and text[space + 1].isalpha() else end
            total += end - start == PIECE
        total += len(encode(text[start:end]))
        start = end
    return total

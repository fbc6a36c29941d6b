"""What can be seen cheaply of a request that hints at how hard it is: counts over the last user message and the shape of the call.

Pure and bounded: of a long message only its head and its tail are read, and its length counts as it is. Nothing here judges; the weights
stand in `proxy.routing.rules`.
"""

from __future__ import annotations

from dataclasses import dataclass

from proxy.wire.call import Call

WINDOW = 1024
"""Characters read at each end of a long message: tasks are stated at the start or at the end, with the material between."""
MAX_TURNS = 64

_FOLD = bytes(c + 32 if 65 <= c <= 90 else c if c >= 128 or chr(c).isalnum() else 32 for c in range(256))
"""Maps ASCII letters to lower case and all other ASCII but digits to spaces; bytes of other scripts stay."""
_DIGITS = b"0123456789"
_MATHS = b"=^\\$%<>+|"
_CODE = (b"();", b"->", b"==", b"def ", b"return", b"class ", b"import ", b"select ", b"function", b"assert", b"    ", b"){")

HARD = frozenset(
    """prove proof derive deduce infer theorem lemma integral derivative polynomial matrix probability equation
    explain why analyze analyse compare contrast evaluate justify critique reason reasoning argue implications
    design architect architecture implement refactor optimize optimise debug algorithm complexity concurrency recursion deadlock
    plan strategy tradeoff tradeoffs assess investigate diagnose hypothesis estimate calculate compute solve simulate
    beweise erkläre begründe analysiere vergleiche entwirf berechne löse demuestra explica analiza compara calcula resuelve
    prouve explique analyse compare calcule résous""".encode().split()
)
EASY = frozenset(
    """classify classification label labels category categorize categorise sentiment translate translation extract spell spelling
    rephrase paraphrase summarize summarise summary title rewrite format convert list define synonym capital hello hi thanks yes no
    klassifiziere übersetze fasse zusammenfassen traduce traduire traduis résume resume""".encode().split()
)
AMOUNTS = frozenset(b"many much total each per every remaining left twice half times percent average cost earn spend hours minutes".split())


@dataclass(frozen=True, slots=True)
class Features:
    """Counts over one request; `chars` and `words` of the last user message, the rest as named."""

    chars: int
    words: int
    hard: int
    easy: int
    amounts: int
    digits: int
    maths: int
    code: int
    questions: int
    steps: int
    fenced: bool
    turns: int
    tools: int
    media: int
    results: int
    context_bytes: int


def last_user_text(call: Call) -> str | None:
    """Return the text of the last message if it is a user's turn with text of its own (not just tool results), else None."""
    if not call.messages or call.messages[-1].role != "user":
        return None
    texts = call.messages[-1].texts
    text = texts[0] if len(texts) == 1 else "\n".join(texts)
    return text or None


def features(call: Call, text: str) -> Features:
    """Return the features of `call`, whose last user message says `text`."""
    chars = len(text)
    if chars > 2 * WINDOW:
        text = text[:WINDOW] + "\n" + text[-WINDOW:]
    raw = text.encode("utf-8", "replace")
    lower = raw.translate(_FOLD)
    count, size = raw.count, len(raw)
    words = lower.split()
    unique = set(words)
    tail = call.messages[-MAX_TURNS:]
    return Features(
        chars=chars,
        words=len(words),
        hard=len(unique & HARD),
        easy=len(unique & EASY),
        amounts=len(unique & AMOUNTS),
        digits=size - len(raw.translate(None, _DIGITS)),
        maths=size - len(raw.translate(None, _MATHS)),
        code=sum(map(count, _CODE)),
        questions=count(b"?"),
        steps=count(b"\n- ") + count(b"\n* ") + count(b". "),
        fenced=b"```" in raw,
        turns=sum(m.role == "user" and not m.tool_results for m in tail),
        tools=len(call.tools.specs),
        media=len(call.messages[-1].media),
        results=sum(len(m.tool_results) for m in tail),
        context_bytes=len(call.body),
    )

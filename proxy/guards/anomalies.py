"""What gives an injection away by its form: characters that nobody sees, counterfeit turns, a task in the middle of data, encoded orders.

Pure and linear: Python's own patterns are used where they have no nested repeat. Says nothing of what the words mean.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator

import re2

from proxy.guards.base import Hit
from proxy.guards.folding import strange

VERSION = "1"
ENCODED_CHARS = 8000
MOST = 200
"""Findings and encoded runs that are looked at in one text."""

_tags = re.compile("[\U000e0001-\U000e007f]{3,}")
_hidden_run = re.compile("[\u200b-\u200f\u2060-\u2064\ufeff\u180e]{8,}")
_split = re.compile("(?:[A-Za-z][\u200b\u2060\ufeff\u00ad]){4,}[A-Za-z]")
_override = re.compile("[\u202d\u202e\u2066-\u2068]")
_flag = re.compile("\U0001f3f4[\U000e0020-\U000e007f]+")

_template = re2.compile(
    r"<\|(?:im_start|im_end|start_header_id|end_header_id|eot_id|system|user|assistant|begin_of_text|endoftext|channel|message)\|>"
    r"|\[/?INST\]|<</?SYS>>|<(?:start|end)_of_turn>|<\x{ff5c}(?:User|Assistant|System)\x{ff5c}>"
)
_turns = re2.compile(
    r"(?im)^[ \t]{0,4}(?:#{2,4} ?)?(?:system|human|assistant|user|system prompt|system message"
    r"|instruction)\s?:[ \t]*\S.{0,400}\n+[ \t]{0,4}(?:#{2,4} ?)?(?:assistant|human|user|system|response)\s?:"
    r"|^#{2,4} ?(?:system|instruction|new instructions?)s?\s?:"
    r"|</?(?:tool_call|function_call|function_calls|invoke|tool_response|system-reminder|system_prompt)\b"
    r"|(?: |\n)assistant: .{1,200}(?:ignore|now|tell)"
)
_exfil = re2.compile(r"!\[[^\]\n]{0,200}\]\(https?://[^)\s]{1,300}[?&/=](?:\{|<|\[|%7b|\$|data|secret|conversation|history)[^)\s]{0,300}\)")
_run = re2.compile(r"[A-Za-z0-9+/]{32}[A-Za-z0-9+/]*={0,2}")
_unseen = re.compile("[\u00ad\u180e\u200b-\u200f\u202d\u202e\u2060-\u2068\ufeff\U000e0001-\U000e007f]")

SHOTS_BYTES = 60_000
_asked = "q|question|f|frage|d|domanda|p|pregunta|pergunta|t|tanya|s|soru|в|вопрос|问|問|质问|질문|प्रश्न|প্রশ্ন|hỏi|س|سؤال|ถาม|คำถาม|質問"
_told = "a|answer|antwort|r|risposta|respuesta|resposta|réponse|j|jawab|c|cevap|о|ответ|答|답|답변|उत्तर|ए|উত্তর|đáp|ج|ตอบ|คำตอบ|回答"  # noqa: RUF001
QUESTION_ENDS = (b"?", "\uff1f".encode(), "\u061f".encode(), b"'", b'"')
_turn = re.compile(f"(?<![^\\W_])(?:(?P<asked>{_asked})|(?P<told>{_told})) ?[:\uff1a]")

_VERBS = (
    r"(?:write|compose|develop|provide|describe|explain|translate|summari[sz]e|list|generate|create|encrypt|encode"
    r"|rearrange|render|enhance|augment|compute|"
    r"calculate|convert|determine|suggest|recommend|help me|tell me|give me|show me|recite|modify|add|include"
    r"|insert|make|produce|present|craft|draft|analy[sz]e|"
    r"compare|identify|define|solve|find|replace|reverse|spell|use|utili[sz]e|substitute|discuss|outline|assess"
    r"|evaluate|classify|predict|design|plan|teach me|"
    r"show|offer|promote|mention|advise|forecast|report|rate|swap|switch|incorporate|rewrite|rephrase|respond|reply"
    r"|answer|transform|apply|change|shuffle|scramble|"
    r"express|output|print|please (?:write|provide|tell|explain|translate|add|help|give|create))"
)
_WH = r"(?:what|who|whose|when|where|why|how|which|is there|are there|can you|could you|would you|do you know)"
_task = re2.compile(
    rf"(?i)^(?:{_VERBS} [a-z\"'0-9].{{6,240}}[^|:;,]|{_WH}\b[^|\n]{{8,240}}\?|in your (?:reply|response|answer|output)\b.{{5,240}})$"
)
_ours = re.compile(
    r"(?i)\b(?:we|our|us|i|i'm|i've|attached|below|above|this email|meeting|invoice|account|you're|order"
    r"|unsubscribe|click|questions?|contact)\b"
)
_MAIL_MARKS = ("SUBJECT", "From", "Subject", "EMAIL_FROM", "To:", "Date")
_mail = re.compile(r"(?m)^(?:SUBJECT|From|To|Subject|EMAIL_FROM|Date|RECEIVED DATE) ?: ?\S")


def unseen(text: str) -> Iterator[Hit]:
    """Yield what no person writes: characters without a shape, in numbers."""
    if _unseen.search(strange(text)):
        flags = [m.span() for m in _flag.finditer(text)]
        for kind, pattern in (("tag-characters", _tags), ("invisible", _hidden_run), ("split-words", _split)):
            for count, match in enumerate(pattern.finditer(text)):
                if count >= MOST:
                    break
                if not any(start <= match.start() < end for start, end in flags[:MOST]):
                    yield Hit(f"injection/{kind}", match.start(), match.end(), "INVISIBLE", "characters that a reader does not see")
        if (turn := _override.search(text)) is not None and any("a" <= c <= "z" for c in text[turn.start() : turn.start() + 40]):
            yield Hit("injection/bidi-override", turn.start(), turn.end(), "INVISIBLE", "text whose direction is turned around")


def templates(text: str) -> Iterator[Hit]:
    """Yield the marks of chat templates, which are no text of a person."""
    raw = text.encode("utf-8", "replace")
    for count, match in enumerate(_template.finditer(raw)):
        if count >= MOST:
            break
        start = len(raw[: match.start()].decode("utf-8", "ignore"))
        yield Hit("injection/chat-template", start, start + len(match.group().decode("utf-8")), "INSTRUCTION", "marks of a chat template")


def anomalies(raw: bytes) -> Iterator[tuple[str, int, int, str]]:
    """Yield the rule, bounds (characters) and words for counterfeit turns, images that carry data away, dialogues that end in a question.

    Args:
        raw: the text, folded and in small letters.
    """
    for id, pattern, may in (("counterfeit-turn", _turns, b":" in raw or b"<" in raw), ("exfiltration-image", _exfil, b"![" in raw)):
        match = pattern.search(raw) if may else None
        if match is not None:
            start, size = (len(part.decode("utf-8", "ignore")) for part in (raw[: match.start()], match.group()))
            yield f"injection/{id}", start, start + size, "a counterfeit of the model's own marks"
    if len(raw) <= SHOTS_BYTES and raw.rstrip().endswith(QUESTION_ENDS) and (asked := _shots(raw.decode("utf-8", "replace"))):
        yield "injection/many-shot", 0, asked, "a counterfeit conversation that ends in a question"


def _shots(lower: str) -> int:
    """Return where a conversation ends that was written into the text and stops at a question without its answer; 0 where none is."""
    turns = [bool(match["asked"]) for match in _turn.finditer(lower)]
    if len(turns) < 3 or not turns[0] or not turns[-1] or turns[-2]:
        return 0
    return len(lower)


def misplaced(text: str) -> Iterator[Hit]:
    """Yield lines that are a task, in a text that is otherwise a table or an e-mail."""
    lines = text.count("\n|") + text.startswith("|")
    table = lines >= 3 and text.count("\n") - 2 * text.count("\n\n") <= lines + max(6, lines // 3)
    head = text[:2000]
    mail = not table and any(mark in head for mark in _MAIL_MARKS) and _mail.search(head) is not None
    if not table and not mail:
        return
    at, strays = 0, list[tuple[int, str]]()
    rows = others = 0
    for line in text.split("\n"):
        bare = line.strip()
        if bare.startswith("|"):
            rows += 1
        elif bare:
            others += 1
            strays.append((at + line.index(bare), bare))
        at += len(line) + 1
    if table and others > max(2, rows // 5):
        return
    for start, bare in strays[:MOST]:
        if len(bare) <= 300 and _task.search(bare) and (table or not _ours.search(bare)):
            yield Hit("injection/misplaced-task", start, start + len(bare), "INSTRUCTION", "a task for the model in the middle of data")


def decoded(text: str) -> Iterator[tuple[int, int, str]]:
    """Yield what runs of base64 and hexadecimal say, where that is text."""
    for count, match in enumerate(_run.finditer(text.encode("ascii", "replace"))):
        if count >= MOST:
            return
        run = match.group()[:ENCODED_CHARS]
        for decode in (_from_base64, _from_hex):
            said = decode(run)
            if said and sum(c.isprintable() or c in "\n\t\r" for c in said) == len(said):
                yield match.start(), match.end(), said


def _from_base64(run: bytes) -> str:
    run = run.rstrip(b"=")
    run = run[: len(run) - 1] if len(run) % 4 == 1 else run
    try:
        return base64.b64decode(run + b"=" * (-len(run) % 4)).decode("utf-8")
    except (ValueError, binascii.Error):
        return ""


def _from_hex(run: bytes) -> str:
    try:
        return bytes.fromhex(run.decode("ascii")).decode("utf-8")
    except ValueError:
        return ""

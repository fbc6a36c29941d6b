"""What the simulated model says, in no protocol: words, tool calls, why it stopped, and how many tokens that is.

Everything follows from the request: the same conversation gives the same answer, with or without streaming. The token rule is this
module's own and simple on purpose: **a token is a run of at most 16 characters that are not white space, with the white space before
it** (6 for the arguments of a tool call). For plain English it stays at or below what the real vocabularies count, so a budget that
reserved by those is never overrun by this provider's bill.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
from dataclasses import dataclass
from typing import Any

from proxy.sim.script import Script

IMAGE_TOKENS = 85
MESSAGE_TOKENS = 4
PRIMING_TOKENS = 3
TOOL_CALL_TOKENS = 4

_word = re.compile(r"\s*\S{1,16}|\s+$")
_short = re.compile(r"\s*\S{1,6}|\s+$")
_sum = re.compile(r"(-?\d{1,12})\s*([+*x-])\s*(-?\d{1,12})")
_FILLER = "the of and to in is that for it as was with be by on not he this are or his from at which but have an had they you"
_WORDS = tuple(_FILLER.split())
_CAPITALS = {"france": "Paris", "germany": "Berlin", "spain": "Madrid", "italy": "Rome", "japan": "Tokyo", "poland": "Warsaw"}


@dataclass(frozen=True, slots=True)
class Turn:
    """What a vendor module read from a request, in common words.

    Attributes:
        seed: digest of the conversation: everything that is random follows from it.
        question: the last user message that has text of its own, without its directive.
        results: texts of the tool results after that message, oldest first.
        tools: (name, parameter schema) of the tools offered.
        force: a tool's name, or `*` for any, or empty: what the request's tool choice demands.
        prompt_tokens: counted by this module's rule.
        ceiling: the most tokens that one choice may have, or None.
        stop: texts that end the answer.
    """

    seed: bytes
    question: str
    results: tuple[str, ...] = ()
    tools: tuple[tuple[str, dict[str, Any]], ...] = ()
    force: str = ""
    prompt_tokens: int = 0
    ceiling: int | None = None
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ToolUse:
    """One tool call: an index for its id, and the arguments as JSON text cut into tokens."""

    name: str
    pieces: tuple[str, ...]

    @property
    def arguments(self) -> str:
        """The arguments as one text."""
        return "".join(self.pieces)


@dataclass(frozen=True, slots=True)
class Answer:
    """One choice. `stopped` is stop, length, tool or the text of a stop sequence after `sequence:`; `reasoning` tokens are in `tokens`."""

    pieces: tuple[str, ...]
    tools: tuple[ToolUse, ...]
    stopped: str
    tokens: int
    reasoning: int = 0

    @property
    def text(self) -> str:
        """The words as one text."""
        return "".join(self.pieces)


def seed_of(kept: object) -> bytes:
    """Return the digest of the parts of a request that decide its answer."""
    return hashlib.sha256(json.dumps(kept, sort_keys=True, separators=(",", ":")).encode("utf-8", "surrogatepass")).digest()


def hex_id(seed: bytes, salt: str, length: int = 24) -> str:
    """Return a hexadecimal id that follows from `seed` and `salt`."""
    return hashlib.sha256(seed + salt.encode()).hexdigest()[:length]


def count(text: str) -> int:
    """Return the tokens of `text` by the module's rule."""
    return len(_word.findall(text))


def cut(text: str, *, arguments: bool = False) -> tuple[str, ...]:
    """Return `text` cut into tokens; joined they are `text` again."""
    return tuple((_short if arguments else _word).findall(text))


def compose(turn: Turn, script: Script, choice: int = 0) -> Answer:
    """Return the answer to `turn` under `script`; `choice` numbers the alternatives of one request."""
    ceiling = None if script.ignore_max else turn.ceiling
    reasoning = script.reasoning if ceiling is None else min(script.reasoning, ceiling)
    room = None if ceiling is None else ceiling - reasoning
    calls = _tools(turn, script)
    pieces = () if calls and script.text is None else _words(turn, script, choice)
    stopped = "tool" if calls else "stop"
    if script.text is None and script.tokens is None:
        pieces, stopped = _stop(pieces, turn.stop, stopped)
    if room is not None and len(pieces) > room:
        pieces, calls, stopped = pieces[:room], (), "length"
    uses, tokens = _uses(calls, None if room is None else room - len(pieces))
    if len(uses) < len(calls) or any(u.arguments != arguments for u, (_, arguments) in zip(uses, calls, strict=False)):
        stopped = "length"
    return Answer(pieces, uses, stopped, len(pieces) + tokens + reasoning, reasoning)


def _uses(calls: tuple[tuple[str, str], ...], room: int | None) -> tuple[tuple[ToolUse, ...], int]:
    """Return the calls that fit into `room` tokens, the last one cut short where it does not, and what they take."""
    uses, taken = [], 0
    for name, arguments in calls:
        pieces = cut(arguments, arguments=True)
        left = None if room is None else room - taken - TOOL_CALL_TOKENS
        if left is not None and left < 0:
            break
        kept = pieces if left is None else pieces[:left]
        uses.append(ToolUse(name, kept))
        taken += TOOL_CALL_TOKENS + len(kept)
    return tuple(uses), taken


def _stop(pieces: tuple[str, ...], stops: tuple[str, ...], stopped: str) -> tuple[tuple[str, ...], str]:
    text = "".join(pieces)
    found = min(((text.find(s), s) for s in stops if s and s in text), default=None)
    return (cut(text[: found[0]]), f"sequence:{found[1]}") if found else (pieces, stopped)


def _words(turn: Turn, script: Script, choice: int) -> tuple[str, ...]:
    if script.tokens is not None:
        source = random.Random(turn.seed + bytes([choice & 255]))  # noqa: S311 - filler, no secret
        return tuple((" " if i else "") + source.choice(_WORDS) for i in range(script.tokens))
    if script.text is not None:
        return cut(script.text)
    text = _reply(turn)
    return cut(text if choice == 0 else f"{text} (Alternative {choice + 1}.)")


def _reply(turn: Turn) -> str:
    if turn.results:
        gist = " ".join(turn.results[-1].split())[:120]
        return f"The tool returned: {gist or 'nothing'}. That is all I needed."
    question = " ".join(turn.question.split())
    lower = question.lower()
    found = _sum.search(question)
    if found:
        left, sign, right = int(found[1]), found[2], int(found[3])
        value = left + right if sign == "+" else left - right if sign == "-" else left * right
        return f"{left} {sign} {right} = {value}."
    for country, city in _CAPITALS.items():
        if "capital" in lower and country in lower:
            return f"The capital of {country.title()} is {city}."
    if "json" in lower.split():
        return json.dumps({"answer": question[:60], "confidence": 0.9})
    if not question:
        return "Hello! How can I help?"
    return f'You asked: "{question[:80]}". In short: yes, and the details depend on your case.'


def _tools(turn: Turn, script: Script) -> tuple[tuple[str, str], ...]:
    if script.repeat_tool:
        return script.tools()
    if turn.results:
        return ()
    if script.tool_calls is not None:
        return script.tools()
    if script.text is not None or script.tokens is not None or not turn.tools:
        return ()
    asked = turn.question.lower()
    for name, schema in turn.tools:
        if turn.force in (name, "*") or (not turn.force and name.lower() in asked):
            return ((name, json.dumps(_sample(schema, turn.question), separators=(",", ":"), ensure_ascii=False)),)
    return ()


def _sample(schema: dict[str, Any], question: str) -> dict[str, Any]:
    """Return arguments that a schema of plain properties accepts."""
    properties = schema.get("properties")
    found: dict[str, Any] = {}
    for key, kind in (properties if isinstance(properties, dict) else {}).items():
        kind = kind if isinstance(kind, dict) else {}
        plain: dict[str, Any] = {"integer": 1, "number": 1.5, "boolean": True, "array": [], "object": {}}
        choices = kind.get("enum")
        found[key] = choices[0] if choices else plain.get(str(kind.get("type")), " ".join(question.split())[:40])
    return found

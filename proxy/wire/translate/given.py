"""What the readers and writers of all dialects share: typed reads of a request, and the rules that hold whatever the dialect.

A member of the wrong type is `Untranslatable`: we say a request anew, so what we cannot read cannot be passed on as it is.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from operator import is_
from typing import Any

from proxy.wire import jsonio
from proxy.wire.keys import OFFERS
from proxy.wire.translate.hub import Asked, Image, Part, Text, ToolUse, Turn, Untranslatable

_NOTHING: tuple[Any, ...] = (None, False, 0, "", [], {})
_OBJECTS = {dict}
_prefixes = re.compile(r"(chatcmpl|msg|resp|gen)[-_]")
_data_url = re.compile(r"data:([\w.+-]+/[\w.+-]+);base64,")
SWITCHES_ON = {name: f"switches on {tool}, which only its own provider has" for name, tool in OFFERS.items()}
"""Members that give the model a tool of the provider's."""
MAX_DEPTH = 64
MAX_DOUBLE = sys.float_info.max
"""JSON can hold whole numbers that no double can."""
INVALID = "INVALID_JSON"
"""The member under which arguments that are no JSON object are handed on.

Source: Anthropic documentation, "Fine-grained tool streaming", handling invalid JSON in tool responses.
"""


def sift(asked: Asked, value: dict[str, Any], carried: AbstractSet[str], refused: Mapping[str, str], place: str = "") -> None:
    """Go through the members that a reader does not carry over: what would change the answer is refused, the rest dropped by name.

    A member that says nothing (null, false, zero, empty) is not there.

    Raises:
        Untranslatable: a member of `refused` is there.
    """
    if value.keys() <= carried:  # the common case, without a line of Python for each member
        return
    for key, item in value.items():
        if key in carried or item in _NOTHING:
            continue
        if key in refused:
            raise Untranslatable(f"/{place}{key}: {refused[key]}")
        asked.drop(place + key)


def objects(value: object, place: str) -> list[dict[str, Any]]:
    """Return a list of objects; absent is empty. Raises Untranslatable."""
    if value is None:
        return []
    if not isinstance(value, list) or not {*map(type, value)} <= _OBJECTS:
        raise Untranslatable(f"{place}: not a list of objects")
    return value


def word(value: object, place: str) -> str:
    """Return a text; absent is empty. Raises Untranslatable."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise Untranslatable(f"{place}: not a text")
    return value


def words(value: object, place: str) -> list[str]:
    """Return one text or a list of them as a list. Raises Untranslatable."""
    return [word(item, place) for item in (value if isinstance(value, list) else [value]) if item is not None]


def schema(value: object, place: str) -> dict[str, Any]:
    """Return a JSON Schema; absent is that of an object without members. Raises Untranslatable."""
    if value is None or value == {}:
        return {"type": "object", "properties": {}}
    if not isinstance(value, dict):
        raise Untranslatable(f"{place}: not a JSON Schema")
    return value


def takes_strict(schema: object, depth: int = 0) -> bool:
    """Return whether OpenAI's strict mode takes a JSON Schema: it refuses one with an object that may have more members, or fewer.

    Source: OpenAI documentation, "Structured outputs", supported schemas.
    """
    if not isinstance(schema, dict):
        return True
    members, required = schema.get("properties", {}), schema.get("required", [])
    if depth > MAX_DEPTH or not isinstance(members, dict) or not isinstance(required, list):
        return False
    if ("properties" in schema or "object" in _listed(schema.get("type"))) and (
        schema.get("additionalProperties") is not False or set(members) != set(map(str, required))
    ):
        return False
    return all(takes_strict(inner, depth + 1) for inner in _inside(schema))


def _listed(value: object) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _inside(schema: dict[str, Any]) -> Iterator[object]:
    for key in ("properties", "$defs", "definitions"):
        named = schema.get(key)
        yield from named.values() if isinstance(named, dict) else ()
    for key in ("items", "anyOf", "prefixItems"):
        yield from _listed(schema.get(key))


def number(value: Mapping[str, Any], key: str) -> float | None:
    """Return a number or None. Raises Untranslatable."""
    found = value.get(key)
    if found is None:
        return None
    if isinstance(found, bool) or not isinstance(found, int | float) or not abs(found) <= MAX_DOUBLE:
        raise Untranslatable(f"/{key}: not a number")
    return found


def whole(value: Mapping[str, Any], key: str) -> int | None:
    """Return a whole number or None; one that is written as 5.0 is whole. Raises Untranslatable."""
    found = number(value, key)
    if found is not None and (abs(found) > 10**18 or found != int(found)):
        raise Untranslatable(f"/{key}: not a whole number")
    return None if found is None else int(found)


def flag(value: Mapping[str, Any], key: str, place: str = "") -> bool | None:
    """Return true, false or None. Raises Untranslatable."""
    found = value.get(key)
    if found is not None and not isinstance(found, bool):
        raise Untranslatable(f"{place}/{key}: neither true nor false")
    return found


def neighbours(turns: Iterable[Turn]) -> list[tuple[int, Turn, list[Turn]]]:
    """Return `turns` in groups of neighbours with one role, as the place of the first, the first and the rest, without those that say
    nothing: many models take only turns that alternate."""
    found: list[tuple[int, Turn, list[Turn]]] = []
    rest: list[Turn] = []
    role = ""
    for place, turn in enumerate(turns):
        if turn.silent:
            continue
        if turn.role == role:
            rest.append(turn)
        else:
            role, rest = turn.role, []
            found.append((place, turn, rest))
    return found


def system_apart(asked: Asked) -> tuple[list[str], list[Turn]]:
    """Return all that is said by the system, and the other turns, for a dialect in which they stand apart.

    What stands between messages moves up: few models take it there, and it must not lose rank.
    """
    system = [turn for turn in asked.turns if turn.role == "system"]
    said = [text for turn in system for text in texts(turn.parts)]
    if all(map(is_, system, asked.turns)):  # the common case, without a look at each turn
        return said, asked.turns[len(system) :]
    spoken = [turn.role == "system" for turn in asked.turns if turn.parts]
    if spoken != sorted(spoken, reverse=True):
        asked.drop("the place of a system message")
    return said, [turn for turn in asked.turns if turn.role != "system"]


def joined(first: Turn, rest: Sequence[Turn]) -> Turn:
    """Return turns of one role as one."""
    return Turn(first.role, tuple([part for turn in (first, *rest) for part in turn.parts])) if rest else first


def texts(parts: Iterable[Part]) -> list[str]:
    """Return the texts among `parts`."""
    return [part.text for part in parts if isinstance(part, Text)]


def image_of(url: str, detail: str, place: str) -> Image:
    """Return the image that `url` names or holds. Raises Untranslatable."""
    held = _data_url.match(url)
    if held is not None:
        return Image(held[1], url[held.end() :], "", detail)
    if url.startswith(("https://", "http://")):
        return Image(url=url, detail=detail)
    raise Untranslatable(f"{place}: an image that is neither base64 nor at an http address")


def image_url(image: Image) -> str:
    """Return the address of an image, with the image in it where it has no other."""
    return image.url or f"data:{image.mime};base64,{image.data}"


def arguments_of(use: ToolUse) -> dict[str, Any]:
    """Return the arguments of a tool call as an object; what is none is handed on under `INVALID`."""
    if not use.arguments.strip():
        return {}
    found = jsonio.parsed(use.arguments.encode("utf-8", "surrogatepass"))
    return found if isinstance(found, dict) else {INVALID: use.arguments}


def arguments_text(value: object) -> str:
    """Return the arguments of a tool call as JSON text."""
    return jsonio.encoded({} if value is None else value).decode()


def reply_name(prefix: str, id: str, asked: Asked) -> str:
    """Return the id of a reply as a dialect that begins ids with `prefix` would write it."""
    return prefix + (_prefixes.sub("", id, count=1) or asked.id or "0")


def call_name(prefix: str, id: str, asked: Asked, index: int) -> str:
    """Return the id of a tool call: the provider's, letter for letter, or one of ours where it gave none."""
    return id or f"{prefix}{asked.id or '0'}_{index}"

"""Requests of Gemini's generateContent read into the hub. What each member becomes stands in docs/translation.md.

Keys are read in camelCase and snake_case, as the API does. What Google runs itself (search, code, files) has no words elsewhere and is
refused. Calls without ids get them from their place.

Source: Gemini API reference (v1beta), "GenerateContent", "Function calling"; types of google-genai 3.6 (2026-11).
"""

from __future__ import annotations

import re
from typing import Any

from proxy.wire import jsonio
from proxy.wire.translate.calls import CallIds
from proxy.wire.translate.gemini_schema import json_schema
from proxy.wire.translate.given import SWITCHES_ON, arguments_text, flag, number, objects, schema, sift, whole, word, words
from proxy.wire.translate.history import prompt_of, tools_of, turns_of
from proxy.wire.translate.hub import Asked, Image, Part, Text, Thought, Tool, ToolOutput, ToolUse, Turn, Untranslatable

# fmt: off
_CARRIED = frozenset({"model", "contents", "systemInstruction", "tools", "toolConfig", "generationConfig"})
_REFUSED = SWITCHES_ON | {
    "cachedContent": "a history that the provider keeps",
    "continuationToken": "a history that the provider keeps",
}
_CONTENT = frozenset({"role", "parts"})
_DATA = frozenset({"text", "inlineData", "functionCall", "functionResponse"})
_PART = _DATA | {"thought"}
_PART_REFUSED = {
    "fileData": "a file that the provider keeps or fetches",
    "executableCode": "code that Google ran",
    "codeExecutionResult": "code that Google ran",
    "toolCall": "a tool that Google ran",
    "toolResponse": "a tool that Google ran",
    "audioTranscription": "spoken words",
}
_CALL, _OUTPUT = frozenset({"id", "name", "args"}), frozenset({"id", "name", "response", "parts"})
_DECLARATION = frozenset({"name", "description", "parameters", "parametersJsonSchema"})
_CONFIG = frozenset({
    "candidateCount", "maxOutputTokens", "temperature", "topP", "stopSequences", "seed", "responseModalities", "responseMimeType",
    "responseSchema", "responseJsonSchema", "_responseJsonSchema", "thinkingConfig",
})
_CONFIG_REFUSED = {
    "speechConfig": "a spoken answer",
    "imageConfig": "an answer in images",
    "responseFormat": "another form of answers than one schema",
    "responseLogprobs": "log probabilities",
    "logprobs": "log probabilities",
}
# fmt: on
_SAID = frozenset({"output", "result", "error"})
ROLES = {"": "user", "user": "user", "function": "user", "model": "assistant"}
CHOICES = {"": "", "MODE_UNSPECIFIED": "", "AUTO": "auto", "VALIDATED": "auto", "ANY": "any", "NONE": "none"}
BUDGETS = {"none": 0, "minimal": 512, "low": 1024, "medium": 8192, "high": 24576}
"""Effort to tokens of thinking, as Google's own OpenAI-compatible endpoint has it; more than `high` is written as `high`."""
_STANDARD = str.maketrans("-_", "+/")
"""Base64 may be in the alphabet of URLs here, and Google's own SDK writes it so; other servers take it for broken."""
_snake = re.compile(r"(?<=[a-z0-9])_([a-z0-9])")


def camel(value: object, place: str) -> dict[str, Any]:
    """Return an object of the API with its keys in the spelling that we read; absent is empty.

    Raises:
        Untranslatable: it is no object, or has a member in both spellings.
    """
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Untranslatable(f"{place}: not an object")
    if "_" not in "".join(value):  # the common case, without a look at each key
        return value
    found = {_snake.sub(lambda match: match[1].upper(), key): item for key, item in value.items()}
    if len(found) != len(value):
        raise Untranslatable(f"{place}: a member in two spellings")
    return found


def read_request(body: dict[str, Any], model: str, stream: bool) -> Asked:
    """See `Dialect.read_request`."""
    asked = Asked(model, stream=stream)
    top = camel(body, "/")
    sift(asked, top, _CARRIED, _REFUSED)
    system = prompt_of(asked, top.get("systemInstruction"), _prompt)
    asked.turns += [system] if system.parts else []
    contents = top.get("contents")
    asked.turns += turns_of(asked, [contents] if isinstance(contents, dict) else contents, "/contents", _turn, CallIds())
    asked.tools = tools_of(asked, top.get("tools"), _tools)
    _choice(asked, camel(top.get("toolConfig"), "/toolConfig"))
    _config(asked, camel(top.get("generationConfig"), "/generationConfig"))
    return asked


def _prompt(_: Asked, value: object) -> Turn:
    if not value or isinstance(value, str):
        return Turn("system", (Text(value),) if isinstance(value, str) and value else ())
    found = []
    for i, part in enumerate(objects(camel(value, "/systemInstruction").get("parts"), "/systemInstruction/parts")):
        place = f"/systemInstruction/parts/{i}"
        if set(part) != {"text"}:
            raise Untranslatable(f"{place}: a part that is not text")
        found.append(Text(word(part["text"], place)))
    return Turn("system", tuple(text for text in found if text.text))


def _turn(asked: Asked, value: dict[str, Any], place: str) -> Turn:
    content = camel(value, place)
    sift(asked, content, _CONTENT, {}, "contents/")
    role = ROLES.get(word(content.get("role"), place))
    if role is None:
        raise Untranslatable(f"{place}: a turn of the role {content['role']}")
    theirs = (ToolUse, Thought) if role == "user" else (ToolOutput, Image)
    parts: list[Part] = []
    for i, part in enumerate(objects(content.get("parts"), f"{place}/parts")):
        found = _part(asked, part, f"{place}/parts/{i}")
        if isinstance(found, theirs):
            raise Untranslatable(f"{place}: a {type(found).__name__} in a turn of the {role}'s")
        parts += () if found is None else (found,)
    return Turn("user" if role == "user" else "assistant", tuple(parts))


def _part(asked: Asked, value: dict[str, Any], place: str) -> Part | None:
    part = camel(value, place)
    sift(asked, part, _PART, _PART_REFUSED, "contents/parts/")
    if len(part) > 1 and sum([part.get(key) not in (None, "") for key in _DATA]) > 1:
        raise Untranslatable(f"{place}: several things in one part")
    if part.get("functionCall") is not None:
        return _call(asked, camel(part["functionCall"], place), place)
    if part.get("functionResponse") is not None:
        return _output(asked, camel(part["functionResponse"], place), place)
    if part.get("inlineData") is not None:
        return _image(part["inlineData"], place)
    text = word(part.get("text"), place)
    if not text:
        return None
    return Thought(text) if flag(part, "thought") else Text(text)


def _call(asked: Asked, call: dict[str, Any], place: str) -> ToolUse:
    sift(asked, call, _CALL, {"partialArgs": "arguments in pieces", "willContinue": "arguments in pieces"}, "contents/parts/functionCall/")
    name, args = word(call.get("name"), place), call.get("args")
    if not isinstance(args, dict | None):
        raise Untranslatable(f"{place}: arguments that are no object")
    return ToolUse(word(call.get("id"), place), name, arguments_text(args))


def _output(asked: Asked, output: dict[str, Any], place: str) -> ToolOutput:
    sift(asked, output, _OUTPUT, {"willContinue": "an output in pieces"}, "contents/parts/functionResponse/")
    id, name = word(output.get("id"), place), word(output.get("name"), place)
    response = output.get("response") or {}
    if not isinstance(response, dict):
        raise Untranslatable(f"{place}: a response that is no object")
    said = next(iter(response.values())) if len(response) == 1 and response.keys() <= _SAID else response
    text = jsonio.clean(said) if isinstance(said, str) else jsonio.readable(said)
    images = [_shown_before(part, place) for part in objects(output.get("parts"), place)]
    return ToolOutput(id, name, (Text(text), *images), response.keys() == {"error"})


def _shown_before(value: dict[str, Any], place: str) -> Image:
    part = camel(value, place)
    if set(part) != {"inlineData"}:
        raise Untranslatable(f"{place}: a part of an output that is no image")
    return _image(part["inlineData"], place)


def _image(value: object, place: str) -> Image:
    blob = camel(value, place)
    mime = word(blob.get("mimeType"), place)
    if not mime.startswith("image/"):
        raise Untranslatable(f"{place}: data of the type {mime or 'unknown'}")
    return Image(mime, word(blob.get("data"), place).translate(_STANDARD))


def _tools(asked: Asked, value: object) -> list[Tool]:
    return [tool for i, tools in enumerate(objects(value, "/tools")) for tool in _declared(asked, tools, f"/tools/{i}")]


def _declared(asked: Asked, value: dict[str, Any], place: str) -> list[Tool]:
    tool = camel(value, place)
    hosted = [key for key, item in tool.items() if key != "functionDeclarations" and item is not None]
    if hosted:
        raise Untranslatable(f"{place}: a {hosted[0]} tool, which only its own provider has")
    return [_tool(asked, camel(declared, place), place) for declared in objects(tool.get("functionDeclarations"), place)]


def _tool(asked: Asked, declared: dict[str, Any], place: str) -> Tool:
    sift(asked, declared, _DECLARATION, {}, "tools/")
    given = declared.get("parametersJsonSchema")
    if given is None and isinstance(declared.get("parameters"), dict):
        given = json_schema(declared["parameters"], place)
    return Tool(word(declared.get("name"), place), word(declared.get("description"), place), schema(given, place))


def _choice(asked: Asked, config: dict[str, Any]) -> None:
    place = "/toolConfig/functionCallingConfig"
    sift(asked, config, {"functionCallingConfig"}, {}, "toolConfig/")
    calling = camel(config.get("functionCallingConfig"), place)
    sift(asked, calling, {"mode", "allowedFunctionNames"}, {}, "toolConfig/functionCallingConfig/")
    mode, allowed = word(calling.get("mode"), place).upper(), words(calling.get("allowedFunctionNames"), place)
    if mode not in CHOICES:
        raise Untranslatable(f"{place}: a mode {mode}")
    asked.choice = CHOICES[mode]
    if allowed and mode in ("ANY", "VALIDATED"):
        asked.tools = [tool for tool in asked.tools if tool.name in allowed]
        asked.choice = f"tool:{allowed[0]}" if mode == "ANY" and len(allowed) == 1 else asked.choice
    if mode == "VALIDATED":
        asked.drop("mode VALIDATED of function calls")


def _config(asked: Asked, config: dict[str, Any]) -> None:
    place = "/generationConfig"
    sift(asked, config, _CONFIG, _CONFIG_REFUSED, "generationConfig/")
    if (number(config, "candidateCount") or 1) > 1:
        raise Untranslatable("several answers to one request")
    if {kind.upper() for kind in words(config.get("responseModalities"), place)} - {"TEXT"}:
        raise Untranslatable(f"{place}/responseModalities: an answer that is not text")
    asked.max_output, asked.seed = whole(config, "maxOutputTokens"), whole(config, "seed")
    asked.temperature, asked.top_p = number(config, "temperature"), number(config, "topP")
    asked.stop = words(config.get("stopSequences"), place)
    thinking = camel(config.get("thinkingConfig"), f"{place}/thinkingConfig")
    sift(asked, thinking, {"thinkingLevel", "thinkingBudget"}, {}, "thinkingConfig/")
    level, budget = word(thinking.get("thinkingLevel"), place).lower(), number(thinking, "thinkingBudget")
    if level and not level.endswith("_unspecified"):
        asked.effort = level
    elif budget is not None and budget >= 0:
        asked.effort = next((effort for effort, most in BUDGETS.items() if budget <= most), "high")
    _answer(asked, config, place)


def _answer(asked: Asked, config: dict[str, Any], place: str) -> None:
    """Read what the answer must look like."""
    mime = word(config.get("responseMimeType"), place)
    if mime not in ("", "text/plain", "application/json"):
        raise Untranslatable(f"{place}/responseMimeType: an answer of the type {mime}")
    given = config.get("responseJsonSchema") or config.get("_responseJsonSchema")
    if not given and isinstance(config.get("responseSchema"), dict):
        given = json_schema(config["responseSchema"], place)
    asked.schema = schema(given, f"{place}/responseJsonSchema") if given else None
    asked.json = mime == "application/json" and asked.schema is None

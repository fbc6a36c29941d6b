"""How one message of the Ollama dialect reads, and under which name it knows a model. Parsed once and remembered; see `wire.memo`.

Messages are like OpenAI's chat but for four things: pictures stand beside the text as bare base64, the arguments of a tool call are an
object, the result of a tool names the tool (newer servers also its call), and thinking is a text of its own. Tools are OpenAI's.

Names: to an Ollama server `llama3`, `llama3:latest`, `library/llama3`, `registry.ollama.ai/library/llama3` and `llama3:local` are one
model, in any letter case. A rule on one of them must hold for all, a budget count them together, a price be the same. So the tag `latest`
is dropped (the body keeps it: the server reads both alike), every other spelling is refused with the plain name as the remedy, and a
denial holds for the name with the tag too (`Call.aliases`). Signs that the server has no names with are refused: older ones cut a name at
`+` and `@`. Letter case is the rules' business, where denials hold in any.

Source: Ollama API reference, "Generate a chat completion", "Model names"; `types/model/name.go` and `internal/modelref` of the server;
types of the Python SDK 0.6.3 (2026-11).
"""

from __future__ import annotations

import re
from typing import Any

from proxy.wire import jsonio, media
from proxy.wire.call import Media, Message, WireError
from proxy.wire.fields import Fields
from proxy.wire.reading import Reading, plain

PROTOCOL = "ollama"
MESSAGE = b"ollama message:"
ROLES = frozenset({"system", "user", "assistant", "tool"})
LATEST = ":latest"
_HOST, _NAMESPACE, _SUFFIXES = "registry.ollama.ai/", "library/", (":local", LATEST)
_grammar = re.compile(r"[A-Za-z0-9._:/-]+")
_KEYS = frozenset({"role", "content", "thinking", "images", "tool_calls", "tool_name", "tool_call_id", "name"})
_CALL_KEYS = frozenset({"id", "type", "function"})
_FUNCTION_KEYS = frozenset({"index", "name", "arguments"})
_PICTURE_HEAD = 64 << 10


def plain_name(name: str) -> str:
    """Return the shortest name of the model that an Ollama server takes `name` for. Letter case stays."""
    name = name.partition("://")[2] or name
    for prefix in (_HOST, _NAMESPACE):
        if name.casefold().startswith(prefix):
            name = name[len(prefix) :]
    while name.casefold().endswith(_SUFFIXES):
        name = name.rpartition(":")[0]
    return name


def model_of(fields: Fields, key: str = "model") -> str:
    """Return the name of the model as rules and budgets know it.

    Raises:
        WireError: none, one that a server might tidy up, or one of the long spellings of a short name.
    """
    name = fields.model(key)
    if not _grammar.fullmatch(name):
        raise fields.error(key, "a model's name has letters, digits, `.`, `_`, `-`, and `/` and `:` between its parts")
    short = plain_name(name)
    written = name[: -len(LATEST)] if name.casefold().endswith(LATEST) else name
    if not short or short != written:
        raise fields.error(key, f"is read as {short or 'nothing'} by the server; write it so, for rules know models by their short names")
    return short


def aliases(model: str) -> tuple[str, ...]:
    """Return the other names under which a rule may deny `model`: the one with its tag, where it has none."""
    return () if ":" in model.rpartition("/")[2] else (model + LATEST,)


def parse_message(key: bytes) -> Message:
    """Return the message that `key` is, the word `MESSAGE` and then its raw bytes.

    Raises:
        WireError: not a JSON object, or ambiguous.
    """
    raw = key[len(MESSAGE) :]
    return plain(raw) or _read(raw)


def _read(raw: bytes) -> Message:
    value = jsonio.strict(raw, PROTOCOL, "/messages")
    if not isinstance(value, dict):
        raise WireError(PROTOCOL, "/messages", "each message must be an object")
    jsonio.look_alikes(value, _KEYS, PROTOCOL)
    reading = Reading()
    role = value.get("role")
    if not isinstance(role, str) or role not in ROLES:
        reading.text(role)
    reading.text(value.get("name"))
    reading.text(value.get("thinking"))
    texts, parts = len(reading.texts), len(reading.media)
    reading.text(value.get("content"))
    _images(reading, value.get("images"))
    if role == "tool":
        reading.result(value.get("tool_call_id") or value.get("tool_name"), reading.digest(texts, parts))
    else:
        reading.text(value.get("tool_call_id"))
    reading.text(value.get("tool_name"))
    _calls(reading, value.get("tool_calls"))
    reading.rest(value, _KEYS)
    return reading.message(raw, jsonio.clean(role) if isinstance(role, str) else "")


def _images(reading: Reading, images: object) -> None:
    if not isinstance(images, list):
        reading.text(images)
        return
    for image in images:
        if isinstance(image, str):
            width, height = media.of_base64(image[:_PICTURE_HEAD])
            reading.media.append(Media("image", len(image) + 2, "", width, height))
        else:
            reading.text(image)


def _calls(reading: Reading, calls: Any) -> None:
    if not isinstance(calls, list):
        reading.text(calls)
        return
    for call in calls:
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict):
            reading.text(call)
            continue
        reading.call(call.get("id"), function.get("name"), function.get("arguments"))
        reading.rest(function, _FUNCTION_KEYS)
        reading.rest(call, _CALL_KEYS)

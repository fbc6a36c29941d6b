"""How one content (a turn), one system instruction and one list of tools of the Gemini dialect read. Parsed once and remembered; see
`wire.memo`.

Gemini's JSON is that of protocol buffers, which takes every member under two names, `functionCall` and `function_call`; clients use both,
some in one body. Here each is read under either name. Both names in one object are refused, and so is a name that only a lenient server
could take for one of them.

A call or result often has no id: then a call has none, and a result has the name of its tool, which is how the provider matches them.

Source: Gemini API reference, "Content", "Part", "Tool"; types of the `google-genai` Python SDK 3.4; protocol buffers, "ProtoJSON format"
(both names of a field are accepted). A single object for a list of one, as Google's own examples write `contents` and `parts`.
"""

from __future__ import annotations

import base64
import functools
import re
from collections.abc import Callable, Mapping
from json.decoder import scanstring  # type: ignore[attr-defined]  # typeshed does not know it
from typing import Any, TypeVar

from proxy.wire import jsonio, media
from proxy.wire.call import OPAQUE, Media, Message, Tools, ToolSpec, WireError
from proxy.wire.keys import Keys, Shape
from proxy.wire.openai_messages import tool_name
from proxy.wire.reading import Reading

PROTOCOL = "gemini"
CONTENT, SYSTEM, TOOLS = b"gemini content:", b"gemini system:", b"gemini tools:"
ROLES: Mapping[str, str] = {"": "user", "user": "user", "model": "assistant", "function": "function"}
"""What a content says to what the house calls it. Without a role it is the user's."""
T = TypeVar("T")
_hump = re.compile("[A-Z]")
_opaque = re.compile("[A-Za-z0-9+/=_-]+")


@functools.lru_cache(maxsize=512)
def snake(name: str) -> str:
    """Return the other name of a member: `functionCall` as `function_call`."""
    return _hump.sub(lambda found: f"_{found[0].lower()}", name)


def _folded(name: str) -> str:
    return name.replace("_", "").casefold()


class Names:
    """The members of one kind of object.

    Args:
        names: as the documentation writes them, `functionCall`.
    """

    __slots__ = ("_canonical", "_folds", "known")

    def __init__(self, *names: str) -> None:
        self.known = frozenset(names)
        self._canonical = {name: name for name in names} | {snake(name): name for name in names}
        self._folds = {_folded(name): name for name in names}

    def read(self, value: Mapping[str, T], pointer: str) -> dict[str, T]:
        """Return `value` with the members that we know under their documented names.

        Raises:
            WireError: one is there under both of its names, or under one that only a lenient server would take for it.
        """
        found: dict[str, T] = {}
        for key, item in value.items():
            name = self._canonical.get(key)
            if name is None:
                if _folded(key) in self._folds:
                    known = self._folds[_folded(key)]
                    raise WireError(PROTOCOL, f"{pointer}/{key}", f"is {known} in other letters; some servers would read it as such")
                name = key
            if name in found:
                raise WireError(PROTOCOL, f"{pointer}/{key}", f"stands here twice, as {name} and as {snake(name)}")
            found[name] = item
        return found


class Members(Keys):
    """The top-level members of one operation, in both spellings; what `Names` refuses is refused once for each set of keys.

    Args:
        names: as the documentation writes them.
    """

    __slots__ = ("_names", "names")

    def __init__(self, *names: str) -> None:
        self.names = names
        self._names = Names(*names)
        super().__init__({*names, *map(snake, names)})

    def _look(self, names: tuple[str, ...], protocol: str) -> Shape:
        shape = super()._look(names, protocol)
        self._names.read(dict.fromkeys(names), "")
        return shape


_CONTENT = Names("role", "parts")
_PART = Names(
    "text", "thought", "thoughtSignature", "inlineData", "fileData", "functionCall", "functionResponse", "executableCode",
    "codeExecutionResult",
)  # fmt: skip
_BLOB = Names("mimeType", "data", "fileUri", "displayName")
_CALL = Names("id", "name", "args")
_RESPONSE = Names("id", "name", "response", "parts")
_CODE = Names("code", "language", "id")
_RESULT = Names("output", "outcome", "id")
_TOOL = Names(
    "functionDeclarations", "googleSearch", "googleSearchRetrieval", "codeExecution", "urlContext", "googleMaps", "fileSearch",
    "computerUse", "mcpServers", "retrieval", "enterpriseWebSearch",
)  # fmt: skip
_FUNCTION = Names("name", "description", "parameters", "parametersJsonSchema", "response", "responseJsonSchema", "behavior")
_CONFIG = Names("functionCallingConfig", "retrievalConfig", "includeServerSideToolInvocations")
_CALLING = Names("mode", "allowedFunctionNames", "streamFunctionCallArguments")
_SEEN = frozenset({"image", "audio", "video"})
Take = Callable[[Reading, dict[str, Any], str], None]
"""Reads one kind of object within a part."""


def objects(value: object, pointer: str) -> list[dict[str, Any]]:
    """Return a list of objects; one object alone is a list of one.

    Raises:
        WireError: it is anything else.
    """
    found = [value] if isinstance(value, dict) else value
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise WireError(PROTOCOL, pointer, "must be an array of objects")
    return found


def parse_content(key: bytes) -> Message:
    """Return the content that `key` is, the word `CONTENT` and then its raw bytes.

    Raises:
        WireError: not a JSON object, or ambiguous.
    """
    raw = key[len(CONTENT) :]
    found = _one_text(raw)
    if found is not None:
        return found
    value = jsonio.strict(raw, PROTOCOL, "/contents")
    if not isinstance(value, dict):
        raise WireError(PROTOCOL, "/contents", "each content must be an object with `role` and `parts`")
    reading = Reading()
    return reading.message(raw, _read(reading, value, "/contents"))


def _one_text(raw: bytes) -> Message | None:
    """Return the content that `raw` is if it is of the commonest kind, one text without spaces around, else None."""
    at = raw.find(_TEXT, 0, _NEAR)
    if at < 0 or (role := _HEADS.get(raw[:at])) is None:
        return None
    try:
        text = raw.decode()
        content, end = scanstring(text, at + len(_TEXT), True)
    except ValueError:
        return None
    behind = _ENDS.get(text[end:])
    if behind is None or (role and behind):
        return None
    return Message(jsonio.fingerprint(raw), role or behind or "user", (jsonio.clean(content),) if content else ())


_TEXT, _NEAR = b'"parts":[{"text":"', 40
_HEADS = {b"{": "", b'{"role":"user",': "user", b'{"role":"model",': "assistant"}
_ENDS = {"}]}": "", '}],"role":"user"}': "user", '}],"role":"model"}': "assistant"}
"""What stands around the text to the role that it says."""


def parse_system(key: bytes) -> Message:
    """Return the system instruction that `key` is: the word `SYSTEM` and then its raw bytes, a content or a text. Raises WireError."""
    raw = key[len(SYSTEM) :]
    value = jsonio.strict(raw, PROTOCOL, "/systemInstruction")
    reading = Reading()
    if isinstance(value, dict):
        _read(reading, value, "/systemInstruction")
    elif isinstance(value, str):
        reading.text(value)
    else:
        raise WireError(PROTOCOL, "/systemInstruction", "must be a content")
    return reading.message(raw, "system")


def _read(reading: Reading, value: dict[str, Any], pointer: str) -> str:
    """Gather what a content says and return its role."""
    content = _CONTENT.read(value, pointer)
    said = content.get("role")
    role = ROLES.get(said or "") if isinstance(said, str | None) else None
    if role is None:
        reading.text(said)
        role = jsonio.clean(said) if isinstance(said, str) else ""
    parts = content.get("parts")
    for part in parts if isinstance(parts, list) else [parts]:
        if isinstance(part, dict):
            _part(reading, _PART.read(part, f"{pointer}/parts"), pointer)
        else:
            reading.text(part)
    reading.rest(content, _CONTENT.known)
    return role


def _part(reading: Reading, part: dict[str, Any], pointer: str) -> None:
    reading.text(part.get("text"))
    if part.get("thought") is not True:
        reading.text(part.get("thought"))
    hidden = part.get("thoughtSignature")
    if isinstance(hidden, str) and _opaque.fullmatch(hidden):
        reading.media.append(Media(OPAQUE, len(hidden)))
    else:
        reading.text(hidden)
    for key in ("inlineData", "fileData"):
        _inner(reading, part, key, _BLOB, pointer, _blob)
    _inner(reading, part, "functionCall", _CALL, pointer, _call)
    _inner(reading, part, "functionResponse", _RESPONSE, pointer, _response)
    _inner(reading, part, "executableCode", _CODE, pointer, _words("code", _CODE))
    _inner(reading, part, "codeExecutionResult", _RESULT, pointer, _words("output", _RESULT))
    reading.rest(part, _PART.known)


def _inner(reading: Reading, part: dict[str, Any], key: str, names: Names, pointer: str, take: Take) -> None:
    """Have `take` read the object under `key`; anything else there is kept as it is."""
    value = part.get(key)
    if isinstance(value, dict):
        take(reading, names.read(value, f"{pointer}/parts/{key}"), pointer)
    else:
        reading.text(value)


def _words(main: str, names: Names) -> Take:
    """Return what reads an object of which only one text is the model's to read."""

    def take(reading: Reading, value: dict[str, Any], pointer: str) -> None:
        reading.text(value.get(main))
        reading.rest(value, names.known)

    return take


def _call(reading: Reading, value: dict[str, Any], pointer: str) -> None:
    reading.call(value.get("id"), value.get("name"), value.get("args"))
    reading.rest(value, _CALL.known)


def _response(reading: Reading, value: dict[str, Any], pointer: str) -> None:
    reading.text(value.get("name"))
    texts, parts = len(reading.texts), len(reading.media)
    answer = value.get("response")
    reading.text(answer)
    more = value.get("parts")
    for part in more if isinstance(more, list) else [more]:
        if isinstance(part, dict):
            _part(reading, _PART.read(part, f"{pointer}/parts/functionResponse"), pointer)
        else:
            reading.text(part)
    failed = isinstance(answer, dict) and bool(answer.get("error"))
    reading.result(value.get("id") or value.get("name"), reading.digest(texts, parts), failed)
    reading.rest(value, _RESPONSE.known)


def _blob(reading: Reading, value: dict[str, Any], pointer: str) -> None:
    """Keep a file. One of text is read as the text that it is, since the model reads it so."""
    mime, data = value.get("mimeType"), value.get("data")
    mime = mime.strip().lower() if isinstance(mime, str) else ""
    kind = jsonio.clean(mime.partition("/")[0]) or "file"
    reading.text(value.get("displayName"))
    reading.rest(value, _BLOB.known)
    text = _decoded(data) if isinstance(data, str) and kind not in _SEEN and mime != "application/pdf" else None
    if text is not None:
        reading.text(text)
        return
    width, height = media.of_base64(data) if kind == "image" and isinstance(data, str) else media.UNKNOWN
    reading.media.append(Media(kind, len(jsonio.dumps(value)), "", width, height))


def _decoded(data: str) -> str | None:
    """Return the text whose base64 (of either alphabet) `data` is, None when it is none."""
    try:
        return base64.b64decode(data.replace("-", "+").replace("_", "/") + "==", validate=False).decode()
    except ValueError:
        return None


def parse_tools(key: bytes) -> Tools:
    """Return the tools that `key` is: the word `TOOLS` and then the raw bytes of `tools`.

    Every member of a tool but its functions is a tool of the provider's own, whether we know it or not; its name is the member's.

    Raises:
        WireError: not an array of objects, functions without names, or ambiguous.
    """
    raw = key[len(TOOLS) :]
    specs: list[ToolSpec] = []
    for tool in objects(jsonio.strict(raw, PROTOCOL, "/tools"), "/tools"):
        for name, value in _TOOL.read(tool, "/tools").items():
            if name == "functionDeclarations":
                specs += _functions(value)
            elif value is not None and value is not False:
                kind = snake(tool_name(name, PROTOCOL, "/tools"))
                specs.append(ToolSpec(kind, kind))
    return Tools(tuple(specs), raw.decode())


def _functions(value: object) -> list[ToolSpec]:
    if value is None:
        return []
    pointer = "/tools/functionDeclarations"
    return [ToolSpec(tool_name(_FUNCTION.read(f, pointer).get("name"), PROTOCOL, pointer)) for f in objects(value, pointer)]


def check_tool_config(raw: bytes) -> None:
    """Refuse a tool configuration that offers tools, where no rule would see them, or that has calls come in pieces without a name.

    Raises:
        WireError: it does, or is no object, or ambiguous.
    """
    value = jsonio.strict(raw, PROTOCOL, "/toolConfig")
    if not isinstance(value, dict):
        raise WireError(PROTOCOL, "/toolConfig", "must be an object")
    config = _CONFIG.read(value, "/toolConfig")
    for name in _TOOL.read(value, "/toolConfig"):
        if name in _TOOL.known:
            raise WireError(PROTOCOL, f"/toolConfig/{name}", "is a tool; tools belong in `tools`")
    calling = config.get("functionCallingConfig")
    if isinstance(calling, dict) and _CALLING.read(calling, "/toolConfig/functionCallingConfig").get("streamFunctionCallArguments"):
        raise WireError(PROTOCOL, "/toolConfig", "has calls come in pieces, which no rule can judge (streamFunctionCallArguments)")

"""Gemini's dialect of the simulated provider: generateContent in both framings, and errors. The smaller operations are in `gemini_other`.

Source: Gemini API reference (generating content, errors), as typed in the `google-genai` Python SDK 3.4; the bytes around the replies of a
stream as the service sends them.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import re
from collections.abc import Iterator
from typing import Any

from proxy.sim import answer, gemini_other
from proxy.sim.answer import Answer, Turn
from proxy.sim.gemini_contents import call_parts, camel, parts, prompt_tokens, texts
from proxy.sim.reply import Given, Invalid, Operation, Piece, Reply, Vendor, dumps, extra, heedless, unknown_event
from proxy.sim.script import Script, read_script

_UNSEEDED = ("generationConfig", "safetySettings", "labels", "model")
_ERRORS: dict[int, tuple[str, str]] = {
    400: ("INVALID_ARGUMENT", "Request contains an invalid argument."),
    401: ("UNAUTHENTICATED", "Request had invalid authentication credentials."),
    403: ("PERMISSION_DENIED", "The caller does not have permission"),
    404: ("NOT_FOUND", "The model is not found for this API version."),
    429: ("RESOURCE_EXHAUSTED", "You exceeded your current quota, please check your plan and billing details."),
    500: ("INTERNAL", "An internal error has occurred. Please retry."),
    503: ("UNAVAILABLE", "The model is overloaded. Please try again later."),
    504: ("DEADLINE_EXCEEDED", "The request timed out. Please try again."),
}
HEADERS = {"content-type": "application/json; charset=UTF-8", "vary": "Origin", "server-timing": "gfet4t7; dur=12"}


def _shape(status: int, kind: str | None, message: str | None) -> dict[str, Any]:
    usual = _ERRORS.get(status, _ERRORS[500] if status >= 500 else _ERRORS[400])
    return {"error": {"code": status, "message": message or usual[1], "status": kind or usual[0]}}


def error(status: int, kind: str | None, message: str | None, seed: bytes) -> Reply:
    """Return Gemini's error of `status`."""
    return Reply(status, dict(HEADERS), json.dumps(_shape(status, kind, message), indent=2).encode() + b"\n")


def invalid(e: Invalid, seed: bytes) -> Reply:
    """Return the reply to a request that Gemini does not take."""
    return error(e.status, None, e.message, seed)


def _stream_error(kind: str | None, message: str | None) -> bytes:
    return b"data: %b\r\n\r\n" % dumps(_shape(503, kind, message))


VENDOR = Vendor("gemini", error, _stream_error, invalid)
_path = re.compile(r"/v1(?:beta)?/models/([^/:]+):([A-Za-z]+)")


def find(method: str, path: str) -> Operation | None:
    """Return the operation of a path, None when there is none."""
    if method == "GET":
        return gemini_other.find(path)
    found = _path.fullmatch(path)
    operations: dict[str, Any] = {
        "generateContent": _generate,
        "streamGenerateContent": _stream,
        "countTokens": gemini_other.count_tokens,
        "embedContent": gemini_other.embed,
        "batchEmbedContents": gemini_other.batch_embed,
    }
    if found is None or found[2] not in operations or method != "POST":
        return None
    return functools.partial(operations[found[2]], found[1])


# --- generating ----------------------------------------------------------------------------------------------------------------


def _generate(model: str, given: Given) -> tuple[Script, Reply]:
    """Return the script of a request and the reply to it.

    Raises:
        Invalid: Gemini would answer 400.
        ScriptError: the script is wrong.
    """
    script, turn, choices = _answers(given)
    base = _base(model, turn)
    candidates = [_candidate(i, _parts(said, turn.seed, i), _finish(said, script)) for i, said in enumerate(choices)]
    usage = _usage(turn, choices, script)
    whole = {"candidates": candidates} | ({} if usage is None else {"usageMetadata": usage}) | base | extra(script.extra_field)
    body = json.dumps(whole, indent=2, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"
    return script, Reply(200, dict(HEADERS), body, tokens=sum(said.tokens for said in choices))


def _stream(model: str, given: Given) -> tuple[Script, Reply]:
    """Return the script of a request for a stream and the reply to it; raises as `_generate` does."""
    script, turn, choices = _answers(given)
    chunks = _chunks(_base(model, turn), turn, choices, script)
    if given.query.get("alt", given.query.get("$alt")) == "sse":
        return script, Reply(200, {**HEADERS, "content-type": "text/event-stream"}, events=_as_events(chunks, script))
    # The error inside of an array is an element of it, which only this module can write.
    return dataclasses.replace(script, error_after=None), Reply(200, dict(HEADERS), events=_as_array(chunks, script))


def _answers(given: Given) -> tuple[Script, Turn, list[Answer]]:
    body = camel(given.body)
    contents = body.get("contents")
    if isinstance(contents, dict):
        contents = body["contents"] = [contents]
    if not isinstance(contents, list) or not contents:
        raise Invalid("* GenerateContentRequest.contents: contents is not specified")
    config = body.get("generationConfig") or {}
    for i, content in enumerate(contents):
        if content.get("role", "user") not in ("user", "model", "function"):
            raise Invalid("Please use a valid role: user, model.")
        if not parts(content):
            raise Invalid(f"* GenerateContentRequest.contents[{i}].parts: contents.parts must not be empty.")
    for key in ("maxOutputTokens", "candidateCount"):
        if not isinstance(config.get(key, 1), int) or config.get(key, 1) < 1:
            raise Invalid(f"Invalid value at 'generation_config.{key}'")
    script, turn = _turn(given, body, contents, config)
    return script, turn, [answer.compose(turn, script, i) for i in range(config.get("candidateCount", 1))]


def _turn(given: Given, body: dict[str, Any], contents: list[dict[str, Any]], config: dict[str, Any]) -> tuple[Script, Turn]:
    contents = heedless(contents, "parts")
    at = next((i for i in range(len(contents) - 1, -1, -1) if contents[i].get("role", "user") == "user" and texts(contents[i])), -1)
    script, question = read_script(given.script, " ".join(texts(contents[at])) if at >= 0 else "")
    results = [p["functionResponse"] for c in contents[at + 1 :] for p in parts(c) if "functionResponse" in p]
    calling = (body.get("toolConfig") or {}).get("functionCallingConfig") or {}
    mode, names = calling.get("mode", "AUTO"), calling.get("allowedFunctionNames") or ["*"]
    tools = body.get("tools") or []
    functions = [f for t in (tools if isinstance(tools, list) else [tools]) for f in t.get("functionDeclarations") or ()]
    turn = Turn(
        seed=answer.seed_of({k: v for k, v in body.items() if k not in _UNSEEDED}),
        question=question,
        results=tuple(_result(r.get("response")) for r in results),
        tools=()
        if mode == "NONE"
        else tuple((f["name"], f.get("parametersJsonSchema") or _schema(f.get("parameters"))) for f in functions),
        force=str(names[0]) if mode == "ANY" else "",
        prompt_tokens=prompt_tokens(body),
        ceiling=config.get("maxOutputTokens"),
        stop=tuple(s for s in config.get("stopSequences") or () if isinstance(s, str)),
    )
    return script, turn


def _schema(value: Any) -> dict[str, Any]:
    """Return a schema of Gemini's as JSON Schema: its types are in capitals."""
    if not isinstance(value, dict):
        return {}
    found: dict[str, Any] = {k: _schema(v) if isinstance(v, dict) else v for k, v in value.items()}
    kind = found.get("type")
    return found | ({"type": kind.lower()} if isinstance(kind, str) else {})


def _result(response: Any) -> str:
    """Return what a tool said: the text of a response that holds but one, else its JSON."""
    values = list(response.values()) if isinstance(response, dict) else []
    return values[0] if len(values) == 1 and isinstance(values[0], str) else json.dumps(response, ensure_ascii=False)


def _base(model: str, turn: Turn) -> dict[str, Any]:
    return {"modelVersion": model, "responseId": answer.hex_id(turn.seed, "response", 22)}


def _usage(turn: Turn, choices: list[Answer], script: Script) -> dict[str, Any] | None:
    if script.usage is False:
        return None
    prompt = max(turn.prompt_tokens, script.cached)
    thoughts = sum(said.reasoning for said in choices)
    spoken = sum(said.tokens for said in choices) - thoughts
    usage: dict[str, Any] = {"promptTokenCount": prompt, "candidatesTokenCount": spoken, "totalTokenCount": prompt + spoken + thoughts}
    if script.cached:
        usage["cachedContentTokenCount"] = script.cached
    usage["promptTokensDetails"] = [{"modality": "TEXT", "tokenCount": prompt}]
    if thoughts:
        usage["thoughtsTokenCount"] = thoughts
    return usage | script.usage if isinstance(script.usage, dict) else usage


def _finish(said: Answer, script: Script) -> str:
    return script.finish_reason or {"length": "MAX_TOKENS"}.get(said.stopped, "STOP")


_THOUGHT = {"text": "Let me think about this for a moment.", "thought": True}


def _parts(said: Answer, seed: bytes, choice: int) -> list[dict[str, Any]]:
    found = [_THOUGHT] if said.reasoning else []
    if said.pieces or not said.tools:
        found = [*found, {"text": said.text}]
    return [*found, *call_parts(said, seed, choice)]


def _candidate(index: int, said: list[dict[str, Any]], finish: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {"content": {"parts": said, "role": "model"}}
    return found | ({"finishReason": finish} if finish else {}) | {"index": index}


def _steps(said: Answer, seed: bytes, choice: int) -> Iterator[tuple[list[dict[str, Any]], int]]:
    """Yield the parts of each chunk of one candidate, with the tokens that they carry."""
    if said.reasoning:
        yield [_THOUGHT], said.reasoning
    for piece in said.pieces:
        yield [{"text": piece}], 1
    calls = call_parts(said, seed, choice)
    for i, tool in enumerate(said.tools):
        yield calls[i : i + 1], answer.TOOL_CALL_TOKENS + len(tool.pieces)


def _chunks(base: dict[str, Any], turn: Turn, choices: list[Answer], script: Script) -> Iterator[tuple[dict[str, Any], int]]:
    """Yield each reply of a stream. Usage comes with each and grows; the last of a candidate says why it ended."""
    usage, more = _usage(turn, choices, script), extra(script.extra_field)
    running = {i: _steps(said, turn.seed, i) for i, said in enumerate(choices)}
    sent = 0

    def chunk(candidate: dict[str, Any], last: bool) -> dict[str, Any]:
        found: dict[str, Any] = {"candidates": [candidate]}
        if usage is not None:
            partial = usage | {"candidatesTokenCount": sent, "totalTokenCount": usage["promptTokenCount"] + sent}
            found["usageMetadata"] = usage if last else {k: v for k, v in partial.items() if k != "thoughtsTokenCount"}
        return found | base | more

    while running:
        for i in list(running):
            step = next(running[i], None)
            if step is None:
                del running[i]
                yield chunk(_candidate(i, [{"text": ""}], _finish(choices[i], script)), not running), 0
                continue
            sent += step[1]
            yield chunk(_candidate(i, step[0]), False), step[1]


def _as_events(chunks: Iterator[tuple[dict[str, Any], int]], script: Script) -> Iterator[Piece]:
    for number, (chunk, tokens) in enumerate(chunks):
        yield Piece(b"data: %b\r\n\r\n" % dumps(chunk), tokens)
        if number == 0 and script.extra_event:
            yield Piece(unknown_event(script.extra_event))


def _as_array(chunks: Iterator[tuple[dict[str, Any], int]], script: Script) -> Iterator[Piece]:
    """Yield the pieces of one array, written as the service does: a bracket or comma before each element, and the ending by itself."""
    before = b"["
    for number, (chunk, tokens) in enumerate(chunks):
        if script.error_after is not None and number >= script.error_after:
            chunk, tokens = _shape(503, script.error_type, script.message), 0
        yield Piece(before + json.dumps(chunk, indent=2, ensure_ascii=False).encode("utf-8", "backslashreplace"), tokens)
        if "error" in chunk:
            break
        before = b"\n,\r\n"
        if number == 0 and script.extra_event:
            yield Piece(before + dumps({"xSimUnknown": script.extra_event}))
    yield Piece(b"\n]\n")

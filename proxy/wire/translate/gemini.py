"""Gemini's generateContent as a dialect: how its requests are written from the hub. Reading: `gemini_asked`. Replies: `gemini_reply`.

Thoughts and their signatures do not carry over. Newer models refuse a history in which a call has no signature, so the first call of
each step gets the word that Google gives for calls of other models.

Source: Gemini API reference (v1beta), "GenerateContent", "Thought signatures"; types of google-genai 3.6 (2026-11).
"""

from __future__ import annotations

import re
from typing import Any

from proxy.wire.translate.calls import Names
from proxy.wire.translate.gemini_asked import BUDGETS, read_request
from proxy.wire.translate.gemini_reply import GeminiReader, GeminiWriter, read_reply, write_reply
from proxy.wire.translate.given import arguments_of, system_apart, texts
from proxy.wire.translate.history import told, told_tools
from proxy.wire.translate.hub import (
    SEEN,
    Asked,
    Dialect,
    Image,
    Said,
    StreamReader,
    StreamWriter,
    Text,
    Thought,
    Tool,
    ToolOutput,
    ToolUse,
    Turn,
    Untranslatable,
)

UNSIGNED = "skip_thought_signature_validator"
"""What newer models take in place of a call's signature when the call is not theirs; without one they refuse the history."""
_old = re.compile(r"(models/)?gemini-[12]\b")


class GeminiDialect(Dialect):
    """See the module."""

    name = "gemini.generate"
    history = "contents"
    prompts = frozenset({"systemInstruction", "system_instruction"})

    def read_request(self, body: dict[str, Any], model: str, stream: bool) -> Asked:
        """See `Dialect.read_request`."""
        return read_request(body, model, stream)

    def write_request(self, asked: Asked) -> dict[str, Any]:
        """See `Dialect.write_request`. The model stands in the path."""
        system, others = system_apart(asked)
        target = self.name if _signed(asked) else f"{self.name} unsigned"
        body: dict[str, Any] = {"contents": told(asked, others, target, _content, Names())}
        if system:
            body["systemInstruction"] = {"parts": [{"text": text} for text in system]}
        if asked.tools:
            body["tools"] = [{"functionDeclarations": told_tools(asked, self.name, _declared)}]
            if asked.choice:
                body["toolConfig"] = {"functionCallingConfig": _calling(asked.choice)}
        elif asked.choice:
            asked.drop("tool_choice without tools")
        if asked.parallel is False:
            asked.drop("parallel tool calls off")
        if config := _configured(asked):
            body["generationConfig"] = config
        return body

    def read_reply(self, body: dict[str, Any]) -> Said:
        """See `Dialect.read_reply`."""
        return read_reply(body)

    def write_reply(self, said: Said, asked: Asked) -> dict[str, Any]:
        """See `Dialect.write_reply`."""
        return write_reply(said, asked)

    def reader(self) -> StreamReader:
        """See `Dialect.reader`."""
        return GeminiReader()

    def writer(self, asked: Asked) -> StreamWriter:
        """See `Dialect.writer`."""
        return GeminiWriter(asked)


def _signed(asked: Asked) -> bool:
    """Return whether the model wants a signature with the first call of each step."""
    return _old.match(asked.model) is None


def _content(asked: Asked, turn: Turn) -> list[dict[str, Any]]:
    if turn.role == "assistant":
        return [{"role": "model", "parts": _said(turn, asked)}]
    return [{"role": "user", "parts": _given(turn)}]


def _said(turn: Turn, asked: Asked) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = []
    sign = _signed(asked)
    for part in turn.parts:
        if isinstance(part, ToolUse):
            call: dict[str, Any] = {"functionCall": {"id": part.id, "name": part.name, "args": arguments_of(part)}}
            parts.append(call | {"thoughtSignature": UNSIGNED} if sign else call)
            sign = False  # one a step is asked for, on its first call
        elif isinstance(part, Text):
            parts.append({"text": part.text})
        elif isinstance(part, Thought):
            asked.drop_thoughts()
        else:
            raise Untranslatable("an image in a turn of the assistant's")
    return parts


def _given(turn: Turn) -> list[dict[str, Any]]:
    """Return a user turn: the outputs of tools first, as they must follow the calls, then their images, then the rest."""
    outputs = [part for part in turn.parts if isinstance(part, ToolOutput)]
    images = [image for output in outputs for image in output.parts if isinstance(image, Image)]
    return [
        *(_answered(output) for output in outputs),
        *(_shown(image) for image in images),
        *(_shown(part) if isinstance(part, Image) else {"text": part.text} for part in turn.parts if isinstance(part, SEEN)),
    ]


def _answered(output: ToolOutput) -> dict[str, Any]:
    if not output.name:
        raise Untranslatable("a tool's output without the call that it answers")
    text = "\n".join(texts(output.parts))
    return {"functionResponse": {"id": output.id, "name": output.name, "response": {"error" if output.error else "output": text}}}


def _shown(image: Image) -> dict[str, Any]:
    if image.url:
        raise Untranslatable("an image at an address, which Gemini does not fetch")
    return {"inlineData": {"mimeType": image.mime, "data": image.data}}


def _declared(asked: Asked, tool: Tool) -> dict[str, Any]:
    if tool.strict:
        asked.drop("strict tools")
    found: dict[str, Any] = {"name": tool.name, "description": tool.description, "parametersJsonSchema": tool.schema}
    return {key: value for key, value in found.items() if value}


def _calling(choice: str) -> dict[str, Any]:
    if choice.startswith("tool:"):
        return {"mode": "ANY", "allowedFunctionNames": [choice[5:]]}
    return {"mode": {"none": "NONE", "any": "ANY"}.get(choice, "AUTO")}


def _configured(asked: Asked) -> dict[str, Any]:
    found: dict[str, Any] = {
        "maxOutputTokens": asked.max_output,
        "temperature": asked.temperature,
        "topP": asked.top_p,
        "stopSequences": asked.stop or None,
        "seed": asked.seed,
        "responseMimeType": "application/json" if asked.json or asked.schema is not None else None,
        "responseJsonSchema": asked.schema,
        "thinkingConfig": {"thinkingBudget": BUDGETS.get(asked.effort, BUDGETS["high"])} if asked.effort else None,
    }
    return {key: value for key, value in found.items() if value is not None}

"""What a client has of a reply, read by plain walks over JSON that share nothing with the product."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Got:
    """What a client has of a reply."""

    text: str = ""
    thought: str = ""
    calls: list[tuple[str, Any]] = field(default_factory=list)
    finish: str = ""
    failed: bool = False


def _data(got: bytes) -> list[Any]:
    lines = [line for line in got.splitlines() if line.startswith(b"data: {")]
    return [json.loads(line[6:]) for line in lines]


def read_chat(got: bytes) -> Got:
    found, calls = Got(), dict[int, list[str]]()
    for value in _data(got):
        found.failed = found.failed or "error" in value
        for choice in value.get("choices", ()):
            delta = choice.get("delta", choice)
            found.text += delta.get("content") or delta.get("text") or ""
            found.thought += delta.get("reasoning_content") or ""
            found.finish = choice.get("finish_reason") or found.finish
            for call in delta.get("tool_calls", ()):
                entry = calls.setdefault(call["index"], ["", ""])
                entry[0] += call["function"].get("name") or ""
                entry[1] += call["function"].get("arguments") or ""
    assert sorted(calls) == list(range(len(calls))), "no holes between calls"
    found.calls = [(name, json.loads(arguments)) for name, arguments in calls.values()]
    return found


def read_messages(got: bytes) -> Got:
    found, blocks = Got(), list[dict[str, Any]]()
    opened = -1
    for value in _data(got):
        kind = value["type"]
        if kind == "content_block_start":
            assert opened == -1, "one block at a time"
            assert value["index"] == len(blocks), "every index is there"
            opened = value["index"]
            blocks.append(value["content_block"] | {"json": ""})
        elif kind == "content_block_delta":
            assert value["index"] == opened
            delta = value["delta"]
            blocks[-1]["json"] += delta.get("partial_json", "")
            for key in ("text", "thinking"):
                if key in delta:
                    blocks[-1][key] += delta[key]
        elif kind == "content_block_stop":
            assert value["index"] == opened, "only what is open is stopped"
            opened = -1
        elif kind == "message_delta":
            found.finish = value["delta"]["stop_reason"]
        found.failed = found.failed or kind == "error"
    assert opened == -1 or found.failed
    for block in blocks:
        found.text += block.get("text", "") if block["type"] == "text" else ""
        found.thought += block.get("thinking", "")
        if block["type"] == "tool_use" and opened == -1:
            found.calls.append((block["name"], json.loads(block["json"] or "{}")))
    return found


def read_responses(got: bytes) -> Got:
    found, items, parts = Got(), dict[int, dict[str, Any]](), dict[tuple[int, str], str]()
    values = _data(got)
    assert [value["sequence_number"] for value in values] == list(range(len(values))), "numbered without a hole"
    for value in values:
        kind, index = value["type"], value.get("output_index", -1)
        if kind == "response.output_item.added":
            assert index not in items
            items[index] = value["item"]
        elif kind.endswith(".delta"):
            assert items[index]["id"] == value["item_id"]
            parts[index, kind[:-6]] = parts.get((index, kind[:-6]), "") + value["delta"]
        elif kind.endswith((".delta", "text.done", "arguments.done")):
            full = value["arguments"] if "arguments" in value else value["text"]
            assert parts.get((index, kind[:-5]), "") == full, "pieces and the whole say the same"
        elif kind == "response.output_item.done":
            items[index] = value["item"]
        elif kind in ("response.completed", "response.incomplete"):
            found.finish = value["response"]["status"]
            assert value["response"]["output"] == [items[i] for i in sorted(items)], "the last event says the same"
        found.failed = found.failed or kind == "response.failed"
    for index in sorted(items):
        item = items[index]
        if item["type"] == "function_call" and not found.failed:
            assert item["arguments"] == parts.get((index, "response.function_call_arguments"), "")
            found.calls.append((item["name"], json.loads(item["arguments"])))
        found.text += parts.get((index, "response.output_text"), "")
        found.thought += parts.get((index, "response.reasoning_summary_text"), "")
    return found


def read_gemini(got: bytes) -> Got:
    found = Got()
    for value in _data(got) if got.startswith(b"data") else json.loads(got or b"[]"):
        found.failed = found.failed or "error" in value
        for candidate in value.get("candidates", ()):
            for part in candidate.get("content", {}).get("parts", ()):
                if part.get("thought"):
                    found.thought += part["text"]
                else:
                    found.text += part.get("text", "")
                if "functionCall" in part:
                    found.calls.append((part["functionCall"]["name"], part["functionCall"]["args"]))
            found.finish = candidate.get("finishReason", found.finish)
    return found


def read_ollama(got: bytes) -> Got:
    found = Got()
    for line in got.splitlines():
        value = json.loads(line)
        found.failed = found.failed or "error" in value
        said = value.get("message", value)
        found.text += said.get("content") or said.get("response") or ""
        found.thought += said.get("thinking") or ""
        found.calls += [(call["function"]["name"], call["function"]["arguments"]) for call in said.get("tool_calls", ())]
        found.finish = value.get("done_reason", found.finish)
    return found

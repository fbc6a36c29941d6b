"""A turn costs what is new in it, and the memo never decides: proved by counting parses and token counts through the whole pipeline."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from engine_script import Caller, Clock, Says, Upstream
from multidict import CIMultiDict

from proxy.app import build
from proxy.app.house import House
from proxy.budget.vocabulary import tokens as real_tokens
from proxy.engine.exchange import Exchange
from proxy.engine.record import Record
from proxy.wire.registry import find

KEY = "fg-coder-test"
ANSWER = json.dumps(
    {
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "ok"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 900, "completion_tokens": 1, "total_tokens": 901},
    }
).encode()
FILES = {
    "fleetgate.yaml": """
auth: {keys: keys.yaml}
budgets: budgets/
providers: {p: {protocols: [openai], base_url: "http://127.0.0.1:1/v1"}}
models: {"*": {provider: p, price: {input: 1, output: 10}}}
store: "memory:"
""",
    "AGENTS.md": """---
name: coder
policy:
  models: {allow: ["gpt-*"]}
  tools: {allow: ["read_*"]}
  loops: {identical: {warn: 2, block: 4}}
---
""",
    "keys.yaml": f"keys: [{{agent: coder, sha256: {hashlib.sha256(KEY.encode()).hexdigest()}}}]\n",
    "budgets/b.yaml": 'budgets: [{name: all, scope: {agent: "*"}, limit: {usd: 1000}, window: day}]\n',
}
TOOLS = [{"type": "function", "function": {"name": "read_file", "parameters": {"type": "object"}}}]


def turn(number: int, repeat: bool = False) -> list[dict[str, Any]]:
    """One step of an agent: a tool call and its result."""
    arguments = json.dumps({"path": "same" if repeat else f"file{number}"})
    call = {"id": f"c{number}", "type": "function", "function": {"name": "read_file", "arguments": arguments}}
    return [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": f"c{number}", "content": f"line {'same' if repeat else number} " * 40},
    ]


def history(turns: int, repeated: int = 0) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [{"role": "user", "content": "Find the bug."}]
    for number in range(turns):
        found += turn(number)
    for number in range(turns, turns + repeated):
        found += turn(number, repeat=True)
    return found


def ask(messages: list[dict[str, Any]], model: str = "gpt-4o-mini") -> bytes:
    return json.dumps({"model": model, "max_tokens": 50, "tools": TOOLS, "messages": messages}).encode()


REQUESTS = [
    ask(history(30)),
    ask([*history(30), *turn(30)]),
    ask(history(30, repeated=2)),
    ask(history(30, repeated=4)),
    ask(history(31), model="claude-3"),
    json.dumps(
        {"model": "gpt-4o-mini", "tools": [{"type": "function", "function": {"name": "delete_all"}}], "messages": history(30)}
    ).encode(),
]


@pytest.fixture
def files(tmp_path: Path) -> build.Files:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return build.read(tmp_path / "fleetgate.yaml", {})


async def play(house: House, body: bytes) -> Record:
    house.runtime = dataclasses.replace(house.runtime, transport=Upstream([Says([ANSWER])]))
    codec = find("POST", "/v1/chat/completions", {})
    assert codec is not None
    ex = Exchange(house.runtime, house.clock, Caller(body), codec.protocol)
    ex.codec, ex.method, ex.path = codec, "POST", "/v1/chat/completions"
    ex.headers = CIMultiDict({"authorization": f"Bearer {KEY}", "x-fleetgate-session": "s"})
    await house.engine.handle(ex)
    await house.engine.drain(5)
    return house.journal.rows()[0]


def decision(record: Record) -> dict[str, Any]:
    """All of a record but its name and its times."""
    return {k: v for k, v in dataclasses.asdict(record).items() if k not in ("id", "time", "marks")}


def test_only_what_is_new_is_parsed_and_counted(files: build.Files, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[str] = []

    def tokens(text: str, *args: Any) -> int:
        counted.append(text)
        return real_tokens(text, *args)

    monkeypatch.setattr("proxy.budget.estimate.tokens", tokens)

    async def main() -> None:
        house = House(files, clock=Clock())
        memo = house.memos.messages
        await play(house, ask(history(30)))
        assert memo.misses == 61
        assert len(counted) >= 61
        counted.clear()
        await play(house, ask([*history(30), *turn(30)]))
        assert memo.misses == 63, "sixty-one messages were known"
        assert 0 < len(counted) <= 4, "the texts of two new messages"
        assert not any("line 29" in text for text in counted)
        await house.close()

    asyncio.run(main())


def test_decisions_are_the_same_with_the_memo_dropped(files: build.Files) -> None:
    async def decisions(drop: bool) -> list[dict[str, Any]]:
        house = House(files, clock=Clock())
        found = []
        for body in REQUESTS * 2:
            if drop:
                house.memos.clear()
            found.append(decision(await play(house, body)))
        assert (house.memos.messages.misses > 61 * len(REQUESTS)) == drop
        await house.close()
        return found

    kept, dropped = asyncio.run(decisions(drop=False)), asyncio.run(decisions(drop=True))
    assert kept == dropped
    assert [(d["outcome"], d["reason"]) for d in kept[: len(REQUESTS)]] == [
        ("ok", ""),
        ("ok", ""),
        ("ok", ""),
        ("denied", "loop_detected"),
        ("denied", "model_not_allowed"),
        ("denied", "tool_not_allowed"),
    ]
    assert kept[2]["loop"].startswith("warn")

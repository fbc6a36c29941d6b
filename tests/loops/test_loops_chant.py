"""A model that says one piece for ever, and everything that looks like it and is none."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path
from typing import Any

import pytest

from proxy.engine.exchange import Exchange, Runtime
from proxy.engine.ports import SystemClock
from proxy.loops.chant import ODD, PLAIN, STEP, Chant, chants, period_of, run_of, stuck
from proxy.loops.stage import LoopStage
from proxy.model import Deny, Grant, LoopLimits, Reason
from proxy.wire.base import Memos
from proxy.wire.call import Event
from proxy.wire.openai_chat import ChatCodec

SAID = "I need to look at the file again. "
ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    "text",
    [
        SAID * 400,
        "Sure, here is my answer.\n\n" + SAID * 400,
        "no, no, " * 2000,
        "very " * 2800,
        "\u00c4pfel und B\u00e4ume, " * 800,
        "Let me think.\nLet me look.\n" * 500,
        "```python\nx = 1\n```\nNow then. " + SAID * 400,
        "```\n" + SAID * (ODD // len(SAID) + 20),
        "- the same item\n" * (ODD // 16 + 90),
        "=" * (ODD + STEP),
    ],
)
def test_a_chant(text: str) -> None:
    assert chants(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        SAID * 40,
        SAID * 300,
        SAID * 80 + "And now for something else, at length. " + "x",
        "```\n" + SAID * 300,
        "- the same item\n" * 300,
        "| a cell | b cell |\n" * 300,
        "1. step one\n" * 300,
        "> quoted words here\n" * 300,
        "0,0,0,0\n" * 1000,
        "some,words,in,csv\n" * 400,
        "<td>one cell</td>\n" * 400,
        "=" * 12_000,
        base64.b64encode(bytes(11_000)).decode(),
        base64.b64encode(b"the same words " * 700).decode(),
        ("/\\" * 40 + "\n" + "\\/" * 40 + "\n") * 60,
        "\n".join(f"{i}. The item number {i} is like the others." for i in range(2000)),
        " ".join(f"This is verse {i}, and the next verse is {i + 1}." for i in range(2000)),
        ("A chorus of some length that comes again after each verse, as songs have it. " * 6 + "\n") * 4,
    ],
)
def test_no_chant(text: str) -> None:
    assert not chants(text)


def test_no_text_of_this_repository_is_a_chant() -> None:
    texts = [
        path.read_text() for folder in ("proxy", "docs") for path in (ROOT / folder).rglob("*.*") if path.suffix in (".py", ".md", ".json")
    ]
    assert len(texts) > 200
    assert not [text[:80] for text in texts if chants(text)]


def test_it_is_heard_however_the_words_are_cut_and_soon() -> None:
    for size in (1, 3, 7, 100, 511, 513, 5000):
        chant, said = Chant(), SAID * 600
        heard = next(i for i in range(0, len(said), size) if chant.hears(said[i : i + size]))
        assert PLAIN - size <= heard <= PLAIN + 2 * STEP + size


def test_periods_and_runs() -> None:
    assert (period_of("short"), period_of("a" * 64), period_of("ab" * 40)) == (0, 0, 2)
    assert run_of("xyz" + "ab" * 40, 2) == 80
    assert run_of("ab" * 40, 2) == 80
    assert run_of("b" + "ab" * 40, 2) == 81


# --- the stage ---------------------------------------------------------------------------------------------------------------------


def exchange(limits: LoopLimits, **more: Any) -> Exchange:
    missing: Any = None
    ex = Exchange(Runtime("", missing, missing, ()), SystemClock(), missing, "openai")
    ex.agent, ex.codec, ex.grant = "a", ChatCodec(), Grant("a", "", "", "", "", (), (), loops=limits)
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], **more}
    ex.call = ex.codec.decode(json.dumps(body).encode(), Memos())
    return ex


def watched(ex: Exchange, kind: Any = "text", times: int = 1000) -> list[Deny]:
    tap = LoopStage().tap(ex)
    assert tap is not None
    return [deny for _ in range(times) if (deny := tap(Event(b"", kind, SAID))) is not None]


def test_a_stream_is_cut_once() -> None:
    ex = exchange(LoopLimits())
    (deny,) = watched(ex)
    assert (deny.reason, deny.rule, deny.shadow) == (Reason.LOOP_DETECTED, "loops.chant (default)", False)
    assert deny.message == "the reply repeats one piece of 34 characters 368 times."
    assert ex.loop.header() == "block;rule=chant;count=368"
    assert [f.rule for f in ex.findings] == ["loops/chant"]


def test_a_dry_run_and_an_agent_that_is_only_warned() -> None:
    ex = exchange(LoopLimits(shadow=True))
    assert [deny.shadow for deny in watched(ex)] == [True]
    assert ex.loop.level == "warn"
    ex = exchange(LoopLimits(act="warn"))
    assert watched(ex) == []
    assert [f.rule for f in ex.findings] == ["loops/chant"]


def test_arguments_of_tools_and_json_are_not_looked_at() -> None:
    ex = exchange(LoopLimits())
    assert watched(ex, "tool") == []
    assert LoopStage().tap(exchange(LoopLimits(), response_format={"type": "json_object"})) is None
    ex.call.operation = "embeddings"
    assert LoopStage().tap(ex) is None


@pytest.mark.parametrize(("text", "found"), [(SAID * 400, ["loops/chant"]), ("fine", [])])
def test_a_whole_reply_leaves_a_finding(text: str, found: list[str]) -> None:
    for more in ({}, {"response_format": {"type": "json_object"}}):
        ex = exchange(LoopLimits(), **more)
        ex.meter = ex.codec.meter(ex.call)
        ex.meter.buffered(json.dumps({"choices": [{"message": {"role": "assistant", "content": text}}]}).encode())
        assert asyncio.run(LoopStage().reply(ex)) is None
        assert [f.rule for f in ex.findings] == (found if not more else [])


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Here it is. " + "the same words again " * 40, True),
        ("Here it is. " + "the same words again " * 40 + "\n", True),
        ("the same words again " * 10, False),
        ("fine, thank you", False),
        ("| a | b |\n" * 100, False),
        ("A long answer of many words, none of which comes again in this order. " * 3, False),
    ],
)
def test_an_answer_that_ends_in_one_piece_is_stuck(text: str, found: bool) -> None:
    assert stuck(text) is found

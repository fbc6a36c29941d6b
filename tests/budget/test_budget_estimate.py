"""Token counts: exact where the vocabulary is public, bounded in time and from above elsewhere."""

from __future__ import annotations

import asyncio
import hashlib
import importlib.resources
import threading
from pathlib import Path
from typing import Any

import pytest
import tiktoken
import tiktoken.registry
from budget_exchange import chat
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.budget import estimate, vocabulary
from proxy.budget.estimate import (
    FAMILIES,
    IN_FLIGHT_TOKENS,
    bound,
    bound_now,
    count,
    count_floor,
    count_output,
    family_of,
    measure,
    tokenizer_for,
)
from proxy.budget.vocabulary import PIECE, VocabularyError, tokens
from proxy.wire import jsonio, registry
from proxy.wire.base import Memos, Meter
from proxy.wire.call import Call, Event, Media, Message, ToolCall, ToolResult, Tools, ToolSpec

TEXTS = [
    "",
    "Hello, world!",
    "don't WE'LL  \n\n\t x = 12345.678",
    "<|endoftext|> is text",
    "漢字かな交じり文 😀👩‍👩‍👧 é́ \u0000",
    "def f(x):\n    return [i ** 2 for i in range(x)]\r\n",
]


def call_of(*texts: str, tools: str = "", extra: tuple[str, ...] = (), given: int = 0) -> Call:
    messages = tuple(Message(b"", "user", (text,)) for text in texts)
    specs = (ToolSpec("a"),) if tools else ()
    return Call("chat", "m", b"", messages=messages, tools=Tools(specs, tools), extra=extra, tokens_given=given)


@pytest.mark.parametrize("name", ["o200k_base", "cl100k_base"])
def test_counts_are_those_of_the_published_encoding(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = importlib.resources.files("proxy.budget") / "vocab" / f"{name}.tiktoken"
    url = f"https://openaipublic.blob.core.windows.net/encodings/{name}.tiktoken"
    (tmp_path / hashlib.sha1(url.encode()).hexdigest()).write_bytes(file.read_bytes())
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(tiktoken.registry, "ENCODINGS", {})
    published = tiktoken.get_encoding(name)
    for text in TEXTS:
        assert tokens(text, name) == len(published.encode_ordinary(text))
    long = "The quick brown fox jumps over the lazy dog and thinks of it. " * 2000
    assert tokens(long, name) == len(published.encode_ordinary(long)), "cuts at spaces keep long prose exact"


@settings(max_examples=30, deadline=None)
@given(st.text(min_size=1, max_size=40), st.integers(1, 3))
def test_cutting_long_text_never_undercounts(piece: str, times: int) -> None:
    text = piece * (PIECE * times // len(piece) + 1)
    whole = len(vocabulary.vocabulary("o200k_base").encode_ordinary(text))
    assert whole <= tokens(text, "o200k_base") <= whole + 3 * (len(text) // (PIECE - 512) + 1)


@pytest.mark.parametrize("run", ["a", " ", "\n", "漢", "-", "ab", "1"])
def test_a_megabyte_of_one_character_is_encoded_in_pieces(run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real, longest = vocabulary.vocabulary("o200k_base"), 0

    class Watching:
        def encode_ordinary(self, text: str) -> list[int]:
            nonlocal longest
            longest = max(longest, len(text))
            return real.encode_ordinary(text)

    monkeypatch.setitem(vocabulary._loaded, "o200k_base", Watching())
    assert tokens(run * (2**18 // len(run)), "o200k_base") > 0
    assert longest <= PIECE


def test_a_missing_or_changed_vocabulary_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vocabulary, "_loaded", {})
    monkeypatch.setattr(vocabulary, "_used", set())
    monkeypatch.setitem(vocabulary._KNOWN, "o200k_base", (vocabulary._O200K, "0" * 64))
    with pytest.raises(VocabularyError, match="not the published one"):
        tokens("x", "o200k_base")
    monkeypatch.setitem(vocabulary._KNOWN, "gone", ("", ""))
    with pytest.raises(VocabularyError, match="missing"):
        tokens("x", "gone")


@pytest.mark.parametrize(
    ("model", "family"),
    [
        ("gpt-4o", "o200k_base"),
        ("gpt-4o-mini-2024-07-18", "gpt-4o-mini"),
        ("openai/gpt-5.4", "o200k_base"),
        ("o3-mini", "o200k_base"),
        ("gpt-4", "cl100k_base"),
        ("gpt-4-0613", "cl100k_base"),
        ("gpt-3.5-turbo", "cl100k_base"),
        ("text-embedding-3-small", "cl100k_base"),
        ("anthropic/claude-sonnet-4-6", "claude"),
        ("us.anthropic.claude-opus-4-8-v1:0", "claude"),
        ("gemini-2.5-pro", "gemini"),
        ("qwen3:8b", "other"),
        ("gpt-oss-120b", "other"),
        ("strong-model", "other"),
        ("claude", "claude"),
    ],
)
def test_families(model: str, family: str) -> None:
    assert family_of(model) == family
    assert tokenizer_for(model) == (FAMILIES[family].vocabulary, FAMILIES[family].ratio)


def test_known_counts_are_not_counted_again(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    real = tokens

    def watching(text: str, name: str) -> int:
        calls.append(text)
        return real(text, name)

    monkeypatch.setattr(estimate, "tokens", watching)
    call = call_of("one", "two", tools='{"a": 1}')
    first = count(call, "o200k_base")
    assert sorted(calls) == ["one", "two", '{"a": 1}']
    assert count(call, "gpt-4o") == first
    assert len(calls) == 3
    call.messages[0].counts.clear()
    assert count(call, "o200k_base") == first, "dropping the cache changes cost, never the count"
    assert len(calls) == 4


def test_everything_that_the_model_reads_counts() -> None:
    plain = bound(call_of("hello"), "o200k_base")
    assert bound(call_of("hello", given=1000), "o200k_base") == plain + 1000
    assert bound(call_of("hello", tools='{"name": "a"}'), "o200k_base") > plain + 50
    assert bound(call_of("hello", extra=("a schema",)), "o200k_base") > plain
    assert bound(call_of("hello", "again"), "o200k_base") > plain + 4
    system = Call("chat", "m", b"", system=(Message(b"", "system", ("be brief",)),), messages=call_of("hello").messages)
    assert bound(system, "o200k_base") > plain
    assert bound(call_of("hello"), "claude") > bound(call_of("hello"), "o200k_base")
    for media in (Media("image_url", 30), Media("file", 60), Media("input_audio", 500_000)):
        with_media = Call("chat", "m", b"", messages=(Message(b"", "user", ("hello",), media=(media,)),))
        assert bound(with_media, "o200k_base") >= plain + 1500
    search = Call("chat", "m", b"", messages=call_of("hello").messages, tools=Tools((ToolSpec("s", "web_search_20250305"),), "{}"))
    typed = Call("chat", "m", b"", messages=call_of("hello").messages, tools=Tools((ToolSpec("b", "bash_20250124"),), "{}"))
    assert bound(search, "claude") > bound(typed, "claude") > bound(call_of("hello", tools="{}"), "claude")


@given(st.lists(st.text(max_size=200), min_size=1, max_size=5), st.sampled_from(sorted(FAMILIES)))
@settings(deadline=None, max_examples=40)
def test_the_bound_is_never_below_the_count(texts: list[str], family: str) -> None:
    call = call_of(*texts)
    assert bound(call, family) > count(call, family) >= 0


def body_of(**more: Any) -> Call:
    codec = registry.find("POST", "/v1/chat/completions", {})
    assert codec is not None
    return codec.decode(jsonio.dumps(chat(**more)), Memos())


def test_openai_messages_are_counted_as_openai_says() -> None:
    """Source: the worked example of the OpenAI cookbook "How to count tokens with tiktoken" (gpt-4o: 124 tokens)."""
    line = {"role": "system", "name": "example_user", "content": "New synergies will help drive top-line growth."}
    call = body_of(messages=[line, {"role": "user", "content": "hi"}])
    texts = [*line.values(), "user", "hi"]
    exact = 3 * 2 + sum(tokens(text, "o200k_base") for text in texts) + 1 + 3
    assert exact <= bound(call, "o200k_base") <= exact + 12


def test_long_new_text_is_counted_in_a_thread_and_short_on_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[str] = []
    real = tokens

    def watching(text: str, name: str) -> int:
        threads.append(threading.current_thread().name)
        return real(text, name)

    monkeypatch.setattr(estimate, "tokens", watching)
    vocabulary.vocabulary("o200k_base")
    vocabulary.vocabulary("cl100k_base")
    here = threading.current_thread().name
    short, long = call_of("x" * 100), call_of("word " * 10_000)

    async def both() -> None:
        assert await measure(short, ["gpt-4o"]) == {"gpt-4o": bound(short, "gpt-4o")}
        assert set(threads) == {here}
        threads.clear()
        found = await measure(long, ["gpt-4o", "gpt-4", "claude"])
        assert found == {name: bound(long, name) for name in ("gpt-4o", "gpt-4", "claude")}
        assert here not in threads[:2]
        threads.clear()
        await measure(long, ["gpt-4o"])
        assert threads.count(here) == len(threads), "known by now: nothing long to count"

    asyncio.run(both())


def test_much_new_text_before_a_known_message_is_not_counted_on_the_loop() -> None:
    vocabulary.vocabulary("o200k_base")
    known = call_of("hi").messages[0]
    assert bound_now(Call("chat", "m", b"", messages=(known,)), "gpt-4o") is not None
    big = call_of("word " * 10_000).messages[0]
    call = Call("chat", "m", b"", messages=(big, known))
    assert bound_now(call, "gpt-4o") is None
    assert bound_now(Call("chat", "m", b"", messages=(known,), extra=("word " * 10_000,)), "gpt-4o") is None
    whole = asyncio.run(measure(call, ["gpt-4o"]))["gpt-4o"]
    assert whole == bound(call, "gpt-4o") == bound_now(call, "gpt-4o")
    assert whole > 10_000


def test_tools_system_prompts_and_media_wait_their_turn_too() -> None:
    image = Message(b"", "system", ("word " * 10_000,), media=(Media("image", 3000),))
    call = Call("chat", "m", b"", system=(image,), messages=call_of("hi").messages, tools=Tools((ToolSpec("a"),), '{"name": "a"}'))
    found = asyncio.run(measure(call, ["claude"]))["claude"]
    assert found == bound(call, "claude") > 10_000 * 1.35 + FAMILIES["claude"].image
    with_call = Message(b"", "assistant", (), (ToolCall("1", "read_file", "{}", b""),), (ToolResult("1", b""),))
    more = Call("chat", "m", b"", system=(image,), messages=(*call.messages, with_call), tools=call.tools)
    assert bound(more, "claude") > found + 16


def test_a_vocabulary_is_loaded_off_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vocabulary, "_loaded", {})
    monkeypatch.setattr(vocabulary, "_used", set())
    loaders: list[str] = []
    real = vocabulary._load

    def load(name: str) -> tiktoken.Encoding:
        loaders.append(threading.current_thread().name)
        return real(name)

    monkeypatch.setattr(vocabulary, "_load", load)
    asyncio.run(measure(call_of("hi"), ["gpt-4o"]))
    assert len(loaders) == 1
    assert loaders[0] != threading.current_thread().name


class Seen(Meter):
    def __init__(self, pieces: int, *texts: str) -> None:
        super().__init__()
        self.pieces, self.texts = pieces, list(texts)

    def buffered(self, body: bytes) -> None:
        raise AssertionError

    def event(self, raw: bytes) -> Event:
        raise AssertionError


def test_what_passed_of_a_reply_bounds_its_output() -> None:
    text = "several words of an answer"
    exact = tokens(text, "o200k_base")
    assert count_output(Seen(1, text[:9], text[9:]), "gpt-4o", 0) == exact + IN_FLIGHT_TOKENS
    assert count_output(Seen(500, text), "gpt-4o", 0) == 500 + IN_FLIGHT_TOKENS, "a piece is a token at least"
    assert count_output(Seen(500, text), "gpt-4o", 80) == 80, "never above what was held"
    assert count_output(Seen(0), "gpt-4o", 0) == IN_FLIGHT_TOKENS
    assert count_output(Seen(1, text), "claude", 0) > exact + IN_FLIGHT_TOKENS


def test_a_floor_is_the_plain_count_and_never_above_it() -> None:
    text = "several words of an answer"
    exact = tokens(text, "o200k_base")
    assert count_floor(Seen(99, text[:9], text[9:]), "gpt-4o") == exact, "of the text, not of its pieces"
    assert count_floor(Seen(99, text), "claude") == exact, "no ratio"
    assert count_floor(Seen(99), "gpt-4o") == 0


@settings(max_examples=20, deadline=None)
@given(st.text(min_size=1, max_size=40), st.integers(0, 3))
def test_a_floor_of_long_text_is_one(piece: str, times: int) -> None:
    text = piece * (PIECE * times // len(piece) + 1)
    whole = len(vocabulary.vocabulary("o200k_base").encode_ordinary(text))
    assert count_floor(Seen(1, text), "gpt-4o") <= whole


def test_text_beyond_the_ceiling_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    real, counted = vocabulary.vocabulary("o200k_base"), 0

    class Watching:
        def encode_ordinary(self, text: str) -> list[int]:
            nonlocal counted
            counted += len(text)
            return real.encode_ordinary(text)

    monkeypatch.setitem(vocabulary._loaded, "o200k_base", Watching())
    assert count_output(Seen(1, "word " * 1_000_000), "gpt-4o", 1000) == 1000
    assert counted <= PIECE


@pytest.mark.parametrize("text", [" " * 40_000, "=" * 40_000, "a" * 40_000, "\n" * 40_000])
def test_runs_that_are_long_tokens_of_ours_are_bounded_in_other_vocabularies(text: str) -> None:
    call = call_of(text, tools=text, extra=(text,))
    assert min(bound(call, name) for name in ("claude", "gemini", "other")) >= 3 * len(text) // 4
    assert bound(call, "gpt-4o") < 3 * len(text) // 7, "where the vocabulary is the provider's own nothing is added"

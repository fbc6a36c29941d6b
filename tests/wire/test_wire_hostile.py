"""What an agent with a valid key might send to get past a rule, or to hold everybody else up; and what a lying provider might."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.wire import jsonio
from proxy.wire.anthropic import MessagesCodec
from proxy.wire.anthropic_reply import MessagesMeter
from proxy.wire.base import Memos
from proxy.wire.call import SHOWN, Call, ToolSpec, WireError
from proxy.wire.frame import SMALL
from proxy.wire.keys import MAX_KEYS, REMEMBERED, REMEMBERED_CHARS, ROGUE, Keys
from proxy.wire.memo import OVERHEAD
from proxy.wire.openai_chat import ChatCodec
from proxy.wire.openai_other import EmbeddingsCodec
from proxy.wire.openai_reply import MAX_CALLS, MAX_CHOICES, MAX_MODEL, ChatMeter
from proxy.wire.prefix import Prefixes

OPENAI, ANTHROPIC = ChatCodec(), MessagesCodec()
FUNCTION = {"type": "function", "function": {"name": "read"}}


def ask(**more: Any) -> bytes:
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}], **more}).encode()


def chat(**more: Any) -> Call:
    return OPENAI.decode(ask(**more), Memos())


def claude(**more: Any) -> Call:
    return ANTHROPIC.decode(ask(**more), Memos())


@pytest.mark.parametrize("name", [" m", "m ", "m\n", "m\0", "a\u200bb", "\uff4d", "\u2028m", "e\u0301"])
def test_a_model_name_that_a_server_might_tidy_up_is_refused(name: str) -> None:
    for codec, body in ((OPENAI, ask(model=name)), (EmbeddingsCodec(), json.dumps({"model": name, "input": "x"}).encode())):
        with pytest.raises(WireError, match="/model"):
            codec.decode(body, Memos())


def test_model_names_of_all_scripts_and_signs_pass() -> None:
    for name in ("gpt-4o", "hf.co/a/b:Q4_K_M", "\u901a\u4e49", "my model"):
        assert chat(model=name).model == name


@pytest.mark.parametrize("member", sorted(ROGUE))
def test_members_that_name_other_models_are_refused(member: str) -> None:
    for decode in (chat, claude):
        with pytest.raises(WireError, match=f"/{member}: names other models"):
            decode(**{member: ["dear"]})
        with pytest.raises(WireError, match="in other letters"):
            decode(**{member.upper(): ["dear"]})
        assert decode(**{member: None}).model == decode(**{member: []}).model == "m"


@pytest.mark.parametrize(
    ("member", "value", "tool"),
    [
        ("web_search_options", {}, "web_search"),
        ("search_parameters", {"mode": "on"}, "web_search"),
        ("enable_search", True, "web_search"),
        ("plugins", [{"id": "web"}], "plugins"),
        ("mcp_servers", [{"type": "url", "url": "https://x", "name": "y"}], "mcp_toolset"),
    ],
)
def test_members_that_give_the_model_a_tool_count_as_that_tool(member: str, value: Any, tool: str) -> None:
    assert chat(**{member: value}).tools.specs == claude(**{member: value}).tools.specs == (ToolSpec(tool, tool),)
    assert [spec.name for spec in chat(tools=[FUNCTION], **{member: value}).tools.specs] == ["read", tool]
    off: Any
    for off in (None, False, []):
        assert chat(**{member: off}).tools.specs == ()


@pytest.mark.parametrize(
    ("tool", "names"),
    [
        ({"type": "browser_search", "name": "read"}, ["browser_search", "read"]),
        ({"type": "browser_search"}, ["browser_search"]),
        ({"type": "builtin", "function": {"name": "rm"}}, ["builtin", "rm"]),
        ({"type": "mcp", "mcp": {"name": "x"}}, ["mcp", "x"]),
        ({**FUNCTION, "name": "rm"}, ["read", "rm"]),
        ({**FUNCTION, "custom": {"name": "rm"}, "name": "read"}, ["read", "rm"]),
        ({"type": "custom", "custom": {"name": "sh"}, "function": {"name": "rm"}}, ["sh", "rm"]),
    ],
)
def test_every_name_that_a_server_could_read_counts(tool: dict[str, Any], names: list[str]) -> None:
    assert [spec.name for spec in chat(tools=[tool]).tools.specs] == names


@pytest.mark.parametrize(
    ("tool", "names"),
    [
        ({"type": "bash_20250124", "name": "bash"}, ["bash"]),
        ({"type": "bash_20250124", "name": "read"}, ["bash", "read"]),
        ({"type": "bash_20250124"}, ["bash"]),
        ({"type": "text_editor_20250728", "name": "str_replace_based_edit_tool"}, ["str_replace_based_edit_tool"]),
        ({"type": "web_search_20250305", "name": "web_search_20250305"}, ["web_search_20250305"]),
        ({"name": "read", "function": {"name": "rm"}}, ["rm", "read"]),
        ({"type": "bash_20250124", "name": "bash", "custom": {"name": "x"}}, ["bash", "x"]),
    ],
)
def test_a_tool_of_the_providers_own_cannot_lie_about_its_name(tool: dict[str, Any], names: list[str]) -> None:
    assert sorted(spec.name for spec in claude(tools=[tool]).tools.specs) == sorted(names)


def test_the_model_that_a_tool_asks_is_seen() -> None:
    tool = {"type": "advisor_20260301", "name": "advisor", "model": "dear"}
    assert claude(tools=[tool]).tools.specs == (ToolSpec("advisor", "advisor_20260301", "dear"),)
    inner = {"type": "image_generation", "image_generation": {"model": "dear"}}
    assert chat(tools=[inner]).tools.specs == (ToolSpec("image_generation", "image_generation", "dear"),)
    assert chat(tools=[{"type": "x", "model": 5}]).tools.specs[0].model == ""
    with pytest.raises(WireError, match="in other letters"):
        claude(tools=[{**tool, "Model": "dearer"}])


def test_what_may_cost_more_is_seen() -> None:
    assert chat(service_tier="priority", modalities=["text", "audio"]).dearer == ("service_tier", "modalities")
    assert claude(speed="fast", inference_geo="us").dearer == ("speed", "inference_geo")
    assert chat(service_tier="auto", modalities=None).dearer == claude(speed="standard").dearer == ()


@pytest.mark.parametrize("role", [[], {}, 5, None, True])
def test_a_role_of_any_type_is_the_providers_to_judge(role: Any) -> None:
    for decode in (chat, claude):
        assert decode(messages=[{"role": role, "content": "x"}]).messages[0].role == ""


def test_errors_show_little_of_what_a_caller_wrote() -> None:
    with pytest.raises(WireError) as caught:
        OPENAI.decode(b'{"%b":1}' % b"Model\xc2\x85".ljust(90_000, b"x") + b" ", Memos())
    assert len(str(caught.value)) < 2 * SHOWN
    assert len(WireError("p", "/" + "x" * 9000, "m").pointer) == SHOWN
    assert WireError("p", "/a\x1b[2J\n", "m").pointer == "/a?[2J?"


@pytest.mark.parametrize(
    "content",
    [
        b"[%b]" % b",".join([b"{}"] * 90_000),
        b"[%b]" % b",".join([b'""'] * 81_000),
        b"[%b]" % b",".join([b'"\\\\"'] * 161_000),
        b"[%b1]" % (b"1," * 140_000),
    ],
)
def test_a_body_cut_too_fine_to_be_read_in_time_is_refused(content: bytes) -> None:
    body = b'{"model":"m","messages":[{"role":"user","content":%b}]}' % content
    for codec in (OPENAI, ANTHROPIC):
        with pytest.raises(WireError, match="more than"):
            codec.decode(body, Memos())


def test_large_texts_of_any_kind_are_not_fine() -> None:
    for text in ('{"a": [1, 2, {}]},\n' * 40_000, "\\" * 90_000, '"' * 200_000, "{}[],:" * 60_000):
        body = ask(messages=[{"role": "user", "content": text}])
        assert len(body) > SMALL
        assert OPENAI.decode(body, Memos()).messages[0].texts == (text,)
    assert EmbeddingsCodec().decode(b'{"model":"m","input":[%b1]}' % (b"1," * 300_000), Memos()).tokens_given == 300_001
    spaced = json.dumps(json.loads(ask(messages=[{"role": "user", "content": "x"}] * 3000)), indent=40).encode()
    assert len(OPENAI.decode(spaced, Memos()).messages) == 3000


def test_too_many_members_are_refused_and_shapes_stay_bounded() -> None:
    keys = Keys({"model"})
    with pytest.raises(WireError, match="more than 1000 members"):
        keys.shape([str(n) for n in range(MAX_KEYS + 1)], "p")
    for n in range(3 * REMEMBERED):
        assert keys.shape(["model", f"k{n}"], "p").unknown == (f"k{n}",)
        assert len(keys._shapes) <= REMEMBERED
    before = len(keys._shapes)
    keys.shape(["x" * (REMEMBERED_CHARS + 1)], "p")
    assert len(keys._shapes) == before


def test_kept_bodies_of_many_short_messages_are_weighed_with_their_messages() -> None:
    memos = Memos(2 << 20)
    for n in range(40):
        many = [{"role": "user", "content": f"{n} {i}"} for i in range(600)]
        OPENAI.decode(ask(messages=many), memos)
    kept = [body for bucket in memos.prefixes._kept.values() for body in bucket]
    assert sum(len(body.messages) for body in kept) * OVERHEAD <= 2 << 20
    assert isinstance(memos.prefixes, Prefixes)


def test_a_provider_cannot_fill_memory_with_numbers() -> None:
    meter = ChatMeter()
    for n in range(3 * MAX_CALLS):
        delta = {"tool_calls": [{"index": n, "id": f"c{n}", "function": {"name": "f", "arguments": "{}"}}]}
        meter.event(b"data: %b\n\n" % json.dumps({"model": "m" * 5000, "choices": [{"index": n, "delta": delta}]}).encode())
    assert len(meter._answers) == MAX_CHOICES
    assert max(len(answer.calls) for answer in meter._answers.values()) <= MAX_CALLS
    assert len(meter.model) == MAX_MODEL
    other = MessagesMeter()
    for n in range(3 * MAX_CALLS):
        block = {"type": "content_block_start", "index": n, "content_block": {"type": "tool_use", "id": "x", "name": "f"}}
        other.event(b"data: %b\n\n" % json.dumps(block).encode())
    assert len(other._blocks) == MAX_CALLS


def test_bounds_are_exact() -> None:
    jsonio.bounded(b'"' * jsonio.MAX_QUOTES, "p", structure=False)
    with pytest.raises(WireError):
        jsonio.bounded(b'"' * (jsonio.MAX_QUOTES + 1), "p", structure=False)
    jsonio.bounded(b"," * jsonio.MAX_ITEMS + b'"[[[[,\\\\\\",,"' + b" " * 90, "p", structure=True)
    jsonio.bounded(b"," * (jsonio.MAX_ITEMS + 1), "p", structure=False)
    with pytest.raises(WireError):
        jsonio.bounded(b"," * (jsonio.MAX_ITEMS + 1), "p", structure=True)

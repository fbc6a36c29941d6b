"""How a steer is written into the requests of every protocol: exact bytes, and nothing else moved."""

from __future__ import annotations

import difflib
import json
from typing import Any

import pytest

from proxy.wire import gemini_frame, ollama
from proxy.wire.anthropic import MessagesCodec
from proxy.wire.base import Codec, Memos
from proxy.wire.call import Edit, Steer
from proxy.wire.gemini_generate import GenerateCodec
from proxy.wire.openai_chat import ChatCodec
from proxy.wire.openai_completions import CompletionsCodec
from proxy.wire.openai_responses import ResponsesCodec
from proxy.wire.steering import takes_temperature
from proxy.wire.translate.bridge import DIALECTS, Bridge

CHAT, MESSAGES, RESPONSES, COMPLETIONS = ChatCodec(), MessagesCodec(), ResponsesCodec(), CompletionsCodec()
GEMINI, OLLAMA, GENERATE = GenerateCodec("v1beta", "gemini-2.5-pro", frame=gemini_frame.SSE), ollama.ChatCodec(), ollama.GenerateCodec()
NOTE, ALL = Steer("stop it"), Steer("stop it", "You debug.", 0.2, True)


def steered(codec: Codec, body: str, steer: Steer, edit: Edit | None = None) -> str:
    call = codec.decode(body.encode(), Memos())
    assert codec.rewrite(call, edit or Edit()) is call.body or edit is not None
    edit = edit or Edit()
    edit.steer = steer
    out = codec.rewrite(call, edit).decode()
    json.loads(out)
    return out


def added(before: str, after: str) -> tuple[str, str]:
    """What was taken out and what was put in, the rest being the same bytes in their order."""
    blocks = difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes()
    gone = "".join(before[i:j] for op, i, j, _, _ in blocks if op in ("delete", "replace"))
    return gone, "".join(after[i:j] for op, _, _, i, j in blocks if op in ("insert", "replace"))


NOTES = [
    (
        CHAT,
        '{"model":"m", "messages": [ {"role":"user","content":"hi"} , {"role":"tool","tool_call_id":"c","content":"x"} ] , "z":1}',
        ',{"role":"user","content":"stop it"}',
    ),
    (CHAT, '{"model":"m","messages":[{"role":"user","content":"hi"}]}', "\\n\\nstop it"),
    (CHAT, '{"model":"m","messages":[{"role":"user","content":""}]}', "stop it"),
    (CHAT, '{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"a"} ]}]}', ',{"type":"text","text":"stop it"}'),
    (CHAT, '{"model":"m","messages":[{"role":"user","content":[ ]}]}', '{"type":"text","text":"stop it"}'),
    (CHAT, '{"model":"m","messages":[{"role":"user","content":null}]}', ',{"role":"user","content":"stop it"}'),
    (CHAT, '{"model":"m","messages":[{"role":"system","content":"s"}]}', ',{"role":"user","content":"stop it"}'),
    (CHAT, '{"model":"m","messages":[{"role":"assistant","content":"go on"}]}', ""),
    (
        MESSAGES,
        '{"model":"m","messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"t","content":"x",'
        '"cache_control":{"type":"ephemeral"}}]} ]}',
        ',{"type":"text","text":"stop it"}',
    ),
    (MESSAGES, '{"model":"m","messages":[{"role":"user","content":"hi"}]}', "\\n\\nstop it"),
    (MESSAGES, '{"model":"m","messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"{"}]}', ""),
    (
        RESPONSES,
        '{"model":"m","input":[{"type":"function_call_output","call_id":"c","output":"x"}]}',
        ',{"type":"message","role":"user","content":[{"type":"input_text","text":"stop it"}]}',
    ),
    (RESPONSES, '{"model":"m","input":"hi"}', "\\n\\nstop it"),
    (
        RESPONSES,
        '{"model":"m","previous_response_id":"r","input":[ ]}',
        '{"type":"message","role":"user","content":[{"type":"input_text","text":"stop it"}]}',
    ),
    (
        RESPONSES,
        '{"model":"m","previous_response_id":"r"}',
        '"input":[{"type":"message","role":"user","content":[{"type":"input_text","text":"stop it"}]}],',
    ),
    (COMPLETIONS, '{"model":"m","prompt":"a"}', "\\n\\nstop it\\n\\n"),
    (COMPLETIONS, '{"model":"m","prompt":"a","echo":true}', ""),
    (COMPLETIONS, '{"model":"m","prompt":"a","suffix":"b"}', ""),
    (COMPLETIONS, '{"model":"m","prompt":["a","b"]}', ""),
    (
        GEMINI,
        '{"contents":[{"role":"user","parts":[{"functionResponse":{"name":"f","response":{}}}]}]}',
        ',{"role":"user","parts":[{"text":"stop it"}]}',
    ),
    (GEMINI, '{"contents":[{"role":"user","parts":[{"text":"a"} ] }]}', ',{"text":"stop it"}'),
    (GEMINI, '{"contents":[{"role":"user","parts":{"text":"a"}}]}', ',{"role":"user","parts":[{"text":"stop it"}]}'),
    (GEMINI, '{"contents":[{"role":"user","parts":[{"text":"a"}]},{"role":"model","parts":[{"text":"b"}]}]}', ""),
    (OLLAMA, '{"model":"m","messages":[{"role":"tool","content":"x"}]}', ',{"role":"user","content":"stop it"}'),
    (OLLAMA, '{"model":"m","messages":[{"role":"user","content":"x"}]}', "\\n\\nstop it"),
    (GENERATE, '{"model":"m","prompt":"x"}', "\\n\\nstop it"),
    (GENERATE, '{"model":"m","prompt":"x","raw":true}', ""),
]


@pytest.mark.parametrize(("codec", "body", "new"), NOTES)
def test_the_note_is_put_in_at_the_end_and_nothing_else_moves(codec: Codec, body: str, new: str) -> None:
    assert added(body, steered(codec, body, NOTE)) == ("", new)


def test_a_single_content_of_gemini_becomes_a_list() -> None:
    body = '{"contents":{"role":"user","parts":[{"text":"a"}]}}'
    assert steered(GEMINI, body, NOTE) == '{"contents":[{"role":"user","parts":[{"text":"a"},{"text":"stop it"}]}]}'


TOOLS = '"tools":[{"type":"function","function":{"name":"f"}}]'
WHOLE = [
    (
        CHAT,
        '{"model":"gpt-4o","messages":[ {"role":"developer","content":"a"}, {"role":"system","content":"b"},{"role":"user","content":"c"}],'
        + TOOLS
        + "}",
        '{"temperature":0.2,"tool_choice":"none","model":"gpt-4o","messages":[ {"role":"developer","content":"You debug."},'
        '{"role":"user","content":"c\\n\\nstop it"}],' + TOOLS + "}",
    ),
    (
        CHAT,
        '{"model":"gpt-5","messages":[{"role":"user","content":"c"}],"functions":[{"name":"f"}],"tools":[]}',
        '{"function_call":"none","model":"gpt-5","messages":[{"role":"system","content":"You debug."},'
        '{"role":"user","content":"c\\n\\nstop it"}],"functions":[{"name":"f"}],"tools":[]}',
    ),
    (
        CHAT,
        '{"model":"gpt-4o","messages":[{"role":"system","content":"a"}]}',
        '{"temperature":0.2,"model":"gpt-4o","messages":[{"role":"system","content":"You debug."},{"role":"user","content":"stop it"}]}',
    ),
    (
        MESSAGES,
        '{"model":"claude-sonnet-4-5","system":[{"type":"text","text":"s"}],"messages":[{"role":"user","content":"c"}],"tools":[{"name":"f"}],'
        '"tool_choice":{"type":"any"},"temperature":1}',
        '{"model":"claude-sonnet-4-5","system":"You debug.","messages":[{"role":"user","content":"c\\n\\nstop it"}],"tools":[{"name":"f"}],'
        '"tool_choice":{"type":"none"},"temperature":0.2}',
    ),
    (
        MESSAGES,
        '{"model":"claude-sonnet-4-5","thinking":{"type":"enabled"},"messages":[{"role":"user","content":"c"}],"tools":[ ]}',
        '{"system":"You debug.","model":"claude-sonnet-4-5","thinking":{"type":"enabled"},'
        '"messages":[{"role":"user","content":"c\\n\\nstop it"}],"tools":[ ]}',
    ),
    (
        RESPONSES,
        '{"model":"gpt-4.1","input":"a","tools":[{"type":"function","name":"f"}]}',
        '{"instructions":"You debug.","temperature":0.2,"tool_choice":"none","model":"gpt-4.1","input":"a\\n\\nstop it",'
        '"tools":[{"type":"function","name":"f"}]}',
    ),
    (
        RESPONSES,
        '{"model":"gpt-5","instructions":"x","input":[ {"role":"developer","content":"a"}, {"role":"user","content":"b"}]}',
        '{"model":"gpt-5","instructions":null,"input":[ {"role":"developer","content":"You debug."}, {"role":"user","content":"b"},'
        '{"type":"message","role":"user","content":[{"type":"input_text","text":"stop it"}]}]}',
    ),
    (
        RESPONSES,
        '{"model":"gpt-5","input":[{"type":"message","role":"system","content":"a"}]}',
        '{"model":"gpt-5","input":[{"role":"system","content":"You debug."},'
        '{"type":"message","role":"user","content":[{"type":"input_text","text":"stop it"}]}]}',
    ),
    (COMPLETIONS, '{"model":"m","prompt":"a"}', '{"temperature":0.2,"model":"m","prompt":"a\\n\\nstop it\\n\\n"}'),
    (
        GEMINI,
        '{"contents":[{"parts":[{"text":"a"}]}],"generation_config":{"topP":1},"tools":[{"functionDeclarations":[{"name":"f"}]}],'
        '"tool_config":{"function_calling_config":{"mode":"ANY","allowed_function_names":["f"]}}}',
        '{"systemInstruction":{"parts":[{"text":"You debug."}]},"contents":[{"parts":[{"text":"a"},{"text":"stop it"}]}],'
        '"generation_config":{"temperature":0.2,"topP":1},"tools":[{"functionDeclarations":[{"name":"f"}]}],'
        '"tool_config":{"function_calling_config":{"mode":"NONE"}}}',
    ),
    (
        GEMINI,
        '{"contents":[{"parts":[{"text":"a"}]}],"cachedContent":"cachedContents/x","tools":[{"functionDeclarations":[{"name":"f"}]}]}',
        '{"generationConfig":{"temperature":0.2},"contents":[{"parts":[{"text":"a"},{"text":"stop it"}]}],'
        '"cachedContent":"cachedContents/x","tools":[{"functionDeclarations":[{"name":"f"}]}]}',
    ),
    (
        GEMINI,
        '{"contents":[{"parts":[{"text":"a"}]}],"tools":[{"functionDeclarations":[{"name":"f"}]}],"generationConfig":null}',
        '{"systemInstruction":{"parts":[{"text":"You debug."}]},"toolConfig":{"functionCallingConfig":{"mode":"NONE"}},'
        '"contents":[{"parts":[{"text":"a"},{"text":"stop it"}]}],"tools":[{"functionDeclarations":[{"name":"f"}]}],'
        '"generationConfig":{"temperature":0.2}}',
    ),
    (
        OLLAMA,
        '{"model":"m","messages":[{"role":"system","content":"a"},{"role":"user","content":"b"}],' + TOOLS + ',"options":{"seed":1}}',
        '{"model":"m","messages":[{"role":"system","content":"You debug."},{"role":"user","content":"b\\n\\nstop it"}],"tools":[],'
        '"options":{"temperature":0.2,"seed":1}}',
    ),
    (
        GENERATE,
        '{"model":"m","prompt":"x"}',
        '{"system":"You debug.","options":{"temperature":0.2},"model":"m","prompt":"x\\n\\nstop it"}',
    ),
]


@pytest.mark.parametrize(("codec", "body", "out"), WHOLE)
def test_all_of_a_steer(codec: Codec, body: str, out: str) -> None:
    assert steered(codec, body, ALL) == out


def test_a_steer_and_the_other_changes_go_together() -> None:
    body = '{"model":"m","messages":[{"role":"user","content":"x"}],"options":{"num_predict":9}}'
    out = json.loads(steered(OLLAMA, body, ALL, Edit(model="n", max_output=5)))
    assert (out["model"], out["options"]) == ("n", {"num_predict": 5, "temperature": 0.2})
    body = '{"contents":[{"parts":[{"text":"a"}]}]}'
    assert json.loads(steered(GEMINI, body, ALL, Edit(max_output=5)))["generationConfig"] == {"maxOutputTokens": 5, "temperature": 0.2}


@pytest.mark.parametrize(
    ("model", "takes"),
    [
        ("gpt-4o", True),
        ("gpt-4.1-mini", True),
        ("gpt-5", False),
        ("openai/gpt-5.1-codex", False),
        ("gpt-10", False),
        ("o1", False),
        ("o3-mini", False),
        ("o4-mini-2025-04-16", False),
        ("ollama3", True),
        ("qwen3:8b", True),
        ("claude-3-5-haiku-latest", True),
        ("claude-sonnet-4-5-20250929", True),
        ("claude-opus-4-20250514", True),
        ("claude-opus-4-1", True),
        ("claude-opus-4-7", False),
        ("claude-opus-4-7-20260416", False),
        ("claude-sonnet-5", False),
        ("anthropic.claude-opus-4-6", True),
    ],
)
def test_which_models_take_a_temperature(model: str, takes: bool) -> None:
    assert takes_temperature(model) is takes


def test_a_model_that_the_client_gives_a_temperature_takes_one_and_another_may_not() -> None:
    body = '{"model":"o9","temperature":1,"messages":[{"role":"user","content":"x"}]}'
    assert json.loads(steered(CHAT, body, ALL))["temperature"] == 0.2
    assert json.loads(steered(CHAT, body, ALL, Edit(model="gpt-5")))["temperature"] == 1


HOSTILE: list[tuple[Codec, str, Any]] = [
    (CHAT, "messages", {"role": "user", "content": {"role": "assistant"}}),
    (CHAT, "messages", {"role": "us\u00e9r", "content": ["]", "}"]}),
    (CHAT, "messages", {"content": '"]}\\'}),
    (CHAT, "messages", {"role": "user", "content": '\\"]'}),
    (MESSAGES, "messages", {"role": "user", "content": 7}),
    (MESSAGES, "messages", {"role": "user"}),
    (GEMINI, "contents", {"role": "user"}),
    (GEMINI, "contents", {"role": "narrator", "parts": []}),
    (OLLAMA, "messages", {"role": "user", "content": [1]}),
]


@pytest.mark.parametrize(("codec", "key", "item"), HOSTILE)
@pytest.mark.parametrize("space", [None, 1])
def test_odd_conversations_stay_json_and_get_the_note_once(codec: Codec, key: str, item: Any, space: int | None) -> None:
    body = json.dumps({"model": "m" if key == "messages" else "gemini-2.5-pro", key: [item]}, indent=space)
    out = steered(codec, body, Steer('a "quoted"\n\u2028 note'))
    assert json.dumps(json.loads(out), ensure_ascii=False).count("note") == 1
    assert out.isascii()


def test_a_long_conversation_that_was_seen_before_is_steered_like_a_new_one() -> None:
    memos, messages = Memos(), [{"role": "system", "content": "s" * 5000}, *[{"role": "user", "content": f"{i}"} for i in range(50)]]
    for more in (0, 1):
        body = json.dumps({"model": "m", "messages": messages[: 50 + more]}).encode()
        call = CHAT.decode(body, memos)
    out = json.loads(CHAT.rewrite(call, Edit(steer=ALL)))["messages"]
    assert out[0] == {"role": "system", "content": "You debug."}
    assert out[1:-1] == messages[1:50]
    assert out[-1] == {"role": "user", "content": "49\n\nstop it"}


@pytest.mark.parametrize("wire", sorted(DIALECTS))
def test_a_steer_is_carried_into_other_dialects(wire: str) -> None:
    messages = [
        {"role": "system", "content": "You sort."},
        {"role": "user", "content": "hi"},
        {"role": "assistant", "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "c", "content": "out"},
    ]
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    call = CHAT.decode(json.dumps({"model": "gpt-4o", "messages": messages, "tools": tools}).encode(), Memos())
    body = json.loads(Bridge(CHAT, wire, call, Edit(steer=ALL)).body)
    text = json.dumps(body)
    assert "You sort." not in text
    assert text.count("You debug.") == text.count("stop it") == 1
    assert text.index('"out"') < text.index("stop it")
    choices = (body.get("tool_choice"), body.get("toolConfig"))
    none = ("none", {"type": "none"}, {"functionCallingConfig": {"mode": "NONE"}})
    assert "tools" not in body if wire == "ollama.chat" else any(choice in none for choice in choices)
    assert '"temperature": 0.2' in text


def test_what_a_steer_leaves_alone_in_another_dialect() -> None:
    call = CHAT.decode(b'{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}]}', Memos())
    body = json.loads(Bridge(CHAT, "anthropic.messages", call, Edit(model="claude-opus-4-7", steer=ALL)).body)
    assert "temperature" not in body
    assert "tool_choice" not in body


def test_models_that_must_answer_a_tool_first_read_the_note_in_its_result() -> None:
    tool = '{"role":"tool","tool_call_id":"c","content":"x"}'
    body = '{"model":"mistralai/Devstral-Small","messages":[{"role":"user","content":"hi"},' + tool + "]}"
    assert added(body, steered(CHAT, body, NOTE)) == ("", "\\n\\nstop it")
    own = body.replace("mistralai/Devstral-Small", "m")
    assert steered(CHAT, own, NOTE, Edit(model="mistral-small-latest")).count('"role"') == 2
    assert steered(CHAT, own, NOTE).count('"role"') == 3
    call = CHAT.decode(own.encode(), Memos())
    for model, notes in (("mistral-small-latest", 0), ("gpt-4o", 1)):
        assert Bridge(CHAT, "anthropic.messages", call, Edit(model=model, steer=NOTE)).body.count(b"stop it") == notes


@pytest.mark.parametrize(
    ("codec", "body", "new"),
    [
        (CHAT, '{"model":"m","messages":[{"role":"user","content":"x"}],' + TOOLS + "}", '"tool_choice":"none",'),
        (MESSAGES, '{"model":"m","messages":[{"role":"user","content":"x"}],"tools":[{"name":"f"}]}', '"tool_choice":{"type":"none"},'),
        (RESPONSES, '{"model":"m","input":"x","tools":[{"type":"function","name":"f"}]}', '"tool_choice":"none",'),
        (
            GEMINI,
            '{"contents":[{"parts":[{"text":"a"}]}],"tools":[{"functionDeclarations":[{"name":"f"}]}]}',
            '"toolConfig":{"functionCallingConfig":{"mode":"NONE"}},',
        ),
        (GEMINI, '{"contents":[{"parts":[{"text":"a"}]}],"tools":[{"googleSearch":{}},{"functionDeclarations":[]}]}', ""),
        (COMPLETIONS, '{"model":"m","prompt":"x"}', ""),
        (GENERATE, '{"model":"m","prompt":"x"}', ""),
    ],
)
def test_no_tools_alone(codec: Codec, body: str, new: str) -> None:
    assert added(body, steered(codec, body, Steer(no_tools=True))) == ("", new)
    assert steered(codec, body, Steer()) == body


def test_no_tools_alone_in_ollama_and_in_another_dialect() -> None:
    body = '{"model":"m","messages":[{"role":"user","content":"x"}],' + TOOLS + "}"
    assert steered(OLLAMA, body, Steer(no_tools=True)) == body.replace(TOOLS, '"tools":[]')
    call = CHAT.decode(body.encode(), Memos())
    sent = json.loads(Bridge(CHAT, "anthropic.messages", call, Edit(steer=Steer(no_tools=True))).body)
    assert (sent["tool_choice"], sent["messages"]) == ({"type": "none"}, [{"role": "user", "content": "x"}])

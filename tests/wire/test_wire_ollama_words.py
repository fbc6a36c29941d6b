"""Whatever is sent to Ollama's chat and generate: every word is read, and a body is read or refused and nothing else."""

from __future__ import annotations

import contextlib
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from proxy.wire.base import Memos
from proxy.wire.call import Edit, WireError
from proxy.wire.ollama import ChatCodec, GenerateCodec

chat, generate = ChatCodec(), GenerateCodec()

WORDS = st.sampled_from(["alpha", "beta", "gamma", "delta", "omega"])
VALUES = st.recursive(
    WORDS | st.none() | st.booleans() | st.integers(0, 9),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["text", "content", "x", "function", "name"]), inner, max_size=3)
    ),
    max_leaves=6,
)
CALLS = st.lists(
    VALUES | st.fixed_dictionaries({"function": st.fixed_dictionaries({"name": VALUES, "arguments": VALUES, "x": VALUES})}), max_size=2
)
MESSAGE = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "tool", "system"]) | VALUES},
    optional={
        "content": VALUES,
        "thinking": VALUES,
        "images": st.lists(st.dictionaries(WORDS, WORDS) | st.integers(), max_size=2) | st.dictionaries(WORDS, VALUES) | WORDS,
        "tool_calls": CALLS | VALUES,
        "tool_name": VALUES,
        "name": VALUES,
        "tools": VALUES,
        "x": VALUES,
    },
)


def leaves(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [leaf for item in value.values() for leaf in leaves(item)]
    if isinstance(value, list):
        return [leaf for item in value for leaf in leaves(item)]
    return [value] if isinstance(value, str) else []


@given(MESSAGE)
def test_every_word_of_a_message_is_in_its_texts(message: dict[str, Any]) -> None:
    role = message["role"]
    said = "\n".join(chat.decode(json.dumps({"model": "m", "messages": [message]}).encode(), Memos()).messages[0].texts)
    known = [role] if isinstance(role, str) and role in ("user", "assistant", "tool", "system") else []
    for word in leaves(message):
        assert word in said or word in known


MEMBERS = st.dictionaries(
    st.sampled_from(
        ["model", "messages", "prompt", "system", "images", "options", "tools", "stream", "format", "context", "suffix", "name"]
    ),
    VALUES | st.just("m") | st.lists(MESSAGE, max_size=2),
)


@given(MEMBERS)
def test_a_body_is_read_or_refused_and_nothing_else(members: dict[str, Any]) -> None:
    for codec in (chat, generate):
        with contextlib.suppress(WireError):
            call = codec.decode(json.dumps(members).encode(), Memos())
            assert call.model == members["model"]
            assert codec.rewrite(call, Edit()) is call.body
            json.loads(codec.rewrite(call, Edit(model="n", max_output=7)))


@given(MEMBERS.map(lambda members: members | {"model": "m"}))
def test_every_word_of_a_prompt_is_read(members: dict[str, Any]) -> None:
    members.pop("name", None)
    try:
        call = generate.decode(json.dumps(members).encode(), Memos())
    except WireError:
        return
    said = "\n".join([*(t for m in (*call.messages, *call.system) for t in m.texts), *call.extra, call.tools.text])
    pictures = [image for image in members["images"] if isinstance(image, str)] if isinstance(members.get("images"), list) else []
    for key in ("prompt", "system", "suffix", "context", "format", "images"):
        assert all(word in said or word in pictures for word in leaves(members.get(key)))

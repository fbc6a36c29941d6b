"""What carries one call over: for which dialects there is a bridge, and what it refuses and says whatever the dialects."""

from __future__ import annotations

import pytest
from translating import CHAT, CODECS, MESSAGES, bridge

from proxy.wire.call import Call, Edit
from proxy.wire.openai_reply import ChatMeter
from proxy.wire.translate.bridge import DIALECTS, PREFERRED, TARGETS, Bridge
from proxy.wire.translate.hub import Untranslatable

BODY = b'{"model":"m","messages":[{"role":"user","content":"hi"}]}'


def test_each_dialect_has_the_codec_that_meters_it() -> None:
    assert DIALECTS.keys() == TARGETS.keys() <= set(PREFERRED)
    for name, codec in TARGETS.items():
        assert codec.dialect == name == DIALECTS[name].name


@pytest.mark.parametrize(
    ("wire", "call", "words"),
    [
        ("fax", Call("chat", "m", BODY), "openai.chat cannot be carried into fax"),
        (MESSAGES, Call("chat", "m", BODY, choices=2), "several answers to one request"),
        (MESSAGES, Call("chat", "m", BODY, thread="resp_1"), "a history that the provider keeps"),
        (MESSAGES, Call("chat", "m", b"[" * 9999 + b"]" * 9999), "nested too deep"),
        (MESSAGES, Call("chat", "m", b'{"temperature":1e999}'), "a number that nobody can"),
        (MESSAGES, Call("chat", "m", b"[]"), "nested too deep"),
    ],
)
def test_what_is_refused_whatever_the_dialects(wire: str, call: Call, words: str) -> None:
    with pytest.raises(Untranslatable, match=words):
        Bridge(CODECS[CHAT], wire, call, Edit())


def test_what_the_target_is_told_beside_the_body() -> None:
    assert bridge(CHAT, MESSAGES, {}).headers == (("content-type", "application/json"), ("anthropic-version", "2023-06-01"))
    assert bridge(MESSAGES, CHAT, {}).headers == (("content-type", "application/json"),)
    assert isinstance(bridge(MESSAGES, CHAT, {}).meter(), ChatMeter)

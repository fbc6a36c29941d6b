"""What a stencil cuts out of an event, and what fits none: words, counters, padding, and whatever a provider writes."""

from __future__ import annotations

import pytest

from proxy.wire.stencil import MAX_EVENT, PROBE, stencil_of

CONTENT = (b'"content":',)


def test_words_are_all_that_may_be_different() -> None:
    made = stencil_of(b'data: {"a":1,"content":"one","z":2}\n\n', "one", CONTENT)
    assert made is not None
    assert made.text(b'data: {"a":1,"content":" two words","z":2}\n\n') == " two words"
    assert made.text('data: {"a":1,"content":"é雪😀","z":2}\n\n'.encode()) == "é雪😀"
    assert made.text(b'data: {"a":1,"content":"t\\u0077o\\n\\"\\\\","z":2}\n\n') == 'two\n"\\'
    assert made.text('data: {"a":1,"content":"\u2028\x7f","z":2}\n\n'.encode()) == "\u2028\x7f"
    for other in (
        b'data: {"a":2,"content":"two","z":2}\n\n',
        b'data: {"a":1,"content":"two","z":3}\n\n',
        b'data: {"a":1,"content":"","z":2}\n\n',
        b'data: {"a":1,"content":"two","content":"three","z":2}\n\n',
        b'data: {"a":1,"content":"t\nwo","z":2}\n\n',
        b'data: {"a":1,"content":"t\x00wo","z":2}\n\n',
        b'data: {"a":1,"content":"\xff","z":2}\n\n',
        b'data: {"a":1,"content":"\xed\xa0\x80","z":2}\n\n',
        b'data: {"a":1,"content":"t\\wo","z":2}\n\n',
        b'data: {"a":1,"content":"\\","z":2}\n\n',
        b'data: {"a":1,"content":"\\ud800","z":2}\n\n',
        b'data: {"a":1,"content":"o","z":2}\n\ndata: {"a":1,"content":"o","z":2}\n\n',
        b'data: {"a":1,"content":"',
        b"",
    ):
        assert made.text(other) is None, other


def test_counters_and_padding_may_change_too() -> None:
    raw = b'data: {"n":7,"content":"one","t":"2026-01-01T00:00:00.5Z","m": 12}\n\n'
    made = stencil_of(raw, "one", CONTENT, (b'"n":', b'"m":'), (b'"t":',))
    assert made is not None
    assert made.text(b'data: {"n":1234,"content":"two","t":"","m": 0}\n\n') == "two"
    assert made.text(b'data: {"n":1,"content":"\\"two\\n\\"\\\\","t":"x","m": 0}\n\n') == '"two\n"\\'
    for other in (
        b'data: {"n":1,"content":"two\\"',
        b'data: {"n":1,"content":"two\\","t":"x","m": 0}\n\n',
        b'data: {"n":07,"content":"two","t":"a","m": 1}\n\n',
        b'data: {"n":,"content":"two","t":"a","m": 1}\n\n',
        b'data: {"n":1e5,"content":"two","t":"a","m": 1}\n\n',
        b'data: {"n":1234567890123,"content":"two","t":"a","m": 1}\n\n',
        b'data: {"n":1,"content":"two","t":"a\\n","m": 1}\n\n',
        b'data: {"n":1,"content":"two","t":"\xc3\xa9","m": 1}\n\n',
        b'data: {"n":1,"content":"two","t":"a","m": 1 }\n\n',
        b'data: {"n":1,"contents":"two","t":"a","m": 1}\n\n',
        b'data: {"n":1,"content":"two","t":"a","m": 1}\n\n\n',
        b'data: {"n":1}\n\n',
    ):
        assert made.text(other) is None, other
    assert made.probe() == b'data: {"n":0,"content":"%b","t":"x","m": 0}\n\n' % PROBE.encode()


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b'{"content":"one","content":"one"}', "one"),
        (b'{"content" : "one"}', "one"),
        (b'{"content":  "one"}', "one"),
        (b'{"content":"o\\u006ee"}', "o\\u006ee"),
        (b'{"content":"one"}', "two"),
        (b'{"content":["one"]}', "one"),
        (b'{"text":"one"}', "one"),
        (b'{"content":""}', ""),
        (b'{"content":"one', "one"),
        (b'{"content":"%b"}' % (b"a" * MAX_EVENT), "a" * MAX_EVENT),
    ],
)
def test_what_has_no_stencil(raw: bytes, text: str) -> None:
    assert stencil_of(raw, text, CONTENT) is None


def test_a_number_that_is_no_count_is_no_hole() -> None:
    for raw in (b'{"n":-1,"content":"one"}\n', b'{"n":null,"content":"one"}\n', b'{"n":1,"n":2,"content":"one"}\n'):
        made = stencil_of(raw, "one", CONTENT, (b'"n":',))
        assert made is not None
        assert made.text(raw.replace(b"one", b"two")) == "two"
        assert made.text(raw.replace(b"1", b"7").replace(b"null", b"7")) is None


@pytest.mark.timeout(20)
def test_words_full_of_quotes_take_no_longer_than_their_length() -> None:
    made = stencil_of(b'data: {"n":7,"content":"one"}\n\n', "one", CONTENT, (b'"n":',))
    assert made is not None
    count = 1_000_000
    assert made.text(b'data: {"n":8,"content":"%b"}\n\n' % (b'\\"' * count)) == '"' * count
    assert made.text(b'data: {"n":8,"content":"%b' % (b'\\"' * count)) is None
    assert made.text(b'data: {"n":8,"content":"%b"}\n\n' % (b"\\" * 2 * count)) == "\\" * count

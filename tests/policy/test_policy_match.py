"""What a match holds for, however it is written; and that doubt goes against whoever cannot be read."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rule_cases import call_holds, effect, rule, text_holds, tool_call

from proxy.policy.facts import CallFacts, clean_host, clean_path, read


@pytest.mark.parametrize(
    ("match", "text", "expected"),
    [
        ("{contains: Foo}", "a fOO b", True),
        ("{contains: foo}", "f\u200boo", True),
        ("{contains: foo}", "\uff46\uff4f\uff4f", True),
        ("{contains: foo}", "fo o", False),
        ("{contains: [a1, b2]}", "xb2", True),
        ("{regex: 'b+c'}", "abbc", True),
        ("{regex: '(?i)B+C'}", "abbc", True),
        ("{regex: 'b+c'}", "b\ud800c", False),
        ("{regex: [x, y]}", "y", True),
        ("{glob: 'a*c'}", "aXXc", True),
        ("{glob: 'a*c'}", "aXXcd", False),
        ("{contains: a, regex: b}", "a", False),
        ("{contains: a, regex: b}", "ab", True),
        ("{any: [{contains: a}, {contains: b}]}", "b", True),
        ("{all: [{contains: a}, {contains: b}]}", "b", False),
        ("{none: [{contains: a}, {contains: b}]}", "c", True),
        ("{none: [{contains: a}, {contains: b}]}", "b", False),
        ("{contains: a, none: [{contains: b}]}", "ab", False),
        ("{contains: a, none: [{contains: b}]}", "ac", True),
    ],
)
def test_texts(match: str, text: str, expected: bool) -> None:
    assert text_holds(match, text) is expected


@pytest.mark.parametrize(
    ("match", "arguments", "expected"),
    [
        ("{contains: secret}", {"a": {"b": ["x", "SECRET"]}}, True),
        ("{contains: rm}", '{"c": "\\u0072m"}', True),
        ("{command: 'git push*'}", {"command": "cd x && git   PUSH -f"}, True),
        ("{command: 'git push*'}", {"cmd": ["git", "push", "-f"]}, True),
        ("{command: 'git push*'}", {"command": "git status"}, False),
        ("{command: 'git push*'}", {"note": "git push"}, False),
        ("{command: 'git push*'}", "git push origin", True),
        ("{command: {regex: 'DROP\\s+TABLE'}}", {"query": "drop  table x"}, True),
        ("{command: {contains: [MkFs]}}", {"command": "mkfs.ext4"}, True),
        ("{path: .env}", {"path": "/srv/app/.env"}, True),
        ("{path: .env}", {"file_path": ".env"}, True),
        ("{path: .env}", {"path": "x.env"}, False),
        ("{path: /etc/}", {"path": "/var/../etc/./passwd"}, True),
        ("{path: /etc/}", {"path": "/etc"}, True),
        ("{path: /etc/}", {"path": "/home/etc/x"}, False),
        ("{path: secrets/}", {"path": "a/secrets/b/c"}, True),
        ("{path: agents.md}", {"path": "file:///x/AGENTS.md"}, True),
        ("{path: AGENTS.md}", {"path": "docs\\AGENTS.md"}, True),
        ("{path: AGENTS.md}", {"path": "%41GENTS.md"}, True),
        ("{path: AGENTS.md}", {"input": "*** Begin Patch\n*** Update File: AGENTS.md\n@@\n"}, True),
        ("{path: AGENTS.md}", {"patch": "--- a/AGENTS.md\n+++ b/AGENTS.md\n@@"}, True),
        ("{path: AGENTS.md}", {"content": "AGENTS.md"}, False),
        ("{url: 'https://evil.example/*'}", {"text": "see https://EVIL.example/x now"}, True),
        ("{url: 'https://evil.example/*'}", {"text": "see ://evil.example/x"}, False),
        ("{host: evil.example}", {"u": "https://user:pw@evil.example:8443/x?y#z"}, True),
        ("{host: evil.example}", {"u": "https://evil.example./"}, True),
        ("{host: evil.example}", {"u": "https://good.example/?evil.example"}, False),
        ("{host: '*.evil.example'}", {"host": "a.evil.example"}, True),
        ("{host: 10.0.0.0/8}", {"u": "http://10.1.2.3/"}, True),
        ("{host: 10.0.0.0/8}", {"u": "http://11.1.2.3/"}, False),
        ("{host: 127.0.0.1}", {"u": "http://2130706433/"}, True),
        ("{host: 127.0.0.1}", {"u": "http://0x7f.1/"}, True),
        ("{host: 127.0.0.1}", {"u": "http://[::ffff:127.0.0.1]/"}, True),
        ("{host: 'fc00::/7'}", {"u": "http://[fd00::1]/"}, True),
        ("{host: 10.0.0.0/8}", {"u": "http://[::zz]/ http://999.1.1.1/ http://10.evil/"}, False),
        ("{path: AGENTS.md}", {"a": {"input": '{"path": "AGENTS.md"}'}}, True),
        ("{path: AGENTS.md}", {"path": [1, None, ["AGENTS.md"]]}, True),
        ("{argument: {pointer: /a, equals: 5}}", {"a": {"b": 5}}, False),
        ("{argument: {pointer: /a/b, equals: 5}}", {"a": {"b": "5.0"}}, True),
        ("{argument: {pointer: /a/b, equals: true}}", {"a": {"b": True}}, True),
        ("{argument: {pointer: /a/b, equals: [x, y]}}", {"A": {"B": "Y"}}, True),
        ("{argument: {pointer: /a/1, glob: 'x*'}}", {"a": ["q", "xyz"]}, True),
        ("{argument: {pointer: /a/9, glob: '*'}}", {"a": ["q"]}, False),
        ("{argument: {pointer: /a, regex: 'A.C'}}", {"a": "xabcx"}, True),
        ("{argument: {pointer: /a, contains: 'rm -rf'}}", {"a": ["rm", "-rf"]}, True),
        ("{argument: {pointer: /a~1b, equals: 1}}", {"a/b": 1}, True),
        ("{argument: {pointer: /n, above: 10}}", {"n": 11}, True),
        ("{argument: {pointer: /n, above: 10}}", {"n": "1,100.50"}, True),
        ("{argument: {pointer: /n, above: 10}}", {"n": 10}, False),
        ("{argument: {pointer: /n, above: 10}}", {"n": "lots"}, True),
        ("{argument: {pointer: /n, below: 10}}", {"n": 9}, True),
        ("{argument: {pointer: /n, below: 10}}", {"n": 10}, False),
        ("{argument: {pointer: /n, above: 10}}", {"m": 11}, False),
        ("{argument: [{pointer: /n, above: 10}, {pointer: /to, equals: bob}]}", {"n": 11, "to": "amy"}, False),
        ("{argument: {pointer: /n, above: 10}}", json.dumps(json.dumps({"n": 11})), True),
    ],
)
def test_calls(match: str, arguments: Any, expected: bool) -> None:
    assert call_holds(match, arguments) is expected


@pytest.mark.parametrize("arguments", ["no json", '{"n": 1, "n": 2}', "[" * 500 + "]" * 500, '{"n": ' + "1" * (1 << 21) + "}", ""])
def test_what_cannot_be_read_counts_as_doubt_says_and_none_turns_it_round(arguments: str) -> None:
    match = "{argument: {pointer: /n, above: 10}}"
    assert call_holds(match, arguments, doubt=True)
    assert not call_holds(match, arguments, doubt=False)
    assert call_holds(f"{{none: [{match}]}}", arguments, doubt=True)


@pytest.mark.parametrize("match", ["{command: x}", "{path: x}", "{url: x}", "{host: x}"])
def test_arguments_too_long_to_be_read_may_hold_anything(match: str) -> None:
    long = json.dumps({"a": "b" * (1 << 20)})
    assert call_holds(match, long)
    assert not call_holds(match, long, doubt=False)
    assert not call_holds(match, {"a": "b"})


@pytest.mark.parametrize(
    ("match", "effects", "expected"),
    [
        ("{effect: fs.delete}", [effect("fs.delete")], True),
        ("{effect: fs.delete}", [effect("fs.read")], False),
        ("{effect: [fs.read, db.destroy]}", [effect("db.destroy")], True),
        ("{effect: {kind: [fs.read, fs.delete], flags: [a, b]}}", [effect("fs.delete", "a")], False),
        ("{effect: {kind: fs.delete, flags: [a, b]}}", [effect("fs.delete", "a", "b", "c")], True),
        ("{effect: {kind: fs.delete, any_flag: [a, b]}}", [effect("fs.delete", "b")], True),
        ("{effect: {kind: fs.delete, any_flag: [a, b]}}", [effect("fs.delete", "c")], False),
        ("{effect: {kind: fs.delete, without: a}}", [effect("fs.delete", "a")], False),
        ("{effect: {kind: fs.delete, subject: '/srv/'}}", [effect("fs.delete", subject="/SRV/x")], True),
        ("{effect: {kind: fs.delete, subject: '/srv/'}}", [effect("fs.delete", subject="/var/x")], False),
        ("{command: 'git push*'}", [effect("vcs.push", evidence="git  push -f")], True),
        ("{path: /etc/shadow}", [effect("fs.read", subject="/etc/shadow")], True),
        ("{url: 'http://a.b/*'}", [effect("net.fetch", subject="http://a.b/c")], True),
        ("{host: a.b}", [effect("net.send", subject="a.b:80")], True),
    ],
)
def test_effects(match: str, effects: list[Any], expected: bool) -> None:
    assert call_holds(match, {}, *effects) is expected


def test_a_match_knows_the_effects_that_it_needs() -> None:
    def kinds(match: str) -> frozenset[str] | None:
        found = rule(f"match: {match}").match
        assert found is not None
        return found.kinds

    assert kinds("{effect: [fs.read, {kind: [db.destroy]}]}") == frozenset({"fs.read", "db.destroy"})
    assert kinds("{effect: fs.read, path: x}") == frozenset({"fs.read"})
    assert kinds("{any: [{effect: fs.read}, {path: x}]}") is None
    assert kinds("{any: [{effect: fs.read}, {effect: fs.write, path: x}]}") == frozenset({"fs.read", "fs.write"})
    assert kinds("{none: [{effect: fs.read}]}") is None


@pytest.mark.parametrize(
    ("match", "text", "expected"),
    [
        ("{contains: ab}", "xabyab", [(1, 3), (4, 6)]),
        ("{contains: [ab, bc]}", "abc", [(0, 3)]),
        ("{regex: 'b+'}", "abba", [(1, 3)]),
        ("{regex: 'é+'}", "xéé", [(1, 3)]),
        ("{contains: ab}", "a\u200bb", [(0, 3)]),
        ("{contains: ss}", "Straße", [(0, 6)]),
        ("{glob: 'a*'}", "abc", [(0, 3)]),
    ],
)
def test_spans(match: str, text: str, expected: list[tuple[int, int]]) -> None:
    found = rule(f"match: {match}").match
    assert found is not None
    assert found.spans(text) == expected


@given(st.text())
def test_no_path_host_or_argument_makes_the_facts_fail(text: str) -> None:
    clean_path(text)
    clean_host(text)
    read(text)
    facts = CallFacts(tool_call({"path": text, "command": text, "url": f"http://{text}", "host": text, "amount": text}))
    assert facts.commands is not None
    assert facts.paths is not None
    assert facts.hosts is not None
    for key in ("", "path", "a.b", text):
        assert facts.values(key) is not None


@given(st.text(st.characters(min_codepoint=32, max_codepoint=0xFFFD, exclude_categories=("Cs", "Cc")), max_size=200))
def test_a_text_contains_itself(text: str) -> None:
    phrase = f"q{text.strip()}"
    assert text_holds(json.dumps({"contains": phrase}), f"before {phrase} after")

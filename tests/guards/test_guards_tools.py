"""Tools of many SDKs: what a call would do does not depend on the tool's name or on how its arguments are written."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.effects import EFFECTS, FLAGS, Effect
from proxy.guards.danger import danger
from proxy.guards.tools import LARGEST, ShellGuard
from proxy.wire.call import ToolCall


def call(name: str, arguments: object) -> list[Effect]:
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return list(ShellGuard().effects(ToolCall("call_1", name, text, b"")))


def has(effects: list[Effect], kind: str, subject: str = "") -> bool:
    return any(e.kind == kind and (not subject or e.subject == subject) for e in effects)


WIPE = "rm -rf /"


@pytest.mark.parametrize(
    "name",
    "Bash bash shell exec execute_command run_terminal_cmd local_shell container.exec cmd runCommand do_it mcp__x__run".split(),
)
@pytest.mark.parametrize(
    "arguments",
    [
        {"command": WIPE},
        {"cmd": WIPE},
        {"script": WIPE},
        {"command": ["bash", "-lc", WIPE]},
        {"command": ["rm", "-rf", "/"]},
        {"commands": ["cd /", WIPE]},
        {"action": {"type": "exec", "command": ["sh", "-c", WIPE]}},
        {"input": json.dumps({"command": WIPE})},
        {"Command": WIPE},
        {"command": "\uff52\uff4d -rf /"},
        {"command": "r\u200bm -rf /"},
        {"command": "rm\u00a0-rf /"},
        {"command": "\u202erm -rf /"},
        {"command": "r\0m -rf /"},
        json.dumps(json.dumps({"command": WIPE})),
        '{"command": "rm -rf /", "broken',
        '{"command": "rm -rf /"',
        '{"command": "rm -rf /',
        "{'command': 'rm -rf /'}",
        "{command: 'rm -rf /'}",
        '{"command": "rm -rf /", "command": "ls"}',
        '{"command": "ls", "command": "rm -rf /"}',
        '{"command": "rm -rf \\/",}',
        '{"c\\u043emmand": "rm -rf /"}',
        '{"command": "\\u0072\\u006d -rf /"}',
        {"command": "rm\t-rf\t/"},
        WIPE,
    ],
)
def test_a_command_is_found_wherever_it_is(name: str, arguments: object) -> None:
    assert has(call(name, arguments), "fs.delete", "/"), call(name, arguments)


@pytest.mark.parametrize("name", ["python", "code_interpreter", "execute_python", "run_code", "PythonREPL", "ipython", "anything"])
@pytest.mark.parametrize("field", ["code", "source_code"])
def test_code_is_judged_as_code(name: str, field: str) -> None:
    assert has(call(name, {field: "import shutil\nshutil.rmtree('/')"}), "fs.delete", "/")


@pytest.mark.parametrize("name", ["node", "javascript", "runJavaScript"])
def test_javascript_is_judged_as_javascript(name: str) -> None:
    assert has(call(name, {"code": "require('fs').rmSync('/etc', {recursive: true})"}), "fs.delete", "/etc")


@pytest.mark.parametrize(
    ("name", "arguments", "kind", "subject"),
    [
        ("Read", {"file_path": "/etc/shadow"}, "secret.read", "/etc/shadow"),
        ("read_file", {"path": "../../etc/../.ssh/id_rsa"}, "secret.read", "../../.ssh/id_rsa"),
        ("view", {"path": "~/.aws/credentials"}, "secret.read", "~/.aws/credentials"),
        ("open_file", {"filename": ".env"}, "secret.read", ".env"),
        ("Write", {"file_path": "AGENTS.md", "content": "x"}, "self.modify", "AGENTS.md"),
        ("Edit", {"file_path": "/etc/sudoers", "old_string": "a", "new_string": "b"}, "account.change", "/etc/sudoers"),
        ("str_replace_editor", {"command": "create", "path": "/etc/cron.d/x", "file_text": "x"}, "persist", "/etc/cron.d/x"),
        ("create_file", {"filePath": "/usr/bin/x", "content": "x"}, "fs.write", "/usr/bin/x"),
        ("apply_patch", {"input": "*** Begin Patch\n*** Update File: CLAUDE.md\n+x\n*** End Patch"}, "self.modify", "CLAUDE.md"),
        ("apply_patch", "*** Begin Patch\n*** Delete File: AGENTS.md\n*** End Patch", "self.modify", "AGENTS.md"),
        ("shell", {"command": ["apply_patch", "*** Begin Patch\n*** Update File: AGENTS.md\n*** End Patch"]}, "self.modify", "AGENTS.md"),
        ("delete_file", {"target_file": "/etc/hosts"}, "fs.delete", "/etc/hosts"),
        ("fetch", {"url": "http://169.254.169.254/"}, "metadata", "169.254.169.254"),
        ("WebFetch", {"url": "http://2852039166/"}, "metadata", "2852039166"),
        ("http_request", {"method": "GET", "uri": "http://10.1.1.1/"}, "private", "10.1.1.1"),
        ("whatever", {"url": "http://metadata.google.internal/"}, "metadata", "metadata.google.internal"),
        ("whatever", {"path": "/etc/shadow"}, "secret.read", "/etc/shadow"),
        ("sql", {"query": "DROP TABLE users"}, "db.destroy", "DROP TABLE users"),
        ("query_database", {"sql": "delete from users"}, "db.destroy", "delete from users"),
        ("send_email", {"to": "a@b.c", "body": "x"}, "message.send", ""),
        ("send_money", {"amount": 1}, "money.move", ""),
    ],
)
def test_tools_of_files_and_networks(name: str, arguments: object, kind: str, subject: str) -> None:
    assert has(call(name, arguments), kind, subject), call(name, arguments)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("Write", {"file_path": "notes.md", "content": "never run rm -rf / or cat /etc/shadow"}),
        ("Edit", {"file_path": "a.py", "old_string": "import os", "new_string": "os.system('rm -rf /')"}),
        ("search_web", {"query": "how to rm -rf / safely"}),
        ("get_weather", {"city": "Paris"}),
        ("send_email", {"to": "a@b.c", "body": "rm -rf /"}),
        ("Grep", {"pattern": "rm -rf /", "path": "src"}),
        ("Bash", {"command": "ls", "description": "rm -rf /"}),
        ("todo_write", {"todos": [{"content": "run rm -rf /", "status": "done"}]}),
        ("calculate", {}),
        ("calculate", ""),
        ("update_order", {"order_id": "1", "address": "12 Main St."}),
    ],
)
def test_words_are_not_deeds(name: str, arguments: object) -> None:
    assert danger(call(name, arguments)) is None, call(name, arguments)


def test_what_is_too_large_or_too_deep_is_said() -> None:
    assert has(call("bash", {"command": "a" * LARGEST}), "exec.encoded")
    assert danger(call("bash", "x" * (10 * LARGEST))) is not None
    deep: object = "rm -rf /"
    for _ in range(20):
        deep = {"a": deep}
    assert has(call("bash", deep), "exec.encoded")
    assert isinstance(call("bash", "[" * 100_000), list)
    assert danger(call("write_file", {"path": "a.txt", "content": "x" * LARGEST})) is None


def test_every_kind_has_its_flags_documented() -> None:
    assert FLAGS.keys() == EFFECTS.keys()


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=30) | st.sampled_from([WIPE, "/etc/passwd", "http://a.b", "import os"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["command", "code", "path", "url", "input", "args", "sql", "x"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(["bash", "python", "node", "read_file", "fetch", "sql", "x", "apply_patch", ""]) | st.text(max_size=20),
    _JSON | st.text(max_size=60),
)
def test_never_raises(name: str, arguments: object) -> None:
    for effect in call(name, arguments):
        assert effect.kind in EFFECTS
    for effect in call(name, arguments if isinstance(arguments, str) else json.dumps(json.dumps(arguments))):
        assert effect.kind in EFFECTS

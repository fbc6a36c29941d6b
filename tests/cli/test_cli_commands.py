"""Which module a command loads."""

from __future__ import annotations

import argparse
import subprocess
import sys

import pytest

from proxy.cli import COMMANDS, main, parser

WORDS = [word for words in COMMANDS.values() for word in words]


def words(grammar: argparse.ArgumentParser) -> tuple[str, ...]:
    (group,) = [action for action in grammar._actions if isinstance(action, argparse._SubParsersAction)]
    return tuple(group.choices)


@pytest.mark.parametrize(("module", "own"), COMMANDS.items(), ids=COMMANDS)
def test_a_module_adds_the_commands_that_it_is_loaded_for(module: str, own: tuple[str, ...]) -> None:
    for word in own:
        assert words(parser(word)) == own


@pytest.mark.parametrize("word", ["", "--help", "nonsense"])
def test_the_help_has_all_commands(word: str) -> None:
    assert list(words(parser(word))) == WORDS


def test_an_unknown_command_is_told_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["kil", "agent:x"])
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert "'kil'" in error
    assert all(word in error for word in WORDS)


def test_stopping_an_agent_does_not_wait_for_a_server_to_load() -> None:
    code = "import sys; from proxy.cli import parser; parser('kill'); print(*[m for m in sys.modules if m.startswith('proxy.')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    loaded = set(done.stdout.split())
    assert "proxy.cli.control" in loaded
    assert loaded.isdisjoint({"proxy.app.house", "proxy.pipeline", "proxy.server", "proxy.sim", "proxy.cli.running"})

"""Starting: what cannot start says which setting is at fault, and what the first request needs is there before it comes."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from proxy.app import process
from proxy.app.chores import Options
from proxy.app.serve import serve
from proxy.budget import vocabulary

CONFIG = """providers:
  openai: {protocols: [openai], base_url: https://api.openai.com/v1, api_key: env:KEY}
models:
  "gpt-*": {provider: openai}
store: "memory:"
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "AGENTS.md").write_text("---\nname: clerk\ndescription: d\nversion: 1.0.0\n---\n")
    for name in ("policies", "budgets"):
        (tmp_path / name).mkdir()
    return tmp_path / "fleetgate.yaml"


def start(path: Path, listen: str, say: Callable[[str], None] = lambda line: None) -> None:
    path.write_text(f"{CONFIG}listen: {listen}\n")
    asyncio.run(serve(Options(path), {"KEY": "sk-test"}, say))


@pytest.mark.parametrize("plane", ["data", "admin"])
def test_a_port_in_use_names_the_setting(path: Path, plane: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        listen = f"{{port: {port}, admin_port: 0}}" if plane == "data" else f"{{port: 0, admin_port: {port}}}"
        with pytest.raises(ValueError, match=rf"^listen(\.admin)?: cannot listen on 127\.0\.0\.1:{port}: address already in use$"):
            start(path, listen)


def test_a_name_that_is_no_address_is_in_the_message(path: Path) -> None:
    with pytest.raises(ValueError, match=r"^listen: cannot listen on no-such-name\.invalid:0: "):
        start(path, "{host: no-such-name.invalid, port: 0, admin_port: 0}")


def test_what_is_no_certificate_names_the_files(path: Path) -> None:
    for name in ("cert.pem", "key.pem"):
        (path.parent / name).write_text("nonsense")
    with pytest.raises(ValueError, match=r"^listen\.tls: .*cert\.pem and .*key\.pem are no certificate"):
        start(path, "{port: 0, admin_port: 0, tls: {cert: cert.pem, key: key.pem}}")


def test_the_vocabulary_is_there_before_the_first_request(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vocabulary, "_loaded", {})
    monkeypatch.setattr(vocabulary, "_used", set())
    said: list[bool] = []

    def say(line: str) -> None:
        said.append(vocabulary.loaded("o200k_base"))
        os.kill(os.getpid(), signal.SIGTERM)

    start(path, "{port: 0, admin_port: 0}", say)
    assert said
    assert all(said)


def test_a_vocabulary_that_cannot_be_used_keeps_the_server_from_starting(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(name: str) -> None:
        raise vocabulary.VocabularyError(f"the vocabulary {name} is missing from this installation")

    monkeypatch.setattr(process, "load", broken)
    with pytest.raises(ValueError, match="vocabulary o200k_base is missing"):
        start(path, "{port: 0, admin_port: 0}")

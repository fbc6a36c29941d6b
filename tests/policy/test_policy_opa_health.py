"""How an OPA server is: real ones with bundles, signed and tampered with, with plain files, paused; and odd ones that answer nonsense."""

from __future__ import annotations

import asyncio
import functools
import http.server
import json
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from rego_cases import REQUEST, load

sys.path.insert(0, str(Path(__file__).parents[1]))

from opa_server import Opa as Server
from opa_server import needs_opa, opa_bin

from proxy.policy.opa import Health, OpaServer

DENY = 'deny contains "no" if input.stream\n'


def on(url: str, work: Callable[[OpaServer], Awaitable[Any]]) -> Any:
    """What `work` returns on the server at `url`."""

    async def main() -> Any:
        server = OpaServer(url, 5000)
        try:
            return await work(server)
        finally:
            await server.close()

    return asyncio.run(main())


def look(url: str) -> Health:
    found: Health = on(url, lambda server: server.look())
    return found


async def ask(server: OpaServer) -> list[str]:
    told: list[str] = []
    assert await server.ask("request", {"stream": True}, told.append) == {"deny": ["no"]}
    return told


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder, and the URL that serves what is in it."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def pair(folder: Path) -> tuple[Path, str]:
    """A private key in a file, and its public one as PEM."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    folder.joinpath("key.pem").write_bytes(key.private_bytes(pem, pkcs8, serialization.NoEncryption()))
    return folder / "key.pem", key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo).decode()


def bundle(policies: Path, to: Path, key: Path, revision: str) -> None:
    command = [opa_bin(), "build", "--bundle", str(policies), "--signing-key", str(key), "--revision", revision, "--output", f"{to}.new"]
    subprocess.run(command, check=True, timeout=60)
    Path(f"{to}.new").rename(to)


def tamper(file: Path, folder: Path) -> None:
    """Change a module in the bundle, and leave its signature as it is."""
    with tarfile.open(file) as tar:
        tar.extractall(folder, members=[m.replace(name=m.name.lstrip("/")) for m in tar], filter="data")
    module = next(folder.rglob("*.rego"))
    module.write_text(module.read_text().replace('"no"', '"nothing"'))
    with tarfile.open(f"{file}.new", "w:gz") as tar:
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            tar.add(path, f"/{path.relative_to(folder)}")
    Path(f"{file}.new").rename(file)


@needs_opa
def test_a_signed_bundle_decides_and_one_that_was_tampered_with_is_never_activated(tmp_path: Path, shelf: tuple[Path, str]) -> None:
    folder, url = shelf
    load(tmp_path, REQUEST + DENY)
    key, public = pair(tmp_path)
    bundle(tmp_path / "policies", folder / "b.tar.gz", key, "r1")
    config = {
        "services": {"shelf": {"url": url}},
        "bundles": {
            "fleet": {
                "service": "shelf",
                "resource": "b.tar.gz",
                "signing": {"keyid": "k"},
                "polling": {"min_delay_seconds": 1, "max_delay_seconds": 1},
            }
        },
        "keys": {"k": {"algorithm": "RS256", "key": public}},
        "status": {"console": True},
        "decision_logs": {"console": True},
    }
    tmp_path.joinpath("opa.json").write_text(json.dumps(config))
    with Server(folder, f"--config-file={tmp_path / 'opa.json'}") as opa:

        async def work(server: OpaServer) -> None:
            deadline = time.monotonic() + 30
            while not (await server.look()).revision:
                assert time.monotonic() < deadline, opa.log()[-1000:]
            assert server.health == Health(True, "fleet@r1", "")
            (told,) = await ask(server)
            assert told.startswith("OPA decided on the request by fleet@r1, its decision ")
            tamper(folder / "b.tar.gz", tmp_path / "unpacked")
            while not (await server.look()).refused:
                assert time.monotonic() < deadline
            assert server.health.up
            assert server.health.revision == "fleet@r1"
            assert "digest mismatch" in server.health.refused
            assert (await ask(server))[0].startswith("OPA decided on the request by fleet@r1")
            bundle(tmp_path / "policies", folder / "b.tar.gz", key, "r2")
            while (await server.look()).revision != "fleet@r2":
                assert time.monotonic() < deadline
            assert server.health.refused == ""

        on(opa.url, work)


@needs_opa
def test_a_server_that_never_had_a_bundle_it_may_use_is_not_up(tmp_path: Path, shelf: tuple[Path, str]) -> None:
    folder, url = shelf
    load(tmp_path, REQUEST + DENY)
    key, _ = pair(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    bundle(tmp_path / "policies", folder / "b.tar.gz", key, "r1")
    config = {
        "services": {"shelf": {"url": url}},
        "bundles": {"fleet": {"service": "shelf", "resource": "b.tar.gz", "signing": {"keyid": "k"}}},
        "keys": {"k": {"algorithm": "RS256", "key": pair(other)[1]}},
    }
    tmp_path.joinpath("opa.json").write_text(json.dumps(config))
    with Server(folder, f"--config-file={tmp_path / 'opa.json'}") as opa:
        assert look(opa.url).up is False
        assert on(opa.url, lambda server: server.ask("request", {"stream": True})) is None, "it knows no package, which refuses"


@needs_opa
def test_a_bundle_on_the_command_line_is_verified_at_the_start(tmp_path: Path) -> None:
    load(tmp_path, REQUEST + DENY)
    key, public = pair(tmp_path)
    tmp_path.joinpath("public.pem").write_text(public)
    bundle(tmp_path / "policies", tmp_path / "b.tar.gz", key, "r1")
    options = ("--bundle", str(tmp_path / "b.tar.gz"), "--verification-key", str(tmp_path / "public.pem"))
    with Server(tmp_path, *options) as opa:
        found = look(opa.url)
        assert (found.up, found.revision.rpartition("@")[2]) == (True, "r1")
    tamper(tmp_path / "b.tar.gz", tmp_path / "unpacked")
    with pytest.raises(AssertionError, match="digest mismatch"), Server(tmp_path, *options):
        pass


@needs_opa
def test_without_bundles_the_revision_is_a_digest_of_the_modules_and_a_pause_is_seen(tmp_path: Path) -> None:
    load(tmp_path, REQUEST + DENY)
    with Server(tmp_path / "policies", str(tmp_path / "policies")) as opa:

        async def work(server: OpaServer) -> None:
            first = await server.look()
            assert first.up
            assert first.revision.startswith("sha256:")
            assert await ask(server) == [], "OPA logs no decisions and has no bundle, so there is nothing to tell"
            opa.signal(signal.SIGSTOP)
            assert await server.look() == Health(False, first.revision)
            opa.signal(signal.SIGCONT)
            deadline = time.monotonic() + 30
            while not (await server.look()).up:
                assert time.monotonic() < deadline

        on(opa.url, work)
        before = look(opa.url).revision
    load(tmp_path, REQUEST + DENY + 'deny contains "more" if input.bytes\n')
    with Server(tmp_path / "policies", str(tmp_path / "policies")) as opa:
        assert look(opa.url).revision not in (before, "")


@pytest.mark.parametrize(
    "body", ["[]", "no json", '{"result": []}', '{"result": {"bundles": {"a": 1}}}', '{"result": [1]}', '{"result": [{}]}', "null"]
)
def test_nonsense_is_no_revision_and_no_failure(body: str) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(text=body, content_type="application/json")

    async def main() -> Health:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", answer)
        runner = web.AppRunner(app, shutdown_timeout=0.01)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        server = OpaServer(f"http://127.0.0.1:{runner.addresses[0][1]}", 2000)
        try:
            return await server.look()
        finally:
            await server.close()
            await runner.cleanup()

    assert asyncio.run(main()) == Health(True, "", "")


def test_a_server_that_is_not_there_is_down() -> None:
    assert look("http://127.0.0.1:9") == Health(False)

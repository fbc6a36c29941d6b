"""Real TLS, with a certificate that is made on the spot."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from pathlib import Path

import pytest
from upstream_script import CASES, OK, Peer, Upstream, ask, client, outcome, run, whole

every = pytest.mark.parametrize("case", CASES)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not on PATH: apt-get install openssl")
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = folder / "cert.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    subprocess.run([*command, *names, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    return certificate, key


def server(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    return context


@every
def test_a_trusted_upstream(case: str, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))

    async def main() -> None:
        body = bytes(range(256)) * 8000
        big = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
        async with Upstream([OK, big, OK], tls=server(certificate)) as upstream:
            for url in (upstream.url, f"https://localhost:{upstream.port}"):
                upstream._next = iter([OK, big, OK])
                async with client(case, url) as transport:
                    assert await whole(transport) == (200, b"{}")
                    assert await whole(transport, ask(body)) == (200, body)
                    assert await whole(transport) == (200, b"{}")
            assert upstream.connections == 2
            assert upstream.asked[1].body == body

    run(case, main())


@every
def test_a_cut_answer(case: str, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))

    async def main() -> None:
        data = [b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhel", b"", b"HTTP/1.1 200 OK\r\n\r\nuntil close"]
        async with Upstream(data, tls=server(certificate), close_after=True) as upstream, client(case, upstream.url) as transport:
            assert await outcome(transport) == "cut"
            assert await outcome(transport) == "cut"
            assert await outcome(transport) == (200, b"until close")

    run(case, main())


@every
def test_an_upstream_that_nobody_vouches_for(case: str, certificate: tuple[Path, Path]) -> None:
    async def main() -> None:
        async with Upstream([OK], tls=server(certificate)) as upstream, client(case, upstream.url) as transport:
            assert await outcome(transport) == "connect"
            assert upstream.asked == []

    run(case, main())


@every
def test_a_certificate_of_someone_else(case: str, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))

    async def main() -> None:
        async with Upstream([OK], tls=server(certificate), host="127.0.0.2") as upstream, client(case, upstream.url) as transport:
            assert await outcome(transport) == "connect"
            assert upstream.asked == []

    run(case, main())


@every
def test_plain_http_where_tls_is_spoken(case: str) -> None:
    async def main() -> None:
        async def play(peer: Peer) -> None:
            await peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        async with Upstream(play=play) as upstream, client(case, f"https://127.0.0.1:{upstream.port}") as transport:
            assert await outcome(transport) == "connect"

    run(case, main())

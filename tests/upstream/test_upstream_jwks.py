"""Fetching a key document from real sockets: what is taken, and how everything else ends."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from proxy.identity.issuer import FetchError
from proxy.identity.keyset import MAX_DOCUMENT
from proxy.upstream.jwks import JwksEndpoint

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def listening(script: Script, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await script(reader, writer)
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    try:
        yield f"http{'s' if tls else ''}://127.0.0.1:{server.sockets[0].getsockname()[1]}/keys?p=1"
    finally:
        server.close()


def says(*pieces: bytes, seen: list[bytes] | None = None) -> Script:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if seen is not None:
            seen.append(head)
        for piece in pieces:
            writer.write(piece)
            await writer.drain()

    return script


async def forever(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    await reader.read()


async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        writer.write(b" " * 65536)
        await writer.drain()


def fetch(script: Script, token: str = "", timeout_s: float = 5.0) -> bytes:
    async def play() -> bytes:
        async with listening(script) as url:
            return await JwksEndpoint(url, None, token, timeout_s).fetch()

    return asyncio.run(play())


def test_the_document_is_asked_for_plainly() -> None:
    seen: list[bytes] = []
    assert fetch(says(b'HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n{"a"', seen=seen), "secret-token") == b'{"a"'
    head = seen[0].lower()
    assert head.startswith(b"get /keys?p=1 http/1.1\r\n")
    assert b"authorization: bearer secret-token\r\n" in head
    assert b"accept-encoding: identity\r\n" in head
    assert b"cookie" not in head


def test_no_token_is_sent_where_none_is_set() -> None:
    seen: list[bytes] = []
    fetch(says(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", seen=seen))
    assert b"authorization" not in seen[0].lower()


@pytest.mark.parametrize(
    ("script", "why"),
    [
        (
            says(b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n"),
            "status 302, and redirects are not followed",
        ),
        (says(b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n"), "status 500"),
        (says(b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 1\r\n\r\nx"), "is compressed"),
        (says(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nx"), "it cannot be fetched"),
        (says(b"SSH-2.0\r\n\r\n"), "it cannot be fetched"),
        (says(), "it cannot be fetched"),
        (says(b"HTTP/1.1 200 OK\r\n\r\n" + b" " * (MAX_DOCUMENT + 1)), "over 256 KiB"),
        (endless, "over 256 KiB"),
    ],
)
def test_what_is_no_document_is_an_error(script: Script, why: str) -> None:
    with pytest.raises(FetchError, match=why) as e:
        fetch(script, "secret-token")
    assert "secret-token" not in str(e.value)


def test_a_server_that_hangs_is_left() -> None:
    with pytest.raises(FetchError, match=r"no whole answer within 0\.05 s"):
        fetch(forever, timeout_s=0.05)


def test_nobody_there_is_an_error() -> None:
    with pytest.raises(FetchError, match="it cannot be fetched"):
        asyncio.run(JwksEndpoint("http://127.0.0.1:1/k").fetch())


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now - timedelta(1), now + timedelta(1))
    made = made.add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
    folder = tmp_path_factory.mktemp("jwks")
    (folder / "cert.pem").write_bytes(made.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM))
    (folder / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return folder / "cert.pem", folder / "key.pem"


def test_only_the_certificate_that_the_settings_vouch_for_is_believed(certificate: tuple[Path, Path]) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*certificate)
    seen: list[bytes] = []

    async def play() -> None:
        async with listening(says(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", seen=seen), tls) as url:
            assert await JwksEndpoint(url, certificate[0], "t").fetch() == b"{}"
            with pytest.raises(FetchError, match=r"it cannot be fetched \(ClientConnectorCertificateError\)"):
                await JwksEndpoint(url, None, "t").fetch()
            with pytest.raises(FetchError, match="it cannot be fetched"):
                await JwksEndpoint(url, certificate[1], "t").fetch()

    asyncio.run(play())
    assert len(seen) == 1


def test_what_it_asks_with_is_not_shown() -> None:
    assert "secret" not in repr(JwksEndpoint("https://h/k", None, "secret"))

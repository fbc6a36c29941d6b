"""Forward proxies: which stands before whom, and requests that go through real ones, on both transports."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from base64 import b64decode
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from test_upstream_tls import certificate, server
from upstream_script import CASES, OK, Peer, Upstream, ask, client, outcome, run, whole

from proxy.engine.ports import UpstreamError
from proxy.upstream.base import Deadlines
from proxy.upstream.proxies import DIRECT, BadProxy, Proxies, of_environment

__all__ = ["certificate"]
every = pytest.mark.parametrize("case", CASES)
SECRET = "p%40ss:w%2Frd"
PAIR = b"me:p@ss:w/rd"


@pytest.mark.parametrize(
    ("env", "url", "at"),
    [
        ({}, "https://api.test/v1", None),
        ({"HTTPS_PROXY": "http://p:3128"}, "https://api.test/v1", ("HTTPS_PROXY", "p", 3128)),
        ({"HTTPS_PROXY": "http://p:3128"}, "http://api.test/v1", None),
        ({"HTTP_PROXY": "p:3128/"}, "http://api.test", ("HTTP_PROXY", "p", 3128)),
        ({"HTTP_PROXY": "http://p"}, "http://api.test", ("HTTP_PROXY", "p", 80)),
        ({"HTTPS_PROXY": "http://upper:1", "https_proxy": "http://lower:2"}, "https://api.test", ("https_proxy", "lower", 2)),
        ({"HTTPS_PROXY": "http://upper:1", "https_proxy": ""}, "https://api.test", ("HTTPS_PROXY", "upper", 1)),
        ({"HTTPS_PROXY": "http://[::1]:8"}, "https://api.test", ("HTTPS_PROXY", "::1", 8)),
        ({"HTTPS_PROXY": "socks5://p:1"}, "http://api.test", None),
    ],
)
def test_which_proxy(env: dict[str, str], url: str, at: tuple[str, str, int] | None) -> None:
    found = of_environment(env).of(url)
    assert (found and (found.variable, found.host, found.port)) == at


@pytest.mark.parametrize(
    "host", ["localhost", "a.localhost", "localhost.", "127.0.0.1", "127.9.9.9", "[::1]", "0.0.0.0", "[::]", "[::ffff:127.0.0.1]"]
)
def test_this_machine_is_never_asked_through_a_proxy(host: str) -> None:
    both = of_environment({"HTTP_PROXY": "http://p:1", "HTTPS_PROXY": "nonsense://"})
    assert both.of(f"http://{host}:11434/v1") is None
    assert both.of(f"https://{host}/v1") is None


@pytest.mark.parametrize(
    ("entry", "host", "exempt"),
    [
        ("*", "api.test", True),
        ("api.test", "api.test", True),
        ("API.Test", "api.test.", True),
        ("test", "api.test", True),
        (".api.test", "api.test", True),
        ("*.api.test", "eu.api.test", True),
        ("pi.test", "api.test", False),
        ("api.test:443", "api.test", True),
        ("api.test:80", "api.test", False),
        ("other, api.test", "api.test", True),
        ("other api.test", "api.test", True),
        ("", "api.test", False),
        (".", "api.test", False),
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("10.0.0.0/99", "10.0.0.0", False),
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.3:443", "10.1.2.3", True),
        ("10.1.2.3:80", "10.1.2.3", False),
        ("1.2.3", "10.1.2.3", False),
        ("fd00::/8", "[fd00::1]", True),
        ("fd00::1", "[fd00::1]", True),
        ("[fd00::1]", "[fd00::1]", True),
        ("[fd00::1]:443", "[fd00::1]", True),
        ("[fd00::1]:80", "[fd00::1]", False),
    ],
)
def test_no_proxy(entry: str, host: str, exempt: bool) -> None:
    found = of_environment({"HTTPS_PROXY": "http://p:1", "NO_PROXY": entry}).of(f"https://{host}/v1")
    assert (found is None) == exempt


@pytest.mark.parametrize(
    "text",
    [
        "socks5://u:hush@p:1",
        "https://u:hush@p:1",
        "http://u:hush@:1",
        "http://u:hush@p:port",
        "http://u:hush@p/x",
        "http://u:hush@p?x",
        "http://",
    ],
)
def test_a_bad_proxy_is_named_and_not_shown(text: str) -> None:
    proxies = of_environment({"HTTPS_PROXY": text})
    with pytest.raises(BadProxy, match=r"^\$HTTPS_PROXY: ") as e:
        proxies.of("https://api.test")
    assert "hush" not in str(e.value) + repr(e.value) + repr(proxies)


def test_a_proxy_shows_no_password() -> None:
    proxies = of_environment({"HTTPS_PROXY": "http://u:hush@p:1"})
    found = proxies.of("https://api.test")
    assert found is not None
    ((name, value),) = found.headers()
    assert (name, b64decode(value.removeprefix("Basic "))) == ("Proxy-Authorization", b"u:hush")
    assert "hush" not in repr(proxies) + repr(found)
    assert value not in repr(found)


def through(upstream: Upstream) -> Proxies:
    """Proxies that stand before everything, with `upstream` in their place."""
    at = f"http://me:{SECRET}@127.0.0.1:{upstream.port}"
    return of_environment({"HTTP_PROXY": at, "HTTPS_PROXY": at})


@every
def test_plain_requests_name_their_target_in_full(case: str) -> None:
    async def main() -> None:
        async with Upstream([OK, OK]) as proxy, client(case, "http://api.test:81", proxies=through(proxy)) as transport:
            assert await whole(transport, ask(path="/chat?x=1")) == (200, b"{}")
            assert await whole(transport) == (200, b"{}")
            asked = proxy.asked[0]
            assert asked.line == "POST http://api.test:81/v1/chat?x=1 HTTP/1.1"
            assert asked.get("host") == ["api.test:81"]
            ((word, _, pair),) = (value.partition(" ") for value in asked.get("proxy-authorization"))
            assert (word, b64decode(pair)) == ("Basic", PAIR)
            assert asked.get("authorization") == ["Bearer sk-secret"]
            assert proxy.connections == 1

    run(case, main())


@every
def test_a_proxy_that_wants_to_know_who_asks(case: str) -> None:
    async def main() -> None:
        no = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 2\r\n\r\nno"
        async with Upstream([no, OK]) as proxy, client(case, "http://api.test", proxies=through(proxy)) as transport:
            with pytest.raises(UpstreamError, match=r"no connection to p \(the proxy answered 407\)") as e:
                await transport.send(ask())
            assert (e.value.kind, e.value.retryable) == ("connect", True)
            assert await whole(transport) == (200, b"{}")

    run(case, main())


@contextlib.asynccontextmanager
async def connecting(to: Upstream, answer: bytes = b"HTTP/1.1 200 Connection established\r\n\r\n") -> AsyncIterator[Upstream]:
    """A proxy that gives `answer` to each CONNECT and, if that is a yes, carries bytes to and from `to`."""

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while piece := await reader.read(65536):
                writer.write(piece)
                await writer.drain()
        writer.close()

    async def play(peer: Peer) -> None:
        await peer.head()
        await peer.send(answer)
        if b" 200" not in answer[:13]:
            return
        reader, writer = await asyncio.open_connection("127.0.0.1", to.port)
        await asyncio.gather(carry(peer.reader, writer), carry(reader, peer.writer))

    async with Upstream(play=play) as proxy:
        yield proxy


@every
@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
def test_tls_goes_through_a_tunnel(case: str, version: bytes, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """The provider's name is what the certificate is checked against; nothing of the request is told to the proxy."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))

    async def main() -> None:
        context: ssl.SSLContext = server(certificate)
        yes = b"HTTP/%s 200 OK\r\nVia: x\r\n\r\n" % version
        async with Upstream([OK, OK], tls=context) as upstream, connecting(upstream, yes) as proxy:
            # the certificate is for 127.0.0.1, which is never asked through a proxy, so the exemption is lifted by hand
            monkeypatch.setattr("proxy.upstream.proxies._here", lambda host: False)
            async with client(case, f"https://127.0.0.1:{upstream.port}", proxies=through(proxy)) as transport:
                assert await whole(transport, ask(b"x" * 100_000)) == (200, b"{}")
                assert await whole(transport) == (200, b"{}")
            (asked,) = proxy.asked
            assert asked.line == f"CONNECT 127.0.0.1:{upstream.port} HTTP/1.1"
            assert asked.get("host") == [f"127.0.0.1:{upstream.port}"]
            assert b64decode(asked.get("proxy-authorization")[0].removeprefix("Basic ")) == PAIR
            assert asked.get("authorization") == []
            assert upstream.asked[0].get("proxy-authorization") == []
            assert upstream.asked[0].line == "POST /v1/chat HTTP/1.1"
            assert upstream.asked[0].body == b"x" * 100_000

    run(case, main())


@every
@pytest.mark.parametrize("answer", [b"HTTP/1.1 407 No\r\n\r\n", b"HTTP/1.1 503 No\r\nContent-Length: 3\r\n\r\nno\n"])
def test_a_tunnel_that_is_refused(case: str, answer: bytes) -> None:
    async def main() -> None:
        told = f"no connection to p through the proxy of HTTPS_PROXY (the proxy answered {answer[9:12].decode()})"
        async with (
            Upstream() as nobody,
            connecting(nobody, answer) as proxy,
            client(case, "https://api.test", proxies=through(proxy)) as transport,
        ):
            with pytest.raises(UpstreamError) as e:
                await transport.send(ask())
            assert (e.value.kind, e.value.retryable, str(e.value)) == ("connect", True, told)
            await proxy.all_closed(1)

    run(case, main())


@every
@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 2", b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1 100 Go on\r\n\r\n", b"x" * 90_000])
def test_a_proxy_that_speaks_no_sense(case: str, answer: bytes) -> None:
    async def main() -> None:
        async with (
            Upstream() as nobody,
            connecting(nobody, answer) as proxy,
            client(case, "https://api.test", proxies=through(proxy)) as transport,
        ):
            found = await outcome(transport)
            assert found == "connect" or (case in CASES[:1] and found in {"cut", "protocol"})
            assert nobody.connections == 0

    run(case, main())


@pytest.mark.parametrize("case", CASES[1:])
def test_a_proxy_may_not_speak_before_the_client_in_tls(case: str) -> None:
    async def main() -> None:
        async with Upstream() as nobody:

            async def play(peer: Peer) -> None:
                await peer.head()
                await peer.send(b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n\r\n")
                await peer.gone()

            async with Upstream(play=play) as proxy, client(case, "https://api.test", proxies=through(proxy)) as transport:
                with pytest.raises(UpstreamError, match="said more than that the way is open"):
                    await transport.send(ask())
                await proxy.all_closed(1)
            assert nobody.connections == 0

    run(case, main())


@every
def test_a_proxy_that_is_not_there_or_says_nothing(case: str) -> None:
    async def main() -> None:
        async def play(peer: Peer) -> None:
            await peer.head()
            await peer.gone()

        async with Upstream(play=play) as silent:
            async with client(case, "https://api.test", Deadlines(connect_s=0.1), proxies=through(silent)) as transport:
                with pytest.raises(UpstreamError, match=r"no connection to p through the proxy of HTTPS_PROXY within 0\.1 s") as e:
                    await transport.send(ask())
                assert e.value.kind == "connect"
            await silent.all_closed(1)
        async with client(case, "http://api.test", proxies=through(silent)) as transport:
            with pytest.raises(UpstreamError, match=r"through the proxy of HTTP_PROXY \(") as e:
                await transport.send(ask())
            assert e.value.kind == "connect"
            assert "127.0.0.1" not in str(e.value)

    run(case, main())


@every
def test_without_a_proxy_the_environment_says_nothing(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what a transport is given counts, not what some library reads by itself."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")

    async def main() -> None:
        async with Upstream([OK]) as upstream, client(case, upstream.url, proxies=DIRECT) as transport:
            assert await whole(transport) == (200, b"{}")
            assert upstream.asked[0].line.startswith("POST /v1/chat ")

    run(case, main())

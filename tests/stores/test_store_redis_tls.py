"""Redis over TLS, with a real server: whose certificate is believed, under which name, who may come in, and what is said otherwise."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import redis
from redis_tls import Authority, Signed, TlsRedis, needs_redis_tls

from proxy.engine.ports import StoreError
from proxy.stores import open_store
from proxy.stores.redis_blocking import BlockingLink
from proxy.stores.redis_place import Place, place_of

pytestmark = needs_redis_tls
CUT = re.compile("cannot be reached: (it ended the connection|Connection reset)")
"""What is left where the server's alert was overtaken by its end of the connection."""


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ours"), "ours")


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("theirs"), "theirs")


@pytest.fixture(scope="module")
def shown(ours: Authority) -> Signed:
    return ours.sign("server", "localhost", "127.0.0.1")


@pytest.fixture(scope="module")
def server(ours: Authority, shown: Signed) -> Iterator[TlsRedis]:
    with TlsRedis(ours, shown, "--tls-auth-clients", "no") as running:
        yield running


@pytest.fixture(scope="module")
def asking(ours: Authority, shown: Signed) -> Iterator[TlsRedis]:
    with TlsRedis(ours, shown, "--tls-auth-clients", "yes") as running:
        yield running


def said(place: Place) -> str:
    """What the server answers, or why there is none."""
    link = BlockingLink(place)
    try:
        return bytes(link.call("PING", again=True)).decode()
    except StoreError as e:
        return str(e)
    finally:
        link.close()


def test_a_connection_that_ended_while_nobody_called_is_heard_of(server: TlsRedis, ours: Authority) -> None:
    link, other = BlockingLink(at(server, ca=ours.ca)), BlockingLink(at(server, ca=ours.ca))
    with contextlib.closing(link), contextlib.closing(other):
        for _ in range(3):
            assert link.call("PING") == b"PONG", "on a new connection: nothing was lost on the one that had ended"
            assert other.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes") > 0


def at(server: TlsRedis, host: str = "localhost", **changes: Path | None) -> Place:
    return replace(place_of(f"rediss://{host}:{server.tls_port}/0?tenant=tls"), **changes)  # type: ignore[arg-type]


def test_a_server_that_our_authority_signed_is_used(server: TlsRedis, ours: Authority) -> None:
    assert said(at(server, ca=ours.ca)) == "PONG"
    assert said(at(server, "127.0.0.1", ca=ours.ca)) == "PONG"
    place = at(server, ca=ours.ca)

    async def body() -> None:
        stores = open_store(str(place), place)
        assert stores.keys.keys() == []
        await stores.close()

    asyncio.run(body())
    with server.client() as other:
        assert other.exists("{tls}:meta")


def test_another_authority_is_not_believed(server: TlsRedis, theirs: Authority) -> None:
    assert "its certificate is refused: " in said(at(server, ca=theirs.ca))
    assert "its certificate is refused: " in said(at(server))
    place = at(server, ca=theirs.ca)
    with pytest.raises(ValueError, match="its certificate is refused"):
        open_store(str(place), place)


def test_a_certificate_for_another_name_is_refused(ours: Authority) -> None:
    with TlsRedis(ours, ours.sign("elsewhere", "redis.example.com"), "--tls-auth-clients", "no") as running:
        assert "its certificate is refused: Hostname mismatch" in said(at(running, ca=ours.ca))
        assert "its certificate is refused: IP address mismatch" in said(at(running, "127.0.0.1", ca=ours.ca))


def test_the_server_is_told_which_name_is_meant(ours: Authority, shown: Signed) -> None:
    names: list[str | None] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(shown.cert, shown.key)
    context.sni_callback = lambda _, name, __: names.append(name)
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            with contextlib.suppress(OSError), context.wrap_socket(listening.accept()[0], server_side=True) as connection:
                connection.recv(100)

        thread = threading.Thread(target=serve)
        thread.start()
        said(replace(place_of(f"rediss://localhost:{listening.getsockname()[1]}"), ca=ours.ca))
        thread.join()
    assert names == ["localhost"]


def test_a_server_that_asks_for_a_client_certificate_gets_it_or_says_no(asking: TlsRedis, ours: Authority, theirs: Authority) -> None:
    mine, foreign = ours.sign("mine"), theirs.sign("foreign")
    assert said(at(asking, ca=ours.ca, cert=mine.cert, cert_key=mine.key)) == "PONG"
    refused = said(at(asking, ca=ours.ca))
    assert "it asks for a client certificate (store.cert and store.cert_key)" in refused or CUT.search(refused)
    refused = said(at(asking, ca=ours.ca, cert=foreign.cert, cert_key=foreign.key))
    assert "it refuses our client certificate" in refused or CUT.search(refused)
    assert "do not belong together" in said(at(asking, ca=ours.ca, cert=mine.cert, cert_key=foreign.key))
    assert "No such file" in said(at(asking, ca=ours.ca, cert=mine.cert, cert_key=mine.key.with_suffix(".gone")))


def test_certificates_may_be_exchanged_while_it_runs(asking: TlsRedis, ours: Authority, tmp_path: Path) -> None:
    first, second = ours.sign("first"), ours.sign("second")
    cert, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    cert.write_bytes(first.cert.read_bytes())
    key.write_bytes(first.key.read_bytes())
    link = BlockingLink(at(asking, ca=ours.ca, cert=cert, cert_key=key))
    assert link.call("PING") == b"PONG"
    cert.write_bytes(second.cert.read_bytes())
    key.write_bytes(second.key.read_bytes())
    with asking.client() as other:
        other.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    assert link.call("PING", again=True) == b"PONG"
    link.close()


def test_tls_and_none_are_never_mixed_up(server: TlsRedis, ours: Authority) -> None:
    waiting = replace(at(server, ca=ours.ca), hosts=(("localhost", server.port),), connect_s=0.3)
    assert "did not answer within 0.3 s (does it speak TLS there?)" in said(waiting)
    assert "cannot be reached: " in said(place_of(f"redis://localhost:{server.tls_port}"))


def test_sentinels_are_asked_over_tls_and_with_their_password(server: TlsRedis, ours: Authority, shown: Signed, theirs: Authority) -> None:
    tls = ("--tls-auth-clients", "no", "--tls-replication", "yes", "--requirepass", "between-us")
    with TlsRedis(ours, shown, *tls, sentinel_of=server) as watch, redis.Redis(port=watch.port, password="between-us") as sentinel:
        sentinel.execute_command("SENTINEL", "REMOVE", "main")
        sentinel.execute_command("SENTINEL", "MONITOR", "main", "127.0.0.1", server.tls_port, 1)
        place = place_of(f"rediss+sentinel://localhost:{watch.tls_port}/main/0")
        allowed = replace(place, ca=ours.ca, sentinel_password="between-us")
        assert said(allowed) == "PONG"
        assert "no sentinel" in said(replace(allowed, ca=theirs.ca)), "an authority that we do not know"
        assert "no sentinel" in said(replace(allowed, sentinel_password="wrong"))
        assert "no sentinel" in said(replace(allowed, tls=False))


def test_a_cluster_over_tls(ours: Authority, shown: Signed) -> None:
    options = ("--tls-auth-clients", "no", "--cluster-enabled", "yes", "--tls-cluster", "yes")
    with TlsRedis(ours, shown, *options) as running, running.client() as other:
        other.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        place = replace(place_of(f"rediss+cluster://localhost:{running.tls_port}?tenant=tls"), ca=ours.ca)
        link = BlockingLink(place)
        while b"cluster_state:ok" not in link.call("CLUSTER", "INFO"):
            pass
        assert link.call("SET", link.key("a"), 1) in (b"OK", "OK")
        link.close()

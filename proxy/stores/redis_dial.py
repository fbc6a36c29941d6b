"""How a connection to a Redis store is made, by redis-py: to the one server there is, through sentinels, or to the one that has our keys.

Decides which server may be written to: a replica is refused. What it hands out is the stream beneath redis-py's connection, on which
nothing is awaited. It fails with `Unreachable`, in words that name the place and the cause and never the password.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from typing import Any

from redis.asyncio.connection import AbstractConnection, Connection, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, BusyLoadingError, MovedError, RedisError, ResponseError
from redis.exceptions import ConnectionError as NoConnection
from redis.exceptions import TimeoutError as Overdue

from proxy.engine.ports import StoreError
from proxy.stores.faults import Unreachable, fault
from proxy.stores.redis_place import Address, Place

_TLS = {
    "WRONG_VERSION_NUMBER": "it does not speak TLS (redis:// is without)",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "it asks for a client certificate (store.cert and store.cert_key)",
    "TLSV1_ALERT_UNKNOWN_CA": "it refuses our client certificate: it does not know who signed it",
    "KEY_VALUES_MISMATCH": "store.cert and store.cert_key do not belong together",
}
"""What OpenSSL calls a reason, in words that say what to do."""


_ENDED = (NoConnection, RuntimeError)
"""What it is when the server ends a connection; the second is uvloop's word."""
_NONE = (RedisError, OSError, *_ENDED)


async def dialled(place: Place, first: Address | None) -> asyncio.StreamWriter:
    """Return a connection to `place` that is ready for commands; where `first` is one, that address is tried first.

    Raises:
        Unreachable: there is none within `connect_s`, or it leads to a server that must not be written to.
    """
    try:
        async with asyncio.timeout(place.connect_s):
            if place.kind == "sentinel":
                return await _greeted(place, await _primary(place))
            hosts: Sequence[Address | None] = place.hosts if first is None else (first, *place.hosts)
            why: StoreError | None = None
            for host in hosts or (None,):
                try:
                    return await _greeted(place, host)
                except StoreError as e:
                    why = why or e
            raise why or Unreachable("the Redis store has no address")
    except TimeoutError:
        hint = " (does it speak TLS there?)" if place.tls else ""
        raise Unreachable(f"the Redis store at {place} did not answer within {place.connect_s:g} s{hint}") from None


async def _greeted(place: Place, host: Address | None) -> asyncio.StreamWriter:
    connection = _made(place, host)
    try:
        await connection.connect()  # type: ignore[no-untyped-call]
        if place.kind != "cluster" and await _role(connection) == b"slave":
            raise Unreachable(f"the Redis store cannot be used: it is a read-only replica ({place})")
    except BaseException as e:
        await connection.disconnect(nowait=True)
        if isinstance(e, ResponseError | AuthenticationError | BusyLoadingError):
            raise Unreachable(f"{fault(said(e))} ({place})") from None
        if isinstance(e, _NONE) and not isinstance(e, TimeoutError):
            raise Unreachable(f"the Redis store at {place} cannot be reached: {_why(e)}") from None
        raise
    return _taken(connection)


def _taken(connection: AbstractConnection) -> asyncio.StreamWriter:
    """Return the stream beneath `connection`, which then has none and closes nothing."""
    writer = connection._writer
    connection._reader = connection._writer = None
    if writer is None or writer.transport.is_closing():
        raise Unreachable("the connection to the Redis store ended")
    return writer


def _made(place: Place, host: Address | None) -> AbstractConnection:
    common: dict[str, Any] = {
        "db": place.db,
        "username": place.username or None,
        "password": place.password or None,
        "socket_timeout": place.command_s,
        "socket_connect_timeout": place.connect_s,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
        "driver_info": None,
    }
    if host is None:
        return UnixDomainSocketConnection(path=place.path, **common)
    if place.tls:
        return SSLConnection(host=host[0], port=host[1], **_tls(place), **common)
    return Connection(host=host[0], port=host[1], **common)


def _tls(place: Place) -> dict[str, Any]:
    """Return what redis-py is told of certificates. The files are read at each connection, so that they may be exchanged."""
    files = {"ssl_ca_certs": place.ca, "ssl_certfile": place.cert, "ssl_keyfile": place.cert_key}
    return {name: None if path is None else str(path) for name, path in files.items()} | {"ssl_check_hostname": True}


async def _primary(place: Place) -> Address:
    """Return where the sentinels say that the primary is."""
    how: dict[str, Any] = {"socket_timeout": place.command_s, "socket_connect_timeout": place.connect_s, "retry": Retry(NoBackoff(), 0)}
    how |= {"password": place.sentinel_password or None, "protocol": 2} | ({"ssl": True, **_tls(place)} if place.tls else {})
    sentinels = Sentinel([*place.hosts], sentinel_kwargs=how)  # type: ignore[no-untyped-call]
    try:
        found: Address = await sentinels.discover_master(place.master)
    except (RedisError, OSError) as e:
        silent = str(e).count(" - network:") >= len(place.hosts)  # redis-py lists why each of them could not be asked
        why = "no sentinel answers" if silent else f"no sentinel knows {place.master}"
        raise Unreachable(f"the Redis store at {place} cannot be reached: {why}") from None
    finally:
        for sentinel in sentinels.sentinels:
            await sentinel.aclose()
    return found


async def _role(connection: AbstractConnection) -> Any:
    await connection.send_command("ROLE", check_health=False)
    try:
        return (await connection.read_response())[0]
    except ResponseError:  # a user who may not ask, or an old server: its first write will say so
        return None


def said(error: Exception) -> str:
    """Return what the server said, with the word in front that redis-py takes off."""
    word, text = getattr(error, "status_code", None), str(error)
    if isinstance(error, MovedError):
        return f"MOVED {text}"
    return f"{word} {text}" if word else text


def _why(error: Exception) -> str:
    """Return in short why there is no connection: redis-py's own words name the place once more."""
    cause = error.__cause__ or error.__context__ or error
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"its certificate is refused: {cause.verify_message}"
    if isinstance(cause, ssl.SSLError):
        return _TLS.get(cause.reason or "", f"TLS failed: {cause.reason or cause}")
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    return "no answer" if isinstance(error, Overdue) else "it ended the connection" if isinstance(error, _ENDED) else str(error)

"""Where a Redis or Valkey store is and how it is reached: the URL of the setting `store`, taken apart.

Decides nothing about what is kept there, except how keys are named: all of one tenant share one hash slot, so that a call's counters can
change together on a cluster.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import unquote

SCHEMES = ("redis", "rediss", "redis+cluster", "rediss+cluster", "redis+sentinel", "rediss+sentinel", "unix")
EXPECTED = (
    "redis://HOST:PORT/DB, rediss://… (TLS), redis+cluster://HOST:PORT,HOST:PORT, redis+sentinel://HOST:PORT,HOST:PORT/NAME/DB or "
    "unix:///PATH?db=DB"
)
TENANT = re.compile(r"[A-Za-z0-9._-]{1,64}")
_HOST = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?")
_PORT, _SENTINEL_PORT = 6379, 26379

Address = tuple[str, int]
"""Host and port."""


@dataclass(frozen=True, slots=True)
class Place:
    """One store on a Redis or Valkey server, or on several.

    Attributes:
        kind: `single`, `cluster`, `sentinel` or `unix`.
        hosts: (host, port) to ask, in this order; none for a socket.
        path: the socket's path.
        master: the name that the sentinels know the primary by.
        tenant: what all our keys begin with, in braces.
        release: who uses the tenant; empty where nobody says.
        connect_s, command_s: how long connecting and one answer may take.
        ca: authorities that a server's certificate may come from, beside the system's.
        cert, cert_key: what we show a server that asks who we are; both or none.
        sentinel_password: what the sentinels ask for.
    """

    kind: str
    hosts: tuple[Address, ...] = ()
    path: str = ""
    db: int = 0
    tls: bool = False
    username: str = ""
    password: str = field(default="", repr=False)
    master: str = ""
    tenant: str = "fleetgate"
    release: str = ""
    connect_s: float = 2.0
    command_s: float = 2.0
    ca: Path | None = None
    cert: Path | None = None
    cert_key: Path | None = None
    sentinel_password: str = field(default="", repr=False)

    def key(self, *parts: str) -> str:
        """Return the name of a key of ours."""
        return ":".join((f"{{{self.tenant}}}", *parts))

    def __str__(self) -> str:
        """The URL, without user and password."""
        scheme = ("rediss" if self.tls else "redis") + (f"+{self.kind}" if self.kind in ("cluster", "sentinel") else "")
        if self.kind == "unix":
            return f"unix://{self.path}?db={self.db}"
        hosts = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.hosts)
        return f"{scheme}://{hosts}/{self.master + '/' if self.master else ''}{self.db}"


def is_redis(url: str) -> bool:
    """Say whether `url` names a Redis store."""
    return url.partition(":")[0] in SCHEMES


def place_of(url: str) -> Place:
    """Return the place that `url` names; its user and password may be percent-encoded, `?tenant=NAME` may stand at its end.

    Raises:
        ValueError: it names none; the message does not show the URL, which may hold a password.
    """
    scheme, found, rest = url.partition("://")
    if scheme not in SCHEMES or not found or not url.isprintable() or " " in url:
        raise ValueError(f"no URL of a Redis store; expected {EXPECTED}")
    auth, _, where = rest.rpartition("@")
    username, _, password = (unquote(part) for part in auth.partition(":")) if ":" in auth else ("", "", unquote(auth))
    where, _, query = where.partition("?")
    asked = dict(_asked(pair) for pair in query.split("&")) if query else {}
    hosts, _, tail = where.partition("/")
    kind = "unix" if scheme == "unix" else scheme.partition("+")[2] or "single"
    login = Place(kind, username=username, password=password, tenant=asked.get("tenant", "fleetgate"), tls=scheme.startswith("rediss"))
    if kind == "unix":
        if hosts or not tail:
            raise ValueError(f"no path of a socket; expected {EXPECTED}")
        return replace(login, path=f"/{tail}", db=_db(asked.get("db", "0")))
    master, tail = tail.partition("/")[::2] if kind == "sentinel" else ("", tail)
    if kind == "sentinel" and not master:
        raise ValueError("no name of the primary; expected redis+sentinel://HOST:PORT,HOST:PORT/NAME/DB")
    several = tuple(_host(text, _SENTINEL_PORT if kind == "sentinel" else _PORT) for text in hosts.split(","))
    if kind == "single" and len(several) > 1:
        raise ValueError("several hosts; expected redis+cluster:// or redis+sentinel:// in front of them")
    db = _db(asked.get("db") or tail or "0")
    if kind == "cluster" and db:
        raise ValueError("a database on a cluster; expected none, or 0")
    return replace(login, hosts=several, db=db, master=master)


def _asked(pair: str) -> tuple[str, str]:
    name, _, value = pair.partition("=")
    if name not in ("tenant", "db"):
        raise ValueError("something else than tenant or db behind the ?")
    if name == "tenant" and not TENANT.fullmatch(value):
        raise ValueError("the tenant is no name; expected letters, digits, . _ and -, 64 at most")
    return name, value


def _host(text: str, port: int) -> tuple[str, int]:
    match = _HOST.fullmatch(text)
    if not match or not 0 < int(match[2] or port) < 65536:
        raise ValueError(f"no HOST:PORT; expected {EXPECTED}")
    return match[1].strip("[]"), int(match[2] or port)


def _db(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 4):
        raise ValueError("the database is no number; expected redis://HOST:PORT/DB")
    return int(text)

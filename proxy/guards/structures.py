"""Secrets that a single pattern does not find: private keys over many lines, signed tokens, passwords in URLs and on command lines."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import NamedTuple

import re2

Bounds = tuple[int, int] | None
PEM_CHARS = 20_000
TOKEN_CHARS = 8192

_pem = re2.compile(rb"(?i)-----BEGIN[ A-Z0-9_-]{0,60}PRIVATE KEY(?: BLOCK)?-----")
_pem_body = re2.compile(rb"[A-Za-z0-9+/=\s\\:,.()@-]{64,}")
_pem_end = re2.compile(rb"(?i)-----END[ A-Z0-9_-]{0,60}PRIVATE KEY(?: BLOCK)?-----")
_jwt = re2.compile(rb"(eyJ?[A-Za-z0-9_=+/-]{14,})\.(eyJ?[A-Za-z0-9_=+/\\-]{10,})(?:\.(?:[A-Za-z0-9_=+/\\-]{10,})?)?")
_head = re2.compile(rb"\{\s*\"[A-Za-z0-9_]+\"\s*:")
_jwt64 = re2.compile(rb"ZXlK[A-Za-z0-9+/_-]{60,}={0,2}")
PASSWORD_URL = re2.compile(rb"://[^\s/:@'\"<>?#]{0,80}:([^\s/@'\"<>]{3,128})@[\w.\[-]")
"""A URL with a password, which is its group: `scheme://user:password@host`."""
_curl_user = re2.compile(
    rb"(?s)curl\b.{0,400}?\s(?:-u|--user)(?:\s{1,4}|=)(?:\"([^\"\n]{0,128})\"(:\"[^\"\n]{0,128}\")?|'([^'\n]{0,128})'|([^\s\"']{1,128}(?:'[^'\n]{0,128}'|\"[^\"\n]{0,128}\")?))"
)
_curl_header = re2.compile(
    rb"(?i)(?:authorization|-(?:key|token))\\?[\"']?\s{0,4}[:=]\s{0,4}\\?[\"']?(?:basic|bearer|token|apikey|apitoken)?\s{0,4}([\w~+/.=-]{8,400})"
)
_bearer = re2.compile(rb"(?i)bearer\s{1,4}([A-Za-z0-9._~+/=-]{16,400})")
_basic = re2.compile(rb"(?i)basic\s{1,4}([A-Za-z0-9+/]{8,400}={0,2})")
_manifest = re2.compile(
    rb"(?is)kind[\"']?:\s{0,4}[\"']?secret[\"']?\b.{0,300}?data[\"']?:\s{0,10}\{?\s{1,10}[\"']?[\w.-]{1,80}[\"']?:\s{1,4}(?:\|[-+]?\s{1,10})?[\"']?([A-Za-z0-9+/]{8,400}={0,3})(?:[\s\"']|$)"
)
_manifest_back = re2.compile(
    rb"(?is)data[\"']?:\s{0,10}\{?\s{1,10}[\"']?[\w.-]{1,80}[\"']?:\s{1,4}(?:\|[-+]?\s{1,10})?[\"']?([A-Za-z0-9+/]{8,400}={0,3})[\"']?\s.{0,300}?kind[\"']?:\s{0,4}[\"']?secret\b"
)
_putty = re2.compile(rb"(?s)PuTTY-User-Key-File-\d.{0,}?Private-Lines: \d{1,3}\s{1,2}([A-Za-z0-9+/=\s]{40,})")
_plain_words = frozenset(
    b"password pass passwd pwd secret token user username test yyy xxx changeme apikey api_key key port foo bar abc".split()
)


class Structure(NamedTuple):
    """A kind of secret: where to look, and what finds its bounds there."""

    id: str
    label: str
    starts: tuple[str, ...]
    find: Callable[[bytes, int], Bounds]
    detail: str


def private_key(raw: bytes, at: int) -> Bounds:
    """Return the bounds of the key that begins at `at`: to its end mark, or as far as it looks like one."""
    head = _pem.match(raw[at : at + 120])
    if head is None:
        return None
    body = raw[at + head.end() : at + PEM_CHARS]
    end = _pem_end.search(body)
    inside = body[: end.start()] if end else body
    filled = _pem_body.match(inside)
    if filled is None or len(set(inside[:400])) < 12:
        return None
    return at, at + head.end() + (end.end() if end else filled.end())


def signed_token(raw: bytes, at: int) -> Bounds:
    """Return the bounds of a JSON Web Token whose first part is JSON that names an algorithm, or has that form beyond doubt."""
    match = _jwt.match(raw[at : at + TOKEN_CHARS])
    if match is None or (at and raw[at - 1 : at].isalnum() and raw[at - 2 : at - 1] != b"\\"):
        return None
    if raw[at : at + 3] == b"eyJ" and not _json_head(match.group(1)):
        return None
    if raw[at : at + 3] != b"eyJ" and len(match.group()) < 120:
        return None
    return at, at + len(match.group().rstrip(b"\\"))


def _json_head(part: bytes) -> bool:
    bare = part.rstrip(b"=")
    try:
        head = base64.urlsafe_b64decode(bare + b"=" * (-len(bare) % 4)).strip()
    except (binascii.Error, ValueError):
        return False
    return _head.match(head) is not None and head.endswith(b"}")


def encoded_token(raw: bytes, at: int) -> Bounds:
    """Return the bounds of a signed token that was put into base64 once more."""
    match = _jwt64.match(raw[at : at + TOKEN_CHARS])
    if match is None or (at and raw[at - 1 : at].isalnum()):
        return None
    try:
        inner = base64.b64decode(match.group()[: len(match.group()) // 4 * 4])
    except (binascii.Error, ValueError):
        return None
    return (at, at + match.end()) if _jwt.match(inner) else None


def curl_user(raw: bytes, at: int) -> Bounds:
    """Return the bounds of what `curl -u` is given, or of a key in one of its headers."""
    window = raw[at : at + 800]
    match = _curl_user.match(window)
    if match is None:
        return None
    start = max(match.start(1), match.start(3), match.start(4))
    end = match.end() - (1 if match.group(3) is not None or (match.group(1) is not None and match.group(2) is None) else 0)
    user, colon, password = window[start:end].strip(b"\"'").partition(b":")
    if not colon or b"{{" in password:
        return None
    if real_password(password.strip(b"\"'{}")) or (not password.strip(b"\"'") and real_password(user)):
        return at + start, at + end
    return None


def header(raw: bytes, at: int) -> Bounds:
    """Return the bounds of the key in a header that carries one."""
    match = _curl_header.match(raw[at : at + 500])
    if match is None or not _random(match.group(1)):
        return None
    return at + match.start(1), at + match.end(1)


def bearer(raw: bytes, at: int) -> Bounds:
    """Return the bounds of a bearer token."""
    match = _bearer.match(raw[at : at + 420])
    return (at + match.start(1), at + match.end(1)) if match is not None and _random(match.group(1)) else None


def basic(raw: bytes, at: int) -> Bounds:
    """Return the bounds of a name and password in base64."""
    match = _basic.match(raw[at : at + 420])
    if match is None:
        return None
    try:
        pair = base64.b64decode(match.group(1), validate=True)
    except (binascii.Error, ValueError):
        return None
    user, colon, password = pair.partition(b":")
    return (at + match.start(1), at + match.end(1)) if colon and real_password(password) and user.isascii() else None


def manifest(raw: bytes, at: int) -> Bounds:
    """Return the bounds of the first value of a Kubernetes Secret."""
    base, match = at, _manifest.match(raw[at : at + 900])
    if match is None:
        base = max(0, at - 700)
        match = next((m for m in _manifest_back.finditer(raw[base : at + 40]) if m.end() + base > at), None)
    if match is None or match.group(1).isalpha():
        return None
    return base + match.start(1), base + match.end(1)


def putty(raw: bytes, at: int) -> Bounds:
    """Return the bounds of the private part of a PuTTY key."""
    match = _putty.match(raw[at : at + PEM_CHARS])
    return None if match is None else (at + match.start(1), at + match.end(1))


def real_password(password: bytes) -> bool:
    """Tell whether a password is one, not a word or a variable in its place."""
    if (
        len(password) < 3
        or password[:1] in b"$<{[%*"
        or any(mark in password for mark in (b"${", b"{{", b"<", b"$(", b"xxx", b"***", b"..."))
    ):
        return False
    word = password.lower()
    return word not in _plain_words and not word.startswith((b"your", b"my_", b"pass")) and not word.strip(b"_").isupper()


def _random(value: bytes) -> bool:
    lower = value.lower()
    if any(mark in lower for mark in (b"xxx", b"your", b"example", b"token", b"...", b"placeholder")):
        return False
    return len(set(value)) >= 6 and sum(map(value.count, b"0123456789")) >= 2


STRUCTURES: tuple[Structure, ...] = (
    Structure("private-key", "PRIVATE_KEY", ("-----BEGIN", "-----begin"), private_key, "a private key"),
    Structure("putty-key", "PRIVATE_KEY", ("PuTTY-User-Key-File-",), putty, "a private key of PuTTY"),
    Structure("jwt", "JWT", ("ey",), signed_token, "a signed token (JWT)"),
    Structure("jwt-base64", "JWT", ("ZXlK",), encoded_token, "a signed token in base64"),
    Structure("curl-user", "PASSWORD", ("curl ",), curl_user, "a name and password for curl"),
    Structure(
        "header",
        "TOKEN",
        ("Authorization", "authorization", "AUTHORIZATION", "-Key", "-key", "-Token", "-token"),
        header,
        "a key in a header",
    ),
    Structure("bearer", "TOKEN", ("Bearer ", "bearer ", "BEARER "), bearer, "a bearer token"),
    Structure("basic-auth", "PASSWORD", ("Basic ", "basic "), basic, "a name and password in a header"),
    Structure("kubernetes-secret", "SECRET", ("kind:", 'kind":'), manifest, "a Kubernetes Secret"),
)

"""Key documents (JWKS): which public keys an issuer signs with.

Decides what of a document can be used: asymmetric keys for signatures, strong enough, each with its algorithms. What cannot be used is
left out and counted, as documents of identity providers hold other keys too; a document that is no document, that holds a private or two
different keys of one name, or of which nothing is left, is refused whole. Pure: whoever fetches it stands elsewhere.

Source: RFC 7517 (JWK), RFC 7518 §3.1 and §6, RFC 8037 §2; key sizes: RFC 7518 §3.3 (RSA keys of 2048 bits or more).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jwt import PyJWK

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Those that a document's keys can be used with: a signature by any of them proves who has the private key."""
MAX_DOCUMENT = 256 << 10
MOST_KEYS = 100
MAX_KID = 256
RSA_BITS = (2048, 8192)
MAX_EXPONENT = 1 << 32
_RSA = ALGORITHMS[:6]
_CURVES = {"P-256": ("ES256",), "P-384": ("ES384",), "P-521": ("ES512",), "Ed25519": ("EdDSA",)}
_PRIVATE = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth"})


class KeySetError(ValueError):
    """The document cannot be used; the message says why and shows nothing of it."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """One public key.

    Attributes:
        id: a digest of its values: the same key has the same one, whatever it is called.
        kid: its name in the document, empty for none.
        keys: what checks a signature, by algorithm.
    """

    id: str
    kid: str
    keys: Mapping[str, PyJWK] = field(repr=False)


@dataclass(frozen=True, slots=True)
class KeySet:
    """The usable keys of a document; `left_out` says how many were not, and why the first was not."""

    keys: tuple[SigningKey, ...]
    left_out: tuple[int, str] = (0, "")

    def find(self, kid: str | None) -> SigningKey | None:
        """Return the key that a token names, or the only one there is where it names none."""
        if kid is None:
            return self.keys[0] if len(self.keys) == 1 else None
        return next((key for key in self.keys if key.kid == kid), None)


def strict_json(data: bytes) -> Any:
    """Return the JSON value of `data`: UTF-8, no name twice in one object, no number that JSON has not.

    Raises:
        ValueError: it is none; also where it is nested too deeply.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError("a name stands twice in one object")
        return found

    def never(word: str) -> None:
        raise ValueError(f"{word} is no JSON")

    try:
        return json.loads(data.decode(), object_pairs_hook=once, parse_constant=never)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def read_keys(data: bytes) -> KeySet:
    """Return the usable keys of the document `data`.

    Raises:
        KeySetError: there are none, or the document must not be used.
    """
    if len(data) > MAX_DOCUMENT:
        raise KeySetError(f"it is over {MAX_DOCUMENT >> 10} KiB")
    try:
        document = strict_json(data)
    except ValueError:
        raise KeySetError("it is no JSON, or says something twice") from None
    items = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(items, list):
        raise KeySetError('it has no list "keys"')
    if len(items) > MOST_KEYS:
        raise KeySetError(f"it has {len(items)} keys, at most {MOST_KEYS} are taken")
    found: dict[str, SigningKey] = {}
    left_out, why = 0, ""
    for item in items:
        key = _key(item)
        if isinstance(key, str):
            left_out, why = left_out + 1, why or key
            continue
        if found.setdefault(key.kid or key.id, key).id != key.id:
            raise KeySetError("two different keys in it have the same kid")
    if not found:
        raise KeySetError(f"none of its {len(items)} keys can be used{f': {why}' if why else ''}")
    return KeySet(tuple(found.values()), (left_out, why))


def _key(item: object) -> SigningKey | str:
    """Return the key of one entry, or why it is left out. Raises KeySetError for one that nobody should have published."""
    if not isinstance(item, dict):
        return "no object"
    kid, kty = item.get("kid", ""), item.get("kty")
    if not isinstance(kid, str) or len(kid) > MAX_KID:
        return "a kid that is no short text"
    if kty == "oct":
        return "a symmetric key"
    if not _PRIVATE.isdisjoint(item):
        raise KeySetError("it holds a private key, which whoever reads it can sign with")
    if not _signs(item):
        return "a key that is not for signatures"
    algorithms: tuple[str, ...] = _RSA if kty == "RSA" else _CURVES.get(str(item.get("crv")), ()) if kty in ("EC", "OKP") else ()
    if "alg" in item:
        algorithms = tuple(a for a in algorithms if a == item["alg"])
    if not algorithms:
        return "a key of a kind or for an algorithm that is not taken"
    from jwt import PyJWK  # noqa: PLC0415  loaded where tokens are checked, and only there
    from jwt.exceptions import PyJWTError  # noqa: PLC0415

    try:
        keys = {algorithm: PyJWK(item, algorithm) for algorithm in algorithms}
    except (PyJWTError, ValueError, TypeError, KeyError, AttributeError):
        return "values that are no key"
    if weak := _weak(keys[algorithms[0]].key):
        return weak
    values = {name: item.get(name) for name in ("kty", "crv", "n", "e", "x", "y")}
    digest = hashlib.sha256(json.dumps([values, algorithms], sort_keys=True).encode()).hexdigest()
    return SigningKey(digest, kid, keys)


def _signs(item: Mapping[str, Any]) -> bool:
    """Return whether a key is for checking signatures, as far as it says what it is for."""
    operations = item.get("key_ops")
    return item.get("use", "sig") == "sig" and (operations is None or (isinstance(operations, list) and "verify" in operations))


def _weak(key: object) -> str:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey  # noqa: PLC0415

    if not isinstance(key, RSAPublicKey):
        return ""
    if not RSA_BITS[0] <= key.key_size <= RSA_BITS[1]:
        return f"an RSA key of {key.key_size} bits, {RSA_BITS[0]} to {RSA_BITS[1]} are taken"
    return "" if 3 <= key.public_numbers().e <= MAX_EXPONENT else "an RSA key with an odd exponent"

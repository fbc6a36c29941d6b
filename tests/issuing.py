"""An identity provider for tests: real keys, real signatures, and claims and headers that no library would write."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm, get_default_algorithms

ISSUER, AUDIENCE = "https://idp.example", "fleetgate"
NOW = 1_800_000_000.0
RSA = rsa.generate_private_key(65537, 2048)
OTHER = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()


def jwk(private: Any, kid: str | None = None, **more: Any) -> dict[str, Any]:
    """The public key of `private`, as documents have it."""
    public = private.public_key()
    if isinstance(private, rsa.RSAPrivateKey):
        found = RSAAlgorithm.to_jwk(public, as_dict=True)
    elif isinstance(private, ec.EllipticCurvePrivateKey):
        found = ECAlgorithm.to_jwk(public, as_dict=True)
    else:
        found = OKPAlgorithm.to_jwk(public, as_dict=True)
    found = {name: value for name, value in dict(found).items() if name != "key_ops"}
    return found | ({"kid": kid} if kid is not None else {}) | more


def document(*keys: Mapping[str, Any]) -> bytes:
    """A key document."""
    return json.dumps({"keys": keys}).encode()


def segment(value: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def claims(**more: Any) -> dict[str, Any]:
    """Claims that hold at `NOW`, `more` laid over them; a None takes one away."""
    found = {"iss": ISSUER, "aud": AUDIENCE, "sub": "crawler", "iat": NOW - 10, "nbf": NOW - 10, "exp": NOW + 600} | more
    return {name: value for name, value in found.items() if value is not None}


def signed(payload: Mapping[str, Any] | bytes, key: Any = RSA, alg: str = "RS256", header: Mapping[str, Any] | bytes | None = None) -> str:
    """A token: `payload` signed with `key`, under the header given, whatever that says."""
    head = header if isinstance(header, bytes) else json.dumps({"typ": "JWT", "alg": alg, "kid": "k1"} | dict(header or {})).encode()
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    text = f"{segment(head)}.{segment(body)}"
    if alg == "none":
        return f"{text}."
    algorithm = get_default_algorithms()[alg]
    return f"{text}.{segment(algorithm.sign(text.encode(), key))}"

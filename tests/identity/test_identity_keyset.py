"""Key documents: what of one can be used, and what makes it unusable."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from issuing import EC, ED, OTHER, RSA, document, jwk
from jwt.algorithms import RSAAlgorithm

from proxy.identity.keyset import MAX_DOCUMENT, KeySetError, read_keys

WEAK = rsa.generate_private_key(65537, 1024)
SYMMETRIC = {"kty": "oct", "k": base64.urlsafe_b64encode(b"s" * 32).decode(), "kid": "s"}


def test_keys_of_each_kind_are_found_by_their_names() -> None:
    found = read_keys(document(jwk(RSA, "a"), jwk(EC, "b"), jwk(ED, "c"), jwk(ec.generate_private_key(ec.SECP384R1()), "d")))
    assert [(key.kid, *sorted(key.keys)) for key in found.keys] == [
        ("a", "PS256", "PS384", "PS512", "RS256", "RS384", "RS512"),
        ("b", "ES256"),
        ("c", "EdDSA"),
        ("d", "ES384"),
    ]
    assert found.left_out == (0, "")
    assert found.find("b") is found.keys[1]
    assert found.find("x") is None
    assert found.find(None) is None


def test_a_single_key_needs_no_name() -> None:
    found = read_keys(document(jwk(RSA)))
    assert found.find(None) is found.keys[0]
    assert read_keys(document(jwk(RSA, "a"))).find("b") is None


def test_a_key_is_used_with_its_own_algorithm_alone() -> None:
    assert set(read_keys(document(jwk(RSA, "a", alg="PS256"))).keys[0].keys) == {"PS256"}


def test_the_same_key_twice_is_one() -> None:
    assert len(read_keys(document(jwk(RSA, "a"), jwk(RSA, "a"))).keys) == 1


def exponent_one() -> dict[str, Any]:
    return jwk(RSA, "e") | {"e": "AQ"}


@pytest.mark.parametrize(
    ("key", "why"),
    [
        (SYMMETRIC, "a symmetric key"),
        (jwk(WEAK, "w"), "an RSA key of 1024 bits, 2048 to 8192 are taken"),
        (jwk(OTHER, "e", use="enc"), "a key that is not for signatures"),
        (jwk(OTHER, "e", key_ops=["encrypt"]), "a key that is not for signatures"),
        (jwk(OTHER, "e", key_ops="verify"), "a key that is not for signatures"),
        (jwk(OTHER, "h", alg="HS256"), "a key of a kind or for an algorithm that is not taken"),
        (jwk(OTHER, "n", alg="none"), "a key of a kind or for an algorithm that is not taken"),
        (jwk(OTHER, "n", alg="ES256"), "a key of a kind or for an algorithm that is not taken"),
        (jwk(ec.generate_private_key(ec.SECP256K1()), "k"), "a key of a kind or for an algorithm that is not taken"),
        ({"kty": "RSA", "kid": "x", "n": "!", "e": "AQAB"}, "values that are no key"),
        ({"kty": "RSA", "kid": "x", "e": "AQAB"}, "values that are no key"),
        ({"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}, "values that are no key"),
        ({"kty": "OKP", "crv": "Ed25519", "x": 5}, "values that are no key"),
        ({"kty": ["RSA"]}, "a key of a kind or for an algorithm that is not taken"),
        (jwk(OTHER) | {"kid": 7}, "a kid that is no short text"),
        (jwk(OTHER, "k" * 300), "a kid that is no short text"),
        ("text", "no object"),
    ],
)
def test_what_cannot_be_used_is_left_out(key: Any, why: str) -> None:
    found = read_keys(document(key, jwk(RSA, "a")))
    assert [k.kid for k in found.keys] == ["a"]
    assert found.left_out == (1, why)
    with pytest.raises(KeySetError, match="none of its 1 keys can be used"):
        read_keys(document(key))


def test_an_exponent_of_one_is_no_key() -> None:
    with pytest.raises(KeySetError, match="none of its 1 keys"):
        read_keys(document(exponent_one()))


def private() -> dict[str, Any]:
    return dict(RSAAlgorithm.to_jwk(RSA, as_dict=True)) | {"use": "sig"}


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "it is no JSON"),
        (b"\xff{}", "it is no JSON"),
        (b"<html>", "it is no JSON"),
        (b'{"keys": [], "keys": []}', "says something twice"),
        (b'{"keys": [{"kty": "RSA", "kty": "EC"}]}', "says something twice"),
        (b'{"keys": [NaN]}', "it is no JSON"),
        (b"[" * 100_000, "it is no JSON"),
        (b"[]", 'it has no list "keys"'),
        (b'{"keys": {}}', 'it has no list "keys"'),
        (b'{"keys": []}', "none of its 0 keys can be used"),
        (b" " * (MAX_DOCUMENT + 1), "it is over 256 KiB"),
        (json.dumps({"keys": [{}] * 101}).encode(), "it has 101 keys, at most 100 are taken"),
        (document(jwk(RSA, "a"), jwk(OTHER, "a")), "two different keys in it have the same kid"),
        (document(private()), "it holds a private key"),
    ],
)
def test_a_document_that_must_not_be_used_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(KeySetError, match=why):
        read_keys(data)

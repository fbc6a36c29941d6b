"""A real Redis or Valkey server that speaks TLS, where one is here (`scripts/tools.py` says where), with authorities made on the spot."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from redis_server import RedisServer, free_port
from simulating import ROOT


@cache
def _asked() -> tuple[str, str]:
    command = [sys.executable, str(ROOT / "scripts" / "tools.py"), "where", "redis-tls"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout.strip(), done.stderr.strip()


needs_redis_tls = pytest.mark.skipif(not _asked()[0], reason=_asked()[1] or "no Redis with TLS")


@dataclass(frozen=True)
class Signed:
    """A certificate and its key, as PEM files."""

    cert: Path
    key: Path


class Authority:
    """One that signs certificates for two days, in `folder`."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._key, self._name = folder, ec.generate_private_key(ec.SECP256R1()), _named(name)
        made = _builder(self._name, self._name, self._key.public_key())
        made = made.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self.ca = folder / f"{name}.pem"
        self.ca.write_bytes(made.sign(self._key, SHA256()).public_bytes(Encoding.PEM))

    def sign(self, name: str, *names: str) -> Signed:
        """A certificate for servers and clients that go by `names`: host names, or addresses."""
        key = ec.generate_private_key(ec.SECP256R1())
        known = [x509.IPAddress(ip_address(n)) if n[0].isdigit() else x509.DNSName(n) for n in names or ("client",)]
        made = _builder(_named(name), self._name, key.public_key())
        made = made.add_extension(x509.SubjectAlternativeName(known), critical=False)
        found = Signed(self._folder / f"{name}.crt", self._folder / f"{name}.key")
        found.cert.write_bytes(made.sign(self._key, SHA256()).public_bytes(Encoding.PEM))
        found.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return found


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return x509.CertificateBuilder(issuer, subject, key, x509.random_serial_number(), now - timedelta(1), now + timedelta(1))


class TlsRedis(RedisServer):
    """A server with TLS on `tls_port`, and a plain port for tests that look at it."""

    def __init__(self, authority: Authority, shown: Signed, *options: str, sentinel_of: RedisServer | None = None) -> None:
        self.tls_port = free_port()
        tls = ("--tls-port", str(self.tls_port), "--tls-cert-file", str(shown.cert), "--tls-key-file", str(shown.key))
        super().__init__(*tls, "--tls-ca-cert-file", str(authority.ca), *options, sentinel_of=sentinel_of, program=_asked()[0])

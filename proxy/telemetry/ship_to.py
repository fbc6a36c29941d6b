"""Which target a text names: `sqlite:PATH`, `postgresql://…`, `parquet:DIR`, or `env:NAME` and `file:PATH` for one with a password in it.

Decides which library is needed and says which extra brings it. It fails with ValueError for what names no target, and with StoreError for a
target that cannot be used.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from urllib.parse import urlsplit

from proxy.engine.ports import StoreError
from proxy.telemetry.ship import Target
from proxy.telemetry.ship_sqlite import SqliteTarget

EXPECTED = "sqlite:PATH, postgresql://USER@HOST/DATABASE, parquet:DIR, or env:NAME or file:PATH with one of these in it"
_EXTRAS = {"postgresql": ("postgres", "ship_postgres", "PostgresTarget"), "parquet": ("parquet", "ship_parquet", "ParquetTarget")}


def named(text: str, environment: Mapping[str, str]) -> str:
    """Return the target that `text` names, with what `env:` and `file:` stand for put in.

    Raises:
        ValueError: it names none; the message shows no password.
    """
    kind, _, rest = text.partition(":")
    if kind == "env" and rest:
        if not environment.get(rest):
            raise ValueError(f"ledger ship: the environment variable {rest} is not set")
        return _whole(environment[rest].strip(), text)
    if kind == "file" and rest:
        try:
            return _whole(Path(rest).read_text(encoding="utf-8").strip(), text)
        except (OSError, UnicodeDecodeError) as e:
            raise ValueError(f"ledger ship: {text}: cannot be read: {e}") from None
    return _whole(text, "--to")


def _whole(text: str, where: str) -> str:
    kind, _, rest = text.partition(":")
    kind = "postgresql" if kind == "postgres" else kind
    if kind not in ("sqlite", *_EXTRAS) or not rest or rest.startswith("//") != (kind == "postgresql"):
        raise ValueError(f"ledger ship: {where} names no target; expected {EXPECTED}")
    return f"{kind}:{rest}"


def shows_password(text: str) -> bool:
    """Say whether `text`, as everybody who lists processes sees it, holds a password."""
    try:
        return text.startswith("postgres") and (bool(urlsplit(text).password) or "password=" in text)
    except ValueError:
        return False


def opened(target: str, tenant: str) -> Target:
    """Return the target that `named` returned, for the records of `tenant`.

    Raises:
        StoreError: it cannot be used, or the library for it is not installed.
    """
    kind, _, rest = target.partition(":")
    if kind == "sqlite":
        return SqliteTarget(Path(rest))
    extra, module, name = _EXTRAS[kind]
    try:
        make = getattr(import_module(f"proxy.telemetry.{module}"), name)
    except ImportError as e:
        raise StoreError(
            f"ledger ship: {kind} needs a library that is not installed ({e.name or e}): pip install 'fleetgate[{extra}]', or in a "
            "checkout pip install --require-hashes -r requirements-extras.lock"
        ) from None
    found: Target = make(target if kind == "postgresql" else Path(rest), tenant)
    return found

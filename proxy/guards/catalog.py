"""All text guards, in the order in which they look. A new one is a file beside this one and a line here."""

from __future__ import annotations

from functools import cache

from proxy.guards.base import TextGuard
from proxy.guards.injection import InjectionGuard
from proxy.guards.pii import PiiGuard
from proxy.guards.secrets import SecretsGuard


@cache
def text_guards() -> tuple[TextGuard, ...]:
    """Return the guards, built once in a process."""
    return (SecretsGuard(), PiiGuard(), InjectionGuard())

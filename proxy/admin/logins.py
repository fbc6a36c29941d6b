"""Who has signed in with a browser, and who tries too often: pure but for the random numbers, `now` is an argument.

A login is a random secret in a cookie, of which only a digest is kept here; it ends after `LASTS_S`, after `IDLE_S` without use, and with
the process. Beside it stands a second secret, which a page has to read from an answer and send in a header: that no other site can do.
Bounded: at most `MOST` logins (the one used longest ago goes) and `MOST` addresses that failed lately. An address that is forgotten may
try anew: what makes guessing hopeless is the token's length.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass

LASTS_S, IDLE_S = 12 * 3600.0, 2 * 3600.0
MOST = 1000
TRIES, WINDOW_S = 10, 60.0
"""Wrong tokens that one address may send in so many seconds."""


@dataclass(slots=True)
class Login:
    """One browser that is signed in: what its changes must carry, when it ends at the latest, and when it was used last."""

    csrf: str
    expires: float
    used: float

    def holds(self, now: float) -> bool:
        """Return whether it is not over; a clock that was set back ends it, too, rather than prolonging it."""
        return now < self.expires and self.expires - now <= LASTS_S and now - self.used < IDLE_S


class Logins:
    """See the module."""

    def __init__(self) -> None:
        self._open: dict[bytes, Login] = {}
        self._wrong: dict[str, tuple[float, int]] = {}

    def begin(self, now: float) -> tuple[str, Login]:
        """Return a new login and the value of its cookie."""
        for digest in [d for d, login in self._open.items() if not login.holds(now)]:
            del self._open[digest]
        while len(self._open) >= MOST:
            self._open.pop(min(self._open, key=lambda d: self._open[d].used)).expires = 0.0
        secret, login = secrets.token_urlsafe(32), Login(secrets.token_urlsafe(32), now + LASTS_S, now)
        self._open[_digest(secret)] = login
        return secret, login

    def of(self, secret: str, now: float) -> Login | None:
        """Return the login that a cookie's value belongs to and note its use; None where there is none or it is over.

        It is found by its digest, so how long the look takes tells nothing about the secret.
        """
        login = self._open.get(_digest(secret)) if secret else None
        if login is None:
            return None
        if not login.holds(now):
            self.end(secret)
            return None
        login.used = now
        return login

    def end(self, secret: str) -> None:
        """End the login of a cookie."""
        login = self._open.pop(_digest(secret), None)
        if login is not None:
            login.expires = 0.0  # whoever holds on to it sees that it is over

    def wait_s(self, address: str, now: float) -> int:
        """Return the seconds until `address` may try again, 0 when it may."""
        began, tries = self._wrong.get(address, (now, 0))
        return max(1, int(began + WINDOW_S - now)) if tries >= TRIES and 0 <= now - began < WINDOW_S else 0

    def wrong(self, address: str, now: float) -> None:
        """Count a wrong token."""
        began, tries = self._wrong.pop(address, (now, 0))
        self._wrong[address] = (began, tries + 1) if 0 <= now - began < WINDOW_S else (now, 1)
        if len(self._wrong) > MOST:
            del self._wrong[next(iter(self._wrong))]


def proves(login: Login, csrf: str) -> bool:
    """Return whether `csrf` is what belongs to `login`, in constant time."""
    return hmac.compare_digest(_digest(login.csrf), _digest(csrf))


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()

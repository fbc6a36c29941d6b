"""Finds personal data that has a form: cards, bank accounts, US social security numbers, e-mail, phone numbers, IP addresses, licences.

Decides by check digits, ranges and lengths where a type has them, by the words around where it has none (a bare run of digits is a phone
number only beside such a word). Names, places and dates have no form and are not looked for. What belongs to nobody is left: addresses of
documentation (`user@example.com`), loopback and network masks, versions.

Two passes of RE2 find candidates; Python's own patterns look inside them, all of them without nested repeats. Linear, never raises.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Iterator, Sequence
from typing import ClassVar

import re2

from proxy.guards.base import Hit, Surface, TextGuard, apart
from proxy.guards.checksums import IBAN_LENGTHS, card, iban, luhn, social_security
from proxy.guards.folding import shown

VERSION = "1"
REACH = 200
"""The most characters that one finding spans: an e-mail address."""
BEFORE, AFTER = 48, 14
"""How far around a number a word makes it a phone number."""
CROWDED = 100_000

_words = re2.compile(
    r"[A-Za-z0-9._%+'?-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,4}[A-Za-z]{2,24}"
    r"|[A-Za-z]{2}[0-9]{2}[ -]?[A-Za-z0-9]{4}[ -]?(?:[A-Za-z0-9]{4}[ -]?){1,7}[A-Za-z0-9]{0,4}\b"
    r"|(?:[0-9a-fA-F]{1,4}:){7}[0-9a-fA-F]{1,4}\b|(?:[0-9a-fA-F]{1,4}:){1,6}:(?:[0-9a-fA-F]{1,4}:?){0,6}"
    r"|(?i:licen[cs]e|passport)(?i:(?: number| no\.?| #| id)?(?: is)?)[ :#]{1,3}[A-Za-z]{0,3}[0-9][0-9-]{4,14}[A-Za-z]?\b"
)
_runs = re2.compile(r"[+(]?[0-9][0-9 .()/x-]{4,}[0-9]")
_card = re.compile(
    rb"(?<![0-9.])(?=((?:[0-9]{12,19}|[0-9]{4}([ -])[0-9]{4}\2[0-9]{4}\2[0-9]{1,7}|3[0-9]{3}([ -])[0-9]{6}\3[0-9]{4,5})(?![0-9])))"
)
_ssn = re.compile(rb"(?<![0-9-])([0-9]{3})-([0-9]{2})-([0-9]{4})(?![0-9-])")
_ipv4 = re.compile(rb"(?<![0-9.])[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}(?![0-9]|\.[0-9])")
_phone = re.compile(
    rb"(?<![0-9.])(?:"
    rb"\+[0-9]{1,3}[ .-]?(?:\([0-9]{1,4}\)[ .-]?)?[0-9]{1,4}(?:[ .-]?[0-9]{2,4}){2,4}"
    rb"|(?:1[ .-]|001[ .-])?(?:\([0-9]{3}\) ?|[0-9]{3}[.-])[0-9]{3}[.-][0-9]{4}"
    rb"|\([0-9]{2,4}\) ?[0-9]{3,4}[ -][0-9]{3,4}"
    rb")(?: ?x ?[0-9]{1,6})?(?![0-9])"
)
_maybe_phone = re.compile(
    rb"(?<![0-9.+-])(?:0[0-9]{1,4}[ -][0-9]{2,8}(?:[ -][0-9]{2,4}){0,4}|[0-9]{2,4}(?:[ -][0-9]{2,4}){1,4}"
    rb"|[0-9]{2,4}[ -][0-9]{6,7}|[0-9]{10,11}|[0-9]{3} [0-9]{3}[ -][0-9]{4})(?![0-9])"
)
_date = re.compile(
    rb"(?:19|20)[0-9]{2}[-./ ][0-9]{1,2}[-./ ][0-9]{1,2}|[0-9]{1,2}[-./][0-9]{1,2}[-./](?:19|20)?[0-9]{2}\b"
    rb"|(?:19|20)[0-9]{2}[ -](?:19|20)[0-9]{2}\b"
)
_called = re.compile(
    rb"(?i)\b(?:phone|telephone|telefono?|tel|mobile|cell|cellphone|fax|call(?:ed|ing)?|sms|whatsapp|dial|hotline|handy|office"
    rb"|reach (?:me|us)|contact(?: number)?|messages? (?:to|on|at)|text me|ring me)\b"
)
_paid = re.compile(rb"(?i)\b(?:cards?|credit|debit|cc|visa|mastercard|amex|jcb|maestro)\b")
_labelled = re.compile(rb"(?i)^[ ,:\-\\(]{0,3}(?:office|fax|mobile|cell|home|work|phone|tel)\b")
_version = re.compile(rb"(?i)(?:\bv|version[ :=\"']{0,4}|release )$")
_nobody = re.compile(
    rb"(?i)@(?:[a-z0-9-]+\.)?(?:example\.(?:com|org|net|edu)|[a-z0-9.-]+\.(?:test|example|invalid|local|png|jpg|gif|svg|webp|js|css|py))$|^git@|@(?:localhost|2x\.|3x\.)"
)
_number = re.compile(rb"[A-Za-z]{0,3}[0-9][0-9-]{4,14}[A-Za-z]?$")


class PiiGuard(TextGuard):
    """See the module."""

    name: ClassVar[str] = "pii"
    surfaces: ClassVar[frozenset[Surface]] = frozenset({"prompt", "tool_result", "reply"})

    def __init__(self) -> None:
        self.reach = REACH
        patterns = [_words.pattern, _runs.pattern, _card.pattern, _phone.pattern, _maybe_phone.pattern, _called.pattern, _nobody.pattern]
        self.digest = hashlib.sha256(repr((VERSION, patterns)).encode()).hexdigest()[:12]

    def scan(self, text: str, surface: Surface) -> Sequence[Hit]:
        """See `TextGuard.scan`."""
        raw, places = shown(text)
        found = [*_worded(raw), *_numbers(raw)]
        return apart(found, places) if found else ()


def _worded(raw: bytes) -> Iterator[Hit]:
    """Find what has letters in it. What is no find is left after two characters, an address after its sign: another may begin inside it."""
    at = 0
    for _ in range(CROWDED):
        match = _words.search(raw, at)
        if match is None:
            return
        hit = _word(raw, match.group(), match.start())
        if hit is not None:
            at = hit.end
            yield hit
        else:
            at = match.start() + max(2, match.group().find(b"@") + 1)
    yield _crowded()


def _word(raw: bytes, found: bytes, at: int) -> Hit | None:
    end = at + len(found)
    if b"@" in found:
        start = at + len(found) - len(found.lstrip(b"'.-?"))
        if raw[start - 1 : start] == b"\\" and raw[start : start + 1] in (b"n", b"r", b"t") and raw[start + 1 : start + 2] != b"@":
            start += 1  # the letter of an escape
        return None if _nobody.search(found) or raw[end : end + 1] == b"(" else Hit("pii/email", start, end, "EMAIL", "an e-mail address")
    if _glued(raw, at):
        return None
    if b":" in found[:5] and found.count(b":") >= 2:
        found = found.rstrip(b":")
        return Hit("pii/ip", at, at + len(found), "IP", "an IP address") if _address(found) else None
    number = _number.search(found)
    if found[:2].lower() in (b"li", b"pa") and number is not None and number.start() > 6:
        return Hit("pii/licence", at + number.start(), end, "LICENCE", "the number of a licence or passport")
    size = _iban_size(found)
    return Hit("pii/iban", at, at + size, "IBAN", "a bank account (IBAN)") if size else None


def _glued(raw: bytes, at: int) -> bool:
    """Tell whether a word goes on before `at`; the letter of an escape such as `\\n` is no word."""
    before = raw[at - 1 : at] if at else b""
    if not before or not (before.isalnum() or before in (b"_", b"%", b"#")):
        return False
    return not (before in (b"n", b"t", b"r") and raw[at - 2 : at - 1] == b"\\")


def _iban_size(found: bytes) -> int:
    wanted, seen = IBAN_LENGTHS.get(found[:2].decode("ascii").upper(), 0), 0
    if not wanted:
        return 0
    for i, char in enumerate(found):
        seen += char not in b" -"
        if seen == wanted:
            code = found[: i + 1].translate(None, b" -").decode("ascii").upper()
            following = found[i + 1 : i + 2]
            return i + 1 if not following.isalnum() and iban(code) else 0
    return 0


def _numbers(raw: bytes) -> Iterator[Hit]:
    """Find what is written in digits."""
    for count, match in enumerate(_runs.finditer(raw)):
        if count >= CROWDED:
            yield _crowded()
            return
        at, end = match.span()
        run = raw[at:end]
        if end - at <= 10 and _date.fullmatch(run):
            continue
        yield from _in_run(raw, at, run)


def _in_run(raw: bytes, at: int, run: bytes) -> Iterator[Hit]:
    before = raw[at - 1 : at]
    glued = _glued(raw, at)
    if len(run) >= 12:
        for match in _card.finditer(run):
            digits = match.group(1).translate(None, b" -").decode("ascii")
            if (match.start() or not glued) and (
                card(digits) or (luhn(digits) and _paid.search(raw[max(0, at + match.start() - 40) : at + match.start()]))
            ):
                yield Hit("pii/card", at + match.start(), at + match.start() + len(match.group(1)), "CARD", "a card number")
    for match in _ssn.finditer(run):
        if (match.start() or not glued) and social_security(*(part.decode("ascii") for part in match.groups())):
            yield Hit("pii/ssn", at + match.start(), at + match.end(), "SSN", "a US social security number")
    if run.count(b".") >= 3:
        for match in _ipv4.finditer(run):
            if (
                (match.start() or not glued)
                and _address(match.group())
                and not _version.search(raw[max(0, at + match.start() - 12) : at + match.start()])
            ):
                yield Hit("pii/ip", at + match.start(), at + match.end(), "IP", "an IP address")
    if not glued and before not in (b"/", b"=", b"-", b".", b":"):
        yield from _phones(raw, at, run)


def _phones(raw: bytes, at: int, run: bytes) -> Iterator[Hit]:
    for match in _phone.finditer(run):
        if sum(map(match.group().count, b"0123456789")) >= 8:
            yield Hit("pii/phone", at + match.start(), at + match.end(), "PHONE", "a phone number")
    for match in _maybe_phone.finditer(run):
        start, end = at + match.start(), at + match.end()
        digits = sum(map(match.group().count, b"0123456789"))
        if not 6 <= digits <= 14 or _date.fullmatch(match.group()):
            continue
        if _labelled.search(raw[end : end + AFTER]) or (digits >= 7 and _called.search(raw[max(0, start - BEFORE) : start])):
            yield Hit("pii/phone", start, end, "PHONE", "a phone number")


def _address(found: bytes) -> bool:
    """Tell whether `found` is an address that can be somebody's."""
    try:
        address = ipaddress.ip_address(found.decode("ascii"))
    except ValueError:
        return False
    if address.version == 6 and (not any(c in b"0123456789" for c in found) or found.count(b":") < 3):
        return False
    return not (
        address.is_loopback
        or address.is_unspecified
        or address.is_multicast
        or found.startswith((b"255.", b"0."))
        or found.endswith(b".0.0.0")
    )


def _crowded() -> Hit:
    return Hit("pii/crowded", 0, 1, "REDACTED", "too many places that look like personal data", open=True)

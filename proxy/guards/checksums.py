"""What tells a number that means something from one that does not: check digits, issuers' ranges, lengths by country. Pure.

Source: ISO/IEC 7812-1 annex B (Luhn) and the issuers' published number ranges; ISO 13616 and the SWIFT IBAN registry (2026); US Social
Security Administration, "Social Security Number Randomization" (numbers that are never given out).
"""

from __future__ import annotations

_DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)

_ISSUERS: tuple[tuple[int, int, int, int], ...] = (
    (4, 4, 13, 19),
    (51, 55, 16, 16),
    (2221, 2720, 16, 16),
    (2200, 2204, 16, 19),
    (34, 34, 15, 15),
    (37, 37, 15, 15),
    (300, 305, 14, 19),
    (309, 309, 14, 19),
    (36, 36, 14, 19),
    (38, 39, 14, 19),
    (6011, 6011, 16, 19),
    (644, 649, 16, 19),
    (65, 65, 16, 19),
    (62, 62, 16, 19),
    (3528, 3589, 16, 19),
    (2131, 2131, 15, 15),
    (1800, 1800, 15, 15),
    (5018, 5018, 12, 19),
    (5020, 5020, 12, 19),
    (5038, 5038, 12, 19),
    (56, 58, 12, 19),
    (60, 63, 12, 19),
    (67, 67, 12, 19),
)
"""First digits from and to, fewest and most digits: Visa, Mastercard, Mir, American Express, Diners, Discover, UnionPay, JCB, Maestro."""

IBAN_LENGTHS = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BI": 27, "BR": 29, "BY": 28, "CH":
    21, "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DJ": 27, "DK": 18, "DO": 28, "EE": 20, "EG": 29, "ES": 24, "FI": 18, "FK": 18,
    "FO": 18, "FR": 27, "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28, "HN": 28, "HR": 21, "HU": 28, "IE": 22, "IL":
    23, "IQ": 23, "IS": 26, "IT": 27, "JO": 30, "KW": 30, "KZ": 20, "LB": 28, "LC": 32, "LI": 21, "LT": 20, "LU": 20, "LV": 21,
    "LY": 25, "MC": 27, "MD": 24, "ME": 22, "MK": 19, "MN": 20, "MR": 27, "MT": 31, "MU": 30, "NI": 28, "NL": 18, "NO": 15, "OM":
    23, "PK": 24, "PL": 28, "PS": 29, "PT": 25, "QA": 29, "RO": 24, "RS": 22, "RU": 33, "SA": 24, "SC": 31, "SD": 18, "SE": 24,
    "SI": 19, "SK": 24, "SM": 27, "SO": 23, "ST": 25, "SV": 28, "TL": 23, "TN": 24, "TR": 26, "UA": 29, "VA": 22, "VG": 24, "XK":
    20, "YE": 30,
}  # fmt: skip


def luhn(digits: str) -> bool:
    """Tell whether the check digit of a card number is right."""
    total = 0
    for i, digit in enumerate(reversed(digits)):
        total += _DOUBLED[int(digit)] if i % 2 else int(digit)
    return total % 10 == 0


def card(digits: str) -> bool:
    """Tell whether `digits` is the number of a payment card: an issuer's range, its length, a right check digit, not one digit alone."""
    return _issued(digits) and len(set(digits)) > 1 and luhn(digits)


def _issued(digits: str) -> bool:
    for first, last, fewest, most in _ISSUERS:
        if first <= int(digits[: len(str(first))]) <= last:
            return fewest <= len(digits) <= most
    return False


def iban(code: str) -> bool:
    """Tell whether `code`, in capitals and without spaces, is an account number with right check digits."""
    if IBAN_LENGTHS.get(code[:2]) != len(code) or not code[2:4].isdecimal():
        return False
    return int("".join(str(int(c, 36)) for c in code[4:] + code[:4])) % 97 == 1


def social_security(area: str, group: str, serial: str) -> bool:
    """Tell whether the parts of a US social security number are ones that are given out."""
    return area not in ("000", "666") and area < "900" and group != "00" and serial != "0000"

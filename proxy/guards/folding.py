"""What a text says to a reader, for matching: invisible characters gone, letters that look alike made one; spans still lead back.

Text in ASCII is left as it is and costs nothing; other text is looked at once for characters that matter here.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\U000e0000-\U000e0fff]"
)
"""Characters that a reader does not see: zero width, direction marks, variation selectors, tags."""
_ASCII = bytes(range(128))

_LETTERS = str.maketrans(
    "\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0456\u0458\u0455\u04bb\u0501\u051b\u0410\u0412\u0415\u041a\u041c\u041d\u041e\u0420\u0421\u0422\u0425"
    "\u03bf\u03b1\u03b9\u03bd\u03c1\u0391\u0392\u0395\u0397\u0399\u039a\u039c\u039d\u039f\u03a1\u03a4\u03a7\u0131",
    "aeopcyxijshdqABEKMHOPCTXoaivpABEHIKMNOPTXi",
)
"""Letters of other scripts that look like Latin ones; they count as those in words that have Latin letters too."""
_SIGNS = str.maketrans("\u2018\u2019\u201c\u201d\u00a0\u2013\u2014", "''\"\" --")
"""Typographic signs that stand for plain ones."""
_mixed = re.compile(r"\b(?=\w*[A-Za-z])\w+")


def strange(text: str) -> str:
    """Return the characters of `text` outside ASCII, in order."""
    return "" if text.isascii() else text.encode("utf-8", "replace").translate(None, _ASCII).decode("utf-8", "replace")


def shown(text: str) -> tuple[bytes, list[int] | None]:
    """Return one byte for each character of `text` that shows, and where each stands; None where each stands at its own place.

    Characters that have no form in ASCII become a question mark.
    """
    if text.isascii():
        return text.encode("ascii"), None
    other = strange(text)
    if not INVISIBLE.search(other) and not any("\uff01" <= c <= "\uff5e" for c in set(other)):
        return text.encode("ascii", "replace"), None
    plain, places = folded(text)
    return plain.encode("ascii", "replace"), places


def folded(text: str) -> tuple[str, list[int] | None]:
    """Return `text` as a reader takes it (compatibility forms and look-alikes made plain), and where each of its characters stood."""
    if text.isascii():
        return text, None
    other = strange(text)
    plain = {char: "" if INVISIBLE.match(char) else unicodedata.normalize("NFKC", char).translate(_SIGNS) for char in set(other)}
    places: list[int] | None = None
    if all(len(said) == 1 for said in plain.values()):
        for char, said in plain.items():
            if said != char:
                text = text.replace(char, said)
    else:
        text, places = _placed(text, plain)
    if any(ord(char) in _LETTERS for char in plain):
        text = _mixed.sub(lambda word: word.group().translate(_LETTERS), text)
    return text, places


def _placed(text: str, plain: Mapping[str, str]) -> tuple[str, list[int]]:
    chars: list[str] = []
    places: list[int] = []
    for at, char in enumerate(text):
        said = char if char < "\x80" else plain.get(char, "?")
        chars.append(said)
        places.extend([at] * len(said))
    return "".join(chars), places

"""What a text says to a reader, for matching: invisible characters gone, letters that look alike made one; spans still lead back.

Text in ASCII is left as it is and costs nothing; other text is looked at once for characters that matter here.
"""

from __future__ import annotations

import re
import unicodedata

INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\U000e0000-\U000e0fff]"
)
"""Characters that a reader does not see: zero width, direction marks, variation selectors, tags."""
_ASCII = bytes(range(128))

LOOKALIKES = str.maketrans(
    "\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0456\u0458\u0455\u04bb\u0501\u051b\u0410\u0412\u0415\u041a\u041c\u041d\u041e\u0420\u0421\u0422\u0425"
    "\u03bf\u03b1\u03b9\u03bd\u03c1\u0391\u0392\u0395\u0397\u0399\u039a\u039c\u039d\u039f\u03a1\u03a4\u03a7\u0131\u2018\u2019\u201c\u201d\u00a0\u2013\u2014",
    "aeopcyxijshdqABEKMHOPCTXoaivpABEHIKMNOPTXi''\"\" --",
)
"""Letters of other scripts that look like Latin ones, and typographic signs that stand for plain ones."""


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
    if not INVISIBLE.search(other) and other.translate(LOOKALIKES) == other and unicodedata.is_normalized("NFKC", other):
        return text, None
    chars: list[str] = []
    places: list[int] = []
    for at, char in enumerate(text):
        if char < "\x80":
            chars.append(char)
            places.append(at)
        elif not INVISIBLE.match(char):
            plain = unicodedata.normalize("NFKC", char).translate(LOOKALIKES)
            chars.append(plain)
            places.extend([at] * len(plain))
    return "".join(chars), places

"""Text as it acts, not as it looks: what hides words from a reader is taken away before a call is judged.

Compatibility forms are folded (NFKC), invisible and direction-changing characters and NULs go, letters of other alphabets that look like
Latin ones become those in words that would otherwise be Latin. It decides nothing and never fails; ASCII text is returned as it is.
"""

from __future__ import annotations

import re
import unicodedata

_INVISIBLE = re.compile(
    "[\x00\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb"
    "\U000e0000-\U000e0fff]"
)
_ALIKE = str.maketrans(
    dict(
        zip(
            "аеорсухіјѕԁһԛѡɡгптвкмнАВЕКМНОРСТУХІЈЅαοριυνκτχβΑΒΕΖΗΙΚΜΝΟΡΤΥΧ",
            "aeopcyxijsdhqwgrntbkmhABEKMHOPCTYXIJSaopiuvktxbABEZHIKMNOPTYX",
            strict=True,
        )
    )
)
_MIXED = re.compile(r"[A-Za-z0-9_\u0370-\u03ff\u0400-\u052f\u0261]+")
_DASHES = dict.fromkeys((0x2010, 0x2011, 0x2012, 0x2013, 0x2014, 0x2015, 0x2212, 0x2043), "-")


def _fold(word: re.Match[str]) -> str:
    text = word[0]
    if text.isascii():
        return text
    folded = text.translate(_ALIKE)
    return folded if folded.isascii() else text


def unmask(text: str) -> str:
    """Return `text` without what hides its meaning."""
    if text.isascii():
        return text.replace("\0", "") if "\0" in text else text
    text = _INVISIBLE.sub("", unicodedata.normalize("NFKC", text))
    return _MIXED.sub(_fold, text).translate(_DASHES)

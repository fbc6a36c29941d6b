"""JSON without a full parse: find the members of an object in its bytes, splice one, and read strictly what is new.

A proxy that decides on one reading of a body and forwards bytes that another parser reads differently has decided nothing. So what is
ambiguous is refused: duplicate keys, keys written with escapes, keys that differ from a known one only in case, numbers that JSON does
not have, invalid UTF-8.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NoReturn, TypeVar

import msgspec

from proxy.wire.call import Span, WireError

T = TypeVar("T")
_members_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
_list_decoder = msgspec.json.Decoder(list[msgspec.Raw])
_LARGE = 4096
MAX_QUOTES = 160_000
MAX_ITEMS = 100_000
"""Commas and opening brackets outside of strings: each begins a value."""
_gap = re.compile(rb"[ \t\n\r]*")


def members(body: bytes, protocol: str) -> dict[str, Span]:
    """Return for each key of the JSON object `body` the span [start, end) of its value.

    One pass finds the values as raw slices. Where their lengths and those of the keys add up to the whole body there is nothing else in
    it: a space, an escape in a key or a second value for a key each make the body longer. Any other body is walked, gap by gap, which
    proves the same: a duplicate key makes the walk miss.

    Raises:
        WireError: not a JSON object, a duplicate key, or a key written with escapes.
    """
    try:
        values = _members_decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise WireError(protocol, "", _plain(e)) from None
    spans: dict[str, Span] = {}
    end = 0
    for key, raw in values.items():
        start = end + len(key) + 4
        end = start + len(raw)
        spans[key] = (start, end)
    if end + 1 == len(body):
        return spans
    return _walked(body, values, protocol)


def _walked(body: bytes, values: Mapping[str, msgspec.Raw], protocol: str) -> dict[str, Span]:
    spans: dict[str, Span] = {}
    position = skip(body, 0) + 1
    for key, raw in values.items():
        position = skip(body, position)
        name = b'"%b"' % key.encode("utf-8", "surrogatepass")
        if not body.startswith(name, position):
            _ambiguous(body, key, protocol)
        position = skip(body, position + len(name)) + 1
        position = skip(body, position)
        end = position + len(raw)
        if not body.startswith(raw, position):
            _ambiguous(body, key, protocol)
        spans[key] = (position, end)
        position = skip(body, end) + 1
    if skip(body, position) != len(body) and values:
        _ambiguous(body, "", protocol)
    return spans


def skip(body: bytes, position: int) -> int:
    """Return the offset of the first byte from `position` on that is no space."""
    head = body[position : position + 2]
    first = head[:1]
    if first > b" ":
        return position
    if first == b" " and head[1:] > b" ":
        return position + 1
    match = _gap.match(body, position)
    return match.end() if match else position


def _ambiguous(body: bytes, key: str, protocol: str) -> NoReturn:
    try:
        strict(body, protocol)
    except WireError as e:
        raise e from None
    raise WireError(protocol, f"/{key}", "a key written with escapes; write it plainly")


def elements(raw: bytes | memoryview, protocol: str, pointer: str) -> list[bytes]:
    """Return the raw items of the JSON array `raw`.

    Raises:
        WireError: not an array.
    """
    try:
        return [bytes(item) for item in _list_decoder.decode(raw)]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise WireError(protocol, pointer, "must be an array") from None


def bounded(body: bytes, protocol: str, structure: bool) -> None:
    """Refuse a body that is divided so finely that reading it would hold up everybody else. Costs little for long texts.

    Quotes that no backslash stands before are the ends of strings, so they tell the number of strings; commas and brackets outside of
    strings tell the number of values.

    Args:
        body: JSON, most likely.
        protocol: for errors.
        structure: also bound the number of other values.

    Raises:
        WireError: it is.
    """
    quotes = body.count(b'"')
    if quotes > MAX_QUOTES and quotes - body.count(b'\\"') > MAX_QUOTES:
        raise WireError(protocol, "", f"more than {MAX_QUOTES // 2} texts in messages, parts or inputs; send fewer and longer ones")
    if structure and _items(body) > MAX_ITEMS:
        outside = b"".join(body.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')[::2])
        if _items(outside) > MAX_ITEMS:
            raise WireError(protocol, "", f"more than {MAX_ITEMS} brackets and commas around messages, parts and values")


def _items(text: bytes) -> int:
    return text.count(b",") + text.count(b"[") + text.count(b"{")


def look_alikes(keys: Iterable[str], known: Collection[str], protocol: str) -> None:
    """Refuse a key that a lenient parser could take for a known one (`Model` for `model`).

    Raises:
        WireError: such a key is there.
    """
    for key in keys:
        if key not in known and key.casefold() in known:
            raise WireError(protocol, f"/{key}", f"is {key.casefold()} in other letters; some servers would read it as such")


class _Flaw(Exception):
    """What `strict` found while the parser ran: a place below the pointer, and words."""


def _pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(items)
    if len(found) != len(items):
        seen: set[str] = set()
        twice = next(k for k, _ in items if k in seen or seen.add(k))  # type: ignore[func-returns-value]
        raise _Flaw(f"/{twice}"[:200], "this key stands here twice")
    return found


def _constant(name: str) -> NoReturn:
    raise _Flaw("", f"{name} is not JSON")


_strict_decoder = json.JSONDecoder(object_pairs_hook=_pairs, parse_constant=_constant)


def strict(raw: bytes, protocol: str, pointer: str = "") -> Any:
    """Return `raw` parsed strictly.

    Raises:
        WireError: not JSON, not UTF-8, too deep, NaN or Infinity, or a duplicate key anywhere in it.
    """
    try:
        return _strict_decoder.decode(raw.decode("utf-8"))
    except _Flaw as e:
        place, words = e.args
        raise WireError(protocol, pointer + place, words) from None
    except UnicodeDecodeError as e:
        raise WireError(protocol, pointer, f"not UTF-8 at byte {e.start}") from None
    except RecursionError:
        raise WireError(protocol, pointer, "nested too deep") from None
    except ValueError as e:
        raise WireError(protocol, pointer, f"not JSON: {e}") from None


def _plain(e: Exception) -> str:
    if isinstance(e, RecursionError):
        return "nested too deep"
    if isinstance(e, msgspec.ValidationError):
        return "the body must be a JSON object"
    return f"not JSON: {e}"


def splice(body: bytes, members: Mapping[str, Span], changes: Mapping[str, bytes]) -> bytes:
    """Return `body` with the value of each key in `changes` replaced, keys that are not there added at the front.

    Nothing else moves: bytes outside the changed values stay as they were.
    """
    inside = sorted((members[k], v) for k, v in changes.items() if k in members)
    old = memoryview(body) if len(body) > _LARGE else body  # that is copied once then
    parts: list[bytes | memoryview] = []
    position = 0
    new = [b'"%b":%b' % (k.encode(), v) for k, v in changes.items() if k not in members]
    if new:
        position = body.index(b"{") + 1
        parts += [old[:position], b",".join(new), b"," if members else b""]
    for (start, end), value in inside:
        parts += [old[position:start], value]
        position = end
    parts.append(old[position:])
    return b"".join(parts)


def dumps(value: Any) -> bytes:
    """Return compact JSON of `value`, pure ASCII, so that no text in it can fail to encode."""
    return json.dumps(value, separators=(",", ":")).encode()


def loads(body: bytes) -> Any:
    """Return the JSON of a provider's reply, read leniently; None when it is none."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def parsed(body: bytes) -> Any:
    """Return JSON that was proved unambiguous before, by the parser that is several times faster; None when nobody can read it.

    It takes no half surrogates, so that a body that has some is read by the other. Numbers past the range of a double are none: written
    out again they would be another value.
    """
    try:
        return msgspec.json.decode(body)
    except msgspec.ValidationError:
        return None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return loads(body)


def decoded(decoder: msgspec.json.Decoder[T], data: bytes) -> T:
    """Return what a provider said, decoded. A mark stands for half a surrogate, which JSON allows: it must not hide what stands beside it.

    Raises:
        msgspec.DecodeError, UnicodeDecodeError, RecursionError: it is no JSON, or not of the shape that the decoder wants.
    """
    try:
        return decoder.decode(data)
    except msgspec.ValidationError:
        raise
    except (msgspec.DecodeError, UnicodeDecodeError):
        value = loads(data)
        if value is None:
            raise
        return decoder.decode(readable(value).encode())


def encoded(value: Any) -> bytes:
    """Return compact JSON of `value` by the encoder that is several times faster, with half surrogates escaped."""
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        return dumps(value)


def line(value: Any) -> bytes:
    """Return compact JSON of `value` in ASCII, as an event of a stream must be: some clients cut lines wherever Unicode breaks one, also
    within a text (U+2028 and the like).
    """
    found = encoded(value)
    return found if found.isascii() else dumps(value)


def readable(value: Any) -> str:
    """Return compact JSON of `value` as text that a model would read: letters of all scripts unescaped, no half surrogates."""
    return clean(json.dumps(value, separators=(",", ":"), ensure_ascii=False))


def clean(text: str) -> str:
    """Return `text` with half surrogates replaced, so that whoever encodes it later cannot fail."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def utf8(body: bytes, protocol: str) -> None:
    """Refuse a body that is not UTF-8 from end to end.

    Raises:
        WireError: it is not.
    """
    if not body.isascii():
        try:
            body.decode()
        except UnicodeDecodeError as e:
            raise WireError(protocol, "", f"not UTF-8 at byte {e.start}") from None


def signature(name: str, arguments: str) -> bytes:
    """Return 16 bytes that are equal for calls of the same tool with the same arguments, however those are spaced or ordered.

    Arguments that are not JSON count as they are written; none at all count as an empty object.
    """
    try:
        canonical = json.dumps(json.loads(arguments or "{}"), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    except (ValueError, RecursionError):
        canonical = arguments
    digest = hashlib.blake2b(digest_size=16)
    digest.update(name.encode("utf-8", "surrogatepass") + b"\0" + canonical.encode("utf-8", "surrogatepass"))
    return digest.digest()


def fingerprint(raw: bytes) -> bytes:
    """Return the stable 16-byte digest of a message's raw bytes."""
    return hashlib.blake2b(raw, digest_size=16).digest()

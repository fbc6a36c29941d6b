"""Commands whose output is known when their input is: `echo`, `printf`, decoders, `tr`. They do nothing; what they print may be run."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from urllib.parse import unquote

from proxy.guards.findings import NOTHING, Value
from proxy.guards.paths import HOLE
from proxy.guards.shell_run import Handler, Run
from proxy.guards.shell_words import unescape


def _echo(run: Run) -> Value | None:
    args = list(run.args)
    escapes, end = run.name == "echo" and any(re.fullmatch(r"-n?e\w*", a) for a in args[:2]), "\n"
    while args and re.fullmatch(r"-[neE]+", args[0]):
        end = "" if "n" in args.pop(0) else end
    text = " ".join(args)
    return Value((unescape(text) if escapes or "\\" in text else text) + end, run.taint)


def _printf(run: Run) -> Value | None:
    args = run.args[2:] if run.args[:1] == ["-v"] else [a for a in run.args if a != "--"]
    if not args:
        return NOTHING
    values, text = args[1:], unescape(args[0])
    taken = iter(values)
    filled = re.sub(r"%[-+ #0]*\d*(?:\.\d+)?([sdbqxXcouif])", lambda m: next(taken, ""), text)
    more = "".join(taken) if "%" in text else ""
    taint = run.taint | ({"decoded"} if re.search(r"(\\(x[0-9a-fA-F]{2}|[0-7]{3})){3}", args[0] + " ".join(values)) else set())
    value = Value(unescape(filled + more), taint)
    if run.args[:1] == ["-v"] and len(run.args) > 1:
        run.machine.variables[run.args[1]] = value
        return NOTHING
    return value


def decode64(text: str, encoding: str = "utf-8") -> str:
    """Return what Base64 text holds; a hole where it is none."""
    try:
        return base64.b64decode(re.sub(r"[^A-Za-z0-9+/=]", "", text) + "==").decode(encoding, "replace").replace("\0", "")
    except (binascii.Error, ValueError):
        return HOLE


def _from_hex(text: str) -> str:
    digits = re.sub(r"[^0-9A-Fa-f]", "", text)
    return bytes.fromhex(digits[: len(digits) // 2 * 2]).decode("utf-8", "replace").replace("\0", "")


def _from_base32(text: str) -> str:
    try:
        return base64.b32decode(re.sub(r"\s", "", text)).decode("utf-8", "replace").replace("\0", "")
    except (binascii.Error, ValueError):
        return HOLE


_DECODERS: dict[str, tuple[set[str], Callable[[str], str]]] = {
    "base64": ({"d", "D", "decode", "di"}, decode64),
    "base32": ({"d", "decode"}, _from_base32),
    "xxd": ({"r", "rp", "revert"}, _from_hex),
    "rev": (set(), lambda text: "\n".join(line[::-1] for line in text.split("\n"))),
    "urldecode": (set(), unquote),
}
_UNPACKERS = frozenset("gunzip gzip zcat bzip2 bunzip2 xz unxz zstd uudecode basenc openssl gpg lzma unlzma brotli base58 ascii85".split())


def _decoder(run: Run) -> Value | None:
    flags, decode = _DECODERS[run.name]
    options = run.options("wcsl", ("wrap",))
    source = run.stdin
    for path in options.rest[:1]:
        source = run.machine.read(path)
    source = source or Value()
    if flags and not options.flags & flags:
        return Value(HOLE, source.taint | run.taint)
    known = HOLE not in source.text and len(source.text) < 65_536
    return Value(decode(source.text.strip()) if known else HOLE, source.taint | {"decoded"})


def _tr(run: Run) -> Value | None:
    source = run.stdin or Value()
    sets = [unescape(re.sub(r"(.)-(.)", _span, a)) for a in run.args if not a.startswith("-")]
    if HOLE in source.text or not sets:
        return source
    if "-d" in run.args:
        return Value("".join(c for c in source.text if c not in sets[0]), source.taint)
    if len(sets) < 2 or "-c" in run.args or "-s" in run.args or not sets[1] or "[:" in sets[0]:
        return source
    second = sets[1].ljust(len(sets[0]), sets[1][-1])
    changed = source.text.translate({ord(a): b for a, b in zip(sets[0], second, strict=False)})
    return Value(changed, source.taint | ({"decoded"} if changed.swapcase() != source.text and len(sets[0]) > 4 else set()))


def _span(match: re.Match[str]) -> str:
    low, high = ord(match[1]), ord(match[2])
    return "".join(map(chr, range(low, high + 1))) if 0 <= high - low < 128 else match[0]


def _read(run: Run) -> Value | None:
    stdin = run.stdin or Value()
    names = run.options("adinNptu").rest or ["REPLY"]
    line = stdin.text.split("\n", 1)[0]
    words = line.split(None, len(names) - 1) if HOLE not in line and len(names) > 1 else [line]
    for i, name in enumerate(names):
        known = words[i] if i < len(words) and HOLE not in line else HOLE
        run.machine.variables[name] = Value(known, stdin.taint)
    return NOTHING


TEXTS: dict[str, Handler] = {
    "echo": _echo,
    "printf": _printf,
    **dict.fromkeys(_DECODERS, _decoder),
    "tr": _tr,
    **dict.fromkeys(("read", "mapfile", "readarray"), _read),
}
UNPACKERS = _UNPACKERS

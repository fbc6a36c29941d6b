"""What rules see: of a text, of a tool call, of the exchange around them.

A tool call's arguments are read once, lazily and however they are written: JSON, JSON within JSON, or plain text (which some tools take,
and which broken JSON counts as). Nothing here decides or fails; time is linear in the size of the arguments.
"""

from __future__ import annotations

import functools
import ipaddress
import json
import posixpath
import re
import socket
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any, Protocol
from urllib.parse import unquote

from proxy.effects import Effect
from proxy.wire.call import ToolCall

MAX_DEPTH = 32
"""Arguments nested deeper than this are read as text."""
COMMAND_KEYS = frozenset(("command", "cmd", "commands", "script", "code", "input", "shell_command", "bash", "args", "argv", "query", "sql"))
"""Arguments whose text is run, whatever the tool."""
PATH_KEYS = frozenset(
    (
        "path", "paths", "file", "files", "file_path", "filepath", "filename", "file_name", "target", "target_file", "absolute_path",
        "relative_path", "relative_workspace_path", "notebook_path", "dir", "directory", "folder", "src", "source", "dst", "dest",
        "destination", "old_path", "new_path", "source_path", "destination_path", "uri",
    )
)  # fmt: skip
"""Arguments that name files, whatever the tool."""
FILE_EFFECTS = frozenset(("fs.delete", "fs.wipe", "fs.write", "fs.read", "fs.chmod", "secret.read", "self.modify", "browser.store"))
MAX_CHARS = 1 << 20
"""Longer arguments are not read: whatever a rule looks for in them may be there."""
_AFTER_SCHEME = re.compile(r"""://[^\s"'<>`|;\\^{}]{1,2000}""")
_SCHEME = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*\Z")
_PATCH = re.compile(r"^\*\*\* (?:Add|Update|Delete) File: (.+)$|^\*\*\* Move to: (.+)$|^(?:---|\+\+\+) (?:[ab]/)?(\S+)", re.MULTILINE)
_SEPARATORS = re.compile(r"\|\||&&|[\n;|&]")
_SPACES = re.compile(r"\s+")
_INVISIBLE = re.compile("[\u0000\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff\U000e0000-\U000e0fff]")


class Facts(Protocol):
    """What a match is held against. Everything but `texts` is empty where no tool is called."""

    @property
    def texts(self) -> Sequence[str]:
        """The text itself, or the arguments as written and each text in them."""
        ...

    @property
    def commands(self) -> Sequence[str]:
        """Commands that would run: whole, and each simple one alone; letter case folded, spaces single."""
        ...

    @property
    def paths(self) -> Sequence[str]:
        """Files and folders, without `.` and `..`; letter case folded."""
        ...

    @property
    def urls(self) -> Sequence[str]:
        """URLs; letter case folded."""
        ...

    @property
    def hosts(self) -> Sequence[str]:
        """Hosts; numbers as dotted quads."""
        ...

    @property
    def effects(self) -> Sequence[Effect]:
        """What the call would do."""
        ...

    @property
    def given(self) -> Any:
        """The arguments as data, or None where they are plain text."""
        ...

    @property
    def unread(self) -> bool:
        """Whether the arguments are too long to be looked into."""
        ...


class TextFacts:
    """The facts of a text."""

    __slots__ = ("texts",)
    commands: Sequence[str] = ()
    paths: Sequence[str] = ()
    urls: Sequence[str] = ()
    hosts: Sequence[str] = ()
    effects: Sequence[Effect] = ()
    given: Any = None
    unread = False

    def __init__(self, text: str) -> None:
        self.texts: Sequence[str] = (text,) if text.isascii() else (text, plain(text))


class CallFacts:
    """The facts of a tool call that would have `effects`."""

    def __init__(self, call: ToolCall, effects: Sequence[Effect] = ()) -> None:
        self.name, self.arguments, self.effects = call.name, call.arguments, effects
        self.unread = len(call.arguments) > MAX_CHARS

    @functools.cached_property
    def given(self) -> Any:
        """See Facts."""
        return None if self.unread else read(self.arguments)

    @functools.cached_property
    def leaves(self) -> list[tuple[str, str]]:
        """Every text among the arguments with the nearest key above it, letter case folded; plain text is one without a key."""
        if self.unread:
            return []
        found = list(_leaves(self.given, "", 0)) if self.given is not None else [("", self.arguments)]
        return [(key, text if text.isascii() else plain(text)) for key, text in found]

    @functools.cached_property
    def texts(self) -> Sequence[str]:
        """See Facts."""
        return (self.arguments, *(text for _, text in self.leaves))

    def values(self, key: str) -> Sequence[str]:
        """Return the texts of the argument `key` (a name, or names with dots between); of all arguments where it is empty.

        Arguments that are no JSON, and those of tools that take plain text, are one text under every key.
        """
        if not key or self.given is None:
            return self.texts
        pointer = key if key.startswith("/") else "/" + key.replace("/", "~1").replace(".", "/")
        found = at_pointer(self.given, pointer)
        if found is None and not key.startswith("/"):
            found = at_pointer(self.given, "/" + key.replace("/", "~1"))
        return () if found is None else (words_of(found),)

    @functools.cached_property
    def commands(self) -> Sequence[str]:
        """See Facts."""
        whole = [text for key, text in self.leaves if key in COMMAND_KEYS or not key]
        whole += [" ".join(item for item in listed if isinstance(item, str)) for listed in _lists(self.given)]
        parts = [part for text in whole for part in (text, *_SEPARATORS.split(text))]
        parts += [effect.evidence for effect in self.effects if effect.evidence]
        return _distinct(_SPACES.sub(" ", part).strip().casefold() for part in parts)

    @functools.cached_property
    def paths(self) -> Sequence[str]:
        """See Facts."""
        found = [text for key, text in self.leaves if key in PATH_KEYS and "\n" not in text]
        found += [e.subject for e in self.effects if e.kind in FILE_EFFECTS and e.subject]
        for _, text in self.leaves:
            if "\n" in text and ("*** " in text or "+++ " in text):
                found += [next(filter(None, groups)) for groups in _PATCH.findall(text)]
        return _distinct(clean_path(path) for path in found)

    @functools.cached_property
    def urls(self) -> Sequence[str]:
        """See Facts."""
        found = [url for _, text in self.leaves if "://" in text for url in _urls(text)]
        found += [e.subject for e in self.effects if "://" in e.subject]
        return _distinct(url.casefold() for url in found)

    @functools.cached_property
    def hosts(self) -> Sequence[str]:
        """See Facts."""
        found = [host_of(url) for url in self.urls]
        found += [clean_host(text) for key, text in self.leaves if key in ("host", "hostname", "ip", "address", "server", "domain")]
        found += [clean_host(e.subject) for e in self.effects if e.kind.startswith("net.") and "://" not in e.subject]
        return _distinct(found)


def _urls(text: str) -> Iterator[str]:
    for match in _AFTER_SCHEME.finditer(text):
        scheme = _SCHEME.search(text, max(0, match.start() - 20), match.start())
        if scheme is not None:
            yield scheme[0] + match[0]


def _distinct(found: Iterator[str] | Sequence[str] | Any) -> tuple[str, ...]:
    return tuple(text for text in dict.fromkeys(found) if text)


class _TwiceError(ValueError):
    """A key stands twice: two readers could see two values."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _TwiceError
    return found


def read(text: str, nested: int = 2) -> Any:
    """Return the JSON `text` as data, and JSON texts that stand for it one or two levels deep; None for what is no object or list.

    What two readers could read in two ways (a key that stands twice) counts as text.
    """
    start = text.lstrip()[:1]
    if start not in ("{", "[", '"'):
        return None
    try:
        value = json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError):
        return None
    if isinstance(value, str):
        return read(value, nested - 1) if nested else None
    return value if _shallow(value) else None


def _shallow(value: Any) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [v for item in level if isinstance(item, (dict, list)) for v in (item.values() if isinstance(item, dict) else item)]
        if not level:
            return True
    return not level


def _leaves(value: Any, key: str, nested: int) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        inner = read(value, 0) if nested < 2 and value[:1] in ("{", "[") else None
        if inner is not None:
            yield from _leaves(inner, key, nested + 1)
        else:
            yield key, value
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _leaves(item, name.casefold(), nested)
    elif isinstance(value, list):
        for item in value:
            yield from _leaves(item, key, nested)


def _lists(value: Any) -> Iterator[list[Any]]:
    """Yield the lists among the arguments that are commands in words: `["rm", "-rf", "/"]`."""
    if isinstance(value, dict):
        for key, item in value.items():
            if isinstance(item, list) and key.casefold() in COMMAND_KEYS:
                yield item


def at_pointer(value: Any, pointer: str) -> Any:
    """Return what stands at the JSON pointer, or None. Keys of any letter case are found: some tools read them so."""
    for part in pointer.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict):
            folded = name.casefold()
            value = value.get(name, next((v for k, v in value.items() if k.casefold() == folded), None))
        elif isinstance(value, list) and name.isdecimal() and len(name) < 6 and int(name) < len(value):
            value = value[int(name)]
        else:
            return None
    return value


def words_of(value: Any) -> str:
    """Return a value as the text that it is matched as: words of a list joined by spaces, other data as compact JSON."""
    if isinstance(value, str):
        return value if value.isascii() else plain(value)
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return words_of(" ".join(value))
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def plain(text: str) -> str:
    """Return `text` without characters that nobody sees, and with compatibility forms folded."""
    return _INVISIBLE.sub("", unicodedata.normalize("NFKC", text))


def clean_path(text: str) -> str:
    """Return a path without `.`, `..`, doubled slashes and `file://`; backslashes count as slashes."""
    text = text.strip().removeprefix("file://").replace("\\", "/")
    if not text or len(text) > 4096:
        return text[:4096].casefold()
    if "%" in text:
        text = unquote(text)
    cleaned = posixpath.normpath(text)
    return (cleaned[1:] if cleaned.startswith("//") else cleaned).casefold()


def host_of(url: str) -> str:
    """Return the host of a URL."""
    rest = url.partition("://")[2]
    return clean_host(re.split(r"[/?#\\]", rest, maxsplit=1)[0].rpartition("@")[2])


def clean_host(text: str) -> str:
    """Return a host without port, brackets and final dot; an address however written as its usual text."""
    host = text.strip().casefold()
    if host.startswith("["):
        host = host[1:].partition("]")[0]
    elif host.count(":") == 1:
        host = host.partition(":")[0]
    host = host.rstrip(".")
    if not host or len(host) > 253 or any(c.isspace() or c == "/" for c in host):
        return ""
    if host[0].isdigit():
        try:  # 2130706433, 0x7f.1 and 017700000001 are 127.0.0.1 to a resolver
            return socket.inet_ntoa(socket.inet_aton(host))
        except (OSError, UnicodeEncodeError):
            return host
    if ":" in host:
        try:
            address = ipaddress.ip_address(host.partition("%")[0])
        except ValueError:
            return host
        return str(getattr(address, "ipv4_mapped", None) or address)
    return host

"""Logging: one line on stderr for each event, as `key=value` text or as JSON; and the access log, one INFO line an exchange.

Decides how a line looks. What clients wrote is quoted and escaped, so that nobody can forge a line or move a terminal's cursor; a
traceback is indented under its line. The access log names only fields of the record, which holds no prompt and no key. Lines of other
loggers pass a filter that blanks what follows the words that announce a credential: a second lock, in case a library prints a header.
Writing happens in the caller's thread. A stream that is gone is no reason to stop serving: the line is dropped.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from types import MappingProxyType
from typing import Any, TextIO

from proxy.engine.record import Record
from proxy.money import dollars
from proxy.telemetry.tables import printable
from proxy.telemetry.timing import times

ACCESS = "fleetgate.access"
HANDLER = "fleetgate"
GATHER_S = 0.05
MAX_VALUE_CHARS = 200
MAX_MESSAGE_CHARS = 4000
_plain = re.compile(r"[A-Za-z0-9_.:/@*+,;%-]+", re.ASCII).fullmatch
_json = json.JSONEncoder(separators=(",", ":")).encode
_secret = re.compile(
    r"""(?ix)
    ( \b (?: bearer | basic ) \s+
    | \b [\w-]{0,40} (?: api[-_]?key | authorization | token | secret | password ) (?: ["']? \s* [:=] | ["'] \s* , ) \s* (?: b? ["'] )?
    | [?&] key=
    )
    (?! bearer \b | basic \b ) [^\s"',;&)\]}]+
    | \b (?: sk | fg ) [-_] [A-Za-z0-9_-]{12,}
    """
)


def redact(text: str) -> str:
    """Return `text`, cut to a bound, with what looks like a credential blanked."""
    if len(text) > MAX_MESSAGE_CHARS:
        text = text[:MAX_MESSAGE_CHARS] + "…"
    return _secret.sub(lambda m: f"{m[1] or ''}[redacted]", text)


def setup(level: str = "INFO", json_lines: bool = False, stream: TextIO | None = None, worker: int = 0) -> logging.Handler:
    """Send all logging of this process to `stream` (default stderr) and return the handler.

    Our own loggers log from `level` on, libraries from WARNING on. Calling it again replaces the handler. With `worker`, lines say which.

    Raises:
        ValueError: no such level.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.set_name(HANDLER)
    handler.setFormatter(JsonLines(worker) if json_lines else TextLines(worker))
    root = logging.getLogger()
    for old in [h for h in root.handlers if h.get_name() == HANDLER]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    for name in ("fleetgate", "proxy"):
        logging.getLogger(name).setLevel(level.upper())
    # These print the request line, and with it the key of clients that send it as `?key=`.
    logging.getLogger("aiohttp.access").setLevel(logging.CRITICAL)
    logging.raiseExceptions = False
    return handler


class _Lines(logging.Formatter):
    """What lines say of the process that writes them: which worker it is, 0 for one that is none."""

    def __init__(self, worker: int = 0) -> None:
        super().__init__()
        self.worker = worker


class TextLines(_Lines):
    """`2027-01-31T08:00:00.000Z WARNING fleetgate.app words`, with `worker=2` before the words where there are several."""

    @property
    def mark(self) -> str:
        """What stands before the words."""
        return f"worker={self.worker} " if self.worker else ""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, and under it, indented, the traceback if there is one."""
        head = f"{_time(record)} {record.levelname} {record.name}"
        line = f"{head} {self.mark}{printable(redact(record.getMessage()))}"
        for part in _trace(self, record):
            line += f"\n    {part}"
        return line


class JsonLines(_Lines):
    """One JSON object a line: time, level, logger, message, and the worker where there are several."""

    @property
    def mark(self) -> dict[str, int]:
        """What each line says beside the rest."""
        return {"worker": self.worker} if self.worker else {}

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, Any] = {"time": _time(record), "level": record.levelname, "logger": record.name, **self.mark}
        line["message"] = redact(record.getMessage())
        if trace := _trace(self, record):
            line["trace"] = trace
        return json.dumps(line, separators=(",", ":"))


def quoted(value: object) -> str:
    """Return a field's value: bare when it cannot be mistaken, else in double quotes with everything odd escaped."""
    if not isinstance(value, str):
        return str(value)  # numbers
    text = value if len(value) <= MAX_VALUE_CHARS else value[:MAX_VALUE_CHARS] + "…"
    if _plain(text):
        return text
    return json.dumps(text, ensure_ascii=not text.isprintable()).replace("\x7f", "\\u007f")


def _time(record: logging.LogRecord) -> str:
    return f"{_second(int(record.created))}.{int(record.msecs):03d}Z"


@lru_cache(maxsize=4)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _trace(formatter: logging.Formatter, record: logging.LogRecord) -> list[str]:
    if not record.exc_info or record.exc_info[0] is None:
        return []
    return [printable(redact(line)) for line in formatter.formatException(record.exc_info).splitlines()]


class AccessLog:
    """The sink that writes one INFO line an exchange; costs next to nothing when the level is off.

    Lines that come within `GATHER_S` go out in one write, past the logging machinery but to its stream. What a killed process had not
    yet written is in the ledger all the same.
    """

    name = "log"

    def __init__(self) -> None:
        self._log = logging.getLogger(ACCESS)
        self._waiting: list[Record] = []

    def record(self, record: Record) -> None:
        """Log one finished exchange."""
        if not self._log.isEnabledFor(logging.INFO):
            return
        self._waiting.append(record)
        if len(self._waiting) > 1:
            return
        try:
            asyncio.get_running_loop().call_later(GATHER_S, self._flush)
        except RuntimeError:
            self._flush()

    def _flush(self) -> None:
        records, self._waiting = self._waiting, []
        for handler in logging.getLogger().handlers:
            if handler.get_name() == HANDLER and isinstance(handler, logging.StreamHandler):
                lines = _lines(records, handler.formatter)
                with handler.lock or contextlib.nullcontext():
                    try:
                        for piece in lines:
                            handler.stream.write(piece)
                            handler.stream.flush()
                    except (OSError, ValueError):
                        pass  # a stream that is gone is no reason to stop serving

    async def close(self) -> None:
        """Write what waits."""
        self._flush()


def _lines(records: Sequence[Record], formatter: logging.Formatter | None) -> list[str]:
    """Return the lines in pieces to be written at once: all, or a line each where other processes write to the same stream."""
    if isinstance(formatter, JsonLines):
        lines = [json_line(record, formatter.mark) for record in records]
    else:
        lines = [text_line(record, formatter.mark if isinstance(formatter, TextLines) else "") for record in records]
    return lines if isinstance(formatter, _Lines) and formatter.worker else ["".join(lines)]


def text_line(record: Record, mark: str = "") -> str:
    """Return the access log's line as text; empty fields are left out."""
    r = record
    total, _, overhead, _ = times(r)
    ms = int(r.time * 1000) + total // 1_000_000
    kind = (r.model_asked, r.model, r.provider, r.route, r.status, r.outcome, r.reason)
    short = len(r.agent) <= MAX_VALUE_CHARS >= len(r.model_asked) and len(r.model) <= MAX_VALUE_CHARS
    agent, middle = (_agent_again(r.agent), _middle_again(kind)) if short else (_words(agent=r.agent), _middle(kind))
    return (
        f"{_second(ms // 1000)}.{ms % 1000:03d}Z INFO {ACCESS} {mark}exchange id={quoted(r.id)}{agent}"
        f"{f' session={quoted(r.session)}' if r.session else ''}{middle}"
        f" in={r.input_tokens + r.cache_read_tokens + r.cache_write_tokens + r.cache_write_1h_tokens} out={r.output_tokens}"
        f" usd={dollars(r.cost)} ms={total // 1000 / 1000} overhead_ms={overhead // 1000 / 1000}\n"
    )


def _words(**fields: str) -> str:
    return "".join([f" {name}={quoted(value)}" for name, value in fields.items() if value])


def _middle(kind: tuple[str, str, str, str, int, str, str]) -> str:
    asked, model, provider, route, status, outcome, reason = kind
    said = _words(asked=asked, model=model, provider=provider, route=route)
    return f"{said} status={status}{_words(outcome=outcome, reason=reason)}"


_middle_again = lru_cache(maxsize=1024)(_middle)
_agent_again = lru_cache(maxsize=4096)(lambda agent: _words(agent=agent))
"""What many lines have in common, made once; of long names, which anybody may send, each line makes its own."""


def json_line(record: Record, mark: Mapping[str, Any] = MappingProxyType({})) -> str:
    """Return the access log's line as JSON."""
    r = record
    total, _, overhead, _ = times(r)
    ms = int(r.time * 1000) + total // 1_000_000
    told = "".join([f'"{name}":{_json(value)},' for name, value in mark.items()]) if mark else ""
    return (
        f'{{"time":"{_second(ms // 1000)}.{ms % 1000:03d}Z","level":"INFO","logger":"{ACCESS}",{told}"message":"exchange"'
        f',"id":{_json(r.id[:MAX_VALUE_CHARS])},"agent":{_text(r.agent)},"session":{_json(r.session[:MAX_VALUE_CHARS])},"asked":{_text(r.model_asked)}'
        f',"model":{_text(r.model)},"provider":{_text(r.provider)},"route":{_text(r.route)},"status":{r.status}'
        f',"outcome":{_text(r.outcome)},"reason":{_text(r.reason)}'
        f',"in":{r.input_tokens + r.cache_read_tokens + r.cache_write_tokens + r.cache_write_1h_tokens},"out":{r.output_tokens}'
        f',"usd":"{dollars(r.cost)}","ms":{total // 1000 / 1000},"overhead_ms":{overhead // 1000 / 1000}}}\n'
    )


_written = lru_cache(maxsize=4096)(_json)


def _text(value: str) -> str:
    return _written(value) if len(value) <= MAX_VALUE_CHARS else _json(value[:MAX_VALUE_CHARS])

"""A streamed request that a test can hold open while it does something else."""

from __future__ import annotations

import json
import socket
from types import TracebackType
from typing import Any, Protocol, Self

CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"


class Front(Protocol):
    """Where a stream goes: a `Proxy`, or whatever stands before one."""

    @property
    def port(self) -> int: ...

    def key(self) -> str: ...


class Stream:
    """One streamed exchange over a socket of its own.

    Args:
        tokens: how long the answer is; one event a token.
        chunk_ms: the time between two events.
    """

    def __init__(self, proxy: Front, tokens: int, chunk_ms: int, *, path: str = CHAT, words: str = "hi", **more: Any) -> None:
        model = "gpt-4o-mini" if path == CHAT else "claude-sonnet-5"
        body = json.dumps(
            {"model": model, "max_tokens": tokens, "stream": True, "messages": [{"role": "user", "content": words}], **more}
        ).encode()
        script = json.dumps({"tokens": tokens, "chunk_ms": chunk_ms})
        head = (
            f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {proxy.key()}\r\nAnthropic-Version: 2023-06-01\r\n"
            f"x-sim-script: {script}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        self._socket = socket.create_connection(("127.0.0.1", proxy.port), 30)
        self._socket.sendall(head.encode() + body)
        self.got = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._socket.close()

    def until(self, mark: bytes) -> None:
        """Read on until `mark` has come."""
        while mark not in self.got:
            piece = self._socket.recv(4096)
            assert piece, f"the stream ended before {mark!r}: {self.got[-300:]!r}"
            self.got += piece

    def rest(self) -> bytes:
        """Read to the end of the connection and return all that came, head included."""
        try:
            while piece := self._socket.recv(65536):
                self.got += piece
        except ConnectionResetError:
            pass
        return self.got

    @property
    def whole(self) -> bool:
        """Whether the transfer was ended by its last chunk, as HTTP says."""
        return self.got.endswith(b"0\r\n\r\n")

    def header(self, name: str) -> str:
        """One header of the reply."""
        return self.got.split(f"\r\n{name}: ".encode(), 1)[1].split(b"\r\n", 1)[0].decode()

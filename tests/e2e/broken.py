"""A provider over real sockets that answers with the statuses it is given, and remembers what it was asked."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Self


class Broken:
    """A provider that gives the statuses of its script, then its last for ever."""

    def __init__(self, *script: int, headers: Mapping[str, str] | None = None) -> None:
        self.asked: list[dict[str, str]] = []
        replies, asked, more = list(script), self.asked, headers or {}

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["content-length"]))
                asked.append({"path": self.path, **{k.lower(): v for k, v in self.headers.items()}})
                status = replies.pop(0) if len(replies) > 1 else replies[0]
                body = json.dumps(ANSWER if status == 200 else {"error": {"message": "broken", "type": "x"}}).encode()
                self.send_response(status)
                for name, value in {"content-type": "application/json", "content-length": str(len(body)), **more}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.root = f"http://127.0.0.1:{self._server.server_port}"
        self.url = f"{self.root}/v1"

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


ANSWER = {
    "id": "c",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12},
}

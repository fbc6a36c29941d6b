"""A collector for tests: OTLP over HTTP on a real socket, decoded by the official messages, and as unreliable as a test wants it."""

from __future__ import annotations

import gzip
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest, ExportTraceServiceResponse
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric

WAIT_S = 60.0
KINDS = {1: "INTERNAL", 2: "SERVER", 3: "CLIENT"}


@dataclass
class Got:
    """One span as it came."""

    name: str
    kind: str
    trace_id: str
    span_id: str
    parent: str
    start: int
    end: int
    attributes: dict[str, Any]
    events: list[tuple[str, dict[str, Any]]]
    links: list[tuple[str, str]]
    error: str


def plain(value: AnyValue) -> Any:
    """What an attribute says."""
    which = str(value.WhichOneof("value"))
    return [plain(item) for item in value.array_value.values] if which == "array_value" else getattr(value, which)


def named(pairs: Any) -> dict[str, Any]:
    """Attributes as a dict; a name that stands there twice is a failure."""
    found = {pair.key: plain(pair.value) for pair in pairs}
    assert len(found) == len(pairs), [pair.key for pair in pairs]
    return found


class Collector:
    """Listens; `answers` says what comes next: a status, and 200 when it is empty. `hang` answers nothing until `release`."""

    def __init__(self, answers: Sequence[int] = (), *, cert: Path | None = None, hang: bool = False, rejected: int = 0) -> None:
        self.answers, self.released, self.rejected = list(answers), threading.Event(), rejected
        if not hang:
            self.released.set()
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.spans: list[Got] = []
        self.resources: list[dict[str, Any]] = []
        self.metrics: dict[str, Metric] = {}
        self._changed = threading.Condition()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                outer.released.wait(WAIT_S)
                status = outer.answers.pop(0) if outer.answers else 200
                said = outer.take(self.path, dict(self.headers.items()), body) if status == 200 else b""
                try:
                    self.send_response(status)
                    self.send_header("content-length", str(len(said)))
                    self.end_headers()
                    self.wfile.write(said)
                except OSError:
                    pass
                outer.note(self.path, dict(self.headers.items()))

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if cert is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(cert)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"{'http' if cert is None else 'https'}://127.0.0.1:{self._server.server_port}"

    def note(self, path: str, headers: dict[str, str]) -> None:
        with self._changed:
            self.requests.append((path, headers))
            self._changed.notify_all()

    def take(self, path: str, headers: dict[str, str], body: bytes) -> bytes:
        if headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        if path.endswith("/v1/metrics"):
            message = ExportMetricsServiceRequest.FromString(body)
            for resource in message.resource_metrics:
                self.metrics |= {metric.name: metric for scope in resource.scope_metrics for metric in scope.metrics}
            return b""
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.resources.append(named(resource.resource.attributes))
            for scope in resource.scope_spans:
                self.spans += [_got(span) for span in scope.spans]
        answer = ExportTraceServiceResponse()
        answer.partial_success.rejected_spans = self.rejected
        return answer.SerializeToString() if self.rejected else b""

    def wait(self, until: Callable[[], bool]) -> None:
        """Wait until something is so; fails when it does not come about."""
        deadline = time.monotonic() + WAIT_S
        with self._changed:
            while not until():
                assert self._changed.wait(deadline - time.monotonic()), f"{len(self.spans)} spans, {len(self.requests)} requests"

    def trace(self, request_id: str) -> list[Got]:
        """The spans of one exchange, its own first, once they are here."""

        def own() -> list[Got]:
            return [span for span in self.spans if span.attributes.get("fleetgate.request_id") == request_id]

        self.wait(lambda: bool(own()))
        first = own()[0]
        family, ids = [first], {first.span_id}
        for span in self.spans:  # children follow their parents
            if span.trace_id == first.trace_id and span.parent in ids and span is not first:
                ids.add(span.span_id)
                family.append(span)
        return family

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()


def _got(span: Any) -> Got:
    return Got(
        span.name,
        KINDS[span.kind],
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        named(span.attributes),
        [(event.name, named(event.attributes)) for event in span.events],
        [(link.trace_id.hex(), link.span_id.hex()) for link in span.links],
        span.status.message if span.status.code == 2 else "",
    )

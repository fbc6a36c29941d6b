"""Sending spans and metrics by OTLP over HTTP, in protocol buffers, from a thread of its own.

Whoever has something to send only appends to a bounded queue; what does not fit is counted as `dropped`. The thread takes what has
gathered within a second, makes the messages and posts them. It decides how long that may take: one try has a deadline over all of it,
connecting and TLS included (a timer cuts the connection), tries are repeated while the collector is away or asks for patience, for
`KEEP_TRYING_S` in all, and then the batch is `failed`. What a collector takes only in part counts as `rejected`. Redirects are not
followed.

Nothing here touches an exchange: it cannot raise into one, wait for one or be waited for. Closing takes at most the bound that the owner
gives. This module is imported only where tracing is configured, because it needs the extra `otel`.

Source: OpenTelemetry Protocol Specification 1.9, "OTLP/HTTP" (retryable codes, partial success).
"""

from __future__ import annotations

import gzip
import http.client
import logging
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urlsplit

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest, ExportTraceServiceResponse

from proxy.telemetry.genai import GenAiMetrics
from proxy.telemetry.otlp_messages import Resource, metrics_request, span_message, traces_request
from proxy.telemetry.spans import Kept, spans_of

log = logging.getLogger("fleetgate.traces")
GATHER_S = 1.0
BATCH = 128
"""Exchanges in one request; each makes a handful of spans."""
KEEP_TRYING_S = 30.0
FIRST_WAIT_S = 1.0
MAX_ANSWER = 65_536
_AGAIN = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT})
Request = ExportTraceServiceRequest | ExportMetricsServiceRequest


@dataclass(frozen=True, slots=True)
class Collector:
    """Where to send, and how.

    Attributes:
        url: the base URL; `/v1/traces` and `/v1/metrics` are put behind it, in place of one of them where it ends so.
        headers: sent with each request; they may hold secrets, so no message shows them.
        ca: a file of certificates to trust in place of the system's.
        timeout_s: for one try in all. metrics_s: how often metrics go, 0 for never. queue: exchanges that may wait.
    """

    url: str
    headers: tuple[tuple[str, str], ...] = ()
    ca: str | None = None
    timeout_s: float = 10.0
    metrics_s: float = 0.0
    queue: int = 2048

    def path(self, signal: str) -> str:
        """Return the path of `traces` or `metrics`."""
        base = urlsplit(self.url).path.rstrip("/")
        for known in ("/v1/traces", "/v1/metrics"):
            base = base.removesuffix(known)
        return f"{base}/v1/{signal}"


@dataclass(slots=True)
class Counts:
    """What became of spans, or of what would have been some: an exchange that never got there counts as one."""

    sent: int = 0
    dropped: int = 0
    failed: int = 0
    rejected: int = 0


class Refused(Exception):
    """One try did not work. `again`: another may; `wait_s`: not before."""

    def __init__(self, words: str, again: bool = True, wait_s: float = 0.0) -> None:
        self.again, self.wait_s = again, wait_s
        super().__init__(words)


class Exporter:
    """See the module. `put` may be called in any thread."""

    def __init__(
        self, collector: Collector, resource: Resource, metrics: GenAiMetrics | None = None, *, gather_s: float = GATHER_S
    ) -> None:
        self._to, self._resource, self._metrics, self._gather_s = collector, resource, metrics, gather_s
        self._tls = ssl.create_default_context(cafile=collector.ca) if collector.url.startswith("https:") else None
        self._queue: deque[Kept] = deque()
        self._closing, self._wake = threading.Event(), threading.Event()
        self._give_up = float("inf")
        self.counts, self._told_at, self._metrics_at = Counts(), -60.0, time.monotonic()
        self._thread = threading.Thread(target=self._run, name="fleetgate-otlp", daemon=True)
        self._thread.start()

    @property
    def depth(self) -> int:
        """Exchanges that wait."""
        return len(self._queue)

    def put(self, kept: Kept) -> None:
        """Queue an exchange, or count it as dropped."""
        if len(self._queue) >= self._to.queue or self._closing.is_set():
            self.counts.dropped += 1
            return
        self._queue.append(kept)
        if len(self._queue) >= BATCH:
            self._wake.set()

    def stop(self, within_s: float) -> None:
        """Send what is queued, within `within_s` seconds; what remains then is dropped."""
        self._give_up = time.monotonic() + within_s
        self._closing.set()
        self._wake.set()
        self._thread.join(within_s + 0.5)
        self.counts.dropped += len(self._queue)
        self._queue.clear()

    # --- the thread --------------------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._closing.is_set():
            self._wake.wait(self._gather_s)
            self._wake.clear()
            self._try(last=False)
        self._try(last=True)

    def _try(self, last: bool) -> None:
        try:
            self._round(last)
        except Exception:  # a mistake of ours costs a round, never the thread
            log.exception("spans or metrics could not be sent")

    def _round(self, last: bool) -> None:
        while self._queue and time.monotonic() < self._give_up:
            batch = [self._queue.popleft() for _ in range(min(BATCH, len(self._queue)))]
            self._send(batch)
        if self._metrics is not None and self._to.metrics_s:
            now = time.monotonic()
            if last or now - self._metrics_at >= self._to.metrics_s:
                self._metrics_at = now
                request = metrics_request(self._resource, self._metrics, time.time_ns())
                if request is not None:
                    self._deliver("metrics", request, 0)

    def _send(self, batch: Sequence[Kept]) -> None:
        spans = []
        for kept in batch:
            try:
                spans += [span_message(span) for span in spans_of(kept)]
            except Exception:
                self.counts.failed += 1
                log.exception("the spans of exchange %s cannot be made", kept.record.id)
        if spans:
            self._deliver("traces", traces_request(self._resource, spans), len(spans))

    def _deliver(self, signal: str, request: Request, spans: int) -> None:
        body = gzip.compress(request.SerializeToString(), compresslevel=1)
        wait, until = FIRST_WAIT_S, min(time.monotonic() + KEEP_TRYING_S, self._give_up)
        while True:
            try:
                rejected = self._post(signal, body)
            except Refused as e:
                pause = max(wait, e.wait_s)
                wait *= 2
                if not e.again or time.monotonic() + pause > min(until, self._give_up):
                    self.counts.failed += spans
                    self._tell(f"{signal} were lost: {e}")
                    return
                self._closing.wait(pause)
                continue
            rejected = min(rejected, spans)
            self.counts.sent += spans - rejected
            self.counts.rejected += rejected
            return

    def _post(self, signal: str, body: bytes) -> int:
        """Post one message; return how many spans were rejected. Raises Refused."""
        url = urlsplit(self._to.url)
        timeout = max(0.05, min(self._to.timeout_s, self._give_up - time.monotonic()))
        host, port = url.hostname or "", url.port
        if self._tls is None:
            connection = http.client.HTTPConnection(host, port, timeout=timeout)
        else:
            connection = http.client.HTTPSConnection(host, port, timeout=timeout, context=self._tls)
        headers = {
            "Content-Type": "application/x-protobuf",
            "Content-Encoding": "gzip",
            "User-Agent": "fleetgate",
            **dict(self._to.headers),
        }
        timer = threading.Timer(timeout, _cut, (connection,))
        timer.daemon = True
        timer.start()
        try:
            connection.request("POST", self._to.path(signal), body, headers)
            answer = connection.getresponse()
            said = answer.read(MAX_ANSWER)
            return _judged(answer.status, answer.headers.get("retry-after", ""), said, signal)
        except (OSError, http.client.HTTPException, ValueError, AttributeError) as e:  # a cut connection loses its socket under us
            raise Refused(f"the collector cannot be reached: {type(e).__name__} {e}"[:300]) from None
        finally:
            timer.cancel()
            connection.close()

    def _tell(self, words: str) -> None:
        now = time.monotonic()
        if now - self._told_at >= 60.0:
            self._told_at = now
            log.warning("%s (%d spans failed, %d dropped so far)", words, self.counts.failed, self.counts.dropped)


def _cut(connection: http.client.HTTPConnection) -> None:
    """End whatever `connection` waits for."""
    sock: socket.socket | None = connection.sock
    if sock is not None:
        try:
            sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def _judged(status: int, retry_after: str, said: bytes, signal: str) -> int:
    """Return how many spans a collector did not take. Raises Refused."""
    if status in _AGAIN:
        raise Refused(f"the collector answered {status}", wait_s=float(retry_after) if retry_after.isdigit() else 0.0)
    if status != HTTPStatus.OK:
        raise Refused(f"the collector answered {status}", again=False)
    if signal != "traces":
        return 0
    try:
        return max(0, int(ExportTraceServiceResponse.FromString(said).partial_success.rejected_spans))
    except DecodeError:
        return 0

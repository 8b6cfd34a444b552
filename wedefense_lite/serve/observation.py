"""What operators see of the service: metrics for Prometheus, and log lines in JSON.

Neither says anything of a recording but how long it took and what was decided: no audio, no name
of a file, no address of a client.
"""

import asyncio
import json
import logging
import secrets
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.datastructures import Headers, MutableHeaders

from wedefense_lite.files import printable
from wedefense_lite.serve.limits import DRAIN_SECONDS

LOG = logging.getLogger("wedefense_lite.serve")
TIMEOUT = 408  # status of a client that was too slow already
OTHER = "other"  # route of paths that are none: their text may be anything
SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
# Headers of every reply. A page may load nothing but itself; what else it may do, it says itself.
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Metrics:
    """Counts and times of one service.

    Args:
        restarts: number of scoring processes that were replaced so far.
    """

    def __init__(self, restarts: Callable[[], int]):
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "wedefense_requests",
            "Requests by route and status.",
            ["route", "status"],
            registry=self.registry,
        )
        self.recordings = Counter(
            "wedefense_recordings",
            "Recordings by decision; refused where there was none.",
            ["decision"],
            registry=self.registry,
        )
        self.request_seconds = Histogram(
            "wedefense_request_seconds",
            "Time from the headers of a request to the end of its reply.",
            ["route"],
            registry=self.registry,
            buckets=SECONDS,
        )
        self.uploads = Gauge(
            "wedefense_uploads_in_progress",
            "Requests with recordings that are read, wait or are scored.",
            registry=self.registry,
        )
        restarted = Gauge(
            "wedefense_scoring_processes_replaced",
            "Scoring processes that hung or ended, and were replaced.",
            registry=self.registry,
        )
        restarted.set_function(restarts)

    def text(self) -> bytes:
        """The metrics in the text format of Prometheus."""
        return generate_latest(self.registry)


class JsonFormatter(logging.Formatter):
    """Formatter of one JSON object a line; ``fields`` of a record are its own."""

    def format(self, record: logging.LogRecord) -> str:
        """Line of a record; of an exception its type alone, as its text may hold anything."""
        when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        fields = {"time": when, "level": record.levelname.lower()}
        fields["event"] = printable(record.getMessage())
        fields |= getattr(record, "fields", {})
        if record.exc_info and record.exc_info[0]:
            fields["error"] = record.exc_info[0].__name__
        return json.dumps(fields)


def log_in_json() -> None:
    """Let every handler of the root logger write JSON lines."""
    for handler in logging.getLogger().handlers:
        handler.setFormatter(JsonFormatter())


class Observer:
    """ASGI middleware: an id, the headers, a line of the log and the metrics of each request.

    Args:
        app: application.
        metrics: where requests are counted.
        routes: paths of the application.
    """

    def __init__(self, app: Callable, metrics: Metrics, routes: frozenset[str]):
        self.app = app
        self.metrics = metrics
        self.routes = routes

    async def __call__(self, scope: dict[str, Any], receive: Callable, send: Callable) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        exchange = Exchange(scope, receive, send)
        try:
            await self.app(scope, exchange.receive, exchange.send)
        finally:
            path = scope["path"].removeprefix(scope.get("root_path", ""))
            route = path if path in self.routes else OTHER
            seconds = time.perf_counter() - exchange.begin
            self.metrics.requests.labels(route, str(exchange.status)).inc()
            self.metrics.request_seconds.labels(route).observe(seconds)
            fields = {"id": exchange.id, "route": route, "status": exchange.status}
            fields |= {"seconds": round(seconds, 4), "bytes": exchange.bytes}
            LOG.info("request", extra={"fields": fields})


class Exchange:
    """A request and its reply, as they pass by.

    Args:
        scope: of ASGI, as are the others.
        receive: gives the next part of the request.
        send: takes the next part of the reply.

    Attributes:
        begin: when it began, by ``time.perf_counter``.
        id: random, for the log and the client.
        status: of the reply; 0 before it.
        bytes: of the body, as far as it was read.
    """

    def __init__(self, scope: dict[str, Any], receive: Callable, send: Callable):
        self._receive = receive
        self._send = send
        self._is_read = False
        headers = Headers(scope=scope)
        # It sends its body when it is told to go on, and otherwise none.
        self._waits = headers.get("expect", "").lower() == "100-continue"
        self.begin = time.perf_counter()
        self.id = secrets.token_hex(8)
        self.status = 0
        self.bytes = 0

    async def receive(self) -> dict[str, Any]:
        """The next part of the request, counted."""
        message = await self._receive()
        self.bytes += len(message.get("body", b""))
        if not message.get("more_body"):
            self._is_read = True
        return message

    async def send(self, message: dict[str, Any]) -> None:
        """Send a part of the reply, which begins with the headers."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["X-Request-ID"] = self.id
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
            if self.status >= 400 and self.status != TIMEOUT:
                await self._drain()
        await self._send(message)

    async def _drain(self) -> None:
        """Read the rest of a request that is refused: the connection of a client that still sends
        would be reset, and its reply be lost.
        """
        try:
            async with asyncio.timeout(DRAIN_SECONDS):
                while not self._is_read and not self._waits:
                    await self.receive()
        except TimeoutError:
            pass

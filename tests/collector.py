"""A collector of OpenTelemetry traces on loopback: takes POST /v1/traces as protobuf, and keeps the spans."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True, slots=True)
class Received:
    """A span as it arrived. parent: the id of the span above it, "" for none. status: 0 unset, 2 error."""

    name: str
    id: str
    parent: str
    trace: str
    kind: int
    start: int
    end: int
    attributes: dict[str, Any]
    status: int
    description: str
    service: str


class Collector:
    """A context manager. status: what it answers with. delay: seconds before it does."""

    def __init__(self, *, status: int = 200, delay: float = 0.0) -> None:
        self.spans: list[Received] = []
        self.requests = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.requests += 1
                time.sleep(delay)
                if self.path == "/v1/traces" and status == 200:
                    outer.spans += _spans(ExportTraceServiceRequest.FromString(body))
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def named(self, name: str) -> Received:
        """The only span of that name."""
        (found,) = [span for span in self.spans if span.name == name]
        return found

    def tree(self) -> list[str]:
        """The names, each with those above it: `chain demo > step intent`; in the order of their beginning."""
        by_id = {span.id: span for span in self.spans}

        def path(span: Received) -> str:
            above = by_id.get(span.parent)
            return f"{path(above)} > {span.name}" if above else span.name

        return [path(span) for span in sorted(self.spans, key=lambda span: (span.start, -span.end, span.name))]


def _spans(request: ExportTraceServiceRequest) -> list[Received]:
    return [
        Received(
            span.name,
            span.span_id.hex(),
            span.parent_span_id.hex(),
            span.trace_id.hex(),
            span.kind,
            span.start_time_unix_nano,
            span.end_time_unix_nano,
            {item.key: _value(item.value) for item in span.attributes},
            span.status.code,
            span.status.message,
            next(str(_value(item.value)) for item in part.resource.attributes if item.key == "service.name"),
        )
        for part in request.resource_spans
        for scope in part.scope_spans
        for span in scope.spans
    ]


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(item) for item in value.array_value.values]
    return getattr(value, kind)

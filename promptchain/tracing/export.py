"""Where spans go: through the tracer provider of the process, or by OTLP over HTTP to a collector."""

from __future__ import annotations

import atexit
import logging
import os
import re
import time
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from threading import Thread
from typing import TYPE_CHECKING, Any

from promptchain.errors import PromptChainError
from promptchain.lm.secrets import redact

if TYPE_CHECKING:
    from opentelemetry.context import Context

    from promptchain.tracing.spans import Tracer

INSTALL = "pip install 'promptchain[trace]'"
ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
PATIENCE = 2.0
"""Seconds that the end of a command waits for a collector that takes nothing."""
QUEUE = 65_536
"""Spans that may wait to be sent, where OTEL_BSP_MAX_QUEUE_SIZE says nothing."""


def is_off() -> bool:
    """Whether the environment forbids it: OTEL_SDK_DISABLED=true, OTEL_TRACES_EXPORTER=none."""
    disabled = os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    return disabled or os.environ.get("OTEL_TRACES_EXPORTER", "").strip().lower() == "none"


def is_asked_for() -> bool:
    """Whether the environment names a collector."""
    return any(os.environ.get(name) for name in ENDPOINTS)


def check() -> None:
    """Raises PromptChainError where spans cannot be sent: before anything is spent, and without importing much."""
    for package in ("sdk", "exporter.otlp.proto.http"):
        if not _is_installed(f"opentelemetry.{package}"):
            raise PromptChainError("tracing needs the package opentelemetry", hint=INSTALL)
    protocol = next((os.environ[name] for name in PROTOCOLS if os.environ.get(name)), "http/protobuf")
    if protocol != "http/protobuf":
        hint = "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf, and the collector's port for HTTP, usually 4318"
        raise PromptChainError(f"traces are sent by http/protobuf, not by {protocol}", hint=hint)


def _is_installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # not even what it is in
        return False


def of_process() -> Tracer | None:
    """A tracer of the process's own provider, else one that sends to a collector; None where tracing is off. Raises
    PromptChainError."""
    if is_off():
        return None
    if _is_installed("opentelemetry.trace"):
        from opentelemetry import trace

        from promptchain.tracing.spans import Tracer

        if not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
            return Tracer(trace.get_tracer("promptchain"))
    check()
    return _of_all_chains().tracer


@cache
def _of_all_chains() -> Export:
    """One for the process, however many chains are loaded; it sends the rest when Python ends."""
    export = Export(quiet=False)
    atexit.register(export.close)
    return export


def from_environment() -> Context | None:
    """The span that a calling process names in TRACEPARENT (W3C trace context), as a parent."""
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier = {name: os.environ[name.upper()] for name in ("traceparent", "tracestate") if name.upper() in os.environ}
    return TraceContextTextMapPropagator().extract(carrier) if carrier else None


class Export:
    """Sends spans to the collector that the environment names, in the background. quiet: what the telemetry library
    logs is kept from the terminal. Raises PromptChainError for settings that cannot be used."""

    def __init__(self, *, quiet: bool = True) -> None:
        self._log = _LastWords()
        if quiet:
            for name in ("opentelemetry", "urllib3"):
                logging.getLogger(name).addHandler(self._log)
                logging.getLogger(name).propagate = False
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        from promptchain.tracing.spans import Tracer

        try:
            self._watched = _Watched(OTLPSpanExporter())
            size = None if os.environ.get("OTEL_BSP_MAX_QUEUE_SIZE") else QUEUE
            processor = BatchSpanProcessor(self._watched, max_queue_size=size)  # type: ignore[arg-type]
            self._provider = TracerProvider(resource=Resource.create(_service()), shutdown_on_exit=False)
            self._provider.add_span_processor(processor)
        except (ValueError, TypeError, OSError) as exc:  # a variable that is no number, a certificate that is not there
            raise PromptChainError(f"traces cannot be sent: {exc}", hint="look at the OTEL_… variables") from exc
        self.tracer = Tracer(self._provider.get_tracer("promptchain"))

    def close(self, patience: float = PATIENCE) -> str | None:
        """Send what waits, and say why that could not be done. A collector that takes nothing for `patience` seconds is
        given up."""
        ending = Thread(target=self._provider.shutdown, name="trace-end", daemon=True)
        ending.start()
        sent, since = self._watched.sent, time.monotonic()
        while ending.is_alive() and time.monotonic() - since < patience:
            ending.join(0.02)
            if self._watched.sent != sent:
                sent, since = self._watched.sent, time.monotonic()
        if not ending.is_alive() and not self._watched.lost:
            return "the trace is not whole: the collector was too slow for it" if self._log.dropped else None
        place = next((os.environ[name] for name in ENDPOINTS if os.environ.get(name)), "http://localhost:4318")
        why = _reason(self._log.said) or f"it did not answer within {patience:g} s"
        return redact(f"the trace could not be sent to {place}: {why}")


def _service() -> dict[str, str]:
    """The name that spans go under, where the environment gives none."""
    named = os.environ.get("OTEL_SERVICE_NAME") or "service.name=" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    return {} if named else {"service.name": "promptchain"}


_REASON = re.compile(r"\[Errno -?\d+\] (?P<system>[^\"')]+)|code: (?P<code>\d+|None), reason: (?P<reason>.*)")


def _reason(said: str) -> str:
    """What the exporter logged, in short: what the system said of a connection, or the server's status."""
    if not (found := _REASON.search(said)):
        return said
    if found["system"]:
        return found["system"]
    return found["reason"] if found["code"] == "None" else f"{found['code']} {found['reason']}"


class _Watched:
    """An exporter, and how many batches it has sent and lost."""

    def __init__(self, exporter: Any) -> None:
        self._exporter = exporter
        self.sent = 0
        self.lost = 0

    def export(self, spans: Sequence[Any]) -> Any:
        result = None
        try:
            result = self._exporter.export(spans)
            return result
        finally:
            if result is not None and result.name == "SUCCESS":
                self.sent += 1
            else:
                self.lost += 1

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return bool(self._exporter.force_flush(timeout_millis))


class _LastWords(logging.Handler):
    """Keeps what was logged of why nothing could be sent, in place of showing it. dropped: the queue was full."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said = ""
        self.dropped = False

    def emit(self, record: logging.LogRecord) -> None:
        self.dropped |= record.msg.startswith("Queue full")
        text = " ".join(record.getMessage().split())[:1000]
        if _REASON.search(text) or (record.levelno >= logging.ERROR and not self.said):
            self.said = text

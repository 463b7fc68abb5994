"""Hands the spans of recorded runs to OpenTelemetry."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context

from promptchain.chain import Chain
from promptchain.records import Run
from promptchain.tracing import names, tree
from promptchain.tracing.tree import Span, Value

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Tracer as OtelTracer


class Tracer:
    """Makes spans of runs that have ended. content: with what people wrote and models said, which the environment says
    where it is not given."""

    def __init__(self, tracer: OtelTracer, *, content: bool | None = None) -> None:
        self._tracer = tracer
        self._content = captures() if content is None else content

    def trace(
        self,
        run: Run,
        chain: Chain | None = None,
        parent: Context | None = None,
        more: Mapping[str, Value] | None = None,
    ) -> None:
        """Make the spans of a run, below `parent`, else below the current span. more: see `tree`."""
        self._make(tree.tree(run, chain, content=self._content, more=more), parent)

    def _make(self, span: Span, parent: Context | None) -> None:
        attributes: Mapping[str, Value] = span.attributes
        if span.error is not None:
            attributes = {**attributes, names.ERROR_TYPE: span.error[0]}
        made = self._tracer.start_span(
            span.name,
            context=parent,
            kind=SpanKind.CLIENT if span.remote else SpanKind.INTERNAL,
            attributes=attributes,
            start_time=span.start,
        )
        if span.error is not None:
            made.set_status(Status(StatusCode.ERROR, span.error[1]))
        below = set_span_in_context(made, parent)
        for child in span.children:
            self._make(child, below)
        made.end(end_time=span.end)


def captures() -> bool:
    """Whether the environment asks for the content of messages on spans."""
    return os.environ.get(names.CAPTURE, "").strip().lower() in ("true", "1", "span_only", "span_and_event")

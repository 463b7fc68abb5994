"""A recorded run as a tree of spans, before it is handed to any telemetry library."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from promptchain.chain import Chain, Format, RetrieveStep
from promptchain.errors import Fault
from promptchain.lm import catalog
from promptchain.lm.secrets import redact
from promptchain.parts import Retrieve
from promptchain.records import Call, Run, Status, StepRun, ToolRun
from promptchain.tracing import names

Value = str | int | float | bool | Sequence[str]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Span:
    """A span with explicit times (nanoseconds since 1970). remote: whether another process did the work. error: its
    type and its description. All texts are without secrets."""

    name: str
    start: int
    end: int
    attributes: Mapping[str, Value]
    remote: bool = False
    error: tuple[str, str] | None = None
    children: tuple[Span, ...] = field(default=())

    def all(self) -> Iterator[Span]:
        """The span and those below it."""
        yield self
        for child in self.children:
            yield from child.all()


def tree(
    run: Run, chain: Chain | None = None, *, content: bool = False, more: Mapping[str, Value] | None = None
) -> Span:
    """The spans of a run: the chain, its steps with the items of a `for_each`, and in these the calls of models and
    tools, searches, and the chains that they run. Each try at a model is a span of its own.

    chain: what ran, which tells the kinds of the steps. content: with what people wrote and models said. more:
    attributes of the topmost span. A span lies within that above it, whatever the clocks said.
    """
    start = _nanoseconds(run.started)
    return _Tree(content).run(run, chain, (start, start + _ns(run.seconds)), more or {})


Bounds = tuple[int, int]
"""Where a span may lie: from, to."""


def _nanoseconds(stamp: str) -> int:
    return (datetime.fromisoformat(stamp) - _EPOCH) // timedelta(microseconds=1) * 1000


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)


def _within(bounds: Bounds, start: int, end: int) -> Bounds:
    start = min(max(start, bounds[0]), bounds[1])
    return start, min(max(end, start), bounds[1])


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _attributes(given: Mapping[str, Any]) -> dict[str, Value]:
    """Those that are there, without secrets."""
    return {
        name: redact(value) if isinstance(value, str) else value for name, value in given.items() if value is not None
    }


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the parts of a step are: when its run began, the times of the step, and what the chain file says of it."""

    began: int
    bounds: Bounds
    chain: Chain | None
    step: Any

    def span(self, started: float, seconds: float) -> Bounds:
        start = self.began + _ns(started)
        return _within(self.bounds, start, start + _ns(seconds))


@dataclass(frozen=True, slots=True)
class _Tree:
    content: bool

    def run(self, run: Run, chain: Chain | None, bounds: Bounds, more: Mapping[str, Value]) -> Span:
        began = _nanoseconds(run.started)
        times = _within(bounds, began, began + _ns(run.seconds))
        attributes = {
            names.OPERATION: names.INVOKE_WORKFLOW,
            names.AGENT_NAME: run.chain,
            names.AGENT_VERSION: f"v{run.version}" if run.version else None,
            names.CHAIN: run.chain,
            names.VERSION: run.version,
            names.RUN: run.id,
            names.REPLAY_OF: run.replay_of,
            names.COMPILED: True if run.compiled else None,
            names.MODEL: run.model,
            names.STATUS: run.status.value,
            names.CALLS: run.totals.calls,
            names.COST: run.totals.cost,
            names.INPUTS: _json(run.inputs) if self.content else None,
            names.OUTPUTS: _json(run.outputs) if self.content else None,
            **more,
        }
        fault = next((step.fault for step in run.steps.values() if step.fault), None)
        steps = (
            self._step(name, step, _Place(began, times, chain, chain.steps.get(name) if chain else None))
            for name, step in run.steps.items()
            if not _never_began(step)
        )
        return Span(
            name=f"{names.CHAIN_SPAN} {run.chain}",
            start=times[0],
            end=times[1],
            attributes=_attributes(attributes),
            error=_error(run.status, fault, run.error),
            children=tuple(steps),
        )

    def _step(self, name: str, step: StepRun, place: _Place) -> Span:
        kind = place.step.kind if place.step else None
        items = len(step.items) if step.items else None
        attributes = {names.STEP: name, names.KIND: kind, names.ITEMS: items}
        if not step.items:
            return self._span(f"{names.STEP_SPAN} {name}", step, attributes, place)
        inside = _Place(place.began, place.span(step.started, step.seconds), place.chain, place.step)
        children = tuple(
            self._span(
                f"{names.ITEM_SPAN} {name}", item, {names.STEP: name, names.KIND: kind, names.ITEM: index}, inside
            )
            for index, item in enumerate(step.items)
            if not _never_began(item)
        )
        return self._span(f"{names.STEP_SPAN} {name}", step, attributes, place, children)

    def _span(
        self, name: str, step: StepRun, attributes: Mapping[str, Any], place: _Place, children: tuple[Span, ...] = ()
    ) -> Span:
        """A step or an item of it."""
        times = place.span(step.started, step.seconds)
        inside = _Place(place.began, times, place.chain, place.step)
        return Span(
            name=name,
            start=times[0],
            end=times[1],
            attributes=_attributes({**attributes, names.STATUS: step.status.value}),
            error=_error(step.status, step.fault, step.error),
            children=children or tuple(sorted(self._parts(step, inside), key=lambda span: span.start)),
        )

    def _parts(self, step: StepRun, place: _Place) -> Iterator[Span]:
        if isinstance(place.step, RetrieveStep) and step.status in (Status.DONE, Status.FAILED):
            yield self._search(step, place.step.retrieve, place)
        last = len(step.calls) - 1
        for index, call in enumerate(step.calls):
            fault = step.fault if index == last else None
            yield self._call(call, step, place, fault)
        for tool in step.tools:
            yield self._tool(tool, place)
        if step.run:
            yield self.run(step.run, _inner(place.chain, step.run), place.bounds, {})

    def _search(self, step: StepRun, spec: Retrieve, place: _Place) -> Span:
        """The search of a retrieval step: until a model is asked to put in order what was found."""
        ranked = [call.started for call in step.calls if call.format is not None]
        start, end = place.bounds
        if ranked:
            end = place.span(min(ranked), 0.0)[0]
        source = ", ".join(spec.patterns) or spec.python or _address(spec.url or "")
        documents = None
        if self.content and isinstance(step.value, list):
            documents = _json([_document(passage) for passage in step.value])
        attributes = {
            names.OPERATION: names.RETRIEVAL,
            names.DATA_SOURCE: source,
            names.RETRIEVAL_TOP_K: spec.top_k,
            names.DOCUMENTS: documents,
        }
        name = redact(f"{names.RETRIEVAL} {source}")
        error = None if ranked else _error(step.status, step.fault, step.error)
        return Span(name, start, end, _attributes(attributes), remote=spec.url is not None, error=error)

    def _call(self, call: Call, step: StepRun, place: _Place, fault: Fault | None) -> Span:
        times = place.span(call.started, 0.0 if call.cached else call.seconds)
        operation = names.EMBEDDINGS if call.purpose == "embed" else names.CHAT
        provider, model, remote = _provider(call.model)
        attributes = {
            names.OPERATION: operation,
            names.PROVIDER: provider,
            names.REQUEST_MODEL: model,
            names.REQUEST_MAX_TOKENS: call.max_tokens,
            names.OUTPUT_TYPE: _output_type(call.format),
            names.FINISH_REASONS: (call.finish,) if call.finish else None,
            names.INPUT_TOKENS: call.prompt_tokens or None,
            names.OUTPUT_TOKENS: call.completion_tokens or None,
            names.CACHED_TOKENS: call.cached_tokens or None,
            names.MODEL: call.model,
            names.COST: None if call.cached else call.cost,
            names.CACHED: True if call.cached else None,
            names.SAMPLE: call.sample or None,
            names.OUTPUT_MESSAGES: self._said(call, step),
        }
        error = None
        if call.error is not None:
            kind = names.UNUSABLE if call.finish else _error_type(fault)
            error = kind, redact(call.error)
        return Span(f"{operation} {model}", *times, _attributes(attributes), remote=remote, error=error)

    def _said(self, call: Call, step: StepRun) -> str | None:
        """The reply; the step's value where that is the very reply."""
        if not self.content or call.finish is None:
            return None
        text = call.reply if call.reply is not None else step.value
        if not isinstance(text, str):
            return None
        message = {"role": "assistant", "parts": [{"type": "text", "content": text}], "finish_reason": call.finish}
        return _json([message])

    def _tool(self, tool: ToolRun, place: _Place) -> Span:
        times = place.span(tool.started, tool.seconds)
        attributes = {
            names.OPERATION: names.EXECUTE_TOOL,
            names.TOOL_NAME: tool.name,
            names.TOOL_TYPE: "function",
            names.TURN: tool.turn,
            names.SAMPLE: tool.sample or None,
            names.TOOL_ARGUMENTS: _json(tool.arguments) if self.content else None,
            names.TOOL_RESULT: _json(tool.value) if self.content and tool.error is None else None,
        }
        error = (names.OTHER, redact(tool.error)) if tool.error is not None else None
        inner = (self.run(tool.run, _inner(place.chain, tool.run), times, {}),) if tool.run else ()
        name = redact(f"{names.EXECUTE_TOOL} {tool.name}")
        return Span(name, *times, _attributes(attributes), error=error, children=inner)


def _never_began(step: StepRun) -> bool:
    return step.status is Status.INTERRUPTED and not (step.seconds or step.calls or step.tools or step.run)


def _inner(chain: Chain | None, run: Run) -> Chain | None:
    return chain.chains.get(run.chain) if chain else None


def _document(passage: Any) -> Any:
    if not isinstance(passage, Mapping):
        return passage
    return {"id": f"{passage.get('source')}:{passage.get('line')}", "score": passage.get("score")}


def _address(url: str) -> str:
    """An address without what may be secret in it."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def _output_type(form: Format | None) -> str | None:
    if form is None:
        return None
    return "text" if form is Format.TEXT else "json"


def _provider(model: str) -> tuple[str, str, bool]:
    """Who answers, the model as they call it, and whether that is another process."""
    first, slash, _ = model.partition("/")
    if first in ("local", "scripted"):
        return first, model, False
    found = catalog.provider_of(model)
    if found is None:
        return (first if slash else names.OTHER), model, True
    return names.PROVIDERS.get(found, found), model.removeprefix(f"{found}/"), True


def _error_type(fault: Fault | None) -> str:
    return fault.value.replace(" ", "_") if fault else names.OTHER


def _error(status: Status, fault: Fault | None, said: str | None) -> tuple[str, str] | None:
    if status is Status.INTERRUPTED:
        return names.INTERRUPTED, "interrupted"
    if status is not Status.FAILED:
        return None
    return _error_type(fault), redact(said or "failed")

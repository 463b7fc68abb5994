"""Events as JSON: the one place that has the names of their fields. What goes out holds no secrets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from promptchain.events import (
    ItemEnded,
    RunEnded,
    RunEvent,
    RunStarted,
    StepEnded,
    StepRetried,
    StepStarted,
    StepText,
    ToolEnded,
    ToolStarted,
)
from promptchain.lm.secrets import redact, redact_data, settled
from promptchain.records import StepRun, ToolRun, total, whole_text


def to_json(event: RunEvent) -> dict[str, Any]:
    """The event as a JSON object without secrets: its name as `event`, and its fields. A field that has nothing to say
    is left out, but for `value`, which is null. seconds: a duration; item: the index within a `for_each`."""
    name, fields = _NAMES[type(event)]
    told = fields(event).items()
    found = {"event": name} | {key: value for key, value in told if value is not None or key == "value"}
    redacted: dict[str, Any] = redact_data(found)
    return redacted


class Whole:
    """Passes events on, and holds back the end of a text where a secret may have begun, until it is known what it is:
    in pieces a key would go by unseen. One for each stream."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, int | None], str] = {}

    def passed(self, event: RunEvent) -> Iterator[RunEvent]:
        """What may be told now that `event` has happened, in order."""
        if isinstance(event, StepText):
            key = event.step, event.item
            text = self._held.pop(key, "") + event.text
            end = settled(text)
            if text[end:]:
                self._held[key] = text[end:]
            if end:
                yield StepText(event.step, redact(text[:end]), event.item)
            return
        if isinstance(event, RunEnded):
            for key in [*self._held]:
                yield from self._rest(key)
        elif isinstance(event, StepRetried | ToolStarted | ItemEnded):
            yield from self._rest((event.step, event.item))
        elif isinstance(event, StepEnded):
            yield from self._rest((event.step, None))
        yield event

    def _rest(self, key: tuple[str, int | None]) -> Iterator[StepText]:
        if text := self._held.pop(key, ""):
            yield StepText(key[0], redact(text), key[1])


def _run_started(event: RunStarted) -> dict[str, Any]:
    return {"chain": event.chain, "model": event.model, "inputs": dict(event.inputs)}


def _step_started(event: StepStarted) -> dict[str, Any]:
    return {"step": event.step, "model": event.model, "items": event.items}


def _token(event: StepText) -> dict[str, Any]:
    return {"step": event.step, "item": event.item, "text": whole_text(event.text)}


def _retry(event: StepRetried) -> dict[str, Any]:
    return {"step": event.step, "item": event.item, "reason": event.reason, "wait": round(event.wait, 3)}


def _tool_started(event: ToolStarted) -> dict[str, Any]:
    return {"step": event.step, "item": event.item, **_call(event.tool)}


def _tool_ended(event: ToolEnded) -> dict[str, Any]:
    tool = event.tool
    came = {"error": tool.error} if tool.error is not None else {"value": tool.value}
    return {"step": event.step, "item": event.item, **_call(tool), **came, "seconds": tool.seconds}


def _call(tool: ToolRun) -> dict[str, Any]:
    return {"name": tool.name, "arguments": tool.arguments}


def _item_done(event: ItemEnded) -> dict[str, Any]:
    return {"step": event.step, "item": event.item, **_result(event.result)}


def _step_done(event: StepEnded) -> dict[str, Any]:
    return {"step": event.step, **_result(event.result)}


def _result(result: StepRun) -> dict[str, Any]:
    return {
        "status": result.status.value,
        "value": result.value,
        "error": result.error,
        "hint": result.hint,
        "seconds": result.seconds,
        "usage": total({"": result}).model_dump(mode="json"),
    }


def _run_done(event: RunEnded) -> dict[str, Any]:
    run = event.run
    return {
        "id": run.id,
        "chain": run.chain,
        "version": run.version,
        "status": run.status.value,
        "outputs": dict(run.outputs),
        "error": run.error,
        "hint": run.hint,
        "totals": run.totals.model_dump(mode="json"),
        "seconds": run.seconds,
    }


_NAMES: dict[type, tuple[str, Callable[[Any], dict[str, Any]]]] = {
    RunStarted: ("run_started", _run_started),
    StepStarted: ("step_started", _step_started),
    StepText: ("token", _token),
    StepRetried: ("retry", _retry),
    ToolStarted: ("tool_started", _tool_started),
    ToolEnded: ("tool_ended", _tool_ended),
    ItemEnded: ("item_done", _item_done),
    StepEnded: ("step_done", _step_done),
    RunEnded: ("run_done", _run_done),
}

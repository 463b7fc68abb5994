"""What a prompt step sent and received in a recorded run: the messages rendered anew, the replies as recorded.

A record has no messages: version, inputs and the values of the steps before say what they were. They are made by the
code that made them then, so that they are the very same as long as that renders alike.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from promptchain import calling, media, render, template
from promptchain.errors import PromptChainError
from promptchain.lm.protocol import Message, Request, Response, ToolCall, ToolSpec
from promptchain.records import Call, StepRun, ToolRun
from promptchain.reports.html.page import Exact
from promptchain.steps.prompt import BoundPrompt

_JUDGED = "asked by an assertion of the step, or to choose among its samples"


@dataclass(frozen=True, slots=True)
class Sent:
    """What a step would send: prompt, and the values that its templates see. tools: what the models are told of them.
    note: why that cannot be told, or not wholly."""

    prompt: BoundPrompt | None = None
    values: Mapping[str, Any] | None = None
    tools: tuple[ToolSpec, ...] = ()
    note: str = ""


def turns(sent: Sent, step: StepRun) -> list[dict[str, Any]]:
    """For each call of a model, in order: {"call": facts, "sent": [message] or null, "received": text or null,
    "details": what else was in the request, "note": why there are no messages, "tools": indices in `step.tools`}.

    sent: the messages that were not in the request before. The calls of a step's samples come one sample after the
    other.
    """
    found = []
    for sample in sorted({call.sample for call in step.calls}):
        calls = [call for call in step.calls if call.sample == sample]
        tools = [tool for tool in step.tools if tool.sample == sample]
        found += [*_Dialogue(sent, step, calls, tools).turns()]
    return found


class _Dialogue:
    """The talk of one sample, told again."""

    def __init__(self, sent: Sent, step: StepRun, calls: Sequence[Call], tools: Sequence[ToolRun]) -> None:
        self._sent = sent
        self._step = step
        self._calls = calls
        self._tools = tools
        self._models = [name for name, _ in sent.prompt.models] if sent.prompt else []
        self._index = -1
        self._turn = 1
        self._request: Request | None = None
        self._new: list[Message] = []
        self._note = sent.note

    def turns(self) -> Iterator[dict[str, Any]]:
        for call in self._calls:
            own = call.model in self._models
            begins = own and (self._index < 0 or self._models[self._index] != call.model)
            if begins:
                self._begin(call.model)
            reply = self._reply(call)
            known = own and self._request is not None
            runs = self._runs() if own and call.finish is not None and call.error is None else []
            yield {
                "call": _facts(call),
                "sent": [_message(message) for message in self._new] if known else None,
                "details": Exact(_details(self._request)) if begins and self._request else None,
                "received": reply,
                "note": self._note if own or self._sent.prompt is None else _JUDGED,
                "tools": [self._step.tools.index(run) for run in runs],
            }
            if own and self._request is not None:
                self._go_on(self._request, call, reply, runs)

    def _begin(self, model: str) -> None:
        """The first request to the step's model, or to one that it falls back to."""
        self._index = self._models.index(model, self._index + 1) if model in self._models[self._index + 1 :] else 0
        self._request, self._turn = None, 1
        prompt, values = self._sent.prompt, self._sent.values
        if prompt is None or values is None:
            return
        try:
            self._request = prompt.request(values, self._index, self._sent.tools)
            self._new = list(self._request.messages)
        except PromptChainError as exc:
            self._note = f"its messages cannot be rendered any more: {exc.message}"

    def _runs(self) -> list[ToolRun]:
        """What this reply asked for."""
        return [tool for tool in self._tools if tool.turn == self._turn]

    def _reply(self, call: Call) -> str | None:
        if call.reply is not None or call.finish is None:
            return call.reply
        value = self._step.value if call.error is None else None
        return value if isinstance(value, str) else None if value is None else template.to_text(value)

    def _go_on(self, request: Request, call: Call, reply: str | None, runs: Sequence[ToolRun]) -> None:
        """What the next request has that this one had not; the same again where there was no answer."""
        if call.finish is None:
            return
        if call.error is not None:
            again = render.ask_again(request, reply or "", call.error)
        elif runs:
            asked = [ToolCall("", run.name, _arguments(run.arguments)) for run in runs]
            again = calling.answered(request, Response(reply or ""), asked, runs)
            self._turn += 1
            assert self._sent.prompt is not None
            step = self._sent.prompt.step
            if self._turn == step.max_turns:
                again = calling.at_last(again, step.type, reasoning=bool(self._sent.prompt.variant.reasoning))
        else:
            return
        new = again.messages[len(request.messages) :]
        self._request, self._new = again, [message for message in new if message.role != "assistant"]


def _arguments(given: Any) -> str:
    return given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)


def _message(message: Message) -> dict[str, str]:
    return {"role": message.role, "text": media.as_text(message)}


def _details(request: Request) -> dict[str, Any]:
    """What a request has beside its messages."""
    found: dict[str, Any] = {"params": dict(request.params)} if request.params else {}
    found |= {"schema": request.schema} if request.schema else {}
    found |= {"choices": list(request.choices)} if request.choices else {}
    return found | ({"tools": [asdict(tool) for tool in request.tools]} if request.tools else {})


def _facts(call: Call) -> dict[str, Any]:
    """A call without its reply."""
    return {
        "model": call.model,
        "format": call.format.value if call.format else None,
        "finish": call.finish,
        "tokens": [call.prompt_tokens, call.completion_tokens, call.cached_tokens],
        "cost": call.cost,
        "seconds": call.seconds,
        "started": call.started,
        "cached": call.cached,
        "error": call.error,
        "max_tokens": call.max_tokens,
        "sample": call.sample,
    }

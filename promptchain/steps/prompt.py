"""A prompt step: render, call, parse; call tools, ask again where a reply does not do; then the fallbacks in order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from promptchain import calling, media, render
from promptchain.calling import Turn
from promptchain.chain import Fallback, Format, PromptStep
from promptchain.errors import Fault, ModelError, ParseError, PromptChainError, UnmetError
from promptchain.lm.calls import Answer, Retry
from promptchain.lm.protocol import Capabilities, Finish, Request, ToolSpec
from promptchain.records import StepVariant
from promptchain.steps import model_call
from promptchain.steps.context import Context
from promptchain.steps.outcome import Outcome, StepError
from promptchain.steps.toolbox import NO_TOOLS, Toolbox, ToolSource

Unusable = ModelError | ParseError | UnmetError
"""What a fallback may be for."""


@dataclass(frozen=True)
class BoundPrompt:
    """A prompt step with everything that is settled before inputs are known.

    models: the step's own and its fallbacks, with what each can do. timeout: seconds for one call. sample: tells a
    draw from other draws of the same request. tools: where the tools of the step come from.
    """

    step: PromptStep
    variant: StepVariant
    params: Mapping[str, Any]
    models: tuple[tuple[str, Capabilities], ...]
    timeout: float | None
    retry: Retry = field(default_factory=Retry)
    sample: int = 0
    tools: tuple[ToolSource, ...] = ()

    @property
    def model(self) -> str:
        return self.models[0][0]

    def request(self, values: Mapping[str, Any], index: int = 0, tools: tuple[ToolSpec, ...] = ()) -> Request:
        """The request to the step's model, or to the `index`-th of its models. Raises PromptChainError."""
        model, capabilities = self.models[index]
        request = render.render(
            self.step, self.variant, values, model=model, params=self.params, capabilities=capabilities, tools=tools
        )
        return replace(request, sample=self.sample) if self.sample else request

    def format(self, index: int = 0) -> Format:
        return render.resolve_format(self.step, self.variant, self.models[index][1])


async def run(bound: BoundPrompt, values: Mapping[str, Any], context: Context) -> Outcome:
    """The step's value for these inputs, of one draw. Raises StepError, also for a ceiling that leaves no room."""
    last: Unusable | None = None
    tried = ""
    try:
        toolbox = await Toolbox.of(bound.tools, context) if bound.tools else NO_TOOLS
        for index, (model, _) in enumerate(bound.models):
            if last is not None:
                if not _is_meant(bound.step.fallbacks[index - 1], last):
                    continue
                context.on_retry(f"{tried}: {last.message}; falling back to {model}", 0.0)
            tried = model
            try:
                return await _Dialogue(bound, index, toolbox, context).lead(values)
            except (ModelError, ParseError, UnmetError) as exc:
                last = exc
        assert last is not None
        raise last
    except PromptChainError as exc:
        raise StepError(exc.message, hint=exc.hint, calls=tuple(context.calls), tools=context.tools_in_order) from exc


def _is_meant(fallback: Fallback, error: Unusable) -> bool:
    """Whether the fallback is for such an error; a refusal is an error too."""
    if isinstance(error, UnmetError):
        return "assertion" in fallback.on
    refused = isinstance(error, ModelError) and error.fault is Fault.REFUSED
    return "error" in fallback.on or (refused and "refusal" in fallback.on)


class _Dialogue:
    """The talk with one model until it gives a value."""

    def __init__(self, bound: BoundPrompt, index: int, toolbox: Toolbox, context: Context) -> None:
        self._bound = bound
        self._index = index
        self._toolbox = toolbox
        self._context = context
        self._form = bound.format(index)
        self._reasoning = bool(bound.variant.reasoning)
        self._able = bound.models[index][1]
        self._written = bool(toolbox.specs) and not self._able.tools
        self._parse_tries = bound.step.retry.parse
        self._assert_tries = bound.step.retry.assert_
        self._thoughts: list[str] = []
        self._warnings: list[str] = []

    async def lead(self, values: Mapping[str, Any]) -> Outcome:
        """Raises ModelError, ParseError, UnmetError for what another model may do better; PromptChainError."""
        bound, context = self._bound, self._context
        request = bound.request(values, self._index, self._toolbox.specs)
        request = media.loaded_in(request, self._able, context.workshop.root)
        turn = 1
        while True:
            answer = await model_call.ask(request, self._form, context, timeout=bound.timeout, retry=bound.retry)
            try:
                found = self._read(request, answer, last=turn >= bound.step.max_turns)
                if not found.calls:
                    return await self._outcome(request, answer, found)
            except (ParseError, UnmetError) as exc:
                request = self._again(request, answer, exc)
                continue
            except ModelError as exc:
                self._note(request, answer, error=exc.message)
                raise
            self._note(request, answer)
            if found.reasoning:
                self._thoughts.append(found.reasoning)
            runs = await self._toolbox.call(found.calls, turn, context)
            request = calling.answered(request, answer.response, found.calls, runs)
            turn += 1
            if turn == bound.step.max_turns:
                request = calling.at_last(request, bound.step.type, reasoning=self._reasoning)
                self._warnings.append(f"it had to answer after {turn - 1} turns of calling tools")

    def _read(self, request: Request, answer: Answer, *, last: bool) -> Turn:
        """What the reply says. Raises ParseError, ModelError."""
        response, kind = answer.response, self._bound.step.type
        cut_off = response.finish is Finish.LENGTH
        if response.finish is Finish.FILTER:
            raise model_call.refused(request.model)
        try:
            if self._written:
                found = calling.read(kind, response.text, cut_off=cut_off)
            elif response.tool_calls and self._toolbox.specs:
                found = Turn(reasoning=response.text.strip() or None, calls=response.tool_calls)
            else:
                parsed = render.parse(kind, self._form, response.text, reasoning=self._reasoning, cut_off=cut_off)
                found = Turn(parsed.value, parsed.reasoning)
        except ParseError as exc:
            raise (model_call.cut_off_error(exc, answer) if cut_off else exc) from None
        if found.calls and last:
            message = f"it goes on calling tools after {self._bound.step.max_turns} turns"
            raise ParseError(message, text=response.text, hint="raise `max_turns`, or say in the prompt when to answer")
        return found

    async def _outcome(self, request: Request, answer: Answer, found: Turn) -> Outcome:
        """What the step gives. Raises UnmetError where its assertions do not hold."""
        warnings = list(self._warnings)
        if answer.response.finish is Finish.LENGTH:
            warnings.append(model_call.cut_off_warning(answer))
        thoughts = [*self._thoughts, *([found.reasoning] if found.reasoning else [])]
        calls, own = self._context.calls, len(self._context.calls)
        drawn = self._bound.step.samples > 1  # then it may not be the step's value
        self._note(request, answer, keep=drawn or found.value != answer.response.text)
        outcome = Outcome(
            found.value,
            self._context.own_calls,
            "\n\n".join(thoughts) or None,
            tuple(warnings),
            self._context.own_tools,
        )
        if self._context.judge is None:
            return outcome
        problem = await self._context.judge.problem(outcome)
        if problem is None:
            return replace(outcome, calls=self._context.own_calls)
        calls[own] = calls[own].model_copy(update={"error": problem, "reply": answer.response.text})
        raise UnmetError(problem)

    def _again(self, request: Request, answer: Answer, exc: ParseError | UnmetError) -> Request:
        """The request that asks for another reply. Raises the error where no try is left, or none can help."""
        if isinstance(exc, UnmetError):
            self._assert_tries -= 1
            left = self._assert_tries
        else:
            self._note(request, answer, error=exc.message)
            self._parse_tries -= 1
            left = self._parse_tries if answer.response.finish is not Finish.LENGTH else -1
        if left < 0:  # with the same limit the next reply would be cut off too
            raise exc
        self._context.on_retry(exc.message, 0.0)
        return render.ask_again(request, answer.response.text, exc.message)

    def _note(self, request: Request, answer: Answer, *, error: str | None = None, keep: bool = True) -> None:
        call = model_call.record(request, self._form, answer, self._context, error=error, keep=keep)
        self._context.calls.append(call)

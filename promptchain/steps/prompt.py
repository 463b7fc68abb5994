"""A prompt step: render, call, parse; ask again where the reply does not fit; then the fallbacks in order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from promptchain import render
from promptchain.chain import Fallback, Format, PromptStep
from promptchain.errors import Fault, ModelError, ParseError, PromptChainError
from promptchain.lm.calls import Answer, Caller, CallError, Retry
from promptchain.lm.protocol import Capabilities, Finish, OnText, Request
from promptchain.records import Call, StepVariant
from promptchain.steps.outcome import Outcome, StepError

OnRetry = Callable[[str, float], None]
"""Receives why a try did not count, and the seconds until the next."""


@dataclass(frozen=True)
class BoundPrompt:
    """A prompt step with everything that is settled before inputs are known.

    models: the step's own and its fallbacks, with what each can do. timeout: seconds for one call. sample: tells a
    draw from other draws of the same request.
    """

    step: PromptStep
    variant: StepVariant
    params: Mapping[str, Any]
    models: tuple[tuple[str, Capabilities], ...]
    timeout: float | None
    retry: Retry = field(default_factory=Retry)
    sample: int = 0

    @property
    def model(self) -> str:
        return self.models[0][0]

    def request(self, values: Mapping[str, Any], index: int = 0) -> Request:
        """The request to the step's model, or to the `index`-th of its models. Raises PromptChainError."""
        model, capabilities = self.models[index]
        request = render.render(
            self.step, self.variant, values, model=model, params=self.params, capabilities=capabilities
        )
        return replace(request, sample=self.sample) if self.sample else request

    def format(self, index: int = 0) -> Format:
        return render.resolve_format(self.step, self.variant, self.models[index][1])


async def run(
    bound: BoundPrompt,
    values: Mapping[str, Any],
    caller: Caller,
    on_text: OnText | None,
    on_retry: OnRetry,
    calls: list[Call] | None = None,
) -> Outcome:
    """The step's value for these inputs. calls: receives each call as it ends, for when the task is cancelled.

    Raises StepError, also for a ceiling that leaves no room.
    """
    calls = [] if calls is None else calls
    last: ModelError | ParseError | None = None
    tried = ""
    for index, (model, _) in enumerate(bound.models):
        if last is not None:
            if not _is_meant(bound.step.fallbacks[index - 1], last):
                continue
            on_retry(f"{tried}: {last.message}; falling back to {model}", 0.0)
        tried = model
        try:
            return await _try_model(bound, index, values, caller, calls, on_text, on_retry)
        except (ModelError, ParseError) as exc:
            last = exc
        except PromptChainError as exc:
            raise StepError(exc.message, hint=exc.hint, calls=tuple(calls)) from exc
    assert last is not None
    raise StepError(last.message, hint=last.hint, calls=tuple(calls)) from last


def _is_meant(fallback: Fallback, error: ModelError | ParseError) -> bool:
    """Whether the fallback is for such an error; a refusal is an error too."""
    refused = isinstance(error, ModelError) and error.fault is Fault.REFUSED
    return "error" in fallback.on or (refused and "refusal" in fallback.on)


async def _try_model(
    bound: BoundPrompt,
    index: int,
    values: Mapping[str, Any],
    caller: Caller,
    calls: list[Call],
    on_text: OnText | None,
    on_retry: OnRetry,
) -> Outcome:
    form, kind = bound.format(index), bound.step.type
    reasoning = bool(bound.variant.reasoning)
    request = bound.request(values, index)
    tries = bound.step.retry.parse + 1
    while True:
        answer = await _call(bound, request, caller, form, calls, on_text, on_retry)
        text, cut_off = answer.response.text, answer.response.finish is Finish.LENGTH
        try:
            if answer.response.finish is Finish.FILTER:
                raise _refused(request.model)
            parsed = render.parse(kind, form, text, reasoning=reasoning, cut_off=cut_off)
        except ParseError as exc:
            tries -= 1
            error = _cut_off(exc, answer) if cut_off else exc
            calls.append(_record(request.model, form, answer, error=error.message))
            if tries == 0 or cut_off:  # with the same limit the next reply would be cut off too
                raise error from exc
            on_retry(error.message, 0.0)
            request = render.ask_again(request, text, error.message)
        except ModelError as exc:
            calls.append(_record(request.model, form, answer, error=exc.message))
            raise
        else:
            calls.append(_record(request.model, form, answer, keep=parsed.value != text))
            warnings = (f"the reply was cut off {_limit(answer)}; raise `max_tokens`",) if cut_off else ()
            return Outcome(parsed.value, tuple(calls), parsed.reasoning, warnings)


async def _call(
    bound: BoundPrompt,
    request: Request,
    caller: Caller,
    form: Format,
    calls: list[Call],
    on_text: OnText | None,
    on_retry: OnRetry,
) -> Answer:
    """One call with its retries; the tries that failed go into `calls`."""
    try:
        answer = await caller.call(
            request,
            timeout=bound.timeout,
            retry=bound.retry,
            on_text=on_text,
            on_retry=lambda error, wait: on_retry(error.message, wait),
        )
    except CallError as exc:
        calls += _failed(request.model, form, exc.failures)
        raise
    calls += _failed(request.model, form, answer.failures)
    return answer


def _failed(model: str, form: Format, failures: Any) -> list[Call]:
    return [Call(model=model, format=form, error=failure.error, seconds=failure.latency) for failure in failures]


def _record(model: str, form: Format, answer: Answer, *, error: str | None = None, keep: bool = True) -> Call:
    response = answer.response
    return Call(
        model=model,
        format=form,
        finish=response.finish.value,
        prompt_tokens=response.usage.prompt_tokens,
        completion_tokens=response.usage.completion_tokens,
        cached_tokens=response.usage.cached_tokens,
        cost=response.cost,
        seconds=response.latency,
        cached=response.cached,
        reply=response.text if keep else None,
        error=error,
        max_tokens=answer.max_tokens,
        logprobs=response.logprobs,
    )


def _limit(answer: Answer) -> str:
    tokens = answer.response.usage.completion_tokens
    return f"after {tokens} tokens" if tokens else "at its limit"


def _cut_off(exc: ParseError, answer: Answer) -> ParseError:
    message = f"the reply was cut off {_limit(answer)} (finish reason: length), so that {exc.message}"
    return ParseError(message, text=exc.text, hint="raise `max_tokens` in the step's params")


def _refused(model: str) -> ModelError:
    hint = "look at what the step sends: chain show --rendered"
    return ModelError("the provider's content filter withheld the reply", fault=Fault.REFUSED, model=model, hint=hint)

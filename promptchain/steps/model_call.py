"""One call of a model with its retries, and what is recorded of it."""

from __future__ import annotations

from collections.abc import Iterable

from promptchain.chain import Format
from promptchain.errors import Fault, ModelError, ParseError
from promptchain.lm.calls import Answer, Attempt, CallError, Retry
from promptchain.lm.protocol import Request
from promptchain.records import Call
from promptchain.steps.context import Context


async def ask(request: Request, form: Format, context: Context, *, timeout: float | None, retry: Retry) -> Answer:
    """The model's answer; the tries that failed go into the context's calls. Raises as `Caller.call`."""
    try:
        answer = await context.caller.call(
            request,
            timeout=timeout,
            retry=retry,
            on_text=context.on_text,
            on_retry=lambda error, wait: context.on_retry(error.message, wait),
        )
    except CallError as exc:
        context.calls.extend(_failed(request, form, exc.failures, context))
        raise
    context.calls.extend(_failed(request, form, answer.failures, context))
    return answer


def _failed(request: Request, form: Format, failures: Iterable[Attempt], context: Context) -> Iterable[Call]:
    for failure in failures:
        started = _began(context, failure.latency)
        yield Call(
            model=request.model,
            format=form,
            error=failure.error,
            seconds=failure.latency,
            started=started,
            sample=context.sample,
        )


def record(
    request: Request, form: Format, answer: Answer, context: Context, *, error: str | None = None, keep: bool = True
) -> Call:
    """A call that was answered. error: why the answer does not count. keep: the reply is not the step's value."""
    response = answer.response
    return Call(
        model=request.model,
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
        started=_began(context, 0.0 if response.cached else response.latency),
        sample=context.sample,
    )


def _began(context: Context, latency: float) -> float:
    return round(max(0.0, context.clock() - latency), 6)


def _limit(answer: Answer) -> str:
    tokens = answer.response.usage.completion_tokens
    return f"after {tokens} tokens" if tokens else "at its limit"


def cut_off_warning(answer: Answer) -> str:
    return f"the reply was cut off {_limit(answer)}; raise `max_tokens`"


def cut_off_error(exc: ParseError, answer: Answer) -> ParseError:
    """The same error, with the reason why the reply is broken."""
    message = f"the reply was cut off {_limit(answer)} (finish reason: length), so that {exc.message}"
    return ParseError(message, text=exc.text, hint="raise `max_tokens` in the step's params")


def refused(model: str) -> ModelError:
    """A provider's filter took the reply back."""
    hint = "look at what the step sends: chain show --rendered"
    return ModelError("the provider's content filter withheld the reply", fault=Fault.REFUSED, model=model, hint=hint)

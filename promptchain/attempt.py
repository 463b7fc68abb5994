"""One attempt at a step, or at one item of it: run by its kind, and again until its assertions hold."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from promptchain.chain import PromptStep
from promptchain.criteria import Test
from promptchain.errors import Fault, ModelError, PromptChainError, UnmetError
from promptchain.lm.calls import Caller
from promptchain.plan import AnyStep
from promptchain.records import Call, Run, Status, StepRun
from promptchain.step_judge import StepJudge
from promptchain.steps import python, retrieve, samples, subchain
from promptchain.steps.context import Context, Judge
from promptchain.steps.outcome import Outcome, StepError
from promptchain.steps.workshop import Workshop

if TYPE_CHECKING:
    from promptchain.assertions.grader import Grader

KINDS: Mapping[str, Callable[[Any, Mapping[str, Any], Context], Awaitable[Outcome]]] = {
    "prompt": samples.run,
    "retrieve": retrieve.run,
    "python": python.run,
    "chain": subchain.run,
}
"""How each kind of step is run."""


async def attempt(bound: Any, values: Mapping[str, Any], context: Context) -> Outcome:
    """What a step gives. bound: what `binding.BoundPlan.step` has for it. Raises PromptChainError.

    A prompt step sees to its assertions itself, for the reason goes back to the model; others are run again."""
    step = bound.step
    run = KINDS[step.kind]
    if isinstance(step, PromptStep) or context.judge is None:
        return await run(bound, values, context)
    left = step.retry.assert_
    while True:
        try:
            outcome = await run(bound, values, context)
            problem = await context.judge.problem(outcome)
            if problem is None:
                return replace(outcome, calls=tuple(context.calls))
            if left == 0:
                raise UnmetError(problem)
        except PromptChainError as exc:
            cause = exc.__cause__ if isinstance(exc, StepError) else exc
            inner = context.runs[-1] if context.runs else None
            raise StepError(exc.message, hint=exc.hint, calls=tuple(context.calls), run=inner) from cause
        left -= 1
        context.on_retry(problem, 0.0)
        context.calls.extend(_in_vain(context.runs, problem))
        context.runs.clear()


def judge(
    step: AnyStep, test: Test | None, caller: Caller, workshop: Workshop, values: Mapping[str, Any], calls: list[Call]
) -> Judge | None:
    """What applies a step's assertions, or chooses among its samples; None where it has nothing to do.

    test: the chain's, which names who is asked. values: what the step sees. calls: where the calls of models go."""
    chosen = isinstance(step, PromptStep) and step.select is not None and step.select.by is not None
    if not step.assert_ and not chosen:
        return None

    def grader() -> Grader:
        from promptchain.assertions.grader import Grader

        return Grader(
            caller.lm,
            caller,
            judge=test.judge if test else None,
            embedder=test.embedder if test else None,
            root=workshop.root,
            timeout=workshop.timeout,
        )

    return StepJudge(step, values, grader, calls)


def done(outcome: Outcome) -> StepRun:
    """The record of a step that gave a value."""
    return StepRun(
        status=Status.DONE,
        value=outcome.value,
        reasoning=outcome.reasoning,
        calls=outcome.calls,
        warnings=outcome.warnings,
        tools=outcome.tools,
        run=outcome.run,
        fingerprint=outcome.fingerprint,
        sample=outcome.sample,
    )


def failed(error: PromptChainError) -> StepRun:
    """The record of a step that failed."""
    done: dict[str, Any] = {}
    cause: BaseException | None = error
    if isinstance(error, StepError):
        cause = error.__cause__
        done = {"calls": error.calls, "tools": error.tools, "run": error.run}
    while cause is not None and not isinstance(cause, ModelError):  # a judge that could not be asked, say
        cause = cause.__cause__
    fault = cause.fault if cause else _fault_of(done.get("run"))
    return StepRun(status=Status.FAILED, error=error.message, hint=error.hint, fault=fault, **done)


def _in_vain(runs: Iterable[Run], problem: str) -> Iterator[Call]:
    """The calls in runs of a chain whose result did not count."""
    for run in runs:
        for step in run.steps.values():
            yield from (call.model_copy(update={"error": call.error or problem}) for call in step.all_calls())


def _fault_of(run: Run | None) -> Fault | None:
    """Why a model failed the run of a chain in a step."""
    return next((step.fault for step in run.steps.values() if step.fault), None) if run else None

"""Several samples of a prompt step, and which of them is its value: BestOfN, majority and their kin."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from promptchain.errors import BudgetError, PromptChainError, UnmetError
from promptchain.parts import Select
from promptchain.records import Call, ToolRun
from promptchain.steps import prompt
from promptchain.steps.context import Context
from promptchain.steps.outcome import Outcome, StepError
from promptchain.steps.prompt import BoundPrompt
from promptchain.steps.together import together

_MAJORITY = Select(how="majority")


async def run(bound: BoundPrompt, values: Mapping[str, Any], context: Context) -> Outcome:
    """The step's value: of its only sample, or of the one that is selected. Raises StepError."""
    if bound.step.samples == 1:
        return await prompt.run(bound, values, context)
    select = bound.step.select or _MAJORITY
    if select.how == "first_passing":
        return await _first_passing(bound, values, context)
    draws = await _drawn(bound, values, context)
    done = [draw for draw in draws if isinstance(draw, Outcome)]
    if not done:
        first = next(draw for draw in draws if isinstance(draw, StepError))
        message = f"none of {len(draws)} samples could be used; the first: {first.message}"
        raise _error(context, message, first) from first.__cause__
    try:
        chosen = await _chosen(select, done, context)
    except StepError:
        raise
    except PromptChainError as exc:
        raise StepError(exc.message, hint=exc.hint, calls=_calls(context), tools=context.tools_in_order) from exc
    lost = len(draws) - len(done)
    warnings = (*chosen.warnings, f"{lost} of {len(draws)} samples could not be used") if lost else chosen.warnings
    return replace(chosen, calls=_calls(context), tools=context.tools_in_order, warnings=warnings)


def _sample(bound: BoundPrompt, index: int) -> BoundPrompt:
    """The step for one of its draws: numbered on over the repeats of a test, so that no two are one in a cache."""
    return replace(bound, sample=bound.sample * bound.step.samples + index)


async def _drawn(bound: BoundPrompt, values: Mapping[str, Any], context: Context) -> list[Outcome | StepError]:
    """All samples, drawn side by side. Raises StepError for a ceiling that is reached."""

    is_best = bound.step.select is not None and bound.step.select.how == "best"  # it compares what others refuse

    async def draw(index: int) -> Outcome | StepError:
        own = replace(context, sample=index, on_text=None, judge=None if is_best else context.judge)
        try:
            return replace(await prompt.run(_sample(bound, index), values, own), sample=index)
        except StepError as exc:
            if isinstance(exc.__cause__, BudgetError):
                raise
            return exc

    return await together(draw(index) for index in range(bound.step.samples))


def _calls(context: Context) -> tuple[Call, ...]:
    return tuple(sorted(context.calls, key=lambda call: call.sample))


def _error(context: Context, message: str, first: StepError) -> StepError:
    tools: tuple[ToolRun, ...] = context.tools_in_order
    return StepError(message, hint=first.hint, calls=_calls(context), tools=tools)


async def _first_passing(bound: BoundPrompt, values: Mapping[str, Any], context: Context) -> Outcome:
    """The first sample that passes the step's assertions. Raises StepError where none does."""
    last: StepError | None = None
    for index in range(bound.step.samples):
        own = replace(context, sample=index)
        try:
            outcome = await prompt.run(_sample(bound, index), values, own)
            return replace(outcome, calls=_calls(context), tools=context.tools_in_order, sample=index)
        except StepError as exc:
            if isinstance(exc.__cause__, BudgetError):
                raise
            last = exc
            if index + 1 < bound.step.samples:
                context.on_retry(exc.message, 0.0)
    assert last is not None
    message = f"none of {bound.step.samples} samples passes; the last: {last.message}"
    raise _error(context, message, last) from last.__cause__


async def _chosen(select: Select, done: list[Outcome], context: Context) -> Outcome:
    if select.how == "all":
        return replace(done[0], value=[outcome.value for outcome in done], reasoning=None, sample=None)
    if select.how == "best":
        judge = context.judge
        assert judge is not None
        scores = await together(judge.score(outcome, select.by) for outcome in done)
        best = done[max(range(len(done)), key=lambda index: scores[index])]  # the first of equals
        if problem := await judge.problem(best):
            message = f"the best of {len(done)} samples does not pass: {problem}"
            raise StepError(message, calls=_calls(context), tools=context.tools_in_order) from UnmetError(problem)
        return best
    keys = [_key(outcome.value) for outcome in done]
    counts = Counter(keys)
    return done[keys.index(max(counts, key=counts.__getitem__))]  # of equals the one that came up first


def _key(value: Any) -> str:
    """Values are the same where they say the same, whatever the case and space of a text."""
    return json.dumps(_plain(value), sort_keys=True, ensure_ascii=False)


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return " ".join(value.split()).casefold()
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value

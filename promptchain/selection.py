"""`select-best`: of what several models gave for an example, a judge chooses one, and only that one passes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from promptchain import template
from promptchain.assertions.apply import Checked
from promptchain.assertions.judged import best_of
from promptchain.assertions.protocol import AssertionFault, Verdict
from promptchain.criteria import Assertion
from promptchain.errors import ModelError
from promptchain.results import ExampleResult, State
from promptchain.template import TemplateFault

if TYPE_CHECKING:
    from promptchain.assertions.grader import Grader

NAME = "select-best"


async def choose(
    columns: Sequence[Sequence[ExampleResult]], assertion: Assertion, grader: Grader
) -> list[list[ExampleResult]]:
    """The results of each model with the judge's choice among them. An example that one of them could not be scored on
    is left as it is. The judge sees as much of an output as a result keeps. Raises BudgetError."""
    found = [list(column) for column in columns]
    tries = [{(result.id, result.sample): index for index, result in enumerate(column)} for column in columns]
    for key in tries[0]:
        if not all(key in column for column in tries):
            continue
        places = [column[key] for column in tries]
        results = [column[place] for column, place in zip(found, places, strict=True)]
        if any(result.state is State.ERROR for result in results):
            continue
        checks = await _checks(results, assertion, grader)
        for column, place, check in zip(found, places, checks, strict=True):
            column[place] = with_check(column[place], check)
    return found


async def _checks(results: Sequence[ExampleResult], assertion: Assertion, grader: Grader) -> list[Checked]:
    outputs = [_output(result, assertion) for result in results]
    provider = assertion.options.get("provider")
    try:
        criterion = template.parse(str(assertion.value)).render(results[0].inputs)
        best, reason = await best_of(outputs, criterion, grader, provider=provider)
    except TemplateFault as exc:
        return [Checked(assertion, error=f"in its value: {exc.message}")] * len(results)
    except AssertionFault as exc:
        fault = exc.__cause__.fault if isinstance(exc.__cause__, ModelError) else None
        return [Checked(assertion, error=exc.message, fault=fault)] * len(results)
    chosen = [Verdict(index == best, float(index == best), reason) for index in range(len(results))]
    return [Checked(assertion, verdict.negated() if assertion.negated else verdict) for verdict in chosen]


def _output(result: ExampleResult, assertion: Assertion) -> str:
    if assertion.step is not None:
        return template.to_text(result.steps[assertion.step].value)
    if assertion.output is not None:
        return template.to_text(result.outputs.get(assertion.output))
    only = list(result.outputs.values())
    return template.to_text(only[0] if len(only) == 1 else dict(result.outputs))


def with_check(result: ExampleResult, check: Checked) -> ExampleResult:
    """A result with one more assertion in it."""
    checks = (*result.checks, check)
    said = [(each.assertion.weight, each.verdict.score) for each in checks if each.counts and each.verdict]
    weight = sum(each for each, _ in said)
    score = sum(each * score for each, score in said) / weight if weight else result.score
    if not check.counts or result.state is State.FAILED:
        return replace(result, checks=checks, score=score)
    if check.error:
        problem = f"{check.assertion.type}: {check.error}"
        return replace(result, checks=checks, score=None, state=State.ERROR, problem=problem)
    steps, first = dict(result.steps), None
    if check.passed is False and (name := check.assertion.step) is not None:
        steps[name], first = replace(steps[name], passed=False), name
    state = State.PASSED if check.passed else State.FAILED
    told = None if result.state is State.UNCHECKED else result.problem
    return replace(result, checks=checks, score=score, state=state, steps=steps, first=first, problem=told)

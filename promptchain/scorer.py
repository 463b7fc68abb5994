"""Applies a chain's assertions to one run of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from promptchain import results, template
from promptchain.assertions.apply import Checked, apply, strings
from promptchain.assertions.protocol import Subject, Verdict
from promptchain.assertions.registry import names_function
from promptchain.criteria import Assertion, flattened
from promptchain.errors import Fault
from promptchain.examples import Example
from promptchain.plan import Plan
from promptchain.records import Run, Status, StepRun
from promptchain.results import State

if TYPE_CHECKING:
    from promptchain.assertions.grader import Grader

OWN_FAULTS = frozenset({Fault.REFUSED, Fault.CONTEXT})
"""Failed calls that are the chain's own doing: what it sent was refused, or too long. Any other says nothing of it."""


@dataclass(frozen=True, slots=True)
class Scored:
    """What the assertions say of a run; see `ExampleResult` for the fields."""

    state: State
    score: float | None
    checks: tuple[Checked, ...]
    problem: str | None


async def score(plan: Plan, run: Run, example: Example, assertions: Iterable[Assertion], grader: Grader) -> Scored:
    """Apply assertions to a run. Raises BudgetError, CancelledError."""
    values = {
        **example.beside,
        **run.inputs,
        **{name: step.value for name, step in run.steps.items()},
        "expected": example.expected,
        "outputs": run.outputs,
    }
    checks = [await _check(assertion, plan, run, values, grader) for assertion in assertions]
    return judged(run, tuple(checks), example.threshold)


def judged(run: Run, checks: tuple[Checked, ...], threshold: float | None = None) -> Scored:
    """What a run and its checks come to. A failed assertion decides, whatever another could not tell."""
    problem = run.error
    if foreign_fault(run.steps) is not None:
        return Scored(State.ERROR, None, checks, problem)
    counted = [check for check in checks if check.counts]
    weight = sum(check.assertion.weight for check in counted if check.verdict)
    total = sum(check.assertion.weight * check.verdict.score for check in counted if check.verdict)
    mean = total / weight if weight else None
    failed = run.status is not Status.DONE or any(check.passed is False for check in counted)
    if threshold is not None and mean is not None:
        failed = run.status is not Status.DONE or mean < threshold
    if failed:
        return Scored(State.FAILED, mean, checks, problem)
    lost = next((check for check in counted if check.error), None)
    if lost is not None:
        return Scored(State.ERROR, None, checks, f"{lost.assertion.type}: {lost.error}")
    deciding = [check for check in checks if check.assertion.weight > 0]
    if deciding and all(check.missing for check in deciding):
        return Scored(State.UNCHECKED, None, checks, f"no assertion applies: {_missing(deciding)}")
    return Scored(State.PASSED, 1.0 if mean is None else mean, checks, None)


def _missing(checks: Iterable[Checked]) -> str:
    """What each assertion would have looked at."""
    told = dict.fromkeys(check.missing for check in checks if check.missing)
    return ", ".join(each if each.endswith("was skipped") else f"no {each}" for each in told)


def step_passed(step: StepRun, checks: Iterable[Checked]) -> bool | None:
    """Whether a step did what it must, by the checks of it that count; None where nothing says so."""
    if step.status is Status.FAILED:
        return False if step.fault is None or step.fault in OWN_FAULTS else None
    verdicts = [check.passed for check in checks]
    if step.status is not Status.DONE or not verdicts:
        return None
    return False if False in verdicts else None if None in verdicts else True


def foreign_fault(steps: Mapping[str, StepRun]) -> str | None:
    """The first step that failed for a reason that is not the chain's: a rate limit, a dead server, a wrong key."""
    for name, step in steps.items():
        if step.status is Status.FAILED and step.fault is not None and step.fault not in OWN_FAULTS:
            return name
    return None


async def _check(assertion: Assertion, plan: Plan, run: Run, values: Mapping[str, Any], grader: Grader) -> Checked:
    if assertion.step is None:
        found = _of_outputs(assertion, plan, run, values)
    elif assertion.step not in run.steps:  # it is compared with a version that has other steps
        found = Checked(assertion, missing=f"step '{assertion.step}'")
    else:
        found = _of_step(assertion, run.steps[assertion.step], values)
    return await apply(assertion, found, grader) if isinstance(found, Subject) else found


def _of_step(assertion: Assertion, step: StepRun, values: Mapping[str, Any]) -> Subject | Checked:
    name = assertion.step or ""
    if step.status is Status.SKIPPED:
        return Checked(assertion, missing=f"step '{name}' was skipped")
    if step.status is not Status.DONE:
        return Checked(assertion, Verdict(False, 0.0, step.error or step.status.value))
    calls = list(step.all_calls())
    return Subject(
        output=step.value,
        values=values,
        seconds=results.seconds(step),
        cost=results.cost(step),
        tokens=results.tokens(step),
        logprobs=tuple(logprob for call in calls if call.error is None for logprob in call.logprobs),
        retries=retries(step),
        called=tuple(tool.name for tool in step.all_tools()),
    )


def _of_outputs(assertion: Assertion, plan: Plan, run: Run, values: Mapping[str, Any]) -> Subject | Checked:
    """One output, or the only one there is, or all of them."""
    name = assertion.output
    if name is None and len(plan.outputs) == 1:
        name = next(iter(plan.outputs))
    if run.status is not Status.DONE and (name is None or name not in run.outputs):
        return Checked(assertion, Verdict(False, 0.0, run.error or run.status.value))
    costs = [results.cost(step) for step in run.steps.values()]
    return Subject(
        output=run.outputs if name is None else run.outputs.get(name),
        values=values,
        seconds=longest_way(plan, run.steps),
        cost=None if None in costs else sum(cost for cost in costs if cost is not None),
        tokens=sum(map(results.tokens, run.steps.values())),
        retries=sum(map(retries, run.steps.values())),
    )


def looked_at(plan: Plan, assertions: Iterable[Assertion]) -> frozenset[str]:
    """The steps that an assertion looks at, with all before them; all steps where code is asked that is not ours, since
    it is handed every value."""
    found: set[str] = set()
    for assertion in flattened(assertions):
        if assertion.name == "webhook" or (assertion.name == "python" and names_function(assertion.value)):
            return frozenset(plan.nodes)
        if assertion.step is not None:
            found.add(assertion.step)
        else:
            own = plan.outputs.get(assertion.output or "")
            found |= _used(plan.outputs.values() if own is None else [own])
    found |= named(plan, assertions)
    found &= plan.nodes.keys()
    return frozenset(found.union(*map(plan.upstream, found)))


def named(plan: Plan, assertions: Iterable[Assertion]) -> frozenset[str]:
    """The steps that the templates and expressions of assertions name, also by way of `outputs`. What a function of the
    project looks at is not known."""
    found: set[str] = set()
    for assertion in flattened(assertions):
        texts = strings([assertion.value, assertion.transform, assertion.options])
        found |= _used(text for text in texts if "{{" in text or "{%" in text)
        if assertion.name == "python" and isinstance(assertion.value, str):
            found |= set(_WORD.findall(assertion.value))
    if "outputs" in found:
        found |= _used(plan.outputs.values())
    return frozenset(found & plan.nodes.keys())


_WORD = re.compile(r"[A-Za-z_]\w*")
"""In an expression: a name, or a word of a text, which does no harm."""


def _used(texts: Iterable[str]) -> set[str]:
    return {reference.name for text in texts for reference in template.parse(text).references}


def longest_way(plan: Plan, steps: Mapping[str, StepRun]) -> float:
    """Seconds from a run's start to its end were no call kept waiting: along the slowest way through the DAG."""
    ended: dict[str, float] = {}
    for node in plan.nodes.values():
        ended[node.id] = max((ended[other] for other in node.after), default=0.0) + results.seconds(steps[node.id])
    return max(ended.values(), default=0.0)


def retries(step: StepRun) -> int:
    """Replies that came whole and did not fit the step's type."""
    return sum(call.error is not None and call.finish is not None for call in step.all_calls())

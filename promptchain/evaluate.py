"""Tests a chain: runs it on every example, applies its assertions, and finds out which step is to blame."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from promptchain import blame, gold, results, runner, scorer, template
from promptchain.assertions.apply import Checked
from promptchain.binding import BoundPlan
from promptchain.criteria import Assertion
from promptchain.errors import BudgetError
from promptchain.examples import Example
from promptchain.lm.calls import Caller
from promptchain.records import Run, Status, StepRun
from promptchain.results import ExampleResult, State, StepResult

if TYPE_CHECKING:
    from promptchain.assertions.grader import Grader

MAX_KEPT = 1_000
"""Characters of a value that a result keeps, so that a dataset of any size can be reported on."""


@dataclass(slots=True)
class Progress:
    """How far an evaluation is. total: tries, examples times repeats. stopped: why it ended early. hint: what to do
    about that."""

    total: int
    results: list[ExampleResult] = field(default_factory=list, repr=False)  # asyncio shows what a task returns
    passed: int = 0
    failed: int = 0
    errors: int = 0
    unchecked: int = 0
    stopped: str | None = None
    hint: str | None = None

    @property
    def done(self) -> int:
        return self.passed + self.failed + self.errors + self.unchecked

    def add(self, result: ExampleResult) -> None:
        self.results.append(result)
        self.count(result.state)

    def stop(self, why: str, hint: str | None) -> None:
        """The first reason is the one that counts."""
        if self.stopped is None:
            self.stopped, self.hint = why, hint

    def count(self, state: State) -> None:
        self.passed += state is State.PASSED
        self.failed += state is State.FAILED
        self.errors += state is State.ERROR
        self.unchecked += state is State.UNCHECKED


Watch = Callable[[Progress], None]
OnRun = Callable[[Run, Example], None]
"""Receives the run of an example as it is: not those with expected values in it."""


async def evaluate(
    bound: BoundPlan,
    assertions: tuple[Assertion, ...],
    examples: Iterable[Example],
    caller: Caller,
    grader: Grader,
    progress: Progress,
    *,
    repeat: int = 1,
    at_once: int = 16,
    max_errors: int = 10,
    watch: Watch | None = None,
    on_run: OnRun | None = None,
) -> Progress:
    """Test the chain on all examples, `repeat` times each, `at_once` at a time; their results, in the order of the
    examples, are in `progress`, also those of an evaluation that is cancelled.

    It stops early (`progress.stopped`) at a ceiling that is reached, and when more than `max_errors` examples could not
    be scored for reasons that are not the chain's; where none could, that is told likewise. Raises CancelledError.
    """
    tested = [_Tested(bound.sampled(n) if n else bound, assertions, caller, grader, on_run) for n in range(repeat)]
    work = enumerate((example, sample) for example in examples for sample in range(repeat))
    order: dict[int, int] = {}

    def going() -> bool:
        return progress.stopped is None

    async def worker() -> None:
        for number, (example, sample) in work:
            if not going():
                return
            try:
                result = await tested[sample].example(example, sample)
            except BudgetError as exc:
                progress.stop(exc.message, exc.hint)
                return
            if not going():  # another's reason to stop may well be this one's
                return
            order[id(result)] = number
            progress.add(result)
            if progress.errors > max_errors:
                why = f"{progress.errors} examples could not be scored; the last: {result.problem}"
                progress.stop(why, result.hint)
            if watch:
                watch(progress)

    tasks = [asyncio.create_task(worker()) for _ in range(max(1, min(at_once, progress.total)))]
    try:
        with _collecting_seldom():
            await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        progress.results.sort(key=lambda result: order[id(result)])
    if progress.errors and progress.errors == progress.done:
        last = progress.results[-1]
        progress.stop(f"none of the examples could be scored; the last: {last.problem}", last.hint)
    return progress


@contextmanager
def _collecting_seldom() -> Iterator[None]:
    """What is kept of the examples stays to the end and has no cycles, so that to look through all of it every now and
    then frees nothing, and takes the longer the more examples there are. What is young is looked through as ever."""
    youngest, younger, oldest = gc.get_threshold()
    gc.set_threshold(youngest, younger, oldest * 100)
    try:
        yield
    finally:
        gc.set_threshold(youngest, younger, oldest)


class _Tested:
    """A chain on its models, with all that is needed to test it on an example."""

    def __init__(
        self,
        bound: BoundPlan,
        assertions: tuple[Assertion, ...],
        caller: Caller,
        grader: Grader,
        on_run: OnRun | None,
    ) -> None:
        self._bound = bound
        self._on_run = on_run
        self._plan = bound.plan
        self._assertions = assertions
        self._caller = caller
        self._grader = grader

    async def example(self, example: Example, sample: int) -> ExampleResult:
        """The result of one try. Raises BudgetError where a ceiling leaves no room for all of it."""
        assertions = self._assertions + example.assertions
        run = await self._run(example)
        if self._on_run is not None:
            self._on_run(run, example)
        scored = await scorer.score(self._plan, run, example, assertions, self._grader)
        steps = {name: _step(step, scored.checks, name) for name, step in run.steps.items()}
        result = ExampleResult(
            id=example.id,
            where=example.where,
            sample=sample,
            state=scored.state,
            score=scored.score,
            checks=scored.checks,
            steps=steps,
            inputs=_cut(example.inputs),
            outputs=_cut(run.outputs),
            first=blame.first_failed(self._plan, steps) if scored.state is State.FAILED else None,
            problem=scored.problem,
            hint=run.hint,
            seconds=scorer.longest_way(self._plan, run.steps),
            description=example.description,
        )
        if scored.state is State.ERROR or not any(assertion.step for assertion in assertions):
            return result
        expected = await gold.values(self._bound, run, example, assertions, self._caller)
        on_gold = await self._on_gold(example, run, result, assertions, expected)
        mended = {
            name: await self._mended(example, run, name, expected[name], assertions)
            for name in blame.candidates(self._plan, run, result, expected)
        }
        tried: dict[str, bool | None] = {}
        if scored.state is State.FAILED:
            tried = {**dict.fromkeys(expected, False), **mended}
        steps = {
            name: replace(step, gold=on_gold.get(name), mends=tried.get(name)) for name, step in result.steps.items()
        }
        return replace(result, steps=steps)

    async def _run(
        self,
        example: Example,
        given: Mapping[str, StepRun] | None = None,
        forced: Mapping[str, Any] | None = None,
    ) -> Run:
        run = await runner.run(self._bound, example.inputs, self._caller, given=given, forced=forced)
        if self._caller.exhausted and run.status is not Status.DONE:
            raise BudgetError(run.error or "a ceiling is reached", hint=run.hint)
        return run

    async def _on_gold(
        self,
        example: Example,
        run: Run,
        result: ExampleResult,
        assertions: tuple[Assertion, ...],
        expected: Mapping[str, Any],
    ) -> dict[str, bool | None]:
        """Whether each step passes when the steps before it give what is expected of them. A step that nothing was
        expected before has no such score, but for those at the beginning."""
        differ = {name for name, value in expected.items() if run.steps[name].value != value}
        checked = {assertion.step for assertion in assertions}
        passed: dict[str, bool | None] = {}
        again: set[str] = set()
        for name in self._plan.nodes:
            before = self._plan.upstream(name)
            if not before or before & expected.keys():
                passed[name] = result.steps[name].passed
                if before & differ and (name in checked or passed[name] is False):
                    again.add(name)
        if not again:
            return passed
        needed = again.union(*map(self._plan.upstream, again))
        needed = {name for name in needed if name in again or self._plan.upstream(name) & differ}
        stays = {name: step for name, step in run.steps.items() if name not in needed}
        other = await self._run(example, given=stays, forced=expected)
        # Only their own assertions: those on other steps were not run for this.
        own = [assertion for assertion in assertions if assertion.step in again]
        values = other.model_copy(update={"steps": _with_values(other, expected, again)})
        scored = await scorer.score(self._plan, values, example, own, self._grader)
        return passed | {name: _step(other.steps[name], scored.checks, name).passed for name in again}

    async def _mended(
        self, example: Example, run: Run, name: str, value: Any, assertions: tuple[Assertion, ...]
    ) -> bool | None:
        """Whether the example passes with the expected value in the step's place; None where it could not be told."""
        given = blame.as_expected(self._plan, run, name, value, scorer.looked_at(self._plan, assertions))
        other = await self._run(example, given=given)
        scored = await scorer.score(self._plan, other, example, assertions, self._grader)
        # Where the expected value has the steps that are asserted about skipped, nothing fails any more.
        return None if scored.state is State.ERROR else scored.state is not State.FAILED


def _with_values(run: Run, expected: Mapping[str, Any], own: set[str]) -> dict[str, StepRun]:
    """The steps of a run on expected values, as the assertions of the steps `own` see them."""
    return {
        name: step.model_copy(update={"value": expected[name], "status": Status.DONE, "fault": None})
        if name in expected and name not in own
        else step
        for name, step in run.steps.items()
    }


def _step(step: StepRun, checks: Iterable[Checked], name: str) -> StepResult:
    own = [check for check in checks if check.assertion.step == name and check.counts]
    calls = list(step.all_calls())
    return StepResult(
        status=step.status,
        passed=scorer.step_passed(step, own),
        seconds=results.seconds(step),
        cost=results.cost(step),
        tokens=results.tokens(step),
        calls=len(calls),
        new_calls=sum(not call.cached for call in calls),
        retries=scorer.retries(step),
        value=_short(step.value),
        error=step.error,
    )


def _cut(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _short(value) for name, value in values.items()}


def _short(value: Any) -> Any:
    """The value, or the beginning of its text where it is long."""
    if isinstance(value, bool | int | float) or value is None:
        return value
    text = value if isinstance(value, str) else template.to_text(value)
    return value if len(text) <= MAX_KEPT else text[: MAX_KEPT - 1] + "…"

"""What prompts are worth: candidates for a step, or for a whole chain, on examples.

As little of the chain runs as tells. A step that assertions look at is tried alone, on the expected values of the steps
before it where the example has them, else on what those give; one that they do not look at, with what comes after it.
Nothing is tried twice, and no request is made twice where the LM has a cache.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from promptchain import runner, scorer
from promptchain.assertions.apply import Checked
from promptchain.binding import BoundPlan
from promptchain.criteria import JUDGED, Assertion, flattened
from promptchain.errors import BudgetError, Fault, PromptChainError
from promptchain.examples import Example
from promptchain.lm.calls import Caller
from promptchain.plan import Plan
from promptchain.records import Run, Status, StepRun, StepVariant
from promptchain.results import State

if TYPE_CHECKING:
    from promptchain.assertions.grader import Grader

Variants = Mapping[str, StepVariant]
"""Complete parameters, as `Variant.of` gives them, of the steps that differ from the chain file."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One example tried with one candidate. passed: None where that could not be told, or where nothing is asked of it.

    run: what was run of the chain; steps that were left out are skipped in it.
    """

    example: Example
    passed: bool | None
    run: Run
    checks: tuple[Checked, ...]

    @property
    def value(self) -> float | None:
        """As a race compares it."""
        return None if self.passed is None else float(self.passed)

    def feedback(self, step: str) -> str:
        """What was wrong, in words: of the step, and of what depends on it. Empty where nothing was."""
        own = self.run.steps[step]
        said = [own.error] if own.error and own.status is Status.FAILED else []
        said += [
            f"{check.assertion.type}: {check.verdict.reason}"
            for check in self.checks
            if check.counts and check.verdict and not check.verdict.passed
        ]
        return "; ".join(said)

    def step_passed(self, step: str) -> bool | None:
        """Whether every assertion on the step held. None where none looks at it, or that could not be told; where the
        step was not run, or failed for a reason that is not the chain's."""
        own = [check for check in self.checks if check.assertion.step == step and check.counts]
        return scorer.step_passed(self.run.steps[step], own) if own else None


class Bench:
    """Tries candidates on the models of one chain. Belongs to one event loop.

    assertions: of the chain and of its steps. at_once: examples in flight. max_errors: examples that may fail for
    reasons that are not the chain's before it gives up. watch: gets how many trials are done, and of how many.
    """

    def __init__(
        self,
        bound: BoundPlan,
        assertions: tuple[Assertion, ...],
        caller: Caller,
        grader: Grader,
        *,
        at_once: int = 16,
        max_errors: int = 10,
        watch: Callable[[int, int], None] = lambda _done, _asked: None,
    ) -> None:
        self.bound = bound
        self.assertions = assertions
        self._caller = caller
        self._grader = grader
        self._places = asyncio.Semaphore(at_once)
        self._max_errors = max_errors
        self._watch = watch
        self._asked_for = self._done = 0
        self._lost: dict[str, str] = {}
        self._tried: dict[tuple[str | None, str, str], asyncio.Task[Trial]] = {}

    @property
    def plan(self) -> Plan:
        return self.bound.plan

    def is_alone(self, step: str) -> bool:
        """Whether the step is judged by itself: an assertion of the chain looks at it, and does not only measure."""
        return any(assertion.step == step and assertion.weight > 0 for assertion in self.assertions)

    async def trials(self, variants: Variants, examples: Sequence[Example], step: str | None = None) -> list[Trial]:
        """The examples tried with these parameters, in their order; `step`: only what tells of that step.

        Raises BudgetError at a ceiling; PromptChainError where more than `max_errors` examples could not be tried,
        with the last reason.
        """
        digest = _digest(variants)
        tasks = [self._trial(variants, digest, example, step) for example in examples]
        try:
            return list(await asyncio.gather(*tasks))
        except BaseException:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            raise

    def tried(self, variants: Variants, examples: Sequence[Example], step: str | None = None) -> list[bool]:
        """Which of the examples have been tried so: to try them again costs nothing."""
        digest = _digest(variants)
        tasks = (self._tried.get((step, digest, example.id)) for example in examples)
        return [task is not None and _ended_well(task) for task in tasks]

    def _trial(self, variants: Variants, digest: str, example: Example, step: str | None) -> asyncio.Task[Trial]:
        key = (step, digest, example.id)
        known = self._tried.get(key)
        if known is None or (known.done() and not _ended_well(known)):
            known = self._tried[key] = asyncio.create_task(self._try(variants, example, step))
            self._asked_for += 1
            known.add_done_callback(self._count)
        return known

    def _count(self, _: asyncio.Task[Trial]) -> None:
        self._done += 1
        self._watch(self._done, self._asked_for)

    async def _try(self, variants: Variants, example: Example, step: str | None) -> Trial:
        assertions, gold, needed = self._asked(example, step)
        given = {
            name: StepRun(status=Status.DONE, value=gold[name]) if name in gold else StepRun(status=Status.SKIPPED)
            for name in self.plan.nodes
            if name not in needed
        }
        async with self._places:
            run = await runner.run(self.bound.varied(variants), example.inputs, self._caller, given=given)
            if self._caller.exhausted and run.status is not Status.DONE:
                raise BudgetError(run.error or "a ceiling is reached", hint=run.hint)
            if step is not None:  # outputs that other steps would give are none of this step's failures
                run = _of_step(run)
            scored = await scorer.score(self.plan, run, example, assertions, self._grader)
        if scored.state is State.ERROR and variants and _is_refused(run):
            return Trial(example, False, run, scored.checks)
        if scored.state is State.ERROR:
            self._lose(example, scored.problem or "", run.hint)
        told = any(check.counts and check.verdict for check in scored.checks) or run.status is not Status.DONE
        passed = scored.state is State.PASSED if told and scored.state is not State.ERROR else None
        return Trial(example, passed, run, scored.checks)

    def calls_of(self, examples: Sequence[Example], step: str | None = None) -> int:
        """The model calls that trying one of the examples takes at most, those of judges included, if no reply is asked
        for again and a `for_each` has one item."""
        return max((self._calls(example, step) for example in examples), default=0)

    def _calls(self, example: Example, step: str | None) -> int:
        assertions, _, needed = self._asked(example, step)
        judged = sum(assertion.name in JUDGED for assertion in flattened(assertions))
        return sum(self.bound.calls_of(name) for name in needed) + judged

    def _asked(
        self, example: Example, step: str | None
    ) -> tuple[tuple[Assertion, ...], Mapping[str, Any], frozenset[str]]:
        """The assertions that tell, the values that are given, and the steps to run."""
        assertions = self.assertions + example.assertions
        if step is None or not self.is_alone(step):
            return assertions, {}, scorer.looked_at(self.plan, assertions)
        own = tuple(assertion for assertion in assertions if assertion.step == step)
        gold = {name: value for name, value in example.gold(self.plan.chain).items() if name != step}
        return own, gold, self._needed({step, *scorer.named(self.plan, own)}, gold)

    def _needed(self, targets: Iterable[str], gold: Mapping[str, Any]) -> frozenset[str]:
        """The steps to run for the targets, where those before them with an expected value need not be."""
        found: set[str] = set()
        waiting = [name for name in targets if name not in gold]
        while waiting:
            name = waiting.pop()
            if name not in found:
                found.add(name)
                waiting += [other for other in self.plan.nodes[name].after if other not in gold]
        return frozenset(found)

    def _lose(self, example: Example, problem: str, hint: str | None) -> None:
        self._lost[example.id] = problem
        if len(self._lost) > self._max_errors:
            message = f"{len(self._lost)} examples could not be tried; the last: {problem}"
            again = "run the same again: what was answered is in the cache"
            raise PromptChainError(message, hint=f"{hint or 'mend that'}; then {again}")


def _ended_well(task: asyncio.Task[Trial]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is None


def _is_refused(run: Run) -> bool:
    """Whether a step failed since the model does not take such a request: with other prompts than the seed's, it is
    those that it does not take."""
    return any(step.fault is Fault.BAD_REQUEST for step in run.steps.values())


def _of_step(run: Run) -> Run:
    """The run as failed only where a step that ran did."""
    failed = any(step.status in (Status.FAILED, Status.BLOCKED) for step in run.steps.values())
    return run if failed else run.model_copy(update={"status": Status.DONE, "error": None, "hint": None})


def _digest(variants: Variants) -> str:
    text = "\0".join(f"{name}\0{variant.model_dump_json()}" for name, variant in sorted(variants.items()))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()

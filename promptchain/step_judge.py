"""A step's own assertions, applied while it runs: what fails them is asked for again, or not taken among samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from promptchain.assertions.apply import Checked, apply
from promptchain.assertions.protocol import AssertionFault, Subject
from promptchain.criteria import Assertion
from promptchain.errors import ModelError
from promptchain.plan import AnyStep
from promptchain.records import Call, Totals
from promptchain.steps.outcome import Outcome

if TYPE_CHECKING:
    from promptchain.assertions.grader import Grader


class StepJudge:
    """The `steps.context.Judge` of one attempt at a step.

    values: what the step itself sees. grader: makes one anew for each question, so that what it asks can be told apart.
    calls: where those calls go.
    """

    def __init__(
        self, step: AnyStep, values: Mapping[str, Any], grader: Callable[[], Grader], calls: list[Call]
    ) -> None:
        self._step = step
        self._values = values
        self._grader = grader
        self._calls = calls

    async def problem(self, outcome: Outcome) -> str | None:
        """See `Judge.problem`. What only measures, or compares with an expected value, says nothing here."""
        checks = await self._applied(self._step.assert_, outcome)
        failed = [check for check in checks if check.counts and check.passed is False]
        if failed:
            return "; ".join(check.verdict.reason for check in failed if check.verdict)
        lost = next((check for check in checks if check.counts and check.error), None)
        if lost is not None:
            raise _untold(lost)
        return None

    async def score(self, outcome: Outcome, by: Assertion | None) -> float:
        """See `Judge.score`: the weighted mean where there are several."""
        checks = await self._applied((by,) if by else self._step.assert_, outcome)
        lost = next((check for check in checks if check.error), None)
        if lost is not None:
            raise _untold(lost)
        said = [(check.assertion.weight, check.verdict.score) for check in checks if check.verdict]
        weight = sum(each for each, _ in said)
        return sum(each * score for each, score in said) / weight if weight else 0.0

    async def _applied(self, assertions: Sequence[Assertion], outcome: Outcome) -> list[Checked]:
        if not assertions:
            return []
        grader = self._grader()
        subject = _subject(outcome, self._values)
        try:
            return [await apply(assertion, subject, grader) for assertion in assertions]
        finally:
            sample = outcome.calls[-1].sample if outcome.calls else 0
            self._calls.extend(call.model_copy(update={"sample": sample, "purpose": "judge"}) for call in grader.calls)


def _untold(check: Checked) -> AssertionFault:
    """What to raise for an assertion that could not be told; its cause says where a model was the reason, so that the
    step is not held to have failed by itself."""
    error = AssertionFault(f"its assertion '{check.assertion.type}' could not be told: {check.error}")
    if check.fault is not None:
        error.__cause__ = ModelError(check.error or "", fault=check.fault, model="")
    return error


def _subject(outcome: Outcome, values: Mapping[str, Any]) -> Subject:
    inner = outcome.run.totals if outcome.run else Totals()  # of a step that is a chain
    costs = [inner.cost, *(call.cost for call in outcome.calls if call.error is None or call.cost is not None)]
    return Subject(
        output=outcome.value,
        values={**values, "expected": None, "outputs": {}},
        seconds=sum(call.seconds for call in outcome.calls) + (outcome.run.seconds if outcome.run else 0.0),
        cost=None if None in costs else sum(cost for cost in costs if cost is not None),
        tokens=inner.tokens + sum(call.prompt_tokens + call.completion_tokens for call in outcome.calls),
        logprobs=tuple(logprob for call in outcome.calls if call.error is None for logprob in call.logprobs),
        retries=sum(call.error is not None and call.finish is not None for call in outcome.calls),
        called=tuple(tool.name for tool in outcome.tools),
    )

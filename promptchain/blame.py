"""Which step costs the chain how much.

Where an example says what a step should have given, its blame is counterfactual: the chain is run again with that value
in the step's place. Only what comes after the step runs again, and only where it could help: an example that fails
before the step, or beside it, fails with any value of it. The step is to blame for the example if it passes then.

Where nothing is expected of a step, its blame is the first failure: of the failed examples that no expected value
mends, those whose first failed assertion, in the order of the DAG, is on that step.

A step's blame is the share of all examples that are so; divided by the share that failed it is the share of the chain's
loss. Two steps may each mend an example alone, so shares can add up to more than the loss; examples that no single step
mends are counted apart, as those of several steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any

from promptchain.plan import Plan
from promptchain.records import Run, Status, StepRun
from promptchain.results import ExampleResult, State, StepResult

EXPLANATION = """\
score     the share of examples in which every assertion on the step held, on what the steps before it really gave
on gold   the same, with the dataset's expected values in place of what the steps before it gave: a step that scores
          well there and badly beside it suffers from the steps before it
blame     what the chain's score would gain were this step perfect.
          With `expected.<step>` in the dataset it is counterfactual: each failed example is run again with the expected
          value in place of the step's output (only the steps after it run again), and it counts if it passes then.
          Without, it is the share of examples that fail first at this step (marked ~). Of a search of files the
          passages are expected of the sources that its recall, mrr or ndcg names.
loss      blame as a share of all that the chain loses. Steps may each mend the same example, so the shares may add up
          to more than 100 %; examples that no single step mends are in the line 'several steps'.
chain     the share of examples in which everything held, with Wilson's 95 % interval; 'product' is what the steps'
          scores multiply to: the chain's score if their failures were independent.
retrieval the means of `recall`, `mrr` and `ndcg`, apart from what models made of the passages: the share of the
          expected sources that was found, one divided by the rank of the first of them, and how near the order is to
          the best one; `@k` looks at the first k sources. In the table of steps a retrieval's score is, as any other,
          the share of examples that passed: from the assertion's threshold on, or without one where it is 1."""


class Method(StrEnum):
    """How a step's blame is known."""

    COUNTERFACTUAL = "counterfactual"
    FIRST_FAILURE = "first failure"


def candidates(plan: Plan, run: Run, result: ExampleResult, gold: Mapping[str, Any]) -> list[str]:
    """The steps whose expected value could mend a failed example: it differs, and all that failed depends on it."""
    if result.state is not State.FAILED:
        return []
    failed = {check.assertion.step for check in result.failures if check.assertion.step is not None}
    failed |= {name for name, step in run.steps.items() if step.status in (Status.FAILED, Status.BLOCKED)}
    found = []
    for name, expected in gold.items():
        step = run.steps[name]
        if step.status not in (Status.DONE, Status.FAILED) or (step.status is Status.DONE and step.value == expected):
            continue
        if all(other == name or name in plan.upstream(other) for other in failed):
            found.append(name)
    return found


def as_expected(plan: Plan, run: Run, name: str, value: Any, looked_at: frozenset[str]) -> dict[str, StepRun]:
    """What of a run stays when step `name` gives `value`: the rest is run again. looked_at: the steps that anything
    depends on; another that was done stays as it is."""
    stays = {}
    for other, step in run.steps.items():
        after = name in plan.upstream(other)
        if other != name and (not after or (other not in looked_at and step.status is Status.DONE)):
            stays[other] = step
    return {**stays, name: StepRun(status=Status.DONE, value=value)}


def first_failed(plan: Plan, steps: Mapping[str, StepResult]) -> str | None:
    """The first step, in an order in which they may run, that failed or whose assertions did."""
    for name in plan.nodes:
        if steps[name].passed is False:
            return name
    return None


def attributed(results: Sequence[ExampleResult], names: Iterable[str]) -> tuple[dict[str, list[int]], list[int]]:
    """For each step the indexes of the failed examples it is to blame for; and those of several steps, or of none."""
    blamed: dict[str, list[int]] = {name: [] for name in names}
    several: list[int] = []
    for index, result in enumerate(results):
        if result.state is not State.FAILED:
            continue
        mended = [name for name, step in result.steps.items() if step.mends]
        first = result.first
        if not mended and first is not None and result.steps[first].mends is None:
            mended = [first]
        for name in mended:
            blamed[name].append(index)
        if not mended:
            several.append(index)
    return blamed, several

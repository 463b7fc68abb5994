"""The results of all examples as the few numbers that a person looks at."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from promptchain import blame
from promptchain.blame import Method
from promptchain.plan import Plan
from promptchain.results import ExampleResult, State, StepResult
from promptchain.statistics import Interval, quantile, share


@dataclass(frozen=True, slots=True)
class StepSummary:
    """One step over all examples. score, gold: see `StepResult`, as shares. blame: what the chain's score would gain
    were this step perfect; loss: blame as a share of what the chain lost; None where nothing tells.

    calls, cost, tokens: of its answers, also those from the cache; new_calls: those that were not. p50, p95: seconds.
    """

    step: str
    score: Interval | None
    gold: Interval | None
    blame: float | None
    loss: float | None
    method: Method | None
    calls: int
    new_calls: int
    cost: float | None
    tokens: int
    p50: float | None
    p95: float | None
    retries: int


@dataclass(frozen=True)
class Summary:
    """An evaluation in numbers. chain: the share of examples in which everything held. product: of the steps' scores.
    several: the share of the loss that no single step is to blame for. metrics: the mean score of the assertions of
    that name; retrieval: likewise of those on passages (`Assertion.measure`), which say nothing of what models write.
    flaky: the ids of examples that passed in some tries and not in others. errors: tries that could not be scored,
    unchecked: those that no assertion applied to; both are in no other number. unused: assertions that applied to no
    example, and why."""

    examples: int
    tries: int
    passed: int
    failed: int
    errors: int
    unchecked: int
    chain: Interval | None
    product: float | None
    mean: Interval | None
    steps: tuple[StepSummary, ...]
    several: float
    p50: float | None
    p95: float | None
    metrics: dict[str, Interval] = field(default_factory=dict)
    retrieval: dict[str, Interval] = field(default_factory=dict)
    flaky: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()

    @property
    def calls(self) -> int:
        return sum(step.calls for step in self.steps)

    @property
    def new_calls(self) -> int:
        return sum(step.new_calls for step in self.steps)

    @property
    def cost(self) -> float | None:
        """US dollars for all answers, also those from the cache; None where a price is unknown."""
        return _sum(step.cost for step in self.steps)

    def score_of(self, name: str) -> Interval | None:
        """The score of a step, a metric or, by the word for it, the chain."""
        if name == "chain":
            return self.chain
        found = next((step.score for step in self.steps if step.step == name), None)
        return found or self.metrics.get(name) or self.retrieval.get(name)


def summarise(plan: Plan, results: Sequence[ExampleResult]) -> Summary:
    """What the results come to."""
    scored = [result for result in results if result.scored]
    passes = by_example(scored, lambda result: float(result.state is State.PASSED))
    chain = share(list(passes.values()))
    blamed, several = blame.attributed(scored, plan.chain.steps)
    lost = sum(result.state is State.FAILED for result in scored)
    steps = tuple(_step(name, results, scored, blamed[name], lost) for name in plan.chain.steps)
    scores = [step.score.value for step in steps if step.score]
    weighted = by_example([r for r in scored if r.score is not None], lambda result: result.score or 0.0)
    return Summary(
        examples=len({result.id for result in results}),
        tries=len(results),
        passed=len(scored) - lost,
        failed=lost,
        errors=sum(result.state is State.ERROR for result in results),
        unchecked=sum(result.state is State.UNCHECKED for result in results),
        chain=chain,
        product=math.prod(scores) if scores else None,
        mean=share(list(weighted.values())),
        steps=steps,
        several=len(several) / lost if lost else 0.0,
        p50=quantile([result.seconds for result in scored], 0.5),
        p95=quantile([result.seconds for result in scored], 0.95),
        metrics=_metrics(scored),
        retrieval=_retrieval(scored),
        flaky=tuple(id for id, mean in passes.items() if 0 < mean < 1),
        unused=tuple(_unused(results)),
    )


def by_example(results: Iterable[ExampleResult], value: Callable[[ExampleResult], float]) -> dict[str, float]:
    """The mean of a value over the tries of each example."""
    found: dict[str, list[float]] = {}
    for result in results:
        found.setdefault(result.id, []).append(value(result))
    return {id: math.fsum(values) / len(values) for id, values in found.items()}


def _step(
    name: str, results: Sequence[ExampleResult], scored: Sequence[ExampleResult], blamed: Sequence[int], lost: int
) -> StepSummary:
    own = [result.steps[name] for result in results]
    seconds = [step.seconds for step in own if step.calls or step.seconds]
    real, gold = _share(name, scored, lambda step: step.passed), _share(name, scored, lambda step: step.gold)
    tested = real is not None or any(result.steps[name].mends is not None for result in scored)
    counterfactual = any(result.steps[name].mends is not None for result in scored)
    return StepSummary(
        step=name,
        score=real,
        gold=gold,
        blame=len(blamed) / len(scored) if tested and scored else None,
        loss=len(blamed) / lost if tested and lost else None,
        method=None if not tested else Method.COUNTERFACTUAL if counterfactual else Method.FIRST_FAILURE,
        calls=sum(step.calls for step in own),
        new_calls=sum(step.new_calls for step in own),
        cost=_sum(step.cost for step in own),
        tokens=sum(step.tokens for step in own),
        p50=quantile(seconds, 0.5),
        p95=quantile(seconds, 0.95),
        retries=sum(step.retries for step in own),
    )


def _share(name: str, scored: Iterable[ExampleResult], passed: Callable[[StepResult], bool | None]) -> Interval | None:
    told = [result for result in scored if passed(result.steps[name]) is not None]
    return share(list(by_example(told, lambda result: float(bool(passed(result.steps[name])))).values()))


def _metrics(scored: Iterable[ExampleResult]) -> dict[str, Interval]:
    """The mean score of the assertions that share a name, in the order of the names."""
    found: dict[str, list[float]] = {}
    for result in scored:
        for check in result.checks:
            if check.assertion.metric and check.verdict and not check.assertion.ranks:
                found.setdefault(check.assertion.metric, []).append(check.verdict.score)
    means = {name: share(scores) for name, scores in found.items()}
    return {name: mean for name, mean in means.items() if mean}


def _retrieval(scored: Iterable[ExampleResult]) -> dict[str, Interval]:
    """The mean score of each measure of passages, in the order of the names."""
    means = {name: share(list(scores.values())) for name, scores in found_well(scored).items()}
    return {name: mean for name, mean in means.items() if mean}


def found_well(results: Iterable[ExampleResult]) -> dict[str, dict[str, float]]:
    """How well passages were found: by the measure's name, the mean score of each example over its tries."""
    found: dict[str, dict[str, list[float]]] = {}
    for result in results:
        for check in result.checks:
            name = check.assertion.measure
            if name and check.verdict and check.assertion.ranks:
                found.setdefault(name, {}).setdefault(result.id, []).append(check.verdict.score)
    return {name: {id: math.fsum(own) / len(own) for id, own in by.items()} for name, by in found.items()}


def _unused(results: Sequence[ExampleResult]) -> Iterable[str]:
    """The chain's assertions that no row had anything to compare with."""
    used: dict[Any, str | None] = {}
    for result in results:
        for check in result.checks:
            key = id(check.assertion)
            if check.missing is None or (key in used and used[key] is None):
                used[key] = None
            else:
                part = check.assertion
                place = f" on {part.step or part.output}" if part.step or part.output else ""
                used[key] = f"{part.type}{place}: no row has {check.missing}"
    return dict.fromkeys(told for told in used.values() if told)


def _sum(values: Iterable[float | None]) -> float | None:
    found = list(values)
    return None if None in found else math.fsum(value for value in found if value is not None)

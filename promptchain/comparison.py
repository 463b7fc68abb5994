"""Two evaluations of the same examples, paired: what the change is worth, and which examples flipped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from promptchain.results import ExampleResult, State, StepResult
from promptchain.statistics import Difference, paired
from promptchain.summary import by_example, found_well


@dataclass(frozen=True, slots=True)
class Flip:
    """An example that passes on one side only. first: the first step that fails on the side where it does not."""

    id: str
    where: str
    better: bool
    first: str | None
    before: ExampleResult
    after: ExampleResult


@dataclass(frozen=True)
class Comparison:
    """after less before, over the examples that both could be scored on. names: of the two sides. steps: by step.
    retrieval: of the scores of passages, by the names of `Summary.retrieval`."""

    names: tuple[str, str]
    chain: Difference | None
    steps: dict[str, Difference]
    flips: tuple[Flip, ...]
    left_out: int
    retrieval: dict[str, Difference] = field(default_factory=dict)

    @property
    def worse(self) -> tuple[Flip, ...]:
        return tuple(flip for flip in self.flips if not flip.better)

    @property
    def better(self) -> tuple[Flip, ...]:
        return tuple(flip for flip in self.flips if flip.better)


def compare(names: tuple[str, str], before: Sequence[ExampleResult], after: Sequence[ExampleResult]) -> Comparison:
    """Pair two evaluations by example. With repeats an example counts by its share of passes, and has flipped where
    the side on which it passes more often than not is another."""
    sides = [by_example([r for r in side if r.scored], _passes) for side in (before, after)]
    both = [id for id in sides[0] if id in sides[1]]
    everything = {result.id for result in (*before, *after)}
    firsts = [{result.id: result for result in reversed(side)} for side in (before, after)]
    failed = [{r.id: r for r in reversed(side) if r.state is State.FAILED} for side in (before, after)]
    flips = []
    for id in both:
        was, now = sides[0][id] > 0.5, sides[1][id] > 0.5
        if was != now:
            failing = failed[was][id]
            flips.append(Flip(id, str(failing.where), now, failing.first, firsts[0][id], firsts[1][id]))
    return Comparison(
        names=names,
        chain=paired([sides[1][id] - sides[0][id] for id in both]),
        steps=_steps(before, after),
        flips=tuple(flips),
        left_out=len(everything) - len(both),
        retrieval=_retrieval(before, after),
    )


def _passes(result: ExampleResult) -> float:
    return float(result.state is State.PASSED)


def _steps(before: Sequence[ExampleResult], after: Sequence[ExampleResult]) -> dict[str, Difference]:
    names = [name for name in (before[0].steps if before else ()) if after and name in after[0].steps]
    found = {}
    for name in names:
        sides = [_step_passes(side, name) for side in (before, after)]
        difference = paired([sides[1][id] - sides[0][id] for id in sides[0] if id in sides[1]])
        if difference:
            found[name] = difference
    return found


def _retrieval(before: Sequence[ExampleResult], after: Sequence[ExampleResult]) -> dict[str, Difference]:
    was, now = (found_well(result for result in side if result.scored) for side in (before, after))
    found = {}
    for name in (name for name in was if name in now):
        difference = paired([now[name][id] - value for id, value in was[name].items() if id in now[name]])
        if difference:
            found[name] = difference
    return found


def _step_passes(side: Sequence[ExampleResult], name: str) -> dict[str, float]:
    told = [result for result in side if _told(result, name)]
    return by_example(told, lambda result: float(bool(result.steps[name].passed)))


def _told(result: ExampleResult, name: str) -> bool:
    step: StepResult = result.steps[name]
    return result.scored and step.passed is not None


def to_json(comparison: Comparison) -> dict[str, Any]:
    """As `chain test --json` prints it."""
    return {
        "before": comparison.names[0],
        "after": comparison.names[1],
        "chain": difference_json(comparison.chain),
        "steps": {name: difference_json(step) for name, step in comparison.steps.items()},
        "retrieval": {name: difference_json(mean) for name, mean in comparison.retrieval.items()},
        "flipped": [
            {"id": flip.id, "where": flip.where, "to": "passed" if flip.better else "failed", "step": flip.first}
            for flip in comparison.flips
        ],
        "left_out": comparison.left_out,
    }


def difference_json(difference: Difference | None) -> dict[str, Any] | None:
    if difference is None:
        return None
    return {
        "difference": difference.value,
        "low": difference.low,
        "high": difference.high,
        "p": difference.p,
        "better": difference.better,
        "worse": difference.worse,
        "n": difference.n,
    }

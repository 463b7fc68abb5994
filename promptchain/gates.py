"""Whether an evaluation is good enough: the gate of a chain file, and `--compare`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from promptchain.comparison import Comparison
from promptchain.criteria import Gate
from promptchain.results import ExampleResult, State
from promptchain.rounding import fixed
from promptchain.summary import Summary

_ROUNDING = 1e-9
"""3 of 10 are not less than 0.3."""


@dataclass(frozen=True, slots=True)
class Miss:
    """A condition that is not met: `name` is a step, a metric, `chain`, or the side it was compared with."""

    name: str
    message: str


def misses(gate: Gate, summary: Summary) -> list[Miss]:
    """The scores that are less than the gate asks for. A score that there is none of is a miss too."""
    found = []
    for name, least in gate.min.items():
        score = summary.score_of(name)
        if score is None:
            found.append(Miss(name, f"{name} has no score; the gate asks for at least {least:.3g}"))
        elif score.value < least - _ROUNDING:
            short = least - score.value
            found.append(
                Miss(name, f"{name} is {fixed(score.value, 3)}, {fixed(short, 3)} less than the {least:.3g} asked for")
            )
    return found


def unchecked(results: Sequence[ExampleResult]) -> list[Miss]:
    """That there is no example in which anything was checked, for want of what the assertions look at."""
    lost = [result for result in results if result.state is State.UNCHECKED]
    if not lost or any(result.scored for result in results):
        return []
    return [Miss("chain", f"nothing is checked in any example; {lost[0].id}: {lost[0].problem}")]


def regressions(comparison: Comparison, margin: float) -> list[Miss]:
    """That the chain's score is lower than the other side's by more than `margin`."""
    chain = comparison.chain
    other = comparison.names[0]
    if chain is None:
        return [Miss(other, f"nothing can be compared with {other}: no example could be scored on both sides")]
    if chain.value >= -margin - _ROUNDING:
        return []
    allowed = f", more than the margin of {margin:.3g}" if margin else ""
    return [
        Miss(
            other,
            f"the chain is {fixed(-chain.value, 3)} worse than {other}{allowed}"
            f" ({chain.worse} worse, {chain.better} better; p = {chain.p:.2g})",
        )
    ]

"""What came of testing a chain: by example, and by step in each example."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from promptchain.assertions.apply import Checked
from promptchain.errors import Where
from promptchain.records import Status, StepRun


class State(StrEnum):
    """How an example ended. ERROR: it could not be scored, for a reason that is not the chain's. UNCHECKED: it ran, and
    none of the assertions had anything to look at. Without any assertions it passes when it runs through."""

    PASSED = "passed"
    FAILED = "failed"
    ERROR = "error"
    UNCHECKED = "unchecked"


@dataclass(frozen=True, slots=True)
class StepResult:
    """One step in one example.

    passed: all that decides about it held, on what the steps before really gave; None where nothing decides, or it
    was not run. gold: likewise, on expected values in place of what they gave. mends: the example would pass were this
    step's output the expected one; None where that was not tried.
    seconds, cost, tokens: of its calls, also of those whose answer came from the cache; seconds of a step without calls
    are those that it took. new_calls are those that were not in the cache. retries: replies that did not fit.
    """

    status: Status
    passed: bool | None = None
    gold: bool | None = None
    mends: bool | None = None
    seconds: float = 0.0
    cost: float | None = 0.0
    tokens: int = 0
    calls: int = 0
    new_calls: int = 0
    retries: int = 0
    value: Any = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class ExampleResult:
    """One example, tried once. sample: which try, from 0. score: the weighted mean of its assertions. first: the first
    step, in the order they run, at which something failed; None where only the chain's outputs did. problem: why it
    could not be scored, or why the run failed. hint: what to do about a run that failed. seconds: along the longest way
    through the chain."""

    id: str
    where: Where
    sample: int
    state: State
    score: float | None
    checks: tuple[Checked, ...]
    steps: Mapping[str, StepResult]
    inputs: Mapping[str, Any] = field(default_factory=dict)
    outputs: Mapping[str, Any] = field(default_factory=dict)
    first: str | None = None
    problem: str | None = None
    hint: str | None = None
    seconds: float = 0.0
    description: str = ""

    @property
    def scored(self) -> bool:
        """Whether it counts."""
        return self.state in (State.PASSED, State.FAILED)

    @property
    def failures(self) -> tuple[Checked, ...]:
        """The assertions that failed it."""
        return tuple(check for check in self.checks if check.counts and check.passed is False)

    @property
    def errors(self) -> tuple[Checked, ...]:
        """The assertions that could not say anything."""
        return tuple(check for check in self.checks if check.counts and check.error)


def seconds(step: StepRun) -> float:
    """What a step takes whose answers do not come from the cache: its model's tries one after the other, between them
    its tools, those of one turn side by side; of the items of a `for_each` the longest; of a chain in it the longest
    way through that. Where no model was asked, what it took."""
    if step.status not in (Status.DONE, Status.FAILED):
        return 0.0
    if step.items:
        return max(map(seconds, step.items))
    if step.run is None and not step.calls:
        return step.seconds
    turns: dict[int, float] = {}
    for tool in step.tools:
        took = tool.seconds if tool.run is None else _longest_way(tool.run.steps)
        turns[tool.turn] = max(turns.get(tool.turn, 0.0), took)
    own = sum(call.seconds for call in step.calls) + sum(turns.values())
    return own + (_longest_way(step.run.steps) if step.run else 0.0)


def _longest_way(steps: Mapping[str, StepRun]) -> float:
    """Seconds along the slowest way through a run whose plan is not at hand: a step that began when another had ended
    is taken to have waited for it."""
    ends: list[tuple[float, float]] = []
    for step in sorted(steps.values(), key=lambda step: step.started):
        waited = max((end for ended, end in ends if ended <= step.started), default=0.0)
        ends.append((step.started + step.seconds, waited + seconds(step)))
    return max((end for _, end in ends), default=0.0)


def cost(step: StepRun) -> float | None:
    """US dollars that the step's answers were had for, also those from the cache; None where a price is unknown."""
    found = [call.cost for call in step.all_calls() if call.error is None or call.cost is not None]
    return None if None in found else sum(each for each in found if each is not None)


def tokens(step: StepRun) -> int:
    return sum(call.prompt_tokens + call.completion_tokens for call in step.all_calls())

"""What happens while a chain runs, as values: a terminal draws them, a stream writes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from promptchain.records import Run, StepRun, ToolRun


@dataclass(frozen=True, slots=True)
class RunStarted:
    """A run begins, on checked inputs. model: that of the steps which name none."""

    chain: str
    model: str | None
    inputs: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class StepStarted:
    """A step begins; `items` is how many items a `for_each` has, None for a plain step."""

    step: str
    model: str | None = None
    items: int | None = None


@dataclass(frozen=True, slots=True)
class StepText:
    """A piece of a reply, as it arrives. `item` is the index within a `for_each`."""

    step: str
    text: str
    item: int | None = None


@dataclass(frozen=True, slots=True)
class StepRetried:
    """A try failed and another follows in `wait` seconds; the text that came before it is void."""

    step: str
    reason: str
    wait: float = 0.0
    item: int | None = None


@dataclass(frozen=True, slots=True)
class ToolStarted:
    """A step's model has asked for a tool, which now runs."""

    step: str
    tool: ToolRun
    item: int | None = None


@dataclass(frozen=True, slots=True)
class ToolEnded:
    """A tool has given its result, or has failed."""

    step: str
    tool: ToolRun
    item: int | None = None


@dataclass(frozen=True, slots=True)
class ItemEnded:
    """One item of a `for_each` has ended."""

    step: str
    item: int
    result: StepRun


@dataclass(frozen=True, slots=True)
class StepEnded:
    """A step has ended, with whatever status."""

    step: str
    result: StepRun


@dataclass(frozen=True, slots=True)
class RunEnded:
    """A run has ended, with whatever status: `run` says what came of it."""

    run: Run


Event = StepStarted | StepText | StepRetried | ToolStarted | ToolEnded | ItemEnded | StepEnded
"""What the runner tells. The steps of a chain in a step `outer` are called `outer.inner`, those of an item of a
`for_each` `outer[0].inner`; where chains of one step (its tools) run side by side, those of the second
`outer#2.inner`."""

RunEvent = RunStarted | Event | RunEnded
"""What a stream has: RunStarted first, RunEnded last. The runner tells neither; whoever started it does."""

Observer = Callable[[Event], None]

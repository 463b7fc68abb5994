"""What happens while a chain runs, as values: a terminal draws them, a stream writes them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from promptchain.records import StepRun, ToolRun


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


Event = StepStarted | StepText | StepRetried | ToolStarted | ToolEnded | ItemEnded | StepEnded
Observer = Callable[[Event], None]

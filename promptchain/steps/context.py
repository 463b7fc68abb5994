"""What a step is given while it runs: how to call models and chains, where things are, and who is told what."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from promptchain.criteria import Assertion
from promptchain.lm.calls import Caller
from promptchain.lm.protocol import OnText
from promptchain.records import Call, Run, ToolRun
from promptchain.steps.workshop import Workshop

if TYPE_CHECKING:
    from promptchain.steps.outcome import Outcome

OnRetry = Callable[[str, float], None]
"""Receives why a try did not count, and the seconds until the next."""

OnTool = Callable[[ToolRun, bool], None]
"""Receives a call of a tool as it begins, and again, with True, as it ends."""


def ignore(*_: Any) -> None:
    """For those who need not be told."""


class Judge(Protocol):
    """Applies assertions to what a step gave."""

    async def problem(self, outcome: Outcome) -> str | None:
        """Why it does not pass the step's own assertions; None where it does. Raises PromptChainError where that cannot
        be told."""
        ...

    async def score(self, outcome: Outcome, by: Assertion | None) -> float:
        """What it is worth, in [0, 1], by the assertion given, else by the step's own. Raises as `problem`."""
        ...


RunChain = Callable[[Any, Mapping[str, Any], Callable[[Run], None]], Awaitable[Run]]
"""Runs the plan of a chain in a step (a `binding.BoundPlan`) on its inputs. The last argument receives the record, also
when the run is cancelled."""


async def _no_chain(plan: Any, inputs: Mapping[str, Any], record: Callable[[Run], None]) -> Run:
    raise NotImplementedError


def in_order(tools: Iterable[ToolRun]) -> tuple[ToolRun, ...]:
    """The calls of tools in the order in which they began."""
    return tuple(sorted(tools, key=lambda run: (run.started, run.turn)))


@dataclass(frozen=True)
class Context:
    """One attempt at a step, or at one item of it.

    calls, tools, runs: receive each call, and each run of a chain, as it ends, for when the task is cancelled; the
    samples of a step share them. judge: where the step has assertions, or is chosen by one. clock: seconds since the
    run began. sample: see `Call`.
    """

    caller: Caller
    workshop: Workshop
    step: str = ""
    on_text: OnText | None = None
    on_retry: OnRetry = ignore
    on_tool: OnTool = ignore
    judge: Judge | None = None
    run_chain: RunChain = _no_chain
    clock: Callable[[], float] = lambda: 0.0
    sample: int = 0
    calls: list[Call] = field(default_factory=list)
    tools: list[ToolRun] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)

    @property
    def own_calls(self) -> tuple[Call, ...]:
        """The calls that were made for this sample."""
        return tuple(call for call in self.calls if call.sample == self.sample)

    @property
    def own_tools(self) -> tuple[ToolRun, ...]:
        """The calls of tools that were made for this sample."""
        return tuple(run for run in self.tools_in_order if run.sample == self.sample)

    @property
    def tools_in_order(self) -> tuple[ToolRun, ...]:
        """The calls of tools in the order in which they began."""
        return in_order(self.tools)

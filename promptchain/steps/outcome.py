"""What running a step, or one item of it, came to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from promptchain.errors import PromptChainError
from promptchain.records import Call, Run, ToolRun


@dataclass(frozen=True, slots=True)
class Outcome:
    """A value, and how it was come by; see `StepRun` for the fields."""

    value: Any
    calls: tuple[Call, ...] = ()
    reasoning: str | None = None
    warnings: tuple[str, ...] = ()
    tools: tuple[ToolRun, ...] = ()
    run: Run | None = None
    fingerprint: str | None = None
    sample: int | None = None


class StepError(PromptChainError):
    """A step failed; `calls` and `tools` are what was done until then, `run` is that of a chain in it, for the
    record."""

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        calls: tuple[Call, ...] = (),
        tools: tuple[ToolRun, ...] = (),
        run: Run | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.calls = calls
        self.tools = tools
        self.run = run

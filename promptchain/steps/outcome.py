"""What running a step, or one item of it, came to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from promptchain.errors import PromptChainError
from promptchain.records import Call


@dataclass(frozen=True, slots=True)
class Outcome:
    """A value, and how it was come by."""

    value: Any
    calls: tuple[Call, ...] = ()
    reasoning: str | None = None
    warnings: tuple[str, ...] = ()


class StepError(PromptChainError):
    """A step failed; `calls` are the tries that were made, for the record."""

    def __init__(self, message: str, *, hint: str | None = None, calls: tuple[Call, ...] = ()) -> None:
        super().__init__(message, hint=hint)
        self.calls = calls

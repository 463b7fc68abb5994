"""What can go wrong: every error a user can cause is one of the few kinds below, with what, where and what next."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

NEWER = "install a newer promptchain, from where this one came"
"""What to do about what a newer release wrote. An index may have somebody else's project by that name."""


@dataclass(frozen=True, slots=True, order=True)
class Where:
    """A place in a file. `line` and `column` count from 1; None where the file as a whole is meant."""

    file: str
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        return ":".join(str(part) for part in (self.file, self.line, self.column) if part is not None)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong in a file, as `chain check` lists it."""

    message: str
    where: Where
    hint: str | None = None

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" + (f"; {self.hint}" if self.hint else "")


class PromptChainError(Exception):
    """Something a user can cause and mend.

    message: one sentence without a final stop. hint: what to do next. where: the file and line it is about.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None, where: Where | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.where = where

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        return place + self.message + (f"; {self.hint}" if self.hint else "")


class UsageError(PromptChainError):
    """The command or call itself is wrong: an unknown name, a missing input, options that exclude each other."""

    exit_code = 2


class InvalidFileError(PromptChainError):
    """A file that does not say what it must; carries every problem that was found in it."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        first = problems[0]
        super().__init__(first.message, hint=first.hint, where=first.where)
        self.problems = tuple(problems)

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)


class InputError(UsageError):
    """The values given for a chain's inputs do not fit its declaration."""


class ParseError(PromptChainError):
    """A model's reply that is not what the step's output type asks for. `text` is the raw reply."""

    def __init__(self, message: str, *, text: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.text = text


class UnmetError(PromptChainError):
    """What a step gave does not pass the step's own assertions."""


class BudgetError(PromptChainError):
    """A ceiling (--max-cost, --max-calls, --max-tokens) leaves no room for the next call."""


class StaleError(PromptChainError):
    """Compiled prompts are wanted that fit what they were made from, and the lock has none."""

    exit_code = 101


class FunctionError(PromptChainError):
    """A function of the project that is not there, that cannot be called so, or that failed. `where`: the innermost
    line of the project's own code; `__cause__`: what it raised."""


class StoreError(PromptChainError):
    """The store in the git repository cannot be read or written."""


class McpError(PromptChainError):
    """An MCP server cannot be started, reached or understood."""


class ToolFailed(PromptChainError):
    """A tool that a model called says that it could not do it; the model may be told, and try otherwise."""


class Fault(StrEnum):
    """Why a model call failed, so far as it decides what to do next."""

    UNKNOWN_MODEL = "unknown model"
    NO_WEIGHTS = "no weights"
    NOT_INSTALLED = "not installed"
    AUTH = "authentication"
    RATE_LIMIT = "rate limit"
    SERVER = "server error"
    CONNECTION = "connection"
    TIMEOUT = "timeout"
    CONTEXT = "context length"
    REFUSED = "content refused"
    BAD_REQUEST = "bad request"
    BAD_RESPONSE = "bad response"


RETRYABLE = frozenset({Fault.RATE_LIMIT, Fault.SERVER, Fault.CONNECTION})


class ModelError(PromptChainError):
    """A model call failed. `retry_after` is what the server asked to wait, in seconds."""

    def __init__(
        self,
        message: str,
        *,
        fault: Fault,
        model: str,
        hint: str | None = None,
        status: int | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.fault = fault
        self.model = model
        self.status = status
        self.retry_after = retry_after

    @property
    def retryable(self) -> bool:
        """Whether the same request may well succeed a little later."""
        return self.fault in RETRYABLE


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The hint "did you mean 'x'?" for a misspelt name, or None where nothing is near.

    >>> nearest("serch", ["search", "reply"])
    "did you mean 'search'?"
    """
    from difflib import get_close_matches  # takes time to import, and there is seldom something wrong

    names = list(known)
    matches = get_close_matches(name, names, n=1, cutoff=0.6) or get_close_matches(name.lower(), names, n=1, cutoff=0.6)
    return f"did you mean '{matches[0]}'?" if matches else None


def known_or_nearest(name: str, known: Iterable[str], what: str) -> str:
    """A hint for an unknown name: the nearest right one, else all of them (the first ten)."""
    names = sorted(known)
    if hint := nearest(name, names):
        return hint
    if not names:
        return f"there are no {what}"
    shown = ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
    return f"known {what}: {shown}"

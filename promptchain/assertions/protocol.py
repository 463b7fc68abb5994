"""What an assertion is given, and what it says."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from promptchain.errors import PromptChainError

if TYPE_CHECKING:
    from promptchain.assertions.grader import Grader


class AssertionFault(PromptChainError):
    """An assertion that could not say anything: its value is of the wrong kind, its code raised, its judge failed.
    That is counted apart, and is no score."""


@dataclass(frozen=True)
class Subject:
    """What an assertion looks at: what a step, or the chain, gave for one example.

    output: text, or a JSON value. values: what templates and expressions may name: the chain's inputs, `expected`, the
    value of each step, `outputs` and `output`. seconds: the model's time, also of answers that came from the cache.
    cost: US dollars, likewise; None where a price is unknown. logprobs: of each token that the model wrote, where it
    told them. retries: replies asked for again since they did not fit the type. called: the tools that the step called.
    """

    output: Any
    values: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    cost: float | None = None
    tokens: int = 0
    logprobs: tuple[float, ...] = ()
    retries: int = 0
    called: tuple[str, ...] = ()

    @cached_property
    def text(self) -> str:
        """The output as text: JSON without spaces where it is none."""
        if isinstance(self.output, str):
            return self.output
        return json.dumps(self.output, ensure_ascii=False, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class Spec:
    """One assertion, ready to be applied: no templates are left in it.

    type: without `not-`, which is no concern of the functions. options: keys beside the common ones, `provider` say.
    """

    type: str
    value: Any = None
    threshold: float | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of an assertion. score: in [0, 1]. reason: a short sentence; for people, and for a compiler as
    feedback."""

    passed: bool
    score: float
    reason: str

    def negated(self) -> Verdict:
        """What `not-` makes of it."""
        reason = self.reason if self.passed is False else f"it should not: {self.reason}"
        return Verdict(not self.passed, 1.0 - self.score, reason)


def verdict(passed: bool, wrong: str, right: str = "") -> Verdict:
    """One that is all or nothing."""
    return Verdict(passed, float(passed), right if passed else wrong)


Check = Callable[[Subject, Spec], Verdict]
"""An assertion that needs nothing but the output. Raises AssertionFault."""

AskingCheck = Callable[[Subject, Spec, "Grader"], Awaitable[Verdict]]
"""An assertion that asks a judge, an embedding model, a function of the project or a server. Raises AssertionFault."""

"""The lock of a chain, `chains/NAME.lock.yaml`: for each model the adopted prompts, what they are worth, and the
fingerprints of all that they were made from."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from promptchain.records import Record, StepVariant, Variant


class Compared(Record):
    """The seed prompts and the compiled ones on the same examples; shares that passed.

    better, worse: examples that changed. low, high: of the difference, 95 %. p: of a gain as large by chance (one-sided
    exact sign test); only where the search has not seen the examples.
    """

    examples: int
    before: float
    after: float
    better: int = 0
    worse: int = 0
    low: float | None = None
    high: float | None = None
    p: float | None = None


class Spent(Record):
    """Distinct model calls, also those answered by the cache; cost in US dollars, None where a price is unknown."""

    calls: int = 0
    tokens: int = 0
    cost: float | None = 0.0


class MadeFrom(Record):
    """SHA-256 (hex, the first 16 digits) of what a variant was made from. chain: what no step holds: inputs, params,
    outputs. steps, models: by step; a model's is its name with the fingerprint of its weights or its endpoint."""

    renderer: int
    chain: str
    steps: dict[str, str]
    models: dict[str, str]
    dataset: str
    metrics: str
    settings: str


class Entry(Record):
    """What compiling a chain for one model came to.

    steps: what replaces the chain file's words; empty where the seed prompts were kept, and then `kept` says why.
    dev: what the candidates were chosen on; test: held out. by_step: on the held-out examples. settings: those that are
    not the defaults. parent: the fingerprint of the variant this one started from.
    """

    kept: str | None = None
    steps: dict[str, StepVariant] = Field(default_factory=dict)
    dev: Compared | None = None
    test: Compared | None = None
    by_step: dict[str, Compared] = Field(default_factory=dict)
    spent: Spent = Spent()
    settings: dict[str, Any] = Field(default_factory=dict)
    parent: str | None = None
    made_from: MadeFrom

    def variant(self, model: str) -> Variant:
        """The parameters, as a run takes them."""
        return Variant(model=model, steps=self.steps)


class Lock(Record):
    """All variants of a chain, by model: the one that the chain's steps run on where they name none of their own."""

    format: Annotated[int, Field(ge=1)] = 1
    models: dict[str, Entry] = Field(default_factory=dict)


FORMAT = 1
"""The format that this release writes, and the newest that it reads."""

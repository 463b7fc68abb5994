"""How a chain is compiled, as its file says it under `compile:`; flags of the command stand above it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from promptchain.model import Model

Optimizer = Literal["auto", "nearest", "demos", "format", "instructions"]

Name = Annotated[str, Field(min_length=1)]


class Split(Model):
    """Shares of the rows: demos and traces come from `train`, candidates are compared on `dev`, and what wins is held
    against the seed prompts on `test`, which the search never sees."""

    train: Annotated[float, Field(gt=0, lt=1)] = 0.4
    dev: Annotated[float, Field(gt=0, lt=1)] = 0.3
    test: Annotated[float, Field(gt=0, lt=1)] = 0.3

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if abs(self.train + self.dev + self.test - 1) > 1e-6:
            raise PydanticCustomError("split", "must add up to 1")
        return self


class Tuning(Model):
    """optimizer: by name. calls: model calls that are planned for in all; without it 400 for each step to tune, and
    what comparing whole chains takes. seed: of every choice by chance. steps: those to tune; without it all that an
    assertion depends on. teacher: the model whose answers become demos; proposer: the one that rewrites instructions.

    max_demos: shown in one request. max_pool: kept to pick the nearest from. max_demo_tokens, max_instruction_tokens:
    of one request, estimated as a quarter of the bytes. max_p: a compiled prompt is adopted where the held-out rows
    would show such a gain by chance with this probability at most (one-sided exact test).
    """

    optimizer: Optimizer = "auto"
    calls: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    split: Split = Split()
    steps: tuple[Name, ...] = ()
    teacher: Name | None = None
    proposer: Name | None = None
    max_demos: Annotated[int, Field(ge=0, le=64)] = 8
    max_pool: Annotated[int, Field(ge=0, le=2000)] = 200
    max_demo_tokens: Annotated[int, Field(ge=0)] = 1500
    max_instruction_tokens: Annotated[int, Field(ge=1)] = 600
    max_p: Annotated[float, Field(gt=0, le=0.5)] = 0.1


def effective(own: Tuning, recorded: Mapping[str, Any], given: Mapping[str, Any] | None = None) -> Tuning:
    """The settings of a compile: those given for it, over those of the chain file, over those that the lock was made
    with. So a lock that flags had a say in stays fresh, and is made again as it was, until somebody says otherwise.

    Raises pydantic's ValidationError."""
    return Tuning.model_validate({**recorded, **own.model_dump(mode="json", exclude_unset=True), **(given or {})})

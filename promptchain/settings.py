"""A project's settings: `[tool.promptchain]` of pyproject.toml or promptchain.toml, under the environment and flags."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from promptchain import location
from promptchain.errors import InvalidFileError, Problem, PromptChainError, UsageError, Where, known_or_nearest

PREFIX = "PROMPTCHAIN_"


_NOT_VARIABLES = ("model", "protected_labels", "redact")


class Settings(BaseModel):
    """model: for chains that name none. concurrency: model calls in flight. timeout: seconds for one call.
    local_slots, local_context: parallel requests of a local model, and tokens for each. ref_prefix, protected_labels:
    of the store, see `location.store_settings`. redact: patterns of what is masked, see `location.use_redaction`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, str_min_length=1)

    model: str | None = None
    concurrency: Annotated[int, Field(ge=1, le=10_000)] = 16
    timeout: Annotated[float, Field(gt=0)] = 120.0
    max_cost: Annotated[float, Field(ge=0)] | None = None
    max_calls: Annotated[int, Field(ge=0)] | None = None
    max_tokens: Annotated[int, Field(ge=0)] | None = None
    local_slots: Annotated[int, Field(ge=1, le=256)] | None = None
    local_context: Annotated[int, Field(ge=64)] | None = None
    ref_prefix: str = location.StoreSettings().prefix
    protected_labels: tuple[str, ...] = ()
    redact: tuple[str, ...] = ()


def load(root: Path) -> Settings:
    """The settings of the project at `root`. Raises InvalidFileError, UsageError."""
    data, name = location.tables(root)
    location.use_redaction(root, data, name)
    values = {**data, **_environment()}
    try:
        return Settings.model_validate(values)
    except ValidationError as exc:
        raise _translate(exc, name) from None


def _environment() -> dict[str, str]:
    """PROMPTCHAIN_CONCURRENCY and the like. PROMPTCHAIN_MODEL is no setting: it stands for --model."""
    names = {PREFIX + field.upper(): field for field in Settings.model_fields if field not in _NOT_VARIABLES}
    return {field: os.environ[name] for name, field in names.items() if os.environ.get(name)}


def _translate(exc: ValidationError, file: str) -> PromptChainError:
    problems = []
    for error in exc.errors(include_url=False):
        name = str(error["loc"][0])
        wrong = error["msg"].lower().replace("input should", "must").partition(",")[0]
        variable = PREFIX + name.upper()
        if name in Settings.model_fields and os.environ.get(variable):
            return UsageError(f"{variable} {wrong}, not '{os.environ[variable]}'")
        if error["type"] == "extra_forbidden":
            hint = known_or_nearest(name, Settings.model_fields, "settings")
            problems.append(Problem(f"unknown setting '{name}'", Where(file), hint))
        else:
            problems.append(Problem(f"the setting '{name}' {wrong}, not {error['input']!r}", Where(file)))
    return InvalidFileError(problems)

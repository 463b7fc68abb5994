"""The base of the models of what users write, and their values in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict


class Model(BaseModel):
    """Data that lives in a file."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, hide_input_in_errors=True)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """As pydantic's, but without what was worked out of the old fields and kept: a changed chain is another."""
        changed = super().model_copy(update=update, deep=deep)
        for name in changed.__dict__.keys() - type(self).model_fields.keys() if update else ():
            del changed.__dict__[name]
        return changed


def describe(value: Any) -> str:
    """What a YAML value is, in a word, for messages."""
    if value is None:
        return "empty"
    for kind, name in ((bool, "true or false"), (int, "a number"), (float, "a number"), (str, "a text")):
        if isinstance(value, kind):
            return name
    return "a list" if isinstance(value, list | tuple) else "a mapping"

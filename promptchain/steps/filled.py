"""Templates in the values that a step is given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from promptchain import template
from promptchain.errors import PromptChainError
from promptchain.records import storable
from promptchain.template import Template, TemplateFault


def evaluated(parsed: Template, values: Mapping[str, Any], what: str) -> Any:
    """The value of a template, or of an expression, as plain JSON. what: as of `filled`. Raises PromptChainError."""
    try:
        return storable(parsed.value(values))
    except TemplateFault as exc:
        raise PromptChainError(f"{what}: {exc.message}", hint=exc.hint) from None
    except ValueError as exc:
        raise PromptChainError(f"{what}: {exc}") from None


def filled(value: Any, values: Mapping[str, Any], what: str) -> Any:
    """The value with its templates filled in, as plain JSON; one that is a single expression gives that very value.

    what: the value in words, for the error. Raises PromptChainError."""
    if isinstance(value, str):
        try:
            parsed = template.parse(value)
        except TemplateFault as exc:
            raise PromptChainError(f"{what}: {exc.message}", hint=exc.hint) from None
        return evaluated(parsed, values, what)
    if isinstance(value, Mapping):
        return {key: filled(item, values, what) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [filled(item, values, what) for item in value]
    return value

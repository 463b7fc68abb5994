"""The optimizers by name."""

from __future__ import annotations

from collections.abc import Mapping

from promptchain.optimizers import demos, format, instructions, nearest
from promptchain.optimizers.protocol import Optimizer

OPTIMIZERS: Mapping[str, Optimizer] = {
    "nearest": nearest.optimize,
    "demos": demos.optimize,
    "format": format.optimize,
    "instructions": instructions.optimize,
}
"""In the order in which `auto` tries them: those first that bring most for the fewest calls."""

PARTS = {"nearest": "demos", "demos": "demos", "format": "format", "instructions": "instructions"}
"""The part of a step that an optimizer changes, as `freeze` names it."""


def plan(optimizer: str) -> tuple[str, ...]:
    """The optimizers that a name stands for."""
    return tuple(OPTIMIZERS) if optimizer == "auto" else (optimizer,)

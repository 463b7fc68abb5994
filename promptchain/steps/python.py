"""A Python step: a function of the project is called with values of the chain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from promptchain import functions
from promptchain.chain import PythonStep
from promptchain.errors import PromptChainError
from promptchain.steps.context import Context
from promptchain.steps.filled import filled
from promptchain.steps.outcome import Outcome, StepError


@dataclass(frozen=True, slots=True)
class BoundPython:
    """timeout: seconds for one call."""

    step: PythonStep
    timeout: float | None


async def run(bound: BoundPython, values: Mapping[str, Any], context: Context) -> Outcome:
    """What the function gives, in the step's type. Raises StepError."""
    step = bound.step
    try:
        given = {name: filled(value, values, f"the argument '{name}'") for name, value in step.inputs.items()}
        function = await context.workshop.function(step.python)
        arguments = functions.bind_arguments(function, given)
        value = await _tried(bound, function, arguments, context)
    except PromptChainError as exc:
        place = f"{exc.where}: " if exc.where else ""
        raise StepError(place + exc.message, hint=exc.hint) from exc
    if step.output is not None and (problems := step.type.check(value)):
        message = f"{step.python} gave what does not fit the step's output: {'; '.join(problems)}"
        raise StepError(message, hint=f"the output is {step.type.describe()}")
    return Outcome(value)


async def _tried(bound: BoundPython, function: functions.Function, arguments: Any, context: Context) -> Any:
    """The call; again where the step says so: what code has done once it may not do twice without being told."""
    retry = bound.step.retry
    left = retry.errors if "errors" in retry.model_fields_set else 0
    while True:
        try:
            async with context.workshop.code:
                return await functions.call(function, arguments, timeout=bound.timeout)
        except functions.FunctionError as exc:
            if left == 0:
                raise
            left -= 1
            context.on_retry(exc.message, 0.0)

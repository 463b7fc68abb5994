"""A chain as a step of another."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from promptchain import inputs
from promptchain.chain import Chain, ChainStep
from promptchain.errors import BudgetError, PromptChainError
from promptchain.records import Status
from promptchain.steps.context import Context
from promptchain.steps.filled import filled
from promptchain.steps.outcome import Outcome, StepError


@dataclass(frozen=True)
class BoundChain:
    """plan: the chain's, ready to run (a `binding.BoundPlan`). timeout: seconds for all of it; None for no limit."""

    step: ChainStep
    chain: Chain
    plan: Any
    timeout: float | None


async def run(bound: BoundChain, values: Mapping[str, Any], context: Context) -> Outcome:
    """The chain's outputs. Raises StepError."""
    try:
        given = {name: filled(value, values, f"the input '{name}'") for name, value in bound.step.inputs.items()}
        checked = inputs.check(bound.chain, given)
        async with asyncio.timeout(bound.timeout):
            inner = await context.run_chain(bound.plan, checked, context.runs.append)
    except TimeoutError:
        message = f"the chain '{bound.chain.name}' took longer than {bound.timeout:g} s"
        raise StepError(message, hint="raise the step's `timeout`", run=context.runs[-1]) from None
    except PromptChainError as exc:
        raise StepError(exc.message, hint=exc.hint) from exc
    if inner.status is not Status.DONE:
        message = f"in the chain '{bound.chain.name}': {inner.error}"
        cause = BudgetError(message) if context.caller.exhausted else None
        raise StepError(message, hint=inner.hint, run=inner) from cause
    return Outcome(inner.outputs, run=inner, warnings=_warnings(inner.steps))


def _warnings(steps: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(f"{name}: {warning}" for name, step in steps.items() for warning in step.warnings)

"""A recorded run, again: what of it is taken over, and what is run anew."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from promptchain.chain import Chain, PromptStep
from promptchain.errors import UsageError, known_or_nearest
from promptchain.plan import Plan
from promptchain.records import Call, Run, Status, StepRun

_SETTLED = (Status.DONE, Status.SKIPPED)


def given(plan: Plan, run: Run, start: str | None) -> dict[str, StepRun]:
    """The steps of `run` whose values a replay takes over: all but `start` and what depends on it; none without one.

    A step that failed is run anew, and so is what depends on it. Raises UsageError for an unknown step."""
    if start is None:
        return {}
    if start not in plan.nodes:
        raise UsageError(f"there is no step '{start}'", hint=known_or_nearest(start, plan.nodes, "steps"))
    anew = {start}
    for node in plan.nodes.values():  # each behind what it waits for
        recorded = run.steps.get(node.id)
        if recorded is None or recorded.status not in _SETTLED or anew & node.after:
            anew.add(node.id)
    return {name: _without_calls(run.steps[name]) for name in plan.nodes if name not in anew}


def _without_calls(step: StepRun) -> StepRun:
    """The value, the thoughts and what was searched alone: what it took to make them was paid for once."""
    return StepRun(
        status=step.status,
        value=step.value,
        reasoning=step.reasoning,
        error=step.error,
        items=tuple(map(_without_calls, step.items)),
        fingerprint=step.fingerprint,
    )


def own_models(chain: Chain, step: str) -> set[str | None]:
    """The models that a chain itself names for a step."""
    found = chain.steps.get(step)
    if not isinstance(found, PromptStep):
        return set()
    return {found.model or chain.model, *(fallback.model for fallback in found.fallbacks)}


def models(run: Run) -> Mapping[str, str]:
    """The model that gave the value of each prompt step of a run, a fallback perhaps; where none did, the one that was
    asked first. Neither judges count nor the models of chains that are tools."""
    found = {}
    for name, step in run.steps.items():
        own = [call for call in _own_calls(step) if call.purpose is None]
        if own:
            found[name] = next((call for call in reversed(own) if call.error is None), own[0]).model
    return found


def inner_models(run: Run) -> set[str | None]:
    """The models of the chains that ran in a run."""
    found: set[str | None] = set()
    waiting = list(run.steps.values())
    while waiting:
        step = waiting.pop()
        waiting += step.items
        for inner in (step.run, *(tool.run for tool in step.tools)):
            if inner is not None:
                found.add(inner.model)
                waiting += inner.steps.values()
    return found


def _own_calls(step: StepRun) -> Iterator[Call]:
    yield from step.calls
    for item in step.items:
        yield from _own_calls(item)

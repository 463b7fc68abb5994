"""What came of other compiles as candidates: of the compile before, and of those for other models."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from promptchain.adopted import unfit
from promptchain.bench import Variants
from promptchain.chain import Demo
from promptchain.optimizers import pool
from promptchain.optimizers.protocol import Candidate, Found, Optimizer, Task, choose, demo_tokens, text_tokens
from promptchain.records import Nearest, StepVariant


def optimizer(earlier: Mapping[str, Variants]) -> Optimizer:
    """An optimizer whose candidates are these, by where they are from."""

    async def optimize(task: Task, incumbent: Candidate) -> Found:
        candidates = [
            Candidate(allowed(task, variants[task.step], incumbent.variant), source)
            for source, variants in earlier.items()
            if task.step in variants
        ]
        return await choose(task, incumbent, candidates)

    return optimize


def allowed(task: Task, variant: StepVariant, incumbent: StepVariant) -> StepVariant:
    """The earlier parameters over the incumbent's, as far as they hold today: without parts that are frozen now, or do
    not fit the chain any more (no run would take them), demos that repeat an example held out now (what was split
    otherwise may be), and what is beyond the limits."""
    tuning, found = task.tuning, variant.over(incumbent)
    update: dict[str, Any] = {}
    short = text_tokens(found.instructions or "") <= tuning.max_instruction_tokens
    if not (task.may("instructions") and short and _fits(task, instructions=variant.instructions)):
        update["instructions"] = incumbent.instructions
    if not (task.may("format") and _fits(task, format=variant.format)):
        update |= {"format": incumbent.format, "reasoning": incumbent.reasoning}
    if not task.may("demos"):
        update |= {"demos": incumbent.demos, "nearest": incumbent.nearest}
    elif variant.demos is not None or variant.nearest is not None:
        demos = pool.fitting(_clean(task, found.demos or ()), tuning.max_demos, tuning.max_demo_tokens)
        update |= {"demos": demos, "nearest": _picked(task, found.nearest, demos)}
    return found.model_copy(update=update)


def _picked(task: Task, setting: Nearest | None, demos: Sequence[Demo]) -> Nearest | None:
    """The setting in the room that the demos leave."""
    if setting is None or len(demos) >= task.tuning.max_demos:
        return None
    count = min(setting.count, task.tuning.max_demos - len(demos))
    room = task.tuning.max_demo_tokens - sum(map(demo_tokens, demos))
    kept = pool.small(_clean(task, setting.pool), room / count)[: task.tuning.max_pool]
    return setting.model_copy(update={"count": count, "pool": tuple(kept)}) if kept else None


def _clean(task: Task, demos: Iterable[Demo]) -> list[Demo]:
    repeats = pool.repeating(task.held_out)
    found = [demo for demo in demos if not repeats(demo.inputs)]
    return found if _fits(task, demos=found) else [demo for demo in found if _fits(task, demos=(demo,))]


def _fits(task: Task, **parts: Any) -> bool:
    """Whether the chain could have such parts itself."""
    return not unfit(task.bench.plan.chain, {task.step: StepVariant(**parts)})

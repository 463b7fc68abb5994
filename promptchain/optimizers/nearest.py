"""Few-shot examples picked anew for each request: those whose inputs are most like it (Liu et al., "What Makes Good
In-Context Examples for GPT-3?", arXiv:2101.06804)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from typing import Literal

from promptchain.chain import Demo
from promptchain.optimizers import pool
from promptchain.optimizers.protocol import Candidate, Found, Task, choose
from promptchain.records import Nearest

_COUNTS = (1, 2, 4, 8, 16, 32, 64)
_LEAST = 4
"""Demos that there must be more of than are shown, for picking to mean something."""


async def optimize(task: Task, incumbent: Candidate) -> Found:
    """Race how many demos are picked, and by which likeness. Raises what `Bench.trials` raises."""
    found, task = await pool.demos_of(task, incumbent)
    if len(found) < _LEAST:
        return Found(incumbent, note=f"only {len(found)} demos to pick from" if found else "no demos to pick from")
    kept = pool.balanced(found, task.random("nearest"))[: task.tuning.max_pool]
    # In one order, whatever the seed: a pool is compared line by line when it is compiled again.
    kept.sort(key=lambda demo: demo.model_dump_json())
    result = await choose(task, incumbent, list(_candidates(task, incumbent, kept)))
    picked = result.best.variant.nearest
    if picked is not None and picked.by != "lexical":
        return replace(result, note="runs need wordllama: pip install 'promptchain[rag]'")
    return result


def _candidates(task: Task, incumbent: Candidate, kept: list[Demo]) -> Iterator[Candidate]:
    likenesses: list[Literal["lexical", "local/wordllama"]] = ["lexical"]
    if find_spec("wordllama") is not None:
        likenesses.append("local/wordllama")
    for by in likenesses:
        for count in sorted({min(count, task.tuning.max_demos) for count in _COUNTS if count < len(kept)} - {0}):
            room = task.tuning.max_demo_tokens / count  # so that no request has more, whichever are picked
            own = tuple(pool.small(kept, room))
            if len(own) > count:
                picked = Nearest(count=count, by=by, pool=own)
                variant = incumbent.variant.model_copy(update={"demos": (), "nearest": picked})
                yield Candidate(variant, f"{count} nearest of {len(own)}, {by}")

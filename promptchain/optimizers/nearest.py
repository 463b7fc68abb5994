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


_WORTH = 0.04
"""What of the dev examples more must pass for a likeness that needs a package where the chain runs."""

Likeness = Literal["lexical", "local/wordllama"]


async def optimize(task: Task, incumbent: Candidate) -> Found:
    """Race how many demos are picked, by the letters of their words; then, where `wordllama` is installed, by its
    embeddings, which must be clearly better. Raises what `Bench.trials` raises."""
    found, task = await pool.demos_of(task, incumbent)
    if len(found) < _LEAST:
        return Found(incumbent, note=f"only {len(found)} demos to pick from" if found else "no demos to pick from")
    kept = pool.balanced(found, task.random("nearest"))[: task.tuning.max_pool]
    # In one order, whatever the seed: a pool is compared line by line when it is compiled again.
    kept.sort(key=lambda demo: demo.model_dump_json())
    if find_spec("wordllama") is None:
        return await choose(task, incumbent, list(_candidates(task, incumbent, kept, "lexical")))
    half = replace(task, most=task.most // 2)
    lexical = await choose(half, incumbent, list(_candidates(task, incumbent, kept, "lexical")))
    other = await choose(half, lexical.best, list(_candidates(task, incumbent, kept, "local/wordllama")))
    tried = lexical.tried + other.tried
    if other.before is None or other.after is None or other.after - other.before < _WORTH:
        return replace(lexical, tried=tried)
    note = "runs need wordllama: pip install 'promptchain[rag]'"
    return replace(other, tried=tried, before=lexical.before, note=note)


def _candidates(task: Task, incumbent: Candidate, kept: list[Demo], by: Likeness) -> Iterator[Candidate]:
    for count in sorted({min(count, task.tuning.max_demos) for count in _COUNTS if count < len(kept)} - {0}):
        room = task.tuning.max_demo_tokens / count  # so that no request has more, whichever are picked
        own = tuple(pool.small(kept, room))
        if len(own) > count:
            picked = Nearest(count=count, by=by, pool=own)
            variant = incumbent.variant.model_copy(update={"demos": (), "nearest": picked})
            yield Candidate(variant, f"{count} nearest of {len(own)}, {by}")

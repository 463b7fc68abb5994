"""Few-shot examples that are the same for every request: sets of several sizes and orders, raced.

After DSPy's BootstrapFewShotWithRandomSearch (Khattab et al., arXiv:2310.03714), with sets balanced over the outputs,
since small models repeat what they see most (Zhao et al., "Calibrate Before Use", arXiv:2102.09690).
"""

from __future__ import annotations

from promptchain.optimizers import pool
from promptchain.optimizers.protocol import Candidate, Found, Task, choose

_SIZES = (1, 2, 4, 8, 16, 32, 64)
_DRAWS = 4
"""Sets of each size."""


async def optimize(task: Task, incumbent: Candidate) -> Found:
    """Race sets of demos in place of those that the step has. Raises what `Bench.trials` raises."""
    found, task = await pool.demos_of(task, incumbent)
    if not found:
        return Found(incumbent, note="the training examples offer no demos")
    candidates = []
    for size in sorted({min(size, task.tuning.max_demos) for size in _SIZES}):
        for draw in range(_DRAWS if size else 0):
            order = pool.balanced(found, task.random(f"demos/{size}/{draw}"))
            chosen = pool.fitting(order, size, task.tuning.max_demo_tokens)
            variant = incumbent.variant.model_copy(update={"demos": chosen, "nearest": None})
            candidates.append(Candidate(variant, f"{len(chosen)} demo{'s' * (len(chosen) != 1)}"))
    return await choose(task, incumbent, candidates)

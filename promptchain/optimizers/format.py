"""How a typed output is asked for, and whether the model thinks before it answers."""

from __future__ import annotations

from promptchain.chain import Format
from promptchain.optimizers.protocol import Candidate, Found, Task, choose

_ROOM_TO_THINK = 150
"""Tokens that a reply must be allowed for thinking to be worth a try."""


async def optimize(task: Task, incumbent: Candidate) -> Found:
    """Race the other formats, and thinking. Raises what `Bench.trials` raises."""
    bound = task.bench.bound.prompts[task.step]
    kind, now = task.definition.type.kind, incumbent.variant
    forms: list[Format] = []
    if task.definition.tools and not bound.models[0][1].tools:
        pass  # calls are written in JSON, and so is the answer: see `render.resolve_format`
    elif kind in ("enum", "scalar"):
        forms = [Format.TEXT, Format.JSON]
    elif kind != "text":
        forms = [Format.JSON, *([Format.SCHEMA] if bound.models[0][1].schema else [])]
    candidates = [Candidate(now.model_copy(update={"format": form}), f"format {form}") for form in forms]
    limits = [bound.params.get(name) for name in ("max_tokens", "max_completion_tokens")]
    if now.reasoning:
        candidates.append(Candidate(now.model_copy(update={"reasoning": False}), "no thinking"))
    elif all(limit is None or limit >= _ROOM_TO_THINK for limit in limits):
        candidates.append(Candidate(now.model_copy(update={"reasoning": True}), "thinking first"))
    # The format it has by default is the same request under another name.
    form = now.format or bound.format()
    candidates = [
        one for one in candidates if (one.variant.format or form, one.variant.reasoning) != (form, now.reasoning)
    ]
    return await choose(task, incumbent, candidates)

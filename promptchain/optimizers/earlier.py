"""What came of other compiles as candidates: of the compile before, and of those for other models."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from promptchain.bench import Variants
from promptchain.chain import Demo
from promptchain.examples import Example
from promptchain.optimizers.protocol import Candidate, Found, Optimizer, Task, choose
from promptchain.records import StepVariant


def optimizer(earlier: Mapping[str, Variants], held_out: Sequence[Example]) -> Optimizer:
    """An optimizer whose candidates are these, by where they are from. held_out: examples that no demo may repeat, for
    what was split otherwise then may be among them now."""

    async def optimize(task: Task, incumbent: Candidate) -> Found:
        candidates = [
            Candidate(without(variants[task.step].over(incumbent.variant), held_out), source)
            for source, variants in earlier.items()
            if task.step in variants
        ]
        return await choose(task, incumbent, candidates)

    return optimize


def without(variant: StepVariant, held_out: Sequence[Example]) -> StepVariant:
    """The parameters without the demos that repeat one of these examples."""
    update: dict[str, Any] = {"demos": _clean(variant.demos or (), held_out)}
    if variant.nearest is not None:
        pool = _clean(variant.nearest.pool, held_out)
        update["nearest"] = variant.nearest.model_copy(update={"pool": pool}) if pool else None
    return variant.model_copy(update=update)


def _clean(demos: Sequence[Demo], held_out: Sequence[Example]) -> tuple[Demo, ...]:
    """A demo repeats an example where all inputs of the chain that it names are the example's."""
    known: dict[tuple[str, ...], set[str]] = {}
    kept = []
    for demo in demos:
        inputs = held_out[0].inputs if held_out else {}
        names = tuple(sorted(demo.inputs.keys() & inputs.keys()))
        if names not in known:
            known[names] = {_key(example.inputs, names) for example in held_out}
        if not names or _key(demo.inputs, names) not in known[names]:
            kept.append(demo)
    return tuple(kept)


def _key(values: Mapping[str, Any], names: Iterable[str]) -> str:
    return json.dumps([values.get(name) for name in names], sort_keys=True, ensure_ascii=False, default=str)

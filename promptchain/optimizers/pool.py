"""Where demos come from: what the training examples expect of a step, else what it did when it was right."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from random import Random
from typing import Any

from promptchain.bench import Trial
from promptchain.chain import Demo
from promptchain.examples import Example
from promptchain.optimizers.protocol import Candidate, Task, demo_tokens
from promptchain.records import Status

MAX_TRACED = 100
"""Training examples that are tried for traces."""


async def demos_of(task: Task, incumbent: Candidate) -> list[Demo]:
    """The demos that the training examples offer: labelled ones cost no calls, and where the dataset expects nothing of
    the step, traces of the incumbent (or the teacher) that passed. A demo of the same inputs is there once.

    After DSPy's LabeledFewShot and BootstrapFewShot (Khattab et al., arXiv:2310.03714).
    """
    if task.definition.for_each is not None or not task.shown:
        return []  # an item is no row, and a prompt without names is the same for every request
    steps = set(task.bench.plan.chain.steps)
    labelled = [example for example in task.train if task.step in example.gold(task.bench.plan.chain)]
    known = [demo for example in labelled if (demo := _labelled(task, example, steps)) is not None]
    if not known:
        known = await _traced(task, incumbent, labelled or list(task.train))
    unique = {_key(demo.inputs): demo for demo in known}
    return [demo for demo in unique.values() if demo_tokens(demo) <= task.tuning.max_demo_tokens]


def _labelled(task: Task, example: Example, steps: set[str]) -> Demo | None:
    """None where the prompt uses a step of which the example expects nothing."""
    gold = example.gold(task.bench.plan.chain)
    values = {**example.inputs, **gold}
    if any(name in steps and name not in gold for name in task.shown):
        return None
    return Demo(inputs={name: values.get(name) for name in task.shown}, output=gold[task.step])


async def _traced(task: Task, incumbent: Candidate, examples: Sequence[Example]) -> list[Demo]:
    chosen = examples[: min(MAX_TRACED, task.most // 3)]
    bench = task.teacher or task.bench
    trials = await bench.trials({**task.others, task.step: incumbent.variant}, chosen, task.step)
    return [demo for trial in trials if trial.passed and (demo := _trace(task, trial)) is not None]


def _trace(task: Task, trial: Trial) -> Demo | None:
    own = trial.run.steps[task.step]
    if own.status is not Status.DONE:
        return None
    values: Mapping[str, Any] = {**trial.run.inputs, **{name: step.value for name, step in trial.run.steps.items()}}
    inputs = {name: values.get(name) for name in task.shown}
    return Demo(inputs=inputs, output=own.value, reasoning=own.reasoning)


def _key(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)


def balanced(demos: Iterable[Demo], random: Random) -> list[Demo]:
    """All demos in an order by chance in which every beginning has each output about as often as the others."""
    groups: dict[str, list[Demo]] = {}
    for demo in demos:
        groups.setdefault(_key(demo.output), []).append(demo)
    for group in groups.values():
        random.shuffle(group)
    order: list[Demo] = []
    while waiting := [group for group in groups.values() if group]:
        random.shuffle(waiting)
        order += [group.pop() for group in waiting]
    return order


def fitting(demos: Iterable[Demo], most: int, tokens: float) -> tuple[Demo, ...]:
    """The first demos that have room: `most` of them, and `tokens` in all."""
    taken: list[Demo] = []
    for demo in demos:
        size = demo_tokens(demo)
        if len(taken) < most and size <= tokens:
            taken.append(demo)
            tokens -= size
    return tuple(taken)

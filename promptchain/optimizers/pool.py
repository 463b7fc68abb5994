"""Where demos come from: what the training examples expect of a step, else what it did when it was right."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Any

from promptchain.bench import Trial
from promptchain.chain import Demo
from promptchain.examples import Example
from promptchain.lm.secrets import redact_data
from promptchain.optimizers.protocol import Candidate, Task, demo_tokens
from promptchain.records import Status, storable

MAX_TRACED = 100
"""Training examples that are tried for traces."""


async def demos_of(task: Task, incumbent: Candidate) -> tuple[list[Demo], Task]:
    """The demos that the training examples offer, and the task with the trials that are left: labelled demos cost none,
    and where the dataset expects nothing of the step, they are traces of the incumbent (or the teacher) that passed.
    A demo of the same inputs is there once, and one that repeats a held-out example is not; nor is one with a secret in
    it, for the lock is committed.

    After DSPy's LabeledFewShot and BootstrapFewShot (Khattab et al., arXiv:2310.03714).
    """
    if task.definition.for_each is not None or not task.shown:
        return [], task  # an item is no row, and a prompt without names is the same for every request
    steps = set(task.bench.plan.chain.steps)
    labelled = [example for example in task.train if task.step in example.gold(task.bench.plan.chain)]
    known = [(example, demo) for example in labelled if (demo := _labelled(task, example, steps)) is not None]
    if not known:
        known, task = await _traced(task, incumbent, labelled or list(task.train))
    repeats = repeating(task.held_out)
    unique = {
        _key(demo.inputs): demo
        for example, demo in known
        if not repeats(_told(demo, example, steps)) and not _has_secrets(demo)
    }
    return small(unique.values(), task.tuning.max_demo_tokens), task


def _has_secrets(demo: Demo) -> bool:
    data = demo.model_dump(mode="json")
    return bool(redact_data(data) != data)


def _told(demo: Demo, example: Example, steps: set[str]) -> Mapping[str, Any]:
    """What tells a demo from an example: what it names. Where that has a step of which its row expects nothing, and so
    others may not either, also the other inputs of the row."""
    expected = example.expected if isinstance(example.expected, Mapping) else {}
    return demo.inputs if (demo.inputs.keys() & steps) <= expected.keys() else {**example.inputs, **demo.inputs}


def _labelled(task: Task, example: Example, steps: set[str]) -> Demo | None:
    """None where the prompt uses a step of which the example expects nothing, and where what is expected is nothing
    that a lock can hold."""
    gold = example.gold(task.bench.plan.chain)
    values = {**example.inputs, **gold}
    if any(name in steps and name not in gold for name in task.shown):
        return None
    inputs = {name: values.get(name) for name in task.shown}
    try:
        return Demo(inputs=storable(inputs), output=storable(gold[task.step]))
    except ValueError:  # NaN, say
        return None


async def _traced(
    task: Task, incumbent: Candidate, examples: Sequence[Example]
) -> tuple[list[tuple[Example, Demo]], Task]:
    chosen = examples[: min(MAX_TRACED, task.most // 3)]
    bench, variants = task.teacher or task.bench, {**task.others, task.step: incumbent.variant}
    made = len(chosen) - sum(bench.tried(variants, chosen, task.step))
    trials = await bench.trials(variants, chosen, task.step)
    found = [(trial.example, demo) for trial in trials if trial.passed and (demo := _trace(task, trial)) is not None]
    return found, replace(task, most=task.most - made)


def _trace(task: Task, trial: Trial) -> Demo | None:
    own = trial.run.steps[task.step]
    if own.status is not Status.DONE:
        return None
    values: Mapping[str, Any] = {**trial.run.inputs, **{name: step.value for name, step in trial.run.steps.items()}}
    inputs = {name: values.get(name) for name in task.shown}
    return Demo(inputs=inputs, output=own.value, reasoning=own.reasoning)


def _key(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)


def repeating(held_out: Sequence[Example]) -> Callable[[Mapping[str, Any]], bool]:
    """Whether what a demo names repeats one of these examples: all of it is as there, of the inputs, of which it may
    name but some, and of the steps, as far as the example expects something of them."""
    known: dict[frozenset[str], dict[frozenset[str], set[str]]] = {}

    def repeats(values: Mapping[str, Any]) -> bool:
        names = frozenset(values)
        if names not in known:
            known[names] = _views(held_out, names)
        return any(_key({name: values[name] for name in told}) in keys for told, keys in known[names].items())

    return repeats


def _views(examples: Iterable[Example], names: frozenset[str]) -> dict[frozenset[str], set[str]]:
    """What examples say of these names, by the names that they say something of: an input is one of them."""
    found: dict[frozenset[str], set[str]] = {}
    for example in examples:
        if names & example.inputs.keys():
            expected = example.expected if isinstance(example.expected, Mapping) else {}
            view = {name: value for name, value in {**expected, **example.inputs}.items() if name in names}
            found.setdefault(frozenset(view), set()).add(_key(view))
    return found


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


def small(demos: Iterable[Demo], tokens: float) -> list[Demo]:
    """The demos that have at most so many tokens each."""
    return [demo for demo in demos if demo_tokens(demo) <= tokens]


def fitting(demos: Iterable[Demo], most: int, tokens: float) -> tuple[Demo, ...]:
    """The first demos that have room: `most` of them, and `tokens` in all."""
    taken: list[Demo] = []
    for demo in demos:
        size = demo_tokens(demo)
        if len(taken) < most and size <= tokens:
            taken.append(demo)
            tokens -= size
    return tuple(taken)

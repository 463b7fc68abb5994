"""What compiling changed, from one lock to another."""

from __future__ import annotations

from typing import Any

import pytest

from promptchain.chain import Chain, Demo, Format
from promptchain.changes import Kind
from promptchain.diff_lock import compare, figures
from promptchain.lock import Lock
from promptchain.records import StepVariant
from tests import lock_kit as kit

CHAIN = Chain.model_validate({"name": "d", "steps": {"intent": {"instructions": "Decide now.", "prompt": "x"}}})


def changes(before: StepVariant, after: StepVariant, **chains: Any) -> list[tuple[Kind, Any, Any]]:
    found = compare(kit.lock("x/a", parts=before), kit.lock("x/a", parts=after), **chains)
    return [(change.kind, change.field, change.after) for model in found.models for change in model.steps["intent"]]


def test_the_same_is_no_difference() -> None:
    assert not compare(kit.lock("x/a"), kit.lock("x/a"))
    assert not compare(kit.lock("x/a"), kit.lock("x/a", spent=kit.Spent(calls=1)))
    assert compare(kit.lock("x/a"), kit.lock("x/a", made_from=kit.made(dataset="e")))


def test_each_part_is_told() -> None:
    before = StepVariant(instructions="Decide.", format=Format.TEXT)
    after = StepVariant(instructions="Decide now.", demos=(Demo(inputs={"a": 1}, output="b"),), nearest=kit.POOL)
    assert [(kind, field) for kind, field, _ in changes(before, after)] == [
        (Kind.CHANGED, "instructions"),
        (Kind.REMOVED, "format"),
        (Kind.ADDED, "demos"),
        (Kind.ADDED, "nearest.count"),
        (Kind.ADDED, "nearest.by"),
        (Kind.ADDED, "nearest.pool"),
    ]


def test_the_chains_own_words_stand_for_what_is_not_compiled() -> None:
    none, after = StepVariant(), StepVariant(instructions="Decide now and here.", demos=())
    (only,) = compare(Lock(), kit.lock("x/a", parts=after), (CHAIN, CHAIN)).models
    (change,) = only.steps["intent"]
    assert (only.kind, change.kind, change.before) == (Kind.ADDED, Kind.CHANGED, "Decide now.")
    edited = CHAIN.with_step("intent", CHAIN.steps["intent"].model_copy(update={"format": Format.JSON}))
    assert changes(after, after.model_copy(update={"reasoning": True}), chains=(CHAIN, edited)) == [
        (Kind.CHANGED, "reasoning", True)  # the format is not compiled, and told with the chain
    ]
    assert changes(none, after)[0] == (Kind.ADDED, "instructions", "Decide now and here.")


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (kit.lock(), kit.lock("x/a"), "compiled for x/a: intent 34 % → 86 %"),
        (kit.lock("x/a"), kit.lock(), "no longer compiled for x/a"),
        (kit.lock(), kit.lock("x/a", steps={}, kept="no headroom"), "kept the seed prompts for x/a"),
        (
            kit.lock("x/a"),
            kit.lock("x/a", "x/b", by_step={}),
            "compiled for x/b: intent 34 % → 86 %",
        ),
        (kit.lock(), kit.lock("x/a", by_step={}, test=None), "compiled for x/a: intent"),
    ],
)
def test_the_summary(before: Lock, after: Lock, said: str) -> None:
    assert compare(before, after).summary == said


def test_figures_of_several_steps() -> None:
    entry = kit.entry(steps={"intent": kit.COMPILED, "reply": kit.COMPILED})
    assert figures(entry) == "intent 34 % → 86 %, reply"
    assert figures(entry.model_copy(update={"by_step": {}})) == "intent, reply 34 % → 86 %"

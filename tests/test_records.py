"""The compiled parameters of a step over those of the chain file."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from promptchain.chain import Demo, Format, PromptStep
from promptchain.records import Nearest, StepVariant, Variant

DEMOS = st.lists(st.builds(Demo, inputs=st.just({"q": "x"}), output=st.integers()), max_size=2).map(tuple)
VARIANT = st.builds(
    StepVariant,
    instructions=st.none() | st.text(max_size=3),
    demos=st.none() | DEMOS,
    nearest=st.none() | st.builds(Nearest, count=st.integers(1, 3), pool=DEMOS),
    format=st.none() | st.sampled_from(Format),
    reasoning=st.none() | st.booleans(),
)
STEP = PromptStep.model_validate(
    {
        "prompt": "{{ q }}",
        "instructions": "Be brief.",
        "demos": [{"inputs": {"q": "1"}, "output": "2"}],
        "reasoning": True,
    }
)


@given(VARIANT, VARIANT)
def test_what_is_said_stands_above_what_is_not(own: StepVariant, below: StepVariant) -> None:
    found = own.over(below)
    for name in StepVariant.model_fields:
        said = getattr(own, name)
        assert getattr(found, name) == (getattr(below, name) if said is None else said)


@given(VARIANT, VARIANT, VARIANT)
def test_it_does_not_matter_which_two_are_joined_first(a: StepVariant, b: StepVariant, c: StepVariant) -> None:
    assert a.over(b).over(c) == a.over(b.over(c))
    assert a.over(StepVariant()) == a == StepVariant().over(a) == a.over(a)


def test_nothing_is_something_to_say() -> None:
    found = StepVariant(demos=(), instructions="", reasoning=False).over(Variant.seed(STEP))
    assert (found.demos, found.instructions, found.reasoning) == ((), "", False)


def test_a_step_has_what_was_compiled_and_else_what_the_file_says() -> None:
    variant = Variant(model="m", steps={"a": StepVariant(instructions="Other.")})
    assert variant.of("b", STEP) == Variant.seed(STEP)
    assert variant.of("a", STEP) == Variant.seed(STEP).model_copy(update={"instructions": "Other."})
    assert (Variant.seed(STEP).instructions, Variant.seed(STEP).reasoning) == ("Be brief.", True)
    assert Variant.seed(STEP).demos == STEP.demos


@pytest.mark.parametrize("wrong", [{"count": 0}, {"count": 101}, {"by": "luck"}, {"k": 1}])
def test_what_picking_cannot_be_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Nearest.model_validate({"count": 1, "pool": [], **wrong})

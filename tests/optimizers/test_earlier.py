"""What came of other compiles, as far as it holds today."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptchain.chain import Demo
from promptchain.lm.protocol import Request
from promptchain.lm.scripted import ScriptedLM
from promptchain.optimizers import earlier
from promptchain.optimizers.protocol import Found, demo_tokens, text_tokens
from promptchain.records import Nearest, StepVariant
from tests.evaluate_kit import example
from tests.optimizers.kit import DEV, STEP, demo, row, shown, task_of, tune

NUMBERS = st.lists(st.integers(0, 40), max_size=12, unique=True)


def told(request: Request) -> str:
    number = int(request.messages[-1].content.rsplit(maxsplit=1)[-1])
    return ("odd" if number % 2 else "even") if "Know" in request.messages[0].content else "odd"


def demos_of(numbers: list[int]) -> tuple[Demo, ...]:
    return tuple(demo(str(number)) for number in numbers)


def allowed(variant: StepVariant, **options: Any) -> StepVariant:
    """What is left of it over the file's parameters."""
    task, incumbent = task_of(ScriptedLM("odd"), **options)
    return earlier.allowed(task, variant, incumbent.variant)


def found_in(variants: dict[str, dict[str, StepVariant]], lm: ScriptedLM, **options: Any) -> Found:
    return tune(earlier.optimizer(variants), lm, **options)


def test_the_best_of_the_earlier_ones_is_where_to_begin() -> None:
    variants = {
        "the last compile": {"a": StepVariant(instructions="Guess.")},
        "model n": {"a": StepVariant(instructions="Know.")},
        "model o": {"other": StepVariant(instructions="Know.")},
    }
    found = found_in(variants, ScriptedLM(told))
    assert (found.best.what, found.best.variant.instructions, found.tried) == ("model n", "Know.", 2)
    assert (found.before, found.after) == (0.5, 1.0)


def test_what_they_do_not_say_is_as_in_the_file() -> None:
    own = {**STEP, "instructions": "Own.", "demos": [demo("200").model_dump()]}
    found = allowed(StepVariant(format="json"), steps={"a": own})  # type: ignore[arg-type]
    assert (found.instructions, found.demos, found.format) == ("Own.", (demo("200"),), "json")


@given(NUMBERS, NUMBERS, NUMBERS)
def test_no_demo_repeats_what_is_held_out_now(own: list[int], pool: list[int], held_out: list[int]) -> None:
    variant = StepVariant(demos=demos_of(own), nearest=Nearest(count=2, pool=demos_of(pool)))
    found = allowed(variant, held_out=[row(number) for number in held_out], max_demos=64)
    assert found.demos == demos_of([number for number in own if number not in held_out])
    assert (found.nearest.pool if found.nearest else ()) == demos_of([n for n in pool if n not in held_out])


def test_nor_where_it_names_only_some_of_the_inputs() -> None:
    inputs = {"q": "string", "id": "string"}
    held_out = [example("t", inputs={"q": "1", "id": "9"})]
    found = allowed(StepVariant(demos=demos_of([1, 2])), held_out=held_out, inputs=inputs)
    assert found.demos == demos_of([2])


def test_values_of_steps_tell_demos_apart_as_far_as_they_are_expected() -> None:
    def of(step: str) -> Demo:
        return Demo(inputs={"q": "1", "a": step}, output="y")

    steps = {"a": "A {{ q }}", "b": "B {{ q }} {{ a }}"}
    variant = StepVariant(demos=(of("x"), of("z")))
    options: dict[str, Any] = {"steps": steps, "step": "b"}
    assert allowed(variant, held_out=[example("1", {"a": "x"})], **options).demos == (of("z"),)
    assert allowed(variant, held_out=[example("1", {"b": "y"})], **options).demos == ()  # it may be of that row
    assert allowed(variant, held_out=[example("2", {"a": "x"})], **options).demos == (of("x"), of("z"))


def test_no_request_shows_what_is_held_out() -> None:
    lm = ScriptedLM("odd")
    variant = StepVariant(demos=demos_of([0, 100]), nearest=Nearest(count=1, pool=demos_of([1, 101])))
    found_in({"before": {"a": variant}}, lm, held_out=DEV)
    assert {user for request in lm.requests for user, _ in shown(request)} == {"Number 100", "Number 101"}


@pytest.mark.parametrize(
    ("freeze", "changed"),
    [
        (["instructions"], {"demos", "nearest", "format", "reasoning"}),
        (["demos"], {"instructions", "format", "reasoning"}),
        (["format"], {"instructions", "demos", "nearest"}),
        ([], {"instructions", "demos", "nearest", "format", "reasoning"}),
    ],
)
def test_parts_that_are_frozen_now_stay_as_in_the_file(freeze: list[str], changed: set[str]) -> None:
    variant = StepVariant.model_validate(
        {
            "instructions": "New.",
            "demos": [demo("200")],
            "nearest": Nearest(count=1, pool=demos_of([201])),
            "format": "json",
            "reasoning": True,
        }
    )
    task, incumbent = task_of(ScriptedLM("odd"), steps={"a": {**STEP, "freeze": freeze}})
    found = earlier.allowed(task, variant, incumbent.variant)
    for name in StepVariant.model_fields:
        assert getattr(found, name) == getattr(variant if name in changed else incumbent.variant, name)


@given(NUMBERS, NUMBERS, st.integers(1, 9), st.integers(0, 9), st.integers(0, 12), st.integers(0, 9))
def test_the_limits_of_today_hold(
    own: list[int], pool: list[int], count: int, most: int, tokens: int, most_pool: int
) -> None:
    setting = Nearest(count=count, pool=demos_of(pool))
    variant = StepVariant(demos=demos_of(own), nearest=setting, instructions="x" * 41)
    limits: dict[str, Any] = {"max_demos": most, "max_demo_tokens": tokens, "max_pool": most_pool}
    found = allowed(variant, max_instruction_tokens=10, **limits)
    assert text_tokens(found.instructions or "") <= 10
    demos = found.demos or ()
    picked = found.nearest.count if found.nearest else 0
    assert len(demos) + picked <= most
    largest = max(map(demo_tokens, found.nearest.pool)) if found.nearest else 0
    assert sum(map(demo_tokens, demos)) + picked * largest <= tokens
    assert len(found.nearest.pool if found.nearest else ()) <= most_pool


def test_without_any_nothing_is_tried() -> None:
    lm = ScriptedLM("odd")

    async def work() -> Found:
        task, incumbent = task_of(lm)
        await task.trials(incumbent.variant, task.dev)
        return await earlier.optimizer({})(task, incumbent)

    found = asyncio.run(work())
    assert (found.tried, found.best.what, len(lm.requests)) == (0, "as before", len(DEV))


def test_what_does_not_fit_the_chain_any_more_is_left_out() -> None:
    """No run would take it, so that it would be compiled for nothing."""
    steps = {"b": {"prompt": "B {{ q }}"}, "a": STEP}  # a waited for b once, and had another label
    variant = StepVariant(instructions="Mind {{ b }}.", demos=(demo("200", "gone"), demo("201")))
    assert allowed(variant, steps=steps) == allowed(StepVariant(demos=(demo("201"),)), steps=steps)
    pool = (demo("200"), demo("201", "gone"), Demo(inputs={"was": "202"}, output="even"))
    nearest = allowed(StepVariant(nearest=Nearest(count=1, pool=pool)), steps=steps).nearest
    assert nearest == Nearest(count=1, pool=pool[:1])
    listed = {"a": {"prompt": "Number {{ q }}", "output": {"numbers(array)": "integer"}}}
    assert allowed(StepVariant(format="text"), steps=listed).format is None  # type: ignore[arg-type]

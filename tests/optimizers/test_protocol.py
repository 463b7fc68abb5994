"""How an optimizer chooses: within the trials that may be made, and never what is worse."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promptchain.chain import Demo
from promptchain.errors import Fault, ModelError
from promptchain.lm.protocol import Request
from promptchain.lm.scripted import ScriptedLM
from promptchain.optimizers import registry
from promptchain.optimizers.protocol import Candidate, Found, choose, demo_tokens, price, text_tokens, tokens
from promptchain.records import Nearest, StepVariant
from promptchain.tuning import Optimizer
from tests.optimizers.kit import STEP, row, task_of


def skilled(request: Request) -> str:
    """Right on the first numbers, as many as the instructions say."""
    number = int(request.messages[-1].content.rsplit(maxsplit=1)[-1])
    level = int(request.messages[0].content.partition("Level ")[2].partition("\n")[0] or 0)
    right = number * 7 % 20 < level
    return "odd" if right == bool(number % 2) else "even"


def chosen(
    lm: ScriptedLM, levels: list[int], *, known: bool = True, most: int = 400, of: str = "Level 5", **options: Any
) -> tuple[Found, int]:
    """What is chosen among instructions, and the trials that it took."""

    async def work() -> tuple[Found, int]:
        task, incumbent = task_of(lm, steps={"a": {**STEP, "instructions": of}}, most=most, **options)
        if known:
            await task.trials(incumbent.variant, task.dev)
        before = len(lm.requests)
        texts = [f"Level {level}" for level in levels]
        candidates = [Candidate(incumbent.variant.model_copy(update={"instructions": text}), text) for text in texts]
        found = await choose(task, incumbent, candidates, "a note")
        return found, len(lm.requests) - before

    return asyncio.run(work())


def test_the_best_is_chosen_and_what_it_is_worth_told() -> None:
    found, _ = chosen(ScriptedLM(skilled), [3, 20, 10])
    assert (found.best.what, found.tried, found.before, found.after, found.note) == ("Level 20", 3, 0.25, 1.0, "a note")


def test_what_is_worse_is_not_taken() -> None:
    found, _ = chosen(ScriptedLM(skilled), [1, 2, 4])
    assert (found.best.what, found.before, found.after) == ("as before", 0.25, 0.25)


def test_as_good_and_shorter_is_taken_and_as_good_and_longer_is_not() -> None:
    assert chosen(ScriptedLM(skilled), [5], of="Level 5\nAnd be nice.")[0].best.what == "Level 5"
    assert chosen(ScriptedLM(skilled), [5], of="Level 5")[0].best.what == "as before"
    found, _ = chosen(ScriptedLM("odd"), [11111], of="Level 5")
    assert (found.best.what, found.before, found.after) == ("as before", 0.5, 0.5)


def test_the_same_again_is_not_tried() -> None:
    found, made = chosen(ScriptedLM(skilled), [5, 20, 20])
    assert (found.tried, made) == (1, 20)


def test_without_candidates_what_the_incumbent_is_worth_is_told() -> None:
    assert chosen(ScriptedLM(skilled), [])[0] == Found(
        replace(chosen(ScriptedLM(skilled), [])[0].best), 0, 0.25, 0.25, "a note"
    )


def test_what_cannot_be_told_is_worth_nothing() -> None:
    lost = ModelError("busy", fault=Fault.TIMEOUT, model="m")
    found, _ = chosen(ScriptedLM(lambda _: lost), [20], dev=[row(n) for n in range(3)])
    assert (found.best.what, found.before, found.after, found.note) == ("as before", None, None, "a note")


def test_rows_that_only_one_could_be_scored_on_do_not_count() -> None:
    """The candidate is right wherever it is answered, as the incumbent is there."""

    def flaky(request: Request) -> str | Exception:
        number = int(request.messages[-1].content.rsplit(maxsplit=1)[-1])
        if number * 7 % 20 >= 5 and "Level 20" in request.messages[0].content:
            return ModelError("busy", fault=Fault.TIMEOUT, model="m")
        return skilled(request)

    found, _ = chosen(ScriptedLM(flaky), [20], of="Level 5\nAnd be nice.", dev=[row(n) for n in (0, 3, 6, 1, 2)])
    assert (found.best.what, found.before, found.after) == ("Level 20", 1.0, 1.0)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 20), max_size=12), st.integers(0, 200), st.integers(1, 20), st.booleans())
def test_no_more_trials_are_made_than_may_be(levels: list[int], most: int, dev: int, known: bool) -> None:
    lm = ScriptedLM(skilled)
    found, made = chosen(lm, levels, most=most, known=known, dev=[row(n) for n in range(dev)])
    assert made <= most
    if found.before is not None and found.after is not None:
        assert found.after >= found.before
    if known:
        assert found.before is not None  # that of the incumbent costs nothing


def test_with_few_trials_left_the_best_is_compared_on_as_many_as_there_are() -> None:
    lm = ScriptedLM(skilled)
    found, made = chosen(lm, list(range(20, 5, -1)), most=60)
    assert sum("Level 20" in request.messages[0].content for request in lm.requests) == 20
    assert 50 < made <= 60
    assert found.after is not None
    assert found.after > 0.9


def test_what_won_on_few_rows_is_not_taken_where_it_is_worse_on_more() -> None:
    """Six of the first eight rows are the candidate's, the other two and all that follow the incumbent's."""

    def reply(request: Request) -> str:
        number = int(request.messages[-1].content.rsplit(maxsplit=1)[-1])
        right = (number < 6) == ("Level 1\n" in request.messages[0].content + "\n")
        return "odd" if right == bool(number % 2) else "even"

    found, made = chosen(ScriptedLM(reply), [1], most=16)
    assert made == 16
    assert (found.best.what, found.before, found.after) == ("as before", 10 / 16, 10 / 16)


# -- the length of a prompt --------------------------------------------------------------------------------------------


def demo(size: int) -> Demo:
    return Demo(inputs={"q": "x" * (size - 1)}, output="y")


def test_tokens_are_a_quarter_of_the_bytes() -> None:
    assert text_tokens("abcd") == 1
    assert text_tokens("éé") == 1
    assert text_tokens("\ud83d") == 0.75
    assert demo_tokens(Demo(inputs={"q": "abcd", "r": [1]}, output="abcd", reasoning="abcd")) == 3.75


def test_the_price_counts_instructions_demos_and_those_that_are_picked() -> None:
    assert tokens(StepVariant()) == 0
    assert tokens(StepVariant(instructions="x" * 8, demos=(demo(4), demo(8)))) == 2 + 1 + 2
    picked = Nearest(count=2, pool=(demo(4), demo(8), demo(12)))
    assert price(Candidate(StepVariant(demos=(demo(4),), nearest=picked))) == 1 + 2 * 2
    assert tokens(StepVariant(nearest=Nearest(count=2, pool=()))) == 0


# -- what may be tuned -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("freeze", "free"),
    [
        (False, ("instructions", "demos", "format")),
        (True, ()),
        (["demos"], ("instructions", "format")),
        (["instructions", "format"], ("demos",)),
    ],
)
def test_freeze_protects_parts(freeze: Any, free: tuple[str, ...]) -> None:
    task, _ = task_of(ScriptedLM("x"), steps={"a": {**STEP, "freeze": freeze}})
    assert tuple(part for part in ("instructions", "demos", "format") if task.may(part)) == free


def test_chance_repeats_for_the_same_seed_step_and_purpose() -> None:
    def number(purpose: str, **options: Any) -> float:
        return task_of(ScriptedLM("x"), **options)[0].random(purpose).random()

    assert number("x") == number("x")
    assert len({number("x"), number("y"), number("x", seed=1), number("x", steps={"b": STEP}, step="b")}) == 4


def test_what_is_shown_is_what_the_prompt_names() -> None:
    steps = {"a": "A {{ q }}", "b": {"prompt": "{{ a }} {{ q | upper }} {{ a }}", "instructions": "{{ q }}"}}
    assert task_of(ScriptedLM("x"), steps=steps, step="b")[0].shown == ("a", "q")


def test_every_name_has_its_optimizer_and_every_optimizer_its_part() -> None:
    names = set(Optimizer.__args__) - {"auto"}  # type: ignore[attr-defined]
    assert names == registry.OPTIMIZERS.keys() == registry.PARTS.keys()
    assert set(registry.PARTS.values()) == {"instructions", "demos", "format"}
    assert registry.plan("auto") == tuple(registry.OPTIMIZERS) == ("nearest", "demos", "format", "instructions")
    assert registry.plan("demos") == ("demos",)

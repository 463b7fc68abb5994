"""Where demos come from, and that none of them gives away what is held out."""

from __future__ import annotations

import asyncio
from collections import Counter
from random import Random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from promptchain.chain import Demo
from promptchain.errors import Fault, ModelError
from promptchain.lm.scripted import ScriptedLM
from promptchain.optimizers import pool
from promptchain.optimizers.protocol import Task, demo_tokens
from tests.evaluate_kit import as_expected, asked, check, example
from tests.optimizers.kit import TRAIN, row, task_of

TWO = {"a": "A {{ q }}", "b": "B {{ q }} {{ a }}"}
DEMOS = st.lists(st.builds(Demo, inputs=st.fixed_dictionaries({"q": st.text(max_size=9)}), output=st.integers(0, 3)))


def offered(lm: ScriptedLM, **options: Any) -> tuple[list[Demo], Task]:
    async def work() -> tuple[list[Demo], Task]:
        return await pool.demos_of(*task_of(lm, **options))

    return asyncio.run(work())


def named(lm: ScriptedLM, **options: Any) -> list[dict[str, Any]]:
    return [demo.inputs for demo in offered(lm, **options)[0]]


def never(*_: Any) -> Exception:
    return AssertionError("nothing is to be asked")


# -- labelled ----------------------------------------------------------------------------------------------------------


def test_what_is_expected_of_the_step_is_had_without_a_call() -> None:
    lm = ScriptedLM("odd")
    found, task = offered(lm)
    assert [(demo.inputs, demo.output) for demo in found[:2]] == [({"q": "100"}, "even"), ({"q": "101"}, "odd")]
    assert (len(found), lm.requests, task.most) == (len(TRAIN), [], 400)


def test_a_demo_names_what_the_prompt_does() -> None:
    rows = [example("1", {"a": "x", "b": "y"}, inputs={"q": "1", "r": "2"})]
    inputs = {"q": "string", "r": "string"}
    assert named(ScriptedLM("y"), steps=TWO, step="b", train=rows, inputs=inputs) == [{"q": "1", "a": "x"}]


def test_inputs_that_repeat_are_there_once() -> None:
    rows = [row(1), example("1b", {"a": "even"}, inputs={"q": "1"}), row(2)]
    assert [(one.inputs["q"], one.output) for one in offered(ScriptedLM("odd"), train=rows)[0]] == [
        ("1", "even"), ("2", "even"),
    ]  # fmt: skip


def test_half_a_character_in_what_is_expected_can_be_kept() -> None:
    found, _ = offered(ScriptedLM("x"), steps={"a": "A {{ q }}"}, train=[example("1", {"a": "\ud83d!"})])
    assert found[0].output == "\ufffd!"
    assert found[0].model_dump_json()


def test_demos_that_are_too_long_are_left_out() -> None:
    rows = [row(1), example("x" * 100, {"a": "odd"})]
    assert named(ScriptedLM("odd"), train=rows, max_demo_tokens=20) == [{"q": "1"}]


def test_items_and_prompts_without_names_offer_none() -> None:
    each = {"a": {"prompt": "Say {{ item }}", "for_each": "{{ [q, q] }}", "output": "string"}}
    lm = ScriptedLM("x")
    assert offered(lm, steps=each, train=[example("1", {"a": ["x", "x"]})])[0] == []
    assert offered(lm, steps={"a": "Say something"}, train=[example("1", {"a": "x"})])[0] == []
    assert lm.requests == []


# -- traces ------------------------------------------------------------------------------------------------------------


def judged_by_length() -> list[Any]:
    """Passes even numbers of letters."""
    return [check("python", "len(output) % 2 == 0", step="a")]


def unlabelled(count: int, start: int = 100) -> list[Any]:
    return [example(str(number)) for number in range(start, start + count)]


def test_without_labels_what_passed_becomes_demos() -> None:
    lm = ScriptedLM(lambda request: "aa" if request.messages[-1].content[-1] in "02468" else "aaa")
    found, task = offered(lm, steps={"a": "A {{ q }}"}, assertions=judged_by_length(), train=unlabelled(9))
    assert [(demo.inputs["q"], demo.output) for demo in found] == [(str(n), "aa") for n in (100, 102, 104, 106, 108)]
    assert (len(lm.requests), task.most) == (9, 400 - 9)


def test_what_could_not_be_told_becomes_none() -> None:
    lost = ModelError("busy", fault=Fault.TIMEOUT, model="m")
    lm = ScriptedLM(lambda request: lost if request.messages[-1].content == "A 100" else "aa")
    options: dict[str, Any] = {"steps": {"a": "A {{ q }}"}, "train": unlabelled(2)}
    assert named(lm, assertions=judged_by_length(), **options) == [{"q": "101"}]
    assert named(lm, assertions=as_expected("a"), **options) == []  # no assertion applies, so nothing has passed


def test_traces_keep_how_it_was_thought() -> None:
    steps = {"a": {"prompt": "A {{ q }}", "reasoning": True}}
    lm = ScriptedLM("Two letters do.\nAnswer: aa")
    [found], _ = offered(lm, steps=steps, assertions=judged_by_length(), train=unlabelled(1))
    assert (found.output, found.reasoning) == ("aa", "Two letters do.")


def test_the_teacher_makes_the_traces_where_there_is_one() -> None:
    lm, teacher = ScriptedLM(never), ScriptedLM("aa")
    options: dict[str, Any] = {"steps": {"a": "A {{ q }}"}, "assertions": judged_by_length(), "train": unlabelled(3)}
    found, task = offered(lm, teacher=teacher, **options)
    assert {demo.output for demo in found} == {"aa"}
    assert (len(lm.requests), len(teacher.requests), task.most) == (0, 3, 397)


def test_no_more_traces_are_made_than_a_third_of_the_trials() -> None:
    lm = ScriptedLM("aa")
    options: dict[str, Any] = {"steps": {"a": "A {{ q }}"}, "assertions": judged_by_length()}
    offered(lm, train=unlabelled(50), most=30, **options)
    assert len(lm.requests) == 10
    offered(lm := ScriptedLM("aa"), train=unlabelled(200), most=900, **options)
    assert len(lm.requests) == pool.MAX_TRACED


def test_traces_that_are_there_cost_nothing() -> None:
    lm = ScriptedLM("aa")

    async def work() -> tuple[Task, Task]:
        task, incumbent = task_of(lm, steps={"a": "A {{ q }}"}, assertions=judged_by_length(), train=unlabelled(9))
        return (await pool.demos_of(task, incumbent))[1], (await pool.demos_of(task, incumbent))[1]

    first, second = asyncio.run(work())
    assert (first.most, second.most, len(lm.requests)) == (391, 400, 9)


def test_where_a_step_before_has_no_label_rows_are_traced() -> None:
    lm = ScriptedLM({"A 1": "x", "B 1 x": "bb"})
    found, _ = offered(lm, steps=TWO, step="b", train=[example("1", {"b": "bb"}), example("2")])
    assert [(demo.inputs, demo.output) for demo in found] == [({"q": "1", "a": "x"}, "bb")]
    assert asked(lm) == ["A 1", "B 1 x"]  # only rows that expect something of it


# -- what is held out --------------------------------------------------------------------------------------------------


@given(st.sets(st.integers(0, 30)), st.sets(st.integers(0, 30)))
def test_no_demo_repeats_a_held_out_row(train: set[int], held_out: set[int]) -> None:
    found = named(ScriptedLM("odd"), train=[row(n) for n in sorted(train)], held_out=[row(n) for n in held_out])
    assert {demo["q"] for demo in found} == {str(n) for n in train - held_out}


def test_nor_one_that_differs_only_in_what_the_prompt_does_not_name() -> None:
    inputs = {"q": "string", "id": "string"}
    rows = [example(f"e{n}", {"a": "odd"}, inputs={"q": str(n), "id": f"train {n}"}) for n in range(3)]
    held_out = [example("t", {"a": "odd"}, inputs={"q": "1", "id": "test"})]
    assert named(ScriptedLM("odd"), train=rows, held_out=held_out, inputs=inputs) == [{"q": "0"}, {"q": "2"}]


def test_traces_neither() -> None:
    lm = ScriptedLM("aa")
    options: dict[str, Any] = {"steps": {"a": "A {{ q }}"}, "assertions": judged_by_length(), "train": unlabelled(3)}
    assert named(lm, held_out=unlabelled(1), **options) == [{"q": "101"}, {"q": "102"}]


def test_an_input_of_few_values_does_not_make_all_rows_alike() -> None:
    """What the step before gives tells rows apart: as expected, else by the other inputs."""
    inputs = {"tone": "string", "q": "string"}
    steps = {"a": "A {{ q }}", "b": "B {{ tone }} {{ a }}"}

    def rows(numbers: range, *steps: str) -> list[Any]:
        return [
            example(str(n), {step: f"{step}{n}" for step in steps}, inputs={"tone": "dry", "q": str(n)})
            for n in numbers
        ]

    options: dict[str, Any] = {"steps": steps, "step": "b", "inputs": inputs}
    lm = ScriptedLM(lambda request: request.messages[-1].content.replace("A ", "a").replace("B dry a", "b"))
    gold = named(lm, train=rows(range(4), "a", "b"), held_out=rows(range(3, 9), "a", "b"), **options)
    assert gold == [{"tone": "dry", "a": f"a{n}"} for n in range(3)]
    traced = named(lm, train=rows(range(4), "b"), held_out=rows(range(3, 9), "b"), **options)
    assert traced == [{"tone": "dry", "a": f"a{n}"} for n in range(3)]


# -- choosing among them -----------------------------------------------------------------------------------------------


@given(DEMOS, st.integers())
def test_every_beginning_is_balanced(demos: list[Demo], seed: int) -> None:
    found = pool.balanced(demos, Random(seed))
    assert Counter(map(repr, found)) == Counter(map(repr, demos))
    left = Counter(demo.output for demo in demos)
    counts: Counter[int] = Counter(dict.fromkeys(left, 0))
    for demo in found:
        waiting = [counts[output] for output in counts if left[output]]
        counts[demo.output] += 1
        left[demo.output] -= 1
        assert counts[demo.output] - min(waiting) <= 1  # of the outputs of which there are demos yet
    assert pool.balanced(demos, Random(seed)) == found


def test_what_no_lock_can_hold_is_no_demo() -> None:
    train = (example("1", expected={"a": float("nan")}), example("2", expected={"a": "two"}))
    assert named(ScriptedLM(never), steps={"a": "A {{ q }}"}, train=train) == [{"q": "2"}]


def test_chance_has_a_say_in_the_order() -> None:
    demos = [Demo(inputs={"q": str(n)}, output=n % 2) for n in range(8)]
    assert len({repr(pool.balanced(demos, Random(seed))) for seed in range(9)}) > 5


@given(DEMOS, st.integers(0, 5), st.floats(0, 12))
def test_what_fits_is_never_beyond_its_caps(demos: list[Demo], most: int, tokens: float) -> None:
    found = pool.fitting(demos, most, tokens)
    assert len(found) <= most
    assert sum(map(demo_tokens, found)) <= tokens + 1e-9
    left = iter(demos)
    assert all(any(demo is one for one in left) for demo in found)  # in their order
    out = [demo for demo in demos if not any(demo is one for one in found)]
    if len(found) < most:  # and what is left out has no room
        assert all(sum(map(demo_tokens, found)) + demo_tokens(demo) > tokens - 1e-9 for demo in out)


def test_small_ones_have_so_many_tokens_each() -> None:
    demos = [Demo(inputs={"q": "x" * n}, output="") for n in (3, 4, 5)]
    assert pool.small(demos, 1) == demos[:2]

"""A chain is tested on many examples: what runs again, in what order results come, and what stops it."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from typing import Any

import pytest

from promptchain import binding, plan
from promptchain.errors import Fault, ModelError
from promptchain.evaluate import Progress, evaluate
from promptchain.lm.budget import Budget
from promptchain.lm.protocol import Request, Response
from promptchain.lm.scripted import Rule, ScriptedLM
from promptchain.results import State
from promptchain.summary import summarise
from tests.evaluate_kit import (
    as_expected,
    asked,
    caller_of,
    chain_of,
    check,
    example,
    grader_of,
    plan_of,
    try_all,
    try_one,
)
from tests.patience import soon

THREE = chain_of({"a": "A {{ q }}", "b": "B {{ a }}", "c": "C {{ b }}"})
GOLD = {"a": "a1", "b": "b1", "c": "c1"}
RIGHT = {"A e": "a1", "B a1": "b1", "C b1": "c1"}
"""Each step is right on what is expected before it."""


# -- on gold input -----------------------------------------------------------------------------------------------------


def test_where_all_is_right_nothing_runs_again() -> None:
    lm = ScriptedLM(RIGHT)
    result = try_one(THREE, lm, example(expected=GOLD), as_expected("a", "b", "c"))
    assert asked(lm) == ["A e1", "B a1", "C b1"]
    assert {name: (step.passed, step.gold, step.mends) for name, step in result.steps.items()} == dict.fromkeys(
        "abc", (True, True, None)
    )


def test_the_steps_after_a_wrong_one_run_again_on_gold() -> None:
    lm = ScriptedLM({**RIGHT, "A e": "wrong", "B wrong": "bad", "C bad": "worse"})
    result = try_one(THREE, lm, example(expected=GOLD), as_expected("a", "b", "c"))
    # On gold b and c; a's blame would cost two more calls, but b is wrong as it is, c too, and both follow a.
    assert {name: (step.passed, step.gold) for name, step in result.steps.items()} == {
        "a": (False, False), "b": (False, True), "c": (False, True),
    }  # fmt: skip
    assert (result.state, result.first) == (State.FAILED, "a")
    assert {name: step.mends for name, step in result.steps.items()} == {"a": True, "b": False, "c": False}
    assert Counter(asked(lm)) == {"A e1": 1, "B wrong": 1, "C bad": 1, "B a1": 2, "C b1": 2}


def test_a_step_is_to_blame_for_one_that_should_not_have_run() -> None:
    chain = chain_of({"a": "A", "b": {"prompt": "B", "when": "{{ a == 'bad' }}"}})
    lm = ScriptedLM({"A": "bad", "B": "x"})
    result = try_one(chain, lm, example(expected={"a": "good"}), [check("equals", "y", step="b")])
    assert (result.state, result.steps["a"].mends) == (State.FAILED, True)


def test_a_step_that_is_wrong_on_gold_too_has_no_excuse() -> None:
    lm = ScriptedLM({"A e": "wrong", "B": "bad", "C bad": "worse", "C b1": "c1"})
    result = try_one(THREE, lm, example(expected=GOLD), as_expected("a", "b", "c"))
    assert [step.gold for step in result.steps.values()] == [False, False, True]
    assert [step.mends for step in result.steps.values()] == [False, False, False]  # a and b both have to be right


def test_only_what_comes_after_a_wrong_step_runs_again() -> None:
    chain = chain_of({"a": "A {{ q }}", "x": "X {{ q }}", "b": "B {{ a }}", "y": "Y {{ x }}"}, outputs={"o": "{{ b }}"})
    lm = ScriptedLM({"A": "wrong", "X": "x1", "B a1": "b1", "B wrong": "bad", "Y": "y1"})
    expected = {"a": "a1", "x": "x1", "b": "b1", "y": "y1"}
    result = try_one(chain, lm, example(expected=expected), as_expected("a", "b", "x", "y"))
    count = Counter(one[0] for one in asked(lm))
    assert (count["A"], count["X"], count["Y"]) == (1, 1, 1)
    assert count["B"] == 3  # real; on gold; with a mended
    assert {name: step.gold for name, step in result.steps.items()} == {"a": False, "x": True, "b": True, "y": True}


def test_a_step_that_nothing_is_expected_before_has_no_score_on_gold() -> None:
    lm = ScriptedLM({"A": "wrong", "B": "bad", "C": "worse"})
    result = try_one(THREE, lm, example(expected={"c": "c1"}), as_expected("c"))
    assert [step.gold for step in result.steps.values()] == [None, None, None]
    assert len(lm.requests) == 3


def test_without_assertions_on_steps_nothing_runs_again() -> None:
    lm = ScriptedLM({"A": "wrong", "B": "bad", "C": "worse"})
    result = try_one(THREE, lm, example(expected=GOLD), [check("contains", "zzz")])
    assert len(lm.requests) == 3
    assert all(step.mends is None for step in result.steps.values())


def test_gold_values_pass_over_steps_that_fail_or_are_null() -> None:
    """A step whose run failed is no hindrance to those after it on gold input."""
    chain = chain_of({"a": {"prompt": "A", "output": "integer", "retry": {"parse": 0}}, "b": "B {{ a }}"})
    lm = ScriptedLM({"A": "no number", "B 3": "b1"})
    result = try_one(chain, lm, example(expected={"a": 3, "b": "b1"}), as_expected("a", "b"))
    assert {name: (step.passed, step.gold, step.mends) for name, step in result.steps.items()} == {
        "a": (False, False, True), "b": (None, True, False),
    }  # fmt: skip


def test_gold_of_a_step_with_when_and_for_each() -> None:
    chain = chain_of(
        {
            "words": {"prompt": "W", "output": {"w(array)": "string"}},
            "each": {"prompt": "E {{ item }}", "for_each": "{{ words.w }}"},
            "only": {"prompt": "O {{ each | join('-') }}", "when": "{{ each | length == 2 }}"},
        }
    )
    lm = ScriptedLM({"W": '{"w": ["x"]}', "E x": "X", "E y": "Y", "O X-Y": "xy"})
    expected = {"words": {"w": ["x", "y"]}, "each": ["X", "Y"], "only": "xy"}
    result = try_one(chain, lm, example(expected=expected), as_expected("words", "each", "only"))
    assert {name: (str(step.status), step.passed, step.gold) for name, step in result.steps.items()} == {
        "words": ("done", False, False), "each": ("done", False, True), "only": ("skipped", None, True),
    }  # fmt: skip
    assert (result.state, result.steps["words"].mends) == (State.FAILED, True)


# -- repeats -----------------------------------------------------------------------------------------------------------


def test_repeats_are_drawn_apart_and_told_from_each_other() -> None:
    chain = chain_of({"a": "{{ q }}"})
    lm = ScriptedLM(["good", "bad", "good", "good", "good", "good"])
    found = try_all(chain, lm, [example("e1"), example("e2")], [check("equals", "good", step="a")], repeat=3, at_once=1)
    assert [(one.id, one.sample, one.state.value) for one in found.results] == [
        ("e1", 0, "passed"), ("e1", 1, "failed"), ("e1", 2, "passed"),
        ("e2", 0, "passed"), ("e2", 1, "passed"), ("e2", 2, "passed"),
    ]  # fmt: skip
    assert [request.sample for request in lm.requests] == [0, 1, 2, 0, 1, 2]
    summary = summarise(plan_of(chain), found.results)
    assert (summary.examples, summary.tries, summary.flaky) == (2, 6, ("e1",))
    assert summary.chain is not None
    assert (summary.chain.n, round(summary.chain.value, 6)) == (2, round((2 / 3 + 1) / 2, 6))


# -- order, and what stops it ------------------------------------------------------------------------------------------


def test_results_are_in_the_order_of_the_examples() -> None:
    chain = chain_of({"a": "{{ q }}"})
    lm = ScriptedLM([Rule("x", contains=f"e{n}", delay=(9 - n) * 0.03) for n in range(9)])
    ended: list[str] = []
    found = try_all(
        chain, lm, [example(f"e{n}") for n in range(9)], at_once=9, watch=lambda now: ended.append(now.results[-1].id)
    )
    assert [one.id for one in found.results] == [f"e{n}" for n in range(9)]
    assert ended == [f"e{n}" for n in reversed(range(9))]
    assert (found.done, found.passed, found.stopped) == (9, 9, None)


@pytest.mark.parametrize("at_once", [1, 4])
def test_no_more_are_under_way_than_asked_for(at_once: int) -> None:
    now, most = 0, 0

    class Counting(ScriptedLM):
        async def complete(self, request: Request, on_text: Any = None) -> Response:
            nonlocal now, most
            now, most = now + 1, max(most, now + 1)
            try:
                return await super().complete(request, on_text)
            finally:
                now -= 1

    try_all(
        chain_of({"a": "{{ q }}"}), Counting("x", delay=0.002), [example(f"e{n}") for n in range(12)], at_once=at_once
    )
    assert most == at_once


@pytest.mark.parametrize("at_once", [1, 8])
def test_a_ceiling_stops_and_says_so(at_once: int) -> None:
    lm = ScriptedLM("x")
    found = try_all(
        THREE, lm, [example(f"e{n}") for n in range(10)], [check("contains", "x")], budget=Budget(calls=10),
        at_once=at_once,
    )  # fmt: skip
    assert "calls" in (found.stopped or "")
    assert len(lm.requests) == 10
    assert found.done <= 3
    assert (found.failed, found.errors) == (0, 0)  # what a ceiling cut off is no failure
    if at_once == 1:
        assert found.done == 3


def test_a_ceiling_in_the_middle_of_blame_leaves_the_example_out() -> None:
    lm = ScriptedLM({**RIGHT, "A e": "wrong", "B wrong": "bad", "C bad": "worse"})
    found = try_all(THREE, lm, [example(expected=GOLD)], as_expected("a", "b", "c"), budget=Budget(calls=4))
    assert (found.results, found.stopped is None) == ([], False)


def test_a_ceiling_reached_by_a_judge_stops_too() -> None:
    lm = ScriptedLM({"e": "x"})
    found = try_all(
        chain_of({"a": "{{ q }}"}), lm, [example()], [check("llm-rubric", "is polite")], budget=Budget(calls=1),
        judge="j",
    )  # fmt: skip
    assert (found.results, found.stopped is None) == ([], False)


@pytest.mark.parametrize(("most", "done"), [(0, 1), (2, 3), (7, 8)])
def test_too_many_errors_stop_it(most: int, done: int) -> None:
    lm = ScriptedLM({"e": ModelError("no key", fault=Fault.AUTH, model="m")})
    found = try_all(chain_of({"a": "{{ q }}"}), lm, [example(f"e{n}") for n in range(8)], max_errors=most, at_once=1)
    assert (found.errors, found.done) == (done, done)
    assert (found.stopped or "").startswith(f"{done} examples could not be scored; the last: ")
    assert "no key" in (found.stopped or "")


def test_where_nothing_could_be_scored_nothing_has_passed() -> None:
    lm = ScriptedLM({"e1": ModelError("no key", fault=Fault.AUTH, model="m"), "e2": "x"})
    found = try_all(chain_of({"a": "{{ q }}"}), lm, [example("e1")], max_errors=5)
    assert found.stopped == "none of the examples could be scored; the last: step 'a' failed: no key"
    found = try_all(chain_of({"a": "{{ q }}"}), lm, [example("e1"), example("e2")], max_errors=5)
    assert (found.errors, found.stopped) == (1, None)


def test_errors_are_in_no_score() -> None:
    chain = chain_of({"a": "{{ q }}"})
    lm = ScriptedLM({"e1": "good", "e2": ModelError("gone", fault=Fault.CONNECTION, model="m"), "e3": "bad"})
    found = try_all(chain, lm, [example(f"e{n}") for n in (1, 2, 3)], [check("equals", "good", step="a")])
    summary = summarise(plan_of(chain), found.results)
    assert (summary.passed, summary.failed, summary.errors) == (1, 1, 1)
    assert summary.chain is not None
    assert (summary.chain.value, summary.chain.n) == (0.5, 2)
    assert summary.steps[0].score == summary.chain


def test_cancelled_it_keeps_what_is_done() -> None:
    chain = chain_of({"a": "{{ q }}"})
    lm = ScriptedLM([Rule("x", contains="e2", delay=60), Rule("x", always=True)])
    rows = [example(f"e{n}") for n in range(5)]
    progress = Progress(5)

    async def go() -> None:
        caller = caller_of(lm)
        task = asyncio.create_task(
            evaluate(binding.bind(plan.build(chain), lm), (), rows, caller, grader_of(lm, caller), progress, at_once=2)
        )
        await soon(lambda: progress.done == 4)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(go())
    assert [one.id for one in progress.results] == ["e0", "e1", "e3", "e4"]


def test_what_is_kept_is_not_looked_through_again_and_again() -> None:
    before = gc.get_threshold()
    seen: list[int] = []
    run = try_all(
        THREE, ScriptedLM(RIGHT), [example(1), example(2)], watch=lambda _: seen.append(gc.get_threshold()[2])
    )
    assert run.done == len(seen) == 2
    assert min(seen) > before[2]
    assert gc.get_threshold() == before


def test_what_the_caller_raises_ends_all_of_it() -> None:
    def broken(progress: Progress) -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        try_all(chain_of({"a": "{{ q }}"}), ScriptedLM("x"), [example(f"e{n}") for n in range(5)], watch=broken)


def test_long_values_are_cut_in_results_and_not_in_checks() -> None:
    chain = chain_of({"a": "{{ q }}"})
    long = "x" * 5_000
    of = example(inputs={"q": long}, assertions=[check("equals", long, step="a")])
    result = try_one(chain, ScriptedLM(long), of)
    assert result.state is State.PASSED
    assert len(result.steps["a"].value) == len(result.inputs["q"]) == len(result.outputs["a"]) == 1_000


def test_a_rows_own_assertions_are_applied_beside_the_chains() -> None:
    chain = chain_of({"a": "{{ q }}"})
    rows = [example("e1", assertions=[check("contains", "zzz", step="a")]), example("e2")]
    found = try_all(chain, ScriptedLM("hello"), rows, [check("contains", "hello")])
    assert [(one.state.value, len(one.checks)) for one in found.results] == [("failed", 2), ("passed", 1)]
    assert found.results[0].first == "a"

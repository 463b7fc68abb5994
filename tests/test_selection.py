"""Of the outputs of several models only the judge's choice passes."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from promptchain.assertions.apply import Checked
from promptchain.assertions.grader import Grader
from promptchain.assertions.protocol import Verdict
from promptchain.criteria import Assertion
from promptchain.errors import Where
from promptchain.lm.calls import Caller
from promptchain.lm.scripted import ScriptedLM
from promptchain.records import Status
from promptchain.results import ExampleResult, State, StepResult
from promptchain.selection import choose

BEST = Assertion(type="select-best", value="the better on {{ m }}", step="a")


def result(id: str, value: str, state: State = State.PASSED, *checks: Checked) -> ExampleResult:
    steps = {"a": StepResult(Status.DONE, passed=None, value=value)}
    return ExampleResult(id, Where("r.jsonl", 1), 0, state, 1.0, checks, steps, {"m": "tea"}, {"a": value})


def chosen(lm: ScriptedLM, *columns: list[ExampleResult], assertion: Assertion = BEST) -> list[list[ExampleResult]]:
    async def ask() -> list[list[ExampleResult]]:
        grader = Grader(lm, Caller(lm), judge="scripted/x", root=Path.cwd())
        return await choose(columns, assertion, grader)

    return asyncio.run(ask())


def test_the_choice_passes_and_the_others_fail() -> None:
    lm = ScriptedLM('{"reason": "warmer", "best": 2}')
    first, second = chosen(lm, [result("1", "cold tea")], [result("1", "hot tea")])
    assert (first[0].state, second[0].state) == (State.FAILED, State.PASSED)
    assert (first[0].first, first[0].steps["a"].passed, first[0].score) == ("a", False, 0.0)
    assert first[0].failures[0].verdict == Verdict(False, 0.0, "warmer")
    asked = lm.requests[0].messages[-1].content
    assert all(text in asked for text in ("the better on tea", "cold tea", "hot tea"))


def test_not_select_best_fails_the_choice() -> None:
    lm = ScriptedLM('{"reason": "worst", "best": 1}')
    turned = BEST.model_copy(update={"type": "not-select-best"})
    first, second = chosen(lm, [result("1", "x")], [result("1", "y")], assertion=turned)
    assert (first[0].state, second[0].state) == (State.FAILED, State.PASSED)


def test_what_failed_before_still_fails() -> None:
    lm = ScriptedLM('{"reason": "better", "best": 1}')
    failed = Checked(Assertion(type="equals", value="y", step="a"), Verdict(False, 0.0, "no"))
    first, _ = chosen(lm, [result("1", "x", State.FAILED, failed)], [result("1", "y")])
    assert (first[0].state, first[0].score) == (State.FAILED, 0.5)


@pytest.mark.parametrize("other", [[], [result("2", "y")], [result("1", "y", State.ERROR)]])
def test_an_example_that_one_model_has_not_is_left_as_it_is(other: list[ExampleResult]) -> None:
    lm = ScriptedLM([])
    column = [result("1", "x")]
    assert chosen(lm, column, other) == [column, other]
    assert not lm.requests


def test_a_judge_that_answers_nonsense_is_an_error_of_the_example() -> None:
    first, second = chosen(ScriptedLM("neither"), [result("1", "x")], [result("1", "y")])
    assert {first[0].state, second[0].state} == {State.ERROR}
    assert "select-best" in (first[0].problem or "")


def test_the_choice_checks_what_nothing_else_did() -> None:
    lm = ScriptedLM('{"reason": "warmer", "best": 2}')
    columns = [[replace(result("1", tea, State.UNCHECKED), problem="no assertion applies")] for tea in ("cold", "hot")]
    first, second = chosen(lm, *columns)
    assert [(one[0].state, one[0].problem) for one in (first, second)] == [(State.FAILED, None), (State.PASSED, None)]

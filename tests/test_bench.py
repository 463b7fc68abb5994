"""What candidates are tried on: as little of the chain as tells, nothing twice, and when to give up."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptchain import binding
from promptchain.bench import Bench, Trial
from promptchain.chain import Chain
from promptchain.criteria import Assertion
from promptchain.errors import BudgetError, Fault, ModelError, PromptChainError
from promptchain.examples import Example
from promptchain.lm.budget import Budget
from promptchain.lm.protocol import Request
from promptchain.lm.scripted import Rule, ScriptedLM
from promptchain.records import StepVariant, Variant
from tests import patience
from tests.evaluate_kit import as_expected, asked, caller_of, chain_of, check, example, grader_of, plan_of, text

THREE = chain_of({"a": "A {{ q }}", "b": "B {{ a }}", "c": "C {{ b }}"})
GOLD = {"a": "a1", "b": "b1", "c": "c1"}
RIGHT = {"A e": "a1", "B a1": "b1", "C b1": "c1"}

Work = Callable[[Bench], Awaitable[Any]]


def on(
    chain: Chain,
    lm: ScriptedLM,
    work: Work,
    assertions: Iterable[Assertion] = (),
    *,
    budget: Budget | None = None,
    judge: str | None = None,
    **options: Any,
) -> Any:
    """What the work gives on a bench of the chain."""

    async def begin() -> Any:
        caller = caller_of(lm, budget)
        bound = binding.bind(plan_of(chain), lm)
        return await work(Bench(bound, tuple(assertions), caller, grader_of(lm, caller, judge), **options))

    return patience.run(begin())


def trial(
    chain: Chain,
    lm: ScriptedLM,
    of: Example,
    assertions: Iterable[Assertion],
    step: str | None = None,
    variants: Mapping[str, StepVariant] | None = None,
    **options: Any,
) -> Trial:
    async def work(bench: Bench) -> Trial:
        [found] = await bench.trials(variants or {}, [of], step)
        return found

    found: Trial = on(chain, lm, work, assertions, **options)
    return found


def told(chain: Chain, step: str, instructions: str) -> dict[str, StepVariant]:
    """Other instructions for a step."""
    seed = Variant.seed(chain.steps[step])  # type: ignore[arg-type]
    return {step: seed.model_copy(update={"instructions": instructions})}


# -- how much of the chain runs ----------------------------------------------------------------------------------------


def test_a_step_is_tried_alone_on_gold_values() -> None:
    lm = ScriptedLM(RIGHT)
    found = trial(THREE, lm, example(expected=GOLD), as_expected("a", "b", "c"), "b")
    assert asked(lm) == ["B a1"]
    assert (found.passed, found.value) == (True, 1.0)
    assert found.run.steps["b"].value == "b1"


def test_without_gold_the_steps_before_run() -> None:
    lm = ScriptedLM(RIGHT)
    found = trial(THREE, lm, example(expected={"c": "c1"}), as_expected("a", "b", "c"), "c")
    assert asked(lm) == ["A e1", "B a1", "C b1"]
    assert found.passed is True


def test_of_the_steps_before_only_those_without_gold_run() -> None:
    lm = ScriptedLM(RIGHT)
    trial(THREE, lm, example(expected={"a": "a1", "c": "c1"}), as_expected("c"), "c")
    assert asked(lm) == ["B a1", "C b1"]


def test_the_steps_own_gold_is_not_given_to_it() -> None:
    lm = ScriptedLM({**RIGHT, "B a1": "wrong"})
    found = trial(THREE, lm, example(expected=GOLD), as_expected("b"), "b")
    assert (found.passed, found.value, found.feedback("b")[:8]) == (False, 0.0, "equals: ")


def test_a_step_that_only_the_chain_is_judged_by_runs_with_what_follows() -> None:
    lm = ScriptedLM(RIGHT)
    assertions = [check("equals", "c1", output="c"), *as_expected("a")]
    found = trial(THREE, lm, example(expected=GOLD), assertions, "b")
    assert asked(lm) == ["A e1", "B a1", "C b1"]
    assert found.passed is True


def test_steps_that_nothing_looks_at_do_not_run() -> None:
    lm = ScriptedLM(RIGHT)
    found = trial(THREE, lm, example(expected=GOLD), as_expected("b"))
    assert asked(lm) == ["A e1", "B a1"]
    assert found.passed is True


@pytest.mark.parametrize(
    "naming",
    [
        check("equals", "{{ b }}", step="a"),
        check("assert-set", step="a", **{"assert": [{"type": "equals", "value": "{{ b }}"}]}),
        check("python", "output == b", step="a"),
        check("contains", "b1", step="a", transform="{{ b }}"),
        check("equals", "{{ outputs.o }}", step="a"),
    ],
    ids=["value", "set", "expression", "transform", "outputs"],
)
@pytest.mark.parametrize("step", ["a", None])
def test_steps_that_an_assertion_compares_with_run_too(naming: Assertion, step: str | None) -> None:
    chain = chain_of({"a": "A {{ q }}", "b": "B {{ q }}", "c": "C {{ q }}"}, outputs={"o": "{{ b }}"})
    lm = ScriptedLM({"A": "b1", "B": "b1"})
    assert trial(chain, lm, example(), [naming], step).passed is True
    assert sorted(asked(lm)) == ["A e1", "B e1"]


def test_an_assertion_that_only_measures_has_no_step_tried_alone() -> None:
    assertions = [check("latency", step="a", weight=0, metric="ms", threshold=1), check("equals", "c1", output="c")]
    lm = ScriptedLM(RIGHT)
    assert trial(THREE, lm, example(), assertions, "a").passed is True
    assert len(lm.requests) == 3


def test_assertions_of_rows_are_asked_too() -> None:
    lm = ScriptedLM(RIGHT)
    own = (check("equals", "other", step="a"), check("equals", "other", step="c"))
    found = trial(THREE, lm, example(expected=GOLD, assertions=own), as_expected("a"), "a")
    assert (asked(lm), found.passed) == (["A e1"], False)
    assert [c.assertion.step for c in found.checks] == ["a", "a"]


def test_other_parameters_are_those_that_are_sent() -> None:
    lm = ScriptedLM(RIGHT)
    trial(THREE, lm, example(expected=GOLD), as_expected("b"), "b", told(THREE, "b", "Be brief."))
    assert [message.content for message in lm.requests[0].messages] == ["Be brief.", "B a1"]


def test_a_varied_plan_leaves_the_first_as_it_is() -> None:
    bound = binding.bind(plan_of(THREE), ScriptedLM("x"))
    varied = bound.varied(told(THREE, "b", "Be brief."))
    assert varied.prompts["b"].variant.instructions == "Be brief."
    assert bound.prompts["b"].variant.instructions == ""
    assert varied.prompts["a"] is bound.prompts["a"]


# -- what is told ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["a", None])
def test_where_no_assertion_applies_nothing_has_passed(step: str | None) -> None:
    found = trial(THREE, ScriptedLM(RIGHT), example(expected={"b": "b1"}), as_expected("a"), step)
    assert (found.passed, found.value, found.step_passed("a")) == (None, None, None)


def test_a_reply_that_does_not_fit_fails_though_no_assertion_applies() -> None:
    chain = chain_of({"a": {"prompt": "A {{ q }}", "output": "integer", "retry": {"parse": 0}}})
    found = trial(chain, ScriptedLM("many"), example(), as_expected("a"), "a")
    assert found.passed is False
    assert "integer" in found.feedback("a")


def busy(_: Request) -> Exception:
    return ModelError("busy", fault=Fault.TIMEOUT, model="m")


def test_a_failed_call_is_no_failure_of_the_prompt() -> None:
    found = trial(THREE, ScriptedLM({**RIGHT, "B a1": busy}), example(expected=GOLD), as_expected("a", "b", "c"))
    assert found.passed is None
    assert {name: found.step_passed(name) for name in "abc"} == {"a": True, "b": None, "c": None}


def test_a_request_that_the_model_refuses_is_the_fault_of_the_prompt_that_is_new() -> None:
    lm = ScriptedLM(lambda _: ModelError("no such format", fault=Fault.BAD_REQUEST, model="m"))
    asked = (THREE, lm, example(expected=GOLD), as_expected("a"), "a")
    assert trial(*asked).passed is None, "the seed's own request is a matter of settings"
    assert trial(*asked, told(THREE, "a", "x"), max_errors=0).passed is False


def test_a_failed_assertion_of_a_step_decides() -> None:
    assertions = [check("equals", "other", step="a"), check("python", "1 / 0 > 1", step="a")]
    found = trial(THREE, ScriptedLM(RIGHT), example(), assertions)
    assert [c.passed for c in found.checks] == [False, None]
    assert (found.passed, found.step_passed("a"), found.step_passed("b")) == (False, False, None)


def test_feedback_tells_what_was_wrong_after_the_step_too() -> None:
    found = trial(THREE, ScriptedLM({**RIGHT, "C b1": "x"}), example(), [check("equals", "c1", output="c")], "a")
    assert "equals: " in found.feedback("a")
    assert trial(THREE, ScriptedLM(RIGHT), example(), [check("equals", "c1", output="c")], "a").feedback("a") == ""


def test_outputs_that_other_steps_would_give_fail_no_step_alone() -> None:
    chain = chain_of({"a": "A {{ q }}", "b": "B {{ a }}"}, outputs={"o": "{{ a }} {{ (b or 'x') | int + [] }}"})
    lm = ScriptedLM({"A": "a1"})
    assert trial(chain, lm, example(expected={"a": "a1"}), as_expected("a"), "a").passed is True


# -- nothing twice -----------------------------------------------------------------------------------------------------


def test_nothing_is_tried_twice() -> None:
    lm = ScriptedLM(RIGHT)
    rows = [example(f"e{n}", GOLD) for n in range(3)]

    async def work(bench: Bench) -> None:
        first = await bench.trials({}, rows[:2], "a")
        again = await bench.trials({}, [*rows, *rows], "a")
        assert again[:2] == first
        assert [found.example.id for found in again] == ["e0", "e1", "e2"] * 2
        await asyncio.gather(*(bench.trials({}, rows, "a") for _ in range(3)))
        assert bench.tried({}, rows, "a") == [True] * 3
        assert bench.tried({}, rows) == [False] * 3
        await bench.trials(told(THREE, "a", "Other."), rows[:1], "a")

    on(THREE, lm, work, as_expected("a", "b"))
    assert Counter(asked(lm)) == {"A e0": 2, "A e1": 1, "A e2": 1}


def test_parameters_in_another_order_are_the_same() -> None:
    lm = ScriptedLM(RIGHT)

    async def work(bench: Bench) -> None:
        one, other = told(THREE, "a", "x"), told(THREE, "b", "y")
        await bench.trials({**one, **other}, [example(expected=GOLD)])
        await bench.trials({**other, **one}, [example(expected=GOLD)])

    on(THREE, lm, work, as_expected("a", "b", "c"))
    assert len(lm.requests) == 3


def test_what_was_cancelled_is_tried_again() -> None:
    lm = ScriptedLM([Rule("a1", contains="e0"), Rule("a1", contains="e1", delay=2)])
    rows = [example(f"e{n}", GOLD) for n in range(2)]

    async def work(bench: Bench) -> None:
        going = asyncio.create_task(bench.trials({}, rows, "a"))
        await asyncio.sleep(1)
        going.cancel()
        with pytest.raises(asyncio.CancelledError):
            await going
        assert bench.tried({}, rows, "a") == [True, False]
        assert [found.passed for found in await bench.trials({}, rows, "a")] == [True, True]
        assert len(asyncio.all_tasks()) == 1

    on(THREE, lm, work, as_expected("a"))
    assert Counter(asked(lm)) == {"A e0": 1, "A e1": 2}


def test_cancelled_twice_it_is_tried_again_all_the_same() -> None:
    lm = ScriptedLM("a1", delay=0.01)

    async def work(bench: Bench) -> None:
        going = asyncio.create_task(bench.trials({}, [example(expected=GOLD)], "a"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        going.cancel()
        await asyncio.sleep(0)
        going.cancel()
        with pytest.raises(asyncio.CancelledError):
            await going
        assert [found.passed for found in await bench.trials({}, [example(expected=GOLD)], "a")] == [True]

    on(THREE, lm, work, as_expected("a"))


def test_what_raised_is_tried_again() -> None:
    class Broken(ScriptedLM):
        async def complete(self, request: Request, on_text: Any = None) -> Any:
            if len(self.requests) == 0:
                self._kept.append(request)
                raise OSError("no such thing")
            return await super().complete(request, on_text)

    async def work(bench: Bench) -> None:
        with pytest.raises(OSError, match="no such thing"):
            await bench.trials({}, [example(expected=GOLD)], "a")
        assert (await bench.trials({}, [example(expected=GOLD)], "a"))[0].passed is True

    on(THREE, Broken(RIGHT), work, as_expected("a"))


def test_so_many_examples_are_in_flight_and_no_more() -> None:
    flying, most = 0, 0

    class Slow(ScriptedLM):
        async def complete(self, request: Request, on_text: Any = None) -> Any:
            nonlocal flying, most
            flying += 1
            most = max(most, flying)
            await asyncio.sleep(1)
            flying -= 1
            return await super().complete(request, on_text)

    rows = [example(f"e{n}", GOLD) for n in range(12)]
    on(THREE, Slow(RIGHT), lambda bench: bench.trials({}, rows, "a"), as_expected("a"), at_once=3)
    assert most == 3


# -- calls that it takes -----------------------------------------------------------------------------------------------


@given(
    st.sets(st.sampled_from("abcd")),
    st.lists(st.sampled_from(["a", "b", "c", "d", None]), min_size=1, max_size=4),
    st.sampled_from(["a", "b", "c", "d", None]),
    st.booleans(),
)
def test_so_many_calls_are_told_as_are_made(
    gold: set[str], looked_at: list[str | None], step: str | None, judged: bool
) -> None:
    chain = chain_of({"a": "A {{ q }}", "b": "B {{ a }}", "c": "C {{ a }}", "d": "D {{ b }} {{ c }}"})
    lm = ScriptedLM(lambda request: '{"pass": true, "score": 1, "reason": "r"}' if request.model == "j" else "x")
    assertions = [check("contains", "x", step=name) for name in looked_at]
    if judged:
        assertions.append(check("llm-rubric", "good", step=looked_at[0]))
    of = example(expected=dict.fromkeys(gold, "x"))

    async def work(bench: Bench) -> int:
        planned = bench.calls_of([of], step)
        assert lm.requests == []
        await bench.trials({}, [of], step)
        return planned

    assert on(chain, lm, work, assertions, judge="j") == len(lm.requests)


def test_the_row_that_takes_most_calls_counts() -> None:
    rows = [example("e1", GOLD), example("e2", {"c": "c1"}), example("e3", {"b": "b1"})]

    async def work(bench: Bench) -> tuple[int, int, int]:
        return bench.calls_of(rows, "c"), bench.calls_of(rows[:1], "c"), bench.calls_of([], "c")

    assert on(THREE, ScriptedLM(RIGHT), work, as_expected("c")) == (3, 1, 0)


# -- giving up ---------------------------------------------------------------------------------------------------------


def test_more_errors_than_may_be_end_it_with_one_clear_message() -> None:
    lm = ScriptedLM(busy)
    rows = [example(f"e{n}", GOLD) for n in range(9)]

    async def work(bench: Bench) -> None:
        assert [one.passed for one in await bench.trials({}, rows[:3], "a")] == [None] * 3
        await bench.trials(told(THREE, "a", "x"), rows[:3], "a")  # the same examples
        await bench.trials({}, rows, "a")

    with pytest.raises(PromptChainError) as caught:
        on(THREE, lm, work, as_expected("a"), max_errors=3, at_once=1)
    assert str(caught.value).startswith("4 examples could not be tried; the last: step 'a' failed: ")
    assert "busy" in str(caught.value)
    assert "cache" in (caught.value.hint or "")
    assert len({text(request) for request in lm.requests}) < 9


@pytest.mark.parametrize("step", ["a", None])
def test_a_ceiling_ends_it(step: str | None) -> None:
    lm = ScriptedLM(RIGHT)
    rows = [example(f"e{n}", GOLD) for n in range(9)]

    with pytest.raises(BudgetError):
        on(THREE, lm, lambda bench: bench.trials({}, rows, step), as_expected("a"), budget=Budget(calls=4))
    assert len(lm.requests) == 4


def test_a_judge_that_a_ceiling_leaves_no_call_for_ends_it_too() -> None:
    lm = ScriptedLM(RIGHT)
    with pytest.raises(BudgetError):
        trial(THREE, lm, example(), [check("llm-rubric", "good", step="a")], "a", budget=Budget(calls=1), judge="j")
    assert len(lm.requests) == 1

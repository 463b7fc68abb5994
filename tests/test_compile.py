"""The pipeline: what is tried, on what, within which number of calls, and what is adopted."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from promptchain import binding
from promptchain.bench import Bench
from promptchain.compile import MOST_DEV, MOST_TEST, Compiled, Setup, allowance, compile, targets, telling
from promptchain.errors import BudgetError, PromptChainError
from promptchain.lm.budget import Budget
from promptchain.lm.cache import CachedLM
from promptchain.lm.ledger import Ledger
from promptchain.lm.protocol import LM, Request
from promptchain.lm.scripted import ScriptedLM
from promptchain.optimizers.split import Parts
from promptchain.statistics import gain_by_chance
from promptchain.tuning import Tuning
from tests.evaluate_kit import as_expected, caller_of, chain_of, check, example, grader_of, plan_of, text

WORD = {"prompt": "Say {{ q }}", "instructions": "Answer.", "output": ["yes", "no"]}


def knows(request: Request) -> str:
    """Right about x; about y where a demo tells."""
    asked, demos = text(request), "".join(message.content for message in request.messages[1:-1])
    return "yes" if " x" in asked else "no" if " y" in demos else "yes"


KINDS = (("x", "yes"), ("y", "no"))


def part(name: str, count: int, steps: Sequence[str] = ("a",)) -> tuple[Any, ...]:
    rows = [(f"{kind}{name}{number}", answer) for number in range(count) for kind, answer in KINDS]
    return tuple(example(row, expected=dict.fromkeys(steps, answer)) for row, answer in rows)


def parts(train: int = 4, dev: int = 5, test: int = 5, steps: Sequence[str] = ("a",)) -> Parts:
    return Parts(part("train", train, steps), part("dev", dev, steps), part("test", test, steps))


def bench_of(lm: LM, steps: dict[str, Any] | None = None, checks: Any = None, budget: Budget | None = None) -> Bench:
    plan = plan_of(chain_of(steps or {"a": WORD}))
    caller = caller_of(lm, budget)
    return Bench(binding.bind(plan, lm), checks or as_expected("a"), caller, grader_of(lm, caller))


def done(
    script: Any = knows,
    data: Parts | None = None,
    *,
    steps: dict[str, Any] | None = None,
    checks: Any = None,
    calls: int | None = None,
    budget: Budget | None = None,
    **tuning: Any,
) -> tuple[Compiled, ScriptedLM, list[str]]:
    """What compiling came to, the model, and what was told on the way."""
    lm, told = ScriptedLM(script), []
    ledger = Ledger(lm)
    setup = Setup(
        bench=bench_of(ledger, steps, checks, budget),
        parts=data or parts(),
        tuning=Tuning.model_validate({"optimizer": "demos", **tuning}),
        calls=calls,
        ledger=ledger,
        watch=told.append,
    )
    return asyncio.run(compile(setup)), lm, told


def test_split_baseline_search_joint_choice_and_held_out_rows() -> None:
    found, lm, told = done()
    assert told == ["the seed prompts on the dev examples", "a: demos", "all steps together", "the held-out examples"]
    assert (found.kept, list(found.variants)) == (None, ["a"])
    assert found.variants["a"].instructions is None, "only what is not as in the file"
    assert found.test
    assert (found.test.better, found.test.worse, found.test.p) == (5, 0, 0.0312)
    asked = [text(request) for request in lm.requests]
    first = next(index for index, question in enumerate(asked) if "test" in question)
    assert all("test" in question for question in asked[first:]), "the search sees no held-out row"


def test_a_part_without_rows_is_refused() -> None:
    with pytest.raises(PromptChainError, match="none is for dev"):
        done(data=parts(dev=0))


def test_no_headroom_ends_it_at_the_baseline() -> None:
    found, lm, _ = done(lambda request: "yes" if " x" in text(request) else "no")
    assert (found.kept, len(lm.requests)) == ("no headroom: the seed prompts pass every dev example", 10)


def test_what_gets_worse_on_held_out_rows_is_kept() -> None:
    def turns(request: Request) -> str:
        asked = text(request)
        return "no" if "xtest" in asked and len(request.messages) > 2 else "yes" if "ytest" in asked else knows(request)

    found, _, _ = done(turns)
    assert found.kept == "no gain on the held-out examples (0 better, 5 worse of 10)"
    assert (found.variants, found.test and found.test.worse) == ({}, 5)


def test_a_gain_that_can_be_chance_is_kept() -> None:
    found, _, _ = done(data=parts(test=3))
    assert found.kept
    assert found.kept.startswith("too little data: 3 better, 0 worse of 6 held-out examples can be chance")
    assert done(data=parts(test=3), max_p=0.125)[0].kept is None


def test_examples_that_cannot_be_told_are_an_error() -> None:
    with pytest.raises(PromptChainError, match="no assertion says anything about the examples"):
        done(checks=(check("equals", "{{ expected.b }}", step="a"),))


@pytest.mark.parametrize("max_p", [0.5, 0.2, 0.1, 0.05, 0.01])
def test_so_many_rows_can_tell_and_no_fewer(max_p: float) -> None:
    least = telling(max_p)
    assert gain_by_chance(least, 0) <= max_p
    assert least == 1 or gain_by_chance(least - 1, 0) > max_p


def test_a_number_of_calls_is_shared_out_and_kept_to() -> None:
    for calls in (27, 40, 80, 200):
        found, lm, _ = done(data=parts(20, 20, 20), calls=calls)
        assert len({str(request) for request in lm.requests}) <= calls, calls
        shares = allowance(bench_of(lm), found.parts, Tuning(), calls)
        assert telling(0.1) <= len(shares.test) < 41
        assert shares.calls == calls
        assert shares.reserve <= calls


def test_so_few_calls_that_nothing_could_be_told_are_refused() -> None:
    with pytest.raises(PromptChainError, match="26 calls are too few") as caught:
        done(calls=26)
    assert "27 at least" in (caught.value.hint or "")
    small = parts(dev=1, test=1)  # there is no more to tell with, however many calls there are
    assert len(allowance(bench_of(ScriptedLM("x")), small, Tuning(), 20).test) == 2


FIVE = {"a": WORD} | {
    f"s{n}": {**WORD, "prompt": f"Say {{{{ q }}}} {{{{ {before} }}}} s{n}"}
    for n, before in enumerate(("a", "s1", "s2", "s3"), 1)
}


@pytest.mark.parametrize("calls", [400, 1000])
def test_of_the_calls_for_many_steps_each_gets_enough_to_try_something(calls: int) -> None:
    found, lm, _ = done(
        lambda _: "yes", parts(40, 40, 40, tuple(FIVE)), steps=FIVE, checks=as_expected(*FIVE), calls=calls
    )
    assert [sum(stage.tried for stage in report.stages) > 0 for report in found.reports] == [True] * 5
    assert len({str(request) for request in lm.requests}) <= calls


def test_calls_that_replies_which_do_not_fit_used_up_are_not_called_a_search() -> None:
    """Else the lock would say that nothing better was found."""
    with pytest.raises(PromptChainError, match="60 calls are too few"):
        done(lambda _: "what", parts(40, 10, 40), calls=60, optimizer="auto")


def test_without_a_number_there_is_what_is_of_use() -> None:
    many = parts(2, MOST_DEV, MOST_TEST)
    found = allowance(bench_of(ScriptedLM("x")), many, Tuning(), None)
    assert (len(found.dev), len(found.test)) == (MOST_DEV, MOST_TEST)
    assert found.reserve == MOST_DEV + 2 * MOST_TEST


def test_a_ceiling_half_way_is_raised_and_what_was_answered_is_not_asked_again(tmp_path: Any) -> None:
    lm = ScriptedLM(knows)
    for calls in (20, None):
        ledger = Ledger(CachedLM(lm, tmp_path / "responses.db"))
        bench = bench_of(ledger, budget=Budget(calls=calls))
        work = compile(Setup(bench, parts(), Tuning(optimizer="demos"), None, ledger))
        if calls is not None:
            with pytest.raises(BudgetError):
                asyncio.run(work)
            assert len(lm.requests) == calls
        else:
            assert asyncio.run(work).kept is None
        ledger.inner.close()
    assert len({str(request) for request in lm.requests}) == len(lm.requests)


# -- several steps -----------------------------------------------------------------------------------------------------

TWO = {"a": WORD, "b": {**WORD, "prompt": "Tell {{ q }}"}}


def only(step: str) -> Any:
    """Demos help one step; the other is wrong about y whatever it is shown."""
    return lambda request: knows(request) if text(request).startswith(step) or " x" in text(request) else "yes"


def test_the_joint_choice_takes_what_helps() -> None:
    found, _, told = done(data=parts(steps=("a", "b")), steps=TWO, checks=as_expected("a", "b"))
    assert told[1:] == ["a: demos", "b: demos", "all steps together", "the held-out examples"]
    assert sorted(found.variants) == ["a", "b"]
    assert found.test
    assert found.test.after == 1.0
    assert {name: compared.after for name, compared in found.by_step.items()} == {"a": 1.0, "b": 1.0}


def test_a_step_that_got_right_is_adopted_though_another_fails_the_same_rows() -> None:
    found, _, _ = done(only("Say"), parts(steps=("a", "b")), steps=TWO, checks=as_expected("a", "b"))
    assert (list(found.variants), found.kept) == (["a"], None)
    assert found.test
    assert (found.test.better, found.test.worse) == (0, 0)
    assert (found.by_step["a"].better, found.by_step["b"].better) == (5, 0)


def test_what_spoils_a_later_step_is_left_out_of_the_joint_choice() -> None:
    """Each of a and b gets right alone; but c goes wrong where b is right, so that the whole gains nothing by b."""

    def script(request: Request) -> str:
        asked, demos = text(request), "".join(message.content for message in request.messages[1:-1])
        if asked.startswith("Check"):
            return "no" if "Check no" in asked else "yes"
        own = " y" if asked.startswith("Say") else " w"
        return "no" if own in asked and own in demos else "yes"

    def rows(name: str) -> tuple[Any, ...]:
        expected = {"x": {"a": "yes", "b": "yes"}, "y": {"a": "no", "b": "yes"}, "w": {"a": "yes", "b": "no"}}
        return tuple(
            example(f"{kind}{name}{number}", expected={**gold, "c": "yes"})
            for number in range(5)
            for kind, gold in expected.items()
        )

    steps = {**TWO, "c": {**WORD, "prompt": "Check {{ b }} {{ q }}", "freeze": True}}
    found, _, _ = done(
        script, Parts(rows("train"), rows("dev"), rows("test")), steps=steps, checks=as_expected("a", "b", "c")
    )
    assert [report.chosen != "" for report in found.reports] == [True, True, False]
    assert list(found.variants) == ["a"]


@pytest.mark.parametrize(("rows", "adopted"), [(4, False), (5, True)])
def test_of_several_steps_one_is_better_by_chance_more_easily(rows: int, adopted: bool) -> None:
    steps = {**TWO, "c": {**WORD, "prompt": "Never {{ q }}"}}
    names = ("a", "b", "c")
    script = lambda request: knows(request) if not text(request).startswith("Never") else "yes"  # noqa: E731
    found, _, _ = done(script, parts(test=rows, steps=names), steps=steps, checks=as_expected(*names))
    assert found.by_step["a"].better == found.by_step["b"].better == rows
    assert (found.kept is None) is adopted


def test_a_steps_gain_is_not_bought_with_another_steps_loss() -> None:
    def script(request: Request) -> str:
        asked = text(request)
        if not asked.startswith("Tell"):
            return knows(request)
        return "yes" if "no" in asked and "test" in asked else "no" if " y" in asked else "yes"

    steps = {"a": WORD, "b": {**WORD, "prompt": "Tell {{ a }} {{ q }}", "freeze": True}}
    found, _, _ = done(script, parts(steps=("a", "b")), steps=steps, checks=as_expected("a", "b"))
    assert found.by_step["a"].better == found.by_step["b"].worse == 5
    assert (found.kept, found.variants) == ("no gain on the held-out examples (0 better, 0 worse of 10)", {})


def test_why_a_step_is_not_tuned() -> None:
    steps = {**TWO, "c": {**WORD, "freeze": True}, "d": "Nobody looks at {{ q }}"}
    bench = bench_of(ScriptedLM("x"), steps, as_expected("a", "b", "c"))
    found = targets(bench, Tuning(steps=("a", "c", "d")), part("dev", 1))
    assert found == {
        "a": "",
        "b": "not asked for",
        "c": "frozen",
        "d": "no assertion looks at it, or at what comes of it",
    }


def test_the_same_seed_is_the_same_and_another_may_not_be() -> None:
    data = parts(20)
    first, second = (done(data=data, seed=1)[0] for _ in range(2))
    assert (first.variants, first.reports) == (second.variants, second.reports)
    assert {str(done(data=data, seed=seed)[0].variants) for seed in range(4)} != {str(first.variants)}


def test_warnings_say_what_makes_the_result_worth_less() -> None:
    found, _, _ = done(
        data=Parts(*(tuple(e for e in p if e.id[0] == "y") for p in (part("t", 9), part("d", 9), part("e", 9))))
    )
    assert found.warnings == (
        "every example expects 'no' of step 'a': what is tuned on them knows no other",
        "only 9 examples are held out: a gain must be large to be seen",
    )
    assert done(data=parts(test=1))[0].warnings == (
        "only 2 of the examples are held out: nothing can be adopted with fewer than 4",
    )

"""The results of all examples in a few numbers."""

from __future__ import annotations

from typing import Any

import pytest

from promptchain.assertions.apply import Checked
from promptchain.assertions.protocol import Verdict
from promptchain.blame import Method
from promptchain.errors import Where
from promptchain.records import Status
from promptchain.results import ExampleResult, State, StepResult
from promptchain.statistics import share
from promptchain.summary import Summary, by_example, summarise
from tests.evaluate_kit import chain_of, check, plan_of

CHAIN = chain_of({"a": "A {{ q }}", "b": "B {{ a }}"})


def result(
    id: str, state: str = "passed", *, sample: int = 0, a: Any = None, b: Any = None, **rest: Any
) -> ExampleResult:
    """a, b: fields of the steps' results, or only whether they passed."""
    steps = {
        name: StepResult(Status.DONE, **(own if isinstance(own, dict) else {"passed": own}))
        for name, own in (("a", a), ("b", b))
    }
    score = rest.pop("score", None if state == "error" else float(state == "passed"))
    return ExampleResult(id, Where("rows.jsonl", 1), sample, State(state), score, rest.pop("checks", ()), steps, **rest)


def summary(*results: ExampleResult) -> Summary:
    return summarise(plan_of(CHAIN), results)


def test_nothing_at_all() -> None:
    found = summary()
    assert (found.examples, found.tries, found.chain, found.product, found.mean, found.p50) == (
        0,
        0,
        None,
        None,
        None,
        None,
    )
    assert (found.calls, found.cost, found.several) == (0, 0.0, 0.0)
    assert [step.score for step in found.steps] == [None, None]


def test_counts_and_scores() -> None:
    found = summary(
        result("1", a=True, b=True), result("2", "failed", a=True, b=False, first="b", score=0.5),
        result("3", "failed", a=False, b=False, first="a", score=0.0), result("4", "error", a=False),
    )  # fmt: skip
    assert (found.examples, found.tries, found.passed, found.failed, found.errors) == (4, 4, 1, 2, 1)
    assert found.chain == share([1, 0, 0])
    assert found.mean == share([1, 0.5, 0])
    first, second = found.steps
    assert (first.score, second.score) == (share([1, 1, 0]), share([1, 0, 0]))
    assert found.product == pytest.approx(2 / 3 * 1 / 3)
    assert [(step.blame, step.loss, step.method) for step in found.steps] == [
        (pytest.approx(1 / 3), 0.5, Method.FIRST_FAILURE)
    ] * 2


def test_a_step_that_nothing_is_said_of_has_no_numbers() -> None:
    found = summary(result("1", "failed", a=False, first="a"), result("2"))
    assert (found.steps[1].score, found.steps[1].blame, found.steps[1].loss, found.steps[1].method) == (None,) * 4
    assert found.product == 0.0  # of one step, which passed in none of the examples that say so


def test_blame_by_gold_is_counterfactual() -> None:
    found = summary(
        result("1", "failed", a={"passed": False, "mends": True, "gold": True}, b={"passed": False, "mends": False}),
        result("2", "failed", a={"passed": False, "mends": False, "gold": False}, b={"passed": False, "mends": False}),
        result("3", a={"passed": True, "gold": True}, b={"passed": True}),
        result("4", a={"passed": True, "gold": True}, b={"passed": True}),
    )
    first, second = found.steps
    assert (first.blame, first.loss, first.method) == (0.25, 0.5, Method.COUNTERFACTUAL)
    assert (second.blame, second.loss, second.method) == (0.0, 0.0, Method.COUNTERFACTUAL)
    assert (first.gold, second.gold, found.several) == (share([1, 0, 1, 1]), None, 0.5)


def test_without_a_failure_there_is_no_loss() -> None:
    found = summary(result("1", a=True, b=True))
    assert [(step.blame, step.loss) for step in found.steps] == [(0.0, None)] * 2


def test_repeats_are_means_over_an_example() -> None:
    found = summary(
        result("1", a=True), result("1", "failed", sample=1, a=False, first="a"), result("2", a=True),
        result("2", sample=1, a=True), result("3", "failed", a=False, first="a"),
        result("3", "failed", sample=1, a=False, first="a"), result("4"), result("4", "error", sample=1),
    )  # fmt: skip
    assert (found.examples, found.tries, found.flaky) == (4, 8, ("1",))
    assert found.chain == share([0.5, 1, 0, 1])
    assert found.steps[0].score == share([0.5, 1, 0])
    # blame and loss are of tries: an interval's n is of examples
    assert found.steps[0].blame == pytest.approx(3 / 7)


def test_what_was_spent_and_how_long_it_took() -> None:
    def each(seconds: float, cost: float | None, calls: int = 1, new: int = 0) -> dict[str, Any]:
        return {"seconds": seconds, "cost": cost, "tokens": 10, "calls": calls, "new_calls": new, "retries": calls - 1}

    found = summary(
        result("1", a=each(1.0, 0.25), b=each(2.0, 0.5, 2, 1), seconds=3.0),
        result("2", a=each(2.0, 0.25), b={}, seconds=4.0),
        result("3", "error", a=each(9.0, 0.25), seconds=9.0),
    )
    first, second = found.steps
    assert (first.calls, first.cost, first.tokens, first.retries, first.p50, first.p95) == (3, 0.75, 30, 0, 2.0, 9.0)
    assert (second.calls, second.new_calls, second.retries, second.p50) == (2, 1, 1, 2.0)
    assert (found.calls, found.new_calls, found.cost, found.p50, found.p95) == (5, 1, 1.25, 3.0, 4.0)
    unknown = summary(result("1", a=each(1.0, None), b=each(1.0, 0.5)))
    assert (unknown.cost, unknown.steps[0].cost, unknown.steps[1].cost) == (None, None, 0.5)


def checked(score: float | None, metric: str | None = None, missing: str | None = None, **rest: Any) -> Checked:
    said = None if score is None else Verdict(score == 1, score, "")
    return Checked(check("contains", "x", metric=metric, **rest), said, missing=missing)


def test_metrics_are_means_of_assertions_that_share_a_name() -> None:
    found = summary(
        result("1", checks=(checked(1.0, "m"), checked(0.5, "m"), checked(0.0, "other", weight=0), checked(0.0))),
        result("2", checks=(checked(0.0, "m"), checked(None, "m", "expected"))),
        result("3", "error", checks=(checked(0.0, "m"),)),
    )
    assert {name: mean.value for name, mean in found.metrics.items()} == {"m": 0.5, "other": 0.0}
    assert found.score_of("m") == found.metrics["m"]
    assert found.score_of("chain") == found.chain
    assert found.score_of("nowhere") is None
    named = summary(result("1", a=True, checks=(checked(0.0, "a"),)))
    assert named.score_of("a") == named.steps[0].score


def test_assertions_that_never_applied_are_told() -> None:
    on_step = check("equals", "{{ expected.a }}", step="a")
    on_output, used = check("equals", "{{ expected }}", output="o"), check("contains", "{{ expected.b }}")
    never, once = Checked(on_step, missing="expected.a"), Checked(used, missing="expected.b")
    found = summary(
        result("1", checks=(never, Checked(on_output, missing="expected"), once)),
        result("2", checks=(never, Checked(on_output, missing="expected"), Checked(used, Verdict(True, 1.0, "")))),
        result("3", checks=(never, Checked(on_output, missing="expected"), once)),
    )
    assert found.unused == ("equals on a: no row has expected.a", "equals on o: no row has expected")
    assert summary(result("1", checks=(Checked(on_step, error="x"),))).unused == ()


def test_means_by_example_keep_the_order() -> None:
    results = [result("b"), result("a", "failed"), result("b", "failed", sample=1)]
    assert list(by_example(results, lambda one: float(one.state is State.PASSED)).items()) == [("b", 0.5), ("a", 0.0)]


def ranked(score: float | None, type: str = "recall", **rest: Any) -> Checked:
    said = None if score is None else Verdict(score == 1, score, "")
    return Checked(check(type, "x", step="a", **rest), said, missing=None if said else "expected.pages")


def test_retrieval_is_told_apart_and_by_example() -> None:
    found = summary(
        result("1", checks=(ranked(1.0, k=2), ranked(0.5, "mrr", weight=0), checked(1.0, "m"))),
        result("1", "failed", sample=1, checks=(ranked(0.0, k=2), ranked(0.25, metric="mine"))),
        result("2", checks=(ranked(1.0, k=2), ranked(None, "mrr"))),
        result("3", "error", checks=(ranked(0.0, k=2),)),
    )
    assert found.retrieval == {"a recall@2": share([0.5, 1.0]), "a mrr": share([0.5]), "mine": share([0.25])}
    assert list(found.metrics) == ["m"]
    assert found.score_of("a recall@2") == found.retrieval["a recall@2"]
    assert found.score_of("mine") == found.retrieval["mine"]


def test_a_step_without_calls_has_its_time() -> None:
    found = summary(result("1", a={"seconds": 0.25}, b={"seconds": 0.0}))
    assert (found.steps[0].p50, found.steps[0].calls, found.steps[1].p50) == (0.25, 0, None)

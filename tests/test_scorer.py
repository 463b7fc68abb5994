"""What assertions say of one run: passed, failed, or not to be told; and how much each of them counts."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from promptchain import results, scorer
from promptchain.assertions.apply import Checked, apply
from promptchain.assertions.protocol import Subject
from promptchain.criteria import Assertion
from promptchain.errors import Fault, ModelError
from promptchain.lm.cache import CachedLM
from promptchain.lm.protocol import Response, Usage
from promptchain.lm.scripted import ScriptedLM
from promptchain.records import Call, Status, StepRun, ToolRun
from promptchain.results import ExampleResult, State
from promptchain.steps.workshop import Workshop
from tests.evaluate_kit import chain_of, check, example, grader_of, plan_of, try_one

ONE = chain_of({"a": "{{ q }}"})
TRUE, FALSE = check("contains", "o"), check("contains", "zzz")
BROKEN = check("python", "1 / 0")


def scored(*assertions: Assertion, reply: Any = "hello world", expected: Any = None, **row: Any) -> ExampleResult:
    lm = ScriptedLM([reply] if isinstance(reply, Exception) else reply)
    return try_one(ONE, lm, example(expected=expected, **row), assertions)


def said(result: ExampleResult) -> tuple[str, float | None]:
    return result.state.value, result.score


# -- three states ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("assertions", "state", "score"),
    [
        ([], "passed", 1.0),
        ([TRUE], "passed", 1.0),
        ([TRUE, FALSE], "failed", 0.5),
        ([BROKEN], "error", None),
        ([TRUE, BROKEN], "error", None),
        ([BROKEN, FALSE], "failed", 0.0),  # failed beats could-not-tell
        ([FALSE, BROKEN, TRUE], "failed", 0.5),
    ],
)
def test_failed_beats_not_told_beats_passed(assertions: list[Assertion], state: str, score: float | None) -> None:
    result = scored(*assertions)
    assert said(result) == (state, score)
    assert len(result.checks) == len(assertions)


def test_an_assertion_that_raises_says_why_and_the_rest_goes_on() -> None:
    result = scored(BROKEN, TRUE)
    first, second = result.checks
    assert (first.passed, second.passed) == (None, True)
    assert "division by zero" in (first.error or "").lower()
    assert (result.problem or "").startswith("python: ")
    assert (result.errors, result.failures) == ((first,), ())


def test_a_function_that_raises_is_told_by_the_last_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_checks.py").write_text("def broken(output, context):\n    raise KeyError('nowhere')\n")
    monkeypatch.chdir(tmp_path)
    result = scored(check("python", "own_checks:broken"), TRUE)
    assert (result.state, [one.passed for one in result.checks]) == (State.ERROR, [None, True])
    assert "KeyError" in (result.checks[0].error or "")
    assert "nowhere" in (result.checks[0].error or "")


@pytest.mark.parametrize(
    ("fault", "state"),
    [
        *((fault, "failed") for fault in (Fault.REFUSED, Fault.CONTEXT)),
        *((fault, "error") for fault in Fault if fault not in (Fault.REFUSED, Fault.CONTEXT)),
    ],
)
def test_a_call_that_fails_says_something_of_the_chain_or_nothing(fault: Fault, state: str) -> None:
    lm = ScriptedLM({"e1": ModelError("it is so", fault=fault, model="m")})
    result = try_one(ONE, lm, example(), [TRUE])
    assert result.state.value == state
    assert "it is so" in (result.problem or "")
    assert result.score == (0.0 if state == "failed" else None)
    assert result.steps["a"].passed is (False if state == "failed" else None)
    assert result.first == ("a" if state == "failed" else None)


def test_a_reply_that_does_not_fit_is_the_chains_failure() -> None:
    chain = chain_of({"a": {"prompt": "{{ q }}", "output": "integer", "retry": {"parse": 1}}})
    result = try_one(chain, ScriptedLM("no number"), example(), [check("equals", 3, step="a")])
    assert (result.state, result.first, result.score) == (State.FAILED, "a", 0.0)
    assert (result.steps["a"].status, result.steps["a"].retries, result.steps["a"].calls) == (Status.FAILED, 2, 2)


def test_replies_asked_for_again_are_counted_where_the_last_one_fits() -> None:
    chain = chain_of({"a": {"prompt": "{{ q }}", "output": "integer", "retry": {"parse": 2}}})
    result = try_one(chain, ScriptedLM(["no", "3"]), example(), [check("schema", step="a")])
    assert (result.state, result.steps["a"].retries) == (State.PASSED, 1)


def test_a_fault_beside_an_assertion_that_failed_is_still_no_score() -> None:
    chain = chain_of({"a": "A {{ q }}", "b": "B {{ q }}"})
    lm = ScriptedLM({"A": "hello", "B": ModelError("gone", fault=Fault.AUTH, model="m")})
    result = try_one(chain, lm, example(), [check("contains", "zzz", step="a")])
    assert (result.state, result.score, result.problem) == (State.ERROR, None, "step 'b' failed: gone")


def test_a_judge_that_answers_nonsense_is_an_error_of_its_assertion() -> None:
    lm = ScriptedLM({"e1": "hello", "Output": "nonsense", "output": "nonsense"})
    result = try_one(ONE, lm, example(), [check("llm-rubric", "is polite"), FALSE], judge="judge")
    assert (result.state, result.checks[0].passed) == (State.FAILED, None)
    assert "gave no verdict" in (result.checks[0].error or "")
    assert try_one(ONE, lm, example(), [check("llm-rubric", "is polite")], judge="judge").state is State.ERROR


def test_a_judge_whose_server_is_gone_says_the_fault() -> None:
    lm = ScriptedLM({"e1": "hello", "utput": ModelError("gone", fault=Fault.CONNECTION, model="judge")})
    [checked] = try_one(ONE, lm, example(), [check("llm-rubric", "is polite")], judge="judge").checks
    assert checked.fault is Fault.CONNECTION


# -- weights and thresholds --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("weights", "score"),
    [((1, 1), 0.5), ((3, 1), 0.75), ((1, 3), 0.25), ((0.5, 0.5), 0.5), ((2, 0), 1.0), ((0, 2), 0.0)],
)
def test_the_score_is_the_weighted_mean(weights: tuple[float, float], score: float) -> None:
    result = scored(check("contains", "o", weight=weights[0]), check("contains", "z", weight=weights[1]))
    assert said(result) == ("failed" if weights[1] else "passed", score)


@pytest.mark.parametrize("assertion", [check("contains", "zzz", weight=0), check("python", "1 / 0", weight=0)])
def test_without_weight_nothing_is_decided(assertion: Assertion) -> None:
    assert said(scored(assertion)) == ("passed", 1.0)
    assert said(scored(assertion, TRUE)) == ("passed", 1.0)
    assert scored(check("contains", "zzz", weight=0, step="a")).steps["a"].passed is None


@pytest.mark.parametrize(("threshold", "state"), [(0.5, "passed"), (0.51, "failed"), (0.0, "passed"), (1.0, "failed")])
def test_a_rows_threshold_decides_by_the_score(threshold: float, state: str) -> None:
    assert said(scored(TRUE, FALSE, threshold=threshold)) == (state, 0.5)


def test_a_rows_threshold_mends_no_run_that_failed() -> None:
    chain = chain_of({"a": "{{ q }}", "b": {"prompt": "B {{ q }}", "output": "integer", "retry": {"parse": 0}}})
    result = try_one(chain, ScriptedLM("no"), example(threshold=0.0), [check("contains", "n", step="a")])
    assert said(result) == ("failed", 1.0)


def test_a_rows_threshold_does_not_hide_what_could_not_be_told() -> None:
    assert said(scored(TRUE, BROKEN, threshold=0.5)) == ("error", None)
    assert said(scored(FALSE, BROKEN, threshold=0.5)) == ("failed", 0.0)


@pytest.mark.parametrize("assertion", [check("not-contains", "zzz"), check("not-equals", "x")])
def test_not_turns_a_verdict_round(assertion: Assertion) -> None:
    [checked] = scored(assertion).checks
    assert (checked.passed, checked.verdict and checked.verdict.score) == (True, 1.0)
    [checked] = scored(check("not-contains", "hello")).checks
    assert (checked.passed, checked.verdict and checked.verdict.score) == (False, 0.0)


def test_not_does_not_turn_an_error_round() -> None:
    assert scored(check("not-python", "1 / 0")).state is State.ERROR


# -- sets, transforms, templates ---------------------------------------------------------------------------------------


def of_set(*parts: Assertion, type: str = "assert-set", **rest: Any) -> Assertion:
    return Assertion(type=type, **{"assert": parts}, **rest)


@pytest.mark.parametrize(
    ("assertion", "state", "score"),
    [
        (of_set(TRUE, TRUE), "passed", 1.0),
        (of_set(TRUE, FALSE), "failed", 0.5),
        (of_set(TRUE, FALSE, threshold=0.5), "passed", 0.5),
        (of_set(TRUE, FALSE, threshold=0.6), "failed", 0.5),
        (of_set(check("contains", "o", weight=3), FALSE, threshold=0.7), "passed", 0.75),
        (of_set(TRUE, check("contains", "zzz", weight=0)), "passed", 1.0),
        (of_set(TRUE, BROKEN), "error", None),
        (of_set(FALSE, BROKEN), "failed", 0.0),
        (of_set(TRUE, BROKEN, threshold=0.5), "error", None),
        (of_set(TRUE, FALSE, BROKEN, threshold=0.6), "failed", 0.5),
        (of_set(TRUE, check("python", "1 / 0", weight=0)), "passed", 1.0),
        (of_set(TRUE, check("equals", "{{ expected }}")), "passed", 1.0),
        (of_set(TRUE, FALSE, type="not-assert-set"), "passed", 0.5),
        (of_set(TRUE, type="not-assert-set"), "failed", 0.0),
    ],
)
def test_sets(assertion: Assertion, state: str, score: float | None) -> None:
    assert said(scored(assertion)) == (state, score)


def test_a_set_whose_parts_do_not_apply_does_not_apply() -> None:
    [checked] = scored(of_set(check("equals", "{{ expected }}"))).checks
    assert (checked.missing, checked.counts) == ("expected", False)


def test_a_transform_changes_what_is_looked_at() -> None:
    [first, second] = scored(
        check("equals", "HELLO", transform="{{ output | upper }}"),
        check("equals", 3, transform="{{ output | length }}"),
        reply="hello",
    ).checks
    assert (first.passed, second.passed) == (True, False)
    [checked] = scored(check("equals", "x", transform="{{ nowhere }}")).checks
    assert (checked.passed, "in its transform" in (checked.error or "")) == (None, True)


def test_templates_name_inputs_steps_columns_and_what_is_expected() -> None:
    chain = chain_of({"a": "A {{ q }}", "b": "B {{ a }}"}, outputs={"one": "{{ a }}", "two": "{{ b }}"})
    lm = ScriptedLM({"A e1": "first", "B first": "first second e1 gold meta"})
    parts = ["{{ a }}", "{{ q }}", "{{ expected.b }}", "{{ tag }}", "{{ outputs.one }} second"]
    assertions = [check("contains", part, step="b") for part in parts]
    result = try_one(chain, lm, example(expected={"b": "gold"}, beside={"tag": "meta"}), assertions)
    assert [one.passed for one in result.checks] == [True] * len(parts)


# -- what does not apply -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected", "missing"),
    [
        ("{{ expected }}", None, "expected"),
        ("{{ expected.a }}", None, "expected.a"),
        ("{{ expected.a }}", {"b": 1}, "expected.a"),
        (["x", "{{ expected.a }}"], {"b": 1}, "expected.a"),
        ("{{ expected.a }}", {"a": "hello"}, None),
        ("{{ expected }}", "hello", None),
        ("{{ expected.a | default('hello') }}", {"b": 1}, None),
        ("expected", None, None),
    ],
)
def test_a_value_that_the_row_does_not_have(value: Any, expected: Any, missing: str | None) -> None:
    [checked] = scored(check("contains-any", value), expected=expected).checks
    assert (checked.missing, checked.passed is None) == (missing, missing is not None)
    assert checked.error is None


def test_what_does_not_apply_decides_nothing() -> None:
    result = scored(check("equals", "{{ expected }}", step="a", weight=9), TRUE)
    assert (said(result), result.steps["a"].passed) == (("passed", 1.0), None)
    assert said(scored(check("equals", "{{ expected }}"), FALSE)) == ("failed", 0.0)


def test_an_expected_null_is_a_value() -> None:
    chain = chain_of({"a": {"prompt": "{{ q }}", "output": {"n?": "integer"}}})
    result = try_one(
        chain, ScriptedLM("{}"), example(expected={"a": None}), [check("equals", "{{ expected.a }}", step="a")]
    )
    assert result.checks[0].missing is None
    assert result.state is State.FAILED


def test_an_example_that_no_assertion_applies_to_is_not_checked() -> None:
    chain, gone = chain_of({"a": "A", "b": "B"}), check("equals", "{{ expected.c }}", step="a")
    result = try_one(chain, ScriptedLM("x"), example(), [gone, check("equals", "{{ expected.d }}", step="b")])
    assert (said(result), result.scored) == (("unchecked", None), False)
    assert result.problem == "no assertion applies: no expected.c, no expected.d"
    result = try_one(chain, ScriptedLM("x"), example(), [gone, check("equals", "x", step="b")])
    assert (said(result), result.scored) == (("passed", 1.0), True)
    assert said(try_one(chain, ScriptedLM("x"), example(), [])) == ("passed", 1.0)


def test_a_step_that_was_skipped_is_not_judged() -> None:
    chain = chain_of({"a": {"prompt": "A", "when": "{{ q == 'yes' }}"}, "b": "B {{ a | default('') }}"})
    result = try_one(chain, ScriptedLM("x"), example("no"), [check("equals", "y", step="a")])
    assert (said(result), result.problem) == (("unchecked", None), "no assertion applies: step 'a' was skipped")
    result = try_one(chain, ScriptedLM("x"), example("yes"), [check("equals", "y", step="a")])
    assert result.state is State.FAILED


def test_an_assertion_on_a_step_that_a_version_lacks_does_not_apply() -> None:
    result = scored(check("equals", "x", step="gone"))
    assert (result.state, result.problem) == (State.UNCHECKED, "no assertion applies: no step 'gone'")


def test_a_step_that_did_not_run_fails_its_assertions() -> None:
    chain = chain_of({"a": {"prompt": "A", "output": "integer", "retry": {"parse": 0}}, "b": "B {{ a }}"})
    result = try_one(chain, ScriptedLM("x"), example(), [check("not-contains", "zzz", step="b"), FALSE])
    assert [one.passed for one in result.checks] == [False, False]
    assert (result.first, result.steps["b"].passed) == ("a", None)


# -- outputs -----------------------------------------------------------------------------------------------------------


def test_outputs_by_name_the_only_one_or_all() -> None:
    two = chain_of({"a": "A", "b": "B"}, outputs={"x": "{{ a }}", "y": "{{ b }}"})
    lm = ScriptedLM({"A": "one", "B": "two"})
    [first, second, third] = try_one(
        two, lm, example(), [check("equals", "one", output="x"), check("equals", "two", output="x"),
                             check("equals", {"x": "one", "y": "two"})],
    ).checks  # fmt: skip
    assert [first.passed, second.passed, third.passed] == [True, False, True]
    [only] = scored(check("equals", "hello world")).checks
    assert only.passed is True


def test_an_output_that_was_made_is_judged_though_the_run_failed() -> None:
    chain = chain_of(
        {"a": "A", "b": {"prompt": "B", "output": "integer", "retry": {"parse": 0}}},
        outputs={"x": "{{ a }}", "y": "{{ b }}"},
    )
    result = try_one(
        chain, ScriptedLM({"A": "one", "B": "no"}), example(),
        [check("equals", "one", output="x"), check("not-equals", 1, output="y")],
    )  # fmt: skip
    assert ([one.passed for one in result.checks], result.state) == ([True, False], State.FAILED)


# -- what an answer took -----------------------------------------------------------------------------------------------


def test_latency_cost_and_tokens_are_those_of_the_answer_also_from_the_cache(tmp_path: Path) -> None:
    model = ScriptedLM([Response("hello", usage=Usage(5, 2), cost=0.25, latency=1.5)], identity="x")
    limits = [("latency", 1400, 1600), ("cost", 0.2, 0.3), ("tokens", 6, 8)]
    assertions = [check(kind, threshold=limit, step="a") for kind, *both in limits for limit in both]
    assertions += [part.model_copy(update={"step": None}) for part in assertions]
    for cached in (False, True):
        lm = CachedLM(model, tmp_path / "cache.db")
        result = try_one(ONE, lm, example(), assertions)
        lm.close()
        assert [one.passed for one in result.checks] == [False, True] * 6
        step = result.steps["a"]
        assert (step.calls, step.new_calls, step.cost, step.tokens) == (1, 0 if cached else 1, 0.25, 7)
        assert step.seconds == result.seconds == 1.5
    assert len(model.requests) == 1


def test_seconds_are_along_the_longest_way() -> None:
    chain = chain_of({"a": "A", "b": "B", "c": "C {{ a }} {{ b }}", "d": {"prompt": "D", "for_each": "[1, 2]"}})
    lm = ScriptedLM({
        "A": Response("x", latency=1.0), "B": Response("x", latency=2.0), "C": Response("x", latency=0.5),
        "D": Response("x", latency=0.75),
    })  # fmt: skip
    result = try_one(chain, lm, example(), [])
    assert (result.seconds, result.steps["d"].seconds, result.steps["d"].calls) == (2.5, 0.75, 2)


def test_a_step_without_a_model_takes_its_own_time(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text("import time\n\ndef wait(q: str) -> str:\n    time.sleep(0.05)\n    return q\n")
    (tmp_path / "chains").mkdir()
    (tmp_path / "chains/a.md").write_text("# A\n\nwords\n")
    find = {"retrieve": {"from": "*.md", "query": "words"}}
    chain = chain_of(
        {
            "a": {"python": "slow:wait", "inputs": {"q": "{{ q }}"}},
            "b": find,
            "c": {"prompt": "C", "when": False},
            "d": "D {{ a }}",
        }
    )
    lm = ScriptedLM({"D": Response("x", latency=1.0)})
    found = try_one(chain, lm, example(), [check("latency", threshold=40, step="a")], workshop=Workshop(tmp_path))
    assert 0.05 <= found.steps["a"].seconds < 60
    assert found.steps["b"].seconds > 0
    assert (found.steps["c"].seconds, found.steps["d"].seconds) == (0.0, 1.0)
    assert found.seconds == pytest.approx(1.0 + found.steps["a"].seconds)
    assert [each.passed for each in found.checks] == [False]
    assert [found.steps[name].calls for name in "abcd"] == [0, 0, 0, 1]


def test_a_chain_in_a_chain_takes_the_longest_way_through_it() -> None:
    inner = chain_of({"a": "A", "b": "B", "c": "C {{ a }} {{ b }}"}, name="inner", outputs={"c": "{{ c }}"})
    chain = chain_of({"i": {"chain": "inner", "inputs": {"q": "{{ q }}"}}}).with_chains({"inner": inner})
    lm = ScriptedLM({
        "A": Response("x", latency=1.0, cost=0.25), "B": Response("x", latency=2.0, cost=0.0),
        "C": Response("x", latency=0.5, cost=0.0),
    })  # fmt: skip
    found = try_one(chain, lm, example(), [])
    assert (found.state, found.steps["i"].seconds, found.steps["i"].calls) == (State.PASSED, 2.5, 3)
    assert (found.steps["i"].cost, found.seconds) == (0.25, 2.5)


def test_calls_of_tools_of_one_turn_are_side_by_side() -> None:
    call = Call(model="m", seconds=1.0)
    tools = [ToolRun(name="t", turn=turn, seconds=seconds) for turn, seconds in ((1, 0.25), (1, 0.5), (2, 0.125))]
    step = StepRun(status=Status.DONE, calls=(call, call), tools=tuple(tools), seconds=9.0)
    assert results.seconds(step) == 2.625


# -- a step's own assertions, which are applied while it runs ----------------------------------------------------------


def test_what_its_own_assertion_fails_has_failed_and_tells_its_tries() -> None:
    own = check("contains", "card")
    chain = chain_of({"a": {"prompt": "{{ q }}", "assert": [own], "retry": {"assert": 1}}, "b": "B {{ a }}"})
    checks = (own.model_copy(update={"step": "a"}), check("contains", "x", step="b"))
    failed = try_one(chain, ScriptedLM(["no", "neither"]), example(), checks)
    assert (failed.state, failed.first, failed.steps["a"].passed) == (State.FAILED, "a", False)
    assert (failed.steps["a"].status, failed.steps["a"].calls, failed.steps["a"].retries) == (Status.FAILED, 2, 2)
    assert [each.passed for each in failed.checks] == [False, False]
    mended = try_one(chain, ScriptedLM(["no", "a card", "x"]), example(), checks)
    assert (mended.state, mended.steps["a"].passed, mended.steps["a"].retries) == (State.PASSED, True, 1)


@pytest.mark.parametrize("where", [{"prompt": "{{ q }}"}, {"python": "given:text", "inputs": {"q": "{{ q }}"}}])
def test_a_judge_that_cannot_be_asked_is_no_failure_of_the_step(where: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "given.py").write_text("def text(q: str) -> str:\n    return q\n")
    own = check("llm-rubric", "kind", provider="judge/x")
    dead = ModelError("no quota", fault=Fault.AUTH, model="judge/x")
    lm = ScriptedLM(lambda request: "hello" if request.model == "m" else dead)
    chain = chain_of({"a": {**where, "assert": [own]}})
    found = try_one(chain, lm, example(), [own.model_copy(update={"step": "a"})], workshop=Workshop(tmp_path))
    assert (found.state, found.steps["a"].passed, found.steps["a"].status) == (State.ERROR, None, Status.FAILED)
    assert "no quota" in str(found.problem)


def test_an_unknown_price_is_no_price() -> None:
    lm = ScriptedLM(Response("x", cost=None))
    result = try_one(ONE, lm, example(), [check("cost", threshold=1)])
    assert (result.state, result.steps["a"].cost) == (State.ERROR, None)


def test_apply_raises_nothing_for_a_value_of_the_wrong_kind() -> None:
    lm = ScriptedLM("x")

    async def go() -> Checked:
        return await apply(check("contains-any", {"a": 1}), Subject("x"), grader_of(lm))

    checked = asyncio.run(go())
    assert checked.passed is None
    assert checked.error


@pytest.mark.parametrize(
    ("asked", "steps"),
    [
        (("python", "checks:look"), {"a", "b"}),
        (("webhook", "http://h"), {"a", "b"}),
        (("python", "len(output)"), {"a"}),
    ],
)
def test_code_of_the_projects_own_may_look_at_every_step(asked: tuple[str, str], steps: set[str]) -> None:
    plan = plan_of(chain_of({"a": "A {{ q }}", "b": "B {{ q }}"}, outputs={"a": "{{ a }}"}))
    assert scorer.looked_at(plan, [check(*asked)]) == steps

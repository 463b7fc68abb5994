"""A step's own assertions while it runs: what fails them is asked for again, falls back, or fails the step."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from promptchain.errors import Fault, ModelError
from promptchain.events import StepRetried
from promptchain.lm.budget import Budget
from promptchain.lm.protocol import Finish, Request, Response, Usage
from promptchain.lm.scripted import Rule, ScriptedLM
from promptchain.records import Run, Status
from tests.steps.kit import NATIVE, Folder, asks

FIVE = {"type": "contains", "value": "five"}
REASON = "it should contain 'five'"


def priced(text: str, **more: Any) -> Response:
    return Response(text, usage=Usage(10, 1), cost=1.0, **more)


# -- the model is asked again ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("tries", "status"), [(0, Status.FAILED), (1, Status.FAILED), (2, Status.DONE)])
def test_the_reason_goes_back_to_the_model(folder: Folder, tries: int, status: Status) -> None:
    events: list[Any] = []
    lm = ScriptedLM(["one", "four", "five"])
    run = folder.once({"prompt": "go", "assert": [FIVE], "retry": {"assert": tries}}, lm, observe=events.append)
    step = run.steps["a"]
    assert (run.status, step.value) == (status, "five" if status is Status.DONE else None)
    assert (len(step.calls), run.totals.calls) == (tries + 1, tries + 1)
    assert [call.reply for call in step.calls] == ["one", "four", None][: tries + 1]
    assert [bool(call.error) for call in step.calls] == [True, True, False][: tries + 1]
    assert len([event for event in events if isinstance(event, StepRetried)]) == tries
    if tries:
        assert [m.content for m in lm.requests[1].messages[-2:]] == [
            "one", f"That reply cannot be used: {step.calls[0].error}. Reply again, in the form asked for."
        ]  # fmt: skip
    if status is Status.FAILED:
        assert str(step.error).startswith(REASON)


def test_replies_that_do_not_fit_are_counted_apart(folder: Folder) -> None:
    step = {"prompt": "go", "output": "integer", "assert": [{"type": "python", "value": "output > 4"}]}
    lm = ScriptedLM(["x", "3", "y", "5"])
    done = folder.once({**step, "retry": {"assert": 1, "parse": 2}}, lm).steps["a"]
    assert (done.value, len(done.calls)) == (5, 4)
    assert (
        folder.once({**step, "retry": {"assert": 1, "parse": 1}}, ScriptedLM(["x", "3", "y"])).steps["a"].value is None
    )
    assert folder.once({**step, "retry": {"assert": 0, "parse": 2}}, ScriptedLM(["x", "3"])).steps["a"].value is None


def test_all_reasons_are_said(folder: Folder) -> None:
    both = [FIVE, {"type": "regex", "value": "^[A-Z]"}]
    step = folder.once({"prompt": "go", "assert": both}, ScriptedLM(["four"])).steps["a"]
    assert str(step.error).startswith(REASON)
    assert "; " in str(step.error)


@pytest.mark.parametrize(
    "silent",
    [
        {**FIVE, "weight": 0},
        {"type": "equals", "value": "{{ expected.a }}"},
        {"type": "equals", "value": "{{ expected }}"},
        {"type": "assert-set", "assert": [{"type": "equals", "value": "{{ expected.a }}"}]},
    ],
)
def test_what_only_measures_or_compares_with_what_is_expected_is_silent(folder: Folder, silent: dict[str, Any]) -> None:
    run = folder.once({"prompt": "go", "assert": [silent]}, ScriptedLM(["four"]))
    assert (run.status, run.steps["a"].value) == (Status.DONE, "four")


def test_an_assertion_sees_what_the_step_sees(folder: Folder) -> None:
    both = [{"type": "equals", "value": "{{ a }}-{{ q }}"}]
    folder.chain("two", {"a": "go", "b": {"prompt": "{{ a }}", "assert": both}}, model="m", inputs={"q": "string"})
    assert folder.run("two", ScriptedLM(["x", "x-y"]), {"q": "y"}).status is Status.DONE
    assert folder.run("two", ScriptedLM(["x", "x-z"]), {"q": "y"}).status is Status.FAILED


def test_tools_go_on_after_a_reply_that_does_not_pass(folder: Folder) -> None:
    folder.code("def f(): return 'five'")
    step = {"prompt": "go", "tools": ["code:f"], "assert": [FIVE], "retry": {"assert": 1}}
    lm = ScriptedLM(["four", asks(("f", {})), "five"], capabilities=NATIVE)
    done = folder.once(step, lm).steps["a"]
    assert (done.value, [tool.name for tool in done.tools]) == ("five", ["f"])
    assert lm.requests[1].tools


# -- the other kinds ---------------------------------------------------------------------------------------------------


def test_a_function_is_called_again(folder: Folder) -> None:
    folder.code("n = 0\ndef count():\n    global n\n    n += 1\n    return n\n")
    more = {"type": "python", "value": "output > 2"}
    events: list[Any] = []
    step = {"python": "code:count", "assert": [more], "retry": {"assert": 1}}
    run = folder.once(step, ScriptedLM([]), observe=events.append)
    assert (run.status, len([event for event in events if isinstance(event, StepRetried)])) == (Status.FAILED, 1)
    assert folder.once(step, ScriptedLM([])).steps["a"].value == 3


def test_a_chain_is_run_again_and_all_its_calls_count(folder: Folder) -> None:
    folder.chain("inner", {"x": "say"}, model="m")
    step = {"chain": "inner", "assert": [{"type": "python", "value": "output['x'] == 'five'"}], "retry": {"assert": 2}}
    run = folder.once(step, ScriptedLM([priced("one"), priced("two"), priced("five")]))
    assert run.steps["a"].value == {"x": "five"}
    assert run.steps["a"].run is not None
    assert (run.totals.calls, run.totals.cost) == (3, 3.0)
    run = folder.once({**step, "retry": {"assert": 1}}, ScriptedLM([priced("one"), priced("two")]))
    assert (run.status, run.totals.calls, run.totals.cost) == (Status.FAILED, 2, 2.0)
    assert run.steps["a"].run is not None


@pytest.mark.parametrize(("threshold", "status"), [(0.5, Status.FAILED), (2, Status.DONE)])
def test_what_a_chain_cost_can_be_asserted(folder: Folder, threshold: float, status: Status) -> None:
    folder.chain("inner", {"x": "say"}, model="m")
    step = {"chain": "inner", "assert": [{"type": "cost", "threshold": threshold}]}
    assert folder.once(step, ScriptedLM([priced("one")])).status is status


def test_items_are_asked_again_each_for_itself(folder: Folder) -> None:
    step = {"prompt": "{{ item }}", "for_each": "{{ ['five', 'four'] }}", "assert": [FIVE], "retry": {"assert": 1}}
    lm = ScriptedLM({"That reply": "now five", "five": "five", "four": "four"})
    run = folder.once(step, lm)
    assert run.steps["a"].value == ["five", "now five"]
    assert [len(item.calls) for item in run.steps["a"].items] == [1, 2]
    folder.code("def f(n): return n")
    step = {"python": "code:f", "inputs": {"n": "{{ item }}"}, "for_each": {"in": "{{ [1, 2] }}", "on_error": "skip"},
            "assert": [{"type": "equals", "value": "{{ index }}"}]}  # fmt: skip
    done = folder.once(step, ScriptedLM([])).steps["a"]
    assert done.value == [None, None]
    assert done.warnings[0].startswith("2 of 2 items failed, and are null; item 1: ")


# -- judges ------------------------------------------------------------------------------------------------------------

KIND = {"type": "llm-rubric", "value": "is kind", "provider": "judge"}


def verdict(passed: bool) -> Response:
    return Response(f'{{"pass": {str(passed).lower()}, "score": {int(passed)}, "reason": "it is curt"}}',
                    usage=Usage(7, 3), cost=0.5)  # fmt: skip


def of_models(**replies: list[Any]) -> ScriptedLM:
    """Each model has its own replies, in order."""
    waiting = {model: iter(given) for model, given in replies.items()}
    return ScriptedLM(lambda request: next(waiting[request.model]))


@pytest.mark.parametrize("kind", ["prompt", "python", "chain"])
def test_what_a_judge_asks_is_in_the_record(folder: Folder, kind: str) -> None:
    folder.code("def f(): return 'Hello'")
    folder.chain("inner", {"x": "say"}, model="m")
    step = {"prompt": {"prompt": "go"}, "python": {"python": "code:f"}, "chain": {"chain": "inner"}}[kind]
    lm = of_models(m=[priced("Hello"), priced("Hello!")], judge=[verdict(False), verdict(True)])
    run = folder.once({**step, "assert": [KIND], "retry": {"assert": 1}}, lm)
    judged = [call for call in run.steps["a"].calls if call.model == "judge"]
    assert (run.status, len(judged)) == (Status.DONE, 2)
    paid = 0.0 if kind == "python" else 2.0
    assert (run.totals.calls, run.totals.cost) == (2 + paid, paid + 1.0)
    if kind == "prompt":
        assert "it is curt" in next(r for r in lm.requests[2:] if r.model == "m").messages[-1].content


def test_a_judge_is_held_to_the_ceilings(folder: Folder) -> None:
    lm = of_models(m=[priced("Hello")], judge=[verdict(True)])
    run = folder.once({"prompt": "go", "assert": [KIND]}, lm, budget=Budget(calls=1))
    assert "--max-calls 1 leaves no room" in str(run.error)
    assert run.totals.calls == 1
    folder.code("def f(): return 'Hello'")
    run = folder.once({"python": "code:f", "assert": [KIND]}, of_models(judge=[]), budget=Budget(calls=0))
    assert "--max-calls 0 leaves no room" in str(run.error)


@pytest.mark.parametrize("kind", ["prompt", "python", "chain"])
def test_a_judge_that_cannot_tell_fails_the_step(folder: Folder, kind: str) -> None:
    folder.code("def f(): return 'Hello'")
    folder.chain("inner", {"x": "say"}, model="m")
    step = {"prompt": {"prompt": "go", "fallbacks": [{"model": "m2", "on": ["assertion", "error"]}]},
            "python": {"python": "code:f"}, "chain": {"chain": "inner"}}[kind]  # fmt: skip
    down = ModelError("no such key", fault=Fault.AUTH, model="judge")
    run = folder.once({**step, "assert": [KIND], "retry": {"assert": 3}}, of_models(m=[priced("Hello")], judge=[down]))
    assert run.error == (
        "step 'a' failed: its assertion 'llm-rubric' could not be told: the judge judge failed: no such key"
    )
    assert run.totals.calls == (1 if kind == "python" else 2)  # what was paid for is told
    assert (run.steps["a"].run is not None) is (kind == "chain")


def test_without_a_judge_the_step_says_so(folder: Folder) -> None:
    run = folder.once({"prompt": "go", "assert": [{"type": "llm-rubric", "value": "is kind"}]}, ScriptedLM("x"))
    assert "no model is named as one" in str(run.error)


# -- fallbacks ---------------------------------------------------------------------------------------------------------

FILTERED = Response("", finish=Finish.FILTER, usage=Usage(10, 0), cost=1.0)
DOWN = ModelError("no such key", fault=Fault.AUTH, model="m")
ENDS = {"assertion": "four", "refusal": FILTERED, "error": DOWN}


@pytest.mark.parametrize("order", [*itertools.permutations(["assertion", "refusal", "error"])])
@pytest.mark.parametrize("end", [*ENDS])
def test_a_fallback_is_for_what_it_says(folder: Folder, order: tuple[str, ...], end: str) -> None:
    def reply(request: Request) -> Any:
        return ENDS[end] if request.model == "m" else f"five of {request.model}"

    fallbacks = [{"model": name, "on": [name]} for name in order]
    run = folder.once({"prompt": "go", "assert": [FIVE], "fallbacks": fallbacks}, ScriptedLM(reply))
    fit = {"assertion": {"assertion"}, "refusal": {"refusal", "error"}, "error": {"error"}}[end]
    first = next(name for name in order if name in fit)
    assert run.steps["a"].value == f"five of {first}"
    assert [call.model for call in run.steps["a"].calls] == ["m", first]


def test_fallbacks_begin_anew_and_end_with_the_last_error(folder: Folder) -> None:
    step = {"prompt": "go", "assert": [FIVE], "retry": {"assert": 1},
            "fallbacks": [{"model": "m2", "on": ["assertion"]}, {"model": "m3", "on": ["refusal"]}]}  # fmt: skip
    lm = of_models(m=["one", "two"], m2=["three", "four"])
    run = folder.once(step, lm)
    assert [call.model for call in run.steps["a"].calls] == ["m", "m", "m2", "m2"]
    assert [len(request.messages) for request in lm.requests] == [1, 3, 1, 3]
    assert str(run.steps["a"].error).startswith(REASON)


def test_a_run_with_failed_assertions_reads_back(folder: Folder) -> None:
    run = folder.once({"prompt": "go", "assert": [FIVE]}, ScriptedLM([Rule("four", always=True)]))
    assert Run.model_validate_json(run.model_dump_json()) == run

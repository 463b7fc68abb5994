"""Several samples of a prompt step, and which of them is taken."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promptchain import binding, plan, runner
from promptchain.chain import Chain
from promptchain.errors import Fault, ModelError
from promptchain.events import StepRetried, StepText
from promptchain.lm.budget import Budget
from promptchain.lm.cache import CachedLM
from promptchain.lm.calls import Caller
from promptchain.lm.protocol import Request, Response, Usage
from promptchain.lm.scripted import Rule, ScriptedLM
from promptchain.records import Run, Status, StepRun
from promptchain.steps import samples
from tests.patience import soon
from tests.steps.kit import NATIVE, Folder, asks


def by_sample(*replies: Any, more: Any = "x") -> ScriptedLM:
    """Answers the n-th sample with the n-th reply."""
    return ScriptedLM(lambda request: replies[request.sample] if request.sample < len(replies) else more)


def drawn(folder: Folder, replies: list[Any], step: dict[str, Any] | None = None, **options: Any) -> StepRun:
    whole = {"prompt": "go", "samples": len(replies), **(step or {})}
    return folder.once(whole, by_sample(*replies), **options).steps["a"]


PAIR = {"a": "integer", "b": "string"}

# -- majority ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("replies", "output", "value"),
    [
        (["a", "b", "b"], None, "b"),
        (["b", "a", "a", "b"], None, "b"),  # of equals the one that came up first
        (["no", "Yes", "yes ", "  YES", "no"], None, "Yes"),
        (["one two", "three", "One\n two"], None, "one two"),
        (["1", "2", "2"], "integer", 2),
        (["1", "2.0", "2"], "number", 2.0),
        (['{"a": 1, "b": "X"}', '{"b": "Y", "a": 1}', '{"b": "x", "a": 1}'], PAIR, {"a": 1, "b": "X"}),
        (['["a", "b"]', '["b", "a"]', '["b", "A"]'], {"type": "array", "items": {"type": "string"}}, ["b", "a"]),
        (["true", "false", "yes"], "boolean", True),
    ],
)  # fmt: skip
def test_majority(folder: Folder, replies: list[str], output: Any, value: Any) -> None:
    step = drawn(folder, replies, {"output": output} if output else {})
    assert (step.status, step.value) == (Status.DONE, value)
    assert type(step.value) is type(value)
    assert [call.sample for call in step.calls] == [*range(len(replies))]


@settings(deadline=None)
@given(
    st.lists(
        st.sampled_from(["a", "A ", "b", "c", "d", 1, 1.0, True, None, [1], [1.0], {"a": "b"}, {"a": "B"}]),
        min_size=1,
        max_size=12,
    )
)
def test_the_majority_is_a_draw_that_no_other_outnumbers(values: list[Any]) -> None:
    def same(one: Any, other: Any) -> bool:
        return samples._key(one) == samples._key(other)

    done = [samples.Outcome(value, reasoning=str(index)) for index, value in enumerate(values)]
    chosen = asyncio.run(samples._chosen(samples._MAJORITY, done, None))  # type: ignore[arg-type]
    votes = Counter(samples._key(value) for value in values)
    assert chosen in done
    assert votes[samples._key(chosen.value)] == max(votes.values())
    most = (index for index, value in enumerate(values) if votes[samples._key(value)] == max(votes.values()))
    assert chosen is done[next(most)]
    assert same(True, 1) is False
    assert same(1, 1.0)


def test_the_reasoning_is_that_of_the_one_that_is_taken(folder: Folder) -> None:
    replies = ["Three.\nAnswer: 3", "Four.\nAnswer: 4", "Also four.\nAnswer: 4"]
    step = drawn(folder, replies, {"output": "integer", "reasoning": True})
    assert (step.value, step.reasoning) == (4, "Four.")


class Together(ScriptedLM):
    """Answers once so many are asked at once as a caller lets through."""

    met = 0

    async def complete(self, request: Request, on_text: Any = None) -> Response:
        answer = await super().complete(request, on_text)
        await soon(lambda: len(self.requests) >= 16)
        self.met += 1
        return answer


def test_all_are_drawn_side_by_side_and_not_streamed(folder: Folder) -> None:
    events: list[Any] = []
    lm = Together("x y z")
    folder.once({"prompt": "go", "samples": 20}, lm, stream=True, observe=events.append)
    assert lm.met == 20
    assert not [event for event in events if isinstance(event, StepText)]
    assert sorted(request.sample for request in lm.requests) == [*range(20)]


# -- samples that cannot be used ---------------------------------------------------------------------------------------

BROKEN = ModelError("no such key", fault=Fault.AUTH, model="m")


def test_samples_that_fail_are_left_out(folder: Folder) -> None:
    step = drawn(folder, [BROKEN, "7", BROKEN], {"output": "integer"})
    assert (step.value, step.warnings) == (7, ("2 of 3 samples could not be used",))
    assert [bool(call.error) for call in step.calls] == [True, False, True]


def test_where_all_fail_the_step_does(folder: Folder) -> None:
    step = drawn(folder, [BROKEN] * 3, {"output": "integer"})
    assert (step.error, step.fault) == ("none of 3 samples could be used; the first: no such key", Fault.AUTH)
    assert [call.sample for call in step.calls] == [0, 1, 2]


def test_a_ceiling_that_is_reached_fails_the_step(folder: Folder) -> None:
    run = folder.once({"prompt": "go", "samples": 5}, ScriptedLM("x", delay=0.01), budget=Budget(calls=3))
    step = run.steps["a"]
    assert "--max-calls 3 leaves no room" in str(step.error)
    assert run.totals.calls == len(step.calls) <= 3


# -- first_passing -----------------------------------------------------------------------------------------------------

FIVE = {"select": "first_passing", "assert": [{"type": "contains", "value": "five"}]}


def test_the_first_that_passes_is_taken_and_no_more_are_drawn(folder: Folder) -> None:
    events: list[Any] = []
    step = drawn(folder, ["one", BROKEN, "now five", "also five"], FIVE, observe=events.append)
    assert (step.value, len(step.calls)) == ("now five", 3)
    assert [(call.sample, bool(call.error)) for call in step.calls] == [(0, True), (1, True), (2, False)]
    assert [event.reason for event in events if isinstance(event, StepRetried)] == [step.calls[0].error, "no such key"]


def test_where_none_passes_the_step_fails_with_the_last_reason(folder: Folder) -> None:
    events: list[Any] = []
    step = drawn(folder, ["one", "two"], FIVE, observe=events.append)
    assert str(step.error).startswith("none of 2 samples passes; the last: it should contain 'five'")
    assert len([event for event in events if isinstance(event, StepRetried)]) == 1


# -- best --------------------------------------------------------------------------------------------------------------

LONG = {"type": "python", "value": "min(1, len(output) / 10)"}


def test_the_best_by_an_assertion(folder: Folder) -> None:
    step = drawn(folder, ["aaa", "aaaaaa", "bbbbbb", "aaaaa"], {"select": {"best": LONG}})
    assert step.value == "aaaaaa"  # the first of equals


def test_the_best_by_its_own_assertions(folder: Folder) -> None:
    asserts = [{"type": "contains", "value": "a", "weight": 3}, {"type": "contains", "value": "b"}]
    step = drawn(folder, ["b", "c", "ab", "a"], {"select": "best", "assert": asserts})
    assert step.value == "ab"
    step = drawn(folder, ["b", "c", "a"], {"select": "best", "assert": asserts})
    assert str(step.error).startswith("the best of 3 samples does not pass: ")
    assert len(step.calls) == 3


def test_the_best_by_one_assertion_must_still_pass_the_others(folder: Folder) -> None:
    step = drawn(folder, ["aaaa", "bb"], {"select": {"best": LONG}, "assert": [{"type": "contains", "value": "b"}]})
    assert "does not pass: it should contain 'b'" in str(step.error)


RUBRIC = {"select": {"best": {"type": "llm-rubric", "value": "is kind", "provider": "judge"}}}


def of_judge(scores: dict[str, Any]) -> ScriptedLM:
    """Samples that say their number, and a judge that gives each its score."""

    def reply(request: Request) -> Any:
        if request.model != "judge":
            return Response(f"number {request.sample}", usage=Usage(1, 1), cost=1.0)
        text = "\n".join(message.content for message in request.messages)
        return next(score for name, score in scores.items() if name in text)

    return ScriptedLM(reply)


def said(score: float) -> Response:
    return Response(f'{{"pass": true, "score": {score}, "reason": "so"}}', usage=Usage(2, 2), cost=0.25)


def test_the_best_by_a_judge(folder: Folder) -> None:
    lm = of_judge({"number 0": said(0.2), "number 1": said(0.9), "number 2": said(0.5)})
    run = folder.once({"prompt": "go", "samples": 3, **RUBRIC}, lm)
    step = run.steps["a"]
    assert step.value == "number 1"
    assert [(call.model, call.sample) for call in step.calls] == [
        ("m", 0), ("judge", 0), ("m", 1), ("judge", 1), ("m", 2), ("judge", 2)
    ]  # fmt: skip
    assert (run.totals.calls, run.totals.cost) == (6, 3.75)


def test_a_judge_that_cannot_tell_fails_the_step_and_ends_the_others(folder: Folder) -> None:
    lm = of_judge({"number 0": BROKEN, "number 1": said(0.9), "number 2": said(0.5)})
    run = folder.once({"prompt": "go", "samples": 3, **RUBRIC}, lm)
    assert "its assertion 'llm-rubric' could not be told: the judge judge failed: no such key" in str(run.error)
    assert run.totals.calls >= 4


# -- all ---------------------------------------------------------------------------------------------------------------


def test_all_gives_a_list(folder: Folder) -> None:
    folder.chain("one", {
        "a": {"prompt": "go", "output": "integer", "samples": 3, "select": "all"}, "b": "{{ a | sum }} of {{ a[0] }}"
    }, model="m")  # fmt: skip
    lm = ScriptedLM(lambda request: str(request.sample + 1) if request.messages[-1].content == "go" else "ok")
    run = folder.run("one", lm)
    assert (run.steps["a"].value, lm.requests[-1].messages[-1].content) == ([1, 2, 3], "6 of 1")


@pytest.mark.parametrize(
    ("template", "fault"),
    [("{{ a.n }}", "'a' has no field 'n'"), ("{% for x in a %}{{ x.m }}{% endfor %}", "no field 'm'")],
)
def test_all_is_checked_as_a_list(folder: Folder, template: str, fault: str) -> None:
    a = {"prompt": "go", "output": {"n": "integer"}, "samples": 3, "select": "all"}
    folder.chain("one", {"a": a, "b": template}, model="m")
    with pytest.raises(Exception, match=fault):
        folder.load("one")
    folder.chain("one", {"a": a, "b": "{% for x in a %}{{ x.n }}{% endfor %}"}, model="m")
    folder.load("one")


# -- draws are kept apart ----------------------------------------------------------------------------------------------


def test_no_two_draws_of_repeats_are_one_in_a_cache(folder: Folder, tmp_path: Path) -> None:
    folder.chain("one", {"a": {"prompt": "go", "samples": 3}}, model="m")
    asked: list[int] = []

    def reply(request: Request) -> str:
        asked.append(request.sample)
        return "x"

    lm = CachedLM(ScriptedLM(reply), tmp_path / "cache.db")
    bound = folder.bind("one", lm)  # type: ignore[arg-type]

    async def go() -> list[Run]:
        return [await runner.run(bound.sampled(repeat), {}, Caller(lm)) for repeat in (0, 1, 2, 0)]

    try:
        runs = asyncio.run(go())
    finally:
        lm.close()
    assert sorted(asked) == [*range(9)]
    assert [call.cached for run in runs for call in run.steps["a"].calls] == [False] * 9 + [True] * 3


def test_draws_of_chains_within_are_kept_apart_too(folder: Folder) -> None:
    folder.chain("inner", {"x": "deep"}, model="m")
    folder.chain("one", {"a": {"chain": "inner"}, "b": {"prompt": "go", "tools": [{"chain": "inner"}]}}, model="m")
    lm = ScriptedLM(
        [Rule("x", contains="deep"), asks(("inner", {})), Rule("y", always=True)],
        capabilities=NATIVE,
    )
    folder.run("one", lm, sample=4)
    assert {request.sample for request in lm.requests} == {4}
    assert len(lm.requests) == 4


def test_tools_of_all_samples_are_recorded(folder: Folder) -> None:
    folder.code("def f(n: int): return n")

    def reply(request: Request) -> Any:
        called = any(message.role == "tool" for message in request.messages)
        return f"{request.sample}" if called else asks(("f", {"n": request.sample}))

    step = folder.once(
        {"prompt": "go", "samples": 3, "tools": ["code:f"], "select": {"best": {"type": "equals", "value": "1"}}},
        ScriptedLM(reply, capabilities=NATIVE),
    ).steps["a"]
    assert step.value == "1"
    assert sorted((tool.sample, tool.value) for tool in step.tools) == [(0, 0), (1, 1), (2, 2)]
    assert len(step.calls) == 6


@pytest.mark.parametrize(
    ("step", "fault"),
    [
        ({"select": "majority"}, "nothing to select from with one sample"),
        ({"samples": 3, "params": {"temperature": 0}}, "at temperature 0 all 3 samples are the same"),
        ({"samples": 3, "select": "best"}, "nothing tells which sample is meant by 'best'"),
        ({"samples": 3, "select": "first_passing"}, "nothing tells which sample is meant by 'first_passing'"),
        ({"samples": 3, "select": {"best": {"type": "nope"}}}, "nope"),
        ({"samples": 0}, "samples"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_at_once(folder: Folder, step: dict[str, Any], fault: str) -> None:
    folder.chain("one", {"a": {"prompt": "go", **step}}, model="m")
    with pytest.raises(Exception, match=fault):
        folder.load("one")


def test_a_run_in_for_each_draws_for_each_item(folder: Folder) -> None:
    chain = Chain.model_validate(
        {"name": "c", "model": "m", "steps": {"a": {"prompt": "{{ item }}", "samples": 3, "for_each": "{{ [1, 2] }}"}}}
    )
    lm = ScriptedLM(lambda request: request.messages[-1].content)
    run = asyncio.run(runner.run(binding.bind(plan.build(chain), lm), {}, Caller(lm)))
    assert run.steps["a"].value == ["1", "2"]
    assert [len(item.calls) for item in run.steps["a"].items] == [3, 3]


# -- what the record tells ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("select", "taken"), [("majority", 1), ({"best": {"type": "contains", "value": "b"}}, 1), ("all", None)]
)
def test_the_record_says_which_sample_was_taken_and_keeps_what_all_said(
    folder: Folder, select: Any, taken: int | None
) -> None:
    step = drawn(folder, ["a", "b", "b"], {"select": select})
    assert step.sample == taken
    assert [call.reply for call in step.calls] == ["a", "b", "b"]


def test_the_record_of_a_single_draw_names_no_sample(folder: Folder) -> None:
    step = folder.once({"prompt": "go"}, ScriptedLM(["a"])).steps["a"]
    assert "sample" not in step.model_dump()
    assert step.calls[0].reply is None

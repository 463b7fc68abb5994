"""Chains as steps of chains: loaded with them, run in them, recorded with them."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from promptchain import plan, runner
from promptchain.chain import ChainStep, PromptStep
from promptchain.errors import Fault, InvalidFileError, ModelError
from promptchain.events import StepEnded, StepStarted, StepText
from promptchain.lm.budget import Budget
from promptchain.lm.calls import Caller
from promptchain.lm.protocol import Request, Response, Usage
from promptchain.lm.scripted import Rule, ScriptedLM
from promptchain.models import Models
from promptchain.records import Run, Status
from tests.steps.kit import NATIVE, Folder, asks, echo


def echoing() -> ScriptedLM:
    return ScriptedLM(lambda request: f"<{request.messages[-1].content}>")


@pytest.fixture
def two(folder: Folder) -> Folder:
    """`outer` runs `inner` on its message."""
    folder.chain("inner", {"x": "x {{ message }}", "y": "y {{ x }}"}, inputs={"message": "string", "n?": "integer"})
    folder.chain(
        "outer", {"a": {"chain": "inner"}, "b": "b {{ a.y }}"}, model="m", inputs={"message": "string"},
    )  # fmt: skip
    return folder


def said(folder: Folder, name: str) -> str:
    with pytest.raises(InvalidFileError) as caught:
        folder.load(name)
    return str(caught.value)


# -- values ------------------------------------------------------------------------------------------------------------


def test_a_chain_gives_its_outputs_as_a_mapping(two: Folder) -> None:
    run = two.run("outer", echoing(), {"message": "hi"})
    step = run.steps["a"]
    assert (step.value, run.outputs) == ({"y": "<y <x hi>>"}, {"b": "<b <y <x hi>>>"})
    assert step.run is not None
    assert (step.run.chain, list(step.run.steps), step.run.inputs) == (
        "inner",
        ["x", "y"],
        {"message": "hi", "n": None},
    )
    assert (step.calls, run.totals.calls) == ((), 3)
    assert step.run.source == two.load("inner").content_id
    assert Run.model_validate_json(run.model_dump_json()) == run


def test_inputs_are_of_their_very_types(two: Folder) -> None:
    inputs = {"message": "{{ n }} items", "n": "{{ n + 1 }}"}
    steps = {"n": {"prompt": "n", "output": "integer"}, "a": {"chain": "inner", "inputs": inputs}}
    two.chain("outer", steps, model="m")
    run = two.run("outer", ScriptedLM([Rule("4", contains="whole number"), Rule("x", always=True)]))
    assert run.steps["a"].run is not None
    assert run.steps["a"].run.inputs == {"message": "4 items", "n": 5}


def test_an_input_that_does_not_fit_fails_the_step(two: Folder) -> None:
    two.chain("outer", {"a": {"chain": "inner", "inputs": {"message": "{{ 5 }}"}}}, model="m")
    step = two.run("outer", echoing()).steps["a"]
    assert str(step.error).startswith("input 'message': 5 is not ")
    assert step.calls == ()


def test_steps_wait_for_the_steps_in_the_inputs(two: Folder) -> None:
    two.chain(
        "outer", {"a": {"chain": "inner"}, "message": "say", "n": {"prompt": "n", "output": "integer"}}, model="m"
    )
    chain = two.load("outer")
    assert plan.build(chain).nodes["a"].after == {"message", "n"}
    step = chain.steps["a"]
    assert isinstance(step, ChainStep)
    assert step.inputs == {"message": "{{ message }}", "n": "{{ n }}"}


@pytest.mark.parametrize("when", [True, False])
def test_when(two: Folder, when: bool) -> None:
    two.chain("outer", {"a": {"chain": "inner", "inputs": {"message": "x"}, "when": str(when).lower()},
                        "b": "b {{ (a or {}).y | default('none') }}"}, model="m")  # fmt: skip
    run = two.run("outer", echoing())
    assert run.steps["a"].status is (Status.DONE if when else Status.SKIPPED)
    assert run.outputs == {"b": "<b <y <x x>>>" if when else "<b none>"}


def test_for_each(two: Folder) -> None:
    step = {"chain": "inner", "for_each": {"in": "{{ ['p', 'q'] }}", "as": "message"}}
    two.chain("outer", {"a": step, "b": "{% for one in a %}{{ one.y }} {% endfor %}"}, model="m")
    run = two.run("outer", echoing())
    assert run.steps["a"].value == [{"y": "<y <x p>>"}, {"y": "<y <x q>>"}]
    assert [item.run.inputs["message"] for item in run.steps["a"].items if item.run] == ["p", "q"]
    assert run.totals.calls == 5


def test_for_each_goes_on_where_it_may(two: Folder) -> None:
    two.chain("outer", {"a": {"chain": "inner", "for_each": {"in": "{{ ['p', 'q'] }}", "on_error": "skip"},
                              "inputs": {"message": "{{ item }}"}}}, model="m")  # fmt: skip
    down = ModelError("no such key", fault=Fault.AUTH, model="m")
    step = two.run("outer", ScriptedLM({"x p": down, "x q": "X", "y": "Y"})).steps["a"]
    assert step.value == [None, {"y": "Y"}]
    assert step.items[0].run is not None
    assert step.items[0].fault is Fault.AUTH


# -- failures ----------------------------------------------------------------------------------------------------------


def test_a_step_that_fails_is_named_with_both_chains(two: Folder) -> None:
    down = ModelError("no such key", fault=Fault.AUTH, model="m", hint="set one")
    run = two.run("outer", ScriptedLM({"x ": "X", "y X": down}), {"message": "hi"})
    assert (run.error, run.hint) == ("step 'a' failed: in the chain 'inner': step 'y' failed: no such key", "set one")
    step = run.steps["a"]
    assert step.run is not None
    assert (step.fault, step.run.steps["x"].value) == (Fault.AUTH, "X")
    assert (run.steps["b"].status, run.totals.calls) == (Status.BLOCKED, 2)


def test_a_ceiling_that_is_reached_within(two: Folder) -> None:
    run = two.run("outer", echoing(), {"message": "hi"}, budget=Budget(calls=1))
    assert str(run.error).startswith("step 'a' failed: in the chain 'inner': step 'y' failed: --max-calls 1 leaves no")
    assert run.totals.calls == 1


def test_a_chain_that_takes_too_long(two: Folder) -> None:
    two.chain("outer", {"a": {"chain": "inner", "timeout": 0.05, "inputs": {"message": "hi"}}}, model="m")
    lm = ScriptedLM([Rule("X", contains="x hi"), Rule("Y", contains="y X", delay=60)])
    run = two.run("outer", lm)
    step = run.steps["a"]
    assert (step.error, step.seconds < 30) == ("the chain 'inner' took longer than 0.05 s", True)
    assert step.run is not None
    assert (step.run.steps["x"].value, step.run.steps["y"].status) == ("X", Status.INTERRUPTED)
    assert run.totals.calls == 1


def test_a_run_that_is_interrupted_within_is_recorded(two: Folder) -> None:
    lm = ScriptedLM(
        [Rule(Response("X", usage=Usage(3, 1), cost=1.0), contains="x "), Rule("Y", contains="y", delay=30)]
    )
    bound, records = two.bind("outer", lm), list[Run]()

    async def go() -> None:
        task: asyncio.Task[Any] | None = None

        def observe(event: Any) -> None:
            if event.step == "a.y" and task:
                task.cancel()

        task = asyncio.create_task(
            runner.run(bound, {"message": "hi"}, Caller(lm), observe=observe, record=records.append)
        )
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(go())
    (record,) = records
    inner = record.steps["a"].run
    assert inner is not None
    assert (record.status, inner.status, inner.steps["x"].value) == (Status.INTERRUPTED, Status.INTERRUPTED, "X")
    assert (record.totals.calls, record.totals.cost) == (1, 1.0)


def test_events_are_named_after_the_outer_step(two: Folder) -> None:
    two.chain("top", {"t": {"chain": "outer", "inputs": {"message": "hi"}}}, model="m")
    events: list[Any] = []
    two.run("top", echoing(), observe=events.append, stream=True)
    started = [event.step for event in events if isinstance(event, StepStarted)]
    assert started == ["t", "t.a", "t.a.x", "t.a.y", "t.b"]
    assert Counter(event.step for event in events if isinstance(event, StepEnded)) == Counter(started)
    assert {event.step for event in events if isinstance(event, StepText)} == {"t.a.x", "t.a.y", "t.b"}


def test_events_of_chains_that_run_side_by_side_can_be_told_apart(two: Folder) -> None:
    both = {"chain": "inner", "inputs": {"q": "{{ item }}"}, "for_each": "{{ ['u', 'v'] }}"}
    tooled = {"prompt": "go", "tools": [{"chain": "inner", "name": "look"}]}
    two.chain("inner", {"x": "{{ q }}"}, inputs={"q": "string"})
    two.chain("top", {"e": both, "t": tooled}, model="m")
    twice = asks(("look", {"q": "r"}), ("look", {"q": "s"}))

    def reply(request: Request) -> Any:
        return twice if echo(request) == "go" else "done" if request.messages[-1].role == "tool" else echo(request) * 3

    events: list[Any] = []
    two.run("top", ScriptedLM(reply, delay=0.01, capabilities=NATIVE), observe=events.append, stream=True)
    texts: dict[str, str] = {}
    for event in events:
        if isinstance(event, StepText):
            texts[event.step] = texts.get(event.step, "") + event.text
    assert texts == {"e[0].x": "uuu", "e[1].x": "vvv", "t.x": "rrr", "t#2.x": "sss", "t": "done"}


def test_warnings_of_the_chain_are_told(two: Folder) -> None:
    two.chain("inner", {"x": {"prompt": "x", "for_each": {"in": "{{ [1] }}", "on_error": "skip"}}})
    two.chain("outer", {"a": {"chain": "inner"}}, model="m")
    down = ModelError("no such key", fault=Fault.AUTH, model="m")
    assert two.run("outer", ScriptedLM([down])).steps["a"].warnings == (
        "x: 1 of 1 items failed, and are null; item 1: no such key",
    )


# -- models ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("inner", "models", "used"),
    [
        (None, Models(last="last"), ["outer", "outer"]),
        ("own", Models(last="last"), ["own", "outer"]),
        ("own", Models(default="given", last="last"), ["given", "given"]),
        (None, Models(default="given"), ["given", "given"]),
        (None, Models(steps={"b": "single"}), ["outer", "single"]),
    ],
)
def test_which_model_a_chain_within_runs_on(folder: Folder, inner: str | None, models: Models, used: list[str]) -> None:
    folder.chain("inner", {"x": "x"}, **({"model": inner} if inner else {}))
    folder.chain("outer", {"a": {"chain": "inner"}, "b": "b {{ a }}"}, model="outer")
    lm = echoing()
    folder.run("outer", lm, models=models)
    assert [request.model for request in lm.requests] == used
    assert set(folder.bind("outer", lm, models).models) == set(used)


# -- loading -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chains", "first", "fault"),
    [
        ({"a": ["a"]}, "a", "chains/a.yaml:3:12: the chain runs itself: a → a; break the circle at one of them"),
        ({"a": ["b"], "b": ["a"]}, "a", "the chain runs itself: a → b → a"),
        ({"t": ["a"], "a": ["b"], "b": ["a"]}, "t", "the chain runs itself: a → b → a"),
        ({"a": ["innr"], "inner": []}, "a", "chains/a.yaml:3:12: there is no chain 'innr'; did you mean 'inner'?"),
        ({"a": ["b@v3"], "b": []}, "a", "a step runs a chain as it stands beside this one, not a version"),
        ({"a": ["../b"], "b": []}, "a", "there is no chain '../b'"),
    ],
)
def test_chains_that_cannot_be_run(folder: Folder, chains: dict[str, list[str]], first: str, fault: str) -> None:
    for name, others in chains.items():
        steps: dict[str, Any] = {f"s{index}": {"chain": other} for index, other in enumerate(others)}
        folder.chain(name, steps or {"x": "x"})
    assert fault in said(folder, first)


def test_a_tool_that_runs_its_own_chain_is_a_circle(folder: Folder) -> None:
    folder.chain("a", {"x": {"prompt": "x", "tools": [{"chain": "a"}]}})
    assert "the chain runs itself: a → a" in said(folder, "a")


def test_a_diamond_is_none(folder: Folder) -> None:
    folder.chain("base", {"x": "base"})
    folder.chain("left", {"l": {"chain": "base"}})
    folder.chain("right", {"r": {"chain": "base"}})
    folder.chain("top", {"a": {"chain": "left"}, "b": {"chain": "right"}}, model="m")
    chain = folder.load("top")
    assert sorted(each.name for each in chain.used_chains()) == ["base", "left", "right"]
    assert folder.run("top", echoing()).outputs == {"a": {"l": {"x": "<base>"}}, "b": {"r": {"x": "<base>"}}}


@pytest.mark.parametrize("deep", [20, 21])
def test_chains_are_nested_at_most_20_deep(folder: Folder, deep: int) -> None:
    for level in range(deep - 1):
        folder.chain(f"c{level}", {"a": {"chain": f"c{level + 1}"}})
    folder.chain(f"c{deep - 1}", {"a": "x"}, model="m")
    if deep == 20:
        run = folder.run("c0", echoing())
        assert (run.status, run.totals.calls) == (Status.DONE, 1)
        assert Run.model_validate_json(run.model_dump_json()) == run
    else:
        assert "chains are nested more than 20 deep" in said(folder, "c0")


def test_however_a_chain_is_reached_it_is_not_nested_too_deep(folder: Folder) -> None:
    """One that is loaded already may yet be too deep below another."""
    for level in range(25):
        folder.chain(f"c{level}", {"a": {"chain": f"c{level + 1}"}} if level < 24 else {"a": "x"}, model="m")
    folder.chain("top", {"low": {"chain": "c10"}, "high": {"chain": "c0"}}, model="m")
    assert "chains are nested more than 20 deep" in said(folder, "top")


def test_a_broken_chain_within_names_both_files(two: Folder) -> None:
    (two.root / "chains/inner.yaml").write_text("steps:\n  a:\n    promt: x\n  b:\n    prompt: '{{ z }}'\n")
    text = said(two, "outer")
    assert text.startswith(
        "chains/outer.yaml:3:12: the chain 'inner' has problems: chains/inner.yaml:3:5: unknown key 'promt'"
    )
    assert "(and 1 more)" in text
    assert "chain check inner" in text
    two.chain("top", {"a": {"chain": "outer", "inputs": {"message": "x"}}})
    assert said(two, "top").startswith("chains/top.yaml:3:12: the chain 'outer' has problems: chains/inner.yaml:3:5: ")


@pytest.mark.parametrize(
    ("inputs", "fault"),
    [
        ({"n": 3}, "chains/outer.yaml:3:12: the chain 'inner' needs the input 'message'; inputs: {message: "),
        ({"message": "x", "mesage": "y"}, "the chain 'inner' has no input 'mesage'; did you mean 'message'?"),
        ({"message": "{{ nowhere }}"}, "unknown input or step 'nowhere'"),
        (None, "the chain 'inner' needs the input 'message'; no input or step is called so"),
    ],
)
def test_inputs_are_checked_before_anything_runs(two: Folder, inputs: Any, fault: str) -> None:
    two.chain("outer", {"a": {"chain": "inner", **({"inputs": inputs} if inputs else {})}})
    assert fault in said(two, "outer")


@pytest.mark.parametrize(
    ("template", "fault"),
    [
        ("{{ a.z }}", "'a' has no field 'z'; known fields: y"),
        ("{{ a.y.z }}", None),
        ("{{ reasoning.a }}", "keeps no reasoning"),
    ],
)
def test_fields_of_a_chain_are_checked(two: Folder, template: str, fault: str | None) -> None:
    two.chain("outer", {"a": {"chain": "inner"}, "b": template}, inputs={"message": "string"})
    if fault:
        assert fault in said(two, "outer")
    else:
        two.load("outer")


# -- what a chain is ---------------------------------------------------------------------------------------------------


def test_a_chain_is_another_where_one_in_it_is_another(two: Folder) -> None:
    before, content = two.load("outer"), two.load("outer").content_id
    assert two.load("outer") == before
    assert two.load("outer").content_id == content
    two.chain("inner", {"x": "z {{ message }}", "y": "y {{ x }}"}, inputs={"message": "string", "n?": "integer"})
    after = two.load("outer")
    assert after != before
    assert after.content_id != content


def test_a_changed_chain_forgets_what_it_was(two: Folder) -> None:
    chain = two.load("outer")
    content = chain.content_id
    step = chain.steps["b"]
    assert isinstance(step, PromptStep)
    assert step.type.describe() == "string"
    typed = step.model_copy(update={"output": "integer"})
    assert typed.type.describe() == "integer"
    other = chain.with_step("b", typed)
    assert other.content_id != content
    assert other.chains == chain.chains
    assert other.with_step("b", step) == chain
    assert other.with_step("b", step).content_id == content
    assert chain.with_chains({"inner": two.load("inner")}).content_id == content
    assert chain.model_copy(update={"inputs": {"q": "string"}}).input_type.required == ("q",)


def test_the_messages_of_a_chain_are_of_its_own_inputs(two: Folder) -> None:
    lm = echoing()
    two.run("outer", lm, {"message": "hi"})
    assert [echo(request) for request in lm.requests] == ["x hi", "y <x hi>", "b <y <x hi>>"]

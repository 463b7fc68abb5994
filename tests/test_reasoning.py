"""`{{ reasoning.step }}`: what a step thought, in the templates of later steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from promptchain import plan, replay
from promptchain.errors import InvalidFileError
from promptchain.lm.scripted import Rule, ScriptedLM
from promptchain.records import Status
from tests.steps.kit import Folder, echo

THINKS = {"prompt": "think", "reasoning": True, "output": "integer"}


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def said(folder: Folder, steps: dict[str, Any], **rest: Any) -> str:
    folder.chain("c", steps, **rest)
    with pytest.raises(InvalidFileError) as caught:
        folder.load("c")
    return str(caught.value)


def asked(folder: Folder, steps: dict[str, Any], *replies: str | Rule, **inputs: Any) -> str:
    """What the last request asks."""
    folder.chain("c", steps, model="m", inputs=dict.fromkeys(inputs, "string"))
    lm = ScriptedLM([*replies, Rule("ok", always=True)])
    run = folder.run("c", lm, inputs)
    assert run.status is Status.DONE, run.error
    return echo(lm.requests[-1])


def test_a_later_step_sees_what_a_step_thought(folder: Folder) -> None:
    steps = {"b": "{{ a }} for: {{ reasoning.a }}", "a": THINKS}
    assert asked(folder, steps, "It is odd.\nAnswer: 3") == "3 for: It is odd."


def test_it_is_an_edge_by_itself(folder: Folder) -> None:
    folder.chain("c", {"b": "why: {{ reasoning.a }}", "a": THINKS, "d": "{{ reasoning['a'] }}"})
    nodes = plan.build(folder.load("c")).nodes
    assert list(nodes) == ["a", "b", "d"]
    assert [nodes[name].after for name in "bd"] == [{"a"}, {"a"}]
    assert asked(folder, {"b": "why: {{ reasoning.a }}", "a": THINKS}, "Odd.\nAnswer: 3") == "why: Odd."


def test_a_step_that_failed_blocks_and_one_that_was_skipped_is_null(folder: Folder) -> None:
    folder.chain("c", {"a": THINKS, "b": "why: {{ reasoning.a }}"}, model="m")
    run = folder.run("c", ScriptedLM("nothing"))
    assert run.steps["b"].status is Status.BLOCKED
    steps = {"a": {**THINKS, "when": "false"}, "b": "why: {{ reasoning.a | default('nothing', true) }}"}
    assert asked(folder, steps) == "why: nothing"


def test_of_items_it_is_a_list(folder: Folder) -> None:
    steps = {
        "a": {**THINKS, "prompt": "{{ item }}", "for_each": "{{ ['p', 'q'] }}"},
        "b": "{{ reasoning.a[1] }}, {{ reasoning.a | length }}",
    }
    replies = (Rule("P.\nAnswer: 1", contains="p"), Rule("Q.\nAnswer: 2", contains="q"))
    folder.chain("c", steps, model="m")
    lm = ScriptedLM(lambda request: {"p": replies[0].reply, "q": replies[1].reply}.get(echo(request), "ok"))
    folder.run("c", lm)
    assert echo(lm.requests[-1]) == "Q., 2"


def test_of_no_items_it_is_an_empty_list(folder: Folder) -> None:
    steps = {"a": {**THINKS, "for_each": "{{ [] }}"}, "b": "{{ reasoning.a | length }}"}
    assert asked(folder, steps) == "0"


@pytest.mark.parametrize(
    ("template", "fault"),
    [
        ("{{ reasoning.aa }}", "unknown step 'aa'; did you mean 'a'?"),
        ("{{ reasoning.plain }}", "step 'plain' keeps no reasoning; give it `reasoning: true`"),
        ("{{ reasoning }}", "'reasoning' is of single steps; for example {{ reasoning.reply }}"),
        ("{{ reasoning.b }}", "step 'b' uses its own reasoning; it can use only steps before it"),
        ("{{ reasonin.a }}", "unknown input or step 'reasonin'"),
    ],
)
def test_what_is_wrong_is_told_before_anything_runs(folder: Folder, template: str, fault: str) -> None:
    text = said(folder, {"a": THINKS, "plain": "x", "b": template})
    assert fault in text
    assert text.startswith("chains/c.yaml:")


def test_two_that_wait_for_each_others_thoughts_are_a_circle(folder: Folder) -> None:
    steps = {"a": {**THINKS, "prompt": "{{ reasoning.b }}"}, "b": {**THINKS, "prompt": "{{ reasoning.a }}"}}
    assert "the steps wait for each other: a → b → a" in said(folder, steps)


def test_an_input_of_that_name_goes_before(folder: Folder) -> None:
    assert asked(folder, {"a": THINKS, "b": "{{ a }} {{ reasoning }}"}, "X.\nAnswer: 3", reasoning="mine") == "3 mine"


def test_a_step_of_that_name_goes_before(folder: Folder) -> None:
    assert asked(folder, {"reasoning": "x", "b": "{{ reasoning }}"}, "thought") == "thought"


def test_a_step_called_so_that_thinks_hides_the_others(folder: Folder) -> None:
    text = said(folder, {"a": THINKS, "reasoning": "x", "b": "{{ reasoning.a }}"})
    assert "'reasoning' has no field 'a'" in text


def test_outputs_see_it_too(folder: Folder) -> None:
    folder.chain("c", {"a": THINKS}, model="m", outputs={"why": "{{ reasoning.a }}"})
    assert folder.run("c", ScriptedLM("Odd.\nAnswer: 3")).outputs == {"why": "Odd."}


def test_outputs_of_a_chain_that_failed_leave_it_out(folder: Folder) -> None:
    folder.chain("c", {"a": THINKS, "b": "x"}, model="m", outputs={"why": "{{ reasoning.a }}", "b": "{{ b }}"})
    run = folder.run("c", ScriptedLM(lambda request: "ok" if echo(request) == "x" else "nothing"))
    assert (run.outputs, run.status) == ({"b": "ok"}, Status.FAILED)
    assert str(run.error).startswith("step 'a' failed")
    folder.chain("c", {"a": {**THINKS, "when": False}, "b": "x"}, model="m", outputs={"why": "{{ reasoning.a }}"})
    assert folder.run("c", ScriptedLM("ok")).outputs == {"why": None}


def test_in_when_and_for_each(folder: Folder) -> None:
    steps = {"a": THINKS, "b": {"prompt": "x", "when": "'Odd' in reasoning.a"}}
    folder.chain("c", steps, model="m")
    for thought, status in (("Odd", Status.DONE), ("Even", Status.SKIPPED)):
        lm = ScriptedLM([f"{thought}.\nAnswer: 3", "ok"])
        assert folder.run("c", lm).steps["b"].status is status


def test_a_field_of_an_input_of_that_name_is_no_edge(folder: Folder) -> None:
    folder.chain(
        "c", {"a": {**THINKS, "prompt": "{{ reasoning.a }}"}}, inputs={"reasoning": {"a": "string"}}, model="m"
    )
    lm = ScriptedLM("X.\nAnswer: 3")
    assert folder.run("c", lm, {"reasoning": {"a": "mine"}}).status is Status.DONE
    assert echo(lm.requests[-1]) == "mine"


def test_a_replay_takes_thoughts_over(folder: Folder) -> None:
    steps = {
        "a": {**THINKS, "prompt": "{{ item }}", "for_each": "{{ ['p', 'q'] }}"},
        "b": {**THINKS, "prompt": "b"},
        "c": "{{ reasoning.a | join(' ') }} {{ reasoning.b }}",
    }
    folder.chain("c", steps, model="m")
    first = folder.run("c", ScriptedLM(lambda request: f"{echo(request).upper()}.\nAnswer: 3"))
    lm = ScriptedLM("ok")
    again = folder.run("c", lm, given=replay.given(plan.build(folder.load("c")), first, "c"))
    assert [echo(request) for request in lm.requests] == ["P. Q. B."]
    assert again.totals.calls == 1

"""`chain test`: what it prints, what it compares with, and how it ends."""

from __future__ import annotations

import json
import re
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.cli.test_live import on_terminal
from tests.loopback import Loopback
from tests.patience import at_rest, until
from tests.workspace import CHAIN, Workspace

TESTED = """
model: MODEL
inputs: {message: string}
steps:
  intent:
    prompt: "Classify: {{ message }}"
    output: [card, refund]
  reply:
    prompt: "Reply to {{ intent }}: {{ message }}"
test:
  dataset: rows.jsonl
  assert:
    - {step: intent, type: equals, value: "{{ expected.intent }}", metric: sorted}
    - {step: reply, type: contains, value: "{{ expected.intent }}"}
"""
ANSWERS = (
    {"contains": "Reply to card", "reply": "about card"},
    {"contains": "Reply to refund", "reply": "about refund"},
    {"contains": "back", "reply": "refund"},
    {"contains": "Classify", "reply": "card"},
)
ROWS = [
    {"id": "s1", "message": "where is it", "expected": {"intent": "card"}},
    {"id": "s2", "message": "money back", "expected": {"intent": "refund"}},
    {"id": "s3", "message": "return it", "expected": {"intent": "refund"}},
    {"id": "s4", "message": "lost it", "expected": {"intent": "card"}},
]
ALL_CARD = ({"contains": "Classify", "reply": "card"}, *ANSWERS[:2])


@pytest.fixture
def tested(empty: Workspace) -> Workspace:
    """The chain `demo`, which is wrong about s3 alone, in its first step."""
    rows(empty, *ROWS)
    empty.chain(TESTED, replies=ANSWERS)
    return empty


def rows(workspace: Workspace, *found: dict[str, Any], name: str = "rows.jsonl") -> Path:
    return workspace.write(f"chains/{name}", "".join(json.dumps(row) + "\n" for row in found))


def gated(workspace: Workspace, gate: str) -> None:
    workspace.chain(TESTED + f"  gate: {gate}\n", replies=ANSWERS)


def cells(line: str) -> list[str]:
    return [cell for cell in re.split(r"\t+| {2,}", line.strip()) if cell]


def evaluation(workspace: Workspace, *words: str, code: int = 100) -> dict[str, Any]:
    done = workspace.invoke("test", "demo", *words, "--json")
    assert done.code == code, done
    [found] = done.json["evaluations"]
    assert isinstance(found, dict)
    assert done.json["passed"] is found["passed"] is (code == 0)
    return found


# -- what it prints ----------------------------------------------------------------------------------------------------


def test_the_laggard_is_on_one_screen(tested: Workspace) -> None:
    done = tested.invoke("test", "demo")
    assert done.code == 100, done
    lines = done.out.splitlines()
    assert "demo@v1 on scripted/" in lines[0]
    assert lines[0].endswith(": 4 examples of chains/rows.jsonl")
    table = {line.split()[0]: cells(line) for line in lines[1:8]}
    assert table["intent"][:6] == ["intent", "75 % [30–95]", "75 %", "25 %", "100 %", "4"]
    assert table["reply"][:3] == ["reply", "75 % [30–95]", "100 %"]
    assert table["chain"][:2] == ["chain", "75 % [30–95]"]
    assert table["product"][:2] == ["product", "56 %"]
    assert "The laggard is intent: were it perfect, the chain would pass 100 %, not 75 %." in lines
    assert "failed: 1" in lines
    assert "  s3  chains/rows.jsonl:3  intent: it should be 'refund', and is 'card'" in lines
    assert "metric sorted: 0.750" in lines
    assert len(lines) < 20
    assert "9 new calls, $0 spent; " in done.err  # 8, and the reply to what was expected of s3


def test_on_a_terminal_it_is_a_table_and_nothing_stays_of_the_bar(tested: Workspace) -> None:
    shown = on_terminal([CHAIN, "test", "demo"], tested.root)
    assert (shown.code, shown.cursor_shown) == (100, True)
    assert "4/4" in shown.text
    text = "\n".join(shown.lines)
    assert "4/4" not in text
    assert re.search(r"step +score +on gold +blame +loss +calls +cost +p50 +p95", text)
    assert re.search(r"intent +75 % \[30–95\] +75 % +25 % +100 %", text)


def test_on_a_narrow_terminal_no_word_is_broken(tested: Workspace) -> None:
    shown = on_terminal([CHAIN, "test", "demo"], tested.root, width=50)
    found = shown.lines.index("  s3  chains/rows.jsonl:3  intent: it should be")
    assert shown.lines[found + 1] == "    'refund', and is 'card'"


def test_explain_says_what_each_number_means(tested: Workspace) -> None:
    assert "counterfactual" in tested.invoke("test", "demo", "--explain").out
    assert "counterfactual" not in tested.invoke("test", "demo").out


def test_as_json(tested: Workspace) -> None:
    found = evaluation(tested)
    assert (found["chain"], found["version"], found["dataset"]["examples"]) == ("demo", "demo@v1", 4)
    assert (found["score"]["value"], found["counts"]) == (0.75, {"passed": 3, "failed": 1, "errors": 0, "unchecked": 0})
    intent, reply = found["steps"]["intent"], found["steps"]["reply"]
    assert (intent["blame"], intent["loss"], intent["method"]) == (0.25, 1.0, "counterfactual")
    assert (reply["score"]["value"], reply["gold"]["value"]) == (0.75, 1.0)
    third = found["examples"][2]
    assert (third["id"], third["where"], third["state"]) == ("s3", "chains/rows.jsonl:3", "failed")
    assert (third["first_failed"], third["steps"]["intent"]["mends"]) == ("intent", True)
    assert third["assertions"][0] == {
        "type": "equals", "step": "intent", "passed": False, "metric": "sorted", "score": 0.0,
        "reason": "it should be 'refund', and is 'card'",
    }  # fmt: skip
    assert (found["gate"], found["comparison"], found["metrics"]["sorted"]["value"]) == ([], None, 0.75)


def test_assertions_that_never_applied_are_told(tested: Workspace) -> None:
    rows(tested, {"message": "hi"})
    done = tested.invoke("test", "demo")
    assert done.code == 100
    assert done.err.count("warning: an assertion was never applied: ") == 2
    assert "equals on intent: no row has expected" in done.err
    assert re.search(r"nothing is checked in any example; \S+: no assertion applies: no expected.intent", done.out)


def test_examples_that_nothing_is_checked_in_do_not_count(tested: Workspace, tmp_path: Path) -> None:
    rows(tested, ROWS[0], {"message": "no expectation"}, {"message": "nor here"})
    gated(tested, "{min: {chain: 0.9}}")
    junit, page = tmp_path / "r.xml", tmp_path / "r.md"
    found = evaluation(tested, "--junit", str(junit), "--markdown", str(page), code=0)
    assert (found["score"]["value"], found["score"]["n"]) == (1.0, 1)
    assert found["counts"] == {"passed": 1, "failed": 0, "errors": 0, "unchecked": 2}
    done = tested.invoke("test", "demo")
    assert "not checked: 2\n" in done.out
    assert "  chains/rows.jsonl:3  no assertion applies: no expected.intent\n" in done.out
    assert "the gate is met" in done.out
    assert junit.read_text().count("<skipped message=") == 2
    assert 'skipped="2"' in junit.read_text()
    assert "1 passed, 0 failed, 2 not checked" in page.read_text()


def test_a_gate_is_not_met_by_what_was_not_checked(tested: Workspace) -> None:
    rows(tested, {"message": "hi"}, {"message": "ho"})
    gated(tested, "{min: {chain: 0.1}}")
    found = evaluation(tested, code=100)
    assert (found["score"], found["counts"]["unchecked"]) == (None, 2)
    assert found["gate"][1:] == ["chain has no score; the gate asks for at least 0.1"]


def test_an_assertion_that_only_measures_checks_nothing(tested: Workspace) -> None:
    rows(tested, {"message": "hi"})
    measured = TESTED + "    - {step: reply, type: latency, threshold: 5000, weight: 0}\n"
    tested.chain(measured + "  gate: {min: {chain: 0.1}}\n", replies=ANSWERS)
    assert evaluation(tested, code=100)["counts"]["unchecked"] == 1


def test_a_set_whose_parts_do_not_apply_checks_nothing(tested: Workspace) -> None:
    rows(tested, {"message": "hi"})
    parts = "[{type: equals, value: '{{ expected.intent }}'}, {type: latency, threshold: 5000, weight: 0}]"
    head = TESTED.partition("    - {step: intent")[0]
    tested.chain(f"{head}    - {{step: intent, type: assert-set, assert: {parts}}}\n", replies=ANSWERS)
    assert evaluation(tested, code=100)["counts"]["unchecked"] == 1


def test_a_renamed_step_is_no_regression(tested: Workspace) -> None:
    """The assertions of now cannot look at the step as it was called then."""
    assert tested.invoke("test", "demo").code == 100
    renamed = TESTED.replace("{{ intent", "{{ sort").replace("step: intent", "step: sort")
    renamed = renamed.replace("  intent:", "  sort:")
    tested.chain(renamed.replace("    - {step: reply", "    # {step: reply"), replies=ANSWERS)
    done = tested.invoke("test", "demo", "--compare", "demo@v1")
    assert done.code == 0, done
    assert "nothing could be compared with demo@v1: no example was scored on both sides\n" in done.out


def test_an_assertion_that_raises_is_told_where_another_failed_the_example(tested: Workspace) -> None:
    tested.write("own.py", "def broken(output):\n    return int('x')\n")
    tested.chain(TESTED + "    - {step: intent, type: python, value: 'own:broken'}\n", replies=ANSWERS)
    done = tested.invoke("test", "demo")
    said = "own.py:2: own:broken raised ValueError: invalid literal for int() with base 10: 'x'"
    assert (done.code, done.out.count(f"python: {said}")) == (100, 3), done
    assert f"warning: python on intent could not be told 1 time: {said}" in done.err
    assert "not scored: 3" in done.out.splitlines()


def test_an_assertion_that_only_measures_is_told_where_it_cannot(tested: Workspace) -> None:
    rule = "    - {step: intent, type: python, value: 1 / 0, weight: 0, metric: x}\n"
    tested.chain(TESTED + rule, replies=ANSWERS)
    done = tested.invoke("test", "demo")
    assert "warning: python on intent could not be told 4 times: '1 / 0' failed: ZeroDivisionError: " in done.err
    assert "not scored" not in done.out


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ("{step: reply, type: regex, value: '(card'}", "assertion 'regex' on reply: '(card' is not a regular expressi"),
        ("{type: not-python, value: len(output}", "assertion 'not-python': 'len(output' is not an expression: "),
        ("{step: reply, type: llm-rubric, value: kind}", "'llm-rubric' asks a judge, and no model is named as one; "),
        ("{type: assert-set, assert: [{type: regex, value: '['}]}", "'[' is not a regular expression"),
    ],
)
def test_an_assertion_that_can_never_tell_is_said_before_anything_is_spent(
    tested: Workspace, rule: str, says: str
) -> None:
    tested.chain(f"{TESTED}    - {rule}\n", replies=ANSWERS)
    done = tested.invoke("test", "demo")
    assert (done.code, done.out) == (1, "")
    assert "error: chains/demo.yaml" in done.err
    assert says in done.err
    tested.chain(TESTED, replies=ANSWERS)
    assert "9 new calls, " in tested.invoke("test", "demo").err


def test_a_judge_may_be_the_assertions_own(tested: Workspace) -> None:
    judge = tested.model({"reply": {"reason": "r", "score": 1, "pass": True}, "always": True}, name="judge")
    rule = f"{{step: reply, type: llm-rubric, value: kind, provider: {judge}}}"
    tested.chain(f"{TESTED}    - {rule}\n", replies=ANSWERS)
    assert "judges: " in tested.invoke("test", "demo").err
    tested.chain(f"{TESTED}    - {{step: reply, type: llm-rubric, value: kind, provider: {{embedding: m}}}}\n")
    assert "asks a judge" in tested.invoke("check", "demo").out


def test_a_row_that_is_there_twice_is_told(tested: Workspace) -> None:
    rows(tested, {"message": "hi"}, {"message": "hi"})
    assert "warning: 1 row repeats an earlier one and is counted once: chains/rows.jsonl:2" in tested.invoke("test").err


@pytest.mark.parametrize(
    ("words", "ids"),
    [(["s1"], ["s1"]), (["expected.intent=refund"], ["s2", "s3"]), (["s*", "message=*it"], ["s1", "s3", "s4"])],
)
def test_only_what_fits_the_filter(tested: Workspace, words: list[str], ids: list[str]) -> None:
    options = [part for word in words for part in ("--filter", word)]
    done = tested.invoke("test", "demo", "--json", *options)
    assert [one["id"] for one in done.json["evaluations"][0]["examples"]] == ids


def test_another_dataset(tested: Workspace) -> None:
    path = rows(tested, ROWS[0], name="other.jsonl")
    found = evaluation(tested, "--dataset", str(path), code=0)
    assert (found["dataset"]["files"], found["dataset"]["examples"]) == (["chains/other.jsonl"], 1)


# -- the cache, repeats, models ----------------------------------------------------------------------------------------


def test_the_second_time_nothing_is_asked(tested: Workspace) -> None:
    first = evaluation(tested)
    again = evaluation(tested)
    assert (first["new_calls"], again["new_calls"], again["calls"], again["spent"]["calls"]) == (8, 0, 8, 0)
    done = tested.invoke("test", "demo")
    assert "all answers came from the cache, $0 spent" in done.err
    assert "new call" in tested.invoke("test", "demo", "--no-cache").err
    for name in ("score", "steps", "dataset"):
        assert {**first[name], "intent": 0, "reply": 0} == {**again[name], "intent": 0, "reply": 0}


def test_calls_on_expected_values_are_told_too(tested: Workspace) -> None:
    """The answers are there, but not those to what is expected of a step, which the dataset says only now."""
    rows(tested, *({**row, "expected": None} for row in ROWS))
    tested.invoke("test", "demo")
    rows(tested, *ROWS)
    assert "1 new call, " in tested.invoke("test", "demo").err


def test_repeats_are_asked_apart_and_flaky_examples_are_named(tested: Workspace) -> None:
    flaky = ({"contains": "Reply to", "reply": "card refund"}, "card", "refund", *["card"] * 20)
    tested.chain(TESTED, replies=flaky)
    done = tested.invoke("test", "demo", "--repeat", "3", "--filter", "s1", "--concurrency", "1")
    assert "1 example of chains/rows.jsonl, 3 tries each" in done.out
    assert "flaky: s1" in done.out
    assert done.out.count("  s1  chains/rows.jsonl:1  ") == 1
    assert done.out.count("(1 of 3 tries)") == 1
    found = evaluation(tested, "--repeat", "3", "--filter", "s1")
    assert [one["try"] for one in found["examples"]] == [0, 1, 2]
    assert (found["repeat"], found["flaky"], found["spent"]["calls"]) == (3, ["s1"], 0)


def test_an_example_that_fails_again_and_again_is_told_once(tested: Workspace) -> None:
    done = tested.invoke("test", "demo", "--repeat", "3")
    assert "failed: 1" in done.out.splitlines()
    assert done.out.count("  s3  chains/rows.jsonl:3  intent: ") == 1
    assert "it should be 'refund', and is 'card'  (3 of 3 tries)" in done.out


def test_several_models_are_a_matrix(tested: Workspace) -> None:
    other = tested.model(*ALL_CARD, name="cards")
    done = tested.invoke("test", "demo", "--model", f"scripted/{tested.root}/demo.script.yaml", "--model", other)
    assert done.code == 100
    matrix = done.out.split("\n\n")[-1].splitlines()
    found = {line.split()[0]: cells(line) for line in matrix}
    assert [cell.split(" [")[0] for cell in found["chain"]] == ["chain", "75 %", "50 %"]
    assert [cell.split(" [")[0] for cell in found["intent"]] == ["intent", "75 %", "50 %"]
    both = tested.invoke("test", "demo", "--json", "--model", other, "--model", "reply=" + other).json["evaluations"]
    assert len(both) == 1


# -- what is tested ----------------------------------------------------------------------------------------------------


def test_without_names_all_chains_with_a_test(tested: Workspace) -> None:
    tested.chain(TESTED, name="other", replies=ANSWERS)
    tested.chain("model: MODEL\nsteps: {a: {prompt: hi}}\n", name="untested")
    found = tested.invoke("test", "--json").json["evaluations"]
    assert [one["chain"] for one in found] == ["demo", "other"]
    assert found[0]["version"] == "demo@v1"


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["nowhere"], 2, "there is no chain 'nowhere'"),
        (["untested"], 2, "the chain 'untested' has no `test:`"),
        (["demo", "--filter", "x9"], 2, "none of the 4 examples fits the filter x9"),
        (["demo", "--dataset", "nowhere.jsonl"], 1, "there is no such file"),
        (["demo", "--compare", "demo@production"], 2, "there is no demo@production to compare with: "),
        (["demo", "--compare", "scripted/nowhere.yaml"], 2, "nowhere.yaml"),
        (["demo", "--model", "sort=scripted/x"], 2, "unknown step 'sort'"),
        (["demo", "--repeat", "0"], 2, "Invalid value for '--repeat'"),
    ],
)
def test_what_cannot_be_tested_is_said_before_anything_is_spent(
    tested: Workspace, words: list[str], code: int, says: str
) -> None:
    tested.chain("model: MODEL\nsteps: {a: {prompt: hi}}\n", name="untested")
    done = tested.invoke("test", *words)
    assert (done.code, done.out) == (code, ""), done
    assert says in done.err
    assert "Traceback" not in done.err
    assert "9 new calls, " in tested.invoke("test", "demo").err


def test_nothing_to_test(empty: Workspace) -> None:
    empty.chain("model: MODEL\nsteps: {a: {prompt: hi}}\n")
    done = empty.invoke("test")
    assert (done.code, "no chain here has a `test:`" in done.err) == (2, True)


def test_rows_that_do_not_fit_are_named_by_file_and_line(tested: Workspace) -> None:
    rows(tested, ROWS[0], {"mesage": "x"}, {"message": "x", "expected": {"intent": "crad"}})
    done = tested.invoke("test", "demo")
    assert (done.code, done.out) == (1, "")
    assert "chains/rows.jsonl:2: the input 'message' (string) is missing" in done.err
    assert "chains/rows.jsonl:3: expected.intent: " in done.err


@pytest.mark.parametrize("kind", ["--junit", "--markdown", "--html"])
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("chains/demo.yaml/x", "demo.yaml is no folder"),
        ("chains", "this is a folder"),
        ("x" * 300, "cannot be written"),
    ],
)
def test_a_report_that_can_have_no_such_place_is_told_before_anything_is_spent(
    tested: Workspace, kind: str, name: str, said: str
) -> None:
    done = tested.invoke("test", "demo", kind, name)
    assert (done.code, done.out) == (2, ""), done
    assert said in done.err
    assert "9 new calls" in tested.invoke("test", "demo").err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no full disk to try")
def test_a_report_that_cannot_be_written_is_an_error_and_the_table_is_there(tested: Workspace) -> None:
    done = tested.invoke("test", "demo", "--junit", "/dev/full")
    assert (done.code, "error: /dev/full: cannot be written: No space left on device" in done.err) == (1, True)
    assert "The laggard is intent" in done.out


def test_assertions_in_a_step_are_its_own(tested: Workspace) -> None:
    own = '    assert: [{type: equals, value: "{{ expected.intent }}"}]\n  reply:'
    tested.chain(TESTED.replace("  reply:", own, 1), replies=ANSWERS)
    assert len(evaluation(tested)["examples"][0]["assertions"]) == 3


# -- gates and comparisons ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gate", "code", "says"),
    [
        ("{min: 0.7}", 0, "✓ the gate is met"),
        ("{min: {chain: 0.75, intent: 0.7, sorted: 0.5}}", 0, "✓ the gate is met"),
        ("{min: {chain: 0.8}}", 100, "✗ chain is 0.750, 0.050 less than the 0.8 asked for"),
        ("{min: {intent: 0.9}}", 100, "✗ intent is 0.750, 0.150 less than the 0.9 asked for"),
        ("{min: {sorted: 1}}", 100, "✗ sorted is 0.750, 0.250 less than the 1 asked for"),
    ],
)
def test_the_gate_decides(tested: Workspace, gate: str, code: int, says: str) -> None:
    gated(tested, gate)
    done = tested.invoke("test", "demo")
    assert (done.code, says in done.out) == (code, True), done
    assert evaluation(tested, code=code)["gate"] == ([says[2:]] if code else [])


def worse(workspace: Workspace) -> None:
    """A prompt changed for the worse: s2 fails too."""
    answers = ({"contains": "Sort", "reply": "card"}, *ANSWERS)
    workspace.chain(TESTED.replace('"Classify: ', '"Sort: '), replies=answers)


@pytest.mark.parametrize("reference", ["demo@v1", "@v1", "v1", "@production", "demo@production", "production"])
def test_a_change_for_the_worse_names_the_examples_that_flipped(tested: Workspace, reference: str) -> None:
    tested.invoke("commit", "demo")
    assert tested.invoke("label", "demo@v1", "production").code == 0
    worse(tested)
    done = tested.invoke("test", "demo", "--compare", reference)
    assert done.code == 100, done
    assert "now fail: s2 (intent)" in done.out
    assert "✗ the chain is 0.250 worse than demo@" in done.out
    found = evaluation(tested, "--compare", reference)
    assert found["comparison"]["flipped"] == [
        {"id": "s2", "where": "chains/rows.jsonl:2", "to": "failed", "step": "intent"}
    ]
    assert found["comparison"]["chain"]["difference"] == -0.25


def test_a_change_for_the_better_passes(tested: Workspace) -> None:
    tested.invoke("commit", "demo")
    answers = ({"contains": "Sort: return", "reply": "refund"}, {"contains": "Sort: money", "reply": "refund"},
               {"contains": "Sort", "reply": "card"}, *ANSWERS)  # fmt: skip
    tested.chain(TESTED.replace('"Classify: ', '"Sort: '), replies=answers)
    done = tested.invoke("test", "demo", "--compare", "@v1")
    assert (done.code, "now pass: s3 (intent)" in done.out) == (0, True), done
    assert "✓ it is not worse than demo@v1\n" in done.out
    assert "gate" not in done.out


def test_against_another_model(tested: Workspace) -> None:
    other = tested.model(*ALL_CARD, name="cards")
    found = evaluation(tested, "--compare", other, code=0)
    assert [flip["id"] for flip in found["comparison"]["flipped"]] == ["s2"]
    assert found["comparison"]["before"] == f"demo on {other}"
    assert found["comparison"]["chain"]["difference"] == 0.25


@pytest.mark.parametrize(("margin", "code"), [(0, 100), (0.2, 100), (0.25, 0)])
def test_no_worse_than_a_label_by_a_margin(tested: Workspace, margin: float, code: int) -> None:
    tested.invoke("commit", "demo")
    tested.invoke("label", "demo@v1", "production")
    answers = ({"contains": "Sort", "reply": "card"}, *ANSWERS)
    text = TESTED.replace('"Classify: ', '"Sort: ') + f"  gate: {{no_worse_than: production, margin: {margin}}}\n"
    tested.chain(text, replies=answers)
    done = tested.invoke("test", "demo")
    assert done.code == code, done
    assert ("worse than demo@production" in done.out) is (code == 100)


def test_what_compare_takes_the_place_of_is_told(tested: Workspace) -> None:
    tested.invoke("commit", "demo")
    gated(tested, "{no_worse_than: production}")
    done = tested.invoke("test", "demo", "--compare", "@v1")
    assert (done.code, "against demo@v1: +0.0 points" in done.out) == (0, True), done
    assert "warning: --compare @v1 is taken in place of the gate's no_worse_than: production" in done.err
    gated(tested, "{no_worse_than: v1}")
    assert "in place of" not in tested.invoke("test", "demo", "--compare", "v1").err


def test_no_worse_than_a_label_that_is_not_there_yet(tested: Workspace) -> None:
    gated(tested, "{no_worse_than: production}")
    done = tested.invoke("test", "demo")
    assert (done.code, done.out) == (2, "")
    assert "there is no demo@production to compare with: the chain 'demo' has no versions yet" in done.err
    tested.invoke("commit", "demo")
    done = tested.invoke("test", "demo")
    assert (done.code, done.out) == (2, "")
    assert "there is no demo@production to compare with: the chain 'demo' has no version 'production'" in done.err


def test_a_baseline_with_other_steps_and_inputs(tested: Workspace) -> None:
    older = TESTED.split("  reply:")[0].replace("Classify", "Classify") + "outputs: {reply: '{{ intent }}'}\n"
    tested.chain(older, replies=ANSWERS)
    assert tested.invoke("commit", "demo").out == "demo@v1\n"
    text = TESTED.replace("inputs: {message: string}", "inputs: {message: string, tone: string}")
    rows(tested, *({**row, "tone": "kind"} for row in ROWS))
    tested.chain(text, replies=ANSWERS)
    found = evaluation(tested, "--compare", "@v1", code=0)
    assert (list(found["comparison"]["steps"]), found["comparison"]["left_out"]) == (["intent"], 0)
    tested.chain(TESTED.replace("inputs: {message: string}", "inputs: {message: string, n: integer}"), replies=ANSWERS)
    tested.invoke("commit", "demo")
    tested.chain(TESTED, replies=ANSWERS)
    rows(tested, *ROWS)
    done = tested.invoke("test", "demo", "--compare", "@v2")
    assert (done.code, done.out) == (2, "")
    assert "chains/rows.jsonl:1: demo@v2 takes other inputs: " in done.err


# -- chain diff --tests ------------------------------------------------------------------------------------------------


def test_diff_shows_which_examples_flipped_between_two_versions(tested: Workspace) -> None:
    tested.invoke("commit", "demo")
    worse(tested)
    done = tested.invoke("diff", "demo@v1", "--tests")
    assert done.code == 0, done
    lines = done.out.splitlines()
    assert lines[:2] == ["--- demo@v1", "+++ demo (work tree)"]
    assert lines[2].startswith("- chain: -25.0 points (")
    assert lines[2].endswith(" over 4 examples")
    assert "-   intent: -25.0 points (0 better, 1 worse)" in lines
    assert lines[-2:] == [
        "  now fail: 1",
        "-   s2  chains/rows.jsonl:2  intent: it should be 'refund', and is 'card'",
    ]
    tested.invoke("commit", "demo")
    back = tested.invoke("diff", "demo@v2", "demo@v1", "--tests", "--json").json
    assert back["flipped"] == [{"id": "s2", "where": "chains/rows.jsonl:2", "to": "passed", "step": "intent"}]
    assert (back["before"], back["after"], back["chain"]["difference"]) == ("demo@v2", "demo@v1", 0.25)


def test_diff_of_what_behaves_alike_says_nothing(tested: Workspace) -> None:
    tested.invoke("commit", "demo")
    answers = ({"contains": "Sort: money", "reply": "refund"}, {"contains": "Sort", "reply": "card"}, *ANSWERS)
    tested.chain(TESTED.replace('"Classify: ', '"Sort: '), replies=answers)
    done = tested.invoke("diff", "demo@v1", "--tests", "--exit-code")
    assert (done.code, done.out) == (0, "")
    worse(tested)
    assert tested.invoke("diff", "demo@v1", "--tests", "--exit-code").code == 1


def test_diff_tells_how_many_could_not_be_compared(tested: Workspace) -> None:
    tested.invoke("commit", "demo")
    gone = {"contains": "Sort: return", "error": "authentication"}
    answers = (gone, {"contains": "Sort: money", "reply": "refund"}, {"contains": "Sort", "reply": "card"}, *ANSWERS)
    tested.chain(TESTED.replace('"Classify: ', '"Sort: '), replies=answers)
    done = tested.invoke("diff", "demo@v1", "--tests")
    assert (done.code, done.out.splitlines()[-1]) == (0, "  1 example could not be scored on both sides"), done


def test_diff_without_a_test_or_beside_another_view(tested: Workspace) -> None:
    tested.invoke("commit", "demo")
    done = tested.invoke("diff", "demo@v1", "--tests", "--rendered")
    assert (done.code, "--tests compares two chains as wholes" in done.err) == (2, True)
    tested.chain(TESTED.split("test:")[0], replies=ANSWERS)
    done = tested.invoke("diff", "demo@v1", "--tests")
    assert (done.code, "has no `test:`" in done.err) == (2, True)


# -- what ends it early ------------------------------------------------------------------------------------------------


def test_too_many_errors_end_it_with_1(tested: Workspace) -> None:
    tested.chain(TESTED, replies=[{"contains": "Classify", "error": "authentication"}])
    done = tested.invoke("test", "demo", "--max-errors", "1", "--concurrency", "1")
    assert done.code == 1, done
    assert "error: stopped: 2 examples could not be scored; the last: " in done.err
    assert "authentication" in done.err
    none = evaluation(tested, "--max-errors", "4", code=1)
    assert (none["counts"], none["score"]) == ({"passed": 0, "failed": 0, "errors": 4, "unchecked": 0}, None)
    tested.chain(TESTED, replies=[{"contains": "Classify: return", "error": "authentication"}, *ANSWERS])
    tolerated = evaluation(tested, code=0)
    assert (tolerated["counts"], tolerated["score"]["n"]) == (
        {"passed": 3, "failed": 0, "errors": 1, "unchecked": 0},
        3,
    )


def test_a_key_that_is_missing_ends_it_with_what_to_do(tested: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    for words in ([], ["--max-errors", "0"], ["--compare", "openai/gpt-5-mini"]):
        done = tested.invoke("test", "demo", "--model", "openai/gpt-5-mini", *words)
        assert done.code == 1, done
        assert "needs a key for openai\n  hint: set OPENAI_API_KEY" in done.err


def test_a_ceiling_ends_it_with_1_and_it_goes_on_from_the_cache(tested: Workspace) -> None:
    done = tested.invoke("test", "demo", "--max-calls", "4", "--concurrency", "1")
    assert (done.code, "error: stopped: " in done.err) == (1, True), done
    assert "the gate is met" not in done.out
    assert "5 new calls" in tested.invoke("test", "demo").err


def answers(cache: Path) -> int:
    """How many answers the cache holds."""
    if not cache.exists():
        return 0
    with closing(sqlite3.connect(cache)) as db:
        try:
            return int(db.execute("SELECT COUNT(*) FROM responses").fetchone()[0])
        except sqlite3.OperationalError:  # just being made
            return 0


def test_an_interrupt_keeps_what_is_done(tested: Workspace) -> None:
    slow = ({"contains": "Classify: lost", "reply": "card", "delay": 600}, *ANSWERS)
    tested.chain(TESTED, replies=slow)
    process = subprocess.Popen(
        [CHAIN, "test", "demo"], cwd=tested.root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    cache = tested.root.parent / "cache"
    until(lambda: answers(cache / "responses.db") == 7)  # two for each but the slow one, and s3's
    at_rest(process.pid)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=300)
    assert (process.returncode, out) == (130, ""), err
    assert "3 of 4 examples were done; their answers are in the cache: run the same again to go on\n" in err
    assert "Traceback" not in err
    found = tested.invoke("test", "demo", "--json", "--filter", "s1", "--filter", "message=where*").json["evaluations"][
        0
    ]
    assert found["new_calls"] == 0


def test_an_interrupt_without_the_cache_promises_nothing(tested: Workspace) -> None:
    begun = tested.root / "begun"
    tested.write("own.py", f"import time\ndef slow(output):\n    open({str(begun)!r}, 'w')\n    time.sleep(600)\n")
    tested.chain(TESTED + "    - {step: intent, type: python, value: 'own:slow'}\n", replies=ANSWERS)
    command, pipe = [CHAIN, "test", "demo", "--no-cache"], subprocess.PIPE
    process = subprocess.Popen(command, cwd=tested.root, stdout=pipe, stderr=pipe, text=True)
    until(begun.exists)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=300)
    assert (process.returncode, "0 of 4 examples were done; their answers were not kept" in err) == (130, True), err


def test_litellm_is_not_loaded_for_what_is_in_the_cache(tested: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none-needed")
    tested.write("chains/demo.yaml", TESTED.replace("MODEL", "openai/gpt-5-mini"))
    with Loopback(lambda body: '{"value": "card"}' if "response_format" in body else "about card") as server:
        monkeypatch.setenv("OPENAI_API_BASE", server.url)
        assert "50 % [15–85]" in tested.invoke("test", "demo").out
        assert server.requests
    code = (
        "import sys\nfrom promptchain.cli.app import app\n"
        "try:\n    app(['test', 'demo'])\nexcept SystemExit:\n    pass\n"
        "print(sorted({'litellm', 'rich', 'wordllama', 'numpy'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tested.root, capture_output=True, text=True, timeout=300)
    assert "all answers came from the cache" in done.stderr
    assert done.stderr.endswith("[]\n"), done.stderr

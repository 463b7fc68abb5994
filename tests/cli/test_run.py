"""`chain run` once: where inputs come from, what is printed where, and how it fails."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from promptchain.cli.output import print_outputs
from promptchain.errors import Fault
from tests.workspace import DEMO, REPLIES, Workspace

OUTPUTS = {"intent": "card", "reply": "All is well."}
TWO = """
model: MODEL
inputs: {count: integer, name?: string, data?(object): {city: string}}
steps:
  say: {prompt: "{{ count }} {{ name }} {{ data.city | default('nowhere') if data else 'nowhere' }}"}
"""


def asked(workspace: Workspace) -> Any:
    """The inputs of the last run."""
    return workspace.records()[-1]["inputs"]


def test_several_outputs_are_yaml_and_nothing_else_is_said(demo: Workspace) -> None:
    done = demo.invoke("run", "demo", "Where is it?")
    assert (done.code, done.out, done.err) == (0, "intent: card\nreply: All is well.\n", "")
    assert asked(demo) == {"message": "Where is it?"}


def test_one_output_is_bare(demo: Workspace) -> None:
    assert demo.invoke("run", "demo", "hi", "-o", "reply").out == "All is well.\n"
    demo.chain(DEMO.partition("outputs:")[0])
    assert demo.invoke("run", "demo", "hi").out == "All is well.\n"


def test_json_is_the_record_that_is_kept(demo: Workspace) -> None:
    found = demo.invoke("run", "demo", "hi", "--json", "--save-run", "deep/run.json").json
    assert [found] == demo.records()
    assert json.loads((demo.root / "deep/run.json").read_text()) == found
    assert (found["status"], found["outputs"], found["format"]) == ("done", OUTPUTS, 1)
    assert found["steps"]["draft"]["value"] == "It is on its way."
    assert found["totals"]["calls"] == 3


@pytest.mark.parametrize(
    ("words", "stdin", "inputs"),
    [
        (["hello"], None, {"message": "hello"}),
        (["--input", "-"], '{"message": "piped"}', {"message": "piped"}),
        (["--input", "-"], '\ufeff{"message": "bom"}', {"message": "bom"}),
        (["--input", "-"], "plain text\n", {"message": "plain text"}),
        (["--input", "in.json"], None, {"message": "from json"}),
        (["--input", "in.yaml"], None, {"message": "from yaml"}),
        (["-i", "message=@note.txt"], None, {"message": "from a note\n"}),
        (["-i", "message=a=b"], None, {"message": "a=b"}),
        (["-i", "message=@"], None, {"message": "@"}),
        (["--input", "in.json", "-i", "message=wins"], None, {"message": "wins"}),
        (["--input", "in.json", "wins"], None, {"message": "wins"}),
        (["text", "-i", "message=wins"], None, {"message": "wins"}),
        (["ünïcödé 🎉 \u200b‮"], None, {"message": "ünïcödé 🎉 \u200b‮"}),
    ],
)
def test_where_inputs_come_from(demo: Workspace, words: list[str], stdin: str | None, inputs: dict[str, str]) -> None:
    demo.write("in.json", '{"message": "from json"}')
    demo.write("in.yaml", "message: from yaml")
    demo.write("note.txt", "from a note\n")
    done = demo.invoke("run", "demo", *words, stdin=stdin)
    assert (done.code, asked(demo)) == (0, inputs), done


@pytest.mark.parametrize(
    ("words", "inputs"),
    [
        (["3"], {"count": 3, "name": None, "data": None}),
        (["-i", "count=3", "-i", "name=4"], {"count": 3, "name": "4", "data": None}),
        (["3", "-i", 'data={"city": "Rom"}'], {"count": 3, "name": None, "data": {"city": "Rom"}}),
    ],
)
def test_values_take_the_type_of_their_input(empty: Workspace, words: list[str], inputs: dict[str, Any]) -> None:
    empty.chain(TWO, replies=[{"reply": "ok", "always": True}])
    assert empty.invoke("run", "demo", *words).code == 0
    assert asked(empty) == inputs


@pytest.mark.parametrize(
    ("words", "stdin", "says"),
    [
        ([], None, ["the input 'message' (string) is missing", '-i message="…"']),
        (["hi", "-i", "mesage=x"], None, ["no input 'mesage'", "did you mean 'message'?"]),
        (["-i", "message"], None, ["not of the form name=value"]),
        (["-i", "message=a", "-i", "message=b"], None, ["given twice"]),
        (["--input", "-"], "", ["standard input is empty"]),
        (["--input", "-"], " \n", ["standard input is empty"]),
        (["--input", "-"], '{"message": 1\n x}', ["standard input:2:2: this is not JSON"]),
        (["--input", "-"], "{nope", ["standard input:1:2: this is not JSON"]),
        (["--input", "-"], '{"message": 7}', ["input 'message': "]),
        (["--input", "-"], '{"message": "\\ud800"}', ["input 'message': ", "surrogate"]),
        (["--input", "-"], b"\xff\xfe", ["standard input is not UTF-8 (byte 1)"]),
        (["--input", "list.json"], None, ["list.json: the inputs are one mapping", "not a list"]),
        (["--input", "list.yaml"], None, ["list.yaml: the inputs are one mapping", "not a list"]),
        (["--input", "nowhere.json"], None, ["nowhere.json"]),
        (["hi", "-o", "repyl"], None, ["has no output 'repyl'", "did you mean 'reply'?"]),
        (["hi", "-o", "reply", "--json"], None, ["-o does not go with it"]),
        (["hi", "--resume"], None, ["--resume goes with --batch"]),
        (["hi", "--save-run", "chains"], None, ["--save-run chains is a folder", "chains/run.json"]),
        (["hi", "--model", "a/b", "--model", "c/d"], None, ["--model is given twice", "STEP=MODEL"]),
        (["hi", "--model", "intnt=a/b"], None, ["did you mean 'intent'?"]),
        (["hi", "--model", "intent="], None, ["names no model"]),
        (["hi", "--model", "scripted/nowhere.yaml"], None, ["nowhere.yaml can't be read"]),
    ],
)
def test_what_does_not_fit_is_said_before_anything_runs(
    demo: Workspace, words: list[str], stdin: str | None, says: list[str]
) -> None:
    demo.write("list.json", "[1]")
    demo.write("list.yaml", "- 1")
    done = demo.invoke("run", "demo", *words, stdin=stdin)
    assert done.code in (1, 2)
    assert done.out == ""
    assert done.err.startswith("error: ")
    assert all(part in done.err for part in says), done
    assert demo.records() == []


@pytest.mark.parametrize("fault", list(Fault))
def test_a_call_that_fails_names_step_cause_and_what_waits_for_it(demo: Workspace, fault: Fault) -> None:
    demo.chain(replies=[REPLIES[0], {"contains": "Draft for", "error": fault.value}])
    done = demo.invoke("run", "demo", "hi")
    assert (done.code, done.out) == (1, "")
    lines = done.err.splitlines()
    assert lines[0].startswith("error: step 'draft' failed: ")
    assert fault.value in lines[0]
    assert "  not run because of it: check" in lines
    record = demo.records()[-1]
    assert lines[-1] == f"  what was done is recorded: chain runs show {record['id']}"
    assert record["status"] == "failed"
    states = {name: step["status"] for name, step in record["steps"].items()}
    assert states == {"intent": "done", "draft": "failed", "check": "blocked"}
    assert record["outputs"] == {"intent": "card"}


def test_a_run_that_fails_still_prints_its_record_as_json(demo: Workspace) -> None:
    demo.chain(replies=[REPLIES[0], {"contains": "Draft for", "error": "authentication"}])
    done = demo.invoke("run", "demo", "hi", "--json")
    assert done.code == 1
    assert done.json == demo.records()[-1]


def test_retries_fallbacks_and_cut_off_replies_are_told(demo: Workspace) -> None:
    other = demo.model({"reply": "refund", "always": True}, name="other")
    text = DEMO.replace("[card, refund]\n    retry: 0", f"[card, refund]\n    retry: 0\n    fallbacks: [{other}]")
    replies = [
        {"contains": "Classify", "error": "authentication"},
        {"contains": "Draft for refund", "reply": "cut", "finish": "length"},
        REPLIES[2],
    ]
    demo.chain(text, replies=replies)
    done = demo.invoke("run", "demo", "hi")
    assert (done.code, yaml.safe_load(done.out)["intent"]) == (0, "refund")
    assert f"authentication; falling back to {other}\n" in done.err
    assert "warning: step 'draft': the reply was cut off after 1 tokens; raise `max_tokens`" in done.err


def test_a_record_that_cannot_be_written_does_not_cost_the_answer(demo: Workspace) -> None:
    demo.write("file", "in the way")
    done = demo.invoke("run", "demo", "hi", "--save-run", "file/run.json")
    assert done.code == 1
    assert yaml.safe_load(done.out) == OUTPUTS
    assert "error: the record could not be written to file/run.json: " in done.err


def test_a_spool_that_cannot_be_written_is_only_a_warning(demo: Workspace) -> None:
    demo.write(".promptchain", "in the way")
    done = demo.invoke("run", "demo", "hi")
    assert (done.code, yaml.safe_load(done.out)) == (0, OUTPUTS)
    assert "warning: the record could not be written" in done.err


@pytest.mark.parametrize(
    ("ceiling", "code", "says"),
    [
        (["--max-calls", "3"], 0, ""),
        (["--max-calls", "1"], 1, "raise --max-calls"),
        (["--max-calls", "0"], 1, "step 'intent' failed: --max-calls 0 leaves no room"),
        (["--max-tokens", "5"], 1, "--max-tokens"),
        (["--max-cost", "1"], 0, ""),
        (["--max-cost", "1", "--model", "intent=hosted_vllm/mine"], 2, "the price of 'hosted_vllm/mine' is not known"),
    ],
)
def test_budgets(demo: Workspace, ceiling: list[str], code: int, says: str) -> None:
    done = demo.invoke("run", "demo", "hi", *ceiling)
    assert done.code == code, done
    assert says in done.err


def test_model_can_be_chosen_for_all_for_one_step_and_by_environment(
    demo: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = demo.model({"reply": "refund", "always": True}, name="other")
    assert yaml.safe_load(demo.invoke("run", "demo", "hi", "-m", other).out) == {"intent": "refund", "reply": "refund"}
    one = demo.invoke("run", "demo", "hi", "--model", f"intent={other}")
    assert yaml.safe_load(one.out) == {"intent": "refund", "reply": "All is well."}
    monkeypatch.setenv("PROMPTCHAIN_MODEL", other)
    assert yaml.safe_load(demo.invoke("run", "demo", "hi").out)["reply"] == "refund"


def test_cache_answers_the_second_time_without_the_model(demo: Workspace) -> None:
    first = demo.invoke("run", "demo", "hi", "--cache", "--json").json
    again = demo.invoke("run", "demo", "hi", "--cache", "--json").json
    assert again["outputs"] == first["outputs"]
    assert (first["totals"]["calls"], again["totals"]["calls"]) == (3, 0)
    assert demo.invoke("run", "demo", "hi", "--json").json["totals"]["calls"] == 3


SPECIAL = (
    "yes",
    "null",
    "- a",
    "a: b",
    "# c",
    "'",
    '"',
    "@x",
    "%",
    "|",
    "",
    " ",
    "1e3",
    "2026-01-01",
    "---\na",
    "a\n\nb\n",
)
ODD = (
    "\n",
    "a\n\n",
    "\ta",
    " a\nb ",
    "a \nb",
    "a\r\nb",
    "\x85",
    "\u2028",
    "\x7f",
    "\ufeff",
    "!!python/none x",
    "*a",
    "...",
    "🎉\n…",
)
NASTY = st.text() | st.sampled_from(SPECIAL + ODD)
VALUES = st.recursive(
    NASTY | st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NASTY, inner, max_size=3),
    max_leaves=6,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.dictionaries(st.from_regex(r"[a-z_]{1,8}|yes|no|null", fullmatch=True), VALUES, min_size=2, max_size=3))
def test_several_outputs_can_be_read_back_as_yaml(capsys: pytest.CaptureFixture[str], outputs: dict[str, Any]) -> None:
    print_outputs(outputs)
    assert yaml.safe_load(capsys.readouterr().out) == outputs


def test_a_text_of_several_lines_is_printed_as_it_reads(capsys: pytest.CaptureFixture[str]) -> None:
    print_outputs({"reply": "Dear you:\n\n  all # is well.", "n": 1})
    assert capsys.readouterr().out == "reply: |-\n  Dear you:\n\n    all # is well.\nn: 1\n"


def test_no_file_is_left_half_written(demo: Workspace) -> None:
    demo.invoke("run", "demo", "hi", "--save-run", "run.json")
    assert {path.name for path in Path(demo.root).iterdir()} == {
        "chains",
        "demo.script.yaml",
        "run.json",
        ".promptchain",
    }
    assert all(path.suffix == ".json" and not path.name.startswith(".") for path in demo.spool.iterdir())


def test_a_secret_with_quotes_in_it_is_not_printed_as_json(demo: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_API_KEY", 'pass"wo\\rd-4711')
    done = demo.invoke("run", "demo", 'it is pass"wo\\rd-4711', "--json")
    assert (done.code, done.json["inputs"]) == (0, {"message": "it is ***"})
    assert "4711" not in done.out

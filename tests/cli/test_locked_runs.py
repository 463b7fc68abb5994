"""Commands on compiled prompts: which they take, what they say of them, and what they refuse."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from typing import Any

import pytest

from promptchain.chain import Demo, Format
from promptchain.records import StepVariant
from tests import lock_kit as kit
from tests.cli.git_kit import make_repo, replace
from tests.workspace import CHAIN, DEMO, Result, Workspace

STALE = "step 'intent' was edited"


@pytest.fixture
def demo(empty: Workspace) -> Workspace:
    """The chain `demo`: its step `intent` gives "refund" on the compiled prompts, and "card" on the file's words."""
    return kit.tuned(empty)


def intent(done: Result) -> str:
    assert done.code == 0, done
    return str(done.out.strip())


def ask(workspace: Workspace, *words: str) -> Result:
    return workspace.invoke("run", "demo", "hi", "-o", "intent", *words)


def on_terminal(workspace: Workspace, *words: str) -> str:
    """What the command writes to a terminal on stderr."""
    reader, writer = pty.openpty()
    with subprocess.Popen([CHAIN, *words], cwd=workspace.root, stdout=subprocess.DEVNULL, stderr=writer) as process:
        os.close(writer)
        found = b""
        try:
            while block := os.read(reader, 65536):
                found += block
        except OSError:  # how Linux ends a terminal
            pass
    os.close(reader)
    assert process.returncode == 0, found
    return found.decode()


# -- run ---------------------------------------------------------------------------------------------------------------


def test_a_run_takes_fresh_prompts_by_itself(demo: Workspace) -> None:
    done = ask(demo)
    assert (intent(done), done.err) == ("refund", "")
    assert intent(ask(demo, "--locked")) == "refund"
    source = ask(demo, "--source")
    assert (intent(source), source.err) == ("card", "")


def test_the_record_says_which_prompts_ran(demo: Workspace) -> None:
    compiled = demo.invoke("run", "demo", "hi", "--json").json["compiled"]
    assert compiled["steps"] == ["intent"]
    assert compiled["model"].startswith("scripted/")
    assert demo.records()[0]["compiled"] == compiled
    assert "compiled" not in demo.invoke("run", "demo", "hi", "--source", "--json").json
    assert "compiled" not in demo.records()[1]
    shown = [demo.invoke("runs", "show", record["id"]).out for record in demo.records()]
    assert f"compiled for {compiled['model']}: intent\n" in shown[0]
    assert "compiled" not in shown[1]


def test_a_terminal_is_told_and_a_pipe_is_not(demo: Workspace) -> None:
    assert "compiled for scripted/" in on_terminal(demo, "run", "demo", "hi")
    assert "demo.script.yaml: intent\x1b" in on_terminal(demo, "run", "demo", "hi")
    assert "compiled for" not in on_terminal(demo, "run", "demo", "hi", "--source")
    other = demo.model({"contains": "", "reply": "card"}, name="other")
    said = on_terminal(demo, "run", "demo", "hi", "-m", other)
    assert f"not compiled for {other}, only for scripted/" in said.replace("\r\n", "")


def test_stale_prompts_are_used_with_a_warning(demo: Workspace) -> None:
    replace(demo, "Decide what", "Choose what")
    done = ask(demo)
    assert intent(done) == "refund"
    assert done.err.startswith("warning: the prompts of 'demo' compiled for scripted/")
    assert done.err.endswith(f"are stale: {STALE}; mend it with: chain compile demo\n")
    assert ask(demo, "--source").err == ""


def test_locked_refuses_what_is_stale(demo: Workspace) -> None:
    replace(demo, "Decide what", "Choose what")
    done = ask(demo, "--locked")
    assert (done.code, done.out) == (101, "")
    assert STALE in done.err
    assert "hint: chain compile demo" in done.err


def test_a_test_on_compiled_prompts_says_what_they_are_worth_on_other_examples(demo: Workspace) -> None:
    text = (demo.root / "chains/demo.yaml").read_text(encoding="utf-8")
    demo.write("chains/demo.yaml", text + "test: {dataset: rows.jsonl, assert: [{type: contains, value: card}]}\n")
    demo.write("chains/rows.jsonl", '{"message": "hi"}\n')
    said = "on compiled prompts, which know some of these examples; on those held out from them: intent 34 % → 86 %\n"
    assert said in demo.invoke("test", "demo").err
    assert "held out" not in demo.invoke("test", "demo", "--source").err


def test_locked_refuses_what_is_not_compiled(demo: Workspace) -> None:
    other = demo.model("card", name="other")
    done = ask(demo, "--locked", "--model", other)
    assert done.code == 101
    assert f"is not compiled for {other}, only for scripted/" in done.err
    assert f"chain compile demo --model {other}" in done.err
    (demo.root / "chains/demo.lock.yaml").unlink()
    assert ask(demo, "--locked").code == 101
    assert demo.records() == []


def test_locked_and_source_exclude_each_other(demo: Workspace) -> None:
    assert ask(demo, "--locked", "--source").code == 2


def test_a_step_on_another_model_than_it_was_compiled_for(demo: Workspace) -> None:
    other = demo.model(*kit.TUNED, name="other")
    done = ask(demo, "-m", f"intent={other}")
    assert intent(done) == "refund"
    assert f"step 'intent' runs on another model: {other}, compiled for scripted/" in done.err
    assert ask(demo, "-m", f"intent={other}", "--locked").code == 101


def test_weights_that_changed(demo: Workspace) -> None:
    demo.model(
        {"contains": "COMPILED", "reply": "refund"}, {"contains": "", "reply": "card", "always": True}, name="demo"
    )
    done = ask(demo)
    assert intent(done) == "refund"
    assert "demo.script.yaml changed; mend it with" in done.err


def test_prompts_that_a_hand_edited(demo: Workspace) -> None:
    replace(demo, "decide what it is", "decide well", "chains/demo.lock.yaml")
    done = ask(demo)
    assert intent(done) == "refund"
    assert "are stale: the compiled prompts were edited by hand; mend it with: chain compile demo" in done.err
    assert ask(demo, "--locked").code == 101


def test_the_seed_prompts_were_kept(demo: Workspace) -> None:
    kit.adopt(demo, kept="no headroom", steps={})
    done = ask(demo, "--locked")
    assert (intent(done), done.err) == ("card", "")
    replace(demo, "Decide what", "Choose what")
    assert ask(demo).err == ""  # nothing of it is used
    assert ask(demo, "--locked").code == 101


@pytest.mark.parametrize(
    ("parts", "old", "new", "why"),
    [
        (
            StepVariant(demos=(Demo(inputs={"message": "x"}, output="card"),)),
            "inputs:\n  message: string, what the customer wrote",
            "inputs:\n  text: string",
            "the demo gives no value for 'text'",
        ),
        (
            StepVariant(demos=(Demo(inputs={"message": "x"}, output="refund"),)),
            "output: [card, refund]",
            "output: [card, charge]",
            "the demo's output does not fit the step's output",
        ),
        (StepVariant(nearest=kit.POOL), "output: [card, refund]", "output: [refund]", "the demo's output does not fit"),
        (StepVariant(format=Format.TEXT), "output: [card, refund]", "output: {a: string}", "the format 'text' cannot"),
        (
            StepVariant(instructions="COMPILED {{ message }}"),
            "inputs:\n  message: string, what the customer wrote",
            "inputs:\n  text: string",
            "uses unknown input or step 'message'",
        ),
    ],
    ids=["demo's input", "demo's output", "pool", "format", "instructions"],
)
def test_what_does_not_fit_any_more_runs_on_the_files_words(
    demo: Workspace, parts: StepVariant, old: str, new: str, why: str
) -> None:
    kit.adopt(demo, steps={"intent": parts})
    replace(demo, old, new)
    path = demo.root / "chains/demo.yaml"
    path.write_text(path.read_text().replace("message }}", "text }}" if "text:" in new else "message }}"))
    done = demo.invoke("show", "demo", "--rendered", "hi", "--step", "intent", "--json")
    assert "step 'intent' runs on the file's words, for" in done.err
    assert why in done.err
    assert "compiled" not in done.json[0]
    assert "COMPILED" not in json.dumps(done.json[0]["messages"])


def test_instructions_that_use_what_the_step_does_not_wait_for(demo: Workspace) -> None:
    kit.adopt(demo, steps={"draft": StepVariant(instructions="Not {{ intent }}."), "intent": kit.COMPILED})
    assert ask(demo, "--locked").code == 0
    kit.adopt(demo, steps={"intent": StepVariant(instructions="COMPILED {{ draft }}")})
    done = ask(demo)
    assert intent(done) == "card"
    assert "step 'intent' runs on the file's words" in done.err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<<<<<<< HEAD\n=======\n>>>>>>> other\n", "chains/demo.lock.yaml:1: a merge has left conflict markers"),
        ("format: 99\n", "chains/demo.lock.yaml:1:9: a newer promptchain wrote this lock"),
        ("models: {a: 1}\n", "chains/demo.lock.yaml:1:13: 'a' must be a mapping"),
    ],
)
def test_a_lock_that_cannot_be_read_is_never_passed_over(demo: Workspace, text: str, said: str) -> None:
    demo.write("chains/demo.lock.yaml", text)
    done = ask(demo)
    assert (done.code, done.out) == (1, "")
    assert said in done.err
    assert "--source goes on without it" in done.err
    assert demo.invoke("commit", "demo").code == 1
    assert said in demo.invoke("check", "demo").out
    source = ask(demo, "--source")
    assert (intent(source), source.err) == ("card", "")


def test_a_run_without_what_picks_its_examples_ends_before_it_begins(
    demo: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    picked = kit.POOL.model_copy(update={"by": "local/wordllama"})
    kit.adopt(demo, steps={"intent": StepVariant(nearest=picked)})
    monkeypatch.setitem(sys.modules, "wordllama", None)
    done = ask(demo)
    assert (done.code, done.out) == (1, "")
    message = "step 'intent' was compiled to pick its examples by local/wordllama, which needs the package wordllama"
    assert done.err == f"error: {message}\n  hint: pip install 'promptchain[rag]'\n"
    assert intent(ask(demo, "--source")) == "card"


# -- batch, test -------------------------------------------------------------------------------------------------------


def test_a_batch_takes_them_too_and_knows_them_again(demo: Workspace) -> None:
    demo.write("rows.jsonl", '{"message": "one"}\n{"message": "two"}\n')
    words = ("run", "demo", "--batch", "rows.jsonl", "-o", "out.jsonl")
    assert demo.invoke(*words).code == 0
    lines = [json.loads(line) for line in (demo.root / "out.jsonl").read_text().splitlines()]
    assert [line["outputs"]["intent"] for line in lines] == ["refund", "refund"]
    assert demo.invoke(*words, "--resume").code == 0
    done = demo.invoke(*words, "--resume", "--source")
    assert done.code == 2
    assert "is not of the row" in done.err


TESTED = DEMO + "test: {dataset: demo/rows.jsonl, assert: [{step: intent, type: equals, value: refund}]}\n"


@pytest.fixture
def tested(empty: Workspace) -> Workspace:
    empty.write("chains/demo/rows.jsonl", '{"message": "one"}\n{"message": "two"}\n')
    return kit.tuned(empty, TESTED)


def passed(done: Result) -> list[Any]:
    return [evaluation["passed"] for evaluation in done.json["evaluations"]]


def test_a_test_is_of_the_compiled_prompts(tested: Workspace) -> None:
    done = tested.invoke("test", "demo", "--json", "--locked")
    assert (done.code, done.err) == (0, "")
    assert tested.invoke("test", "demo", "--source").code == 100
    replace(tested, "Decide what", "Choose what")
    done = tested.invoke("test", "demo")
    assert done.code == 0
    assert STALE in done.err
    assert tested.invoke("test", "demo", "--locked").code == 101


def test_a_version_is_compared_on_its_own_prompts(tested: Workspace) -> None:
    lock = tested.root / "chains/demo.lock.yaml"
    text = lock.read_text()
    lock.unlink()
    assert tested.invoke("commit", "demo").out == "demo@v1\n"
    lock.write_text(text)
    found = tested.invoke("test", "demo", "--compare", "demo@v1", "--json").json["evaluations"][0]["comparison"]
    assert (found["chain"]["difference"], found["chain"]["better"]) == (1.0, 2)
    tested.invoke("commit", "demo")
    flips = tested.invoke("diff", "demo@v1", "v2", "--tests")
    assert "now pass: 2" in flips.out
    lock.unlink()
    done = tested.invoke("test", "demo", "--compare", "demo@v2", "--json")
    assert done.json["evaluations"][0]["comparison"]["chain"]["difference"] == -1.0
    done = tested.invoke("test", "demo", "--compare", "demo@v2", "--source", "--json")
    assert done.json["evaluations"][0]["comparison"]["chain"]["difference"] == 0.0


def test_a_log_tells_scores_on_the_source_apart(tested: Workspace) -> None:
    tested.invoke("test", "demo")
    tested.invoke("test", "demo", "--source")
    scores = tested.invoke("log", "demo").out.split("\t")[-1]
    assert "100 % [" in scores
    assert "(source), 2 examples" in scores


# -- show, replay, diff ------------------------------------------------------------------------------------------------


def test_show_says_for_which_models_and_whether_they_are_fresh(demo: Workspace) -> None:
    assert "intent 34 % → 86 % (fresh)" in " ".join(demo.invoke("show", "demo").out.split())
    (found,) = demo.invoke("show", "demo", "--json").json["compiled"].values()
    assert (found["before"], found["after"], found["fresh"], found["calls"]) == (0.34, 0.86, True, 588)
    replace(demo, "Decide what", "Choose what")
    assert f"(stale: {STALE})" in " ".join(demo.invoke("show", "demo").out.split())
    (found,) = demo.invoke("show", "demo", "--json").json["compiled"].values()
    assert [stale["message"] for stale in found["stale"]] == [STALE]
    assert demo.invoke("show", "demo", "--json", "--source").json["compiled"] == {}


def test_show_renders_what_a_run_sends(demo: Workspace) -> None:
    words = ("show", "demo", "--rendered", "hi", "--step", "intent")
    assert "COMPILED: decide what it is." in demo.invoke(*words).out
    assert ", compiled)" in demo.invoke(*words).out
    assert "COMPILED" not in demo.invoke(*words, "--source").out


def test_a_replay_runs_on_what_the_run_used(demo: Workspace) -> None:
    make_repo(demo.root)
    runs = [demo.invoke("run", "demo", "hi", "--json", *words).json["id"] for words in ((), ("--source",))]
    replace(demo, "COMPILED", "OTHER", "chains/demo.lock.yaml")
    for run, value in zip(runs, ("refund", "card"), strict=True):
        found = demo.invoke("replay", run, "--json")
        assert found.code == 0, found
        assert found.json["run"]["steps"]["intent"]["value"] == value
        assert found.json["run"].get("compiled") == demo.invoke("runs", "show", run, "--json").json.get("compiled")
    assert demo.invoke("replay", runs[0], "--at", ".", "--json").json["run"]["steps"]["intent"]["value"] == "card"


def test_a_replay_of_a_run_that_fell_back(empty: Workspace) -> None:
    """The record names the fallback as the step's model, for which nothing is compiled."""
    fallback = empty.model(*kit.TUNED, name="fallback")
    empty.chain(
        f"""
        inputs: {{message: string}}
        steps:
          intent:
            prompt: "Classify: {{{{ message }}}}"
            output: [card, refund]
            model: MODEL
            fallbacks: [{fallback}]
        """,
        replies=[{"contains": "never", "reply": "card"}],
    )
    kit.adopt(empty)
    run = empty.invoke("run", "demo", "hi", "--json").json
    assert run["outputs"] == {"intent": "refund"}
    done = empty.invoke("replay", run["id"], "--json")
    assert (done.json["run"]["outputs"], done.err) == ({"intent": "refund"}, "")
    assert done.json["run"]["compiled"] == run["compiled"]


def test_a_replay_on_another_model_takes_what_a_run_would(demo: Workspace) -> None:
    run = demo.invoke("run", "demo", "hi", "--json").json["id"]
    other = demo.model(*kit.TUNED, name="other")
    found = demo.invoke("replay", run, "--model", other, "--json").json["run"]
    assert found["steps"]["intent"]["value"] == "card"
    assert "compiled" not in found


def test_a_version_and_a_revision_have_prompts_of_their_own(demo: Workspace) -> None:
    make_repo(demo.root)
    assert demo.invoke("commit", "demo").out == "demo@v1\n"
    (demo.root / "chains/demo.lock.yaml").unlink()
    assert intent(ask(demo)) == "card"
    for reference in ("demo@v1", "demo@git:HEAD"):
        done = demo.invoke("run", reference, "hi", "-o", "intent", "--locked")
        assert intent(done) == "refund", reference
    assert demo.invoke("commit", "demo@git:HEAD").out == "demo@v1\n"


def test_diff_says_what_compiling_changed(demo: Workspace) -> None:
    lock = demo.root / "chains/demo.lock.yaml"
    parts = StepVariant(
        instructions="Decide well what the customer wants.",
        demos=(Demo(inputs={"message": "lost"}, output="card"),),
        nearest=kit.POOL,
        format=Format.JSON,
    )
    lock.unlink()
    demo.invoke("commit", "demo")
    kit.adopt(demo, steps={"intent": parts})
    done = demo.invoke("diff", "demo")
    for said in (
        "+ compiled for scripted/",
        "demo.script.yaml: intent 34 % → 86 %",
        "instructions: Decide {+well +}what the customer wants.",
        'demos[0]: {"inputs": {"message": "lost"}, "output": "card"',
        "nearest.pool: 1 example",
        "format: json",
    ):
        assert said in done.out, done
    (found,) = demo.invoke("diff", "demo", "--json").json["compiled"]
    assert (found["kind"], sorted(found["steps"])) == ("added", ["intent"])
    assert {change["path"][0] for change in found["steps"]["intent"]} == {
        "instructions", "demos", "format", "nearest.count", "nearest.by", "nearest.pool"
    }  # fmt: skip
    assert demo.invoke("diff", "demo", "--exit-code").code == 1
    assert demo.invoke("diff", "demo", "--step", "draft").out == ""
    assert "compiled for" in demo.invoke("diff", "demo", "--stat").out
    rendered = demo.invoke("diff", "demo", "--rendered", "-i", "message=hi")
    assert "Decide {+well +}what the customer wants." in rendered.out
    demo.invoke("commit", "demo")
    assert demo.invoke("diff", "demo").out == ""


def test_diff_counts_what_became_of_a_pool(demo: Workspace) -> None:
    def pool(*texts: str) -> StepVariant:
        found = tuple(Demo(inputs={"message": text}, output="card") for text in texts)
        return StepVariant(nearest=kit.POOL.model_copy(update={"pool": found}))

    kit.adopt(demo, steps={"intent": pool("one", "two", "three")})
    demo.invoke("commit", "demo")
    kit.adopt(demo, steps={"intent": pool("one", "three", "a fourth", "the fifth of them")})
    done = demo.invoke("diff", "demo")
    assert "nearest.pool: examples 1 removed, 2 added" in done.out

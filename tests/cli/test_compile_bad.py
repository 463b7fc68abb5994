"""`chain compile` where something is wrong: one clear message with place and remedy, and nothing lost."""

from __future__ import annotations

import errno
import os
import re
import subprocess
from typing import Any

import pytest

from promptchain.errors import Fault, ModelError
from promptchain.lm.scripted import ScriptedLM
from tests.cli.compile_kit import CHAIN, MODEL, compiled, dataset, entry, lock, lock_text, no_lock, project, row, rows
from tests.workspace import CHAIN as COMMAND
from tests.workspace import Workspace

OWN = "scripted/demo.script.yaml"
JUDGE = "    - {step: intent, type: llm-rubric, value: kind, provider: scripted/judge.script.yaml}\n"


@pytest.fixture
def learning(empty: Workspace) -> Workspace:
    return project(empty)


def refused(workspace: Workspace, *words: str, code: int = 1) -> list[str]:
    """What stderr ends with: the error, and its hint."""
    done = workspace.invoke("compile", *words)
    assert (done.code, done.out) == (code, ""), done
    assert "Traceback" not in done.err
    lines = done.err.splitlines()
    assert sum(line.startswith("error: ") for line in lines) == 1, done
    return lines[next(i for i, line in enumerate(lines) if line.startswith("error: ")) :]


# -- names -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "says", "hint"),
    [
        ((), "which chain?", "chain compile NAME; --all for every lock that is stale, --check to look at them"),
        (("dmo",), "there is no chain 'dmo'", "did you mean 'demo'?"),
        (
            ("demo@v1",),
            "'demo@v1' is a version; what is compiled is the chain in the work tree",
            "bring it back first: chain rollback demo v1",
        ),
        (("demo", "--step", "inten"), "there is no prompt step 'inten'", "did you mean 'intent'?"),
        (("demo", "--optimizer", "demo"), "unknown optimizer 'demo'", "did you mean 'demos'?"),
        (("demo", "--model", "inten=x/y"), "unknown step 'inten'", "did you mean 'intent'?"),
        (("demo", "--all"), "--all takes no names and no models", "leave out --all, or the others"),
    ],
)
def test_a_name_that_is_not_there(learning: Workspace, words: tuple[str, ...], says: str, hint: str) -> None:
    assert refused(learning, *words, code=2) == [f"error: {says}", f"  hint: {hint}"]
    assert no_lock(learning)


@pytest.mark.parametrize("flag", ["--model", "--teacher", "--proposer"])
def test_a_model_that_is_not_there_is_found_before_anything_is_spent(
    learning: Workspace, asked: list[Any], flag: str
) -> None:
    [said] = refused(learning, "demo", flag, "scripted/nope.yaml", code=2)
    assert said.endswith("nope.yaml can't be read: No such file or directory")
    assert asked == []


def test_an_unknown_provider_is_told_with_what_to_write(learning: Workspace) -> None:
    said, hint = refused(learning, "demo", "--model", "nope")
    assert said.endswith("step 'intent' failed: no provider is known for the model 'nope'")
    assert hint.startswith("  hint: write provider/model, for example openai/gpt-4o-mini; ")


# -- data and assertions -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "says", "hint"),
    [
        (CHAIN.partition("test:")[0], "the chain 'demo' has no `test:`", "for example test: {dataset: rows.jsonl"),
        (
            CHAIN.replace("  dataset: rows.jsonl\n", ""),
            "the chain 'demo' names no dataset",
            "its rows are what is learned from: test: {dataset: rows.jsonl}",
        ),
        (
            CHAIN.partition("  assert:")[0],
            "the chain 'demo' has no assertions, so nothing says what is better",
            'test: {assert: [{step: intent, type: equals, value: "{{ expected.intent }}"}]}',
        ),
    ],
)
def test_a_chain_that_says_nothing_of_what_is_better(learning: Workspace, text: str, says: str, hint: str) -> None:
    learning.chain(text.replace("MODEL", OWN), replies=MODEL)
    found = refused(learning, "demo", code=2)
    assert found[0] == f"error: {says}"
    assert found[1].startswith(f"  hint: {hint}")


def test_too_few_rows(learning: Workspace) -> None:
    dataset(learning, [row("one", "card")])
    says, hint = refused(learning, "demo")
    assert says.startswith("error: of these examples none is for dev (")
    assert hint.startswith("  hint: add rows; about 30 are the least to compile with, or say which is which in a colu")
    dataset(learning, [])
    assert refused(learning, "demo", code=2)[0] == "error: there are no rows in chains/rows.jsonl"


def test_rows_of_one_label_are_a_warning(learning: Workspace) -> None:
    dataset(learning, [{**one, "expected": {"intent": "refund"}} for one in rows()])
    done = learning.invoke("compile", "demo", "--optimizer", "demos")
    assert done.code == 0
    says = "every example expects 'refund' of step 'intent': what is tuned on them knows no other"
    assert f"warning: {says}\n" in done.err


def test_assertions_that_never_apply(learning: Workspace) -> None:
    dataset(learning, [{name: value for name, value in one.items() if name != "expected"} for one in rows()])
    found = refused(learning, "demo")
    assert found == [
        "error: no assertion says anything about the examples",
        "  hint: chain test shows what each example comes to",
    ]


# -- models ------------------------------------------------------------------------------------------------------------


def test_a_server_that_is_dead_ends_it_with_the_reason(learning: Workspace, dead_port: str) -> None:
    text = CHAIN.replace("MODEL", "hosted_vllm/x").replace("    output:", "    retry: 0\n    output:")
    learning.write("chains/demo.yaml", text + f'params: {{api_base: "{dead_port}"}}\n')
    says, hint = refused(learning, "demo")
    address = dead_port.removeprefix("http://").removesuffix("/v1")
    assert says.startswith("error: 11 examples could not be tried; the last: step 'intent' failed: ")
    assert address in says + hint
    assert hint.endswith("; then run the same again: what was answered is in the cache")
    assert no_lock(learning)


def test_a_model_that_disappears_half_way(
    learning: Workspace, asked: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    there = ScriptedLM.complete

    async def gone(self: ScriptedLM, request: Any, on_text: Any = None) -> Any:
        if len(asked) >= 40:
            raise ModelError("it is gone", fault=Fault.AUTH, model=request.model, hint="log in")
        return await there(self, request, on_text)

    with monkeypatch.context() as patch:
        patch.setattr(ScriptedLM, "complete", gone)
        says, hint = refused(learning, "demo", "--optimizer", "demos")
    assert says == "error: 11 examples could not be tried; the last: step 'intent' failed: it is gone"
    assert hint == "  hint: log in; then run the same again: what was answered is in the cache"
    assert (no_lock(learning), len(asked)) == (True, 40)
    assert compiled(learning, "--optimizer", "demos")["compiled"]
    assert len({str(request) for request in asked}) == len(asked)


def test_examples_that_cannot_be_scored_are_told(learning: Workspace) -> None:
    lost = [{"contains": f"odd {part} 1", "error": "authentication"} for part in ("dev", "test")]
    learning.model(*lost, *MODEL, name="demo")
    done = learning.invoke("compile", "demo", "--optimizer", "demos")
    assert "7 better, 0 worse of 15" in done.out, done
    assert "9 better, 0 worse of 19" in done.out
    for part in ("dev", "held-out"):
        said = rf"^warning: of the {part} examples 1 could not be scored; the first: \w+: step 'intent' fail"
        assert re.search(said, done.err, re.MULTILINE), done
    assert re.search(r"^\d+ calls \(\d+ tries\), ", done.err, re.MULTILINE)


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        ({"error": "authentication"}, "the judge scripted/judge.script.yaml failed: the script says: authentication"),
        ({"reply": "nonsense"}, "the judge scripted/judge.script.yaml gave no verdict: the reply is not JSON: 'nonse"),
    ],
)
def test_a_judge_that_fails(learning: Workspace, reply: dict[str, Any], says: str) -> None:
    learning.chain((CHAIN + JUDGE).replace("MODEL", OWN), replies=MODEL)
    learning.model({"always": True, **reply}, name="judge")
    error, hint = refused(learning, "demo")
    assert says in error
    assert hint.endswith("run the same again: what was answered is in the cache")
    assert no_lock(learning)


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("{{ broken", "broken as a template"),
        ("<instructions></instructions>", "empty"),
        ("Use {{ nonsense }}.", "naming what the step has not"),
        ("word " * 2000, "too long"),
        ("Decide what the customer wants.", "the same again"),
    ],
)
def test_a_proposer_that_writes_nonsense(learning: Workspace, reply: str, reason: str) -> None:
    proposer = learning.model({"always": True, "reply": reply}, name="proposer")
    found = compiled(learning, "--optimizer", "instructions", "--proposer", proposer)
    [stage] = found["steps"][0]["stages"]
    assert stage["note"] == f"6 of 6 proposals could not be used (6 {reason}); the proposer was asked no more"
    assert found["kept"] == "no candidate was better on the dev examples"


def test_a_proposer_that_fails_is_named(learning: Workspace) -> None:
    proposer = learning.model({"always": True, "error": "authentication"}, name="proposer")
    [says] = refused(learning, "demo", "--optimizer", "instructions", "--proposer", proposer)
    assert says == f"error: the proposer {proposer} failed: the script says: authentication"
    assert no_lock(learning)


# -- locks -------------------------------------------------------------------------------------------------------------

MERGED = "format: 1\n<<<<<<< ours\nmodels: {}\n=======\nmodels: {}\n>>>>>>> theirs\n"


@pytest.mark.parametrize(
    ("text", "place", "says", "remedy"),
    [
        (MERGED, ":2: ", "a merge has left conflict markers in lines 2, 4, 6", "chain compile demo"),
        (
            "format: 2\nmodels: {}\n",
            ":1:9: ",
            "a newer promptchain wrote this lock (format 2",
            "install a newer promptchain",
        ),
        ("[1\n", ":2:1: ", "a ',' or a closing bracket is missing", "chain compile demo"),
        ("format: 1\nmodels: 3\n", ":2:9: ", "'models' must be a mapping", "chain compile demo"),
        ("format: 1\nmodels: {}\nmore: 1\n", ":3:1: ", "unknown key 'more'", "chain compile demo"),
    ],
)
def test_a_lock_that_cannot_be_read(
    learning: Workspace, asked: list[Any], text: str, place: str, says: str, remedy: str
) -> None:
    learning.write("chains/demo.lock.yaml", text)
    for words in (["demo"], ["--all"], ["--check"], ["demo", "--dry-run"]):
        [error] = refused(learning, *words)
        assert error.startswith(f"error: chains/demo.lock.yaml{place}{says}")
        assert remedy in error
    assert (asked, lock_text(learning)) == ([], text)


def test_settings_of_a_lock_that_somebody_edited(learning: Workspace) -> None:
    compiled(learning, "--optimizer", "demos")
    learning.write("chains/demo.lock.yaml", lock_text(learning).replace("optimizer: demos", "optimizer: nonsense"))
    assert learning.invoke("compile", "--check").code == 101
    assert refused(learning, "demo") == [
        "error: chains/demo.lock.yaml: the settings that it has cannot be used: 'optimizer': input should be 'auto', "
        "'nearest', 'demos', 'format' or 'instructions'",
        "  hint: take the file back from git, or remove its `settings:` and compile again",
    ]
    done = learning.invoke("compile", "demo", "--optimizer", "demos")
    assert done.code == 0, done
    assert entry(learning)["settings"] == {"optimizer": "demos"}


def test_prompts_of_a_lock_that_somebody_edited(learning: Workspace) -> None:
    compiled(learning, "--optimizer", "demos")
    before = lock_text(learning)
    learning.write("chains/demo.lock.yaml", before.replace("output: refund", "output: card"))
    done = learning.invoke("compile", "--check")
    assert done.code == 101, done
    assert "by hand" in done.out
    assert learning.invoke("compile", "demo").code == 0
    assert learning.invoke("compile", "--check").code == 0


def test_two_at_once_for_different_models_lose_nothing(learning: Workspace) -> None:
    names = [f"m{number}" for number in range(2)]
    models = [learning.model(*MODEL, {"reply": name}, name=name) for name in names]
    words = ["compile", "demo", "--optimizer", "demos", "--model"]
    running = [
        subprocess.Popen([COMMAND, *words, model], cwd=learning.root, stderr=subprocess.PIPE) for model in models
    ]
    for process in running:
        _, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
    assert sorted(lock(learning)) == sorted(models)
    assert all(found["steps"] for found in lock(learning).values())
    assert len(learning.invoke("log", "demo").out.splitlines()) == 3


# -- what cannot be written --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_lock_that_cannot_be_written_loses_nothing_that_was_paid_for(
    learning: Workspace, asked: list[Any], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def full(_: int) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr("promptchain.lock.os.fsync", full)
        says, hint = refused(learning, "demo", "--optimizer", "demos")
    assert says == "error: chains/demo.lock.yaml: cannot be written: " + os.strerror(number)
    assert hint == "  hint: mend that and run the same again: what was answered is in the cache"
    assert [path.name for path in (learning.root / "chains").iterdir() if "lock" in path.name] == []
    calls = len(asked)
    assert learning.invoke("compile", "demo", "--optimizer", "demos").code == 0
    assert len(asked) == calls


def test_a_folder_that_cannot_be_written_is_told_of_before_anything_is_spent(
    learning: Workspace, asked: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("promptchain.compiling.os.access", lambda path, mode: path != learning.root / "chains")
        says, hint = refused(learning, "demo", "--optimizer", "demos")
    assert says == "error: chains/demo.lock.yaml: cannot be written: the folder is read-only, or another's"
    assert hint == f"  hint: mend that first: ls -ld {learning.root / 'chains'}"
    assert asked == []


def test_a_store_that_cannot_be_written_costs_the_version_alone(learning: Workspace) -> None:
    (learning.root / ".promptchain/store.git/promptchain").mkdir(parents=True)
    learning.write(".promptchain/store.git/objects", "nothing that git knows")
    done = learning.invoke("compile", "demo", "--optimizer", "demos")
    assert done.code == 0, done
    assert "warning: " in done.err
    assert "✓ compiled intent: chains/demo.lock.yaml\n" in done.out
    assert entry(learning)["steps"]

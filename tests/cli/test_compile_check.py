"""`chain compile --check`: what makes a lock stale, by name, and at no cost."""

from __future__ import annotations

import resource
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from tests.cli.compile_kit import CHAIN, DULL, MODEL, compiled, dataset, lock_text, project, rows
from tests.workspace import CHAIN as COMMAND
from tests.workspace import Workspace

OWN = "scripted/demo.script.yaml"
OTHER = "scripted/other.script.yaml"


@pytest.fixture
def locked(empty: Workspace) -> Workspace:
    """A compiled chain."""
    compiled(project(empty), "--optimizer", "demos")
    return empty


def edited(workspace: Workspace, old: str, new: str) -> None:
    text = CHAIN.replace("MODEL", OWN)
    assert old in text
    workspace.write("chains/demo.yaml", text.replace(old, new))


def stale(workspace: Workspace, *words: str) -> list[str]:
    """What is said of why the lock is stale."""
    done = workspace.invoke("compile", "--check", *words)
    assert done.code == 101, done
    assert done.err == "  hint: chain compile demo\n"
    return [line.removeprefix(f"✗ demo on {OWN}: ") for line in done.out.splitlines()]


def test_a_chain_without_a_lock_need_not_even_load(locked: Workspace) -> None:
    locked.write("chains/draft.yaml", "steps: {a: {promt: hi}}\n")
    assert locked.invoke("compile", "--check").code == 0
    assert locked.invoke("compile", "--check", "draft").code == 1


def test_a_model_that_took_the_place_of_the_chains_own_is_told(locked: Workspace) -> None:
    locked.model(*DULL, name="other")
    edited(locked, OWN, OTHER)
    done = locked.invoke("compile", "--check")
    assert (done.code, f"✗ demo on {OTHER}: not compiled" in done.out) == (101, True), done
    edited(locked, "Decide", "Decide")
    compiled(locked, "--model", OTHER, "--optimizer", "demos")
    assert locked.invoke("compile", "--check").code == 0, "each of the two has its own"


def test_what_is_as_it_was_is_fresh(locked: Workspace, asked: list[Any]) -> None:
    before = lock_text(locked)
    done = locked.invoke("compile", "--check")
    assert (done.code, done.out, done.err) == (0, f"✓ demo on {OWN}: fresh\n", "")
    assert (asked, lock_text(locked)) == ([], before)


CHANGES: dict[str, tuple[Callable[[Workspace], Any], str, str | None]] = {
    "instructions": (lambda w: edited(w, "Decide", "Tell"), "step 'intent' was edited", "intent"),
    "prompt": (lambda w: edited(w, "Classify:", "Sort:"), "step 'intent' was edited", "intent"),
    "output": (lambda w: edited(w, "[card, refund]", "[card, refund, pin]"), "step 'intent' was edited", "intent"),
    "new step": (
        lambda w: edited(w, "test:\n", "  more: {prompt: x}\ntest:\n"),
        "step 'more' is new",
        "more",
    ),
    "params": (
        lambda w: edited(w, "inputs:", "params: {temperature: 1}\ninputs:"),
        "the chain's inputs, params or outputs were edited",
        None,
    ),
    "script": (
        lambda w: w.model(*MODEL, {"reply": "x"}, name="demo"),
        f"the script of {OWN} changed",
        "intent",
    ),
    "dataset": (
        lambda w: dataset(w, rows(test=11)),
        "the dataset changed (52 examples then, 54 now)",
        None,
    ),
    "assertion": (
        lambda w: edited(w, "type: equals", "type: contains"),
        "the assertions, the judge or the embedder were edited",
        None,
    ),
    "setting": (
        lambda w: edited(w, "test:\n", "compile: {max_demos: 3}\ntest:\n"),
        "the `compile:` section was edited",
        None,
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_changed_is_named(locked: Workspace, name: str) -> None:
    change, says, step = CHANGES[name]
    change(locked)
    assert stale(locked) == [says]
    done = locked.invoke("compile", "--check", "--json")
    assert (done.code, done.json["fresh"], done.json["not_compiled"]) == (101, False, [])
    [found] = done.json["locked"]
    assert {name: found[name] for name in ("chain", "model", "compiled", "fresh", "kept")} == {
        "chain": "demo", "model": OWN, "compiled": True, "fresh": False, "kept": None,
    }  # fmt: skip
    assert [(one["step"], one["message"]) for one in found["stale"]] == [(step, says)]


def test_compiling_again_makes_it_fresh(locked: Workspace) -> None:
    edited(locked, "Decide", "Tell")
    assert stale(locked) == ["step 'intent' was edited"]
    assert locked.invoke("compile", "demo").code == 0
    assert locked.invoke("compile", "--check").code == 0


def test_the_models_of_steps_count(locked: Workspace) -> None:
    locked.model(*MODEL, name="other")
    edited(locked, "    output:", "    model: scripted/other.script.yaml\n    output:")
    assert stale(locked) == [f"step 'intent' runs on another model: scripted/other.script.yaml, compiled for {OWN}"]


def test_layout_comments_and_descriptions_do_not_count(locked: Workspace) -> None:
    edited(locked, "model: ", "# a remark\ndescription: Sorts.\nmodel:   ")
    assert locked.invoke("compile", "--check").code == 0


def test_what_was_never_compiled_is_stale_where_it_is_asked_for(locked: Workspace) -> None:
    locked.write("chains/other.yaml", CHAIN.replace("MODEL", OWN))
    assert locked.invoke("compile", "--check").code == 0
    done = locked.invoke("compile", "--check", "other")
    assert (done.code, done.out, done.err) == (101, "✗ other: not compiled\n", "  hint: chain compile other\n")
    assert locked.invoke("compile", "--check", "other", "--json").json["not_compiled"] == ["other"]
    done = locked.invoke("compile", "--check", "demo", "--model", "local/smollm2")
    assert (done.code, done.out) == (101, "✗ demo on local/smollm2: not compiled\n")


def test_nothing_compiled_at_all_is_said(empty: Workspace) -> None:
    done = project(empty).invoke("compile", "--check")
    assert (done.code, done.out, done.err) == (0, "", "nothing is compiled here: chain compile NAME\n")


def test_a_model_that_is_gone_is_an_error_not_a_fresh_lock(locked: Workspace) -> None:
    (locked.root / "demo.script.yaml").unlink()
    done = locked.invoke("compile", "--check")
    assert done.code != 0
    assert "demo.script.yaml can't be read" in done.out + done.err


def test_it_takes_no_model_no_litellm_and_little_time(locked: Workspace) -> None:
    code = (
        "import sys; from promptchain.cli.app import app\n"
        "try: app(['compile', '--check'], standalone_mode=False)\n"
        "finally: print(sorted({'litellm', 'gepa', 'xllamacpp', 'git', 'rich'} & set(sys.modules)), file=sys.stderr)"
    )
    command = [COMMAND.with_name("python"), "-c", code]
    done = subprocess.run(command, cwd=locked.root, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == (f"✓ demo on {OWN}: fresh\n", "[]\n")
    assert any(_seconds(locked) < 0.8 for _ in range(3))


def _seconds(workspace: Workspace) -> float:
    """Of the processor."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert workspace.run("compile", "--check").code == 0
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_the_hint_compiles_what_is_stale(locked: Workspace) -> None:
    locked.model(*MODEL, name="other")
    compiled(locked, "--optimizer", "demos", "--model", OTHER)
    locked.model({"always": True, "reply": "card"}, name="other")
    done = locked.invoke("compile", "--check")
    assert (done.code, done.err) == (101, f"  hint: chain compile demo --model {OTHER}\n")
    edited(locked, "Decide", "Tell")
    assert locked.invoke("compile", "--check").err == "  hint: chain compile --all\n"
    locked.invoke("compile", "--all")
    assert locked.invoke("compile", "--check").code == 0

"""`freshness`: every entry of a lock against all that it was made from."""

from __future__ import annotations

import json
from typing import Any

import pytest

from promptchain.errors import InvalidFileError, UsageError
from promptchain.freshness import freshness
from promptchain.project import Project
from tests import lock_kit as kit
from tests.cli.git_kit import replace
from tests.workspace import DEMO, Workspace

TESTED = (
    DEMO
    + """\
test:
  dataset: demo/rows.jsonl
  assert:
    - {step: intent, type: equals, value: card}
compile: {seed: 1}
"""
)
ROWS = '{"message": "one"}\n{"message": "two"}\n'


@pytest.fixture
def demo(empty: Workspace) -> Workspace:
    empty.write("chains/demo/rows.jsonl", ROWS)
    return kit.tuned(empty, TESTED)


def told(workspace: Workspace, *models: str) -> list[str]:
    (found,) = freshness(Project.find(workspace.root), "demo", models)
    return [stale.message for stale in found.stale]


def test_what_was_just_compiled_is_fresh(demo: Workspace) -> None:
    (found,) = freshness(Project.find(), "demo")
    assert (found.fresh, found.compiled, found.stale, found.kept) == (True, True, (), None)
    assert json.loads(json.dumps(found.to_json())) == {
        "chain": "demo", "model": found.model, "compiled": True, "fresh": True, "kept": None, "stale": []
    }  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("Decide what", "Choose what", "step 'intent' was edited"),
        ("Check {{ draft }}", "Look at {{ draft }}", "step 'check' was edited"),
        ("what the customer wrote", "what was written", "the chain's inputs, params or outputs were edited"),
        ("value: card", "value: refund", "the assertions, the judge or the embedder were edited"),
        ("seed: 1", "seed: 2", "the `compile:` section was edited"),
    ],
)
def test_an_edit_of_the_chain(demo: Workspace, old: str, new: str, message: str) -> None:
    replace(demo, old, new)
    assert told(demo) == [message]


def test_an_assertion_that_compares_models_is_one_too(demo: Workspace) -> None:
    replace(
        demo,
        "value: card}",
        "value: card}\n    - {type: select-best, value: the politest, provider: openai/gpt-5-mini}",
    )
    assert told(demo) == ["the assertions, the judge or the embedder were edited"]
    kit.adopt(demo)
    assert told(demo) == []


def test_what_decides_nothing_is_edited(demo: Workspace) -> None:
    replace(demo, "description: Answer a customer.", "description: Else.\n# a comment")
    replace(demo, "compile: {seed: 1}", "compile: {seed: 1}\n")
    assert told(demo) == []


def test_prompts_that_a_hand_edited(demo: Workspace) -> None:
    replace(demo, "decide what it is", "decide well", "chains/demo.lock.yaml")
    assert told(demo) == ["the compiled prompts were edited by hand"]


def test_rows_that_were_added(demo: Workspace) -> None:
    demo.write("chains/demo/rows.jsonl", ROWS + '{"message": "three"}\n')
    assert told(demo) == ["the dataset changed (2 examples then, 3 now)"]
    demo.write("chains/demo/rows.jsonl", "".join(reversed(ROWS.splitlines(keepends=True))))
    assert told(demo) == []


def test_rows_that_are_gone(demo: Workspace) -> None:
    (demo.root / "chains/demo/rows.jsonl").unlink()
    assert told(demo) == ["the test data cannot be read: no file 'demo/rows.jsonl' beside the chain"]


def test_a_model_that_answers_otherwise(demo: Workspace) -> None:
    demo.model("other", name="demo")
    assert [message.rpartition("/")[2] for message in told(demo)] == ["demo.script.yaml changed"]


def test_a_step_on_another_model(demo: Workspace) -> None:
    (message,) = told(demo, "check=x/y")
    assert message.startswith("step 'check' runs on another model: x/y, compiled for scripted/")


def test_models_that_are_asked_for(demo: Workspace) -> None:
    kit.adopt(demo, words=("x/other",), kept="no headroom", steps={})
    replace(demo, "Decide what", "Choose what")
    found = {item.model: item for item in freshness(Project.find(), "demo")}
    assert len(found) == 2
    assert found["x/other"].kept == "no headroom"
    assert not any(item.fresh for item in found.values())
    one, none = freshness(Project.find(), "demo", ["x/other", "x/none"])
    assert (one.model, one.compiled) == ("x/other", True)
    assert (none.model, none.compiled, none.fresh, none.stale) == ("x/none", False, False, ())


def test_nothing_is_compiled(empty: Workspace) -> None:
    empty.chain()
    assert freshness(Project.find(), "demo") == []


@pytest.mark.parametrize(
    ("name", "error"), [("dmo", UsageError), ("demo", InvalidFileError)], ids=["unknown", "broken lock"]
)
def test_what_cannot_be_looked_at(demo: Workspace, name: str, error: Any) -> None:
    demo.write("chains/demo.lock.yaml", "models: [")
    with pytest.raises(error):
        freshness(Project.find(), name)

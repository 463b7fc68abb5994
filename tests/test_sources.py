"""`sources`, and what versions and locks make of it: code, passages and other chains are part of what a chain is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from promptchain import sources
from promptchain.freshness import freshness
from promptchain.project import Project
from promptchain.records import StepVariant
from tests import lock_kit as kit
from tests.cli.git_kit import make_repo
from tests.workspace import Workspace

OUTER = """
model: MODEL
inputs: {message: string}
steps:
  tidy: {python: "helpers.tidy:tidy"}
  pages: {retrieve: {from: "pages/*.md", query: "{{ tidy }}", top_k: 1}}
  inner: {chain: inner, inputs: {q: "{{ tidy }}"}}
  reply:
    prompt: "Reply to {{ message }} from {{ pages[0].text }} and {{ inner.x }}"
    tools: [{python: "helpers.tools:look"}]
outputs: {reply: "{{ reply }}"}
test:
  dataset: rows.jsonl
  assert: [{step: reply, type: contains, value: fine}]
"""
INNER = """
model: MODEL
inputs: {q: string}
steps:
  x: {prompt: {file: inner/x.md}}
"""
REPLIES = ({"contains": "Reply to", "reply": "It is fine."}, {"contains": "Ask", "reply": "An answer."})


@pytest.fixture
def used(empty: Workspace) -> Workspace:
    """The chain `demo`, which uses code, pages and the chain `inner`, in a repository."""
    empty.write(
        "helpers/tidy.py", "from helpers.words import trim\ndef tidy(message: str) -> str:\n    return trim(message)\n"
    )
    empty.write("helpers/words.py", "def trim(text):\n    return text.strip()\n")
    empty.write("helpers/tools.py", 'def look(item: str) -> str:\n    """Look it up."""\n    return item\n')
    empty.write("chains/pages/one.md", "# One\n\nThe page about one.\n")
    empty.write("chains/inner/x.md", "Ask {{ q }}\n")
    empty.write("chains/rows.jsonl", '{"message": "one"}\n')
    empty.chain(INNER, name="inner", replies=REPLIES)
    empty.chain(OUTER, replies=REPLIES)
    empty.write(".gitignore", "*.script.yaml\n")
    make_repo(empty.root)
    return empty


def compile_inner(workspace: Workspace) -> None:
    kit.adopt(workspace, "inner", steps={"x": StepVariant(instructions="Be brief.")})


def edits(workspace: Workspace) -> dict[str, Callable[[], object]]:
    return {
        "code": lambda: workspace.write("helpers/tidy.py", "def tidy(message: str) -> str:\n    return message\n"),
        "code that code imports": lambda: workspace.write("helpers/words.py", "def trim(text):\n    return text\n"),
        "code of a tool": lambda: workspace.write("helpers/tools.py", "def look(item: str) -> str:\n    return ''\n"),
        "a page": lambda: workspace.write("chains/pages/one.md", "# One\n\nAnother text.\n"),
        "a new page": lambda: workspace.write("chains/pages/two.md", "# Two\n"),
        "the inner chain": lambda: workspace.write("chains/inner/x.md", "Ask again {{ q }}\n"),
        "the inner lock": lambda: compile_inner(workspace),
    }


EDITS = {
    "code": "tidy",
    "code that code imports": "tidy",
    "code of a tool": "reply",
    "a page": "pages",
    "a new page": "pages",
    "the inner chain": "inner",
    "the inner lock": "inner",
}


WHAT = {
    "tidy": "the code of helpers.tidy:tidy, or what that imports",
    "reply": "the code of helpers.tools:look, or what that imports",
    "pages": "the files of pages/*.md",
    "inner": "the chain 'inner', its lock, or what that uses",
}


def prints(workspace: Workspace) -> dict[str, str]:
    project = Project.find(workspace.root)
    return project.sources(project.load("demo"))


@pytest.mark.parametrize("edit", EDITS)
def test_only_the_step_that_uses_it_has_another_fingerprint(used: Workspace, edit: str) -> None:
    before = prints(used)
    assert set(before) == {"tidy", "pages", "inner", "reply"}
    edits(used)[edit]()
    after = prints(used)
    assert {name for name in after if after[name] != before[name]} == {EDITS[edit]}


@pytest.mark.parametrize("edit", EDITS)
def test_it_makes_another_version(used: Workspace, edit: str) -> None:
    assert used.invoke("commit", "demo").out == "demo@v1\n"
    assert used.invoke("commit", "demo").out == "demo@v1\n"
    edits(used)[edit]()
    assert used.invoke("commit", "demo").out == "demo@v2\n"


@pytest.mark.parametrize("edit", EDITS)
def test_it_makes_a_lock_stale(used: Workspace, edit: str) -> None:
    kit.adopt(used, steps={"reply": StepVariant(instructions="Be kind.")})
    (found,) = freshness(Project.find(used.root), "demo")
    assert found.fresh
    edits(used)[edit]()
    (found,) = freshness(Project.find(used.root), "demo")
    name = EDITS[edit]
    assert f"what step '{name}' uses changed: {WHAT[name]}" in [stale.message for stale in found.stale]


def test_of_several_things_all_are_named(used: Workspace) -> None:
    both = 'tools: [{python: "helpers.tools:look"}, {chain: inner}]'
    used.chain(OUTER.replace('tools: [{python: "helpers.tools:look"}]', both), replies=REPLIES)
    kit.adopt(used, steps={"reply": StepVariant(instructions="Be kind.")})
    edits(used)["the inner chain"]()
    (found,) = freshness(Project.find(used.root), "demo")
    told = f"what step 'reply' uses changed: one of these: {WHAT['reply']}; {WHAT['inner']}"
    assert told in [stale.message for stale in found.stale]


def test_a_step_that_uses_nothing_has_none(demo: Workspace) -> None:
    project = Project.find(demo.root)
    assert project.sources(project.load("demo")) == {}


def test_what_is_not_there_is_left_out(used: Workspace) -> None:
    project = Project.find(used.root)
    chain = project.load("demo")
    (used.root / "helpers/tidy.py").unlink()
    (used.root / "chains/pages/one.md").unlink()
    found = sources.of(chain, project.folder, used.root)
    assert set(found["python"]) == {"helpers/tools.py"}
    assert not found.get("retrieve")


def asked(workspace: Workspace, reference: str) -> list[str]:
    """What the inner chain of a run is asked, by its record."""
    result = workspace.invoke("run", reference, "one", "--json")
    assert result.code == 0, result
    project = Project.find(workspace.root)
    chain = project.load(reference)
    return [chain.chains["inner"].steps["x"].prompt.text]  # type: ignore[union-attr]


def test_a_version_keeps_the_chains_that_it_runs(used: Workspace) -> None:
    used.invoke("commit", "demo")
    edits(used)["the inner chain"]()
    used.invoke("commit", "demo")
    assert asked(used, "demo@v1") == ["Ask {{ q }}\n"]
    assert asked(used, "demo@v2") == ["Ask again {{ q }}\n"]


def test_a_commit_of_git_has_them_too(used: Workspace) -> None:
    edits(used)["the inner chain"]()
    assert asked(used, "demo@git:HEAD") == ["Ask {{ q }}\n"]
    assert asked(used, "demo") == ["Ask again {{ q }}\n"]


def test_a_rollback_brings_them_back(used: Workspace) -> None:
    used.invoke("commit", "demo")
    edits(used)["the inner chain"]()
    used.invoke("commit", "demo")
    result = used.invoke("rollback", "demo", "v1")
    assert result.code == 0, result
    assert (used.root / "chains/inner/x.md").read_text() == "Ask {{ q }}\n"


def test_the_locks_of_inner_chains_hold(used: Workspace) -> None:
    """What an inner chain is compiled to is what it runs on, also in a version, and not with --source."""
    compile_inner(used)
    used.invoke("commit", "demo")
    run = used.invoke("run", "demo", "one", "--json").json
    assert run["steps"]["inner"]["run"]["compiled"]["steps"] == ["x"]
    assert "compiled" not in used.invoke("run", "demo", "one", "--source", "--json").json["steps"]["inner"]["run"]
    Path(used.root / "chains/inner.lock.yaml").unlink()
    assert "compiled" not in used.invoke("run", "demo", "one", "--json").json["steps"]["inner"]["run"]
    run = used.invoke("run", "demo@v1", "one", "--json").json
    assert run["steps"]["inner"]["run"]["compiled"]["steps"] == ["x"]


def test_a_broken_inner_lock_is_told_of(used: Workspace) -> None:
    used.write("chains/inner.lock.yaml", "version: [")
    result = used.invoke("run", "demo", "one")
    assert result.code == 1
    assert "chains/inner.lock.yaml" in result.err
    assert used.invoke("run", "demo", "one", "--source").code == 0

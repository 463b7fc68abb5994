"""A chain is compiled, used, edited, compiled again, merged and rolled back: with the installed command, in git."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.cli.compile_kit import CHAIN, MODEL, entry, lock, lock_text, new_calls, project
from tests.cli.git_kit import git, make_repo
from tests.workspace import CHAIN as COMMAND
from tests.workspace import Workspace

OWN, OTHER = "scripted/demo.script.yaml", "scripted/other.script.yaml"


@pytest.fixture
def story(empty: Workspace) -> Workspace:
    """A repository with a chain that is right half of the time."""
    project(empty)
    empty.model(*MODEL, name="other")
    make_repo(empty.root)
    return empty


def test_a_change_is_a_recompile(story: Workspace, tmp_path: Path) -> None:
    assert story.run("run", "demo", "odd one").out == "card\n"
    done = story.run("compile", "demo", "--dry-run")
    assert "at most 472 calls" in done.out

    done = story.run("compile", "demo", "--optimizer", "demos")
    assert "held out  50 % → 100 %  10 better, 0 worse of 20" in done.out, done
    paid = new_calls(done)
    assert git(story.root, "status", "--porcelain") == "?? chains/demo.lock.yaml"
    git(story.root, "add", "chains")
    git(story.root, "commit", "-qm", "Compile")

    # A clone has no store and no cache: the lock is all that a run needs.
    git(tmp_path, "clone", "-q", str(story.root), "clone")
    clone = Workspace(tmp_path / "clone")
    done = clone.run("run", "demo", "odd one", "--locked")
    assert (done.code, done.out) == (0, "refund\n"), done
    assert clone.run("compile", "--check").code == 0

    # Somebody edits the step: it is named, warned of, and refused where that is wanted.
    text = (story.root / "chains/demo.yaml").read_text()
    story.write("chains/demo.yaml", text.replace("Decide what", "Say what"))
    done = story.run("compile", "--check")
    assert (done.code, done.out) == (101, f"✗ demo on {OWN}: step 'intent' was edited\n")
    done = story.run("run", "demo", "odd one")
    assert (done.code, done.out) == (0, "refund\n")
    assert "step 'intent' was edited; mend it with: chain compile demo" in done.err
    assert story.run("run", "demo", "odd one", "--locked").code == 101
    assert story.run("test", "demo", "--locked").code == 101

    # One command mends it, and begins with what there was.
    parent = entry(story)
    done = story.run("compile", "demo")
    assert "\tthe compile before\n" in done.out, done
    assert new_calls(done) < paid
    assert entry(story)["steps"] == parent["steps"]
    assert story.run("compile", "--check").code == 0
    assert story.run("run", "demo", "odd one", "--locked").out == "refund\n"
    changed = [line for line in git(story.root, "diff", "-U0", "chains/demo.lock.yaml").splitlines() if line[0] in "+-"]
    assert len(changed) < 12, changed

    # The store knows both, and brings the first back.
    log = story.run("log", "demo").out.splitlines()
    assert [line.split("\t")[0] for line in log] == ["v4", "v3", "v2", "v1"]
    assert f"compiled for {OWN}: intent 50 % → 100 %" in log[2]  # v3 is the edit, on which it was run
    done = story.run("diff", "demo@v1", "demo@v4")
    assert "{+Say+} what" in done.out
    assert "lesson" in done.out
    done = story.run("rollback", "demo", "v2", "--force")
    assert done.code == 0, done
    assert git(story.root, "status", "--porcelain") == ""
    assert story.run("compile", "--check").code == 0


def test_two_branches_that_compiled_for_two_models_merge(story: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    git(story.root, "config", "merge.promptchain.driver", "chain compile --merge-driver %O %A %B")
    story.write(".gitattributes", "*.lock.yaml merge=promptchain\n")
    assert story.run("compile", "demo", "--optimizer", "demos").code == 0
    git(story.root, "add", ".")
    git(story.root, "commit", "-qm", "Compile")
    git(story.root, "branch", "side")
    assert story.run("compile", "demo", "--force", "--optimizer", "demos", "--seed", "2").code == 0
    git(story.root, "commit", "-qam", "Compile again")
    git(story.root, "checkout", "-q", "side")
    assert story.run("compile", "demo", "--optimizer", "demos", "--model", OTHER).code == 0
    git(story.root, "commit", "-qam", "Compile for the other")
    monkeypatch.setenv("PATH", f"{COMMAND.parent}{os.pathsep}{os.environ['PATH']}")
    git(story.root, "merge", "-q", "main")
    assert sorted(lock(story)) == sorted([OWN, OTHER])
    assert lock(story)[OWN]["settings"]["seed"] == 2
    assert story.run("compile", "--check").code == 0
    assert "<<<<" not in lock_text(story)


def test_swapping_the_model_in_the_file_is_one_command(story: Workspace) -> None:
    assert story.run("compile", "demo", "--optimizer", "demos").code == 0
    story.write("chains/demo.yaml", CHAIN.replace("MODEL", OTHER))
    done = story.run("run", "demo", "odd one")
    assert done.out == "card\n"
    assert story.run("run", "demo", "odd one", "--locked").code == 101
    done = story.run("compile", "demo")
    assert f"compiled for {OWN}" in done.out, done
    assert story.run("run", "demo", "odd one", "--locked").out == "refund\n"
    assert list(lock(story)) == [OWN, OTHER]

"""The workflow that a new project gets: what its steps run, on the branch of a pull request."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.cli.git_kit import git, make_repo
from tests.workspace import Workspace


def steps(folder: Path, file: str = "prompts") -> list[str]:
    workflow = yaml.safe_load((folder / f".github/workflows/{file}.yml").read_text())
    assert workflow[True] == "pull_request"  # `on`, as YAML 1.1 reads it
    return [step["run"] for step in workflow["jobs"]["prompts"]["steps"] if "run" in step]


@pytest.fixture
def told(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `chain` that notes its words, one a line, before any other."""
    folder = tmp_path_factory.mktemp("bin")
    (folder / "chain").write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {folder}/words\n')
    (folder / "chain").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder / "words"


@pytest.mark.parametrize("folder", [".", "our prompts"])
@pytest.mark.parametrize("base", ["main", "a/$(touch${IFS}evil);b"])
def test_the_base_is_compared_with_where_it_has_chains(empty: Workspace, told: Path, folder: str, base: str) -> None:
    make_repo(empty.root)
    git(empty.root, "update-ref", f"refs/remotes/origin/{base}", "HEAD")
    assert empty.invoke("init", "--yes", folder).code == 0
    last = steps(empty.root, "prompts" if folder == "." else "prompts-our-prompts")[-1]

    def words() -> list[str]:
        environment = {**os.environ, "BASE": base}
        ran = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", last]  # as the runner does
        subprocess.run(ran, cwd=empty.root / folder, env=environment, check=True, capture_output=True)
        return told.read_text().splitlines()

    rest = ["--github", "--junit", "report.xml", "--max-cost", "1"]
    assert words() == ["test", *rest]
    git(empty.root, "add", "--all")
    git(empty.root, "commit", "--quiet", "--message", "begin")
    git(empty.root, "update-ref", f"refs/remotes/origin/{base}", "HEAD")
    assert words() == ["test", "--compare", f"@git:origin/{base}", *rest]
    assert not list(empty.root.rglob("evil*"))


def test_the_other_steps_are_commands_that_there_are(empty: Workspace) -> None:
    assert empty.invoke("init", "--yes").code == 0
    commands = [words.split()[1:] for words in steps(empty.root) if words.startswith("chain ") and "\n" not in words]
    assert commands == [["fmt", "--check"], ["check"], ["compile", "--check"]]
    for words in commands:
        assert empty.invoke(*words).code == 0

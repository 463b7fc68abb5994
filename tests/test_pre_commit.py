"""The hooks that this repository offers to pre-commit, run by pre-commit itself."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cli.git_kit import git, make_repo
from tests.workspace import CHAIN, Workspace

ROOT = Path(__file__).parents[1]
MANIFEST = ROOT / ".pre-commit-hooks.yaml"
IDS = ["chain-fmt", "chain-check", "chain-lock"]


def pre_commit(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """pre-commit, with this Python's `chain` before any other."""
    path = f"{CHAIN.parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        [sys.executable, "-m", "pre_commit", *words],
        cwd=folder,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=300,
    )


def results(done: subprocess.CompletedProcess[str]) -> list[str]:
    """How each hook ended."""
    return re.findall(r"\.{3}.*(Passed|Failed|Skipped)$", done.stdout, re.MULTILINE)


def hooks() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load(MANIFEST.read_text())
    return found


@pytest.fixture
def hooked(demo: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A project whose hooks are those of the manifest, at a repository that has nothing else: what pre-commit would
    install from ours is here already, and needs no network then."""
    offered = tmp_path_factory.mktemp("hooks")
    here = [{**hook, "language": "system"} for hook in hooks()]
    (offered / MANIFEST.name).write_text(yaml.safe_dump(here))
    make_repo(offered)
    config = {
        "repos": [{"repo": str(offered), "rev": git(offered, "rev-parse", "HEAD"), "hooks": [{"id": i} for i in IDS]}]
    }
    demo.write(".pre-commit-config.yaml", yaml.safe_dump(config))
    demo.invoke("fmt")
    make_repo(demo.root)
    return demo


def test_the_manifest_is_one() -> None:
    assert [hook["id"] for hook in hooks()] == IDS
    assert {hook["language"] for hook in hooks()} == {"python"}
    done = pre_commit(ROOT, "validate-manifest", MANIFEST.name)
    assert done.returncode == 0, done.stdout


def test_what_is_in_order_passes(hooked: Workspace) -> None:
    done = pre_commit(hooked.root, "run", "--all-files")
    assert results(done) == ["Passed"] * 3, done.stdout


def test_they_run_for_what_they_are_about(hooked: Workspace) -> None:
    hooked.write("notes.md", "x\n")
    hooked.write("other/chains.yaml", "a:    1\n")
    assert results(pre_commit(hooked.root, "run", "--files", "notes.md", "other/chains.yaml")) == ["Skipped"] * 3
    hooked.write("chains/demo/rows.jsonl", "{}\n")
    hooked.write("chains/demo.lock.yaml", "models:   {}\n")
    git(hooked.root, "add", "--all")
    done = pre_commit(hooked.root, "run", "--files", "chains/demo/rows.jsonl", "chains/demo.lock.yaml")
    assert results(done) == ["Skipped", "Passed", "Passed"], done.stdout


def test_an_odd_layout_is_mended_and_a_fault_is_told(hooked: Workspace) -> None:
    path = hooked.write("chains/new.yaml", "steps:\n    a:\n        promt: 'hi'\n")
    git(hooked.root, "add", "--all")
    done = pre_commit(hooked.root, "run")
    assert results(done) == ["Failed", "Failed", "Passed"], done.stdout
    assert "reformatted chains/new.yaml" in done.stdout
    assert "chains/new.yaml:3:5: unknown key 'promt'; did you mean 'prompt'?" in done.stdout
    assert path.read_text() == "steps:\n  a:\n    promt: hi\n"


def test_the_hooks_that_init_writes_stop_a_commit(empty: Workspace) -> None:
    empty.invoke("init", "--yes")
    make_repo(empty.root)
    assert pre_commit(empty.root, "validate-config").returncode == 0
    assert results(pre_commit(empty.root, "run", "--all-files")) == ["Passed"] * 3
    path = empty.root / "chains/news.yaml"
    path.write_text(path.read_text().replace("{{ headline }}", "{{ headlin }}", 1))
    done = pre_commit(empty.root, "run", "--all-files")
    assert results(done)[1] == "Failed"
    assert "did you mean 'headline'?" in done.stdout

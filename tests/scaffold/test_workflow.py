"""The workflow that a new project gets: its shape, and its commands, run on a pull request."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.ci_kit import Pull
from tests.fake_github import GitHub
from tests.test_workflows import STEP
from tests.workspace import Workspace


def workflow(folder: Path, file: str = "prompts") -> Any:
    return yaml.safe_load((folder / f".github/workflows/{file}.yml").read_text())


@pytest.mark.parametrize(("folder", "name"), [(".", "prompts"), ("our prompts", "prompts-our-prompts")])
def test_its_shape(empty: Workspace, folder: str, name: str) -> None:
    assert empty.invoke("init", "--yes").code == 0
    assert empty.invoke("init", "--yes", folder).code == 0
    found = workflow(empty.root, name)
    assert found["name"] == name
    assert found[True] == "pull_request"  # `on`, as YAML 1.1 reads it
    assert found["permissions"] == {"contents": "read", "pull-requests": "write"}
    for step in found["jobs"]["prompts"]["steps"]:
        jsonschema.validate(step, STEP)
        assert "${{" not in step.get("run", "")  # a stranger could write into it
    assert "NAME" not in (empty.root / f".github/workflows/{name}.yml").read_text()


@pytest.mark.parametrize("layout", ["as it should be", "of its own"])
def test_its_commands_judge_a_pull_request(
    empty: Workspace, tmp_path_factory: pytest.TempPathFactory, layout: str
) -> None:
    assert empty.invoke("init", "--yes").code == 0
    pull = Pull(tmp_path_factory.mktemp("pull"))
    assert pull.author.run("fmt").code == 0
    pull.replace("Decide what", "Guess what")
    if layout == "of its own":
        chain = pull.author.root / "chains/demo.yaml"
        chain.write_text(chain.read_text().replace("steps:\n", "steps:\n\n\n\n", 1))
    shutil.copytree(empty.root / ".github", pull.author.root / ".github")
    pull.commit()
    pull.checkout()
    steps = workflow(pull.runner.root)["jobs"]["prompts"]["steps"]
    [judge, lay_out] = [step for step in steps if step.get("run", "").startswith("chain ")]
    with GitHub() as github:
        done = _run(pull, github, judge)
        (comment,) = github.bodies()
    assert done.returncode == 100, done
    assert comment.startswith("<!-- promptchain:prompts -->\n## ❌ `demo` got worse: 50 % → 31 %")
    assert (pull.folder / "reports/junit.xml").is_file()
    assert (pull.folder / "promptchain/responses.db").is_file()
    assert lay_out["if"] == "always()"
    assert _run(pull, None, lay_out).returncode == (0 if layout == "as it should be" else 1)


def _run(pull: Pull, github: GitHub | None, step: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    given = {name: value.replace("${{ runner.temp }}", str(pull.folder)) for name, value in step.get("env", {}).items()}
    known = {name: value for name, value in given.items() if "${{" not in value}
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]], cwd=pull.runner.root,
        env={**os.environ, **pull.environment(github), **known}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip

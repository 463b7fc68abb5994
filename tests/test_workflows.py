"""The workflows and the action: their shape, what they refer to, and their scripts, run as GitHub would."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from promptchain import document
from tests.ci_kit import Pull
from tests.cli.git_kit import git
from tests.fake_github import GitHub

GITHUB = Path(__file__).parents[1] / ".github"
ACTION = GITHUB / "actions/chain/action.yml"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))

TEXT = {"type": "string"}
SCALAR = {"type": ["string", "number", "boolean"]}
STEP: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": TEXT, "id": {"type": "string", "pattern": "^[a-z][a-z0-9-]*$"}, "if": SCALAR,
        "uses": {"type": "string", "pattern": r"^(\./[\w./-]+|[\w-]+/[\w./-]+@[\w.-]+)$"}, "run": TEXT,
        "shell": {"enum": ["bash"]}, "env": {"type": "object", "additionalProperties": SCALAR},
        "with": {"type": "object", "additionalProperties": SCALAR}, "working-directory": TEXT,
    },
    "additionalProperties": False,
    "oneOf": [{"required": ["uses"]}, {"required": ["run"]}],
}  # fmt: skip
ACTION_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["name", "description", "runs"],
    "additionalProperties": False,
    "properties": {
        "name": TEXT,
        "description": TEXT,
        "inputs": {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "required": ["description"],
                "properties": {"description": TEXT, "required": {"type": "boolean"}, "default": TEXT},
                "additionalProperties": False,
            },
        },
        "outputs": {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "required": ["description", "value"],
                "properties": {"description": TEXT, "value": TEXT},
                "additionalProperties": False,
            },
        },
        "runs": {
            "type": "object",
            "required": ["using", "steps"],
            "properties": {
                "using": {"const": "composite"},
                "steps": {
                    "type": "array",
                    "minItems": 1,
                    "items": {**STEP, "if": {"required": ["run"]}, "then": {"required": ["shell"]}},
                },
            },
            "additionalProperties": False,
        },
    },
}
PERMISSIONS = {"type": "object", "additionalProperties": {"enum": ["read", "write", "none"]}}
WORKFLOW_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["name", "on", "permissions", "jobs"],
    "additionalProperties": False,
    "properties": {
        "name": TEXT,
        "on": {"type": "object", "propertyNames": {"enum": ["push", "pull_request", "workflow_dispatch"]}},
        "permissions": PERMISSIONS,
        "concurrency": {"type": "object", "required": ["group"]},
        "jobs": {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "required": ["runs-on", "steps", "timeout-minutes"],
                "additionalProperties": False,
                "properties": {
                    "if": TEXT, "runs-on": TEXT, "timeout-minutes": {"type": "integer"}, "strategy": {"type": "object"},
                    "env": {"type": "object"}, "permissions": PERMISSIONS, "steps": {"type": "array", "items": STEP},
                },
            },
        },
    },
}  # fmt: skip


def read(path: Path) -> Any:
    return document.read(path).value


def test_the_action_has_the_shape_of_one() -> None:
    jsonschema.validate(read(ACTION), ACTION_SCHEMA)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_has_the_shape_of_one(path: Path) -> None:
    jsonschema.validate(read(path), WORKFLOW_SCHEMA)


def steps() -> Iterator[tuple[str, dict[str, Any]]]:
    yield from (("action.yml", step) for step in read(ACTION)["runs"]["steps"])
    for path in WORKFLOWS:
        for job in read(path)["jobs"].values():
            yield from ((path.name, step) for step in job["steps"])


def test_what_expressions_refer_to_is_there() -> None:
    action = read(ACTION)
    text = ACTION.read_text()
    ids = {step["id"] for step in action["runs"]["steps"] if "id" in step}
    assert {*re.findall(r"inputs\.([\w-]+)", text)} == {*action["inputs"]}
    assert {*re.findall(r"steps\.([\w-]+)\.", text)} <= ids
    for _, step in steps():
        if step.get("uses") == "./.github/actions/chain":
            assert {*step.get("with", {})} <= {*action["inputs"]}
    assert any(step.get("uses") == "./.github/actions/chain" for _, step in steps())


def test_no_script_has_an_expression_in_it_which_a_stranger_could_write_into() -> None:
    for place, step in steps():
        assert "${{" not in step.get("run", ""), place


def test_every_script_is_bash() -> None:
    for place, step in steps():
        if "run" in step:
            done = subprocess.run(["bash", "-n"], input=step["run"], text=True, capture_output=True, timeout=10)
            assert done.returncode == 0, (place, done.stderr)


@pytest.mark.parametrize(
    ("install", "extras", "wanted"),
    [
        ("", "", "HERE/../../.."),
        ("", "rag", "HERE/../../..[rag]"),
        ("", " local, rag\r\nmcp\n", "HERE/../../..[local,rag,mcp]"),
        ("promptchain[local]==1.0", "", "promptchain[local]==1.0"),
        ("promptchain==1.0", "rag", None),
    ],
)
def test_the_action_installs_what_it_is_told_to(tmp_path: Path, install: str, extras: str, wanted: str | None) -> None:
    [step] = [step for step in read(ACTION)["runs"]["steps"] if step["name"] == "Install promptchain"]
    python = tmp_path / "python3"
    python.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    python.chmod(0o755)
    given = {"${{ inputs.install }}": install, "${{ inputs.extras }}": extras, "${{ github.action_path }}": "HERE"}
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
        env={**{name: given[value] for name, value in step["env"].items()}, "PATH": f"{tmp_path}{os.pathsep}/bin"},
        capture_output=True, text=True, timeout=20,
    )  # fmt: skip
    if wanted is None:
        assert (done.returncode, done.stdout.startswith("::error::extras are")) == (2, True), done
    else:
        assert (done.returncode, done.stdout.splitlines()[-1]) == (0, wanted), done


def run_action(pull: Pull, github: GitHub | None, **given: str) -> subprocess.CompletedProcess[str]:
    """The action's main step, with the inputs `given`, as the runner starts it."""
    action = read(ACTION)
    inputs = {name: one.get("default", "") for name, one in action["inputs"].items()} | given
    inputs["token"] = "ghs_0123456789abcdefghij"
    [step] = [step for step in action["runs"]["steps"] if step.get("id") == "chain"]

    def filled(text: str) -> str:
        text = re.sub(r"\$\{\{ inputs\.([\w-]+) \}\}", lambda match: inputs[match[1]], text)
        return text.replace("${{ runner.temp }}", str(pull.folder))

    script = pull.folder / "script.sh"
    script.write_text(step["run"])
    environment = pull.environment(github) | {name: filled(value) for name, value in step["env"].items()}
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(script)],
        cwd=pull.runner.root, env={**os.environ, **environment}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip


def test_the_action_judges_a_pull_request(tmp_path: Path) -> None:
    pull = Pull(tmp_path)
    pull.replace("Decide what", "Guess what")
    pull.commit()
    pull.checkout()
    with GitHub() as github:
        done = run_action(pull, github, chains="demo\r\n", filter="message=*test*\r\n", name="the bank")
        assert done.returncode == 100, done
        (comment,) = github.bodies()
    assert comment.startswith("<!-- promptchain:the-bank -->\n## ❌ `demo` got worse: 50 % → 0 %")
    reports = tmp_path / "promptchain/reports"
    assert (reports / "junit.xml").is_file()
    assert comment.endswith((reports / "comment.md").read_text())
    assert (tmp_path / "promptchain/cache/responses.db").is_file()
    assert pull.outputs["junit"] == str(reports / "junit.xml")
    assert "demo" in (reports / "report.html").read_text()


def test_the_action_asks_for_no_comment_and_all_chains(tmp_path: Path) -> None:
    pull = Pull(tmp_path)
    pull.commit()
    pull.checkout()
    with GitHub() as github:
        done = run_action(pull, github, comment="false", **{"max-calls": "500", "base": "origin/main"})
        assert done.returncode == 0, done
        assert not github.requests


def test_the_action_compiles_and_pushes(tmp_path: Path) -> None:
    pull = Pull(tmp_path)
    pull.commit()
    pull.checkout(merge=False)
    done = run_action(pull, None, command="compile", chains="demo", branch=pull.branch)
    assert done.returncode == 0, done
    assert git(pull.remote, "show", f"{pull.branch}:chains/demo.lock.yaml").startswith("#")
    assert pull.outputs["commit"] == git(pull.remote, "rev-parse", pull.branch)


def test_the_action_keeps_the_answers_also_of_a_compile_that_ended_early(tmp_path: Path) -> None:
    pull = Pull(tmp_path)
    pull.commit()
    pull.checkout(merge=False)
    refuses = pull.remote / "hooks/pre-receive"
    refuses.write_text("#!/bin/sh\nexit 1\n")
    refuses.chmod(0o755)
    done = run_action(pull, None, command="compile", chains="demo", branch=pull.branch)
    assert done.returncode == 1, done
    assert (tmp_path / "promptchain/cache/responses.db").is_file()
    assert "new-calls" not in pull.outputs
    [save] = [step for step in read(ACTION)["runs"]["steps"] if "cache/save@" in step.get("uses", "")]
    assert save["if"] == "always() && steps.chain.outcome != 'skipped' && steps.chain.outputs.new-calls != '0'"


PAGES = {name: (GITHUB.parent / name).read_text() for name in ("README.md", ".github/CI.md")}


@pytest.mark.parametrize("name", PAGES)
def test_the_workflow_that_a_page_shows_is_one(name: str) -> None:
    [text] = re.findall(r"```yaml\n(# \.github/workflows/.*?)```", PAGES[name], re.DOTALL)
    found = document.parse(text, name).value
    jsonschema.validate(found, WORKFLOW_SCHEMA)
    for job in found["jobs"].values():
        [step] = [step for step in job["steps"] if "actions/chain@" in step.get("uses", "")]
        assert {*step["with"]} <= {*read(ACTION)["inputs"]}


def test_the_page_names_every_input_and_output() -> None:
    action = read(ACTION)
    [told] = re.findall(r"^Inputs: (.*?)\[action", PAGES[".github/CI.md"], re.DOTALL | re.MULTILINE)
    assert re.findall(r"`([\w-]+)`", told) == [*action["inputs"], *action["outputs"]]


def test_the_commands_that_the_pages_show_for_other_ci_run(tmp_path: Path) -> None:
    pull = Pull(tmp_path, branch="better-prompts")
    pull.replace("Decide what", "Guess what")
    pull.commit()
    pull.checkout(merge=False)
    base = git(pull.remote, "rev-parse", "main")
    environment = {name: value for name, value in pull.environment(None).items() if not name.startswith("GITHUB_")}
    environment |= {"CI_MERGE_REQUEST_DIFF_BASE_SHA": base, "CHANGE_TARGET": "main"}
    commands = re.findall(r"^ *(?:- |sh ')?(chain ci [^'\n]*)'?$", PAGES[".github/CI.md"], re.MULTILINE)
    commands = [*re.findall(r"`(chain ci [^`\n]* [^`\n]*)`", PAGES["README.md"]), *commands]
    assert len(commands) == 4, commands
    for command in commands:
        words = command.replace(" support ", " demo ")
        done = subprocess.run(
            ["bash", "-c", words], cwd=pull.runner.root, env={**os.environ, **environment},
            capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        assert done.returncode == (0 if "compile" in words else 100), (words, done)
        if "pull-request" in words:
            assert done.stdout.startswith("❌ demo got worse: 50 % → 31 %\n"), done
        if "--output" in words:
            assert (pull.runner.root / "reports/junit.xml").is_file()
    assert git(pull.remote, "log", "-1", "--format=%s", pull.branch) == "Compile demo"

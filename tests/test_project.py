"""Where the project is, which chain is meant, and how a run is kept."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from promptchain import runner
from promptchain.errors import InvalidFileError, PromptChainError, UsageError
from promptchain.lm.calls import Caller
from promptchain.lm.protocol import Capabilities
from promptchain.lm.scripted import Rule, ScriptedLM
from promptchain.location import git_folder
from promptchain.models import Models, parse_models
from promptchain.project import Ceilings, Project, run_batch
from promptchain.record_file import write_record
from promptchain.records import Run, Status, StepRun

CHAIN = "inputs: {q: string}\nsteps: {a: {prompt: '{{ q }}'}}\n"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with the chains `support` and `triage`, and the current folder."""
    folder = tmp_path / "project"
    (folder / "chains").mkdir(parents=True)
    for name in ("support.yaml", "triage.yml", "support.lock.yaml", "Loud.yaml"):
        (folder / "chains" / name).write_text(CHAIN)
    monkeypatch.chdir(folder)
    return folder.resolve()


def git(folder: Path, *words: str) -> None:
    identity = ["-c", "user.name=x", "-c", "user.email=x@y", "-c", "init.defaultBranch=main"]
    subprocess.run(["git", *identity, *words], cwd=folder, check=True, capture_output=True)


def record(**values: Any) -> Run:
    return Run(
        **{"id": "r1", "chain": "c", "source": "0", "model": "m", "started": "now", "status": Status.DONE, **values}
    )


# -- the project and its chains ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("marker", "content"),
    [("promptchain.toml", ""), ("pyproject.toml", "[tool.promptchain]\nmodel = 'm'\n"), ("chains/x.yaml", CHAIN)],
)
def test_the_project_is_found_upwards(
    marker: str, content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / "home" / "a" / "b"
    deep.mkdir(parents=True)
    (tmp_path / "home" / "a" / "pyproject.toml").write_text("[project]\nname = 'no chains here'\n")
    path = tmp_path / "home" / marker
    path.parent.mkdir(exist_ok=True)
    path.write_text(content)
    assert Project.find(deep).root == (tmp_path / "home").resolve()
    monkeypatch.chdir(deep)
    assert Project.find().root == (tmp_path / "home").resolve()


def test_without_a_project_here_is_one(tmp_path: Path) -> None:
    project = Project.find(tmp_path)
    assert (project.root, project.names()) == (tmp_path.resolve(), [])
    with pytest.raises(UsageError, match="there is no folder chains/ here or above; go to"):
        project.path("support")


def test_chains_by_name_and_by_path(root: Path) -> None:
    project = Project.find()
    assert project.names() == ["Loud", "support", "triage"]
    assert project.path("support") == root / "chains" / "support.yaml"
    assert project.path("triage") == project.path("chains/triage.yml") == project.path("./chains/triage.yml")
    assert project.load("support").name == project.load(str(root / "chains" / "support.yaml")).name == "support"


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("suport", "there is no chain 'suport'; did you mean 'support'?"),
        ("Support", "there is no chain 'Support'; did you mean 'support'?"),
        ("zzz", "there is no chain 'zzz'; known chains: Loud, support, triage"),
        ("", "there is no chain ''"),
        ("support.lock", "there is no chain 'support.lock'"),
        ("../support", "there is no file '../support'; did you mean 'support'?"),
        ("chains/suport.yaml", "there is no file 'chains/suport.yaml'; did you mean 'support'?"),
        ("chains/", "there is no file 'chains/'"),
        ("x/" * 3000, "there is no file"),
        ("chains/\0", "there is no file"),
        ("../outside.yaml", "'../outside.yaml' lies outside the project"),
        ("support@v7", "the chain 'support' has no versions yet; `chain commit support` makes the first"),
        ("suport@v7", "there is no chain 'suport'; did you mean 'support'?"),
        ("support@git:origin/main", "PROJECT is in no git repository; NAME@git:REV is for chains that git has"),
        ("chains/Loud.yaml", "'Loud' cannot be a chain's name; rename Loud.yaml"),
    ],
)
def test_what_is_no_chain(reference: str, message: str, root: Path) -> None:
    (root.parent / "outside.yaml").write_text(CHAIN)
    with pytest.raises(UsageError) as caught:
        Project.find().load(reference)
    assert str(caught.value).replace(str(root), "PROJECT").startswith(message)


def test_a_broken_chain_says_where_from_the_project(root: Path) -> None:
    (root / "chains" / "broken.yaml").write_text("steps: {a: {prompt: '{{ x }}'}}\n")
    with pytest.raises(InvalidFileError, match=r"chains/broken.yaml:1:\d+: step 'a' uses unknown input or step 'x'"):
        Project.find(root / "chains").load("broken")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], Models(last="d")),
        (["openai/gpt"], Models(default="openai/gpt", last="d")),
        (["a=openai/gpt", "m", "b=x=y"], Models(default="m", steps={"a": "openai/gpt", "b": "x=y"}, last="d")),
        (["openai/gpt=4"], Models(default="openai/gpt=4", last="d")),
        (["m", "n"], "--model is given twice: m and n; give one model"),
        (["a=m", "a=n"], "--model is given twice for step 'a': m and n"),
        (["a="], "--model a= names no model; for example --model a=local/smollm2"),
        ([" "], "--model names no model"),
    ],
)
def test_models_from_the_command_line(given: list[str], expected: Models | str) -> None:
    if isinstance(expected, Models):
        assert parse_models(given, "d") == expected
    else:
        with pytest.raises(UsageError, match=expected):
            parse_models(given, "d")


def test_ceilings_come_from_the_command_and_then_the_settings(root: Path) -> None:
    (root / "promptchain.toml").write_text("max_calls = 3\nconcurrency = 2\ntimeout = 7\nmodel = 'm'")
    project, unpriced = Project.find(), ScriptedLM("x", capabilities=Capabilities())
    bound = project.bind(project.load("support"), unpriced)
    assert (bound.model, bound.prompts["a"].timeout) == ("m", 7)
    with pytest.raises(UsageError, match="the price of 'm' is not known, so --max-cost cannot be held"):
        project.caller(unpriced, bound, Ceilings(cost=1))
    assert isinstance(project.caller(unpriced, bound, Ceilings()), Caller)


# -- the git folder ----------------------------------------------------------------------------------------------------


def test_the_git_folder_of_a_repository_and_of_its_work_trees(root: Path) -> None:
    git(root, "init")
    git(root, "commit", "--allow-empty", "-m", "x")
    git(root, "worktree", "add", "../linked")
    assert git_folder(root) == git_folder(root / "chains") == git_folder(root.parent / "linked") == root / ".git"
    Project.find().record(record())
    assert (root / ".git" / "promptchain" / "spool" / "r1.json").is_file()
    git(root, "-c", "protocol.file.allow=always", "submodule", "add", str(root), "sub")
    assert git_folder(root / "sub") == root / ".git" / "modules" / "sub"


OWN_SPOOL = Path(".promptchain/store.git/promptchain/spool")
"""Where records wait when there is no repository."""


@pytest.mark.parametrize(
    "marker",
    [
        None,
        b"",
        b"garbage",
        b"gitdir:",
        b"gitdir: gone",
        b"gitdir: .",
        b"gitdir: a\0b",
        b"gitdir: \xff",
        b"\xff",
        b"gitdir: " + b"x" * 5000,
    ],
)
def test_where_there_is_no_repository_the_store_is_our_own(marker: bytes | None, root: Path) -> None:
    if marker is not None:
        (root / ".git").write_bytes(marker)
    assert git_folder(root) == root / ".promptchain" / "store.git"
    Project.find().record(record())
    assert [file.name for file in OWN_SPOOL.iterdir()] == ["r1.json"]


@pytest.mark.parametrize("common", [b"gone", b"\xff", b"a\0b"])
def test_a_broken_work_tree_is_no_repository(common: bytes, root: Path) -> None:
    own = root / "own"
    own.mkdir()
    (own / "HEAD").write_text("ref: refs/heads/main")
    (own / "commondir").write_bytes(common)
    (root / ".git").write_text("gitdir: own")
    assert git_folder(root) == root / ".promptchain" / "store.git"


# -- records -----------------------------------------------------------------------------------------------------------


def test_a_record_is_read_back(root: Path) -> None:
    run = record(inputs={"q": "é 😀\0"}, steps={"a": StepRun(status=Status.FAILED, error="half \ud83d")})
    Project.find().record(run)
    assert [file.name for file in (root / OWN_SPOOL).iterdir()] == ["r1.json"]
    assert Run.model_validate_json((root / OWN_SPOOL / "r1.json").read_bytes()) == run


@pytest.mark.parametrize("secret", ["hush-4711-hush", 'pass"wo\\rd-4711', "s\u00e9cret-4711-4711"])
def test_no_secret_is_written(secret: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", secret)
    path = tmp_path / "run.json"
    inputs = {"q": f"my key is {secret}.", "deep": [{f"k {secret}": "sk-abcdefghijklmnop"}], "n": 1}
    write_record(record(inputs=inputs, error=f"wrong key {secret}"), path)
    data = json.loads(path.read_text())
    assert data["inputs"] == {"q": "my key is ***.", "deep": [{"k ***": "***"}], "n": 1}
    assert data["error"] == "wrong key ***"


def test_a_reader_never_sees_half_a_record(tmp_path: Path) -> None:
    path, stop, seen = tmp_path / "run.json", threading.Event(), set()
    big = record(inputs={"q": "x" * 300_000})
    write_record(big, path)

    def read() -> None:
        while not stop.is_set():
            seen.add(len(path.read_bytes()))

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(12):
        write_record(big, path)
    stop.set()
    reader.join()
    assert len(seen) == 1


def test_where_a_record_cannot_be_written(root: Path) -> None:
    (root / ".promptchain").write_text("a file is in the way")
    with pytest.raises(PromptChainError, match=r"the record could not be written to .*r1\.json: "):
        Project.find().record(record())
    with pytest.raises(PromptChainError, match=r"could not be written to .*chains"):
        write_record(record(), root / "chains")
    assert sorted(path.name for path in root.iterdir()) == [".promptchain", "chains"]


def test_a_device_or_a_link_is_written_through(tmp_path: Path) -> None:
    pipe, link, target = tmp_path / "pipe", tmp_path / "link", tmp_path / "target.json"
    os.mkfifo(pipe)
    got: list[str] = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_text()))
    reader.start()
    write_record(record(), pipe)
    reader.join(5)
    assert json.loads(got[0])["id"] == "r1"
    link.symlink_to(target)
    write_record(record(), link)
    assert link.is_symlink()
    assert json.loads(target.read_text())["id"] == "r1"


# -- batches -----------------------------------------------------------------------------------------------------------


def test_a_batch_of_a_file(root: Path) -> None:
    (root / "rows.csv").write_text("q,more\nx,1\ny,2\n")
    project, lm = Project.find(), ScriptedLM([Rule("z", always=True)])
    bound = project.bind(project.load("support"), lm, ["m"])

    def go(rows: str, **options: Any) -> Any:
        return asyncio.run(run_batch(bound, Path(rows), Path("out.jsonl"), Caller(lm), **options))

    for rows, message in (("rows.txt", "neither .jsonl nor .csv"), ("gone.csv", "there is no such file")):
        with pytest.raises(PromptChainError, match=message):
            go(rows)
        assert not Path("out.jsonl").exists()  # else the next try would find it in its way
    assert go("rows.csv").done == 2
    with pytest.raises(UsageError, match="exists already"):
        go("rows.csv")
    tally = go("rows.csv", resume=True)
    assert (tally.rows, tally.resumed) == (0, 2)
    assert [json.loads(line)["outputs"] for line in Path("out.jsonl").read_text().splitlines()] == [{"a": "z"}] * 2


def test_the_environments_model_stands_for_the_flag(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = Project.find()
    chain = project.load("support").model_copy(update={"model": "of-the-chain"})
    monkeypatch.setenv("PROMPTCHAIN_MODEL", "from-env")
    lm = ScriptedLM(["x"])
    assert project.bind(chain, lm).model == "from-env"
    assert project.bind(chain, lm, ["given"]).model == "given"
    assert project.bind(chain, lm, ["a=for-a"]).prompts["a"].model == "for-a"


def test_files_in_model_names_are_the_projects_wherever_the_command_is_given(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "answers.yaml").write_text("- hello\n")
    (root / "below").mkdir()
    monkeypatch.chdir(root / "below")
    project = Project.find()
    lm = project.lm()
    bound = project.bind(project.load("support"), lm, ["scripted/answers.yaml"])
    result = asyncio.run(runner.run(bound, {"q": "x"}, Caller(lm)))
    assert result.outputs == {"a": "hello"}
    assert result.steps["a"].calls[0].model == "scripted/answers.yaml"

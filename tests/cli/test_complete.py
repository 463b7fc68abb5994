"""Shell completion, asked as the shells' own scripts ask (typer's protocol)."""

import os
import resource
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from promptchain.cli import complete
from tests.cli import compile_kit
from tests.cli.git_kit import make_repo
from tests.workspace import DEMO, Result, Workspace, patient


def ask(workspace: Workspace, shell: str, line: str) -> list[str]:
    """What is offered for a command line; the last word, which may be empty, is the one to complete."""
    words = line.split(" ")
    if shell == "bash":
        env = {"_CHAIN_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    else:
        env = {"_CHAIN_COMPLETE": f"complete_{shell}", "_TYPER_COMPLETE_ARGS": line}
        env |= {"_TYPER_COMPLETE_FISH_ACTION": "get-args"} if shell == "fish" else {}
    command, full = [patient(workspace.root.parent)], {**os.environ, **env}
    told = subprocess.run(command, cwd=workspace.root, env=full, capture_output=True, timeout=300)
    done = Result(told.returncode, told.stdout.decode(), told.stderr.decode())
    assert done.err == ""
    assert "Traceback" not in done.out
    if shell == "zsh":
        inner = done.out.partition("((")[2].partition("))")[0]
        return [word.strip('"').partition('":"')[0] for word in inner.splitlines()]
    return [word.partition("\t")[0] for word in done.out.split("\n") if word]


LINES = [
    ("chain sc", ["schema"]),
    ("chain show demo --step ", ["intent", "draft", "check"]),
    ("chain run ", ["demo", "other-one"]),
    ("chain check demo o", ["other-one"]),
    ("chain show demo --step d", ["draft"]),
    ("chain run demo -i ", ["message=", "tone="]),
    ("chain run -m x demo -i message=hi -i t", ["tone="]),
    ("chain run demo --model local/", ["local/mine"]),
]


@pytest.mark.parametrize(
    ("shell", "line", "offered"),
    [("bash", *case) for case in LINES] + [(shell, *case) for shell in ("zsh", "fish") for case in LINES[:2]],
)
def test_each_shell_is_offered_what_fits(demo: Workspace, shell: str, line: str, offered: list[str]) -> None:
    models = demo.root.parent / "models"
    models.mkdir()
    (models / "mine.gguf").write_bytes(b"GGUF")
    demo.chain(DEMO.replace("wrote\n", "wrote\n  tone?(enum): [kind, curt]\n"))
    demo.chain(name="other-one")
    demo.write("chains/demo.lock.yaml", "")
    found = ask(demo, shell, line)
    assert [word for word in found if word != "local/smollm2"] == offered


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("chain run demo@", ["demo@beta", "demo@production", "demo@latest", "demo@v2", "demo@v1"]),
        ("chain run demo@p", ["demo@production"]),
        ("chain run d", ["demo"]),
        ("chain run nope@", ["nope@latest"]),
        ("chain show demo@v", ["demo@v2", "demo@v1"]),
        ("chain show demo@v1 --step ", ["intent", "draft", "check"]),
        ("chain label demo@v1 ", ["beta", "production"]),
        ("chain label demo@v1 p", ["production"]),
        ("chain rollback demo ", ["beta", "production", "latest", "v2", "v1"]),
        ("chain rollback demo v", ["v2", "v1"]),
        ("chain rollback demo v1 --label ", ["beta", "production"]),
        ("chain diff demo@v", ["demo@v2", "demo@v1"]),
        ("chain diff demo@v1 demo@v", ["demo@v2", "demo@v1"]),
        ("chain diff demo@v1 v", ["v2", "v1"]),
        ("chain diff demo p", ["production"]),
        ("chain diff v", []),
        ("chain diff demo@v1 v2 --step d", ["draft"]),
        ("chain log d", ["demo"]),
        ("chain runs --chain demo@b", ["demo@beta"]),
        ("chain runs --label ", ["beta", "production"]),
        ("chain runs --status f", ["failed"]),
        ("chain runs show l", ["last"]),
        ("chain replay l", ["last"]),
    ],
)
def test_versions_labels_and_runs_are_offered(kept: Workspace, line: str, offered: list[str]) -> None:
    found = ask(kept, "bash", line)
    assert [word for word in found if word != "nope@latest"] == [word for word in offered if word != "nope@latest"]


def test_the_newest_runs_are_offered(kept: Workspace) -> None:
    ids = [row["id"] for row in kept.invoke("runs", "--json").json]
    assert len(ids) == 2
    for command in ("runs show", "replay"):
        assert ask(kept, "bash", f"chain {command} ") == ["last", *ids]
        assert ask(kept, "bash", f"chain {command} {ids[1][:-1]}") == [ids[1]]


def test_what_a_report_is_of_is_offered(empty: Workspace) -> None:
    compile_kit.dataset(empty, compile_kit.rows())
    empty.chain(compile_kit.CHAIN.replace("MODEL", "scripted/comp.script.yaml"), name="comp", replies=compile_kit.MODEL)
    make_repo(empty.root)
    empty.invoke("test", "comp")
    assert empty.invoke("compile", "comp", "--optimizer", "demos").code == 0
    run = empty.invoke("run", "comp", "easy", "--json").json["id"]
    offered = ask(empty, "bash", "chain report 0")
    assert run in offered
    others = [id for id in offered if id != run]
    kinds = {empty.invoke("report", id, "--json").json["sections"][0]["kind"] for id in others}
    assert kinds == {"evaluation", "compile"}
    assert ask(empty, "bash", f"chain report {others[0]}") == [others[0]]
    assert ask(empty, "bash", "chain report ") == ["comp", "last", run]


@pytest.fixture
def kept(demo: Workspace) -> Workspace:
    """Two versions, two labels, two runs."""
    demo.invoke("run", "demo", "hi")
    demo.chain(DEMO.replace("Classify: ", "Classify this: "))
    demo.invoke("run", "demo", "hi")
    demo.invoke("label", "demo@v1", "production")
    demo.invoke("label", "demo@v2", "beta")
    return demo


@pytest.mark.parametrize("line", ["chain run demo@", "chain label demo ", "chain runs show "])
def test_a_store_that_cannot_be_read_completes_to_nothing(demo: Workspace, line: str) -> None:
    demo.write(".promptchain/store.git/HEAD", "nonsense")
    demo.write(".promptchain/store.git/promptchain/index.db", "nonsense")
    assert set(ask(demo, "bash", line)) <= {"demo@latest", "last"}


@pytest.mark.parametrize(
    "line", ["chain run ", "chain show demo --step ", "chain run demo -m local/", "chain run demo@", "chain runs show "]
)
def test_it_takes_less_than_a_second(demo: Workspace, line: str) -> None:
    """Of the processor's time, for the machine may be busy with other things."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    ask(demo, "bash", line)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime < 1


def test_hosted_models_are_offered_once_a_provider_is_begun(demo: Workspace) -> None:
    assert complete.models("") == ["local/smollm2"] or complete.models("") == []
    assert "openai/gpt-4o-mini" in complete.models("openai/gpt-4o-m")
    assert len(complete.models("ope")) <= 50


@pytest.mark.parametrize(
    "content", [b"", b"steps: [", b"- 1", b"steps: 3\ninputs:", b"\xff\xfe\x00", b"a: &a [*a, *a]"]
)
def test_a_broken_chain_completes_to_nothing(demo: Workspace, content: bytes) -> None:
    (demo.root / "chains/demo.yaml").write_bytes(content)
    assert ask(demo, "bash", "chain show demo --step ") == []
    context = SimpleNamespace(params={}, args=["demo"])
    assert complete.inputs(context, "") == []
    assert complete.chains("d") == ["demo"]


def test_without_a_project_or_a_folder_to_stand_in_there_is_nothing(
    empty: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ask(empty, "bash", "chain run ") == []
    empty.write("chains", "a file")
    assert ask(empty, "bash", "chain run ") == []
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert complete.chains("") == []
    monkeypatch.chdir(tmp_path)

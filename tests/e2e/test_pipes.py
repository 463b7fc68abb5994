"""The installed `chain` in pipes, in odd places and with odd streams."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.workspace import CHAIN, DEMO, REPLIES, Workspace


def shell(workspace: Workspace, line: str, **env: str) -> subprocess.CompletedProcess[str]:
    """A command line as a user types it, in bash."""
    path = f"{CHAIN.parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-c", line],
        cwd=workspace.root,
        env={**os.environ, "PATH": path, **env},
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.parametrize(
    ("line", "out"),
    [
        ("""echo '{"message": "Where is it?"}' | chain run demo --input -""", "intent: card\nreply: All is well.\n"),
        ("echo Where is it? | chain run demo --input - -o intent", "card\n"),
        ('chain run demo hi --json | python -m json.tool | grep -c \'"status": "done"\'', "4\n"),
        ("chain run demo hi -o reply | chain run demo --input - -o intent", "card\n"),
        ("promptchain run demo hi -o intent", "card\n"),
        ("chain show demo --json | python -m json.tool > /dev/null && echo good", "good\n"),
        ("chain run demo hi 2> /dev/null | wc -l | tr -d ' '", "2\n"),
    ],
)
def test_pipes(demo: Workspace, line: str, out: str) -> None:
    done = shell(demo, line)
    assert (done.returncode, done.stdout, done.stderr) == (0, out, "")


@pytest.mark.parametrize(
    ("line", "code", "err"),
    [
        ("set -o pipefail; chain schema | head -1 > /dev/null", (0, 1), ""),
        ("exec 3> >(exit); sleep 0.2; chain run demo hi >&3", (1,), ""),
        ("chain run demo hi >&-", (0,), ""),
        ("chain run demo hi 2>&-", (0,), ""),
        ("chain run nope hi >&- 2>&-", (2,), ""),
        (
            "chain run demo --input - <&-",
            (2,),
            "error: standard input is empty\n  hint: pipe the inputs as JSON, or a text\n",
        ),
        ("chain run demo hi > /dev/full", (1,), "error: No space left on device: standard output\n"),
        ("chain --help > /dev/full", (1,), "error: No space left on device: standard output\n"),
        ("chain models --json > /dev/full", (1,), "error: No space left on device: standard output\n"),
    ],
)
def test_a_stream_that_is_closed_or_full_is_no_traceback(
    demo: Workspace, line: str, code: tuple[int, ...], err: str
) -> None:
    done = shell(demo, line)
    assert done.returncode in code, done
    assert done.stderr == err


def test_a_locale_without_unicode_loses_no_run(demo: Workspace) -> None:
    demo.chain(
        replies=[REPLIES[0], {"contains": "Draft for", "reply": "x"}, {"contains": "Check", "reply": "Fine 🎉 – ja"}]
    )
    poor = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = demo.run("run", "demo", "hi", env=poor)
    assert (done.code, done.out) == (0, 'intent: card\nreply: "Fine \\U0001F389 \\u2013 ja"\n')
    assert demo.run("run", "demo", "hi", "-o", "reply", env=poor).out == "Fine \\U0001f389 - ja\n"
    assert demo.run("run", "demo", "hi", "--json", env=poor).json["outputs"]["reply"] == "Fine 🎉 – ja"
    shown = demo.run("show", "demo", env=poor)
    assert (shown.code, "\n|-* draft" in shown.out, "\n+-+-* check" in shown.out) == (0, True, True)
    assert demo.run("show", "demo", "hi", "--rendered", env=poor).out.startswith("== intent > scripted/")
    assert demo.run("doctor", env=poor).code == 0
    assert demo.run("run", "nö", "hi", env=poor).code == 2


def test_from_a_subfolder_and_from_a_file(demo: Workspace) -> None:
    demo.write("deep/er/note.txt", "hi")
    assert demo.run("run", "demo", "-i", "message=@note.txt", "-o", "intent", cwd="deep/er").out == "card\n"
    assert demo.run("check", cwd="deep/er").out == "ok chains/demo.yaml: 3 steps\n"
    assert demo.run("run", "../../chains/demo.yaml", "hi", "-o", "intent", cwd="deep/er").out == "card\n"
    assert len(demo.records()) == 2


def test_records_go_to_the_git_folder_and_the_work_tree_stays_clean(demo: Workspace) -> None:
    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=demo.root, capture_output=True, text=True, check=True).stdout

    git("init", "-q")
    git("add", ".")
    git("-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "first")
    git("worktree", "add", "-q", "../linked")
    demo.run("run", "demo", "hi")
    demo.run("run", "demo", "hi", cwd="../linked")
    spool = demo.root / ".git/promptchain/spool"
    assert [json.loads(path.read_text())["status"] for path in spool.glob("*.json")] == ["done", "done"]
    assert git("status", "--porcelain") == ""


def test_a_project_that_may_not_be_written_still_runs(demo: Workspace) -> None:
    """As root nothing is read-only, so a file stands where the folder of the records would be."""
    demo.write(".promptchain", "")
    for path in (demo.root / "chains", demo.root):
        path.chmod(0o555)
    try:
        done = demo.run("run", "demo", "hi", "-o", "intent")
    finally:
        demo.root.chmod(0o755)
    assert (done.code, done.out) == (0, "card\n")
    assert done.err.startswith("warning: the store cannot be made in ")
    assert "Traceback" not in done.err


@pytest.mark.parametrize("words", [["--debug", "run", "nope", "hi"], ["run", "nope", "hi", "--debug"]])
def test_debug_shows_the_traceback_and_nothing_else_does(demo: Workspace, words: list[str]) -> None:
    shown = demo.run(*words)
    assert (shown.code, shown.out) == (2, "")
    assert shown.err.startswith("Traceback (most recent call last):")
    assert "error: there is no chain 'nope'\n" in shown.err
    plain = demo.run(*[word for word in words if word != "--debug"])
    assert (plain.code, plain.err) == (2, "error: there is no chain 'nope'\n  hint: known chains: demo\n")


def test_a_text_that_looks_like_an_option_comes_after_a_double_dash(demo: Workspace) -> None:
    assert demo.run("run", "demo", "--", "--debug").code == 0
    assert demo.records()[-1]["inputs"] == {"message": "--debug"}


def test_a_megabyte_goes_through(demo: Workspace) -> None:
    demo.chain(DEMO.replace("{{ check }}", "{{ message }}"))
    text = "é🎉" * 200_000
    done = demo.run("run", "demo", "--input", "-", "-o", "reply", stdin=text)
    assert (done.code, done.out) == (0, text + "\n")


def test_two_at_once_do_not_get_in_each_others_way(demo: Workspace, tmp_path: Path) -> None:
    running = [
        subprocess.Popen([CHAIN, "run", "demo", "hi", "--cache"], cwd=demo.root, stdout=subprocess.PIPE)
        for _ in range(3)
    ]
    assert {process.communicate(timeout=300)[0] for process in running} == {b"intent: card\nreply: All is well.\n"}
    assert len(demo.records()) == 3

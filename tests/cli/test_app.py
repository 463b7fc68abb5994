"""What holds for every command: exit codes, streams, colours, help, and what an error looks like."""

import re
import subprocess

import pytest
from typer.testing import CliRunner

from promptchain.cli import _take_debug
from promptchain.cli.app import COMMANDS, app
from tests.workspace import Workspace


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        ([], 2, "Usage: "),
        (["frob"], 2, "No such command 'frob'"),
        (["run", "demo", "--frob"], 2, "No such option: --frob"),
        (["run"], 2, "Missing argument"),
        (["run", "demo", "hi", "--concurrency", "0"], 2, "--concurrency"),
        (["run", "demp", "hi"], 2, "did you mean 'demo'?"),
        (["run", "zzz", "hi"], 2, "known chains: demo"),
        (["show", "Demo"], 2, "did you mean 'demo'?"),
        (["run", "demo@v7", "hi"], 2, "the chain 'demo' has no versions yet"),
        (["run", "demo@production", "hi"], 2, "`chain commit demo` makes the first"),
        (["show", "../other/chains/x.yaml"], 2, "lies outside the project"),
        (["show", "chains/nope.yaml"], 2, "there is no file 'chains/nope.yaml'"),
        (["show", "demo", "--step", "chek"], 2, "did you mean 'check'?"),
    ],
)
def test_wrong_usage_is_exit_code_2_and_one_message_on_stderr(
    demo: Workspace, words: list[str], code: int, says: str
) -> None:
    (demo.root / "../other/chains").mkdir(parents=True)
    demo.write("../other/chains/x.yaml", "steps: {a: {prompt: hi}}")
    done = demo.invoke(*words)
    assert (done.code, done.out) == (code, ""), done
    assert says in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize("words", [["run", "demo", "hi"], ["show", "demo"], ["check", "demo"]])
def test_without_a_chains_folder_the_error_says_where_to_put_one(empty: Workspace, words: list[str]) -> None:
    done = empty.invoke(*words)
    assert done.code in (1, 2)
    assert "there is no folder chains/ here or above" in done.err + done.out
    assert "write chains/demo.yaml" in done.err + done.out
    assert "chain init" in done.err + done.out


@pytest.mark.parametrize("words", [["check"], ["test"], ["report"]])
def test_without_chains_the_error_says_how_to_begin(empty: Workspace, words: list[str]) -> None:
    done = empty.invoke(*words)
    assert done.code == 2
    assert "chain init makes an example" in done.err


def test_version_and_help_are_data(demo: Workspace) -> None:
    done = demo.invoke("--version")
    assert re.fullmatch(r"promptchain \d+\.\d+\.\d+\S*\n", done.out)
    assert (done.code, done.err) == (0, "")
    for words in ([], *([name] for name in COMMANDS), ["models", "pull"]):
        done = demo.invoke(*words, "--help")
        assert (done.code, done.err) == (0, "")
        assert done.out.startswith("Usage: ")
        assert "\x1b" not in done.out
    assert all(f"\n  {name} " in demo.invoke("--help").out for name in COMMANDS)


@pytest.mark.parametrize(
    "words",
    [
        ["check", "--json"],
        ["show", "demo", "--json"],
        ["show", "demo", "--json", "--step", "draft"],
        ["show", "demo", "hi", "--rendered", "--json"],
        ["schema"],
        ["run", "demo", "hi", "--json"],
        ["models", "--json"],
        ["models", "--search", "gpt-4o-mini", "--json"],
        ["doctor", "--json"],
        ["commit", "demo", "--json"],
        ["log", "--json"],
        ["log", "demo", "--json"],
        ["label", "demo", "--json"],
        ["label", "demo@v1", "beta", "--json"],
        ["label", "demo", "production", "-d", "--json"],
        ["rollback", "demo", "v1", "--json"],
        ["rollback", "demo", "v1", "--label", "production", "--json"],
        ["runs", "--json"],
        ["runs", "show", "last", "--json"],
        ["replay", "last", "--json"],
        ["diff", "demo", "--json"],
        ["sync", "../team.git", "--json"],
    ],
)
def test_json_is_all_that_stands_on_stdout(demo: Workspace, words: list[str]) -> None:
    subprocess.run(["git", "init", "--quiet", "--bare", "../team.git"], check=True)
    demo.invoke("run", "demo", "hi")
    demo.invoke("label", "demo@v1", "production")
    done = demo.invoke(*words)
    assert done.code == 0, done
    assert done.json


@pytest.mark.parametrize(
    "words",
    [["check"], ["show", "demo"], ["show", "demo", "hi", "--rendered"], ["run", "demo", "hi"], ["models"], ["doctor"]],
)
def test_a_pipe_gets_no_escape_sequences_unless_they_are_forced(
    demo: Workspace, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = demo.invoke(*words)
    assert plain.code == 0
    assert "\x1b" not in plain.out + plain.err
    monkeypatch.setenv("FORCE_COLOR", "1")
    forced = demo.invoke(*words)
    assert words == ["models"] or "\x1b[" in forced.out  # of a table in a pipe nothing is coloured: it is for programs
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in demo.invoke(*words).out


def test_secrets_are_not_in_messages(demo: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret-key-1234")
    done = demo.invoke("run", "sk-very-secret-key-1234", "hi")
    assert "***" in done.err
    assert "very-secret" not in done.err


def test_a_file_system_that_fails_is_a_message(demo: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    long = "x" * 300
    done = demo.invoke("run", "demo", "--input", f"{long}.json")
    assert done.code in (1, 2)
    assert "File name too long" in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    ("before", "after", "taken"),
    [
        (["chain", "run", "x", "--debug"], ["chain", "run", "x"], True),
        (["chain", "--debug", "run", "x"], ["chain", "run", "x"], True),
        (["chain", "run", "x", "--", "--debug"], ["chain", "run", "x", "--", "--debug"], False),
        (["chain", "run", "--debug", "x", "--", "--debug"], ["chain", "run", "x", "--", "--debug"], True),
    ],
)
def test_debug_may_stand_anywhere_before_a_double_dash(
    before: list[str], after: list[str], taken: bool, empty: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROMPTCHAIN_DEBUG", "")
    _take_debug(before)
    assert before == after
    done = CliRunner().invoke(app, ["show", "x"])
    assert ("Traceback" in done.stderr) is taken
    assert done.exit_code == 2
    assert "error: there is no folder chains/" in done.stderr

"""Terminals of every kind: narrow, without colours, dumb, not of UTF-8; none at all; and files from Windows."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from rich.cells import cell_len

from tests import templates
from tests.cli import compile_kit
from tests.cli.git_kit import make_repo
from tests.workspace import CHAIN, Result, Workspace

COLOUR = re.compile(r"\x1b\[[\d;]*\b(?:3[0-7]|9[0-7])m|\x1b\[(?:3[0-7]|9[0-7])m")
ESCAPE = re.compile(r"\x1b\[[?\d;]*[A-Za-z]")

BAD = """
inputs: {country: string}
steps:
  capital:
    instrctions: Name the capital of the country.
    prompt: "{{ contry }}"
"""
COMMANDS = {
    "check": 1,
    "show comp": 0,
    "show comp --rendered -i message=hi": 0,
    "run comp easy…é": 0,
    "test comp": 100,
    "log comp": 0,
    "runs": 0,
    "runs show last": 0,
    "diff comp@v1": 0,
    "models": 0,
    "doctor": 1,
    "compile --check": 0,
    "help exit-codes": 0,
    "help": 0,
}


@pytest.fixture
def project(empty: Workspace, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """The compiled chain `comp`, a run of it, and a chain with mistakes."""
    for name in ("LC_ALL", "LC_CTYPE", "LANG", "TERM", "PYTHONIOENCODING", "PYTHONUTF8"):
        monkeypatch.delenv(name, raising=False)
    templates.copy("compiled", _project, empty.root)
    return empty


def _project(root: Path) -> None:
    made = Workspace(root)
    compile_kit.dataset(made, compile_kit.rows())
    made.chain(compile_kit.CHAIN.replace("MODEL", "scripted/comp.script.yaml"), name="comp", replies=compile_kit.MODEL)
    make_repo(root)
    with contextlib.chdir(root):
        assert made.invoke("compile", "comp", "--optimizer", "demos").code == 0
        made.invoke("run", "comp", "easy")
    made.write("chains/bad.yaml", BAD)


def each(work: Callable[[str], Result]) -> dict[str, Result]:
    """What each command gives, several of them side by side."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = dict(zip(COMMANDS, pool.map(work, COMMANDS), strict=True))
    for command, done in found.items():
        assert done.code == COMMANDS[command], (command, done)
    return found


def on_terminal(workspace: Workspace, line: str, columns: int, **env: str) -> Result:
    """The command with a terminal of so many columns; all that it writes comes as one."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    process = subprocess.Popen(
        [CHAIN, *line.split()], stdin=theirs, stdout=theirs, stderr=theirs, cwd=workspace.root,
        env={**os.environ, "TERM": "xterm", **env}, start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    said = b""
    try:
        while piece := os.read(ours, 65536):
            said += piece
    except OSError:  # its end, on Linux
        pass
    finally:
        os.close(ours)
    return Result(process.wait(300), said.decode().replace("\r\n", "\n"), "")


def lines(text: str) -> list[str]:
    return [ESCAPE.sub("", line) for line in text.splitlines()]


def test_forty_columns(project: Workspace) -> None:
    for command, done in each(lambda command: on_terminal(project, command, 40, CI="1", NO_COLOR="1")).items():
        assert "Traceback" not in done.out, command
        # A word that is torn apart, as narrow columns tear it.
        assert not re.search(r"^\s*(?:[a-z]{1,2}|\d)\s*$", done.out, re.MULTILINE), (command, done.out)
    assert re.search(r"^intent\n  score: \d+ % ", on_terminal(project, "test comp", 40, CI="1").out, re.MULTILINE)
    for command in ("show comp", "log comp", "runs", "help exit-codes", "help", "test --help", "ci compile --help"):
        found = lines(on_terminal(project, command, 40, CI="1").out)
        wide = [line for line in found if cell_len(line) > 40 and not line.startswith("    ")]
        assert not [line for line in wide if "scripted/" not in line], command


def test_colours_and_motion(project: Workspace) -> None:
    plain = {"NO_COLOR": {"NO_COLOR": "1"}, "dumb": {"TERM": "dumb"}}

    def without(command: str) -> None:
        for name, env in plain.items():
            said = on_terminal(project, command, 80, **env).out
            assert not COLOUR.search(said), (command, name, said)
            assert name == "NO_COLOR" or "\x1b" not in said, (command, name, said)
        assert "\x1b[?25l" not in on_terminal(project, command, 80, CI="1").out, command
        assert "\x1b" not in "".join(_pipe(project, command)), command

    def with_them(command: str) -> None:
        assert COLOUR.search(on_terminal(project, command, 80).out), command
        assert ESCAPE.search("".join(_pipe(project, command, FORCE_COLOR="1"))), command

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(without, ("check", "test comp", "run comp easy", "diff comp@v1", "compile --check", "help ci")))
        list(pool.map(with_them, ("check", "test comp", "compile --check")))


def _pipe(project: Workspace, command: str, **env: str) -> tuple[str, str]:
    done = project.run(*command.split(), env=env)
    assert done.code == COMMANDS.get(command, 0), (command, done)
    return done.out, done.err


def test_a_terminal_that_takes_ascii_only(project: Workspace) -> None:
    for command, done in each(lambda command: on_terminal(project, command, 80, LC_ALL="C")).items():
        assert done.out.isascii(), (command, done.out)
        marks = re.findall(r"\\u[0-9a-f]{4}", done.out)
        assert not [mark for mark in marks if mark not in (r"\u2026", r"\xe9")], (command, done.out)
        assert "Unicode" not in done.out, command


def test_a_pipe_stays_utf8_in_the_locale_c_and_an_encoding_is_heeded(project: Workspace) -> None:
    for env, utf8 in (({"LC_ALL": "C"}, True), ({"PYTHONIOENCODING": "ascii"}, False)):
        found = each(lambda command: project.run(*command.split(), env=env))  # noqa: B023
        for command, done in found.items():
            assert "Unicode" not in done.out + done.err, command
        assert ("é" in _pipe(project, "runs show last", **env)[0]) is utf8


def test_without_any_stream_it_works_as_well(project: Workspace) -> None:
    for closed in ("<&-", ">&-", "2>&-", "<&- >&- 2>&-"):
        done = subprocess.run(
            ["sh", "-c", f"{CHAIN} run comp easy {closed}"], cwd=project.root, capture_output=True, timeout=300
        )
        assert done.returncode == 0, (closed, done)


def test_line_endings_of_windows_in_every_file_change_nothing(project: Workspace) -> None:
    (project.root / "chains/bad.yaml").unlink()
    project.write("promptchain.toml", "concurrency = 4\nredact = [\n  'EMP-\\d+',\n]\n")
    project.write("chains/said.md", "Say this:\n{{ message }}\n")
    project.chain(
        "model: scripted/filed.script.yaml\ninputs: {message: string}\nsteps:\n  a: {prompt: {file: said.md}}\n",
        name="filed", replies=[{"contains": "Say this:\nhello", "reply": "all right"}],
    )  # fmt: skip
    project.write("in.csv", "message\nhello\nhello\n")
    project.write("in.jsonl", '{"message": "hello"}\n')
    project.write("in.yaml", "message: |-\n  hello\n")
    commands = (
        "check", "compile --check", "test comp", "run filed --input in.yaml", "show filed hello --rendered",
        "run filed --batch in.csv -o csv.out", "run filed --batch in.jsonl -o jsonl.out",
    )  # fmt: skip
    before = _said(project, commands)
    for path in project.root.rglob("*"):
        if path.is_file() and ".git" not in path.parts and path.suffix != ".out":
            _to_windows(path)
    for file in project.root.glob("*.out"):
        file.unlink()
    assert _said(project, commands) == before
    assert "all right" in (project.root / "csv.out").read_text()


def _to_windows(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))


def _said(project: Workspace, commands: Sequence[str]) -> list[tuple[int, str]]:
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = pool.map(lambda command: project.run(*command.split()), commands)
        return [(done.code, re.sub(r" *[\d.]+ m?s\b|@v\d+", "", done.out)) for done in found]


def test_data_does_not_command_a_terminal(empty: Workspace) -> None:
    """Neither the ids of rows, nor outputs: no control character, and none that turns the text around."""
    hostile = "\x1b]0;title\x07\u202egnp"
    compile_kit.dataset(empty, [{"id": f"{hostile}{word}", "text": word, "expected": "x"} for word in ("one", "two")])
    chain = """
model: MODEL
inputs: {text: string}
steps:
  a: {prompt: "{{ text }}"}
  b: {prompt: "{{ a }}", needs: [a]}
outputs: {a: "{{ a }}", b: "{{ b }}"}
test: {dataset: DATA, assert: [{step: a, type: equals, value: "{{ expected }}"}]}
"""
    data = next(empty.root.rglob("*.jsonl")).relative_to(empty.root / "chains")
    empty.chain(chain.replace("DATA", str(data)), name="odd", replies=[{"always": True, "reply": hostile}])
    empty.chain(chain.replace("DATA", str(data)), name="even", replies=[{"always": True, "reply": "x"}])
    for line in ("test odd", "test even --compare scripted/odd.script.yaml", "run odd hi"):
        said = ESCAPE.sub("", on_terminal(empty, line, 80, CI="1", NO_COLOR="1").out)
        assert "gnp" in said, (line, said)
        assert not re.search(r"[^\S \n]|[\x00-\x09\x0b-\x1f\x7f\u202e]", said), (line, said)

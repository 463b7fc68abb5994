"""Completion in the shells themselves: what `--show-completion` prints is sourced, and the Tab key pressed."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from promptchain.cli.completing import join_words
from tests.cli.git_kit import make_repo
from tests.patience import PATIENCE
from tests.workspace import DEMO, Workspace, patient

DONE = "<end of what was asked>"


def needs(shell: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(shell) is None, reason=f"{shell} is not installed")


@pytest.fixture
def kept(empty: Workspace, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """Two versions, a label and a run of `demo`; `chain` is on the PATH, and gives up completing later than it does
    for who types: a busy machine takes its time."""
    command = patient(empty.root.parent)
    monkeypatch.setenv("PATH", f"{command.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("TERM", "dumb")
    empty.chain()
    empty.chain(name="other-one")
    make_repo(empty.root)
    empty.invoke("run", "demo", "hi")
    empty.chain(DEMO.replace("Classify: ", "Classify this: "))
    empty.invoke("commit", "demo")
    empty.invoke("label", "demo@v1", "production")
    return empty


class Terminal:
    """A shell that believes that somebody types."""

    def __init__(self, handle: int) -> None:
        self._handle = handle

    def type(self, text: str) -> None:
        os.write(self._handle, text.encode())

    def until(self, mark: str, seconds: float = PATIENCE) -> str:
        """What the shell writes, up to the mark."""
        found, end = b"", time.monotonic() + seconds
        while mark.encode() not in found:
            ready, _, _ = select.select([self._handle], [], [], max(0.0, end - time.monotonic()))
            assert ready, f"{mark!r} did not come, but {found!r}"
            found += os.read(self._handle, 65536)
        return found.decode(errors="replace").partition(mark)[0]


@contextmanager
def shell(workspace: Workspace, *command: str) -> Iterator[Terminal]:
    ours, theirs = pty.openpty()
    env = {**os.environ, "PS1": "> ", "HISTFILE": "", "COLUMNS": "200", "LINES": "50", "LC_ALL": "C.UTF-8"}
    process = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=workspace.root, env=env, start_new_session=True
    )
    os.close(theirs)
    try:
        yield Terminal(ours)
    finally:
        process.kill()
        process.wait()
        os.close(ours)


@contextmanager
def bash(workspace: Workspace) -> Iterator[Terminal]:
    with shell(workspace, "bash", "--norc", "--noprofile", "-i") as terminal:
        terminal.type('eval "$(chain --show-completion)"; stty -echo; echo rea""dy\n')
        terminal.until("ready")
        yield terminal


BASH = [
    ("chain comp", "compile"),
    ("chain ru", "run runs"),
    ("chain run ", "demo other-one"),
    ("chain run demo@", "demo@latest @production @v1 @v2"),
    ("chain run demo@p", "demo@production"),
    ("chain run demo -i mes", "message="),
    ("chain run demo --output re", "reply"),
    ("chain run demo -m dr", "draft="),
    ("chain run demo -m draft=local/sm", "draft=local/smollm2"),
    ("chain show demo@v1 --step ", "check draft intent"),
    ("chain show demo --step=d", "--step=draft"),
    ("chain runs show la", "last"),
    ("chain replay last --from dr", "draft"),
    ("chain replay last --at ", ". latest production v1 v2"),
    ("chain label demo@v2 p", "production"),
    ("chain label demo@v2 x --expect v", "v1 v2"),
    ("chain help ref", "references"),
    ("chain compile demo --optimizer ne", "nearest"),
]


@needs("bash")
def test_bash(kept: Workspace) -> None:
    """Alt-* puts all completions of the last word into the line."""
    with bash(kept) as terminal:
        for line, offered in BASH:
            terminal.type(f'{line}\x1b*\x01echo "[\x05]"{DONE!r}\n')
            found = terminal.until(DONE).rpartition("[")[2].partition("]")[0]
            assert found.strip() == line[: line.rindex(" ") + 1] + offered


@contextmanager
def zsh(workspace: Workspace) -> Iterator[Terminal]:
    with shell(workspace, "zsh", "-f", "-i") as terminal:
        setup = "autoload -U compinit; compinit -u -d .zcompdump; zstyle ':completion:*' menu no"
        terminal.type(f"PROMPT='> '; unsetopt zle_bracketed_paste prompt_sp; {setup}\n")
        terminal.type('eval "$(chain --show-completion)"; bindkey "^X" list-choices; echo rea""dy\n')
        terminal.until("ready")
        yield terminal


ZSH = [
    ("chain comp", ["chain compile "]),
    ("chain run ", ["demo", "other-one"]),
    ("chain run demo@p", ["demo@production"]),
    ("chain run demo@", ["demo@latest", "demo@v2"]),
    ("chain run demo --out", ["--output"]),
    ("chain show demo --step d", ["--step draft"]),
    ("chain run demo -m draft=local/sm", ["draft=local/smollm2"]),
    ("chain runs show la", ["show last"]),
    ("chain help ref", ["help references"]),
]


@needs("zsh")
def test_zsh(kept: Workspace) -> None:
    """It lists several completions, and puts in the only one."""
    with zsh(kept) as terminal:
        for line, offered in ZSH:
            terminal.type(f'{line}\t\x18\x01: "\x05"; echo do""ne\n')
            found = terminal.until("done")
            assert all(word in found for word in offered), (line, found)


FISH = [
    ("chain comp", ["compile"]),
    ("chain run ", ["demo", "other-one"]),
    ("chain run demo@", ["demo@latest", "demo@production", "demo@v1", "demo@v2"]),
    ("chain show demo --step d", ["draft"]),
    ("chain run demo -m draft=local/sm", ["draft=local/smollm2"]),
    ("chain replay last --from ", ["check", "draft", "intent"]),
    ("chain runs show la", ["last"]),
    ("chain help ref", ["references"]),
]


@needs("fish")
def test_fish(kept: Workspace) -> None:
    asked = "; ".join(f"complete -C '{line}'; echo {DONE!r}" for line, _ in FISH)
    done = subprocess.run(
        ["fish", "--no-config", "-c", f"chain --show-completion | source; {asked}"],
        capture_output=True, text=True, cwd=kept.root, timeout=60,
    )  # fmt: skip
    assert done.stderr == ""
    found = [answer.split("\n") for answer in done.stdout.split(DONE)]
    offered = [sorted(word.partition("\t")[0] for word in words if word) for words in found]
    assert offered[:-1] == [words for _, words in FISH]


@pytest.mark.parametrize(
    ("words", "number", "joined", "place", "begun"),
    [
        ("chain run demo", "2", "chain run demo", "2", ""),
        ("chain run demo @ p", "4", "chain run demo@p", "2", "demo"),
        ("chain run demo @", "3", "chain run demo@", "2", "demo"),
        ("chain run -m a = openai/b : c", "7", "chain run -m a=openai/b:c", "3", "a=openai/b:"),
        ("chain show --step = d", "4", "chain show --step=d", "2", "--step="),
        ("chain diff demo @ v1 v2", "5", "chain diff demo@v1 v2", "3", ""),
        ("chain diff demo @ v1 v2", "4", "chain diff demo@v1 v2", "2", "demo"),
        ("chain", "0", "chain", "0", ""),
        ("chain run", "7", "chain run", "7", ""),
        ("chain run", "x", "chain run", "x", ""),
    ],
)
def test_what_bash_takes_apart_is_put_together(words: str, number: str, joined: str, place: str, begun: str) -> None:
    told = {"COMP_WORDS": words.replace(" ", "\n"), "COMP_CWORD": number}
    assert join_words(told) == begun
    assert told == {"COMP_WORDS": joined.replace(" ", "\n"), "COMP_CWORD": place}


@pytest.mark.parametrize("harm", ["settings", "store", "chain", "no git", "folder"])
def test_nothing_is_said_where_something_is_broken(kept: Workspace, harm: str) -> None:
    if harm == "settings":
        kept.write("promptchain.toml", "redact = ['(']\nref_prefix = 3")
    elif harm == "store":
        shutil.rmtree(kept.root / ".git/objects")
        kept.write(".git/promptchain/index.db", "nonsense")
    elif harm == "chain":
        (kept.root / "chains/demo.yaml").write_bytes(b"\xff\x00: [")
    elif harm == "no git":
        shutil.rmtree(kept.root / ".git")
    else:
        shutil.rmtree(kept.root / "chains")
        kept.write("chains", "a file")
    for line in ("chain run demo@", "chain runs show ", "chain show demo --step "):
        words = {"COMP_WORDS": line.replace(" ", "\n"), "COMP_CWORD": str(line.count(" "))}
        done = kept.run(env={"_CHAIN_COMPLETE": "complete_bash", **words})
        assert done.err == ""
        assert "Traceback" not in done.out


def test_what_takes_too_long_is_given_up(kept: Workspace, tmp_path: Path) -> None:
    (tmp_path / "git").write_text("#!/bin/sh\nexec sleep 600\n")
    (tmp_path / "git").chmod(0o755)
    env = {"_CHAIN_COMPLETE": "complete_bash", "COMP_WORDS": "chain run demo@", "COMP_CWORD": "2"}
    started = time.monotonic()
    done = kept.run(env={**env, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"})
    assert time.monotonic() - started < 60
    assert (done.out, done.err) == ("", "")

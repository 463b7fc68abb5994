"""`chain fmt`: what is written, what is only told, and what is left alone."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from promptchain import atomic
from tests.workspace import Workspace

ODD = "# mine\nsteps:\n    a:\n        output: [yes, no]  # why\n        prompt: 'hi'\n"
EVEN = "# mine\nsteps:\n  a:\n    prompt: hi\n    output: [yes, no]  # why\n"


@pytest.fixture
def odd(demo: Workspace) -> Workspace:
    """The project `demo`, laid out as it should be, with another chain that is not."""
    demo.invoke("fmt")
    demo.write("chains/odd.yaml", ODD)
    return demo


def text(workspace: Workspace, name: str = "odd") -> str:
    return (workspace.root / f"chains/{name}.yaml").read_text(encoding="utf-8")


def test_files_are_written_and_told(odd: Workspace) -> None:
    done = odd.invoke("fmt")
    assert (done.code, done.out) == (0, "reformatted chains/odd.yaml\n")
    assert done.err == "1 file reformatted, 1 file left as it is\n"
    assert text(odd) == EVEN
    again = odd.invoke("fmt")
    assert (again.code, again.out, again.err) == (0, "", "2 files left as they are\n")


def test_only_what_is_named(odd: Workspace) -> None:
    odd.write("chains/other.yaml", ODD)
    done = odd.invoke("fmt", "odd", "chains/odd.yaml")
    assert (done.code, done.out) == (0, "reformatted chains/odd.yaml\n")
    assert text(odd, "other") == ODD


def test_check_writes_nothing(odd: Workspace) -> None:
    done = odd.invoke("fmt", "--check")
    assert (done.code, done.out) == (1, "would reformat chains/odd.yaml\n")
    assert done.err == "1 file would be reformatted, 1 file left as it is\n"
    assert text(odd) == ODD
    assert odd.invoke("fmt", "--check", "demo").code == 0


def test_diff_shows_and_writes_nothing(odd: Workspace) -> None:
    done = odd.invoke("fmt", "--diff")
    assert done.code == 1
    assert done.out.splitlines()[:3] == ["--- a/chains/odd.yaml", "+++ b/chains/odd.yaml", "@@ -1,5 +1,5 @@"]
    assert "-        prompt: 'hi'" in done.out
    assert "+    prompt: hi" in done.out
    assert text(odd) == ODD
    assert odd.invoke("fmt", "--diff", "demo").code == 0


def test_diff_says_where_only_the_end_differs(odd: Workspace) -> None:
    (odd.root / "chains/odd.yaml").write_text(EVEN.removesuffix("\n"))
    assert odd.invoke("fmt", "--diff").out == "chains/odd.yaml: only line breaks differ\n"


def test_what_is_no_yaml_is_told_and_the_others_are_written(odd: Workspace) -> None:
    odd.write("chains/bad.yaml", "steps: [\n")
    odd.write("chains/twice.yaml", "steps: {a: {prompt: x}}\nsteps: {}\n")
    done = odd.invoke("fmt")
    assert (done.code, done.out) == (1, "reformatted chains/odd.yaml\n")
    assert "error: chains/bad.yaml:2:1: " in done.err
    assert "error: chains/twice.yaml:2:1: the key 'steps' is here twice, first in line 1" in done.err
    assert done.err.endswith("1 file reformatted, 1 file left as it is, 2 files could not be read\n")
    assert text(odd, "bad") == "steps: [\n"


def test_faults_of_content_are_not_its_business(odd: Workspace) -> None:
    odd.write("chains/odd.yaml", ODD + "        promt: x\nfoo: 'bar'\n")
    assert odd.invoke("fmt").code == 0
    assert text(odd) == EVEN + "    promt: x\nfoo: bar\n"
    assert odd.invoke("check", "odd").code == 1


def test_locks_are_left_alone(odd: Workspace) -> None:
    lock = odd.write("chains/odd.lock.yaml", "models:   {}\n")
    done = odd.invoke("fmt", "chains/odd.lock.yaml")
    assert (done.code, done.err) == (0, "nothing to lay out: locks are left alone\n")
    odd.invoke("fmt")
    assert lock.read_text() == "models:   {}\n"


def test_line_breaks_a_mark_and_the_mode_stay(odd: Workspace) -> None:
    path = odd.root / "chains/odd.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + ODD.replace("\n", "\r\n").encode().rstrip())
    path.chmod(0o640)
    assert odd.invoke("fmt").code == 0
    assert path.read_bytes() == b"\xef\xbb\xbf" + EVEN.replace("\n", "\r\n").encode()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.parametrize("words", [[], ["odd"]])
def test_a_link_within_the_project_stays_one(odd: Workspace, words: list[str]) -> None:
    target = odd.write("shared/odd.yaml", ODD)
    path = odd.root / "chains/odd.yaml"
    path.unlink()
    path.symlink_to(target)
    assert odd.invoke("fmt", *words).code == 0
    assert path.is_symlink()
    assert target.read_text() == EVEN


@pytest.mark.parametrize("words", [[], ["odd"], ["chains/odd.yaml"]])
def test_a_link_out_of_the_project_is_refused(
    odd: Workspace, words: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    target = tmp_path_factory.mktemp("outside") / "odd.yaml"
    target.write_text(ODD)
    path = odd.root / "chains/odd.yaml"
    path.unlink()
    path.symlink_to(target)
    done = odd.invoke("fmt", *words)
    assert done.code == 2
    assert "outside the project" in done.err
    assert target.read_text() == ODD


def test_a_write_that_fails_leaves_the_file(odd: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic.os, "fsync", full)
    done = odd.invoke("fmt")
    assert (done.code, done.err) == (1, "error: chains/odd.yaml: cannot be written: No space left on device\n")
    assert text(odd) == ODD
    assert sorted(os.listdir(odd.root / "chains")) == ["demo.yaml", "odd.yaml"]  # noqa: PTH208


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nothing"], "there is no chain 'nothing'"),
        (["chains/nothing.yaml"], "there is no file 'chains/nothing.yaml'"),
        (["odd@v1"], "is no file of the work tree"),
    ],
)
def test_what_is_not_there(odd: Workspace, words: list[str], said: str) -> None:
    done = odd.invoke("fmt", *words)
    assert done.code == 2
    assert said in done.err
    assert text(odd) == ODD


def test_no_project_and_no_chains(empty: Workspace) -> None:
    done = empty.invoke("fmt")
    assert (done.code, done.out) == (2, "")
    assert "there is no folder chains/ here or above" in done.err
    assert "chain init" in done.err
    (empty.root / "chains").mkdir()
    assert "there are no chains in" in empty.invoke("fmt").err


def test_standard_input_for_editors(empty: Workspace) -> None:
    done = empty.run("fmt", "-", stdin=ODD)
    assert (done.code, done.out, done.err) == (0, EVEN, "")
    bad = empty.run("fmt", "-", stdin="a: [")
    assert (bad.code, bad.out) == (1, "")
    assert bad.err.startswith("error: standard input:")
    assert empty.run("fmt", "-", stdin="a: " + "x" * 2**20).err.startswith("error: standard input is longer")


def test_what_runs_is_the_same_afterwards(demo: Workspace) -> None:
    before = demo.invoke("show", "demo", "--json").json
    demo.invoke("fmt")
    assert demo.invoke("show", "demo", "--json").json == before


def test_the_files_are_only_read_where_nothing_changes(odd: Workspace) -> None:
    path = Path(odd.root / "chains/demo.yaml")
    before = path.stat()
    odd.invoke("fmt")
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)

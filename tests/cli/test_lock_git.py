"""The merge driver for locks: alone, and as git calls it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from promptchain import lock
from promptchain.cli.lock_git import merge_driver
from promptchain.errors import InvalidFileError, PromptChainError
from promptchain.records import StepVariant
from tests import lock_kit as kit


def files(folder: Path, *locks: lock.Lock | str) -> list[Path]:
    """The base, ours and theirs, under names as git gives them."""
    paths = [folder / f".merge_file_{name}" for name in ("base", "ours", "theirs")]
    for path, found in zip(paths, locks, strict=True):
        path.write_text(found if isinstance(found, str) else lock.to_text(found, "demo"))
    return paths


def test_two_branches_that_compiled_different_models(tmp_path: Path) -> None:
    paths = files(tmp_path, "", kit.lock("x/a"), kit.lock("x/b"))
    assert merge_driver(*paths) == 0
    assert paths[1].read_text() == lock.to_text(kit.lock("x/a", "x/b"), "demo")
    assert paths[2].read_text() == lock.to_text(kit.lock("x/b"), "demo")


def test_two_branches_that_compiled_the_same_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    theirs = kit.lock("x/a", "x/b", parts=StepVariant(instructions="Theirs."))
    paths = files(tmp_path, kit.lock(), kit.lock("x/a"), theirs)
    assert merge_driver(*paths) == 1
    text = paths[1].read_text()
    assert text.count("<<<<<<< ours\n") == text.count(">>>>>>> theirs\n") == 1
    assert "COMPILED" in text
    assert "Theirs." in text
    assert "both sides compiled 'demo' for x/a" in capsys.readouterr().err
    with pytest.raises(InvalidFileError, match="conflict markers"):
        lock.read(paths[1], "x")


@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_side_that_is_no_lock(tmp_path: Path, at: int, capsys: pytest.CaptureFixture[str]) -> None:
    sides: list[lock.Lock | str] = [kit.lock(), kit.lock("x/a"), kit.lock("x/b")]
    sides[at] = "models: ["
    paths = files(tmp_path, *sides)
    ours, theirs = (path.read_text() for path in paths[1:])
    assert merge_driver(*paths) == 1
    ends = [text if text.endswith("\n") else text + "\n" for text in (ours, theirs)]
    assert paths[1].read_text() == f"<<<<<<< ours\n{ends[0]}=======\n{ends[1]}>>>>>>> theirs\n"
    assert "warning: " in capsys.readouterr().err


@pytest.mark.parametrize("name", ["x\n#", "X"])
def test_the_head_of_a_lock_is_not_trusted(tmp_path: Path, name: str) -> None:
    """It goes into the merged lock, and into what is said."""
    theirs = lock.to_text(kit.lock("x/b"), name)
    paths = [tmp_path / word for word in ("base", "ours", "theirs")]
    for path, text in zip(paths, ("", "", theirs), strict=True):
        path.write_text(text)
    merge_driver(*paths)
    assert paths[1].read_text() == lock.to_text(kit.lock("x/b"), "NAME")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(PromptChainError, match="cannot be merged"):
        merge_driver(tmp_path / "a", tmp_path / "b", tmp_path / "c")


def test_as_git_calls_it(tmp_path: Path) -> None:
    """With a script in place of `chain compile --merge-driver`, which hands over to the same function."""
    import sys

    from tests.cli.git_kit import git, make_repo

    (tmp_path / "driver.py").write_text(
        "import sys; from pathlib import Path; from promptchain.cli.lock_git import merge_driver\n"
        "sys.exit(merge_driver(*map(Path, sys.argv[1:])))\n"
    )
    (tmp_path / ".gitattributes").write_text("*.lock.yaml merge=promptchain\n")
    path = tmp_path / "demo.lock.yaml"
    lock.write(path, kit.lock("x/a"))
    make_repo(tmp_path)
    git(tmp_path, "config", "merge.promptchain.driver", f"{sys.executable} driver.py %O %A %B")
    git(tmp_path, "checkout", "--quiet", "-b", "other")
    lock.write(path, kit.lock("x/a", "x/b"))
    git(tmp_path, "commit", "--quiet", "-am", "b")
    git(tmp_path, "checkout", "--quiet", "main")
    lock.write(path, kit.lock("x/a", "x/c"))
    git(tmp_path, "commit", "--quiet", "-am", "c")
    git(tmp_path, "merge", "--quiet", "other", "-m", "merged")
    assert lock.read(path, "x") == kit.lock("x/a", "x/b", "x/c")
    git(tmp_path, "checkout", "--quiet", "other")
    lock.write(path, kit.lock("x/a", "x/c", parts=StepVariant(instructions="Other.")))
    git(tmp_path, "commit", "--quiet", "-am", "other c")
    done = subprocess.run(["git", "merge", "--quiet", "main"], cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 1
    with pytest.raises(InvalidFileError, match="conflict markers"):
        lock.read(path, "x")

"""Which files patterns mean."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from promptchain.errors import PromptChainError
from promptchain.retrieval import files
from promptchain.retrieval.files import fits, listing, matching_files
from tests.retrieval.kit import write


def found(root: Path, *patterns: str, folder: Path | None = None) -> list[str]:
    return [path.relative_to(root.resolve()).as_posix() for path in matching_files(root, folder or root, patterns)]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(tmp_path, docs_S_b__md="b", docs_S_a__md="a", docs_S_deep_S_c__md="c", docs_S_x__txt="x", top__md="t")
    write(tmp_path, docs_S___hidden__md="h", __secret_S_s__md="s", chains_S_q_S_own__md="o")
    return tmp_path


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("docs/*.md", ["docs/a.md", "docs/b.md"]),
        ("docs/**/*.md", ["docs/a.md", "docs/b.md", "docs/deep/c.md"]),
        ("docs", ["docs/a.md", "docs/b.md", "docs/deep/c.md", "docs/x.txt"]),
        ("docs/", ["docs/a.md", "docs/b.md", "docs/deep/c.md", "docs/x.txt"]),
        ("docs/**", ["docs/a.md", "docs/b.md", "docs/deep/c.md", "docs/x.txt"]),
        ("./docs/[ab].md", ["docs/a.md", "docs/b.md"]),
        ("docs/?.txt", ["docs/x.txt"]),
        ("*", ["top.md"]),
        ("**/c.md", ["docs/deep/c.md"]),
        ("**/**/deep/**", ["docs/deep/c.md"]),
        ("d*/d*/*", ["docs/deep/c.md"]),
        (".secret/*", []),
        ("docs/.hidden.md", []),
        ("docs/none.md", []),
        ("docs/a.md/x", []),
    ],
)
def test_a_pattern(pattern: str, expected: list[str], root: Path) -> None:
    assert found(root, pattern) == expected


def test_files_are_there_once_and_sorted(root: Path) -> None:
    assert found(root, "top.md", "docs/b.md", "docs/*.md", "./docs/b.md") == ["docs/a.md", "docs/b.md", "top.md"]


def test_patterns_count_from_the_folder_and_may_go_up_inside_the_project(root: Path) -> None:
    assert found(root, "q/*.md", folder=root / "chains") == ["chains/q/own.md"]
    assert found(root, "../docs/a.md", folder=root / "chains") == ["docs/a.md"]


@pytest.mark.parametrize("pattern", ["../*.md", "docs/../../x", "/etc/passwd", "~/x", "", " ", "a\0b", "**/../x"])
def test_a_pattern_that_leads_out_is_an_error(pattern: str, root: Path) -> None:
    with pytest.raises(PromptChainError) as caught:
        matching_files(root, root, [pattern])
    assert "project" in str(caught.value)


def test_no_pattern_is_an_error(root: Path) -> None:
    with pytest.raises(PromptChainError, match="no pattern"):
        matching_files(root, root, [])


def test_a_folder_outside_is_an_error(root: Path) -> None:
    with pytest.raises(PromptChainError, match="not in the project"):
        matching_files(root / "docs", root, ["*"])


def test_symlinks_are_followed_inside_only(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("outside")
    write(outside, secret__md="s")
    (root / "links").mkdir()
    (root / "links/out").symlink_to(outside)
    (root / "links/file.md").symlink_to(outside / "secret.md")
    (root / "links/in.md").symlink_to(root / "docs/a.md")
    (root / "links/gone.md").symlink_to(root / "nothing")
    (root / "links/hidden.md").symlink_to(root / ".secret/s.md")
    told = listing(root, root, ["links/**"])
    assert list(told.files) == ["docs/a.md"]
    assert sorted(told.warnings) == [
        "links/file.md is a symlink that leads out of the project",
        "links/gone.md is a symlink to nothing",
        "links/hidden.md is a symlink to something hidden",
        "links/out is a symlink that leads out of the project",
    ]


def test_a_loop_of_symlinks_ends(root: Path) -> None:
    (root / "docs/deep/up").symlink_to(root / "docs")
    (root / "docs/self").symlink_to(root / "docs/self")
    assert found(root, "docs/**") == ["docs/a.md", "docs/b.md", "docs/deep/c.md", "docs/x.txt"]


def test_a_pipe_is_left_out(root: Path) -> None:
    os.mkfifo(root / "docs/pipe.md")
    told = listing(root, root, ["docs/*"])
    assert "docs/pipe.md" not in told.files
    assert told.warnings == ["docs/pipe.md is a device or a pipe, not a file"]


def test_a_name_that_is_not_utf8_is_left_out(root: Path) -> None:
    with open(os.fsencode(root / "docs") + b"/\xff.md", "w"):  # noqa: PTH123 - a Path has no such name
        pass
    assert [warning.endswith("not UTF-8") for warning in listing(root, root, ["docs/*"]).warnings] == [True]


def test_too_many_files_are_an_error(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_FILES", 2)
    with pytest.raises(PromptChainError, match="more than 2 files"):
        found(root, "docs/**")


def test_what_matches_nothing_is_told(root: Path) -> None:
    assert listing(root, root, ["docs/*.md", "*.rst"]).unmatched == ["*.rst"]


@pytest.mark.parametrize(
    ("path", "pattern", "is_so"),
    [
        ("docs/a.md", "docs/*.md", True),
        ("docs/a.md", "*.md", True),
        ("docs/a.md", "docs/**", True),
        ("docs/deep/a.md", "docs/*.md", False),
        ("docs/deep/a.md", "**/a.*", True),
        ("a.md", "**/a.md", True),
        ("docs/a.md", "docs", False),
    ],
)
def test_a_path_fits_a_pattern(path: str, pattern: str, is_so: bool) -> None:
    assert fits(path, pattern) is is_so


def test_whether_there_are_any_is_told_without_going_through_all(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    stamped = files.stamp
    monkeypatch.setattr(files, "stamp", lambda found: seen.append("") or stamped(found))
    assert len(listing(root, root, ["none/*", "docs/**"], most=1).files) == len(seen) == 1
    assert not listing(root, root, ["none/*"], most=1).files
    with pytest.raises(PromptChainError, match="leads out of the project"):
        listing(root, root, ["docs/**", "../*"], most=1)

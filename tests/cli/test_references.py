"""References to versions wherever a chain is named, and where the refs of the store are."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.cli.git_kit import git, make_repo, replace
from tests.cli.version_kit import FILED, intent
from tests.workspace import REPLIES, Workspace

# -- references --------------------------------------------------------------------------------------------------------


def test_a_version_is_named_in_every_way(three: Workspace) -> None:
    three.invoke("label", "demo@v1", "production")
    first, last = (three.invoke("log", "demo", "--json").json[at]["content"] for at in (-1, 0))
    for ref in ("v1", "1", "production", first, first[:4], first[:12], "git:HEAD", "git:main"):
        assert intent(three, f"demo@{ref}") == "card", ref
    for ref in ("v2", "v3", "latest", last[:8]):
        assert intent(three, f"demo@{ref}") == "refund", ref
    assert "Classify" in three.invoke("show", "demo@v1", "hi", "--rendered").out
    assert "Sort" in three.invoke("show", "demo@v2", "hi", "--rendered").out
    assert "Decide.\n" in three.invoke("show", "demo@v2", "hi", "--rendered").out
    assert "with care" in three.invoke("show", "demo@v3", "hi", "--rendered").out
    for words in (["demo@v1", "v2"], ["demo@production", "demo@v2"], ["demo", "v1", "v2"]):
        assert "Sort" in three.invoke("diff", *words).out
    assert three.invoke("diff", "demo@v1", "git:HEAD", "--exit-code").code == 0


@pytest.mark.parametrize(
    ("ref", "says"),
    [
        ("v9", "the chain 'demo' has no version 'v9'"),
        ("v0", "has no version 'v0'"),
        ("V1", "has no version 'V1'"),
        ("nope", "known labels and versions: latest, v3; `chain log demo` lists them"),
        ("ffffffff", "has no version 'ffffffff'"),
        ("", "there is no version behind the @"),
        ("git:", "git knows no revision ''"),
        ("git:nope", "git knows no revision 'nope'"),
        ("git:HEAD~5", "git knows no revision 'HEAD~5'"),
        ("git:--upload-pack=x", "git knows no revision '--upload-pack=x'"),
        ("git:--output=owned", "git knows no revision '--output=owned'"),
        ("git:HEAD:chains", "git knows no revision 'HEAD:chains'"),
        ("git:HEAD\nHEAD", "git knows no revision"),
        ("git:$(touch owned)", "git knows no revision"),
        ("../../HEAD", "has no version '../../HEAD'"),
    ],
)
def test_a_version_that_is_not_there(three: Workspace, ref: str, says: str) -> None:
    for words in (["run", f"demo@{ref}", "hi"], ["show", f"demo@{ref}"], ["diff", f"demo@{ref}"]):
        done = three.invoke(*words)
        assert (done.code, done.out) == (2, ""), done
        assert says in done.err
    assert not (three.root / "owned").exists()


def test_a_revision_without_the_chain(three: Workspace) -> None:
    git(three.root, "commit", "--quiet", "--all", "--message", "second")
    git(three.root, "rm", "--quiet", "chains/demo.yaml")
    git(three.root, "commit", "--quiet", "--message", "gone")
    done = three.invoke("run", "demo@git:HEAD", "hi")
    assert done.code == 2
    assert "there is no chain 'demo' in the commit" in done.err
    assert intent(three, "demo@git:HEAD~1") == "refund"
    assert intent(three, "demo@git:HEAD~2") == "card"


def test_a_revision_in_a_project_below_the_repository(
    repo: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    big = tmp_path / "big"
    (big / "apps").mkdir(parents=True)
    (repo.root / ".git").rename(tmp_path / "old.git")
    monkeypatch.chdir(tmp_path)
    repo.root.rename(big / "apps/support")
    inner = Workspace(big / "apps/support")
    monkeypatch.chdir(inner.root)
    inner.chain(FILED, replies=[{"contains": "Sort", "reply": "refund"}, *REPLIES])
    make_repo(big)
    replace(inner, '"Classify: ', '"Sort: ')
    git(big, "commit", "--quiet", "--all", "--message", "second")
    assert (intent(inner, "demo@git:HEAD~1"), intent(inner, "demo@git:HEAD")) == ("card", "refund")
    monkeypatch.chdir(inner.root / "chains")
    assert intent(inner, "demo@git:HEAD~1") == "card"
    assert (big / ".git/promptchain").is_dir()
    assert not (inner.root / ".promptchain").exists()


def test_a_linked_work_tree_shares_the_versions(
    three: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(three.root, "commit", "--quiet", "--all", "--message", "second")
    git(three.root, "worktree", "add", "--quiet", str(tmp_path / "linked"), "HEAD~1")
    linked = Workspace(tmp_path / "linked")
    shutil.copy(three.root / "demo.script.yaml", linked.root)
    monkeypatch.chdir(linked.root)
    assert (intent(linked, "demo@git:HEAD"), intent(linked, "demo@git:main")) == ("card", "refund")
    assert len(linked.invoke("log", "demo").out.splitlines()) == 3
    linked.chain(FILED.replace("Check", "Check all of"))
    assert linked.invoke("commit", "demo").out == "demo@v4\n"
    monkeypatch.chdir(three.root)
    assert len(three.invoke("log", "demo").out.splitlines()) == 4


def test_a_revision_outside_of_any_repository(demo: Workspace) -> None:
    done = demo.invoke("run", "demo@git:HEAD", "hi")
    assert done.code == 2
    assert "is in no git repository" in done.err


def test_a_reference_is_no_file_to_check(three: Workspace) -> None:
    done = three.invoke("check", "demo@v1")
    assert done.code != 0
    assert "'demo@v1' is no file of the work tree" in done.out + done.err


# -- where the refs are ------------------------------------------------------------------------------------------------


def test_the_prefix_of_the_refs_is_a_setting(repo: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    repo.write("promptchain.toml", 'ref_prefix = "refs/heads/promptchain"\n')
    repo.invoke("commit", "demo")
    assert "refs/heads/promptchain/chains/demo" in git(repo.root, "for-each-ref")
    assert "refs/promptchain/" not in git(repo.root, "for-each-ref")
    assert repo.invoke("log", "demo").out.startswith("v1\t")
    monkeypatch.setenv("PROMPTCHAIN_REF_PREFIX", "refs/mine")
    assert "no versions yet" in repo.invoke("log", "demo").err
    repo.invoke("commit", "demo")
    assert "refs/mine/chains/demo" in git(repo.root, "for-each-ref")


@pytest.mark.parametrize("prefix", ["promptchain", "refs/heads", "refs/../x", "refs/a b", "refs/x.lock", "-refs/x"])
def test_a_prefix_that_cannot_be(repo: Workspace, prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    repo.write("promptchain.toml", f'ref_prefix = "{prefix}"\n')
    done = repo.invoke("log")
    assert done.code in (1, 2)
    assert "promptchain.toml: the setting 'ref_prefix' cannot be" in done.err
    (repo.root / "promptchain.toml").unlink()
    monkeypatch.setenv("PROMPTCHAIN_REF_PREFIX", prefix)
    done = repo.invoke("log")
    assert done.code == 2
    assert f"PROMPTCHAIN_REF_PREFIX cannot be '{prefix}'" in done.err

"""What is around a store, and in it, decides neither what is run nor whether the rest can be read."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from promptchain.errors import PromptChainError, StoreError, UsageError
from promptchain.store.index import Query
from promptchain.store.repo import Repository
from promptchain.store.runs import Runs
from promptchain.store.stream import NewCommit
from promptchain.store.sync import sync
from promptchain.store.versions import Label, Versions, content_place, encode, place
from tests.store import kit
from tests.store.kit import Team, commit, content, fsck, git, label, put, settle, snap, texts


@pytest.fixture
def repo(tmp_path: Path) -> Repository:
    return kit.work_tree(tmp_path / "project")


@pytest.fixture
def versions(repo: Repository) -> Versions:
    return Versions(repo)


@pytest.fixture
def team(tmp_path: Path) -> Team:
    return Team(tmp_path)


# --- what is around it --------------------------------------------------------------------------------------------


def test_the_environment_leads_nowhere_else(repo: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = kit.work_tree(tmp_path / "other")
    before = kit.fingerprint(tmp_path / "other")
    ran = tmp_path / "ran"
    for name, value in {
        "GIT_DIR": other.git_dir,
        "GIT_COMMON_DIR": other.git_dir,
        "GIT_WORK_TREE": tmp_path / "other",
        "GIT_OBJECT_DIRECTORY": other.git_dir / "objects",
        "GIT_ALTERNATE_OBJECT_DIRECTORIES": other.git_dir / "objects",
        "GIT_INDEX_FILE": other.git_dir / "index",
        "GIT_NAMESPACE": "elsewhere",
        "GIT_CEILING_DIRECTORIES": "/",
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "core.hooksPath",
        "GIT_CONFIG_VALUE_0": tmp_path / "other",
        "GIT_CONFIG_PARAMETERS": "'core.pager=touch ran'",
        "GIT_CONFIG": "/nonexistent",
        "GIT_EXEC_PATH": tmp_path,
        "GIT_PAGER": f"touch {ran}",
        "GIT_EDITOR": f"touch {ran}",
        "GIT_EXTERNAL_DIFF": f"touch {ran}",
        "GIT_TRACE": tmp_path / "trace",
        "GIT_DEFAULT_HASH": "sha256",
        "GIT_REPLACE_REF_BASE": "refs/heads/",
        "GIT_LITERAL_PATHSPECS": "1",
    }.items():
        monkeypatch.setenv(name, str(value))
    with Repository(repo.git_dir) as again:
        assert commit(again, "one", "two") == [1, 2]
        assert texts(again) == {1: "one", 2: "two"}
        assert set(again.refs("chains")) == {"demo"}
    fallback = Repository(tmp_path / "fallback/.promptchain/store.git")
    assert commit(fallback, "three") == [1]
    fallback.close()
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    assert not ran.exists()
    assert not (tmp_path / "trace").exists()
    assert kit.fingerprint(tmp_path / "other") == before
    assert other.refs() == {}
    fsck(repo.git_dir)


def test_no_program_of_the_repository_is_run(repo: Repository, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\necho $0 $* >> {ran}\nexit 1\n")
    program.chmod(0o755)
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    for folder in (hooks, repo.git_dir / "hooks"):
        for hook in (
            "reference-transaction",
            "post-checkout",
            "post-commit",
            "pre-commit",
            "pre-auto-gc",
            "post-rewrite",
        ):
            shutil.copy(program, folder / hook)
    git(repo.git_dir, "config", "core.hooksPath", hooks)
    keys = ["core.fsmonitor", "core.pager", "core.editor", "core.sshCommand", "pager.log", "diff.external"]
    keys += ["gpg.program", "credential.helper", "core.askPass", "gc.recentObjectsHook", "sequence.editor"]
    aliases = ("fast-import", "cat-file", "for-each-ref", "var", "rev-parse", "update-ref", "merge-base", "remote")
    for key in [*keys, *(f"alias.{name}" for name in aliases)]:
        git(repo.git_dir, "config", key, f"{'!' if key.startswith('alias') else ''}{program}")
    git(repo.git_dir, "config", "commit.gpgSign", "true")
    with Repository(repo.git_dir) as again:
        versions = Versions(again)
        assert commit(again, "one", "two") == [1, 2]
        versions.label("demo", "production", versions.resolve("demo", "v1"))
        assert versions.resolve("demo", "production").number == 1
        assert texts(again) == {1: "one", 2: "two"}
        kit.spool(again, kit.at(1))
        assert kit.runs(again).flush(everything=True) == 1
        again.revision(tmp_path / "project", "main")
    assert not ran.exists(), ran.read_text()
    assert git(repo.git_dir, "config", "core.hooksPath").strip() == str(hooks)


def test_what_a_partial_clone_lacks_is_not_fetched_by_reading(repo: Repository, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    commit(repo, "one")
    for key, value in {
        "core.repositoryFormatVersion": "1",
        "extensions.partialClone": "origin",
        "remote.origin.promisor": "true",
        "remote.origin.url": "ssh://localhost/nothing",
        "core.sshCommand": f"touch {ran};",
    }.items():
        git(repo.git_dir, "config", key, value)
    lost = git(repo.git_dir, "rev-parse", "refs/promptchain/chains/demo:versions/0/1/source.yaml").strip()
    (repo.git_dir / "objects" / lost[:2] / lost[2:]).unlink()
    with Repository(repo.git_dir) as again, pytest.raises(StoreError):
        texts(again)
    assert not ran.exists()


# --- other writers --------------------------------------------------------------------------------------------------


def test_a_newer_format_is_read_but_not_written(repo: Repository, versions: Versions) -> None:
    commit(repo, "a")
    newer(repo, min_writer=99)
    version = versions.resolve("demo", "v1")
    assert texts(repo) == {1: "a"}
    kit.spool(repo, kit.at(1))
    for write in (
        lambda: commit(repo, "b"),
        lambda: versions.label("demo", "x", version),
        lambda: versions.restore(version),
        lambda: Runs(repo).flush(everything=True),
    ):
        with pytest.raises(StoreError, match=r"format 99 and cannot be written to .* \(format 1\)"):
            write()
    assert len(Runs(repo).select(Query())) == 1


def test_a_format_that_is_not_readable_is_not_read(repo: Repository, versions: Versions) -> None:
    commit(repo, "a")
    version = versions.resolve("demo", "v1")
    newer(repo, min_reader=99)
    for read in (
        lambda: Versions(repo).log("demo"),
        lambda: Versions(repo).resolve("demo", "v1"),
        lambda: Versions(repo).snapshot(version),
        lambda: Versions(repo).find("demo", content("a")),
        lambda: Versions(repo).chains(),
        lambda: Runs(repo).select(Query()),
        lambda: Runs(repo).find("last"),
    ):
        with pytest.raises(StoreError, match="cannot be read by this promptchain"):
            read()


def newer(repo: Repository, **least: int) -> None:
    tip = repo.tip("meta")
    assert tip is not None
    about = {"format": 99, "min_reader": 1, "min_writer": 1, **least}
    repo.write([NewCommit("meta", "newer", (tip,), {"schema.json": json.dumps(about).encode()})])


DEEP = b"[" * 200_000
GARBAGE: dict[str, bytes | str | None] = {
    "labels/bad.json": b"{", "labels/list.json": b"[]",
    "labels/types.json": b'{"version": {}, "identity": 5, "moved": []}',
    "labels/v2.json": Label("v2", content("a"), 1).to_bytes(),
    "labels/latest.json": Label("latest", content("a"), 1).to_bytes(),
    "labels/deep.json": DEEP, "labels/sub/x.json": b"{}", "labels/gone.json": Label("gone", "nothing", -7).to_bytes(),
    "aliases/v5@x": b"null", "aliases/v6@x": b'{"version": "1"}', "aliases/v8@x": b'{"version": 77}',
    "aliases/a b": DEEP,
    "versions/x/y": b"", "versions/0/0/manifest.json": b"{}", "versions/0/007/manifest.json": b"{}",
    "versions/9/1/manifest.json": b"{}", "versions/٣/٤/manifest.json": b"{}", "versions/0/" + "9" * 5000: b"",
    "versions/" + "8" * 4500 + "/1": b"", "versions/0/4": b"a blob", "contents/zz": b"", "contents/ab/x": b"{}",
}  # fmt: skip


def test_garbage_in_a_tree_hides_nothing(repo: Repository, versions: Versions) -> None:
    commit(repo, "a", "b", "c")
    put(repo, GARBAGE)
    assert [version.number for version in versions.log("demo")] == [3, 2, 1]
    assert versions.resolve("demo", "v2").content == content("b")
    assert versions.resolve("demo", "latest").number == 3
    for ref in ("bad", "list", "types", "deep", "gone", "v5@x", "v6@x", "v8@x"):
        with pytest.raises(UsageError):
            versions.resolve("demo", ref)
    assert commit(repo, "d", "a") == [5, 1]  # 4 is taken by something
    versions.label("demo", "bad", versions.resolve("demo", "v1"))
    assert versions.resolve("demo", "bad").number == 1


@pytest.mark.parametrize(
    "odd",
    [{"files": 5}, {"files": {"a": 1}}, {"files": [1, None]}, {"uses": []}, {"uses": {"python": 3}},
     {"message": {"a": 1}}, {"restores": "x"}, {"path": 7}, {"created": []}, {"identity": 5},
     {"meaning": []}, {"author": {}}],
)  # fmt: skip
def test_a_manifest_with_other_types_is_no_traceback(repo: Repository, versions: Versions, odd: dict[str, Any]) -> None:
    commit(repo, "a")
    manifest = versions.tree("demo").read(f"{place(1)}/manifest.json")
    put(repo, {f"{place(1)}/manifest.json": encode({**manifest, **odd})})
    [version] = versions.log("demo")
    json.dumps(version.to_json())
    texts_of = [version.message, version.created, version.author, version.content, version.identity, version.changes]
    assert all(text is None or isinstance(text, str) for text in texts_of)
    if "files" in odd and isinstance(odd["files"], list):
        with pytest.raises(StoreError, match="cannot be read whole"):
            versions.snapshot(version)
    else:
        assert isinstance(versions.snapshot(version).content, str)
    commit(repo, "b")


@pytest.mark.parametrize("odd", [None, "", "a\nb", "../x", "A" * 64, 5])
def test_a_manifest_without_a_content_id_is_none(repo: Repository, versions: Versions, odd: Any) -> None:
    commit(repo, "a")
    manifest = versions.tree("demo").read(f"{place(1)}/manifest.json")
    put(repo, {f"{place(1)}/manifest.json": encode({**manifest, "content": odd})})
    assert versions.log("demo") == []
    assert commit(repo, "b") == [2]


def test_a_number_that_somebody_made_up_makes_no_other_vanish(repo: Repository, versions: Versions) -> None:
    commit(repo, "a")
    manifest = versions.tree("demo").read(f"{place(1)}/manifest.json")
    put(repo, {f"{place(999_999_999)}/manifest.json": encode(manifest)})
    assert commit(repo, "b", "c") == [2, 3]
    put(repo, {f"{place(99_999_999)}/manifest.json": encode(manifest)})
    with pytest.raises(StoreError, match="has no number left"):
        commit(repo, "d")
    assert {version.number for version in versions.log("demo")} == {1, 2, 3, 99_999_999}


def test_a_label_named_like_a_content_id_does_not_stand_for_another(repo: Repository, versions: Versions) -> None:
    commit(repo, "a", "b")
    versions.label("demo", content("a"), versions.resolve("demo", "v2"))
    assert versions.resolve("demo", content("a")).number == 1


@pytest.mark.parametrize("chain", ["x@{u}", "support:./x", "../x", "a b", ""])
def test_a_name_that_no_chain_has_is_none(repo: Repository, versions: Versions, chain: str) -> None:
    commit(repo, "a")
    assert versions.tree(chain).tip is None
    assert versions.find(chain, content("a")) is None


def test_a_content_id_that_leads_elsewhere_is_not_followed(repo: Repository, versions: Versions) -> None:
    commit(repo, "a")
    put(repo, {content_place(content("b")): encode({"version": 1})})
    assert versions.find("demo", content("b")) is None
    assert commit(repo, "b") == [2]


def test_a_version_that_lost_a_file_is_not_read_half(repo: Repository, versions: Versions) -> None:
    version, _ = versions.commit(snap("a", files={"my file": b"x"}))
    put(repo, {f"{place(1)}/files/my file": None})
    with pytest.raises(StoreError, match="demo@v1 cannot be read whole"):
        versions.snapshot(version)


# --- a hostile or a newer remote ------------------------------------------------------------------------------------


def test_a_remote_of_a_newer_format_is_left_alone(team: Team) -> None:
    a = team.clone("a")
    about = {"format": 99, "min_reader": 1, "min_writer": 99}
    team.remote.write([NewCommit("meta", "newer", (), {"schema.json": json.dumps(about).encode()})])
    commit(a, "one")
    with pytest.raises(StoreError, match="format 99"):
        sync(a, "origin")
    assert set(team.remote.refs()) == {"meta"}
    assert commit(a, "two") == [2]


@pytest.mark.parametrize("diverged", [False, True])
def test_garbage_in_a_remote_hides_nothing(team: Team, diverged: bool) -> None:
    a, b = team.clone("a"), team.clone("b")
    commit(a, "one", "two")
    settle(a, b)
    tip = team.remote.tip("chains/demo")
    assert tip is not None
    git(team.folder / "seed", "push", "-q", "-f", team.remote.git_dir, "main:refs/promptchain/chains/main")
    for name in ("UP", "a.b", "a/b", "x" * 70):
        team.remote.write([NewCommit(f"chains/{name}", "bad name", (), {"a": b"b"})])
    team.remote.write([NewCommit("runs/x", "bad name", (), {"a": b"b"})])
    team.remote.write([NewCommit("chains/demo", "garbage", (tip,), GARBAGE)])
    blob = git(team.remote.git_dir, "rev-parse", "main:committed").strip()
    git(team.remote.git_dir, "update-ref", "refs/promptchain/chains/blob", blob)
    if diverged:
        commit(a, "three")
        label(a, "bad", "v1")
    sync(a, "origin", runs=True)
    sync(a, "origin", runs=True)
    found = texts(a)
    assert (found[1], found[2]) == ("one", "two")
    assert set(a.refs("chains")) == {"demo", "main"}
    assert commit(a, "four")[0] > max(found)
    sync(a, "origin")
    sync(b, "origin")
    assert texts(b) == texts(a)


def test_a_chain_that_the_remote_has_as_something_else_is_told(team: Team) -> None:
    a = team.clone("a")
    blob = git(team.remote.git_dir, "rev-parse", "main:committed").strip()
    git(team.remote.git_dir, "update-ref", "refs/promptchain/chains/demo", blob)
    commit(a, "one")
    with pytest.raises(PromptChainError, match="refused"):
        sync(a, "origin")
    assert texts(a) == {1: "one"}

"""Sharing over ordinary remotes: nothing is lost, everybody ends with the same, and what is refused is told."""

from __future__ import annotations

import random
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from promptchain.errors import StoreError, UsageError
from promptchain.store import sync as sync_module
from promptchain.store.index import Query
from promptchain.store.repo import Repository
from promptchain.store.runs import Runs
from promptchain.store.sync import LabelKept, LabelMoved, Renumbered, Report, _told, remotes, sync
from promptchain.store.versions import Versions
from tests.store import kit
from tests.store.kit import (
    Team,
    at,
    check_dense,
    commit,
    content,
    git,
    label,
    recorded,
    settle,
    snap,
    spool,
    state,
    texts,
)


@pytest.fixture
def team(tmp_path: Path) -> Team:
    return Team(tmp_path)


def labels(repo: Repository) -> dict[str, str]:
    """The sources that labels are at."""
    versions = Versions(repo)
    names = versions.tree("demo").labels()
    return {name: versions.snapshot(versions.resolve("demo", name)).source.decode() for name in names}


# --- two and three clones -------------------------------------------------------------------------------------------


def test_versions_go_and_come(team: Team) -> None:
    a, b = team.clone("a"), team.clone("b")
    commit(a, "one", "two")
    label(a, "production", "v1")
    told = [LabelMoved("demo", "production", 1)]
    assert sync(a, "origin") == Report("origin", pushed={"demo": 2}, labels_pushed=told, changed=True)
    assert sync(b, "origin") == Report("origin", fetched={"demo": 2}, labels_fetched=told, changed=True)
    assert (texts(b), labels(b)) == ({1: "one", 2: "two"}, {"production": "one"})
    commit(b, "three")
    assert sync(b, "origin") == Report("origin", pushed={"demo": 1}, changed=True)
    commit(a, "other", chain="other")
    assert sync(a, "origin") == Report("origin", fetched={"demo": 1}, pushed={"other": 1}, changed=True)
    assert sync(a, "origin") == Report("origin")
    settle(a, b)
    assert a.tip("meta") == b.tip("meta")


def test_what_both_made_under_one_number_is_renumbered(team: Team) -> None:
    a, b = team.clone("a"), team.clone("b")
    commit(a, "one")
    settle(a, b)
    commit(a, "two of a", "three of a")
    commit(b, "two of b", "both")
    commit(a, "both")
    label(b, "mine", "v2")
    sync(a, "origin")
    report = sync(b, "origin")
    assert sorted(report.renumbered, key=lambda moved: moved.before) == [
        Renumbered("demo", 2, 5),
        Renumbered("demo", 3, 4),
    ]
    assert (report.fetched, report.pushed) == ({"demo": 2}, {"demo": 1})
    settle(a, b)
    assert texts(a) == {1: "one", 2: "two of a", 3: "three of a", 4: "both", 5: "two of b"}
    assert Versions(a).resolve("demo", f"v2@{b.writer}").number == 5
    assert Versions(a).resolve("demo", f"v3@{b.writer}").number == 4  # equal content is one version
    assert labels(a) == {"mine": "two of b"}
    assert Versions(b).resolve("demo", content("two of b")).number == 5
    check_dense(a)


def test_a_second_remote_changes_no_number_in_silence(team: Team, tmp_path: Path) -> None:
    """What one remote gave a number, another may have given otherwise; who learns of it is told."""
    a, b, c = team.clone("a"), team.clone("b"), team.clone("c")
    second = str(tmp_path / "second.git")
    git(tmp_path, "init", "-q", "--bare", second)
    commit(a, "one")
    settle(a, b, c)
    commit(b, "of b")
    commit(c, "of c")
    sync(b, "origin")
    sync(c, second)
    sync(a, "origin")
    sync(a, second)
    sync(a, "origin")
    assert sync(b, "origin").renumbered == [Renumbered("demo", 2, 3)]
    assert texts(b) == {1: "one", 2: "of c", 3: "of b"}


def test_a_remote_that_lost_a_version_gets_it_back(team: Team) -> None:
    """Somebody wrote a commit on top of ours in which one of our versions is missing."""
    a, b = team.clone("a"), team.clone("b")
    commit(a, "one", "two")
    settle(a, b)
    kit.put(b, {f"versions/0/2/{name}": None for name in ("manifest.json", "source.yaml")})
    git(b.git_dir, "push", "-q", "origin", "refs/promptchain/chains/demo")
    report = sync(a, "origin")
    assert texts(a) == {1: "one", 2: "two"}
    assert report.pushed == {"demo": 1}
    sync(b, "origin")
    assert texts(b) == {1: "one", 2: "two"}


def test_no_password_of_an_address_is_written(team: Team) -> None:
    assert kit.git(team.clone("a").git_dir, "log", "--all", "--format=%B").count("@") == 0
    for address in ("https://u:p@ss@h/x.git", "https://h/x.git?private_token=abc"):
        assert not {"ss@", "abc"} & {part for part in ("ss@", "abc") if part in _told(address)}


def test_a_restored_version_still_says_of_which(team: Team) -> None:
    a, b = team.clone("a"), team.clone("b")
    commit(a, "one")
    settle(a, b)
    commit(a, "two of a")
    commit(b, "two of b", "three of b")
    Versions(b).restore(Versions(b).resolve("demo", "v2"))
    Versions(b).restore(Versions(b).resolve("demo", "v1"))
    settle(a, b)
    assert texts(a) == {1: "one", 2: "two of a", 3: "two of b", 4: "three of b", 5: "two of b", 6: "one"}
    assert [(v.restores, v.changes) for v in Versions(a).log("demo", 2)] == [(1, "= v1"), (3, "= v3")]


def test_a_name_that_was_given_on_one_side_is_kept(team: Team) -> None:
    a, b = team.clone("a"), team.clone("b")
    commit(a, "one", "two")
    settle(a, b)
    Versions(a).commit(snap("one"), "named in a")
    commit(b, "three")
    Versions(b).commit(snap("two"), "named in b")
    settle(b, a)
    settle(a, b)
    assert [version.message for version in Versions(b).log("demo")] == [None, "named in b", "named in a"]


@pytest.mark.parametrize(
    ("ours", "theirs", "expected", "kept"),
    [
        ("v2", "v1", "two", []),
        ("v1", "v2", "two", []),
        ("v2", "v3", "three", [LabelKept("demo", "production", 3, 2)]),
        ("v2", "v2", "two", []),
        (None, "v1", None, []),
        ("v1", None, None, []),
        (None, None, None, []),
        (None, "v2", "two", [LabelKept("demo", "production", 2, 0)]),
        ("v2", None, None, [LabelKept("demo", "production", 0, 2)]),
    ],
)
def test_labels_three_ways(
    team: Team, ours: str | None, theirs: str | None, expected: str | None, kept: list[LabelKept]
) -> None:
    a, b = team.clone("a"), team.clone("b")
    commit(a, "one", "two", "three")
    label(a, "production", "v1")
    settle(a, b)
    label(a, "production", theirs)
    label(b, "production", ours)
    commit(a, "four")
    commit(b, "other four")
    sync(a, "origin")
    assert sync(b, "origin").labels_kept == kept
    settle(a, b)
    assert labels(a) == ({"production": expected} if expected else {})


@pytest.mark.parametrize("seed", range(6 * kit.STRESS))
def test_clones_that_sync_in_any_order_end_with_the_same(team: Team, seed: int) -> None:
    chance = random.Random(seed)
    clones = [team.clone(name) for name in ("a", "b", "c")[: 2 + seed % 2]]
    made: set[str] = set()
    aliases: dict[str, str] = {}
    for number in range(14):
        clone = chance.choice(clones)
        what = chance.random()
        if what < 0.45:
            text = chance.choice([f"text {number}", f"shared {number % 3}"])
            version = commit(clone, text)[0]
            made.add(text)
            aliases[f"v{version}@{clone.writer}"] = text
        elif what < 0.6 and made and Versions(clone).log("demo"):
            label(clone, chance.choice(["production", "staging"]), "latest")
        elif what < 0.7 and Versions(clone).log("demo"):
            Versions(clone).restore(chance.choice(Versions(clone).log("demo")))
        else:
            for name, number_now in Versions(clone).tree("demo").aliases().items():
                assert aliases.get(name, texts(clone)[number_now]) == texts(clone)[number_now]
            sync(clone, "origin")
    chance.shuffle(clones)
    settle(*clones)
    found = texts(clones[0])
    assert set(found.values()) == made
    plain = [v.content for v in Versions(clones[0]).log("demo") if v.restores is None]
    assert len(plain) == len(set(plain))
    if found:
        check_dense(clones[0])
    for text in made:
        assert found[Versions(clones[0]).resolve("demo", content(text)).number] == text


# --- in between and against -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("times", [1, 3])
def test_a_push_in_between_is_waited_for(team: Team, times: int, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = team.clone("a"), team.clone("b")
    commit(a, "one")
    settle(a, b)
    commit(a, "of a")
    push = sync_module._push
    left = iter(range(times))

    def raced(repo: Repository, *rest: Any) -> Any:
        if repo is a and (number := next(left, None)) is not None:
            commit(b, f"of b {number}")
            sync(b, "origin")
        return push(repo, *rest)

    monkeypatch.setattr(sync_module, "_push", raced)
    sync(a, "origin")
    settle(a, b)
    assert set(texts(a).values()) == {"one", "of a", *(f"of b {number}" for number in range(times))}


def test_a_remote_that_refuses_says_why(team: Team) -> None:
    a = team.clone("a")
    hook = team.remote.git_dir / "hooks/pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho 'not on a Friday' >&2\nexit 1\n")
    hook.chmod(0o755)
    commit(a, "one")
    with pytest.raises(StoreError, match=r"origin refused .*chains/demo.*Friday"):
        sync(a, "origin")
    assert texts(a) == {1: "one"}
    hook.unlink()
    assert sync(a, "origin").pushed == {"demo": 1}


@pytest.mark.parametrize(
    "remote", ["nowhere", "/nonexistent", "-oProxyCommand=x", " ", "--upload-pack=x", "ext::sh -c x"]
)
def test_a_remote_that_is_none(team: Team, remote: str, tmp_path: Path) -> None:
    a = team.clone("a")
    commit(a, "one")
    before = state(a)
    with pytest.raises((StoreError, UsageError)) as caught:
        sync(a, remote)
    assert "origin" in (caught.value.hint or "")
    assert state(a) == before


def test_a_dead_host_is_told_at_once_and_asks_nothing(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    a = team.clone("a")
    commit(a, "one")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        port = taken.getsockname()[1]
        began = time.monotonic()
        for url in (f"ssh://bob:secret@127.0.0.1:{port}/x.git", f"https://bob:secret@127.0.0.1:{port}/x.git",
                    f"http://127.0.0.1:{port}/x.git"):  # fmt: skip
            with pytest.raises(StoreError, match="nothing could be fetched") as caught:
                sync(a, url)
            assert "secret" not in str(caught.value)
    assert time.monotonic() - began < 60
    assert remotes(a) == ["origin"]


def test_a_url_with_a_password_is_not_handed_on(team: Team) -> None:
    a, b = team.clone("a"), team.clone("b")
    commit(a, "of a")
    commit(b, "of b")
    sync(a, "origin")
    url = f"file://bob:secret@{team.remote.git_dir}"
    git(b.git_dir, "config", f"url.file://{team.remote.git_dir}.insteadOf", url)
    report = sync(b, url)
    assert report.pushed == {"demo": 1}
    tip = team.remote.commit("refs/promptchain/chains/demo")
    assert tip is not None
    assert "secret" not in tip.message + report.remote + git(b.git_dir, "for-each-ref")


# --- kinds of clones ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options", [["--depth", "1"], ["--filter=blob:none"], ["--mirror"], ["--bare"], ["--no-checkout"]]
)
def test_every_kind_of_clone(team: Team, options: list[str]) -> None:
    git(team.remote.git_dir, "config", "uploadpack.allowFilter", "true")
    a = team.clone("a")
    commit(a, "one", "two")
    sync(a, "origin")
    b = team.clone("b", *options)
    sync(b, "origin")
    assert texts(b) == {1: "one", 2: "two"}
    commit(b, "of b")
    commit(a, "of a")
    sync(a, "origin")
    sync(b, "origin")
    sync(a, "origin")
    assert state(a) == state(b)
    assert texts(a) == {1: "one", 2: "two", 3: "of a", 4: "of b"}


def test_a_mirror_loses_nothing_to_a_sync(team: Team) -> None:
    a = team.clone("a")
    git(a.git_dir, "config", "remote.origin.fetch", "+refs/*:refs/*")
    git(a.git_dir, "config", "remote.origin.mirror", "true")
    git(a.git_dir, "config", "fetch.prune", "true")
    heads = git(a.git_dir, "for-each-ref", "refs/heads", "refs/remotes")
    commit(a, "one")
    sync(a, "origin")
    git(team.remote.git_dir, "branch", "fresh", "main")
    commit(a, "two")
    sync(a, "origin")
    assert texts(a) == texts(team.remote) == {1: "one", 2: "two"}
    assert git(a.git_dir, "for-each-ref", "refs/heads", "refs/remotes") == heads
    assert "fresh" in git(team.remote.git_dir, "branch")


def test_an_ordinary_fetch_that_prunes_leaves_our_refs(team: Team) -> None:
    a = team.clone("a")
    commit(a, "one")
    sync(a, "origin")
    commit(a, "two")
    git(a.git_dir, "fetch", "-q", "--prune", "--prune-tags", "origin")
    assert texts(a) == {1: "one", 2: "two"}
    assert sync(a, "origin").pushed == {"demo": 1}


def test_refs_may_be_branches(team: Team) -> None:
    a, b = (team.clone(name, prefix="refs/heads/promptchain") for name in "ab")
    commit(a, "one")
    commit(b, "two")
    settle(a, b)
    assert "refs/heads/promptchain/chains/demo" in git(team.remote.git_dir, "for-each-ref")
    assert sorted(texts(a).values()) == ["one", "two"]
    git(a.git_dir, "fetch", "-q", "--prune", "origin")
    assert len(texts(a)) == 2


def test_runs_go_only_when_they_are_asked_for(team: Team) -> None:
    a, b = team.clone("a"), team.clone("b")
    commit(a, "one")
    spool(a, at(1, "2026-03-09"), at(2))
    spool(b, at(3, "2026-03-09"))
    settle(a, b)
    assert team.remote.refs("runs") == {}
    assert (recorded(a), recorded(b)) == ([at(1, "2026-03-09"), at(2)], [at(3, "2026-03-09")])
    assert sync(a, "origin", runs=True).segments_pushed == 2
    report = sync(b, "origin", runs=True)
    assert (report.segments_fetched, report.segments_pushed) == (2, 1)
    settle(a, b, runs=True)
    everything = [at(1, "2026-03-09"), at(3, "2026-03-09"), at(2)]
    assert recorded(a) == recorded(b) == everything
    assert [row.id for row in Runs(a).select(Query())] == everything[::-1]


# --- the work tree --------------------------------------------------------------------------------------------------


def test_nothing_of_the_users_is_touched(team: Team) -> None:
    folder = team.folder / "seed"
    repo, other = Repository(folder / ".git"), team.clone("other")
    git(folder, "remote", "add", "origin", team.remote.git_dir)
    commit(other, "of another")
    sync(other, "origin")
    before = kit.fingerprint(folder)
    versions = Versions(repo)
    steps: list[Any] = [
        lambda: commit(repo, "one", "two"),
        lambda: versions.restore(versions.resolve("demo", "v1")),
        lambda: label(repo, "production", "v2"),
        lambda: label(repo, "production", None),
        lambda: (texts(repo), versions.chains(), repo.revision(folder, "main")),
        lambda: spool(repo, at(1, "2026-03-09"), at(2)),
        lambda: Runs(repo).flush(everything=True),
        lambda: Runs(repo).select(Query()),
        lambda: sync(repo, "origin", runs=True),
        lambda: sync(repo, str(team.remote.git_dir)),
    ]
    for number, step in enumerate(steps):
        step()
        assert kit.fingerprint(folder) == before, f"step {number}"

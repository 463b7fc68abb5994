"""Evaluations in the store: written once, cheap to list, brought together by having all of both sides."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from promptchain.errors import StoreError, UsageError
from promptchain.store.evaluations import Evaluations
from promptchain.store.inspect import troubles
from promptchain.store.repo import Moved, Repository
from promptchain.store.stream import NewCommit
from promptchain.store.sync import Report, sync
from tests.store import kit
from tests.store.kit import Team, at, commit, content, fsck, git, settle, texts

ONE, TWO = content("one"), content("two")


@pytest.fixture
def repo(tmp_path: Path) -> Repository:
    return kit.work_tree(tmp_path / "project")


@pytest.fixture
def team(tmp_path: Path) -> Team:
    return Team(tmp_path)


def data(number: int, **more: Any) -> dict[str, Any]:
    score = {"value": 0.5, "low": 0.1, "high": 0.9, "n": 4}
    usual = {"format": 1, "id": at(number), "chain": "demo", "content": ONE, "models": {"a": "m"}, "score": score}
    return {**usual, "steps": {"z": {}, "a": {}}, "examples": [["e1", 1.0, None, {"z": 1.0}]], **more}


def keep(repo: Repository, number: int, of: str = ONE, chain: str = "demo", **more: Any) -> None:
    Evaluations(repo).write(chain, of, at(number), data(number, content=of, **more))


def kept(repo: Repository, of: str = ONE, chain: str = "demo") -> list[int]:
    """The numbers of the evaluations of a content, as they are listed."""
    return [int(found["id"][10:]) for found in Evaluations(repo).of(chain, of)]


def put(repo: Repository, changes: dict[str, bytes | str | None], ref: str = "evaluations/demo") -> None:
    """Write whatever another program may."""
    tip = repo.tip(ref)
    repo.write([NewCommit(ref, "by hand", (tip,) if tip else (), changes)])


def place(number: int, of: str = ONE) -> str:
    return f"{of[:2]}/{of}/{at(number)}"


# --- writing and reading ----------------------------------------------------------------------------------------------


def test_what_is_written_is_read_back(repo: Repository, tmp_path: Path) -> None:
    before = kit.fingerprint(tmp_path / "project")
    keep(repo, 1)
    keep(repo, 2, stopped="at a ceiling – é\ud83d")
    evaluations = Evaluations(repo)
    newest, first = evaluations.of("demo", ONE)
    assert first == {name: value for name, value in data(1).items() if name != "examples"}
    assert list(first["steps"]) == ["z", "a"]  # the order they run in
    assert newest["stopped"].startswith("at a ceiling – é")
    assert evaluations.read("demo", at(1)) == data(1)
    assert kit.fingerprint(tmp_path / "project") == before
    fsck(repo.git_dir)


def test_listing_takes_what_is_asked_for(repo: Repository) -> None:
    for number in range(5):
        keep(repo, number)
    keep(repo, 7, of=TWO)
    keep(repo, 8, of=TWO, chain="other")
    evaluations = Evaluations(repo)
    assert kept(repo) == [4, 3, 2, 1, 0]
    assert [found["id"] for found in evaluations.of("demo", ONE, limit=2)] == [at(4), at(3)]
    assert evaluations.of("demo", ONE, limit=0) == []
    assert {key: len(found) for key, found in evaluations.summaries("demo").items()} == {ONE: 5, TWO: 1}
    assert list(evaluations.summaries("demo", [TWO, content("none"), "", "../x", TWO])) == [TWO]
    assert list(evaluations.summaries("other")) == [TWO]
    for chain in ("none", "../demo", ""):
        assert evaluations.summaries(chain) == {}


def test_a_log_reads_only_what_it_shows(repo: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    contents = [content(str(number)) for number in range(300)]
    changes: dict[str, bytes | str | None] = {f"{place(1, of)}.json": b'{"a": 1}' for of in contents}
    put(repo, changes | {f"{place(1, of)}.examples.json": b'{"examples": []}' for of in contents})
    asked: list[str] = []
    find = Repository._object

    def counted(self: Repository, spec: str) -> tuple[str, str, bytes] | None:
        asked.append(spec)
        return find(self, spec)

    monkeypatch.setattr(Repository, "_object", counted)
    assert len(Evaluations(repo).summaries("demo", contents[:20])) == 20
    assert len(asked) <= 3 + 3 * 20  # format, tip, root; for each a bucket, a folder and a summary
    asked.clear()
    assert Evaluations(repo).summaries("none", contents) == {}
    assert len(asked) <= 2


def test_an_evaluation_by_the_beginning_of_its_id(repo: Repository) -> None:
    keep(repo, 1)
    keep(repo, 2, of=TWO)
    evaluations = Evaluations(repo)
    assert evaluations.read("demo", at(2).upper())["content"] == TWO
    assert evaluations.read("demo", at(1)[:12])["content"] == ONE
    with pytest.raises(UsageError, match="is the beginning of 2 evaluations"):
        evaluations.read("demo", at(1)[:9])
    for chain, wrong in (("demo", "zz"), ("demo", ""), ("demo", ".*"), ("none", at(1)), ("../demo", at(1))):
        with pytest.raises(UsageError, match="has no evaluation"):
            evaluations.read(chain, wrong)


@pytest.mark.parametrize(
    ("chain", "of", "number"),
    [("../demo", ONE, at(1)), ("demo", "../../x", at(1)), ("demo", ONE[:-1], at(1)), ("demo", ONE, "../x")],
)
def test_a_place_that_is_none_is_not_written_to(repo: Repository, chain: str, of: str, number: str) -> None:
    with pytest.raises((StoreError, UsageError)):
        Evaluations(repo).write(chain, of, number, data(1))
    assert repo.refs() == {}


def test_a_store_of_a_newer_release_is_left_alone(repo: Repository) -> None:
    keep(repo, 1)
    put(repo, {"schema.json": b'{"format": 2, "min_reader": 1, "min_writer": 2}'}, "meta")
    assert kept(repo) == [1]
    with pytest.raises(StoreError, match="cannot be written to"):
        keep(repo, 2)
    put(repo, {"schema.json": b'{"format": 2, "min_reader": 2, "min_writer": 2}'}, "meta")
    with pytest.raises(StoreError, match="cannot be read by"):
        kept(repo)


# --- writers ----------------------------------------------------------------------------------------------------------


def test_writers_at_once_lose_nothing(repo: Repository) -> None:
    script = """
import sys
from pathlib import Path
from promptchain.store.repo import Repository
from tests.store.test_evaluations import keep
with Repository(Path(sys.argv[1])) as repo:
    for number in range(int(sys.argv[2]), int(sys.argv[2]) + 5):
        keep(repo, number)
"""
    writers = [kit.python(script, repo.git_dir, str(start)) for start in (0, 10, 20)]
    for writer in writers:
        assert writer.communicate(timeout=300)[1] == ""
    assert sorted(kept(repo)) == [*range(5), *range(10, 15), *range(20, 25)]
    assert kit.litter(repo.git_dir) == []
    fsck(repo.git_dir)


def test_a_ref_that_moves_in_between_is_read_again(repo: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(repo, 1)
    write, left = Repository.write, [2]

    def moved(self: Repository, commits: Any) -> list[str]:
        if left[0]:
            left[0] -= 1
            write(self, [NewCommit("evaluations/demo", "x", (str(self.tip("evaluations/demo")),), {f"{left[0]}": b""})])
            raise Moved
        return write(self, commits)

    monkeypatch.setattr(Repository, "write", moved)
    keep(repo, 2)
    assert kept(repo) == [2, 1]
    left[0] = 99
    with pytest.raises(StoreError, match="others keep writing"):
        keep(repo, 3)


# --- what is damaged, and what others wrote ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"nonsense \xff\x00",
        b"[]",
        b"{}",
        b"12",
        b"null",
        b'{"a": NaN}',
        b'{"a": [1e999]}',
        b'{"a": ' + b"9" * 5000 + b"}",
        b'{"a": ' + b"[" * 100 + b"]" * 100 + b"}",
        b'{"a": ' + b"[" * 100_000,
    ],
)
def test_an_entry_that_is_none_is_passed_over(repo: Repository, text: bytes) -> None:
    keep(repo, 1)
    put(repo, {f"{place(2)}.json": text, f"{place(2)}.examples.json": b'{"examples": []}'})
    assert kept(repo) == [1]
    assert [found["id"] for found in Evaluations(repo).of("demo", ONE, limit=1)] == [at(1)]
    with pytest.raises(StoreError, match="cannot be read whole"):
        Evaluations(repo).read("demo", at(2))


def test_a_tree_of_another_shape_is_passed_over(repo: Repository) -> None:
    keep(repo, 1)
    good = json.dumps(data(3)).encode()
    put(
        repo,
        {
            "README": b"hi",
            TWO[:2]: good,  # a file where a folder is expected
            f"ff/{ONE}/{at(3)}.json": good,
            f"{ONE[:2]}/{ONE[:2]}{'0' * 62}": good,
            f"{ONE[:2]}/{ONE}/{at(3)}": good,
            f"{ONE[:2]}/{ONE}/x.json": good,
            f"{ONE[:2]}/{ONE}/{at(4)}.json/deep": good,
            f"{ONE[:2]}/short/{at(5)}.json": good,
        },
    )
    assert kept(repo) == [1]
    assert kept(repo, TWO) == []
    many = [ONE, TWO, *(content(str(number)) for number in range(200))]
    for found in (Evaluations(repo).summaries("demo"), Evaluations(repo).summaries("demo", many)):
        assert {of: [each["id"] for each in own] for of, own in found.items()} == {ONE: [at(1)]}
    assert Evaluations(repo).read("demo", at(1)) == data(1)
    keep(repo, 6, of=TWO)
    assert kept(repo, TWO) == [6]


def test_what_an_entry_says_of_itself_is_not_believed(repo: Repository) -> None:
    keep(repo, 1)
    put(repo, {f"{place(2)}.json": json.dumps({"id": "\x1b", "content": 7, "examples": [1], "score": [[]]}).encode()})
    newest = Evaluations(repo).of("demo", ONE)[0]
    assert newest == {"id": at(2), "content": ONE, "score": [[]]}


def test_an_evaluation_without_its_examples_is_listed_but_not_whole(repo: Repository) -> None:
    keep(repo, 1)
    for rest in (b"[]", b'{"examples": 1}', None):
        put(repo, {f"{place(1)}.examples.json": rest})
        assert kept(repo) == [1]
        with pytest.raises(StoreError, match="cannot be read whole"):
            Evaluations(repo).read("demo", at(1))


def test_a_lost_object_is_told_by_doctor_and_costs_one_entry(repo: Repository) -> None:
    keep(repo, 1)
    keep(repo, 2)
    assert list(troubles(repo)) == []
    sha = git(repo.git_dir, "rev-parse", f"{repo.prefix}/evaluations/demo:{place(2)}.json").strip()
    (repo.git_dir / "objects" / sha[:2] / sha[2:]).unlink()
    repo.close()
    assert kept(repo) == [1]
    assert any("missing" in trouble.message for trouble in troubles(repo))


def test_a_damaged_ref_is_an_error(repo: Repository) -> None:
    commit(repo, "one")
    keep(repo, 1)
    (repo.git_dir / repo.prefix / "evaluations/demo").write_text("0" * 39 + "1\n")
    repo.close()
    with pytest.raises(StoreError, match="is damaged"):
        kept(repo)
    assert texts(repo) == {1: "one"}
    assert any("evaluations/demo is damaged" in trouble.message for trouble in troubles(repo))


# --- sharing ----------------------------------------------------------------------------------------------------------


def test_evaluations_go_and_come_with_the_versions(team: Team) -> None:
    a, b = team.clone("a"), team.clone("b")
    commit(a, "one")
    keep(a, 1)
    keep(a, 2)
    assert sync(a, "origin") == Report("origin", pushed={"demo": 1}, evaluations_pushed=2, changed=True)
    assert sync(b, "origin") == Report("origin", fetched={"demo": 1}, evaluations_fetched=2, changed=True)
    assert Evaluations(b).read("demo", at(1)) == data(1)
    keep(b, 3)
    assert sync(b, "origin") == Report("origin", evaluations_pushed=1, changed=True)
    assert sync(a, "origin") == Report("origin", evaluations_fetched=1, changed=True)
    settle(a, b)
    assert kept(a) == kept(b) == [3, 2, 1]


def test_both_sides_have_all_of_both(team: Team) -> None:
    a, b, c = team.clone("a"), team.clone("b"), team.clone("c")
    keep(a, 1)
    settle(a, b)
    keep(a, 2)
    keep(b, 3)
    keep(b, 4, of=TWO)
    keep(c, 5, chain="other")
    keep(c, 6)
    sync(a, "origin")
    found = sync(b, "origin")
    assert (found.evaluations_fetched, found.evaluations_pushed) == (1, 2)
    found = sync(c, "origin")
    assert (found.evaluations_fetched, found.evaluations_pushed) == (4, 2)
    settle(a, b, c)
    for clone in (a, b, c, team.remote):
        assert (kept(clone), kept(clone, TWO), kept(clone, chain="other")) == ([6, 3, 2, 1], [4], [5])


def test_a_push_in_between_is_waited_for(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = team.clone("a"), team.clone("b")
    keep(a, 1)
    settle(a, b)
    keep(a, 2)
    keep(b, 3)
    run, left = Repository.run, [1]

    def late(self: Repository, *words: str, **options: Any) -> str:
        if words[0] == "push" and self is b and left[0]:
            left[0] = 0
            sync(a, "origin")
        return run(self, *words, **options)

    monkeypatch.setattr(Repository, "run", late)
    found = sync(b, "origin")
    assert (found.evaluations_fetched, found.evaluations_pushed) == (1, 1)
    settle(a, b)
    assert kept(team.remote) == [3, 2, 1]


def test_a_remote_that_lost_one_gets_it_back(team: Team) -> None:
    a, b = team.clone("a"), team.clone("b")
    keep(a, 1)
    keep(a, 2)
    settle(a, b)
    put(b, {f"{place(1)}.json": None, f"{place(1)}.examples.json": None})
    git(b.git_dir, "push", "-q", "origin", "refs/promptchain/evaluations/demo")
    assert kept(team.remote) == [2]
    found = sync(a, "origin")
    assert (found.evaluations_fetched, found.evaluations_pushed) == (0, 1)
    settle(a, b)
    assert kept(a) == kept(b) == [2, 1]


def test_what_a_remote_makes_up_harms_nothing(team: Team) -> None:
    a, b = team.clone("a"), team.clone("b")
    keep(a, 1)
    settle(a, b)
    keep(a, 2)
    put(b, {ONE[:2]: b"a file where a folder was", "x" * 300: b"", f"{TWO[:2]}/{TWO}/{at(9)}.json": b"[" * 99_999})
    put(b, {"x": b""}, "evaluations/NO-SLUG")
    blob = git(b.git_dir, "rev-parse", "refs/promptchain/evaluations/NO-SLUG:x").strip()
    git(b.git_dir, "update-ref", "refs/promptchain/evaluations/blob", blob)
    git(b.git_dir, "push", "-q", "origin", "refs/promptchain/evaluations/*:refs/promptchain/evaluations/*")
    sync(a, "origin")
    assert kept(a) == kept(team.remote) == [2, 1]
    assert kept(a, TWO) == []
    assert set(a.refs("evaluations")) == {"demo"}
    git(b.git_dir, "update-ref", "-d", "refs/promptchain/evaluations/blob")
    sync(b, "origin")
    assert kept(b) == [2, 1]


def test_a_release_that_knows_nothing_of_them_leaves_them_alone(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it was before: neither fetched nor merged, and the rest is."""
    a, b = team.clone("a"), team.clone("b")
    commit(a, "one")
    keep(a, 1)
    sync(a, "origin")
    with monkeypatch.context() as older:
        older.setattr(Repository, "refs", _without_evaluations(Repository.refs))
        commit(b, "two")
        sync(b, "origin")
    assert texts(b) == {1: "one", 2: "two"}
    assert kept(team.remote) == [1]
    settle(a, b)


def _without_evaluations(refs: Any) -> Any:
    def older(self: Repository, under: str = "", prefix: str | None = None) -> dict[str, str]:
        found: dict[str, str] = refs(self, under, prefix)
        return {name: sha for name, sha in found.items() if not name.startswith("evaluations/")}

    return older


def test_the_prefix_is_heeded(team: Team) -> None:
    a, b = (team.clone(name, prefix="refs/heads/promptchain") for name in ("a", "b"))
    keep(a, 1)
    sync(a, "origin")
    sync(b, "origin")
    assert kept(b) == [1]
    assert "refs/heads/promptchain/evaluations/demo" in git(team.remote.git_dir, "for-each-ref")


# --- how compiles went ------------------------------------------------------------------------------------------------


def test_compiles_stand_beside_evaluations_and_are_none(repo: Repository) -> None:
    keep(repo, 1)
    evaluations = Evaluations(repo)
    for number, of in ((2, ONE), (3, TWO)):
        evaluations.write_compile("demo", of, at(number), {"id": at(number), "curve": [[1, None, 0.5, "é\ud83d", 4]]})
    assert [found["id"] for found in evaluations.compiles("demo")] == [at(3), at(2)]
    assert evaluations.compiles("demo")[0]["content"] == TWO
    assert evaluations.compiles("other") == []
    assert kept(repo) == [1]
    assert list(evaluations.summaries("demo")) == [ONE]
    with pytest.raises(UsageError, match="no evaluation"):
        evaluations.read("demo", at(2))
    fsck(repo.git_dir)


def test_compiles_are_shared_and_not_counted_as_evaluations(team: Team) -> None:
    one, two = team.clone("one"), team.clone("two")
    keep(one, 1)
    Evaluations(one).write_compile("demo", ONE, at(2), {"id": at(2)})
    assert sync(one, "origin").evaluations_pushed == 1
    Evaluations(two).write_compile("demo", TWO, at(3), {"id": at(3)})
    assert sync(two, "origin").evaluations_fetched == 1
    sync(one, "origin")
    for repo in (one, two):
        assert [found["id"] for found in Evaluations(repo).compiles("demo")] == [at(3), at(2)]


@pytest.mark.parametrize("text", [b"", b"[]", b"{", b'{"a": NaN}', b"\xff"])
def test_a_compile_that_cannot_be_read_is_passed_over(repo: Repository, text: bytes) -> None:
    put(repo, {f"{place(1)}.compile.json": text})
    assert Evaluations(repo).compiles("demo") == []

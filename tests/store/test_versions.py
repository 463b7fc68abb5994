"""Versions and labels: numbers, names, what is kept and read back, and what a newer or a hostile store holds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from promptchain.errors import UsageError
from promptchain.store.repo import Repository
from promptchain.store.snapshot import Snapshot, stored
from promptchain.store.versions import Version, Versions, encode, place
from tests.store import kit
from tests.store.kit import check_dense, commit, content, fsck, git, put, snap, texts


@pytest.fixture
def repo(tmp_path: Path) -> Repository:
    git(tmp_path, "init", "-q")
    return Repository(tmp_path / ".git")


@pytest.fixture
def versions(repo: Repository) -> Versions:
    return Versions(repo)


# --- committing -----------------------------------------------------------------------------------------------------


def test_numbers_are_dense_and_what_is_there_is_not_written_again(repo: Repository, versions: Versions) -> None:
    assert commit(repo, "a", "b", "a", "c", "b") == [1, 2, 1, 3, 2]
    tip = repo.tip("chains/demo")
    again, new = versions.commit(snap("a"))
    assert (again.number, new, repo.tip("chains/demo")) == (1, False, tip)
    assert texts(repo) == {1: "a", 2: "b", 3: "c"}
    assert versions.chains() == ["demo"]
    check_dense(repo)


def test_a_message_names_a_version_that_has_none(repo: Repository, versions: Versions) -> None:
    commit(repo, "a", "b")
    named, new = versions.commit(snap("a"), "the first")
    assert (named.number, named.message, new) == (1, "the first", True)
    assert versions.commit(snap("a"), "another name")[1] is False
    assert [version.message for version in versions.log("demo")] == [None, "the first"]
    assert texts(repo) == {1: "a", 2: "b"}


def test_a_version_knows_who_made_it_and_what_is_new(repo: Repository, versions: Versions) -> None:
    git(repo.git_dir, "config", "user.name", "Ann")
    git(repo.git_dir, "config", "user.email", "ann@example.org")
    seen: list[Snapshot | None] = []

    def describe(before: Snapshot | None) -> str:
        seen.append(before)
        return "prompt changed"

    versions.commit(snap("a"))
    versions.commit(snap("b"), "named", describe)
    assert seen == [snap("a")]
    second, first = versions.log("demo")
    assert (first.changes, second.changes, second.message, second.author) == (
        "first version",
        "prompt changed",
        "named",
        "Ann",
    )
    assert second.created.endswith("Z")
    assert second.writer == repo.writer == Repository(repo.git_dir).writer
    assert second.to_json()["version"] == "v2"


def test_chains_do_not_touch_each_other(repo: Repository, versions: Versions) -> None:
    assert commit(repo, "a", chain="one") + commit(repo, "a", chain="two") == [1, 1]
    assert versions.chains() == ["one", "two"]
    assert versions.log("three") == []
    with pytest.raises(UsageError, match="cannot be a chain's name"):
        commit(repo, "a", chain="../x")


@pytest.mark.parametrize("last", [99, 199, 999, 9_999])
def test_numbers_go_on_past_a_bucket(repo: Repository, versions: Versions, last: int) -> None:
    commit(repo, "a")
    manifest = versions.tree("demo").read(f"{place(1)}/manifest.json")
    put(
        repo,
        {
            f"{place(n)}/manifest.json": encode({**manifest, "content": content(str(n)), "identity": str(n)})
            for n in {max(1, last - 1), last}
        },
    )
    assert commit(repo, "b", "c") == [last + 1, last + 2]
    assert [version.number for version in versions.log("demo", 3)] == [last + 2, last + 1, last]
    assert versions.resolve("demo", f"v{last + 1}").content == content("b")
    assert versions.resolve("demo", "latest").number == last + 2


def test_a_log_can_be_cut(repo: Repository, versions: Versions) -> None:
    commit(repo, *"abc")
    assert [version.number for version in versions.log("demo", 2)] == [3, 2]
    assert versions.log("demo", 0) == []


# --- what is kept ---------------------------------------------------------------------------------------------------

NAMES = [
    "plain.md", "with space.md", "ünï/cödé.md", ".git/x", ".GIT/config", "d/.git/b", "git~1/x", "..a/..",
    "../../up", "a\nb", 'quo"te\\', "tab\t", "%41", "%2Egit", "dot.", "blank ", "x" * 255,
    "ü" * 120, "y" * 201 + "/z", "A", "a", "CON", "no\udce9unicode", ".gitmodules", "emoji 🙂", "-rf", "~",
    "a:b", "sub/.gitattributes",
]  # fmt: skip


def test_files_with_any_name_come_back(repo: Repository, versions: Versions) -> None:
    files = {name: name.encode("utf-8", "surrogateescape") for name in NAMES}
    assert len({stored(name) for name in NAMES}) == len(NAMES)
    uses = {"python": {"no\udce9.py": "1" * 64}, "dataset": {"d": "2" * 64}}
    full = snap("a", files=files, variants={"openai-gpt": b"{}"}, uses=uses)
    version, _ = versions.commit(full)
    assert version.content != full.meaning
    with Repository(repo.git_dir) as other:
        assert Versions(other).snapshot(version) == full
    fsck(repo.git_dir)
    git(
        repo.git_dir,
        "-c",
        "core.protectNTFS=true",
        "-c",
        "core.protectHFS=true",
        "read-tree",
        f"{repo.prefix}/chains/demo",
    )


def test_the_content_id_is_of_what_a_run_depends_on() -> None:
    plain = snap("a")
    assert plain.content == content("a")
    assert replace(plain, source=b"other layout", path="x", uses={"dataset": {"d": "1"}}).content == plain.content
    others = [
        replace(plain, meaning="b"),
        replace(plain, variants={"m": b"1"}),
        replace(plain, variants={"m": b"2"}),
        replace(plain, uses={"python": {"p": "1"}}),
        replace(plain, uses={"retrieve": {"p": "1"}}),
    ]
    assert len({snapshot.content for snapshot in [plain, *others]}) == 6


def test_large_sources_and_odd_bytes_come_back(repo: Repository, versions: Versions) -> None:
    for source in (b"x" * 1_000_000, b"", b"\0\xff\r\n" * 99, b"\ndone\n"):
        snapshot = replace(snap(repr(source)), source=source, files={"f": source[::-1]})
        assert versions.snapshot(versions.commit(snapshot)[0]) == snapshot
    assert versions.log("demo")[0].number == 4


# --- naming ---------------------------------------------------------------------------------------------------------


def test_what_a_reference_may_be(repo: Repository, versions: Versions) -> None:
    commit(repo, "a", "b", "c")
    versions.label("demo", "production", versions.resolve("demo", "v2"))
    put(repo, {"aliases/v7@0a1b2c3d": encode({"version": 1})})
    found = {ref: versions.resolve("demo", ref).number for ref in (
        "v1", "1", "v3", "latest", "production", "v7@0a1b2c3d", content("b"), content("b")[:12], content("b")[:4]
    )}  # fmt: skip
    assert list(found.values()) == [1, 1, 3, 3, 2, 1, 2, 2, 2]
    listed = {version.number: (version.labels, version.aliases) for version in versions.log("demo")}
    assert listed == {3: ((), ()), 2: (("production",), ()), 1: ((), ("v7@0a1b2c3d",))}


@pytest.mark.parametrize("ref", ["v4", "0", "v0", "v01", "productoin", "v7@none", "ffff", "", "../x", "v1\n", "9" * 99])
def test_what_is_unknown_is_told_with_what_there_is(repo: Repository, versions: Versions, ref: str) -> None:
    commit(repo, "a", "b", "c")
    versions.label("demo", "production", versions.resolve("demo", "v2"))
    with pytest.raises(UsageError, match="has no version") as caught:
        versions.resolve("demo", ref)
    assert "`chain log demo` lists them" in str(caught.value)
    with pytest.raises(UsageError, match="no versions yet"):
        versions.resolve("other", "v1")


def test_a_beginning_of_several_content_ids_is_none_of_them(repo: Repository, versions: Versions) -> None:
    ids = ["1234" + "5" * 60, "12346" + "a" * 59, "9999" + "9" * 60]
    for number, meaning in enumerate(ids):
        versions.commit(Snapshot("demo", "chains/demo.yaml", b"%d" % number, meaning))
    with pytest.raises(UsageError, match="the beginning of 2 content ids"):
        versions.resolve("demo", "1234")
    assert versions.resolve("demo", "12345").number == 1  # digits only, and no version's number
    assert versions.resolve("demo", "9999").number == 3


# --- rolling back, labels -------------------------------------------------------------------------------------------


def test_a_version_is_restored_as_a_new_one(repo: Repository, versions: Versions) -> None:
    commit(repo, "a", "b")
    again = versions.restore(versions.resolve("demo", "v1"))
    assert (again.number, again.restores, again.message, again.content) == (3, 1, "roll back to v1", content("a"))
    assert versions.restore(versions.resolve("demo", "v1"), "back").message == "back"
    assert texts(repo) == {1: "a", 2: "b", 3: "a", 4: "a"}
    assert versions.resolve("demo", content("a")).number == 4  # the newest with that content
    assert len({version.identity for version in versions.log("demo")}) == 4
    assert commit(repo, "a", "c") == [4, 5]


def test_a_label_moves_and_goes(repo: Repository, versions: Versions) -> None:
    commit(repo, "a", "b")
    first, second = versions.resolve("demo", "v1"), versions.resolve("demo", "v2")
    versions.label("demo", "production", first)
    tip = repo.tip("chains/demo")
    versions.label("demo", "production", first)
    assert repo.tip("chains/demo") == tip  # where it was
    versions.label("demo", "production", second, expect=first)
    for wrong, name, told in ((first, "production", "at v2, not at v1"), (first, "other", "not set, not at v1")):
        with pytest.raises(UsageError, match=told):
            versions.label("demo", name, first, expect=wrong)
        with pytest.raises(UsageError, match=told):
            versions.label("demo", name, None, expect=wrong)
    assert versions.resolve("demo", "production").number == 2
    versions.label("demo", "production", None, expect=second)
    with pytest.raises(UsageError, match="has no label 'production'"):
        versions.label("demo", "production", None)
    assert versions.tree("demo").labels() == {}


# --- against a model ------------------------------------------------------------------------------------------------

WORDS = st.sampled_from("abcdef")
LABELS = st.sampled_from(["production", "staging"])


class Story(RuleBasedStateMachine):
    """Versions, against a list of contents and a dict of labels."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        self.repo = Repository(Path(self.folder.name) / "store.git")
        self.versions = Versions(self.repo)
        self.contents: list[str] = []
        self.messages: list[str | None] = []
        self.labels: dict[str, int] = {}

    def teardown(self) -> None:
        if self.contents:
            fsck(self.repo.git_dir)
        self.repo.close()
        self.folder.cleanup()

    def newest(self, word: str) -> int:
        return max(number for number, known in enumerate(self.contents, 1) if known == word)

    @rule(word=WORDS, message=st.sampled_from([None, "named"]))
    def commit(self, word: str, message: str | None) -> None:
        version, new = self.versions.commit(snap(word), message)
        if word not in self.contents:
            self.contents.append(word)
            self.messages.append(message)
            assert new
        elif message and self.messages[self.newest(word) - 1] is None:
            self.messages[self.newest(word) - 1] = message
            assert new
        else:
            assert not new
        assert (version.number, version.message) == (self.newest(word), self.messages[self.newest(word) - 1])

    @rule(data=st.data())
    def restore(self, data: st.DataObject) -> None:
        if self.contents:
            number = data.draw(st.integers(1, len(self.contents)))
            self.versions.restore(self.versions.resolve("demo", f"v{number}"))
            self.contents.append(self.contents[number - 1])
            self.messages.append(f"roll back to v{number}")

    @rule(name=LABELS, expected=st.booleans(), data=st.data())
    def label(self, name: str, expected: bool, data: st.DataObject) -> None:
        if not self.contents:
            return
        number = data.draw(st.integers(0, len(self.contents)))
        version = self.versions.resolve("demo", f"v{number}") if number else None
        expect: Version | None = self.versions.resolve("demo", "v1") if expected else None
        refused = (expected and self.labels.get(name) != 1) or (not number and name not in self.labels)
        if refused:
            with pytest.raises(UsageError):
                self.versions.label("demo", name, version, expect=expect)
            return
        self.versions.label("demo", name, version, expect=expect)
        if number:
            self.labels[name] = number
        else:
            del self.labels[name]

    @rule()
    def begin_again(self) -> None:
        self.repo.close()
        self.repo = Repository(self.repo.git_dir)
        self.versions = Versions(self.repo)

    @invariant()
    def all_is_as_in_the_model(self) -> None:
        log = self.versions.log("demo")
        assert [(v.number, v.content, v.message) for v in reversed(log)] == [
            (number, content(word), message)
            for number, (word, message) in enumerate(zip(self.contents, self.messages, strict=True), 1)
        ]
        assert {name: v.number for v in log for name in v.labels} == self.labels
        for name, number in self.labels.items():
            assert self.versions.resolve("demo", name).number == number
        for word in set(self.contents):
            assert self.versions.resolve("demo", content(word)[:9]).number == self.newest(word)


TestStory = Story.TestCase
TestStory.settings = settings(
    max_examples=12 * kit.STRESS, stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck)
)

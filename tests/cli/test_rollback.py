"""`chain rollback`: what it restores, and what it does not overwrite."""

from __future__ import annotations

from pathlib import Path

import pytest

from promptchain.records import StepVariant
from tests import lock_kit as kit
from tests.cli.git_kit import git, own_state, replace
from tests.cli.version_kit import intent, source
from tests.workspace import Workspace

# -- rollback ----------------------------------------------------------------------------------------------------------


def test_rollback_appends_a_version_and_restores_its_files(three: Workspace) -> None:
    assert intent(three, "demo") == "refund"
    head = git(three.root, "rev-parse", "HEAD")
    done = three.invoke("rollback", "demo", "v1")
    assert (done.code, done.out) == (0, "demo@v4\n")
    assert done.err == "restored chains/demo.yaml\nrestored chains/support/intent.md\n"
    assert git(three.root, "status", "--porcelain") == ""  # git's own first commit has the same files
    assert git(three.root, "rev-parse", "HEAD") == head
    assert intent(three, "demo") == "card"
    newest, *older = three.invoke("log", "demo", "--json").json
    assert (newest["version"], newest["restores"], newest["message"]) == ("v4", "v1", "roll back to v1")
    assert [version["version"] for version in older] == ["v3", "v2", "v1"]
    assert newest["content"] == older[-1]["content"]
    assert not [*three.root.rglob("*.tmp")]


def test_rollback_with_a_message_in_json(three: Workspace) -> None:
    found = three.invoke("rollback", "demo@v2", "-m", "too careful", "--json").json
    assert (found["version"], found["message"], found["new"]) == ("v4", "too careful", True)
    assert found["files"] == ["chains/support/intent.md"]


@pytest.mark.parametrize("ref", ["v1", "@v1", "demo@v1", "production", "content"])
def test_rollback_to_any_reference(three: Workspace, ref: str) -> None:
    three.invoke("label", "demo@v1", "production")
    content = three.invoke("log", "demo", "--json").json[-1]["content"]
    done = three.invoke("rollback", "demo", content[:10] if ref == "content" else ref)
    assert done.out == "demo@v4\n", done
    assert "Classify" in source(three)[0]


def test_rollback_brings_back_a_chain_file_that_is_gone(three: Workspace) -> None:
    (three.root / "chains/demo.yaml").unlink()
    assert three.invoke("rollback", "demo", "v3").code == 0
    assert '"Sort: ' in source(three)[0]


def test_rollback_brings_back_a_prompt_file_that_is_gone(three: Workspace) -> None:
    """The chain file that stands there is that of v3, though it cannot be loaded without the prompt's file."""
    (three.root / "chains/support/intent.md").unlink()
    done = three.invoke("rollback", "demo", "v1")
    assert done.code == 0, done
    assert source(three)[1] == "Decide.\n"


@pytest.mark.parametrize("file", ["chains/demo.yaml", "chains/support/intent.md"])
def test_rollback_overwrites_no_work_without_force(three: Workspace, file: str) -> None:
    replace(three, "Check {{" if file.endswith("yaml") else "care", "Judge {{", file)
    work = source(three)
    done = three.invoke("rollback", "demo", "v1")
    assert (done.code, done.out, source(three)) == (2, "", work)
    assert file in done.err
    assert "what stands there is in no version" in done.err
    assert "chain commit demo" in done.err
    assert "--force" in done.err
    assert len(three.invoke("log", "demo").out.splitlines()) == 3
    assert three.invoke("rollback", "demo", "v1", "--force").out == "demo@v4\n"
    assert source(three)[1] == "Decide.\n"


def test_rollback_after_the_remedy_it_names(three: Workspace) -> None:
    replace(three, "with care", "at once", "chains/support/intent.md")
    assert three.invoke("rollback", "demo", "v1").code == 2
    assert three.invoke("commit", "demo").out == "demo@v4\n"
    assert three.invoke("rollback", "demo", "v1").out == "demo@v5\n"
    assert three.invoke("rollback", "demo", "v4").out == "demo@v6\n"
    assert source(three)[1] == "Decide at once.\n"


def test_rollback_over_a_broken_chain_file_is_forced(three: Workspace) -> None:
    three.write("chains/demo.yaml", "steps: [")
    done = three.invoke("rollback", "demo", "v1")
    assert done.code == 2
    assert "chains/demo.yaml" in done.err
    assert source(three)[0] == "steps: ["
    assert three.invoke("rollback", "demo", "v1", "--force").code == 0


def test_rollback_over_comments_says_that_it_is_only_those(three: Workspace) -> None:
    path = three.root / "chains/demo.yaml"
    path.write_text("# mine\n" + path.read_text())
    done = three.invoke("rollback", "demo", "v1")
    assert done.code == 2
    assert "only layout or comments differ from demo@v3" in done.err
    assert path.read_text().startswith("# mine\n")


def test_rollback_of_a_label_leaves_the_files(three: Workspace) -> None:
    three.invoke("label", "demo@v3", "production")
    before, work = own_state(three.root), source(three)
    done = three.invoke("rollback", "demo", "v1", "--label", "production")
    assert (done.code, done.out, done.err) == (0, "", "production is at demo@v1\n")
    assert (own_state(three.root), source(three)) == (before, work)
    assert intent(three, "demo@production") == "card"
    found = three.invoke("rollback", "demo", "v2", "--label", "production", "--json").json
    assert (found["version"], found["label"], found["labels"]) == ("v2", "production", ["production"])
    assert (found["files"], found["new"]) == ([], False)
    assert "-m does not go with --label" in three.invoke("rollback", "demo", "v1", "--label", "x", "-m", "y").err


def test_rollback_to_the_newest_says_that_it_is(three: Workspace) -> None:
    for ref in ("v3", "latest"):
        done = three.invoke("rollback", "demo", ref)
        assert (done.code, done.out) == (0, "demo@v3\n")
        assert (
            done.err
            == "no new version: demo@v3 is the newest, and has that content, and the files are as it has them\n"
        )
    (three.root / "chains/support/intent.md").unlink()
    found = three.invoke("rollback", "demo", "v3", "--force", "--json").json
    assert (found["version"], found["new"], found["files"]) == ("v3", False, ["chains/support/intent.md"])


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["demo", "v9"], "the chain 'demo' has no version 'v9'"),
        (["demo", ""], "there is no version behind the @"),
        (["demo"], "to which version?"),
        (["demo@v1", "v2"], "two versions are named, 'v1' and 'v2'"),
        (["demo", "git:HEAD"], "chain commit demo@git:HEAD"),
        (["dmo", "v1"], "did you mean 'demo'?"),
        (["../demo", "v1"], "there is no chain '../demo'"),
        (["demo", "v1", "--label", "v7"], "cannot be a label"),
    ],
)
def test_what_rollback_cannot_do(three: Workspace, words: list[str], says: str) -> None:
    work = source(three)
    done = three.invoke("rollback", *words)
    assert (done.code, done.out, source(three)) == (2, "", work), done
    assert says in done.err


def test_rollback_does_not_follow_a_link_out_of_the_project(three: Workspace, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (three.root / "chains/support").rename(outside)
    (three.root / "chains/support").symlink_to(outside)
    (outside / "intent.md").write_text("mine")
    done = three.invoke("rollback", "demo", "v1", "--force")
    assert done.code == 1
    assert "leads out of the project" in done.err
    assert (outside / "intent.md").read_text() == "mine"


def test_rollback_writes_no_file_of_gits_own(three: Workspace) -> None:
    """A version that somebody else has pushed may name any path of the project."""
    from promptchain.errors import PromptChainError
    from promptchain.snapshots import restore
    from promptchain.store.snapshot import Snapshot

    for file in (".git/config", ".GIT/hooks/x", "chains/.git./x", "GIT~1/config"):
        before = (three.root / ".git/config").read_bytes()
        with pytest.raises(PromptChainError, match="git's own"):
            restore(Snapshot("demo", "chains/demo.yaml", b"{}", "", {file: b"[core]\nfsmonitor=x"}), three.root)
        assert (three.root / ".git/config").read_bytes() == before


def test_a_restored_file_keeps_its_mode(three: Workspace) -> None:
    path = three.root / "chains/support/intent.md"
    path.chmod(0o600)
    three.invoke("rollback", "demo", "v1")
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("Decide.\n", 0o600)


# -- the lock ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def compiled(repo: Workspace) -> Workspace:
    """The versions v1 to v3 of `demo`: v2 is compiled, v3 is compiled otherwise, as it stands in the work tree."""
    repo.invoke("commit", "demo")
    kit.adopt(repo)
    repo.invoke("commit", "demo")
    kit.adopt(repo, steps={"intent": StepVariant(instructions="Again.")})
    assert repo.invoke("commit", "demo").out == "demo@v3\n"
    return repo


LOCK = "chains/demo.lock.yaml"


def test_rollback_restores_the_lock(compiled: Workspace) -> None:
    kit.adopt(compiled)
    second = (compiled.root / LOCK).read_bytes()
    assert compiled.invoke("rollback", "demo", "v3").err.startswith(f"restored {LOCK}\n")
    assert b"Again." in (compiled.root / LOCK).read_bytes()
    done = compiled.invoke("rollback", "demo", "v2")
    assert (done.code, done.out) == (0, "demo@v4\n")
    assert done.err == f"restored {LOCK}\n"
    assert (compiled.root / LOCK).read_bytes() == second  # to the byte: git sees no change
    assert compiled.invoke("run", "demo", "hi", "--locked").code == 0
    newest = compiled.invoke("log", "demo", "--json").json[0]
    assert newest["content"] == compiled.invoke("log", "demo", "--json").json[2]["content"]
    assert [found["after"] for found in newest["compiled"].values()] == [0.86]


def test_rollback_to_what_was_not_compiled_removes_the_lock(compiled: Workspace) -> None:
    done = compiled.invoke("rollback", "demo", "v1")
    assert (done.code, done.out, done.err) == (0, "demo@v4\n", f"removed {LOCK}\n")
    assert not (compiled.root / LOCK).exists()
    assert compiled.invoke("rollback", "demo", "v3").out == "demo@v5\n"
    assert (compiled.root / LOCK).exists()
    assert not [*compiled.root.rglob("*.tmp")]


@pytest.mark.parametrize("to", ["v1", "v2"])
@pytest.mark.parametrize("broken", [False, True])
def test_rollback_overwrites_no_lock_that_no_version_has(compiled: Workspace, to: str, *, broken: bool) -> None:
    if broken:
        compiled.write(LOCK, "<<<<<<< ours\n=======\n>>>>>>> theirs\n")
    else:
        kit.adopt(compiled, steps={"intent": StepVariant(instructions="Not kept yet.")})
    work = (compiled.root / LOCK).read_bytes()
    done = compiled.invoke("rollback", "demo", to)
    assert (done.code, done.out, (compiled.root / LOCK).read_bytes()) == (2, "", work)
    assert f"{LOCK}: what stands there is in no version" in done.err
    assert compiled.invoke("rollback", "demo", to, "--force").code == 0
    assert (compiled.root / LOCK).exists() == (to == "v2")


def test_a_lock_that_is_laid_out_otherwise_is_the_same(compiled: Workspace) -> None:
    path = compiled.root / LOCK
    path.write_text("# laid out by an older release\n" + path.read_text())
    assert compiled.invoke("rollback", "demo", "v3").err.startswith("no new version")
    assert path.read_text().startswith("# laid out")


def test_rollback_brings_back_a_lock_that_is_gone(compiled: Workspace) -> None:
    (compiled.root / LOCK).unlink()
    assert compiled.invoke("rollback", "demo", "v3").err.startswith(f"restored {LOCK}\n")

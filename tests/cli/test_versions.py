"""`chain commit`, `log`, `label` and `rollback`, and references to versions wherever a chain is named."""

from __future__ import annotations

import os
import pty
import re
import subprocess
from pathlib import Path

import pytest

from tests.cli.git_kit import git, make_repo, own_state, replace
from tests.workspace import CHAIN, DEMO, REPLIES, Workspace

FILED = DEMO.replace("Decide what the customer wants.", "{file: support/intent.md}")
EVIL = "\x1b]0;owned\x07\x1b[31mred\r\x9b2J"


@pytest.fixture
def repo(empty: Workspace) -> Workspace:
    """The chain `demo`, whose instructions are in a file, in a git repository; what is random is kept out of it."""
    empty.write(".gitignore", "*.script.yaml\n")
    empty.write("chains/support/intent.md", "Decide.\n")
    replies = [{"contains": "Sort", "reply": "refund"}, *REPLIES]
    empty.chain(FILED, replies=replies)
    make_repo(empty.root)
    return empty


@pytest.fixture
def three(repo: Workspace) -> Workspace:
    """The versions v1 to v3 of `demo`: v2 has another prompt, v3 has other instructions in the file too."""
    repo.invoke("commit", "demo", "-m", "The first one")
    replace(repo, '"Classify: ', '"Sort: ')
    repo.invoke("commit", "demo")
    replace(repo, "Decide.", "Decide with care.", "chains/support/intent.md")
    assert repo.invoke("commit", "demo", "-m", "Careful").out == "demo@v3\n"
    return repo


def source(workspace: Workspace) -> tuple[str, str]:
    """The chain file, and the prompt's file."""
    return tuple((workspace.root / "chains" / name).read_text() for name in ("demo.yaml", "support/intent.md"))


def intent(workspace: Workspace, reference: str) -> str:
    """What the first step gives: "card" as v1 asks, "refund" as v2 and v3 do."""
    done = workspace.invoke("run", reference, "hi", "-o", "intent")
    assert done.code == 0, done
    return done.out.strip()


# -- commit ------------------------------------------------------------------------------------------------------------


def test_commit_keeps_what_is_new_and_only_that(repo: Workspace) -> None:
    before = own_state(repo.root)
    done = repo.invoke("commit", "demo", "-m", " Shorter ")
    assert (done.code, done.out, done.err) == (0, "demo@v1\n", "")
    again = repo.invoke("commit", "demo")
    assert (again.code, again.out, again.err) == (
        0,
        "demo@v1\n",
        'nothing to keep: this is demo@v1 already, "Shorter"\n',
    )
    other = repo.invoke("commit", "demo", "-m", "Other words")
    assert (other.code, other.out) == (0, "demo@v1\n")
    assert "warning: the message is not kept: demo@v1 stays as it is" in other.err
    assert [version["message"] for version in repo.invoke("log", "--json").json] == ["Shorter"]
    assert own_state(repo.root) == before


def test_commit_gives_a_version_that_a_run_kept_its_message(repo: Workspace) -> None:
    intent(repo, "demo")
    assert repo.invoke("log", "demo").out.endswith("\tfirst version\tauto\n")
    done = repo.invoke("commit", "demo", "-m", "Good")
    assert (done.out, done.err) == ("demo@v1\n", "")
    assert repo.invoke("log", "demo").out.endswith("\tfirst version\tGood\n")


def test_commit_as_json(repo: Workspace) -> None:
    first = repo.invoke("commit", "demo", "-m", "m", "--json").json
    assert (first["chain"], first["version"], first["new"], first["author"]) == ("demo", "v1", True, "Ann")
    assert len(first["content"]) == 64
    repo.invoke("label", "demo@v1", "production")
    again = repo.invoke("commit", "demo", "--json").json
    assert again == {**first, "new": False, "labels": ["production"]}


def test_commit_takes_layout_and_comments_for_the_same(repo: Workspace) -> None:
    repo.invoke("commit", "demo")
    path = repo.root / "chains/demo.yaml"
    path.write_text("# said anew\n" + path.read_text())
    assert repo.invoke("commit", "demo").out == "demo@v1\n"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["demo", "-m", ""], ["the message is empty", '-m "']),
        (["demo", "-m", " \n"], ["the message is empty"]),
        (["dmo"], ["there is no chain 'dmo'", "did you mean 'demo'?"]),
        (["broken"], ["chains/broken.yaml:", "a step"]),
        (["demo@v9"], ["the chain 'demo' has no versions yet"]),
    ],
)
def test_commit_refuses_and_keeps_nothing(repo: Workspace, words: list[str], says: list[str]) -> None:
    repo.write("chains/broken.yaml", "steps: {a step: {prompt: hi}}")
    done = repo.invoke("commit", *words)
    assert done.code in (1, 2), done
    assert all(text in done.err for text in says), done
    assert done.out == ""
    assert repo.invoke("log", "--json").json == []


def test_without_a_repository_the_store_is_in_the_project(demo: Workspace) -> None:
    assert demo.invoke("commit", "demo", "-m", "m").out == "demo@v1\n"
    assert (demo.root / ".promptchain/store.git/HEAD").is_file()
    assert (demo.root / ".promptchain/.gitignore").read_text() == "*\n"
    assert not (demo.root / ".git").exists()
    assert [version["version"] for version in demo.invoke("log", "demo", "--json").json] == ["v1"]
    assert demo.invoke("show", "demo@v1").code == 0


def test_commit_of_a_revision_of_git(repo: Workspace) -> None:
    replace(repo, '"Classify: ', '"Sort: ')
    assert repo.invoke("commit", "demo@git:HEAD", "-m", "as it was").out == "demo@v1\n"
    assert intent(repo, "demo@v1") == "card"
    assert repo.invoke("commit", "demo").out == "demo@v2\n"


# -- log ---------------------------------------------------------------------------------------------------------------


def test_log_shows_labels_changes_and_messages(three: Workspace) -> None:
    three.invoke("label", "demo@v1", "production")
    three.invoke("label", "demo@v1", "beta")
    rows = [line.split("\t") for line in three.invoke("log", "demo").out.splitlines()]
    assert [(row[0], *row[2:]) for row in rows] == [
        ("v3", "", "intent: instructions", "Careful"),
        ("v2", "", "intent: prompt", "auto"),
        ("v1", "beta, production", "first version", "The first one"),
    ]
    assert all(row[1][:2] == "20" and len(row[1]) == 16 for row in rows)


def test_log_of_all_chains_is_in_one_order(three: Workspace) -> None:
    three.chain(name="other")
    three.invoke("commit", "other")
    names = [line.split("\t")[0] for line in three.invoke("log").out.splitlines()]
    assert names == ["other@v1", "demo@v3", "demo@v2", "demo@v1"]
    assert [line.split("\t")[0] for line in three.invoke("log", "-n", "2").out.splitlines()] == names[:2]


@pytest.mark.parametrize(("limit", "count"), [("0", 0), ("1", 1), ("2", 2), ("99", 3)])
def test_log_of_so_many(three: Workspace, limit: str, count: int) -> None:
    done = three.invoke("log", "demo", "-n", limit)
    assert (done.code, len(done.out.splitlines()), done.err) == (0, count, "")
    assert len(three.invoke("log", "demo", "-n", limit, "--json").json) == count


def test_log_as_json(three: Workspace) -> None:
    three.invoke("label", "demo@v2", "production")
    found = three.invoke("log", "demo", "--json").json
    assert [(v["version"], v["labels"], v["message"]) for v in found] == [
        ("v3", [], "Careful"),
        ("v2", ["production"], None),
        ("v1", [], "The first one"),
    ]
    assert set(found[0]) >= {"chain", "content", "changes", "created", "author", "restores", "aliases"}


def test_log_of_nothing(repo: Workspace) -> None:
    for words in (["log"], ["log", "demo"]):
        done = repo.invoke(*words)
        assert (done.code, done.out) == (0, "")
        assert "no versions yet" in done.err
    assert repo.invoke("log", "--json").json == []
    for name in ("dmo", "../demo", "demo@v1", ""):
        done = repo.invoke("log", name)
        assert (done.code, done.out) == (2, "")
        assert f"there is no chain '{name}'" in done.err
    for name in ("dmo", "chains/demo.yaml"):
        assert "did you mean 'demo'?" in repo.invoke("log", name).err


def test_log_of_a_chain_whose_file_is_gone(three: Workspace) -> None:
    (three.root / "chains/demo.yaml").unlink()
    assert len(three.invoke("log", "demo").out.splitlines()) == 3


def on_terminal(workspace: Workspace, columns: int, *words: str) -> str:
    main, side = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": str(columns), "LINES": "50"}
    process = subprocess.Popen(
        [CHAIN, *words], cwd=workspace.root, env=environment, stdin=side, stdout=side, stderr=side
    )
    os.close(side)
    shown = b""
    try:
        while piece := os.read(main, 65536):
            shown += piece
    except OSError:  # Linux, when the other side is closed
        pass
    os.close(main)
    assert process.wait(timeout=60) == 0
    return shown.decode().replace("\r\n", "\n")


def test_what_others_wrote_does_not_reach_the_terminal(repo: Workspace) -> None:
    git(repo.root, "config", "user.name", f"Eve{EVIL}")
    repo.invoke("commit", "demo", "-m", f"hi{EVIL}\nthere\tyou")
    repo.invoke("label", "demo@v1", "production")
    for words in (["log"], ["log", "demo"], ["label", "demo"], ["commit", "demo"], ["runs"]):
        done = repo.invoke(*words)
        assert done.code == 0
        assert not {"\x1b", "\x07", "\x9b", "\r"} & {*done.out, *done.err}, words
    [line] = repo.invoke("log").out.splitlines()
    assert line.endswith("\thi?]0;owned??[31mred ?2J there you")
    shown = on_terminal(repo, 100, "log")
    assert "\x1b]0" not in shown
    assert "\x1b[31mred" not in shown


def test_log_on_a_narrow_terminal_is_folded(three: Workspace) -> None:
    three.invoke("label", "demo@v3", "production-of-the-north")
    shown = re.sub(r"\x1b\[[0-9;]*m", "", on_terminal(three, 60, "log", "demo"))
    assert all(len(line.rstrip()) <= 60 for line in shown.splitlines())
    assert len(shown.splitlines()) > 4
    assert all(word in shown for word in ("version", "labels", "v3", "production", "Careful"))


# -- label -------------------------------------------------------------------------------------------------------------


def test_labels_are_set_moved_listed_and_deleted(three: Workspace) -> None:
    before = own_state(three.root)
    assert "has no labels; set one: chain label demo@v1 production" in three.invoke("label", "demo").err
    done = three.invoke("label", "demo@v1", "production")
    assert (done.code, done.out, done.err) == (0, "", "production is at demo@v1\n")
    assert intent(three, "demo@production") == "card"
    three.invoke("label", "demo", "production")
    assert intent(three, "demo@production") == "refund"
    name, version, moved, author = three.invoke("label", "demo").out.strip().split("\t")
    assert (name, version, moved[:2], author) == ("production", "v3", "20", "Ann")
    assert three.invoke("label", "demo", "--json").json == {"production": "v3"}
    assert three.invoke("label", "demo", "production", "-d").err == "production is deleted\n"
    assert three.invoke("label", "demo", "--json").json == {}
    gone = three.invoke("label", "demo", "production", "-d")
    assert (gone.code, "has no label 'production'" in gone.err) == (2, True)
    assert own_state(three.root) == before


def test_label_as_json(three: Workspace) -> None:
    found = three.invoke("label", "demo@v2", "production", "--json").json
    assert found == {"chain": "demo", "label": "production", "version": "v2"}
    found = three.invoke("label", "demo", "production", "-d", "--json").json
    assert found == {"chain": "demo", "label": "production", "version": None}


@pytest.mark.parametrize("there", ["v1", "1", "demo@v1", "@v1", "stable"])
def test_a_label_is_moved_if_it_is_where_it_was_expected(three: Workspace, there: str) -> None:
    three.invoke("label", "demo@v1", "production")
    three.invoke("label", "demo@v1", "stable")
    wrong = three.invoke("label", "demo@v3", "production", "--expect", "v2")
    assert wrong.code != 0
    assert "the label 'production' is at v1, not at v2" in wrong.err
    assert three.invoke("label", "demo", "production", "-d", "--expect", "v2").code != 0
    unset = three.invoke("label", "demo@v3", "fresh", "--expect", "v2")
    assert unset.code != 0
    assert "the label 'fresh' is not set, not at v2" in unset.err
    assert three.invoke("label", "demo", "--json").json == {"production": "v1", "stable": "v1"}
    assert three.invoke("label", "demo@v3", "production", "--expect", there).code == 0
    assert three.invoke("label", "demo", "--json").json == {"production": "v3", "stable": "v1"}


def test_protected_labels_need_force(three: Workspace) -> None:
    three.write("promptchain.toml", 'protected_labels = ["production"]\n')
    for words in (
        ["label", "demo@v1", "production"],
        ["label", "demo", "production", "-d"],
        ["rollback", "demo", "v1", "--label", "production"],
    ):
        done = three.invoke(*words)
        assert (done.code, done.out) == (2, "")
        assert "the label 'production' is protected" in done.err
        assert "--force" in done.err
    assert three.invoke("label", "demo@v1", "beta").code == 0
    assert three.invoke("label", "demo@v1", "production", "--force").code == 0
    assert three.invoke("rollback", "demo", "v2", "--label", "production", "--force").code == 0
    assert three.invoke("label", "demo", "production", "-d", "--force").code == 0
    three.write("promptchain.toml", 'protected_labels = "production"\n')
    assert "'protected_labels' must be a list of labels" in three.invoke("label", "demo").err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["demo@v1", "latest"], "it stands for a version already"),
        (["demo@v1", "v7"], "it stands for a version already"),
        (["demo@v1", "7"], "it stands for a version already"),
        (["demo@v1", "../x"], "'../x' cannot be a label"),
        (["demo@v1", "x" * 65], "cannot be a label"),
        (["demo@v1", "Prod"], "small letters"),
        (["demo@v1", ""], "'' cannot be a label"),
        (["demo@v1", "git:x"], "cannot be a label"),
        (["demo@v9", "x"], "the chain 'demo' has no version 'v9'"),
        (["demo@", "x"], "there is no version behind the @"),
        (["demo@git:HEAD", "x"], "keep it first, and take what that prints: chain commit demo@git:HEAD"),
        (["demo@prodction", "x"], "did you mean 'production'?"),
        (["dmo@v1", "x"], "did you mean 'demo'?"),
        (["demo@v1"], "which label?"),
        (["demo", "-d"], "which label?"),
        (["demo@v1", "production", "-d"], "chain label demo production -d"),
        (["demo@v1", "x", "--expect", "v9"], "has no version 'v9'"),
        (["demo@v1", "x", "--expect", ""], "there is no version behind the @"),
    ],
)
def test_what_no_label_can_be(three: Workspace, words: list[str], says: str) -> None:
    three.invoke("label", "demo@v1", "production")
    done = three.invoke("label", *words)
    assert (done.code, done.out) == (2, ""), done
    assert says in done.err
    assert three.invoke("label", "demo", "--json").json == {"production": "v1"}


@pytest.mark.parametrize("label", ["x" * 64, "a7", "v1-beta", "cafe", "0-day"])
def test_what_a_label_can_be(three: Workspace, label: str) -> None:
    assert three.invoke("label", "demo@v1", label).code == 0
    assert intent(three, f"demo@{label}") == "card"


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

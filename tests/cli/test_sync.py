"""`chain sync`: two clones that share versions, labels and, where it is wanted, runs over a bare repository."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cli.git_kit import git, make_repo, own_state, replace
from tests.workspace import REPLIES, Result, Workspace


@dataclass
class Clones:
    """Two clones of one bare repository."""

    ann: Workspace
    bob: Workspace
    remote: Path
    patch: pytest.MonkeyPatch

    def at(self, workspace: Workspace, *words: str) -> Result:
        """Run the command in one of them."""
        self.patch.chdir(workspace.root)
        return workspace.invoke(*words)

    def versions(self, workspace: Workspace) -> dict[str, str | None]:
        return {v["version"]: v["message"] for v in self.at(workspace, "log", "demo", "--json").json}

    def labels(self, workspace: Workspace) -> dict[str, str]:
        found: dict[str, str] = self.at(workspace, "label", "demo", "--json").json
        return found

    def edit(self, workspace: Workspace, text: str) -> None:
        """Another version of the chain, and its commit in the store."""
        path = workspace.root / "chains/demo.yaml"
        path.write_text(re.sub('prompt: "Check[^"]*"', f'prompt: "Check. {text}"', path.read_text()))
        assert self.at(workspace, "commit", "demo", "-m", text).code == 0


@pytest.fixture
def clones(empty: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Clones:
    empty.chain(replies=[{"contains": "Sort", "reply": "refund"}, *REPLIES])
    make_repo(empty.root)
    remote = tmp_path / "team.git"
    git(tmp_path, "clone", "--quiet", "--bare", str(empty.root), str(remote))
    git(empty.root, "remote", "add", "origin", str(remote))
    git(empty.root, "fetch", "--quiet", "origin")
    git(tmp_path, "clone", "--quiet", str(remote), "bob")
    bob = Workspace(tmp_path / "bob")
    git(bob.root, "config", "user.name", "Bob")
    git(bob.root, "config", "user.email", "bob@example.org")
    return Clones(empty, bob, remote, monkeypatch)


def test_the_whole_story(clones: Clones) -> None:
    ann, bob = clones.ann, clones.bob
    head = own_state(ann.root)
    assert clones.at(ann, "run", "demo", "Where is it?").out.startswith("intent: card\n")
    assert own_state(ann.root) == head
    replace(ann, '"Classify: ', '"Sort: ')
    edited = own_state(ann.root)
    assert clones.at(ann, "run", "demo", "Where is it?").out.startswith("intent: refund\n")
    assert [line.split("\t")[0] for line in clones.at(ann, "log").out.splitlines()] == ["demo@v2", "demo@v1"]
    runs = [line.split("\t") for line in clones.at(ann, "runs").out.splitlines()]
    assert [row[2] for row in runs] == ["demo@v2", "demo@v1"]
    assert "~ outputs.intent: card → refund" in clones.at(ann, "diff", runs[1][0], runs[0][0]).out
    assert "[-Classify-]{+Sort+}" in clones.at(ann, "diff", "demo@v1", "v2").out
    assert clones.at(ann, "label", "demo@v1", "production").code == 0
    assert own_state(ann.root) == edited
    assert clones.at(ann, "rollback", "demo", "v1").out == "demo@v3\n"
    assert own_state(ann.root) == head

    done = clones.at(ann, "sync")
    assert (done.code, done.out) == (0, "demo: 3 versions pushed\ndemo: label production at v1, pushed\n")
    assert own_state(ann.root) == head
    before = own_state(bob.root)
    done = clones.at(bob, "sync")
    assert (done.code, done.out) == (0, "demo: 3 versions fetched\ndemo: label production at v1, fetched\n")
    assert own_state(bob.root) == before
    assert clones.labels(bob) == {"production": "v1"}
    assert clones.at(bob, "runs").out == ""
    script = "import promptchain; print(promptchain.load('demo@production').run(message='hi').outputs['intent'])"
    said = subprocess.run([sys.executable, "-c", script], cwd=bob.root, capture_output=True, text=True, timeout=300)
    assert (said.stdout, said.returncode) == ("card\n", 0), said.stderr
    assert clones.at(bob, "run", "demo@v2", "hi", "-o", "intent").out == "refund\n"
    assert own_state(bob.root) == before

    again = clones.at(ann, "sync")
    assert (again.out, again.err) == ("", "up to date with origin\n")


def test_runs_are_shared_when_that_is_wanted(clones: Clones) -> None:
    clones.at(clones.ann, "run", "demo", "something private")
    clones.at(clones.ann, "sync")
    assert "runs" not in git(clones.remote, "for-each-ref")
    assert "something private" not in everything(clones.remote)
    assert clones.at(clones.ann, "sync", "--runs").out == "runs: 0 segments fetched, 1 segment pushed\n"
    clones.at(clones.bob, "sync")
    assert clones.at(clones.bob, "runs", "--json").json == []
    assert "runs: 1 segment fetched" in clones.at(clones.bob, "sync", "--runs").out
    [row] = clones.at(clones.bob, "runs", "--json").json
    assert row == clones.at(clones.ann, "runs", "--json").json[0]
    assert "something private" in clones.at(clones.bob, "runs", "show", row["id"]).out
    assert clones.at(clones.bob, "replay", row["id"]).err.startswith("nothing came out differently")


def everything(git_dir: Path) -> str:
    words = ["git", f"--git-dir={git_dir}", "cat-file", "--batch", "--batch-all-objects"]
    return subprocess.run(words, capture_output=True, check=True).stdout.decode("utf-8", "replace")


def test_versions_of_the_same_number_are_told_apart(clones: Clones) -> None:
    clones.edit(clones.ann, "Common.")
    clones.at(clones.ann, "sync")
    clones.at(clones.bob, "sync")
    clones.edit(clones.ann, "Of Ann.")
    clones.edit(clones.bob, "Of Bob.")
    clones.at(clones.bob, "label", "demo@v2", "beta")
    clones.at(clones.ann, "sync")
    done = clones.at(clones.bob, "sync")
    assert done.code == 0
    assert done.err == "demo@v2 is v3 now: on origin that number is another version's\n"
    assert done.out == "demo: 1 version fetched, 1 version pushed\ndemo: label beta at v3, pushed\n"
    assert clones.versions(clones.bob) == {"v3": "Of Bob.", "v2": "Of Ann.", "v1": "Common."}
    assert clones.labels(clones.bob) == {"beta": "v3"}
    newest = clones.at(clones.bob, "log", "demo", "-n", "1", "--json").json[0]
    [alias] = newest["aliases"]
    assert alias.startswith("v2@")
    assert alias in clones.at(clones.bob, "log", "demo", "-n", "1").out
    assert "Check. Of Bob." in clones.at(clones.bob, "show", f"demo@{alias}", "hi", "--rendered").out
    assert clones.at(clones.bob, "label", "demo@v1", "beta", "--expect", alias).code == 0
    clones.at(clones.ann, "sync")
    assert clones.versions(clones.ann) == clones.versions(clones.bob)


def test_a_label_that_both_moved_stays_where_the_remote_has_it(clones: Clones) -> None:
    for text in ("One.", "Two.", "Three."):
        clones.edit(clones.ann, text)
    clones.at(clones.ann, "label", "demo@v1", "production")
    clones.at(clones.ann, "sync")
    clones.at(clones.bob, "sync")
    clones.at(clones.ann, "label", "demo@v2", "production")
    clones.at(clones.bob, "label", "demo@v3", "production")
    clones.at(clones.ann, "sync")
    done = clones.at(clones.bob, "sync")
    assert done.code == 0
    said = "warning: the label 'production' of demo is at v2, as origin has it; you had moved it to v3\n"
    assert (done.out, done.err) == ("", said)
    assert clones.labels(clones.bob) == {"production": "v2"}


def test_a_label_that_one_moved_or_deleted_is_shared(clones: Clones) -> None:
    for text in ("One.", "Two."):
        clones.edit(clones.ann, text)
    clones.at(clones.ann, "label", "demo@v1", "production")
    clones.at(clones.ann, "sync")
    clones.at(clones.bob, "sync")
    clones.at(clones.bob, "label", "demo@v2", "production")
    clones.at(clones.bob, "sync")
    clones.at(clones.ann, "sync")
    assert clones.labels(clones.ann) == {"production": "v2"}
    clones.at(clones.ann, "label", "demo", "production", "-d")
    clones.at(clones.ann, "sync")
    clones.at(clones.bob, "sync")
    assert clones.labels(clones.bob) == {}


def test_sync_as_json(clones: Clones) -> None:
    clones.edit(clones.ann, "Of Ann.")
    found = clones.at(clones.ann, "sync", "--json").json
    assert (found["remote"], found["pushed"], found["fetched"]) == ("origin", {"demo": 1}, {})
    clones.edit(clones.bob, "Of Bob.")
    found = clones.at(clones.bob, "sync", "--json").json
    assert found["renumbered"] == [{"chain": "demo", "before": 1, "now": 2}]
    assert (found["pushed"], found["fetched"], found["labels_kept"]) == ({"demo": 1}, {"demo": 1}, [])


def test_a_path_may_stand_for_a_remote(clones: Clones, tmp_path: Path) -> None:
    clones.edit(clones.ann, "Of Ann.")
    other = tmp_path / "other.git"
    git(tmp_path, "init", "--quiet", "--bare", str(other))
    before = git(clones.ann.root, "remote", "--verbose")
    for path in (str(other), "../other.git"):
        done = clones.at(clones.ann, "sync", path)
        assert done.code == 0, done
    assert done.err == "up to date with ../other.git\n"
    assert "refs/promptchain/chains/demo" in git(other, "for-each-ref")
    assert git(clones.ann.root, "remote", "--verbose") == before
    assert "refs/promptchain/" not in git(clones.remote, "for-each-ref")


def test_without_a_repository_a_path_is_shared_with_too(empty: Workspace, tmp_path: Path) -> None:
    empty.chain()
    empty.invoke("commit", "demo")
    done = empty.invoke("sync")
    assert (done.code, done.out) == (2, "")
    assert "this repository has no remote" in done.err
    git(tmp_path, "init", "--quiet", "--bare", "other.git")
    assert empty.invoke("sync", str(tmp_path / "other.git")).out == "demo: 1 version pushed\n"


def test_which_remote(clones: Clones) -> None:
    root = clones.ann.root
    clones.edit(clones.ann, "Of Ann.")
    git(root, "remote", "add", "another", str(clones.remote))
    assert clones.at(clones.ann, "sync", "--json").json["remote"] == "origin"
    git(root, "remote", "rename", "origin", "upstream")
    done = clones.at(clones.ann, "sync")
    assert (done.code, done.out) == (2, "")
    assert "which remote?" in done.err
    assert "another, upstream" in done.err
    assert clones.at(clones.ann, "sync", "upstream").code == 0
    git(root, "remote", "remove", "another")
    assert clones.at(clones.ann, "sync", "--json").json["remote"] == "upstream"
    git(root, "remote", "remove", "upstream")
    done = clones.at(clones.ann, "sync")
    assert (done.code, done.out) == (2, "")
    assert "this repository has no remote" in done.err
    assert "git remote add origin URL" in done.err


@pytest.mark.parametrize("remote", ["nowhere", "../nowhere.git", "--upload-pack=touch owned", "ext::touch owned", ""])
def test_a_remote_that_is_not_there(clones: Clones, remote: str) -> None:
    clones.edit(clones.ann, "Of Ann.")
    words = ["sync", "--", remote] if remote.startswith("-") else ["sync", remote]
    done = clones.at(clones.ann, *words)
    assert (done.code, done.out) in ((1, ""), (2, "")), done
    assert "error: " in done.err
    assert "remotes: origin" in done.err
    assert "Traceback" not in done.err
    assert not (clones.ann.root / "owned").exists()
    assert clones.at(clones.ann, "sync").code == 0


def test_a_password_in_an_address_is_not_printed(clones: Clones) -> None:
    done = clones.at(clones.ann, "sync", "https://ann:hunter22x@127.0.0.1:1/team.git")
    assert done.code == 1
    assert "hunter22x" not in done.err + done.out


def test_what_a_report_names_cannot_command_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    from promptchain.cli.sync import _print
    from promptchain.store.sync import LabelKept, Report

    _print(Report("https://ann:hunter22x@host/x\x1b[2J", labels_kept=[LabelKept("demo", "\x1b[2J", 1, 0)]))
    shown = capsys.readouterr()
    assert "\x1b" not in shown.out + shown.err
    assert "hunter22x" not in shown.err
    assert "you had moved it away" in shown.err


def test_sync_of_nothing(clones: Clones) -> None:
    done = clones.at(clones.ann, "sync")
    assert (done.code, done.out, done.err) == (0, "", "up to date with origin\n")

"""Projects beside each other, stores that went before, and what comes from elsewhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from promptchain.errors import PromptChainError
from promptchain.location import StorePlace, store_place, store_settings
from promptchain.snapshots import restore
from promptchain.store.snapshot import Snapshot
from tests.cli.git_kit import git, make_repo, replace
from tests.cli.run_kit import run
from tests.workspace import Workspace


@pytest.fixture
def two(empty: Workspace, monkeypatch: pytest.MonkeyPatch) -> tuple[Workspace, Workspace]:
    """Two projects in one repository, each with a chain of the same name."""
    git(empty.root, "init", "-q")
    projects = Workspace(empty.root / "one"), Workspace(empty.root / "apps/the second")
    for project in projects:
        project.root.mkdir(parents=True)
        project.chain()
    monkeypatch.chdir(projects[0].root)
    return projects


def test_projects_of_one_repository_keep_to_themselves(
    two: tuple[Workspace, Workspace], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = two
    run(one, "hi")
    one.invoke("label", "demo@v1", "production")
    monkeypatch.chdir(other.root)
    assert "no versions yet" in other.invoke("log", "demo").err
    assert other.invoke("runs", "--json").json == []
    replace(other, "Classify", "Sort")
    run(other, "hi")
    assert [version["labels"] for version in other.invoke("log", "demo", "--json").json] == [[]]
    monkeypatch.chdir(one.root)
    [version] = one.invoke("log", "demo", "--json").json
    assert (version["version"], version["labels"]) == ("v1", ["production"])
    assert len(one.invoke("runs", "--json").json) == 1
    refs = git(one.root, "for-each-ref", "--format=%(refname)").split()
    assert [ref for ref in refs if ref.endswith("/demo")] == [
        "refs/promptchain/projects/apps+the=20second/chains/demo",
        "refs/promptchain/projects/one/chains/demo",
    ]


def test_where_a_store_is(empty: Workspace) -> None:
    root = empty.root.resolve()
    own = root / ".promptchain/store.git"
    assert store_place(root) == StorePlace(own, own / "promptchain")
    git(root, "init", "-q")
    assert store_place(root) == StorePlace(root / ".git", root / ".git/promptchain")
    sub = root / "a"
    sub.mkdir()
    assert store_place(sub) == StorePlace(root / ".git", root / ".git/promptchain/projects/a", "a")
    assert store_settings(sub).prefix == "refs/promptchain/projects/a"
    (sub / "promptchain.toml").write_text('ref_prefix = "refs/promptchain"\n')
    assert store_settings(sub).prefix == "refs/promptchain"  # shared, since the user says so


def test_what_was_kept_before_git_is_told_of_and_can_be_brought(demo: Workspace) -> None:
    run(demo, "hi")
    demo.invoke("label", "demo@v1", "production")
    make_repo(demo.root)
    assert "no versions yet" in demo.invoke("log", "demo").err
    told = demo.invoke("doctor").out
    assert "what was kept before there was a repository" in told
    [command] = [line for line in told.splitlines() if "chain sync" in line]
    done = demo.invoke(*command.partition("chain ")[2].partition(" brings")[0].split())
    assert done.code == 0, done
    [version] = demo.invoke("log", "demo", "--json").json
    assert version["labels"] == ["production"]
    assert len(demo.invoke("runs", "--json").json) == 1


def test_a_chain_that_only_the_store_has(demo: Workspace) -> None:
    run(demo, "hi")
    (demo.root / "chains/demo.yaml").unlink()
    done = demo.invoke("run", "demo", "hi")
    assert (done.code, "demo@latest" in done.err, "chain rollback demo latest" in done.err) == (2, True, True)
    assert demo.invoke("rollback", "demo", "latest").code == 0
    assert demo.invoke("run", "demo", "hi").code == 0


@pytest.mark.parametrize("content", ["0" * 40, "garbage", "f" * 40, ""])
def test_a_damaged_ref_is_not_taken_for_nothing(demo: Workspace, content: str) -> None:
    git(demo.root, "init", "-q")
    run(demo, "hi")
    (demo.root / ".git/refs/promptchain/chains/demo").write_text(content + "\n")
    done = demo.invoke("log", "demo")
    assert (done.code, "is damaged" in done.err) == (1, True), done
    done = demo.invoke("run", "demo", "hi")
    assert (done.code, "is damaged" in done.err) == (0, True), done  # the answer is not lost for it
    done = demo.invoke("doctor")
    assert (done.code, "is damaged" in done.out) == (1, True), done


@pytest.mark.parametrize(
    "name",
    [".git/config", ".envrc", "conftest.py", ".promptchain/store.git/config", "promptchain.toml", "Makefile",
     ".github/workflows/x.yml", "compose.yaml", "chains/x.py", "chains/.hidden/x.md"],
)  # fmt: skip
def test_a_version_from_elsewhere_writes_prompts_only(name: str, tmp_path: Path) -> None:
    snapshot = Snapshot("demo", "chains/demo.yaml", b"x", "0" * 64, {name: b"evil"})
    with pytest.raises(PromptChainError, match="it is not written"):
        restore(snapshot, tmp_path)
    assert not (tmp_path / name).exists()


def test_prompts_outside_of_chains_are_restored(tmp_path: Path) -> None:
    files = {"prompts/a.md": b"1", "b.txt": b"2", "chains/deep/c.j2": b"3", "chains/d.yaml": b"4"}
    restore(Snapshot("demo", "chains/demo.yaml", b"x", "0" * 64, files), tmp_path)
    assert {name: (tmp_path / name).read_bytes() for name in files} == files


@pytest.mark.parametrize(
    "odd",
    [{"totals": [1]}, {"steps": [1]}, {"inputs": [1]}, {"seconds": "x"}, {"started": 5}, {"chain": "x@{u}"},
     {"totals": {"prompt_tokens": "x"}}],
)  # fmt: skip
def test_a_record_of_another_shape_is_no_traceback(demo: Workspace, odd: dict[str, object]) -> None:
    record = run(demo, "hi")
    other = {**record, "id": "7" + "z" * 25, **odd}
    (demo.spool / f"{other['id']}.json").write_text(json.dumps(other))
    assert demo.invoke("runs").code == 0
    done = demo.invoke("runs", "show", "last")
    assert done.code == (0 if odd.keys() == {"chain"} else 1), done
    assert demo.invoke("runs", "show", "last", "--json").code == 0


def test_a_replay_of_itself_ends(demo: Workspace) -> None:
    record = run(demo, "hi")
    (demo.spool / f"{record['id']}.json").write_text(json.dumps({**record, "replay_of": record["id"]}))
    assert demo.invoke("replay", "last").code == 0


def test_a_replay_cites_the_version_that_ran(demo: Workspace) -> None:
    first = run(demo, "hi")
    replace(demo, "Classify: ", "Classify it: ")
    run(demo, "hi")
    demo.invoke("rollback", "demo", "v1")  # v3 has the same content as v1
    demo.invoke("replay", first["id"])
    versions = [row["version"] for row in demo.invoke("runs", "--json").json]
    assert versions == ["demo@v1", "demo@v2", "demo@v1"]
    assert [row["version"] for row in demo.invoke("runs", "--chain", "demo@v1", "--json").json] == ["demo@v1"] * 2
    assert demo.invoke("runs", "--chain", "demo@v3", "--json").json == []


def test_what_somebody_named_does_not_command_the_terminal(demo: Workspace) -> None:
    done = demo.invoke("run", "\x1b]0;pwn\x07demo", "hi")
    assert (done.code, "\x1b" in done.err) == (2, False)

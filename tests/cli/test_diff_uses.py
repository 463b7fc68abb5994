"""Code and passages that changed between versions: in the log, in `chain diff`, after a rollback."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.kinds_kit import shop
from tests.workspace import Workspace


@pytest.fixture
def edited(empty: Workspace) -> Workspace:
    """The chain `shop` with a version, whose passages and code were edited since; all of that is v2."""
    assert shop(empty).invoke("commit", "shop").out == "shop@v1\n"
    code = empty.root / "shop.py"
    code.write_text(code.read_text().replace("12.5", "13.5"))
    (empty.root / "chains/docs/cards.md").write_text("# Losing a card\n\nCall us.\n")
    empty.write("chains/docs/more.md", "# Fees\n\nThere are none.\n")
    assert empty.invoke("commit", "shop").out == "shop@v2\n"
    return empty


def test_a_log_says_what_made_a_version_whose_prompts_are_the_same(edited: Workspace) -> None:
    newest, first = edited.invoke("log", "shop", "--json").json
    assert first["changes"] == "first version"
    assert newest["changes"] == "code shop.py; passages of 2 files"


def test_a_diff_names_the_files(edited: Workspace) -> None:
    for words in (("shop@v1",), ("shop@v1", "v2")):
        done = edited.invoke("diff", *words, "--exit-code")
        assert done.code == 1, done
        _, _, _, *lines = done.out.splitlines()
        assert lines == ["~ code shop.py", "~ passages chains/docs/cards.md", "+ passages chains/docs/more.md"]
    assert edited.invoke("diff", "shop@v1", "--json").json["files"][2] == {
        "kind": "added", "what": "passages", "file": "chains/docs/more.md",
    }  # fmt: skip
    assert edited.invoke("diff", "shop", "--exit-code").code == 0
    (edited.root / "chains/docs/more.md").unlink()
    assert edited.invoke("diff", "shop").out.splitlines()[-1] == "- passages chains/docs/more.md"
    assert edited.invoke("diff", "shop", "--step", "word", "--exit-code").code == 0


def test_many_files_are_counted(edited: Workspace) -> None:
    for number in range(30):
        edited.write(f"chains/docs/n{number}.md", f"# {number}\n")
    lines = edited.invoke("diff", "shop").out.splitlines()
    assert (len(lines), lines[-1]) == (3 + 20 + 1, "… 10 files more: --json")
    assert len(edited.invoke("diff", "shop", "--json").json["files"]) == 30


def test_a_rollback_says_what_it_does_not_bring_back(edited: Workspace) -> None:
    done = edited.invoke("rollback", "shop", "v1")
    assert done.code == 0, done
    named = "shop.py, chains/docs/cards.md, chains/docs/more.md"
    assert f"not as that version had them, for it keeps no code and no passages: {named}\n" in done.err
    again = edited.invoke("rollback", "shop", "v1", "--json")
    assert [change["file"] for change in again.json["not_restored"]] == named.split(", ")
    assert "are as it has them" not in edited.invoke("rollback", "shop", "v1").err
    assert "warning" not in edited.invoke("rollback", "shop", "v2").err


def test_a_rollback_to_a_chain_whose_code_is_gone_is_done_all_the_same(edited: Workspace) -> None:
    Path(edited.root / "shop.py").unlink()
    done = edited.invoke("rollback", "shop", "v1")
    assert (done.code, done.out) == (0, "shop@v3\n")

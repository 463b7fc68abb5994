"""`chain commit`, `chain log` and `chain label`."""

from __future__ import annotations

import os
import pty
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from promptchain.history import History
from promptchain.records import StepVariant, new_run_id
from tests import lock_kit as kit
from tests.cli import compile_kit
from tests.cli.git_kit import git, own_state, replace
from tests.cli.version_kit import intent
from tests.workspace import CHAIN, Workspace

EVIL = "\x1b]0;owned\x07\x1b[31mred\r\x9b2J"


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
    assert process.wait(timeout=300) == 0
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


def evaluated(workspace: Workspace, ref: str, value: float = 0.72, model: str = "local/smollm2", **more: Any) -> None:
    """Keep an evaluation of a version of `demo`."""
    score = {"value": value, "low": value - 0.07, "high": min(1.0, value + 0.06), "n": 168}
    data = {"models": {"intent": model, "draft": model}, "score": score, "examples": [["e1", 1.0, None, {}]], **more}
    with History.find(workspace.root) as history:
        history.evaluations.write("demo", history.at("demo", ref).content, new_run_id(), data)


def scores(workspace: Workspace, *words: str) -> list[str]:
    """The column behind the messages, by line, without the ids of the evaluations."""
    shown = ["\t".join(line.split("\t")[5:]) for line in workspace.invoke("log", *words).out.splitlines()]
    return [re.sub(r", 01[0-9a-z]{10}(?=;|$)", "", column) for column in shown]


def test_log_shows_the_newest_score_on_each_model(three: Workspace) -> None:
    before = three.invoke("log", "demo").out.splitlines()
    evaluated(three, "v1", 0.5)
    evaluated(three, "v3", 0.1)
    evaluated(three, "v3", 0.999, "ollama/qwen3")
    evaluated(three, "v3")
    both = {"intent": "local/smollm2", "draft": "ollama/qwen3"}
    evaluated(three, "v3", 1.0, models=both)
    after = three.invoke("log", "demo").out.splitlines()
    assert scores(three, "demo") == [
        "100 % [93–100] local/smollm2 + ollama/qwen3, 168 examples; "
        "72 % [65–78] local/smollm2, 168 examples; 99 % [93–100] ollama/qwen3, 168 examples",
        "",
        "50 % [43–56] local/smollm2, 168 examples",
    ]
    assert after[1] == before[1]
    assert scores(three, "-n", "1")[0].startswith("100 % [93–100] local")
    newest = re.sub(r"\x1b\[[0-9;]*m", "", on_terminal(three, 200, "log", "demo")).splitlines()
    assert newest[0].endswith("score") or "score" in newest[0]
    assert "72 % [65–78] local/smollm2, 168 examples" in newest[2]


def test_log_names_the_evaluations_as_a_report_takes_them(empty: Workspace) -> None:
    compile_kit.project(empty)
    assert empty.invoke("test", "demo").code == 100
    [told] = re.findall(r", 52 examples, (\w{12})$", empty.invoke("log", "demo").out.strip())
    [section] = empty.invoke("report", told, "--json").json["sections"]
    assert (section["kind"], section["id"][:12]) == ("evaluation", told)
    compile_kit.compiled(empty)
    newest = empty.invoke("log", "demo").out.splitlines()[0].split("\t")
    told = newest[4].rpartition(", ")[2]
    [section] = empty.invoke("report", told, "--json").json["sections"]
    assert (section["kind"], section["course"]["id"][:12]) == ("compile", told)
    found = empty.invoke("log", "demo", "--json").json
    assert [version["compiles"] for version in found] == [[section["course"]["id"]], []]


def test_log_takes_a_score_of_all_examples_before_one_of_some(three: Workspace) -> None:
    evaluated(three, "v1", 0.2, words=["e*"])
    evaluated(three, "v2", 0.5)
    evaluated(three, "v2", 0.6)
    evaluated(three, "v2", 0.2, words=["e*"])
    evaluated(three, "v2", 0.3, stopped="at a ceiling")
    assert scores(three, "demo") == [
        "",
        "60 % [53–66] local/smollm2, 168 examples",
        "20 % [13–26] local/smollm2, 168 examples (a part)",
    ]


def test_a_version_that_came_back_has_its_scores(three: Workspace) -> None:
    evaluated(three, "v1")
    three.invoke("rollback", "demo", "v1")
    assert [bool(score) for score in scores(three, "demo")] == [True, False, False, True]


def test_log_as_json_has_the_evaluations(three: Workspace) -> None:
    assert [version["evaluations"] for version in three.invoke("log", "demo", "--json").json] == [[], [], []]
    for _ in range(25):
        evaluated(three, "v2")
    found = three.invoke("log", "demo", "--json").json
    assert [len(version["evaluations"]) for version in found] == [0, 25, 0]
    newest, *_, oldest = found[1]["evaluations"]
    assert newest["id"] > oldest["id"]
    assert (newest["content"], newest["score"]["n"]) == (found[1]["content"], 168)
    assert "examples" not in newest


@pytest.mark.parametrize(
    "more",
    [
        {"models": ["m"]},
        {"models": None},
        {"score": None},
        {"score": [1, 2]},
        {"score": {"value": "1", "low": 0, "high": 1, "n": 2}},
        {"score": {"value": 1, "low": 0, "high": 10**400, "n": 2}},
        {"score": {"value": -1, "low": 0, "high": 1, "n": 2}},
        {"score": {"value": 0.5, "low": 0, "high": 1, "n": "many"}},
        {"score": {"value": 0.5, "low": 0, "high": 1}},
    ],
)
def test_an_evaluation_of_another_shape_is_not_shown(three: Workspace, more: dict[str, Any]) -> None:
    before = three.invoke("log", "demo").out
    evaluated(three, "v2", **more)
    assert three.invoke("log", "demo").out == before
    assert len(three.invoke("log", "demo", "--json").json[1]["evaluations"]) == 1


def test_what_an_evaluation_names_does_not_reach_the_terminal(three: Workspace) -> None:
    evaluated(three, "v3", model=f"evil{EVIL}\n\ud800")
    for shown in (three.invoke("log", "demo").out, on_terminal(three, 150, "log", "demo")):
        assert "\x1b]0" not in shown
        assert "\x07" not in shown
        assert "evil" in shown


def test_versions_are_listed_though_the_evaluations_are_damaged(three: Workspace) -> None:
    evaluated(three, "v3")
    (three.root / ".git/refs/promptchain/evaluations/demo").write_text("0" * 39 + "1\n")
    done = three.invoke("log", "demo")
    assert (done.code, len(done.out.splitlines())) == (0, 3)
    assert "warning: " in done.err
    assert "evaluations/demo is damaged" in done.err


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


# -- compiled versions -------------------------------------------------------------------------------------------------


def test_a_log_tells_what_compiling_brought(repo: Workspace) -> None:
    repo.invoke("commit", "demo")
    kit.adopt(repo, words=("x/a",), parent="0123456789abcdef")
    repo.invoke("commit", "demo")
    kit.adopt(repo, words=("x/b",), kept="no headroom", steps={})
    replace(repo, '"Classify: ', '"Sort: ')
    repo.invoke("commit", "demo")
    (repo.root / "chains/demo.lock.yaml").unlink()
    repo.invoke("commit", "demo")
    found = [version["changes"] for version in repo.invoke("log", "demo", "--json").json]
    assert found == [
        "no longer compiled for x/a; no longer compiled for x/b",
        "intent: prompt; kept the seed prompts for x/b",
        "compiled for x/a: intent 34 % → 86 %",
        "first version",
    ]
    facts = [version["compiled"] for version in repo.invoke("log", "demo", "--json").json]
    assert [sorted(models) for models in facts] == [[], ["x/a", "x/b"], ["x/a"], []]
    assert {**facts[2]["x/a"], "fingerprint": ""} == {
        "steps": ["intent"], "before": 0.34, "after": 0.86, "examples": 50, "p": 1e-7, "calls": 588, "cost": 0.25,
        "kept": None, "parent": "0123456789abcdef", "fingerprint": "",
    }  # fmt: skip
    assert "compiled for x/a: intent 34 % → 86 %" in repo.invoke("log", "demo").out


def test_a_version_is_another_when_its_prompts_are(repo: Workspace) -> None:
    kit.adopt(repo)
    first = repo.invoke("commit", "demo", "--json").json
    kit.adopt(repo, spent=kit.Spent(calls=1))
    second = repo.invoke("commit", "demo", "--json").json
    kit.adopt(repo, steps={"intent": StepVariant(instructions="Else.")})
    third = repo.invoke("commit", "demo", "--json").json
    assert [version["version"] for version in (first, second, third)] == ["v1", "v2", "v3"]
    path = repo.root / "chains/demo.lock.yaml"
    path.write_text("# a comment\n" + path.read_text())
    assert repo.invoke("commit", "demo", "--json").json["new"] is False


def test_a_clone_learns_what_was_compiled(repo: Workspace, tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet", "--bare", "hub.git")
    kit.adopt(repo)
    repo.invoke("commit", "demo")
    git(repo.root, "remote", "add", "origin", str(tmp_path / "hub.git"))
    git(repo.root, "push", "--quiet", "origin", "main")
    assert repo.invoke("sync").code == 0
    git(tmp_path, "clone", "--quiet", "--branch", "main", "hub.git", "clone")
    other = Workspace(tmp_path / "clone")
    assert other.run("sync").code == 0
    assert other.run("log", "demo", "--json").json == repo.invoke("log", "demo", "--json").json
    assert other.run("rollback", "demo", "v1").code == 0
    names = (repo.root, other.root)
    assert len({(root / "chains/demo.lock.yaml").read_text() for root in names}) == 1

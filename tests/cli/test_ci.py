"""`chain ci`: what goes wrong around a pull request, each with its exit code and a report that says it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ci_kit import SEED, WORST, Pull
from tests.cli import compile_kit
from tests.cli.git_kit import git, make_repo
from tests.fake_github import GitHub, Refusal
from tests.workspace import Workspace

OTHER = """
model: MODEL
inputs: {message: string}
steps:
  reply: {prompt: "Answer: {{ message }}"}
"""


@pytest.fixture
def pull(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pull:
    monkeypatch.setenv("PROMPTCHAIN_CACHE_DIR", str(tmp_path / "cache"))
    return Pull(tmp_path)


@pytest.fixture
def github() -> Iterator[GitHub]:
    with GitHub() as server:
        yield server


def worse(pull: Pull) -> None:
    pull.replace(SEED, WORST)
    pull.commit()
    pull.checkout()


# --- what it is compared with -----------------------------------------------------------------------------------------


def test_a_change_of_something_else_gets_no_comment(pull: Pull, github: GitHub) -> None:
    pull.author.write("notes.md", "Hello\n")
    pull.commit()
    pull.checkout()
    done = pull.run(github=github)
    assert done.code == 0, done
    assert not github.comments
    assert pull.summary.read_text().startswith("## ✅ 1 chain: no chain got worse")
    assert pull.outputs["new-calls"] == "52"  # the same on both sides


def test_what_main_did_meanwhile_is_not_this_change(pull: Pull, github: GitHub) -> None:
    pull.author.write("notes.md", "Hello\n")
    pull.commit()
    event = pull.event
    git(pull.author.root, "checkout", "--quiet", "main")
    pull.replace(SEED, WORST)
    git(pull.author.root, "commit", "--quiet", "--all", "--message", "Worse already")
    git(pull.author.root, "push", "--quiet", "origin", "main")
    git(pull.author.root, "checkout", "--quiet", pull.branch)
    pull.checkout()
    (pull.folder / "old.json").write_text(json.dumps(event))  # the event knows main as it was
    done = pull.run(github=github, env={"GITHUB_EVENT_PATH": str(pull.folder / "old.json")})
    assert (done.code, github.comments) == (0, []), done
    pull.checkout(merge=False)
    done = pull.run(github=github)
    assert (done.code, github.comments) == (0, []), done


@pytest.mark.parametrize("merge", [True, False])
def test_a_shallow_clone_fetches_the_base(pull: Pull, github: GitHub, merge: bool) -> None:
    pull.replace(SEED, WORST)
    pull.commit()
    pull.checkout("--depth=1", merge=merge)
    done = pull.run(github=github)
    assert done.code == 100, done
    assert github.bodies()[0].splitlines()[1] == "## ❌ `demo` got worse: 50 % → 31 %"
    assert ("fetch-depth: 0" in github.bodies()[0]) is not merge


def test_a_base_that_cannot_be_fetched_fails_and_the_rest_is_checked(pull: Pull, github: GitHub) -> None:
    pull.replace("output: [card, refund]", "output: [card, refund")
    pull.commit()
    pull.checkout("--depth=1")
    git(pull.runner.root, "remote", "remove", "origin")
    done = pull.run(github=github)
    assert done.code == 1
    (comment,) = github.bodies()
    assert comment.splitlines()[1] == "## ❌ `demo` has 1 problem", comment
    assert "is not in this clone: this repository has no remote" in comment
    assert "`fetch-depth: 0`".replace("`", "&#96;") in comment


@pytest.mark.parametrize("part", [1, 2])
def test_rows_that_no_longer_say_what_is_expected_hide_nothing(pull: Pull, github: GitHub, part: int) -> None:
    [rows] = pull.author.root.glob("chains/*.jsonl")
    lines = rows.read_text().splitlines(keepends=True)
    spoilt = [
        line.replace('"expected"', '"expcted"') if index % part == part - 1 else line
        for index, line in enumerate(lines)
    ]
    rows.write_text("".join(spoilt))
    pull.replace(SEED, WORST)
    pull.commit()
    pull.checkout()
    done = pull.run(github=github)
    assert done.code == 100, done
    (comment,) = github.bodies()
    assert comment.splitlines()[1].startswith("## ❌ `demo`")
    gone = len(lines[part - 1 :: part])
    assert f"**{gone} of {len(lines)} examples are not checked**: no assertion applies." in comment


def test_a_clone_that_has_files_only_once_they_are_asked_for(pull: Pull, github: GitHub) -> None:
    git(pull.remote, "config", "uploadpack.allowFilter", "true")
    pull.replace(SEED, WORST)
    pull.commit()
    pull.checkout("--filter=blob:none")
    done = pull.run(github=github)
    assert done.code == 100, done
    assert github.bodies()[0].splitlines()[1] == "## ❌ `demo` got worse: 50 % → 31 %"


def test_a_repository_that_git_will_not_work_in_is_no_reason_to_pass(pull: Pull, github: GitHub) -> None:
    pull.commit()
    pull.checkout()
    (pull.runner.root / ".git/HEAD").write_text("nonsense\n")
    done = pull.run(github=github)
    assert done.code != 0, done
    pull.checkout()
    (pull.runner.root / ".git").rename(pull.folder / "away")
    done = pull.run(github=github)
    assert (done.code, "no work tree of git, so nothing can be compared" in done.out) == (1, True)


def test_several_models_are_for_chain_test(pull: Pull) -> None:
    pull.commit()
    pull.checkout()
    done = pull.run("pull-request", "--model", "a/b", "--model", "a/c")
    assert (done.code, "a pull request is judged on one model" in done.err) == (2, True)


def test_a_new_chain_and_a_renamed_one(pull: Pull, github: GitHub) -> None:
    git(pull.author.root, "mv", "chains/demo.yaml", "chains/sort.yaml")
    pull.replace(SEED, WORST, "chains/sort.yaml")
    pull.author.chain(OTHER.replace("MODEL", "scripted/other.script.yaml"), name="other", replies=["Hi"])
    pull.commit()
    pull.checkout()
    done = pull.run(github=github)
    assert done.code == 100, done
    (comment,) = github.bodies()
    assert "## ❌ `sort` got worse: 50 % → 31 %" in comment
    assert "It was called demo." in comment
    assert "✅ `other` is new, and has no test" in comment


@pytest.mark.parametrize("left", [True, False])
def test_a_chain_that_is_removed_is_told(pull: Pull, github: GitHub, left: bool) -> None:
    git(pull.author.root, "rm", "--quiet", "chains/demo.yaml")
    if left:
        pull.author.chain(OTHER.replace("MODEL", "scripted/other.script.yaml"), name="other", replies=["Hi"])
    pull.commit()
    pull.checkout()
    done = pull.run(github=github)
    assert done.code == 0, done
    (comment,) = github.bodies()
    assert "the chain 'demo' is removed" in comment
    assert comment.splitlines()[1] == ("## ✅ `other` is new, and has no test" if left else "## ✅ no chain is left")
    assert "::warning title=chain ci::the chain 'demo' is removed" in done.out


GATED = f"{compile_kit.CHAIN}  gate: {{min: {{chain: 0.4}}}}\n"


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("min: {chain: 0.4}", "min: {chain: 0.1}", "**Its test changed**: test.gate."),
        ('value: "{{ expected.intent }}"', "value: card", "**Its test changed**: test.assert."),
        (
            "output: [",
            "assert: [{type: not-contains, value: x}]\n    output: [",
            "**Its test changed**: intent.assert.",
        ),
    ],
)
def test_where_the_ruler_is_another_one_that_is_told(
    tmp_path: Path, github: GitHub, monkeypatch: pytest.MonkeyPatch, old: str, new: str, told: str
) -> None:
    monkeypatch.setenv("PROMPTCHAIN_CACHE_DIR", str(tmp_path / "cache"))
    pull = Pull(tmp_path, text=GATED)
    pull.replace(old, new)
    pull.commit()
    pull.checkout()
    assert pull.run(github=github).code == 0
    assert told in github.bodies()[0]


def test_rows_that_went_are_told_and_so_is_a_test_that_did(pull: Pull, github: GitHub) -> None:
    rows = pull.author.root / "chains/rows.jsonl"
    rows.write_text("".join(line for line in rows.read_text().splitlines(True) if "odd" not in line))
    pull.commit()
    pull.checkout()
    assert pull.run(github=github).code == 0
    assert "**Its test changed**: chains/rows.jsonl (+0 −18 lines)." in github.bodies()[0]
    chain = pull.author.root / "chains/demo.yaml"
    chain.write_text(chain.read_text().partition("test:")[0])
    pull.commit()
    pull.checkout()
    assert pull.run(github=github).code == 0
    assert github.bodies()[0].splitlines()[1] == "## ✅ `demo` has no test any more"


def test_a_push_is_compared_with_what_was_there_before_it(pull: Pull, github: GitHub) -> None:
    before = git(pull.remote, "rev-parse", "main")
    worse(pull)
    event = pull.folder / "push.json"
    event.write_text(json.dumps({"before": before, "ref": "refs/heads/main"}))
    push = {"GITHUB_EVENT_NAME": "push", "GITHUB_EVENT_PATH": str(event), "GITHUB_REF": "refs/heads/main"}
    done = pull.run(github=github, env={**push, "GITHUB_BASE_REF": "", "GITHUB_HEAD_REF": ""})
    assert done.code == 100, done
    assert "got worse: 50 % → 31 %" in pull.summary.read_text()
    assert not github.requests


def test_without_a_chain_before_there_is_nothing_to_compare(pull: Pull, github: GitHub) -> None:
    text = (pull.author.root / "chains/demo.yaml").read_text()
    pull.author.write("chains/second.yaml", text + "  gate: {min: {chain: 0.9}}\n")
    pull.commit()
    pull.checkout()
    done = pull.run(github=github)
    assert done.code == 100
    assert "## ❌ `second` misses its gate: 50 %" in github.bodies()[0], github.bodies()[0]


def test_a_base_that_takes_other_inputs_is_told_and_not_compared(pull: Pull, github: GitHub) -> None:
    chain = pull.author.root / "chains/demo.yaml"
    chain.write_text(chain.read_text().replace("message", "text"))
    rows = pull.author.root / "chains/rows.jsonl"
    rows.write_text(rows.read_text().replace('"message"', '"text"'))
    chain.write_text(chain.read_text() + "  gate: {min: {chain: 0.4}}\n")
    pull.commit()
    pull.checkout()
    done = pull.run(github=github)
    assert done.code == 0, done
    assert "Not compared: main " in github.bodies()[0]
    assert "::warning " in done.out


def test_a_repository_without_commits_and_a_folder_without_git(empty: Workspace) -> None:
    compile_kit.project(empty, text=compile_kit.CHAIN + "  gate: {min: {chain: 0.4}}\n")
    done = empty.run("ci", "pull-request")
    assert done.code == 0, done
    assert "no work tree of git, so there is nothing to compare with" in done.err
    git(empty.root, "init", "--quiet")
    done = empty.run("ci", "pull-request", "--base", "main")
    assert done.code == 0, done
    assert "the repository has no commits yet" in done.err
    done = empty.run("ci", "compile", "demo")
    assert done.code == 2
    assert "there is no commit here to put a lock on" in done.err


def test_a_base_that_is_named_and_is_not_there_is_told_before_anything_is_spent(pull: Pull, github: GitHub) -> None:
    worse(pull)
    for word in ("nope", "0" * 40):
        done = pull.run("pull-request", "--base", word, "--output", "reports", github=github)
        assert done.code != 0, done
        assert f"the commit to compare with, {word}, is not in this clone" in done.err
        assert "::error title=chain ci::the commit to compare with" in done.out
        assert not (pull.folder / "cache/responses.db").exists()
    assert not github.requests


def test_a_report_that_cannot_be_written_is_told_before_anything_is_spent(pull: Pull, github: GitHub) -> None:
    worse(pull)
    reports = pull.runner.root / "reports"
    pull.runner.write("reports/report.html", "<p>mine</p>")
    (reports / "junit.xml").mkdir()
    for folder, said in (("reports", "junit.xml: this is a folder"), ("chains/demo.yaml/x", "demo.yaml is no folder")):
        done = pull.run("pull-request", "--output", folder, github=github)
        assert (done.code, said in done.err) == (2, True), done
    (reports / "junit.xml").rmdir()
    done = pull.run("pull-request", "--output", "reports", github=github)
    assert (done.code, "a file that is no report" in done.err) == (2, True), done
    assert not (pull.folder / "cache/responses.db").exists()
    assert not github.requests


def test_outside_of_github_a_base_has_to_be_named(empty: Workspace) -> None:
    compile_kit.project(empty)
    make_repo(empty.root)
    done = empty.run("ci", "pull-request")
    assert (done.code, "nothing says what to compare with" in done.err) == (2, True)
    done = empty.run("ci", "pull-request", "--base", "nowhere")
    assert (done.code, "git knows no revision 'nowhere'" in done.err) == (2, True)
    empty.write("chains/demo.yaml", (empty.root / "chains/demo.yaml").read_text().replace(SEED, "Guess."))
    git(empty.root, "commit", "--quiet", "--all", "--message", "Guess")
    done = empty.run("ci", "pull-request", "--base", "HEAD~1")
    assert (done.code, done.out.splitlines()[0]) == (0, "✅ demo got better: 50 % → 65 %")
    assert "    -   instructions: Decide what the customer wants." in done.out
    assert "::" not in done.out + done.err


# --- GitHub ----------------------------------------------------------------------------------------------------------


def test_a_fork_gets_a_summary_and_no_comment(pull: Pull, github: GitHub) -> None:
    worse(pull)
    pull.fork = "stranger/bank"
    done = pull.run(github=github)
    assert done.code == 100
    assert not github.requests
    assert "This comes from a fork" in pull.summary.read_text()
    done = pull.run("compile", "demo", github=github)
    assert (done.code, "the branch of a fork is not ours to push to" in done.err) == (2, True)


@pytest.mark.parametrize(
    ("refusal", "said"),
    [
        (Refusal(403, message="Resource not accessible by integration"), "`permissions: {pull-requests: write}`"),
        (Refusal(403, {"Retry-After": "3600"}), "limits requests (403"),
        (Refusal(422, message="body is too long"), "refused (422: body is too long)"),
    ],
)
def test_a_server_that_refuses_changes_nothing_about_the_gate(
    pull: Pull, github: GitHub, refusal: Refusal, said: str
) -> None:
    worse(pull)
    github.always = refusal
    done = pull.run(github=github)
    assert done.code == 100
    assert (
        f"warning: the comment could not be written: GitHub's API {'limits' if 'limits' in said else 'refused'}"
        in done.err
    )
    assert said in done.err
    assert "No comment: the comment could not be written" in pull.summary.read_text()
    assert pull.outputs["comment"] == ""


def test_no_token_and_no_server(pull: Pull) -> None:
    worse(pull)
    done = pull.run(env={"GITHUB_TOKEN": ""})
    assert (done.code, "warning: there is no GITHUB_TOKEN to comment with" in done.err) == (100, True)


@pytest.mark.parametrize("text", ["{", None])
def test_an_event_that_cannot_be_read(pull: Pull, github: GitHub, text: str | None) -> None:
    worse(pull)
    event = pull.folder / "broken.json"
    if text is not None:
        event.write_text(text)
    done = pull.run(github=github, env={"GITHUB_EVENT_PATH": str(event)})
    assert done.code == 100, done
    (comment,) = github.bodies()
    assert "got worse: 50 % → 31 %" in comment
    assert "the event in GITHUB&#95;EVENT&#95;PATH" in comment.replace("\\_", "&#95;")


def test_files_of_github_that_cannot_be_written(pull: Pull, github: GitHub) -> None:
    worse(pull)
    away = str(pull.folder / "away/summary.md")
    done = pull.run(github=github, env={"GITHUB_STEP_SUMMARY": away, "GITHUB_OUTPUT": away})
    assert done.code == 100
    assert done.err.count("summary.md cannot be written") == 2


def test_what_a_model_says_is_no_command(pull: Pull, github: GitHub) -> None:
    """GitHub's runner may read all of stderr before any of stdout."""
    loud = "import os\n\ndef loud(reply):\n    os.write(1, b'::error::mine\\n')\n    return reply\n"
    pull.author.write("loud.py", loud)
    pull.replace("steps:\n", "steps:\n  said: {python: loud:loud, inputs: {reply: '{{ intent }}'}}\n")
    worse(pull)
    done = pull.start(github=github)
    assert done.code == 100, done
    [begins] = [line for line in done.err.splitlines() if line.startswith("::")]
    lines = done.out.splitlines()
    at = lines.index(f"::{begins.removeprefix('::stop-commands::')}::")
    assert set(lines[:at]) == {"::error::mine"}
    assert lines[at + 1 :]
    assert all(line.startswith("::error ") for line in lines[at + 1 :])
    done = pull.start("pull-request", "--json", github=github)
    first, last = [line for line in done.err.splitlines() if line.startswith("::")]  # stdout is for data
    assert first.removeprefix("::stop-commands::") == last.strip(":")


# --- chains -----------------------------------------------------------------------------------------------------------


def test_all_checks_run_and_the_worst_decides(pull: Pull, github: GitHub) -> None:
    pull.author.chain(OTHER.replace("{{ message }}", "{{ mesage }}"), name="broken")
    worse(pull)
    done = pull.run(github=github)
    assert done.code == 1
    (comment,) = github.bodies()
    assert comment.splitlines()[1] == "## ❌ 2 of 2 chains do not pass"
    assert "- ❌ `broken` has 1 problem. chains/broken.yaml:5:31: " in comment, comment
    assert "- ❌ `demo` got worse: 50 % → 31 %. **10 examples" in comment
    assert "::error file=chains/broken.yaml,line=5,title=broken%3A not a chain that can run::" in done.out
    done = pull.run("pull-request", "demo", github=github)
    assert done.code == 100


def test_a_conflict_in_a_lock(pull: Pull, github: GitHub) -> None:
    pull.author.write("chains/demo.lock.yaml", "<<<<<<< ours\nformat: 1\n=======\nformat: 1\n>>>>>>> theirs\n")
    pull.commit()
    pull.checkout()
    done = pull.run(github=github)
    assert done.code == 1
    assert (
        "::error file=chains/demo.lock.yaml,line=1,title=demo%3A not a chain that can run::a merge has left" in done.out
    )
    assert "conflict markers" in github.bodies()[0]


def test_windows_line_endings(pull: Pull, github: GitHub) -> None:
    chain = pull.author.root / "chains/demo.yaml"
    chain.write_bytes(chain.read_bytes().replace(b"\n", b"\r\n"))
    pull.commit()
    pull.checkout()
    done = pull.run(github=github)
    assert (done.code, github.comments) == (0, []), done  # the same chain
    pull.replace(SEED, WORST)
    pull.commit()
    pull.checkout()
    done = pull.run(github=github)
    assert "::error file=chains/demo.yaml,line=6,title=demo got worse" in done.out, done
    assert "\r" not in github.bodies()[0]


def test_a_model_that_cannot_be_asked_is_no_bad_score(pull: Pull, github: GitHub) -> None:
    pull.replace("scripted/demo.script.yaml", "scripted/none.script.yaml")
    pull.commit()
    pull.checkout()
    done = pull.run(github=github)
    assert done.code in (1, 2), done
    assert "## ❌ `demo` could not be tested" in github.bodies()[0]


def test_no_test_checks_files_and_locks_only(pull: Pull) -> None:
    worse(pull)
    done = pull.run("pull-request", "--no-test", "--no-comment", "--json")
    assert done.code == 0
    assert [chain["evaluation"] for chain in done.json["chains"]] == [None]
    assert done.json["chains"][0]["changed"] == "intent: instructions"
    assert done.json["headline"] == "✅ `demo` is fine, and was not tested"


def test_json_has_all_of_it(pull: Pull, github: GitHub) -> None:
    worse(pull)
    done = pull.run("pull-request", "--json", github=github)
    assert done.json["headline"] == "❌ `demo` got worse: 50 % → 31 %"
    assert done.json["comment"] == github.comments[0]["html_url"]
    assert done.json["chains"][0]["evaluation"]["comparison"]["left_out"] == 0


def test_a_ceiling_that_is_reached(pull: Pull, github: GitHub) -> None:
    worse(pull)
    done = pull.run("pull-request", "--max-calls", "60", github=github)
    assert done.code == 1, done
    assert "## ❌ `demo`: the test ended early" in github.bodies()[0]
    done = pull.run("pull-request", "--no-cache", "--max-calls", "3", github=github)
    assert done.code == 1, done
    assert "It ended early: " in github.bodies()[0]
    assert "No example came out differently" not in github.bodies()[0]  # of none that was compared


@pytest.mark.parametrize("words", [("pull-request",), ("compile", "demo")])
def test_what_keeps_it_from_beginning_is_told_where_people_look(pull: Pull, words: tuple[str, ...]) -> None:
    pull.author.write("promptchain.toml", "modle = 1\n")
    pull.commit()
    pull.checkout()
    done = pull.run(*words)
    assert done.code == 1, done
    assert done.out.startswith("::error title=chain ci::promptchain.toml: unknown setting 'modle'")
    assert pull.summary.read_text().startswith("## ❌ promptchain.toml: unknown setting 'modle'")
    [told] = [line for line in done.out.splitlines() if line.startswith("::error title=chain ci")]
    assert told.count("did you mean") == 1
    assert pull.run(*words, "--json").out == ""


def test_a_chain_whose_model_has_no_price_keeps_no_other_from_being_tested(pull: Pull, github: GitHub) -> None:
    """A ceiling on cost cannot be held for it."""
    pull.author.write("chains/other.yaml", compile_kit.CHAIN.replace("MODEL", "openai/nobody-knows-it"))
    worse(pull)
    done = pull.run("pull-request", "--max-cost", "1", github=github, env={"OPENAI_API_KEY": "sk-0123456789abcdef"})
    assert done.code == 2, done
    (comment,) = github.bodies()
    assert comment.splitlines()[1] == "## ❌ 2 of 2 chains do not pass"
    assert "- ❌ `other` could not be tested. the price of" in comment
    assert "- ❌ `demo` got worse: 50 % → 31 %" in comment


def test_unknown_chains_and_filters_that_match_nothing(pull: Pull, github: GitHub) -> None:
    worse(pull)
    assert pull.run("pull-request", "dmo", github=github).code == 2
    done = pull.run("pull-request", "--filter", "nothing*", github=github)
    assert done.code == 2
    assert "could not be tested" in github.bodies()[0]


def test_a_prompt_in_a_file_is_where_the_change_is_shown(pull: Pull, github: GitHub) -> None:
    text = (pull.author.root / "chains/demo.yaml").read_text()
    filed = text.replace(f"instructions: {SEED}", "instructions: {file: intent.md}")
    pull.author.write("chains/intent.md", f"{SEED}\n")
    pull.author.write("chains/demo.yaml", filed)
    git(pull.author.root, "checkout", "--quiet", "-B", "main")
    git(pull.author.root, "add", "--all")
    git(pull.author.root, "commit", "--quiet", "--message", "File it")
    git(pull.author.root, "push", "--quiet", "origin", "main")
    git(pull.author.root, "checkout", "--quiet", "-B", pull.branch)
    pull.replace(SEED, WORST, "chains/intent.md")
    pull.commit()
    pull.checkout()
    done = pull.run(github=github)
    assert "::error file=chains/intent.md,line=1,title=demo got worse" in done.out, done


# --- compile ----------------------------------------------------------------------------------------------------------


def manual(pull: Pull, **more: str) -> dict[str, str]:
    """The variables of a workflow that somebody started on the branch."""
    event = pull.folder / "manual.json"
    event.write_text("{}")
    known = {"GITHUB_EVENT_NAME": "workflow_dispatch", "GITHUB_EVENT_PATH": str(event), "GITHUB_HEAD_REF": ""}
    return known | {"GITHUB_REF_NAME": pull.branch, **more}


def test_somebody_else_pushes_meanwhile(pull: Pull) -> None:
    pull.commit()
    pull.checkout(merge=False)
    pull.author.write("notes.md", "Hello\n")
    theirs = pull.commit()
    done = pull.run("compile", "demo", env=manual(pull))
    assert done.code == 0, done
    assert git(pull.remote, "rev-parse", f"{pull.branch}~1") == theirs
    assert git(pull.remote, "diff", "--name-only", theirs, pull.branch) == "chains/demo.lock.yaml"
    assert git(pull.runner.root, "status", "--porcelain", "--untracked-files=no") == ""


def test_what_it_is_made_from_has_changed_on_the_branch(pull: Pull) -> None:
    pull.commit()
    pull.checkout(merge=False)
    pull.replace(SEED, WORST)
    theirs = pull.commit()
    done = pull.run("compile", "demo", env=manual(pull))
    assert done.code == 1
    assert "what is checked out is not what better has now" in done.err
    assert git(pull.remote, "rev-parse", pull.branch) == theirs


def test_the_merge_that_github_makes_is_not_pushed(pull: Pull) -> None:
    pull.commit()
    git(pull.author.root, "checkout", "--quiet", "main")
    pull.replace(SEED, WORST)
    git(pull.author.root, "commit", "--quiet", "--all", "--message", "Else")
    git(pull.author.root, "push", "--quiet", "origin", "main")
    pull.checkout()
    done = pull.run("compile", "demo")
    assert done.code == 1
    assert "actions/checkout with `ref: better`" in done.err


def test_a_lock_that_is_as_it_was_is_not_committed(pull: Pull) -> None:
    before = pull.commit()
    pull.checkout(merge=False)
    done = pull.run("compile", env=manual(pull))
    assert (done.code, done.out.splitlines()[-1]) == (0, "nothing to commit: every lock is as it was")
    assert git(pull.remote, "rev-parse", pull.branch) == before
    assert "Nothing was stale" in pull.summary.read_text()


def test_what_was_compiled_is_committed_also_where_the_next_chain_is_not(pull: Pull) -> None:
    """Its calls are paid for."""
    text = compile_kit.CHAIN.replace("MODEL", "scripted/other.script.yaml")
    pull.author.chain(text, name="other", replies=[{"always": True, "error": "authentication"}])
    pull.commit()
    pull.checkout(merge=False)
    done = pull.run("compile", "demo", "other", env=manual(pull))
    assert done.code == 1, done
    assert "error: " in done.err
    commit = git(pull.remote, "rev-parse", pull.branch)
    assert f"committed chains/demo.lock.yaml: {commit[:12]}" in done.out
    assert git(pull.remote, "log", "-1", "--format=%s", pull.branch) == "Compile demo"
    assert done.out.splitlines()[-1].startswith("::error title=chain ci::")
    assert pull.outputs["commit"] == commit
    summary = pull.summary.read_text()
    assert summary.index("## ✅ Compiled") < summary.index("## ❌ ")
    done = pull.run("compile", "other", "--json", env=manual(pull))
    assert (done.code, done.out) == (1, "")


def test_a_ceiling_that_is_reached_at_the_second_chain(pull: Pull) -> None:
    text = compile_kit.CHAIN.replace("MODEL", "scripted/demo.script.yaml").replace("Classify", "Classify this")
    pull.author.write("chains/other.yaml", text)
    pull.commit()
    pull.checkout(merge=False)
    done = pull.run("compile", "demo", "other", "--max-tokens", "9000", "--json", env=manual(pull))
    assert done.code == 1, done
    assert "--max-tokens" in done.err
    assert done.json["files"] == ["chains/demo.lock.yaml"]
    assert [one["chain"] for one in done.json["compiled"]] == ["demo"]
    assert git(pull.remote, "rev-parse", pull.branch) == done.json["commit"]


def test_a_detached_head_needs_a_branch(pull: Pull, empty: Workspace) -> None:
    pull.commit()
    pull.checkout(merge=False)
    done = pull.runner.run("ci", "compile", "demo")
    assert (done.code, "HEAD is on no branch" in done.err) == (2, True)
    done = pull.runner.run("ci", "compile", "demo", "--no-push", "--json")
    assert done.code == 0
    assert done.json["files"] == ["chains/demo.lock.yaml"]
    assert git(pull.runner.root, "rev-parse", "HEAD") == done.json["commit"]


def test_a_branch_that_takes_no_push(pull: Pull) -> None:
    before = pull.commit()
    pull.checkout(merge=False)
    hook = pull.remote / "hooks/pre-receive"
    hook.write_text("#!/bin/sh\necho protected >&2\nexit 1\n")
    hook.chmod(0o755)
    done = pull.run("compile", "demo", env=manual(pull))
    assert done.code == 1
    assert "the lock could not be pushed to better" in done.err
    assert "`permissions: {contents: write}`" in done.err
    assert git(pull.remote, "rev-parse", pull.branch) == before


@pytest.mark.parametrize("name", ["--force", "a..b", "x y", "-"])
def test_a_branch_with_a_name_that_is_none(pull: Pull, name: str) -> None:
    pull.commit()
    pull.checkout(merge=False)
    done = pull.run("compile", "demo", f"--branch={name}", env=manual(pull))
    assert done.code != 0
    assert "Traceback" not in done.err

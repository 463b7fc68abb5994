"""`chain runs` and `chain runs show`; who records what, and what no record holds."""

from __future__ import annotations

import json
import subprocess
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

import promptchain
from promptchain.project import Project
from promptchain.records import Run, Status
from tests.cli.git_kit import git, replace
from tests.cli.run_kit import EACH, SECRET, listed, run
from tests.workspace import REPLIES, Workspace

# -- the list ----------------------------------------------------------------------------------------------------------


def test_no_runs(demo: Workspace) -> None:
    for words in (["runs"], ["runs", "-n", "3"]):
        done = demo.invoke(*words)
        assert (done.code, done.out, done.err) == (0, "", "no runs yet: chain run NAME\n")
    assert listed(demo) == []
    for words in (["runs", "show", "last"], ["replay", "last"]):
        done = demo.invoke(*words)
        assert (done.code, done.out) == (2, "")
        assert "there is no run 'last'" in done.err
        assert "there are none yet: chain run NAME" in done.err


def test_a_pipe_gets_a_line_with_tabs_for_each_run(demo: Workspace) -> None:
    first, second = run(demo), run(demo)
    lines = [line.split("\t") for line in demo.invoke("runs").out.splitlines()]
    assert [line[0] for line in lines] == [second["id"], first["id"]]
    assert lines[0][2:4] == ["demo@v1", "done"]
    assert (lines[0][5], lines[0][7]) == (
        str(sum(second["totals"][f"{kind}_tokens"] for kind in ("prompt", "completion"))),
        second["model"],
    )


def test_runs_as_json(demo: Workspace) -> None:
    record = run(demo)
    [found] = listed(demo)
    assert {name: found[name] for name in ("id", "chain", "source", "model", "started", "status")} == {
        name: record[name] for name in ("id", "chain", "source", "model", "started", "status")
    }
    assert (found["calls"], found["error"]) == (3, None)
    assert found["version"] in ("demo@v1", 1, "v1")


@pytest.fixture
def many(demo: Workspace) -> Workspace:
    """Runs: demo@v1 (labelled "production"), demo@v1 that failed, demo@v2 on another model, and other@v1."""
    run(demo)
    demo.chain(replies=REPLIES[:1])
    assert demo.invoke("run", "demo", "hi").code == 1
    demo.chain()
    demo.invoke("label", "demo@v1", "production")
    replace(demo, "Answer a customer.", "Answer a client.")
    replace(demo, '"Classify: ', '"Please classify: ')
    model = demo.model({"reply": "card", "always": True}, name="second")
    demo.invoke("run", "demo", "hi", "--model", model)
    replace(demo, "Please classify", "Classify")
    demo.chain(name="other")
    demo.invoke("run", "other", "hi")
    return demo


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ([], ["other@v1 done", "demo@v2 done", "demo@v1 failed", "demo@v1 done"]),
        (["--chain", "demo"], ["demo@v2 done", "demo@v1 failed", "demo@v1 done"]),
        (["--chain", "demo@v1"], ["demo@v1 failed", "demo@v1 done"]),
        (["--chain", "demo@production"], ["demo@v1 failed", "demo@v1 done"]),
        (["--chain", "demo@latest"], ["demo@v2 done"]),
        (["--status", "failed"], ["demo@v1 failed"]),
        (["--status", "interrupted"], []),
        (["--label", "production"], ["demo@v1 failed", "demo@v1 done"]),
        (["--chain", "demo", "--label", "production"], ["demo@v1 failed", "demo@v1 done"]),
        (["--chain", "demo@v2", "--label", "production"], []),
        (["--label", "production", "--status", "done"], ["demo@v1 done"]),
        (["-n", "1"], ["other@v1 done"]),
        (["-n", "0"], []),
        (["--since", "1h", "-n", "2"], ["other@v1 done", "demo@v2 done"]),
        (["--since", "7d", "--chain", "other"], ["other@v1 done"]),
        (["--since", "2w", "--chain", "other"], ["other@v1 done"]),
        (["--since", "2020-01-31", "--chain", "other"], ["other@v1 done"]),
        (["--since", "2020-01-31T10:30", "--chain", "other"], ["other@v1 done"]),
        (["--since", "2020-01-31T10:30+02:00", "--chain", "other"], ["other@v1 done"]),
        (["--since", "2199-01-01"], []),
        (["--model", "nope"], []),
    ],
)
def test_runs_are_chosen(many: Workspace, words: list[str], found: list[str]) -> None:
    done = many.invoke("runs", *words)
    assert done.code == 0, done
    rows = [line.split("\t") for line in done.out.splitlines()]
    assert [f"{row[2]} {row[3]}" for row in rows] == found
    assert done.err == ("" if found else "no such runs\n")


def test_runs_of_a_model(many: Workspace) -> None:
    rows = many.invoke("runs", "--model", f"scripted/{many.root}/second.script.yaml").out.splitlines()
    assert [row.split("\t")[2] for row in rows] == ["demo@v2"]


def test_a_time_without_a_zone_is_in_the_users_own(demo: Workspace) -> None:
    run(demo)
    east = {"TZ": "XYZ-9"}  # nine hours ahead of UTC
    local = datetime.now(timezone(timedelta(hours=9))).replace(tzinfo=None)
    before, after = (f"{local + timedelta(minutes=step):%Y-%m-%dT%H:%M}" for step in (-2, 2))
    shown = demo.run("runs", "--since", before, env=east).out.split("\t")
    assert shown[1][:13] in {f"{local - timedelta(minutes=step):%Y-%m-%d %H}" for step in (0, 2)}
    assert demo.run("runs", "--since", after, env=east).out == ""


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--chain", "dmo"], "did you mean 'demo'?"),
        (["--chain", "demo@v9"], "has no version 'v9'"),
        (["--chain", "demo@"], "there is no version behind the @"),
        (["--label", "prodution"], "did you mean 'production'?"),
        (["--chain", "other", "--label", "production"], "there is no label 'production'"),
        (["--status", "fialed"], "did you mean 'failed'?"),
        (["--since", "7x"], "'7x' is no time"),
        (["--since", ""], "'' is no time"),
        (["--since", "999999w"], "2026-11-24T10:30"),
        (["--since", "0000-01-01"], "is no time"),
        (["-n", "-1"], "'-n'"),
        (["--json", "show", "last"], "--json is for the list of runs, not for 'chain runs show'"),
        (["shw", "last"], "No such command 'shw'"),
    ],
)
def test_runs_that_cannot_be_chosen_so(many: Workspace, words: list[str], says: str) -> None:
    done = many.invoke("runs", *words)
    assert (done.code, done.out) == (2, ""), done
    assert says in done.err


def test_a_run_keeps_its_version_when_a_rollback_repeats_it(demo: Workspace) -> None:
    run(demo)
    replace(demo, '"Classify: ', '"Classify now: ')
    run(demo)
    demo.invoke("rollback", "demo", "v1")
    run(demo)
    assert [line.split("\t")[2] for line in demo.invoke("runs").out.splitlines()] == ["demo@v3", "demo@v2", "demo@v1"]


# -- one run -----------------------------------------------------------------------------------------------------------


def test_a_run_is_shown_whole(demo: Workspace) -> None:
    record = run(demo, "Where is it?")
    done = demo.invoke("runs", "show", "last")
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[0] == f"run {record['id']}"
    assert lines[1].startswith(f"demo@v1 on {record['model']}, 20")
    assert ": done; " in lines[1]
    assert lines[3:5] == ["inputs", "  message: Where is it?"]
    assert any(line.startswith("step intent  done, ") and ", 1 call, " in line for line in lines)
    assert lines[-3:] == ["outputs", "  intent: card", "  reply: All is well."]
    assert "  It is on its way." in lines


def test_a_run_is_found_by_what_is_enough_of_its_id(demo: Workspace) -> None:
    first, second = run(demo), run(demo)
    for reference in (first["id"], first["id"].upper(), first["id"][:-1]):
        assert demo.invoke("runs", "show", reference, "--json").json["id"] == first["id"]
    assert demo.invoke("runs", "show", "last", "--json").json["id"] == second["id"]
    many = demo.invoke("runs", "show", first["id"][:5])
    assert (many.code, many.out) == (2, "")
    assert "is the beginning of several runs" in many.err
    assert first["id"] in many.err
    for reference in ("zzz", "%", "", "../x", f"{first['id']}0"):
        none = demo.invoke("runs", "show", reference)
        assert (none.code, none.out) == (2, ""), reference
        assert f"there is no run '{reference}'\n  hint: chain runs lists them\n" in none.err


def test_a_run_in_json_is_its_record(demo: Workspace) -> None:
    record = run(demo)
    found = demo.invoke("runs", "show", "last", "--json").json
    assert {name: found[name] for name in record if name != "version"} == {
        name: value for name, value in record.items() if name != "version"
    }


def test_a_run_that_failed_says_why_and_what_to_do(demo: Workspace) -> None:
    demo.chain(replies=REPLIES[:1])
    failed = demo.invoke("run", "demo", "hi")
    done = demo.invoke("runs", "show", "last")
    assert done.code == 0
    assert ": failed; " in done.out
    assert "error: step 'draft' failed: the script has no reply for this call" in done.out
    assert "  hint: " in done.out
    assert "step check  blocked, 0 ms, 0 calls, 0 tokens" in done.out
    assert failed.err.strip().rpartition(" ")[2] == listed(demo)[0]["id"]


def test_a_run_over_items_counts_the_calls_of_all(empty: Workspace) -> None:
    empty.chain(
        EACH, name="each", replies=[{"contains": "Say", "reply": "word"}, {"contains": "Join", "reply": "joined"}]
    )
    run(empty, "-i", 'words=["a", "b", "c"]', chain="each")
    out = empty.invoke("runs", "show", "last").out
    assert "step word  done, " in out
    assert ", 3 calls, " in out
    assert '  ["word", "word", "word"]' in out


def test_a_record_cannot_command_the_terminal(demo: Workspace) -> None:
    evil = "\x1b[2Jx\x9b2J"
    demo.chain(
        replies=[
            {"contains": "Classify", "reply": "card"},
            {"contains": "Draft", "reply": evil},
            {"contains": "Check", "reply": evil},
        ]
    )
    record = run(demo, evil)
    hostile = {**record, "id": "0" * 26, "chain": evil, "model": evil, "started": evil, "error": evil}
    (demo.spool / f"{'0' * 26}.json").write_text(json.dumps(hostile))
    for words in (
        ["runs"],
        ["runs", "show", "last"],
        ["runs", "show", "0" * 26],
        ["replay", "last"],
        ["replay", "last", "--from", "check"],
    ):
        done = demo.invoke(*words)
        assert done.code == 0, done
        assert not {"\x1b", "\x9b"} & {*done.out, *done.err}, words


# -- who records -------------------------------------------------------------------------------------------------------


def test_the_rows_of_a_batch_are_recorded(demo: Workspace) -> None:
    demo.write("rows.jsonl", '{"message": "a"}\n{"message": "b"}\n{"message": 7}\n')
    demo.invoke("run", "demo", "--batch", "rows.jsonl", "-o", "out.jsonl")
    lines = [json.loads(line) for line in (demo.root / "out.jsonl").read_text().splitlines()]
    assert {line["run"] for line in lines if line["status"] == "done"} == {row["id"] for row in listed(demo)}
    for line, message in zip(lines, "ab", strict=False):
        shown = demo.invoke("runs", "show", line["run"], "--json").json
        assert (shown["inputs"], shown["outputs"]) == ({"message": message}, line["outputs"])
    assert {row["source"] for row in listed(demo)} == {demo.invoke("log", "--json").json[0]["content"]}


def test_code_records_where_it_is_asked_to(demo: Workspace) -> None:
    with promptchain.load("demo") as chain:
        assert chain.run(message="hi").outputs["intent"] == "card"
    assert (listed(demo), demo.invoke("log", "--json").json) == ([], [])
    with promptchain.load("demo", record=True) as chain:
        result = chain.run(message="hi")
    [row] = listed(demo)
    assert (row["id"], row["source"]) == (result.id, result.source)
    assert demo.invoke("runs").out.split("\t")[2] == "demo@v1"
    demo.model(*REPLIES[:1], name="demo")
    with promptchain.load("demo@v1", record=True) as chain, pytest.raises(promptchain.RunError):
        chain.run(message="hi")
    assert [row["status"] for row in listed(demo)] == ["failed", "done"]


def test_code_loads_a_version(demo: Workspace) -> None:
    demo.invoke("commit", "demo")
    demo.invoke("label", "demo@v1", "production")
    demo.model({"contains": "Sort", "reply": "refund"}, *REPLIES, name="demo")
    replace(demo, '"Classify: ', '"Sort: ')
    for reference, intent in (("demo@production", "card"), ("demo@v1", "card"), ("demo", "refund")):
        with promptchain.load(reference) as chain:
            assert chain.run(message="hi").outputs["intent"] == intent
    with pytest.raises(promptchain.UsageError, match="has no version 'v2'"):
        promptchain.load("demo@v2")


def test_a_store_that_cannot_be_written_costs_no_answer_and_no_memory(demo: Workspace) -> None:
    from promptchain.recording import Recorder

    demo.write(".promptchain", "in the way")
    project = Project.find()
    recorder = Recorder(project, "demo", project.load("demo"))
    result = Run(id="0" * 26, chain="demo", source="x", model=None, started="", status=Status.DONE)
    for _ in range(50):
        assert recorder.keep(result) == result
    assert len({problem.message for problem in recorder.problems}) == len(recorder.problems) <= 2
    assert all(_depth(problem) < 20 for problem in recorder.problems)


def _depth(problem: BaseException) -> int:
    count, trace = 0, problem.__traceback__
    while trace is not None:
        count, trace = count + 1, trace.tb_next
    return count


# -- secrets -----------------------------------------------------------------------------------------------------------


def test_a_key_is_in_no_record_and_in_nothing_that_is_printed(demo: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that looks like a key, and one that only its variable tells; from the input, and from a model."""
    hidden = "correct-horse 'battery' \"staple\" 9"
    monkeypatch.setenv("MY_API_KEY", hidden)
    text = f"keys: {SECRET} and {hidden}."
    demo.chain(
        replies=[REPLIES[0], {"contains": "Draft", "reply": text}, {"contains": "Check", "reply": f"Ja: {text}"}]
    )
    git(demo.root.parent, "init", "--quiet")
    demo.invoke("run", "demo", text)
    demo.write("rows.jsonl", json.dumps({"message": text}) + "\n")
    demo.invoke("run", "demo", "--batch", "rows.jsonl", "-o", "out.jsonl")
    ids = [row["id"] for row in listed(demo)]
    shown = [demo.invoke("replay", "last"), demo.invoke("replay", "last", "--from", "check", "--json")]
    demo.model(REPLIES[0], {"contains": "Draft", "reply": "no key"}, REPLIES[2], name="demo")
    shown += [demo.invoke("replay", "last"), demo.invoke("diff", listed(demo)[0]["id"], ids[0])]
    shown += [demo.invoke("runs", *words) for words in ([], ["--json"], ["show", "last"], ["show", ids[0], "--json"])]
    remote = demo.root.parent / "remote.git"
    git(demo.root.parent, "init", "--quiet", "--bare", str(remote))
    assert demo.invoke("sync", str(remote), "--runs").code == 0
    parts = (SECRET, "correct-horse", "battery")
    assert "***" in shown[1].out
    for done in shown:
        assert done.code == 0, done
        assert not any(part in done.out + done.err for part in parts), done
    for kept in (demo.root.parent / ".git", remote):
        assert not any(part in everything(kept) for part in parts)
    assert "***" in everything(demo.root.parent / ".git")


def everything(git_dir: Path) -> str:
    """All that is in the files of a git folder and in its objects."""
    files = b"\n".join(path.read_bytes() for path in git_dir.rglob("*") if path.is_file())
    listing = subprocess.run(
        ["git", f"--git-dir={git_dir}", "cat-file", "--batch", "--batch-all-objects"], capture_output=True, check=True
    )
    return (files + listing.stdout).decode("utf-8", "replace")

"""`chain run --batch`: rows in, a line for each out, and what may stand beside it."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.workspace import DEMO, REPLIES, Workspace

ROWS = [{"message": f"row {n}", "id": f"r{n}"} for n in range(5)]


@pytest.fixture
def rows(demo: Workspace) -> Path:
    return demo.write("rows.jsonl", "".join(json.dumps(row) + "\n" for row in ROWS))


def lines(path: str | Path) -> list[Any]:
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def test_each_row_gives_a_line_in_order_and_a_summary_on_stderr(demo: Workspace, rows: Path) -> None:
    done = demo.invoke("run", "demo", "--batch", "rows.jsonl", "-o", "out.jsonl")
    assert (done.code, done.out) == (0, "")
    assert done.err.startswith("5 rows done, 0 failed; 15 calls, ")
    assert done.err.endswith("written to out.jsonl\n")
    found = lines("out.jsonl")
    assert [(line["id"], line["line"], line["status"]) for line in found] == [
        (f"r{n}", n + 1, "done") for n in range(5)
    ]
    assert found[0]["outputs"] == {"intent": "card", "reply": "All is well."}


def test_a_broken_row_is_named_by_its_line_and_the_others_go_on(demo: Workspace) -> None:
    demo.write("rows.jsonl", '{"message": "a"}\n{nope\n{"mesage": "b"}\n\n{"message": "c", "extra": 1}\n')
    done = demo.invoke("run", "demo", "--batch", "rows.jsonl", "-o", "out.jsonl")
    assert done.code == 1
    assert "warning: line 2: not JSON" in done.err
    assert "warning: line 3: the input 'message' (string) is missing" in done.err
    assert "warning: line 5: not used by the chain: extra" in done.err
    assert "2 rows done, 2 failed; " in done.err
    assert [(line["line"], line["status"]) for line in lines("out.jsonl")] == [
        (1, "done"),
        (2, "failed"),
        (3, "failed"),
        (5, "done"),
    ]


def test_many_failures_are_not_all_told(demo: Workspace) -> None:
    demo.write("rows.jsonl", "{nope\n" * 20)
    done = demo.invoke("run", "demo", "--batch", "rows.jsonl", "-o", "out.jsonl")
    assert done.err.count("warning: line ") == 5
    assert "more rows fail" in done.err


def test_csv_rows_take_the_types_of_the_inputs(demo: Workspace) -> None:
    demo.chain(DEMO.replace("  message: string", "  n?: integer\n  message: string"))
    demo.write("rows.csv", 'message,n\n"hello, you",3\nbye,\n"bad",many\n')
    done = demo.invoke("run", "demo", "--batch", "rows.csv", "-o", "out.jsonl")
    assert [line["status"] for line in lines("out.jsonl")] == ["done", "done", "failed"]
    assert "line 4: input 'n': " in done.err


@pytest.mark.parametrize("cut", [0, 1, 2, 5])
@pytest.mark.parametrize("torn", [False, True])
def test_resume_goes_on_where_the_output_ends(demo: Workspace, rows: Path, cut: int, torn: bool) -> None:
    words = ["run", "demo", "--batch", "rows.jsonl", "-o", "out.jsonl"]
    demo.invoke(*words)
    whole = Path("out.jsonl").read_text().splitlines(keepends=True)
    Path("out.jsonl").write_text("".join(whole[:cut]) + ("".join(whole[cut:])[:20] if torn else ""))
    done = demo.invoke(*words, "--resume")
    assert done.code == 0, done
    assert f"{5 - cut} rows done, 0 failed" in done.err
    assert ("were there already" in done.err) is bool(cut)
    assert [line["id"] for line in lines("out.jsonl")] == [f"r{n}" for n in range(5)]


def test_a_ceiling_stops_the_batch_and_resume_continues_it(demo: Workspace, rows: Path) -> None:
    words = ["run", "demo", "--batch", "rows.jsonl", "-o", "out.jsonl"]
    stopped = demo.invoke(*words, "--max-calls", "7", "--concurrency", "1")
    assert stopped.code == 1
    assert "error: stopped: " in stopped.err
    assert "continue with --resume" in stopped.err
    assert all(line["status"] == "done" for line in lines("out.jsonl"))
    assert demo.invoke(*words, "--resume").code == 0
    assert len(lines("out.jsonl")) == 5


def test_resume_refuses_an_output_of_something_else(demo: Workspace, rows: Path) -> None:
    words = ["run", "demo", "--batch", "rows.jsonl", "-o", "out.jsonl"]
    demo.invoke(*words)
    before = Path("out.jsonl").read_bytes()
    again = demo.invoke(*words)
    assert (again.code, "exists already" in again.err, "--resume continues it" in again.err) == (2, True, True)
    demo.chain(DEMO.replace("Decide what", "Say what"))
    changed = demo.invoke(*words, "--resume")
    assert changed.code == 2
    assert "error: out.jsonl:1: " in changed.err
    assert "have changed since" in changed.err
    assert Path("out.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--batch", "rows.jsonl"], "add -o out.jsonl"),
        (["--batch", "rows.jsonl", "-o", "o.jsonl", "text"], "TEXT does not go with --batch"),
        (["--batch", "rows.jsonl", "-o", "o.jsonl", "-i", "message=x"], "-i does not go with --batch"),
        (["--batch", "rows.jsonl", "-o", "o.jsonl", "--input", "-"], "--input does not go with --batch"),
        (["--batch", "rows.jsonl", "-o", "o.jsonl", "--json"], "--json does not go with --batch"),
        (["--batch", "rows.jsonl", "-o", "o.jsonl", "--save-run", "x"], "--save-run does not go with --batch"),
        (["--batch", "rows.txt", "-o", "o.jsonl"], "neither .jsonl nor .csv"),
        (["--batch", "nowhere.jsonl", "-o", "o.jsonl"], "nowhere.jsonl: there is no such file"),
        (["--batch", "rows.jsonl", "-o", "rows.jsonl/o.jsonl"], "rows.jsonl/o.jsonl: cannot be written"),
    ],
)
def test_what_does_not_go_together_is_said(demo: Workspace, rows: Path, words: list[str], says: str) -> None:
    done = demo.invoke("run", "demo", *words)
    assert done.code in (1, 2)
    assert done.out == ""
    assert says in done.err, done


def test_a_row_whose_call_fails_says_why_in_the_output(demo: Workspace, rows: Path) -> None:
    demo.chain(replies=[{"contains": "row 3", "error": "authentication"}, *REPLIES])
    done = demo.invoke("run", "demo", "--batch", "rows.jsonl", "-o", "out.jsonl")
    assert done.code == 1
    assert "warning: line 4: step 'intent' failed: the script says: authentication" in done.err
    failed = lines("out.jsonl")[3]
    assert (failed["status"], failed["outputs"]) == ("failed", {})
    assert "authentication" in failed["error"]

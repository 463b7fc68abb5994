"""`chain run --stream`: what happens, line by line, as it happens."""

import json
import signal
import subprocess
from typing import Any

import pytest

from promptchain.cli import stream
from tests.cli.run_kit import EACH, SECRET
from tests.workspace import CHAIN, DEMO, REPLIES, Result, Workspace

INNER = """
model: MODEL
inputs: {topic: string}
steps:
  say: {prompt: "Speak of {{ topic }}"}
"""
OUTER = """
model: MODEL
inputs: {topic: string}
steps:
  inner: {chain: inner, inputs: {topic: "{{ topic }}"}}
  tool:
    prompt: "Look up {{ topic }}"
    tools: [{python: "tools:find"}]
"""


def lines(done: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.out.splitlines()]


def names(found: list[dict[str, Any]]) -> list[str]:
    return [f"{line['event']} {line['step']}" if "step" in line else line["event"] for line in found]


def test_a_run_from_start_to_end(demo: Workspace) -> None:
    done = demo.invoke("run", "demo", "hi", "--stream")
    assert (done.code, done.err) == (0, "")
    found = lines(done)
    assert found[0] == {
        "event": "run_started",
        "chain": "demo",
        "model": found[0]["model"],
        "inputs": {"message": "hi"},
    }
    assert [*dict.fromkeys(names(found))] == [
        "run_started",
        *(
            f"{event} {step}"
            for step in ("intent", "draft", "check")
            for event in ("step_started", "token", "step_done")
        ),
        "run_done",
    ]
    assert "".join(line["text"] for line in found if line["event"] == "token") == "cardIt is on its way.All is well."
    [record] = demo.records()
    last = found[-1]
    assert {name: last[name] for name in ("id", "version", "status", "outputs", "totals", "seconds")} == {
        name: record[name] for name in ("id", "version", "status", "outputs", "totals", "seconds")
    }


def test_each_line_is_there_at_once(demo: Workspace) -> None:
    demo.chain(replies=[REPLIES[0], {"contains": "Draft for", "reply": "late", "delay": 60}])
    words = [CHAIN, "run", "demo", "hi", "--stream"]
    process = subprocess.Popen(words, cwd=demo.root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    found = [json.loads(process.stdout.readline()) for _ in range(5)]
    assert names(found)[-1] == "step_started draft"  # though the reply is a minute away
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 130
    [last] = [json.loads(line) for line in out.splitlines()]
    [record] = demo.records()
    assert (last["event"], last["status"], last["id"]) == ("run_done", "interrupted", record["id"])
    assert record["steps"]["intent"]["value"] == "card"
    assert err == f"what was done is recorded: chain runs show {record['id']}\ninterrupted\n"


def test_a_reader_that_goes_away_ends_the_run_and_leaves_a_record(demo: Workspace) -> None:
    demo.chain(replies=[REPLIES[0], REPLIES[1], {"contains": "Check", "reply": "late", "delay": 60}])
    script = f"set -o pipefail; {CHAIN} run demo hi --stream | head -n 3"
    done = subprocess.run(["bash", "-c", script], cwd=demo.root, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (1, "")
    assert len(done.stdout.splitlines()) == 3
    [record] = demo.records()
    assert record["status"] in ("interrupted", "done")
    assert record["steps"]["intent"]["value"] == "card"
    assert record["steps"]["check"]["value"] is None


def test_a_reader_that_never_was_costs_nothing(demo: Workspace) -> None:
    done = demo.run("run", "demo", "hi", "--stream")
    assert done.code == 0
    script = f"exec 3> >(exit); sleep 0.2; {CHAIN} run demo hi --stream >&3"
    gone = subprocess.run(["bash", "-c", script], cwd=demo.root, capture_output=True, text=True, timeout=300)
    assert (gone.returncode, gone.stderr) == (1, "")
    assert len(demo.records()) == 1  # nothing ran


def test_a_full_disk_is_told(demo: Workspace) -> None:
    script = f"{CHAIN} run demo hi --stream > /dev/full"
    done = subprocess.run(["bash", "-c", script], cwd=demo.root, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (1, "error: No space left on device: standard output\n")


def test_a_line_that_cannot_be_written_is_no_fault_of_the_model(
    demo: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would be tried again, and a fallback asked."""

    def full(text: str, *, exact: bool) -> None:
        if "token" in text:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(stream, "say", full)
    done = demo.invoke("run", "demo", "hi", "--stream")
    assert (done.code, done.err) == (1, "error: No space left on device: standard output\n")
    [record] = demo.records()
    assert (record["status"], len(record["steps"]["intent"]["calls"])) == ("interrupted", 1)


def test_a_run_that_fails_says_so_in_both_places(demo: Workspace) -> None:
    demo.chain(replies=[REPLIES[0], {"contains": "Draft for", "error": "authentication"}])
    done = demo.invoke("run", "demo", "hi", "--stream")
    assert done.code == 1
    assert done.err.startswith("error: step 'draft' failed: ")
    by_step = {line["step"]: line for line in lines(done) if line["event"] == "step_done"}
    assert {name: line["status"] for name, line in by_step.items()} == {
        "intent": "done",
        "draft": "failed",
        "check": "blocked",
    }
    assert by_step["draft"]["value"] is None
    last = lines(done)[-1]
    assert (last["event"], last["status"], last["outputs"]) == ("run_done", "failed", {"intent": "card"})
    assert last["error"].startswith("step 'draft' failed: ")


def test_items_and_retries(demo: Workspace) -> None:
    text = EACH.replace("retry: 0", "output: [yes, no]").replace("Join {{ word }}", "Join {{ word[0] }}")
    answers = [("Reply with exactly one of these, and nothing else", "yes"), ("Join", "done")]
    demo.chain(text, name="each", replies=[{"contains": word, "reply": reply} for word, reply in answers])
    other = demo.model(*[{"reply": "perhaps"}, {"reply": "no", "always": True}], name="other")
    done = demo.invoke("run", "each", "-i", 'words=["a","b"]', "--stream", "--model", f"word={other}")
    assert done.code == 0, done
    found = lines(done)
    started = next(line for line in found if line["event"] == "step_started")
    assert (started["step"], started["items"]) == ("word", 2)
    assert {line["item"]: line["value"] for line in found if line["event"] == "item_done"} == {0: "no", 1: "no"}
    assert {line["item"] for line in found if line["event"] == "token" and line["step"] == "word"} == {0, 1}
    [again] = [line for line in found if line["event"] == "retry"]
    assert (again["step"], again["item"], again["wait"]) == ("word", 0, 0.0)
    assert "perhaps" in again["reason"]
    assert done.err == ""


def test_chains_in_a_chain_and_tools(demo: Workspace) -> None:
    demo.write("tools.py", 'def find(word: str) -> str:\n    """Find."""\n    return word * 2\n')
    demo.chain(INNER, name="inner", replies=[{"contains": "Speak", "reply": "of it"}])
    asked = '{"tool": "find", "arguments": {"word": "x"}}'
    replies = [{"contains": "find gave", "reply": '{"answer": "found"}'}, {"contains": "Look up", "reply": asked}]
    demo.chain(OUTER, name="outer", replies=replies)
    done = demo.invoke("run", "outer", "cats", "--stream")
    assert done.code == 0, done
    found = lines(done)
    assert {"step_started inner", "step_started inner.say", "token inner.say", "step_done inner.say"} <= {*names(found)}
    assert names(found).count("run_started") == names(found).count("run_done") == 1
    begun, ended = (line for line in found if line["event"].startswith("tool_"))
    assert begun == {"event": "tool_started", "step": "tool", "name": "find", "arguments": {"word": "x"}}
    assert (ended["event"], ended["value"], ended["seconds"] >= 0) == ("tool_ended", "xx", True)


def test_secrets_are_not_told_in_pieces_either(demo: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_SECRET", "swordfish 4711 in a bucket")
    text = f"It is swordfish 4711 in a bucket and {SECRET} here."
    demo.chain(replies=[REPLIES[0], {"contains": "Draft for", "reply": text}, REPLIES[2]])
    done = demo.invoke("run", "demo", f"my key is {SECRET}", "--stream")
    assert done.code == 0
    assert not {"swordfish", "bucket", "abcdefgh"} & set(done.out.replace('"', " ").split())
    told = "".join(line["text"] for line in lines(done) if line["event"] == "token" and line["step"] == "draft")
    assert told == "It is *** and *** here."


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["hi", "--json"], "--json does not go with it"),
        (["hi", "-o", "reply"], "-o does not go with it"),
        (["--batch", "rows.jsonl", "-o", "out.jsonl"], "--stream does not go with --batch"),
        (["hi", "--resume"], "--resume goes with --batch"),
        ([], "the input 'message' (string) is missing"),
    ],
)
def test_what_does_not_go_with_it(demo: Workspace, words: list[str], says: str) -> None:
    done = demo.invoke("run", "demo", *words, "--stream")
    assert (done.code, done.out) == (2, "")
    assert says in done.err
    assert demo.records() == []


def test_a_poor_locale_and_a_record_elsewhere(demo: Workspace) -> None:
    demo.chain(DEMO, replies=[REPLIES[0], {"contains": "Draft for", "reply": "🎉 fine\x1b[2J"}, REPLIES[2]])
    done = demo.run("run", "demo", "hi", "--stream", "--save-run", "run.json", env={"PYTHONIOENCODING": "ascii"})
    assert done.code == 0
    told = "".join(line["text"] for line in lines(done) if line["event"] == "token" and line["step"] == "draft")
    assert told == "🎉 fine\x1b[2J"
    assert "\x1b" not in done.out
    assert json.loads((demo.root / "run.json").read_text())["id"] == lines(done)[-1]["id"]

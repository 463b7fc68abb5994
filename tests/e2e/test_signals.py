"""Ctrl-C and other signals in the middle of a run: a record, exit code 130, no traceback, at once."""

import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.patience import PATIENCE
from tests.workspace import CHAIN, DEMO, REPLIES, Workspace

AT_ONCE = 60
"""Seconds, on a busy machine; the rest of the run would take five times as long."""
UNDER_WAY = "step 'draft': "
"""How the line begins that stderr gets when the second step falls back: then the first is done."""


@pytest.fixture
def slow(demo: Workspace) -> Workspace:
    """The first step is done soon, the second takes five minutes."""
    other = demo.model({"reply": "late", "always": True, "delay": 300}, name="other")
    text = DEMO.replace("  check:\n", f"    fallbacks: [{other}]\n  check:\n")
    demo.chain(text, replies=[REPLIES[0], {"contains": "Draft for", "error": "authentication"}])
    subprocess.run(["git", "init", "-q"], cwd=demo.root, check=True)
    return demo


def interrupted(workspace: Workspace, strike: Callable[[subprocess.Popen[str]], None], *words: str) -> Any:
    """Start a run, strike once it is under way, and return (exit code, stderr, seconds that it took to end)."""
    process = subprocess.Popen(
        [CHAIN, "run", "demo", *words], cwd=workspace.root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    assert process.stderr.readline().startswith(UNDER_WAY)
    began = time.monotonic()
    strike(process)
    out, err = process.communicate(timeout=PATIENCE)
    assert out == ""
    return process.returncode, err, time.monotonic() - began


def records(workspace: Workspace) -> list[Path]:
    return list((workspace.root / ".git/promptchain/spool").glob("*.json"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_a_record_of_what_is_done(slow: Workspace, number: signal.Signals) -> None:
    code, err, took = interrupted(slow, lambda process: process.send_signal(number), "hi", "--save-run", "run.json")
    assert code == 130
    assert took < AT_ONCE
    assert err == "what was done is recorded: run.json\ninterrupted\n"
    [spooled] = records(slow)
    record = json.loads(spooled.read_text())
    assert json.loads((slow.root / "run.json").read_text()) == record
    assert (record["status"], record["outputs"], record["inputs"]) == ("interrupted", {}, {"message": "hi"})
    assert record["steps"]["intent"]["value"] == "card"
    states = {name: step["status"] for name, step in record["steps"].items()}
    assert states == {"intent": "done", "draft": "interrupted", "check": "interrupted"}


@pytest.mark.parametrize("gap", [0.0, 0.01, 0.03])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_changes_nothing(slow: Workspace, number: signal.Signals, gap: float) -> None:
    def twice(process: subprocess.Popen[str]) -> None:
        process.send_signal(number)
        time.sleep(gap)
        process.send_signal(number)

    code, err, took = interrupted(slow, twice, "hi")
    assert (code, "Traceback" in err, took < AT_ONCE) == (130, False, True), err
    assert len(records(slow)) == 1


@pytest.mark.parametrize("after", [0.08, 0.15, 0.25, 0.4])
def test_a_signal_while_the_command_starts_is_no_traceback(demo: Workspace, after: float) -> None:
    demo.chain(replies=[{"contains": "Classify", "reply": "card", "delay": 300}])
    process = subprocess.Popen([CHAIN, "run", "demo", "hi"], cwd=demo.root, stderr=subprocess.PIPE, text=True)
    time.sleep(after)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode in (130, -signal.SIGINT)  # the latter before our first line ran
    assert "promptchain" not in err or "Traceback" not in err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_batch_keeps_its_rows_and_goes_on_from_there(demo: Workspace, number: signal.Signals) -> None:
    demo.chain(replies=[{"contains": "row 4", "reply": "card", "delay": 300}, *REPLIES])
    rows = [f'{{"message": "row {line}"}}' for line in range(1, 6)]
    rows[2] = "{broken"
    demo.write("rows.jsonl", "\n".join(rows))
    words = ["run", "demo", "--batch", "rows.jsonl", "-o", "out.jsonl"]
    process = subprocess.Popen([CHAIN, *words], cwd=demo.root, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert process.stderr.readline().startswith("warning: line 3: ")  # and so the rows before it are done
    process.send_signal(number)
    _, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (130, "3 rows written to out.jsonl; continue with --resume\ninterrupted\n")
    lines = (demo.root / "out.jsonl").read_text().splitlines()
    assert [json.loads(line)["status"] for line in lines] == ["done", "done", "failed"]
    demo.write("demo.script.yaml", (demo.root / "demo.script.yaml").read_text().replace("300", "0"))
    assert "2 rows done, 0 failed (3 were there already, 1 of them failed)" in demo.run(*words, "--resume").err
    assert (demo.root / "out.jsonl").read_text().splitlines()[:3] == lines


def test_what_nohup_ignores_stays_ignored(slow: Workspace) -> None:
    process = subprocess.Popen(
        ["bash", "-c", "trap '' HUP INT; exec \"$0\" run demo hi", CHAIN],
        cwd=slow.root,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    assert process.stderr.readline().startswith(UNDER_WAY)
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.5)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert len(records(slow)) == 1

"""What a terminal shows: `chain` on a pseudo-terminal, its output read by a small terminal of our own."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.patience import PATIENCE
from tests.workspace import CHAIN, DEMO, REPLIES, Workspace

SLOW = [REPLIES[0], {**REPLIES[1], "delay": 0.3}, {**REPLIES[2], "delay": 0.3}]
FOREVER = [REPLIES[0], {**REPLIES[1], "delay": 600}, REPLIES[2]]


class Terminal:
    """What was written to a terminal: `text`, and whether the cursor is to be seen at the end."""

    def __init__(self, code: int, text: str) -> None:
        self.code = code
        self.text = text

    @property
    def cursor_shown(self) -> bool:
        return self.text.rfind("\x1b[?25h") >= self.text.rfind("\x1b[?25l")

    @property
    def lines(self) -> list[str]:
        """The lines that stand there at the end, without colours."""
        rows, row, column = [""], 0, 0
        for control, letter, plain in re.findall(r"\x1b\[([?\d;]*)([A-Za-z])|([^\x1b])", self.text):
            if letter == "A":
                row = max(0, row - int(control or 1))
            elif letter == "K":
                rows[row] = ""
            elif plain == "\r":
                column = 0
            elif plain == "\n":
                row, column = row + 1, 0
                rows += [""] * (row + 1 - len(rows))
            elif plain:
                rows[row] = rows[row][:column].ljust(column) + plain + rows[row][column + 1 :]
                column += 1
        return [line.rstrip() for line in rows if line.strip()]


def on_terminal(
    words: list[str | Path],
    root: Path,
    *,
    width: int = 100,
    env: Mapping[str, str] | None = None,
    meanwhile: Callable[[subprocess.Popen[bytes], str], bool] = lambda process, text: True,
    keyboard: Callable[[int], None] = lambda file: None,
) -> Terminal:
    """Run a program on a terminal of its own. meanwhile: is called with what was written so far until it says True.
    keyboard: is given the file to type into."""
    ours, theirs = pty.openpty()
    keyboard(ours)
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
    process = subprocess.Popen(
        words, stdin=theirs, stdout=theirs, stderr=theirs, cwd=root, env={**os.environ, "TERM": "xterm", **(env or {})}
    )
    os.close(theirs)
    written, told, until = b"", False, time.monotonic() + PATIENCE
    while time.monotonic() < until:
        if select.select([ours], [], [], 0.05)[0]:
            try:
                piece = os.read(ours, 65536)
            except OSError:  # how Linux says that the other side is closed
                break
            if not piece:
                break
            written += piece
        told = told or meanwhile(process, written.decode(errors="replace"))
    os.close(ours)
    return Terminal(process.wait(timeout=PATIENCE), written.decode())


def interrupt(process: subprocess.Popen[bytes], text: str) -> bool:
    if "✓" not in text:
        return False
    process.send_signal(signal.SIGINT)
    return True


@pytest.mark.parametrize("width", [100, 40])
def test_the_table_shows_every_step_and_the_outputs_follow(demo: Workspace, width: int) -> None:
    demo.chain(replies=SLOW)
    shown = on_terminal([CHAIN, "run", "demo", "hi"], demo.root, width=width)
    assert (shown.code, shown.cursor_shown) == (0, True)
    assert "\x1b[?25l" in shown.text
    table, outputs = shown.lines[:3], shown.lines[3:]
    for line, pattern in zip(table, (r"✓ +● intent +\d+ ms  card", r"✓ +├─● draft", r"✓ +╰─┴─● check"), strict=True):
        assert re.match(pattern, line), shown.lines
    assert outputs[:2] == ["intent: card", "reply: All is well."]
    assert re.fullmatch(r"[\d.]+ m?s, 3 calls, \d+ tokens, \$0", outputs[2])
    assert re.fullmatch(r"demo@v1 \(new\), run [0-9a-z]{10}", outputs[3])
    assert max(map(len, shown.lines)) <= width


@pytest.mark.parametrize(("width", "graph", "time"), [(40, True, True), (34, False, True), (27, False, False)])
def test_a_narrow_terminal_keeps_long_names_whole(demo: Workspace, width: int, graph: bool, time: bool) -> None:
    text = DEMO
    for old, new in {"intent": "what_the_customer_wants", "draft": "a_first_draft"}.items():
        text = re.sub(rf"\b{old}\b", new, text)
    demo.chain(text)
    shown = on_terminal([CHAIN, "run", "demo", "hi", "-o", "reply"], demo.root, width=width)
    assert shown.code == 0
    names = ("what_the_customer_wants", "a_first_draft", "check")
    for line, name in zip(shown.lines[:3], names, strict=True):
        assert line.startswith("✓ ")
        assert name in line
        assert ("● " in line, " ms" in line) == (graph, time)
        assert len(line) <= width


def test_a_run_that_fails_ends_clean(demo: Workspace) -> None:
    demo.chain(replies=[REPLIES[0], {"contains": "Draft for", "error": "authentication"}])
    shown = on_terminal([CHAIN, "run", "demo", "hi"], demo.root)
    assert (shown.code, shown.cursor_shown) == (1, True)
    assert re.match(r"✗ +├─● draft +\d+ ms  the script says: authentication", shown.lines[1])
    assert re.match(r"- +╰─┴─● check .* step 'draft' did not give a value", shown.lines[2])
    assert shown.lines[3].startswith("error: step 'draft' failed: ")


def test_ctrl_c_ends_clean(demo: Workspace) -> None:
    demo.chain(replies=FOREVER)
    began = time.monotonic()
    shown = on_terminal([CHAIN, "run", "demo", "hi"], demo.root, meanwhile=interrupt)
    assert time.monotonic() - began < 60
    assert (shown.code, shown.cursor_shown) == (130, True)
    assert re.match(r"✓ +● intent", shown.lines[0])
    assert re.match(r"! +├─● draft", shown.lines[1])
    assert shown.lines[-1] == "interrupted"
    assert "Traceback" not in shown.text


DRAWN = """
import time
from promptchain.cli.live import LiveSteps
draw, frames = LiveSteps._draw, 0
def counted(self):
    global frames
    frames += 1
    return draw(self)
LiveSteps._draw = counted
def drawn():
    end = frames + 2  # the next may have begun before what was told just now
    while frames < end: time.sleep(0.005)
"""
STREAM = (
    DRAWN
    + """
from promptchain.chain import Chain, PromptStep
from promptchain.cli.live import LiveSteps
from promptchain.events import StepEnded, StepRetried, StepStarted, StepText
from promptchain.plan import build
from promptchain.records import Status, StepRun
step = PromptStep.model_validate({"prompt": "x"})
with LiveSteps(build(Chain(name="x", steps={"talk": step, "loop": step}))) as live:
    live.observe(StepStarted("talk", "m"))
    live.observe(StepText("talk", "void"))
    live.observe(StepRetried("talk", "rate limit", 2.0))
    drawn()
    for word in ("Once ", "upon\\n", "a \\x1b[2Jtime"):
        live.observe(StepText("talk", word))
        drawn()
    live.observe(StepEnded("talk", StepRun(status=Status.DONE, value="Once upon\\na \\x1b[2Jtime")))
    live.observe(StepStarted("loop", "m", 3))
    drawn()
    live.observe(StepEnded("loop", StepRun(status=Status.SKIPPED)))
"""
)


def test_the_reply_is_shown_as_it_comes_and_is_no_command_to_the_terminal(empty: Workspace) -> None:
    shown = on_terminal([sys.executable, "-c", STREAM], empty.root)
    assert shown.code == 0, shown.text
    text = re.sub(r"\x1b\[[\d;]*m", "", shown.text)
    for part in ("rate limit; again in 2.0 s", "1 token", "Once\r", "Once upon\r", "3 tokens", "0 of 3"):
        assert part in re.sub(" +\r", "\r", text), part
    assert "\x1b[2J" not in shown.text
    assert [line.split()[:3] for line in shown.lines] == [["✓", "●", "talk"], ["-", "●", "loop"]]
    assert shown.lines[0].endswith("Once upon a ?[2Jtime")


@pytest.mark.parametrize(
    ("env", "moves", "coloured"),
    [({}, True, True), ({"CI": "1"}, False, True), ({"TERM": "dumb"}, False, False), ({"NO_COLOR": "1"}, True, False)],
)
def test_ci_and_dumb_terminals_get_no_animation(
    demo: Workspace, env: dict[str, str], moves: bool, coloured: bool
) -> None:
    shown = on_terminal([CHAIN, "run", "demo", "hi"], demo.root, env=env)
    assert shown.code == 0
    assert ("\x1b[?25l" in shown.text) is moves
    assert (re.search(r"\x1b\[(\d+;)*3\dm", shown.text) is not None) is (coloured and moves)
    assert ("\x1b[1mintent:" in shown.text) is coloured


def test_a_batch_shows_how_far_it_is(demo: Workspace) -> None:
    demo.chain(replies=SLOW)
    demo.write("rows.jsonl", '{"message": "a"}\n{nope\n')
    shown = on_terminal([CHAIN, "run", "demo", "--batch", "rows.jsonl", "-o", "out.jsonl"], demo.root)
    assert (shown.code, shown.cursor_shown) == (1, True)
    assert "rows done, " in shown.text
    assert "\x1b[?25l" in shown.text
    assert shown.lines[0].startswith("warning: line 2: not JSON")
    assert shown.lines[1].startswith("1 row done, 1 failed; ")


def test_check_shows_the_line_that_is_wrong(demo: Workspace) -> None:
    demo.write("chains/bad.yaml", 'steps:\n  a:\n    promt: "x"\n')
    shown = on_terminal([CHAIN, "check", "bad"], demo.root)
    assert shown.code == 1
    assert shown.lines[0].startswith("chains/bad.yaml:")
    assert any(re.fullmatch(r' +3 │     promt: "x"', line) for line in shown.lines), shown.lines
    assert any("│     ^ did you mean 'prompt'?" in line for line in shown.lines), shown.lines


def test_the_steps_of_a_chain_in_a_step_have_no_rows_of_their_own(demo: Workspace) -> None:
    demo.chain(
        "model: MODEL\ninputs: {t: string}\nsteps: {say: {prompt: 'Speak of {{ t }}'}}",
        name="inner",
        replies=[{"contains": "Speak", "reply": "of it"}],
    )
    demo.write("chains/outer.yaml", 'inputs: {t: string}\nsteps: {talk: {chain: inner, inputs: {t: "{{ t }}"}}}')
    shown = on_terminal([CHAIN, "run", "outer", "cats"], demo.root)
    assert shown.code == 0, shown.text
    assert shown.lines[0].startswith("✓ ● talk")
    assert "of it" in shown.text


KINDS = (
    DRAWN
    + """
from promptchain.chain import Chain
from promptchain.cli.live import LiveSteps
from promptchain.events import *
from promptchain.events import ToolEnded, ToolStarted
from promptchain.plan import build
from promptchain.records import Run, Status, StepRun, ToolRun
steps = {
    "agent": {"prompt": "x"}, "sub": {"chain": "inner"}, "find": {"retrieve": {"from": "*.md", "query": "q"}},
    "each": {"prompt": "x", "for_each": "{{ [1] }}"},
}
passage = {"text": "t", "title": "T", "source": "a.md", "line": 3, "score": 1.0, "meta": {}}
tool = ToolRun(name="lookup", arguments={"item": "tea"})
done = tool.model_copy(update={"value": 12.5})
with LiveSteps(build(Chain.model_validate({"name": "x", "steps": steps}))) as live:
    def tell(*events):
        for event in events:
            live.observe(event)
        drawn()
    tell(StepStarted("agent", "m"), StepText("agent", '{"tool":'), ToolStarted("agent", tool), StepStarted("sub"))
    tell(ToolEnded("agent", done), StepStarted("sub.tone", "m"), StepText("sub.tone", "secret"))
    tell(StepRetried("sub.tone", "rate limit", 2.0), StepStarted("each", "m", 1), ToolEnded("each", done, 0))
    tell(ToolStarted("sub.deep.tone", tool), StepEnded("nobody.knows", StepRun(status=Status.DONE)))
    with live.paused():
        print("A QUESTION", flush=True)
    tell(StepText("agent", "Once"))
    tell(StepEnded("agent", StepRun(status=Status.DONE, value="Once")))
    tell(StepEnded("sub.tone", StepRun(status=Status.FAILED)))
    tell(StepEnded("sub", StepRun(status=Status.DONE, value={"tone": "rude"})))
    tell(StepStarted("find"), StepEnded("find", StepRun(status=Status.DONE, value=[passage])))
    tell(StepEnded("each", StepRun(status=Status.DONE, value=[1])))
"""
)


def test_tools_and_inner_chains_are_told_in_the_row_of_their_step(empty: Workspace) -> None:
    shown = on_terminal([sys.executable, "-c", KINDS], empty.root)
    assert shown.code == 0, shown.text
    text = re.sub(" +\r", "\r", re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", shown.text))
    for part in (
        'lookup(item="tea") …\r',
        'lookup(item="tea") → 12.5\r',
        "tone: rate limit; again in 2.0 s\r",
        '0 of 1  lookup(item="tea") → 12.5\r',
        'deep.tone: lookup(item="tea") …\r',
        "1 token\r",
    ):
        assert part in text, part
    assert "secret" not in text
    lines = [re.sub(r"\d+ ms|[\d.]+ s", "T", line) for line in shown.lines]
    assert lines[0] == "A QUESTION"
    assert [re.sub(" +", " ", line) for line in lines[1:]] == [
        "✓ ● agent T Once",
        '✓ ● sub T {"tone": "rude"}',
        "✓ ● find T 1 passage: a.md:3",
        "✓ ● each T [1]",
    ]

"""Tools that are marked `confirm`: who is asked, and what comes of it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys

import pytest

from tests.cli.kinds_kit import CODE, calls
from tests.cli.test_live import Terminal, on_terminal
from tests.workspace import CHAIN, Workspace

PAY = """
model: MODEL
inputs: {question: string}
steps:
  agent:
    prompt: "Question: {{ question }}"
    tools: [{python: "shop:refund", confirm: true}]
test:
  dataset: rows.jsonl
  assert: [{step: agent, type: contains, value: paid}]
"""
REFUSED = "the user did not consent to this call"
WARNING = "warning: step 'agent': the tool 'refund' was not called"
HINT = "  hint: --yes consents to all calls of tools\n"


@pytest.fixture
def pay(empty: Workspace) -> Workspace:
    empty.write("shop.py", CODE)
    empty.write("rows.jsonl", '{"question": "a"}\n{"question": "b"}\n')
    empty.write("chains/rows.jsonl", '{"question": "a"}\n{"question": "b"}\n')
    empty.chain(
        PAY,
        name="pay",
        replies=[
            {"contains": "Question:", "reply": calls("refund", order=7)},
            {"contains": "is paid back", "reply": {"answer": "It is paid."}},
            {"contains": REFUSED, "reply": {"answer": "I may not."}},
        ],
    )
    return empty


def test_without_a_terminal_nobody_consents_and_the_user_is_told(pay: Workspace) -> None:
    done = pay.invoke("run", "pay", "hi")
    assert (done.code, done.out) == (0, "I may not.\n")
    assert done.err == f"{WARNING}: nobody could be asked for consent\n{HINT}"
    [tool] = pay.records()[0]["steps"]["agent"]["tools"]
    assert (tool["error"], tool["value"]) == (REFUSED, None)


@pytest.mark.parametrize("option", ["--yes", "-y"])
def test_yes_consents_to_all(pay: Workspace, option: str) -> None:
    done = pay.invoke("run", "pay", "hi", option)
    assert (done.code, done.out, done.err) == (0, "It is paid.\n", "")


def test_a_batch_asks_nobody_and_counts(pay: Workspace) -> None:
    done = pay.invoke("run", "pay", "--batch", "rows.jsonl", "-o", "out.jsonl")
    assert done.code == 0
    assert f"{WARNING} (2 times): nobody could be asked for consent\n{HINT}" in done.err
    assert "I may not." in (pay.root / "out.jsonl").read_text()
    done = pay.invoke("run", "pay", "--batch", "rows.jsonl", "-o", "yes.jsonl", "--yes")
    assert ("warning" in done.err, (pay.root / "yes.jsonl").read_text().count("It is paid.")) == (False, 2)


def test_a_replay_consents_only_with_yes(pay: Workspace) -> None:
    pay.invoke("run", "pay", "hi", "--yes")
    done = pay.invoke("replay", "last")
    assert "I may not." in done.out
    assert WARNING in done.err
    pay.invoke("run", "pay", "hi", "--yes")
    done = pay.invoke("replay", "last", "--yes")
    assert "nothing came out differently" in done.err


def test_a_test_consents_only_with_yes(pay: Workspace) -> None:
    done = pay.invoke("test", "pay")
    assert done.code == 100
    assert WARNING in done.err
    done = pay.invoke("test", "pay", "--yes")
    assert done.code == 0, done
    assert "warning" not in done.err


def test_a_compile_consents_only_with_yes(pay: Workspace) -> None:
    rows = "".join(f'{{"question": "q{number}", "expected": {{"agent": "It is paid."}}}}\n' for number in range(40))
    pay.write("chains/rows.jsonl", rows)
    done = pay.invoke("compile", "pay", "--optimizer", "demos")
    assert WARNING in done.err, done
    done = pay.invoke("compile", "pay", "--optimizer", "demos", "--yes")
    assert WARNING not in done.err


def ask(pay: Workspace, answer: bytes | None) -> Terminal:
    """Run on a terminal, and type an answer, or interrupt, when the question stands there."""
    keyboard: list[int] = []
    asked: list[bool] = []

    def meanwhile(process: subprocess.Popen[bytes], text: str) -> bool:
        if "[y/N]" in text and not asked:
            asked.append(True)
            if answer is None:
                process.send_signal(signal.SIGINT)
            else:
                os.write(keyboard[0], answer)
        return bool(asked)

    return on_terminal([CHAIN, "run", "pay", "hi"], pay.root, meanwhile=meanwhile, keyboard=keyboard.append)


@pytest.mark.parametrize(
    ("answer", "said"),
    [(b"y\n", "It is paid."), (b"YES\n", "It is paid."), (b"n\n", "I may not."), (b"\n", "I may not."),
     (b"\x04", "I may not."), (b"perhaps\n", "I may not.")],
)  # fmt: skip
def test_on_a_terminal_the_user_is_asked(pay: Workspace, answer: bytes, said: str) -> None:
    shown = ask(pay, answer)
    assert (shown.code, shown.cursor_shown) == (0, True), shown.text
    plain = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", shown.text)
    assert "step 'agent' wants to call:\r\n  refund(order=7)\r\nCall it? [y/N] " in plain
    assert said in shown.lines
    assert any(line.startswith("✓ ● agent") for line in shown.lines)
    assert "warning" not in shown.text


def test_a_question_can_be_interrupted(pay: Workspace) -> None:
    shown = ask(pay, None)
    assert (shown.code, shown.lines[-1]) == (130, "interrupted"), shown.text
    assert pay.records()[0]["status"] == "interrupted"


def test_questions_of_tools_side_by_side_come_one_after_the_other(pay: Workspace) -> None:
    script = (
        "import asyncio, sys\n"
        "from promptchain.cli.consent import Consent\n"
        "from promptchain.steps.workshop import Wish\n"
        "consent = Consent(asks=True)\n"
        "async def main():\n"
        "    return await asyncio.gather(*(consent(Wish('a', f't{i}', {'x': '\\x1b[2J'})) for i in range(3)))\n"
        "print(asyncio.run(main()))\n"
    )
    terminal: list[int] = []
    answered: list[int] = []

    def meanwhile(process: subprocess.Popen[bytes], text: str) -> bool:
        if text.count("[y/N]") > len(answered):
            assert text.count("[y/N]") == len(answered) + 1
            os.write(terminal[0], b"n\n" if len(answered) == 1 else b"y\n")
            answered.append(1)
        return len(answered) == 3

    shown = on_terminal([sys.executable, "-c", script], pay.root, meanwhile=meanwhile, keyboard=terminal.append)
    assert "[True, False, True]" in shown.text
    assert "\x1b[2J" not in shown.text

"""`chain runs show` of runs with tools, samples, searches, code and chains in them."""

from __future__ import annotations

import json
import re

import pytest

from tests.cli.kinds_kit import ASKED, shop
from tests.workspace import Workspace


def without_times(text: str) -> str:
    return re.sub(r"\b[\d.]+ (ms|s)\b", "T", text)


@pytest.fixture
def ran(empty: Workspace) -> Workspace:
    shop(empty)
    assert empty.invoke(*ASKED).code == 0
    return empty


def block(out: str, step: str) -> list[str]:
    """The lines of a step."""
    lines = without_times(out).splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith(f"step {step}  "))
    return lines[start : lines.index("", start)]


def test_passages_are_a_list_and_the_corpus_is_named(ran: Workspace) -> None:
    head, corpus, *passages = block(ran.invoke("runs", "show", "last").out, "help")
    assert head == "step help  done, T"
    assert re.fullmatch(r"  corpus [0-9a-f]{12}", corpus)
    assert [line.split(maxsplit=1)[1] for line in passages] == [
        "chains/docs/cards.md:2  Ordering a card",
        "chains/docs/cards.md:6  Losing a card",
    ]
    full = ran.invoke("runs", "show", "last", "--full").out
    assert "    Block the card at once." in full.splitlines()
    whole = ran.invoke("runs", "show", "last", "--json").json["steps"]["help"]["fingerprint"]
    assert len(whole) > 12
    assert f"\n  corpus {whole}\n" in full


def test_code_and_chains_show_what_they_gave_and_how(ran: Workspace) -> None:
    out = ran.invoke("runs", "show", "last").out
    assert block(out, "sum") == ["step sum  done, T", "  7.0"]
    assert [re.sub(r"\d+ tokens", "N tokens", line) for line in block(out, "polite")] == [
        "step polite  done, T, 1 call, N tokens",
        "  chain inner  done, T, 1 call, N tokens",
        "    text: Where is my card?",
        "    step tone  done, T, 1 call, N tokens",
        "      polite",
        '  {"tone": "polite"}',
    ]


def test_each_draw_is_shown_and_which_was_taken(ran: Workspace) -> None:
    lines = block(ran.invoke("runs", "show", "last").out, "word")
    assert sorted(line.split(": ")[1] for line in lines[1:4]) == ["hello", "hello", "there"]
    taken = [line for line in lines if "(taken)" in line]
    assert len(taken) == 1
    assert taken[0].endswith(": hello")
    assert lines[-1] == "  hello"


def test_a_reply_that_failed_an_assertion_is_shown_with_the_reason(ran: Workspace) -> None:
    assert block(ran.invoke("runs", "show", "last").out, "short")[1:] == [
        "  not taken: it should contain 'five', and is 'soon'",
        "    it said: soon",
        "  five days",
    ]


def test_of_an_empty_reply_nothing_is_quoted(empty: Workspace) -> None:
    text = 'model: MODEL\nsteps:\n  a: {prompt: "Hi", retry: {assert: 1}, assert: [{type: contains, value: five}]}\n'
    empty.chain(text, replies=["", "five"])
    assert empty.invoke("run", "demo").code == 0
    assert block(empty.invoke("runs", "show", "last").out, "a")[1:] == [
        "  not taken: the reply is empty",
        "  five",
    ]


def test_items_have_their_own_tools(ran: Workspace) -> None:
    lines = block(ran.invoke("runs", "show", "last").out, "each")
    assert re.fullmatch(r"step each  done, T, 4 calls, \d+ tokens, 2 tool calls", lines[0])
    assert [line for line in lines if "lookup" in line] == [
        '    turn 1   lookup(item="tea") → 12.5  (T)',
        "    turn 1   lookup(item=\"milk\") → error: shop.py:4: shop:lookup raised KeyError: 'milk'  (T)",
    ]
    assert lines[-1] == '  ["12.5", "unknown"]'


def test_a_tool_loop_shows_turns_refusals_inner_runs_and_thoughts(ran: Workspace) -> None:
    lines = block(ran.invoke("runs", "show", "last").out, "agent")
    assert lines[0].endswith(", 2 tool calls")
    assert lines[1:3] == [
        "  turn 1   refund(order=7) → error: the user did not consent to this call  (T)",
        '  turn 2   tone_of(text="Hey!") → "polite"  (T)',
    ]
    assert re.fullmatch(r" {11}chain inner  done, T, 1 call, \d+ tokens", lines[3])
    assert lines[-2:] == ["  reasoning: First the money.  Now I know.", "  Done."]


def test_what_is_long_is_cut_to_the_width_and_whole_with_full(empty: Workspace) -> None:
    shop(empty)
    long = "x" * 5000
    empty.write("shop.py", f"def lookup(item: str) -> str:\n    return '{long}'\n")
    empty.chain(
        'model: MODEL\nsteps:\n  a: {prompt: "Hi", tools: ["shop:lookup"]}\n',
        name="long",
        replies=[{"contains": "Hi", "reply": {"tool": "lookup", "arguments": {"item": "y" * 900}}},
                 {"contains": "lookup gave", "reply": {"answer": "ok"}}],
    )  # fmt: skip
    assert empty.invoke("run", "long").code == 0
    short = empty.invoke("runs", "show", "last").out
    assert max(map(len, short.splitlines()[2:])) <= 120
    assert 'yyy… → "xxx' in short
    full = empty.invoke("runs", "show", "last", "--full").out
    assert f'lookup(item="{"y" * 900}") → "{long}"' in full
    assert empty.invoke("runs", "show", "last", "--json").json["steps"]["a"]["tools"][0]["value"] == long


def test_many_items_are_counted(empty: Workspace) -> None:
    empty.chain(
        """
        model: MODEL
        inputs: {words(array): string}
        steps:
          a: {for_each: "{{ words }}", prompt: "Say {{ item }}"}
        """,
        name="many",
        replies=[{"reply": "a rather long answer", "always": True}],
    )
    words = json.dumps([str(number) for number in range(30)])
    assert empty.invoke("run", "many", "-i", f"words={words}").code == 0
    short, full = (empty.invoke("runs", "show", "last", *more).out for more in ((), ("--full",)))
    assert (short.count("  item "), full.count("  item ")) == (20, 30)
    assert "  … 10 items more: --full\n" in short
    assert ("[" in block(short, "a")[-1], "[" in block(full, "a")[-1]) == (False, True)


def test_tools_cannot_command_the_terminal(empty: Workspace) -> None:
    evil = "\x1b[2J\x9b"
    shop(empty)
    empty.write("shop.py", "def lookup(item: str) -> dict:\n    raise ValueError(item)\n")
    empty.chain(
        'model: MODEL\nsteps:\n  a: {prompt: "Hi", reasoning: true, tools: ["shop:lookup"]}\n',
        name="evil",
        replies=[{"contains": "Hi", "reply": {"reasoning": evil, "tool": "lookup", "arguments": {"item": evil}}},
                 {"contains": "lookup gave", "reply": {"reasoning": evil, "answer": evil}}],
    )  # fmt: skip
    assert empty.invoke("run", "evil").code == 0
    for words in (["runs", "show", "last"], ["runs", "show", "last", "--full"]):
        assert not {"\x1b", "\x9b"} & {*empty.invoke(*words).out}

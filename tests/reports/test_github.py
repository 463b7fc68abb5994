"""Workflow commands: one line each, escaped as GitHub reads them, the most important first."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promptchain.reports.github import annotations
from promptchain.reports.numbers import clean
from promptchain.results import State
from tests.reports import kit

ONE = re.compile(r"::(error|warning) ([^:\r\n]*)::([^\r\n]*)")


def read(command: str) -> tuple[str, dict[str, str], str]:
    """A command as GitHub's runner reads it: the kind, the properties, the message."""
    match = ONE.fullmatch(command)
    assert match, command
    pairs = (each.split("=", 1) for each in match[2].split(","))
    return match[1], {name: unescaped(value) for name, value in pairs}, unescaped(match[3])


def unescaped(text: str) -> str:
    assert re.fullmatch(r"([^%]|%(25|0A|0D|3A|2C))*", text), text
    for escape, sign in (("%0A", "\n"), ("%0D", "\r"), ("%3A", ":"), ("%2C", ","), ("%25", "%")):
        text = text.replace(escape, sign)
    return text


def test_without_a_gate_the_failing_examples_are_errors() -> None:
    (command,) = annotations([kit.verdict(kit.results(2, 1))])
    assert command == (
        "::error file=chains/rows.jsonl,line=3,title=support on openai/gpt-5-mini%3A s003 fails"
        "::step reply: contains: it does not contain card"
    )


def test_with_a_gate_only_what_it_misses_is_an_error() -> None:
    (command,) = annotations([kit.verdict(kit.results(1, 1), least={"chain": 0.9})])
    kind, properties, message = read(command)
    assert kind == "error"
    assert properties == {"file": "chains/support.yaml", "title": "support on openai/gpt-5-mini: gate missed"}
    assert message == "chain is 0.500, 0.400 less than the 0.9 asked for"
    assert annotations([kit.verdict(kit.results(1, 1), least={"chain": 0.1})]) == []


def test_in_a_comparison_only_what_flipped_to_failed_is_an_error() -> None:
    now = [kit.result("a", State.FAILED, line=1), kit.result("b", State.FAILED, line=2), kit.result("c", line=3)]
    before = [kit.result("a", line=1), kit.result("b", State.FAILED, line=2), kit.result("c", State.FAILED, line=3)]
    (command,) = annotations([kit.verdict(now, before=before)])  # as many better as worse: no gate is missed
    _, properties, message = read(command)
    assert (properties["file"], properties["line"]) == ("chains/rows.jsonl", "1")
    assert properties["title"].endswith("a fails, and passed with support@production")
    assert message == "step reply: contains: it does not contain card"


def test_a_flip_says_why_the_try_failed_that_did() -> None:
    now = [kit.result("a"), *(kit.result("a", State.FAILED, sample=n, reason=f"reason {n}") for n in (1, 2))]
    (*_, command) = annotations([kit.verdict(now, before=[kit.result("a")], repeat=3)])
    assert read(command)[2].endswith("reason 1")


def test_an_example_is_told_of_once_however_often_it_was_tried() -> None:
    tries = [kit.result("a", State.FAILED, sample=n) for n in range(3)]
    assert len(annotations([kit.verdict(tries, repeat=3)])) == 1


def test_what_could_not_be_scored_is_a_warning() -> None:
    (command,) = annotations([kit.verdict(kit.results(1, 0, 1))])
    kind, properties, message = read(command)
    assert (kind, properties["line"]) == ("warning", "2")
    assert "could not be scored" in properties["title"]
    assert "the judge does not answer" in message


def test_an_evaluation_that_ended_early_is_an_error() -> None:
    (command,) = annotations([kit.verdict(kit.results(1, 0), stopped="the ceiling is reached")])
    assert read(command)[2] == "the ceiling is reached"


def test_nothing_is_said_of_what_passed() -> None:
    assert annotations([kit.verdict(kit.results(3, 0)), kit.verdict(kit.results(2, 0), before=kit.results(2, 0))]) == []
    assert annotations([]) == []


def test_a_row_without_a_line_has_none() -> None:
    (command,) = annotations([kit.verdict([kit.result(state=State.FAILED, line=None)])])
    assert "line" not in read(command)[1]


@pytest.mark.parametrize(("limit", "expected"), [(10, 10), (3, 3), (1, 1), (0, 0)])
def test_the_last_of_each_kind_counts_the_rest(limit: int, expected: int) -> None:
    verdict = kit.verdict(kit.results(1, 12, 14))
    said = [read(command) for command in annotations([verdict], limit=limit)]
    for kind, number in (("error", 12), ("warning", 14)):
        own = [each for each in said if each[0] == kind]
        assert len(own) == expected
        if own:
            assert own[-1][1]["title"] == f"{number - limit + 1} more"
            assert own[-1][2].startswith(f"{number - limit + 1} more {kind}s;")


def test_as_many_as_the_limit_are_all_shown() -> None:
    said = annotations([kit.verdict(kit.results(1, 10))])
    assert len(said) == 10
    assert not any("more" in command for command in said)


def test_gates_of_every_chain_come_before_examples() -> None:
    gated = kit.verdict(kit.results(1, 1), of=kit.case("other"), least={"chain": 0.9})
    said = [read(command)[1].get("file") for command in annotations([kit.verdict(kit.results(1, 12)), gated])]
    assert said[0] == "chains/other.yaml"


@pytest.mark.parametrize("text", kit.HOSTILE)
def test_hostile_text_stays_in_its_command(text: str) -> None:
    for command in annotations([kit.hostile(text)]):
        read(command)
        assert len(command.splitlines()) == 1


@settings(deadline=None)
@given(st.text(st.characters(categories=None)))
def test_no_text_ends_a_command_or_gets_lost(text: str) -> None:
    said = [read(command) for command in annotations([kit.verdict([kit.result(state=State.FAILED, reason=text)])])]
    expected = re.sub("\r\n|[\r\x85\u2028\u2029]", "\n", clean(text))
    assert said[0][2] == (f"step reply: contains: {expected}" if text else "step reply: contains")


def test_long_messages_are_cut() -> None:
    (command,) = annotations([kit.verdict([kit.result(state=State.FAILED, reason="ab" * 5000)])])
    assert len(read(command)[2]) == 2000
    assert command.endswith("…")


def test_secrets_are_masked() -> None:
    said = "\n".join(annotations([kit.hostile(f"a {kit.KEY}")]))
    assert kit.KEY not in said
    assert "***" in said


def test_files_count_from_the_repository() -> None:
    (told,) = annotations([kit.verdict(kit.results(1, 1))], folder="tools/prompts")
    assert read(told)[1]["file"].startswith("tools/prompts/chains/")

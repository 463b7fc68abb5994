"""Markdown: all that a reviewer looks for, tables that no value breaks, and whole sections within the limit."""

from __future__ import annotations

import doctest
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from promptchain.reports import numbers, sections
from promptchain.reports.markdown import escaped, markdown
from promptchain.results import State
from promptchain.statistics import Difference, Interval
from tests.reports import kit

PARSER = MarkdownIt("commonmark").enable(["table", "strikethrough"])
APART = "\u200b"
ANYTHING = st.one_of(
    st.sampled_from(kit.HOSTILE),
    st.text(st.characters(categories=None), max_size=80),
    st.text(st.sampled_from("|\\`*_~[]()<>&#;!@$:-+=1. \t\n\r\u2028\x00ab/w"), max_size=40),
)


class Page(HTMLParser):
    """What a browser would show: the elements, and the text of each cell of each table."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.tables: list[list[list[str]]] = []
        self.words = ""
        self.feed(PARSER.render(text))
        assert not self.open, self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data
        if {"td", "th"} & set(self.open):
            self.tables[-1][-1][-1] += data.replace(APART, "")


def tables(text: str) -> list[list[str]]:
    """The lines of each table in a report, each of which has as many cells as the first."""
    found = [block.splitlines() for block in re.split(r"\n\n", text) if block.startswith("| ")]
    for lines in found:
        assert re.fullmatch(r"\|( ---:? \|)+", lines[1])
        assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {lines[1].count("|")}, lines
        assert all(line.startswith("| ") and line.endswith(" |") for line in lines)
    return found


def rows(text: str, title: str) -> list[list[str]]:
    """The table under a heading, as it is shown."""
    at = text.index(title)
    return Page(text[at:]).tables[0]


def test_the_headline_says_how_it_ended() -> None:
    text = markdown([kit.verdict(kit.results(3, 1, 1), seconds=75.0)])
    page = Page(text)
    assert text.startswith("### ❌ support on openai/gpt-5-mini: failed, 75 % [30–95]\n")
    assert "5 examples: 3 passed, 1 failed, 1 could not be scored, 10 calls (10 new), $0.0100, 1 min 15 s" in page.words
    assert "version v12" in page.words
    assert markdown([kit.verdict(kit.results(3, 0))]).startswith("### ✅ support on openai/gpt-5-mini: passed, 100 % [")


def test_the_headline_says_what_changed() -> None:
    text = markdown([kit.verdict(kit.results(1, 3), before=kit.results(4, 0)[:3])])
    assert re.search(
        r"\n−67 points \[−\d+ to \+\d+\], p = 0\.5, compared with support@production \(0 better, 2 worse\)\. "
        r"1 example could not be compared\.\n",
        text.replace(APART, ""),
    )


def test_the_headline_says_that_it_ended_early_and_what_wavers() -> None:
    tries = [kit.result("a", sample=0), kit.result("a", State.FAILED, sample=1)]
    text = markdown([kit.verdict(tries, repeat=2, stopped="too many errors")])
    assert "It ended early: too many errors" in text
    assert "1 example, 2 tries: 1 passed, 1 failed, 1 passed in some tries only" in text


def test_the_table_of_steps() -> None:
    found = rows(markdown([kit.verdict(kit.results(3, 1))]), "#### Steps of support on openai/gpt-5-mini")
    assert found == [
        ["step", "score", "on gold", "blame", "calls", "cost", "p50", "p95"],
        ["intent", "100 % [51–100]", "100 % [51–100]", "~0 %", "4", "$0.0040", "0.50 s", "0.50 s"],
        ["reply", "75 % [30–95]", "100 % [51–100]", "~25 %", "4", "$0.0040", "0.50 s", "0.50 s"],
        ["chain", "75 % [30–95]", "–", "–", "8", "$0.0080", "1.2 s", "1.2 s"],
    ]


def test_blame_that_was_tried_has_no_mark_and_what_no_step_mends_is_told() -> None:
    tried = [kit.result(str(n), State.FAILED) for n in range(4)]
    for n, result in enumerate(tried):
        tried[n] = replace(result, steps={k: replace(v, mends=n == 0) for k, v in result.steps.items()})
    text = markdown([kit.verdict(tried)])
    assert [row[3] for row in rows(text, "#### Steps of")] == ["blame", "25 %", "25 %", "–"]
    assert "Several steps: 75 % of the failures, which no one step mends." in text
    assert "first at this step" not in text


def test_what_is_not_known_is_a_dash() -> None:
    found = rows(markdown([kit.verdict([kit.result(cost=None, gold=None)])]), "#### Steps of")
    assert [row[2] for row in found[1:]] == ["–", "–", "–"]
    assert [row[5] for row in found[1:]] == ["–", "–", "–"]


def test_several_models_are_one_table() -> None:
    second = kit.verdict(kit.results(4, 0), of=kit.case(model="local/smollm2"))
    other = kit.verdict(of=kit.case("other"))
    text = markdown([kit.verdict(kit.results(3, 1)), second, other])
    assert text.count("side by side") == 1
    found = {name: cells for name, *cells in rows(text, "#### support, side by side")}
    assert found["measure"] == ["openai/gpt-5-mini", "local/smollm2"]
    assert found["passed"] == ["no", "yes"]
    assert found["chain"] == ["75 % [30–95]", "100 % [51–100]"]
    assert found["step reply"] == ["75 % [30–95]", "100 % [51–100]"]
    assert found["cost"] == ["$0.0080", "$0.0080"]
    assert found["p95"] == ["1.2 s", "1.2 s"]


@pytest.mark.parametrize(
    ("called", "expected"),
    [(("support@v1", "support@v2"), ["support@v1", "support@v2"]), (("s", "s"), ["s (1)", "s (2)"])],
)
def test_evaluations_on_the_same_models_are_told_apart(called: tuple[str, str], expected: list[str]) -> None:
    text = markdown([kit.verdict(of=kit.case(called=name)) for name in called])
    assert rows(text, "side by side")[0] == ["measure", *expected]


def test_what_the_gate_misses() -> None:
    text = markdown([kit.verdict(kit.results(1, 1), least={"reply": 0.9})])
    assert "#### Gate of support on openai/gpt-5-mini\n\n- ❌ reply is 0.500, 0.400 less than the 0.9 asked for" in text
    assert "Gate of" not in markdown([kit.verdict(kit.results(1, 1), least={"reply": 0.2})])


def test_which_examples_flipped_worse_first_and_at_most_twenty_of_each() -> None:
    now = [kit.result(f"w{n:02}", State.FAILED, line=n + 1, reason=f"no {n}") for n in range(23)]
    now += [kit.result(f"b{n:02}") for n in range(2)]
    before = [kit.result(f"w{n:02}") for n in range(23)]
    before += [kit.result(f"b{n:02}", State.FAILED, reason="was wrong") for n in range(2)]
    text = markdown([kit.verdict(now, before=before)])
    part = text[text.index("<details>") : text.index("</details>")]
    assert "<summary>23 worse, 2 better</summary>" in part
    worse, better = Page(part + "</details>").tables
    assert [row[0] for row in worse[1:]] == [f"w{n:02}" for n in range(20)]
    assert worse[1] == ["w00", "chains/rows.jsonl:1", "reply", "step reply: contains: no 0"]
    assert "… and 3 more." in part
    assert [row[0] for row in better[1:]] == ["b00", "b01"]
    assert better[1][3] == "step reply: contains: was wrong"
    assert "<details>" not in markdown([kit.verdict(before=kit.results())])


def test_the_worst_failing_examples() -> None:
    found = [kit.result(f"s{n:02}", State.FAILED, score=n / 20, step="intent") for n in reversed(range(13))]
    text = markdown([kit.verdict(found)])
    shown = rows(text, "#### Failing examples of")
    assert [row[0] for row in shown[1:]] == [f"s{n:02}" for n in range(10)]
    assert shown[1] == ["s00", "chains/rows.jsonl:1", "intent", "step intent: contains: it does not contain card"]
    assert "… and 3 more." in text
    assert "Failing" not in markdown([kit.verdict(kit.results(2, 0))])


def test_what_could_not_be_scored() -> None:
    idle = kit.Checked(kit.Assertion(type="equals", step="reply"), missing="expected.reply")
    fine = kit.result()
    fine = replace(fine, checks=(*fine.checks, idle))
    text = markdown([kit.verdict([fine, *kit.results(0, 0, 12)])])
    shown = rows(text, "#### Not scored in")
    assert len(shown) == 11
    assert shown[1][2] == "step reply: llm-rubric: the judge does not answer"
    assert "… and 2 more." in text
    assert "assertion equals on reply: no row has expected.reply" in Page(text).words
    assert "Not scored" not in markdown([kit.verdict()])


def test_nothing_tested_is_nothing_said() -> None:
    assert markdown([]) == ""
    assert "0 examples" in markdown([kit.verdict([])])


@pytest.mark.parametrize("text", kit.HOSTILE)
def test_hostile_text_begins_no_block(text: str) -> None:
    assert set(Page(escaped(text)).tags) == {"p"}


@settings(deadline=None)
@given(ANYTHING)
def test_escaped_text_shows_as_just_that_text(text: str) -> None:
    plain, shown = numbers.line(text) or "–", escaped(text)
    for before, document in (("", shown), ("❌ ", f"- ❌ {shown}"), ("a", f"| a |\n| --- |\n| {shown} |")):
        page = Page(document)
        words = "".join(page.words.replace(APART, "").split())
        assert words == "".join((before + plain).replace(APART, "").split())
        assert set(page.tags) <= {"p", "ul", "li", "table", "thead", "tbody", "tr", "th", "td"}


@settings(deadline=None)
@given(ANYTHING)
def test_no_text_links_anybody_or_anything(text: str) -> None:
    shown = Page(escaped(f"{text}@everyone {text}#12 GH-3 https://x.example www.x.example {text}")).words
    assert not re.search(r"@\w|#\d|GH-\d|://|www\.\w", shown, re.IGNORECASE)


@settings(deadline=None)
@given(ANYTHING)
def test_no_value_breaks_a_table_or_a_section(text: str) -> None:
    report = markdown([kit.hostile(text), kit.hostile(text + "2")])
    assert len(tables(report)) == 11
    page = Page(report)
    assert all(len(row) == len(table[0]) for table in page.tables for row in table)
    assert {"img", "a", "code", "pre", "script", "em", "strong", "s", "blockquote", "hr"}.isdisjoint(page.tags)
    assert page.tags.count("details") == report.count("<details>") == report.count("</details>") == 2
    assert "@everyone" not in report
    assert "$" not in report  # GitHub would see a formula between two


@pytest.mark.parametrize("text", kit.HOSTILE)
def test_hostile_text_shows_as_text(text: str) -> None:
    report = markdown([kit.hostile(text)])
    tables(report)
    reason = rows(report, "#### Failing examples of")[1][3]
    assert numbers.line(text) in reason
    assert report.count("</details>") == 1


def test_secrets_are_masked() -> None:
    report = markdown([kit.hostile(f"a {kit.KEY}")])
    assert "abcdefghijklmnop" not in report
    assert r"\*\*\*" in report


@pytest.mark.parametrize("limit", [20_000, 9_000, 5_000, 3_000, 2_000, 1_000, 600, 100, 10, 0])
def test_only_whole_sections_are_left_out(limit: int) -> None:
    verdicts = [
        kit.verdict(kit.results(5, 30, 12), of=kit.case(f"chain{n}"), least={"chain": 0.9}, before=kit.results(35))
        for n in range(4)
    ]
    whole = markdown(verdicts)
    text = markdown(verdicts, limit=limit)
    assert len(text.encode()) <= limit < len(whole.encode())
    known = ["\n".join(lines) for lines in tables(whole)]
    assert all("\n".join(lines) in known for lines in tables(text))
    assert text.count("<details>") == text.count("</details>")
    if limit >= 600:
        assert "Left out, for want of room: " in text
        assert text.endswith(".\n")


def test_what_matters_most_is_kept_and_the_rest_named() -> None:
    verdict = kit.verdict(kit.results(5, 30, 12), least={"chain": 0.9}, before=kit.results(35))
    text = markdown([verdict], limit=2_200)
    assert "### ❌ support" in text
    assert "#### Gate of" in text
    assert "#### Steps of" in text
    assert "Failing examples of" not in text
    note = text.splitlines()[-1]
    assert note == (
        "Left out, for want of room: 1 list of flipped examples, 1 list of failing examples,"
        " 1 list of what was not scored."
    )
    assert "Left out" not in markdown([verdict])


def test_what_matters_of_the_last_chain_is_kept_before_details_of_the_first() -> None:
    verdicts = [kit.verdict(kit.results(5, 30), of=kit.case(f"c{n}"), least={"chain": 0.9}) for n in range(3)]
    text = markdown(verdicts, limit=1_600)
    assert [text.count(f"#### {title}") for title in ("Gate of", "Steps of", "Failing")] == [3, 0, 0]
    assert text.index("c0 on") < text.index("c1 on") < text.index("c2 on")


def test_all_of_a_large_evaluation_fits_a_comment() -> None:
    long = [kit.result(f"{n}" * 90, State.FAILED, reason="|<é>" * 500, file="f" * 300) for n in range(300)]
    text = markdown([kit.verdict(long, of=kit.case(f"c{n}")) for n in range(30)])
    assert len(text.encode()) <= 60_000
    assert len(text) <= 65_536


@pytest.mark.parametrize("where", [numbers, sections])
def test_the_examples_of_the_docstrings(where: object) -> None:
    assert doctest.testmod(where).attempted  # type: ignore[arg-type]
    assert not doctest.testmod(where).failed  # type: ignore[arg-type]


def test_shares_have_as_many_digits_as_they_are_worth() -> None:
    assert numbers.percent(Interval(0.3, 0.2345, 0.3749, 199)) == "30 % [23–37]"
    assert numbers.percent(Interval(0.3, 0.2345, 0.3749, 200)) == "30.0 % [23.5–37.5]"
    assert numbers.part(0.0001, 50) == "<1 %"
    assert numbers.part(1.0, 50) == "100 %"
    assert numbers.part(0.0, 500) == "0.0 %"
    assert numbers.part(None, 5) == numbers.part(float("nan"), 5) == "–"


def test_differences_have_signs() -> None:
    assert numbers.points(Difference(0.045, -0.001, 0.1, 300, 0.0004, 9, 1)) == "+4.5 points [−0.1 to +10.0], p < 0.001"
    assert numbers.points(Difference(0.0, -0.004, 0.004, 10, 1.0, 0, 0)) == "0 points [0 to 0], p = 1"
    assert numbers.points(None) == "–"

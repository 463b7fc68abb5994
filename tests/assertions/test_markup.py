"""Assertions on XML and HTML, beyond promptfoo's table."""

from __future__ import annotations

from typing import Any

import pytest

from promptchain.assertions.markup import MARKUP
from promptchain.assertions.protocol import AssertionFault, Spec, Subject, Verdict

BOMB = '<!DOCTYPE l [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]><l>&b;</l>'


def check(name: str, output: Any, value: Any = None) -> Verdict:
    return MARKUP[name](Subject(output), Spec(name, value))


def test_no_entity_is_declared() -> None:
    verdict = check("is-xml", BOMB)
    assert not verdict.passed
    assert "declarations in a DOCTYPE are not supported" in verdict.reason


def test_no_file_is_read() -> None:
    assert check("is-xml", '<!DOCTYPE l SYSTEM "file:///etc/passwd"><l>&x;</l>', ["l"]).passed


def test_the_missing_elements_are_told() -> None:
    verdict = check("is-xml", "<a><b/></a>", ["a.b", "a.c", "d"])
    assert verdict.reason == "the XML has no element a.c, d"


def test_text_and_attributes_can_be_asked_for() -> None:
    assert check("is-xml", '<a x="1">t<b/></a>', ["a.@_x", "a.#text", "a.b"]).passed
    assert check("contains-xml", 'so <a x="1"><![CDATA[t]]><b/></a>', ["a.@_x", "a.#text", "a.b"]).passed
    assert not check("is-xml", "<a><b/></a>", ["a.#text"]).passed


@pytest.mark.parametrize("name", ["is-xml", "contains-xml"])
@pytest.mark.parametrize("value", [5, [5], {"elements": ["a"]}])
def test_a_wrong_value_is_a_fault(name: str, value: Any) -> None:
    with pytest.raises(AssertionFault, match="requiredElements"):
        check(name, "<a/>", value)


def test_the_reason_says_what_is_wrong() -> None:
    assert check("is-xml", "<a><b></a>").reason == (
        "it should be XML, and is '<a><b></a>': mismatched tag: line 1, column 8"
    )
    assert check("contains-xml", "none").reason == "it should contain XML, and is 'none'"
    assert check("is-html", "none").reason == "it has text outside of all elements ('none'): 'none'"
    assert check("contains-html", "none").reason == "it should contain HTML, and is 'none'"


@pytest.mark.parametrize("name", sorted(MARKUP))
@pytest.mark.parametrize(
    "output",
    [
        "\ud800",
        "<a>" * 100_000,
        "<" * 300_000,
        "<!--" * 100_000,
        '<a b="' * 50_000,
        "<a x='1' " * 50_000,
        "<a/>" * 50_000,
    ],
    ids=range(7),
)
def test_hostile_output_is_read_in_bounded_time(name: str, output: str) -> None:
    assert check(name, output).reason.encode()


@pytest.mark.parametrize(
    ("output", "passed"),
    [
        ("<p><table>x</table>", False),
        ("<ul><li>a</ul>text", False),
        ("<span><ul></span>text", True),
        ("<textarea><p></textarea>", True),
        ("<p>a</p><!-- c -->", True),
        ("<tr>", False),
        ("</p>", False),
        ("<div></p>", True),
        ("<br></", False),
        ("<td><body>", False),
        ("<html><td>", True),
    ],
)
def test_html_is_mended_as_browsers_do(output: str, passed: bool) -> None:
    assert check("is-html", output).passed is passed

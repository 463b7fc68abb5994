"""Assertions on text: what they tell, what they refuse, and the helpers that others use."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptchain.assertions.protocol import AssertionFault, Spec, Subject
from promptchain.assertions.text import TEXT, TIMEOUT, parsed, same, scalar, search, sentence, shown
from tests.patience import at_most

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


def reason(name: str, value: Any, output: Any) -> str:
    return TEXT[name](Subject(output), Spec(name, value)).reason


@pytest.mark.parametrize(
    ("name", "value", "output", "expected"),
    [
        ("equals", "a", "b", "it should be 'a', and is 'b'"),
        ("equals", {"a": 1}, "b", "it should be {\"a\": 1}, and is 'b'"),
        ("contains", "a", "b", "it should contain 'a', and is 'b'"),
        ("contains-any", ["x", "y"], "b", "it should contain one of 'x', 'y', and is 'b'"),
        ("contains-all", ["x", "b"], "b", "it should contain 'x', and is 'b'"),
        ("icontains", "B", "abc", "it contains 'B'"),
        ("starts-with", "x", "b", "it should start with 'x', and is 'b'"),
        ("regex", "x+", "b", "it should match 'x+', and is 'b'"),
        ("is-refusal", None, "Sure", "it should be a refusal, and is 'Sure'"),
    ],
)
def test_a_reason_shows_what_was_expected_and_what_came(name: str, value: Any, output: Any, expected: str) -> None:
    assert reason(name, value, output) == expected


def test_a_reason_is_short_however_long_the_output() -> None:
    text = reason("equals", "x" * 10_000, "y" * 10_000)
    assert len(text) < 260
    assert "…" in text


def test_a_reason_can_be_printed_whatever_the_output() -> None:
    for output in ("\ud800", {"a": "\ud800"}):
        assert reason("equals", {"b": "\udfff"}, output).encode()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("contains", None),
        ("contains", ["a"]),
        ("contains-any", {"a": 1}),
        ("contains-any", [["a"]]),
        ("starts-with", None),
        ("regex", ["a"]),
        ("regex", "("),
        ("regex", "a" * 10_001),
    ],
)
def test_a_value_of_the_wrong_kind_is_a_fault_in_one_line(name: str, value: Any) -> None:
    with pytest.raises(AssertionFault) as caught:
        TEXT[name](Subject("x"), Spec(name, value))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_a_pattern_that_takes_too_long_is_a_fault() -> None:
    with at_most(3 * TIMEOUT), pytest.raises(AssertionFault, match="took longer than"):
        search("(a|aa)+$", "a" * 100_000 + "b")


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        ("(?i)hello", "HELLO", True),  # Python's, which promptfoo refuses
        (r"\p{Lu}", "É", True),
        (r"^.$", "🙂", True),
        (r"[^\W]", "é", False),
        (r"[\D]", "٣", True),
        (r"\Bb", "ab", True),
        (r"\1(a)", "a", False),
        (r"\12", "\n", True),
        (r"\0", "\0", True),
        (r"\8", "8", True),
        (r"[\1]", "\x01", True),
    ],
)
def test_patterns_beyond_those_of_the_table(pattern: str, text: str, found: bool) -> None:
    assert search(pattern, text) is found


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.0, "1"),
        (1e21, "1e+21"),
        (10**21, "1e+21"),
        (1e-7, "1e-7"),
        (0.00001, "0.00001"),
        (-2.5, "-2.5"),
        (True, "true"),
        (None, "null"),
        (float("nan"), "NaN"),
        (float("-inf"), "-Infinity"),
        ([1], None),
    ],
)
def test_numbers_are_written_as_javascript_does(value: Any, text: str | None) -> None:
    assert scalar(value) == text


def test_what_is_nested_too_deeply_is_a_fault() -> None:
    output: Any = []
    for _ in range(100_000):
        output = [output]
    with pytest.raises(AssertionFault, match="cannot be written as JSON"):
        TEXT["contains"](Subject(output), Spec("contains", "a"))
    with pytest.raises(ValueError, match="nested too deeply"):
        parsed("[" * 100_000)


@given(JSON)
def test_equals_is_reflexive(value: Any) -> None:
    assert same(value, value)
    assert TEXT["equals"](Subject(value), Spec("equals", value)).passed


@given(JSON, JSON)
def test_equality_goes_both_ways(left: Any, right: Any) -> None:
    assert same(left, right) is same(right, left)


@given(st.text(), st.text(min_size=1), st.text())
def test_what_is_put_in_is_found(before: str, part: str, after: str) -> None:
    subject = Subject(before + part + after)
    for name in ("contains", "icontains"):
        assert TEXT[name](subject, Spec(name, part)).passed
    for name in ("contains-any", "contains-all", "icontains-all"):
        assert TEXT[name](subject, Spec(name, [part])).passed


@given(JSON)
def test_a_value_in_short_is_short_and_printable(value: Any) -> None:
    assert "\n" not in shown(value)
    assert len(sentence(shown(value))) <= 100
    assert shown(value).encode()

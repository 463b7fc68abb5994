"""Assertions on how well passages were found."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from promptchain.assertions.apply import Checked, apply
from promptchain.assertions.protocol import AssertionFault, Spec, Subject, Verdict
from promptchain.assertions.retrieval import RETRIEVAL
from promptchain.criteria import Assertion
from promptchain.lm.scripted import ScriptedLM
from promptchain.retrieval.passages import Passage
from tests.evaluate_kit import check as assertion
from tests.evaluate_kit import grader_of

NAMES = tuple(RETRIEVAL)


def passages(*sources: str) -> list[dict[str, Any]]:
    """As a retrieval gives them; `a.md:3` begins at line 3."""
    found = []
    for name in sources:
        source, _, line = name.partition(":")
        found.append(Passage("some words", "T", source, int(line or 1), 1.0).to_json())
    return found


def said(name: str, output: Any, value: Any, threshold: float | None = None, **options: Any) -> Verdict:
    return RETRIEVAL[name](Subject(output), Spec(name, value, threshold, options))


def score(name: str, output: Any, value: Any, **options: Any) -> float:
    return said(name, output, value, **options).score


# By hand: found a x b, expected a b c.
FOUND, WANTED = passages("a", "x", "b"), ["a", "b", "c"]
GAIN = 1 / math.log2(2) + 1 / math.log2(4)
BEST = 1 / math.log2(2) + 1 / math.log2(3) + 1 / math.log2(4)


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("recall", {}, 2 / 3),
        ("recall", {"k": 1}, 1 / 3),
        ("recall", {"k": 2}, 1 / 3),
        ("recall", {"k": 99}, 2 / 3),
        ("mrr", {}, 1.0),
        ("ndcg", {}, GAIN / BEST),
        ("ndcg", {"k": 1}, 1.0),
        ("ndcg", {"k": 2}, 1 / (1 + 1 / math.log2(3))),
    ],
)
def test_cases_worked_by_hand(name: str, options: dict[str, Any], expected: float) -> None:
    assert score(name, FOUND, WANTED, **options) == pytest.approx(expected)


def test_the_rank_of_the_first() -> None:
    assert score("mrr", passages("x", "y", "b", "a"), WANTED) == pytest.approx(1 / 3)
    assert score("mrr", passages("x", "y", "b"), WANTED, k=2) == 0.0
    assert score("mrr", passages("x"), "a") == 0.0


def test_grades_decide_the_best_order() -> None:
    wanted = [{"source": "a", "grade": 1}, {"source": "b", "grade": 3}, {"source": "c", "grade": 0}]
    best = 3 + 1 / math.log2(3)
    assert score("ndcg", passages("b", "a"), wanted) == 1.0
    assert score("ndcg", passages("a", "b"), wanted) == pytest.approx((1 + 3 / math.log2(3)) / best)
    assert score("recall", passages("b", "a"), wanted) == 1.0  # what is worth nothing need not be found
    assert score("mrr", passages("c", "b"), wanted) == 0.5


def test_a_source_counts_once_where_it_comes_first() -> None:
    assert score("recall", passages("a:1", "a:9", "b"), ["a", "b"], k=2) == 1.0
    assert score("mrr", passages("x:1", "x:5", "a"), ["a"]) == 0.5
    assert score("ndcg", passages("a:1", "a:2", "a:3"), ["a"]) == 1.0


def test_a_source_may_be_a_place_in_a_file() -> None:
    found = passages("faq.csv:2", "faq.csv:7", "faq.csv:9")
    assert score("recall", found, "faq.csv:7") == 1.0
    assert score("mrr", found, "faq.csv:7") == 0.5
    assert score("mrr", found, "faq.csv:9") == pytest.approx(1 / 3)  # the other rows of the file are others
    assert score("mrr", found, ["faq.csv"]) == 1.0
    assert score("recall", found, ["faq.csv:7", "faq.csv"]) == 1.0  # one for the row, one for the file
    assert score("recall", found[1:2], ["faq.csv:7", "faq.csv"]) == 0.5
    assert score("recall", [{"source": "a:b.md"}], "a:b.md") == 1.0


def test_a_source_may_be_a_heading() -> None:
    found = [{"text": "t", "source": "a.md", "line": 3, "meta": {"section": "Cards > Lost"}}]
    for name in ("a.md#Lost", "a.md#Cards > Lost", "./a.md", "a.md:3"):
        assert score("recall", found, name) == 1.0, name
    for name in ("a.md#Cards", "a.md#lost", "b.md#Lost", "a.md:30", "*.md", "md"):
        assert score("recall", found, name) == 0.0, name


def test_rankings_of_a_loop_are_taken_by_rank() -> None:
    output = [passages("a", "x", "y"), None, passages("b"), []]
    assert score("recall", output, ["a", "b"], k=2) == 1.0
    assert score("recall", output, ["x"], k=2) == 0.0
    assert score("mrr", output, ["x"]) == pytest.approx(1 / 3)
    assert score("recall", [passages("a"), passages("a"), passages("b")], ["a", "b"], k=2) == 1.0


def test_other_lists_that_say_sources() -> None:
    assert score("recall", ["a", "./b"], WANTED) == pytest.approx(2 / 3)
    assert score("recall", [{"text": "t", "source": "a"}, {"text": "no source"}], ["a"]) == 1.0
    assert score("recall", FOUND, '["a", "c"]') == 0.5
    assert score("recall", ["[a"], "[a") == 1.0


@pytest.mark.parametrize("name", NAMES)
def test_nothing_expected_is_best_met_by_nothing(name: str) -> None:
    assert (score(name, [], []), score(name, None, []), score(name, FOUND, [])) == (1.0, 1.0, 0.0)
    assert score(name, [], WANTED) == 0.0
    assert "nothing expected" in said(name, FOUND, []).reason


@pytest.mark.parametrize(
    ("name", "output", "threshold", "passed"),
    [
        ("recall", FOUND, None, False),
        ("recall", FOUND, 2 / 3, True),
        ("recall", FOUND, 0.67, False),
        ("recall", FOUND, 0.0, True),
        ("recall", passages("c", "b", "a"), None, True),
        ("mrr", FOUND, None, True),
        ("mrr", FOUND[1:], None, False),
        ("mrr", FOUND[1:], 0.5, True),
        ("ndcg", FOUND, None, False),
        ("ndcg", passages("c", "b", "a", "x"), None, True),
    ],
)
def test_it_passes_from_the_threshold_on_and_else_where_it_is_perfect(
    name: str, output: Any, threshold: float | None, passed: bool
) -> None:
    assert said(name, output, WANTED, threshold).passed is passed


def test_the_reason_says_what_is_lost() -> None:
    assert said("recall", FOUND, WANTED).reason == "it found 2 of 3 expected sources, not c"
    assert said("recall", FOUND, ["a"]).reason == "it found 1 of 1 expected source"
    many = said("recall", FOUND, [f"n{number}" for number in range(9)]).reason
    assert many == "it found 0 of 9 expected sources, not n0, n1, n2 and 6 more"
    assert said("mrr", FOUND[1:], WANTED).reason == "the first expected source has rank 2"
    assert said("mrr", FOUND, "n").reason == "it found none of 1 expected source"
    assert said("ndcg", FOUND, WANTED).reason == "it has 0.70 of the gain that the best order of 3 expected sources has"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("output", "value", "options", "message"),
    [
        (FOUND, [1], {}, "must be sources that should be found, not a number"),
        (FOUND, None, {}, "must be sources that should be found, not empty"),
        (FOUND, [""], {}, "must be sources that should be found"),
        (FOUND, [{"grade": 2}], {}, "must be sources that should be found, not a mapping"),
        (FOUND, [{"source": "a", "grade": -1}], {}, "the grade of 'a' must be a number from 0 up, not -1"),
        (FOUND, [{"source": "a", "grade": math.inf}], {}, "from 0 up, not inf"),
        (FOUND, [{"source": "a", "grade": math.nan}], {}, "from 0 up, not nan"),
        (FOUND, [{"source": "a", "grade": "2"}], {}, "from 0 up, not a text"),
        (FOUND, [{"source": "a", "grade": True}], {}, "from 0 up, not true or false"),
        (FOUND, "a", {"k": 0}, "k must be a whole number from 1 up, not 0"),
        (FOUND, "a", {"k": "2"}, "k must be a whole number from 1 up, not a text"),
        ("a text", "a", {}, "it needs a list of passages, not a text"),
        ({"passages": FOUND}, "a", {}, "it needs a list of passages, not a mapping"),
        ([3], "a", {}, "number 1 of the list is no passage: a number"),
        ([{"source": 3}], "a", {}, "number 1 of the list is no passage: a mapping"),
        ([{"text": "t"}, {"text": "u"}], "a", {}, "none of the passages has a source"),
    ],
)
def test_what_cannot_be_compared_is_told(
    name: str, output: Any, value: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(AssertionFault, match=message.replace("(", r"\(")):
        said(name, output, value, **options)


sources = st.text("ab:#/.1", min_size=1, max_size=4)


@example(found=[{"source": "./", "line": 1}], wanted=["./"], k=None)
@given(
    st.lists(st.fixed_dictionaries({"source": sources, "line": st.integers(1, 3)}), max_size=6),
    st.lists(sources, max_size=4),
    st.none() | st.integers(1, 4),
)
def test_scores_are_shares(found: list[dict[str, Any]], wanted: list[str], k: int | None) -> None:
    for name in NAMES:
        assert 0 <= score(name, found, wanted, **({} if k is None else {"k": k})) <= 1


def applied(of: Assertion, output: Any, **values: Any) -> Checked:
    return asyncio.run(apply(of, Subject(output, values), grader_of(ScriptedLM([]))))


def test_as_an_assertion_of_a_chain() -> None:
    own = assertion("recall", "{{ expected.pages }}", step="help", k=2, threshold=0.5)
    assert applied(own, FOUND, expected={"pages": ["a", "b"]}).verdict == Verdict(
        True, 0.5, "it found 1 of 2 expected sources, not b"
    )
    assert applied(own, FOUND, expected={}).missing == "expected.pages"
    other = assertion("not-recall", "{{ expected.pages }}")
    assert applied(other, FOUND, expected={"pages": ["c"]}).passed is True
    inside = assertion("mrr", ["a"], transform="{{ output.found }}")
    assert applied(inside, {"found": FOUND}).passed is True


def test_the_name_of_its_mean() -> None:
    def name(type: str, **rest: Any) -> str | None:
        return assertion(type, "x", **rest).measure

    assert name("recall", step="help", k=2) == "help recall@2"
    assert name("mrr", step="help") == "help mrr"
    assert name("ndcg", output="pages") == "pages ndcg"
    assert name("ndcg") == "outputs ndcg"
    assert name("not-recall", step="help") == "help not-recall"
    assert name("recall", step="help", metric="found") == "found"
    assert (name("contains"), name("contains", metric="m")) == (None, "m")

"""Edit distance and n-grams."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptchain.assertions.protocol import AssertionFault, Spec, Subject, Verdict
from promptchain.assertions.similarity import SIMILARITY, treebank

TEXTS = st.text(alphabet="ab .,'\"()🙂é", max_size=30)


def check(name: str, output: Any, value: Any, threshold: float | None = None) -> Verdict:
    return SIMILARITY[name](Subject(output), Spec(name, value, threshold))


@pytest.mark.parametrize(
    ("name", "output", "value", "score"),
    [  # promptfoo's numbers
        ("rouge-n", "the cat sat", "the cat sat down", 6 / 7),
        ("rouge-n", "a b", "a b c", 0.8),
        ("bleu", "the cat sat on the mat", "the cat sat on a mat", 0.537284965911771),
        ("bleu", "the cat", "the cat sat", 0.6065306597126334),
        ("bleu", "one two three four", "five", 1e-7),
    ],
)
def test_scores(name: str, output: str, value: str, score: float) -> None:
    assert check(name, output, value).score == pytest.approx(score)


def test_f1_is_that_of_squad() -> None:
    assert check("f1", "The cat, sat!", "a cat sat").score == 1.0
    assert check("f1", "cat dog", "cat").score == pytest.approx(2 / 3)
    assert check("f1", "cat cat", "cat").score == pytest.approx(2 / 3)
    assert check("f1", "the", "").score == 1.0
    assert check("f1", "cat", "").score == 0.0
    assert check("f1", "cat", ["dog", "a cat"]).score == 1.0


def test_f1_passes_from_a_half_on() -> None:
    assert check("f1", "a1 b1 c1", "a1").passed  # its score is exactly a half
    assert not check("f1", "a1 b1 c1 d1", "a1").passed
    assert not check("f1", "a1 b1 c1", "a1", 0.51).passed


def test_the_reason_tells_the_score_and_the_threshold() -> None:
    assert check("bleu", "x", "y").reason == "its BLEU with 'y' is 0.00, and should be at least 0.5"
    assert check("rouge-n", "y", "y").reason == "its ROUGE-1 with 'y' is 1.00"
    assert check("levenshtein", "abc", "xyz", 2).reason == "it is 3 away from 'xyz', at most 2 is asked for: 'abc'"


@pytest.mark.parametrize("name", sorted(SIMILARITY))
@pytest.mark.parametrize("value", [None, 5, {"a": 1}, [], [1]])
def test_a_value_of_the_wrong_kind_is_a_fault(name: str, value: Any) -> None:
    with pytest.raises(AssertionFault, match="needs a text"):
        check(name, "x", value)


def test_long_texts_are_compared_as_far_as_the_threshold() -> None:
    text = "ab" * 500_000
    assert check("levenshtein", text + "c", text).passed
    assert "more than 5 away" in check("levenshtein", "x" * 1_000_000, text).reason
    assert not check("levenshtein", text, "a", 10).passed
    with pytest.raises(AssertionFault, match="too long to be compared"):
        check("levenshtein", text, text, 10**6)


def test_words_are_those_of_the_penn_treebank() -> None:
    assert treebank("they'll say: \"i can't\" (gonna), mr. x.") == [
        "they", "'ll", "say", ":", "``", "i", "ca", "n't", "''", "(", "gon", "na", ")", ",", "mr.", "x", ".",
    ]  # fmt: skip
    assert treebank("3,000 at 1:30 -- $5 ... u.s.a.") == ["3,000", "at", "1:30", "--", "$", "5", "...", "u.s.a."]
    assert treebank("  ") == []


@given(TEXTS, TEXTS)
def test_distance_is_symmetric_and_no_less_than_the_difference_in_length(left: str, right: str) -> None:
    limit = max(len(left.encode("utf-16-le")), len(right.encode("utf-16-le"))) // 2
    assert check("levenshtein", left, right, limit).passed
    for threshold in range(0, limit, 3):
        assert (
            check("levenshtein", left, right, threshold).passed is check("levenshtein", right, left, threshold).passed
        )
    if left != right:
        assert not check("levenshtein", left, right, 0).passed


@given(TEXTS, TEXTS)
def test_scores_are_between_0_and_1(left: str, right: str) -> None:
    for name in ("rouge-n", "bleu", "f1"):
        assert 0 <= check(name, left, right).score <= 1


@given(TEXTS.filter(str.strip))
def test_a_text_is_like_itself(text: str) -> None:
    assert check("bleu", text, text, 1 - 1e-9).passed
    assert check("f1", text, text, 1).passed
    assert check("rouge-n", text, text, 1).passed or not treebank(text)


def test_an_output_that_is_no_text_is_compared_as_json() -> None:
    value = {"a": [1, 2]}
    assert check("levenshtein", value, json.dumps(value, separators=(",", ":")), 0).passed

"""How good a ranking is."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptchain.retrieval.passages import fuse
from promptchain.retrieval.scores import mrr, ndcg, recall_at


def test_recall_counts_what_is_among_the_first() -> None:
    assert recall_at(2)(["a", "x", "b"], ["a", "b"]) == 0.5
    assert recall_at(3)(["a", "x", "b"], ["a", "b"]) == 1.0


def test_a_source_counts_once() -> None:
    assert recall_at(2)(["a", "a", "b"], ["a", "b"]) == 1.0
    assert mrr(["x", "x", "a"], ["a"]) == 0.5
    assert ndcg(["a", "a"], ["a"]) == 1.0


def test_mrr_is_of_the_first_that_is_right() -> None:
    assert mrr(["x", "y", "a", "b"], ["b", "a"]) == pytest.approx(1 / 3)
    assert mrr(["x"], ["a"]) == 0.0


def test_ndcg_goes_by_the_grades() -> None:
    expected = {"a": 3, "b": 2, "c": 0}
    assert ndcg(["a", "b"], expected) == 1.0
    assert ndcg(["b", "a"], expected) == pytest.approx((2 + 3 / math.log2(3)) / (3 + 2 / math.log2(3)))
    assert ndcg(["c"], expected) == 0.0
    assert ndcg(["x", "a"], expected, 1) == 0.0


def test_nothing_expected_is_right_for_nothing_found() -> None:
    for score in (recall_at(3), mrr, ndcg):
        assert score([], []) == 1.0
        assert score(["a"], {}) == 0.0
        assert score(["a"], {"a": 0}) == 0.0


@pytest.mark.parametrize("grade", [-1, math.nan, math.inf, "1"])
def test_a_grade_is_a_number(grade: object) -> None:
    with pytest.raises(ValueError, match="grade of 'a'"):
        ndcg(["a"], {"a": grade})  # type: ignore[arg-type]


def test_the_first_none_are_no_ranking() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        recall_at(0)
    with pytest.raises(ValueError, match="at least 1"):
        ndcg([], [], 0)


names = st.lists(st.sampled_from("abcdef"), max_size=8)


@given(names, st.dictionaries(st.sampled_from("abcdef"), st.floats(0, 9), max_size=6))
def test_scores_are_from_0_to_1(found: list[str], expected: dict[str, float]) -> None:
    for score in (recall_at(1), recall_at(4), mrr, ndcg):
        assert 0 <= score(found, expected) <= 1


def test_fusion_prefers_what_both_rankings_have() -> None:
    fused = fuse([["a", "b", "c"], ["c", "d"]])
    assert [key for key, _ in fused] == ["c", "a", "b", "d"]
    assert fused[0][1] == pytest.approx(1 / 63 + 1 / 61)


@given(st.lists(st.lists(st.integers(0, 9), unique=True), max_size=4))
def test_fusion_keeps_every_key_once_and_descends(rankings: list[list[int]]) -> None:
    fused = fuse(rankings)
    assert sorted(key for key, _ in fused) == sorted({key for ranking in rankings for key in ranking})
    assert all(one[1] >= other[1] for one, other in pairwise(fused))

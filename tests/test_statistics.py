"""Intervals and tests against figures that are printed elsewhere, and against brute force."""

from __future__ import annotations

import math
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptchain.statistics import gain_by_chance, paired, quantile, rows_to_settle, share, sign_test
from tests.patience import at_most


@pytest.mark.parametrize(
    ("passed", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilsons_interval_is_that_of_newcombes_table(passed: int, n: int, low: float, high: float) -> None:
    """Newcombe, Statistics in Medicine 17 (1998), 857-872, table I, method 3."""
    found = share([1.0] * passed + [0.0] * (n - passed))
    assert found is not None
    assert (round(found.low, 4), round(found.high, 4), found.n) == (low, high, n)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=50))
def test_an_interval_holds_its_estimate(scores: list[float]) -> None:
    found = share(scores)
    assert found is not None
    assert 0 <= found.low <= found.value <= found.high <= 1


@given(st.lists(st.floats(0, 1), min_size=1, max_size=50))
def test_more_of_the_same_narrows_the_interval(scores: list[float]) -> None:
    few, many = share(scores), share(scores * 4)
    assert few is not None
    assert many is not None
    assert many.high - many.low < few.high - few.low


@given(st.integers(0, 9), st.integers(0, 9))
def test_the_sign_test_counts_coins(better: int, worse: int) -> None:
    n = better + worse
    tosses = [sum(coins) for coins in product((0, 1), repeat=n)]
    as_uneven = sum(min(heads, n - heads) <= min(better, worse) for heads in tosses)
    assert math.isclose(sign_test(better, worse), min(1.0, as_uneven / len(tosses)), abs_tol=1e-9)


def test_the_sign_test_of_thousands_is_a_number() -> None:
    assert sign_test(5000, 5000) == 1.0
    assert 0 <= sign_test(10_000, 9_000) < 1e-9


@given(st.lists(st.sampled_from([-1.0, -0.5, 0.0, 0.5, 1.0]), min_size=1, max_size=60))
def test_a_difference_turns_with_its_sides(differences: list[float]) -> None:
    there, back = paired(differences), paired([-d for d in differences])
    assert there is not None
    assert back is not None
    assert there.low <= there.value <= there.high
    assert (there.better, there.worse, there.p) == (back.worse, back.better, back.p)
    assert math.isclose(there.low, -back.high, abs_tol=1e-12)


def test_bonett_and_prices_interval_of_counted_pairs() -> None:
    """By hand: 10 pairs, 4 better, 1 worse: p12 = 5/12, p21 = 2/12."""
    found = paired([1.0] * 4 + [-1.0] + [0.0] * 5)
    assert found is not None
    half = 1.959963984540054 * math.sqrt((5 / 12 + 2 / 12 - (3 / 12) ** 2) / 12)
    assert math.isclose(found.low, 3 / 12 - half)
    assert math.isclose(found.high, 3 / 12 + half)
    assert found.value == pytest.approx(0.3)


@given(st.integers(0, 9), st.integers(0, 9))
def test_a_gain_by_chance_counts_coins_on_one_side(better: int, worse: int) -> None:
    tosses = [sum(coins) for coins in product((0, 1), repeat=better + worse)]
    as_many = sum(heads >= better for heads in tosses)
    assert math.isclose(gain_by_chance(better, worse), as_many / len(tosses), abs_tol=1e-9)


@given(st.integers(0, 3000), st.integers(0, 3000))
def test_a_gain_and_the_same_loss_are_chance_together(better: int, worse: int) -> None:
    """Of n coins at least k are heads, or at least n - k + 1 are tails."""
    both = gain_by_chance(better, worse) + gain_by_chance(worse + 1, better - 1) if better else 1.0
    assert math.isclose(both, 1.0, abs_tol=1e-6)


@pytest.mark.parametrize(("better", "worse", "n", "rows"), [(3, 0, 10, 12), (1, 0, 10, 35), (5, 0, 20, 20)])
def test_rows_that_settle_a_gain_without_losses(better: int, worse: int, n: int, rows: int) -> None:
    """Four coins that all fall on one side are the least with a probability of at most a tenth."""
    assert rows_to_settle(better, worse, n, 0.1) == rows


@given(st.integers(0, 60), st.integers(0, 60), st.sampled_from([0.01, 0.05, 0.1]))
def test_so_many_rows_do_settle_it(better: int, worse: int, most_p: float) -> None:
    n = better + worse + 40
    rows = rows_to_settle(better, worse, n, most_p)
    assert rows is not None or better - worse <= 1
    if rows is not None:
        assert better > worse
        assert rows >= n
        more = 1.1 * rows / n + 0.1  # beside what rounding does
        assert gain_by_chance(round(better * more), round(worse * more)) <= most_p


def test_rows_are_told_at_once_however_many() -> None:
    with at_most(2):
        assert rows_to_settle(101, 100, 300, 0.1) == pytest.approx(100_000, rel=0.05)
        assert rows_to_settle(2000, 1999, 5000, 0.001) is None  # a thousand times as many would not do


def test_nothing_says_nothing() -> None:
    assert share([]) is None
    assert paired([]) is None
    assert quantile([], 0.5) is None
    assert sign_test(0, 0) == 1.0
    assert gain_by_chance(0, 0) == 1.0
    assert rows_to_settle(0, 0, 10, 0.1) is None
    assert rows_to_settle(2, 2, 10, 0.1) is None
    assert rows_to_settle(1, 2, 10, 0.1) is None


@given(st.lists(st.floats(0, 10), min_size=1), st.floats(0, 1))
def test_a_quantile_is_one_of_the_values_with_enough_below(values: list[float], q: float) -> None:
    found = quantile(values, q)
    assert found in values
    assert sum(value <= found for value in values) >= q * len(values)

"""The race against full evaluation, brute force, and everything that can go wrong on the way."""

from __future__ import annotations

import asyncio
import math
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promptchain.optimizers.race import Left, Race, Round, evidence, race

Table = Sequence[Sequence[float | None]]
"""The score of each arm (by its number) on each row."""


class Scores:
    """Scores from a table, noting what was asked. wait: how many turns of the loop an arm takes to answer."""

    def __init__(self, table: Table, wait: Sequence[int] = ()) -> None:
        self.table, self.wait = table, wait
        self.asked: Counter[tuple[int, int]] = Counter()
        self.finished: list[int] = []

    async def __call__(self, arm: int, rows: Sequence[int]) -> list[float | None]:
        self.asked.update((arm, row) for row in rows)
        for _ in range(self.wait[arm] if self.wait else 0):
            await asyncio.sleep(0)
        self.finished.append(arm)
        return [self.table[arm][row] for row in rows]


def run(table: Table, scores: Callable[..., Awaitable[Any]] | None = None, **how: Any) -> Race[int]:
    how.setdefault("price", lambda arm: 1.0)
    rows = range(len(table[0]))
    return asyncio.run(race(range(len(table)), rows, scores or Scores(table), **how))


def drawn(accuracies: Sequence[float], rows: int, seed: int) -> list[list[float]]:
    chance = random.Random(seed)
    return [[float(chance.random() < accuracy) for _ in range(rows)] for accuracy in accuracies]


def tables(values: st.SearchStrategy[float | None]) -> st.SearchStrategy[list[list[float | None]]]:
    """Of up to seven arms, of which each is good or bad in its own way."""

    def of(rows: int) -> st.SearchStrategy[list[list[float | None]]]:
        constant = values.map(lambda value: [value] * rows)
        return st.lists(constant | st.lists(values, min_size=rows, max_size=rows), min_size=1, max_size=7)

    return st.integers(0, 40).flatmap(of)


GRADED = st.sampled_from([0.0, 0.1, 0.3, 0.5, 1.0])
ANY = GRADED | st.none()
FEW = settings(max_examples=60, deadline=None)


@FEW
@given(tables(ANY), st.integers(0, 300), st.integers(1, 9), st.sampled_from([0.0, 0.05, 0.9]))
def test_the_ceiling_holds_and_no_row_is_scored_twice(
    table: list[list[float | None]], most: int, first: int, risk: float
) -> None:
    scores = Scores(table)
    found = run(table, scores, most=most, first=first, risk=risk)
    assert scores.asked.total() == found.evaluations <= most
    assert max(scores.asked.values(), default=1) == 1
    assert [one.rows for one in found.standings] == [
        sum(arm == index for arm, _ in scores.asked) for index in range(len(table))
    ]


@FEW
@given(tables(ANY), st.integers(0, 300) | st.none(), st.randoms(use_true_random=False))
def test_who_answers_first_changes_nothing(
    table: list[list[float | None]], most: int | None, chance: random.Random
) -> None:
    found = []
    for _ in range(3):
        wait = [chance.randrange(5) for _ in table]
        found.append(run(table, Scores(table, wait), most=most, risk=0.3))
    assert found[0] == found[1] == found[2]


def test_arms_are_scored_at_once() -> None:
    scores = Scores([[1.0] * 8, [0.0] * 8, [0.5] * 8], wait=[4, 2, 0])
    run(scores.table, scores)
    assert scores.finished == [2, 1, 0]


@FEW
@given(tables(GRADED))
def test_without_risk_and_ceiling_it_is_full_evaluation(table: list[list[float | None]]) -> None:
    scores = Scores(table)
    found = run(table, scores, risk=0.0)
    assert [one.left for one in found.standings] == [None] * len(table)
    assert found.risk == 0
    if len(table) == 1 or not table[0]:
        assert (found.evaluations, found.winner.index) == (0, 0)
        return
    assert found.evaluations == len(table) * len(table[0])
    sums = [math.fsum(one or 0.0 for one in row) for row in table]
    best = next(index for index, one in enumerate(sums) if one > max(sums) - 1e-9)
    assert found.winner == found.standings[best]
    assert found.winner.mean == pytest.approx(sums[best] / len(table[0]))


@FEW
@given(tables(GRADED), st.integers(0, 300) | st.none())
def test_the_winner_is_the_best_of_those_that_stayed(table: list[list[float | None]], most: int | None) -> None:
    found = run(table, most=most)
    stayed = [one for one in found.standings if one.left is None]
    assert found.winner in stayed
    assert all((one.mean or 0.0) <= (found.winner.mean or 0.0) + 1e-9 for one in stayed)


@given(st.lists(st.sampled_from([-1.0, -0.5, 0.0, 0.5, 1.0]), min_size=1, max_size=6).filter(lambda d: sum(d) <= 0))
@settings(max_examples=40, deadline=None)
def test_a_bet_on_what_is_not_so_wins_nothing_on_average(differences: list[float]) -> None:
    """By all orders of the rows, after any number of them: what makes the p-values hold."""
    for seen in range(len(differences) + 1):
        wealth = [evidence(order[:seen], len(order)) for order in permutations(differences)]
        assert math.fsum(wealth) / len(wealth) <= 1 + 1e-9


def test_a_bet_on_what_is_so_grows() -> None:
    grown = [evidence([1.0] * seen, 100) for seen in range(51)]
    assert grown[0] == 1
    assert grown == sorted(grown)
    assert evidence([1.0] * 14, 10**9) > 63 / 0.05 > evidence([1.0] * 13, 10**9), "a lead of 64 arms"
    assert evidence([1.0] * 14, 20) == math.inf, "6 rows cannot make up for 14"
    assert evidence([1.0] * 10, 10**9) < evidence([1.0] * 10, 40), "the remaining rows have more to make up for"
    assert evidence([1.0] * 10, 20) < math.inf, "10 can make up for 10"
    assert evidence([1.0] * 10 + [-0.9], 20) == math.inf
    assert evidence([1.0] * 10 + [-1.0] * 10, 20) < math.inf
    assert evidence([1.0, -1.0] * 5000, 10**6) < 1


def test_graded_scores_are_compared_by_their_means() -> None:
    """The better arm is a little worse on most rows and much better on a few: a sign test would throw it out."""
    table = [[0.6] * 400, [1.0 if row % 4 == 0 else 0.5 for row in range(400)]]
    random.Random(1).shuffle(table[1])
    assert run(table).winner.index == 1


def test_wrong_drops_are_rarer_than_the_risk() -> None:
    """Against full evaluation, with arms so close that to drop early is tempting; and the race does drop."""
    wrong, dropped, races = 0, 0, 150
    for seed in range(races):
        table = drawn([0.5, 0.55, 0.6, 0.2], 120, seed)
        found = run(table, risk=0.2)
        wrong += sum(table[found.winner.index]) < max(map(sum, table))
        dropped += sum(one.left is Left.RULED_OUT for one in found.standings)
    assert wrong <= 0.2 * races
    assert dropped >= races


def test_a_bad_arm_leaves_early_and_says_why() -> None:
    seen: list[Round] = []
    table = [[1.0] * 100, [0.0] * 100, [1.0] * 99 + [0.0]]
    found = run(table, watch=seen.append)
    bad = found.standings[1]
    assert (bad.left, bad.rows, bad.round, bad.mean) == (Left.RULED_OUT, 8, 1, 0.0)
    assert bad.p is not None
    assert 0 < bad.p < 0.05
    assert found.winner.index == 0
    assert (found.evaluations, found.risk) == (208, 0.05)
    assert [(one.number, one.rows, one.arms, one.leader) for one in seen] == [
        (1, 8, (0, 2), 0), (2, 16, (0, 2), 0), (3, 32, (0, 2), 0), (4, 64, (0, 2), 0), (5, 100, (0, 2), 0)
    ]  # fmt: skip
    assert seen[-1].evaluations == 208


def test_more_rivals_need_more_evidence() -> None:
    """A leader is one of many: that one of them leads by chance is likelier."""

    def p(arms: int) -> float:
        found = run([[1.0] * 100, [0.0] * 100, *[[1.0] * 100] * (arms - 2)], most=arms * 8).standings[1].p
        assert found is not None
        return found

    assert p(33) == pytest.approx(32 * p(2))


def test_the_ceiling_halves_and_its_risk_is_told() -> None:
    table = drawn([0.5] * 15 + [0.9], 64, 1)
    found = run(table, most=16 * 64 // 3)
    assert found.winner.index == 15
    assert found.winner.rows == 64
    forced = [one for one in found.standings if one.left is Left.CEILING]
    assert forced
    assert found.risk == max(one.p or 0.0 for one in forced) > 0.05
    assert found.evaluations <= 16 * 64 // 3
    rows = [one.rows for one in found.standings]
    assert sorted(set(rows))[:2] == [8, 16], "none leaves before it must"


def test_a_ceiling_that_suffices_forces_nothing() -> None:
    table = drawn([0.5, 0.55, 0.6], 40, 3)
    assert run(table, most=120) == run(table)


@pytest.mark.parametrize(
    ("most", "evaluations", "untried"), [(0, 0, 3), (15, 0, 3), (16, 16, 2), (31, 30, 1), (32, 32, 0)]
)
def test_a_small_ceiling(most: int, evaluations: int, untried: int) -> None:
    """Earlier arms first; where no two fit in, the incumbent stays unmeasured."""
    found = run([[0.2] * 20, [0.4] * 20, [0.6] * 20, [0.8] * 20], most=most)
    assert found.evaluations == evaluations
    assert [one.left for one in found.standings].count(Left.UNTRIED) == untried
    assert found.winner.index == 3 - untried
    assert found.risk == 1


def test_of_equals_the_cheapest_then_the_earliest_wins() -> None:
    rows = [1.0, 0.0, 1.0]
    prices = [5.0, 3.0, 2.0, 2.0, 1.0]
    found = run([rows, rows, rows, rows, [0.0, 0.0, 1.0]], price=prices.__getitem__)
    assert found.winner.index == 2


def test_sums_that_only_rounding_tells_apart_are_equal() -> None:
    table = [[0.0, 0.0, 0.8], [0.0, 0.1, 0.7]]
    assert math.fsum(table[0]) > math.fsum(table[1])
    found = run(table, price=[2.0, 1.0].__getitem__)
    assert found.winner.index == 1


def test_the_same_arm_is_scored_once() -> None:
    asked: list[str] = []

    async def score(arm: str, rows: Sequence[int]) -> list[float]:
        asked.append(arm)
        return [float(arm == "b")] * len(rows)

    found = asyncio.run(race(["a", "b", "b", "a"], range(8), score, price=len))
    assert asked == ["a", "b"]
    assert [one.left for one in found.standings] == [None, None, Left.SAME, Left.SAME]
    assert found.winner.arm == "b"
    assert found.risk == 0


def test_a_row_without_a_score_is_for_and_against_nobody() -> None:
    """Arm 1 lacks the hard rows, on which arm 0 fails now and then: its mean is higher, and it is no better."""
    easy, hard = [1.0] * 20, [1.0] * 5 + [0.0] * 5
    found = run([easy + hard, [*easy[1:], 0.0, *[None] * 10]], first=30)
    assert [one.mean for one in found.standings] == pytest.approx([25 / 30, 19 / 20])
    assert found.winner.index == 0
    assert run([[0.5] * 30, [0.6] * 20 + [None] * 10], first=30).winner.index == 1, "nor does its lower sum count"


def test_an_arm_that_is_never_scored_does_not_win() -> None:
    found = run([[0.0] * 20, [None] * 20], price=[2.0, 1.0].__getitem__)
    assert found.winner.index == 0
    assert found.standings[1].mean is None


@pytest.mark.parametrize("rows", [[], [None] * 20])
def test_where_nothing_is_measured_the_incumbent_wins(rows: list[float | None]) -> None:
    prices = [2.0, 1.0, 1.0, 1.0]
    assert run([rows] * 4, price=prices.__getitem__).winner.index == 0
    assert run([rows] * 4, price=prices.__getitem__, most=40).winner.index == 0


def test_a_single_arm_costs_nothing() -> None:
    found = run([[0.0] * 20])
    assert (found.winner.index, found.evaluations, found.rounds, found.risk) == (0, 0, 0, 0)


def test_what_scoring_raises_goes_on_and_the_rest_is_cancelled() -> None:
    cancelled: list[int] = []

    async def score(arm: int, rows: Sequence[int]) -> list[float]:
        if arm == 1:
            raise LookupError("the model is gone")
        try:
            await asyncio.sleep(300)
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            cancelled.append(arm)
            raise
        return [0.0] * len(rows)

    async def both() -> None:
        with pytest.raises(LookupError, match="the model is gone"):
            await race(range(3), range(8), score, price=float)
        assert cancelled == [0, 2]

    asyncio.run(both())


@pytest.mark.parametrize("wrong", [[0.5] * 7, [0.5] * 7 + [1.5], [0.5] * 7 + [math.nan]])
def test_a_wrong_score_is_refused(wrong: list[float]) -> None:
    async def score(arm: int, rows: Sequence[int]) -> list[float]:
        return wrong

    with pytest.raises(ValueError, match="arm 0: the score of each row"):
        asyncio.run(race(range(2), range(8), score, price=float))


@pytest.mark.parametrize("wrong", [{"risk": 1.0}, {"risk": -0.1}, {"first": 0}])
def test_a_wrong_race_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="a race needs"):
        run([[0.0], [1.0]], **wrong)
    with pytest.raises(ValueError, match="a race needs"):
        asyncio.run(race([], [1], Scores([]), price=float))

"""The best of many arms (candidate prompts) with few evaluations: they meet on the same rows, and losers leave early.

After each round, in which every arm that is still in is scored on the next rows, as many as it has seen, two things
make an arm leave. It is *ruled out* when the evidence that the leader is better than it on all rows is strong enough
(a race: Maron and Moore, "Hoeffding races", NIPS 6 (1994); Birattari et al., "A racing algorithm for configuring
metaheuristics" (F-Race), GECCO 2002). And the *ceiling* on evaluations makes the worst leave, but no more of them than
it must, with half of those that are left going after each later round (sequential halving: Karnin, Koren and Somekh,
"Almost optimal exploration in multi-armed bandits", ICML 2013; Jamieson and Talwalkar, "Non-stochastic best arm
identification and hyperparameter optimization", AISTATS 2016).
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

A = TypeVar("A")
R = TypeVar("R")
_T = TypeVar("_T")
Score = Callable[[A, Sequence[R]], Awaitable[Sequence[float | None]]]

FIRST = 8
"""Rows of the first round."""

_ROUNDING = 1e-9
"""Two sums of scores that are nearer than this are equal."""

_BETS = tuple((n + 0.5) / 8 for n in range(8))
"""Shares of the highest bet that is safe."""


class Left(StrEnum):
    """Why an arm is not in the race any more."""

    SAME = "it is the same as an earlier one"
    UNTRIED = "the ceiling left no evaluations for it"
    RULED_OUT = "another is better"
    CEILING = "the ceiling left no evaluations to go on with it"


@dataclass(frozen=True, slots=True)
class Standing(Generic[A]):
    """What became of an arm.

    mean: of its scores; None for no scores. rows: how many it was scored on, those that could not be scored included.
    left: None for one that was in to the end. round: the last it took part in; 0 for none.
    p: how likely evidence as strong as that which stood against it when it left is, if none of the arms is better than
        it (at any time, for any leader: it is corrected for both); None where nothing stood against it.
    """

    arm: A
    index: int
    mean: float | None = None
    rows: int = 0
    round: int = 0
    left: Left | None = None
    p: float | None = None


@dataclass(frozen=True, slots=True)
class Round:
    """What is told after each round. rows: seen by each arm that took part; arms, leader: indexes of those that go on
    and of the best of them; evaluations: made so far."""

    number: int
    rows: int
    arms: tuple[int, ...]
    leader: int
    evaluations: int


@dataclass(frozen=True, slots=True)
class Race(Generic[A]):
    """How a race ended.

    standings: of every arm, in the order of the arms. evaluations: pairs of arm and row that were scored.
    risk: the bound on having dropped the best arm that what was done comes to: 0 where every arm was scored on every
        row, at most the `risk` asked for where the ceiling forced nothing, and up to 1, which is no bound at all,
        where it did.
    """

    winner: Standing[A]
    standings: tuple[Standing[A], ...]
    rounds: int
    evaluations: int
    risk: float


async def race(
    arms: Sequence[A],
    rows: Sequence[R],
    score: Score[A, R],
    *,
    price: Callable[[A], float],
    risk: float = 0.05,
    most: int | None = None,
    first: int = FIRST,
    watch: Callable[[Round], None] | None = None,
) -> Race[A]:
    """The best arm on the rows; arm 0 is the incumbent, which wins where nothing could be measured.

    rows: in random order; the bound rests on that.
    score: a value in [0, 1] for each row. For None the row is left out wherever this arm is compared. All arms of a
        round are scored at once; what it raises goes on to the caller, after the others are cancelled.
    price: of arms that are equally good the cheapest wins, of those the earliest.
    risk: of dropping the best, less than 1; 0 drops no arm that the ceiling does not force out.
    most: evaluations at most. Where they do not suffice for `first` rows for each arm, the earlier arms take part;
        for fewer than two arms nothing is scored.
    first: rows of the first round; each later one has as many as all before it.

    The bound: in all but `risk` of the orders that the rows may have, an arm that is at least as good as every other
    on all `rows` is not ruled out, whichever arms led and however often it was looked. What was not dropped is scored
    on every row, so that its ranking is exact; without `most` the winner is then, but for `risk`, that of scoring
    every arm on every row. It is no bound on the winner's being the best on *other* rows: with few rows and arms close
    to each other scoring everything would not find that one either. Nor are the means of the standings unbiased: the
    winner's is the highest of many.

    With `most` the bound that what was done comes to is reported. The data chose its level. For bets that is sound in
    the sense that 1/risk, counted where the best was dropped, is at most 1 on average (Grünwald, PNAS 121 (2024),
    e2302098121), but it is no frequency of errors at that level.
    """
    if not arms or not 0 <= risk < 1 or first < 1:
        raise ValueError("a race needs an arm, a risk of at least 0 and less than 1, and a row to begin with")
    course = _Course(arms, len(rows), price, first, most)
    while block := course.next_block():
        scores = await together(score(arms[index], rows[block[0] : block[1]]) for index in course.running)
        course.take(block, scores)
        course.rule_out(risk)
        course.make_room()
        if watch is not None:
            watch(course.told())
    return course.end(risk)


async def together(works: Iterable[Awaitable[_T]]) -> list[_T]:
    """All results; at the first exception the others are cancelled and waited for."""
    tasks: list[asyncio.Future[_T]] = []
    try:
        tasks.extend(asyncio.ensure_future(work) for work in works)
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


class _Course(Generic[A]):
    """A race under way. It decides, and asks nobody."""

    def __init__(self, arms: Sequence[A], rows: int, price: Callable[[A], float], first: int, most: int | None) -> None:
        self._arms, self._rows, self._first = arms, rows, min(first, rows)
        self._most = len(arms) * rows if most is None else most
        self._prices = [price(arm) for arm in arms]
        self._scores: list[list[float | None]] = [[] for _ in arms]
        self._gone: dict[int, tuple[Left, int, float | None]] = {}
        self._round = self._seen = self._spent = 0
        # Those that are in, the best first.
        self.running = list(range(len(arms)))
        self._leave([index for index, arm in enumerate(arms) if arm in arms[:index]], Left.SAME)
        if rows:
            self._leave(self.running[max(1, self._most // self._first) :], Left.UNTRIED)
        self._rivals = len(self.running) - 1

    def next_block(self) -> tuple[int, int] | None:
        """From and to which row the arms that are in are scored next; None at the end."""
        many = len(self.running)
        if many == 1:
            return None
        to = min(2 * self._seen or self._first, self._rows, self._seen + (self._most - self._spent) // many)
        return (self._seen, to) if to > self._seen else None

    def take(self, block: tuple[int, int], scores: Sequence[Sequence[float | None]]) -> None:
        size = block[1] - block[0]
        for index, new in zip(self.running, scores, strict=True):
            if len(new) != size or not all(one is None or 0 <= one <= 1 for one in new):
                raise ValueError(f"arm {index}: the score of each row is a number in [0, 1], or None")
            self._scores[index] += new
        self._spent += len(self.running) * size
        self._seen = block[1]
        self._round += 1
        self.running = self._ranked()

    def rule_out(self, risk: float) -> None:
        """Have those leave that are worse than the leader, as far as `risk` allows. Once all rows are seen there is
        nothing to judge: the order is exact."""
        if self._seen < self._rows:
            self._leave([index for index in self.running[1:] if self._p(index) < risk], Left.RULED_OUT)

    def make_room(self) -> None:
        """Have the worst leave, as few as must for the ceiling to suffice to the last row, if half of the rest leaves
        after each later round."""
        keep = len(self.running)
        while keep > 2 and _to_come(keep, self._seen, self._rows) > self._most - self._spent:
            keep -= 1
        self._leave(self.running[keep:], Left.CEILING)

    def told(self) -> Round:
        return Round(self._round, self._seen, tuple(sorted(self.running)), self.running[0], self._spent)

    def end(self, risk: float) -> Race[A]:
        if self._seen < self._rows:
            self._leave(self.running[1:], Left.CEILING)
        standings = tuple(self._standing(index) for index in range(len(self._arms)))
        bound = max(_risk_of(standing, risk) for standing in standings)
        return Race(standings[self.running[0]], standings, self._round, self._spent, bound)

    def _leave(self, indexes: Sequence[int], why: Left) -> None:
        for index in indexes:
            p = self._p(index) if why in (Left.RULED_OUT, Left.CEILING) else None
            self._gone[index] = (why, self._round, p)
        self.running = [index for index in self.running if index not in self._gone]

    def _ranked(self) -> list[int]:
        """Those that are in by their lead over the field: what an arm scored less what the field did on the same rows
        on average, so that a row without a score is neither for nor against it. Where no score is missing that is the
        order of means."""
        columns = zip(*(self._scores[index] for index in self.running), strict=True)
        field = [_mean(column) for column in columns]
        keys = {}
        for index in self.running:
            pairs = [(one, usual) for one, usual in zip(self._scores[index], field, strict=True) if one is not None]
            lead = math.fsum(one for one, _ in pairs) - math.fsum(usual or 0.0 for _, usual in pairs)
            keys[index] = (not pairs, -round(lead, 9), self._prices[index], index)
        if all(without for without, *_ in keys.values()):
            return sorted(self.running)
        return sorted(self.running, key=lambda index: keys[index])

    def _p(self, index: int) -> float:
        """The leader's evidence against an arm as a p-value that holds at any time.

        Were the arm the best, the evidence of each of its rivals would be 1 on average at most, and so would the mean
        of theirs, of which the leader's is a part: whoever led, and however that was chosen. By Ville's inequality
        that mean ever comes to 1/p in at most a share p of all races.
        """
        pairs = zip(self._scores[self.running[0]], self._scores[index], strict=True)
        differences = [0.0 if ours is None or theirs is None else ours - theirs for ours, theirs in pairs]
        found = evidence(differences, self._rows)
        return min(1.0, self._rivals / found) if found else 1.0

    def _standing(self, index: int) -> Standing[A]:
        scores = self._scores[index]
        left, number, p = self._gone.get(index, (None, self._round, None))
        return Standing(self._arms[index], index, _mean(scores), len(scores), number, left, p)


def evidence(differences: Sequence[float], rows: int) -> float:
    """The evidence against "over all rows the differences sum to nothing or less", from the first of them: what 1 has
    become that was bet, row by row, on their being positive. At most 1 on average where the claim is true; infinite
    where a row has shown it to be impossible.

    differences: in [-1, 1], those of the rows seen, of `rows` in random order.

    The bets are those of Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting", J. R.
    Stat. Soc. B 86 (2024), 1-27, for sampling without replacement: what the claim still allows the remaining rows to
    be on average falls with each that contradicts it. Eight fixed shares of the highest safe bet are held, and their
    mean counts, so that nothing has to be known of the differences.

    For passes and failures it needs about as many rows as the exact sign test at a level corrected for five looks, and
    fewer the more of all rows are seen; and of graded scores it compares means, which the sign test does not.
    """
    wealth = [1.0] * len(_BETS)
    total = 0.0
    for seen, difference in enumerate(differences):
        # No mean of the remaining differences above this one goes with the claim.
        highest = -total / (rows - seen)
        room = 1 + highest
        if room < _ROUNDING:
            if difference + 1 > _ROUNDING or room < -_ROUNDING:
                return math.inf
        else:
            gain = (difference - highest) / room
            wealth = [have * (1 + bet * gain) for have, bet in zip(wealth, _BETS, strict=True)]
        total += difference
    return math.fsum(wealth) / len(wealth)


def _to_come(arms: int, seen: int, rows: int) -> int:
    """Evaluations until all rows are seen, if after each round half of the arms leave, but for the last two."""
    found = 0
    while seen < rows:
        to = min(2 * seen, rows)
        found += arms * (to - seen)
        arms, seen = max(2, (arms + 1) // 2), to
    return found


def _risk_of(standing: Standing[A], risk: float) -> float:
    """What an arm's leaving adds to the bound. It is no sum: only one arm is the best."""
    match standing.left:
        case None | Left.SAME:
            return 0.0
        case Left.RULED_OUT:
            return risk
        case Left.UNTRIED | Left.CEILING:
            return 1.0 if standing.p is None else standing.p


def _mean(scores: Sequence[float | None]) -> float | None:
    found = [one for one in scores if one is not None]
    return math.fsum(found) / len(found) if found else None

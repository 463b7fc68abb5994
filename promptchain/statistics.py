"""What numbers say and do not say: intervals, paired differences, quantiles. Pure, and without numpy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

Z = 1.959963984540054
"""The normal quantile of a two-sided interval of 95 %."""

_TOO_SMALL = 50.0
"""How much less the logarithm of a summand is where it does not change the sum."""


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its 95 % interval; n: examples it rests on."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True)
class Difference:
    """A paired difference, after less before, with its 95 % interval. p: of the exact two-sided sign test, which for
    one try each is McNemar's. better, worse: examples that changed either way."""

    value: float
    low: float
    high: float
    n: int
    p: float
    better: int
    worse: int


def share(scores: Sequence[float]) -> Interval | None:
    """The mean of scores in [0, 1] with Wilson's score interval (J. Am. Stat. Assoc. 22 (1927), 209-212); None for no
    scores.

    For passes and failures that is the textbook interval. Scores between (an example that was repeated) vary less than
    passes of the same mean, so that it is too wide for them, never too narrow.
    """
    n = len(scores)
    if n == 0:
        return None
    mean = math.fsum(scores) / n
    middle = (mean + Z * Z / (2 * n)) / (1 + Z * Z / n)
    half = Z / (1 + Z * Z / n) * math.sqrt(mean * (1 - mean) / n + Z * Z / (4 * n * n))
    return Interval(mean, min(mean, max(0.0, middle - half)), max(mean, min(1.0, middle + half)), n)


def paired(differences: Sequence[float]) -> Difference | None:
    """What the differences of pairs say; None for no pairs.

    The interval is Bonett and Price's for paired proportions (J. Educ. Behav. Stat. 37 (2012), 479-488): Wald's with
    one more pair changed each way, here also for differences between -1 and 1.
    """
    n = len(differences)
    if n == 0:
        return None
    total, squares = math.fsum(differences), math.fsum(d * d for d in differences)
    middle = total / (n + 2)
    half = Z * math.sqrt(max(0.0, (squares + 2) / (n + 2) - middle**2) / (n + 2))
    value = total / n
    better, worse = sum(d > 0 for d in differences), sum(d < 0 for d in differences)
    low, high = min(value, max(-1.0, middle - half)), max(value, min(1.0, middle + half))
    return Difference(value, low, high, n, sign_test(better, worse), better, worse)


def gain_by_chance(better: int, worse: int) -> float:
    """The probability that of `better + worse` fair coins as many or more fall on the side of `better` (one-sided sign
    test, exact up to rounding).

    >>> gain_by_chance(5, 0)
    0.03125
    """
    n = better + worse
    logs: list[float] = []
    for k in range(better, n + 1):
        logs.append(_log_choose(n, k) - n * math.log(2))
        if 2 * k > n and logs[-1] < logs[0] - _TOO_SMALL:
            break  # from the middle on each is less than the one before
    highest = max(logs)
    return min(1.0, round(math.exp(highest) * math.fsum(math.exp(log - highest) for log in logs), 12))


def rows_to_settle(better: int, worse: int, n: int, most_p: float) -> int | None:
    """About how many examples would show such a gain with a probability by chance of at most `most_p`; None where there
    was no gain among these n, or one so small that a thousand times as many would not do."""
    if better <= worse:
        return None

    def settled(tenths: int) -> bool:  # of what there is
        return gain_by_chance(round(better * tenths / 10), round(worse * tenths / 10)) <= most_p

    least, most = 10, 10_000
    if not settled(most):
        return None
    while least < most:
        middle = (least + most) // 2
        least, most = (least, middle) if settled(middle) else (middle + 1, most)
    return math.ceil(n * least / 10)


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def sign_test(better: int, worse: int) -> float:
    """The probability that of `better + worse` fair coins as many fall on one side, or more unevenly (two-sided, exact
    up to rounding).

    >>> sign_test(5, 0)
    0.0625
    """
    n, least = better + worse, min(better, worse)
    if n == 0:
        return 1.0
    # In logarithms: 2**n is no float from 1,024 changed examples on.
    logs = [_log_choose(n, k) - n * math.log(2) for k in range(least + 1)]
    highest = max(logs)
    tail = math.exp(highest) * math.fsum(math.exp(log - highest) for log in logs)
    return min(1.0, round(2 * tail, 12))


def quantile(values: Sequence[float], q: float) -> float | None:
    """The nearest-rank quantile; None for no values.

    >>> quantile([3.0, 1.0, 2.0], 0.5)
    2.0
    """
    if not values:
        return None
    return sorted(values)[max(0, math.ceil(q * len(values)) - 1)]

"""How good a ranking is: the sources found, best first, against those expected. Pure; every score is in [0, 1].

A source that is found several times counts where it is found first. What is expected of nothing is 1 for nothing found,
else 0, so that a question without an answer can be an example too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

Score = Callable[[Sequence[str], Collection[str]], float]
"""Found sources, best first, and the expected ones; a mapping of them gives each a grade above 0."""


def recall_at(k: int) -> Score:
    """The share of what is expected that is among the first `k` found. Raises ValueError for k < 1."""
    _at_least_one(k)

    def score(found: Sequence[str], expected: Collection[str]) -> float:
        wanted = _grades(expected)
        if not wanted:
            return float(not found)
        return len(wanted.keys() & set(_distinct(found)[:k])) / len(wanted)

    return score


def mrr(found: Sequence[str], expected: Collection[str]) -> float:
    """One divided by the rank of the first found that is expected; 0 where none is."""
    wanted = _grades(expected)
    if not wanted:
        return float(not found)
    return next((1 / rank for rank, source in enumerate(_distinct(found), 1) if source in wanted), 0.0)


def ndcg(found: Sequence[str], expected: Collection[str], k: int | None = None) -> float:
    """Normalised discounted cumulated gain of the first `k` (None for all), discounted by the logarithm of base 2.

    Järvelin and Kekäläinen, "Cumulated gain-based evaluation of IR techniques", ACM Transactions on Information Systems
    20 (2002), 422-446, with the discount 1 / log2(rank + 1), so that the first two ranks differ. Raises ValueError for
    k < 1 and for a grade that is no number from 0 up.
    """
    if k is not None:
        _at_least_one(k)
    wanted = _grades(expected)
    if not wanted:
        return float(not found)
    best = _gain(sorted(wanted.values(), reverse=True)[:k])
    return min(1.0, _gain([wanted.get(source, 0.0) for source in _distinct(found)[:k]]) / best)


def _gain(grades: Iterable[float]) -> float:
    return math.fsum(grade / math.log2(rank + 1) for rank, grade in enumerate(grades, 1))


def _grades(expected: Collection[str]) -> dict[str, float]:
    grades = expected if isinstance(expected, Mapping) else dict.fromkeys(expected, 1.0)
    for source, grade in grades.items():
        if isinstance(grade, str) or not math.isfinite(grade) or grade < 0:
            raise ValueError(f"the grade of '{source}' must be a number from 0 up, not {grade!r}")
    return {source: float(grade) for source, grade in grades.items() if grade > 0}


def _distinct(found: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(found))


def _at_least_one(k: int) -> None:
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}")

"""`chain compile` against DSPy on BANKING77: eight intents, SmolLM2-135M, 120 rows to compile with and 100 to test on.

    uv run --group bench pytest tests/benchmarks/test_compile_quality.py -m benchmark -s

Each side decides itself which of the 120 rows it compares candidates on. Its calls are all that it made but those on
the test rows, which DSPy does not need to make; ours makes 200, for it adopts only what they confirm.
"""

from __future__ import annotations

import math
from pathlib import Path
from statistics import median

import pytest

from promptchain.statistics import Interval, share
from tests.benchmarks.banking import Optimizer, Result, run_dspy, skip_without_data
from tests.benchmarks.compile_side import Ours, compiled
from tests.benchmarks.measure import say

pytestmark = pytest.mark.benchmark

CALLS = 600
SEEDS = (0, 1, 2)
CURVE = (250, 300, 400, 500, 600)
"""Budgets in all, of which 200 or a third are for the test rows."""

DSPY: tuple[Optimizer, ...] = ("random", "mipro")


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> list[Ours]:
    skip_without_data()
    return [compiled(tmp_path_factory.mktemp("ours") / "project", seed, CALLS) for seed in SEEDS]


def _interval(correct: int, rows: int) -> Interval:
    found = share([1.0] * correct + [0.0] * (rows - correct))
    assert found is not None
    return found


def _shown(correct: int, rows: int) -> str:
    found = _interval(correct, rows)
    return f"{found.value:.2f} [{found.low:.2f}–{found.high:.2f}]"


def test_three_quarters_are_right_within_600_calls(ours: list[Ours]) -> None:
    for one in ours:
        seed = round(one.test.before * one.test.examples)
        say(
            f"compile, seed {one.seed}",
            f"{_shown(seed, one.test.examples)} → {_shown(one.correct, one.test.examples)} by {one.calls} calls, "
            f"{one.searching} of them searching, {one.seconds:.0f} s: {one.chosen}",
        )
    assert all(one.calls <= CALLS for one in ours)
    assert median(one.correct / one.test.examples for one in ours) >= 0.75


def test_the_curve_of_score_against_calls(tmp_path: Path) -> None:
    skip_without_data()
    for budget in CURVE:
        found = [compiled(tmp_path / f"{budget}-{seed}", seed, budget) for seed in SEEDS]
        scores = [one.correct / one.test.examples for one in found]
        calls = [one.searching for one in found]
        say(f"at most {budget} calls", f"median {median(scores):.2f} ({scores}), searching with {calls} calls")


@pytest.mark.parametrize("optimizer", DSPY)
def test_more_is_right_than_with_dspy(optimizer: Optimizer, ours: list[Ours]) -> None:
    theirs = [run_dspy(optimizer, seed, CALLS, curve=True) for seed in SEEDS]
    for one in theirs:
        say(
            f"DSPy {optimizer}, seed {one.seed}",
            f"{_shown(one.test_correct, one.test_n)} by {one.calls} calls, {one.seconds:.0f} s; "
            f"{one.unparsed} replies unread; it reached our score {_reached(one, ours)}",
        )
    both = median(one.correct for one in ours), median(one.test_correct for one in theirs)
    say(f"median of ours and of DSPy {optimizer}", f"{both[0]:.0f} and {both[1]:.0f} of 100")
    assert both[0] > both[1]


def _reached(theirs: Result, ours: list[Ours]) -> str:
    wanted = next(one.correct for one in ours if one.seed == theirs.seed)
    calls = min((point.calls for point in theirs.curve if (point.test_correct or 0) >= wanted), default=math.inf)
    return "never" if math.isinf(calls) else f"after {calls:.0f} calls"

"""Few-shot examples, the same for every request."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from promptchain.lm.protocol import Request
from promptchain.lm.scripted import ScriptedLM
from promptchain.optimizers import demos
from promptchain.optimizers.protocol import demo_tokens
from tests.evaluate_kit import check, example
from tests.optimizers.kit import DEV, STEP, TRAIN, demo, seeds, shown, tune


def counting(request: Request) -> str:
    """Knows what it does once there are demos of both kinds: at least two of each."""
    number = int(request.messages[-1].content.rsplit(maxsplit=1)[-1])
    kinds = Counter(answer for _, answer in shown(request))
    return ("odd" if number % 2 else "even") if min(kinds["odd"], kinds["even"]) >= 2 else "odd"


def test_the_demos_that_help_are_found() -> None:
    lm = ScriptedLM(counting)
    found = tune(demos.optimize, lm)
    assert found.best.what == "4 demos"  # eight are as good, and longer
    assert (found.before, found.after) == (0.5, 1.0)
    assert found.best.variant.demos is not None
    assert Counter(one.output for one in found.best.variant.demos) == {"odd": 2, "even": 2}
    assert found.best.variant.nearest is None


def test_sets_differ_in_size_order_and_content() -> None:
    lm = ScriptedLM("odd")
    found = tune(demos.optimize, lm, most=10_000)
    sets = {tuple(shown(request)) for request in lm.requests} - {()}
    assert found.tried == len(sets) == 16
    assert Counter(map(len, sets)) == {1: 4, 2: 4, 4: 4, 8: 4}
    assert all(abs(sum(answer == "odd" for _, answer in one) * 2 - len(one)) <= 1 for one in sets)


@pytest.mark.parametrize(("most", "tokens"), [(0, 1500), (1, 1500), (3, 1500), (8, 0), (8, 3), (8, 10), (30, 1500)])
def test_no_request_has_more_demos_than_may_be(most: int, tokens: int) -> None:
    lm = ScriptedLM("odd")
    tune(demos.optimize, lm, max_demos=most, max_demo_tokens=tokens, most=10_000)
    sets = [shown(request) for request in lm.requests]
    assert max(map(len, sets), default=0) <= most
    assert all(sum(demo_tokens(demo(user[7:], answer)) for user, answer in one) <= tokens for one in sets)


def test_all_demos_are_of_the_training_rows() -> None:
    lm = ScriptedLM("odd")
    tune(demos.optimize, lm, held_out=[*DEV, *TRAIN[:30]], most=10_000)
    said = {user for request in lm.requests for user, _ in shown(request)}
    assert said == seeds(*TRAIN[30:])


def test_the_files_own_demos_are_replaced() -> None:
    steps = {"a": {**STEP, "demos": [demo("7", "odd").model_dump()]}}
    found = tune(demos.optimize, ScriptedLM(counting), steps=steps)
    assert found.best.variant.demos is not None
    assert demo("7", "odd") not in found.best.variant.demos
    assert sum(map(demo_tokens, found.best.variant.demos)) < 10


def test_without_demos_the_step_stays_as_it_is() -> None:
    lm = ScriptedLM("odd")
    found = tune(demos.optimize, lm, train=())
    assert (found.note, found.tried, lm.requests) == ("the training examples offer no demos", 0, [])


def test_the_same_seed_gives_the_same_sets_and_another_others() -> None:
    def sets(seed: int) -> list[Any]:
        lm = ScriptedLM("odd")
        tune(demos.optimize, lm, seed=seed)
        return sorted({repr(shown(request)) for request in lm.requests})

    assert sets(0) == sets(0) != sets(1)


def test_traces_are_among_the_trials() -> None:
    lm = ScriptedLM("aa")
    rows = [example(str(number)) for number in range(90)]
    tune(
        demos.optimize, lm, steps={"a": "A {{ q }}"}, train=rows[:60], dev=rows[60:], most=60,
        assertions=[check("contains", "a", step="a")],
    )  # fmt: skip
    assert len(lm.requests) <= 60

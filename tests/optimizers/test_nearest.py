"""Few-shot examples picked anew for each request."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from promptchain.lm.protocol import Request
from promptchain.lm.scripted import ScriptedLM
from promptchain.optimizers import nearest
from promptchain.optimizers.protocol import demo_tokens
from tests.evaluate_kit import example
from tests.optimizers.kit import DEV, TRAIN, demo, seeds, shown, tune

WORDS = ("card", "refund", "weather", "exchange")
STEPS = {"a": {"prompt": "Number {{ q }}", "output": {"enum": list(WORDS)}}}
ROWS = [example(f"{word} {n}{extra}", {"a": word}) for n, extra in enumerate("abcdef") for word in WORDS]


def copying(request: Request) -> str:
    """Says what the last demo says."""
    demos = shown(request)
    return demos[-1][1] if demos else "card"


@pytest.fixture(autouse=True)
def without_embeddings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearest, "find_spec", lambda _: None)


def test_the_likest_are_shown_where_that_helps() -> None:
    found = tune(nearest.optimize, ScriptedLM(copying), steps=STEPS, train=ROWS[:16], dev=ROWS[16:])
    assert (found.before, found.after) == (0.25, 1.0)
    picked = found.best.variant.nearest
    assert picked is not None
    assert (picked.count, picked.by, len(picked.pool), found.best.what) == (
        1,
        "lexical",
        16,
        "1 nearest of 16, lexical",
    )
    assert found.best.variant.demos == ()


def test_the_pool_is_in_one_order_whatever_the_seed() -> None:
    def pool(seed: int) -> Any:
        found = tune(nearest.optimize, ScriptedLM(copying), steps=STEPS, train=ROWS[:16], dev=ROWS[16:], seed=seed)
        return found.best.variant.nearest

    assert pool(0) == pool(1)
    texts = [one.model_dump_json() for one in pool(0).pool]
    assert all(one < other for one, other in pairwise(texts))


def test_the_pool_is_balanced_and_no_larger_than_may_be() -> None:
    train = [*ROWS[:16], *(example(f"card {n}", {"a": "card"}) for n in range(50))]
    options: dict[str, Any] = {"steps": STEPS, "train": train, "dev": ROWS[16:], "max_pool": 8}
    picked = tune(nearest.optimize, ScriptedLM(copying), **options).best.variant.nearest
    assert picked is not None
    assert len(picked.pool) == 8
    assert sorted(one.output for one in picked.pool) == sorted(WORDS * 2)


@pytest.mark.parametrize(("most", "tokens"), [(0, 1500), (1, 1500), (3, 1500), (8, 0), (8, 3), (8, 10), (30, 1500)])
def test_no_request_has_more_demos_than_may_be(most: int, tokens: int) -> None:
    lm = ScriptedLM("odd")
    tune(nearest.optimize, lm, max_demos=most, max_demo_tokens=tokens, most=10_000)
    for request in lm.requests:
        assert len(shown(request)) <= most
        assert sum(demo_tokens(demo(user[7:], answer)) for user, answer in shown(request)) <= tokens


def test_all_that_is_picked_is_of_the_training_rows() -> None:
    lm = ScriptedLM("odd")
    tune(nearest.optimize, lm, held_out=[*DEV, *TRAIN[:30]], most=10_000)
    said = {user for request in lm.requests for user, _ in shown(request)}
    assert said
    assert said <= seeds(*TRAIN[30:])


@pytest.mark.parametrize(("rows", "note"), [(0, "no demos to pick from"), (3, "only 3 demos to pick from")])
def test_few_are_not_picked_from(rows: int, note: str) -> None:
    lm = ScriptedLM("odd")
    found = tune(nearest.optimize, lm, train=TRAIN[:rows])
    assert (found.note, found.tried, lm.requests) == (note, 0, [])


def test_more_are_not_asked_for_than_leave_a_choice() -> None:
    lm = ScriptedLM("odd")
    tune(nearest.optimize, lm, train=TRAIN[:5], most=10_000)
    assert {len(shown(request)) for request in lm.requests} == {0, 1, 2, 4}


def test_by_meaning_is_tried_where_it_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wordllama")
    monkeypatch.setattr(nearest, "find_spec", lambda name: name)
    lm = ScriptedLM("odd")
    assert tune(nearest.optimize, lm, train=TRAIN[:5], dev=DEV[:2], most=10_000).tried == 6

"""A row stays where it is, whatever comes beside it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptchain.errors import PromptChainError, UsageError
from promptchain.examples import Example
from promptchain.optimizers.split import Parts, check, split
from promptchain.tuning import Tuning
from tests.evaluate_kit import example

VALUES = st.one_of(st.text(st.characters(), max_size=9), st.integers(), st.none(), st.booleans(), st.just("\ud83d"))
INPUTS = st.dictionaries(st.sampled_from("abcd"), st.one_of(VALUES, st.lists(VALUES, max_size=3)), min_size=1)
ROWS = st.lists(INPUTS, max_size=12, unique_by=lambda row: json.dumps(row, sort_keys=True))


def examples(rows: Sequence[dict[str, Any]], **rest: Any) -> list[Example]:
    return [example(f"e{n}", inputs=inputs, **rest) for n, inputs in enumerate(rows)]


def places(parts: Parts) -> dict[str, str]:
    """The part of each row, by its inputs."""
    return {
        json.dumps(one.inputs, sort_keys=True): name
        for name in ("train", "dev", "test")
        for one in getattr(parts, name)
    }


@given(ROWS, ROWS, st.randoms())
def test_a_row_stays_in_its_part(rows: list[dict[str, Any]], others: list[dict[str, Any]], random: Any) -> None:
    before = places(split(examples(rows), Tuning()))
    assert len(before) == len(rows)
    more = [*rows, *others]
    random.shuffle(more)
    turned = [dict(reversed(inputs.items())) for inputs in more]
    changed = [
        example(str(random.random()), inputs=inputs, expected={"a": random.random()}, beside={"note": "x"})
        for inputs in turned
    ]
    after = places(split(changed, Tuning(seed=random.randrange(9), optimizer="demos", max_p=0.2)))
    assert {key: after[key] for key in before} == before


@given(ROWS, st.randoms())
def test_the_order_within_a_part_is_that_of_chance_and_no_other(rows: list[dict[str, Any]], random: Any) -> None:
    found = examples(rows)
    one = split(found, Tuning())
    random.shuffle(found)
    assert split(found, Tuning()) == one


def test_another_optional_input_moves_no_row() -> None:
    rows = [{"q": n} for n in range(30)]
    before = [one.inputs["q"] for one in split(examples(rows), Tuning()).test]
    after = [one.inputs["q"] for one in split(examples([{**row, "more": None} for row in rows]), Tuning()).test]
    assert before == after


def test_the_shares_are_those_asked_for() -> None:
    rows = examples([{"q": n} for n in range(3000)])
    parts = split(rows, Tuning.model_validate({"split": {"train": 0.5, "dev": 0.2, "test": 0.3}}))
    assert len(parts.train) == pytest.approx(1500, abs=120)
    assert len(parts.dev) == pytest.approx(600, abs=100)
    assert str(parts) == f"{len(parts.train)} train, {len(parts.dev)} dev, {len(parts.test)} test"
    assert [one.inputs["q"] for one in parts.train] != sorted(one.inputs["q"] for one in parts.train)


def test_rows_of_the_same_inputs_are_together() -> None:
    rows = [example(f"{n}{i}", {"a": i}, inputs={"q": n}) for n in range(30) for i in range(2)]
    for part in (split(rows, Tuning()).train, split(rows, Tuning()).dev, split(rows, Tuning()).test):
        assert len(part) == 2 * len({one.inputs["q"] for one in part})


@pytest.mark.parametrize(
    ("said", "part"), [("train", "train"), ("val", "dev"), ("validation", "dev"), ("test", "test")]
)
def test_a_column_may_say_it(said: str, part: str) -> None:
    rows = examples([{"q": n} for n in range(9)], beside={"split": said})
    assert set(places(split(rows, Tuning())).values()) == {part}


@pytest.mark.parametrize("said", ["", None])
def test_an_empty_column_says_nothing(said: Any) -> None:
    rows = [{"q": n} for n in range(30)]
    assert places(split(examples(rows, beside={"split": said}), Tuning())) == places(split(examples(rows), Tuning()))


@pytest.mark.parametrize("said", ["tset", 3, ["train"]])
def test_a_column_that_says_something_else_is_an_error(said: Any) -> None:
    with pytest.raises(UsageError, match="none of train, dev, test") as caught:
        split([example(beside={"split": said})], Tuning())
    assert str(caught.value).startswith("rows.jsonl:1")


def test_a_part_without_rows_is_an_error() -> None:
    with pytest.raises(PromptChainError, match=r"none is for dev \(1 train, 0 dev, 0 test\)"):
        check(Parts((example(),), (), ()))
    with pytest.raises(PromptChainError, match="none is for test"):
        check(Parts((), (example(),), ()))
    check(Parts((), (example(),), (example(),)))

"""How a chain is compiled: shares of the rows, and which of several settings holds."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from promptchain.tuning import Split, Tuning, effective


def test_a_chain_that_says_nothing_has_the_defaults() -> None:
    assert effective(Tuning(), {}) == Tuning()
    assert (Tuning().optimizer, Tuning().calls, Tuning().max_demos) == ("auto", None, 8)


@pytest.mark.parametrize(
    ("own", "recorded", "given", "seed"),
    [
        ({}, {"seed": 1}, {}, 1),
        ({"seed": 2}, {"seed": 1}, {}, 2),
        ({"seed": 2}, {"seed": 1}, {"seed": 3}, 3),
        ({}, {}, {"seed": 3}, 3),
        ({"seed": 0}, {"seed": 1}, {}, 0),  # a default that is written out is said
    ],
)
def test_what_is_given_beats_the_file_and_that_beats_the_lock(
    own: dict[str, Any], recorded: dict[str, Any], given: dict[str, Any], seed: int
) -> None:
    assert effective(Tuning(**own), recorded, given).seed == seed


def test_what_one_says_does_not_silence_the_others() -> None:
    found = effective(Tuning(max_demos=4), {"teacher": "t", "max_demos": 2}, {"optimizer": "demos"})
    assert found == Tuning(max_demos=4, teacher="t", optimizer="demos")


def test_a_split_is_taken_as_a_whole() -> None:
    other = {"train": 0.6, "dev": 0.2, "test": 0.2}
    assert effective(Tuning(), {"split": other}).split == Split(**other)
    assert effective(Tuning.model_validate({"split": {"train": 0.4}}), {"split": other}).split == Split()


@given(st.floats(0.01, 0.98), st.floats(0.01, 0.98))
def test_shares_make_up_the_whole(train: float, dev: float) -> None:
    rest = 1 - train - dev
    if rest > 1e-3:
        assert Split(train=train, dev=dev, test=rest).dev == dev
    with pytest.raises(ValidationError):
        Split(train=train, dev=dev, test=min(0.999, abs(rest) + 0.01))


@pytest.mark.parametrize(
    "wrong",
    [{"optimizer": "best"}, {"calls": -1}, {"max_demos": 65}, {"max_p": 0.6}, {"split": {"train": 0}}, {"demos": 1}],
)
def test_what_settings_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        effective(Tuning(), {}, wrong)

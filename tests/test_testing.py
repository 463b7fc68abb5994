"""Which examples a chain is tested on: of which files, and on another version of it without a list of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import pytest

from promptchain import testing
from promptchain.binding import BoundPlan
from promptchain.chain import Chain
from promptchain.errors import UsageError
from promptchain.examples import Example
from promptchain.project import Project
from promptchain.testing import Case
from tests.evaluate_kit import chain_of, example
from tests.workspace import Workspace

CHAIN = chain_of({"a": "{{ q }}"})


def case_of(chain: Chain) -> Case:
    return Case("c@v1", "c@v1", chain, cast(BoundPlan, None))


def test_examples_go_to_another_version_one_by_one() -> None:
    read: list[str] = []

    def rows() -> Iterator[Example]:
        for number in range(1000):
            read.append(f"e{number}")
            yield example(f"e{number}", inputs={"q": "x", "tone": "kind"})

    first = next(iter(testing.suited(case_of(CHAIN), rows())))
    assert (first.inputs, read) == ({"q": "x"}, ["e0"])


@pytest.mark.parametrize("inputs", [{"q": "string", "n": "integer"}, {"q": "integer"}])
def test_a_version_that_takes_other_inputs_is_told_of_beforehand(inputs: dict[str, Any]) -> None:
    other = case_of(Chain.model_validate({**CHAIN.model_dump(by_alias=True, exclude_unset=True), "inputs": inputs}))
    with pytest.raises(UsageError, match="c@v1 takes other inputs: ") as error:
        testing.check_suited(other, CHAIN, [example("e1", inputs={"q": "x"})])
    assert str(error.value.where) == "rows.jsonl:1"


def test_the_same_inputs_are_not_looked_through_again() -> None:
    def rows() -> Iterator[Example]:
        raise AssertionError("a dataset may be large")
        yield

    testing.check_suited(case_of(CHAIN), CHAIN, rows())


def test_a_pattern_takes_all_files_that_fit(empty: Workspace) -> None:
    for number in range(1200):
        empty.write(f"chains/rows/{number}.jsonl", "{}\n")
    chain = chain_of({"a": "{{ q }}"}, test={"dataset": "rows/*.jsonl"})
    assert len(testing.dataset_files(Project.find(empty.root), chain)) == 1200

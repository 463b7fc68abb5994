"""What our assertions say of a table of cases is what promptfoo says of them."""

from __future__ import annotations

from typing import Any

import pytest

from promptchain.assertions.functions import FUNCTIONS
from promptchain.assertions.protocol import AssertionFault, Spec, Subject
from promptchain.assertions.similarity import SIMILARITY
from promptchain.assertions.structure import STRUCTURE
from promptchain.assertions.text import TEXT
from tests.assertions.promptfoo_cases import CASES, RAISES

CHECKS = {**TEXT, **STRUCTURE, **SIMILARITY, **FUNCTIONS}


def said(kind: str, value: Any, threshold: float | None, output: Any) -> bool | None:
    name = kind.removeprefix("not-")
    try:
        verdict = CHECKS[name](Subject(output), Spec(name, value, threshold))
    except AssertionFault:
        return RAISES
    return (verdict.negated() if kind != name else verdict).passed


@pytest.mark.parametrize(("kind", "value", "threshold", "output", "expected"), CASES)
def test_promptfoo_says_so_too(
    kind: str, value: Any, threshold: float | None, output: Any, expected: bool | None
) -> None:
    assert said(kind, value, threshold, output) is expected


def test_there_are_cases_of_all_but_our_own_and_those_of_a_provider() -> None:
    ours = {"schema", "f1"}
    tried = {case[0].removeprefix("not-") for case in CASES}
    assert set(CHECKS) - ours - tried == {name for name in FUNCTIONS if name.startswith("is-valid")}

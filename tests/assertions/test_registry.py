"""Every name that a chain file may have is an assertion, and the other way round."""

from __future__ import annotations

from promptchain.assertions.registry import ASKING, CHECKS
from promptchain.criteria import ASSERTIONS


def test_each_name_has_one_function() -> None:
    assert not CHECKS.keys() & ASKING.keys()
    assert CHECKS.keys() | ASKING.keys() | {"assert-set"} == set(ASSERTIONS)

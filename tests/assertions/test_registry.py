"""Every name that a chain file may have is an assertion, and the other way round."""

from __future__ import annotations

from promptchain.assertions.judged import JUDGED as ASKING_A_JUDGE
from promptchain.assertions.rag import RAG
from promptchain.assertions.registry import ASKING, CHECKS
from promptchain.criteria import ASSERTIONS, JUDGED


def test_each_name_has_one_function() -> None:
    assert not CHECKS.keys() & ASKING.keys()
    assert CHECKS.keys() | ASKING.keys() | {"assert-set"} == set(ASSERTIONS)


def test_those_that_ask_a_judge_are_known_before_anything_runs() -> None:
    assert JUDGED | {"similar"} == ASKING_A_JUDGE.keys() | RAG.keys()

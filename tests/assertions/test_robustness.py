"""Whatever an output is, an assertion gives a verdict or an AssertionFault."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promptchain.assertions.functions import FUNCTIONS
from promptchain.assertions.protocol import AssertionFault, Spec, Subject
from promptchain.assertions.similarity import SIMILARITY
from promptchain.assertions.structure import STRUCTURE
from promptchain.assertions.text import TEXT
from promptchain.assertions.usage import USAGE

CHECKS = {**TEXT, **STRUCTURE, **SIMILARITY, **USAGE, **FUNCTIONS}

MARKS = st.text(alphabet="{}[]<>/\"'`\\:,=&;!-#() \n.aA1é🙂\ud800", max_size=60)
OUTPUTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | MARKS | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
VALUES = (
    st.none() | OUTPUTS | st.sampled_from(["a", ["a"], {"type": "object"}, [{"name": "a"}], {"databaseType": "MySQL"}])
)


@pytest.mark.parametrize("name", sorted(CHECKS))
@settings(max_examples=60, deadline=None)
@given(output=OUTPUTS, value=VALUES, threshold=st.none() | st.floats(0, 10))
def test_a_verdict_or_a_fault(name: str, output: Any, value: Any, threshold: float | None) -> None:
    try:
        verdict = CHECKS[name](Subject(output), Spec(name, value, threshold))
    except AssertionFault:
        return
    assert 0 <= verdict.score <= 1
    assert verdict.reason.encode()
    assert "\n" not in verdict.reason
    assert len(verdict.reason) < 600


def test_nothing_heavy_is_imported_with_the_modules() -> None:

    code = (
        "import promptchain.assertions.text, promptchain.assertions.structure, promptchain.assertions.similarity, "
        "promptchain.assertions.functions, promptchain.assertions.expressions, promptchain.assertions.usage, sys; "
        "print({'regex', 'sqlglot', 'rapidfuzz', 'simpleeval', 'jsonschema', 'referencing'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"

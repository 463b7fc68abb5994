"""Python expressions as assertions: what they may, what they say, and that they are bounded."""

from __future__ import annotations

import resource
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptchain.assertions.expressions import expression, verdict_of
from promptchain.assertions.protocol import AssertionFault, Spec, Subject
from tests.patience import at_most

VALUES = {"expected": {"label": "yes", "items": [1, 2]}, "n": 3}


def evaluated(source: Any, output: Any = "aaa", threshold: float | None = None) -> Any:
    return expression(Subject(output, values=VALUES), Spec("python", source, threshold))


@pytest.mark.parametrize(
    "source",
    [
        "len(output) == n",
        "output.upper() == 'AAA'",
        "expected.label == 'yes'",
        "expected['items'] == [1, 2]",
        "expected.items == [1, 2]",
        "expected.get('none') is None",
        "any(w in output for w in ['b', 'a'])",
        "all([len(output) < 10, output.startswith('a')])",
        "sorted(['b', 'a'])[0] == 'a'",
        "set(output) == {'a'}",
        "max(1, 2) == 2 and min([3, 4]) == 3 and sum([1, 2]) == 3",
        "round(1.26, 1) == 1.3 and abs(-1) == 1 and int('5') == 5 and float('1.5') == 1.5",
        "str({'a': 1}) == '{\"a\": 1}' and bool(output)",
        "', '.join(['a', 'b']) == 'a, b'",
        "f'{n}!' == '3!'",
        "output.replace('a', 'b') == 'bbb'",
        "{k: v for k, v in expected.items} == {} if n == 4 else True",
        "'x' not in output or output[0:1] == 'a'",
        "output.count('a') == 3",
        "  True  ",
    ],
)
def test_what_an_expression_may_use(source: str) -> None:
    assert evaluated(source).passed


HOSTILE = [
    "'a' * 10**9",
    "['a'] * 10**9",
    "9**9**9",
    "(9**1000)**1000",
    "1 << 10**9",
    "().__class__",
    "output.__class__.__mro__",
    "expected.__class__",
    "(lambda: 1)()",
    "__import__('os')",
    "open('/etc/passwd')",
    "eval('1')",
    "list(range(10**12))",
    "[1 for a in output * 100 for b in output * 100 for c in output * 100]",
    "[[c for c in output * 1000] for d in output * 1000]",
    "''.join([output * 100000 for c in output * 1000])",
    "(output * 1000).replace('a', 'b' * 100000)",
    "'%1000000000d' % 1",
    "f'{1:1000000000}'",
    "'{:1000000000}'.format(1)",
    "'a'.ljust(10**9)",
    "str([[output * 1000] * 1000] * 1000)",
    "[[[[1] * 1000] * 1000] * 1000] * 1000 == [[[[1] * 1000] * 1000] * 1000] * 1000",
    "round(10, -10**9)",
    "int('9' * 5000)",
    "sum([[1] * 1000] * 1000, [])",
    "[].append(1)",
    "'" + "a" * 20_000 + "'",
    "-" * 9_000 + "1",
    "(" * 5_000 + "1" + ")" * 5_000,
]


@pytest.mark.parametrize("source", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_expression_is_a_fault_soon(source: str) -> None:
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with at_most(5), pytest.raises(AssertionFault) as caught:
        evaluated(source)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 300_000  # KiB
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("x == 1", "'x' is not defined"),
        ("1 / 0", "division by zero"),
        ("expected['none']", "failed: KeyError: 'none'$"),
        ("output = 3", "is not an expression"),
        ("import os", "is not an expression"),
        ("", "needs an expression"),
        (5, "needs an expression"),
        ("print(1)", "'print' not defined"),
        ("output.nothing", "a str has no 'nothing' here"),
        ("len(output)", "the code gave 3, and a score is between 0 and 1; compare a number"),
        ("None", "the code gave null"),
        ("1e400", "Infinity"),
    ],
)
def test_a_wrong_expression_is_a_fault(source: Any, fault: str) -> None:
    with pytest.raises(AssertionFault, match=fault):
        evaluated(source)


@pytest.mark.parametrize(
    ("result", "threshold", "passed", "score"),
    [
        (True, None, True, 1.0),
        (False, None, False, 0.0),
        (0.3, None, True, 0.3),
        (0, None, False, 0.0),
        (1, None, True, 1.0),
        (0.3, 0.5, False, 0.3),
        (0.5, 0.5, True, 0.5),
        ("true", None, True, 1.0),
        ("False", None, False, 0.0),
        ("0.4", None, True, 0.4),
        ('{"pass": true, "score": 0.4}', None, True, 0.4),
        ({"pass": True}, None, True, 1.0),
        ({"pass_": False}, None, False, 0.0),
        ({"pass": True, "score": 0.4}, 0.5, False, 0.4),
        ({"pass": False, "score": 0.9}, 0.5, False, 0.9),
        ({"score": 0.9}, 0.5, True, 0.9),
        ({"score": 0.0}, None, False, 0.0),
    ],
)
def test_what_a_result_says(result: Any, threshold: float | None, passed: bool, score: float) -> None:
    verdict = verdict_of(result, Spec("python", "f", threshold))
    assert (verdict.passed, verdict.score) == (passed, score)
    assert verdict.reason


def test_a_reason_is_kept() -> None:
    assert verdict_of({"pass": False, "reason": "too rude"}, Spec("python")).reason == "too rude"
    below = verdict_of({"pass": True, "score": 0.2, "reason": "dull"}, Spec("python", threshold=0.5))
    assert below.reason == "its score is 0.2, and should be at least 0.5: dull"


@pytest.mark.parametrize(
    "result", [None, "yes", [1], {}, {"pass": 1}, {"pass": True, "score": 2}, -0.1, float("nan"), object()]
)
def test_any_other_result_is_a_fault(result: Any) -> None:
    with pytest.raises(AssertionFault, match="the code gave"):
        verdict_of(result, Spec("python"))


RESULTS = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["pass", "score", "reason"]), inner),
)


@given(RESULTS)
def test_a_verdict_has_a_score_from_0_to_1(result: Any) -> None:
    try:
        verdict = verdict_of(result, Spec("python"))
    except AssertionFault:
        return
    assert 0 <= verdict.score <= 1


@given(st.text(alphabet="output.()[]{}'\"+*-/%<>=,: 019axforin", max_size=40))
def test_no_expression_raises_anything_else(source: str) -> None:
    with suppress(AssertionFault):
        evaluated(source)

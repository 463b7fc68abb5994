"""Two evaluations side by side, and whether one is good enough."""

from __future__ import annotations

from typing import Any

import pytest

from promptchain import comparison, gates
from promptchain.comparison import Comparison, compare
from promptchain.criteria import Gate
from promptchain.results import ExampleResult
from promptchain.statistics import sign_test
from promptchain.summary import summarise
from tests.evaluate_kit import plan_of
from tests.test_summary import CHAIN, checked, ranked, result

P, F, E = "passed", "failed", "error"


def side(states: str, **rest: Any) -> list[ExampleResult]:
    """One result for each letter; 2/P is given as two letters in brackets by `repeated`."""
    names = {"P": P, "F": F, "E": E}
    return [
        result(f"e{n}", names[letter], a=letter == "P" if letter != "E" else None, first="a" if letter == "F" else None)
        for n, letter in enumerate(states)
    ]


def compared(before: str, after: str) -> Comparison:
    return compare(("old", "new"), side(before), side(after))


def test_flips_go_both_ways() -> None:
    found = compared("PPFFP", "PFPFP")
    assert [(flip.id, flip.better, flip.first) for flip in found.flips] == [("e1", False, "a"), ("e2", True, "a")]
    assert ([flip.id for flip in found.worse], [flip.id for flip in found.better]) == (["e1"], ["e2"])
    assert (found.flips[0].before.state, found.flips[0].after.state) == (P, F)
    assert found.chain is not None
    assert (found.chain.value, found.chain.n, found.chain.better, found.chain.worse, found.chain.p) == (0, 5, 1, 1, 1.0)
    assert found.chain.low < 0 < found.chain.high


def test_the_difference_is_paired() -> None:
    found = compared("P" * 8 + "FF", "FFFFF" + "PPP" + "FF")
    assert found.chain is not None
    assert (found.chain.value, found.chain.better, found.chain.worse) == (-0.5, 0, 5)
    assert found.chain.p == sign_test(0, 5) == 0.0625
    assert found.steps["a"] == found.chain
    assert "b" not in found.steps


def test_what_could_not_be_scored_on_both_sides_is_left_out() -> None:
    found = compare(("old", "new"), side("PPEF"), [*side("PEPP")[:3], result("e9")])
    assert (found.chain and found.chain.n, found.left_out) == (1, 4)
    assert [flip.id for flip in found.flips] == []


def test_nothing_in_common() -> None:
    for found in (compared("EE", "PP"), compared("", "")):
        assert (found.chain, found.steps, found.flips) == (None, {}, ())
        [miss] = gates.regressions(found, 0.0)
        assert (miss.name, "nothing can be compared with old" in miss.message) == ("old", True)


def test_with_repeats_an_example_has_flipped_where_most_tries_did() -> None:
    def tries(id: str, states: str) -> list[ExampleResult]:
        names = {"P": P, "F": F, "E": E}
        return [result(id, names[one], sample=n, first="a" if one == "F" else None) for n, one in enumerate(states)]

    before = tries("x", "PPP") + tries("y", "PPF") + tries("z", "PPE") + tries("w", "PF")
    after = tries("x", "PFF") + tries("y", "PFP") + tries("z", "EFF") + tries("w", "PP")
    found = compare(("old", "new"), before, after)
    assert [(flip.id, flip.better) for flip in found.flips] == [("x", False), ("z", False), ("w", True)]
    assert found.chain is not None
    assert found.chain.value == pytest.approx((-2 / 3 + 0 - 1 + 0.5) / 4)
    assert all(flip.first == "a" for flip in found.flips)


def test_a_version_with_other_steps_is_compared_by_those_of_both() -> None:
    older = [ExampleResult(**{**vars_of(one), "steps": {"a": one.steps["a"]}}) for one in side("PF")]
    found = compare(("old", "new"), older, side("PP"))
    assert list(found.steps) == ["a"]
    found = compare(("old", "new"), side("PP"), older)
    assert list(found.steps) == ["a"]


def vars_of(one: ExampleResult) -> dict[str, Any]:
    return {name: getattr(one, name) for name in ExampleResult.__dataclass_fields__}


def test_as_json() -> None:
    data = comparison.to_json(compared("PF", "FP"))
    assert data["flipped"] == [
        {"id": "e0", "where": "rows.jsonl:1", "to": "failed", "step": "a"},
        {"id": "e1", "where": "rows.jsonl:1", "to": "passed", "step": "a"},
    ]
    assert (data["before"], data["after"], data["left_out"]) == ("old", "new", 0)
    assert set(data["chain"]) == {"difference", "low", "high", "p", "better", "worse", "n"}
    assert comparison.to_json(compared("E", "P"))["chain"] is None


# -- gates -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("least", "missed"),
    [
        ({}, []),
        ({"chain": 0.3}, []),
        ({"chain": 0.31}, ["chain is 0.300, 0.010 less than the 0.31 asked for"]),
        ({"a": 0.3, "chain": 0.5}, ["chain is 0.300, 0.200 less than the 0.5 asked for"]),
        ({"a": 0.9}, ["a is 0.300, 0.600 less than the 0.9 asked for"]),
        ({"b": 0.0}, ["b has no score; the gate asks for at least 0"]),
        ({"m": 0.5}, []),
        ({"m": 0.6}, ["m is 0.500, 0.100 less than the 0.6 asked for"]),
        ({"chain": 0.4, "a": 0.4}, ["chain is 0.300, 0.100 less than the 0.4 asked for",
                                    "a is 0.300, 0.100 less than the 0.4 asked for"]),
    ],
)  # fmt: skip
def test_the_least_scores(least: dict[str, float], missed: list[str]) -> None:
    results = [*side("PPPFFFFFF"), result("last", F, a=False, first="a", checks=(checked(0.5, "m"),))]
    found = gates.misses(Gate(min=least), summarise(plan_of(CHAIN), results))
    assert [miss.message for miss in found] == missed
    assert [miss.name for miss in found] == [message.split()[0] for message in missed]


@pytest.mark.parametrize(
    ("before", "after", "margin", "met"),
    [
        ("PPFF", "PPFF", 0.0, True),
        ("PPFF", "PPPF", 0.0, True),
        ("PPFF", "FPFP", 0.0, True),
        ("PPFF", "PFFF", 0.0, False),
        ("PPFF", "PFFF", 0.25, True),
        ("PPFF", "PFFF", 0.24, False),
    ],
)
def test_no_worse_than(before: str, after: str, margin: float, met: bool) -> None:
    found = gates.regressions(compared(before, after), margin)
    assert (not found) is met
    if not met:
        assert found[0].message.startswith("the chain is 0.250 worse than old")
        assert ("more than the margin of 0.24" in found[0].message) is bool(margin)
        assert "(1 worse, 0 better; p = 1)" in found[0].message


def test_rounding_misses_no_gate() -> None:
    """0.7 - 1 is a little less than -0.3, and the mean of 0.7 and 0.1 a little less than 0.4."""
    before = [result("x", sample=n) for n in range(10)]
    after = [result("x", P if n < 7 else F, sample=n) for n in range(10)]
    assert gates.regressions(compare(("old", "new"), before, after), 0.3) == []
    assert len(gates.regressions(compare(("old", "new"), before, after), 0.299)) == 1
    found = summarise(plan_of(CHAIN), [result("x", checks=(checked(0.7, "m"), checked(0.1, "m")))])
    assert gates.misses(Gate(min={"m": 0.4}), found) == []


def test_retrieval_is_paired_by_example() -> None:
    def side(*scores: float | None) -> list[ExampleResult]:
        return [result(f"e{n}", checks=(ranked(score), checked(1.0, "m"))) for n, score in enumerate(scores)]

    before = [*side(1.0, 0.5, 1.0, None), result("e9", "error", checks=(ranked(1.0),))]
    found = compare(("old", "new"), before, side(0.5, 0.5, 0.0, 1.0))
    assert list(found.retrieval) == ["a recall"]
    recall = found.retrieval["a recall"]
    assert (recall.value, recall.n, recall.better, recall.worse) == (-0.5, 3, 0, 2)
    assert comparison.to_json(found)["retrieval"]["a recall"]["difference"] == -0.5
    assert compare(("old", "new"), before, []).retrieval == {}

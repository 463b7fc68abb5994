"""Which step costs the chain how much: against brute force, and without expected values."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promptchain.blame import Method, attributed
from promptchain.chain import Chain
from promptchain.lm.scripted import ScriptedLM
from promptchain.results import ExampleResult, State
from promptchain.summary import summarise
from tests.evaluate_kit import as_expected, asked, chain_of, check, example, plan_of, text, try_all, try_one

# -- against brute force -----------------------------------------------------------------------------------------------

_VALUES = ["gold", "near", "far"]
_FAILS = "nonsense"


@dataclass(frozen=True)
class World:
    """A small chain whose steps answer by chance, but the same to the same. before: the steps that each looks at.
    wanted: the steps with an expected value; checked: with an assertion. whole: the outputs are looked at too."""

    before: tuple[tuple[int, ...], ...]
    wanted: frozenset[str]
    checked: frozenset[str]
    whole: bool
    seed: int
    right: float

    @property
    def names(self) -> list[str]:
        return [f"s{index}" for index in range(len(self.before))]

    def chain(self) -> Chain:
        return chain_of({
            name: {
                "prompt": f"{name}({{{{ q }}}}" + "".join(f", {{{{ s{other} }}}}" for other in before) + ")",
                "output": _VALUES, "retry": {"parse": 0},
            }
            for name, before in zip(self.names, self.before, strict=True)
        })  # fmt: skip

    def reply(self, prompt: str) -> str:
        chance = random.Random(f"{self.seed} {prompt}")
        if chance.random() < self.right:
            return "gold"
        return chance.choice([*_VALUES, _FAILS] if self.whole else _VALUES)

    def values(self, q: str, given: Mapping[str, str], *, forced: bool = False) -> dict[str, str | None]:
        """What each step gives, run in full: None where it fails, "" where it cannot run. given: in place of what a
        step gives, or (forced) only of what later steps see of it."""
        own: dict[str, str | None] = {}
        seen: dict[str, str | None] = {}
        for name, before in zip(self.names, self.before, strict=True):
            inputs = [seen[f"s{other}"] for other in before]
            if name in given and not forced:
                own[name] = given[name]
            elif not all(inputs):
                own[name] = ""
            else:
                said = self.reply(f"{name}({', '.join([q, *map(str, inputs)])})")
                own[name] = None if said == _FAILS else said
            seen[name] = given.get(name, own[name])
        return own

    def right_at(self, name: str, values: Mapping[str, str | None]) -> bool:
        return values[name] == "gold" if name in self.wanted else values[name] not in ("far", None, "")

    def passes(self, values: Mapping[str, str | None]) -> bool:
        ends = set(self.names) - {f"s{other}" for before in self.before for other in before}
        return (
            all(values.values())
            and all(self.right_at(name, values) for name in self.checked)
            and not (self.whole and any(values[name] == "near" for name in ends))
        )


@st.composite
def worlds(draw: st.DrawFn) -> World:
    size = draw(st.integers(1, 5))
    names = [f"s{index}" for index in range(size)]
    some = st.frozensets(st.sampled_from(names))
    return World(
        before=tuple(
            tuple(sorted(draw(st.sets(st.integers(0, index - 1), max_size=2)))) if index else ()
            for index in range(size)
        ),
        wanted=draw(some),
        checked=draw(st.frozensets(st.sampled_from(names), min_size=1)),
        whole=draw(st.booleans()),
        seed=draw(st.integers(0, 10_000)),
        right=draw(st.sampled_from([0.3, 0.6, 0.8])),
    )


@settings(max_examples=150, deadline=None)
@given(worlds())
def test_blame_is_what_brute_force_says(world: World) -> None:
    lm = ScriptedLM(lambda request: world.reply(text(request)))
    assertions = [
        check("equals", "gold", step=name) if name in world.wanted else check("not-equals", "far", step=name)
        for name in sorted(world.checked)
    ]
    if world.whole:
        assertions.append(check("not-contains", "near"))
    gold = dict.fromkeys(world.wanted, "gold")
    chain = world.chain()
    results = try_all(chain, lm, [example(f"e{n}", expected=gold) for n in range(3)], assertions).results
    for result in results:
        real = world.values(result.id, {})
        assert (result.state is State.PASSED) is world.passes(real)
        for name, step in result.steps.items():
            if result.state is State.PASSED or name not in gold:
                assert step.mends is None
            else:
                assert step.mends is world.passes(world.values(result.id, {name: "gold"})), name
            before = plan_of(chain).upstream(name)
            if not before or before & gold.keys():
                on_gold = world.values(result.id, gold, forced=True)
                told = name in world.checked and on_gold[name] != ""
                # A step without assertions that gave what fits is not run again to see whether it would on gold.
                failed = on_gold[name] is None and (name in world.checked or real[name] is None)
                assert step.gold is (world.right_at(name, on_gold) if told else False if failed else None), name
            else:
                assert step.gold is None
    summary = summarise(plan_of(chain), results)
    for step in summary.steps:
        mended = sum(world.passes(world.values(r.id, {step.step: "gold"})) for r in results if r.state is State.FAILED)
        if step.step in gold and step.blame is not None:
            assert step.blame == mended / len(results)


# -- what it takes -----------------------------------------------------------------------------------------------------


def test_a_step_is_tried_only_where_it_could_help() -> None:
    """Of the steps that are wrong, one beside or after another that failed is not tried."""
    chain = chain_of({"a": "A {{ q }}", "b": "B {{ q }}", "c": "C {{ a }} {{ b }}"})
    lm = ScriptedLM({"A": "wrong", "B": "wrong", "C": "wrong"})
    expected = {"a": "a1", "b": "b1", "c": "c1"}
    result = try_one(chain, lm, example(expected=expected), as_expected("a", "b", "c"))
    assert [step.mends for step in result.steps.values()] == [False] * 3
    assert Counter(one[0] for one in asked(lm)) == {"A": 1, "B": 1, "C": 2}  # C once more on gold


def test_a_step_that_gave_what_was_expected_is_not_tried() -> None:
    chain = chain_of({"a": "A {{ q }}", "b": "B {{ a }}"})
    lm = ScriptedLM({"A": "a1", "B": "bad"})
    result = try_one(chain, lm, example(expected={"a": "a1"}), [check("equals", "b1", step="b")])
    assert (result.steps["a"].mends, result.steps["b"].mends, len(lm.requests)) == (False, None, 2)


def test_steps_that_nothing_looks_at_do_not_run_again() -> None:
    chain = chain_of({"a": "A {{ q }}", "b": "B {{ a }}", "log": "L {{ a }}"}, outputs={"o": "{{ b }}"})
    lm = ScriptedLM({"A": "wrong", "B wrong": "bad", "B a1": "b1", "L": "x"})
    result = try_one(chain, lm, example(expected={"a": "a1"}), [check("contains", "b1"), *as_expected("a")])
    assert result.steps["a"].mends is True
    assert Counter(one[0] for one in asked(lm)) == {"A": 1, "B": 2, "L": 1}


def test_only_what_is_downstream_runs_again() -> None:
    chain = chain_of({"x": "X {{ q }}", "a": "A {{ x }}", "b": "B {{ a }}"})
    lm = ScriptedLM({"X": "x1", "A": "wrong", "B wrong": "bad", "B a1": "b1"})
    result = try_one(chain, lm, example(expected={"a": "a1"}), [*as_expected("a"), check("equals", "b1", step="b")])
    assert (result.steps["a"].mends, result.first) == (True, "a")
    assert Counter(one[0] for one in asked(lm)) == {"X": 1, "A": 1, "B": 3}  # real, on gold, mended


def test_an_assertion_in_a_set_keeps_its_step_looked_at() -> None:
    chain = chain_of({"a": "A {{ q }}", "b": "B {{ a }}"}, outputs={"o": "{{ a }}"})
    lm = ScriptedLM({"A": "wrong", "B wrong": "bad", "B a1": "b1"})
    whole = check("assert-set", step="b", **{"assert": [{"type": "contains", "value": "b1"}]})
    result = try_one(chain, lm, example(expected={"a": "a1"}), [whole])
    assert result.steps["a"].mends is True


# -- without expected values -------------------------------------------------------------------------------------------

FOUR = chain_of({"late": "L {{ b }}", "a": "A {{ q }}", "b": "B {{ a }}"})


@pytest.mark.parametrize(
    ("replies", "first"),
    [
        ({"A": "ok", "B": "ok", "L": "no"}, "late"),
        ({"A": "ok", "B": "no", "L": "no"}, "b"),
        ({"A": "no", "B": "ok", "L": "no"}, "a"),
        ({"A": "no", "B": "no", "L": "no"}, "a"),
        ({"A": "ok", "B": "ok", "L": "ok"}, None),
    ],
)
def test_the_first_failure_is_the_first_to_run(replies: dict[str, str], first: str | None) -> None:
    assertions = [check("equals", "ok", step=name) for name in FOUR.steps]
    result = try_one(FOUR, ScriptedLM(replies), example(), assertions)
    assert result.first == first
    assert all(step.mends is None for step in result.steps.values())
    summary = summarise(plan_of(FOUR), [result])
    assert {step.step: step.blame for step in summary.steps if step.blame} == ({first: 1.0} if first else {})
    assert {step.method for step in summary.steps} == {Method.FIRST_FAILURE}


def test_a_failure_of_the_outputs_alone_is_nobodys() -> None:
    result = try_one(FOUR, ScriptedLM("ok"), example(), [check("equals", "ok", step="a"), check("equals", "fine")])
    assert (result.first, attributed([result], FOUR.steps)) == (None, ({"late": [], "a": [], "b": []}, [0]))
    assert summarise(plan_of(FOUR), [result]).several == 1.0


def test_one_mends_or_several_do_or_none_does() -> None:
    """Two steps side by side: what only both mend is of several steps; and shares are of all examples."""
    chain = chain_of({"a": "A {{ q }}", "b": "B {{ q }}"}, outputs={"o": "{{ a }}{{ b }}"})
    lm = ScriptedLM(lambda request: "ok" if text(request)[0] in text(request)[2:] else "no")
    rows = [example(q, expected={"a": "ok", "b": "ok"}) for q in ("AB", "A-", "B-", "--", "BA")]
    results = try_all(chain, lm, rows, as_expected("a", "b")).results
    blamed, several = attributed(results, chain.steps)
    assert (blamed, several) == ({"a": [2], "b": [1]}, [3])
    summary = summarise(plan_of(chain), results)
    assert [(step.blame, step.loss, step.method) for step in summary.steps] == [
        (0.2, pytest.approx(1 / 3), Method.COUNTERFACTUAL)
    ] * 2
    assert summary.several == pytest.approx(1 / 3)


def test_two_steps_may_each_mend_the_same_example() -> None:
    """An output that holds where either is right: the shares add up to more than the loss."""
    chain = chain_of({"a": "A {{ q }}", "b": "B {{ q }}"}, outputs={"o": "{{ a }} {{ b }}"})
    lm = ScriptedLM("no")
    result = try_one(chain, lm, example(expected={"a": "ok", "b": "ok"}), [check("contains", "ok"), *weightless()])
    assert [step.mends for step in result.steps.values()] == [True, True]
    assert [step.loss for step in summarise(plan_of(chain), [result]).steps] == [1.0, 1.0]


def weightless() -> list[Any]:
    return [part.model_copy(update={"weight": 0.0}) for part in as_expected("a")]


def test_where_only_some_steps_have_gold_the_rest_goes_to_the_first_failure() -> None:
    chain = chain_of({"a": "A {{ q }}", "b": "B {{ q }}", "c": "C {{ a }} {{ b }}"})
    lm = ScriptedLM({"A e1": "no", "A": "a1", "B e2": "no", "B": "ok", "C a1": "ok", "C": "no"})
    assertions = [*as_expected("a"), *(check("equals", "ok", step=name) for name in "bc")]
    results = try_all(chain, lm, [example("e1", {"a": "a1"}), example("e2", {"a": "a1"})], assertions).results
    blamed, several = attributed(results, chain.steps)
    assert (blamed, several) == ({"a": [0], "b": [1], "c": []}, [])


def test_errors_are_nobodys() -> None:
    result = ExampleResult("x", example().where, 0, State.ERROR, None, (), {})
    assert attributed([result], ["a"]) == ({"a": []}, [])

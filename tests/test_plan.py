"""The DAG: which step waits for which, and in what order."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from promptchain import plan
from promptchain.chain import Chain
from promptchain.plan import CycleError, Plan
from tests.patience import at_most


def chain(**steps: Any) -> Chain:
    """A chain of steps, each given by its prompt or as a whole; `x` and `y` are inputs."""
    whole = {name: {"prompt": step} if isinstance(step, str) else step for name, step in steps.items()}
    return Chain.model_validate({"name": "c", "inputs": {"x": "string", "y": "string"}, "steps": whole})


def edges(built: Plan) -> dict[str, str]:
    """What each step waits for; those whose value may be null with a `?`."""
    return {
        name: " ".join(sorted([*node.needs, *(other + "?" for other in node.tolerates)]))
        for name, node in built.nodes.items()
    }


@pytest.mark.parametrize(
    ("step", "waits_for"),
    [
        ("{{ x }} {{ nope }}", ""),
        ("{{ a }} {{ b.c }}", "a b"),
        ({"prompt": "-", "instructions": "{{ a }}"}, "a"),
        ({"prompt": "-", "needs": ["b"]}, "b"),
        ({"prompt": "{{ a | default('') }}", "needs": ["b"]}, "a? b"),
        ({"prompt": "{{ a | default('') }} {{ a }}"}, "a"),
        ({"prompt": "-", "when": "a == 'x'"}, "a?"),
        ({"prompt": "{{ a }}", "when": "a == 'x' and b"}, "a b?"),
        ({"prompt": "{{ item }}", "for_each": "{{ a }}"}, "a"),
        ({"prompt": "{{ b }}", "for_each": {"in": "a", "as": "b2"}}, "a b"),
        ({"retrieve": {"from": "x.md", "query": "{{ a }}"}}, "a"),
        ({"python": "m:f", "inputs": {"v": "{{ a }}", "w": 1}}, "a"),
        ({"chain": "other", "inputs": {"v": "{{ b }}"}}, "b"),
    ],
)
def test_the_edges_are_what_templates_and_needs_name(step: Any, waits_for: str) -> None:
    assert edges(plan.build(chain(last=step, a="-", b="-")))["last"] == waits_for


def test_levels_outputs_and_upstream() -> None:
    built = plan.build(chain(d="{{ b }}{{ c }}", c="{{ a }}", b="{{ a }}", a="{{ x }}", e="-"))
    assert list(built.nodes) == ["a", "c", "b", "d", "e"]  # the file's order, where the edges leave a choice
    assert built.levels == (("a", "e"), ("c", "b"), ("d",))
    assert dict(built.outputs) == {"d": "{{ d }}", "e": "{{ e }}"}  # what no other step waits for, in the file's order
    assert built.upstream("d") == {"a", "b", "c"}
    assert built.upstream("a") == set()
    named = chain(a="-", b="-").model_copy(update={"outputs": {"answer": "{{ a }}"}})
    assert dict(plan.build(named).outputs) == {"answer": "{{ a }}"}


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ({"a": "{{ a }}"}, "the steps wait for each other: a → a"),
        ({"a": "{{ b }}", "b": "{{ a }}"}, "the steps wait for each other: a → b → a"),
        ({"s": "{{ a }}", "a": "{{ c }}", "b": "{{ a }}", "c": "{{ b }}"},
         "the steps wait for each other: a → c → b → a"),
        ({"a": {"prompt": "-", "when": "b"}, "b": "{{ a }}"}, "the steps wait for each other: a → b → a"),
    ],
)  # fmt: skip
def test_a_circle_is_named(steps: dict[str, Any], message: str) -> None:
    with pytest.raises(CycleError) as caught:
        plan.build(chain(**steps))
    assert caught.value.message == message


@st.composite
def dags(draw: st.DrawFn) -> dict[str, list[str]]:
    """Steps with what they need, in any order of the file."""
    size = draw(st.integers(1, 12))
    needs = {f"s{i}": sorted(draw(st.sets(st.sampled_from(range(i)))) if i else ()) for i in range(size)}
    return {name: [f"s{other}" for other in needs[name]] for name in draw(st.permutations(list(needs)))}


def of(needs: dict[str, list[str]]) -> Plan:
    """Every other step names what it needs in its template, the others under `needs`."""
    steps: dict[str, Any] = {}
    for index, (name, others) in enumerate(needs.items()):
        prompt = "-" + "".join("{{ " + other + " }}" for other in others)
        steps[name] = prompt if index % 2 else {"prompt": "-", "needs": others}
    return plan.build(chain(**steps))


@given(dags())
def test_any_dag_is_ordered(needs: dict[str, list[str]]) -> None:
    built = of(needs)
    order = list(built.nodes)
    assert sorted(order) == sorted(needs)
    assert all(order.index(other) < order.index(name) for name in needs for other in needs[name])
    level = {name: number for number, names in enumerate(built.levels) for name in names}
    assert level == {name: max((level[other] + 1 for other in needs[name]), default=0) for name in needs}
    assert {name: set(node.after) for name, node in built.nodes.items()} == {n: set(o) for n, o in needs.items()}
    last = order[-1]
    assert all(set(needs[name]) <= built.upstream(last) for name in built.upstream(last))


@given(dags(), st.data())
def test_an_edge_back_gives_a_circle_that_is_real(needs: dict[str, list[str]], data: st.DataObject) -> None:
    built = of(needs)
    ends = [(low, high) for high in needs for low in built.upstream(high)]
    assume(ends)
    low, high = data.draw(st.sampled_from(ends))
    with pytest.raises(CycleError) as caught:
        of({**needs, low: [*needs[low], high]})
    circle = caught.value.steps
    assert circle[0] == circle[-1]
    assert len(set(circle)) == len(circle) - 1
    pairs = list(pairwise(circle))
    assert all(after in needs[name] or (name, after) == (low, high) for name, after in pairs)
    assert (low, high) in pairs


@pytest.mark.parametrize("backwards", [False, True])
def test_a_long_chain_is_no_matter(backwards: bool) -> None:
    names = [f"s{i}" for i in range(2000)]
    steps: dict[str, Any] = {name: {"prompt": "-", "needs": [before]} for before, name in pairwise(names)}
    steps = {"s0": "-", **steps}
    with at_most(2):
        built = plan.build(chain(**(dict(reversed(steps.items())) if backwards else steps)))
        assert list(built.nodes) == names
        assert len(built.levels) == 2000

"""Chains that run chains, from the command line."""

from __future__ import annotations

import pytest

from tests.workspace import Workspace


@pytest.fixture
def nested(empty: Workspace) -> Workspace:
    """`demo` runs `inner`, a step of its own and a function."""
    empty.write("code.py", 'def shout(text: str) -> str:\n    print("working")\n    return text.upper()\n')
    own = empty.model({"contains": "inner", "reply": "of the inner's own"}, name="own")
    empty.write(
        "chains/inner.yaml", f"model: {own}\ninputs: {{q: string}}\nsteps:\n  x: {{prompt: 'inner {{{{ q }}}}'}}\n"
    )
    empty.chain(
        """
        model: MODEL
        inputs: {message: string}
        steps:
          a: {chain: inner, inputs: {q: "{{ message }}"}}
          b: {prompt: "outer {{ a.x }}", retry: {assert: 1}, assert: [{type: contains, value: well}]}
          c: {python: "code:shout", inputs: {text: "{{ b }}"}}
        outputs: {c: "{{ c }}"}
        """,
        replies=[{"contains": "That reply", "reply": "well done"}, {"contains": "outer", "reply": "done"}],
    )
    return empty


def test_a_chain_within_runs_on_its_own_model(nested: Workspace) -> None:
    done = nested.invoke("run", "demo", "hi", "--json")
    assert done.code == 0, done
    steps = done.json["steps"]
    assert done.json["outputs"] == {"c": "WELL DONE"}
    assert steps["a"]["value"] == {"x": "of the inner's own"}
    assert steps["a"]["run"]["model"].endswith("own.script.yaml")
    assert done.json["totals"]["calls"] == 3
    assert "working" in done.err
    assert "step 'b': it should contain 'well'" in done.err


def test_a_model_that_is_given_is_that_of_all(nested: Workspace) -> None:
    model = nested.model(
        {"contains": "inner", "reply": "given"}, {"contains": "outer", "reply": "well given"}, name="given"
    )
    done = nested.invoke("run", "demo", "hi", "--json", "--model", model)
    assert done.code == 0, done
    assert done.json["steps"]["a"]["value"] == {"x": "given"}
    assert done.json["outputs"] == {"c": "WELL GIVEN"}


def test_a_ceiling_holds_over_all(nested: Workspace) -> None:
    done = nested.invoke("run", "demo", "hi", "--max-calls", "1")
    assert (done.code, done.out) == (1, "")
    assert "--max-calls 1 leaves no room" in done.err
    assert "Traceback" not in done.err


def test_check_names_the_broken_file_within(nested: Workspace) -> None:
    nested.write("chains/inner.yaml", "steps:\n  x: {promt: y}\n")
    done = nested.invoke("check", "demo")
    assert done.code == 1
    assert "chains/inner.yaml:2:7: unknown key 'promt'" in done.out + done.err
    assert "Traceback" not in done.err


def test_a_run_is_replayed_from_a_step_on(nested: Workspace) -> None:
    first = nested.invoke("run", "demo", "hi", "--json")
    done = nested.invoke("replay", first.json["id"], "--from", "b", "--json")
    assert done.code == 0, done
    assert '"WELL DONE"' in done.out

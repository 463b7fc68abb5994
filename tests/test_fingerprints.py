"""What compiled prompts were made from: what counts as another, what does not, and how it is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from promptchain import fingerprints, render
from promptchain.chain import Chain
from promptchain.criteria import Assertion
from promptchain.fingerprints import SENT, Stale
from promptchain.lm.scripted import ScriptedLM
from promptchain.tuning import Tuning
from tests import lock_kit as kit

BASE: dict[str, Any] = {
    "name": "demo",
    "model": "a/b",
    "inputs": {"message": "string"},
    "steps": {
        "intent": {"instructions": "Decide.", "prompt": "{{ message }}", "output": {"z": "string", "a": "string"}},
        "reply": {"prompt": "{{ intent }}", "demos": [{"inputs": {"intent": "x"}, "output": "y"}]},
    },
}


def chain(**intent: Any) -> Chain:
    return Chain.model_validate({**BASE, "steps": {**BASE["steps"], "intent": {**BASE["steps"]["intent"], **intent}}})


def source(**intent: Any) -> str:
    return fingerprints.step_source(chain(**intent).steps["intent"])


@pytest.mark.parametrize(
    "same",
    [
        {"description": "What for."},
        {"assert": [{"type": "equals", "value": "x"}]},
        {"freeze": True},
        {"retry": 0},
        {"timeout": 3},
        {"needs": ["reply"]},
        {"model": "c/d"},
        {"instructions": {"text": "Decide.", "file": "demo/intent.md"}},
    ],
    ids=str,
)
def test_what_does_not_decide_what_is_sent(same: dict[str, Any]) -> None:
    assert source(**same) == source()


@pytest.mark.parametrize(
    "other",
    [
        {"instructions": "Decide!"},
        {"prompt": "{{ message }}!"},
        {"output": {"a": "string", "z": "string"}},
        {"params": {"temperature": 1}},
        {"reasoning": True},
        {"format": "json"},
        {"demos": [{"inputs": {"message": "x"}, "output": {"z": "1", "a": "2"}}]},
        {"when": "{{ message }}"},
        {"fallbacks": ["c/d"]},
    ],
    ids=str,
)
def test_what_decides_what_is_sent(other: dict[str, Any]) -> None:
    assert source(**other) != source()
    assert len(source()) == 16


def test_the_fields_of_a_demo_have_an_order() -> None:
    outputs = [{"z": "1", "a": "2"}, {"a": "2", "z": "1"}]
    one, other = (source(demos=[{"inputs": {"message": "x"}, "output": output}]) for output in outputs)
    assert one != other


def test_the_head_of_a_chain() -> None:
    found = chain()
    assert fingerprints.head(found) == fingerprints.head(chain(prompt="another"))
    for other in ({"inputs": {"message": "string", "x?": "string"}}, {"params": {"seed": 1}}, {"outputs": {"r": "x"}}):
        assert fingerprints.head(Chain.model_validate({**BASE, **other})) != fingerprints.head(found)


def test_the_metrics_of_a_chain() -> None:
    checks = [Assertion(type="equals", value="x", step="intent")]
    found = fingerprints.metrics(chain(), checks)
    assert found != fingerprints.metrics(chain(), [])
    assert found != fingerprints.metrics(chain(), [checks[0].model_copy(update={"value": "y"})])
    judged = Chain.model_validate({**BASE, "test": {"judge": "c/d"}})
    assert fingerprints.metrics(judged, checks) != found
    gated = Chain.model_validate({**BASE, "test": {"gate": {"min": 0.5}, "dataset": "x.jsonl"}})
    assert fingerprints.metrics(gated, checks) == found


def test_the_settings_of_a_chain() -> None:
    assert fingerprints.settings(Tuning(seed=1)) != fingerprints.settings(Tuning()) == fingerprints.settings(Tuning())


def test_a_model_and_its_weights() -> None:
    one, other = ScriptedLM([], identity="one"), ScriptedLM([], identity="other")
    assert fingerprints.model_print("a/b", one) != fingerprints.model_print("a/b", other)
    assert fingerprints.model_print("a/b", one).startswith("a/b ")
    assert "one" not in fingerprints.model_print("a/b", one)  # an endpoint may be nobody's business
    assert fingerprints.model_print("a/b", ScriptedLM([], identity="")) == "a/b"


def test_no_hosted_library_is_imported() -> None:
    import subprocess
    import sys

    code = (
        "import sys; from promptchain import fingerprints; from promptchain.lm.router import Router\n"
        "print(fingerprints.model_print('openai/gpt-5-mini', Router()), 'litellm' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300)
    assert done.stdout == "openai/gpt-5-mini False\n"


# -- what is stale -----------------------------------------------------------------------------------------------------

Edit = Callable[[dict[str, Any]], None]


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"steps": {"intent": "x"}}, [("step", "intent", "step 'intent' was edited")]),
        ({"steps": {"intent": "s", "new": "x"}}, [("step", "new", "step 'new' is new")]),
        ({"steps": {}}, [("step", "intent", "step 'intent' is gone")]),
        (
            {"models": {"intent": "c/d"}},
            [("model", "intent", "step 'intent' runs on another model: c/d, compiled for a/b")],
        ),
        ({"models": {"intent": f"a/b {'0' * 16}"}}, [("model", "intent", "the endpoint of a/b changed")]),
        ({"models": {"intent": "a/b ?"}}, []),
        ({"chain": "x"}, [("chain", None, "the chain's inputs, params or outputs were edited")]),
        ({"renderer": 9}, [("renderer", None, "this release renders prompts otherwise (renderer 1 → 9)")]),
        ({"dataset": "x", "examples": 8}, [("dataset", None, "the dataset changed (7 examples then, 8 now)")]),
        ({"dataset": "x", "examples": 7}, [("dataset", None, "the dataset changed (7 examples, as before)")]),
        ({"metrics": "x"}, [("metrics", None, "the assertions, the judge or the embedder were edited")]),
        ({"settings": "x"}, [("settings", None, "the `compile:` section was edited")]),
        ({}, []),
    ],
    ids=str,
)
def test_what_is_stale_and_how_it_is_told(values: dict[str, Any], told: list[tuple[Any, Any, str]]) -> None:
    entry = kit.entry(made_from=kit.made(examples=7))
    found = fingerprints.stale(entry, kit.made(**{"examples": 7, **values}))
    assert [(stale.part, stale.step, stale.message) for stale in found] == told
    sent = fingerprints.stale(entry, kit.made(**{"examples": 7, **values}), SENT)
    assert bool(sent) == (bool(found) and found[0].part in SENT)


def test_weights_are_told_once_for_all_steps() -> None:
    steps = {"intent": "s", "reply": "s"}
    was = kit.made(steps=steps, models=dict.fromkeys(steps, f"local/x {'0' * 16}"))
    now = kit.made(steps=steps, models=dict.fromkeys(steps, f"local/x {'1' * 16}"))
    found = fingerprints.stale(kit.entry(made_from=was), now)
    assert [stale.message for stale in found] == ["the weights of local/x changed"]


def test_weights_that_are_not_here_are_not_called_others() -> None:
    now = fingerprints.sent_by(chain(), dict.fromkeys(chain().steps, "local/nowhere"), ScriptedLM([], identity=""))
    was = now.model_copy(update={"models": dict.fromkeys(now.models, f"local/nowhere {'0' * 16}")})
    assert fingerprints.stale(kit.entry(made_from=was), now) == ()


def test_a_renderer_that_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    models = dict.fromkeys(chain().steps, "a/b")
    before = fingerprints.sent_by(chain(), models, None)
    monkeypatch.setattr(fingerprints, "RENDERER", render.RENDERER + 1)
    after = fingerprints.sent_by(chain(), models, None)
    assert [stale.part for stale in fingerprints.stale(kit.entry(made_from=before), after)] == ["renderer"]


def test_stale_as_json() -> None:
    assert Stale("step", "step 'a' was edited", "a").to_json() == {
        "part": "step", "step": "a", "message": "step 'a' was edited"
    }  # fmt: skip

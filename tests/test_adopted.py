"""Which prompts of a lock a run takes."""

from __future__ import annotations

import pytest

from promptchain import fingerprints
from promptchain.adopted import Adopted, again, choose
from promptchain.chain import Chain
from promptchain.errors import StaleError, StoreError
from promptchain.lock import Lock
from promptchain.models import Models
from promptchain.records import StepVariant, UsedVariant
from tests import lock_kit as kit

CHAIN = Chain.model_validate(
    {
        "name": "demo",
        "model": "a/b",
        "inputs": {"message": "string"},
        "steps": {"intent": {"prompt": "{{ message }}"}, "reply": {"prompt": "{{ intent }}", "model": "c/d"}},
    }
)
MODELS = Models()


def fresh(chain: Chain = CHAIN, **values: object) -> Lock:
    made = fingerprints.sent_by(chain, MODELS.by_step(chain), None)
    return kit.lock("a/b", **{"made_from": made, **values})


def adopted(lock: Lock, chain: Chain = CHAIN, models: Models = MODELS) -> Adopted:
    return choose(chain, lock, models.of_lock(chain), models.by_step(chain), None)


def test_a_fresh_entry_is_taken_whole() -> None:
    found = adopted(fresh())
    assert (found.fresh, found.problem, found.unfit) == (True, None, {})
    assert found.variant is not None
    assert found.variant.steps == {"intent": kit.COMPILED}
    assert found.used == UsedVariant(model="a/b", steps=("intent",))
    found.require_fresh()


def test_nothing_is_compiled() -> None:
    found = adopted(Lock())
    assert (found.fresh, found.problem, found.variant, found.used) == (False, None, None, None)
    with pytest.raises(StaleError, match="not compiled for a/b; chain compile demo") as caught:
        found.require_fresh()
    assert caught.value.exit_code == 101


def test_a_step_that_is_gone_is_stale_and_no_more() -> None:
    lock = fresh(steps={"intent": kit.COMPILED, "gone": kit.COMPILED})
    found = adopted(lock)
    assert found.variant is not None
    assert list(found.variant.steps) == ["intent"]
    assert found.unfit == {}


def test_a_step_that_is_of_another_kind_now() -> None:
    chain = CHAIN.with_step("intent", Chain.model_validate(
        {"name": "x", "steps": {"intent": {"retrieve": {"from": "*.md", "query": "x"}}}}
    ).steps["intent"])  # fmt: skip
    found = adopted(fresh(), chain)
    assert found.unfit == {"intent": "it is a step of the kind 'retrieve' now"}
    assert found.variant is None
    with pytest.raises(StaleError, match="of the kind 'retrieve' now"):
        found.require_fresh()


def test_instructions_that_use_a_step_the_plan_does_not_wait_for() -> None:
    steps = {"intent": {"prompt": "{{ message }}"}, "apart": {"prompt": "{{ message }}"}}
    chain = CHAIN.model_validate({**CHAIN.model_dump(), "steps": steps})
    lock = fresh(chain, steps={"apart": StepVariant(instructions="Not {{ intent }}.")})
    assert "which the step does not wait for" in adopted(lock, chain).unfit["apart"]
    lock = fresh(chain, steps={"apart": StepVariant(instructions="Of {{ message }}.")})
    assert adopted(lock, chain).fresh


def test_a_broken_template_in_the_lock_is_told() -> None:
    found = adopted(fresh(steps={"intent": StepVariant(instructions="{{ message")}))
    assert "in the template" in found.unfit["intent"]
    assert found.problem is not None
    assert "step 'intent' runs on the file's words" in found.problem


@pytest.mark.parametrize(
    ("chain", "models", "key"),
    [
        ({}, Models(), "a/b"),
        ({}, Models(default="e/f"), "e/f"),
        ({"model": None}, Models(last="g/h"), "g/h"),
        ({"model": None}, Models(steps={"intent": "i/j"}), "i/j"),
        ({"model": None}, Models(), "c/d"),
    ],
    ids=str,
)
def test_under_which_model_a_lock_has_the_prompts(chain: dict[str, object], models: Models, key: str) -> None:
    assert models.of_lock(CHAIN.model_copy(update=chain)) == key


def test_a_recorded_run_takes_what_it_took() -> None:
    lock = fresh(steps={"intent": kit.COMPILED, "reply": kit.COMPILED}, made_from=kit.made())
    found = again(CHAIN, lock, UsedVariant(model="a/b", steps=("reply",)))
    assert found.variant is not None
    assert list(found.variant.steps) == ["reply"]
    assert found.problem is None
    for used in (UsedVariant(model="x/y", steps=()), UsedVariant(model="a/b", steps=("gone",))):
        with pytest.raises(StoreError, match="does not have the prompts"):
            again(CHAIN, lock, used)

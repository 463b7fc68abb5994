"""The proposer's requests, and which of its failures end the search."""

from __future__ import annotations

import asyncio

import pytest

from promptchain.errors import BudgetError, Fault, ModelError
from promptchain.lm.budget import Budget
from promptchain.lm.protocol import Capabilities, Finish, Response
from promptchain.lm.scripted import Rule, ScriptedLM
from promptchain.optimizers.proposer import proposer
from tests.evaluate_kit import caller_of


def answers(lm: ScriptedLM, *questions: str, budget: Budget | None = None) -> list[str]:
    async def work() -> list[str]:
        ask = proposer("p", lm, caller_of(lm, budget), timeout=10)
        return [await ask(question) for question in questions]

    return asyncio.run(work())


def failing(fault: Fault) -> ModelError:
    return ModelError(f"it says {fault}", fault=fault, model="p")


def test_the_question_is_all_that_is_sent() -> None:
    lm = ScriptedLM(["well"])
    assert answers(lm, "how?") == ["well"]
    [request] = lm.requests
    assert request.model == "p"
    assert [(message.role, message.content) for message in request.messages] == [("user", "how?")]
    assert request.params["temperature"] == 1.0


def test_a_question_that_repeats_is_another_draw() -> None:
    def keys() -> list[str]:
        lm = ScriptedLM("x")
        answers(lm, "a", "b", "a", "a")
        return [request.key() for request in lm.requests]

    assert len(set(keys())) == 4
    assert keys() == keys()


@pytest.mark.parametrize(
    ("able", "most"),
    [
        (Capabilities(), 8192),
        (Capabilities(max_output=4096), 4096),
        (Capabilities(max_output=100_000), 8192),
        (Capabilities(local=True), 2048),
    ],
)
def test_a_reply_has_an_end(able: Capabilities, most: int) -> None:
    lm = ScriptedLM("x", capabilities=able)
    answers(lm, "a")
    assert lm.requests[0].params["max_tokens"] == most


@pytest.mark.parametrize(
    "fault", [Fault.AUTH, Fault.UNKNOWN_MODEL, Fault.NO_WEIGHTS, Fault.NOT_INSTALLED, Fault.BAD_REQUEST]
)
def test_a_failure_that_will_not_pass_is_raised(fault: Fault) -> None:
    with pytest.raises(ModelError, match=f"it says {fault}"):
        answers(ScriptedLM([failing(fault), "late"]), "a", "b")


@pytest.mark.parametrize("fault", [Fault.TIMEOUT, Fault.CONTEXT, Fault.REFUSED, Fault.BAD_RESPONSE])
def test_a_failure_that_may_pass_is_no_answer(fault: Fault) -> None:
    assert answers(ScriptedLM([failing(fault), "x"]), "a", "b") == ["", "x"]


def test_a_rate_limit_is_waited_for() -> None:
    assert answers(ScriptedLM([failing(Fault.RATE_LIMIT), "x"]), "a") == ["x"]


def test_a_model_that_is_gone_is_told() -> None:
    lm = ScriptedLM([Rule(failing(Fault.CONNECTION), always=True)])
    with pytest.raises(ModelError, match="it says connection"):
        answers(lm, "a", "b", "c")
    assert len(lm.requests) == 12
    few = [failing(Fault.TIMEOUT)] * 2
    assert answers(ScriptedLM([*few, "x", *few]), *"abcde") == ["", "", "x", "", ""]  # not three in a row


def test_a_withheld_reply_is_no_answer() -> None:
    assert answers(ScriptedLM([Response("half of", Finish.FILTER)]), "a") == [""]


def test_a_ceiling_is_raised() -> None:
    with pytest.raises(BudgetError, match="--max-calls"):
        answers(ScriptedLM("x"), "a", "b", budget=Budget(calls=1))

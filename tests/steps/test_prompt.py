"""The tries of a prompt step: replies that do not fit, are cut off or withheld; models that fail; fallbacks."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from promptchain import binding, plan, runner
from promptchain.chain import Chain
from promptchain.errors import Fault, ModelError
from promptchain.lm.calls import Caller
from promptchain.lm.protocol import Finish, Request
from promptchain.lm.scripted import Rule, ScriptedLM
from promptchain.records import Run, Status


def run(step: dict[str, Any], lm: ScriptedLM) -> Run:
    chain = Chain.model_validate({"name": "c", "model": "m", "steps": {"a": {"prompt": "how many", **step}}})
    caller = Caller(lm, sleep=lambda _: asyncio.sleep(0))
    return asyncio.run(runner.run(binding.bind(plan.build(chain), lm), {}, caller))


def error(fault: Fault) -> ModelError:
    return ModelError(f"it is the {fault.value}", fault=fault, model="m")


@pytest.mark.parametrize(("parse", "status"), [(0, Status.FAILED), (1, Status.FAILED), (2, Status.DONE)])
def test_a_reply_that_does_not_fit_is_asked_for_again(parse: int, status: Status) -> None:
    lm = ScriptedLM(["perhaps", "", "7"])
    result = run({"output": "integer", "retry": {"parse": parse}}, lm)
    step = result.steps["a"]
    assert step.status is status
    assert (step.value, len(lm.requests), result.totals.calls) == (
        7 if status is Status.DONE else None,
        parse + 1,
        parse + 1,
    )
    assert [call.reply for call in step.calls] == ["perhaps", "", "7"][: parse + 1]
    assert [bool(call.error) for call in step.calls] == [True, True, False][: parse + 1]
    if parse:
        assert [m.content for m in lm.requests[1].messages[-3:-1]] == ["how many", "perhaps"]
        assert "'perhaps' is not an integer" in lm.requests[1].messages[-1].content


CUT = "the reply was cut off after 1 tokens"


@pytest.mark.parametrize(
    ("step", "reply", "value", "calls", "said"),
    [
        ({"output": "integer"}, Rule("1,", finish=Finish.LENGTH), None, 1, f"{CUT} (finish reason: length), so"),
        ({"output": {"n": "integer"}}, Rule('{"n":1', finish=Finish.LENGTH), None, 1, f"{CUT} (finish reason: length)"),
        ({}, Rule("", finish=Finish.LENGTH), None, 1, "the reply was cut off at its limit (finish reason: length)"),
        ({}, Rule("Once", finish=Finish.LENGTH), "Once", 1, f"{CUT}; raise `max_tokens`"),
        ({"output": ["yes", "no"]}, Rule("Yes.", finish=Finish.LENGTH), "yes", 1, f"{CUT}; raise `max_tokens`"),
        ({}, Rule("", always=True), None, 2, "the reply is empty"),
        ({}, Rule("I", finish=Finish.FILTER), None, 1, "the provider's content filter withheld the reply"),
        ({"retry": 2}, Rule(error(Fault.SERVER), always=True), None, 3, "it is the server error (tried 3 times)"),
        ({"retry": 0}, Rule(error(Fault.SERVER), always=True), None, 1, "it is the server error"),
        ({"retry": 2}, Rule(error(Fault.AUTH), always=True), None, 1, "it is the authentication"),
        ({"timeout": 0.01}, Rule("x", delay=1), None, 1, "no answer within 0.01 s"),
    ],
)  # fmt: skip
def test_replies_that_are_no_answer(step: Any, reply: Rule, value: Any, calls: int, said: str) -> None:
    result = run(step, ScriptedLM([reply]))
    done = result.steps["a"]
    assert (done.value, len(done.calls)) == (value, calls)
    assert (done.error or done.warnings[0]).startswith(said)
    if said.startswith("the reply was cut") and value is None:
        assert "max_tokens" in str(result.hint)


def test_fallbacks_are_tried_in_order() -> None:
    def by_model(request: Request) -> str | ModelError:
        return {"m": error(Fault.AUTH), "m2": "not a number", "m3": "3"}[request.model]

    lm = ScriptedLM([Rule(by_model, always=True)])
    result = run({"output": "integer", "fallbacks": ["m2", "m3", "m4"]}, lm)
    step = result.steps["a"]
    assert step.value == 3
    assert [(call.model, bool(call.error)) for call in step.calls] == [
        ("m", True),
        ("m2", True),
        ("m2", True),
        ("m3", False),
    ]
    assert len(lm.requests[-1].messages) == 2  # the fallback starts afresh


@pytest.mark.parametrize(
    ("on", "fault", "used"),
    [(["error"], Fault.AUTH, True), (["refusal"], Fault.AUTH, False), (["refusal"], Fault.REFUSED, True)],
)
def test_what_a_fallback_is_for(on: list[str], fault: Fault, used: bool) -> None:
    step = {"fallbacks": [{"model": "m2", "on": on}]}
    assert (run(step, ScriptedLM([error(fault), "y"])).status is Status.DONE) is used

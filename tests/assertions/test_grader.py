"""The grader: what a judge is asked and how, what it may not do to the evaluation, and what it cost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from promptchain.assertions.grader import Grader, JudgeSpent, model_failure, model_of
from promptchain.assertions.judged import judge_prompt
from promptchain.assertions.protocol import AssertionFault
from promptchain.errors import BudgetError, Fault, ModelError, UsageError
from promptchain.lm.budget import Budget
from promptchain.lm.cache import CachedLM
from promptchain.lm.calls import Caller
from promptchain.lm.protocol import LM, Capabilities, Price, Request, Response, Usage
from promptchain.lm.router import Router
from promptchain.lm.scripted import Rule, ScriptedLM
from promptchain.records import Call, Status, StepRun, total
from tests import patience

STEP = judge_prompt("Judge it.", "{{ thing }}", {"reason": "string", "good": "boolean"})
GOOD = '{"reason": "it shines", "good": true}'


def grader_of(lm: LM, judge: str | None = "m", budget: Budget | None = None, **options: Any) -> Grader:
    caller = Caller(lm, budget=budget, sleep=lambda _: asyncio.sleep(0))
    return Grader(lm, caller, judge=judge, root=Path.cwd(), **options)


def ask(grader: Grader, model: str | None = None) -> Any:
    return asyncio.run(grader.ask(STEP, {"thing": "a ring"}, model=model))


def fault(act: Callable[[], Any]) -> AssertionFault:
    with pytest.raises(AssertionFault) as raised:
        act()
    assert "\n" not in raised.value.message
    return raised.value


# --- asking


def test_a_judge_gives_a_value_of_the_prompts_type() -> None:
    lm = ScriptedLM([GOOD])
    value, calls = ask(grader_of(lm))
    assert value == {"reason": "it shines", "good": True}
    assert [call.model for call in calls] == ["m"]
    (request,) = lm.requests
    assert request.model == "m"
    assert request.messages[-1].content == "a ring"
    assert request.messages[0].content.startswith("Judge it.\n")
    assert '"required": ["reason", "good"]' in request.messages[0].content
    assert request.params == {}


def test_the_schema_is_sent_where_the_judge_takes_one_and_local_ones_judge_coldly() -> None:
    lm = ScriptedLM(GOOD, capabilities=Capabilities(schema=True, local=True, price=Price(0, 0)))
    ask(grader_of(lm))
    assert lm.requests[0].schema is not None
    assert lm.requests[0].params == {"temperature": 0.0}


def test_an_assertion_may_have_a_judge_of_its_own() -> None:
    lm = ScriptedLM(GOOD)
    ask(grader_of(lm, judge=None), model="other")
    assert lm.requests[0].model == "other"


def test_without_a_judge_the_hint_says_where_to_name_one() -> None:
    error = fault(lambda: ask(grader_of(ScriptedLM(GOOD), judge=None)))
    assert "judge: MODEL" in str(error.hint)
    assert "provider" in str(error.hint)
    assert model_failure(error) is None


def test_a_reply_that_does_not_fit_is_asked_for_again_once() -> None:
    lm = ScriptedLM(["I like it", GOOD])
    grader = grader_of(lm)
    assert ask(grader)[0]["good"] is True
    assert grader.spent.calls == 2


def test_nonsense_is_a_fault_and_no_failure_of_the_model() -> None:
    lm = ScriptedLM("I like it")
    error = fault(lambda: ask(grader_of(lm)))
    assert error.message.startswith("the judge m gave no verdict: the reply is not JSON")
    assert error.hint == "take a stronger model as the judge"
    assert model_failure(error) is None
    assert len(lm.requests) == 2


@pytest.mark.parametrize("kind", [Fault.AUTH, Fault.RATE_LIMIT, Fault.REFUSED])
def test_a_model_that_fails_is_told_apart(kind: Fault) -> None:
    cause = ModelError("it broke", fault=kind, model="m", hint="mend it")
    grader = grader_of(ScriptedLM([Rule(cause, always=True)]))
    error = fault(lambda: ask(grader))
    assert error.message.startswith("the judge m failed: it broke")
    assert error.hint == "mend it"
    assert model_failure(error) is kind
    assert isinstance(error.__cause__, ModelError)


def test_a_judge_that_hangs_is_given_up() -> None:
    error = fault(lambda: ask(grader_of(ScriptedLM([Rule(GOOD, delay=60)]), timeout=0.01)))
    assert "no answer within 0.01 s" in error.message
    assert model_failure(error) is Fault.TIMEOUT


def test_a_script_that_is_not_there_is_a_fault() -> None:
    error = fault(lambda: ask(grader_of(Router(), judge="scripted/none.yaml")))
    assert error.message.startswith("the judge scripted/none.yaml cannot be used: the script")


def test_a_ceiling_stops_the_command() -> None:
    lm = ScriptedLM(GOOD)
    with pytest.raises(BudgetError, match="--max-calls 0") as raised:
        ask(grader_of(lm, budget=Budget(calls=0)))
    assert raised.value.__cause__ is None
    with pytest.raises(UsageError, match="price of m is not known"):
        ask(grader_of(ScriptedLM(GOOD, capabilities=Capabilities()), budget=Budget(cost=1)))
    assert lm.requests == []


# --- embeddings


def test_texts_become_vectors() -> None:
    lm = ScriptedLM({"cat": "[1, 0]", "dog": "[0, 1]"})
    grader = grader_of(lm, judge=None, embedder="scripted/x")
    assert asyncio.run(grader.embed(["dog", "cat", "dog"])) == [[0, 1], [1, 0], [0, 1]]
    assert grader.spent == JudgeSpent(calls=2, cached=0, tokens=2 + 4, cost=0.0)


def test_an_embedding_model_that_fails_is_told_apart() -> None:
    grader = grader_of(ScriptedLM([]), embedder="scripted/x")
    error = fault(lambda: asyncio.run(grader.embed(["cat"])))
    assert error.message.startswith("the embedding model scripted/x failed: the script has no reply")
    assert model_failure(error) is Fault.BAD_REQUEST
    assert grader.spent.calls == 1


def test_ceilings_hold_for_embeddings_too() -> None:
    with pytest.raises(BudgetError):
        asyncio.run(grader_of(ScriptedLM("[1]"), embedder="scripted/x", budget=Budget(calls=0)).embed(["cat"]))


# --- what it cost


def test_what_judges_cost_is_counted_and_what_is_cached_is_not(tmp_path: Path) -> None:
    answer = Response(GOOD, usage=Usage(10, 5), cost=0.25, latency=2.0)
    lm = CachedLM(ScriptedLM([Rule(answer, always=True)]), tmp_path / "responses.db")
    grader = grader_of(lm)
    _, (first,) = ask(grader)
    _, (again,) = ask(grader)
    lm.close()
    assert (first.cached, again.cached, again.cost, again.seconds) == (False, True, 0.25, 2.0)
    used = total({"a": StepRun(status=Status.DONE, calls=(first, again))})
    assert (used.calls, used.tokens, used.cost) == (1, 15, 0.25)
    assert grader.spent == JudgeSpent(calls=1, cached=1, tokens=15, cost=0.25)


def test_log_probabilities_come_into_the_record_and_back() -> None:
    _, (call,) = ask(grader_of(ScriptedLM([Response(GOOD, logprobs=(-0.5, -1.25))])))
    assert call.logprobs == (-0.5, -1.25)
    assert Call.model_validate_json(call.model_dump_json()) == call
    assert "logprobs" not in call.model_copy(update={"logprobs": ()}).model_dump(mode="json")


def test_an_unknown_price_makes_the_sum_unknown() -> None:
    grader = grader_of(ScriptedLM([Response(GOOD, usage=Usage(1, 1), cost=None)]))
    ask(grader)
    assert grader.spent.cost is None


def test_calls_of_a_judge_that_fails_are_counted() -> None:
    grader = grader_of(ScriptedLM("nonsense"))
    fault(lambda: ask(grader))
    assert (grader.spent.calls, grader.spent.tokens > 0) == (2, True)


def test_a_judges_call_that_is_cancelled_leaves_the_count_whole() -> None:
    grader = grader_of(ScriptedLM(["nonsense", Rule(GOOD, delay=60)]))

    async def cancel() -> None:
        task = asyncio.create_task(grader.ask(STEP, {"thing": "a ring"}))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    patience.run(cancel())
    assert grader.spent.calls == 1


def test_judges_share_the_callers_places() -> None:
    busy: list[int] = []

    def reply(request: Request) -> str:
        busy.append(1)
        return GOOD

    lm = ScriptedLM([Rule(reply, always=True)], delay=0.01)
    grader = Grader(lm, Caller(lm, concurrency=1), judge="m", root=Path.cwd())

    async def both() -> float:
        loop = asyncio.get_running_loop()
        started = loop.time()
        await asyncio.gather(*(grader.ask(STEP, {"thing": str(i)}) for i in range(5)))
        return loop.time() - started

    assert asyncio.run(both()) >= 0.05
    assert len(busy) == 5


# --- names of models


@pytest.mark.parametrize(
    ("provider", "name"),
    [
        (None, None),
        ("openai/gpt-4o", "openai/gpt-4o"),
        ("gpt-4o", "gpt-4o"),
        ("local/smollm2", "local/smollm2"),
        ("scripted/a:b.yaml", "scripted/a:b.yaml"),
        ("openai:gpt-4o", "openai/gpt-4o"),
        ("openai:chat:gpt-4o", "openai/gpt-4o"),
        ("openai:responses:gpt-5", "openai/gpt-5"),
        ("openai:chat:ft:gpt-4o:me::id", "openai/ft:gpt-4o:me::id"),
        ("anthropic:messages:claude-sonnet-4", "anthropic/claude-sonnet-4"),
        ("bedrock:anthropic.claude-3-haiku-v1:0", "bedrock/anthropic.claude-3-haiku-v1:0"),
        ("azureopenai:chat:mine", "azure/mine"),
        ("vertex:gemini-2.5-pro", "vertex_ai/gemini-2.5-pro"),
        ("google:gemini-2.5-pro", "gemini/gemini-2.5-pro"),
        ("ollama:chat:llama3:8b", "ollama_chat/llama3:8b"),
        ("openrouter:meta/llama", "openrouter/meta/llama"),
        ("litellm:gemini/gemini-pro", "gemini/gemini-pro"),
        ({"id": "openai:chat:gpt-4o", "config": {"temperature": 0}}, "openai/gpt-4o"),
        ({"text": {"id": "openai:gpt-4o"}, "embedding": "x/y"}, "openai/gpt-4o"),
        ({"embedding": "x/y"}, None),
    ],
)
def test_providers_are_named_as_litellm_does(provider: Any, name: str | None) -> None:
    assert model_of(provider) == name


def test_an_embedding_model_may_stand_beside_a_judge() -> None:
    provider = {"text": "openai:gpt-4o", "embedding": {"id": "openai:embedding:text-embedding-3-small"}}
    assert model_of(provider, "embedding") == "openai/text-embedding-3-small"


@pytest.mark.parametrize("provider", ["", 3, ["openai/gpt-4o"], {}, "file://judge.py", "exec:judge", "python:judge.py"])
def test_what_names_no_model_is_a_fault(provider: Any) -> None:
    assert "provider" in fault(lambda: model_of(provider)).message

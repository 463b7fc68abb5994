"""The books of what was asked: each request once, whoever answered it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import permutations
from pathlib import Path

import pytest

from promptchain.errors import Fault, ModelError
from promptchain.lm.budget import Budget
from promptchain.lm.cache import CachedLM
from promptchain.lm.calls import Caller, Retry
from promptchain.lm.ledger import Ledger, Tally
from promptchain.lm.protocol import LM, Message, Request, Response, Usage
from promptchain.lm.scripted import ScriptedLM


def request(text: str, model: str = "m", sample: int = 0) -> Request:
    return Request(model, (Message("user", text),), sample=sample)


def reply(cost: float | None = 0.5) -> Response:
    return Response("yes", usage=Usage(3, 4), cost=cost)


def ask(ledger: Ledger, requests: Sequence[Request]) -> None:
    async def work() -> None:
        for one in requests:
            await ledger.complete(one)

    asyncio.run(work())


def test_a_request_that_is_made_twice_is_counted_once() -> None:
    ledger = Ledger(ScriptedLM(reply()))
    ask(ledger, [request("a"), request("a"), request("b"), request("a", sample=1)])
    assert ledger.total == Tally(3, 21, 1.5)


def test_all_models_are_in_one_sum() -> None:
    ledger = Ledger(ScriptedLM(reply()))
    ask(ledger, [request("a", "m"), request("a", "n"), request("b", "n")])
    assert ledger.total == Tally(3, 21, 1.5)


def test_one_unknown_price_makes_the_sum_unknown() -> None:
    ledger = Ledger(ScriptedLM([reply(), reply(None), reply()]))
    ask(ledger, [request("a"), request("b", "n"), request("c")])
    assert ledger.total == Tally(3, 21, None)


def test_a_sum_does_not_depend_on_which_answer_came_first() -> None:
    """A lock has millionths of a dollar, so that half of one would be rounded now up, now down."""

    def cost(parts: Sequence[float]) -> float | None:
        ledger = Ledger(ScriptedLM([reply(part) for part in parts]))
        ask(ledger, [request(str(number)) for number in range(len(parts))])
        return ledger.total.cost

    parts = (7.75e-06, 1.415e-05, 7.5e-06, 1.81e-05)
    assert {cost(order) for order in permutations(parts)} == {4.75e-05}


def test_a_call_that_failed_is_none() -> None:
    ledger = Ledger(ScriptedLM([ModelError("down", fault=Fault.SERVER, model="m"), reply()]))
    with pytest.raises(ModelError):
        ask(ledger, [request("a")])
    assert ledger.total == Tally()
    ask(ledger, [request("a")])
    assert ledger.total.calls == 1


def test_what_the_cache_answered_stands_in_the_books_like_any_other(tmp_path: Path) -> None:
    def books(lm: LM) -> Tally:
        ledger = Ledger(lm)
        ask(ledger, [request("a"), request("b"), request("a")])
        return ledger.total

    first, second = ScriptedLM(reply()), ScriptedLM(reply())
    assert (
        books(CachedLM(first, tmp_path / "cache")) == books(CachedLM(second, tmp_path / "cache")) == Tally(2, 14, 1.0)
    )
    assert (len(first.requests), len(second.requests)) == (2, 0)


def test_an_answer_that_a_ceiling_leaves_to_the_cache_is_counted(tmp_path: Path) -> None:
    lm = CachedLM(ScriptedLM(reply()), tmp_path / "cache")
    ask(Ledger(lm), [request("a")])
    ledger = Ledger(lm)
    caller = Caller(ledger, budget=Budget(calls=0))
    asyncio.run(caller.call(request("a"), timeout=9, retry=Retry(errors=0)))
    assert ledger.total.calls == 1


def test_without_a_cache_nothing_is_known() -> None:
    ledger = Ledger(ScriptedLM(reply()))
    assert asyncio.run(ledger.lookup(request("a"))) is None
    asyncio.run(ledger.remember(request("a"), reply()))
    assert ledger.total == Tally()
    assert ledger.identity("m") == "scripted"

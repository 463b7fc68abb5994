import asyncio
import time
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promptchain.errors import BudgetError, Fault, ModelError, UsageError
from promptchain.lm.budget import Bound, Budget
from promptchain.lm.cache import CachedLM
from promptchain.lm.calls import Answer, Caller, CallError, Retry
from promptchain.lm.protocol import (
    Capabilities,
    Finish,
    Media,
    Message,
    OnText,
    Price,
    Request,
    Response,
    ToolCall,
    ToolSpec,
    Usage,
)
from promptchain.lm.scripted import Rule, ScriptedLM
from tests import patience

NO_RETRY = Retry(errors=0)
PRICED = Capabilities(price=Price(0.001, 0.01))


def request(text: str = "hi", **params: object) -> Request:
    return Request("test/model", (Message("user", text),), params)


def error(fault: Fault = Fault.SERVER, retry_after: float | None = None) -> ModelError:
    return ModelError("the server is down", fault=fault, model="m", hint="wait", status=503, retry_after=retry_after)


async def call(caller: Caller, sent: Request | None = None, *, retry: Retry = NO_RETRY, **options: Any) -> Answer:
    return await caller.call(sent or request(), timeout=options.pop("timeout", 10.0), retry=retry, **options)


def run(*calls: Coroutine[Any, Any, Answer]) -> list[Answer | BaseException]:
    async def together() -> list[Answer | BaseException]:
        return await asyncio.gather(*calls, return_exceptions=True)

    return asyncio.run(asyncio.wait_for(together(), 30))


def timed(*calls: Coroutine[Any, Any, Answer]) -> list[Answer | BaseException]:
    """`run`, with delays and timeouts that mean the same however busy the machine is."""

    async def together() -> list[Answer | BaseException]:
        return await asyncio.gather(*calls, return_exceptions=True)

    return patience.run(asyncio.wait_for(together(), 300))


class Waits:
    """In place of asyncio.sleep: writes the waits down."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)
        await asyncio.sleep(0)


# retries


def test_an_answer_comes_back_as_it_is() -> None:
    (answer,) = run(call(Caller(ScriptedLM(["Paris"]))))
    assert isinstance(answer, Answer)
    assert (answer.response.text, answer.failures, answer.max_tokens) == ("Paris", (), None)


def test_errors_that_may_pass_are_tried_again_and_recorded() -> None:
    waits, told = Waits(), []
    caller = Caller(ScriptedLM([error(), error(Fault.RATE_LIMIT), "Paris"]), sleep=waits, random=lambda: 0.5)
    (answer,) = run(call(caller, retry=Retry(base=2.0), on_retry=lambda cause, wait: told.append((cause.fault, wait))))
    assert isinstance(answer, Answer)
    assert answer.response.text == "Paris"
    assert waits.seconds == [1.0, 2.0]
    assert told == [(Fault.SERVER, 1.0), (Fault.RATE_LIMIT, 2.0)]
    assert [(a.error, a.fault, a.waited) for a in answer.failures] == [
        ("the server is down", "server error", 1.0),
        ("the server is down", "rate limit", 2.0),
    ]


def test_the_last_error_is_raised_with_all_tries() -> None:
    lm = ScriptedLM(error())
    with pytest.raises(CallError, match=r"the server is down \(tried 4 times\); wait") as caught:
        asyncio.run(call(Caller(lm, sleep=Waits()), retry=Retry()))
    assert len(lm.requests) == len(caught.value.failures) == 4
    assert (caught.value.fault, caught.value.model, caught.value.status) == (Fault.SERVER, "m", 503)
    assert isinstance(caught.value.__cause__, ModelError)


@pytest.mark.parametrize("fault", [fault for fault in Fault if not error(fault).retryable])
def test_errors_that_stay_are_not_tried_again(fault: Fault) -> None:
    lm = ScriptedLM(error(fault))
    with pytest.raises(CallError, match=r"the server is down; wait$"):
        asyncio.run(call(Caller(lm, sleep=Waits()), retry=Retry()))
    assert len(lm.requests) == 1


def test_other_exceptions_pass_and_give_slot_and_reservation_back() -> None:
    budget = Budget(tokens=10_000)
    caller = Caller(ScriptedLM([RuntimeError("a bug"), "fine"]), concurrency=1, budget=budget)
    with pytest.raises(RuntimeError, match="a bug"):
        asyncio.run(call(caller, request(max_tokens=5)))
    (answer,) = run(call(caller, request(max_tokens=5)))
    assert isinstance(answer, Answer)


@given(st.integers(1, 5000), st.floats(0, 1, exclude_max=True), st.floats(0, 60) | st.none())
def test_a_wait_grows_is_spread_and_keeps_to_its_limits(tries: int, chance: float, asked: float | None) -> None:
    retry = Retry(base=0.5, longest=60.0)
    wait = retry.wait(tries, asked, chance)
    assert (asked or 0.0) <= wait <= min(60.0, (asked or 0.0) + 0.5 * 2.0 ** min(tries - 1, 100))


def test_the_server_is_waited_for_at_least_as_long_as_it_asks() -> None:
    waits = Waits()
    run(call(Caller(ScriptedLM([error(retry_after=7.0), "ok"]), sleep=waits, random=lambda: 0.5), retry=Retry()))
    assert waits.seconds == [7.25]


def test_too_long_a_wait_is_an_error_that_says_so() -> None:
    waits = Waits()
    with pytest.raises(CallError, match="the server asks to wait 300 s") as caught:
        asyncio.run(call(Caller(ScriptedLM(error(retry_after=300)), sleep=waits), retry=Retry()))
    assert waits.seconds == []
    assert caught.value.retry_after == 300


# timeout and concurrency


def test_no_answer_in_time_is_a_timeout_and_not_tried_again() -> None:
    lm = ScriptedLM([Rule("late", delay=60)])
    with pytest.raises(CallError, match=r"no answer within 0\.05 s; raise the step's `timeout`") as caught:
        asyncio.run(call(Caller(lm), timeout=0.05, retry=Retry()))
    assert caught.value.fault is Fault.TIMEOUT
    assert len(lm.requests) == 1
    assert 0.04 < caught.value.failures[0].latency < 30


class Gauge(ScriptedLM):
    """Counts the calls in flight."""

    now = most = 0

    async def complete(self, request: Request, on_text: OnText | None = None) -> Response:
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            return await super().complete(request, on_text)
        finally:
            self.now -= 1


def test_so_many_calls_are_in_flight_and_no_more() -> None:
    lm = Gauge("ok", delay=1)
    caller = Caller(lm, concurrency=4)
    timed(*(call(caller) for _ in range(40)))
    assert lm.most == 4


def test_time_in_the_queue_is_not_part_of_the_timeout() -> None:
    caller = Caller(ScriptedLM("ok", delay=0.05), concurrency=1)
    answers = timed(*(call(caller, timeout=0.5) for _ in range(12)))
    assert all(isinstance(answer, Answer) for answer in answers)


def test_a_call_that_waits_for_its_retry_holds_no_slot() -> None:
    async def story() -> list[str]:
        order: list[str] = []
        again = asyncio.Event()

        async def sleep(_: float) -> None:
            await again.wait()

        lm = ScriptedLM([error(), "other", "retried"])
        caller = Caller(lm, concurrency=1, sleep=sleep)
        first = asyncio.create_task(call(caller, retry=Retry()))
        await asyncio.sleep(0)
        order.append((await call(caller)).response.text)
        again.set()
        order.append((await first).response.text)
        return order

    assert patience.run(asyncio.wait_for(story(), 5)) == ["other", "retried"]


def test_text_is_streamed_through() -> None:
    pieces: list[str] = []
    run(call(Caller(ScriptedLM(["a b"])), on_text=pieces.append))
    assert pieces == ["a ", "b"]


# budget


def test_what_is_spent_is_the_sum_of_what_was_used() -> None:
    budget = Budget()
    lm = ScriptedLM([Response("a", usage=Usage(3, 4), cost=0.1), Response("b", usage=Usage(1, 1), cost=0.2)])
    run(call(Caller(lm, budget=budget)), call(Caller(lm, budget=budget)))
    assert (budget.spent.calls, budget.spent.tokens, budget.spent.cost) == (2, 9, pytest.approx(0.3))


def test_the_price_stands_in_for_a_cost_that_is_not_told() -> None:
    budget = Budget(cost=1.0)
    lm = ScriptedLM([Response("a", usage=Usage(3, 4))], capabilities=PRICED)
    run(call(Caller(lm, budget=budget), request(max_tokens=5)))
    assert budget.spent.cost == pytest.approx(0.043)


def test_no_more_calls_than_allowed_and_the_error_says_what_to_raise() -> None:
    budget = Budget(calls=3)
    caller = Caller(ScriptedLM("ok", delay=0.001), budget=budget)
    answers = run(*(call(caller) for _ in range(5)))
    refused = [answer for answer in answers if isinstance(answer, BudgetError)]
    assert [str(error) for error in refused] == [
        "--max-calls 3 leaves no room for another call: spent so far 3; raise --max-calls"
    ] * 2
    assert budget.spent.calls == 3


def test_each_retry_is_a_call() -> None:
    budget = Budget(calls=2)
    with pytest.raises(BudgetError):
        asyncio.run(call(Caller(ScriptedLM(error()), budget=budget, sleep=Waits()), retry=Retry()))
    assert (budget.spent.calls, budget.spent.tokens) == (2, 0)


def test_a_limit_of_the_request_s_own_is_not_lowered() -> None:
    lm = ScriptedLM("ok", capabilities=PRICED)
    with pytest.raises(BudgetError, match=r"--max-cost \$0.5 leaves no room .* spent so far \$0, .* may take \$1\.08"):
        asyncio.run(call(Caller(lm, budget=Budget(cost=0.5)), request(max_tokens=100)))
    assert lm.requests == []


def test_an_unset_limit_is_lowered_to_what_fits() -> None:
    lm = ScriptedLM(" ".join("x" * 500), capabilities=PRICED)
    budget = Budget(cost=0.5)
    (answer,) = run(call(Caller(lm, budget=budget)))
    assert isinstance(answer, Answer)
    # The prompt may be 2 bytes + 16 + 64 = 82 tokens; (0.5 - 0.082) / 0.01 = 41.8
    assert answer.max_tokens == lm.requests[0].params["max_tokens"] == 41
    assert answer.response.finish is Finish.LENGTH
    assert budget.spent.tokens == 42


def test_what_the_model_writes_at_most_is_the_bound_without_a_limit() -> None:
    lm = ScriptedLM("ok", capabilities=Capabilities(price=Price(0, 0.01), max_output=10))
    (answer,) = run(call(Caller(lm, budget=Budget(cost=0.1))))
    assert isinstance(answer, Answer)
    assert answer.max_tokens is None


def test_an_unknown_price_cannot_be_held_to_a_cost() -> None:
    lm = ScriptedLM("ok", capabilities=Capabilities())
    with pytest.raises(UsageError, match="the price of test/model is not known, so --max-cost can't be held"):
        asyncio.run(call(Caller(lm, budget=Budget(cost=5))))
    assert lm.requests == []
    run(call(Caller(lm, budget=Budget(tokens=500))))
    assert len(lm.requests) == 1


def test_a_ceiling_is_a_number_from_0_up() -> None:
    with pytest.raises(UsageError, match="--max-cost must be a number from 0 up, not -1"):
        Budget(cost=-1)
    with pytest.raises(UsageError, match="--max-cost"):
        Budget(cost=float("nan"))


@pytest.mark.parametrize(
    ("reply", "tokens"),
    [
        (error(Fault.AUTH), 0),
        (error(Fault.SERVER), 0),
        (error(Fault.TIMEOUT), 182),
        (error(Fault.CONNECTION), 182),
        (error(Fault.BAD_RESPONSE), 182),
        (RuntimeError("?"), 182),
        (Response("no usage told"), 182),
        (Response("cached", usage=Usage(9, 9), cached=True), 0),
        (Response("told", usage=Usage(9, 9)), 18),
    ],
)
def test_what_a_try_counts(reply: Response | Exception, tokens: int) -> None:
    budget = Budget(tokens=1000)
    run(call(Caller(ScriptedLM([reply]), budget=budget), request(max_tokens=100)))
    assert budget.spent.tokens == tokens
    assert budget.spent.calls == (0 if isinstance(reply, Response) and reply.cached else 1)


def test_a_cancelled_call_counts_as_much_as_it_may_have_cost() -> None:
    async def story() -> Budget:
        budget = Budget(tokens=1000)
        task = asyncio.create_task(call(Caller(ScriptedLM("x", delay=5), budget=budget), request(max_tokens=100)))
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.wait([task])
        return budget

    assert patience.run(story()).spent.tokens == 182


def test_a_call_waits_for_room_and_the_queue_is_in_order() -> None:
    order: list[str] = []

    def reply(sent: Request) -> str:
        order.append(sent.messages[0].content)
        return "x"

    # Each may take 100 + 16 + 64 + 1 = 181 tokens and takes 2, so one at a time fits, and all of them in the end.
    caller = Caller(ScriptedLM([Rule(reply, always=True, delay=0.001)]), budget=Budget(tokens=230))
    answers = timed(*(call(caller, request(letter, max_tokens=100)) for letter in "abcdefgh"))
    assert all(isinstance(answer, Answer) for answer in answers)
    assert "".join(order) == "abcdefgh"


def test_a_waiting_call_that_is_cancelled_lets_the_next_through() -> None:
    async def story() -> list[str]:
        caller = Caller(ScriptedLM("x", delay=0.02), budget=Budget(tokens=300))
        tasks = [asyncio.create_task(call(caller, request(max_tokens=100))) for _ in range(4)]
        await asyncio.sleep(0.001)
        tasks[1].cancel()
        await asyncio.wait(tasks)
        return ["cancelled" if task.cancelled() else task.result().response.text for task in tasks]

    assert patience.run(asyncio.wait_for(story(), 5)) == ["x", "cancelled", "x", "x"]


def test_a_hopeless_call_is_refused_without_waiting() -> None:
    async def story() -> None:
        caller = Caller(ScriptedLM("x", delay=60), budget=Budget(tokens=300))
        task = asyncio.create_task(call(caller, request(max_tokens=100), timeout=None))
        await asyncio.sleep(0)
        with pytest.raises(BudgetError):
            await call(caller, request(max_tokens=1000))
        task.cancel()

    asyncio.run(asyncio.wait_for(story(), 5))


def test_the_schema_and_wide_characters_are_part_of_the_bound() -> None:
    plain, wide = Budget(tokens=0).bound(request("a"), PRICED), Budget(tokens=0).bound(request("€\ud800"), PRICED)
    assert wide.prompt - plain.prompt == 5
    held = Request("m", (Message("user", "a"),), schema={"type": "string"})
    assert Budget(tokens=0).bound(held, PRICED).prompt > plain.prompt + 1024
    assert plain.prompt < Budget(tokens=0).bound(held, Capabilities(local=True)).prompt < plain.prompt + 100


def test_a_budget_is_shared_and_outlives_an_event_loop() -> None:
    budget = Budget(tokens=400)
    for _ in range(3):
        callers = [Caller(ScriptedLM("x", delay=0.001), budget=budget) for _ in range(2)]
        answers = run(*(call(caller, request(max_tokens=200)) for caller in callers * 3))
        assert all(isinstance(answer, Answer) for answer in answers)


def test_the_cache_answers_when_nothing_is_left_to_spend(tmp_path: Path) -> None:
    lm = CachedLM(ScriptedLM(["Paris"]), tmp_path / "c.db")
    run(call(Caller(lm)))
    budget = Budget(calls=0)
    (answer,) = run(call(Caller(lm, budget=budget)))
    lm.close()
    assert isinstance(answer, Answer)
    assert (answer.response.text, answer.response.cached, budget.spent.calls) == ("Paris", True, 0)


def test_an_answer_under_a_lowered_limit_is_found_again_if_the_limit_was_not_reached(tmp_path: Path) -> None:
    inner = ScriptedLM("two words")
    lm = CachedLM(inner, tmp_path / "c.db")
    for tokens in (500, 400):
        (answer,) = run(call(Caller(lm, budget=Budget(tokens=tokens))))
        assert isinstance(answer, Answer)
        assert answer.response.text == "two words"
    lm.close()
    assert len(inner.requests) == 1


def test_so_is_one_that_calls_a_tool(tmp_path: Path) -> None:
    inner = ScriptedLM(Response("", Finish.TOOLS, Usage(1, 1), cost=0.0, tool_calls=(ToolCall("a", "now", "{}"),)))
    lm = CachedLM(inner, tmp_path / "c.db")
    for tokens in (500, 400):
        (answer,) = run(call(Caller(lm, budget=Budget(tokens=tokens))))
        assert isinstance(answer, Answer)
        assert answer.response.tool_calls == (ToolCall("a", "now", "{}"),)
    lm.close()
    assert len(inner.requests) == 1


OUTCOMES = st.sampled_from(["full", "part", "silent", "error", "reset", "timeout", "cancel"])
CALLS = st.lists(st.tuples(st.text(max_size=40), st.none() | st.integers(1, 60), OUTCOMES), min_size=1, max_size=40)


class Greedy(ScriptedLM):
    """Bills as much as it may for what was asked, or a part, or fails; keeps its own books."""

    def __init__(self, outcomes: Sequence[str], price: Price, max_output: int | None) -> None:
        super().__init__("", capabilities=Capabilities(price=price, max_output=max_output))
        self.outcomes = list(outcomes)
        self.calls = self.tokens = 0
        self.cost = 0.0
        self.price = price
        self.max_output = max_output

    async def complete(self, request: Request, on_text: OnText | None = None) -> Response:
        outcome = self.outcomes[self.calls % len(self.outcomes)]
        self.calls += 1
        for _ in range(self.calls % 4):
            await asyncio.sleep(0)
        if outcome == "error":
            raise error()
        written = request.params.get("max_tokens", self.max_output or 500)
        usage = Usage(len(request.messages[0].content.encode()) + 80, written if outcome != "part" else written // 2)
        self.tokens += usage.total
        self.cost += self.price.of(usage)
        if outcome == "reset":
            raise error(Fault.CONNECTION)
        if outcome in ("timeout", "cancel"):
            await asyncio.sleep(60)
        if outcome == "silent":
            return Response("x")
        return Response("x", usage=usage, cost=self.price.of(usage))


@settings(max_examples=150, deadline=None)
@given(
    CALLS,
    st.none() | st.integers(0, 50),
    st.none() | st.integers(0, 3000),
    st.none() | st.floats(0, 0.01),
    st.none() | st.integers(1, 100),
    st.tuples(st.floats(0, 1e-4), st.floats(0, 1e-4)),
)
def test_no_ceiling_is_ever_passed(
    calls: list[tuple[str, int | None, str]],
    most_calls: int | None,
    most_tokens: int | None,
    most_cost: float | None,
    max_output: int | None,
    price: tuple[float, float],
) -> None:
    lm = Greedy([outcome for _, _, outcome in calls], Price(*price), max_output)
    budget = Budget(calls=most_calls, tokens=most_tokens, cost=most_cost)

    async def story() -> None:
        caller = Caller(lm, concurrency=16, budget=budget, sleep=Waits())
        tasks = [
            asyncio.create_task(
                call(caller, request(text, **({"max_tokens": limit} if limit else {})), timeout=0.01, retry=Retry(1))
            )
            for text, limit, _ in calls
        ]
        await asyncio.sleep(0)
        for task, (_, _, outcome) in zip(tasks, calls, strict=True):
            if outcome == "cancel":
                task.cancel()
        done, pending = await asyncio.wait(tasks, timeout=2000)
        assert not pending, "a deadlock"
        for task in done:
            if not task.cancelled() and (failure := task.exception()) is not None:
                assert isinstance(failure, ModelError | BudgetError), failure

    patience.run(story())
    tiny = 1e-9  # of a sum of floats in this test's own books
    assert lm.calls <= (most_calls if most_calls is not None else lm.calls)
    assert lm.tokens <= (most_tokens if most_tokens is not None else lm.tokens)
    assert lm.cost <= (most_cost + tiny if most_cost is not None else lm.cost)
    assert budget.spent.calls == lm.calls
    if most_tokens is not None:
        assert lm.tokens <= budget.spent.tokens <= most_tokens
    if most_cost is not None:
        assert lm.cost - tiny <= budget.spent.cost <= most_cost + 1e-12


@given(
    st.integers(0, 200),
    st.floats(0, 1),
    st.floats(1e-9, 1e-3),
    st.floats(1e-9, 1e-3),
    st.none() | st.integers(1, 10**5),
)
def test_what_a_limit_is_lowered_to_fits_to_the_last_unit(
    prompt: int, ceiling: float, read: float, written: float, most: int | None
) -> None:
    async def story() -> None:
        budget = Budget(cost=ceiling)
        bound = Bound(prompt, float("inf") if most is None else most, price=Price(read, written), fixed=False)
        try:
            held = await budget.reserve(bound)
        except BudgetError:
            return
        budget.settle(held, held.sums)
        assert round(budget.spent.cost * 10**12) <= round(ceiling * 10**12)

    asyncio.run(story())


def test_a_call_costs_little_time() -> None:
    async def story() -> float:
        caller = Caller(ScriptedLM("ok", keep=0), concurrency=64, budget=Budget(tokens=10**9))
        sent = request(max_tokens=5)
        started = time.thread_time()
        await asyncio.gather(*(call(caller, sent) for _ in range(2000)))
        return time.thread_time() - started

    best = min(asyncio.run(story()) for _ in range(3))
    print(f"{best / 2000 * 1e6:.0f} µs a call")
    assert best / 2000 < 0.5e-3, "the promise is 0.1 ms; this leaves room for a busy machine"


def test_a_model_gets_as_many_calls_at_once_as_it_has_slots() -> None:
    """The wait for a slot does not count against the timeout."""
    at_once, most = 0, 0

    class Slotted(ScriptedLM):
        async def complete(self, request: Request, on_text: OnText | None = None) -> Response:
            nonlocal at_once, most
            at_once += 1
            most = max(most, at_once)
            try:
                await asyncio.sleep(0.1)
                return await super().complete(request, on_text)
            finally:
                at_once -= 1

    lm = Slotted(lambda _: "ok", capabilities=Capabilities(price=Price(0, 0), slots=2))
    caller = Caller(lm, concurrency=16)

    async def work() -> None:
        calls = [caller.call(Request("m", ()), timeout=0.15, retry=NO_RETRY) for _ in range(8)]
        await asyncio.gather(*calls)

    patience.run(work())
    assert most == 2


# --- tools and media


def test_a_bound_counts_tools_calls_and_media() -> None:
    def tokens(request: Request, model: str = "m") -> int:
        return Bound.of(replace(request, model=model), Capabilities()).prompt

    plain = Request("m", (Message("user", "hi"),))
    tool = ToolSpec("lookup", "x" * 500)
    assert tokens(replace(plain, tools=(tool,))) > tokens(plain) + 500 + 1024
    call = Message("assistant", "", tool_calls=(ToolCall("a", "lookup", "y" * 300),))
    assert tokens(replace(plain, messages=(*plain.messages, call))) > tokens(plain) + 300 + 16

    def with_media(kind: Literal["image", "file"], url: str) -> Request:
        return replace(plain, messages=(Message("user", "hi", (Media(kind, url),)),))

    image = with_media("image", "data:image/png;base64," + "A" * 4_000_000)
    assert tokens(image) == tokens(plain) + 5_000, "an image costs by its pixels, not by its bytes"
    assert tokens(image, "openai/gpt-4o-mini") == tokens(plain) + 50_000
    assert tokens(with_media("file", "data:application/pdf;base64," + "A" * 4_000_000)) > tokens(plain) + 3_000_000
    assert tokens(with_media("file", "data:application/pdf;base64,AAAA")) == tokens(plain) + 5_000
    assert tokens(with_media("file", "https://example.com/a.pdf")) == tokens(plain) + 300_000

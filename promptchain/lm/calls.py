"""What every model call goes through: a bounded number at a time, a timeout, retries, and hard ceilings on spending."""

from __future__ import annotations

import asyncio
import json
import math
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from random import random as _random
from time import perf_counter
from typing import Protocol, runtime_checkable

from promptchain.errors import BudgetError, Fault, ModelError, UsageError
from promptchain.lm.protocol import LM, Capabilities, Finish, OnText, Price, Request, Response

_UNITS = 10**12
"""Costs are added up as whole millionths of a millionth of a dollar: sums of floats drift, and a ceiling must not."""

_FREE = Price(0.0, 0.0)

_MAYBE_BILLED = frozenset({Fault.TIMEOUT, Fault.CONNECTION, Fault.BAD_RESPONSE, Fault.REFUSED})
"""Faults after which the provider may have worked, and charge for it, although no answer reached us."""


@dataclass(frozen=True, slots=True)
class Retry:
    """How often a call is tried again after an error that may pass, and the waits between (seconds).

    The n-th wait is drawn evenly from 0 to `base` * 2^n, at most `longest`: "full jitter", after Marc Brooker,
    "Exponential Backoff And Jitter", https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/.
    """

    errors: int = 3
    base: float = 0.5
    longest: float = 60.0

    def wait(self, tries: int, retry_after: float | None, chance: float) -> float:
        """Seconds until the next try, after `tries` that failed; `chance` is in [0, 1). Never less than the server
        asked for, and spread out beyond that too: all who were turned away at once would come back at once."""
        backoff = min(self.longest, self.base * 2.0 ** min(tries - 1, 64)) * chance
        if retry_after is None:
            return backoff
        return max(retry_after, min(retry_after + backoff, self.longest))


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try that failed, for the record. latency: seconds the try took; waited: seconds between it and the next."""

    error: str
    fault: str
    waited: float
    latency: float


@dataclass(frozen=True, slots=True)
class Answer:
    """What a call came to. max_tokens: what a ceiling lowered the request's own limit to; None where it did not."""

    response: Response
    failures: tuple[Attempt, ...] = ()
    max_tokens: int | None = None


class CallError(ModelError):
    """The ModelError that a call ended with, and all its tries, the last included. `__cause__` is the original."""

    def __init__(self, cause: ModelError, failures: tuple[Attempt, ...], *, note: str = "", hint: str | None) -> None:
        super().__init__(
            cause.message + note,
            fault=cause.fault,
            model=cause.model,
            hint=hint,
            status=cause.status,
            retry_after=cause.retry_after,
        )
        self.where = cause.where
        self.failures = failures


@dataclass(frozen=True, slots=True)
class Spent:
    """calls: tries that reached a model. cost: US dollars. Answers from the cache count nothing."""

    calls: int
    tokens: int
    cost: float


_Sums = tuple[float, float, float]  # calls, tokens, cost in _UNITS: whole numbers, or infinity


@dataclass(frozen=True, slots=True)
class Bound:
    """The most that one try can use: what `Budget.reserve` sets aside for it.

    prompt: tokens. completion: tokens of each copy, infinite where unknown. fixed: the request sets its own limit.
    """

    prompt: int = 0
    completion: float = 0
    copies: int = 1
    price: Price = _FREE
    fixed: bool = True

    @classmethod
    def of(cls, request: Request, model: Capabilities) -> Bound:
        """A token is at least one byte of text, so the UTF-8 bytes are a ceiling on the prompt's tokens: often four
        times as many as it has, but no tokenizer is needed and none can pass it. Added: 16 per message and 64 per
        request for what chat templates put around them, and 1,024 for the tool prompt through which some hosted
        models are held to a schema (up to 935 tokens in Anthropic's table of tool use).
        """
        texts = [message.content for message in request.messages]
        extra = [part for part in (request.schema, request.choices, request.params.get("tools")) if part]
        if extra:
            texts.append(json.dumps(extra, ensure_ascii=False, default=str))
        prompt = sum(len(text.encode("utf-8", "surrogatepass")) for text in texts) + 16 * len(request.messages) + 64
        if extra and not model.local:
            prompt += 1024
        limits = [request.params.get(name) for name in ("max_tokens", "max_completion_tokens")]
        own = max((limit for limit in limits if isinstance(limit, int)), default=None)
        most = own if own is not None else model.max_output
        copies = request.params.get("n")
        return cls(
            prompt,
            math.inf if most is None else most,
            copies if isinstance(copies, int) else 1,
            model.price or _FREE,
            fixed=own is not None,
        )

    def sums(self, completion: float) -> _Sums:
        written = completion * self.copies
        cost = self.prompt * self.price.prompt + (written * self.price.completion if self.price.completion else 0.0)
        return 1, self.prompt + written, math.ceil(cost * _UNITS) if cost < math.inf else math.inf


@dataclass(frozen=True, slots=True)
class Reservation:
    """What is set aside for one try; give it back with `Budget.settle`. max_tokens: the lowered limit, if any."""

    sums: _Sums
    max_tokens: int | None = None


class Budget:
    """Hard ceilings over everything a command spends: shared by all its Callers, on one event loop at a time.

    Before a try its `Bound` is reserved, after it the real figures are settled; what is spent and what is reserved
    are together never more than a ceiling. Where a bound does not fit, `reserve` waits, in order of arrival, for
    calls in flight to settle; with none in flight it lowers max_tokens to what fits, if the request sets none.

    Settled are: the usage of an answer (its bound, where the model does not tell); nothing for one from the cache; one
    call and no tokens for an error that the server answered with; and the bound for a try that was cancelled, timed
    out, lost its connection or brought nothing readable: it may have been billed.
    """

    def __init__(self, *, cost: float | None = None, calls: int | None = None, tokens: int | None = None) -> None:
        for flag, ceiling in (("cost", cost), ("calls", calls), ("tokens", tokens)):
            if ceiling is not None and not 0 <= ceiling < math.inf:
                raise UsageError(f"--max-{flag} must be a number from 0 up, not {ceiling}")
        self._limits: _Sums = (
            math.inf if calls is None else calls,
            math.inf if tokens is None else tokens,
            math.inf if cost is None else math.floor(cost * _UNITS + 0.5),
        )
        self._spent: _Sums = (0, 0, 0)
        self._held: _Sums = (0, 0, 0)
        self._line: deque[asyncio.Future[None]] = deque()

    @property
    def spent(self) -> Spent:
        calls, tokens, cost = self._spent
        return Spent(int(calls), int(tokens), cost / _UNITS)

    def bound(self, request: Request, model: Capabilities) -> Bound:
        """What to reserve for a request. Raises UsageError where a ceiling on cost can't be held."""
        _, tokens, cost = self._limits
        if cost < math.inf and model.price is None:
            raise UsageError(
                f"the price of {request.model} is not known, so --max-cost can't be held",
                hint="use --max-tokens or --max-calls instead",
            )
        return Bound.of(request, model) if min(tokens, cost) < math.inf else Bound()

    def has_room(self, bound: Bound) -> bool:
        """Whether the bound could be reserved at once."""
        return not self._line and self._fits(bound.sums(bound.completion), self._held)

    async def reserve(self, bound: Bound) -> Reservation:
        """Set the bound aside; waits for room that calls in flight may give back. BudgetError: there is none."""
        full = bound.sums(bound.completion)
        least = full if bound.fixed else bound.sums(min(1, bound.completion))
        turn: asyncio.Future[None] | None = None
        try:
            while True:
                if not self._line or self._line[0] is turn:
                    if self._fits(full, self._held):
                        return self._hold(full)
                    if not self._fits(least, (0, 0, 0)):
                        raise self._refusal(bound, least)
                    if not self._held[0]:
                        lowered = self._most(bound)
                        return self._hold(bound.sums(lowered), lowered)
                turn = self._queue(turn)
                await turn
        finally:
            if turn is not None:
                self._line.remove(turn)
            self._wake()

    def settle(self, reservation: Reservation, used: _Sums) -> None:
        """Give a reservation back, and count what was used of it: `reservation.sums` where that is not known."""
        self._held = _add(self._held, reservation.sums, -1)
        self._spent = _add(self._spent, used)
        self._wake()

    def _fits(self, want: _Sums, held: _Sums) -> bool:
        parts = zip(self._spent, held, want, self._limits, strict=True)
        return all(spent + others + more <= limit for spent, others, more, limit in parts)

    def _hold(self, sums: _Sums, lowered: int | None = None) -> Reservation:
        # A part without a ceiling may be infinite; it is not worth a guess.
        calls, tokens, cost = (part if part < math.inf else 0 for part in sums)
        self._held = _add(self._held, (calls, tokens, cost))
        return Reservation((calls, tokens, cost), lowered)

    def _most(self, bound: Bound) -> int:
        """The largest max_tokens that fits, with nothing in flight."""
        _, tokens, cost = (limit - spent for limit, spent in zip(self._limits, self._spent, strict=True))
        room = [bound.completion, (tokens - bound.prompt) / bound.copies, 2**31 - 1]  # what any API can read
        if bound.price.completion:
            dollars = cost / _UNITS - bound.prompt * bound.price.prompt
            room.append(dollars / bound.price.completion / bound.copies)
        most = max(1, math.floor(min(room)))
        # The division may be out by a rounding of floats; what is reserved must fit to the last unit.
        return most if self._fits(bound.sums(most), self._held) else max(1, most - 1)

    def _refusal(self, bound: Bound, least: _Sums) -> BudgetError:
        over = [s + w > limit for s, w, limit in zip(self._spent, least, self._limits, strict=True)].index(True)
        flag = ("--max-calls", "--max-tokens", "--max-cost")[over]
        spent, want, limit = (
            (f"${sums[over] / _UNITS:.6g}" if over == 2 else f"{sums[over]:,.0f}")
            for sums in (self._spent, least, self._limits)
        )
        needs = "" if over == 0 else f", and the next may take {want}"
        hint = f"raise {flag}" + ("" if over == 0 else ", or lower the step's max_tokens" if bound.fixed else "")
        return BudgetError(f"{flag} {limit} leaves no room for another call: spent so far {spent}{needs}", hint=hint)

    def _queue(self, turn: asyncio.Future[None] | None) -> asyncio.Future[None]:
        fresh = asyncio.get_running_loop().create_future()
        if turn is None:
            self._line.append(fresh)
        else:
            self._line[0] = fresh  # only the first in line is ever woken
        return fresh

    def _wake(self) -> None:
        if self._line and not self._line[0].done():
            self._line[0].set_result(None)


def _add(sums: _Sums, more: _Sums, sign: int = 1) -> _Sums:
    return sums[0] + sign * more[0], sums[1] + sign * more[1], sums[2] + sign * more[2]


@runtime_checkable
class Remembers(Protocol):
    """What a caching LM offers besides: answers that need no budget."""

    async def lookup(self, request: Request, on_text: OnText | None = None) -> Response | None: ...

    async def remember(self, request: Request, response: Response) -> None: ...


class Caller:
    """Makes the model calls of one command. Belongs to one event loop.

    At most `concurrency` tries are in flight; a call that waits to be retried is not. `sleep` and `random` (in
    [0, 1)) are for tests.
    """

    def __init__(
        self,
        lm: LM,
        *,
        concurrency: int = 16,
        budget: Budget | None = None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        random: Callable[[], float] = _random,
    ) -> None:
        self._lm = lm
        self._memory = lm if isinstance(lm, Remembers) else None
        self._slots = asyncio.Semaphore(concurrency)
        self._budget = budget or Budget()
        self._sleep = sleep
        self._random = random

    async def call(
        self,
        request: Request,
        *,
        timeout: float | None,
        retry: Retry,
        on_text: OnText | None = None,
        on_retry: Callable[[ModelError, float], None] | None = None,
    ) -> Answer:
        """One answer. timeout: seconds for each try, None for no limit; running out of it is not tried again.

        on_retry gets the error and the wait before each further try: what on_text has received until then is void.
        Raises CallError (a ModelError), BudgetError where a ceiling leaves no room, and UsageError where a ceiling on
        cost can't be held because the price is unknown.
        """
        bound = self._budget.bound(request, self._lm.capabilities(request.model))
        failures: list[Attempt] = []
        while True:
            async with self._slots:
                # An answer from the cache costs nothing, so it may be had when nothing is left to spend.
                if self._memory is not None and not self._budget.has_room(bound):
                    known = await self._memory.lookup(request, on_text)
                    if known is not None:
                        return Answer(known, tuple(failures))
                held = await self._budget.reserve(bound)
                started = perf_counter()
                try:
                    response = await self._send(request, held, bound.price, timeout, on_text)
                    return Answer(response, tuple(failures), held.max_tokens)
                except ModelError as exc:
                    error, latency = exc, perf_counter() - started
            wait = self._wait(error, len(failures) + 1, retry)
            failures.append(Attempt(error.message, error.fault.value, wait or 0.0, latency))
            if wait is None:
                raise _given_up(error, tuple(failures), retry) from error
            if on_retry is not None:
                on_retry(error, wait)
            await self._sleep(wait)

    async def _send(
        self, request: Request, held: Reservation, price: Price, timeout: float | None, on_text: OnText | None
    ) -> Response:
        sent = request
        if held.max_tokens is not None:
            sent = replace(request, params={**request.params, "max_tokens": held.max_tokens})
        used = held.sums  # stands when the try is cancelled
        try:
            async with asyncio.timeout(timeout) as limit:
                response = await self._lm.complete(sent, on_text)
            used = _used(response, held, price)
        except ModelError as error:
            if error.fault not in _MAYBE_BILLED:
                used = 1, 0, 0
            raise
        except TimeoutError as exc:
            if not limit.expired():
                raise
            message = f"no answer within {timeout:g} s"
            hint = "raise the step's `timeout`"
            raise ModelError(message, fault=Fault.TIMEOUT, model=request.model, hint=hint) from exc
        finally:
            self._budget.settle(held, used)
        if self._memory is not None and sent is not request and response.finish is Finish.STOP:
            # The lowered limit was not reached, so this is the answer to the request as it was; it will be looked up
            # under that, for the next run has another sum left and so another limit.
            await self._memory.remember(request, response)
        return response

    def _wait(self, error: ModelError, tries: int, retry: Retry) -> float | None:
        """Seconds until the next try, or None where there is none."""
        if not error.retryable or tries > retry.errors or (error.retry_after or 0.0) > retry.longest:
            return None
        return retry.wait(tries, error.retry_after, self._random())


def _used(response: Response, held: Reservation, price: Price) -> _Sums:
    if response.cached:
        return 0, 0, 0
    if not response.usage.total:
        return held.sums
    cost = price.of(response.usage) if response.cost is None else response.cost
    return 1, response.usage.total, math.floor(cost * _UNITS + 0.5)


def _given_up(error: ModelError, failures: tuple[Attempt, ...], retry: Retry) -> CallError:
    note, hint = "", error.hint
    if error.retryable and (error.retry_after or 0.0) > retry.longest:
        note = f", and the server asks to wait {error.retry_after:g} s"
        hint = hint or f"that is longer than the {retry.longest:g} s that a call waits at most; try again later"
    if len(failures) > 1:
        note += f" (tried {len(failures)} times)"
    return CallError(error, failures, note=note, hint=hint)

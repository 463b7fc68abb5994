"""What every model call goes through: a bounded number at a time, a timeout, retries, and hard ceilings on spending."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from copy import copy
from dataclasses import dataclass, replace
from random import random as _random
from threading import Event
from time import perf_counter
from typing import Protocol, runtime_checkable

from promptchain.errors import BudgetError, Fault, ModelError
from promptchain.lm.budget import UNITS, Bound, Budget, Reservation, Spent, Sums
from promptchain.lm.protocol import LM, Finish, OnText, Price, Request, Response

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


@runtime_checkable
class Remembers(Protocol):
    """What a caching LM offers besides: answers that need no budget."""

    async def lookup(self, request: Request, on_text: OnText | None = None) -> Response | None: ...

    async def remember(self, request: Request, response: Response) -> None: ...


_NO_LIMIT = nullcontext()


class Caller:
    """Makes the model calls of one command. Belongs to one event loop.

    At most `concurrency` tries are in flight, and of one model as many as it has slots; a call that waits to be
    retried is not in flight. `sleep` and `random` (in
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
        self._turns: dict[str, asyncio.Semaphore] = {}
        self._budget = budget or Budget()
        self._sleep = sleep
        self._random = random
        self._refused = Event()  # no bare flag, since those beside it share it

    @property
    def lm(self) -> LM:
        """What it calls."""
        return self._lm

    @property
    def exhausted(self) -> bool:
        """Whether a ceiling has refused a call: nothing more will come of going on."""
        return self._refused.is_set()

    @property
    def budget(self) -> Budget:
        """The ceilings of the command."""
        return self._budget

    @property
    def spent(self) -> Spent:
        """What the calls came to so far; a cost that is not known counts nothing."""
        return self._budget.spent

    def beside(self, lm: LM) -> Caller:
        """What calls another LM in the same command: the two share their places in flight and their ceilings, and each
        knows of a call that was refused to the other."""
        other = copy(self)
        other._lm = lm
        other._memory = lm if isinstance(lm, Remembers) else None
        return other

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
        able = self._lm.capabilities(request.model)
        bound = self._budget.bound(request, able)
        failures: list[Attempt] = []
        while True:
            # The model's own slots first: a call that waits for them takes no place, and no time, from others.
            async with self._turn(request.model, able.slots), self._slots:
                # An answer from the cache costs nothing, so it may be had when nothing is left to spend.
                if self._memory is not None and not self._budget.has_room(bound):
                    known = await self._memory.lookup(request, on_text)
                    if known is not None:
                        return Answer(known, tuple(failures))
                held = await self._reserve(bound)
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

    def _turn(self, model: str, slots: int | None) -> AbstractAsyncContextManager[object]:
        if slots is None:
            return _NO_LIMIT
        return self._turns.setdefault(model, asyncio.Semaphore(slots))

    async def _reserve(self, bound: Bound) -> Reservation:
        try:
            return await self._budget.reserve(bound)
        except BudgetError:
            self._refused.set()
            raise

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
        if self._memory is not None and sent is not request and response.finish in (Finish.STOP, Finish.TOOLS):
            # The lowered limit was not reached, so this is the answer to the request as it was; it will be looked up
            # under that, for the next run has another sum left and so another limit.
            await self._memory.remember(request, response)
        return response

    def _wait(self, error: ModelError, tries: int, retry: Retry) -> float | None:
        """Seconds until the next try, or None where there is none."""
        if not error.retryable or tries > retry.errors or (error.retry_after or 0.0) > retry.longest:
            return None
        return retry.wait(tries, error.retry_after, self._random())


def _used(response: Response, held: Reservation, price: Price) -> Sums:
    if response.cached:
        return 0, 0, 0
    if not response.usage.total:
        return held.sums
    cost = price.of(response.usage) if response.cost is None else response.cost
    return 1, response.usage.total, math.floor(cost * UNITS + 0.5)


def _given_up(error: ModelError, failures: tuple[Attempt, ...], retry: Retry) -> CallError:
    note, hint = "", error.hint
    if error.retryable and (error.retry_after or 0.0) > retry.longest:
        note = f", and the server asks to wait {error.retry_after:g} s"
        hint = hint or f"that is longer than the {retry.longest:g} s that a call waits at most; try again later"
    if len(failures) > 1:
        note += f" (tried {len(failures)} times)"
    return CallError(error, failures, note=note, hint=hint)

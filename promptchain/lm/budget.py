"""Hard ceilings on what a command spends: a call's most is set aside before it, and the real figure settled after."""

from __future__ import annotations

import asyncio
import json
import math
from collections import deque
from dataclasses import asdict, dataclass

from promptchain.errors import BudgetError, UsageError
from promptchain.lm.protocol import Capabilities, Media, Price, Request

UNITS = 10**12
"""Costs are added up as whole millionths of a millionth of a dollar: sums of floats drift, and a ceiling must not."""

_FREE = Price(0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Spent:
    """calls: tries that reached a model. cost: US dollars. Answers from the cache count nothing."""

    calls: int
    tokens: int
    cost: float


Sums = tuple[float, float, float]
"""Calls, tokens, and cost in UNITS: whole numbers, or infinity."""


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
        models are held to a schema or given tools (up to 935 tokens in Anthropic's table of tool use). Images and
        files count by `_media`, tools and calls of tools by their JSON.
        """
        texts = [message.content for message in request.messages]
        texts += [f"{call.id}{call.name}{call.arguments}" for one in request.messages for call in one.tool_calls]
        tools = [asdict(tool) for tool in request.tools]
        extra = [part for part in (request.schema, request.choices, tools, request.params.get("tools")) if part]
        if extra:
            texts.append(json.dumps(extra, ensure_ascii=False, default=str))
        prompt = sum(len(text.encode("utf-8", "surrogatepass")) for text in texts) + 16 * len(request.messages) + 64
        if extra and not model.local:
            prompt += 1024
        prompt += 16 * sum(len(message.tool_calls) for message in request.messages)
        prompt += sum(_media(media, request.model) for message in request.messages for media in message.media)
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

    def sums(self, completion: float) -> Sums:
        written = completion * self.copies
        cost = self.prompt * self.price.prompt + (written * self.price.completion if self.price.completion else 0.0)
        return 1, self.prompt + written, math.ceil(cost * UNITS) if cost < math.inf else math.inf


@dataclass(frozen=True, slots=True)
class Reservation:
    """What is set aside for one try; give it back with `Budget.settle`. max_tokens: the lowered limit, if any."""

    sums: Sums
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
        self._limits: Sums = (
            math.inf if calls is None else calls,
            math.inf if tokens is None else tokens,
            math.inf if cost is None else math.floor(cost * UNITS + 0.5),
        )
        self._spent: Sums = (0, 0, 0)
        self._held: Sums = (0, 0, 0)
        self._line: deque[asyncio.Future[None]] = deque()

    @property
    def spent(self) -> Spent:
        calls, tokens, cost = self._spent
        return Spent(int(calls), int(tokens), cost / UNITS)

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

    def fits(self, bound: Bound) -> bool:
        """Whether the bound can be reserved once nothing is in flight."""
        return self._fits(bound.sums(bound.completion), (0, 0, 0))

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

    def settle(self, reservation: Reservation, used: Sums) -> None:
        """Give a reservation back, and count what was used of it: `reservation.sums` where that is not known."""
        self._held = _add(self._held, reservation.sums, -1)
        self._spent = _add(self._spent, used)
        self._wake()

    def _fits(self, want: Sums, held: Sums) -> bool:
        parts = zip(self._spent, held, want, self._limits, strict=True)
        return all(spent + others + more <= limit for spent, others, more, limit in parts)

    def _hold(self, sums: Sums, lowered: int | None = None) -> Reservation:
        # A part without a ceiling may be infinite; it is not worth a guess.
        calls, tokens, cost = (part if part < math.inf else 0 for part in sums)
        self._held = _add(self._held, (calls, tokens, cost))
        return Reservation((calls, tokens, cost), lowered)

    def _most(self, bound: Bound) -> int:
        """The largest max_tokens that fits, with nothing in flight."""
        _, tokens, cost = (limit - spent for limit, spent in zip(self._limits, self._spent, strict=True))
        room = [bound.completion, (tokens - bound.prompt) / bound.copies, 2**31 - 1]  # what any API can read
        if bound.price.completion:
            dollars = cost / UNITS - bound.prompt * bound.price.prompt
            room.append(dollars / bound.price.completion / bound.copies)
        most = max(1, math.floor(min(room)))
        # The division may be out by a rounding of floats; what is reserved must fit to the last unit.
        return most if self._fits(bound.sums(most), self._held) else max(1, most - 1)

    def _refusal(self, bound: Bound, least: Sums) -> BudgetError:
        over = [s + w > limit for s, w, limit in zip(self._spent, least, self._limits, strict=True)].index(True)
        flag = ("--max-calls", "--max-tokens", "--max-cost")[over]
        spent, want, limit = (
            (f"${sums[over] / UNITS:.6g}" if over == 2 else f"{sums[over]:,.0f}")
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


def _media(media: Media, model: str) -> int:
    """A ceiling on the tokens of one image or file.

    An image costs by its pixels, which its bytes do not bound: at most 4,784 tokens in Anthropic's documentation, some
    4,000 in Google's and OpenAI's, and 48,169 for gpt-4o-mini, which counts each tile 33 times. Of a file the text and
    the picture of each page count, so its bytes are but an estimate on the safe side; one that the provider fetches is
    taken for 100 pages of 3,000 tokens, the most that Anthropic takes.
    """
    if media.kind == "image":
        return 50_000 if "4o-mini" in model else 5_000
    if not media.url.startswith("data:"):
        return 300_000
    return max(5_000, len(media.url) * 3 // 4)


def _add(sums: Sums, more: Sums, sign: int = 1) -> Sums:
    return sums[0] + sign * more[0], sums[1] + sign * more[1], sums[2] + sign * more[2]

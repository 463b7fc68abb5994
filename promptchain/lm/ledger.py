"""Counts what was asked: each distinct request once, whether its answer came from a model or from the cache."""

from __future__ import annotations

from dataclasses import dataclass, field

from promptchain.lm.budget import UNITS
from promptchain.lm.calls import Remembers
from promptchain.lm.protocol import LM, Capabilities, OnText, Request, Response


@dataclass(slots=True)
class Tally:
    """calls: distinct requests that were answered. cost: US dollars they were had for; None where one has no price."""

    calls: int = 0
    tokens: int = 0
    cost: float | None = 0.0


@dataclass
class Ledger:
    """An LM that passes every request on to `inner`, and keeps books. What it says does not depend on what a cache
    held before, nor on which answer came first, so that it can be written into a file that is the same for the same
    work. Not closed here."""

    inner: LM
    total: Tally = field(default_factory=Tally)
    _known: set[str] = field(default_factory=set)
    _units: int = 0

    async def complete(self, request: Request, on_text: OnText | None = None) -> Response:
        return self._count(request, await self.inner.complete(request, on_text))

    async def lookup(self, request: Request, on_text: OnText | None = None) -> Response | None:
        if not isinstance(self.inner, Remembers):
            return None
        found = await self.inner.lookup(request, on_text)
        return found and self._count(request, found)

    async def remember(self, request: Request, response: Response) -> None:
        if request.params.get("embed"):  # an embedding is had past `complete`; any other answer was counted there
            self._count(request, response)
        if isinstance(self.inner, Remembers):
            await self.inner.remember(request, response)

    def capabilities(self, model: str) -> Capabilities:
        return self.inner.capabilities(model)

    def identity(self, model: str) -> str:
        return self.inner.identity(model)

    def close(self) -> None:
        """Nothing: who made `inner` closes it."""

    def _count(self, request: Request, response: Response) -> Response:
        key = request.key(self.inner.identity(request.model))
        if key not in self._known:
            self._known.add(key)
            self.total.calls += 1
            self.total.tokens += response.usage.total
            if response.cost is None or self.total.cost is None:
                self.total.cost = None
            else:  # in whole units: what floats add up to depends on their order
                self._units += round(response.cost * UNITS)
                self.total.cost = self._units / UNITS
        return response

"""Events on their way from a run to who reads them one by one."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field

from promptchain.events import Event, StepText

LAG = 256
"""Events that wait before the pieces of a text are joined."""


@dataclass(slots=True)
class _Text:
    """Pieces of one text that wait to be read together."""

    step: str
    item: int | None
    pieces: list[str] = field(default_factory=list)


class Feed:
    """A queue on one event loop, read with `async for` until it is closed.

    `put` never waits, so that a reader that is slow, or stops, holds up no model and cannot lock the run. Where many
    events wait already, a piece of a text joins the piece of the same text that waits: what waits is then bounded by
    what the run keeps anyway, however slow the reader is.
    """

    def __init__(self) -> None:
        self._waiting: deque[Event | _Text] = deque()
        self._open: dict[tuple[str, int | None], _Text] = {}
        self._stirred = asyncio.Event()
        self._closed = False

    def put(self, event: Event) -> None:
        """Let an event wait for the reader."""
        key = event.step, getattr(event, "item", None)
        if isinstance(event, StepText):
            text = self._open.get(key)
            if text is None or len(self._waiting) < LAG:
                text = self._open[key] = _Text(*key)
                self._waiting.append(text)
            text.pieces.append(event.text)
        else:
            self._open.pop(key, None)  # what comes after belongs to another text: that before may be void
            self._waiting.append(event)
        self._stirred.set()

    def close(self) -> None:
        """Nothing more will come."""
        self._closed = True
        self._stirred.set()

    def __aiter__(self) -> Feed:
        return self

    async def __anext__(self) -> Event:
        while not self._waiting:
            if self._closed:
                raise StopAsyncIteration
            self._stirred.clear()
            await self._stirred.wait()
        first = self._waiting.popleft()
        if not isinstance(first, _Text):
            return first
        key = first.step, first.item
        if self._open.get(key) is first:
            del self._open[key]
        return StepText(first.step, "".join(first.pieces), first.item)

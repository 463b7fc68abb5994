"""What the steps of one chain share besides models: the project's files, opened corpora, servers of tools, and whoever
consents to what a tool is about to do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, Protocol, TypeVar, runtime_checkable

from promptchain import functions
from promptchain.errors import FunctionError
from promptchain.functions import Function
from promptchain.threads import in_thread

_T = TypeVar("_T")

MAX_CALLS = 64
"""Calls of the project's code at the same time."""


@dataclass(frozen=True, slots=True)
class Wish:
    """A call of a tool that waits for consent."""

    step: str
    tool: str
    arguments: Mapping[str, Any]


Approve = Callable[[Wish], Awaitable[bool]]
"""Whether a call of a tool that is marked `confirm` may be made."""


async def _nobody(wish: Wish) -> bool:  # noqa: ARG001
    return False


class Workshop:
    """root: the project's folder, outside of which nothing is read or imported. folder: that of the chain files, from
    which their patterns count. state: where indexes lie. approve: asked before a tool marked `confirm` is called;
    without it nobody consents. timeout: seconds for a call of code, where a step sets none.
    """

    def __init__(
        self,
        root: Path,
        *,
        folder: Path | None = None,
        state: Path | None = None,
        approve: Approve = _nobody,
        timeout: float = 120.0,
    ) -> None:
        self.root = root
        self.folder = folder or root / "chains"
        self.state = state or root / ".promptchain"
        self.approve = approve
        self.timeout = timeout
        self._loops: dict[asyncio.AbstractEventLoop, _OnLoop] = {}
        self._entering = Lock()  # a loaded chain may be run in several threads, each with a loop of its own

    async def function(self, name: str) -> Function:
        """A function of the project, imported in a thread once for each event loop. Raises FunctionError, also where
        the import takes longer than a call may; it goes on, and who asks later may find it done."""

        async def make() -> Function:
            return await in_thread(lambda: functions.find(name, self.root))

        try:
            async with asyncio.timeout(self.timeout):
                return await self.once(("function", name), make)
        except TimeoutError:
            message = f"the import of {name.partition(':')[0]} took longer than {self.timeout:g} s"
            raise FunctionError(message, hint="it should define functions, and do its work in them") from None

    async def once(self, key: Hashable, make: Callable[[], Awaitable[_T]]) -> _T:
        """What `make` gives, made once for each event loop however many ask for it, and closed with that where it can
        be. A failure is not kept."""
        own = self._on_loop()
        if own.closing is None:
            own.closing = own.until_closed()
            await anext(own.closing)
        made = own.made
        known = made.get(key)
        if known is None:
            known = made[key] = asyncio.ensure_future(make())
            known.add_done_callback(lambda done: _forget_failure(made, key, done))
        found: _T = await asyncio.shield(known)
        return found

    async def aclose(self) -> None:
        """Close what was made on the running event loop, before that ends: indexes and servers of tools. Nothing may
        use them any more; who asks for one after that has it made anew. May be called twice."""
        with self._entering:
            own = self._loops.pop(asyncio.get_running_loop(), None)
        if own is not None and own.closing is not None:
            await own.closing.aclose()

    @property
    def code(self) -> asyncio.Semaphore:
        """Held while code of the project is called: each call has a thread of its own, and a list may be long."""
        return self._on_loop().code

    def _on_loop(self) -> _OnLoop:
        loop = asyncio.get_running_loop()
        with self._entering:
            if loop not in self._loops:
                for other in [other for other in self._loops if other.is_closed()]:
                    del self._loops[other]
                self._loops[loop] = _OnLoop()
            return self._loops[loop]


@runtime_checkable
class _Closes(Protocol):
    """What holds something that must be let go of."""

    async def aclose(self) -> None: ...


class _OnLoop:
    """What belongs to one event loop. It knows the loop, so that a weak key would not let go of either."""

    def __init__(self) -> None:
        self.made: dict[Hashable, asyncio.Future[Any]] = {}
        self.code = asyncio.Semaphore(MAX_CALLS)
        self.closing: AsyncGenerator[None] | None = None

    async def until_closed(self) -> AsyncGenerator[None]:
        """Closes all that was made when this is closed; a loop that ends (asyncio.run does it) closes the async
        generators that were begun on it."""
        try:
            yield
        finally:
            made = list(self.made.values())
            self.made.clear()
            for future in made:
                future.cancel()  # which does nothing to what is done
            await asyncio.gather(*made, return_exceptions=True)
            done = [future.result() for future in made if not future.cancelled() and future.exception() is None]
            await asyncio.gather(*(thing.aclose() for thing in done if isinstance(thing, _Closes)))


def _forget_failure(made: dict[Hashable, asyncio.Future[Any]], key: Hashable, done: asyncio.Future[Any]) -> None:
    if done.cancelled() or done.exception() is not None:
        made.pop(key, None)

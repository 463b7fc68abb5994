"""Ctrl-C and a polite kill, in the middle of a run."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from promptchain.cli import INTERRUPTED

_T = TypeVar("_T")
_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


def run(work: Coroutine[Any, Any, _T]) -> _T:
    """As asyncio.run, but a signal cancels `work` between two steps of the loop, and once only: it may put its things
    in order (asyncio.run would cancel that too at the second Ctrl-C). The third signal ends the process there.

    Raises KeyboardInterrupt when the work was cancelled.
    """
    import asyncio  # slow to import, and of no use to --help

    async def cancellable() -> _T:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        count = 0

        def stop() -> None:
            nonlocal count
            count += 1
            if count == 1:
                loop.call_soon_threadsafe(task.cancel)
            elif count > 2:
                os._exit(INTERRUPTED)

        with _handled_by(stop):
            return await work

    try:
        return asyncio.run(cancellable())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


@contextmanager
def _handled_by(stop: Callable[[], None]) -> Iterator[None]:
    """Signals that the caller of this process ignores (nohup, a job in the background) stay ignored."""
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    wanted = [number for number, handler in before.items() if handler not in (signal.SIG_IGN, None)]
    for number in wanted:
        signal.signal(number, lambda *_: stop())
    try:
        yield
    finally:
        for number in wanted:
            signal.signal(number, before[number])


def ignore() -> None:
    """From here on the command is ending already."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)

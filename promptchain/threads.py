"""Work in threads of its own, and where goes what foreign code prints."""

from __future__ import annotations

import asyncio
import contextvars
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

_T = TypeVar("_T")


def in_thread(work: Callable[[], _T], name: str = "work") -> Awaitable[_T]:
    """What `work` returns or raises, on the running event loop. The thread is a daemon of its own: one of a pool that
    hangs would keep the event loop from ending. Who stops to wait leaves it to end unheard."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[_T] = loop.create_future()

    def settle(result: _T | None, error: BaseException | None) -> None:
        if future.done():
            if asyncio.iscoroutine(result):
                result.close()  # else Python complains that nobody awaited it
            return
        if error is None:
            future.set_result(result)  # type: ignore[arg-type]
        else:
            future.set_exception(error)

    def run() -> None:
        result: _T | None = None
        error: BaseException | None = None
        try:
            result = work()
        except StopIteration as exc:  # no future takes it
            error = RuntimeError(f"StopIteration: {exc}")
        except BaseException as exc:  # sys.exit() too
            error = exc
        with suppress(RuntimeError):  # the loop was closed: nobody waits any more
            loop.call_soon_threadsafe(settle, result, error)

    context = contextvars.copy_context()
    threading.Thread(target=lambda: context.run(run), name=name, daemon=True).start()
    return future


_inside: contextvars.ContextVar[bool] = contextvars.ContextVar("inside", default=False)
_counting = threading.Lock()


class _Diverted:
    """Standard output, but for what foreign code prints: stdout is for the command's data."""

    def __init__(self, real: Any) -> None:
        self.real = real
        self.users = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.stderr if _inside.get() else self.real, name)

    def close(self) -> None:
        """Foreign code has nothing to close here: both streams are the command's."""
        if not _inside.get():
            self.real.close()


@contextmanager
def prints_to_stderr() -> Iterator[None]:
    """Divert what is printed within, in this task or thread and in those of `in_thread`. Others print as ever.

    Work that may be left to itself must be within in its own thread, so that it stays diverted as long as it lives.
    Out of reach is what a thread prints that the foreign code started, and what goes past `sys.stdout`.
    """
    with _counting:
        diverted = sys.stdout if isinstance(sys.stdout, _Diverted) else _Diverted(sys.stdout)
        diverted.users += 1
        sys.stdout = diverted
    token = _inside.set(True)
    try:
        yield
    finally:
        _inside.reset(token)
        with _counting:
            diverted.users -= 1
            if not diverted.users and sys.stdout is diverted:
                sys.stdout = diverted.real

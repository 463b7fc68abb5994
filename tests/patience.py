"""Time in tests: nothing may depend on how busy the machine is.

What takes its time elsewhere (a thread, a process, a server) is waited for, as long as it may take: `until`, `soon`,
`at_rest`. What must not take long is measured by the processor (`at_most`), not by the clock. Where all that takes time
are the delays of a fake, they pass at once and in the same order on any machine: `run`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

PATIENCE = 120.0
"""Seconds after which what has not come does not come."""


def until(condition: Callable[[], object]) -> None:
    """Returns when the condition holds; fails where it never does."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"it was waited for in vain: {condition}"
        time.sleep(0.005)


async def soon(condition: Callable[[], object]) -> None:
    """`until`, while the event loop runs on."""
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.002)


def at_rest(pid: int) -> None:
    """Returns when a process has done nothing for a while, though it could have: it waits for something (Linux)."""
    seen, since = _work(pid), time.monotonic()
    end = since + PATIENCE
    while time.monotonic() - since < 0.25:
        time.sleep(0.01)
        if (now := _work(pid)) != seen or now[1]:
            seen, since = now, time.monotonic()
        assert time.monotonic() < end, f"process {pid} does not come to rest"


def _work(pid: int) -> tuple[int, bool]:
    """How often the threads of a process have been let go by the processor, and whether one of them wants it now."""
    turns, wanting = 0, False
    for task in Path(f"/proc/{pid}/task").iterdir():
        status = dict(line.split(":\t", 1) for line in (task / "status").read_text().splitlines() if ":\t" in line)
        turns += int(status["voluntary_ctxt_switches"]) + int(status["nonvoluntary_ctxt_switches"])
        wanting = wanting or status["State"][0] in "RD"
    return turns, wanting


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Fails where the block takes more of the processor's time, in this thread."""
    began = time.thread_time()
    yield
    took = time.thread_time() - began
    assert took < seconds, f"{took:.3f} s of the processor"


def run(main: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run`, on a loop whose time goes on to the next timer as soon as nothing else is left to do.

    Not for what threads, processes or sockets answer: while those are at it, nothing is left to do either."""
    with asyncio.Runner(loop_factory=_Loop) as runner:
        return runner.run(main)


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        super().__init__()
        self._passed = 0.0
        select = self._selector.select  # type: ignore[attr-defined]

        def skip(timeout: float | None = None) -> Any:
            if timeout is None:
                return select(None)
            ready = select(0)
            if not ready:
                self._passed += timeout
            return ready

        self._selector.select = skip  # type: ignore[attr-defined]

    def time(self) -> float:
        return self._passed

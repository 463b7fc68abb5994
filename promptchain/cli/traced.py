"""Tracing of what a command runs: `--trace`, or a collector in the environment."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from promptchain.cli.output import warn

if TYPE_CHECKING:
    from promptchain.chain import Chain
    from promptchain.records import Run
    from promptchain.tracing.export import Export


MOST = 10_000
"""Runs that wait to be traced: in a batch that is faster than its tracing, those beyond are not."""


class Traces:
    """Makes spans of the runs of a command in a thread of its own: no run waits for the import of a telemetry library,
    nor for its work."""

    def __init__(self) -> None:
        self._runs: SimpleQueue[tuple[Run, Chain, Mapping[str, Any]] | None] = SimpleQueue()
        self._export: Export | None = None
        self._problem: str | None = None
        self._thread = threading.Thread(target=self._work, name="trace", daemon=True)
        self._thread.start()

    def add(self, run: Run, chain: Chain, **more: Any) -> None:
        """Trace a run that has ended. more: attributes, by their names in `tracing.names`."""
        from promptchain.tracing import names

        if self._runs.qsize() >= MOST:
            self._problem = self._problem or "the trace is not whole: the runs were faster than their tracing"
            return
        self._runs.put((run, chain, {getattr(names, name.upper()): value for name, value in more.items()}))

    def close(self) -> str | None:
        """Send the rest, and say what went wrong."""
        self._runs.put(None)
        self._thread.join()
        if self._export is None:
            return self._problem
        return self._export.close() or self._problem

    def _work(self) -> None:
        try:
            from promptchain.tracing import export

            self._export = export.Export()
            parent = export.from_environment()
            while (found := self._runs.get()) is not None:
                run, chain, more = found
                self._export.tracer.trace(run, chain, parent, more)
        except Exception as exc:  # a trace is never worth a command
            self._problem = str(exc) or repr(exc)


@contextmanager
def traces(wanted: bool) -> Iterator[Traces | None]:
    """What traces the runs of a command, where that is wanted, or the environment names a collector. What goes wrong is
    a warning at the end, after all that the command has to say.

    Raises PromptChainError where it is wanted and cannot be had."""
    from promptchain.errors import PromptChainError
    from promptchain.tracing import export

    if export.is_off() or not (wanted or export.is_asked_for()):
        yield None
        return
    try:
        export.check()
    except PromptChainError as exc:
        if wanted:
            raise
        warn(f"nothing is traced: {exc}")
        yield None
        return
    found = Traces()
    try:
        yield found
    finally:
        with suppress(OSError, ValueError):  # who is gone, or what is full, is told by whoever flushes next
            sys.stdout.flush()
        if problem := found.close():
            warn(problem)

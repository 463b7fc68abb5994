"""The events of a run as lines of JSON on stdout, for `chain run --stream`."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import stat
import sys
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from promptchain.cli.output import discard_stdout, say, takes_unicode
from promptchain.event_json import Whole, to_json
from promptchain.events import RunEnded, RunEvent, RunStarted

if TYPE_CHECKING:
    from promptchain.binding import BoundPlan
    from promptchain.records import Run


class Lines:
    """Writes each event as a line of its own, at once. Where that fails, since whoever read it has gone, the run is
    cancelled and so recorded; `gone` is the error then."""

    def __init__(self) -> None:
        self.gone: OSError | None = None
        self._whole = Whole()
        self._ascii = not takes_unicode(sys.stdout)
        self._work: asyncio.Task[Any] | None = None

    def begin(self, bound: BoundPlan, values: dict[str, Any]) -> None:
        """Write that the run begins. Raises OSError where nobody reads it: then nothing is run."""
        self._write(RunStarted(bound.plan.chain.name, bound.model, values))

    async def watched(self, work: Coroutine[Any, Any, Run]) -> Run:
        """The run, which is cancelled when a line cannot be written, or the reader of a pipe goes while nothing is."""
        self._work = asyncio.current_task()
        with self._hearing_the_end(asyncio.get_running_loop()):
            return await work

    @contextmanager
    def _hearing_the_end(self, loop: asyncio.AbstractEventLoop) -> Iterator[None]:
        """The end of a pipe that is written to becomes readable when nobody has its other end any more."""
        pipe: int | None = None
        with suppress(OSError, ValueError, NotImplementedError):  # no file, or no such loop
            if stat.S_ISFIFO(os.fstat(sys.stdout.fileno()).st_mode):
                loop.add_reader(sys.stdout.fileno(), self._fail, BrokenPipeError(errno.EPIPE, "the reader has gone"))
                pipe = sys.stdout.fileno()
        try:
            yield
        finally:
            if pipe is not None:
                loop.remove_reader(pipe)

    def _fail(self, error: OSError) -> None:
        if self.gone is None:
            self.gone = error
            if self._work is not None:
                self._work.cancel()

    def observe(self, event: RunEvent) -> None:
        """Write one event. Never raises: an error that came out of a model's stream would be taken for the model's."""
        if self.gone is not None:
            return
        try:
            self._write(event)
        except OSError as exc:
            self._fail(exc)

    def end(self, run: Run, *, interrupted: bool = False) -> None:
        """Write what came of the run. Raises OSError where a line could not be written, but for an interrupted run:
        Ctrl-C ends the reader in the same pipeline too."""
        self.observe(RunEnded(run))
        if self.gone is None:
            return
        if not interrupted:
            raise self.gone
        discard_stdout()

    def _write(self, event: RunEvent) -> None:
        for told in self._whole.passed(event):
            say(json.dumps(to_json(told), ensure_ascii=self._ascii), exact=True)
        sys.stdout.flush()

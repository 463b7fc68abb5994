"""The failed rows of a batch, run again: `chain run --batch --resume --retry-failed`.

The lines go to a file beside the output, OUTPUT.retry: those that were done as they are, those that failed anew. When
the batch ends, however it ends, the rest of the output's lines follow, and the file takes the output's place. What a
process that was killed leaves of it is taken over when the batch is resumed: a line is always in one of the two.
"""

from __future__ import annotations

import os
import shutil
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from promptchain.batch import MAX_LINE, Had, check_cut, check_same
from promptchain.binding import BoundPlan
from promptchain.dataset import Row
from promptchain.errors import PromptChainError, UsageError, Where

_PIECE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Survey:
    """What an output has. again: rows that failed and can be run again. end: of its last whole line, in bytes."""

    had: Had
    again: int = 0
    end: int = 0


def beside(path: Path) -> Path:
    """Where the lines are until they take the output's place."""
    real = path.resolve()
    return real.with_name(f"{real.name}.retry")


def survey(bound: BoundPlan, rows: Iterator[Row], path: Path) -> Survey:
    """Look through an output, which may not be there. Raises UsageError where it is not the beginning of this batch."""
    kept = broken = again = end = line = 0
    if not path.is_file():
        return Survey(Had())
    try:
        with path.open("rb") as file:
            while (raw := file.readline(MAX_LINE)).endswith(b"\n"):
                line, end = line + 1, file.tell()
                row = next(rows, None)
                failed = _is_to_run(bound, row, raw, Where(str(path), line))
                again += failed
                kept += not failed
                broken += row is not None and row.error is not None
        if raw:
            check_cut(bound, rows, raw, Where(str(path), line + 1))
    except OSError as exc:
        raise PromptChainError(f"cannot be read: {exc.strerror or exc}", where=Where(str(path))) from exc
    return Survey(Had(kept, broken, broken), again, end)


def _is_to_run(bound: BoundPlan, row: Row | None, raw: bytes, where: Where) -> bool:
    """Whether the line says that its row failed, and the row is one that can be run."""
    return not check_same(bound, row, raw, where) and row is not None and row.error is None


def take_over(bound: BoundPlan, rows: Iterator[Row], path: Path) -> None:
    """Put into the output what a process that was killed has left beside it. Raises UsageError where that is not of
    this batch, PromptChainError where it cannot be done: both files stay then."""
    left = beside(path)
    if not (left.is_file() and path.is_file()):
        return
    try:
        with left.open("rb") as new, path.open("rb") as old:
            line = end = 0
            while (raw := new.readline(MAX_LINE)).endswith(b"\n"):
                line, end = line + 1, new.tell()
                try:
                    check_same(bound, next(rows, None), raw, Where(str(left), line))
                except UsageError as exc:
                    hint = "it is left of a --retry-failed that was killed: remove it, or resume that batch"
                    raise UsageError(exc.message, where=exc.where, hint=hint) from None
                old.readline(MAX_LINE)
            os.truncate(left, end)
            with left.open("ab") as whole:
                shutil.copyfileobj(old, whole, _PIECE)
                _replace(whole, left, path)
    except OSError as exc:
        raise _unwritten(left, exc) from exc


def _replace(whole: IO[bytes], left: Path, path: Path) -> None:
    whole.flush()
    os.fsync(whole.fileno())
    shutil.copymode(path, left)
    left.replace(path.resolve())


def _unwritten(path: Path, exc: OSError) -> PromptChainError:
    hint = "nothing is lost; free some space, and continue with --resume"
    return PromptChainError(f"cannot be written: {exc.strerror or exc}", where=Where(str(path)), hint=hint)


class Retried:
    """The output of a batch that runs failed rows again: what `batch.run_batch` writes to, and, as `rows`, what it
    runs. `close` puts it into the output's place; it must be called, whatever happened."""

    def __init__(self, path: Path, end: int) -> None:
        """path: the output, which `survey` has found to be of this batch. end: where its last whole line ends."""
        self.name = str(path)
        self._path = path
        self._end = end
        self._at = 0
        self._places: deque[tuple[int, int]] = deque()
        try:
            self._old = path.open("rb")
            self._new = beside(path).open("wb")
        except OSError as exc:
            raise _unwritten(path, exc) from exc

    def rows(self, bound: BoundPlan, rows: Iterator[Row]) -> Iterator[Row]:
        """The rows that failed, then those that the output lacks; of each is noted which bytes its line replaces."""
        with self._path.open("rb") as file:
            start = 0
            while start < self._end:
                raw = file.readline(MAX_LINE)
                row = next(rows, None)
                if row is not None and _is_to_run(bound, row, raw, Where(self.name)):
                    self._places.append((start, start + len(raw)))
                    yield row
                start += len(raw)
        for row in rows:
            self._places.append((self._end, self._end))
            yield row

    def write(self, text: str) -> None:
        """The line of the next of `rows`, after the lines that stand before it."""
        start, end = self._places[0]
        self._copy(start)
        self._new.write(text.encode())
        self._places.popleft()
        self._at = end

    def flush(self) -> None:
        self._new.flush()

    def _copy(self, end: int) -> None:
        self._old.seek(self._at)
        while self._at < end:
            self._at += self._new.write(self._old.read(min(_PIECE, end - self._at)))

    def close(self) -> None:
        """Add the lines that were not come to, and take the output's place. Raises PromptChainError: the output is as
        it was then, and the lines that are new are beside it."""
        left = beside(self._path)
        try:
            with self._old, self._new:
                self._copy(self._end)
                _replace(self._new, left, self._path)
        except OSError as exc:
            raise _unwritten(left, exc) from exc

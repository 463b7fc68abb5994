"""Many runs of one chain: rows in, one line of JSON out for each, in order and in constant memory."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain as concatenated
from pathlib import Path
from typing import IO, Any

from promptchain import inputs, runner
from promptchain.binding import BoundPlan
from promptchain.dataset import Row
from promptchain.errors import PromptChainError, UsageError, Where
from promptchain.lm.calls import Caller
from promptchain.records import Run, Status

MAX_LINE = 256 * 1024 * 1024


@dataclass(slots=True)
class Tally:
    """How far a batch is: counts of rows, and what they cost. resumed: rows that the output had already,
    of which failed_before had failed. stopped: the ceiling that ended it. last_error: of the newest row that failed."""

    done: int = 0
    failed: int = 0
    resumed: int = 0
    failed_before: int = 0
    calls: int = 0
    tokens: int = 0
    cost: float | None = 0.0
    stopped: str | None = None
    last_error: str | None = None

    @property
    def rows(self) -> int:
        return self.done + self.failed

    def add(self, run: Run | None, *, ok: bool) -> None:
        self.done += ok
        self.failed += not ok
        if run is not None:
            self.calls += run.totals.calls
            self.tokens += run.totals.tokens
            self.cost = None if self.cost is None or run.totals.cost is None else self.cost + run.totals.cost


async def run_batch(
    bound: BoundPlan,
    rows: Iterator[Row],
    caller: Caller,
    output: IO[str],
    *,
    window: int,
    at_once: int | None = None,
    progress: Callable[[Tally, Row], None] | None = None,
    record: Callable[[Run], None] | None = None,
) -> Tally:
    """Run the rows, `at_once` at a time, and write a line for each as soon as those before it are written.

    record: receives the record of each row's run. window: rows that are read ahead of the first one that is not
    written yet, most of them done and waiting for it.

    With more rows at once than calls in flight, all rows would take their first step before one takes its last.

    A ceiling that is reached stops the batch; a row that fails does not. However it ends, the output has the results
    of the first rows and no others. Raises PromptChainError where the output cannot be written.
    """
    tally = Tally()
    pending: deque[tuple[Row, asyncio.Task[Run]]] = deque()
    gate = asyncio.Semaphore(at_once or window)

    async def write_first() -> None:
        row, task = pending[0]
        run, error = await _settled(task)
        pending.popleft()
        if caller.exhausted and run is not None and run.status is Status.FAILED:
            tally.stopped = tally.stopped or run.error
            return
        _write(output, _line(bound, row, run, error))
        ok = run is not None and run.status is Status.DONE
        if not ok:
            tally.last_error = error or (run.error if run else None)
        tally.add(run, ok=ok)
        if progress:
            progress(tally, row)

    try:
        for row in rows:
            pending.append((row, asyncio.create_task(_run_row(bound, row, caller, gate, record))))
            while not tally.stopped and pending and (len(pending) >= window or pending[0][1].done()):
                await write_first()
            if tally.stopped:
                break
            if len(pending) % 16 == 0:
                await asyncio.sleep(0)  # rows that need no waiting (all cached) must still be seen as done
        while pending and not tally.stopped:
            await write_first()
    finally:
        for _, task in pending:
            task.cancel()
        await asyncio.gather(*(task for _, task in pending), return_exceptions=True)
    return tally


def _write(output: IO[str], line: str) -> None:
    try:
        output.write(line + "\n")
        output.flush()
    except OSError as exc:
        hint = "free some space, and continue with --resume"
        where = Where(str(getattr(output, "name", "the output")))
        raise PromptChainError(f"cannot be written: {exc.strerror or exc}", hint=hint, where=where) from exc


async def _run_row(
    bound: BoundPlan, row: Row, caller: Caller, gate: asyncio.Semaphore, record: Callable[[Run], None] | None
) -> Run:
    if row.error is not None:
        raise PromptChainError(row.error)
    async with gate:
        return await runner.run(bound, inputs.check(bound.plan.chain, row.inputs), caller, record=record)


async def _settled(task: asyncio.Task[Run]) -> tuple[Run | None, str | None]:
    try:
        return await task, None
    except PromptChainError as exc:
        return None, exc.message


def _line(bound: BoundPlan, row: Row, run: Run | None, error: str | None) -> str:
    data: dict[str, Any] = {"status": run.status.value if run else Status.FAILED.value}
    data["outputs"] = run.outputs if run else {}
    if error or (run and run.error):
        data["error"] = error or (run and run.error)
    if run:
        data |= {"run": run.id, "seconds": round(run.seconds, 3), "tokens": run.totals.tokens, "cost": run.totals.cost}
    return _json({**_head(bound, row), **data})


def _head(bound: BoundPlan, row: Row) -> dict[str, Any]:
    """What a line begins with: all of it that is known before the row has run."""
    return {"line": row.line, **({"id": row.id} if row.id is not None else {}), "key": row_key(bound, row)}


def _json(data: dict[str, Any]) -> str:
    return json.dumps(data, ensure_ascii=False).encode("utf-8", "backslashreplace").decode()


def row_key(bound: BoundPlan, row: Row) -> str:
    """What decides a row's result: the chain's content, its compiled prompts, the models, what its steps use beside
    them, and the inputs, as 16 hexadecimal digits."""
    decisive = [bound.plan.chain.content_id, [step.model for step in bound.prompts.values()], row.inputs, row.error]
    if bound.adopted and bound.adopted.variant:
        decisive.append(bound.adopted.fingerprint)
    if bound.beside:
        decisive.append(bound.beside)
    text = json.dumps(decisive, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def open_output(path: Path) -> IO[str]:
    """A new output file. Raises UsageError where there is one already: nothing is overwritten."""
    try:
        return path.open("x", encoding="utf-8", newline="\n")
    except FileExistsError:
        hint = "--resume continues it; or name another file"
        raise UsageError(f"the output '{path}' exists already", hint=hint) from None
    except OSError as exc:
        raise PromptChainError(f"cannot be written: {exc.strerror or exc}", where=Where(str(path))) from exc


def resume(bound: BoundPlan, rows: Iterator[Row], path: Path) -> tuple[Iterator[Row], IO[str], int, int]:
    """Continue an output file: the rows that it lacks, the file at its end, how many rows it keeps, and how many of
    those failed.

    A last line that was cut short is dropped, and its row is run again; so are the failed rows at the end, for that is
    what a server that went away leaves behind. Raises UsageError where the file is not the
    beginning of this batch: nothing of it is changed then.
    """
    if not path.exists():
        return rows, open_output(path), 0, 0
    if not path.is_file():
        raise UsageError(f"'{path}' is no file that could be continued", hint="name another output")
    line, keep, end, failed = 0, 0, 0, 0
    again: list[Row] = []
    try:
        with path.open("rb") as file:
            while (raw := file.readline(MAX_LINE)).endswith(b"\n"):
                line += 1
                row = next(rows, None)
                if _check_same(bound, row, raw, Where(str(path), line)) or row is None or row.error is not None:
                    keep, end, failed = line, file.tell(), failed + len(again) + (row is not None and bool(row.error))
                    again.clear()
                else:
                    again.append(row)
        if raw:
            rows = _check_cut(bound, rows, raw, Where(str(path), line + 1))
        os.truncate(path, end)
        return concatenated(again, rows), path.open("a", encoding="utf-8", newline="\n"), keep, failed
    except OSError as exc:
        raise PromptChainError(f"cannot be continued: {exc.strerror or exc}", where=Where(str(path))) from exc


def _check_same(bound: BoundPlan, row: Row | None, raw: bytes, where: Where) -> bool:
    """Whether the line says that its row was done. Raises UsageError where it is not that row's line."""
    try:
        data = json.loads(raw)
        key, done = data["key"], bool(data.get("status") == Status.DONE)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise _foreign(where) from None
    if row is None:
        raise UsageError("the output has more rows than the batch", where=where, hint="name another output")
    if key != row_key(bound, row):
        message = f"this result is not of the row in line {row.line} with this chain and model"
        hint = "the rows, the chain, what it uses or the model have changed since; name another output"
        raise UsageError(message, where=where, hint=hint)
    return done


def _check_cut(bound: BoundPlan, rows: Iterator[Row], raw: bytes, where: Where) -> Iterator[Row]:
    """All of the rows, if `raw` is how the line of the first of them begins: no other file must lose its last line."""
    row = next(rows, None)
    head = b"" if row is None else _json(_head(bound, row)).removesuffix("}").encode()
    if row is None or not (raw.startswith(head) or head.startswith(raw)):
        raise _foreign(where)
    return concatenated([row], rows)


def _foreign(where: Where) -> UsageError:
    return UsageError("this line was not written by this batch", where=where, hint="name another output")

"""`chain run --batch`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from promptchain.cli.output import animated, dollars, note, plural, style, warn

if TYPE_CHECKING:
    from promptchain.batch import Tally
    from promptchain.cli.traced import Traces
    from promptchain.lm.budget import Spent
    from promptchain.recording import Recorder
    from promptchain.records import Run


def run_batch(
    recorder: Recorder,
    bound: Any,
    caller: Any,
    rows: Path,
    output: Path,
    resume: bool,
    limit: int,
    traced: Traces | None,
) -> None:
    """Run the rows, and say what came of them. limit: rows at once. Exits with 1 where any failed."""
    from promptchain import project
    from promptchain.cli import interrupt

    written = 0

    def count(tally: Tally, row: Any) -> None:
        nonlocal written
        written = tally.rows
        progress(tally, row)

    def record(run: Run) -> None:
        run = recorder.keep(run, durable=False)
        if traced is not None:
            traced.add(run, recorder.chain)

    try:
        with _batch_progress() as progress:
            work = project.run_batch(
                bound, rows, output, caller, resume=resume, concurrency=limit, progress=count, record=record
            )
            tally = interrupt.run(work)
    except KeyboardInterrupt:
        note(f"{plural(written, 'row')} written to {output}; continue with --resume")
        raise
    finally:
        for problem in recorder.problems:
            warn(str(problem))
    _summarise(tally, output, caller.spent)


def _summarise(tally: Tally, output: Path, used: Spent) -> None:
    """What came of a batch, and what it used: also for rows that were under way when a ceiling stopped it."""
    failed_before = f", {tally.failed_before} of them failed" if tally.failed_before else ""
    before = f" ({tally.resumed} were there already{failed_before})" if tally.resumed else ""
    cost = tally.cost if tally.cost is None else max(tally.cost, used.cost)
    spent = f"{plural(used.calls, 'call')}, {max(used.tokens, tally.tokens)} tokens, {dollars(cost)}"
    note(f"{plural(tally.done, 'row')} done, {tally.failed} failed{before}; {spent}; written to {output}")
    if tally.stopped:
        note(style("error: ", "1;31", sys.stderr) + f"stopped: {tally.stopped}")
        note("  hint: raise the ceiling and continue with --resume")
    if tally.stopped or tally.failed or tally.failed_before:
        raise typer.Exit(1)


@contextmanager
def _batch_progress() -> Iterator[Any]:
    """Shows how far the batch is on a terminal; names the first rows that fail, and what rows hold in vain."""
    told: set[str] = set()
    failures = 0

    def tell(tally: Tally, row: Any) -> None:
        nonlocal failures
        unused = [name for name in row.ignored if name not in told]
        if unused:
            told.update(unused)
            warn(f"line {row.line}: not used by the chain: {', '.join(unused)}")
        if tally.failed > failures:
            failures = tally.failed
            if failures <= 5:
                warn(f"line {row.line}: {tally.last_error}")
            elif failures == 6:
                warn("more rows fail; the output says why for each")

    if not animated(sys.stderr):
        yield tell
        return
    from promptchain.cli.live import LiveBatch

    with LiveBatch() as live:

        def update(tally: Tally, row: Any) -> None:
            tell(tally, row)
            live.update(tally)

        yield update

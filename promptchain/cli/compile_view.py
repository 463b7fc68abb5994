"""What `chain compile` shows: what it is doing, what each step came to, the held-out comparison, what is stale."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from promptchain.cli.output import (
    animated,
    console,
    dollars,
    note,
    on_terminal,
    plural,
    say,
    say_folded,
    seconds,
    style,
    table,
    warn,
)
from promptchain.cli.test_view import percent
from promptchain.rounding import fixed

if TYPE_CHECKING:
    from promptchain.cli.compile_jobs import Result
    from promptchain.compile import Stage, StepReport
    from promptchain.compiling import Job, Watch
    from promptchain.estimate import Estimate
    from promptchain.freshness import Freshness
    from promptchain.lm.budget import Budget
    from promptchain.lock import Compared

_NOTHING = "–"


@contextmanager
def progress(job: Job, budget: Budget) -> Iterator[Watch]:
    """Shows what is being done, and how much of it: on a terminal one line that changes, else a line for each thing."""
    from promptchain.compiling import Watch

    head = f"{job.chain.name} on {job.model}"
    if not animated(sys.stderr):
        note(f"{head}: {plural(job.data.count, 'example')} ({job.parts})")
        yield Watch(lambda doing: note(f"  {doing}"))
        return
    from rich.progress import Progress, TextColumn

    began, now = time.monotonic(), "reading"
    before = done = asked = 0

    class Spent(TextColumn):
        """What is being done, and the calls so far: looked up whenever the line is drawn."""

        def render(self, _: Any) -> Any:
            from rich.text import Text

            spent = budget.spent
            took, calls = int(time.monotonic() - began), plural(spent.calls, "new call")
            far = f" ({done - before} of {asked - before} tried)" if asked > before else ""
            # What may be cut off comes last.
            return Text(f"{took} s, {calls}, {dollars(spent.cost)}  {head}: {now}{far}")

    def watch(doing: str) -> None:
        nonlocal now, before
        now, before = doing, done

    def trials(now_done: int, now_asked: int) -> None:
        nonlocal done, asked
        done, asked = now_done, now_asked

    with Progress(Spent(""), console=console(stderr=True), transient=True) as bar:
        bar.add_task("")
        yield Watch(watch, trials)


def show(result: Result) -> None:
    """What came of one job."""
    from promptchain.diff_lock import figures

    done, compiled = result.done, result.done.compiled
    job = done.job
    head = f"{job.chain.name} on {job.model}: {plural(job.data.count, 'example')}"
    say_folded(f"{head} of {', '.join(job.data.files)} ({compiled.parts})")
    rows = [row for report in compiled.reports for row in _rows(report)]
    if rows:
        table(rows, ("step", "tried", "dev", "calls", "best"))
    if compiled.dev:
        say(f"dev       {_shares(compiled.dev)}")
    if compiled.test:
        say(f"held out  {_shares(compiled.test)}")
        _say_sure(compiled.test)
    for name, compared in compiled.by_step.items():
        if compared != compiled.test and (compared.better or compared.worse):
            say(f"  {name}  {_shares(compared)}")
            _say_sure(compared)
    for warning in compiled.warnings:
        warn(warning)
    if compiled.kept is None:
        steps = ", ".join(compiled.variants)
        say(style("✓ ", "32", sys.stdout) + f"compiled {steps}: {_place(result)}")
    else:
        say_folded(f"= kept the seed prompts: {compiled.kept}")
        say(f"  noted in {_place(result)}")
        if job.before and job.before.steps:
            was = f"what was compiled before is dropped ({figures(job.before)})"
            warn(f"{was}; chain log {job.chain.name} has its version, chain rollback brings it back")
    spent = done.spent
    more = result.calls > spent.calls  # tries that failed reached a model too
    new = "" if result.calls == spent.calls else f" ({result.calls} {'tries' if more else 'new'})"
    note(
        f"{plural(spent.calls, 'call')}{new}, {spent.tokens:,} tokens, {dollars(spent.cost)}; {seconds(result.seconds)}"
    )


def _place(result: Result) -> str:
    name = result.done.job.chain.name
    return f"chains/{name}.lock.yaml" + (f", {result.version}" if result.version else "")


def _rows(report: StepReport) -> list[tuple[str, ...]]:
    if report.skipped:
        return [(report.step, _NOTHING, "", "", report.skipped)]
    return [(report.step if not index else "", *_stage(stage)) for index, stage in enumerate(report.stages)]


def _stage(stage: Stage) -> tuple[str, ...]:
    shares = "" if stage.before is None or stage.after is None else f"{percent(stage.before)} → {percent(stage.after)}"
    best = on_terminal(stage.best) if stage.tried else ""
    said = "; ".join(filter(None, (best, stage.note)))
    return f"{stage.optimizer} ({stage.tried})", shares, str(stage.calls), said


def _shares(compared: Compared) -> str:
    change = f"{compared.better} better, {compared.worse} worse of {compared.examples}"
    return f"{percent(compared.before)} → {percent(compared.after)}  {change}"


def _say_sure(compared: Compared) -> None:
    if compared.low is not None and compared.high is not None and compared.p is not None:
        low, high = (fixed(100 * value, 0, sign=True) for value in (compared.low, compared.high))
        say(f"          {low} to {high} points (95 %), p = {compared.p:.2g}")


def nothing_to_do(fresh: Sequence[Job], *, nothing: bool) -> None:
    """What needs no compiling. nothing: there is neither that nor anything else."""
    if nothing:
        note("nothing is compiled here: chain compile NAME")
    for job in fresh:
        steps = f" (tuned: {', '.join(job.tuning.steps)} only)" if job.tuning.steps else ""
        note(f"{job.chain.name} on {job.model} is fresh{steps}: nothing to do; --force compiles it all the same")


def summary(results: Sequence[Result]) -> None:
    """What several jobs came to, side by side."""
    if len(results) < 2:
        return
    several = len({result.done.job.chain.name for result in results}) > 1
    rows = []
    for result in results:
        compiled = result.done.compiled
        test = compiled.test
        rows.append(
            (
                *([result.done.job.chain.name] if several else []),
                result.done.job.model,
                percent(test.before) if test else _NOTHING,
                percent(test.after) if test else _NOTHING,
                _before_after(*(_NOTHING if cost is None else dollars(cost) for cost in compiled.cost)),
                _before_after(*(_NOTHING if each is None else seconds(each) for each in compiled.seconds)),
                "compiled" if compiled.kept is None else "kept",
            )
        )
    say("")
    table(rows, (*(["chain"] if several else []), "model", "seed", "compiled", "cost a run", "time (p50)", ""))


def _before_after(before: str, after: str) -> str:
    return before if before == after else f"{before} → {after}"


def estimates(found: Sequence[Estimate]) -> None:
    """What would be done, and what it may take."""
    for one in found:
        say(style(f"{one.chain} on {one.model}", "1", sys.stdout) + f": {one.parts}")
        table([(f"  {name}", what) for name, what in one.steps.items()])
        for model in one.models:
            say(f"  at most {model.calls} calls of {model.model}, about {model.tokens:,} tokens, {_about(model.cost)}")
        if one.seconds is not None:
            say(f"  at most about {seconds(one.seconds)}, if its calls go one by one as in the last runs")
        for warning in one.warnings:
            warn(warning)


def _about(cost: float | None) -> str:
    return "at an unknown price" if cost is None else f"about {dollars(cost)}" if cost else dollars(cost)


def freshness(found: Sequence[Freshness], missing: Sequence[str]) -> None:
    """One line for what is fresh, and one for each reason why something is not."""
    for one in found:
        head = f"{one.chain} on {one.model}"
        if one.fresh:
            kept = " (the seed prompts were kept)" if one.kept else ""
            say(style("✓ ", "32", sys.stdout) + f"{head}: fresh{kept}")
        elif not one.compiled:
            say(style("✗ ", "31", sys.stdout) + f"{head}: not compiled")
        for stale in one.stale:
            say(style("✗ ", "31", sys.stdout) + f"{head}: {stale.message}")
    for name in missing:
        say(style("✗ ", "31", sys.stdout) + f"{name}: not compiled")
    if not found and not missing:
        note("nothing is compiled here: chain compile NAME")
    todo = dict.fromkeys([*(one.command for one in found if not one.fresh), *map("chain compile {}".format, missing)])
    if len(todo) > 1 and not missing and all(one.compiled for one in found):
        note("  hint: chain compile --all")
    elif todo:
        note(f"  hint: {'; '.join(todo)}")


def as_json(result: Result) -> dict[str, Any]:
    """As `chain compile --json` prints it."""
    done, compiled = result.done, result.done.compiled
    parts = compiled.parts
    return {
        "chain": done.job.chain.name,
        "model": done.job.model,
        "version": result.version,
        "compiled": compiled.kept is None,
        "kept": compiled.kept,
        "examples": {"train": len(parts.train), "dev": len(parts.dev), "test": len(parts.test)},
        "steps": [_step_json(report) for report in compiled.reports],
        "variant": {
            name: variant.model_dump(mode="json", exclude_none=True) for name, variant in compiled.variants.items()
        },
        "dev": compiled.dev and compiled.dev.model_dump(mode="json"),
        "test": compiled.test and compiled.test.model_dump(mode="json"),
        "by_step": {name: compared.model_dump(mode="json") for name, compared in compiled.by_step.items()},
        "run": {
            "seconds": {"before": compiled.seconds[0], "after": compiled.seconds[1]},
            "cost": {"before": compiled.cost[0], "after": compiled.cost[1]},
        },
        "warnings": list(compiled.warnings),
        "spent": {**done.spent.model_dump(mode="json"), "new_calls": result.calls, "seconds": result.seconds},
    }


def _step_json(report: StepReport) -> dict[str, Any]:
    stages = [
        {
            "optimizer": stage.optimizer,
            "tried": stage.tried,
            "before": stage.before,
            "after": stage.after,
            "calls": stage.calls,
            "best": stage.best,
            "note": stage.note,
        }
        for stage in report.stages
    ]
    return {"step": report.step, "skipped": report.skipped, "chosen": report.chosen, "stages": stages}

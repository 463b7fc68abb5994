"""What `chain test` shows on a terminal: progress, the table by step, the laggard, what failed and what flipped."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

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
from promptchain.diff_lock import figures
from promptchain.lm.secrets import redact
from promptchain.reports.numbers import change, firsts, mean
from promptchain.results import State
from promptchain.rounding import fixed

if TYPE_CHECKING:
    from promptchain.comparison import Comparison
    from promptchain.evaluate import Progress
    from promptchain.lm.calls import Caller
    from promptchain.results import ExampleResult
    from promptchain.statistics import Interval
    from promptchain.summary import StepSummary, Summary
    from promptchain.testing import Evaluation, Verdict

MOST = 5
"""Failed examples that are shown; a report has all of them."""

_NOTHING = "–"
_LONGEST = 160


@contextmanager
def progress(shown: Progress, caller: Caller) -> Iterator[Callable[[], None]]:
    """A function to call after each example; on a terminal it draws one bar."""
    if not animated(sys.stderr):
        yield lambda: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    bar = Progress(
        BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeRemainingColumn(),
        console=console(stderr=True), transient=True,
    )  # fmt: skip
    with bar:
        task = bar.add_task("", total=shown.total)

        def update() -> None:
            errors = f", {plural(shown.errors, 'error')}" if shown.errors else ""
            text = f"{shown.failed} failed{errors}, {dollars(caller.spent.cost)}, left:"
            bar.update(task, completed=shown.done, description=text)

        yield update


def show(verdicts: Sequence[Verdict], *, explain: bool) -> None:
    """Print what came of it: data on stdout, what it took on stderr."""
    for index, verdict in enumerate(verdicts):
        if index:
            say("")
        _show(verdict)
    for matrix in _matrices(verdicts):
        say("")
        _matrix(matrix)
    if explain:
        from promptchain.blame import EXPLANATION

        say("")
        say(EXPLANATION)


def _show(verdict: Verdict) -> None:
    evaluation, summary = verdict.evaluation, verdict.evaluation.summary
    data = evaluation.data
    tries = f", {evaluation.repeat} tries each" if evaluation.repeat > 1 else ""
    models = ", ".join(dict.fromkeys(evaluation.models.values()))
    where = (evaluation.version or evaluation.case.reference) + (f" on {models}" if models else "")
    say_folded(style(where, "1", sys.stdout) + f": {plural(data.count, 'example')} of {', '.join(data.files)}{tries}")
    if summary.tries:
        _table([*map(_row, summary.steps), *_last_rows(summary)], ("step", *_COLUMNS))
        for line in _laggard(summary):
            say_folded(line)
        if summary.retrieval:
            rows = [(on_terminal(name), mean(own), str(own.n)) for name, own in summary.retrieval.items()]
            _table(rows, ("retrieval", "mean", "examples"))
        _failures(evaluation)
        for name, metric in summary.metrics.items():
            say(f"metric {name}: {fixed(metric.value, 3)}")
    if summary.flaky:
        say_folded(f"flaky: {_some(summary.flaky)}")
    if verdict.comparison:
        _comparison(verdict.comparison)
    for miss in verdict.misses:
        say_folded(style("✗ ", "31", sys.stdout) + miss.message)
    if verdict.comparison and verdict.comparison.chain is None and not verdict.misses:
        say_folded(f"nothing could be compared with {verdict.comparison.names[0]}: no example was scored on both sides")
    elif verdict.gated and not verdict.misses and not evaluation.stopped:
        say(style("✓ ", "32", sys.stdout) + _met(verdict))
    _notes(evaluation)


def _met(verdict: Verdict) -> str:
    """What held. `--compare` alone is no gate, and says nothing of how good the chain is."""
    test = verdict.evaluation.case.chain.test
    gate = test.gate if test else None
    if verdict.comparison and not (gate and (gate.min or gate.no_worse_than)):
        return f"it is not worse than {verdict.comparison.names[0]}"
    return "the gate is met"


_COLUMNS = ("score", "on gold", "blame", "loss", "calls", "cost", "p50", "p95")


def _row(step: StepSummary) -> tuple[str, ...]:
    approximate = "~" if step.method is not None and step.method.value == "first failure" else ""
    return (
        step.step,
        share(step.score),
        percent(step.gold.value) if step.gold else _NOTHING,
        _NOTHING if step.blame is None else f"{approximate}{percent(step.blame)}",
        _NOTHING if step.loss is None else f"{approximate}{percent(step.loss)}",
        str(step.calls),
        dollars(step.cost),
        _time(step.p50),
        _time(step.p95),
    )


def _last_rows(summary: Summary) -> Iterator[tuple[str, ...]]:
    if summary.several and len(summary.steps) > 1:
        yield ("several steps", _NOTHING, _NOTHING, _NOTHING, percent(summary.several), "", "", "", "")
    yield (
        "chain", share(summary.chain), _NOTHING, _NOTHING, _NOTHING, str(summary.calls), dollars(summary.cost),
        _time(summary.p50), _time(summary.p95),
    )  # fmt: skip
    if summary.product is not None and sum(step.score is not None for step in summary.steps) > 1:
        yield ("product", percent(summary.product), *[""] * 7)


def _laggard(summary: Summary) -> Iterator[str]:
    """In a sentence what the table says: the step that costs most."""
    blamed = [step for step in summary.steps if step.blame]
    if not blamed or summary.chain is None:
        return
    worst = max(blamed, key=lambda step: step.blame or 0.0)
    gain, now = worst.blame or 0.0, summary.chain.value
    if worst.method is not None and worst.method.value == "first failure":
        yield f"The laggard is {worst.step}: {percent(gain)} of the examples fail first there."
    else:
        then = f"the chain would pass {percent(now + gain)}, not {percent(now)}"
        yield f"The laggard is {worst.step}: were it perfect, {then}."


def _failures(evaluation: Evaluation) -> None:
    """The examples that failed, each once however often it was tried: the worst first. Then those without a score."""

    failed = firsts(evaluation, State.FAILED)
    times = Counter(result.id for result in evaluation.results if result.state is State.FAILED)
    if failed:
        more = f", the worst {MOST}" if len(failed) > MOST else ""
        say(style(f"failed: {len(failed)}{more}", "1", sys.stdout))
    for result in sorted(failed.values(), key=lambda result: (-times[result.id], result.score or 0.0))[:MOST]:
        tries = f"  ({times[result.id]} of {evaluation.repeat} tries)" if evaluation.repeat > 1 else ""
        say_folded(f"  {on_terminal(result.id)}  {result.where}  {_why(result)}{tries}")
    for what, state in (("not scored", State.ERROR), ("not checked", State.UNCHECKED)):
        lost = list(firsts(evaluation, state).values())
        if lost:
            more = f", the first {MOST}" if len(lost) > MOST else ""
            say(style(f"{what}: {len(lost)}{more}", "1", sys.stdout))
        for result in lost[:MOST]:
            say_folded(f"  {on_terminal(result.id)}  {result.where}  {_one_line(result.problem or '')}")


def _why(result: ExampleResult) -> str:
    """The step that failed, and what it should have given and gave."""
    first = next((c for c in result.failures if c.assertion.step == result.first), next(iter(result.failures), None))
    said = first.verdict.reason if first and first.verdict else result.problem or ""
    where = result.first or (first.assertion.output if first else None) or "outputs"
    return f"{where}: {_one_line(said)}"


def _one_line(text: str) -> str:
    text = " ".join(redact(text).split())  # before it is cut: half a key is one that no form shows
    return on_terminal(text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…")


def _comparison(compared: Comparison) -> None:
    before, chain = compared.names[0], compared.chain
    if chain is None:
        return
    sure = f"p = {chain.p:.2g}, exact paired test"
    interval = f"{chain.low * 100:+.1f} to {chain.high * 100:+.1f}"
    say_folded(
        style(f"against {before}: {points(chain.value)}", "1", sys.stdout)
        + f" ({interval}; {sure}); {chain.better} better, {chain.worse} worse of {chain.n}"
    )
    for name, step in compared.steps.items():
        if step.value:
            say(f"  {name}: {points(step.value)} ({step.better} better, {step.worse} worse)")
    for name, measure in compared.retrieval.items():
        if measure.value:
            say(f"  {on_terminal(name)}: {change(measure)} ({measure.better} better, {measure.worse} worse)")
    for title, flips in (("now fail", compared.worse), ("now pass", compared.better)):
        if flips:
            names = [on_terminal(flip.id) + (f" ({flip.first})" if flip.first else "") for flip in flips]
            say_folded(f"  {title}: {_some(names, 20)}")
    if compared.left_out:
        say(f"  {plural(compared.left_out, 'example')} could not be scored on both sides")


def _some(names: Sequence[str], most: int = 10) -> str:
    more = f", and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _notes(evaluation: Evaluation) -> None:
    """What it took, and what a user should know of it."""
    summary, judges = evaluation.summary, evaluation.judges
    for told in summary.unused:
        warn(f"an assertion was never applied: {told}")
    for told in _unheard(evaluation):
        warn(on_terminal(told))
    if evaluation.results and not any(result.checks for result in evaluation.results):
        warn("nothing is asserted, so an example passes when it runs through; test: {assert: [{type: …}]}")
    adopted = evaluation.case.bound.adopted
    if adopted is not None and adopted.variant and adopted.entry:
        shares = on_terminal(figures(adopted.entry))
        note(f"on compiled prompts, which know some of these examples; on those held out from them: {shares}")
    if evaluation.stopped:
        note(style("error: ", "1;31", sys.stderr) + f"stopped: {on_terminal(evaluation.stopped)}")
        if evaluation.hint:
            note(style("  hint: ", "36", sys.stderr) + on_terminal(evaluation.hint))
    asked = (
        f"; judges: {plural(judges.calls, 'new call')}, {judges.cached} cached" if judges.calls + judges.cached else ""
    )
    new = max(0, evaluation.spent.calls - judges.calls)  # with those that were made on expected values
    from_cache = "all answers came from the cache" if summary.calls else "no model was asked"
    cached = plural(new, "new call") if new else from_cache
    spent = f"{cached}, {dollars(evaluation.spent.cost)} spent{asked}; {seconds(evaluation.seconds)}"
    retried = sum(step.retries for step in summary.steps)
    again = f"; {plural(retried, 'reply').replace('replys', 'replies')} did not fit" if retried else ""
    note(style(spent + again, "2", sys.stderr))


def _unheard(evaluation: Evaluation) -> Iterator[str]:
    """The assertions that could not tell, where that is not what the example is listed for: another one failed it, or
    they only measure."""
    found: dict[str, list[str]] = {}
    for result in evaluation.results:
        for check in result.checks:
            if check.error and (result.state.value == "failed" or not check.counts):
                own = check.assertion
                place = f" on {own.step or own.output}" if own.step or own.output else ""
                found.setdefault(f"{own.type}{place}", []).append(check.error)
    for name, errors in found.items():
        yield f"{name} could not be told {plural(len(errors), 'time')}: {_one_line(errors[-1])}"


def _matrices(verdicts: Sequence[Verdict]) -> Iterator[list[Verdict]]:
    """The verdicts of chains that were tested on several models."""
    for chain in dict.fromkeys(verdict.evaluation.case.chain.name for verdict in verdicts):
        own = [verdict for verdict in verdicts if verdict.evaluation.case.chain.name == chain]
        if len(own) > 1:
            yield own


def _matrix(verdicts: Sequence[Verdict]) -> None:
    summaries = [verdict.evaluation.summary for verdict in verdicts]
    header = (verdicts[0].evaluation.case.chain.name, *(verdict.evaluation.case.name for verdict in verdicts))
    rows = []
    for name in (*(step.step for step in summaries[0].steps), "chain"):
        rows.append((name, *(share(summary.score_of(name)) for summary in summaries)))
    for name in dict.fromkeys(name for summary in summaries for name in summary.retrieval):
        rows.append((on_terminal(name), *(mean(summary.retrieval.get(name)) for summary in summaries)))
    rows.append(("cost", *(dollars(summary.cost) for summary in summaries)))
    rows.append(("p50", *(_time(summary.p50) for summary in summaries)))
    _table(rows, header)


def _table(rows: Sequence[tuple[str, ...]], header: tuple[str, ...]) -> None:
    """A table that is read by people in a log too: with its header, and in columns."""
    if sys.stdout.isatty():
        table(rows, header)
        return
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    for row in (header, *rows):
        say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _time(value: float | None) -> str:
    return _NOTHING if value is None else seconds(value)


def percent(value: float) -> str:
    """30 %; 0.4 % where rounding would hide it."""
    whole = value * 100
    return f"{fixed(whole, 1 if 0 < abs(whole) < 1 or 99 < whole < 100 else 0)} %"


def points(value: float) -> str:
    """A difference in percentage points, with its sign."""
    return f"{fixed(value * 100, 1, sign=True)} points"


def share(interval: Interval | None) -> str:
    """30 % [23–37]: a share and its 95 % interval."""
    if interval is None:
        return _NOTHING
    return f"{percent(interval.value)} [{fixed(interval.low * 100, 0)}–{fixed(interval.high * 100, 0)}]"

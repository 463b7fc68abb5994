"""GitHub's Markdown, for a comment on a pull request and for the summary of a job.

Ids, reasons and models' words come from anywhere: each goes through `escaped`, in tables by `table` itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from promptchain.blame import Method
from promptchain.reports import numbers
from promptchain.reports.numbers import change, count, dollars, line, mean, part, percent, points, seconds
from promptchain.reports.sections import Section, escaped, fitted, table
from promptchain.results import State

if TYPE_CHECKING:
    from promptchain.comparison import Flip
    from promptchain.results import ExampleResult
    from promptchain.statistics import Interval
    from promptchain.summary import StepSummary, Summary
    from promptchain.testing import Evaluation, Verdict

MAX_FLIPS = 20
MAX_EXAMPLES = 10


def markdown(verdicts: Sequence[Verdict], *, limit: int = 60_000) -> str:
    """The report: a headline for each evaluation, missed gates, a comparison of the models where there are several,
    steps, flipped and failing examples.

    limit: bytes in UTF-8. What there is no room for is left out section by section, the least important ones first,
    and a last line says what. GitHub takes 65,536 characters in a comment and 1 MiB in a step's summary.
    """
    sections = []
    for group in _by_chain(verdicts):
        sections += [_headline(verdict) for verdict in group]
        sections += [section for verdict in group for section in _missed(verdict)]
        if len(group) > 1:
            sections.append(_matrix(group))
        for verdict in group:
            sections += [_steps(verdict), *_retrieval(verdict), *flips(verdict)]
            sections += [*failing(verdict), *unscored(verdict)]
    return fitted(sections, limit)


def _by_chain(verdicts: Sequence[Verdict]) -> Iterable[list[Verdict]]:
    found: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        found.setdefault(verdict.evaluation.case.chain.name, []).append(verdict)
    return found.values()


def _headline(verdict: Verdict) -> Section:
    evaluation, summary = verdict.evaluation, verdict.evaluation.summary
    outcome = "✅ {}: passed" if verdict.passed else "❌ {}: failed"
    lines = [f"### {outcome.format(escaped(numbers.name(evaluation)))}, {percent(summary.chain)}"]
    if compared := verdict.comparison:
        lines.append(f"{points(compared.chain)}, compared with {escaped(compared.names[0])}")
        lines[-1] += f" ({len(compared.better)} better, {len(compared.worse)} worse)."
        if compared.left_out:
            lines[-1] += f" {count(compared.left_out, 'example')} could not be compared."
    lines.append(_counts(evaluation, summary))
    if evaluation.stopped:
        lines.append(f"It ended early: {escaped(evaluation.stopped)}")
    return Section(0, ("headline", "headlines"), "\n\n".join(lines))


def _counts(evaluation: Evaluation, summary: Summary) -> str:
    tries = f", {count(summary.tries, 'try', 'tries')}" if evaluation.repeat > 1 else ""
    told = [f"{count(summary.examples, 'example')}{tries}: {summary.passed:,} passed, {summary.failed:,} failed"]
    if summary.errors:
        told.append(f"{summary.errors:,} could not be scored")
    if summary.unchecked:
        told.append(f"{summary.unchecked:,} not checked")
    if summary.flaky:
        told.append(f"{len(summary.flaky):,} passed in some tries only")
    told.append(f"{count(summary.calls, 'call')} ({summary.new_calls:,} new)")
    told += [escaped(dollars(summary.cost)), seconds(evaluation.seconds)]
    if evaluation.version:
        told.append(f"version {escaped(evaluation.version)}")
    return ", ".join(told) + "."


def _missed(verdict: Verdict) -> Iterator[Section]:
    if verdict.misses:
        title = f"#### Gate of {escaped(numbers.name(verdict.evaluation))}"
        rows = [f"- ❌ {escaped(miss.message)}" for miss in verdict.misses]
        yield Section(1, ("list of missed gates", "lists of missed gates"), "\n".join([title, "", *rows]))


def _matrix(group: Sequence[Verdict]) -> Section:
    """Evaluations of one chain beside each other."""
    summaries = [verdict.evaluation.summary for verdict in group]
    steps = dict.fromkeys(step.step for summary in summaries for step in summary.steps)
    measures = dict.fromkeys(name for summary in summaries for name in summary.retrieval)
    rows = [
        ["passed", *("yes" if verdict.passed else "no" for verdict in group)],
        ["chain", *(percent(summary.chain) for summary in summaries)],
        *([f"step {name}", *(percent(_step_score(summary, name)) for summary in summaries)] for name in steps),
        *([name, *(mean(summary.retrieval.get(name)) for summary in summaries)] for name in measures),
        ["cost", *(dollars(summary.cost) for summary in summaries)],
        ["calls", *(f"{summary.calls:,}" for summary in summaries)],
        ["p50", *(seconds(summary.p50) for summary in summaries)],
        ["p95", *(seconds(summary.p95) for summary in summaries)],
        ["not scored", *(f"{summary.errors:,}" for summary in summaries)],
        ["not checked", *(f"{summary.unchecked:,}" for summary in summaries)],
    ]
    title = f"#### {escaped(group[0].evaluation.case.chain.name)}, side by side"
    text = f"{title}\n\n{table(['measure', *_columns(group)], rows)}"
    return Section(2, ("comparison side by side", "comparisons side by side"), text)


def _step_score(summary: Summary, name: str) -> Interval | None:
    return next((step.score for step in summary.steps if step.step == name), None)


def _columns(group: Sequence[Verdict]) -> list[str]:
    """How the evaluations of one chain are told apart: by models, else by the names of the cases, else by number."""
    for names in (
        [numbers.models(verdict.evaluation) for verdict in group],
        [verdict.evaluation.case.name for verdict in group],
    ):
        if all(names) and len(set(names)) == len(names):
            return names
    return [f"{verdict.evaluation.case.name} ({number})" for number, verdict in enumerate(group, 1)]


def _steps(verdict: Verdict) -> Section:
    evaluation, summary = verdict.evaluation, verdict.evaluation.summary
    header = ["step", "score", "on gold", "blame", "calls", "cost", "p50", "p95"]
    rows = [_step(step, summary) for step in summary.steps]
    whole = [percent(summary.chain), "", "", f"{summary.calls:,}", dollars(summary.cost)]
    rows.append(["chain", *whole, seconds(summary.p50), seconds(summary.p95)])
    lines = [f"#### Steps of {escaped(numbers.name(evaluation))}", table(header, rows)]
    if summary.several:
        lines.append(
            f"Several steps: {part(summary.several, summary.failed)} of the failures, which no one step mends."
        )
    if any(step.method is Method.FIRST_FAILURE for step in summary.steps):
        lines.append("~ examples that fail first at this step; without it: what the chain would gain, by trying.")
    return Section(3, ("table of steps", "tables of steps"), "\n\n".join(lines))


def _step(step: StepSummary, summary: Summary) -> list[str]:
    blame = part(step.blame, summary.passed + summary.failed)
    if step.method is Method.FIRST_FAILURE and step.blame is not None:
        blame = f"~{blame}"
    spent = [f"{step.calls:,}", dollars(step.cost), seconds(step.p50), seconds(step.p95)]
    return [step.step, percent(step.score), percent(step.gold), blame, *spent]


def _retrieval(verdict: Verdict) -> Iterator[Section]:
    """How well passages were found, apart from what was made of them."""
    evaluation, compared = verdict.evaluation, verdict.comparison
    means = evaluation.summary.retrieval
    if not means:
        return
    header = ["retrieval", "mean", "examples"]
    rows = [[name, mean(own), f"{own.n:,}"] for name, own in means.items()]
    if compared and compared.retrieval:
        header.append(f"compared with {compared.names[0]}")
        for row in rows:
            row.append(change(compared.retrieval.get(row[0])))
    text = f"#### Retrieval of {escaped(numbers.name(evaluation))}\n\n{table(header, rows)}"
    yield Section(3, ("table of retrieval", "tables of retrieval"), text)


def flips(verdict: Verdict) -> Iterator[Section]:
    compared = verdict.comparison
    if compared is None or not compared.flips:
        return
    before = escaped(compared.names[0])
    wrong = numbers.firsts(verdict.evaluation, State.FAILED)
    told = f"{len(compared.worse):,} worse, {len(compared.better):,} better"
    # Nothing from outside in the summary: Markdown's escapes do not hold there.
    lines = [
        f"#### Flipped in {escaped(numbers.name(verdict.evaluation))}, compared with {before}",
        f"<details><summary>{told}</summary>",
    ]
    for title, flips in (("Fail now", compared.worse), ("Pass now", compared.better)):
        if not flips:
            continue
        rows = [_flip(flip, wrong.get(flip.id, flip.after)) for flip in flips[:MAX_FLIPS]]
        lines += [f"{title}:", table(["example", "row", "failed at", "why"], rows, left=4)]
        lines += _more(len(flips) - MAX_FLIPS)
    yield Section(4, ("list of flipped examples", "lists of flipped examples"), "\n\n".join([*lines, "</details>"]))


def _flip(flip: Flip, failing: ExampleResult) -> list[str]:
    side = flip.before if flip.better else failing
    why = numbers.failures(side)[0] if side.state is not State.PASSED else ""
    return [line(flip.id, 100), flip.where, flip.first or "outputs", why]


def failing(verdict: Verdict) -> Iterator[Section]:
    failed = list(numbers.firsts(verdict.evaluation, State.FAILED).values())
    if not failed:
        return
    worst = sorted(failed, key=lambda result: 0.0 if result.score is None else result.score)[:MAX_EXAMPLES]
    rows = [
        [line(result.id, 100), str(result.where), result.first or "outputs", "; ".join(numbers.failures(result))]
        for result in worst
    ]
    title = f"#### Failing examples of {escaped(numbers.name(verdict.evaluation))}"
    drawn = table(["example", "row", "failed at", "why"], rows, left=4)
    text = "\n\n".join([title, drawn, *_more(len(failed) - MAX_EXAMPLES)])
    yield Section(5, ("list of failing examples", "lists of failing examples"), text)


def unscored(verdict: Verdict) -> Iterator[Section]:
    evaluation = verdict.evaluation
    errors = [*numbers.firsts(evaluation, State.ERROR).values(), *numbers.firsts(evaluation, State.UNCHECKED).values()]
    unused = evaluation.summary.unused
    if not errors and not unused:
        return
    lines = [f"#### Not scored in {escaped(numbers.name(evaluation))}"]
    if errors:
        rows = [
            [line(result.id, 100), str(result.where), numbers.failures(result)[0]] for result in errors[:MAX_EXAMPLES]
        ]
        lines += [table(["example", "row", "why"], rows, left=3), *_more(len(errors) - MAX_EXAMPLES)]
    if unused:
        lines.append("\n".join(f"- assertion {escaped(told)}" for told in unused[:MAX_EXAMPLES]))
        lines += _more(len(unused) - MAX_EXAMPLES)
    yield Section(6, ("list of what was not scored", "lists of what was not scored"), "\n\n".join(lines))


def _more(number: int) -> list[str]:
    return [f"… and {number:,} more."] if number > 0 else []

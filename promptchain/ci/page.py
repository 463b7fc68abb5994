"""What a reviewer reads: the comment on a pull request, and the longer summary of the job.

The first line says whether it may be merged, the next ones why not; what there is no room for goes from below.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from promptchain.ci.findings import ChainFindings, Findings, Kind
from promptchain.reports import numbers
from promptchain.reports.markdown import failing, flips, markdown, unscored
from promptchain.reports.numbers import change, clean, count, dollars, mean, percent, points, seconds
from promptchain.reports.sections import Section, escaped, fitted, table

if TYPE_CHECKING:
    from promptchain.testing import Verdict

MAX_SUMMARY = 900_000
"""Bytes; GitHub takes 1 MiB a step."""

_MAX_LINES = 200
_MAX_DIFF = 16_000
_TOO_LONG = 600
"""Characters of one line of a diff."""


def page(findings: Findings, *, limit: int, whole: bool = False) -> str:
    """The text, of at most `limit` bytes in UTF-8. whole: with every step's figures and every failing example."""
    told = findings.told
    sections = [Section(0, ("headline", "headlines"), f"## {headline(findings)}")]
    if why := _head(findings):
        sections.append(Section(0, ("list of reasons", "lists of reasons"), why))
    for chain in told:
        sections += _chain(chain, titled=len(told) > 1)
    sections += _notes(findings)
    sections.append(Section(2, ("last line", "last lines"), _foot(findings)))
    if whole and findings.verdicts:
        room = max(0, limit - sum(len(section.text.encode()) + 2 for section in sections) - 1000)
        if room > 5_000:
            text = "\n\n".join(["### All figures", markdown(findings.verdicts, limit=room).rstrip()])
            sections.append(Section(9, ("table of all figures", "tables of all figures"), text))
    return fitted(sections, limit)


# --- the head -----------------------------------------------------------------------------------------------------


def headline(findings: Findings) -> str:
    """The whole in a line, without markup but for the escapes that keep it plain."""
    bad, told = findings.failing, findings.told
    if len(bad) > 1:
        return f"❌ {len(bad)} of {count(len(findings.chains), 'chain')} do not pass"
    if bad:
        return f"❌ {title(bad[0])}"
    if findings.error is not None:
        return f"❌ {escaped(findings.error.message)}"
    if len(told) == 1:
        return f"✅ {title(told[0])}"
    if not findings.chains:
        return "✅ no chain is left"
    what = "no chain got worse" if any(chain.change for chain in findings.chains) else "all is well"
    return f"✅ {count(len(findings.chains), 'chain')}: {what}"


def title(chain: ChainFindings) -> str:
    """What is to be told first of a chain, in half a line."""
    name, verdict = _code(chain.name), chain.verdict
    summary = verdict.evaluation.summary if verdict else None
    score = numbers.part(summary.chain.value, summary.chain.n) if summary and summary.chain else "–"
    failed = f"{summary.failed:,} of {count(summary.tries, 'example')}" if summary else ""
    match chain.kind:
        case Kind.BROKEN:
            return f"{name} has {count(len(chain.problems), 'problem')}"
        case Kind.UNTESTED:
            return f"{name} could not be tested"
        case Kind.STOPPED:
            return f"{name}: the test ended early"
        case Kind.WORSE:
            return f"{name} got worse: {_from_to(chain)}"
        case Kind.MISSED:
            return f"{name} misses its gate: {score}"
        case Kind.FAILING:
            return f"{name}: {failed} fail"
        case Kind.STALE:
            return f"{name}: its compiled prompts are stale"
        case Kind.BETTER:
            return f"{name} got better: {_from_to(chain)}"
        case Kind.SAME:
            return f"{name} is as good as before: {score}"
        case Kind.PASSED:
            return f"{name} {'is new and ' if chain.new else ''}passes: {_from_to(chain) if chain.change else score}"
        case Kind.UNTRIED:
            return f"{name} {_untried(chain)}"


def _untried(chain: ChainFindings) -> str:
    if chain.untested:
        return "has no test any more"
    what = "was not tested" if chain.skipped else "has no test"
    return f"{'is new' if chain.new else 'is fine'}, and {what}"


def _code(text: str) -> str:
    """A text as code, which has no escapes; what would end it is no code."""
    plain = numbers.line(text)
    return f"`{plain}`" if plain.isprintable() and plain and "`" not in plain and "@" not in plain else escaped(text)


def _from_to(chain: ChainFindings) -> str:
    """Both shares, over the examples that could be compared."""
    verdict = chain.verdict
    assert verdict is not None
    sides = (verdict.before, verdict.evaluation)
    shown = [one.summary.chain if one else None for one in sides]
    return " → ".join(numbers.part(one.value, one.n) if one else numbers.UNKNOWN for one in shown)


def reasons(chain: ChainFindings) -> list[str]:
    """Why, each in a sentence of Markdown; the most important one first."""
    found = [f"{escaped(str(problem), 500)}" for problem in chain.problems[:10]]
    found += [f"… and {len(chain.problems) - 10} more."] if len(chain.problems) > 10 else []
    if chain.error is not None:
        found.append(escaped(str(chain.error), 500))
    if chain.verdict is not None:
        found += _tested(chain, chain.verdict)
    if chain.tested and not chain.untested:
        found.append(f"**Its test changed**: {escaped(chain.tested)}.")
    for one in chain.stale:
        why = "; ".join(stale.message for stale in one.stale) or "it is not compiled for this model"
        found.append(f"Stale on {escaped(one.model)}: {escaped(why)}. Mend it with {_code(one.command)}.")
    if chain.was:
        found.append(f"It was called {escaped(chain.was)}.")
    if chain.uncompared:
        found.append(f"Not compared: {escaped(chain.uncompared, 500)}")
    return found


def _tested(chain: ChainFindings, verdict: Verdict) -> Iterator[str]:
    evaluation, compared = verdict.evaluation, verdict.comparison
    if evaluation.stopped:
        hint = f" ({escaped(evaluation.hint)})" if evaluation.hint else ""
        yield f"It ended early: {escaped(evaluation.stopped, 500)}{hint}"
    if compared:
        worse, better = len(compared.worse), len(compared.better)
        said = []
        if worse:
            at = f", most at step **{escaped(chain.suspect)}**" if chain.suspect else ""
            fail = "fails" if worse == 1 else "fail"
            said.append(f"**{count(worse, 'example')} that passed on {escaped(compared.names[0])} {fail} now**{at}")
        if better:
            said.append(f"{count(better, 'example')} that failed pass{'es' if better == 1 else ''} now")
        told = "; ".join(said) or "No example came out differently"
        if said or compared.chain:
            yield f"{told}: {points(compared.chain)}." if compared.chain else f"{told}."
        if compared.left_out:
            yield f"{count(compared.left_out, 'example')} could not be compared."
    if unchecked := evaluation.summary.unchecked:
        are = "is" if unchecked == 1 else "are"
        tries = count(evaluation.summary.tries, "example")
        yield f"**{unchecked:,} of {tries} {are} not checked**: no assertion applies."
    for miss in verdict.misses:
        if not (compared and miss.name == compared.names[0]):
            yield f"Gate: {escaped(miss.message)}."
    if not compared and not verdict.passed and not verdict.misses and chain.suspect:
        yield f"Most fail at step **{escaped(chain.suspect)}**."


def _head(findings: Findings) -> str:
    """What follows the headline: why."""
    told = findings.told
    lines: list[str] = []
    if findings.error is not None and findings.failing:
        lines.append(f"❌ {escaped(findings.error.message)}")
    if findings.error is not None and findings.error.hint:
        lines.append(escaped(findings.error.hint))
    if len(told) == 1:
        lines += reasons(told[0])[:12]
        lines += _changed(told[0])
    elif told:
        shown = []
        for chain in told[:50]:
            why = " ".join(reasons(chain)[:3])
            shown.append(f"- {'❌' if chain.exit_code else '✅'} {title(chain)}. {why}".rstrip())
        shown += [f"- … and {len(told) - 50} more."] if len(told) > 50 else []
        lines.append("\n".join(shown))
    return "\n\n".join(lines)


def _changed(chain: ChainFindings) -> list[str]:
    return [f"What changed: {escaped(chain.changed)}."] if chain.changed and not chain.new else []


# --- below ----------------------------------------------------------------------------------------------------------


def _chain(chain: ChainFindings, *, titled: bool) -> Iterator[Section]:
    name = escaped(chain.name)
    if titled:
        more = [*reasons(chain)[3:20], *_changed(chain)]
        text = "\n\n".join([f"### {'❌' if chain.exit_code else '✅'} {title(chain)}", *more])
        yield Section(1, ("chain", "chains"), text)
    verdict = chain.verdict
    if verdict is not None:
        yield Section(1, ("table of scores", "tables of scores"), _scores(verdict))
    if chain.difference:
        yield Section(3, ("prompt diff", "prompt diffs"), f"#### Prompts of {name}\n\n{_diff(chain.difference)}")
    if verdict is not None:
        yield from flips(verdict)
        if verdict.comparison is None and not verdict.passed:
            yield from failing(verdict)
        yield from unscored(verdict)


def _scores(verdict: Verdict) -> str:
    """Before and after by step, with intervals; without a before, what there is."""
    now, before, compared = verdict.evaluation.summary, verdict.before, verdict.comparison
    if before is None or compared is None:
        rows = [["chain", percent(now.chain)], *([f"step {one.step}", percent(one.score)] for one in now.steps)]
        rows += [[name, mean(score)] for name, score in now.retrieval.items()]
        rows += [["cost", dollars(now.cost)], ["time (p50)", seconds(now.p50)]]
        return table(["score", "here"], rows)
    was = before.summary
    scores = {one.step: one.score for one in was.steps}
    told = {name: points(one) for name, one in compared.steps.items()}
    rows = [["chain", percent(was.chain), percent(now.chain), points(compared.chain)]]
    for one in now.steps:
        rows.append([f"step {one.step}", percent(scores.get(one.step)), percent(one.score), told.get(one.step, "")])
    for name, score in now.retrieval.items():
        row = [name, mean(was.retrieval.get(name)), mean(score), change(compared.retrieval.get(name))]
        rows.append(row)
    rows.append(["cost", dollars(was.cost), dollars(now.cost), ""])
    rows.append(["time (p50)", seconds(was.p50), seconds(now.p50), ""])
    return table(["score", compared.names[0], "here", "difference"], rows)


def _diff(lines: Sequence[str]) -> str:
    """A block in the colours of a diff, which nothing in it can end."""
    shown: list[str] = []
    size = 0
    for line in lines[:_MAX_LINES]:
        text = clean(line)
        text = text if len(text) <= _TOO_LONG else text[: _TOO_LONG - 1] + "…"
        size += len(text.encode()) + 1
        if size > _MAX_DIFF:
            break
        shown.append(text)
    left = len(lines) - len(shown)
    fence = "`" * max(3, 1 + max((len(run) for line in shown for run in re.findall("`+", line)), default=0))
    block = "\n".join([f"{fence}diff", *shown, fence])
    return f"{block}\n\n… and {count(left, 'more line')}." if left else block


def _notes(findings: Findings) -> Iterator[Section]:
    notes = [escaped(note, 500) for note in findings.notes]
    if findings.fork:
        notes.append(
            "This comes from a fork: GitHub gives it no secrets, and a token that may only read. So there is no comment"
            " on the pull request, and models that need a key answer from the cache at most."
        )
    if notes:
        yield Section(2, ("list of notes", "lists of notes"), "\n".join(f"- {note}" for note in notes))


def _foot(findings: Findings) -> str:
    quiet = [chain.name for chain in findings.chains if not chain.told]
    parts = [f"compared with {escaped(findings.base.name)}"] if findings.base else []
    if quiet:
        shown = ", ".join(map(_code, quiet[:20])) + (f" and {len(quiet) - 20} more" if quiet[20:] else "")
        parts.append(f"unchanged and passing: {shown}")
    if findings.evaluations:
        parts.append(f"{count(findings.new_calls, 'new call')}, {escaped(dollars(findings.spent))} spent")
    parts += [f"[the run]({findings.run_url})"] if findings.run_url else []
    return f"<sub>{' · '.join(parts)}</sub>" if parts else "<sub>promptchain</sub>"

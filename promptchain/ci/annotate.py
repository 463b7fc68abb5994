"""Where in a pull request's files the findings are shown: on the lines that it changed, where they are to blame."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from promptchain.chain import Chain, PromptStep
from promptchain.ci.findings import ChainFindings, Findings
from promptchain.ci.page import title
from promptchain.errors import Where
from promptchain.reports.github import Note, failures, shown, unscored

if TYPE_CHECKING:
    from promptchain.diff import ChainDiff
    from promptchain.document import Document

_MOST = 10
"""Annotations of a kind that GitHub shows of one step."""


def commands(findings: Findings, folder: str) -> list[str]:
    """Workflow commands, one to a line. folder: the project's in its repository."""
    errors = [note for chain in findings.told for note in _errors(chain)]
    errors += [note for chain in findings.failing if chain.verdict for note in failures(chain.verdict)]
    if findings.error is not None:
        errors.insert(0, Note("chain ci", str(findings.error)))
    warnings = [Note("not compared", one.uncompared, one.where) for one in findings.told if one.uncompared]
    warnings += [*unscored(findings.verdicts), *(Note("chain ci", note) for note in findings.notes)]
    return [*shown("error", errors, _MOST, folder), *shown("warning", warnings, _MOST, folder)]


def _errors(chain: ChainFindings) -> Iterator[Note]:
    place = chain.where or Where(chain.file)
    for problem in chain.problems:
        hint = f"; {problem.hint}" if problem.hint else ""
        yield Note(f"{chain.name}: not a chain that can run", problem.message + hint, problem.where)
    if chain.error is not None:
        yield Note(f"{chain.name}: could not be tested", str(chain.error), chain.error.where or place)
    verdict = chain.verdict
    if verdict is not None and verdict.evaluation.stopped:
        yield Note(f"{chain.name}: the test ended early", verdict.evaluation.stopped, place)
    if verdict is not None and verdict.misses:
        yield Note(title(chain).replace("`", ""), "\n".join(miss.message for miss in verdict.misses), place)
    for one in chain.stale:
        why = "; ".join(stale.message for stale in one.stale) or f"it is not compiled for {one.model}"
        yield Note(f"{chain.name}: compiled prompts are stale", f"{why}; mend it with: {one.command}", place)


def place_of(chain: Chain, diff: ChainDiff, document: Document, lines: Mapping[str, Sequence[range]]) -> Where | None:
    """The first line that changed of what a model sees of the chain; of its file, or of a file that a prompt is in.
    lines: the changed ones by file. None where nothing changed."""
    for step in diff.steps:
        for change in step.fields:
            found = _text_file(chain, step.name, str(change.path[0]))
            if found and (ranges := lines.get(found)):
                return Where(found, ranges[0].start)
            if step.name in chain.steps:
                field = str(change.path[0]).partition(".")[0]
                return _first(document, ("steps", step.name, field), lines) or document.where(("steps", step.name))
    for change in diff.fields:
        return _first(document, (change.path[0],), lines) or document.where((change.path[0],))
    ranges = lines.get(document.file)
    return Where(document.file, ranges[0].start) if ranges else None


def _text_file(chain: Chain, step: str, field: str) -> str | None:
    """The file that a step's prompt or instructions are in."""
    found = chain.steps.get(step)
    if not isinstance(found, PromptStep) or field.partition(".")[0] not in ("prompt", "instructions"):
        return None
    text = getattr(found, field.partition(".")[0])
    return text.file if text is not None else None


def _first(document: Document, path: tuple[str | int, ...], lines: Mapping[str, Sequence[range]]) -> Where | None:
    """The first changed line of the key and the value at `path`."""
    key, value = document.keys.get(path), document.values.get(path)
    if key is None:
        return None
    last = max(value.end, value.line) if value else key.line
    for changed in lines.get(document.file, ()):
        for line in changed:
            if key.line <= line <= last:
                return Where(document.file, line)
    return Where(document.file, key.line)

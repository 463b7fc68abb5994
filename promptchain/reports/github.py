"""Annotations of a GitHub workflow: lines on its standard output that GitHub shows beside files."""

# No `from __future__ import annotations`: the function's name is taken by it.
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from promptchain.errors import Where
from promptchain.reports import numbers
from promptchain.reports.numbers import clean, count, line
from promptchain.results import State

if TYPE_CHECKING:
    from promptchain.results import ExampleResult
    from promptchain.testing import Evaluation, Verdict

_LONGEST = 2_000
"""Characters of a message; GitHub folds it after a few lines."""

_LINE_ENDS = re.compile("\r\n|[\r\x85\u2028\u2029]")


@dataclass(frozen=True, slots=True)
class Note:
    """What an annotation says, and of which place."""

    title: str
    message: str
    where: Where | None = None


def annotations(verdicts: Sequence["Verdict"], *, limit: int = 10, folder: str = "") -> list[str]:
    """Workflow commands, one to a line to be printed: an error for each evaluation that ended early, each missed gate,
    and each example that flipped to failed, or that failed where neither gate nor comparison decides; a warning for
    each example that could not be scored.

    limit: of each kind, the last of which counts the rest; GitHub shows the first 10 of a step. folder: the project's
    in its repository, from where GitHub counts files.
    """
    missed = [note for verdict in verdicts for note in _missed(verdict)]
    failed = [note for verdict in verdicts for note in failures(verdict)]
    return [*shown("error", [*missed, *failed], limit, folder), *shown("warning", unscored(verdicts), limit, folder)]


def _missed(verdict: "Verdict") -> Iterator[Note]:
    evaluation = verdict.evaluation
    file = Where(f"chains/{evaluation.case.chain.name}.yaml")
    if evaluation.stopped:
        yield Note(f"{numbers.name(evaluation)}: ended early", evaluation.stopped, file)
    for miss in verdict.misses:
        yield Note(f"{numbers.name(evaluation)}: gate missed", miss.message, file)


def failures(verdict: "Verdict") -> Iterator[Note]:
    """Each example that flipped to failed, or that failed where neither gate nor comparison decides."""
    evaluation = verdict.evaluation
    if verdict.comparison:
        before = verdict.comparison.names[0]
        failing = numbers.firsts(evaluation, State.FAILED)
        for flip in verdict.comparison.worse:
            yield _note(evaluation, failing.get(flip.id, flip.after), f"fails, and passed with {before}")
    elif not verdict.gated:
        for result in numbers.firsts(evaluation, State.FAILED).values():
            yield _note(evaluation, result, "fails")


def unscored(verdicts: Sequence["Verdict"]) -> list[Note]:
    """Each example that could not be scored, or in which nothing was checked."""
    return [
        _note(verdict.evaluation, result, what)
        for verdict in verdicts
        for state, what in ((State.ERROR, "could not be scored"), (State.UNCHECKED, "is not checked"))
        for result in numbers.firsts(verdict.evaluation, state).values()
    ]


def _note(evaluation: "Evaluation", result: "ExampleResult", what: str) -> Note:
    title = f"{numbers.name(evaluation)}: {line(result.id, 100)} {what}"
    return Note(title, "\n".join(numbers.failures(result)), result.where)


def shown(kind: str, notes: Sequence[Note], limit: int, folder: str) -> list[str]:
    """The notes as workflow commands of a kind (error, warning, notice); limit, folder: see `annotations`."""
    if len(notes) <= limit:
        return [_command(kind, note, folder) for note in notes]
    if limit < 1:
        return []
    rest = len(notes) - (limit - 1)
    last = Note(f"{rest:,} more", f"{count(rest, f'more {kind}')}; the test's report has them all")
    return [*(_command(kind, note, folder) for note in notes[: limit - 1]), _command(kind, last, folder)]


def _command(kind: str, note: Note, folder: str) -> str:
    """The syntax is that of GitHub's documentation, "Workflow commands"; the escapes are @actions/core's."""
    where = note.where
    file = where and clean(str(PurePosixPath(folder, where.file)))
    given = {"file": file, "line": where and where.line, "title": line(note.title)}
    properties = ",".join(f"{name}={_property(str(value))}" for name, value in given.items() if value)
    return f"::{kind} {properties}::{_message(note.message)}"


def _message(text: str) -> str:
    text = clean(text)
    return _escaped(text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…")


def _property(text: str) -> str:
    return _escaped(text).replace(":", "%3A").replace(",", "%2C")


def _escaped(text: str) -> str:
    text = _LINE_ENDS.sub("\n", text)
    return text.replace("%", "%25").replace("\n", "%0A")

"""`chain diff`."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from promptchain.cli import complete, options
from promptchain.cli.output import note, print_json

if TYPE_CHECKING:
    from collections.abc import Iterable

    from promptchain.cli.diff_lines import Line
    from promptchain.cli.diff_rendered import Given
    from promptchain.cli.diff_sides import Chains, Runs
    from promptchain.project import Project


def diff(
    sides: Annotated[
        list[str],
        typer.Argument(
            metavar="A [B]",
            help="What to compare: chains (NAME, NAME@v7, NAME@label, NAME@git:REV, a file), or two runs."
            " Without B, the work tree.",
            autocompletion=complete.sides,
        ),
    ],
    rendered: Annotated[
        bool,
        typer.Option(
            "--rendered", help="Compare the messages that would be sent: on -i, else on a row of the test data."
        ),
    ] = False,
    tests: Annotated[
        bool, typer.Option("--tests", help="Compare what they do on the test data: scores, and examples that flipped.")
    ] = False,
    pairs: options.RenderedInputs = None,
    input: options.InputFile = None,
    model: options.Models = None,
    step: options.Step = None,
    stat: Annotated[bool, typer.Option("--stat", help="Count the words added and removed, field by field.")] = False,
    json: options.Json = False,
    exit_code: Annotated[bool, typer.Option("--exit-code", help="Exit with 1 when they differ.")] = False,
    git_driver: Annotated[
        bool, typer.Option("--git-driver", help="Be called by git: see diff.<driver>.command in gitattributes(5).")
    ] = False,
) -> None:
    """Compare two versions of a chain step by step and word by word; or two runs.

    Examples:

      chain diff support

      chain diff support@v3 v7 --rendered

      chain diff support@production --tests

      chain diff support@git:origin/main --exit-code
    """
    if git_driver:
        from promptchain.cli import diff_git

        diff_git.run(sides)
        return
    from promptchain.cli import diff_sides
    from promptchain.project import Project

    project = Project.find()
    words, given = _given(project, sides, pairs or [], input, rendered=rendered)
    found = diff_sides.find(project, words)
    _check_options(found, given, model or [], step, stat=stat, rendered=rendered, tests=tests)
    if isinstance(found, diff_sides.Runs):
        result = _runs(found, step)
    elif tests:
        result = _tests(project, found, model or [])
    elif rendered:
        result = _rendered(project, found, given, model or [], step)
    else:
        result = _chains(found, step, stat=stat)
    if json:
        print_json(result.data)
    elif result.lines is None:
        if sys.stderr.isatty():
            note("no differences")
    else:
        _draw(found.names, result.lines)
    if exit_code and result.differs:
        raise typer.Exit(1)


@dataclass(frozen=True)
class _Result:
    """What a comparison found. lines: what to draw below the header, None where there is nothing to say."""

    differs: bool
    data: dict[str, Any]
    lines: Iterable[Line] | None


def _given(
    project: Project, words: list[str], pairs: list[str], source: str | None, *, rendered: bool
) -> tuple[list[str], Given]:
    """The words that name sides, and the inputs. With --rendered, a last word with white space in it is the chain's
    text, since no name has any."""
    from pathlib import Path

    from promptchain.cli.diff_rendered import Given

    text = None
    last = words[-1]
    named = last.partition("@")[0] in (*project.names(), "") or last.startswith("git:")
    if rendered and len(words) > 1 and any(map(str.isspace, last)) and not named and not Path(last).is_file():
        words, text = words[:-1], last
    return words, Given(tuple(pairs), source, text)


def _check_options(
    found: Chains | Runs, given: Given, models: list[str], step: str | None, *, stat: bool, rendered: bool, tests: bool
) -> None:
    from promptchain.cli.diff_sides import Runs
    from promptchain.errors import UsageError, known_or_nearest

    if isinstance(found, Runs) and (rendered or stat):
        raise UsageError(f"{'--rendered' if rendered else '--stat'} is for chains, not for runs", hint="leave it out")
    if tests and (isinstance(found, Runs) or rendered or stat or step is not None or given):
        raise UsageError("--tests compares two chains as wholes, on their test data", hint="leave the rest out")
    if (given or models) and not (rendered or (tests and models)):
        raise UsageError("inputs and models are only of use with --rendered", hint="add --rendered")
    if rendered and stat:
        raise UsageError("--stat does not go with --rendered", hint="leave one of them out")
    known = {*found.before.steps, *found.after.steps}
    if step is not None and step not in known:
        raise UsageError(f"neither side has a step '{step}'", hint=known_or_nearest(step, known, "steps"))


def _chains(found: Chains, step: str | None, *, stat: bool) -> _Result:
    from promptchain import diff as differ
    from promptchain import diff_lock, diff_uses
    from promptchain.cli import diff_view

    difference = differ.compare(found.before, found.after)
    compiled = diff_lock.compare(*found.locks, (found.before, found.after))
    used = diff_uses.compare(*found.uses)
    if step is not None:
        difference, compiled, used = difference.only(step), compiled.only(step), diff_uses.UsesDiff()
    data: dict[str, Any] = {"before": found.names[0], "after": found.names[1], **difference.to_json()}
    if stat:
        data = {**dict(list(data.items())[:3]), "stat": [line.to_json() for line in difference.stat()]}
    data |= {"compiled": compiled.to_json(), "files": used.to_json()}
    lines: list[Line] = []
    if difference:
        lines += (diff_view.stat_lines if stat else diff_view.chain_lines)(difference)
    lines += diff_view.uses_lines(used)
    lines += diff_view.lock_lines(compiled, stat=stat)
    return _Result(bool(difference or used or compiled), data, lines or None)


def _runs(found: Runs, step: str | None) -> _Result:
    from promptchain import diff_runs
    from promptchain.cli import diff_view

    difference = diff_runs.compare_runs(found.before, found.after)
    if step is not None:
        difference = difference.only(step)
    same = found.before.id == found.after.id
    return _Result(bool(difference), difference.to_json(), None if same else diff_view.run_lines(difference))


def _rendered(project: Project, found: Chains, given: Given, models: list[str], step: str | None) -> _Result:
    from promptchain import diff as differ
    from promptchain import diff_runs
    from promptchain.cli import diff_rendered, diff_view
    from promptchain.cli.run import stdin_text

    stdin = stdin_text() if given.source == "-" else None
    chains = (found.before, found.after)
    used = diff_rendered.examples(project, chains, given, stdin)
    renamed = differ.compare(*chains).renamed
    before, after = (
        diff_rendered.messages(project, chain, lock, example, models, names)
        for chain, lock, example, names in zip(chains, found.locks, used, (renamed, {}), strict=True)
    )
    difference = diff_runs.compare_rendered(before, after, renamed)
    if step is not None:
        difference = difference.only(step)
    data = {"before": found.names[0], "after": found.names[1], "example": used[1].told, **difference.to_json()}
    if not difference:
        return _Result(False, data, None)
    return _Result(True, data, [diff_view.example_line(used[1].told), *diff_view.rendered_lines(difference)])


def _tests(project: Project, found: Chains, models: list[str]) -> _Result:
    from promptchain import comparison
    from promptchain.cli import diff_tests

    compared = diff_tests.run(project, found, models)
    differs = bool(compared.flips or any(step.better or step.worse for step in compared.steps.values()))
    said = list(diff_tests.lines(compared)) if differs or compared.left_out else None
    return _Result(differs, comparison.to_json(compared), said)


def _draw(names: tuple[str, str], lines: Iterable[Line]) -> None:
    from promptchain.cli import diff_draw, diff_view

    diff_draw.draw([*diff_view.header(*names), *lines], diff_draw.Paper.of_stdout())

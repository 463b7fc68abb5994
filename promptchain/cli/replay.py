"""`chain replay`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from promptchain.cli import complete, options
from promptchain.cli.output import note, print_json, style, warn

if TYPE_CHECKING:
    from promptchain.chain import Chain
    from promptchain.records import Run


def replay(
    run: Annotated[
        str,
        typer.Argument(metavar="RUN", help="A run's id, the beginning of one, or last.", autocompletion=complete.runs),
    ],
    start: Annotated[
        str | None,
        typer.Option("--from", metavar="STEP", help="Run this step and what depends on it; take the rest as recorded."),
    ] = None,
    model: options.Models = None,
    at: Annotated[
        str | None,
        typer.Option("--at", metavar="REF", help="On another version: v8, a label; . is the work tree."),
    ] = None,
    cache: options.Cache = False,
    max_cost: options.MaxCost = None,
    max_calls: options.MaxCalls = None,
    max_tokens: options.MaxTokens = None,
    json: options.Json = False,
) -> None:
    """Run a recorded run again on its inputs, and say what comes out differently.

    Without options it runs on the version and the models that it ran on. With --from the steps before are not run:
    their values are taken from the record.

    Examples:

      chain replay last --from reply

      chain replay 01m87p0p --model openai/gpt-4o-mini

      chain replay last --at .
    """
    from promptchain import inputs, replay, runner
    from promptchain.cli import interrupt
    from promptchain.cli.run import step_progress
    from promptchain.diff_runs import compare_runs
    from promptchain.errors import UsageError
    from promptchain.project import Ceilings, Project
    from promptchain.recording import Recorder

    project = Project.find()
    before = project.find_run(run)
    if before is None:
        raise UsageError(f"there is no run '{run}'", hint="chain runs lists them")
    reference = _reference(before, at)
    chain = project.load(reference)
    lm = project.lm(cache=cache)
    bound = project.bind(chain, lm, _models(before, model or [], chain))
    given = replay.given(bound.plan, before, start)
    values = inputs.check(chain, dict(before.inputs))
    caller = project.caller(lm, bound, Ceilings(max_cost, max_calls, max_tokens))
    recorder = Recorder(project, reference, chain)
    kept: list[Run] = []

    def keep(result: Run) -> None:
        kept.append(recorder.keep(result.model_copy(update={"replay_of": before.id})))

    try:
        with step_progress(bound) as (observe, stream):
            work = runner.run(bound, values, caller, observe=observe, record=keep, stream=stream, given=given)
            interrupt.run(work)
    finally:
        lm.close()
        for problem in recorder.problems:
            warn(str(problem))
    after = kept[0]
    difference = compare_runs(before, after)
    if json:
        print_json({"run": after.model_dump(mode="json"), "taken_over": sorted(given), "diff": difference.to_json()})
    else:
        _print(difference, before, after, given, at)
    if after.error:
        raise typer.Exit(1)


def _models(run: Run, wanted: list[str], chain: Chain) -> list[str]:
    """The models of the record, step by step, where the user names no other."""
    from promptchain import replay

    named = {word.partition("=")[0] for word in wanted if "=" in word}
    if len(named) < len(wanted):  # one is for the whole chain
        return wanted
    recorded = replay.models(run).items()
    return [*wanted, *(f"{step}={model}" for step, model in recorded if step in chain.steps and step not in named)]


def _reference(run: Run, at: str | None) -> str:
    """The version to run: the one that the record cites, else what --at says."""
    if at is None:
        return f"{run.chain}@{run.source}"
    return run.chain if at == "." else f"{run.chain}@{at.rpartition('@')[2]}"


def _print(difference: Any, before: Run, after: Run, given: Any, at: str | None) -> None:
    from promptchain.cli import diff_draw, diff_view

    if given:
        note(style(f"taken over from the record: {', '.join(given)}", "2", sys.stderr))
    if not difference:
        note(f"nothing came out differently; this is run {after.id}")
        return
    names = (f"run {before.id}", f"run {after.id}" + (f" ({at})" if at else ""))
    lines = [*diff_view.header(*names), *diff_view.run_lines(difference)]
    diff_draw.draw(lines, diff_draw.Paper.of_stdout())

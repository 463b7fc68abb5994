"""`chain replay`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from promptchain.cli import complete, options
from promptchain.cli.output import note, print_error, print_json, style, warn
from promptchain.errors import PromptChainError, UsageError

if TYPE_CHECKING:
    from promptchain.binding import BoundPlan
    from promptchain.chain import Chain
    from promptchain.cli.consent import Consent
    from promptchain.cli.traced import Traces
    from promptchain.lm.calls import Caller
    from promptchain.lm.protocol import LM
    from promptchain.project import Project
    from promptchain.recording import Recorder
    from promptchain.records import Run, StepRun


def replay(
    run: options.RunName,
    start: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="STEP",
            help="Run this step and what depends on it; take the rest as recorded.",
            autocompletion=complete.steps_of_run,
        ),
    ] = None,
    model: options.Models = None,
    at: Annotated[
        str | None,
        typer.Option(
            "--at",
            metavar="REF",
            help="On another version: v8, a label; . is the work tree.",
            autocompletion=complete.refs_of_run,
        ),
    ] = None,
    yes: options.Yes = False,
    cache: options.Cache = False,
    max_cost: options.MaxCost = None,
    max_calls: options.MaxCalls = None,
    max_tokens: options.MaxTokens = None,
    trace: options.Trace = False,
    json: options.Json = False,
) -> None:
    """Run a recorded run again on its inputs, and say what comes out differently.

    Without options it runs on the version, the compiled prompts and the models that it ran on. With --from the steps
    before are not run: their values are taken from the record. Tools are called again; those that are marked `confirm`
    only with --yes.

    Examples:

      chain replay last --from reply

      chain replay 01m87p0p --model openai/gpt-4o-mini

      chain replay last --at .
    """
    from promptchain import inputs, replay
    from promptchain.cli.consent import Consent
    from promptchain.cli.traced import traces
    from promptchain.diff_runs import compare_runs
    from promptchain.project import Ceilings, Project
    from promptchain.recording import Recorder

    project = Project.find()
    old = _Recorded.of(project, _find(project, run), at)
    consent = Consent(yes=yes)
    with traces(trace) as traced, closing(project.lm(cache=cache)) as lm, consent:
        bound = old.bind(lm, model or [], consent)
        given = replay.given(bound.plan, old.run, start)
        values = old.inputs()
        inputs.check(old.chain, values)
        caller = project.caller(lm, bound, Ceilings(max_cost, max_calls, max_tokens))
        kept = _Kept(Recorder(project, old.reference, old.chain), old.run.id, traced)
        after = _run_again(kept, bound, values, caller, given, consent)
    before = old.run
    difference = compare_runs(before, after).without(given)
    if json:
        print_json({"run": after.model_dump(mode="json"), "taken_over": sorted(given), "diff": difference.to_json()})
    else:
        _print(difference, before, after, given, at)
    if after.error:
        print_error(PromptChainError(after.error, hint=after.hint))
        raise typer.Exit(1)


def as_recorded(project: Project, run: Run, lm: LM) -> tuple[Chain, BoundPlan]:
    """The version that a run cites, on the prompts and models that it ran on. Nothing of it may be started: it may name
    MCP servers that the work tree does not. Raises PromptChainError."""
    old = _Recorded.of(project, run, None)
    return old.chain, old.bound(lm, old.models([]))


@dataclass(frozen=True)
class _Recorded:
    """A recorded run, and the version on which it is run again. at: as --at has it; None for the one that it ran on."""

    project: Project
    run: Run
    at: str | None
    reference: str
    chain: Chain

    @classmethod
    def of(cls, project: Project, run: Run, at: str | None) -> _Recorded:
        """Raises PromptChainError where the version is not to be had."""
        reference = _reference(project, run, at)
        return cls(project, run, at, reference, _load(project, run, reference, at))

    def bind(self, lm: LM, wanted: list[str], consent: Consent) -> BoundPlan:
        """The chain on the prompts of the record, compiled or not; on another version, or on another model than they
        were compiled for, on those that a run would take."""
        from promptchain import trust
        from promptchain.cli import adopted

        models = self.models(wanted)
        if self.at is not None or (wanted and self.run.compiled):
            return adopted.bind(self.project, self.reference, self.chain, lm, models, approve=consent)
        trust.check(self.project, self.reference, self.chain)
        return self.bound(lm, models, consent)

    def bound(self, lm: LM, models: list[str], consent: Consent | None = None) -> BoundPlan:
        from promptchain.cli import adopted

        project, used = self.project, self.run.compiled
        lock = adopted.lock_of(project, self.reference) if used else None
        locks = project.inner_locks(self.reference, self.chain)
        return project.bind(self.chain, lm, models, lock=lock, used=used, locks=locks, approve=consent)

    def inputs(self) -> dict[str, Any]:
        """The inputs of the record; an optional one that was not given need not be one of the chain any more."""
        from promptchain.lm.secrets import MASK

        declared = self.chain.input_type.fields()
        values = {name: value for name, value in self.run.inputs.items() if value is not None or name in declared}
        if MASK in str(values):
            warn(f"the inputs hold {MASK} where the record leaves out a secret; the models see that")
        return values

    def models(self, wanted: list[str]) -> list[str]:
        """The models of the record, step by step, where the user names no other. On another version, only those that
        the version which ran did not name itself: else a new model in it would not be seen."""
        from promptchain import replay
        from promptchain.chain import PromptStep

        run, chain, project = self.run, self.chain, self.project
        steps = {step for step, sign, _ in (word.partition("=") for word in wanted) if sign and "/" not in step}
        if len(steps) < len(wanted):  # one is for the whole chain
            return wanted
        recorded, whole = _recorded(project, run), run.model
        if whole == chain.model and any(chain.used_chains()):
            whole = None  # named, it would stand above the models of the chains in it
        if self.at is not None:
            with suppress(PromptChainError):  # gone: then all of them
                cited = project.load(_reference(project, run, None))
                recorded = {step: name for step, name in recorded.items() if name not in replay.own_models(cited, step)}
                whole = None if whole == cited.model else whole
        prompts = {name: step for name, step in chain.steps.items() if isinstance(step, PromptStep)}
        if self.at is None and chain.chains and whole and (whole == chain.model or replay.inner_models(run) - {whole}):
            # It was not given for all of it: the chains in it ran on models of their own.
            recorded = {**{name: whole for name, step in prompts.items() if step.model is None}, **recorded}
            whole = None
        kept = prompts.keys() - steps
        return [*wanted, *filter(None, [whole]), *(f"{step}={name}" for step, name in recorded.items() if step in kept)]


def _find(project: Project, run: str) -> Run:
    with project.history() as history:
        run = history.find_run(run).id
    found = project.find_run(run)
    if found is None:  # gone in between
        raise UsageError(f"there is no run '{run}'", hint="chain runs lists them")
    return found


def _reference(project: Project, run: Run, at: str | None) -> str:
    """The version to run: the one that the record cites, else what --at says."""
    if at is None:
        with project.history() as history:
            version = history.versions.tree(run.chain).version(run.version) if run.version else None
        if version and version.content == run.source:  # else a sync gave it another number
            return version.name
        return f"{run.chain}@{run.source}"
    return run.chain if at == "." else f"{run.chain}@{at.removeprefix(f'{run.chain}@').removeprefix('@')}"


def _load(project: Project, run: Run, reference: str, at: str | None) -> Chain:
    try:
        return project.load(reference)
    except UsageError as exc:
        if at is not None:
            raise
        hint = "chain sync may bring it; --at . takes the work tree"
        raise UsageError(f"the version that run {run.id} ran on is not in the store", hint=hint) from exc


def _recorded(project: Project, run: Run) -> dict[str, str]:
    """The model of each step; of one whose value was taken over, from the run that it was taken from."""
    from promptchain import replay

    found = dict(replay.models(run))
    seen = {run.id}
    while run.replay_of and run.replay_of not in seen and (earlier := project.find_run(run.replay_of)):
        seen |= {run.replay_of, earlier.id}
        found = {**replay.models(earlier), **found}
        run = earlier
    return found


class _Kept:
    """Keeps the run anew, and a trace of it. of: the id of the run before. last: the record."""

    def __init__(self, recorder: Recorder, of: str, traced: Traces | None) -> None:
        self.recorder = recorder
        self._of = of
        self._traced = traced
        self.last: Run | None = None

    def keep(self, result: Run) -> None:
        self.last = self.recorder.keep(result.model_copy(update={"replay_of": self._of}))
        if self._traced is not None:
            self._traced.add(self.last, self.recorder.chain)


def _run_again(
    kept: _Kept,
    bound: BoundPlan,
    values: dict[str, Any],
    caller: Caller,
    given: Mapping[str, StepRun],
    consent: Consent,
) -> Run:
    """The run anew, as it is recorded: without secrets, as the record that it is compared with."""
    from promptchain import runner
    from promptchain.cli import interrupt
    from promptchain.cli.run import step_progress
    from promptchain.record_file import to_json
    from promptchain.records import Run

    try:
        with step_progress(bound, consent) as (observe, stream):
            work = runner.run(bound, values, caller, observe=observe, record=kept.keep, stream=stream, given=given)
            interrupt.run(work)
    except KeyboardInterrupt:
        if kept.last and not kept.recorder.problems:
            note(f"what was done is recorded: chain runs show {kept.last.id}")
        raise
    finally:
        for problem in kept.recorder.problems:
            warn(str(problem))
    assert kept.last is not None
    return Run.model_validate_json(to_json(kept.last))


def _print(difference: Any, before: Run, after: Run, given: Any, at: str | None) -> None:
    from promptchain.cli import diff_draw, diff_view

    if given:
        note(style(f"taken over from the record: {', '.join(given)}", "2", sys.stderr))
    if not difference:
        said = "it failed in the same way" if after.error else "nothing came out differently"
        note(f"{said}; this is run {after.id}")
        return
    names = (f"run {before.id}", f"run {after.id}" + (f" ({at})" if at else ""))
    lines = [*diff_view.header(*names), *diff_view.run_lines(difference)]
    diff_draw.draw(lines, diff_draw.Paper.of_stdout())

"""`chain run`."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from promptchain.cli import options
from promptchain.cli.output import (
    animated,
    dollars,
    next_try,
    note,
    plural,
    print_json,
    print_outputs,
    seconds,
    style,
    warn,
)

if TYPE_CHECKING:
    from promptchain.chain import Chain
    from promptchain.cli.consent import Consent
    from promptchain.cli.traced import Traces
    from promptchain.errors import PromptChainError
    from promptchain.recording import Recorder
    from promptchain.records import Run


def run(
    name: options.ChainName,
    text: options.Text = None,
    pairs: options.Inputs = None,
    input: options.InputFile = None,
    model: options.Models = None,
    output: options.Output = None,
    json: Annotated[bool, typer.Option("--json", help="Print the whole record as JSON.")] = False,
    stream: Annotated[
        bool, typer.Option("--stream", help="Print the run's events as they happen, each as a line of JSON.")
    ] = False,
    save_run: options.SaveRun = None,
    batch: options.Batch = None,
    resume: options.Resume = False,
    source: options.Source = False,
    locked: options.Locked = False,
    yes: options.Yes = False,
    cache: options.Cache = False,
    concurrency: options.Concurrency = None,
    max_cost: options.MaxCost = None,
    max_calls: options.MaxCalls = None,
    max_tokens: options.MaxTokens = None,
    trace: options.Trace = False,
) -> None:
    """Run a chain. Its outputs go to stdout; progress, on a terminal, to stderr.

    Every run leaves a record, also one that fails or is interrupted. Where the chain is compiled for its model, the run
    takes the compiled prompts; where they are stale, it says why.

    Examples:

      chain run support "Where is my card?"

      echo '{"message": "Where is my card?"}' | chain run support --input - --json

      chain run support "Where is my card?" --stream | jq -j 'select(.step == "reply").text // ""'

      chain run support --batch rows.jsonl -o out.jsonl

      chain run support "Pay me back" --yes
    """
    from promptchain.cli import adopted
    from promptchain.cli.consent import Consent
    from promptchain.cli.traced import traces
    from promptchain.project import Ceilings, Project
    from promptchain.recording import Recorder

    project = Project.find()
    chain = project.load(name)
    lm = project.lm(cache=cache)
    consent = Consent(yes=yes, asks=batch is None)
    bound = adopted.bind(project, name, chain, lm, model or [], source=source, locked=locked, approve=consent)
    caller = project.caller(lm, bound, Ceilings(max_cost, max_calls, max_tokens), concurrency)
    with closing(lm), consent, traces(trace) as traced:
        if batch is not None:
            from promptchain.cli.run_batch import run_batch

            _refuse(text=text, pairs=pairs, input=input, json=json, stream=stream, save_run=save_run)
            target, at_once = _batch_output(output), concurrency or project.settings.concurrency
            recorder = Recorder(project, name, chain, any_lock=source)
            run_batch(recorder, bound, caller, batch, target, resume, at_once, traced)
            return
        values = _inputs(chain, text, pairs or [], input)
        _check_one(chain, output, bound.plan.outputs, save_run, json=json, stream=stream, resume=resume)
        kept = _Kept(Recorder(project, name, chain, any_lock=source), save_run, traced)
        if not cache:
            project.warm(lm, bound)
        if stream:
            _run_streamed(kept, bound, caller, values)
        else:
            _run_once(kept, bound, caller, values, consent, json=json, only=output)


def _batch_output(name: str | None) -> Path:
    from promptchain.errors import UsageError

    if name is None:
        hint = "add -o out.jsonl; for example: chain run support --batch rows.jsonl -o out.jsonl"
        raise UsageError("--batch needs a file to write to", hint=hint)
    return Path(name)


def _refuse(**given: Any) -> None:
    from promptchain.errors import UsageError

    names = {"text": "TEXT", "pairs": "-i", "input": "--input", "json": "--json"}
    names |= {"stream": "--stream", "save_run": "--save-run"}
    for key, value in given.items():
        if value:
            raise UsageError(f"{names[key]} does not go with --batch", hint="the inputs are the rows of the file")


def _check_one(
    chain: Chain,
    only: str | None,
    known: Iterable[str],
    save_run: Path | None,
    *,
    json: bool,
    stream: bool,
    resume: bool,
) -> None:
    """Raises UsageError for what is only for a batch, where stdout cannot have all that is asked for, for an output
    that is none of the chain's, and for a record that cannot stand where it is to."""
    from promptchain.errors import UsageError, known_or_nearest

    if resume:
        hint = "for example: chain run support --batch rows.jsonl -o out.jsonl --resume"
        raise UsageError("--resume goes with --batch", hint=hint)
    if only is not None and only not in known:
        hint = known_or_nearest(only, known, "outputs")
        raise UsageError(f"the chain '{chain.name}' has no output '{only}'", hint=hint)
    if stream and (json or only is not None):
        other = "--json" if json else "-o"
        raise UsageError(f"--stream prints events, so {other} does not go with it", hint="leave one of them out")
    if json and only is not None:
        raise UsageError("--json prints the whole record, so -o does not go with it", hint="leave one of them out")
    if save_run is not None and save_run.is_dir():
        raise UsageError(f"--save-run {save_run} is a folder", hint=f"name a file: {save_run / 'run.json'}")


def _inputs(chain: Chain, text: str | None, pairs: list[str], source: str | None) -> dict[str, Any]:
    """The inputs from everywhere they may stand; the more particular one wins: a file, then TEXT, then -i."""
    from promptchain import inputs

    values: dict[str, Any] = {}
    if source is not None:
        stdin = stdin_text() if source == "-" else None
        values |= inputs.from_file(chain, source, stdin)
    if text is not None:
        values |= inputs.from_text(chain, text)
    return inputs.check(chain, values | inputs.from_pairs(chain, pairs))


def stdin_text() -> str:
    """All of standard input. Raises InputError where it is not UTF-8."""
    from promptchain.errors import InputError

    if sys.stdin.isatty():
        note("reading the inputs from the terminal; end with Ctrl-D")
    try:
        return sys.stdin.buffer.read().decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise InputError(
            f"standard input is not UTF-8 (byte {exc.start + 1})",
            hint="for example: iconv -f latin1 -t utf-8 FILE | chain run …",
        ) from None


def _run_streamed(kept: _Kept, bound: Any, caller: Any, values: dict[str, Any]) -> None:
    from promptchain import runner
    from promptchain.cli import interrupt
    from promptchain.cli.stream import Lines

    lines = Lines()
    lines.begin(bound, values)
    try:
        work = runner.run(bound, values, caller, observe=lines.observe, record=kept.keep, stream=True)
        interrupt.run(lines.watched(work))
    except KeyboardInterrupt:
        if lines.gone is not None:
            raise lines.gone from None
        if kept.last is not None:
            lines.end(kept.last, interrupted=True)
        _tell_where(kept)
        raise
    assert kept.last is not None
    lines.end(kept.last)
    _conclude(kept, kept.last)
    if kept.error:
        raise kept.error


def _run_once(
    kept: _Kept, bound: Any, caller: Any, values: dict[str, Any], consent: Consent, *, json: bool, only: str | None
) -> None:
    from promptchain import runner
    from promptchain.cli import interrupt

    try:
        with step_progress(bound, consent) as (observe, stream):
            work = runner.run(bound, values, caller, observe=observe, record=kept.keep, stream=stream)
            result = interrupt.run(work)
    except KeyboardInterrupt:
        _tell_where(kept)
        raise
    result = kept.run or result
    if json:
        print_json(result.model_dump(mode="json"))
    _conclude(kept, result)
    if not json:
        print_outputs(result.outputs if only is None else {only: result.outputs[only]})
        if animated(sys.stderr):
            totals = result.totals
            spent = f"{plural(totals.calls, 'call')}, {totals.tokens} tokens, {dollars(totals.cost)}"
            note(style(f"{seconds(result.seconds)}, {spent}", "2", sys.stderr))
            _cite(kept.recorder, result)
    if kept.error:
        raise kept.error


def _tell_where(kept: _Kept) -> None:
    if kept.run:
        note(f"what was done is recorded: {kept.where()}")


def _conclude(kept: _Kept, result: Run) -> None:
    """Say what a user should know of the run, and end the command where it failed."""
    from promptchain.records import Status

    for name, step in result.steps.items():
        for warning in step.warnings:
            warn(f"step '{name}': {warning}")
    if result.status is Status.FAILED:
        _fail(result, kept.where())


def _cite(recorder: Recorder, result: Run) -> None:
    """Say which version ran, and under which id the run is kept: its first ten characters, which are its time."""
    kept = recorder.version()
    if kept is not None and not recorder.problems:
        version, new = kept
        note(style(f"{version.name}{' (new)' if new else ''}, run {result.id[:10]}", "2", sys.stderr))


class _Kept:
    """Keeps a run: in the store, in the file of --save-run, and as a trace. What goes wrong there is told after the
    answer: `error`. last: the record, wherever it is kept; run: the record, where it is."""

    def __init__(self, recorder: Recorder, save_run: Path | None, traced: Traces | None) -> None:
        self.recorder = recorder
        self._save_run = save_run
        self._traced = traced
        self.last: Run | None = None
        self.run: Run | None = None
        self.error: PromptChainError | None = None

    def keep(self, result: Run) -> None:
        from promptchain.errors import PromptChainError
        from promptchain.record_file import write_record

        result = self.last = self.recorder.keep(result)
        if self._traced is not None:
            self._traced.add(result, self.recorder.chain)
        for problem in self.recorder.problems:
            warn(str(problem))
        if not self.recorder.problems:
            self.run = result
        if self._save_run is not None:
            try:
                write_record(result, self._save_run)
                self.run = result
            except PromptChainError as exc:
                self.error = exc

    def where(self) -> str:
        """How to look at the record."""
        if self.run is None:
            return ""
        return str(self._save_run) if self._save_run and not self.error else f"chain runs show {self.run.id}"


def _fail(result: Run, record: str) -> None:
    from promptchain.cli.output import print_error
    from promptchain.errors import PromptChainError

    print_error(PromptChainError(result.error or "the run failed", hint=result.hint))
    blocked = [name for name, step in result.steps.items() if step.status.value == "blocked"]
    if blocked:
        note(f"  not run because of it: {', '.join(blocked)}")
    if record:
        note(f"  what was done is recorded: {record}")
    raise typer.Exit(1)


@contextmanager
def step_progress(bound: Any, consent: Consent) -> Iterator[tuple[Any, bool]]:
    """An observer of the run, and whether it wants the replies' text: a live table on a terminal, which makes room for
    questions, else lines for what a user should know."""
    if animated(sys.stderr):
        from promptchain.cli.live import LiveSteps

        with LiveSteps(bound.plan) as live:
            consent.pause = live.paused
            yield live.observe, True
    else:
        yield _tell_retries, False


def _tell_retries(event: Any) -> None:
    from promptchain.events import StepRetried

    if isinstance(event, StepRetried):
        note(f"step '{event.step}': {next_try(event.reason, event.wait)}")

"""What `chain test` has to do: a job for each chain, made before anything is spent, and run one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from promptchain.cli.output import note, warn

if TYPE_CHECKING:
    from promptchain.cli.consent import Consent
    from promptchain.cli.traced import Traces
    from promptchain.criteria import Assertion, Gate, Test
    from promptchain.evaluate import Progress
    from promptchain.examples import Example, Examples
    from promptchain.lm.calls import Caller
    from promptchain.lm.protocol import LM
    from promptchain.project import Project
    from promptchain.recording import Recorder
    from promptchain.records import Run
    from promptchain.testing import Case, Evaluation, Verdict


@dataclass(frozen=True)
class Options:
    """What was asked for, as far as it is the same for every chain. cached: answers are kept. traced: what traces the
    runs of the examples."""

    models: tuple[str, ...]
    files: tuple[Path, ...]
    words: tuple[str, ...]
    repeat: int | None
    compare: str | None
    max_errors: int
    at_once: int
    cached: bool = True
    source: bool = False
    locked: bool = False
    traced: Traces | None = None
    consent: Consent | None = None


@dataclass(frozen=True)
class Job:
    """One chain: its cases, one for each choice of models, and what they are compared with: one for each case, or one
    for all of them. choices: the assertions
    that compare the cases. recorder: keeps the version and what came of it in the store."""

    cases: tuple[Case, ...]
    before: tuple[Case, ...]
    data: Examples
    checks: tuple[Assertion, ...]
    choices: tuple[Assertion, ...]
    setting: Test
    gate: Gate
    recorder: Recorder | None

    @property
    def all(self) -> tuple[Case, ...]:
        return (*self.before, *self.cases)


def names(project: Project, names: list[str]) -> list[str]:
    """What is tested. Raises UsageError where there is nothing."""
    from promptchain.errors import UsageError

    if names:
        return names
    found = [name for name in project.names() if project.load(name).test is not None]
    if not found and not project.names():
        hint = "go to the project's folder, or write chains/NAME.yaml; chain init makes an example"
        raise UsageError("there are no chains here", hint=hint)
    if not found:
        hint = "test: {dataset: rows.jsonl, assert: [{type: contains, value: card}]}"
        raise UsageError("no chain here has a `test:`", hint=hint)
    return found


def job_for(project: Project, lm: LM, name: str, asked: Options) -> Job:
    """All that can be wrong with a chain's test is found here, before anything is spent."""
    from promptchain import gold, testing
    from promptchain.cli import adopted
    from promptchain.models import is_of_step
    from promptchain.recording import Recorder
    from promptchain.testing import Case

    chain = project.load(name)
    setting = testing.tested(chain)
    checks, choices = testing.assertions(project, chain)
    found = testing.data(project, chain, asked.words, asked.files)
    for warning in (*found.warnings, *gold.strangers(chain, found, checks, project.root, project.folder)):
        warn(warning)
    steps = tuple(word for word in asked.models if is_of_step(word))
    columns = [word for word in asked.models if not is_of_step(word)]
    baseline = asked.compare or setting.gate.no_worse_than
    if asked.compare and setting.gate.no_worse_than not in (None, asked.compare):
        warn(f"--compare {asked.compare} is taken in place of the gate's no_worse_than: {setting.gate.no_worse_than}")
    cases: list[Case] = []
    before: list[Case] = []
    for column in columns or [""]:
        models = (*steps, *([column] if column else []))
        bound = adopted.bind(
            project, name, chain, lm, models, source=asked.source, locked=asked.locked, approve=asked.consent
        )
        cases.append(Case(column if len(columns) > 1 and column else name, name, chain, bound))
        if baseline is not None:
            before.append(_baseline(project, lm, name, chain.name, baseline, models, asked))
    if baseline is not None and _is_model(baseline):
        del before[1:]  # it is the same for all
    if choices and len(cases) == 1:
        warn("select-best compares models, so it is not applied; name several: --model A --model B")
    recorder = Recorder(project, name, chain, any_lock=asked.source)
    return Job(tuple(cases), tuple(before), found, checks, choices, setting, setting.gate, recorder)


def _is_model(word: str) -> bool:
    """Whether what to compare with is a model: `openai/gpt-5-mini`, but not `@git:origin/main`."""
    name, at, _ = word.partition("@")
    return "/" in name if at else "/" in word


def _baseline(
    project: Project, lm: LM, name: str, chain: str, word: str, models: tuple[str, ...], asked: Options
) -> Case:
    """What is compared with: a version of the chain, or the chain on another model; each on its own compiled prompts.
    Raises UsageError."""
    from promptchain.cli import adopted
    from promptchain.errors import UsageError
    from promptchain.models import is_of_step
    from promptchain.testing import Case

    if _is_model(word):
        words = [own for own in models if is_of_step(own)] + [word]
        loaded = project.load(name)
        bound = adopted.bind(project, name, loaded, lm, words, source=asked.source, approve=asked.consent)
        return Case(f"{chain} on {word}", name, loaded, bound)
    reference = word if "@" in word and not word.startswith("@") else f"{chain}@{word.removeprefix('@')}"
    try:
        loaded = project.load(reference)
    except UsageError as exc:
        raise UsageError(f"there is no {reference} to compare with: {exc.message}", hint=exc.hint) from None
    known = [own for own in models if not is_of_step(own) or own.partition("=")[0] in loaded.steps]
    try:
        bound = adopted.bind(project, reference, loaded, lm, known, source=asked.source, approve=asked.consent)
        return Case(reference, reference, loaded, bound)
    except UsageError as exc:
        raise UsageError(f"{reference}: {exc.message}", hint=exc.hint) from None


def caller_for(project: Project, lm: LM, jobs: Sequence[Job], ceilings: Any, concurrency: int | None) -> Caller:
    from promptchain.lm.calls import Caller

    budgets = [project.budget(lm, case.bound, ceilings) for job in jobs for case in job.all]
    return Caller(lm, concurrency=concurrency or project.settings.concurrency, budget=budgets[-1])


def run_jobs(project: Project, lm: LM, caller: Caller, jobs: Sequence[Job], asked: Options) -> list[Verdict]:
    from promptchain import testing
    from promptchain.cli import interrupt, test_view
    from promptchain.evaluate import Progress

    for job in jobs:
        for case in job.before:
            testing.check_suited(case, job.cases[0].chain, job.data)
    total = sum(job.data.count * (asked.repeat or job.setting.repeat) * len(job.all) for job in jobs)
    shown = Progress(total)
    try:
        with test_view.progress(shown, caller) as watch:
            return interrupt.run(_all(project, lm, caller, jobs, asked, shown, watch))
    except KeyboardInterrupt:
        kept = "their answers are in the cache: run the same again to go on"
        lost = "their answers were not kept; without --no-cache they are"
        note(f"{shown.done} of {total} examples were done; {kept if asked.cached else lost}")
        raise


async def _all(
    project: Project, lm: LM, caller: Caller, jobs: Sequence[Job], asked: Options, shown: Progress, watch: Any
) -> list[Verdict]:
    from promptchain import testing

    verdicts = []
    for job in jobs:
        befores = [await _one(project, lm, caller, job, case, asked, shown, watch) for case in job.before]
        tested = [await _one(project, lm, caller, job, case, asked, shown, watch) for case in job.cases]
        if job.choices and len(tested) > 1:
            tested = await testing.choose(project, tested, job.choices, lm, caller, job.setting)
        for index, done in enumerate(tested):
            before = befores[min(index, len(befores) - 1)] if befores else None
            kept = job.recorder.version() if job.recorder else None
            if kept is not None:
                done = replace(done, version=kept[0].name, content=kept[0].content)
            if before is not None and before.stopped:
                why = f"{before.case.name}: {before.stopped}"
                done = replace(done, stopped=done.stopped or why, hint=done.hint or before.hint)
            verdict = testing.verdict(done, job.gate, before)
            verdicts.append(verdict)
            if job.recorder and not done.stopped:
                _keep(project, verdict, asked.words)
        for problem in job.recorder.problems if job.recorder else ():
            warn(str(problem))
        if any(verdict.evaluation.stopped for verdict in verdicts):
            break
    return verdicts


def _keep(project: Project, verdict: Verdict, words: Sequence[str]) -> None:
    """A store that cannot be written costs the record, never the result, which is paid for."""
    from promptchain import testing
    from promptchain.errors import PromptChainError

    try:
        testing.keep(project, verdict, words)
    except PromptChainError as exc:
        warn(str(exc))


async def _one(
    project: Project, lm: LM, caller: Caller, job: Job, case: Case, asked: Options, shown: Progress, watch: Any
) -> Evaluation:
    from promptchain import testing
    from promptchain.evaluate import Progress

    repeat = asked.repeat or job.setting.repeat
    progress = Progress(job.data.count * repeat)

    def forward(now: Progress) -> None:
        last = now.results[-1]
        shown.count(last.state)
        watch()

    def trace(run: Run, example: Example) -> None:
        if asked.traced is not None:
            asked.traced.add(run, case.chain, example=example.id)

    found = testing.suited(case, job.data) if any(case is other for other in job.before) else job.data
    return await testing.evaluate_case(
        project,
        case,
        found,
        job.data,
        job.checks,
        lm,
        caller,
        progress,
        setting=job.setting,
        repeat=repeat,
        at_once=asked.at_once,
        max_errors=asked.max_errors,
        watch=forward,
        on_run=trace,
    )

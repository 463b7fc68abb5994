"""`chain test`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from promptchain.cli import complete, options
from promptchain.cli.output import note, print_json, say, warn

if TYPE_CHECKING:
    from promptchain.criteria import Assertion, Gate, Test
    from promptchain.evaluate import Progress
    from promptchain.examples import Examples
    from promptchain.lm.calls import Caller
    from promptchain.lm.protocol import LM
    from promptchain.project import Project
    from promptchain.recording import Recorder
    from promptchain.testing import Case, Evaluation, Verdict

FAILED = 100
"""The exit code of a test or gate that is not passed."""

Names = Annotated[
    list[str] | None,
    typer.Argument(help="Chains or versions; without any, all chains with `test:`.", autocompletion=complete.versions),
]
Dataset = Annotated[
    list[Path] | None, typer.Option("--dataset", metavar="FILE", help="Rows in place of those the chain names.")
]
Filter = Annotated[
    list[str] | None,
    typer.Option("--filter", metavar="ID|NAME=VALUE", help="Only these examples; * stands for anything."),
]
Compare = Annotated[
    str | None,
    typer.Option(
        "--compare",
        metavar="REF|MODEL",
        help="Also test a version (NAME@production, @v7, @git:main) or another model; exit 100 where this is worse.",
        autocompletion=complete.versions,
    ),
]
Github = Annotated[
    bool, typer.Option("--github", help="Print annotations for GitHub; write the step summary where it asks for one.")
]


@dataclass(frozen=True)
class Options:
    """What was asked for, as far as it is the same for every chain."""

    models: tuple[str, ...]
    files: tuple[Path, ...]
    words: tuple[str, ...]
    repeat: int | None
    compare: str | None
    max_errors: int
    at_once: int


def command(
    names: Names = None,
    model: options.Models = None,
    dataset: Dataset = None,
    filter: Filter = None,
    repeat: Annotated[int | None, typer.Option("--repeat", min=1, max=1000, help="Try each example N times.")] = None,
    compare: Compare = None,
    max_errors: Annotated[
        int, typer.Option("--max-errors", min=0, help="Stop when more examples than this cannot be scored.")
    ] = 10,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Ask the models again for what was asked before.")
    ] = False,
    concurrency: options.Concurrency = None,
    max_cost: options.MaxCost = None,
    max_calls: options.MaxCalls = None,
    max_tokens: options.MaxTokens = None,
    json: options.Json = False,
    junit: Annotated[Path | None, typer.Option("--junit", metavar="FILE", help="Write JUnit XML too.")] = None,
    markdown: Annotated[
        Path | None, typer.Option("--markdown", metavar="FILE", help="Write Markdown too, as for a PR comment.")
    ] = None,
    github: Github = False,
    explain: Annotated[bool, typer.Option("--explain", help="Say what each number means.")] = False,
) -> None:
    """Test chains on their datasets: scores by step, and which step costs the chain how much.

    Answers come from the response cache where the same was asked before. Exit code 100: a gate is not met or, without
    a gate, an example failed.

    Examples:

      chain test support

      chain test support --compare support@production --junit report.xml

      chain test support --model openai/gpt-5-mini --model local/smollm2
    """
    from promptchain.cli import test_view
    from promptchain.project import Ceilings, Project

    project = Project.find()
    asked = Options(
        models=tuple(model or ()),
        files=tuple(dataset or ()),
        words=tuple(filter or ()),
        repeat=repeat,
        compare=compare,
        max_errors=max_errors,
        at_once=concurrency or project.settings.concurrency,
    )
    lm = project.lm(cache=not no_cache)
    try:
        jobs = [_job(project, lm, name, asked) for name in _names(project, names or [])]
        caller = caller_for(project, lm, jobs, Ceilings(max_cost, max_calls, max_tokens), concurrency)
        verdicts = run_jobs(project, lm, caller, jobs, asked)
    finally:
        lm.close()
    if json:
        from promptchain.reports.data import data

        passed = all(verdict.passed for verdict in verdicts)
        print_json({"passed": passed, "evaluations": [data(verdict) for verdict in verdicts]})
    else:
        test_view.show(verdicts, explain=explain)
    _write(project, verdicts, junit, markdown, github=github)
    if any(verdict.evaluation.stopped for verdict in verdicts):
        raise typer.Exit(1)
    if not all(verdict.passed for verdict in verdicts):
        raise typer.Exit(FAILED)


@dataclass(frozen=True)
class Job:
    """One chain: its cases, one for each choice of models, and what they are compared with. choices: the assertions
    that compare the cases. recorder: keeps the version and what came of it in the store."""

    cases: tuple[Case, ...]
    before: Case | None
    data: Examples
    checks: tuple[Assertion, ...]
    choices: tuple[Assertion, ...]
    setting: Test
    gate: Gate
    recorder: Recorder | None

    @property
    def all(self) -> tuple[Case, ...]:
        return (*([self.before] if self.before else []), *self.cases)


def _names(project: Project, names: list[str]) -> list[str]:
    """What is tested. Raises UsageError where there is nothing."""
    from promptchain.errors import UsageError

    if names:
        return names
    found = [name for name in project.names() if project.load(name).test is not None]
    if not found:
        hint = "test: {dataset: rows.jsonl, assert: [{type: contains, value: card}]}"
        raise UsageError("no chain here has a `test:`", hint=hint)
    return found


def _job(project: Project, lm: LM, name: str, asked: Options) -> Job:
    """All that can be wrong with a chain's test is found here, before anything is spent."""
    from promptchain import testing
    from promptchain.recording import Recorder
    from promptchain.testing import Case

    chain = project.load(name)
    setting = testing.tested(chain)
    checks, choices = testing.assertions(project, chain)
    found = testing.data(project, chain, asked.words, asked.files)
    for warning in found.warnings:
        warn(warning)
    steps = tuple(word for word in asked.models if _is_of_step(word))
    columns = [word for word in asked.models if not _is_of_step(word)]
    cases = []
    for column in columns or [""]:
        bound = project.bind(chain, lm, (*steps, *([column] if column else [])))
        cases.append(Case(column if len(columns) > 1 and column else name, name, chain, bound))
    baseline = asked.compare or setting.gate.no_worse_than
    before = None if baseline is None else _baseline(project, lm, name, chain.name, baseline, (*steps, *columns[:1]))
    if choices and len(cases) == 1:
        warn("select-best compares models, so it is not applied; name several: --model A --model B")
    recorder = Recorder(project, name, chain)
    return Job(tuple(cases), before, found, checks, choices, setting, setting.gate, recorder)


def _is_of_step(word: str) -> bool:
    step, sign, _ = word.partition("=")
    return bool(sign) and "/" not in step


def _baseline(project: Project, lm: LM, name: str, chain: str, word: str, models: tuple[str, ...]) -> Case:
    """What is compared with: a version of the chain, or the chain on another model. Raises UsageError."""
    from promptchain.errors import UsageError
    from promptchain.testing import Case

    if "@" not in word and "/" in word:
        words = [own for own in models if _is_of_step(own)] + [word]
        loaded = project.load(name)
        return Case(f"{chain} on {word}", name, loaded, project.bind(loaded, lm, words))
    reference = word if "@" in word and not word.startswith("@") else f"{chain}@{word.removeprefix('@')}"
    try:
        loaded = project.load(reference)
    except UsageError as exc:
        raise UsageError(f"there is no {reference} to compare with: {exc.message}", hint=exc.hint) from None
    known = [own for own in models if not _is_of_step(own) or own.partition("=")[0] in loaded.steps]
    try:
        return Case(reference, reference, loaded, project.bind(loaded, lm, known))
    except UsageError as exc:
        raise UsageError(f"{reference}: {exc.message}", hint=exc.hint) from None


def caller_for(project: Project, lm: LM, jobs: Sequence[Job], ceilings: Any, concurrency: int | None) -> Caller:
    from promptchain.lm.calls import Caller

    budgets = [project.budget(lm, case.bound, ceilings) for job in jobs for case in job.all]
    return Caller(lm, concurrency=concurrency or project.settings.concurrency, budget=budgets[-1])


def run_jobs(project: Project, lm: LM, caller: Caller, jobs: Sequence[Job], asked: Options) -> list[Verdict]:
    from promptchain.cli import interrupt, test_view
    from promptchain.evaluate import Progress

    total = sum(job.data.count * (asked.repeat or job.setting.repeat) * len(job.all) for job in jobs)
    shown = Progress(total)
    try:
        with test_view.progress(shown, caller) as watch:
            return interrupt.run(_all(project, lm, caller, jobs, asked, shown, watch))
    except KeyboardInterrupt:
        note(f"{shown.done} of {total} examples were done; their answers are in the cache: run the same again to go on")
        raise


async def _all(
    project: Project, lm: LM, caller: Caller, jobs: Sequence[Job], asked: Options, shown: Progress, watch: Any
) -> list[Verdict]:
    from promptchain import testing

    verdicts = []
    for job in jobs:
        before = None
        if job.before is not None:
            before = await _one(project, lm, caller, job, job.before, asked, shown, watch)
        tested = [await _one(project, lm, caller, job, case, asked, shown, watch) for case in job.cases]
        if job.choices and len(tested) > 1:
            tested = await testing.choose(project, tested, job.choices, lm, caller, job.setting)
        for done in tested:
            kept = job.recorder.version() if job.recorder else None
            if kept is not None:
                done = replace(done, version=kept[0].name, content=kept[0].content)
            if before is not None and before.stopped:
                done = replace(done, stopped=done.stopped or f"{before.case.name}: {before.stopped}")
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

    found = job.data if case is not job.before else testing.suited(case, job.data)
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
    )


def _write(
    project: Project, verdicts: Sequence[Verdict], junit: Path | None, markdown: Path | None, *, github: bool
) -> None:
    """The reports that were asked for. Raises PromptChainError for a file that cannot be written."""
    if junit is not None:
        from promptchain.reports.junit import junit as as_junit

        _to_file(junit, as_junit(verdicts))
    if markdown is not None:
        from promptchain.reports.markdown import markdown as as_markdown

        _to_file(markdown, as_markdown(verdicts))
    if github:
        from promptchain.reports.github import annotations
        from promptchain.reports.markdown import markdown as as_markdown

        for line in annotations(verdicts, folder=_folder(project.root)):
            say(line)
        if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
            _to_file(Path(summary), as_markdown(verdicts, limit=900_000), append=True)


def _folder(root: Path) -> str:
    """The project's folder in the repository that a workflow checked out."""
    workspace = Path(os.environ.get("GITHUB_WORKSPACE") or root).resolve()
    return root.resolve().relative_to(workspace).as_posix() if root.resolve().is_relative_to(workspace) else ""


def _to_file(path: Path, text: str, *, append: bool = False) -> None:
    from promptchain.errors import PromptChainError, Where

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a" if append else "w", encoding="utf-8", errors="replace", newline="\n") as file:
            file.write(text)
    except OSError as exc:
        raise PromptChainError(f"cannot be written: {exc.strerror or exc}", where=Where(str(path))) from exc

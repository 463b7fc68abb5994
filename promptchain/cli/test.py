"""`chain test`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from promptchain.cli import complete, options
from promptchain.cli.output import print_json, say

if TYPE_CHECKING:
    from promptchain.project import Project
    from promptchain.testing import Verdict

FAILED = 100
"""The exit code of a test or gate that is not passed."""

Names = Annotated[
    list[str] | None,
    typer.Argument(help="Chains or versions; without any, all chains with `test:`.", autocompletion=complete.versions),
]
Dataset = Annotated[
    list[Path] | None, typer.Option("--dataset", metavar="FILE", help="Rows in place of those the chain names.")
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


def command(
    names: Names = None,
    model: options.Models = None,
    dataset: Dataset = None,
    filter: options.Filter = None,
    repeat: Annotated[
        int | None, typer.Option("--repeat", metavar="N", min=1, max=1000, help="Try each example N times.")
    ] = None,
    compare: Compare = None,
    source: options.Source = False,
    locked: options.Locked = False,
    max_errors: options.MaxErrors = 10,
    yes: options.Yes = False,
    no_cache: options.NoCache = False,
    concurrency: options.Concurrency = None,
    max_cost: options.MaxCost = None,
    max_calls: options.MaxCalls = None,
    max_tokens: options.MaxTokens = None,
    trace: options.Trace = False,
    json: options.Json = False,
    junit: Annotated[Path | None, typer.Option("--junit", metavar="FILE", help="Write JUnit XML too.")] = None,
    markdown: Annotated[
        Path | None, typer.Option("--markdown", metavar="FILE", help="Write Markdown too, as for a PR comment.")
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", help="Write a page with every example, its inputs and answers."),
    ] = None,
    github: Github = False,
    explain: Annotated[bool, typer.Option("--explain", help="Say what each number means.")] = False,
) -> None:
    """Test chains on their datasets: scores by step, and which step costs the chain how much.

    Answers come from the response cache where the same was asked before. Exit code 100: a gate is not met or, without
    a gate, an example failed. Tools that are marked `confirm` are called only with --yes.

    Examples:

      chain test support

      chain test support --compare support@production --junit report.xml

      chain test support --model openai/gpt-5-mini --model local/smollm2
    """
    from promptchain.cli import report_files, test_jobs
    from promptchain.cli.consent import Consent
    from promptchain.cli.traced import traces
    from promptchain.project import Ceilings, Project

    told = _Told(json=json, explain=explain, junit=junit, markdown=markdown, html=html, github=github)
    report_files.check(junit, markdown)
    report_files.check_html(html)
    project = Project.find()
    consent = Consent(yes=yes)
    asked = test_jobs.Options(
        models=tuple(model or ()),
        files=tuple(dataset or ()),
        words=tuple(filter or ()),
        repeat=repeat,
        compare=compare,
        max_errors=max_errors,
        source=source,
        locked=locked,
        at_once=concurrency or project.settings.concurrency,
        cached=not no_cache,
        consent=consent,
    )
    lm = project.lm(cache=not no_cache)
    with closing(lm), consent, traces(trace) as traced:
        asked = replace(asked, traced=traced)
        jobs = [test_jobs.job_for(project, lm, name, asked) for name in test_jobs.names(project, names or [])]
        caller = test_jobs.caller_for(project, lm, jobs, Ceilings(max_cost, max_calls, max_tokens), concurrency)
        verdicts = test_jobs.run_jobs(project, lm, caller, jobs, asked)
    _tell(project, verdicts, told)
    if any(verdict.evaluation.stopped for verdict in verdicts):
        raise typer.Exit(1)
    if not all(verdict.passed for verdict in verdicts):
        raise typer.Exit(FAILED)


@dataclass(frozen=True)
class _Told:
    """In which forms what came of it is told. junit, markdown, html: files, besides what is printed."""

    json: bool
    explain: bool
    junit: Path | None
    markdown: Path | None
    html: Path | None
    github: bool


def _tell(project: Project, verdicts: Sequence[Verdict], told: _Told) -> None:
    """Print what came of it, and write the reports. Raises PromptChainError for a file that cannot be written."""
    from promptchain.cli import report_files, test_view

    if told.json:
        from promptchain.reports.data import data

        passed = all(verdict.passed for verdict in verdicts)
        print_json({"passed": passed, "evaluations": [data(verdict) for verdict in verdicts]})
    else:
        test_view.show(verdicts, explain=told.explain)
    if told.html is not None:
        report_files.write_html(told.html, verdicts)
    if told.junit is not None:
        from promptchain.reports.junit import junit

        report_files.write(told.junit, junit(verdicts))
    if told.markdown is not None:
        from promptchain.reports.markdown import markdown

        report_files.write(told.markdown, markdown(verdicts))
    if told.github:
        _tell_github(project, verdicts)


def _tell_github(project: Project, verdicts: Sequence[Verdict]) -> None:
    from promptchain.ci import github
    from promptchain.cli import report_files
    from promptchain.reports.github import annotations
    from promptchain.reports.markdown import markdown

    for line in annotations(verdicts, folder=github.folder(project.root, os.environ)):
        say(line)
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        report_files.write(Path(summary), markdown(verdicts, limit=900_000), append=True)

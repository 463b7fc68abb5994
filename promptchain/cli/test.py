"""`chain test`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
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
Filter = Annotated[
    list[str] | None,
    typer.Option(
        "--filter",
        metavar="ID|NAME=VALUE",
        help="Only these examples; * stands for anything.",
        autocompletion=complete.inputs,
    ),
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
    filter: Filter = None,
    repeat: Annotated[int | None, typer.Option("--repeat", min=1, max=1000, help="Try each example N times.")] = None,
    compare: Compare = None,
    source: options.Source = False,
    locked: options.Locked = False,
    max_errors: Annotated[
        int, typer.Option("--max-errors", min=0, help="Stop when more examples than this cannot be scored.")
    ] = 10,
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
    from promptchain.cli import test_jobs, test_view
    from promptchain.cli.consent import Consent
    from promptchain.cli.traced import traces
    from promptchain.project import Ceilings, Project

    if html is not None:
        from promptchain.reports.html.file import check

        check(html)  # before anything is spent
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
    if json:
        from promptchain.reports.data import data

        passed = all(verdict.passed for verdict in verdicts)
        print_json({"passed": passed, "evaluations": [data(verdict) for verdict in verdicts]})
    else:
        test_view.show(verdicts, explain=explain)
    if html is not None:
        write_html(html, verdicts)
    _write(project, verdicts, junit, markdown, github=github)
    if any(verdict.evaluation.stopped for verdict in verdicts):
        raise typer.Exit(1)
    if not all(verdict.passed for verdict in verdicts):
        raise typer.Exit(FAILED)


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


def write_html(path: Path, verdicts: Sequence[Verdict]) -> None:
    """The tests as one page. Raises UsageError, PromptChainError where it cannot be written."""
    from promptchain.reports.html import evaluation, file, page

    sections = [evaluation.section(verdict) for verdict in verdicts]
    title = sections[0]["title"] if len(sections) == 1 else "Chains tested"
    file.write(path, page.page(page.content(title, sections)))


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
        hint = "name another file"
        raise PromptChainError(f"cannot be written: {exc.strerror or exc}", where=Where(str(path)), hint=hint) from exc

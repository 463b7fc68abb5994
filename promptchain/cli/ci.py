"""`chain ci`: what a pull request needs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from promptchain.cli import options
from promptchain.cli.output import print_json

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    help="""Judge a pull request, and commit what is compiled for it: for GitHub Actions, and for any other CI.

    Example: chain ci pull-request --base origin/main""",
)

Base = Annotated[
    str | None,
    typer.Option("--base", metavar="REV", help="What to compare with.  [default: where the pull request begins]"),
]
Output = Annotated[
    Path | None, typer.Option("--output", metavar="FOLDER", help="Write comment.md, junit.xml and report.html there.")
]
Name = Annotated[
    str,
    typer.Option(
        "--name", metavar="NAME", help="Tells this comment from others, where several jobs comment on a pull request."
    ),
]


@app.command("pull-request")
def pull_request(
    names: options.ChainNames = None,
    base: Base = None,
    model: options.Models = None,
    filter: options.Filter = None,
    no_test: Annotated[bool, typer.Option("--no-test", help="Check the files and the locks only.")] = False,
    no_comment: Annotated[bool, typer.Option("--no-comment", help="Do not comment on the pull request.")] = False,
    name: Name = "",
    output: Output = None,
    max_errors: options.MaxErrors = 10,
    yes: options.Yes = False,
    no_cache: options.NoCache = False,
    concurrency: options.Concurrency = None,
    max_cost: options.MaxCost = None,
    max_calls: options.MaxCalls = None,
    max_tokens: options.MaxTokens = None,
    json: options.Json = False,
) -> None:
    """Check the chains, their locks, and what a pull request makes of their scores; one report of all of it.

    In GitHub Actions it finds the base by itself, writes annotations and the step summary, and keeps one comment on
    the pull request. The worst of what is found is the exit code: 1 broken, 100 worse or a gate missed, 101 stale.

    Examples:

      chain ci pull-request

      chain ci pull-request --base origin/main --output reports
    """
    from promptchain.cli import ci_pull_request, ci_report
    from promptchain.project import Ceilings, Project

    asked = ci_pull_request.Options(
        names=tuple(names or ()),
        base=base,
        models=tuple(model or ()),
        words=tuple(filter or ()),
        test=not no_test,
        comment=not no_comment,
        name=name,
        output=output,
        max_errors=max_errors,
        yes=yes,
        cached=not no_cache,
        concurrency=concurrency,
        ceilings=Ceilings(max_cost, max_calls, max_tokens),
        quiet=json,
    )
    with ci_report.ended(quiet=json):
        code, data = ci_pull_request.run(Project.find(), asked)
    if json:
        print_json(data)
    if code:
        raise typer.Exit(code)


@app.command("compile")
def compile(
    names: options.ChainNames = None,
    branch: Annotated[
        str | None,
        typer.Option("--branch", metavar="BRANCH", help="Where to push.  [default: the branch that is worked on]"),
    ] = None,
    no_push: Annotated[bool, typer.Option("--no-push", help="Commit only.")] = False,
    force: options.Force = False,
    yes: options.Yes = False,
    no_cache: options.NoCache = False,
    concurrency: options.Concurrency = None,
    max_cost: options.MaxCost = None,
    max_calls: options.MaxCalls = None,
    max_tokens: options.MaxTokens = None,
    json: options.Json = False,
) -> None:
    """Compile chains, commit their locks, and push that to the branch; without names, all that is stale.

    Where others pushed meanwhile, the commit goes on top of theirs, unless they changed what it was made from.

    Examples:

      chain ci compile support

      chain ci compile --branch better-prompts --max-cost 2
    """
    from promptchain.cli import ci_compile, ci_report
    from promptchain.project import Ceilings, Project

    asked = ci_compile.Options(
        names=tuple(names or ()),
        branch=branch,
        push=not no_push,
        force=force,
        yes=yes,
        cached=not no_cache,
        concurrency=concurrency,
        ceilings=Ceilings(max_cost, max_calls, max_tokens),
        quiet=json,
    )
    with ci_report.ended(quiet=json):
        data, error = ci_compile.run(Project.find(), asked)
        if json:
            print_json(data)
        if error is not None:
            raise error

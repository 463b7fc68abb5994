"""`chain compile`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from promptchain.cli import complete, options
from promptchain.cli.output import print_json

if TYPE_CHECKING:
    from promptchain.cli.compile_jobs import Options
    from promptchain.freshness import Freshness
    from promptchain.project import Project

STALE = 101
"""The exit code of a lock that is stale."""

Names = Annotated[list[str] | None, typer.Argument(help="Chains of the work tree.", autocompletion=complete.chains)]
ChainModels = Annotated[
    list[str] | None,
    typer.Option(
        "-m",
        "--model",
        metavar="[STEP=]MODEL",
        help="What to compile for; several are compiled one after the other.  [default: the chain's own]",
        autocompletion=complete.step_models,
    ),
]
Optimizer = Annotated[
    str | None,
    typer.Option(
        "--optimizer",
        metavar="NAME",
        help="auto, nearest, demos, format or instructions.  [default: auto]",
        autocompletion=complete.optimizers,
    ),
]
Calls = Annotated[
    int | None,
    typer.Option(
        "--calls",
        metavar="N",
        min=0,
        help="Model calls to plan for, held-out rows included.  [default: 400 a step, and those]",
    ),
]
Steps = Annotated[
    list[str] | None, typer.Option("--step", metavar="STEP", help="Tune this step only.", autocompletion=complete.steps)
]
Proposer = Annotated[
    str | None,
    typer.Option(
        "--proposer",
        metavar="MODEL",
        help="Rewrites instructions.  [default: the chain's model, where it is hosted]",
        autocompletion=complete.models,
    ),
]
Teacher = Annotated[
    str | None,
    typer.Option("--teacher", metavar="MODEL", help="Its right answers become demos.", autocompletion=complete.models),
]
MergeDriver = Annotated[
    tuple[Path, Path, Path] | None,
    typer.Option("--merge-driver", metavar="BASE OURS THEIRS", help="For git: merge two versions of a lock into OURS."),
]


def command(
    names: Names = None,
    model: ChainModels = None,
    optimizer: Optimizer = None,
    step: Steps = None,
    calls: Calls = None,
    seed: Annotated[int | None, typer.Option("--seed", metavar="N", min=0, help="Of all chance.  [default: 0]")] = None,
    proposer: Proposer = None,
    teacher: Teacher = None,
    check: Annotated[
        bool, typer.Option("--check", help="Only say whether the locks are fresh, at no cost; exit 101 where not.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be done, and what it costs at most.")
    ] = False,
    everything: Annotated[bool, typer.Option("--all", help="All that is stale, of every chain and model.")] = False,
    force: options.Force = False,
    yes: options.Yes = False,
    no_cache: options.NoCache = False,
    concurrency: options.Concurrency = None,
    max_cost: options.MaxCost = None,
    max_calls: options.MaxCalls = None,
    max_tokens: options.MaxTokens = None,
    json: options.Json = False,
    merge_driver: MergeDriver = None,
) -> None:
    """Tune the prompts of chains for a model: few-shot examples, instructions, formats.

    What is better on held-out rows of the chain's dataset goes into chains/NAME.lock.yaml, which `chain run` uses; else
    the prompts stay as they are. The chain file is not changed. Interrupted, it goes on where it was when it is run
    again: all answers are in the response cache. Tools that are marked `confirm` are called only with --yes.

    Examples:

      chain compile support

      chain compile support --model local/smollm2 --model openai/gpt-5-mini --max-cost 1

      chain compile --check
    """
    from promptchain.cli import compile_jobs
    from promptchain.cli.consent import Consent
    from promptchain.errors import UsageError
    from promptchain.project import Ceilings, Project

    if merge_driver is not None:
        from promptchain.cli.lock_git import merge_driver as merge

        raise typer.Exit(merge(*merge_driver))
    project = Project.find()
    if check:
        _check(project, names or [], model or [], json=json)
        return
    if everything and (names or model):
        raise UsageError("--all takes no names and no models", hint="leave out --all, or the others")
    given = {
        "optimizer": optimizer, "steps": step or None, "calls": calls, "seed": seed,
        "proposer": proposer, "teacher": teacher,
    }  # fmt: skip
    asked = compile_jobs.Options(
        names=tuple(names or ()),
        models=tuple(model or ()),
        given={name: value for name, value in given.items() if value is not None},
        everything=everything,
        force=force,
        ceilings=Ceilings(max_cost, max_calls, max_tokens),
        at_once=concurrency or project.settings.concurrency,
        cached=not no_cache,
        consent=Consent(yes=yes),
    )
    _compile(project, asked, dry_run=dry_run, json=json)


def _compile(project: Project, asked: Options, *, dry_run: bool, json: bool) -> None:
    """Do it, or say what would be done, and print what came of it."""
    from promptchain.cli import compile_jobs, compile_view

    with compile_jobs.models(project, cache=asked.cached) as lm:
        work = compile_jobs.prepare(project, lm, asked)
        compile_view.nothing_to_do(work.fresh, nothing=not work.jobs and not work.fresh)
        if dry_run:
            estimates = compile_jobs.estimates(project, lm, work, asked)
            print_json([one.to_json() for one in estimates]) if json else compile_view.estimates(estimates)
            return
        with asked.consent:
            done = [*compile_jobs.run(project, lm, work, asked, quiet=json)]
    if json:
        print_json([compile_view.as_json(one) for one in done])
    else:
        compile_view.summary(done)


def _check(project: Project, names: list[str], models: list[str], *, json: bool) -> None:
    from promptchain.cli import compile_view
    from promptchain.freshness import freshness

    found: list[Freshness] = []
    missing: list[str] = []
    for name in names or [name for name in project.names() if project.lock_path(name).is_file()]:
        own = freshness(project, name, models)
        found += own
        if names and not own:
            missing.append(name)
    if json:
        data: dict[str, Any] = {"fresh": not missing and all(one.fresh for one in found)}
        print_json(data | {"locked": [one.to_json() for one in found], "not_compiled": missing})
    else:
        compile_view.freshness(found, missing)
    if missing or not all(one.fresh for one in found):
        raise typer.Exit(STALE)

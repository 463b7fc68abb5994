"""`chain ci compile`: compile, commit the locks, push them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from promptchain.cli import ci_report, compile_jobs, compile_view
from promptchain.cli.output import note, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from promptchain.ci.checkout import Checkout
    from promptchain.ci.github import Job
    from promptchain.errors import PromptChainError
    from promptchain.project import Ceilings, Project


@dataclass(frozen=True)
class Options:
    """What was asked for. branch: in place of the one that the job is for. quiet: nothing but data on stdout."""

    names: tuple[str, ...]
    branch: str | None
    push: bool
    force: bool
    yes: bool
    cached: bool
    concurrency: int | None
    ceilings: Ceilings
    quiet: bool


def run(project: Project, asked: Options) -> tuple[dict[str, Any], PromptChainError | None]:
    """What was compiled, and the commit; and what kept the rest from being compiled, such as a ceiling. What keeps it
    from being pushed is found before anything is spent, so far as it can be. Raises UsageError, PromptChainError."""
    from promptchain.ci import github
    from promptchain.ci.checkout import Checkout

    job = github.job(os.environ)
    with project.history() as history:
        checkout = Checkout(history.repo, project.root)
        branch = _branch(checkout, asked, job)
        with ci_report.guarded(job, quiet=asked.quiet):
            results, error = _compiled(project, asked)
        names = list(dict.fromkeys(result.done.job.chain.name for result in results))
        files = [project.lock_path(name).relative_to(project.root).as_posix() for name in names]
        commit = checkout.commit_locks(files, _message(results)) if files else None
        if commit is not None and branch is not None:
            remote = checkout.push(branch, files)
            commit = checkout.head
            note(f"pushed to {remote}, branch {branch}")
    told = f"committed {', '.join(files)}: {commit[:12]}" if commit else "nothing to commit: every lock is as it was"
    if not asked.quiet:
        say(told)
    ci_report.compiled(job, results, told, commit)
    data = {
        "commit": commit,
        "branch": branch if commit else None,
        "files": files if commit else [],
        "compiled": [compile_view.as_json(result) for result in results],
    }
    return data, error


def _branch(checkout: Checkout, asked: Options, job: Job) -> str | None:
    """Where to push; None where not to. Raises UsageError, PromptChainError for what cannot be pushed."""
    from promptchain.errors import PromptChainError, StoreError, UsageError

    try:
        head = checkout.head
        own = checkout.git("symbolic-ref", "--quiet", "--short", "HEAD").strip() if head else ""
    except StoreError:
        own = ""  # a detached HEAD
    if head is None:
        raise UsageError("there is no commit here to put a lock on", hint="git init, git add, git commit; then again")
    if not asked.push:
        return None
    if job.pull is not None and job.pull.fork:
        raise UsageError("the branch of a fork is not ours to push to", hint="compile in the fork: chain compile NAME")
    branch = asked.branch or job.branch or own
    if not branch:
        raise UsageError("HEAD is on no branch", hint="name the one to push to: --branch NAME; or --no-push")
    checkout.git("check-ref-format", "--branch", branch)
    tip = checkout.tip(branch)
    if tip is not None and tip != head and not checkout.same_sources(head, tip):
        message = f"what is checked out is not what {branch} has now"
        hint = f"check the branch itself out: actions/checkout with `ref: {branch}`"
        raise PromptChainError(message, hint=hint)
    return branch


def _compiled(project: Project, asked: Options) -> tuple[list[compile_jobs.Result], PromptChainError | None]:
    """What was compiled, and what kept the rest from it. Raises what keeps all of it."""
    from promptchain.cli.consent import Consent
    from promptchain.errors import PromptChainError

    done: list[compile_jobs.Result] = []
    options = compile_jobs.Options(
        names=asked.names,
        models=(),
        given={},
        everything=not asked.names,
        force=asked.force,
        ceilings=asked.ceilings,
        at_once=asked.concurrency or project.settings.concurrency,
        cached=asked.cached,
        consent=Consent(yes=asked.yes),
    )
    with compile_jobs.models(project, cache=asked.cached) as lm, options.consent:
        work = compile_jobs.prepare(project, lm, options)
        compile_view.nothing_to_do(work.fresh, nothing=not work.jobs and not work.fresh)
        try:
            for result in compile_jobs.run(project, lm, work, options, quiet=asked.quiet):
                done.append(result)
        except PromptChainError as exc:
            if not done:
                raise
            return done, exc  # what is paid for is committed all the same
    return done, None


def _message(results: Sequence[compile_jobs.Result]) -> str:
    """The commit's: what each compile brought."""
    from promptchain.diff_lock import figures

    names = list(dict.fromkeys(result.done.job.chain.name for result in results))
    lines = []
    for result in results:
        entry, job = result.done.entry, result.done.job
        came = figures(entry) if entry.steps else f"kept the seed prompts: {entry.kept}"
        lines.append(f"{job.chain.name} on {job.model}: {came}")
    return f"Compile {', '.join(names)}"[:72] + "\n\n" + "\n".join(lines) + "\n"

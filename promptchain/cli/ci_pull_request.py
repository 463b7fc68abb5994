"""`chain ci pull-request`: all checks, whatever comes of the first ones, and then one report of them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from promptchain.cli import check, ci_report, test_jobs
from promptchain.cli.output import note, plural

if TYPE_CHECKING:
    from promptchain.chain import Chain
    from promptchain.ci.checkout import Base, Checkout
    from promptchain.ci.findings import ChainFindings, Findings
    from promptchain.ci.github import Job
    from promptchain.errors import PromptChainError
    from promptchain.lm.budget import Budget
    from promptchain.lm.protocol import LM
    from promptchain.project import Ceilings, Project
    from promptchain.testing import Verdict


@dataclass(frozen=True)
class Options:
    """What was asked for. base: a revision in place of the pull request's. quiet: nothing but data on stdout."""

    names: tuple[str, ...]
    base: str | None
    models: tuple[str, ...]
    words: tuple[str, ...]
    test: bool
    comment: bool
    name: str
    output: Path | None
    max_errors: int
    yes: bool
    cached: bool
    concurrency: int | None
    ceilings: Ceilings
    quiet: bool


def run(project: Project, asked: Options) -> tuple[int, dict[str, Any]]:
    """The exit code, and all that was found as data. Raises UsageError for what is wrong with the command itself."""
    from promptchain.ci import github
    from promptchain.errors import UsageError
    from promptchain.models import is_of_step

    if len([word for word in asked.models if not is_of_step(word)]) > 1:
        raise UsageError("a pull request is judged on one model", hint="chain test compares several")
    ci_report.check_files(asked.output)
    job = github.job(os.environ)
    with ci_report.guarded(job, quiet=asked.quiet):
        found = _findings(project, asked, job)
    address = ci_report.publish(project, found, asked, job)
    return found.exit_code, ci_report.data(found, address)


def _findings(project: Project, asked: Options, job: Job) -> Findings:
    from promptchain.ci.checkout import Checkout
    from promptchain.ci.findings import Findings
    from promptchain.errors import PromptChainError

    notes = list(job.warnings)
    base: Base | None = None
    error: PromptChainError | None = None
    with project.history() as history:
        checkout = Checkout(history.repo, project.root)
        try:
            base, told = _base(checkout, asked.base, job)
            notes += [told] if told else []
        except PromptChainError as exc:
            if asked.base is not None or (exc.exit_code == 2 and not job.actions):
                raise  # before anything is spent: who named it can name another
            error = exc  # the checks that need no base are made all the same
        notes += checkout.warnings
        chains, removed = _looked_at(project, asked, checkout, base)
        notes += [f"the chain '{name}' is removed" for name in removed]
    if asked.test:
        chains = _tested(project, asked, chains, base)
    else:
        chains = [replace(chain, skipped=True) for chain in chains]
    return Findings(
        chains=tuple(chains),
        base=base,
        error=error,
        notes=tuple(dict.fromkeys(notes)),
        removed=removed,
        fork=job.pull is not None and job.pull.fork,
        run_url=job.run_url,
    )


def _base(checkout: Checkout, asked: str | None, job: Job) -> tuple[Base | None, str | None]:
    """What to compare with; None, and why, where there is nothing. Raises UsageError, PromptChainError."""
    from promptchain.errors import PromptChainError, StoreError, UsageError

    try:
        checkout.git("rev-parse", "--is-inside-work-tree")
    except StoreError as exc:
        if "not a git repository" not in exc.message:
            raise  # one that belongs to somebody else, say, and git will not work in
        if asked is not None or job.pull is not None:
            message = "this is no work tree of git, so nothing can be compared"
            raise PromptChainError(message, hint="check it out first: actions/checkout") from None
        return None, "this is no work tree of git, so there is nothing to compare with"
    if checkout.head is None:
        return None, "the repository has no commits yet, so there is nothing to compare with"
    if asked is not None:
        return checkout.base_of_ref(asked), None
    if (pull := job.pull) is not None:
        return checkout.base_of_pull(pull.base, pull.base_ref, pull.head), None
    if job.before is not None:
        return checkout.base_of_ref(job.before), None
    if job.actions:
        return None, "this job is for no pull request, so there is nothing to compare with; --base names a revision"
    hint = "for example --base origin/main; in GitHub Actions the event of the pull request says it"
    raise UsageError("nothing says what to compare with", hint=hint)


# --- files, locks and what changed ------------------------------------------------------------------------------------


def _looked_at(
    project: Project, asked: Options, checkout: Checkout, base: Base | None
) -> tuple[list[ChainFindings], tuple[str, ...]]:
    """Each chain, checked, its lock looked at, and compared with the base, but not tested; and the names of those that
    only the base has. Raises UsageError where there is no chain of a name, or none at all and none before."""
    from promptchain.errors import UsageError

    if asked.names:
        files = {project.path(name): name for name in asked.names}
    else:
        files = check.all_files(project)
    there = checkout.chains_at(base) if base else set()
    if not files and not there:
        raise UsageError(f"there are no chains in {project.folder}", hint="write one: chains/NAME.yaml")
    renamed = checkout.renamed(base) if base else {}
    found = []
    for path, reference in files.items():
        result = check.check_one(project, path, reference)
        was = path.stem if path.stem in there else renamed.get(path.stem)
        found.append(_one(project, checkout, base, result, was))
    here = {path.stem for path in files} | set(renamed.values())
    return found, () if asked.names else tuple(sorted(there - here))


def _one(
    project: Project, checkout: Checkout, base: Base | None, result: Mapping[str, Any], was: str | None
) -> ChainFindings:
    from promptchain.ci.findings import ChainFindings
    from promptchain.errors import PromptChainError
    from promptchain.freshness import freshness

    name: str = result["chain"]
    found = ChainFindings(
        name, result["file"], new=base is not None and was is None, was=was if was != name else None,
        problems=result["found"],
    )  # fmt: skip
    if found.problems:
        return found
    try:
        found = replace(found, locked=tuple(freshness(project, name)))
        if base is not None and was is not None:
            found = _compared(project, checkout, base, found, was)
    except PromptChainError as exc:
        return replace(found, error=exc)
    return found


def _compared(project: Project, checkout: Checkout, base: Base, found: ChainFindings, was: str) -> ChainFindings:
    """What changed in the prompts since the base, and in which line."""
    from promptchain import diff, diff_lock, document
    from promptchain.ci.annotate import place_of
    from promptchain.cli import ci_prompts
    from promptchain.errors import PromptChainError

    reference = f"{was}@git:{base.commit}"
    chain, lock = project.load(found.name), project.lock(found.name)
    try:
        before, lock_before = project.load(reference), project.lock(reference)
    except PromptChainError as exc:
        return replace(found, uncompared=f"{base.name} has a '{was}' that cannot be read: {exc.message}")
    difference = diff.compare(before, chain)
    compiled = diff_lock.compare(lock_before, lock, (before, chain))
    found = replace(
        found,
        tested=ci_prompts.test_changes(checkout, base, (before, chain), difference),
        untested=before.test is not None and chain.test is None,
    )
    if not difference and not compiled:
        return found
    shown = document.read(project.root / found.file, found.file)
    lines = checkout.changed_lines(base, [found.file, *_files(chain)])
    return replace(
        found,
        changed="; ".join(filter(None, (difference.summary, compiled.summary))),
        difference=ci_prompts.lines(difference, compiled),
        where=place_of(chain, difference, shown, lines),
    )


def _files(chain: Chain) -> Iterator[str]:
    """Those that prompts are in."""
    from promptchain.chain import PromptStep

    for step in chain.steps.values():
        if isinstance(step, PromptStep):
            yield from (text.file for text in (step.instructions, step.prompt) if text.file is not None)


# --- tests ------------------------------------------------------------------------------------------------------------


@dataclass
class _Planned:
    """A chain with what is to be tested of it; None where it cannot be, or has no test."""

    found: ChainFindings
    job: test_jobs.Job | None = None


def _tested(
    project: Project, asked: Options, chains: Sequence[ChainFindings], base: Base | None
) -> list[ChainFindings]:
    """The chains, each tested by itself: what keeps one from it keeps no other."""
    from promptchain.cli.consent import Consent
    from promptchain.errors import PromptChainError

    consent = Consent(yes=asked.yes)
    options = test_jobs.Options(
        models=asked.models,
        files=(),
        words=asked.words,
        repeat=None,
        compare=None,
        max_errors=asked.max_errors,
        at_once=asked.concurrency or project.settings.concurrency,
        cached=asked.cached,
        consent=consent,
    )
    lm = project.lm(cache=asked.cached)
    with closing(lm), consent:
        planned = [_plan(project, lm, found, options, base) for found in chains]
        budget = _budget(project, lm, planned, asked)
        for one in planned:
            if one.job is None or budget is None:
                continue
            try:
                verdict = _run(project, lm, budget, one.job, options, asked)
                one.found = replace(one.found, verdict=verdict)
            except PromptChainError as exc:
                one.found = replace(one.found, error=exc)
    return [one.found for one in planned]


def _budget(project: Project, lm: LM, planned: Sequence[_Planned], asked: Options) -> Budget | None:
    """The ceilings over all tests. A chain for which they cannot be held, as a model has no price, is not tested."""
    from promptchain.errors import PromptChainError

    budget = None
    for one in planned:
        if one.job is None:
            continue
        try:
            budget = test_jobs.caller_for(project, lm, [one.job], asked.ceilings, asked.concurrency).budget
        except PromptChainError as exc:
            one.found, one.job = replace(one.found, error=exc), None
    return budget


def _plan(project: Project, lm: LM, found: ChainFindings, options: test_jobs.Options, base: Base | None) -> _Planned:
    from promptchain import testing
    from promptchain.errors import PromptChainError

    if found.problems or found.error is not None:
        return _Planned(found)
    try:
        chain = project.load(found.name)
        if chain.test is None:
            return _Planned(found)
        if base is None or found.new or found.uncompared:
            return _Planned(found, test_jobs.job_for(project, lm, found.name, options))
        compare = f"{found.was or found.name}@git:{base.commit}"
        try:
            job = test_jobs.job_for(project, lm, found.name, replace(options, compare=compare))
            for case in job.before:
                testing.check_suited(case, job.cases[0].chain, job.data)
        except PromptChainError as exc:
            job = test_jobs.job_for(project, lm, found.name, options)  # tells what is wrong with this side
            return _Planned(
                replace(found, uncompared=f"{base.name} cannot be tested on these rows: {exc.message}"), job
            )
        before = tuple(replace(case, name=base.name) for case in job.before)
        return _Planned(found, replace(job, before=before))
    except PromptChainError as exc:
        return _Planned(replace(found, error=exc))


def _run(
    project: Project, lm: LM, budget: Budget, job: test_jobs.Job, options: test_jobs.Options, asked: Options
) -> Verdict:
    from promptchain.lm.calls import Caller

    other = f", also on {job.before[0].name}" if job.before else ""
    note(f"{job.cases[0].chain.name}: {plural(job.data.count, 'example')}{other}")
    caller = Caller(lm, concurrency=asked.concurrency or project.settings.concurrency, budget=budget)
    verdicts = test_jobs.run_jobs(project, lm, caller, [job], options)
    return verdicts[0]

"""What `chain compile` has to do: a job for each chain and model, made before anything is spent."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from promptchain.cli.output import note, plural, warn

if TYPE_CHECKING:
    from promptchain.cli.consent import Consent
    from promptchain.compiling import Done, Job
    from promptchain.estimate import Estimate
    from promptchain.lm.budget import Budget
    from promptchain.lm.protocol import LM
    from promptchain.project import Ceilings, Project
    from promptchain.records import StepVariant


@dataclass(frozen=True)
class Options:
    """What was asked for. given: settings that stand above those of the chain files. cached: answers are kept."""

    names: tuple[str, ...]
    models: tuple[str, ...]
    given: Mapping[str, Any]
    everything: bool
    force: bool
    ceilings: Ceilings
    at_once: int
    consent: Consent
    cached: bool = True


@dataclass(frozen=True)
class Work:
    """jobs: to be done. fresh: those that need not be."""

    jobs: tuple[Job, ...]
    fresh: tuple[Job, ...]


@dataclass(frozen=True)
class Result:
    """A job that was done. version: its name in the store; None where it could not be kept. seconds: it took. calls:
    that were made for it, other than those that the cache answered."""

    done: Done
    version: str | None
    seconds: float
    calls: int


_LOST = "the answers were not kept; without --no-cache they are"


@contextmanager
def models(project: Project, *, cache: bool) -> Iterator[LM]:
    """The models, with the response cache; without it with one of this command's own: nothing is asked twice."""
    from promptchain.lm.cache import CachedLM

    if cache:
        lm = project.lm(cache=True)
        try:
            yield lm
        finally:
            lm.close()
        return
    with TemporaryDirectory(prefix="promptchain-") as folder:
        lm = CachedLM(project.lm(), Path(folder) / "responses.db")
        try:
            yield lm
        finally:
            lm.close()


def prepare(project: Project, lm: LM, asked: Options) -> Work:
    """All jobs. Raises UsageError, InvalidFileError, PromptChainError for what is wrong with any of them."""
    from promptchain import compiling

    jobs: list[Job] = []
    fresh: list[Job] = []
    warnings: dict[str, None] = {}  # those of a chain once, for however many models it is compiled
    for name, words in _wanted(project, asked):
        job = compiling.job(project, lm, name, words, asked.given, approve=asked.consent)
        warnings |= dict.fromkeys(job.data.warnings)
        (fresh if not asked.force and compiling.is_fresh(job, lm) else jobs).append(job)
    for warning in warnings:
        warn(warning)
    return Work(tuple(jobs), tuple(fresh))


def _wanted(project: Project, asked: Options) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The chains, each with the words that name its models."""
    from promptchain.errors import UsageError
    from promptchain.models import is_of_step

    if asked.everything:
        for name in project.names():
            for model in project.lock(name).models:
                yield name, (model,)
        return
    if not asked.names:
        hint = "chain compile NAME; --all for every lock that is stale, --check to look at them"
        raise UsageError("which chain?", hint=hint)
    steps = tuple(word for word in asked.models if is_of_step(word))
    columns = [word for word in asked.models if not is_of_step(word)]
    for name in dict.fromkeys(asked.names):
        for column in dict.fromkeys(columns) or [None]:
            yield name, (*steps, *([column] if column else []))


def estimates(project: Project, lm: LM, work: Work, asked: Options) -> list[Estimate]:
    """What each of the jobs takes at most. Raises what `run` would raise before anything is spent."""
    from promptchain.estimate import estimate

    for job in work.jobs:
        _budget(project, lm, job, asked.ceilings)
    most = _most_calls(project, work, asked.ceilings)
    return [estimate(project, lm, job, most) for job in work.jobs]


def _budget(project: Project, lm: LM, job: Job, ceilings: Ceilings) -> Budget:
    """Raises UsageError where a ceiling on cost cannot be held."""
    return project.budget(lm, job.bound, ceilings, job.helpers)


def _most_calls(project: Project, work: Work, ceilings: Ceilings) -> int | None:
    """What a ceiling leaves for each job: the same share whatever the cache has, so that the same is done again."""
    most = project.settings.max_calls if ceilings.calls is None else ceilings.calls
    return None if most is None else most // max(1, len(work.jobs))


def run(project: Project, lm: LM, work: Work, asked: Options, *, quiet: bool) -> Iterator[Result]:
    """Do the jobs, one after the other; each is written before the next begins, whatever becomes of that one."""
    from promptchain import compiling
    from promptchain.cli import compile_view

    if not work.jobs:
        return
    for job in work.jobs:
        compiling.check_writable(project, job)
    budget = [_budget(project, lm, job, asked.ceilings) for job in work.jobs][-1]  # of all, but each may have no price
    most = _most_calls(project, work, asked.ceilings)
    others: dict[str, dict[str, Mapping[str, StepVariant]]] = {}
    for job in work.jobs:
        result = _run_one(project, lm, job, asked, budget, most, others.setdefault(job.name, {}))
        if result.done.compiled.variants:
            others[job.name][f"compiled for {job.model}"] = result.done.compiled.variants
        if not quiet:
            compile_view.show(result)
        yield result


def _run_one(
    project: Project,
    lm: LM,
    job: Job,
    asked: Options,
    budget: Budget,
    most: int | None,
    others: Mapping[str, Mapping[str, StepVariant]],
) -> Result:
    from promptchain import compiling
    from promptchain.cli import compile_view, interrupt
    from promptchain.errors import BudgetError, PromptChainError
    from promptchain.records import now

    with suppress(PromptChainError):  # told when what was compiled is kept, or not
        compiling.keep_before(project, job)
    started, began, before = now(), time.perf_counter(), budget.spent.calls
    try:
        with compile_view.progress(job, budget) as watch:
            work = compiling.run(
                project, lm, job, budget, at_once=asked.at_once, most_calls=most, others=others, watch=watch
            )
            done = interrupt.run(work)
    except BudgetError as exc:
        kept = "what was answered is in the cache: with more room it goes on from there"
        exc.hint = f"{exc.hint}; {kept if asked.cached else _LOST}"
        raise
    except KeyboardInterrupt:
        kept = "the answers are in the cache: run the same again to go on"
        note(f"{plural(budget.spent.calls - before, 'call')} made; {kept if asked.cached else _LOST}")
        raise
    return _adopted(project, done, started, time.perf_counter() - began, budget.spent.calls - before)


def _adopted(project: Project, done: Done, started: str, seconds: float, calls: int) -> Result:
    """Write the lock first: a store that cannot be written costs the version, never the result."""
    from promptchain import compiling
    from promptchain.errors import PromptChainError

    compiling.write(project, done)
    version = None
    try:
        kept = compiling.keep(project, done)
        version = kept.name
        compiling.keep_course(project, done, kept, started=started, seconds=seconds)
    except PromptChainError as exc:
        warn(str(exc))
    return Result(done, version, seconds, calls)

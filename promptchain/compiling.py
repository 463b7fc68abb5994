"""Has chains of a project compiled: finds their data and models, and puts what comes of it into lock and store."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, get_args

from pydantic import ValidationError

from promptchain import compile as compiler
from promptchain import fingerprints, location, lock, testing
from promptchain.assertions.grader import model_of
from promptchain.assertions.protocol import AssertionFault
from promptchain.bench import Bench
from promptchain.binding import BoundPlan
from promptchain.chain import Chain
from promptchain.compile import Compiled, Setup
from promptchain.courses import course_of
from promptchain.criteria import JUDGED, Assertion, flattened
from promptchain.errors import InvalidFileError, PromptChainError, UsageError, Where, known_or_nearest
from promptchain.examples import Examples
from promptchain.lm.budget import Budget
from promptchain.lm.calls import Caller
from promptchain.lm.ledger import Ledger
from promptchain.lm.protocol import LM
from promptchain.lock import Entry, Lock, MadeFrom, Spent
from promptchain.optimizers.proposer import proposer
from promptchain.optimizers.split import Parts, check, split
from promptchain.project import Project
from promptchain.records import StepVariant
from promptchain.steps.workshop import Approve
from promptchain.tuning import Optimizer, Tuning, effective

if TYPE_CHECKING:
    from promptchain.store.versions import Version


@dataclass(frozen=True)
class Job:
    """A chain to be compiled for one model. chain: with the settings that hold for this compile. words: models, as for
    `Project.models`. model: the one under which the lock has it; default: that of the chain
    itself. before: what the lock has now."""

    name: str
    chain: Chain
    words: tuple[str, ...]
    model: str
    bound: BoundPlan = field(repr=False)
    data: Examples
    parts: Parts = field(repr=False)
    checks: tuple[Assertion, ...]
    choices: tuple[Assertion, ...]
    default: str | None
    lock: Lock = field(repr=False)
    sources: Mapping[str, str]

    @property
    def tuning(self) -> Tuning:
        return self.chain.compile

    @property
    def before(self) -> Entry | None:
        return self.lock.models.get(self.model)

    @property
    def proposer(self) -> str | None:
        """Without one that is named, the chain's own model, where it is a hosted one: a small local one has little to
        say about prompts."""
        name, able = next(iter(self.bound.prompts.values())).models[0]
        own = None if able.local or name.startswith("scripted/") else name
        return self.tuning.proposer or own

    @property
    def judges(self) -> tuple[str, ...]:
        """The models that assertions of the chain, or of a row, ask."""
        own = (assertion for example in self.data for assertion in example.assertions)
        asked = (a for a in flattened((*self.checks, *own)) if a.name in JUDGED)
        default = self.chain.test.judge if self.chain.test else None
        found = (_provider(assertion) or default for assertion in asked)
        return tuple(dict.fromkeys(model for model in found if model))

    @property
    def helpers(self) -> tuple[str, ...]:
        """Models that may be called beside those of the chain."""
        return tuple(model for model in (self.tuning.teacher, self.proposer, *self.judges) if model)

    @property
    def models(self) -> dict[str, str]:
        """By prompt step."""
        return {name: prompt.model for name, prompt in self.bound.prompts.items()}

    def planned(self, most: int | None) -> int | None:
        """The calls that may be planned for, of which a ceiling leaves `most`."""
        known = [calls for calls in (self.tuning.calls, most) if calls is not None]
        return min(known, default=None)


@dataclass(frozen=True)
class Watch:
    """Is told how far a compile is. doing: what is being done. trials: how many are done, and of how many, since the
    beginning."""

    doing: Callable[[str], None] = lambda _: None
    trials: Callable[[int, int], None] = lambda _done, _asked: None


@dataclass(frozen=True)
class Done:
    """A job that was done. spent: distinct calls, also those that the cache answered."""

    job: Job
    compiled: Compiled
    entry: Entry
    spent: Spent


def job(
    project: Project,
    lm: LM,
    name: str,
    models: Sequence[str],
    given: Mapping[str, Any],
    *,
    approve: Approve | None = None,
) -> Job:
    """All that can be wrong with a compile is found here, before anything is spent. models: one for the whole chain at
    most, and `STEP=MODEL`. given: settings that stand above those of the chain file. approve: see `Workshop`.

    Raises UsageError, InvalidFileError, PromptChainError."""
    if "@" in name and not project.folder.joinpath(name).is_file():
        hint = f"bring it back first: chain rollback {name.partition('@')[0]} {name.partition('@')[2]}"
        raise UsageError(f"'{name}' is a version; what is compiled is the chain in the work tree", hint=hint)
    chain, found = project.load(name), project.lock(name)
    if not testing.tested(chain).dataset:
        hint = "its rows are what is learned from: test: {dataset: rows.jsonl}"
        raise UsageError(f"the chain '{chain.name}' names no dataset", hint=hint)
    model = project.models(models).of_lock(chain)
    bound = project.bind(chain, lm, models, approve=approve)  # tells of a missing model
    if not bound.prompts or model is None:
        raise UsageError(
            f"the chain '{chain.name}' has no prompt step, so there is nothing to compile",
            hint=f"chain show {chain.name}",
        )
    entry = found.models.get(model)
    chain = chain.model_copy(update={"compile": settings(chain, entry, given)})
    for step in chain.compile.steps:
        if step not in bound.prompts:
            raise UsageError(f"there is no prompt step '{step}'", hint=known_or_nearest(step, bound.prompts, "steps"))
    for helper in (chain.compile.teacher, chain.compile.proposer):
        if helper:
            lm.capabilities(helper)  # tells of one that is not there
    checks, choices = testing.assertions(project, chain)
    data = testing.data(project, chain)
    if not checks and not any(example.assertions for example in data):
        hint = 'test: {assert: [{step: intent, type: equals, value: "{{ expected.intent }}"}]}'
        raise UsageError(f"the chain '{chain.name}' has no assertions, so nothing says what is better", hint=hint)
    parts = split(data, chain.compile)
    check(parts)
    return Job(
        name=name,
        chain=chain,
        words=tuple(models),
        model=model,
        bound=bound,
        data=data,
        parts=parts,
        checks=checks,
        choices=choices,
        default=project.models().of_lock(chain),
        lock=found,
        sources=project.sources(chain),
    )


def settings(chain: Chain, entry: Entry | None, given: Mapping[str, Any]) -> Tuning:
    """The settings of a compile: those given, over those of the chain file, over those that the lock was made with.

    Raises UsageError for what a flag cannot be, PromptChainError where somebody edited those of the lock."""
    try:
        return effective(chain.compile, entry.settings if entry else {}, given)
    except ValidationError as exc:
        name, said = _first(exc)
        if name not in given:
            where = Where(f"{location.CHAINS}/{chain.name}{lock.SUFFIX}")
            hint = "take the file back from git, or remove its `settings:` and compile again"
            message = f"the settings that it has cannot be used: '{name}': {said}"
            raise PromptChainError(message, hint=hint, where=where) from None
        if name == "optimizer":
            hint = known_or_nearest(str(given[name]), get_args(Optimizer), "optimizers")
            raise UsageError(f"unknown optimizer '{given[name]}'", hint=hint) from None
        raise UsageError(f"--{'step' if name == 'steps' else name}: {said}") from None


def _first(exc: ValidationError) -> tuple[str, str]:
    error = exc.errors(include_url=False)[0]
    return str(error["loc"][0]) if error["loc"] else "settings", error["msg"].lower()


def _made_from(work: Job, lm: LM) -> MadeFrom:
    checks = (*work.checks, *work.choices)
    found = fingerprints.made_from(work.chain, work.models, lm, data=work.data, checks=checks, sources=work.sources)
    return found.model_copy(update={"default": work.default})


async def run(
    project: Project,
    lm: LM,
    work: Job,
    budget: Budget,
    *,
    at_once: int = 16,
    most_calls: int | None = None,
    others: Mapping[str, Mapping[str, StepVariant]] | None = None,
    watch: Watch | None = None,
) -> Done:
    """Compile. budget: the ceilings of the whole command. others: what the same command found for other models, by a
    few words on where it is from. most_calls: that a ceiling leaves, so that no more are planned for.

    Raises PromptChainError, BudgetError, CancelledError; nothing is written."""
    watch = watch or Watch()
    ledger = Ledger(lm)
    caller = Caller(ledger, concurrency=at_once, budget=budget)
    grader = testing.grader(project, ledger, caller, testing.tested(work.chain))

    def bench(bound: BoundPlan) -> Bench:
        return Bench(bound, work.checks, caller, grader, at_once=at_once, watch=watch.trials)

    tuning = work.tuning
    words = [f"{step}={tuning.teacher}" for step in work.bound.prompts]  # also of those that name a model of their own
    approve = work.bound.workshop.approve
    teacher = project.bind(work.chain, ledger, words, approve=approve) if tuning.teacher else None
    compiled = await compiler.compile(
        Setup(
            bench=bench(work.bound),
            parts=work.parts,
            tuning=tuning,
            calls=work.planned(most_calls),
            ledger=ledger,
            teacher=bench(teacher) if teacher else None,
            ask=proposer(asked, ledger, caller, timeout=project.settings.timeout) if (asked := work.proposer) else None,
            earlier={**_earlier(work), **(others or {})},
            standing=_standing(work, lm),
            watch=watch.doing,
        )
    )
    total = ledger.total
    spent = Spent(calls=total.calls, tokens=total.tokens, cost=total.cost)
    return Done(work, compiled, _entry(work, lm, compiled, spent), spent)


def is_fresh(work: Job, lm: LM) -> bool:
    """Whether the lock has what this job would make."""
    if work.before is None or work.before.settings != _recorded(work):
        return False
    now = _made_from(work, lm)
    return not fingerprints.stale(work.before, now)


def _recorded(work: Job) -> dict[str, Any]:
    """The settings as a lock has them."""
    return work.tuning.model_dump(mode="json", exclude_defaults=True)


def _provider(assertion: Assertion) -> str | None:
    """None also where it names no model: that it is told when it is asked."""
    try:
        return model_of(assertion.options.get("provider"))
    except AssertionFault:
        return None


def _earlier(work: Job) -> dict[str, Mapping[str, StepVariant]]:
    """What the lock has: of the compile before, then of those for other models."""
    found = {"the compile before": work.before.steps} if work.before and work.before.steps else {}
    others = {f"compiled for {model}": entry.steps for model, entry in work.lock.models.items() if model != work.model}
    return {**found, **{source: steps for source, steps in others.items() if steps}}


def _standing(work: Job, lm: LM) -> dict[str, StepVariant]:
    """What the lock has for this model, without the steps that are others now: the file's new words stand for those."""
    if work.before is None or not work.before.steps:
        return {}
    before, now = work.before.made_from, _made_from(work, lm)
    same = {name for name in before.steps if before.steps[name] == now.steps.get(name)}
    same &= {name for name in before.models if before.models[name] == now.models.get(name)}
    return {name: variant for name, variant in work.before.steps.items() if name in same}


def _parent(work: Job, compiled: Compiled) -> str | None:
    """The fingerprint of the prompts that these took the place of."""
    if work.before is None or not work.before.steps:
        return None
    return work.before.parent if dict(compiled.variants) == work.before.steps else work.before.fingerprint()


def _entry(work: Job, lm: LM, compiled: Compiled, spent: Spent) -> Entry:
    return Entry(
        kept=compiled.kept,
        steps=dict(compiled.variants),
        dev=compiled.dev,
        test=compiled.test,
        by_step=dict(compiled.by_step),
        spent=spent,
        settings=_recorded(work),
        parent=_parent(work, compiled),
        made_from=_made_from(work, lm),
    )


def check_writable(project: Project, work: Job) -> None:
    """Raises PromptChainError where no lock can be written beside the chain: that is told before anything is spent."""
    if not os.access(folder := project.path(work.name).parent, os.W_OK):
        where = Where(f"{project.folder.name}/{work.chain.name}{lock.SUFFIX}")
        message = "cannot be written: the folder is read-only, or another's"
        raise PromptChainError(message, where=where, hint=f"mend that first: ls -ld {folder}")


def write(project: Project, done: Done) -> None:
    """Put the entry into the lock. Raises InvalidFileError, PromptChainError."""
    try:
        project.adopt(done.job.name, done.job.model, done.entry)
    except InvalidFileError:
        raise
    except PromptChainError as exc:  # a full disk, say
        again = "mend that and run the same again: what was answered is in the cache"
        where = Where(f"{project.folder.name}/{done.job.chain.name}{lock.SUFFIX}")
        raise PromptChainError(exc.message, hint=f"{exc.hint}; {again}" if exc.hint else again, where=where) from exc


def keep_before(project: Project, work: Job) -> None:
    """Have what is about to be compiled as a version, where none has it: what compiling changed is then told apart from
    what was edited. Raises PromptChainError."""
    project.keep(work.name, project.load(work.name))


def keep_course(project: Project, done: Done, version: Version, *, started: str, seconds: float) -> None:
    """Have beside the version how the compile came to it, for reports. started: UTC, ISO 8601. Raises StoreError."""
    record = course_of(done.job.chain.name, done.job.model, done.compiled, done.spent, version)
    record = record.model_copy(update={"started": started, "seconds": round(seconds, 3)})
    with project.history() as history:
        history.evaluations.write_compile(record.chain, record.content, record.id, record.to_json())


def keep(project: Project, done: Done) -> Version:
    """Have the chain with its lock as a version in the store, with what it cost. Raises PromptChainError."""
    name, cost = done.job.name, done.spent.cost
    spent = f"{done.spent.calls} calls" + (f", ${cost:.4f}" if cost else "" if cost == 0 else ", $?")
    return project.keep(name, project.load(name), f"compile for {done.job.model} ({spent})")[0]

"""Has chains of a project tested: finds their data, their models and their judges, and keeps what came of it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from promptchain import comparison, document, evaluate, examples, gates, inputs, selection
from promptchain.assertions.protocol import AssertionFault
from promptchain.assertions.registry import check_value
from promptchain.binding import BoundPlan
from promptchain.chain import Chain
from promptchain.comparison import Comparison
from promptchain.criteria import Assertion, Gate, Test, flattened
from promptchain.errors import BudgetError, PromptChainError, UsageError, Where
from promptchain.evaluate import OnRun, Progress, Watch
from promptchain.evaluations import record_of
from promptchain.examples import Example, Examples
from promptchain.gates import Miss
from promptchain.lm.budget import Spent
from promptchain.lm.calls import Caller
from promptchain.lm.protocol import LM
from promptchain.project import Project
from promptchain.records import now
from promptchain.results import ExampleResult
from promptchain.summary import Summary, summarise

if TYPE_CHECKING:
    from promptchain.assertions.grader import Grader, JudgeSpent


@dataclass(frozen=True)
class Case:
    """A chain to be tested on one choice of models. name: as a table heads it. reference: as it was asked for."""

    name: str
    reference: str
    chain: Chain
    bound: BoundPlan


@dataclass(frozen=True)
class Evaluation:
    """What testing a case came to. stopped: why it ended early. hint: what to do about that. judges: what the
    assertions' own calls took.

    started: UTC, ISO 8601. version: the name of the version in the store, where it could be kept. content: its content
    id.
    """

    case: Case
    data: Examples
    results: tuple[ExampleResult, ...] = field(repr=False)
    summary: Summary
    stopped: str | None
    judges: JudgeSpent
    spent: Spent
    seconds: float
    started: str = ""
    repeat: int = 1
    hint: str | None = None
    version: str | None = None
    content: str | None = None

    @property
    def models(self) -> dict[str, str]:
        """The model of each step."""
        return {name: prompt.model for name, prompt in self.case.bound.prompts.items()}


@dataclass(frozen=True)
class Verdict:
    """Whether a chain passed: `misses` of its gate decide, and where it has none, whether any example failed. before:
    the evaluation that this one was compared with."""

    evaluation: Evaluation
    comparison: Comparison | None
    misses: tuple[Miss, ...]
    gated: bool
    before: Evaluation | None = None

    @property
    def passed(self) -> bool:
        if self.misses or self.evaluation.stopped:
            return False
        return self.gated or not self.evaluation.summary.failed


def tested(chain: Chain) -> Test:
    """How a chain is tested. Raises UsageError where nothing says so."""
    if chain.test is None:
        hint = "for example test: {dataset: rows.jsonl, assert: [{type: contains, value: card}]}"
        raise UsageError(f"the chain '{chain.name}' has no `test:`", hint=hint)
    return chain.test


def data(project: Project, chain: Chain, words: Iterable[str] = (), files: Sequence[Path] = ()) -> Examples:
    """The examples of a chain, all read and checked. files: in place of those that the chain names. words: see
    `examples.survey`. Raises UsageError, InvalidFileError, PromptChainError."""
    found = list(files) or dataset_files(project, chain)

    def shown(path: Path) -> str:
        try:
            return path.resolve().relative_to(project.root.resolve()).as_posix()
        except ValueError:
            return str(path)

    return examples.survey(chain, found, shown, words)


def dataset_files(project: Project, chain: Chain) -> list[Path]:
    """The files of a chain's `test: {dataset: …}`, whose patterns count from the chain's folder. Raises UsageError."""
    named = tested(chain).dataset
    if not named:
        hint = "test: {dataset: rows.jsonl}; or give it with --dataset"
        raise UsageError(f"the chain '{chain.name}' names no dataset", hint=hint)
    found: dict[Path, None] = {}
    for pattern in [named] if isinstance(named, str) else named:
        matches = _matching(project.folder, pattern)
        if not matches:
            where = Where(f"{project.folder.name}/{chain.name}.yaml")
            raise UsageError(f"no file '{pattern}' beside the chain", where=where, hint="make it, or name another")
        found |= dict.fromkeys(matches)
    return list(found)


def _matching(folder: Path, pattern: str) -> list[Path]:
    if not any(sign in pattern for sign in "*?["):
        return [folder / pattern] if (folder / pattern).is_file() else []
    try:
        return sorted(path for path in folder.glob(pattern) if path.is_file())
    except (ValueError, NotImplementedError):  # an absolute pattern
        return []


def assertions(project: Project, chain: Chain) -> tuple[tuple[Assertion, ...], tuple[Assertion, ...]]:
    """The chain's assertions, those of steps and of the whole, with the files that they name read in; and apart those
    that choose among the outputs of several models. Raises PromptChainError.
    """
    own = tuple(
        assertion.model_copy(update={"step": name}) for name, step in chain.steps.items() for assertion in step.assert_
    )
    found = [_with_file(assertion, project) for assertion in own + (chain.test.assert_ if chain.test else ())]
    for part in flattened(found):
        _check_value(part, Where(f"{project.folder.name}/{chain.name}.yaml"))
    choices = tuple(assertion for assertion in found if assertion.name == selection.NAME)
    return tuple(assertion for assertion in found if assertion.name != selection.NAME), choices


def _check_value(assertion: Assertion, where: Where) -> None:
    """Raises PromptChainError for a value that no output could be held against."""
    try:
        check_value(assertion.name, assertion.value)
    except AssertionFault as exc:
        place = f" on {assertion.step or assertion.output}" if assertion.step or assertion.output else ""
        message = f"assertion '{assertion.type}'{place}: {exc.message}"
        raise PromptChainError(message, hint=exc.hint, where=where) from None


def _with_file(assertion: Assertion, project: Project) -> Assertion:
    parts = tuple(_with_file(part, project) for part in assertion.assert_)
    if parts:
        assertion = assertion.model_copy(update={"assert_": parts})
    value = assertion.value
    if not isinstance(value, str) or not value.startswith("file://"):
        return assertion
    name = value.removeprefix("file://").removeprefix("./")
    path = project.folder / name
    if not path.resolve().is_relative_to(project.root.resolve()):
        raise UsageError(f"the file '{name}' of the assertion '{assertion.type}' lies outside the project")
    if path.suffix in (".json", ".yaml", ".yml"):
        return assertion.model_copy(update={"value": document.read(path, f"{project.folder.name}/{name}").value})
    text = document.read_text(path, f"{project.folder.name}/{name}")
    return assertion.model_copy(update={"value": text})


def suited(case: Case, found: Iterable[Example]) -> Iterator[Example]:
    """The examples with the inputs that a case's chain takes, which may be another version; one after the other, since
    a dataset may be larger than the memory. Raises UsageError where one does not fit."""
    declared = case.chain.input_type.fields()
    for example in found:
        given = {name: value for name, value in example.inputs.items() if name in declared}
        try:
            yield replace(example, inputs=inputs.check(case.chain, given))
        except PromptChainError as exc:
            raise UsageError(f"{case.name} takes other inputs: {exc.message}", where=example.where) from None


def check_suited(case: Case, chain: Chain, found: Iterable[Example]) -> None:
    """That a case's chain takes the examples of `chain`, another version of it. Raises UsageError."""
    if case.chain.input_type.schema != chain.input_type.schema:
        for _ in suited(case, found):
            pass


async def evaluate_case(
    project: Project,
    case: Case,
    found: Iterable[Example],
    data: Examples,
    checks: tuple[Assertion, ...],
    lm: LM,
    caller: Caller,
    progress: Progress,
    *,
    setting: Test,
    repeat: int = 1,
    at_once: int = 16,
    max_errors: int = 10,
    watch: Watch | None = None,
    on_run: OnRun | None = None,
) -> Evaluation:
    """Test one case on the examples `found`, which are those of `data`, or suited to another version.

    Raises PromptChainError, CancelledError; `progress` then has what was done.
    """
    own_grader = grader(project, lm, caller, setting)
    started, began, before = now(), time.perf_counter(), caller.spent
    done = await evaluate.evaluate(
        case.bound,
        checks,
        found,
        caller,
        own_grader,
        progress,
        repeat=repeat,
        at_once=at_once,
        max_errors=max_errors,
        watch=watch,
        on_run=on_run,
    )
    return Evaluation(
        case=case,
        data=data,
        results=tuple(done.results),
        summary=summarise(case.bound.plan, done.results),
        stopped=done.stopped,
        hint=done.hint,
        judges=own_grader.spent,
        spent=_less(caller.spent, before),
        seconds=time.perf_counter() - began,
        started=started,
        repeat=repeat,
    )


async def choose(
    project: Project,
    tested: Sequence[Evaluation],
    choices: Iterable[Assertion],
    lm: LM,
    caller: Caller,
    setting: Test,
) -> list[Evaluation]:
    """The evaluations of several models with what a judge chose among them; a ceiling that is reached stops them."""
    own_grader = grader(project, lm, caller, setting)
    columns: Sequence[Sequence[ExampleResult]] = [evaluation.results for evaluation in tested]
    stopped = hint = None
    try:
        for assertion in choices:
            columns = await selection.choose(columns, assertion, own_grader)
    except BudgetError as exc:
        stopped, hint = exc.message, exc.hint
    return [
        replace(
            evaluation,
            results=tuple(results),
            summary=summarise(evaluation.case.bound.plan, results),
            stopped=evaluation.stopped or stopped,
            hint=evaluation.hint or hint,
        )
        for evaluation, results in zip(tested, columns, strict=True)
    ]


def grader(project: Project, lm: LM, caller: Caller, setting: Test) -> Grader:
    """The judges and embedding models of a chain's test, on the models of `caller`."""
    from promptchain.assertions.grader import Grader

    return Grader(
        lm,
        caller,
        judge=setting.judge,
        embedder=setting.embedder,
        root=project.root,
        timeout=project.settings.timeout,
    )


def _less(now: Spent, before: Spent) -> Spent:
    return Spent(calls=now.calls - before.calls, tokens=now.tokens - before.tokens, cost=now.cost - before.cost)


def verdict(evaluation: Evaluation, gate: Gate, before: Evaluation | None) -> Verdict:
    """Hold an evaluation against the gate, and against another evaluation of the same examples."""
    compared, found = None, gates.unchecked(evaluation.results) + gates.misses(gate, evaluation.summary)
    if before is not None:
        compared = comparison.compare((before.case.name, evaluation.case.name), before.results, evaluation.results)
        # Whose steps have other names cannot be looked at by these assertions, which says nothing of the new ones.
        if not gates.unchecked(before.results):
            found += gates.regressions(compared, gate.margin)
    return Verdict(evaluation, compared, tuple(found), gated=bool(gate.min) or before is not None, before=before)


def keep(project: Project, verdict: Verdict, words: Sequence[str] = ()) -> None:
    """Have an evaluation in the store, so that a log can show it; one that says the same as one before is not written
    again. words: the filter. Does nothing where the version could not be kept. Raises StoreError."""
    evaluation = verdict.evaluation
    if evaluation.content is None or not evaluation.results:
        return
    # Of `message=…` the value is an input, which is not to be shared.
    shared = [name + sign + "…" * bool(sign) for name, sign, _ in (word.partition("=") for word in words)]
    record = record_of(evaluation, started=evaluation.started, words=shared, misses=verdict.misses)
    found = record.to_json()
    with project.history() as history:
        kept = history.evaluations.of(record.chain, record.content, _LOOKED_AT)
        if not any(all(other.get(name) == found.get(name) for name in _DECISIVE) for other in kept):
            history.evaluations.write(record.chain, record.content, record.id, found)


_LOOKED_AT = 20
"""The newest evaluations of a version, among which the same one is looked for."""

_DECISIVE = (
    "models",
    "compiled",
    "dataset",
    "repeat",
    "words",
    "score",
    "retrieval",
    "passed",
    "failed",
    "errors",
    "unchecked",
    "misses",
    "stopped",
)

"""What is kept of testing a chain: its scores, and which examples passed. No inputs, outputs or reasons: it is shared
with the versions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath, PureWindowsPath
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from pydantic import Field, ValidationError

from promptchain.errors import NEWER, StoreError
from promptchain.lm.secrets import redact_data
from promptchain.records import Record, new_run_id, storable

if TYPE_CHECKING:
    from promptchain.gates import Miss
    from promptchain.results import ExampleResult
    from promptchain.statistics import Interval
    from promptchain.summary import StepSummary
    from promptchain.testing import Evaluation

_DIGITS = 6
"""Of a share that is kept."""


class Score(Record):
    """A share with its 95 % interval; n: examples it rests on."""

    value: float
    low: float
    high: float
    n: int


class Dataset(Record):
    """The rows a chain was tested with. digest: SHA-256 of what they say; examples: how many were taken."""

    files: tuple[str, ...]
    digest: str
    examples: int


class StepScore(Record):
    """One step: see `summary.StepSummary`."""

    score: Score | None = None
    gold: Score | None = None
    blame: float | None = None
    calls: int = 0
    cost: float | None = None
    p50: float | None = None
    p95: float | None = None


class ExampleScore(NamedTuple):
    """One example, a list of four in JSON. passed: the share of its tries that did, of those that could be scored; None
    where none could. first: the first step that failed in the first try that did. steps: the share of tries in which
    the step passed, for each step that anything decides about."""

    id: str
    passed: float | None
    first: str | None
    steps: dict[str, float]


class EvaluationRecord(Record):
    """One evaluation. content: the content id of the version that was tested; version: its number then, which a sync
    may change. models: by step. started: UTC, ISO 8601. words: the filter that chose the examples; empty for all.

    chain: its name. score: the share of examples in which everything held; product: of the steps' scores. passed,
    failed, errors: tries. cost: US dollars for all answers, also those from the cache; None where a price is unknown.
    misses: what of the gate was not met, in words. stopped: why it ended early. retrieval: the mean scores of passages,
    see `summary.Summary`. compiled: whether prompts of the
    chain's lock were tested; else the words of the chain file were.
    """

    format: Literal[1] = 1
    id: str
    chain: str
    content: str
    version: int | None = None
    models: dict[str, str]
    started: str
    seconds: float
    dataset: Dataset
    repeat: int = 1
    words: tuple[str, ...] = ()
    score: Score | None = None
    product: float | None = None
    steps: dict[str, StepScore] = Field(default_factory=dict)
    passed: int = 0
    failed: int = 0
    errors: int = 0
    unchecked: Annotated[int, Field(exclude_if=lambda number: not number)] = 0
    calls: int = 0
    new_calls: int = 0
    cost: float | None = None
    judge_calls: int = 0
    misses: tuple[str, ...] = ()
    stopped: str | None = None
    compiled: Annotated[bool, Field(exclude_if=lambda compiled: not compiled)] = False
    retrieval: Annotated[dict[str, Score], Field(default_factory=dict, exclude_if=lambda means: not means)]
    examples: tuple[ExampleScore, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As it is written."""
        return self.model_dump(mode="json")


def record_of(
    evaluation: Evaluation, *, started: str, words: Iterable[str] = (), misses: Iterable[Miss] = ()
) -> EvaluationRecord:
    """What is kept of an evaluation, without secrets. started: see `EvaluationRecord`; words: the filter.

    Raises ValueError for an evaluation without a content id, whose version could not be kept."""
    if evaluation.content is None:
        raise ValueError("an evaluation is kept beside a version, and this one has none")
    summary, data = evaluation.summary, evaluation.data
    texts = {
        "models": evaluation.models,
        "dataset": Dataset(files=tuple(map(_shared, data.files)), digest=data.digest, examples=data.count).model_dump(),
        "words": list(words),
        "steps": {step.step: _step(step).model_dump() for step in summary.steps},
        "retrieval": {name: mean.model_dump() for name, own in summary.retrieval.items() if (mean := _score(own))},
        "misses": [miss.message for miss in misses],
        # Behind that, `evaluate` cites what a model or a server said.
        "stopped": evaluation.stopped and evaluation.stopped.partition("; the last: ")[0],
        "examples": [list(example) for example in by_example(evaluation.results)],
    }
    return EvaluationRecord(
        id=new_run_id(),
        chain=evaluation.case.chain.name,
        content=evaluation.content,
        version=_number(evaluation.version),
        started=started,
        seconds=round(evaluation.seconds, 3),
        repeat=evaluation.repeat,
        score=_score(summary.chain),
        product=summary.product,
        passed=summary.passed,
        failed=summary.failed,
        errors=summary.errors,
        unchecked=summary.unchecked,
        calls=summary.calls,
        new_calls=summary.new_calls,
        cost=summary.cost,
        judge_calls=evaluation.judges.calls,
        compiled=bool((adopted := evaluation.case.bound.adopted) and adopted.variant),
        **redact_data(storable(texts)),
    )


def checked(data: Mapping[str, Any]) -> EvaluationRecord:
    """A record that was read. Raises StoreError for one that is none, or of another release."""
    try:
        return EvaluationRecord.model_validate(data)
    except ValidationError as exc:
        hint = NEWER
        raise StoreError(f"the evaluation {data.get('id')} is of another release", hint=hint) from exc


def by_example(results: Sequence[ExampleResult]) -> list[ExampleScore]:
    """The tries of each example as one, in the order the examples came."""
    tries: dict[str, list[ExampleResult]] = {}
    for result in results:
        tries.setdefault(result.id, []).append(result)
    return [_example(name, own) for name, own in tries.items()]


def _example(name: str, tries: Sequence[ExampleResult]) -> ExampleScore:
    scored = [result for result in tries if result.scored]
    first = next((result.first for result in scored if result.state == "failed"), None)
    told: dict[str, list[bool]] = {}
    for result in scored:
        for step, own in result.steps.items():
            if own.passed is not None:
                told.setdefault(step, []).append(own.passed)
    steps = {step: _mean(passed) for step, passed in told.items()}
    return ExampleScore(name, _mean([r.state == "passed" for r in scored]) if scored else None, first, steps)


def _mean(values: Sequence[bool]) -> float:
    return round(math.fsum(values) / len(values), _DIGITS)


def _step(step: StepSummary) -> StepScore:
    return StepScore(
        score=_score(step.score),
        gold=_score(step.gold),
        blame=step.blame,
        calls=step.calls,
        cost=step.cost,
        p50=step.p50,
        p95=step.p95,
    )


def _score(interval: Interval | None) -> Score | None:
    if interval is None:
        return None
    return Score(value=interval.value, low=interval.low, high=interval.high, n=interval.n)


def _number(name: str | None) -> int | None:
    """Of the version `support@v7`."""
    number = (name or "").rpartition("@v")[2]
    return int(number) if number.isdecimal() else None


def _shared(file: str) -> str:
    """A file as others may see it: where it lies outside of the project, without its folder, which names a person."""
    foreign = PurePath(file).is_absolute() or PureWindowsPath(file).is_absolute()
    return PureWindowsPath(file).name if foreign else file

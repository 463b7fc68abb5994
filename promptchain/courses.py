"""What is kept of how a compile went: scores and calls, no rows and no prompts. It is shared with the versions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pydantic import Field, ValidationError

from promptchain.errors import NEWER, StoreError
from promptchain.lm.secrets import redact_data
from promptchain.lock import Compared, Spent
from promptchain.records import Record, new_run_id, storable

if TYPE_CHECKING:
    from promptchain.compile import Compiled, StepReport
    from promptchain.store.versions import Version


class CoursePoint(NamedTuple):
    """See `compile.Point`; a list of five in JSON."""

    calls: int
    step: str | None
    score: float
    what: str
    rows: int


class CourseStage(Record):
    """One optimizer on one step: see `compile.Stage`."""

    optimizer: str
    best: str
    tried: int
    before: float | None = None
    after: float | None = None
    calls: int = 0
    note: str = ""


class CourseStep(Record):
    """What became of a step: see `compile.StepReport`."""

    step: str
    skipped: str = ""
    chosen: str = ""
    stages: tuple[CourseStage, ...] = ()


class Course(Record):
    """One compile. content: the content id of the version that it made; version: its number then, which a sync may
    change. started: UTC, ISO 8601. parts: examples for train, dev and test. kept: why the seed prompts were.

    run_seconds, run_cost: of one run before and after, as in `compile.Compiled`.
    """

    format: Literal[1] = 1
    id: str
    chain: str
    model: str
    content: str
    version: int | None = None
    started: str = ""
    seconds: float = 0.0
    parts: tuple[int, int, int] = (0, 0, 0)
    kept: str | None = None
    dev: Compared | None = None
    test: Compared | None = None
    by_step: dict[str, Compared] = Field(default_factory=dict)
    steps: tuple[CourseStep, ...] = ()
    curve: tuple[CoursePoint, ...] = ()
    spent: Spent = Spent()
    run_seconds: tuple[float | None, float | None] = (None, None)
    run_cost: tuple[float | None, float | None] = (None, None)
    warnings: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As it is written."""
        return self.model_dump(mode="json")


def course_of(chain: str, model: str, compiled: Compiled, spent: Spent, version: Version) -> Course:
    """What is kept of a compile, without secrets."""
    parts = compiled.parts
    texts = {
        "model": model,
        "kept": compiled.kept,
        "steps": [_step(report) for report in compiled.reports],
        "curve": [[one.calls, one.step, round(one.score, 6), one.what, one.rows] for one in compiled.curve],
        "warnings": list(compiled.warnings),
    }
    return Course(
        id=new_run_id(),
        chain=chain,
        content=version.content,
        version=version.number,
        parts=(len(parts.train), len(parts.dev), len(parts.test)),
        dev=compiled.dev,
        test=compiled.test,
        by_step=dict(compiled.by_step),
        spent=spent,
        run_seconds=compiled.seconds,
        run_cost=compiled.cost,
        **redact_data(storable(texts)),
    )


def _step(report: StepReport) -> dict[str, Any]:
    stages = [
        {name: getattr(stage, name) for name in CourseStage.model_fields if hasattr(stage, name)}
        for stage in report.stages
    ]
    return {"step": report.step, "skipped": report.skipped, "chosen": report.chosen, "stages": stages}


def checked(data: Mapping[str, Any]) -> Course:
    """A record that was read. Raises StoreError for one that is none, or of another release."""
    try:
        return Course.model_validate(data)
    except ValidationError as exc:
        hint = NEWER
        raise StoreError(f"the compile {data.get('id')} is of another release", hint=hint) from exc

"""A chain as a section: its steps and their prompts, how it was tested and compiled, and its newest runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from promptchain import told
from promptchain.chain import PromptStep
from promptchain.changes import Change, as_text
from promptchain.diff_lock import compare
from promptchain.lock import Lock
from promptchain.reports.html.graph import graph
from promptchain.words import compare_texts

if TYPE_CHECKING:
    from promptchain.courses import Course
    from promptchain.evaluations import EvaluationRecord
    from promptchain.plan import Plan
    from promptchain.store.index import RunRow


@dataclass(frozen=True)
class Known:
    """What the store has of a chain, the newest first, each with the name of its version. examples of the evaluations
    are not needed."""

    evaluations: Sequence[tuple[EvaluationRecord, str]] = ()
    courses: Sequence[tuple[Course, str]] = ()
    runs: Sequence[tuple[RunRow, str]] = ()
    labels: Mapping[str, str] = field(default_factory=dict)


def section(plan: Plan, reference: str, models: Mapping[str, str], lock: Lock, known: Known) -> dict[str, Any]:
    """The section of a chain. reference: as it was asked for. models: by prompt step."""
    chain = plan.chain
    newest = known.evaluations[0][0] if known.evaluations else None
    return {
        "kind": "chain",
        "title": reference,
        "chain": chain.name,
        "description": chain.description,
        "model": chain.model,
        "inputs": {name: kind.describe() for name, kind in chain.input_type.fields().items()},
        "outputs": dict(plan.outputs),
        "graph": graph(plan, models),
        "scores": {name: step.model_dump(mode="json") for name, step in newest.steps.items()} if newest else {},
        "steps": [_step(name, plan, models) for name in plan.nodes],
        "labels": dict(known.labels),
        "evaluations": [_evaluation(record, version) for record, version in known.evaluations],
        "compiles": compiles(plan, lock, known.courses),
        "runs": [_run(row, version) for row, version in known.runs],
    }


def _step(name: str, plan: Plan, models: Mapping[str, str]) -> dict[str, Any]:
    step = plan.nodes[name].step
    found: dict[str, Any] = {"id": name, "kind": told.kind(step), "does": told.does(step), "model": models.get(name)}
    if isinstance(step, PromptStep):
        found |= {"instructions": step.instructions.text, "prompt": step.prompt.text, "demos": len(step.demos)}
        found["output"] = step.type.describe()
    return found


def _evaluation(record: EvaluationRecord, version: str) -> dict[str, Any]:
    found = record.model_dump(mode="json", include={"id", "started", "models", "score", "cost", "seconds", "misses"})
    return {**found, "version": version, "examples": record.dataset.examples, "compiled": record.compiled}


def _run(row: RunRow, version: str) -> dict[str, Any]:
    names = ("id", "started", "seconds", "status", "calls", "tokens", "cost", "model", "error")
    return {**{name: getattr(row, name) for name in names}, "version": version}


# --- compiling


def compiles(plan: Plan, lock: Lock, courses: Sequence[tuple[Course, str]]) -> list[dict[str, Any]]:
    """For each model of the lock what it was compiled to: the shares before and after, the prompts word by word, and
    the course of the compile, where that is kept."""
    chain = plan.chain
    found = []
    for change in compare(Lock(), lock, (chain, chain)).models:
        entry = lock.models[change.model]
        own = next((pair for pair in courses if _is_of(pair[0], change.model, entry.test)), None)
        course = own[0].to_json() if own else None
        found.append(
            {
                "kind": "compile",
                "title": f"{chain.name} compiled for {change.model}",
                "chain": chain.name,
                "model": change.model,
                "version": own[1] if own else None,
                "kept": entry.kept,
                "dev": entry.dev and entry.dev.model_dump(mode="json"),
                "test": entry.test and entry.test.model_dump(mode="json"),
                "by_step": {name: one.model_dump(mode="json") for name, one in entry.by_step.items()},
                "spent": entry.spent.model_dump(mode="json"),
                "settings": dict(entry.settings),
                "course": course,
                "prompts": [{"step": name, "parts": [*_parts(changes)]} for name, changes in change.steps.items()],
            }
        )
    return found


def _is_of(course: Course, model: str, test: object) -> bool:
    """Whether it is the compile that the lock's entry came of."""
    return course.model == model and course.test == test


def course_section(course: Course, version: str) -> dict[str, Any]:
    """The section of a compile that the lock has no more, or of which only this is known."""
    found = course.to_json()
    parts = ("id", "chain", "model", "kept", "dev", "test", "by_step", "spent")
    title = f"{course.chain} compiled for {course.model}"
    own = {"kind": "compile", "title": title, "version": version, "settings": {}, "course": found, "prompts": []}
    return {**own, **{part: found[part] for part in parts}}


def _parts(changes: Iterable[Change]) -> Iterable[dict[str, Any]]:
    """What changed, texts word by word."""
    for change in changes:
        told_of: dict[str, Any] = {"field": change.field, "kind": change.kind.value}
        if change.edits:
            told_of["edits"] = [[edit.op.value, edit.text] for edit in change.edits]
        else:
            before, after = (_readable(side) for side in (change.before, change.after))
            told_of["edits"] = [[edit.op.value, edit.text] for edit in compare_texts(before, after)]
        yield told_of


def _readable(value: Any) -> str:
    """Demos one below the other, in the way in which a model sees them; anything else as text."""
    if value is None:
        return ""
    if isinstance(value, list):
        return "\n".join(map(_readable, value))
    if isinstance(value, Mapping) and {"inputs", "output"} <= set(value):
        inputs = [f"{name}: {as_text(own)}" for name, own in value["inputs"].items()]
        return "\n".join([*inputs, f"→ {as_text(value['output'])}", ""])
    return as_text(value)

"""Evaluations as sections: scores, steps, and every example, what failed first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from promptchain.binding import BoundPlan
from promptchain.reports import numbers
from promptchain.reports.data import data
from promptchain.reports.html.graph import graph
from promptchain.reports.html.page import Exact
from promptchain.statistics import paired
from promptchain.words import compare_texts

if TYPE_CHECKING:
    from promptchain.assertions.apply import Checked
    from promptchain.comparison import Comparison, Flip
    from promptchain.evaluations import EvaluationRecord
    from promptchain.plan import Plan
    from promptchain.results import ExampleResult
    from promptchain.testing import Verdict

MAX_WORD_DIFFS = 200
"""Flipped examples whose answers are compared word by word; each may take some tenths of a second."""

_FIRST = {"failed": 0, "error": 1, "unchecked": 2, "passed": 3}


def section(verdict: Verdict) -> dict[str, Any]:
    """The section of an evaluation that was just made, with its examples.

    An example is a list, as are its steps, in the order of `step_names`, and its assertions (`assertions` has what they
    are, once for all): [id, place, try, state, score, first step that failed, problem, seconds, inputs, outputs,
    [[status, passed, passed on gold, mends, value, error, seconds, cost]], [[assertion, passed, score, reason]]].
    """
    found = data(verdict)
    names = list(found["steps"])
    kinds: dict[tuple[Any, ...], int] = {}
    examples = [_example(example, names, kinds) for example in found.pop("examples")]
    examples.sort(key=lambda example: (_FIRST[example[3]], 0.0 if example[4] is None else example[4]))
    bound = verdict.evaluation.case.bound
    return {
        "kind": "evaluation",
        "title": f"Test of {numbers.name(verdict.evaluation)}",
        **found,
        "started": verdict.evaluation.started,
        "graph": _graph(bound),
        "step_names": names,
        "assertions": [dict(zip(_ASSERTION, kind, strict=True)) for kind in kinds],
        "examples": examples,
        "whole": True,
        "comparison": _comparison(verdict.comparison, found["comparison"]) if verdict.comparison else None,
    }


def _graph(bound: BoundPlan) -> dict[str, Any]:
    return graph(bound.plan, {name: prompt.model for name, prompt in bound.prompts.items()})


_STEP = ("status", "passed", "passed_on_gold", "mends", "value", "error", "seconds", "cost")
_ASSERTION = ("type", "step", "output", "metric")


def _example(example: Mapping[str, Any], names: Sequence[str], kinds: dict[tuple[Any, ...], int]) -> list[Any]:
    checks = []
    for check in example["assertions"]:
        kind = tuple(check.get(part) for part in _ASSERTION)
        number = kinds.setdefault(kind, len(kinds))
        told = check.get("reason") or check.get("error") or check.get("not_applied") or ""
        checks.append([number, check["passed"], check.get("score"), told])
    return [
        *(example[part] for part in ("id", "where", "try", "state", "score", "first_failed", "problem", "seconds")),
        Exact(example["inputs"]),
        Exact(example["outputs"]),
        [[_part(example["steps"][name], part) for part in _STEP] for name in names],
        checks,
    ]


def _part(step: Mapping[str, Any], part: str) -> Any:
    return Exact(step[part]) if part == "value" else step[part]


# --- what flipped


def _comparison(compared: Comparison, found: Mapping[str, Any]) -> dict[str, Any]:
    flips = sorted(compared.flips, key=lambda flip: flip.better)
    return {**found, "flipped": [_flip(flip, words=index < MAX_WORD_DIFFS) for index, flip in enumerate(flips)]}


def _flip(flip: Flip, *, words: bool) -> dict[str, Any]:
    """Both sides of an example: what the steps and the outputs were, and where they differ."""
    before, after = _values(flip.before), _values(flip.after)
    names = [name for name in dict.fromkeys((*before, *after)) if before.get(name) != after.get(name)]
    changes = [_change(name, before.get(name), after.get(name), words=words) for name in names]
    failing = flip.before if flip.better else flip.after
    return {
        "id": flip.id,
        "where": flip.where,
        "better": flip.better,
        "first": flip.first,
        "inputs": Exact(dict(flip.after.inputs)),
        "why": [_reason(check) for check in (*failing.failures, *failing.errors)] or [failing.problem or ""],
        "changes": changes,
    }


def _values(result: ExampleResult) -> dict[str, Any]:
    return {**{f"step {name}": step.value for name, step in result.steps.items()}, **result.outputs}


def _change(name: str, before: Any, after: Any, *, words: bool) -> dict[str, Any]:
    if words and isinstance(before, str) and isinstance(after, str):
        edits = [[edit.op.value, edit.text] for edit in compare_texts(before, after)]
        return {"name": name, "edits": edits}
    return {"name": name, "before": Exact(before), "after": Exact(after)}


def _reason(check: Checked) -> str:
    own = check.assertion
    place = f"step {own.step}: " if own.step else f"output {own.output}: " if own.output else ""
    return f"{place}{own.type}: {check.error or (check.verdict.reason if check.verdict else '')}"


# --- what is kept of an evaluation


def kept_section(record: EvaluationRecord, version: str, plan: Plan | None) -> dict[str, Any]:
    """The section of an evaluation that is in the store, which has no inputs, outputs and reasons. version: its name.
    plan: of the chain; None where that cannot be loaded."""
    found = record.to_json()
    names = list(record.steps)
    return {
        "kind": "evaluation",
        "title": f"Test of {record.chain}: evaluation {record.id[:12]}",
        "name": record.chain,
        "version": version,
        "passed": not record.misses and not record.stopped and (not record.failed or _is_gated(plan)),
        "gate": list(record.misses),
        "counts": {part: getattr(record, part) for part in ("passed", "failed", "errors", "unchecked")},
        "several_steps": 0.0,
        "metrics": {},
        "flaky": [example.id for example in record.examples if example.passed is not None and 0 < example.passed < 1],
        "unused_assertions": [],
        **{
            part: found[part]
            for part in ("id", "chain", "content", "models", "started", "seconds", "repeat", "score", "product")
        },
        **{part: found[part] for part in ("calls", "new_calls", "cost", "stopped", "dataset", "words")},
        "retrieval": found.get("retrieval", {}),
        "steps": found["steps"],
        "graph": graph(plan, record.models) if plan else None,
        "step_names": names,
        "assertions": [],
        "examples": _kept_examples(record, names),
        "whole": False,
        "comparison": None,
    }


def _is_gated(plan: Plan | None) -> bool:
    """Whether a gate decides, and not whether any example failed; as far as the chain says so itself."""
    test = plan.chain.test if plan else None
    return bool(test and (test.gate.min or test.gate.no_worse_than))


def _kept_examples(record: EvaluationRecord, names: Sequence[str]) -> list[list[Any]]:
    lost = "unchecked" if record.unchecked and not record.errors else "error"
    rows: list[list[Any]] = [
        [
            *(example.id, "", 0, _state(example.passed) or lost, example.passed, example.first, None, None, {}, {}),
            [_kept_step(example.steps.get(name)) for name in names],
            [],
        ]
        for example in record.examples
    ]
    return sorted(rows, key=lambda row: (_FIRST[row[3]], row[4] or 0.0))


def _state(passed: float | None) -> str | None:
    return None if passed is None else "passed" if passed > 0.5 else "failed"


def _kept_step(passed: float | None) -> list[Any]:
    return ["", None if passed is None else passed > 0.5, None, None, None, None, None, None]


def kept_comparison(before: EvaluationRecord, after: EvaluationRecord) -> dict[str, Any]:
    """What flipped between two evaluations that are in the store."""
    sides = [{one.id: one for one in record.examples if one.passed is not None} for record in (before, after)]
    both = [name for name in sides[0] if name in sides[1]]
    found = paired([(sides[1][name].passed or 0.0) - (sides[0][name].passed or 0.0) for name in both])
    flips = []
    for name in both:
        was, now = ((side[name].passed or 0.0) > 0.5 for side in sides)
        if was != now:
            first = sides[0 if now else 1][name].first
            flips.append({"id": name, "where": "", "better": now, "first": first, "inputs": {}, "why": []})
    names = [f"evaluation {record.id[:12]}" for record in (before, after)]
    return {
        "before": names[0],
        "after": names[1],
        "chain": asdict(found) | {"difference": found.value} if found else None,
        "steps": {},
        "retrieval": {},
        "flipped": [{**flip, "changes": []} for flip in sorted(flips, key=lambda flip: bool(flip["better"]))],
        "left_out": len({*sides[0], *sides[1]}) - len(both),
    }

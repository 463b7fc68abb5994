"""An evaluation as JSON: all that `chain test --json` prints."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from promptchain.comparison import to_json as comparison_json

if TYPE_CHECKING:
    from promptchain.assertions.apply import Checked
    from promptchain.results import ExampleResult, StepResult
    from promptchain.statistics import Interval
    from promptchain.summary import StepSummary
    from promptchain.testing import Verdict


def data(verdict: Verdict) -> dict[str, Any]:
    """One chain on one choice of models."""
    evaluation, summary = verdict.evaluation, verdict.evaluation.summary
    return {
        "chain": evaluation.case.chain.name,
        "reference": evaluation.case.reference,
        "name": evaluation.case.name,
        "version": evaluation.version,
        "content": evaluation.content,
        "models": evaluation.models,
        "passed": verdict.passed,
        "stopped": evaluation.stopped,
        "dataset": {
            "files": list(evaluation.data.files),
            "digest": evaluation.data.digest,
            "examples": evaluation.data.count,
        },
        "repeat": evaluation.repeat,
        "score": _interval(summary.chain),
        "product": summary.product,
        "mean": _interval(summary.mean),
        "counts": {part: getattr(summary, part) for part in ("passed", "failed", "errors", "unchecked")},
        "steps": {step.step: _step(step) for step in summary.steps},
        "several_steps": summary.several,
        "metrics": {name: _interval(mean) for name, mean in summary.metrics.items()},
        "retrieval": {name: _interval(mean) for name, mean in summary.retrieval.items()},
        "flaky": list(summary.flaky),
        "unused_assertions": list(summary.unused),
        "calls": summary.calls,
        "new_calls": summary.new_calls,
        "cost": summary.cost,
        "judges": asdict(evaluation.judges),
        "spent": asdict(evaluation.spent),
        "seconds": round(evaluation.seconds, 3),
        "gate": [miss.message for miss in verdict.misses],
        "comparison": comparison_json(verdict.comparison) if verdict.comparison else None,
        "examples": [_example(result) for result in evaluation.results],
    }


def _interval(interval: Interval | None) -> dict[str, Any] | None:
    return None if interval is None else asdict(interval)


def _step(step: StepSummary) -> dict[str, Any]:
    found = asdict(step)
    del found["step"]
    return {**found, "method": step.method and step.method.value}


def _example(result: ExampleResult) -> dict[str, Any]:
    return {
        "id": result.id,
        "where": str(result.where),
        "try": result.sample,
        "state": result.state.value,
        "score": result.score,
        "first_failed": result.first,
        "problem": result.problem,
        "seconds": round(result.seconds, 6),
        "inputs": dict(result.inputs),
        "outputs": dict(result.outputs),
        "steps": {name: _step_of(step) for name, step in result.steps.items()},
        "assertions": [_check(check) for check in result.checks],
    }


def _step_of(step: StepResult) -> dict[str, Any]:
    return {
        "status": step.status.value,
        "passed": step.passed,
        "passed_on_gold": step.gold,
        "mends": step.mends,
        "value": step.value,
        "error": step.error,
        "seconds": round(step.seconds, 6),
        "cost": step.cost,
        "calls": step.calls,
        "retries": step.retries,
    }


def _check(check: Checked) -> dict[str, Any]:
    assertion, verdict = check.assertion, check.verdict
    found: dict[str, Any] = {"type": assertion.type, "step": assertion.step, "passed": check.passed}
    if assertion.output is not None:
        found["output"] = assertion.output
    if assertion.measure is not None:
        found["metric"] = assertion.measure
    if verdict:
        found |= {"score": verdict.score, "reason": verdict.reason}
    if check.error:
        found["error"] = check.error
    if check.missing:
        found["not_applied"] = check.missing
    return found

"""JUnit XML, as CI systems read it.

There is no standard, only schemas of what Ant wrote. This keeps to what both widely used ones allow: Windy Road's
JUnit.xsd, which demands the most (properties, system-out, system-err, hostname, timestamp, package, id), and
junit-10.xsd of Jenkins' xUnit plugin. Neither knows `file` and `line`: an example's place is in its failure's text.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from promptchain.reports import numbers
from promptchain.reports.numbers import clean, line
from promptchain.results import State

if TYPE_CHECKING:
    from promptchain.results import ExampleResult
    from promptchain.testing import Evaluation, Verdict

_WRONG = {State.FAILED: "failure", State.ERROR: "error"}


def junit(verdicts: Sequence[Verdict], *, ended: datetime | None = None) -> str:
    """The document: a suite for each evaluation, a case for each try of an example, and in `CHAIN.gate` one for each
    condition that is not met, and for an evaluation that ended early.

    ended: when testing did; None for now. Examples that fail are failures here even where the gate lets them pass.
    """
    root = Element("testsuites")
    for number, verdict in enumerate(verdicts):
        root.append(_suite(verdict, number, ended or datetime.now(UTC)))
    ElementTree.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ElementTree.tostring(root, encoding="unicode")}\n'


def _suite(verdict: Verdict, number: int, ended: datetime) -> Element:
    evaluation = verdict.evaluation
    cases = [*(_example(evaluation, result) for result in evaluation.results), *_gate(verdict)]
    suite = Element(
        "testsuite",
        id=str(number),
        name=numbers.name(evaluation),
        package=line(evaluation.case.chain.name),
        tests=str(len(cases)),
        failures=str(sum(case.find("failure") is not None for case in cases)),
        errors=str(sum(case.find("error") is not None for case in cases)),
        skipped=str(sum(case.find("skipped") is not None for case in cases)),
        time=_time(evaluation.seconds),
        timestamp=_began(ended, evaluation.seconds),
        hostname="localhost",
    )
    properties = SubElement(suite, "properties")
    for name, value in _properties(evaluation):
        SubElement(properties, "property", name=line(name), value=line(value, 1000))
    suite.extend(cases)
    SubElement(suite, "system-out")
    SubElement(suite, "system-err").text = clean("\n".join(evaluation.data.warnings)) or None
    return suite


def _properties(evaluation: Evaluation) -> Iterator[tuple[str, str]]:
    """What is known of an evaluation: shares as numbers between 0 and 1."""
    summary = evaluation.summary
    yield "chain", evaluation.case.chain.name
    if version := evaluation.version or evaluation.content:
        yield "version", version
    if models := numbers.models(evaluation):
        yield "model", models
    for step, model in evaluation.models.items():
        yield f"model.{step}", model
    yield "dataset", evaluation.data.digest
    yield "dataset.files", ", ".join(evaluation.data.files)
    for name, score in (("chain", summary.chain), *((step.step, step.score) for step in summary.steps)):
        if score:
            yield f"score.{name}", f"{score.value:.6g}"
            yield f"score.{name}.low", f"{score.low:.6g}"
            yield f"score.{name}.high", f"{score.high:.6g}"
    for name, mean in summary.retrieval.items():
        yield f"retrieval.{name}", f"{mean.value:.6g}"
        yield f"retrieval.{name}.low", f"{mean.low:.6g}"
        yield f"retrieval.{name}.high", f"{mean.high:.6g}"
    if summary.cost is not None:
        yield "cost", f"{summary.cost:.6g}"


def _example(evaluation: Evaluation, result: ExampleResult) -> Element:
    tried = f" (try {result.sample + 1})" if evaluation.repeat > 1 else ""
    case = _case(line(result.id) + tried, evaluation.case.chain.name, result.seconds)
    if result.state is State.UNCHECKED:
        SubElement(case, "skipped", message=line(result.problem or ""))
    elif kind := _WRONG.get(result.state):
        reasons = numbers.failures(result)
        about = [f"{result.id} ({result.where})"]
        about += [result.description] if result.description else []
        _wrong(case, kind, _type(result), reasons[0], [*about, *reasons])
    return case


def _type(result: ExampleResult) -> str:
    """The kind of what failed first: an assertion's type, or the reason why a model could not be asked."""
    if result.state is State.ERROR:
        return next((check.fault.value for check in result.errors if check.fault), "error")
    return next((check.assertion.type for check in result.failures), "run")


def _gate(verdict: Verdict) -> Iterator[Element]:
    evaluation = verdict.evaluation
    room = f"{evaluation.case.chain.name}.gate"
    for miss in verdict.misses:
        case = _case(miss.name, room, 0.0)
        _wrong(case, "failure", "gate", miss.message, [miss.message])
        yield case
    if evaluation.stopped:
        case = _case("stopped", room, 0.0)
        _wrong(case, "error", "stopped", evaluation.stopped, [f"the evaluation ended early: {evaluation.stopped}"])
        yield case


def _case(name: str, room: str, seconds: float) -> Element:
    return Element("testcase", name=line(name), classname=line(room), time=_time(seconds))


def _wrong(case: Element, kind: str, type: str, message: str, text: Iterable[str]) -> None:
    SubElement(case, kind, message=line(message), type=line(type)).text = "\n".join(map(clean, text))


def _time(seconds: float) -> str:
    """Jenkins takes three digits at most after the point."""
    return f"{max(0.0, seconds) if math.isfinite(seconds) else 0.0:.3f}"


def _began(ended: datetime, seconds: float) -> str:
    """When an evaluation began: UTC, to the second, without a zone, as Ant writes it."""
    passed = timedelta(seconds=seconds if 0 < seconds < 1e9 else 0)
    return (ended.astimezone(UTC) - passed).strftime("%Y-%m-%dT%H:%M:%S")

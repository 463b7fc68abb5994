"""Applies an assertion to what a run gave: its templates, the function of its type, `not-`, thresholds of sets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from promptchain import template
from promptchain.assertions.protocol import AssertionFault, Spec, Subject, Verdict
from promptchain.assertions.registry import ASKING, CHECKS
from promptchain.criteria import Assertion
from promptchain.errors import Fault, ModelError
from promptchain.template import TemplateFault

if TYPE_CHECKING:
    from promptchain.assertions.grader import Grader


@dataclass(frozen=True, slots=True)
class Checked:
    """What came of an assertion on one example.

    verdict: None where it said nothing: `error` tells why, and `fault` where a model or server was the reason; without
    an error the row has no value for it to compare with, and `missing` names what.
    """

    assertion: Assertion
    verdict: Verdict | None = None
    error: str | None = None
    fault: Fault | None = None
    missing: str | None = None

    @property
    def counts(self) -> bool:
        """Whether it decides if the example passes; an assertion without weight only measures."""
        return self.assertion.weight > 0 and self.missing is None

    @property
    def passed(self) -> bool | None:
        """None where it could not be told."""
        return self.verdict.passed if self.verdict else None


async def apply(assertion: Assertion, subject: Subject, grader: Grader) -> Checked:
    """Apply an assertion. Raises nothing but BudgetError and CancelledError."""
    values = {**subject.values, "output": subject.output}
    if missing := _missing(assertion, values):
        return Checked(assertion, missing=missing)
    if assertion.name == "assert-set":
        found = await _set(assertion, subject, grader)
        return replace(found, verdict=found.verdict.negated()) if assertion.negated and found.verdict else found
    try:
        verdict = await _one(assertion, subject, values, grader)
    except AssertionFault as exc:
        cause = exc.__cause__
        return Checked(assertion, error=str(exc), fault=cause.fault if isinstance(cause, ModelError) else None)
    return Checked(assertion, verdict.negated() if assertion.negated else verdict)


async def _one(assertion: Assertion, subject: Subject, values: Mapping[str, Any], grader: Grader) -> Verdict:
    if assertion.transform is not None:
        output = _filled(assertion.transform, values, "transform")
        values = {**values, "output": output}
        subject = replace(subject, output=output)
    spec = Spec(
        assertion.name, _filled(assertion.value, values, "value"), assertion.threshold, _options(assertion, values)
    )
    if check := CHECKS.get(spec.type):
        return check(subject, spec)
    return await ASKING[spec.type](subject, spec, grader)


async def _set(assertion: Assertion, subject: Subject, grader: Grader) -> Checked:
    """Passes where all of its assertions do, or where their weighted score reaches its threshold. As in an example, one
    that failed decides, whatever another could not tell. `not-` is not yet applied."""
    parts = [await apply(part, subject, grader) for part in assertion.assert_]
    deciding = [part for part in parts if part.assertion.weight > 0] or parts
    if all(part.missing for part in deciding):
        return Checked(assertion, missing=deciding[0].missing if deciding else None)
    said = [(part.assertion.weight, part.verdict, part.assertion.type) for part in parts if part.verdict]
    weight = sum(each for each, _, _ in said)
    score = sum(each * verdict.score for each, verdict, _ in said) / weight if weight else 1.0
    failed = [f"{name}: {verdict.reason}" for each, verdict, name in said if each and not verdict.passed]
    passed = score >= assertion.threshold if assertion.threshold is not None else not failed
    lost = next((part for part in parts if part.counts and part.error), None)
    if passed and lost:
        return Checked(assertion, error=f"{lost.assertion.type}: {lost.error}", fault=lost.fault)
    return Checked(assertion, Verdict(passed, score, "; ".join(failed) or "all of the set hold"))


def _filled(value: Any, values: Mapping[str, Any], what: str) -> Any:
    """The value with its templates filled in. Raises AssertionFault."""
    if isinstance(value, str):
        if "{{" not in value and "{%" not in value:
            return value
        try:
            return template.parse(value).value(values)
        except TemplateFault as exc:
            raise AssertionFault(f"in its {what}: {exc.message}", hint=exc.hint) from None
    if isinstance(value, Mapping):
        return {key: _filled(item, values, what) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_filled(item, values, what) for item in value]
    return value


def _options(assertion: Assertion, values: Mapping[str, Any]) -> Mapping[str, Any]:
    options = assertion.options
    return {name: _filled(value, values, name) for name, value in options.items()} if options else options


def _missing(assertion: Assertion, values: Mapping[str, Any]) -> str | None:
    """The expected value that the assertion compares with and the row does not have."""
    if assertion.name == "assert-set":
        return None
    expected = values.get("expected")
    texts = strings([assertion.value, assertion.transform, assertion.options])
    for text in (text for text in texts if "expected" in text and ("{{" in text or "{%" in text)):
        for reference in template.parse(text).references:
            if reference.name != "expected" or reference.tolerant:
                continue
            if expected is None:
                return ".".join(("expected", *reference.path[:1]))
            if reference.path and isinstance(expected, Mapping) and reference.path[0] not in expected:
                return f"expected.{reference.path[0]}"
    return None


def strings(value: Any) -> Iterator[str]:
    """All texts in a value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from strings(item)

"""JUnit XML: complete, in the order that the strictest schema wants, and well formed whatever a model wrote."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xmlschema import XMLSchema, XMLSchemaValidationError

from promptchain.reports.junit import junit
from promptchain.reports.numbers import clean
from promptchain.results import State
from tests.reports import kit

SCHEMA = XMLSchema(Path(__file__).with_name("junit.xsd"))


def parsed(text: str) -> Element:
    """The document, once it is seen to be one that a schema accepts, and to count rightly."""
    root = ElementTree.fromstring(text.encode("utf-8"))
    SCHEMA.validate(root)
    for number, suite in enumerate(root):
        assert suite.get("id") == str(number)
        assert suite.get("tests") == str(len(suite.findall("testcase")))
        assert suite.get("failures") == str(len(suite.findall("testcase/failure")))
        assert suite.get("errors") == str(len(suite.findall("testcase/error")))
    return root


def suites(*verdicts: kit.Verdict) -> list[Element]:
    return list(parsed(junit(verdicts)))


@pytest.mark.parametrize(
    ("written", "wrong"),
    [
        ('time="1.250"', 'time="1.25e3"'),
        ('classname="support"', 'file="rows.jsonl"'),
        ("<system-out />", ""),
        ("</failure>", "</failure><error />"),
        ("<properties>", "<properties>text"),
    ],
)
def test_the_schema_refuses_what_is_none_of_junit(written: str, wrong: str) -> None:
    text = junit([kit.verdict(kit.results(1, 1))])
    assert written in text
    with pytest.raises(XMLSchemaValidationError):
        SCHEMA.validate(ElementTree.fromstring(text.replace(written, wrong)))


def test_an_evaluation_is_a_suite_and_an_example_a_case() -> None:
    ended = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
    (suite,) = parsed(junit([kit.verdict(kit.results(2, 1, 1))], ended=ended))
    assert suite.get("name") == "support on openai/gpt-5-mini"
    assert suite.get("package") == "support"
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("4", "1", "1")
    assert (suite.get("time"), suite.get("timestamp")) == ("4.500", "2026-03-04T05:06:02")
    cases = suite.findall("testcase")
    assert [case.get("name") for case in cases] == ["s001", "s002", "s003", "s004"]
    assert {case.get("classname") for case in cases} == {"support"}
    assert {case.get("time") for case in cases} == {"1.250"}
    assert [[child.tag for child in case] for case in cases] == [[], [], ["failure"], ["error"]]


def test_the_properties_say_what_was_tested() -> None:
    (suite,) = suites(kit.verdict(kit.results(3, 1)))
    said = {each.get("name"): each.get("value") for each in suite.findall("properties/property")}
    assert said["chain"] == "support"
    assert said["version"] == "v12"
    assert said["model"] == said["model.reply"] == "openai/gpt-5-mini"
    assert said["dataset"] == kit.DIGEST
    assert said["score.chain"] == said["score.reply"] == "0.75"
    assert said["score.chain.low"] == "0.300642"
    assert said["cost"] == "0.008"


def test_what_is_not_known_is_no_property() -> None:
    (suite,) = suites(kit.verdict([kit.result(state=State.ERROR, cost=None)], version=None, content=None))
    names = {each.get("name") for each in suite.findall("properties/property")}
    assert not names & {"version", "cost", "score.chain"}


def test_a_failure_lists_each_assertion_with_its_step_its_reason_and_the_row() -> None:
    failing = kit.result("s07", State.FAILED, line=7, metric="tone", description="a lost card")
    more = kit.Checked(kit.Assertion(type="equals", step="intent"), kit.Said(False, 0.0, "refund, not card"))
    unasked = kit.Checked(kit.Assertion(type="similar", weight=0), kit.Said(False, 0.0, "only measured"))
    failing = replace(failing, checks=(*failing.checks, more, unasked), first="intent")
    (suite,) = suites(kit.verdict([failing]))
    failure = suite.find("testcase/failure")
    assert failure is not None
    assert failure.get("type") == "contains"
    assert failure.get("message") == "step intent: equals: refund, not card"  # what failed first
    assert (failure.text or "").splitlines() == [
        "s07 (chains/rows.jsonl:7)",
        "a lost card",
        "step intent: equals: refund, not card",
        "step reply: contains (tone): it does not contain card",
    ]


def test_a_run_that_failed_says_why() -> None:
    failing = kit.result(state=State.FAILED, problem="the step 'reply' gave no JSON")
    (suite,) = suites(kit.verdict([failing]))
    failure = suite.find("testcase/failure")
    assert failure is not None
    assert failure.get("message") == "the step 'reply' gave no JSON"


def test_an_error_is_of_the_kind_that_kept_the_model_from_answering() -> None:
    (suite,) = suites(kit.verdict(kit.results(1, 0, 1)))
    error = suite.find("testcase/error")
    assert error is not None
    assert error.get("type") == "rate limit"
    assert "the judge does not answer" in str(error.get("message"))


def test_tries_have_their_number() -> None:
    tries = [kit.result("a", sample=0), kit.result("a", State.FAILED, sample=1)]
    (suite,) = suites(kit.verdict(tries, repeat=2))
    assert [case.get("name") for case in suite.findall("testcase")] == ["a (try 1)", "a (try 2)"]


def test_a_missed_gate_is_a_case_that_fails() -> None:
    (suite,) = suites(kit.verdict(kit.results(1, 1), least={"reply": 0.9, "intent": 0.5}, before=kit.results(2, 0)))
    gate = [case for case in suite.findall("testcase") if case.get("classname") == "support.gate"]
    assert [case.get("name") for case in gate] == ["reply", "support@production"]
    failure = gate[0].find("failure")
    assert failure is not None
    assert failure.get("type") == "gate"
    assert "0.400 less than the 0.9" in str(failure.text)


def test_an_evaluation_that_ended_early_is_an_error() -> None:
    (suite,) = suites(kit.verdict(kit.results(1, 0), stopped="the ceiling of $1 is reached"))
    error = suite.find("testcase[@name='stopped']/error")
    assert error is not None
    assert "the ceiling of $1" in str(error.text)
    (suite,) = suites(kit.verdict(kit.results(1, 0)))
    assert suite.find("testcase[@name='stopped']") is None


def test_several_evaluations_and_none() -> None:
    first, second = suites(kit.verdict(), kit.verdict(of=kit.case("other", "local/smollm2")))
    assert [suite.get("name") for suite in (first, second)] == [
        "support on openai/gpt-5-mini",
        "other on local/smollm2",
    ]
    assert len(parsed(junit([]))) == 0
    (empty,) = suites(kit.verdict([]))
    assert empty.get("tests") == "0"


@pytest.mark.parametrize("text", kit.HOSTILE)
def test_hostile_text_comes_through_as_text(text: str) -> None:
    (suite,) = suites(kit.hostile(text))
    shown = "\n".join(each.text or "" for each in suite.findall("testcase/failure"))
    assert clean(text).replace("\r\n", "\n") in shown
    assert "\x00" not in shown


@settings(deadline=None)
@given(st.text(st.characters(categories=None)))
def test_no_text_breaks_the_document(text: str) -> None:
    suites(kit.hostile(text))


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), -1.0, 1e300, 123456.7891])
def test_any_time_is_a_number_with_three_digits(seconds: float) -> None:
    suites(kit.verdict(seconds=seconds))


def test_secrets_are_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "qu1te-s3cret<&>value")
    text = junit([kit.hostile(f"a {kit.KEY} and qu1te-s3cret<&>value")])
    assert kit.KEY not in text
    assert "qu1te" not in text
    assert "***" in text

"""Assertions on JSON and its schemas."""

from __future__ import annotations

from typing import Any

import pytest

from promptchain.assertions.protocol import AssertionFault, Spec, Subject, Verdict
from promptchain.assertions.structure import JSON


def check(name: str, output: Any, value: Any = None, **more: Any) -> Verdict:
    threshold = more.pop("threshold", None)
    return JSON[name](Subject(output, **more), Spec(name, value, threshold))


def test_the_reason_says_where_a_value_does_not_fit() -> None:
    schema = {"properties": {"a": {"items": {"type": "integer"}}}}
    assert check("is-json", '{"a": [1, "x"]}', schema).reason == (
        "it does not fit the schema: a[1]: 'x' is not of type 'integer'"
    )


def test_the_reason_says_why_it_is_no_json() -> None:
    assert check("is-json", "{'a': 1}").reason.startswith("it should be JSON, and is \"{'a': 1}\": Expecting")


def test_a_later_object_may_fit() -> None:
    assert check("contains-json", 'a {"b": 1} c {"a": 1}', {"required": ["a"]}).passed
    wrong = check("contains-json", 'a {"b": 1}', {"required": ["a"]})
    assert wrong.reason == "it does not fit the schema: 'a' is a required property"


@pytest.mark.parametrize(
    ("schema", "fault"),
    [
        ({"type": "nonsense"}, "has no valid JSON Schema"),
        ({"requird": []}, "unknown keyword 'requird'"),
        ({"properties": {"a": {"requird": []}}}, "unknown keyword 'requird'"),
        ([1], "needs a JSON Schema"),
        ("a: [", "is not YAML"),
        ({"$ref": "#/definitions/none"}, "which is not in it"),
        ({"$ref": "http://localhost:1/x.json"}, "which is not in it"),
        ({"pattern": "("}, "is not a regular expression"),
        ({"pattern": "(a|aa)+$"}, "took longer than"),
        ({"patternProperties": {"(": {}}}, "wrong pattern"),
    ],
)
def test_a_schema_that_is_none_is_a_fault(schema: Any, fault: str) -> None:
    with pytest.raises(AssertionFault, match=fault):
        check("is-json", f'"{"a" * 5000}b"' if "pattern" in schema else '{"a": 1}', schema)


def test_a_schema_may_name_its_draft() -> None:
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", "prefixItems": [{"type": "string"}]}
    assert check("is-json", '["a"]', schema).passed
    assert not check("is-json", "[1]", schema).passed


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("time", "10:00:00+02:00", "10:00"),
        ("hostname", "a.example.org", "a_b"),
        ("ipv4", "127.0.0.1", "300.1.1.1"),
        ("date", "2024-02-29", "2023-02-29"),
    ],
)
def test_formats_are_checked(name: str, right: str, wrong: str) -> None:
    schema = {"type": "string", "format": name}
    assert check("is-json", f'"{right}"', schema).passed
    assert not check("is-json", f'"{wrong}"', schema).passed


def test_what_is_nested_too_deeply_fits_no_schema() -> None:
    assert not check("is-json", "[" * 300 + "]" * 300, {"type": "array"}).passed
    assert not check("is-json", "[" * 100_000 + "]" * 100_000).passed


def test_a_comment_is_no_url() -> None:
    schema = {"required": ["a"], "properties": {"a": {"const": "http://x.org//y"}}}
    assert check("contains-json", "{a: http://x.org//y, // one\n b: 2}", schema).passed
    assert check("contains-json", "{a: http://x.org//y // one\n}", schema).passed


def test_thousands_of_braces_are_given_up() -> None:
    with pytest.raises(AssertionFault, match="too many braces"):
        check("contains-json", "{[" * 100_000)


def test_a_long_object_is_read_in_part() -> None:
    assert check("contains-json", '{"a": "' + "x" * 99_000 + '"}').passed


def test_schema_holds_the_value_as_it_is_against_a_schema() -> None:
    assert check("schema", {"a": 1}, {"required": ["a"]}).passed
    assert check("schema", '{"a": 1}', {"type": "string"}).passed
    assert not check("schema", {"a": 1}, {"required": ["b"]}).passed
    assert check("schema", "anything").passed


def test_schema_counts_the_replies_that_were_asked_for_again() -> None:
    assert check("schema", 1, retries=5).reason == "it fits its schema; 5 replies were asked for again"
    assert check("schema", 1, retries=1, threshold=1).passed
    wrong = check("schema", 1, retries=1, threshold=0)
    assert (wrong.passed, wrong.score) == (False, 0.0)
    assert wrong.reason == "1 reply was asked for again, and at most 0 should be"

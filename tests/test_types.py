"""The types: dotprompt's specification suite, the notation's errors, checking, coercion, and schemas for providers."""

from __future__ import annotations

import datetime
import json
import re
import socket
import string
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from promptchain.schema import KEYWORDS
from promptchain.types import ANY, TEXT, Type, TypeSyntaxError, parse_fields, parse_type

SUITE = Path(__file__).parents[1].parent / "shared" / "spec" / "dotprompt-picoschema.yaml"
NODE = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "child": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}},
    "required": ["name"],
    "additionalProperties": False,
}


def canonical(schema: Any) -> Any:
    """JSON Schema's `required` is a set; everything else is compared as it is."""
    if isinstance(schema, dict):
        return {key: sorted(v) if key == "required" else canonical(v) for key, v in schema.items()}
    return [canonical(item) for item in schema] if isinstance(schema, list) else schema


def suite() -> list[Any]:
    cases = []
    for entry in yaml.safe_load(SUITE.read_text("utf-8")) if SUITE.is_file() else []:
        front = yaml.safe_load(entry["template"].split("---")[1])
        for test in entry["tests"]:
            for end in ("input", "output"):
                if end in test["expect"]:
                    want = test["expect"][end]["schema"]
                    case = (front[end]["schema"], entry.get("schemas", {}), want)
                    cases.append(pytest.param(*case, id=f"{entry['name']}-{end}"))
    return cases or [pytest.param(None, {}, None, marks=pytest.mark.skip(reason=f"{SUITE} is not there"))]


@pytest.mark.parametrize(("spec", "named", "want"), suite())
def test_dotprompt_suite(spec: Any, named: dict[str, Any], want: Any) -> None:
    assert canonical(parse_type(spec, named=named).schema) == canonical(want)


# -- the notation ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "schema"),
    [
        (["a", "b"], {"enum": ["a", "b"]}),
        ({"x": ["a", 1]}, {"enum": ["a", 1]}),
        ({"x?": ["a", 1]}, {"enum": ["a", 1, None]}),
        ({"x(array)": ["a", "b"]}, {"type": "array", "items": {"enum": ["a", "b"]}}),
        ({"x( enum , why, so )": ["a"]}, {"enum": ["a"], "description": "why, so"}),
        ({"x": {"type": "string"}}, {"properties": {"type": {"type": "string"}}}),
        ({"x(array)": {"(*)": "integer"}}, {"items": {"additionalProperties": {"type": "integer"}}}),
    ],
)
def test_notation(spec: Any, schema: dict[str, Any]) -> None:
    def within(part: Any, whole: Any) -> bool:
        if not isinstance(part, dict):
            return bool(part == whole)
        return all(key in whole and within(value, whole[key]) for key, value in part.items())

    found = parse_type(spec)
    assert within(schema, (found.field("x") or found).schema)


@pytest.mark.parametrize(
    ("spec", "path", "message"),
    [
        ("strng", (), "unknown type 'strng'; did you mean 'string'?"),
        ("string[]", (), "unknown type 'string[]'; write 'name(array): string'"),
        ("number?", (), "unknown type 'number?'; write 'name?: number'"),
        ("object", (), "unknown type 'object'; write it after the field's name: 'name(object): …'"),
        ("", (), "unknown type ''; known types: any, boolean, integer, null, number, string"),
        (None, (), "a type is text, a list or a mapping, not null; write 'string' or another type"),
        ({}, (), "an object without fields; for any fields write '(*): any'"),
        ({"a": {"b?": "strng"}}, ("a", "b?"), "unknown type 'strng'; did you mean 'string'?"),
        ({"a": 3}, ("a",), "a type is text, a list or a mapping, not 3"),
        ([], (), "an enum needs at least one value"),
        ([None], (), "an enum needs at least one value"),
        (["a", "b", "a"], (2,), "'a' is in the enum twice"),
        ([1, 1.0], (1,), "1.0 is in the enum twice"),
        (["a", ["b"]], (1,), '["b"] cannot be a value of an enum; an enum has text, numbers, true, false and null'),
        ({"a": ["x", {"y": 1}]}, ("a", 1), '{"y": 1} cannot be a value of an enum'),
        ([datetime.date(2026, 1, 2)], (0,), "datetime.date(2026, 1, 2)"),
        ([float("nan")], (0,), "NaN is not a JSON value"),
        ({"a(enum)": "string"}, ("a(enum)",), "an enum is a list of values, not 'string'"),
        ({"a(object)": "string"}, ("a(object)",), "an object is a mapping of fields, not 'string'"),
        ({"a(arry)": "string"}, ("a(arry)",), "unknown kind 'arry'; did you mean 'array'?"),
        ({"a(arr": "string"}, ("a(arr",), "malformed field 'a(arr'; a field is written name, name?, name(array)"),
        ({"a??": "string"}, ("a??",), "malformed field 'a??'"),
        ({"(*)?": "string"}, ("(*)?",), "malformed field '(*)?'"),
        ({"a-b": "string"}, ("a-b",), "'a-b' is not a field name; use letters, digits and underscores"),
        ({"a": "string", "a?": "number"}, ("a?",), "field 'a' is declared twice"),
        ({True: "string"}, (True,), "the name true is not text; put it in quotes"),
        ({"type": "string", "amount": "number"}, ("amount",), "unknown JSON Schema keyword 'amount'; "),
        ({"type": "string", "zzz": 1}, ("zzz",), "this is read as a JSON Schema, whose fields go under 'properties'"),
        ({"type": "string", "minLenght": 1}, ("minLenght",), "did you mean 'minLength'?"),
        ({"type": "any"}, ("type",), "unknown type 'any' in a JSON Schema; known types: array, "),
        ({"type": "string", "pattern": "("}, ("pattern",), "not a JSON Schema: '(' is against 'format' (regex)"),
        (
            {"properties": {"a": {"type": "strng"}}},
            ("properties", "a", "type"),
            "unknown type 'strng' in a JSON Schema; did you mean 'string'?",
        ),
        ({"properties": {"a": "string"}}, ("properties", "a"), "'string' is not an object or a boolean"),
        ({"anyOf": [{"type": "string"}, {"minimum": "x"}]}, ("anyOf", 1, "minimum"), "'x' is not a number"),
        ({"$ref": "#/$defs/a"}, ("$ref",), "the reference '#/$defs/a' leads to no schema"),
        ({"$ref": "#"}, ("$ref",), "the reference '#' leads back to itself"),
        ({"anyOf": [{"$ref": "#"}, {"type": "null"}]}, ("anyOf", 0, "$ref"), "the reference '#' leads back to itself"),
        (
            {
                "properties": {"a": {"not": {"$ref": "#/$defs/b"}}},
                "$defs": {"b": {"oneOf": [{"$ref": "#/properties/a"}]}},
            },
            ("properties", "a", "not", "$ref"),
            "the reference '#/$defs/b' leads back to itself",
        ),
        ({"enum": ["a"], "items": {"$id": "x:y"}}, ("items", "$id"), "unknown JSON Schema keyword '$id'"),
        ({"a": ["x"], "enum": [["y"]]}, ("enum", 0), '["y"] cannot be a value of an enum'),
    ],
)
def test_errors(spec: Any, path: tuple[Any, ...], message: str) -> None:
    with pytest.raises(TypeSyntaxError) as caught:
        parse_type(spec)
    assert caught.value.path == path
    assert message in "; ".join(filter(None, (caught.value.message, caught.value.hint)))


@pytest.mark.parametrize("ref", ["http://example.com/a.json", "file:///etc/passwd", "a.json", "#anchor", "//x/y"])
def test_references_out_of_the_schema_are_refused_without_network(ref: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def dial(*args: object) -> None:
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket, "socket", dial)
    with pytest.raises(TypeSyntaxError, match="leads out of the schema") as caught:
        parse_type({"type": "object", "properties": {"a": {"items": {"$ref": ref}}}})
    assert caught.value.path == ("properties", "a", "items", "$ref")


def test_size_is_bounded() -> None:
    deep: Any = "string"
    for _ in range(30):
        deep = {"a": deep}
    parse_type(deep)
    for _ in range(10):
        deep = {"a": deep}
    bomb: Any = "string"
    for _ in range(20):
        bomb = {"a": bomb, "b": bomb, "c": bomb, "d": bomb}
    cycle: dict[str, Any] = {}
    cycle["a"] = cycle
    for spec in (deep, bomb, cycle):
        with pytest.raises(TypeSyntaxError, match="too large or nested too deeply"):
            parse_type(spec)


def test_a_parsed_type_does_not_change_with_its_source() -> None:
    spec = {"type": "object", "properties": {"a": {"type": "string"}}}
    parsed = parse_type(spec)
    spec["properties"]["a"]["type"] = "number"  # type: ignore[index]
    assert parsed.field("a") == TEXT


def test_named_schemas_bring_their_references() -> None:
    named = {"Node": NODE, "Tree": {"$ref": "#/$defs/T", "$defs": {"T": {"items": {"$ref": "#/$defs/T"}}}}}
    parsed = parse_type({"roots(array)": "Node", "main?": "Node, the first", "tree?": "Tree"}, named=named)
    Draft202012Validator.check_schema(dict(parsed.schema))
    leaf = {"name": "b", "child": {"name": "c"}}
    assert parsed.check({"roots": [{"name": "a", "child": leaf}], "main": None, "tree": [[[]]]}) == []
    (message,) = parsed.check({"roots": [{"name": "a", "child": {"name": 7}}]})
    assert message == "roots[0].child.name: 7 is not a string"
    with pytest.raises(TypeSyntaxError, match="the schema 'Bad': unknown JSON Schema keyword") as caught:
        parse_type({"x": "Bad"}, named={"Bad": {"typ": "string"}})
    assert caught.value.path == ("x",)


@pytest.mark.parametrize(
    "named",
    [
        {"type": "string", "const": "x"},
        {"$ref": "#/$defs/a", "$defs": {"a": {"type": "string"}}},
        {"type": "string", "not": {"enum": [None]}},
    ],
)
def test_an_optional_field_takes_null_whatever_its_schema(named: dict[str, Any]) -> None:
    parsed = parse_type({"a?": "It, a note"}, named={"It": named})
    assert (parsed.check({"a": None}), parsed.check({"a": "x"}), parsed.check({})) == ([], [], [])
    assert parsed.check({"a": 1}) != []
    field = parsed.field("a")
    assert field is not None
    assert (field.nullable, field.schema["description"]) == (True, "a note")


def test_references_are_json_pointers() -> None:
    defs = {"a/b": {"type": "string"}, "~c d": {"type": "integer"}}
    fields = {"x": {"$ref": "#/$defs/a~1b"}, "y": {"$ref": "#/$defs/~0c%20d"}}
    parsed = parse_type(
        {"properties": fields, "$defs": defs, "$schema": "https://json-schema.org/draft/2020-12/schema"}
    )
    assert [field.kind for field in parsed.fields().values()] == ["text", "scalar"]
    assert parsed.check({"x": "a", "y": 1}) == []
    assert parsed.field("x").check(1) == ["1 is not a string"]  # type: ignore[union-attr]


def test_fields_of_a_chain() -> None:
    inputs = parse_fields(
        {
            "type": "string, any name will do",
            "properties?": "number",
            "amount": {"type": "number", "minimum": 0},
            "ticket(object)": {"type": "string", "body": "string"},
        }
    )
    assert list(inputs.fields()) == ["type", "properties", "amount", "ticket"]
    assert inputs.required == ("type", "amount", "ticket")
    assert inputs.closed
    assert inputs.check({"type": "x", "amount": -1, "ticket": {"type": "a", "body": "b"}}) == [
        "amount: -1 is against 'minimum' (0)"
    ]
    assert parse_fields({}).fields() == {}
    with pytest.raises(TypeSyntaxError, match="fields are a mapping of names to types, not"):
        parse_fields(["a"])


# -- what a type knows -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "kind", "nullable", "described"),
    [
        ("string, some text", "text", False, "string"),
        ({"type": ["string", "null"]}, "text", True, "string?"),
        ("number", "scalar", False, "number"),
        ({"type": ["boolean", "null"]}, "scalar", True, "boolean?"),
        ("null", "scalar", True, "null"),
        ("any", "any", True, "any"),
        (["a", "b", 3], "enum", False, "one of a, b, 3"),
        (["a", None], "enum", True, "one of a, null"),
        ({"type": "string", "const": "x"}, "enum", False, "one of x"),
        ({"enum": [["a"]], "type": "array"}, "any", False, "any[]"),
        ({"type": ["string", "number"]}, "any", False, "string | number"),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "scalar", True, "integer?"),
        ({"anyOf": [{"type": "integer"}, {"type": "string"}]}, "any", False, "integer | string"),
        ({"type": "array"}, "array", False, "any[]"),
        ({"type": "array", "items": {"enum": ["a", "b"]}}, "array", False, "(one of a, b)[]"),
        ({"amount": "number", "note?": "string"}, "object", False, "{amount: number, note?: string}"),
        ({"tags?(array)": "string", "in": {"x": "any"}}, "object", False, "{tags?: string[], in: {x: any}}"),
        ({"a": "string", "(*)": "any"}, "object", False, "{a: string, …}"),
        ({"type": ["object", "null"], "properties": {}}, "object", True, "object?"),
        (NODE, "object", False, "{name: string, child?: {name: string, child?: {name: string, child?: object}}}"),
    ],
)
def test_kinds(spec: Any, kind: str, nullable: bool, described: str) -> None:
    parsed = parse_type(spec)
    assert (parsed.kind, parsed.nullable) == (kind, nullable)
    assert parsed.describe().startswith(described)


def test_describe_is_short_where_the_type_is_large() -> None:
    wide = parse_type([f"label_{n}" for n in range(77)])
    assert wide.describe().endswith("label_9 and 67 more")
    assert len(parse_type(NODE).describe()) < 200


def test_enums() -> None:
    assert parse_type(["a", None, 2]).choices == ("a", 2)
    assert TEXT.choices == parse_type({"x": ["a"]}).choices == ()


def test_fields_and_items() -> None:
    parsed = parse_type({"a": "string", "b?(array)": "integer", "c": {"(*)": "number"}, "d": "any"})
    assert list(parsed.fields()) == ["a", "b", "c", "d"]
    assert parsed.field("a") == TEXT
    assert parsed.field("nope") is None
    items, c, d = parsed.fields()["b"].items, parsed.fields()["c"], parsed.fields()["d"]
    assert items == Type({"type": "integer"})
    assert (parsed.closed, c.closed, d.closed) == (True, False, False)
    assert c.field("whatever") == Type({"type": "number"})
    assert d.field("whatever") == d.items == ANY
    assert parse_type({"properties": {"a": {"type": "string"}}}).field("b") == ANY
    assert parsed.fields()["a"] is parsed.fields()["a"]
    assert (TEXT.field("a"), TEXT.items, TEXT.fields()) == (None, None, {})
    pairs = {"type": "array", "prefixItems": [{"type": "string"}], "items": {"type": "number"}}
    assert parse_type(pairs).items == ANY
    patterns = parse_type({"properties": {}, "patternProperties": {"^x": {}}, "additionalProperties": False})
    assert (patterns.closed, patterns.field("xy")) == (False, ANY)


def test_recursive_types_can_be_followed_for_ever() -> None:
    for spec in (NODE, {"$ref": "#/$defs/N", "$defs": {"N": json.loads(json.dumps(NODE).replace("#", "#/$defs/N"))}}):
        current = parse_type(spec)
        sizes = []
        for _ in range(40):
            child = current.field("child")
            assert child is not None
            current = child
            sizes.append(len(json.dumps(current.schema)))
        assert current.kind == "object"
        assert current.field("name") == TEXT
        assert max(sizes) <= 2 * sizes[0]
        assert current.check({"name": "a", "child": {"name": 1}}) == ["child.name: 1 is not a string"]
        assert_sound_for_models(current, [{"name": "a", "child": None}, {"name": "a"}, {"name": "a", "child": {}}])


def test_a_part_keeps_references_to_the_root_it_came_from() -> None:
    defs = {"P": {"type": "object", "properties": {"up": {"$ref": "#"}}}}
    part = parse_type({"properties": {"p": {"$ref": "#/$defs/P"}, "n": {"type": "string"}}, "$defs": defs}).field("p")
    assert part is not None
    assert part.check({"up": {"n": 1}}) == ["up.n: 1 is not a string"]


def test_equality_knows_json() -> None:
    assert parse_type([1]) == parse_type([1])
    assert parse_type([1]) != parse_type([True])
    assert len({parse_type("string"), TEXT, parse_type(["string"])}) == 2


# -- checking ----------------------------------------------------------------------------------------------------------

ORDER = {"intent": ["card_arrival", "refund"], "amount?": "number", "lines(array)": {"price": "integer"}}
FINE = {"intent": "refund", "lines": [{"price": 1}]}


@pytest.mark.parametrize(
    ("spec", "value", "messages"),
    [
        (ORDER, FINE, []),
        (ORDER, FINE | {"amount": None}, []),
        (ORDER, FINE | {"amount": "x"}, ["amount: 'x' is not a number or null"]),
        (ORDER, FINE | {"amount": True}, ["amount: true is not a number or null"]),
        (ORDER, FINE | {"lines": [{"price": 1}, {"price": 1.5}]}, ["lines[1].price: 1.5 is not an integer"]),
        (ORDER, {"lines": []}, ["missing field 'intent'"]),
        (ORDER, FINE | {"amont": 1}, ["unknown field 'amont'; did you mean 'amount'?"]),
        (ORDER, FINE | {"q": 1}, ["unknown field 'q'; known fields: amount, intent, lines"]),
        (
            ORDER,
            FINE | {"intent": "refnd"},
            ["intent: 'refnd' is not one of card_arrival, refund; did you mean 'refund'?"],
        ),
        (ORDER, [], ["[] is not an object"]),
        (["a"], "b", ["'b' is not a"]),
        ("integer", 1.0, []),
        ([1], True, ["true is not 1"]),
        ({"type": "integer", "not": {"minimum": 3}}, 4, ["4 is against 'not' ({\"minimum\": 3})"]),
        ("integer", float("nan"), ["NaN is not a JSON value"]),
        (
            ORDER,
            {"intent": float("nan"), "lines": [1]},
            ["intent: NaN is not a JSON value", "lines[0]: 1 is not an object"],
        ),
        (
            {"properties": {"a": {"minimum": 1}}},
            {"a": float("-inf"), "b": (1,)},
            ["a: -Infinity is not a JSON value", "b: (1,) is not a JSON value"],
        ),
        ("any", {"a": [{1, 2}]}, ["a[0]: {1, 2} is not a JSON value"]),
        ("any", {1: 2}, ['{"1": 2} is not a JSON value']),
        ({"type": "string", "maxLength": 2}, "abc", ["'abc' is against 'maxLength' (2)"]),
        ({"properties": {"a": False}}, {"a": 1}, ["a: 1 is not allowed here"]),
        ({"anyOf": [{"type": "string"}, {"type": "integer"}]}, [], ["[] is not string | integer"]),
        (
            {"type": "object", "properties": {"ab": {"minimum": 1}}, "additionalProperties": False},
            {"abc": 1, "ab": 0},
            ["unknown field 'abc'; did you mean 'ab'?", "ab: 0 is against 'minimum' (1)"],
        ),
        (
            {"type": "object", "patternProperties": {"^x": {}}, "required": ["x", "y"], "additionalProperties": False},
            {"xa": 1, "za": 1},
            ["missing field 'x'", "missing field 'y'", "unknown field 'za'; there are no fields"],
        ),
    ],
)
def test_check(spec: Any, value: Any, messages: list[str]) -> None:
    assert sorted(parse_type(spec).check(value)) == sorted(messages)


def test_messages_are_few_and_short() -> None:
    found = parse_type({"a(array)": "integer"}).check({"a": ["y" * 1000] * 500})
    assert len(found) == 11
    assert found[-1] == "and more"
    assert max(map(len, found)) < 120


def test_a_value_nested_without_end_is_a_message() -> None:
    for depth, messages in (
        (60, []),
        (70, ["the value is nested too deeply"]),
        (5000, ["the value is nested too deeply"]),
    ):
        value = {"name": "a"}
        for _ in range(depth):
            value = {"name": "a", "child": value}
        assert parse_type(NODE).check(value) == ANY.check(value) == messages


def test_picoschema_never_imports_jsonschema() -> None:
    code = (
        "import sys; from promptchain.types import parse_type\n"
        "t = parse_type({'a?': ['x'], 'b(array)': {'(*)': 'any'}})\n"
        "t.check({'b': [{'c': 1}]}); t.check(3); t.model_schema(); t.describe(); print('jsonschema' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# -- coercion ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "text", "value"),
    [
        ("string", " 1 ", " 1 "),
        ({"type": ["string", "null"]}, "null", "null"),
        ("number", "1e5", 100000.0),
        ("number", " -2 ", -2),
        ("integer", "1.0", 1),
        ("integer", "12345678901234567890", 12345678901234567890),
        ({"type": ["integer", "null"]}, "null", None),
        ("boolean", "Yes", True),
        ("boolean", "FALSE", False),
        ("null", "null", None),
        ([1, "1", True], "1", "1"),
        ([1, True], "true", True),
        (["a", None], "null", None),
        ({"a": "number"}, '{"a": 1}', {"a": 1}),
        ({"type": "array"}, "[1]", [1]),
        ("any", '{"a": 1}', {"a": 1}),
        ("any", "plain {text", "plain {text"),
        ({"type": ["string", "boolean"]}, "12", "12"),
    ],
)
def test_coerce(spec: Any, text: str, value: Any) -> None:
    found = parse_type(spec).coerce(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("spec", "text", "message"),
    [
        ("integer", "abc", "'abc' is not an integer"),
        ("integer", "1.5", "'1.5' is not an integer"),
        ("integer", "1e999999999", "'1e999999999' is not an integer"),
        ("integer", "9" * 5000, "is not an integer"),
        ("number", "nan", "'nan' is not a number"),
        ("number", "inf", "'inf' is not a number"),
        ("number", "1e999", "'1e999' is not a number"),
        ("number", "1_000", "'1_000' is not a number"),
        ("number", "٣", "'٣' is not a number"),
        ("number", "null", "'null' is not a number"),
        ("boolean", "1", "'1' is not a boolean"),
        ("null", "none", "'none' is not null"),
        (["refund", "card"], "refnd", "'refnd' is not one of refund, card; did you mean 'refund'?"),
        (["Refund"], "refund", "'refund' is not Refund"),
        ({"a": "number"}, "[1]", "'[1]' is not an object"),
        ({"a": "number"}, "{a: 1}", "'{a: 1}' is not an object in JSON: Expecting property name"),
        ({"type": "array"}, "[" * 100_000, "is nested too deeply"),
    ],
)
def test_coerce_refuses(spec: Any, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        parse_type(spec).coerce(text)
    assert len(str(caught.value)) < 200


# -- schemas for providers ---------------------------------------------------------------------------------------------


def assert_sound_for_models(parsed: Type, values: list[Any]) -> None:
    """The provider's schema has an object at its root, is valid, and lets nothing through that the type refuses."""
    schema = parsed.model_schema()
    Draft202012Validator.check_schema(schema)
    assert schema["type"] == "object"
    validator = Draft202012Validator(schema)
    for value in values:
        if validator.is_valid({"value": value} if parsed.is_wrapped else value):
            assert parsed.check(value) == []


@pytest.mark.parametrize(
    ("spec", "strict", "schema"),
    [
        (
            ["a", "b"],
            True,
            {
                "type": "object",
                "properties": {"value": {"type": "string", "enum": ["a", "b"]}},
                "required": ["value"],
                "additionalProperties": False,
            },
        ),
        (
            {"z?": "string", "a?(enum, why)": [1, 2.5], "m": "boolean"},
            True,
            {
                "type": "object",
                "properties": {
                    "z": {"type": ["string", "null"]},
                    "a": {"type": ["integer", "number", "null"], "enum": [1, 2.5, None], "description": "why"},
                    "m": {"type": "boolean"},
                },
                "required": ["z", "a", "m"],
                "additionalProperties": False,
            },
        ),
        (
            {"type": "object", "title": "T", "properties": {"title": {"type": "string", "default": "x"}}, "x-y": 1},
            False,
            {"type": "object", "properties": {"title": {"type": "string"}}},
        ),
        (
            {"properties": {"a": {"type": "string"}}, "additionalProperties": False},
            False,  # an optional field that may not be null has no strict form
            {"type": "object", "properties": {"a": {"type": "string"}}, "required": [], "additionalProperties": False},
        ),
    ],
)
def test_model_schema(spec: Any, strict: bool, schema: dict[str, Any]) -> None:
    parsed = parse_type(spec)
    assert parsed.model_schema() == schema
    assert list(parsed.model_schema()["properties"]) == list(schema["properties"])
    assert parsed.is_strict is strict


@pytest.mark.parametrize("spec", ["any", {"a": "any"}, {"(*)": "string"}, {"type": "array"}, {"a": {"(*)": "any"}}])
def test_open_types_are_not_strict(spec: Any) -> None:
    assert not parse_type(spec).is_strict


def test_an_object_with_conditions_at_its_root_is_wrapped() -> None:
    """Providers take no `anyOf` there, strict or not."""
    parsed = parse_type({"type": "object", "anyOf": [{"required": ["a"]}, {"required": ["b"]}]})
    assert set(parsed.model_schema()) == {"type", "properties", "required", "additionalProperties"}
    assert_sound_for_models(parsed, [{}, {"a": 1}])


def test_a_required_field_stays_required_though_undeclared() -> None:
    parsed = parse_type({"type": "object", "properties": {}, "required": ["a"], "additionalProperties": False})
    assert parsed.model_schema()["required"] == ["a"]


def test_model_schema_of_references() -> None:
    defs = {"N": json.loads(json.dumps(NODE).replace("#", "#/$defs/N"))}
    direct = parse_type({"$ref": "#/$defs/N", "$defs": defs})
    assert not direct.is_wrapped
    assert direct.is_strict
    noted = {"type": "object", "properties": {"n": {"$ref": "#/$defs/N", "description": "why"}}, "required": ["n"]}
    assert not parse_type(noted | {"additionalProperties": False, "$defs": defs}).is_strict  # OpenAI takes a $ref bare
    wrapped = parse_type({"type": "array", "items": {"$ref": "#/$defs/N"}, "$defs": defs}).model_schema()
    assert wrapped["properties"]["value"] == {"type": "array", "items": {"$ref": "#/$defs/N"}}
    loop = parse_type({"type": "array", "items": {"$ref": "#"}})
    assert_sound_for_models(loop, [[], [[], [[]]], [1], [[1]]])
    assert Draft202012Validator(loop.model_schema()).is_valid({"value": [[], [[]]]})
    assert not Draft202012Validator(loop.model_schema()).is_valid({"value": [[], [1]]})


def test_requiring_more_is_not_done_where_it_would_let_more_through() -> None:
    inner = {"type": "object", "properties": {"a": {"type": ["string", "null"]}}, "additionalProperties": False}
    assert_sound_for_models(parse_type({"type": "object", "not": inner}), [{}, {"a": "x"}, {"a": 1}])
    twice = {"oneOf": [inner, {"type": "object", "maxProperties": 0}]}
    assert_sound_for_models(parse_type(twice), [{}, {"a": "x"}])


# -- properties --------------------------------------------------------------------------------------------------------

names = st.text(string.ascii_letters + "_é", min_size=1, max_size=5)
notes = st.sampled_from(["", ", a note", ",x, y"])
json_scalars = st.none() | st.booleans() | st.integers(-3, 3) | st.floats(allow_nan=False) | st.text(max_size=4)
json_values = st.recursive(
    json_scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3), max_leaves=8
)
enum_values = st.lists(st.text(max_size=4) | st.integers(2, 9) | st.booleans(), min_size=1, max_size=4).map(
    lambda values: list({json.dumps(value): value for value in values}.values())
)


@st.composite
def objects(draw: st.DrawFn, inner: st.SearchStrategy[Any]) -> dict[str, Any]:
    fields = {}
    for name in draw(st.lists(names, min_size=1, max_size=4, unique=True)):
        spec, optional = draw(inner), draw(st.sampled_from(["", "?"]))
        kinds = ["", "(array)", "(array, of some)"]
        kinds += ["(enum)"] if isinstance(spec, list) else ["(object, an object)"] if isinstance(spec, dict) else []
        fields[name + optional + draw(st.sampled_from(kinds))] = spec
    # Fields of these names alone may be meant as a JSON Schema, and are read as one.
    fields = {f"{name}_" if name in KEYWORDS else name: spec for name, spec in fields.items()}
    if draw(st.booleans()):
        fields["(*)"] = draw(inner)
    return fields


scalar_types = st.sampled_from(["string", "number", "integer", "boolean", "null", "any"])
picos = st.recursive(
    st.builds(str.__add__, scalar_types, notes) | enum_values, lambda inner: objects(inner), max_leaves=6
)


def values_of(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values that a Picoschema's JSON Schema takes, made from the schema itself."""
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    types = schema.get("type")
    options = []
    for name in [types] if isinstance(types, str) else types or []:
        if name == "object":
            required = {n: values_of(s) for n, s in schema["properties"].items() if n in schema.get("required", ())}
            optional = {n: values_of(s) for n, s in schema["properties"].items() if n not in required}
            options.append(st.fixed_dictionaries(required, optional=optional))
        elif name == "array":
            options.append(st.lists(values_of(schema["items"]), max_size=3))
        else:
            finite = st.floats(allow_nan=False, allow_infinity=False)
            scalars = {"string": st.text(), "integer": st.integers(), "boolean": st.booleans(), "null": st.none()}
            options.append((scalars | {"number": finite | st.integers()})[name])
    return st.one_of(options) if options else json_values.filter(lambda value: "Infinity" not in json.dumps(value))


@given(picos)
def test_any_picoschema_is_a_valid_schema(spec: Any) -> None:
    parsed = parse_type(spec)
    Draft202012Validator.check_schema(dict(parsed.schema))
    assert parsed.describe()


@given(picos, st.data())
def test_values_made_from_a_type_are_valid_and_survive_the_command_line(spec: Any, data: st.DataObject) -> None:
    parsed = parse_type(spec)
    value = data.draw(values_of(dict(parsed.schema)))
    assert parsed.check(value) == []
    assert parsed.coerce(value if isinstance(value, str) and parsed.kind != "any" else json.dumps(value)) == value


@given(picos, json_values)
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_the_quick_check_agrees_with_jsonschema(spec: Any, value: Any) -> None:
    parsed = parse_type(spec)
    exact = Draft202012Validator(dict(parsed.schema)).is_valid(value) and "Infinity" not in json.dumps(value)
    assert (parsed.check(value) == []) is exact


@given(picos, st.lists(json_values, max_size=3), st.data())
def test_model_schemas_are_sound(spec: Any, values: list[Any], data: st.DataObject) -> None:
    parsed = parse_type(spec)
    made = data.draw(values_of(parsed.model_schema() if not parsed.is_wrapped else dict(parsed.schema)))
    assert_sound_for_models(parsed, [*values, made])
    assert Draft202012Validator(parsed.model_schema()).is_valid({"value": made} if parsed.is_wrapped else made)


junk_keys = st.sampled_from(["type", "properties", "items", "$ref", "$defs", "enum", "anyOf", "a?", "(*)", "b(enum)"])
junk = st.recursive(
    json_scalars | st.sampled_from(["string", "object", "#", "#/$defs/a", "#/properties/a"]) | st.dates(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(junk_keys | names | st.none() | st.integers(), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(junk, json_values)
@settings(max_examples=300)
def test_junk_is_a_syntax_error_or_a_type(spec: Any, value: Any) -> None:
    for parse in (parse_type, parse_fields):
        try:
            parsed = parse(spec)
        except TypeSyntaxError as error:
            assert_path_leads_into(spec, error.path)
            continue
        assert isinstance(parsed.check(value), list)
        assert len(parsed.describe()) < 10_000
        assert_sound_for_models(parsed, [value])
        for field in parsed.fields().values():
            assert_sound_for_models(field, [value])


def assert_path_leads_into(spec: Any, path: tuple[Any, ...]) -> None:
    for part in path:
        assert part in spec if isinstance(spec, dict) else part < len(spec)
        spec = spec[part]

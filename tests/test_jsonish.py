"""Replies in JSON, or nearly; and that whatever comes is read in little time."""

from __future__ import annotations

from contextlib import suppress
from time import thread_time
from typing import Any

import pytest

from promptchain.chain import Format
from promptchain.errors import ParseError
from promptchain.render import parse
from promptchain.types import parse_type

ONE = {"amount": 1}
TYPES = {
    "object": parse_type({"amount": "number", "note?": "string"}),
    "list": parse_type({"type": "array", "items": {"type": "string"}}),
    "boolean": parse_type("boolean"),
    "number": parse_type("number"),
    "enum": parse_type(["card_arrival", "refund", "no refund"]),
    "text": parse_type("string"),
    "any": parse_type("any"),
}


@pytest.mark.parametrize(
    ("name", "reply", "value"),
    [
        *(("object", reply, ONE) for reply in (
            '{"amount": 1}', '```json\n{"amount": 1}\n```', '```\n{"amount": 1}\n```', '```json {"amount": 1}```',
            'Sure! Here it is:\n{"amount": 1}\nHope that helps {name} [1].', 'As {you} [asked]: {"amount": 1}',
            '{"amount": 1,}', "{'amount': 1}", "{amount: 1}", '{"amount": 1',
            '{"amount": 1} or, again, {"amount": 1.0}', 'An example, {"x": 0}, and the answer: {"amount": 1}',
            '```\nnot this\n```\n```json\n{"amount": 1}\n```',
        )),
        ("object", '{"amount": 1, "note": "a ```b``` c"}', {"amount": 1, "note": "a ```b``` c"}),
        ("object", 'Here: {"amount": 1, "note": "```py\nx = {}\n```"}', {"amount": 1, "note": "```py\nx = {}\n```"}),
        ("object", "{'amount': 1, 'note': 'it\\'s \"so\"',}", {"amount": 1, "note": 'it\'s "so"'}),
        ("object", "{'amount': 1, 'note': None}", {"amount": 1, "note": None}),
        ("object", "{'amount': 1, 'note': '" + "long " * 1000 + "',}", {"amount": 1, "note": "long " * 1000}),
        ("object", '{"amount": 1, "note": "\\ud83d"}', {"amount": 1, "note": "\ufffd"}),
        *(("list", reply, ["a"]) for reply in ('{"value": ["a"]}', '["a"]', "['a']", 'So: ["a",]')),
        *(("boolean", reply, True) for reply in ('{"value": true}', "true", "```\ntrue\n```")),
        ("enum", '{"value": "refund"}', "refund"),
        ("any", '{"value": {"value": 2}}', {"value": 2}),
    ],
)  # fmt: skip
def test_answers_in_json(name: str, reply: str, value: Any) -> None:
    for form in (Format.JSON, Format.SCHEMA):
        assert parse(TYPES[name], form, reply).value == value


# In a unit, ; stands for a space.
UNITS = """a 1 ,111 1e - _ * ` ``` { [ {" {"a": {"a":1} {a \\" " ' [1 [[1], answer: [', answer; final; ,; refund; true;
    12; ```a ;answer:""".split()  # noqa: SIM905
READINGS = [("enum", True), ("number", True), ("text", True), ("object", False), ("any", True)]


def seconds(name: str, text: str, *, reasoning: bool) -> float:
    """Of the processor."""
    form = Format.JSON if name in ("object", "any") else Format.TEXT
    began = thread_time()
    with suppress(ParseError):
        parse(TYPES[name], form, text, reasoning=reasoning)
    return thread_time() - began


@pytest.mark.parametrize(
    "unit", [" ", "\n", "\t", "answer\t", "\nanswer: ", *(unit.replace(";", " ") for unit in UNITS)]
)
def test_the_time_to_read_grows_with_the_length_alone(unit: str) -> None:
    for lead in ("", "{", '{"a": "', "answer"):
        text = lead + unit * (50_000 // len(unit))
        for name, reasoning in READINGS:
            assert seconds(name, text, reasoning=reasoning) < 0.3, (name, lead)


@pytest.mark.parametrize(("name", "reasoning"), READINGS)
def test_a_megabyte_is_read_within_a_second(name: str, reasoning: bool) -> None:
    for unit in ("word ", "refund, 12; ", '{"a": [1, "b"]} '):
        assert seconds(name, unit * (1_000_000 // len(unit)), reasoning=reasoning) < 1, unit

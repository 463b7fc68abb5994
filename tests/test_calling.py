"""Calls of tools that are written in JSON: what is asked for, and how replies are read."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promptchain import calling
from promptchain.errors import ParseError
from promptchain.lm.protocol import Message, Request, Response, ToolCall, ToolSpec
from promptchain.records import ToolRun
from promptchain.types import TEXT, Type, parse_type
from tests.patience import at_most

ADD = ToolSpec("add", "Adds\n  numbers.", {"type": "object", "properties": {"a": {"type": "integer"}}})
NODE = ToolSpec(
    "node",
    "",
    {
        "type": "object",
        "properties": {"tree": {"$ref": "#/$defs/Node"}},
        "required": ["tree"],
        "$defs": {"Node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}}}},
    },
)
INTEGER, OBJECT, ENUM = parse_type("integer"), parse_type({"n": "integer"}), parse_type(["yes", "no"])


def values(numbers: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    keys = st.sampled_from(["tool", "arguments", "answer", "reasoning"])
    return st.recursive(
        st.none() | st.booleans() | numbers | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(keys, inner),
        max_leaves=12,
    )


JSON = values(st.integers() | st.floats(allow_nan=False, allow_infinity=False))
NEARLY = values(st.integers() | st.floats()).map(json.dumps)  # NaN and Infinity too, as some write them


@settings(deadline=None)
@given(st.text() | NEARLY | st.tuples(st.text(), NEARLY, st.text()).map("".join))
def test_any_reply_is_a_call_or_a_value_of_the_type_or_a_parse_error(text: str) -> None:
    for kind in (TEXT, INTEGER, OBJECT, ENUM):
        try:
            turn = calling.read(kind, text)
        except ParseError:
            continue
        if turn.calls:
            json.loads(turn.calls[0].arguments)
        else:
            assert kind.check(turn.value) == []
            json.dumps(turn.value, allow_nan=False).encode()


@settings(deadline=None, max_examples=50)
@given(st.sampled_from([ADD, NODE]), st.booleans(), JSON)
def test_what_fits_the_schema_is_read(tool: ToolSpec, reasoning: bool, value: Any) -> None:
    schema = calling.schema([ADD, NODE], INTEGER, reasoning=reasoning)
    head = {"reasoning": "so"} if reasoning else {}
    reply = {**head, "tool": tool.name, "arguments": {"tree": {"next": {}}} if tool is NODE else {"a": 1}}
    assert jsonschema.Draft202012Validator(schema).is_valid(reply)
    turn = calling.read(INTEGER, json.dumps(reply))
    assert (turn.calls[0].name, json.loads(turn.calls[0].arguments)) == (tool.name, reply["arguments"])
    assert turn.reasoning == head.get("reasoning")
    wrong = {**head, "tool": tool.name, "arguments": value}
    fits = jsonschema.Draft202012Validator(schema).is_valid(wrong)
    assert fits is (not Type(dict(tool.parameters)).check(value) if isinstance(value, dict) else False)


def test_references_hold_where_the_parameters_stand_in_the_schema() -> None:
    schema = calling.schema([ADD, NODE], OBJECT, reasoning=False)
    good = {"tool": "node", "arguments": {"tree": {"next": {"next": {}}}}}
    bad = {"tool": "node", "arguments": {"tree": {"next": {"next": 5}}}}
    validator = jsonschema.Draft202012Validator(schema)
    validator.check_schema(schema)
    assert validator.is_valid(good)
    assert not validator.is_valid(bad)
    assert not validator.is_valid({"tool": "nod", "arguments": {"tree": {}}})
    assert not validator.is_valid({"answer": {"n": "x"}})
    assert validator.is_valid({"answer": {"n": 1}})
    last = calling.schema((), OBJECT, reasoning=True)
    assert jsonschema.Draft202012Validator(last).is_valid({"reasoning": "x", "answer": {"n": 1}})
    assert not jsonschema.Draft202012Validator(last).is_valid(good)


def test_the_instruction_names_tools_and_types() -> None:
    text = calling.instruction([ADD, NODE], OBJECT, reasoning=True)
    assert "- add: Adds numbers.\n" in text
    assert '"$defs"' in text
    assert '{"reasoning": "…", "answer": …}' in text
    assert "The answer fits this JSON Schema" in text
    assert "JSON Schema" not in calling.instruction([ADD], TEXT, reasoning=False)


@pytest.mark.parametrize(
    ("kind", "text", "said"),
    [
        (INTEGER, "", 'the reply is no JSON with "tool" and "arguments", or with "answer"'),
        (INTEGER, "I do not know", "the reply is no JSON"),
        (INTEGER, '{"answer": "x"}', "the answer does not fit the output type: 'x' is not an integer"),
        (TEXT, "", "the reply is no JSON"),
        (TEXT, '{"other": 1}', "the reply is no JSON"),
        (TEXT, '{"answer": 5}', "the answer does not fit the output type"),
        (INTEGER, '{"tool": 5}', "the reply is no JSON"),
    ],
)
def test_a_reply_that_is_neither_says_what_is_wanted(kind: Type, text: str, said: str) -> None:
    with pytest.raises(ParseError) as caught:
        calling.read(kind, text)
    assert caught.value.message.startswith(said)


@pytest.mark.parametrize(
    "text", ["{" * 300_000, '{"tool": "' + "x" * 3_000_000, "[" * 300_000, '{"answer": ' * 100_000]
)
def test_hostile_replies_are_read_in_bounded_time(text: str) -> None:
    with at_most(4):
        for kind in (TEXT, INTEGER):
            with suppress(ParseError):
                calling.read(kind, text)


@pytest.mark.parametrize("own", [True, False])
def test_results_go_back_in_the_way_in_which_was_asked(own: bool) -> None:
    request = Request("m", (Message("user", "go"),), tools=(ADD,) if own else ())
    calls = (ToolCall("1", "add", "{}"), ToolCall("2", "add", "{}"))
    runs = (ToolRun(name="add", value={"n": "é"}), ToolRun(name="add", error="no"))
    added = calling.answered(request, Response("thinking"), calls, runs).messages[1:]
    assert [message.role for message in added] == ["assistant", *(["tool", "tool"] if own else ["user", "user"])]
    assert added[0].tool_calls == (calls if own else ())
    results = ['{"n": "é"}', '{"error": "no"}']
    assert [message.content for message in added[1:]] == (results if own else [f"add gave: {r}" for r in results])

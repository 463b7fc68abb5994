"""Assertions on calls of functions."""

from __future__ import annotations

import json
from typing import Any

import pytest

from promptchain.assertions.functions import FUNCTIONS
from promptchain.assertions.protocol import AssertionFault, Spec, Subject, Verdict

WEATHER = {
    "name": "weather",
    "parameters": {"type": "object", "required": ["city"], "properties": {"city": {"type": "string"}}},
}
TOOL = {"type": "function", "function": WEATHER}
CALL = {"name": "weather", "arguments": '{"city": "Rome"}'}


def check(output: Any, value: Any = None, name: str = "is-valid-function-call") -> Verdict:
    return FUNCTIONS[name](Subject(output), Spec(name, value))


@pytest.mark.parametrize(
    "output",
    [
        CALL,
        {"function_call": CALL},
        {"tool_calls": [{"type": "function", "function": CALL}]},
        [{"function": CALL}, {"function": CALL}],
        {"functionCall": {"name": "weather", "args": {"city": "Rome"}}},
        {"type": "tool_use", "name": "weather", "input": {"city": "Rome"}},
        json.dumps({"tool_calls": [{"function": CALL}]}),
    ],
    ids=range(7),
)
def test_calls_are_read_in_every_shape(output: Any) -> None:
    assert check(output, [TOOL]).passed
    assert check(output, WEATHER).passed
    assert check(output, "- name: weather\n  parameters: {required: [city]}").passed


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        ("no call", "it should be a function call, and is 'no call'"),
        ([], "it should be a function call, and is []"),
        ({"name": "weather"}, 'it should be a function call, and is {"name": "weather"}'),
        ([CALL, 5], "it should be a function call"),
        ({"name": "wether", "arguments": "{}"}, "it calls 'wether', which is not defined: 'weather'"),
        ({"name": "weather", "arguments": "{}"}, "'city' is a required property"),
        ({"name": "weather", "arguments": '{"city": 5}'}, "city: 5 is not of type 'string'"),
        ({"name": "weather", "arguments": "{"}, "its arguments of 'weather' are wrong: it should be JSON"),
        ([CALL, {"name": "other", "arguments": "{}"}], "it calls 'other'"),
    ],
)
def test_a_wrong_call_fails_with_the_reason(output: Any, reason: str) -> None:
    verdict = check(output, [TOOL])
    assert not verdict.passed
    assert reason in verdict.reason


@pytest.mark.parametrize(
    ("value", "fault"),
    [(None, "knows no function"), (5, "needs a list of functions"), ([5], "defines no function"), ("a: [", "not YAML")],
)
def test_definitions_that_are_none_are_a_fault(value: Any, fault: str) -> None:
    with pytest.raises(AssertionFault, match=fault):
        check(CALL, value)


def test_tool_calls_of_openai() -> None:
    name = "is-valid-openai-tools-call"
    assert check({"tool_calls": [{"function": CALL}]}, [TOOL], name=name).passed
    assert check([{"function": CALL}], [TOOL], name=name).passed
    assert not check(CALL, [TOOL], name=name).passed
    assert not check([CALL], [TOOL], name=name).passed
    assert check("MCP Tool Result (x): 5", name=name).passed
    assert not check("MCP Tool Error (x): 5", name=name).passed


def f1(output: Any, value: Any, threshold: float | None = None) -> Verdict:
    return FUNCTIONS["tool-call-f1"](Subject(output), Spec("tool-call-f1", value, threshold))


def test_f1_of_the_names() -> None:
    verdict = f1([{"name": "a"}, {"name": "b"}], ["a", "c"])
    assert verdict.score == 0.5
    assert verdict.reason == "it calls a, b; expected are a, c (F1 0.50, at least 1 is asked for)"


@pytest.mark.parametrize("value", [None, 5, "", " , ", [1]])
def test_names_must_be_expected(value: Any) -> None:
    with pytest.raises(AssertionFault, match="needs the names of functions"):
        f1("x", value)


@pytest.mark.parametrize(
    "output", ["{" * 300_000, "{}" * 300_000, "[" * 300_000, '"' * 300_000, "```\n" * 80_000], ids=range(5)
)
def test_hostile_output_is_read_in_bounded_time(output: str) -> None:
    assert not f1(output, ["a"]).passed
    assert not check(output, [TOOL]).passed

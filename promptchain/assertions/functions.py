"""Assertions on the calls of functions that a model wrote: they fit their definitions, they are the expected ones.

Names and verdicts are promptfoo's; but an output that is text may hold the calls as JSON.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from promptchain import document
from promptchain.assertions.protocol import AssertionFault, Check, Spec, Subject, Verdict, verdict
from promptchain.assertions.structure import is_json
from promptchain.assertions.text import parsed, sentence, shown, wrong_value
from promptchain.errors import InvalidFileError
from promptchain.rounding import fixed

MAX_STARTS = 10_000
"""Brackets in a text that are tried as the beginning of a call."""


@dataclass(frozen=True, slots=True)
class _Call:
    """arguments: as JSON text, or as the value itself."""

    name: str
    arguments: Any


# -- calls that fit their definitions ----------------------------------------------------------------------------------


def is_valid_function_call(subject: Subject, spec: Spec) -> Verdict:
    """The output is a call of a function, or several, and each fits its definition's `parameters`.

    value: the definitions, OpenAI's tools or functions, as a list or YAML.
    """
    return _valid(subject, spec, _read(subject.output))


def is_valid_openai_tools_call(subject: Subject, spec: Spec) -> Verdict:
    """The same for OpenAI's `tool_calls`, in which arguments are JSON text; or a tool of an MCP server answered."""
    output = subject.output
    text = output if isinstance(output, str) else ""
    if "MCP Tool Error" in text:
        return verdict(False, f"a tool of an MCP server failed: {shown(text[text.index('MCP Tool Error') :])}")
    if "MCP Tool Result" in text:
        return verdict(True, "", "a tool of an MCP server answered")
    value = _json_or_same(output)
    listed = value.get("tool_calls") if isinstance(value, dict) else value
    proper = isinstance(listed, list) and all(isinstance(one, dict) and "function" in one for one in listed)
    return _valid(subject, spec, _read(listed) if proper else None)


def _valid(subject: Subject, spec: Spec, calls: list[_Call] | None) -> Verdict:
    definitions = _definitions(spec)
    if not calls:
        return verdict(False, f"it should be a function call, and is {shown(subject.output)}")
    for call in calls:
        if call.name not in definitions:
            known = ", ".join(map(shown, list(definitions)[:10])) or "none"
            return verdict(False, f"it calls {shown(call.name)}, which is not defined: {sentence(known)}")
        text = call.arguments if isinstance(call.arguments, str) else json.dumps(call.arguments)
        fits = is_json(Subject(text), replace(spec, type=spec.type, value=definitions[call.name]))
        if not fits.passed:
            return verdict(False, f"its arguments of {shown(call.name)} are wrong: {fits.reason}")
    return verdict(True, "", f"it calls {', '.join(shown(call.name) for call in calls[:10])} as defined")


def _definitions(spec: Spec) -> dict[str, Any]:
    """The schemas of the arguments, by the functions' names."""
    value = spec.value
    if isinstance(value, str):
        try:
            value = document.parse(value, spec.type).value
        except InvalidFileError as error:
            raise AssertionFault(f"the functions of {spec.type} are not YAML: {sentence(error.message)}") from error
    listed = [] if value is None else [value] if isinstance(value, dict) else value
    if not isinstance(listed, list):
        raise wrong_value(spec, "a list of functions")
    if not listed:
        raise AssertionFault(f"{spec.type} knows no function", hint="list them under value")
    found = {}
    for tool in listed:
        function = tool.get("function", tool) if isinstance(tool, Mapping) else None
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
            raise AssertionFault(f"{shown(tool)} defines no function", hint="write {name: …, parameters: {…}}")
        found[function["name"]] = function.get("parameters") or {"type": "object"}
    return found


def _read(output: Any) -> list[_Call] | None:
    """The calls that an output is; None for what is no call."""
    value = _json_or_same(output)
    if isinstance(value, dict):
        for key in ("tool_calls", "function_call", "functionCall", "function"):
            if key in value:
                return _read(value[key]) if isinstance(value[key], dict | list) else None
        arguments = next((value[key] for key in ("arguments", "args", "input") if key in value), None)
        if isinstance(value.get("name"), str) and isinstance(arguments, str | dict):
            return [_Call(value["name"], arguments)]
    if not isinstance(value, list):
        return None
    several = [_read(one) if isinstance(one, dict) else None for one in value]
    return [call for calls in several for call in calls or ()] if all(several) else None


def _json_or_same(output: Any) -> Any:
    if not isinstance(output, str):
        return output
    try:
        return parsed(output)
    except ValueError:
        return output


# -- the expected calls ------------------------------------------------------------------------------------------------


def tool_call_f1(subject: Subject, spec: Spec) -> Verdict:
    """The F1 of the names of the functions that are called and of the expected ones is at least `threshold` (1).

    value: the expected names, as a list or a text with commas. Order and number do not count. What was called are the
    tools of the step, or else what its output names.
    """
    expected = _expected(spec)
    called = set(subject.called) or set(_called(subject.output))
    common = len(called & expected)
    score = 2 * common / (len(called) + len(expected))
    threshold = 1.0 if spec.threshold is None else spec.threshold
    told = f"it calls {_listed(called)}; expected are {_listed(expected)}"
    passed = score >= threshold
    return Verdict(
        passed, score, told if passed else f"{told} (F1 {fixed(score, 2)}, at least {threshold:g} is asked for)"
    )


def _expected(spec: Spec) -> set[str]:
    given = spec.value.split(",") if isinstance(spec.value, str) else spec.value
    if isinstance(given, list) and all(isinstance(name, str) for name in given):
        names = {name.strip() for name in given} - {""}
        if names:
            return names
    raise wrong_value(spec, "the names of functions")


def _listed(names: Iterable[str]) -> str:
    return sentence(", ".join(sorted(names))) or "none"


def _called(output: Any) -> Iterator[str]:
    if isinstance(output, str):
        value = _json_or_same(output)
        for part in _blocks(output) if isinstance(value, str) else [value]:
            yield from _called(part) if not isinstance(part, str) else ()
    elif isinstance(output, dict):
        yield from _of_mapping(output)
    elif isinstance(output, list):
        for item in output:
            yield from _of_item(item)


def _of_mapping(value: dict[str, Any]) -> Iterator[str]:
    """The names in an answer: OpenAI's, Anthropic's, Google's."""
    live = value.get("toolCall")
    if isinstance(value.get("tool_calls"), list):
        for call in value["tool_calls"]:
            yield from _name(call.get("function") if isinstance(call, dict) else None)
            yield from _name(call)
    elif value.get("type") in ("tool_use", "function_call") and isinstance(value.get("name"), str):
        yield value["name"]
    elif value.get("functionCall") and isinstance(value["functionCall"], dict | list):
        yield from _name(value["functionCall"])
    elif isinstance(live, dict) and isinstance(live.get("functionCalls"), list):
        for call in live["functionCalls"]:
            yield from _name(call)


def _of_item(item: Any) -> Iterator[str]:
    """The name in one of several blocks, which may be a plain {name: …} too."""
    if not isinstance(item, dict):
        return
    if item.get("type") == "tool_use" and isinstance(item.get("name"), str):
        yield item["name"]
        return
    for key in ("functionCall", "function"):
        if item.get(key) and isinstance(item[key], dict | list):
            yield from _name(item[key])
            return
    yield from _name(item)


def _name(call: Any) -> Iterator[str]:
    if isinstance(call, dict) and isinstance(call.get("name"), str):
        yield call["name"]


_FENCED = re.compile(
    r"^[ \t]*(?:[-+*]|\d+[.)])?[ \t]*(`{3,}(?=[^`\n]*$)|~{3,}).*?(?:^[ \t]*\1|\Z)", re.MULTILINE | re.DOTALL
)
_START = re.compile(r'"(?:[^"\\\n]|\\[^\n])*+"?|[{\[]')
_DECODER = json.JSONDecoder()


def _blocks(text: str) -> Iterator[Any]:
    """The JSON in a text that has lines of its own; none in code blocks."""
    text = _FENCED.sub("", text)
    position, failed = 0, 0
    while (start := _START.search(text, position)) and failed < MAX_STARTS:
        position = start.end()
        if start.group() not in "{[":
            continue
        try:
            value, end = _DECODER.raw_decode(text, start.start())
        except (ValueError, RecursionError):
            failed += 1
            continue
        position = end
        if _begins_line(text, start.start()) and _REST_OF_LINE.match(text, end):
            yield value


_REST_OF_LINE = re.compile(r"[^\S\n]*+(?:\n|\Z)")


def _begins_line(text: str, position: int) -> bool:
    while position > 0 and text[position - 1] != "\n":
        position -= 1
        if not text[position].isspace():
            return False
    return True


FUNCTIONS: dict[str, Check] = {
    "is-valid-function-call": is_valid_function_call,
    "is-valid-openai-function-call": is_valid_function_call,
    "is-valid-openai-tools-call": is_valid_openai_tools_call,
    "tool-call-f1": tool_call_f1,
}

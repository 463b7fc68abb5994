"""How tools are called by models that have no way of their own to do it: in JSON, as ReAct does it in words.

Yao et al., "ReAct: Synergizing Reasoning and Acting in Language Models", arXiv:2210.03629.

A reply is either {"tool": …, "arguments": {…}} or {"answer": …}, with "reasoning" before that where the step thinks.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from promptchain import jsonish
from promptchain.chain import Demo
from promptchain.errors import ParseError
from promptchain.lm.protocol import Message, Request, Response, ToolCall, ToolSpec
from promptchain.records import ToolRun, storable, whole_text
from promptchain.schema import rebase
from promptchain.types import Type


@dataclass(frozen=True, slots=True)
class Turn:
    """What a reply says: the calls that the model wants made, or else the step's value."""

    value: Any = None
    reasoning: str | None = None
    calls: tuple[ToolCall, ...] = ()


def instruction(tools: Sequence[ToolSpec], kind: Type, *, reasoning: bool) -> str:
    """What tells the model of its tools, and how it calls them and answers."""
    thought = '"reasoning": "…", ' if reasoning else ""
    listed = [
        f"- {tool.name}: {' '.join(tool.description.split())}\n  arguments: {_compact(tool.parameters)}"
        for tool in tools
    ]
    call = f'{{{thought}"tool": "{tools[0].name}", "arguments": {{…}}}}'
    answer = f'{{{thought}"answer": …}}'
    wanted = "" if kind.kind == "text" else f"\nThe answer fits this JSON Schema: {_compact(kind.schema)}"
    return (
        "You can call these tools:\n"
        + "\n".join(listed)
        + f"\nReply with JSON and nothing else. To call a tool: {call}. You are then sent what it gives."
        + f" To answer: {answer}.{wanted}"
    )


def schema(tools: Sequence[ToolSpec], kind: Type, *, reasoning: bool) -> dict[str, Any]:
    """The JSON Schema of a reply; without tools the one that only takes an answer."""
    options = [
        _option(reasoning, f"#/anyOf/{index}", tool={"const": tool.name}, arguments=dict(tool.parameters))
        for index, tool in enumerate(tools)
    ]
    place = f"#/anyOf/{len(tools)}" if tools else "#"
    answer = _option(reasoning, place, answer=dict(kind.schema))
    return {"anyOf": [*options, answer]} if tools else answer


def _option(reasoning: bool, place: str, **parts: dict[str, Any]) -> dict[str, Any]:
    properties = {name: rebase(part, f"{place}/properties/{name}") for name, part in parts.items()}
    if reasoning:
        properties = {"reasoning": {"type": "string"}, **properties}
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def demo_reply(output: Any, thought: str | None, *, reasoning: bool) -> str:
    """What a model would have written as its answer."""
    head = {"reasoning": thought or ""} if reasoning else {}
    return json.dumps({**head, "answer": output}, ensure_ascii=False)


def demo_calls(demo: Demo, number: int, *, written: bool, reasoning: bool) -> Iterator[Message]:
    """The turns of a demo before it answers. number: the demo's, from 0, for ids that are the same each time."""
    for turn, shown in enumerate(demo.calls):
        arguments = json.dumps(shown.arguments, ensure_ascii=False)
        call = ToolCall(f"demo{number:02}{turn:03}", shown.tool, arguments)  # nine letters and digits, as Mistral wants
        head = {"reasoning": ""} if reasoning else {}
        reply = json.dumps({**head, "tool": shown.tool, "arguments": shown.arguments}, ensure_ascii=False)
        yield from _exchange(reply if written else "", [call], [_compact(shown.result)], written=written)


def read(kind: Type, text: str, *, cut_off: bool = False) -> Turn:
    """Read a reply, tolerant as `render.parse`. Raises ParseError.

    A reply without any JSON is an answer where the step's value is a text."""
    for values in jsonish.values(text, mend=not cut_off):
        for value in values:  # models that go on by themselves write the results too: what they say first is meant
            if (turn := _turn(kind, value, text)) is not None:
                return turn
    if kind.kind == "text" and text.strip() and not text.lstrip().startswith("{"):
        return Turn(whole_text(text.strip()))
    raise ParseError('the reply is no JSON with "tool" and "arguments", or with "answer"', text=text)


def _turn(kind: Type, value: Any, text: str) -> Turn | None:
    if not isinstance(value, dict):
        return None
    thought = value.get("reasoning")
    reasoning = whole_text(thought) if isinstance(thought, str) and thought else None
    if isinstance(name := value.get("tool"), str):
        arguments = value.get("arguments", {})
        return Turn(reasoning=reasoning, calls=(ToolCall("", name, json.dumps(arguments, ensure_ascii=False)),))
    if "answer" not in value:
        return None
    if problems := kind.check(value["answer"]):
        raise ParseError(f"the answer does not fit the output type: {'; '.join(problems)}", text=text)
    try:
        return Turn(storable(value["answer"]), reasoning)
    except ValueError as exc:
        raise ParseError(str(exc), text=text) from None


def answered(request: Request, response: Response, calls: Sequence[ToolCall], runs: Sequence[ToolRun]) -> Request:
    """The request with what the model asked for and what came of it, in the way in which it asked."""
    results = [_compact({"error": run.error} if run.error else run.value) for run in runs]
    turn = _exchange(response.text, calls, results, written=not request.tools)
    return replace(request, messages=(*request.messages, *turn))


def _exchange(text: str, calls: Sequence[ToolCall], results: Sequence[str], *, written: bool) -> Iterator[Message]:
    """What a model said that calls tools, and what it was told of them. written: the calls stand in the text."""
    yield Message("assistant", text, tool_calls=() if written else tuple(calls))
    for call, result in zip(calls, results, strict=True):
        if written:
            yield Message("user", f"{call.name} gave: {result}")
        else:
            yield Message("tool", result, tool_call_id=call.id)


LAST = "Answer now, without calling a tool."


def at_last(request: Request, kind: Type, *, reasoning: bool) -> Request:
    """The request for the last turn: a model that writes its calls can only answer; another is told to."""
    asked = replace(request, messages=(*request.messages, Message("user", LAST)))
    if request.schema is None or request.tools:
        return asked
    return replace(asked, schema=schema((), kind, reasoning=reasoning))


def _compact(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(", ", ": "))

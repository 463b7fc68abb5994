"""Steps, tools and passages in words."""

from __future__ import annotations

from typing import Any

import pytest

from promptchain import told
from promptchain.chain import Chain
from promptchain.parts import Tool
from promptchain.records import ToolRun

PASSAGE = {"text": "Block it.", "title": "Lost", "source": "a.md", "line": 5, "score": 0.5, "meta": {}}


@pytest.mark.parametrize(
    ("arguments", "value", "error", "said"),
    [
        ({"item": "tea"}, 12.5, None, 'f(item="tea") → 12.5'),
        ({"a": 1, "b": [None]}, {"x": "é"}, None, 'f(a=1, b=[null]) → {"x": "é"}'),
        ({}, None, None, "f() → null"),
        (
            "no json {",
            None,
            "the arguments are no JSON object",
            "f(no json {) → error: the arguments are no JSON object",
        ),
        ([1], None, "no", "f([1]) → error: no"),
    ],
)
def test_a_call_of_a_tool(arguments: Any, value: Any, error: str | None, said: str) -> None:
    assert told.tool_run(ToolRun(name="f", arguments=arguments, value=value, error=error)) == said


@pytest.mark.parametrize("value", [None, "text", [], [1], [{}], [PASSAGE, {"text": "x"}], {"text": "x"}, [PASSAGE, 1]])
def test_what_is_no_list_of_passages(value: Any) -> None:
    assert told.passages(value) is None


def test_passages_are_told_by_their_places() -> None:
    others = [PASSAGE, {**PASSAGE, "source": ""}, {**PASSAGE, "source": "", "title": ""}]
    assert told.passages(others) == others
    assert told.brief(others) == "3 passages: a.md:5, Lost, a passage"
    assert told.brief(others[:1]) == "1 passage: a.md:5"
    assert (told.brief("a"), told.brief([1])) == ("a", "[1]")


STEPS = {
    "a": ({"prompt": "x"}, "prompt", ""),
    "b": (
        {"prompt": "x", "tools": ["m:f", "m:g"], "samples": 3, "select": "first_passing"},
        "prompt with 2 tools, first passing of 3 samples",
        "",
    ),
    "c": (
        {"retrieve": {"from": ["*.md", "x/*.txt"], "query": "{{ q }}\n more", "mode": "hybrid", "rerank": "m"}},
        "retrieve",
        "top 4 of *.md, x/*.txt (hybrid) for {{ q }} more, put in order by m",
    ),
    "d": ({"retrieve": {"url": "http://x/y", "query": "q", "top_k": 1}}, "retrieve", "top 1 of http://x/y for q"),
    "e": ({"python": "m:f", "inputs": {"x": "{{ a }}", "y": [1]}}, "python", "m:f(x={{ a }}, y=[1])"),
    "f": ({"chain": "other", "inputs": {"x": 1}}, "chain other", "the chain other(x=1)"),
}


@pytest.mark.parametrize("name", STEPS)
def test_what_a_step_is_and_does(name: str) -> None:
    step, kind, does = STEPS[name]
    loaded = Chain.model_validate({"name": "c", "steps": {name: step}}).steps[name]
    assert (told.kind(loaded), told.does(loaded)) == (kind, does)


@pytest.mark.parametrize(
    ("tool", "said"),
    [
        ("m:f", "m:f"),
        ({"chain": "other", "name": "ask", "confirm": True}, "chain other (as ask, asks for consent)"),
        ({"mcp": "npx -y server", "only": ["read", "list"]}, "mcp npx -y server (only read, list)"),
        ({"mcp": "https://user:secret@example.com/mcp"}, "mcp https://example.com/mcp"),
    ],
)
def test_which_tool_it_is(tool: Any, said: str) -> None:
    assert told.tool(Tool.model_validate(tool)) == said


def test_a_long_list_is_limited() -> None:
    assert told.limited(["a", "b"], 2) == "a, b"
    assert told.limited(["a", "b", "c"], 1) == "a and 2 more"

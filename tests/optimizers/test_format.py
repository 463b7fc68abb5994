"""How an output is asked for, and whether the model thinks first."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from promptchain.lm.protocol import Capabilities, Request
from promptchain.lm.scripted import ScriptedLM
from promptchain.optimizers import format
from promptchain.optimizers.protocol import Candidate, Found, Task
from tests.evaluate_kit import check
from tests.optimizers.kit import STEP, task_of, tune

OBJECT = {"prompt": "Number {{ q }}", "output": {"n": "integer"}, "retry": {"parse": 0}}
TEXT = {"prompt": "Number {{ q }}"}


def tried(monkeypatch: pytest.MonkeyPatch, step: dict[str, Any], *, schema: bool = False, **chain: Any) -> list[str]:
    """The candidates for a step, in a few words each."""
    found: list[str] = []

    async def seen(task: Task, incumbent: Candidate, candidates: list[Candidate]) -> Found:
        found.extend(candidate.what for candidate in candidates)
        for candidate in candidates:  # nothing else changes
            assert replace(candidate, variant=incumbent.variant) != candidate
            update = {"format": incumbent.variant.format, "reasoning": incumbent.variant.reasoning}
            assert candidate.variant.model_copy(update=update) == incumbent.variant
        return Found(incumbent)

    monkeypatch.setattr(format, "choose", seen)
    lm = ScriptedLM("x", capabilities=Capabilities(schema=schema))
    asyncio.run(format.optimize(*task_of(lm, steps={"a": step}, assertions=[check("contains", "x", step="a")])))
    return found


@pytest.mark.parametrize(
    ("step", "schema", "what"),
    [
        (STEP, False, ["format json", "thinking first"]),
        ({**STEP, "format": "json"}, False, ["format text", "thinking first"]),
        ({**STEP, "format": "text"}, False, ["format json", "thinking first"]),
        (OBJECT, False, ["thinking first"]),
        ({**STEP, "tools": ["m:f"]}, False, ["thinking first"]),
        ({**OBJECT, "tools": ["m:f"]}, True, ["thinking first"]),
        (OBJECT, True, ["format json", "thinking first"]),
        ({**OBJECT, "format": "json"}, True, ["format schema", "thinking first"]),
        (TEXT, True, ["thinking first"]),
        ({**TEXT, "reasoning": True}, True, ["no thinking"]),
        ({**STEP, "params": {"max_tokens": 149}}, False, ["format json"]),
        ({**STEP, "params": {"max_completion_tokens": 20}}, False, ["format json"]),
        ({**STEP, "params": {"max_tokens": 150}}, False, ["format json", "thinking first"]),
        ({**STEP, "reasoning": True, "params": {"max_tokens": 20}}, False, ["format json", "no thinking"]),
    ],
)
def test_what_is_tried(monkeypatch: pytest.MonkeyPatch, step: dict[str, Any], schema: bool, what: list[str]) -> None:
    assert tried(monkeypatch, step, schema=schema) == what


def test_the_format_that_the_model_keeps_to_is_found() -> None:
    """A model that only answers in JSON."""

    def reply(request: Request) -> str:
        head = request.messages[0].content
        number = int(request.messages[-1].content.rsplit(maxsplit=1)[-1])
        right = "odd" if number % 2 else "even"
        return f'{{"value": "{right}"}}' if "JSON Schema" in head else "I would say it depends"

    found = tune(format.optimize, ScriptedLM(reply))
    assert (found.best.what, found.before, found.after) == ("format json", 0.0, 1.0)
    assert found.best.variant.format == "json"


def test_thinking_is_found_to_help() -> None:
    def reply(request: Request) -> str:
        number = int(request.messages[-1].content.rsplit(maxsplit=1)[-1])
        right = "odd" if number % 2 else "even"
        return f"Well.\nAnswer: {right}" if "step by step" in request.messages[0].content else "odd"

    found = tune(format.optimize, ScriptedLM(reply))
    assert (found.best.what, found.best.variant.reasoning, found.after) == ("thinking first", True, 1.0)

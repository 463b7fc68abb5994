"""What steps do, and did, in a line for people: calls of tools, passages, what a step without a prompt runs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from promptchain.chain import ChainStep, PromptStep, PythonStep, RetrieveStep
from promptchain.parts import Retrieve, Select, Tool
from promptchain.plan import AnyStep
from promptchain.records import ToolRun

_PASSAGE = {"text", "title", "source", "line", "score", "meta"}
"""The fields of a passage, as `retrieval.passages` gives them."""


def in_json(value: Any) -> str:
    """A value in a line; a text in quotes."""
    return json.dumps(value, ensure_ascii=False)


def call(name: str, arguments: Any) -> str:
    """A call of a tool, as in code: `lookup(item="tea")`. arguments: a text where they were no JSON."""
    if isinstance(arguments, Mapping):
        return f"{name}({', '.join(f'{key}={in_json(value)}' for key, value in arguments.items())})"
    return f"{name}({arguments if isinstance(arguments, str) else in_json(arguments)})"


def result(tool: ToolRun) -> str:
    """What came of it: the value as JSON, or the error."""
    return f"error: {tool.error}" if tool.error is not None else in_json(tool.value)


def tool_run(tool: ToolRun) -> str:
    """`lookup(item="tea") → 12.5`."""
    return f"{call(tool.name, tool.arguments)} → {result(tool)}"


def passages(value: Any) -> list[Mapping[str, Any]] | None:
    """The passages that a step gave; None where its value is none. An empty list may be of anything, so it is none."""
    if not isinstance(value, list) or not value:
        return None
    return value if all(isinstance(item, Mapping) and set(item) == _PASSAGE for item in value) else None


def place(passage: Mapping[str, Any]) -> str:
    """Where a passage stands: `help/cards.md:12`; its title where it has no source."""
    source = passage["source"]
    return f"{source}:{passage['line']}" if source else str(passage["title"]) or "a passage"


def brief(value: Any) -> str:
    """A step's value in a line: a text as it is, passages by their places, anything else as JSON."""
    if isinstance(value, str):
        return value
    found = passages(value)
    if found is None:
        return in_json(value)
    return f"{len(found)} passage{'s' * (len(found) != 1)}: {', '.join(map(place, found))}"


def does(step: AnyStep) -> str:
    """What a step that is no prompt runs, in a line; empty for a prompt."""
    if isinstance(step, RetrieveStep):
        return searches(step.retrieve)
    if isinstance(step, PythonStep):
        return f"{step.python}({_given(step.inputs)})"
    return f"the chain {step.chain}({_given(step.inputs)})" if isinstance(step, ChainStep) else ""


def searches(spec: Retrieve) -> str:
    """`top 2 of support/help/*.md (lexical) for {{ message }}`."""
    if spec.patterns:
        where = f"{', '.join(spec.patterns)} ({spec.mode})"
    else:
        where = spec.python or spec.url or ""
    ranked = f", put in order by {spec.rerank.model}" if spec.rerank else ""
    return f"top {spec.top_k} of {where} for {' '.join(spec.query.split())}{ranked}"


def tool(spec: Tool) -> str:
    """Which tool it is: `support.tools:lookup`, `chain refunds`, `mcp npx server`, with what is special about it."""
    kind = spec.python or (f"chain {spec.chain}" if spec.chain else f"mcp {spec.mcp}")
    notes = [f"as {spec.name}"] if spec.name else []
    notes += [f"only {', '.join(spec.only)}"] if spec.only else []
    notes += ["asks for consent"] if spec.confirm else []
    return kind + (f" ({', '.join(notes)})" if notes else "")


def kind(step: AnyStep) -> str:
    """What a step is, in a few words: `prompt with 2 tools, best of 3 samples`, `retrieve`."""
    if not isinstance(step, PromptStep):
        return f"chain {step.chain}" if isinstance(step, ChainStep) else step.kind
    notes = [f"{len(step.tools)} tool{'s' * (len(step.tools) != 1)}"] if step.tools else []
    notes += [samples(step.samples, step.select)] if step.samples > 1 else []
    return "prompt" + (f" with {', '.join(notes)}" if notes else "")


def samples(count: int, select: Select | None) -> str:
    """`best of 3 samples`."""
    how = (select.how if select else "majority").replace("_", " ")
    return f"{how} of {count} samples"


def _given(inputs: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={_template(value)}" for name, value in inputs.items())


def _template(value: Any) -> str:
    return " ".join(value.split()) if isinstance(value, str) else in_json(value)


def limited(texts: Sequence[str], most: int) -> str:
    """The first of many, and how many more there are."""
    rest = len(texts) - most
    return ", ".join(texts[:most]) + (f" and {rest} more" if rest > 0 else "")

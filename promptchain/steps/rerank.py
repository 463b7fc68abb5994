"""Passages in a better order, by a model that reads all of them at once (Sun et al., "Is ChatGPT Good at Search?",
arXiv:2304.09542)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from promptchain.chain import PromptStep
from promptchain.lm.calls import Retry
from promptchain.lm.protocol import Capabilities, Request
from promptchain.parts import Rerank
from promptchain.records import Variant
from promptchain.retrieval.passages import Passage
from promptchain.steps import prompt
from promptchain.steps.context import Context

PROMPT = PromptStep.model_validate(
    {
        "instructions": "Put the passages in the order in which they help to answer the query, the best first.",
        "prompt": "Query: {{ query }}\n{% for passage in passages %}\n[{{ loop.index }}] {{ passage.title }}\n"
        "{{ passage.text }}\n{% endfor %}\nThe numbers of the passages that help, the best first:",
        "output": {"type": "array", "items": {"type": "integer"}},
    }
)


async def ordered(
    spec: Rerank, able: Capabilities, query: str, passages: Sequence[Passage], timeout: float | None, context: Context
) -> list[Passage]:
    """The passages as the model orders them; those that it does not name come after, as they were. Raises StepError."""
    shown = list(passages[: spec.of])
    if len(shown) < 2:
        return list(passages)
    values = {"query": query, "passages": [passage.to_json() for passage in shown]}
    own = replace(context, calls=[], judge=None, on_text=None)  # what it says is no text of the step
    try:
        said = (await prompt.run(_bound(spec, able, timeout), values, own)).value
    finally:
        context.calls.extend(call.model_copy(update={"purpose": "rank"}) for call in own.calls)
    chosen = [number - 1 for number in dict.fromkeys(said) if 0 < number <= len(shown)]
    rest = [index for index in range(len(passages)) if index not in chosen]
    return [passages[index] for index in (*chosen, *rest)]


def request(spec: Rerank, able: Capabilities, query: str, passages: Sequence[Mapping[str, Any]]) -> Request:
    """What the model is sent that puts these passages in order."""
    return _bound(spec, able, None).request({"query": query, "passages": passages[: spec.of]})


def _bound(spec: Rerank, able: Capabilities, timeout: float | None) -> prompt.BoundPrompt:
    params = {"temperature": 0.0} if able.local else {}
    return prompt.BoundPrompt(PROMPT, Variant.seed(PROMPT), params, ((spec.model, able),), timeout, Retry())

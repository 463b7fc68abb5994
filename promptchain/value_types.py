"""The types of steps' values, as later steps see them."""

from __future__ import annotations

from promptchain import plan
from promptchain.chain import Chain, ChainStep, PromptStep, RetrieveStep
from promptchain.types import Type, TypeSyntaxError, parse_type

PASSAGES = parse_type(
    {
        "type": "array",
        "items": {
            "type": "object",
            "properties": {
                "text": {"type": "string"},
                "title": {"type": "string"},
                "source": {"type": "string"},
                "line": {"type": "integer"},
                "score": {"type": "number"},
                "meta": {"type": "object"},
            },
            "additionalProperties": False,
        },
    }
)
"""What a retrieval gives."""


def value_type(step: plan.AnyStep, chain: Chain) -> Type | None:
    """The type of the step's value as later steps see it; None where it is not known before the run."""
    one = _one_type(step, chain)
    every = isinstance(step, PromptStep) and step.select is not None and step.select.how == "all"
    for _ in range(bool(step.for_each) + every):
        try:
            one = one and parse_type({"type": "array", "items": dict(one.schema)})
        except TypeSyntaxError:  # references of a JSON Schema do not hold at another place
            return None
    return one


def _one_type(step: plan.AnyStep, chain: Chain) -> Type | None:
    """The type of one value: of one item, of one sample."""
    if isinstance(step, PromptStep) or step.output is not None:
        return step.type
    if isinstance(step, RetrieveStep):
        return PASSAGES
    if isinstance(step, ChainStep) and step.chain in chain.chains:
        inner = chain.chains[step.chain]
        names = inner.outputs or plan.build(inner).outputs
        return parse_type({"type": "object", "properties": {name: {} for name in names}, "additionalProperties": False})
    return None

"""Assertions as promptfoo writes them beside a row: `assert` lists, and the short form of `__expected` columns
(https://www.promptfoo.dev/docs/configuration/test-cases)."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from typing import Any

from promptchain.criteria import ASSERTIONS, RETRIEVAL
from promptchain.errors import PromptChainError
from promptchain.model import describe

_LISTS = ("contains-all", "contains-any", "icontains-all", "icontains-any")
_SHORT = re.compile(r"(?P<type>(?:not-)?[a-z0-9-]+)(?:\((?P<threshold>\d+(?:\.\d+)?)\))?(?::(?P<value>.*))?", re.DOTALL)
_OTHER_NAMES = {"grade": "llm-rubric"}
_JAVASCRIPT = ("javascript", "fn", "eval")
_OWN_THRESHOLD = {"similar": 0.8}
"""In the short form only; elsewhere `similar` passes from 0.75."""
_WITH_THRESHOLD = frozenset(
    """answer-relevance context-faithfulness context-recall context-relevance cost latency levenshtein perplexity
    perplexity-score rouge-n similar starts-with""".split()  # noqa: SIM905
)


def assertions(beside: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The assertions of a row, as the mappings that a chain file would have. Raises PromptChainError."""
    listed = beside.get("assert") or ()
    if not isinstance(listed, list | tuple):
        raise PromptChainError(f"assert: must be a list of assertions, not {describe(listed)}")
    for item in listed:
        if isinstance(item, str):
            yield from_short(item)
        elif isinstance(item, dict):
            yield item
        else:
            hint = "for example {type: contains, value: card}"
            raise PromptChainError(f"assert: an assertion is a mapping, not {describe(item)}", hint=hint)
    metric = beside.get("__metric") or None
    for name, value in beside.items():
        if re.fullmatch(r"__expected\d*", name) and str(value).strip():
            short = from_short(str(value))
            yield {**short, "metric": metric} if metric else short


def from_short(text: str) -> dict[str, Any]:
    """An assertion from one cell: `contains: card`, `similar(0.9): text`, `not-is-json`; any other text must be equal.

    Raises PromptChainError for what only promptfoo can run.

    >>> from_short("icontains-any: card, bank")
    {'type': 'icontains-any', 'value': ['card', 'bank']}
    """
    match = _SHORT.fullmatch(text)
    kind = _OTHER_NAMES.get(match["type"], match["type"]) if match else ""
    name = kind.removeprefix("not-")
    if name in _JAVASCRIPT and match and match["value"] is not None:
        raise PromptChainError("JavaScript assertions are not run here", hint="write it as python: …")
    if not match or name not in ASSERTIONS or name in RETRIEVAL:  # the last are no assertions of promptfoo's, but words
        return {"type": "equals", "value": text}
    found: dict[str, Any] = {"type": kind}
    value = match["value"]
    if value is not None:
        found["value"] = _items(value) if name in _LISTS else value.strip()
    if match["threshold"] or name in _WITH_THRESHOLD:
        found["threshold"] = float(match["threshold"] or 0) or _OWN_THRESHOLD.get(name, 0.75)
    return found


def _items(text: str) -> list[str]:
    """Values between commas; quotes keep a comma in a value."""
    return [item.strip() for item in next(csv.reader([text], skipinitialspace=True), [])]

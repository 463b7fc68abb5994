"""The code of the chain `research`: which passages the answer is written from, and which of them it rests on."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import chain, zip_longest
from typing import Any

Passages = list[dict[str, Any]]


def best(rankings: list[Passages], most: int = 4) -> Passages:
    """The best passages of several rankings: all first ones, then all second ones, and so on, each passage once."""
    in_turn = chain.from_iterable(zip_longest(*rankings))
    found = {(passage["source"], passage["line"]): passage for passage in _reversed(in_turn)}
    return list(reversed(found.values()))[:most]


def _reversed(passages: Iterable[dict[str, Any] | None]) -> Iterator[dict[str, Any]]:
    return (passage for passage in reversed(list(passages)) if passage is not None)


def cited(answer: str, found: Passages, most: int = 2) -> list[str]:
    """The passages that have most words of the answer, as `source:line`; none where no passage has any."""
    words = _words(answer)
    shared = {f"{passage['source']}:{passage['line']}": len(words & _words(passage["text"])) for passage in found}
    ranked = sorted((place for place in shared if shared[place]), key=lambda place: -shared[place])
    return ranked[:most]


def _words(text: str) -> set[str]:
    return {word for word in re.findall(r"\w+", text.casefold()) if len(word) > 3 or word.isdigit()}

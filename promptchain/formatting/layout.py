"""A chain file in canonical layout, which says exactly what it said before."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from promptchain import document
from promptchain.chain import Chain
from promptchain.errors import PromptChainError, Where
from promptchain.formatting import order, tree, writer
from promptchain.shape import Shape


def layout(text: str, file: str) -> str:
    """The text of a chain file in canonical layout, with its own kind of line breaks; one that holds no mapping as it
    is. What is wrong with a chain but is YAML makes no difference.

    Keys have their order, but where order says something; quotes stand where they are needed, double ones if they save
    no escapes; comments stay with what they stand beside or above. Raises InvalidFileError for what is not YAML,
    PromptChainError where the canonical text would say something else, or lose a comment."""
    broken = "\r\n" if "\r\n" in text else "\n"
    before = text.replace("\r\n", "\n").replace("\r", "\n")
    meant = document.parse(before, file).value
    found = tree.read(before)
    if found is None:
        return text
    comments = Counter(comment.text for comment in found.comments)
    order.arrange(found.root)
    after = writer.write(found)
    again = tree.read(after)
    if again is None or Counter(comment.text for comment in again.comments) != comments:
        raise PromptChainError("a comment would be lost", where=Where(file), hint=_HINT)
    if not _is_same(meant, document.parse(after, file).value):
        raise PromptChainError("the canonical layout would say something else", where=Where(file), hint=_HINT)
    return after.replace("\n", broken)


_HINT = "the file is left as it is; write what is unusual in it in a plainer way"


def _is_same(before: dict[str, Any], after: dict[str, Any]) -> bool:
    """Whether two chain files say the same: the same values, of the same types, and the same chain."""
    old, new = (json.dumps(value, sort_keys=True) for value in (before, after))
    return old == new and _chain(before) == _chain(after)


def _chain(value: dict[str, Any]) -> tuple[Chain, str, list[str]] | None:
    """The chain with all in which order counts; None for what is none."""
    chain = Shape("chain", value).chain
    return None if chain is None else (chain, chain.content_id, list(chain.steps))

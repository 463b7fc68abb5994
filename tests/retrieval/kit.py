"""A project's folder with files to be found, and a corpus of them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from promptchain.parts import Retrieve
from promptchain.retrieval.corpus import Corpus
from promptchain.retrieval.passages import Passage

_T = TypeVar("_T")
OLD = 1_700_000_000


def write(root: Path, **files: str | bytes) -> None:
    """Files by name; `__` stands for a dot and `_S_` for a slash. They look as if written long ago."""
    for name, content in files.items():
        path = root / name.replace("_S_", "/").replace("__", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        os.utime(path, (OLD, OLD))


def spec(*patterns: str, **more: Any) -> Retrieve:
    return Retrieve(**{"from": patterns or ("docs/**",), "query": "q", **more})


@contextmanager
def corpus(
    root: Path, *patterns: str, state: Path | None = None, folder: Path | None = None, **more: Any
) -> Iterator[Corpus]:
    found = Corpus(root, folder or root, spec(*patterns, **more), state or root / ".promptchain")
    try:
        yield found
    finally:
        found.close()


def run(work: Coroutine[Any, Any, _T]) -> _T:
    return asyncio.run(work)


def ask(found: Corpus, query: str, **more: Any) -> list[Passage]:
    return run(found.search(query, **{"top_k": 10, **more}))


def sources(found: Corpus, query: str, **more: Any) -> list[str]:
    return [passage.source for passage in ask(found, query, **more)]


LETTERS = "abcdefghijklmnopqrstuvwxyz"


async def by_letters(texts: Sequence[str]) -> list[list[float]]:
    """A vector that counts letters: no model, but texts of the same words are near each other."""
    return [[float(text.lower().count(letter)) for letter in LETTERS] for text in texts]

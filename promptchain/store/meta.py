"""What a store says of itself, so that an older promptchain does not write into a newer store."""

from __future__ import annotations

import json
import os

from promptchain.errors import NEWER, StoreError
from promptchain.store.objects import as_mapping
from promptchain.store.repo import Repository
from promptchain.store.stream import NewCommit

FORMAT = 1
"""The format that this release writes. One that cannot be read by the releases before it is another number."""


def check(repo: Repository, *, writing: bool = True, at: str | None = None) -> None:
    """Raises StoreError where the store asks for a newer promptchain. at: the ref of another store's word, fetched."""
    found = as_mapping(repo.read(f"{at or f'{repo.prefix}/meta'}:schema.json"))
    least = found.get("min_writer" if writing else "min_reader", 0)
    if isinstance(least, int) and least > FORMAT:
        what = "written to" if writing else "read"
        message = (
            f"the store has format {found.get('format')} and cannot be {what} by this promptchain (format {FORMAT})"
        )
        raise StoreError(message, hint=NEWER)


def first(repo: Repository) -> list[NewCommit]:
    """What to write before anything else into a store that is new."""
    if repo.tip("meta") is not None:
        return []
    about = {"format": FORMAT, "min_reader": 1, "min_writer": 1, "store_id": os.urandom(8).hex()}
    text = json.dumps(about, indent=1, sort_keys=True) + "\n"
    return [NewCommit("meta", "The store's format", (), {"schema.json": text.encode()})]

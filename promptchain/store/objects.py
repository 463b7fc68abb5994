"""What is read from git: commits, trees, and JSON in blobs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Entry:
    """What a tree has under a name. sha: of the object."""

    sha: str
    is_tree: bool


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit, as far as the store reads it. author: "Name <email>"."""

    sha: str
    tree: str
    parents: tuple[str, ...]
    author: str
    message: str


def commit(sha: str, data: bytes) -> Commit:
    """A commit object (git-cat-file(1)): header lines, an empty line, the message."""
    head, _, message = data.decode("utf-8", "replace").partition("\n\n")
    lines = [line.partition(" ") for line in head.splitlines()]
    parents = tuple(value for key, _, value in lines if key == "parent")
    tree = next(value for key, _, value in lines if key == "tree")
    author = next(value for key, _, value in lines if key == "author").rpartition("> ")[0] + ">"
    return Commit(sha, tree, parents, author, message)


def entries(data: bytes) -> Iterator[tuple[str, Entry]]:
    """The entries of a raw tree object: mode, space, name, NUL, and the 20 bytes of the id."""
    at = 0
    while at < len(data):
        end = data.index(b"\0", at)
        mode, _, name = data[at:end].partition(b" ")
        yield name.decode("utf-8", "surrogateescape"), Entry(data[end + 1 : end + 21].hex(), mode == b"40000")
        at = end + 21


def as_mapping(data: bytes | None) -> Mapping[str, Any]:
    """A JSON object of the store; empty where there is none, or something else."""
    with suppress(ValueError, RecursionError):
        found = json.loads(data or b"{}")
        if isinstance(found, dict):
            return found
    return {}

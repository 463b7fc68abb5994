"""What is written in a YAML text, as a tree: styles, anchors and comments included, and nothing resolved."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum


class Kind(Enum):
    SCALAR = "scalar"
    ALIAS = "alias"
    LIST = "list"
    MAPPING = "mapping"


@dataclass(slots=True)
class Comment:
    """A comment with its `#`. at: its offset in the text. own: it has a line to itself. gap: the spaces before one that
    has not."""

    at: int
    line: int
    column: int
    text: str
    own: bool
    gap: int


@dataclass(slots=True)
class Entry:
    """A pair of a mapping, or an item of a list (without key). at, line, column: of the key, or of the dash.

    above: the comments over it, "" for an empty line. beside: those that end its lines."""

    key: Node | None
    value: Node
    at: int
    line: int
    column: int
    above: list[str] = field(default_factory=list)
    beside: list[Comment] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Node:
    """A value as it is written. properties: its anchor and tag. style: of a scalar; "" is a plain one. source: the text
    of a scalar with its quotes, or with the head of its block. end: behind it; of no meaning for blocks.

    tail: the comments behind its last entry."""

    kind: Kind
    at: int
    properties: str = ""
    style: str = ""
    value: str = ""
    source: str = ""
    flow: bool = False
    end: int = 0
    entries: list[Entry] = field(default_factory=list)
    tail: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Tree:
    """A document. head: the comments over all of it, "" for an empty line. comments: all that there are."""

    root: Node
    head: list[str]
    comments: list[Comment]

"""YAML text → a tree of what is written in it: styles, anchors and comments included, and nothing resolved.

A comment belongs to what it stands beside, or to what follows it; one that is indented deeper than what follows, to the
end of what it is indented with. So it goes along when its key moves.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import yaml

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


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


def read(text: str) -> Tree | None:
    """The tree of a text that `document.parse` takes, whose line breaks are `\\n`; None where it holds no mapping."""
    reading = _Reading(text)
    root = reading.root
    if root is None or root.kind is not Kind.MAPPING or not root.entries:
        return None
    comments = reading.comments()
    head = _Assigning(root, comments, reading.empty).assign()
    return Tree(root, head, comments)


class _Reading:
    """The nodes of a text. covered: the places where a `#` begins no comment. empty: lines (from 0) that set apart."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.lines = [0, *(match.end() for match in re.finditer("\n", text))]
        self.covered: list[tuple[int, int]] = []
        self.empty = {number for number, line in enumerate(text.split("\n")) if not line.strip()}
        self.root: Node | None = None
        events: Iterator[Any] = yaml.parse(text, Loader=_LOADER)
        for event in events:
            if isinstance(event, yaml.NodeEvent):
                self.root = self._node(event, events)

    def comments(self) -> list[Comment]:
        """All comments: a `#` outside of scalars begins one."""
        found: list[Comment] = []
        end = 0
        for begin, behind in [*self.covered, (len(self.text), len(self.text))]:
            at = self.text.find("#", end, begin)
            while at >= 0:
                found.append(self._comment(at))
                at = self.text.find("#", at + len(found[-1].text), begin)
            end = max(end, behind)
        return found

    def _comment(self, at: int) -> Comment:
        line, column = self._place(at)
        before = self.text[at - column : at]
        behind = self.text.find("\n", at)
        return Comment(
            at=at,
            line=line,
            column=column,
            text=self.text[at : behind if behind >= 0 else None].rstrip(),
            own=not before.strip(),
            gap=len(before) - len(before.rstrip()),
        )

    def _place(self, at: int) -> tuple[int, int]:
        """Line and column, from 0."""
        line = bisect_right(self.lines, at) - 1
        return line, at - self.lines[line]

    def _node(self, event: Any, events: Iterator[Any]) -> Node:
        begin, behind, anchor = event.start_mark.index, event.end_mark.index, event.anchor
        if isinstance(event, yaml.AliasEvent):
            self.covered.append((begin, behind))
            return Node(Kind.ALIAS, begin, value=anchor)
        properties, at = self._properties(event)
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event, properties, at)
        mapping = isinstance(event, yaml.MappingStartEvent)
        node = Node(Kind.MAPPING if mapping else Kind.LIST, begin, properties, flow=bool(event.flow_style))
        end = at
        for inner in events:
            behind = inner.end_mark.index
            if isinstance(inner, yaml.MappingEndEvent | yaml.SequenceEndEvent):
                node.end = behind
                if node.flow:
                    self.covered.append((node.end, node.end))
                break
            key = self._node(inner, events) if mapping else None
            value = self._node(next(events) if mapping else inner, events)
            start = key.at if key else value.at if node.flow else self._dash(end)
            node.entries.append(Entry(key, value, start, *self._place(start)))
            end = self.covered[-1][1] if self.covered else end
        return node

    def _scalar(self, event: Any, properties: str, at: int) -> Node:
        end = event.end_mark.index
        source = self.text[at:end] if at < end else ""
        if event.style in ("|", ">"):
            head = re.compile(r"[|>][-+0-9]*").match(self.text, at)
            self.covered.append((at, head.end() if head else at))
            line_end = self.text.find("\n", at)
            begin = end if line_end < 0 else min(line_end + 1, end)
            self.covered.append((begin, end))
            first = self._place(at)[0] + 1
            self.empty -= {*range(first, first + len(block_rows(source, event.value)))}
        else:
            self.covered.append((at, max(at, end)))
        return Node(Kind.SCALAR, event.start_mark.index, properties, event.style or "", event.value, source, end=end)

    def _properties(self, event: Any) -> tuple[str, int]:
        """The anchor and the tag as they are written, and where the value itself begins."""
        at = event.start_mark.index
        words: list[str] = []
        for _ in range((event.anchor is not None) + (event.tag is not None)):
            at = self._skip(at)
            match = re.compile(r"[&!][^\s,\[\]{}]*").match(self.text, at)
            if match is None:
                break
            self.covered.append(match.span())
            words.append(match.group())
            at = match.end()
        return " ".join(words), self._skip(at) if words else at

    def _skip(self, at: int) -> int:
        """Past white space and comments."""
        match = re.compile(r"(?:\s+|#[^\n]*)*").match(self.text, at)
        return match.end() if match else at

    def _dash(self, at: int) -> int:
        """The next dash of a list, past comments."""
        at = self._skip(at)
        while at < len(self.text) and self.text[at] != "-":
            at = self._skip(at + 1)
        return at


@dataclass(slots=True)
class _Place:
    """An entry, and the collections around it from the outside in, each with the entry whose value it is."""

    entry: Entry
    around: tuple[Node, ...]
    owners: tuple[Entry | None, ...]


class _Assigning:
    """Gives each comment of a document to what it belongs to."""

    def __init__(self, root: Node, comments: list[Comment], empty: set[int]) -> None:
        self.root = root
        self.comments = comments
        self.empty = empty
        self.places = list(_places(root, (), (None,)))

    def assign(self) -> list[str]:
        """Fill `above`, `beside` and `tail`; returns the comments over all of the document."""
        over: dict[int, list[Comment]] = {}
        number = 0  # of the first place behind the comment
        for comment in self.comments:
            while number < len(self.places) and self.places[number].entry.at < comment.at:
                number += 1
            if not comment.own and (entry := self._beside(comment, number)):
                entry.beside.append(comment)
            elif (owner := None if number in over else self._tail(comment, number)) is not None:
                owner.tail += self._told(comment)
            else:
                over.setdefault(number, []).append(comment)
        self.root.tail += [line for comment in over.pop(len(self.places), ()) for line in self._told(comment)]
        for number, place in enumerate(self.places):
            lines = [line for comment in over.get(number, ()) for line in self._told(comment)]
            entry = place.entry
            entry.above = lines + self._blank(entry.line)
        return self._split_head()

    def _told(self, comment: Comment) -> list[str]:
        return [*self._blank(comment.line), comment.text]

    def _blank(self, line: int) -> list[str]:
        return [""] if line - 1 in self.empty else []

    def _beside(self, comment: Comment, number: int) -> Entry | None:
        """The entry on whose line it stands: the last that began before it, in what is not closed before it."""
        if not number:
            return None
        place = self.places[number - 1]
        closed = (node.flow and node.end <= comment.at for node in place.around)
        return next((owner for owner, end in zip(place.owners, closed, strict=True) if end), place.entry)

    def _tail(self, comment: Comment, number: int) -> Node | None:
        """The collection at whose end it stands; None where it is about what follows."""
        following = self.places[number] if number < len(self.places) else None
        around = following.around if following else ()
        before = self.places[number - 1] if number else None
        opened = (*before.around, before.entry.value) if before else ()
        for node in reversed(opened):
            if node.flow and node.at < comment.at < node.end:
                return None if node in around else node
        if following is None and comment.column == 0:
            return self.root
        if following and comment.column <= following.entry.column:
            return None
        for node in reversed(opened):
            closed = node not in around and not node.flow and bool(node.entries)
            if closed and node.entries[0].column <= comment.column:
                return node
        return None

    def _split_head(self) -> list[str]:
        """Take what is about all of the file from over the first entry: all of it, or what an empty line sets apart."""
        first = self.root.entries[0]
        above = first.above
        while above and not above[0]:
            del above[0]
        ends = [number for number, line in enumerate(above) if not line]
        cut = ends[-1] if ends else len(above)
        head, first.above = above[:cut], above[cut + 1 :]
        return [*head, ""] if ends else head


def _places(node: Node, around: tuple[Node, ...], owners: tuple[Entry | None, ...]) -> Iterator[_Place]:
    around = (*around, node)
    for entry in node.entries:
        yield _Place(entry, around, owners)
        yield from _places(entry.value, around, (*owners, entry))


def block_rows(source: str, value: str) -> list[str]:
    """The lines of a block scalar without its head, its indentation, and the last lines that are empty then."""
    rows = source.split("\n")[1:]
    first = next((row for row in rows if row.strip(" ")), "")
    said = next((line for line in value.split("\n") if line.strip(" ")), "")
    indent = _lead(first) - _lead(said)
    rows = [row[indent:] for row in rows]
    while rows and not rows[-1]:
        rows.pop()
    return rows


def _lead(line: str) -> int:
    return len(line) - len(line.lstrip(" "))

"""YAML text → a tree of what is written in it, by the events of PyYAML and the places that they have in the text."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from typing import Any

import yaml

from promptchain.formatting import comments
from promptchain.formatting.nodes import Comment, Entry, Kind, Node, Tree

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read(text: str) -> Tree | None:
    """The tree of a text that `document.parse` takes, whose line breaks are `\\n`; None where it holds no mapping."""
    reading = _Reading(text)
    root = reading.root
    if root is None or root.kind is not Kind.MAPPING or not root.entries:
        return None
    found = reading.comments()
    return Tree(root, comments.assign(root, found, reading.empty), found)


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

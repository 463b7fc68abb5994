"""Texts → passages of a bounded size, each of which ends where a reader would pause."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from promptchain.parts import Split
from promptchain.retrieval.texts import Block, Heading

_PARAGRAPH = re.compile(r"\n[ \t]*\n\s*")
_SENTENCE = re.compile(r"[.!?…。！？][\"'»”’)\]]*\s+|[。！？]|\n")
_BODY = re.compile(r"\n(?! *(?:=+|-+)[ \t]*$)")
"""A line after that of a heading, and not its underline."""
_WORD = re.compile(r"\s+")


def pieces(text: str, size: int, overlap: int) -> Iterator[tuple[int, int]]:
    """Where each passage begins and ends in the text, in order, without white space around it.

    size: characters of a passage at most. overlap: of a passage and the next one at most, half of `size` at most; the
    next one begins with a whole word where it can. Every character but white space is in one of them, and all of them
    together are at most about four times the text.
    """
    start, length = 0, len(text)
    while True:
        start = _skip(text, start, length)
        if start >= length:
            return
        end = length if length - start <= size else _end(text, start, size, overlap)
        yield start, _trimmed(text, start, end)
        if end >= length:
            return
        start = _next(text, start, end, overlap)


def _end(text: str, start: int, size: int, overlap: int) -> int:
    """The last pause in the later part of what fits; where there is none, after `size` characters."""
    least = start + max(size // 2, overlap + size // 4)  # so that each passage goes on by a quarter of its size
    most = start + size
    for pause in (_PARAGRAPH, _SENTENCE, _WORD):
        # One character more, since the white space after a passage is no part of it.
        ends = [found.end() for found in pause.finditer(text, least, most + 1)]
        while ends and ends[-1] > most and not text[most].isspace():
            ends.pop()
        if ends:
            return ends[-1]
    return most


def _next(text: str, start: int, end: int, overlap: int) -> int:
    """Where the passage after one that ends at `end` begins: at most `overlap` before, after white space."""
    begin = max(end - overlap, start + 1)
    if overlap == 0 or begin >= end:
        return end
    if text[begin - 1].isspace():
        return begin
    gap = _WORD.search(text, begin, end)
    return gap.end() if gap and gap.end() < end else (end if gap else begin)


def _skip(text: str, at: int, end: int) -> int:
    gap = _WORD.match(text, at, end)
    return gap.end() if gap else at


def _trimmed(text: str, start: int, end: int) -> int:
    while end > start and text[end - 1].isspace():
        end -= 1
    return end


@dataclass(frozen=True, slots=True)
class Piece:
    """A passage before it is kept. heading: the page's title and the headings above, which are searched with it."""

    text: str
    title: str
    heading: str
    line: int
    meta: Mapping[str, Any]


def passages(block: Block, split: Split) -> Iterator[Piece]:
    """The passages of a block, in order. A heading's title is that of the passages below it, up to the next one."""
    line, counted = block.line, 0
    offsets = [heading.offset for heading in block.headings]
    paths = list(_paths(block.headings))
    for first, last in _sections(block.text, offsets) if split.by == "headings" else [(0, len(block.text))]:
        for start, end in pieces(block.text[first:last], split.size, split.overlap):
            at = first + start
            if block.marks is None:
                line += block.text.count("\n", counted, at)
                counted = at
            else:
                line = block.marks[max(0, bisect_right(block.marks, at, key=itemgetter(0)) - 1)][1]
            # A heading without a text of its own stands before the one that gives the title.
            above = bisect_right(offsets, at if split.by == "size" else last - 1)
            path = paths[above - 1] if above else ()
            meta = {"section": " > ".join(path), **block.meta} if path else block.meta
            heading = " > ".join(dict.fromkeys((block.title, *path)))
            yield Piece(block.text[at : first + end], path[-1] if path else block.title, heading, line, meta)


def _sections(text: str, offsets: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Where the sections begin and end; one of a heading alone goes with the next."""
    start = 0
    for number, (at, end) in enumerate(zip([0, *offsets], [*offsets, len(text)], strict=True)):
        own = text[at:end].strip()
        alone = bool(number) and not _BODY.search(own)
        if (alone or not own) and end < len(text):
            continue
        if start < end:
            yield start, end
        start = end


def _paths(headings: Sequence[Heading]) -> Iterator[tuple[str, ...]]:
    """For each heading those that it is below, the outermost first, and itself."""
    path: list[Heading] = []
    for heading in headings:
        while path and path[-1].level >= heading.level:
            path.pop()
        path.append(heading)
        yield tuple(one.text for one in path if one.text)

"""Pieces of GitHub's Markdown: texts that show as they are, tables of them, and sections that fit in so many bytes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from promptchain.reports import numbers
from promptchain.reports.numbers import count, line

_NOTE = 600
"""Bytes kept free for the sentence that says what was left out."""

_ENTITIES = str.maketrans({sign: f"&#{ord(sign)};" for sign in "&<>|\\`$"})
_SIGNS = re.compile(r"([*_~\[\]#])")
_LINKING = re.compile(r"(@|#|\bGH-|:(?=//)|\bwww(?=\.))", re.IGNORECASE)
_BLOCK = re.compile(r"^(?:[-+=]|(\d+)([.)])(?=\s|$))")
_APART = "\u200b"


def escaped(text: str, limit: int = 300) -> str:
    """A text as one line of Markdown that shows as just this text: no markup, no cell's end, no HTML, no formula.
    Secrets are masked; it is cut to `limit` characters before it is escaped; "–" for an empty one.

    GitHub turns mentions, numbers of issues and addresses into links after Markdown is done with, so that no escape
    helps: a space of no width takes them apart.

    >>> escaped("a|b\\n<b>*c*</b>")
    'a&#124;b &#60;b&#62;\\\\*c\\\\*&#60;/b&#62;'
    """
    plain = _LINKING.sub(rf"\1{_APART}", line(text, limit))
    safe = _SIGNS.sub(r"\\\1", plain.translate(_ENTITIES).replace("&#", "\0")).replace("\0", "&#")
    return _BLOCK.sub(_no_block, safe) or numbers.UNKNOWN


def _no_block(match: re.Match[str]) -> str:
    """What would begin a list or underline a heading, so that it does not."""
    return f"{match[1]}\\{match[2]}" if match[1] else f"&#{ord(match[0])};"


@dataclass(frozen=True, slots=True)
class Section:
    """A part that is shown whole or not at all. rank: those of a low one are kept rather. kind: one, and many."""

    rank: int
    kind: tuple[str, str]
    text: str


def fitted(sections: Sequence[Section], limit: int) -> str:
    whole = _joined(section.text for section in sections)
    if _size(whole) <= limit:
        return whole
    kept: set[int] = set()
    room = limit - _NOTE
    for index in sorted(range(len(sections)), key=lambda index: sections[index].rank):
        needed = _size(sections[index].text) + 2
        if needed <= room:
            kept.add(index)
            room -= needed
    left = Counter(section.kind for index, section in enumerate(sections) if index not in kept)
    note = "Left out, for want of room: " + ", ".join(count(number, *kind) for kind, number in left.items()) + "."
    text = _joined([*(section.text for index, section in enumerate(sections) if index in kept), note])
    return text if _size(text) <= limit else text.encode()[: max(0, limit)].decode(errors="ignore")


def _size(text: str) -> int:
    return len(text.encode())


def _joined(texts: Iterable[str]) -> str:
    text = "\n\n".join(texts)
    return f"{text}\n" if text else ""


def table(header: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    """A table of plain texts, each of which is escaped here. left: columns that are not numbers."""
    lines = [header, *rows]
    drawn = [f"| {' | '.join(escaped(cell) for cell in cells)} |" for cells in lines]
    marks = ["---" if index < left else "---:" for index in range(len(header))]
    return "\n".join([drawn[0], f"| {' | '.join(marks)} |", *drawn[1:]])

"""Draws the lines of a view: unified, with the words marked; or side by side on a wide terminal, then with rich."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING

from promptchain.cli.diff_lines import ARROW, GONE, LEFT_OUT, NEW, PARTLY, SAME, Line
from promptchain.cli.output import colours, console, printable, say
from promptchain.words import Edit, Op

if TYPE_CHECKING:
    from rich.text import Text

WIDE = 120
"""Columns from which on two sides fit beside each other."""

_BETWEEN = " │ "
_MARKS = {Op.EQUAL: ("", ""), Op.DELETE: ("[-", "-]"), Op.INSERT: ("{+", "+}")}

# Struck through and bold: red and green alone are not told apart by everybody.
_CODES = {Op.EQUAL: "", Op.DELETE: "9;31", Op.INSERT: "1;32"}
_SIGN_CODES = {GONE: "31", NEW: "32", PARTLY: "33", SAME: "", LEFT_OUT: "2"}
_RICH = {Op.EQUAL: "", Op.DELETE: "red strike", Op.INSERT: "bold green"}
_RICH_SIGNS = {GONE: "red", NEW: "green", PARTLY: "yellow", SAME: "", LEFT_OUT: "dim"}


@dataclass(frozen=True, slots=True)
class Paper:
    """What is drawn on. coloured: words are marked by colours, else by `[-…-]` and `{+…+}`."""

    coloured: bool
    wide: bool = False

    @classmethod
    def of_stdout(cls) -> Paper:
        """What stdout is: wide on a terminal of WIDE columns or more."""
        on_terminal = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
        return cls(colours(sys.stdout), on_terminal and shutil.get_terminal_size().columns >= WIDE)


def draw(lines: Iterable[Line], paper: Paper) -> None:
    """Print the lines on stdout."""
    if paper.wide:
        _draw_wide(list(lines), paper)
        return
    for line in lines:
        say(unified(line, paper), exact=True)  # of chains it is what the files say; runs come without secrets


def unified(line: Line, paper: Paper) -> str:
    """A line of the unified view. What the sign says of a whole line is not marked again, nor are the sides of `→`."""
    space = " " * (line.indent + 1)
    bare = "".join(printable(piece.text) for piece in line.pieces)
    if not paper.coloured:
        marked = line.sign == PARTLY and not _is_turned(line)
        text = "".join(map(_marked, line.pieces)) if marked else bare
    elif line.bold or line.sign in (GONE, NEW, LEFT_OUT):
        code = ("1;" if line.bold else "") + _SIGN_CODES[line.sign]
        text = _styled(bare, code.strip(";"))
    else:
        text = "".join(_styled(printable(piece.text), _CODES[piece.op]) for piece in line.pieces)
    if line.indent < 0:
        return text
    sign = _styled(line.sign, _SIGN_CODES[line.sign]) if paper.coloured else line.sign
    return (sign + space + text).rstrip()


def _is_turned(line: Line) -> bool:
    """Whether the line says `old → new`, which needs no marks."""
    return any(piece.op is Op.EQUAL and piece.text == ARROW for piece in line.pieces)


def _marked(piece: Edit) -> str:
    before, after = _MARKS[piece.op]
    return before + printable(piece.text) + after


def _styled(text: str, code: str) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if code and text else text


def _draw_wide(lines: Sequence[Line], paper: Paper) -> None:
    out = console()
    half = (out.width - len(_BETWEEN)) // 2
    for group in _grouped(lines):
        if group[0].whole or _is_turned(group[0]):
            out.print(_rich(group[0], tuple(Op), paper), soft_wrap=True)
            continue
        for left, right in _beside(group, paper):
            for one, other in zip_longest(left.wrap(out, half), right.wrap(out, half)):
                row = one.copy() if one else _rich(Line(SAME), (), paper)
                row.rstrip()
                row.truncate(half, pad=True)
                row.append(_BETWEEN, style="dim" if paper.coloured else "")
                row.append_text(other or _rich(Line(SAME), (), paper))
                row.rstrip()
                out.print(row, soft_wrap=True)


def _grouped(lines: Sequence[Line]) -> Iterator[list[Line]]:
    """Lines that went with those that came in their place; every other line by itself."""
    group: list[Line] = []
    for line in lines:
        loose = not line.whole and line.sign in (GONE, NEW)
        if group and (not loose or (line.sign == GONE and group[-1].sign == NEW)):
            yield group
            group = []
        if loose:
            group.append(line)
        else:
            yield [line]
    if group:
        yield group


def _beside(group: list[Line], paper: Paper) -> Iterator[tuple[Text, Text]]:
    from rich.text import Text

    if group[0].sign not in (GONE, NEW):
        yield _rich(group[0], (Op.EQUAL, Op.DELETE), paper), _rich(group[0], (Op.EQUAL, Op.INSERT), paper)
        return
    gone = [_rich(line, tuple(Op), paper) for line in group if line.sign == GONE]
    come = [_rich(line, tuple(Op), paper) for line in group if line.sign == NEW]
    for index in range(max(len(gone), len(come))):
        yield gone[index] if index < len(gone) else Text(), come[index] if index < len(come) else Text()


def _rich(line: Line, ops: Sequence[Op], paper: Paper) -> Text:
    """One side of a line (or both) for rich."""
    from rich.text import Text

    whole = line.sign in (GONE, NEW, LEFT_OUT) or line.bold
    style = (("bold " if line.bold else "") + _RICH_SIGNS[line.sign]).strip() if paper.coloured else ""
    text = Text()
    if line.indent >= 0:
        text.append(line.sign, style=style)
    text.append(" " * (line.indent + 1))
    for piece in line.pieces:
        if piece.op in ops:
            marked = not paper.coloured and not whole and not _is_turned(line)
            shown = (_marked(piece) if marked else printable(piece.text)).expandtabs(4)
            text.append(shown, style=style if whole or not paper.coloured else _RICH[piece.op])
    return text

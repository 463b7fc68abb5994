"""Edits of a text → the lines that show them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from promptchain.words import Edit, Op, align

CONTEXT = 2
"""Lines that are shown around a change."""

_LONG, _AROUND = 160, 40
_BREAK = "⏎"
ARROW = " → "
"""Between an old and a new value in one line."""
SAME, GONE, NEW, PARTLY, LEFT_OUT = " ", "-", "+", "~", "…"
_OWN_SIGN = {Op.DELETE: GONE, Op.INSERT: NEW}


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a view. sign: what it is, in the first column. whole: it belongs to both sides, as a heading does."""

    sign: str
    pieces: tuple[Edit, ...] = ()
    indent: int = 0
    whole: bool = False
    bold: bool = False


def plain(sign: str, text: str, indent: int = 0, *, whole: bool = False, bold: bool = False) -> Line:
    """A line with one text."""
    op = {GONE: Op.DELETE, NEW: Op.INSERT}.get(sign, Op.EQUAL)
    return Line(sign, (Edit(op, text),) if text else (), indent, whole, bold)


def text_lines(edits: Sequence[Edit], indent: int) -> list[Line]:
    """The lines of an edited text that changed, with their context; what is left out is counted."""
    return _near_changes([replace(line, indent=indent) for line in _lines(edits)], indent)


def source_lines(before: str, after: str) -> list[Line]:
    """The lines of a file that changed, each as a whole, with their context."""
    old, new = before.splitlines(), after.splitlines()
    lines: list[Line] = []
    left = right = 0
    for gone, come in [*align(old, new), (len(old), len(new))]:
        lines += [plain(GONE, text) for text in old[left:gone]]
        lines += [plain(NEW, text) for text in new[right:come]]
        lines += [plain(SAME, text) for text in old[gone : gone + 1]]
        left, right = gone + 1, come + 1
    return _near_changes(lines, 0)


def _lines(edits: Sequence[Edit]) -> Iterator[Line]:
    current: list[Edit] = []
    waiting = list(reversed(edits))
    while waiting:
        edit = waiting.pop()
        if not current and waiting and edit.op is Op.DELETE and waiting[-1].op is Op.INSERT:
            rest = _after_whole_lines(edit, waiting)
            if rest is not None:
                yield from _own_lines(edit)
                yield from _own_lines(waiting.pop())
                waiting = rest
                continue
        first, *others = edit.text.split("\n")
        current += [Edit(edit.op, first)] if first else []
        for part in others:
            yield _ended(current, edit.op)
            current = [Edit(edit.op, part)] if part else []
    if current:
        yield Line(_sign(current), tuple(current))


def _after_whole_lines(gone: Edit, waiting: list[Edit]) -> list[Edit] | None:
    """What follows a deletion and an insertion that are whole lines; None where they share a line with other text."""
    come, later = waiting[-1], waiting[:-1]
    if not later or (gone.text.endswith("\n") and come.text.endswith("\n")):
        return later
    if later[-1].text.startswith("\n") and not gone.text.endswith("\n") and not come.text.endswith("\n"):
        rest = later[-1].text[1:]
        return [*later[:-1], *([Edit(Op.EQUAL, rest)] if rest else [])]
    return None


def _own_lines(edit: Edit) -> Iterator[Line]:
    for text in edit.text.removesuffix("\n").split("\n"):
        yield plain(_OWN_SIGN[edit.op], text)


def _ended(pieces: list[Edit], op: Op) -> Line:
    """The line that a line break ends which stayed, went or came."""
    if op is Op.EQUAL:
        sign = SAME if all(piece.op is Op.EQUAL for piece in pieces) else PARTLY
        return Line(sign, tuple(pieces))
    if all(piece.op is op for piece in pieces):
        return Line(_OWN_SIGN[op], tuple(pieces))
    if pieces[-1].op is op:
        return Line(PARTLY, (*pieces[:-1], Edit(op, pieces[-1].text + _BREAK)))
    return Line(PARTLY, (*pieces, Edit(op, _BREAK)))


def _sign(pieces: Sequence[Edit]) -> str:
    ops = {piece.op for piece in pieces}
    return SAME if ops == {Op.EQUAL} else _OWN_SIGN[ops.pop()] if len(ops) == 1 else PARTLY


def _near_changes(lines: list[Line], indent: int) -> list[Line]:
    changed = [index for index, line in enumerate(lines) if line.sign != SAME]
    near = {index + step for index in changed for step in range(-CONTEXT, CONTEXT + 1)}
    found: list[Line] = []
    left_out = 0
    for index, line in enumerate([*lines, None]):
        if line is not None and index not in near:
            left_out += 1
            continue
        if left_out == 1:
            found.append(replace(lines[index - 1], pieces=_shortened(lines[index - 1].pieces)))
        elif left_out:
            found.append(plain(LEFT_OUT, f"{left_out} lines", indent))
        left_out = 0
        if line is not None:
            found.append(replace(line, pieces=_shortened(line.pieces)))
    return found


def _shortened(pieces: tuple[Edit, ...]) -> tuple[Edit, ...]:
    """The pieces of a long line without the middle of what is the same in it."""
    if sum(len(piece.text) for piece in pieces) <= _LONG:
        return pieces
    found = []
    for index, piece in enumerate(pieces):
        head = 0 if index == 0 and len(pieces) > 1 else _AROUND
        tail = 0 if index == len(pieces) - 1 else _AROUND
        text = piece.text
        if piece.op is Op.EQUAL and len(text) > head + tail + _AROUND:
            text = _until_space(text[:head]) + "…" + _until_space(text[len(text) - tail :][::-1])[::-1]
        found.append(Edit(piece.op, text))
    return tuple(found)


def _until_space(text: str) -> str:
    """The text up to its last space, where it has one, so that no word is cut."""
    cut = text.rfind(" ")
    return text[: cut + 1] if cut >= 0 else text

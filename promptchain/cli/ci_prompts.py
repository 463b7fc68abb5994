"""The difference of two chains' prompts, as the lines of a unified diff: whole lines, which any page can colour."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from promptchain.cli import diff_view
from promptchain.cli.diff_lines import GONE, NEW, PARTLY, Line
from promptchain.words import Op

if TYPE_CHECKING:
    from promptchain.diff import ChainDiff
    from promptchain.diff_lock import LockDiff


def lines(difference: ChainDiff, compiled: LockDiff) -> tuple[str, ...]:
    """What changed in the file, then in the lock."""
    found = [*diff_view.chain_lines(difference), *diff_view.lock_lines(compiled)]
    texts = list(_unified(found))
    return tuple(texts[1:] if texts and not texts[0].strip() else texts)


def _unified(found: Iterable[Line]) -> Iterator[str]:
    for line in found:
        space = " " * max(0, line.indent)
        if line.sign == PARTLY and not line.whole and any(piece.op is not Op.EQUAL for piece in line.pieces):
            for sign, left_out in ((GONE, Op.INSERT), (NEW, Op.DELETE)):
                text = "".join(piece.text for piece in line.pieces if piece.op is not left_out)
                yield f"{sign} {space}{_old_or_new(text, sign, line)}".rstrip()
            continue
        sign = line.sign if line.sign in (GONE, NEW) else " "
        yield f"{sign} {space}{''.join(piece.text for piece in line.pieces)}".rstrip()


def _old_or_new(text: str, sign: str, line: Line) -> str:
    """`old → new` has lost one of its sides, and keeps no arrow to it."""
    from promptchain.cli.diff_lines import ARROW

    if not any(piece.op is Op.EQUAL and piece.text == ARROW for piece in line.pieces):
        return text
    return text.replace(ARROW, "", 1) if sign == NEW else text.removesuffix(ARROW)

"""The difference of two chains' prompts, as the lines of a unified diff: whole lines, which any page can colour; and of
their tests, in a line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from promptchain.cli import diff_view
from promptchain.cli.diff_lines import ARROW, GONE, NEW, PARTLY, Line
from promptchain.location import CHAINS
from promptchain.words import Op

if TYPE_CHECKING:
    from promptchain.chain import Chain
    from promptchain.ci.checkout import Base, Checkout
    from promptchain.diff import ChainDiff
    from promptchain.diff_lock import LockDiff


def lines(difference: ChainDiff, compiled: LockDiff) -> tuple[str, ...]:
    """What changed in the file, then in the lock."""
    found = [*diff_view.chain_lines(difference), *diff_view.lock_lines(compiled)]
    texts = list(_unified(found))
    return tuple(texts[1:] if texts and not texts[0].strip() else texts)


def test_changes(checkout: Checkout, base: Base, chains: tuple[Chain, Chain], difference: ChainDiff) -> str:
    """What of the test changed: where the ruler is another one, a score that is as before says little."""
    paths = [change.path for change in difference.fields if change.path[0] == "test"]
    said = dict.fromkeys(".".join(map(str, path[:2])) for path in paths)
    for step in difference.steps:
        said |= {f"{step.name}.assert": None for change in step.fields if change.path[0] == "assert"}
    named = [chain.test.dataset for chain in chains if chain.test is not None and chain.test.dataset]
    patterns = {f"{CHAINS}/{one}": None for each in named for one in ([each] if isinstance(each, str) else each)}
    rows = checkout.counted(base, patterns)
    return ", ".join([*said, *(f"{file} (+{came} −{went} lines)" for file, (came, went) in rows.items())])


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
    if not any(piece.op is Op.EQUAL and piece.text == ARROW for piece in line.pieces):
        return text
    return text.replace(ARROW, "", 1) if sign == NEW else text.removesuffix(ARROW)

"""Two texts → what was taken out and put in, word by word, in bounded time."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice, pairwise

Pair = tuple[int, int]
"""Two indices: the same item stands there in the one and in the other sequence."""

Block = tuple[int, int, int]
"""Two indices and a length: from there on, so many items are the same in both sequences."""


class Op(StrEnum):
    """What became of a piece of text."""

    EQUAL = "equal"
    DELETE = "delete"
    INSERT = "insert"


@dataclass(frozen=True, slots=True)
class Edit:
    """A piece of text that stayed, went or came. What is equal or deleted, joined, is the text before; what is equal
    or inserted, the text after."""

    op: Op
    text: str


MAX_EFFORT = 600_000
"""Comparisons that the search for one pair of texts may take: some tenths of a second."""

_EFFORT_AT_ONCE = 200_000
_LINE = re.compile(r"[^\n]*\n|[^\n]+")
_TOKEN = re.compile(r"\w+|[^\S\n]+|\n|[^\w\s]")
_WORD = re.compile(r"\w+")
_ALIKE = 0.3
"""The part of a changed stretch that must have stayed for its words to be told apart; below it, confetti."""


def compare_texts(before: str, after: str) -> tuple[Edit, ...]:
    """What leads from one text to the other: lines first, then the words of the lines that changed.

    Two empty texts have no edits. Where a stretch is too long to search or has next to nothing in common, it is taken
    out and put in as a whole; the edits are right all the same, only coarser.
    """
    effort = Effort(MAX_EFFORT)
    edits: list[Edit] = []
    lines = _LINE.findall(before), _LINE.findall(after)
    for equal, old, new in _stretches(*lines, effort):
        if equal:
            _put(edits, Op.EQUAL, "".join(old))
        elif old and new:
            edits += _compare_words("".join(old), "".join(new), effort)
        else:
            _put(edits, Op.DELETE, "".join(old))
            _put(edits, Op.INSERT, "".join(new))
    return tuple(_joined(edits))


def _compare_words(before: str, after: str, effort: Effort) -> list[Edit]:
    edits: list[Edit] = []
    kept = 0
    for equal, old, new in _stretches(_TOKEN.findall(before), _TOKEN.findall(after), effort):
        if equal:
            _put(edits, Op.EQUAL, "".join(old))
            kept += _weight(edits[-1].text)
        else:
            _put(edits, Op.DELETE, "".join(old))
            _put(edits, Op.INSERT, "".join(new))
    if kept < _ALIKE * min(_weight(before), _weight(after)):
        return [Edit(Op.DELETE, before), Edit(Op.INSERT, after)]
    return _without_crumbs(edits)


def _weight(text: str) -> int:
    """How much a text says: its words, without what stands between them; where there is none, its length."""
    return sum(map(len, _WORD.findall(text))) or len(text.strip())


def _without_crumbs(edits: list[Edit]) -> list[Edit]:
    """A space that alone stayed between two replaced words belongs to what was replaced: `[-a b-]{+x y+}`."""
    found: list[Edit] = []
    for index, edit in enumerate(edits):
        around = [part.op for part in (*found[-2:], *edits[index + 1 : index + 3])]
        crumb = edit.op is Op.EQUAL and not edit.text.strip() and "\n" not in edit.text
        if crumb and around == [Op.DELETE, Op.INSERT, Op.DELETE, Op.INSERT]:
            found[-2:] = [Edit(part.op, part.text + edit.text) for part in found[-2:]]
        elif len(found) > 1 and edit.op is Op.DELETE and found[-1].op is Op.INSERT:
            found[-2] = Edit(Op.DELETE, found[-2].text + edit.text)
        elif found and found[-1].op is edit.op:
            found[-1] = Edit(edit.op, found[-1].text + edit.text)
        else:
            found.append(edit)
    return found


def _put(edits: list[Edit], op: Op, text: str) -> None:
    if text:
        edits.append(Edit(op, text))


def _joined(edits: Iterable[Edit]) -> Iterator[Edit]:
    """The edits with neighbours of one kind as one, and what goes before what comes."""
    texts: dict[Op, list[str]] = {op: [] for op in Op}

    def flush(*ops: Op) -> Iterator[Edit]:
        for op in ops:
            if texts[op]:
                yield Edit(op, "".join(texts[op]))
                texts[op] = []

    for edit in edits:
        yield from flush(Op.DELETE, Op.INSERT) if edit.op is Op.EQUAL else flush(Op.EQUAL)
        texts[edit.op].append(edit.text)
    yield from flush(Op.EQUAL, Op.DELETE, Op.INSERT)


def _stretches(
    before: Sequence[str], after: Sequence[str], effort: Effort
) -> Iterator[tuple[bool, Sequence[str], Sequence[str]]]:
    """Both sequences in stretches that are the same (True) or not."""
    old = new = 0
    for left, right, size in [*_blocks(before, after, effort), (len(before), len(after), 0)]:
        if left > old or right > new:
            yield False, before[old:left], after[new:right]
        if size:
            yield True, before[left : left + size], after[right : right + size]
        old, new = left + size, right + size


class Effort:
    """How much searching is left, so that the time is bounded whatever the texts are."""

    def __init__(self, left: int) -> None:
        self.left = left


def align(before: Sequence[Hashable], after: Sequence[Hashable]) -> list[Pair]:
    """Which items correspond, in order: a longest common subsequence where it is not too long to search for."""
    blocks = _blocks(before, after, Effort(MAX_EFFORT))
    return [(old + step, new + step) for old, new, size in blocks for step in range(size)]


def _blocks(before: Sequence[Hashable], after: Sequence[Hashable], effort: Effort) -> list[Block]:
    """The stretches that correspond, in order."""
    found: list[Block] = []
    waiting = [(0, len(before), 0, len(after))]
    while waiting:
        low, high, left, right = waiting.pop()
        size = _same(zip(islice(before, low, high), islice(after, left, right), strict=False))
        found.append((low, left, size))
        low, left = low + size, left + size
        most = min(high - low, right - left)
        size = _same((before[high - step], after[right - step]) for step in range(1, most + 1))
        high, right = high - size, right - size
        found.append((high, right, size))
        if low == high or left == right or effort.left <= 0:
            continue
        olds, news = _shared(before, low, high, after, left, right)
        pairs = _shortest([before[i] for i in olds], [after[j] for j in news], effort)
        if pairs is not None:
            found += [(olds[i], news[j], 1) for i, j in pairs]
        elif anchors := _anchors(before, olds, after, news):
            effort.left -= len(olds) + len(news)
            ends = [(low - 1, left - 1), *anchors, (high, right)]
            found += [(old, new, 1) for old, new in anchors]
            waiting += [(a + 1, c, b + 1, d) for (a, b), (c, d) in pairwise(ends)]
    return list(_merged(sorted(block for block in found if block[2])))


def _same(pairs: Iterable[tuple[Hashable, Hashable]]) -> int:
    """How many pairs from the first on are of equals."""
    count = 0
    for one, other in pairs:
        if one != other:
            break
        count += 1
    return count


def _merged(blocks: Iterable[Block]) -> Iterator[Block]:
    """The blocks with those that touch as one."""
    whole: Block | None = None
    for old, new, size in blocks:
        if whole and (whole[0] + whole[2], whole[1] + whole[2]) == (old, new):
            whole = (*whole[:2], whole[2] + size)
        else:
            if whole:
                yield whole
            whole = (old, new, size)
    if whole:
        yield whole


def _shared(
    before: Sequence[Hashable], low: int, high: int, after: Sequence[Hashable], left: int, right: int
) -> tuple[list[int], list[int]]:
    """The places of the items that stand on both sides: the others can have no counterpart."""
    both = set(before[low:high]) & set(after[left:right])
    olds = [index for index in range(low, high) if before[index] in both]
    return olds, [index for index in range(left, right) if after[index] in both]


def _shortest(before: Sequence[Hashable], after: Sequence[Hashable], effort: Effort) -> list[Pair] | None:
    """The pairs of the shortest edit script; None where finding it takes too much effort.

    E. W. Myers, "An O(ND) Difference Algorithm and Its Variations", Algorithmica 1 (1986), the greedy algorithm.
    """
    ends = len(before), len(after)
    spent, most = 0, min(effort.left, _EFFORT_AT_ONCE)
    reach = {1: 0}  # for each diagonal x - y, the furthest x
    trail: list[dict[int, int]] = []
    for edits in range(sum(ends) + 1):
        trail.append({})
        for diagonal in range(-edits, edits + 1, 2):
            down = diagonal == -edits or (diagonal != edits and reach[diagonal - 1] < reach[diagonal + 1])
            x = reach[diagonal + 1] if down else reach[diagonal - 1] + 1
            start = x
            while x < ends[0] and x - diagonal < ends[1] and before[x] == after[x - diagonal]:
                x += 1
            reach[diagonal] = trail[-1][diagonal] = x
            spent += 1 + x - start
            if (x, x - diagonal) >= ends and x - diagonal >= ends[1]:
                effort.left -= spent
                return _traced(trail, diagonal)
        if spent > most:
            break
    effort.left -= spent
    return None


def _traced(trail: list[dict[int, int]], diagonal: int) -> list[Pair]:
    """Back along the way that Myers' search took: what it passed without an edit is the same."""
    found = []
    x = trail[-1][diagonal]
    for edits in range(len(trail) - 1, -1, -1):
        last = trail[edits - 1] if edits else {1: 0}
        down = diagonal == -edits or (diagonal != edits and last.get(diagonal - 1, -1) < last.get(diagonal + 1, -1))
        came = last[diagonal + 1] if down else last[diagonal - 1] + 1
        while x > came:
            x -= 1
            found.append((x, x - diagonal))
        if edits:
            diagonal += 1 if down else -1
            x = last[diagonal]
    return found[::-1]


def _anchors(
    before: Sequence[Hashable], olds: Sequence[int], after: Sequence[Hashable], news: Sequence[int]
) -> list[Pair]:
    """Items that stand once on each side, as many of them as are in the same order (Bram Cohen's patience diff)."""
    counts = [Counter(before[index] for index in olds), Counter(after[index] for index in news)]
    places = {after[index]: index for index in news if counts[1][after[index]] == 1}
    once = (index for index in olds if counts[0][before[index]] == 1)
    pairs = [(index, places[before[index]]) for index in once if before[index] in places]
    return [pairs[at] for at in rising([right for _, right in pairs])]


def rising(numbers: Sequence[int]) -> list[int]:
    """The places of a longest strictly rising subsequence.

    >>> rising([3, 1, 2, 0])
    [1, 2]
    """
    tails: list[int] = []
    places: list[int] = []
    before: list[int] = []
    for place, number in enumerate(numbers):
        at = bisect_left(tails, number)
        before.append(places[at - 1] if at else -1)
        tails[at : at + 1] = [number]
        places[at : at + 1] = [place]
    found = []
    place = places[-1] if places else -1
    while place >= 0:
        found.append(place)
        place = before[place]
    return found[::-1]


def words(text: str) -> list[str]:
    """The words of a text, for counting."""
    return _WORD.findall(text)


def likeness(one: str, other: str) -> float:
    """How much two texts have the same words, in any order: 0 to 1 (the Sørensen–Dice coefficient)."""
    counts = Counter(words(one)), Counter(words(other))
    size = counts[0].total() + counts[1].total()
    return 2 * (counts[0] & counts[1]).total() / size if size else float(one == other)

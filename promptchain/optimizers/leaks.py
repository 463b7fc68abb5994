"""Whether instructions say by heart what they should have learned: the words of training rows in them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from promptchain.assertions.apply import strings
from promptchain.examples import Example

RUN = 6
"""Words in a row that are taken for a quotation: fewer are common by chance."""

_WORD = re.compile(r"\w+")
_MOST = 20_000
"""Characters of one text of a row that are looked at."""

_MOST_PLACES = 8
"""Of the same words in the instructions: more say nothing new, and take long where a text is all repetition."""


def quoted(instructions: str, examples: Iterable[Example]) -> tuple[str, ...]:
    """What the instructions quote of the examples' inputs and expected values, as it stands in the instructions: of
    each text of an example the longest run of RUN or more words, whatever their case and what stands between them.
    """
    places = [match.span() for match in _WORD.finditer(instructions)]
    words = [instructions[begin:end].casefold() for begin, end in places]
    index: dict[tuple[str, ...], list[int]] = {}
    for at in range(len(words) - RUN + 1):
        found_at = index.setdefault(tuple(words[at : at + RUN]), [])
        if len(found_at) < _MOST_PLACES:
            found_at.append(at)
    found: dict[str, None] = {}
    texts = dict.fromkeys(text for example in examples for text in strings([example.inputs, example.expected]))
    for text in texts if index else ():
        if run := _longest(_WORD.findall(text[:_MOST].casefold()), index):
            begin, end = places[run[0]][0], places[run[1] - 1][1]
            found[" ".join(instructions[begin:end].split())] = None
    return tuple(found)


def _longest(words: list[str], index: Mapping[tuple[str, ...], list[int]]) -> tuple[int, int] | None:
    """Where the longest run of the words stands in the indexed text: its first word, and the one after its last."""
    best: tuple[int, int] | None = None
    before: dict[int, int] = {}
    for at in range(len(words) - RUN + 1):
        # A run goes on where the words begun one earlier were found one earlier.
        hits = {place: before.get(place - 1, RUN - 1) + 1 for place in index.get(tuple(words[at : at + RUN]), ())}
        for place, length in hits.items():
            if best is None or length > best[1] - best[0]:
                best = place + RUN - length, place + RUN
        before = hits
    return best

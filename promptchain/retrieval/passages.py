"""What a search gives, and how two rankings become one."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

_Key = TypeVar("_Key", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of a file. source: its path from the project's folder. line: where the passage begins there, from 1; of a
    PDF the page, of CSV and JSON Lines the row's line. score: higher is better; what it means depends on the mode.

    meta: front matter of Markdown, other columns of a row, `page` of a PDF; `section`: the headings above, as "A > B".
    """

    text: str
    title: str
    source: str
    line: int
    score: float
    meta: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def fuse(rankings: Sequence[Sequence[_Key]], k: int = 60) -> list[tuple[_Key, float]]:
    """Reciprocal rank fusion: what the rankings (best first, each of distinct keys) agree on comes first.

    Cormack, Clarke and Büttcher, "Reciprocal rank fusion outperforms Condorcet and individual rank learning methods",
    SIGIR 2009, 758-759. A key's score is the sum of 1 / (k + rank); of equals the one that was seen first is first.
    """
    scores: dict[_Key, float] = {}
    for ranking in rankings:
        for rank, key in enumerate(ranking, 1):
            scores[key] = scores.get(key, 0.0) + 1 / (k + rank)
    return sorted(scores.items(), key=lambda pair: -pair[1])

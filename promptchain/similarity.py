"""Which demos are most like a request: by the letters of their words, or by an embedding. Pure and deterministic.

Lexical: texts as bags of the 3- and 4-grams of their words' letters (Cavnar and Trenkle, "N-Gram-Based Text
Categorization", 1994), weighted by (1 + log tf) * log idf and compared by their cosine (Salton and Buckley,
"Term-weighting approaches in automatic text retrieval", Information Processing & Management 24 (1988), 513-523).
Endings and misspellings cost a few grams, not the word.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from promptchain.chain import Demo
from promptchain.records import Nearest

_SIZES = (3, 4)
_WORD = re.compile(r"\w+")
_MOST = 20_000
"""Characters of a value that are compared; what follows says little more of what it is about."""

Ranks = Callable[[str], Sequence[float]]
"""How like a text each of the pool is."""


def nearest(setting: Nearest, values: Mapping[str, Any]) -> list[Demo]:
    """The demos of the pool most like the values, the likest first; of equals the earlier one.

    A demo is compared by the inputs that it names. Raises ModelError where the embedding model is not installed.
    """
    names = sorted({name for demo in setting.pool for name in demo.inputs})
    likeness = _ranks(setting.by, tuple(_text(demo.inputs, names) for demo in setting.pool))(_text(values, names))
    order = sorted(range(len(setting.pool)), key=lambda index: (-likeness[index], index))
    return [setting.pool[index] for index in order[: setting.count]]


def _text(values: Mapping[str, Any], names: Iterable[str]) -> str:
    found = (values.get(name) for name in names)
    return "\n".join(_plain(value)[:_MOST] for value in found if value is not None)


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)


@lru_cache(maxsize=64)
def _ranks(by: str, pool: tuple[str, ...]) -> Ranks:
    return _lexical(pool) if by == "lexical" else _embedded(pool)


def _lexical(pool: tuple[str, ...]) -> Ranks:
    bags = [_grams(text) for text in pool]
    spread = Counter(gram for bag in bags for gram in bag)

    def weights(bag: Counter[str]) -> dict[str, float]:
        found = {
            gram: (1 + math.log(count)) * math.log((len(pool) + 1) / (spread.get(gram, 0) + 0.5))
            for gram, count in bag.items()
        }
        length = math.sqrt(math.fsum(weight * weight for weight in found.values())) or 1.0
        return {gram: weight / length for gram, weight in found.items()}

    postings: dict[str, list[tuple[int, float]]] = {}
    for index, bag in enumerate(bags):
        for gram, weight in weights(bag).items():
            postings.setdefault(gram, []).append((index, weight))

    def ranks(text: str) -> list[float]:
        sums = [0.0] * len(pool)
        for gram, weight in weights(_grams(text)).items():
            for index, other in postings.get(gram, ()):
                sums[index] += weight * other
        return [round(value, 9) for value in sums]  # so that equals are equal, in whatever order they were added up

    return ranks


def _grams(text: str) -> Counter[str]:
    words = (f"^{word}$" for word in _WORD.findall(text.casefold()))
    return Counter(word[at : at + size] for word in words for size in _SIZES for at in range(len(word) - size + 1))


def _embedded(pool: tuple[str, ...]) -> Ranks:
    from promptchain.lm import embed

    vectors = embed.local_vectors(pool)

    def ranks(text: str) -> list[float]:
        own = embed.local_vectors((text,))[0]
        return [round(embed.cosine(own, vector), 9) for vector in vectors]

    return ranks

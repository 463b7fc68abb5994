"""A user's text → a query of SQLite's FTS5 (https://sqlite.org/fts5.html#full_text_query_syntax), never an error.

Text of scripts that put no space between words is indexed and asked for letter by letter, two neighbours as a phrase:
the overlapping bigrams that are usual for Chinese, Japanese and Korean.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from itertools import pairwise

MAX_CHARACTERS = 200_000
MAX_TERMS = 64
"""Words of a query that are looked for; of a longer one those that it repeats most, and of these the first."""

STOP_WORDS = frozenset({
    "a", "an", "and", "are", "as", "at", "be", "been", "but", "by", "can", "could", "did", "do", "does", "for",
    "from", "had", "has", "have", "how", "i", "if", "in", "into", "is", "it", "its", "me", "my", "of", "on", "or",
    "our", "should", "so", "than", "that", "the", "their", "them", "then", "there", "these", "they", "this", "those",
    "to", "was", "we", "were", "what", "when", "where", "which", "who", "why", "will", "with", "would", "you", "your",
})  # fmt: skip
"""English words that say nothing of what a text is about; they are looked for where there are no others."""

_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Myanmar, Khmer
    "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"  # kana, Han, Hangul
)
_LETTER = re.compile(f"([{_UNSPACED}])")
_TOKEN = re.compile(rf"[{_UNSPACED}]+|[^\W_{_UNSPACED}]+")


def indexed(text: str) -> str:
    """The text as the index is given it: letters of scripts without spaces stand alone. ASCII stays as it is."""
    return text if text.isascii() else _LETTER.sub(r" \1 ", text)


def match(query: str) -> str | None:
    """An FTS5 expression for passages with any word of the query; None where it has no word."""
    if len(query) > MAX_CHARACTERS:
        query = query[:MAX_CHARACTERS].rpartition(" ")[0] or query[:MAX_CHARACTERS]
    text = unicodedata.normalize("NFC", query).replace("\0", " ")
    words = _TOKEN.findall(text)
    telling = [word for word in words if word.lower() not in STOP_WORDS] or words
    counts = Counter(term for word in telling for term in _terms(word))
    terms = [term for term, _ in counts.most_common(MAX_TERMS)]  # of equals the first comes first
    return " OR ".join(f'"{term}"' for term in terms) or None


def _terms(word: str) -> list[str]:
    if not _LETTER.match(word):
        return [word]
    return [f"{one} {other}" for one, other in pairwise(word)] or [word]

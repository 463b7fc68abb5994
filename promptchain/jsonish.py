"""JSON as models write it: in code fences, among words, with single quotes or a comma too many.

Replies can be megabytes of anything, so all of it takes time in proportion to the text's length.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

MAX_REPAIRED = 2000
"""Characters that json-repair is given: on garbage it takes time in proportion to the square (8 s for 8,000)."""

_MAX_STARTS = 64
_NOTHING = object()


def values(text: str, *, mend: bool = True) -> Iterator[list[Any]]:
    """The values that `text` may mean, those together that are as good as each other, the surest first.

    mend: also try what is nearly JSON.
    """
    whole = _loads(text)
    if whole is not _NOTHING:
        yield [whole]
        return
    fences = [_loads(_LANGUAGE.sub("", part)) for part in text.split("```", 2 * _MAX_STARTS)[1::2]]
    yield [value for value in fences if value is not _NOTHING]
    found, broken = _among_words(text)
    if broken is None:
        yield found
    elif mend:
        mended = _mended(text[broken:])
        yield found if mended is _NOTHING else [*found, mended]


_LANGUAGE = re.compile(r"\A[ \t]*(?:json\w{0,8}\b|\w{0,20}(?=\s*\n))", re.IGNORECASE)


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(strict=False, parse_constant=_refuse)


def _loads(text: str) -> Any:
    try:
        return _DECODER.decode(text)
    except (ValueError, RecursionError):
        return _NOTHING


_BRACKET = re.compile(r"[{\[]")
_MEANT = re.compile(r"""\{\s{0,99}(?:["'“]|\w{1,99}\s{0,9}:)|\[\s{0,99}["'{\[\d-]""")
"""How JSON begins, and "[the] answer" or "{name}" do not."""


def _among_words(text: str) -> tuple[list[Any], int | None]:
    """The JSON in a text; and where a piece begins that is meant as JSON, and is not: what follows cannot be told."""
    found: list[Any] = []
    position = 0
    for _ in range(_MAX_STARTS):
        start = _BRACKET.search(text, position)
        if start is None:
            break
        try:
            value, position = _DECODER.raw_decode(text, start.start())
        except (ValueError, RecursionError):
            if _MEANT.match(text, start.start()):
                return found, start.start()
            position = start.end()
        else:
            found.append(value)
    return found, None


_TOKENS = re.compile(
    r""""(?:[^"\\]|\\.)*+(?:"|\Z)|'(?:[^'\\]|\\.)*+(?:'|\Z)|,(?=\s*[}\]])|\b(?:True|False|None)\b""", re.DOTALL
)
_IN_QUOTES = re.compile(r"""\\.|\"""", re.DOTALL)
_WORDS = {",": "", "True": "true", "False": "false", "None": "null"}


def _mended(broken: str) -> Any:
    """Nearly-JSON read: without commas too many, Python's notation, and what else json-repair knows."""
    try:
        return _DECODER.raw_decode(_TOKENS.sub(_token, broken))[0]
    except (ValueError, RecursionError):
        pass
    if len(broken) > MAX_REPAIRED:
        return _NOTHING
    import json_repair  # slow to import, and rarely needed

    try:
        value = json_repair.loads(broken)
    except Exception:  # AssertionError, IndexError, …: it was not written for everything
        return _NOTHING
    return value if isinstance(value, dict | list) else _NOTHING


def _token(match: re.Match[str]) -> str:
    token = match.group()
    if not token.startswith("'"):
        return _WORDS.get(token, token)
    inner = _IN_QUOTES.sub(lambda part: {"\\'": "'", '"': '\\"'}.get(part.group(), part.group()), token[1:-1])
    return f'"{inner}"'

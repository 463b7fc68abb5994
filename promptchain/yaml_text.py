"""Plain values → YAML text that people review: `document` reads back exactly the values that were written.

Texts of several lines are blocks, nothing is wrapped, and what one value says stands on lines of its own, so that a
change of one line is a difference of one line. The text means the same to readers of YAML 1.1 and 1.2.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any

_LONGEST_KEY = 900
"""Characters of a key that may be followed by its colon; YAML allows 1024 (https://yaml.org/spec/1.2.2/#742-flow-mappings)."""

_WORDS = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})
"""Words that some reader takes for something else than text."""


def dump(value: Any, indent: int = 0) -> str:
    """A mapping or a list that is not empty as YAML in block style, `indent` spaces from the left.

    value: what JSON can say (`records.storable`)."""
    return "".join(f"{line}\n" for line in _block(value, " " * indent))


def _block(value: Mapping[str, Any] | list[Any], pad: str) -> Iterator[str]:
    """The lines of a mapping or list whose lines begin with `pad`."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            key = scalar(name)
            head = f"{pad}{key}:" if len(key) <= _LONGEST_KEY else f"{pad}? {key}\n{pad}:"
            yield from _after(head, item, pad, pad + "  ")
        return
    for item in value:
        if _is_filled(item) and isinstance(item, Mapping):
            first, *rest = _block(item, pad + "  ")
            yield f"{pad}- {first[len(pad) + 2 :]}"
            yield from rest
        else:
            yield from _after(f"{pad}-", item, pad, pad + "  ")


def _after(head: str, value: Any, pad: str, inner: str) -> Iterator[str]:
    """`head` and the value behind or below it."""
    if _is_filled(value):
        yield head
        yield from _block(value, inner)
    elif isinstance(value, str) and _is_block(value):
        yield from _text(head, value, pad + "  ")
    else:
        yield f"{head} {scalar(value)}"


def _is_filled(value: Any) -> bool:
    return isinstance(value, Mapping | list) and bool(value)


def _text(head: str, text: str, pad: str) -> Iterator[str]:
    """A text of several lines, each on a line of its own."""
    lines = text.split("\n")
    kept = "-" if lines[-1] else "+" if not lines[-2].strip() else ""
    lines = lines if lines[-1] else lines[:-1]
    # Without a digit a reader takes the first line's own white space for indentation.
    digit = "2" if not lines[0].strip(" \t") or lines[0][0] in " \t" else ""
    yield f"{head} |{digit}{kept}"
    yield from (pad + line if line else "" for line in lines)


def _is_block(text: str) -> bool:
    """Whether a text is to be a block: of more than one line, all of whose characters may stand there as they are."""
    if "\n" not in text or not text.strip():
        return False
    return all(char in "\n\t" or char.isprintable() or unicodedata.category(char) == "Zs" for char in text)


def scalar(value: Any) -> str:
    """A value in one line.

    >>> [scalar(value) for value in ("Decide.", "no", "12", "a: b", 12, None, "é\\u202e", [])]
    ['Decide.', '"no"', '"12"', '"a: b"', '12', 'null', '"é\\\\u202e"', '[]']
    """
    if isinstance(value, str):
        return value if is_plain(value) else quoted(value)
    if isinstance(value, Mapping):
        return "{}"
    text = json.dumps(value)
    return text if "." in text or not isinstance(value, float) else text.replace("e", ".0e")  # of 1e-05, YAML 1.1 says


def is_plain(text: str) -> bool:
    """Whether a text means itself without quotes: it begins with a letter, and holds nothing that YAML reads."""
    if not text[:1].isalpha() or not text.isprintable() or text.casefold() in _WORDS:
        return False
    return not (": " in text or " #" in text or text.endswith((":", " ")))


def quoted(text: str) -> str:
    """As JSON does, which YAML reads; what cannot be seen is spelt out, so that a review sees it."""
    return "".join(char if char.isprintable() else _spelt(char) for char in json.dumps(text, ensure_ascii=False))


def _spelt(char: str) -> str:
    return f"\\u{ord(char):04x}" if ord(char) < 0x10000 else f"\\U{ord(char):08x}"

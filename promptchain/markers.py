"""Marks in a rendered text that stand for an image or a file: what the template filters `image` and `file` give.

A mark carries its reference, and a seal that only this process can make (keyed BLAKE2b, RFC 7693). So a text that a
user or a model wrote can bring no mark in: without the seal it stays the text that it is.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from hashlib import blake2b
from typing import Any, Literal

Kind = Literal["image", "file"]

OPEN, CLOSE = "\ufdd0", "\ufdd1"
"""Around a mark: two of Unicode's noncharacters, which stand in no ordinary text."""

_KEY = os.urandom(32)
_MARK = re.compile(f"{OPEN}([0-9a-f]{{32}}):(image|file):([^{OPEN}{CLOSE}]+){CLOSE}")
_TAKES = "an address, a path or a data: URI"
_LONGEST = 4096  # characters of an address or a path


def marked(value: Any, kind: Kind) -> str:
    """The mark for a reference: a data: URI, an http(s) address, or a path within the project. Raises ValueError with a
    sentence for people where `value` is none of these."""
    reference = value.strip() if isinstance(value, str) else ""
    if not reference:
        given = "null" if value is None else "an empty text" if isinstance(value, str) else f"a {type(value).__name__}"
        guard = "; put it in {% if … %} where it may be missing" if not value else ""
        raise ValueError(f"'{kind}' takes {_TAKES}, not {given}{guard}")
    short = reference[: _LONGEST + 1] if reference[:5].lower() != "data:" else ""
    if len(short) > _LONGEST or not short.isprintable() or OPEN in reference or CLOSE in reference:
        raise ValueError(f"'{kind}' takes {_TAKES}, and this text is none of them")
    return f"{OPEN}{_seal(kind, reference)}:{kind}:{reference}{CLOSE}"


def pieces(text: str) -> Iterator[str | tuple[Kind, str]]:
    """The texts between the marks, and the kind and reference of each mark, in their order; a text may be empty."""
    if OPEN not in text:
        yield text
        return
    begin = 0
    for match in _MARK.finditer(text):
        seal, kind, reference = match.groups()
        if seal == _seal(kind, reference):
            yield text[begin : match.start()]
            yield ("image" if kind == "image" else "file"), reference
            begin = match.end()
    yield text[begin:]


def _seal(kind: str, reference: str) -> str:
    return blake2b(f"{kind}:{reference}".encode("utf-8", "surrogatepass"), key=_KEY, digest_size=16).hexdigest()

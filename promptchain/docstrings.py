"""What a docstring says of a function and of its parameters: in Google's, NumPy's or Sphinx's way.

Written after the Google Python Style Guide (3.8.3), numpydoc's style guide and the field lists of Sphinx's Python
domain.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import zip_longest

_HEADING = re.compile(r"(args|arguments|params|parameters|keyword args|keyword arguments|other parameters):?", re.I)
_FIELD = re.compile(r":(?:param|parameter|arg|argument|key|keyword)\s+(?:[^:]*\s)?(\*{0,2}\w+)\s*:\s*(.*)")
_GOOGLE = re.compile(r"(\*{0,2}\w+)\s*(?:\(.*?\))?\s*:(?:\s+(.*)|)$")
_NUMPY = re.compile(r"(\*{0,2}\w+(?:\s*,\s*\*{0,2}\w+)*)\s*(?::.*)?$")


def summary(text: str) -> str:
    """The first paragraph, in one line; of a docstring whose indentation is taken off."""
    lines = []
    for line, after in _with_next(text.strip().splitlines()):
        if not line.strip() or line.startswith(":") or _is_section(line, after):
            break
        lines.append(line.strip())
    return " ".join(lines)


def parameters(text: str) -> dict[str, str]:
    """What is said of each parameter, in one line each."""
    lines = text.expandtabs().splitlines()
    found = dict(_fields(lines))
    for index, (line, after) in enumerate(_with_next(lines)):
        if _HEADING.fullmatch(line.strip()):
            if _is_rule(after):
                found |= dict(_numpy(lines[index + 2 :], _indent(line)))
            elif line.strip().endswith(":"):
                found |= dict(_google(lines[index + 1 :], _indent(line)))
    return {name.lstrip("*"): said for name, said in found.items() if said}


def _with_next(lines: Sequence[str]) -> Iterator[tuple[str, str]]:
    yield from zip_longest(lines, lines[1:], fillvalue="")


def _is_rule(line: str) -> bool:
    return len(line.strip()) > 2 and not line.strip().strip("-")


def _is_section(line: str, after: str) -> bool:
    return _is_rule(after) or (line.strip().endswith(":") and _HEADING.fullmatch(line.strip()) is not None)


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _fields(lines: Sequence[str]) -> Iterator[tuple[str, str]]:
    """`:param text: what it is`, which goes on in lines that are indented."""
    for index, line in enumerate(lines):
        if match := _FIELD.match(line.strip()):
            more = _block(lines[index + 1 :], _indent(line))
            yield match[1], _joined([match[2], *more])


def _google(lines: Sequence[str], outer: int) -> Iterator[tuple[str, str]]:
    """`text (str): what it is`, indented below the heading; it goes on in lines that are indented deeper."""
    body = list(_block(lines, outer, gaps=True))
    inner = min((_indent(line) for line in body if line.strip()), default=0)
    for index, line in enumerate(body):
        match = _GOOGLE.match(line.strip()) if _indent(line) == inner else None
        if match:
            yield match[1], _joined([match[2] or "", *_block(body[index + 1 :], inner)])


def _numpy(lines: Sequence[str], outer: int) -> Iterator[tuple[str, str]]:
    """`text : str`, and what it is in the lines below, which are indented."""
    for index, (line, after) in enumerate(_with_next(lines)):
        if line.strip() and (_indent(line) < outer or _is_rule(after)):
            return
        match = _NUMPY.match(line.strip()) if _indent(line) == outer else None
        if match:
            said = _joined(_block(lines[index + 1 :], outer))
            yield from ((name.strip(), said) for name in match[1].split(","))


def _block(lines: Sequence[str], outer: int, gaps: bool = False) -> Iterator[str]:
    """The lines that are indented deeper than `outer`, up to the first that is not; without `gaps`, up to an empty one
    too."""
    for line in lines:
        if (not line.strip() and not gaps) or (line.strip() and _indent(line) <= outer):
            return
        yield line


def _joined(lines: Sequence[str] | Iterator[str]) -> str:
    return " ".join(line.strip() for line in lines if line.strip())

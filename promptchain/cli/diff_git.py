"""`chain diff --git-driver`: called by git for one file (gitattributes(5), and GIT_EXTERNAL_DIFF in git(1))."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from promptchain.cli.diff_draw import Paper, draw
from promptchain.cli.diff_lines import GONE, NEW, SAME, Line, plain, source_lines
from promptchain.cli.diff_view import chain_lines, change_lines, header

if TYPE_CHECKING:
    from promptchain.chain import Chain

NOWHERE = "/dev/null"


@dataclass(frozen=True)
class Side:
    """A file as git hands it over. text: None where there is none, for the file was added or deleted."""

    name: str
    text: str | None


def run(words: Sequence[str]) -> None:
    """Print what changed in a file. Never fails: git would break off the whole diff."""
    paper = Paper(coloured=_coloured())
    if len(words) == 1:  # in a merge: git has no two files to hand over
        draw([plain(SAME, f"* unmerged: {words[0]}", -1, whole=True)], paper)
        return
    if len(words) not in (7, 9):
        from promptchain.errors import UsageError

        hint = 'git calls it: git config diff.promptchain.command "chain diff --git-driver"'
        raise UsageError(f"--git-driver takes 7 or 9 words, not {len(words)}", hint=hint)
    old_name, new_name = words[0], words[7] if len(words) == 9 else words[0]
    before = _side(f"a/{old_name}", words[1])
    after = _side(f"b/{new_name}", words[4])
    draw(_lines(before, after, words), paper)


def _coloured() -> bool:
    """Git tells a pager that it pages for (git(1), GIT_PAGER_IN_USE); the driver itself never sees the terminal."""
    if os.environ.get("GIT_PAGER_IN_USE") == "true" and not os.environ.get("NO_COLOR"):
        return True
    from promptchain.cli.output import colours

    return colours(sys.stdout)


def _side(name: str, file: str) -> Side:
    if file == NOWHERE:
        return Side(NOWHERE, None)
    try:
        return Side(name, Path(file).read_bytes().decode("utf-8-sig", "replace"))
    except OSError as exc:
        return Side(f"{name} (cannot be read: {exc.strerror or exc})", "")


def _lines(before: Side, after: Side, words: Sequence[str]) -> Iterator[Line]:
    names = [
        side.name if side.text is not None else f"{mark}/{words[0]}" for side, mark in ((before, "a"), (after, "b"))
    ]
    yield plain(SAME, f"diff --promptchain {names[0]} {names[1]}", -1, whole=True)
    if len(words) == 9:
        for told in words[8].splitlines():
            if not told.startswith("index "):
                yield plain(SAME, told, -1, whole=True)
    elif words[3] != words[6] and "." not in (words[3], words[6]):
        yield plain(SAME, f"old mode {words[3]}", -1, whole=True)
        yield plain(SAME, f"new mode {words[6]}", -1, whole=True)
    if before.text == after.text:
        return
    yield from header(before.name, after.name)
    if before.text is None or after.text is None:
        sign, text = (NEW, after.text) if before.text is None else (GONE, before.text)
        yield from (plain(sign, line) for line in (text or "").splitlines())
        return
    try:
        structural = _structural(before.text, after.text, words[0])
    except Exception as exc:  # whatever an odd file makes of it: the text can be told always
        structural, why = [], _reason(exc)
    else:
        why = "only the layout, the order of steps or comments differ"
    if structural:
        yield from structural
        return
    yield plain(SAME, f"({why}; this is the text)", -1, whole=True)
    yield from source_lines(before.text, after.text)


def _reason(exc: Exception) -> str:
    from promptchain.errors import PromptChainError

    said = str(exc).splitlines()[0] if isinstance(exc, PromptChainError) and str(exc) else ""
    return f"not a chain that can be read: {said}" if said else "not a chain that can be read"


def _structural(before: str, after: str, name: str) -> list[Line]:
    """What changed in a chain, or value by value in any other YAML such as a lock. Raises for what is neither."""
    from promptchain import changes, diff, document

    if name.endswith((".lock.yaml", ".lock.yml")):
        values = [document.parse(text, name).value for text in (before, after)]
        found = changes.compare_values((), values[0], values[1])
        return [line for change in found for line in change_lines(change)]
    return list(chain_lines(diff.compare(_chain(before, name), _chain(after, name))))


def _chain(text: str, name: str) -> Chain:
    """The chain in a text, without the files that it names: they have diffs of their own. Raises PromptChainError."""
    from promptchain import document
    from promptchain.errors import PromptChainError
    from promptchain.shape import Shape

    value = document.parse(text, name).value
    if not isinstance(value, dict):
        raise PromptChainError("it is no mapping")
    shape = Shape(Path(name).stem, value)
    if shape.faults or shape.chain is None:
        raise PromptChainError(shape.faults[0].message if shape.faults else "it has no steps")
    return shape.chain

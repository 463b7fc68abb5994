"""YAML text → plain values, with the place of each: the one reader of every YAML file of a project.

The scalars are those of the YAML 1.2 core schema (https://yaml.org/spec/1.2.2/#103-core-schema): `no`, `on` and
`2026-01-01` are strings. Time and memory are bounded: size, depth and the number of values that aliases expand to.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from promptchain.errors import InvalidFileError, Problem, PromptChainError, Where

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 64
MAX_VALUES = 100_000

Path_ = tuple[str | int, ...]
"""Where a value stands in the document: keys and indexes from the root."""


@dataclass(frozen=True, slots=True)
class Span:
    """Where a value begins (line and column from 1) and, for a block scalar, where its text does."""

    line: int
    column: int
    block: bool = False


@dataclass(frozen=True, slots=True)
class Document:
    """A YAML file: its value, and where each key and each value in it stands."""

    file: str
    text: str
    value: Any
    keys: Mapping[Path_, Span] = field(repr=False)
    values: Mapping[Path_, Span] = field(repr=False)

    def where(self, path: Path_, *, key: bool = False) -> Where:
        """The place of the value at `path` (of its key with `key`), or of the nearest parent that has one."""
        for length in range(len(path), -1, -1):
            spans = (self.keys, self.values) if key and length == len(path) else (self.values, self.keys)
            for table in spans:
                if span := table.get(path[:length]):
                    return Where(self.file, span.line, span.column)
        return Where(self.file)

    def where_in(self, path: Path_, line: int, word: str) -> Where:
        """The place of `word` in line `line` (from 1) of the multi-line text at `path`."""
        span = self.values.get(path)
        if span is None:
            return self.where(path)
        row = span.line + line if span.block else span.line + line - 1
        lines = self.text.splitlines()
        start = span.column - 1 if row == span.line else 0
        for offset in range(row - 1, min(row + 1, len(lines))):  # a folded scalar may have moved the word down a line
            found = re.compile(rf"\b{re.escape(word)}\b").search(lines[offset], start if offset == row - 1 else 0)
            if found:
                return Where(self.file, offset + 1, found.start() + 1)
        return Where(self.file, row, 1) if row <= len(lines) and line > 1 else self.where(path)


def read(path: Path, name: str | None = None) -> Document:
    """Read the YAML file at `path`; `name` is what messages call it. Raises InvalidFileError, PromptChainError."""
    name = name or str(path)
    return parse(read_text(path, name), name)


def read_text(path: Path, name: str, limit: int = MAX_BYTES) -> str:
    """The text of a UTF-8 file of at most `limit` bytes, without a byte-order mark. Raises PromptChainError."""
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except FileNotFoundError:
        raise PromptChainError("there is no such file", where=Where(name)) from None
    except IsADirectoryError:
        raise PromptChainError("this is a folder, not a file", where=Where(name)) from None
    except OSError as exc:
        raise PromptChainError(f"cannot be read: {exc.strerror or exc}", where=Where(name)) from exc
    if len(data) > limit:
        size = path.stat().st_size / 1024 / 1024
        raise PromptChainError(
            f"the file has {size:.1f} MiB, more than the {limit / 1024 / 1024:.0f} MiB that are read",
            where=Where(name),
            hint="keep long texts in files of their own ({file: …}) and rows in a dataset",
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = data.count(b"\n", 0, exc.start) + 1
        column = exc.start - data.rfind(b"\n", 0, exc.start)
        raise PromptChainError(
            f"byte 0x{data[exc.start]:02x} is not UTF-8",
            where=Where(name, line, column),
            hint="save the file with the encoding UTF-8",
        ) from None


def parse(text: str, file: str) -> Document:
    """Parse YAML text. Raises InvalidFileError with every duplicate key, or the first error of syntax."""
    builder = _Builder(file)
    try:
        value = builder.build(yaml.parse(text, Loader=_LOADER))
    except yaml.MarkedYAMLError as exc:
        raise InvalidFileError([_syntax_problem(exc, text, file)]) from None
    except yaml.reader.ReaderError as exc:
        line = text.count("\n", 0, exc.position) + 1
        column = exc.position - text.rfind("\n", 0, exc.position)
        char = exc.character if isinstance(exc.character, int) else ord(exc.character[:1] or "\0")
        problem = Problem(f"character U+{char:04X} is not allowed in YAML", Where(file, line, column), "remove it")
        raise InvalidFileError([problem]) from None
    if builder.problems:
        raise InvalidFileError(builder.problems)
    return Document(file, text, value, builder.keys, builder.values)


_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Stop(Exception):
    """Reading further makes no sense; the problem is recorded."""


class _Builder:
    """Builds values from parser events, so that depth and aliases are bounded before anything is expanded."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.problems: list[Problem] = []
        self.keys: dict[Path_, Span] = {}
        self.values: dict[Path_, Span] = {}
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._count = 0

    def build(self, events: Iterator[Any]) -> Any:
        """The value of the only document; None for an empty file."""
        value = None
        documents = 0
        try:
            for event in events:
                if isinstance(event, yaml.DocumentStartEvent):
                    documents += 1
                    if documents > 1:
                        self._stop(event, "a second document begins here", "keep one chain to a file; remove the '---'")
                elif isinstance(event, yaml.NodeEvent):
                    value = self._node(event, events, ())
        except _Stop:
            return None
        return value

    def _node(self, event: Any, events: Iterator[Any], path: Path_) -> Any:
        self._count += 1
        if self._count > MAX_VALUES:
            self._stop(event, f"the file holds more than {MAX_VALUES:,} values, aliases expanded", "make it smaller")
        if len(path) > MAX_DEPTH:
            self._stop(event, f"values are nested more than {MAX_DEPTH} deep", "flatten the file")
        mark = event.start_mark
        block = isinstance(event, yaml.ScalarEvent) and event.style in ("|", ">")
        self.values[path] = Span(mark.line + 1, mark.column + 1, block)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event)
        before = self._count
        value: Any
        if isinstance(event, yaml.ScalarEvent):
            value = self._scalar(event)
        elif isinstance(event, yaml.SequenceStartEvent):
            value = self._sequence(events, path)
        else:
            value = self._mapping(events, path)
        if event.anchor:
            self._anchors[event.anchor] = (value, self._count - before + 1)
        return value

    def _alias(self, event: Any) -> Any:
        if event.anchor not in self._anchors:
            self._stop(event, f"alias '*{event.anchor}' has no anchor '&{event.anchor}' before it", None)
        value, size = self._anchors[event.anchor]
        self._count += size
        if self._count > MAX_VALUES:
            self._stop(event, f"aliases expand to more than {MAX_VALUES:,} values", "write the values out, or fewer")
        return value

    def _scalar(self, event: Any) -> Any:
        if event.tag and event.tag not in ("!", "tag:yaml.org,2002:str"):
            shown = event.tag.replace("tag:yaml.org,2002:", "!!")
            self._problem(event, f"the tag {shown} is not allowed here", "write a plain value")
        if not event.style and event.implicit[0]:
            return resolve(event.value)
        return event.value

    def _sequence(self, events: Iterator[Any], path: Path_) -> list[Any]:
        items: list[Any] = []
        for event in events:
            if isinstance(event, yaml.SequenceEndEvent):
                break
            items.append(self._node(event, events, (*path, len(items))))
        return items

    def _mapping(self, events: Iterator[Any], path: Path_) -> dict[str, Any]:
        items: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for event in events:
            if isinstance(event, yaml.MappingEndEvent):
                break
            key = self._key(event)
            at = (*path, key)
            span = Span(event.start_mark.line + 1, event.start_mark.column + 1)
            first = self.keys.get(at)
            value = self._node(next(events), events, at)
            if key == "<<" and isinstance(value, dict):
                merged = value | merged
            elif key in items and first:
                self._problem(event, f"the key '{key}' is here twice, first in line {first.line}", "remove one of them")
            else:
                items[key] = value
                self.keys[at] = span
        return merged | items if merged else items

    def _key(self, event: Any) -> str:
        if isinstance(event, yaml.ScalarEvent):
            return str(event.value)
        if isinstance(event, yaml.MappingStartEvent):
            self._stop(
                event,
                "YAML reads '{{' outside of quotes as the start of a mapping",
                "put the template in quotes: \"{{ … }}\", or in a block after '|'",
            )
        self._stop(event, "a key must be a plain word", None)
        raise AssertionError  # not reached: _stop raises

    def _problem(self, event: Any, message: str, hint: str | None) -> None:
        mark = event.start_mark
        self.problems.append(Problem(message, Where(self.file, mark.line + 1, mark.column + 1), hint))

    def _stop(self, event: Any, message: str, hint: str | None) -> None:
        self._problem(event, message, hint)
        raise _Stop


_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_WORDS = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip


def resolve(plain: str) -> Any:
    """The value of a plain (unquoted) scalar by the core schema of YAML 1.2.

    >>> [resolve(word) for word in ("no", "12", "1e3", "true", "~", "12:30", "0x1F")]
    ['no', 12, 1000.0, True, None, '12:30', 31]
    """
    if plain in _WORDS:
        return _WORDS[plain]
    if len(plain) < 400 and _INT.fullmatch(plain):
        return int(plain, 0) if plain[:2] in ("0o", "0x") else int(plain)
    if len(plain) < 400 and _FLOAT.fullmatch(plain):
        return float(plain)
    return plain


def _syntax_problem(exc: yaml.MarkedYAMLError, text: str, file: str) -> Problem:
    """What libyaml says, in words of somebody who writes YAML by hand."""
    mark = exc.problem_mark or exc.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    lines = text.splitlines()
    source = lines[line - 1] if line <= len(lines) else ""
    rest = source[column - 1 :]
    said = exc.problem or "this is not YAML"
    if "\t" in source[: len(source) - len(source.lstrip())]:
        column = source.index("\t") + 1
        return Problem("a tab indents this line", Where(file, line, column), "YAML indents with spaces only")
    if rest[:1] in ("@", "`", "%"):
        return Problem(f"a plain value cannot begin with '{rest[0]}'", Where(file, line, column), "put it in quotes")
    if "mapping values are not allowed" in said:
        hint = "put a text that contains ': ' in quotes, or check the indentation"
        return Problem("a ':' is not expected here", Where(file, line, column), hint)
    if "unexpected end of stream" in said and exc.context_mark:
        line, column = exc.context_mark.line + 1, exc.context_mark.column + 1
        return Problem("the quote that opens here is never closed", Where(file, line, column), "close it")
    if "expected ',' or" in said and exc.context_mark:
        start = exc.context_mark
        hint = f"the bracket opens in line {start.line + 1}, column {start.column + 1}"
        return Problem("a ',' or a closing bracket is missing", Where(file, line, column), hint)
    if "did not find expected" in said or "could not find expected ':'" in said:
        hint = "check that this line is indented like its neighbours"
        what = "a ':' is missing after a key" if "':'" in said else "the indentation or a bracket is off"
        return Problem(what, Where(file, line, column), hint)
    return Problem(said, Where(file, line, column), "see https://yaml.org/spec/1.2.2/ or put the value in quotes")

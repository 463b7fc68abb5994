"""YAML text → plain values, with the place of each: the one reader of every YAML file of a project.

The scalars are those of the YAML 1.2 core schema (https://yaml.org/spec/1.2.2/#103-core-schema): `no`, `on` and
`2026-01-01` are strings. Time and memory are bounded: size, depth and the number of values that aliases expand to.
"""

from __future__ import annotations

import math
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from promptchain.errors import InvalidFileError, Problem, PromptChainError, Where

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 64
MAX_VALUES = 100_000
MAX_PROBLEMS = 100

Path_ = tuple[str | int, ...]
"""Where a value stands in the document: keys and indexes from the root."""


@dataclass(frozen=True, slots=True)
class Span:
    """Where a value begins (line and column from 1) and its last line; block: its text begins in the next line."""

    line: int
    column: int
    end: int = 0
    block: bool = False


@dataclass(frozen=True)
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
        return Where(self.file, 1, 1)

    def where_in(self, path: Path_, line: int, word: str = "") -> Where:
        """The place of `word` in line `line` (from 1) of the multi-line text at `path`; without a word, of the line."""
        span = self.values.get(path)
        if span is None:
            return self.where(path)
        first = span.line + 1 if span.block else span.line
        guess = first + line - 1
        rows = range(first, min(span.end, len(self.lines)) + 1)
        # Folding moves a word down from the guessed line, and an escaped line break up.
        for row in sorted(rows, key=lambda row: (row < guess, row)) if word else ():
            start = span.column - 1 if row == span.line else 0
            if column := find_word(self.lines[row - 1], word, start):
                return Where(self.file, row, column)
        if line == 1 or guess not in rows:
            return self.where(path)
        text = self.lines[guess - 1]
        return Where(self.file, guess, len(text) - len(text.lstrip()) + 1)

    @cached_property
    def lines(self) -> list[str]:
        """The file's lines, as YAML counts them."""
        return self.text.splitlines()


def find_word(line: str, word: str, start: int = 0) -> int | None:
    """The column (from 1) of `word` in a line of a template: where it stands in braces, else where it stands at all."""
    whole = word[:1].isalnum() or word[:1] == "_"  # else it is a sign, which may touch anything
    found: list[int] = []
    at = line.find(word, start)
    while at >= 0:
        around = line[at - 1 : at] + line[at + len(word) : at + len(word) + 1]
        if not (whole and re.search(r"\w", around)):
            found.append(at)
        at = line.find(word, at + 1)
    inside = [at for at in found if line.rfind("{", 0, at) > line.rfind("}", 0, at)]
    return (inside or found)[0] + 1 if found else None


def problem(message: str, where: Where, hint: str | None = None) -> Problem:
    """A problem that takes one line of a terminal, whatever names of a file it cites."""
    return Problem(_printable(message), where, hint and _printable(hint))


def _printable(text: str) -> str:
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def read(path: Path, name: str | None = None) -> Document:
    """Read the YAML file at `path`; `name` is what messages call it. Raises InvalidFileError, PromptChainError."""
    name = name or str(path)
    return parse(read_text(path, name), name)


def read_text(path: Path, name: str, limit: int = MAX_BYTES) -> str:
    """The text of a UTF-8 file of at most `limit` bytes, without a byte-order mark. Raises PromptChainError."""
    hint = "keep long texts in files of their own ({file: …}) and rows in a dataset"
    return decoded(read_bytes(path, name, limit, hint), name)


def read_bytes(path: Path, name: str, limit: int, hint: str | None = None) -> bytes:
    """The content of a file of at most `limit` bytes; hint: what to do about a longer one. Raises PromptChainError."""
    try:
        kind = path.stat().st_mode
        if stat.S_ISDIR(kind):
            raise PromptChainError("this is a folder, not a file", where=Where(name))
        if not stat.S_ISREG(kind):  # to open a pipe could take for ever
            raise PromptChainError("this is a device or a pipe, not a file", where=Where(name))
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except FileNotFoundError:
        raise PromptChainError("there is no such file", where=Where(name)) from None
    except (OSError, ValueError) as exc:
        raise PromptChainError(f"cannot be read: {getattr(exc, 'strerror', None) or exc}", where=Where(name)) from exc
    if len(data) > limit:
        size = path.stat().st_size / 1024 / 1024
        raise PromptChainError(
            f"the file has {size:.1f} MiB, more than the {limit / 1024 / 1024:.0f} MiB that are read",
            where=Where(name),
            hint=hint,
        )
    return data


def decoded(data: bytes, name: str) -> str:
    """The text of a UTF-8 file, without a byte-order mark. Raises PromptChainError with the place of what is none."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        begin = data.rfind(b"\n", 0, exc.start) + 1
        line = data.count(b"\n", 0, begin) + 1
        column = len(data[begin : exc.start].decode("utf-8-sig", "replace")) + 1
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
        raise InvalidFileError([_character_problem(exc, text, file)]) from None
    except UnicodeEncodeError as exc:  # half of a surrogate pair, which no UTF-8 file holds but a text can
        raise InvalidFileError([_not_allowed(text, exc.start, file)]) from None
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
        start, end = event.start_mark, event.end_mark
        block = isinstance(event, yaml.ScalarEvent) and event.style in ("|", ">")
        self.values[path] = Span(start.line + 1, start.column + 1, end.line + (end.column > 0 or not block), block)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event)
        self._check_tag(event)
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

    def _check_tag(self, event: Any) -> None:
        kinds = {yaml.ScalarEvent: "str", yaml.SequenceStartEvent: "seq", yaml.MappingStartEvent: "map"}
        if event.tag and event.tag not in ("!", f"tag:yaml.org,2002:{kinds[type(event)]}"):
            shown = event.tag.replace("tag:yaml.org,2002:", "!!")
            hint = f"remove it, or put a text that begins with '{shown[0]}' in quotes"
            self._problem(event, f"the tag '{shown}' is not allowed here", hint)

    @staticmethod
    def _scalar(event: Any) -> Any:
        return resolve(event.value) if not event.style and event.implicit[0] else event.value

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
            if key == "<<" and not event.style and isinstance(value, dict | list):
                for other in value if isinstance(value, list) else [value]:
                    merged = other | merged if isinstance(other, dict) else merged
            elif key in items and first:
                self._problem(event, f"the key '{key}' is here twice, first in line {first.line}", "remove one of them")
            else:
                items[key] = value
                self.keys[at] = span
        return merged | items if merged else items

    def _key(self, event: Any) -> str:
        if isinstance(event, yaml.ScalarEvent):
            return str(event.value)
        if isinstance(event, yaml.MappingStartEvent) and event.flow_style:
            hint = "put the template in quotes: \"{{ … }}\", or in a block after '|'"
            self._stop(event, "YAML reads '{{' outside of quotes as the start of a mapping", hint)
        self._stop(event, "a key must be a plain word", "put it in quotes")
        raise AssertionError  # not reached: _stop raises

    def _problem(self, event: Any, message: str, hint: str | None) -> None:
        mark = event.start_mark
        self.problems.append(problem(message, Where(self.file, mark.line + 1, mark.column + 1), hint))
        if len(self.problems) >= MAX_PROBLEMS:
            raise _Stop

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
    if len(plain) < 400 and _FLOAT.fullmatch(plain) and math.isfinite(number := float(plain)):
        return number  # 1e999 stays text: JSON has no infinity
    return plain


def _character_problem(exc: yaml.reader.ReaderError, text: str, file: str) -> Problem:
    at = int(exc.position)
    if _LOADER is not yaml.SafeLoader:  # libyaml counts bytes
        at = len(text.encode()[:at].decode("utf-8", "ignore"))
    return _not_allowed(text, at, file)


def _not_allowed(text: str, at: int, file: str) -> Problem:
    before = (text[:at] + "?").splitlines()
    where = Where(file, len(before), len(before[-1]))
    return Problem(f"character U+{ord(text[at : at + 1] or chr(0)):04X} is not allowed in YAML", where, "remove it")


def _syntax_problem(exc: yaml.MarkedYAMLError, text: str, file: str) -> Problem:
    """What libyaml says, in words of somebody who writes YAML by hand."""
    said = f"{exc.context or ''}: {exc.problem or 'this is not YAML'}"
    mark = exc.problem_mark or exc.context_mark
    opening = exc.context_mark or mark
    if "scanning an alias" in said or "scanning an anchor" in said or "unexpected end of stream" in said:
        mark = opening
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    if "nesting depth" in said:  # libyaml's own limit, which some of its releases have, and reach while reading ahead
        return Problem(f"values are nested more than {MAX_DEPTH} deep", Where(file, line, column), "flatten the file")
    lines = text.splitlines()
    source = lines[line - 1] if line <= len(lines) else ""
    if "\t" in source[: len(source) - len(source.lstrip())]:
        where = Where(file, line, source.index("\t") + 1)
        return Problem("a tab indents this line", where, "YAML indents with spaces only")
    message, hint = _complaint(said, source, column)
    if "is missing" in message and opening and "expected ','" in said:
        hint = f"the bracket opens in line {opening.line + 1}, column {opening.column + 1}"
    return Problem(message, Where(file, line, column), hint)


def _complaint(said: str, source: str, column: int) -> tuple[str, str]:
    """Message and hint for what libyaml says of the place before `source[column - 1]`."""
    before, rest = source[: column - 1].rstrip(), source[column - 1 :]
    if before.endswith("{") and rest[:1] == "%":
        return "YAML reads '{%' outside of quotes as the start of a mapping", "put the template in quotes"
    if rest[:1] in ("@", "`", "%", "*", "&", "|", ">") and "did not find expected key" not in said:
        if before.endswith(("|", ">")):
            return "a text after '|' begins in the next line", "move it there, indented deeper than the key"
        return f"a plain value cannot begin with '{rest[0]}'", "put it in quotes"
    if "comment or line break" in said:
        return "a text after '|' begins in the next line", "move it there, indented deeper than the key"
    if "mapping values are not allowed" in said:
        return "a ':' is not expected here", "put a text that contains ': ' in quotes, or check the indentation"
    if "unexpected end of stream" in said:
        return "the quote that opens here is never closed", "close it"
    if "expected ',' or" in said:
        return "a ',' or a closing bracket is missing", ""
    if "could not find expected ':'" in said:
        return (
            "a ':' is missing after a key",
            "write 'key: value', or check that the line is indented like its neighbours",
        )
    if before.endswith(("'", '"')) and rest.strip():
        quote = before[-1]
        inside = "''" if quote == "'" else '\\"'
        return f"text follows the closing {quote}", f"write {inside} for a quote inside the text, or a block after '|'"
    if "did not find expected" in said:
        return "the indentation or a bracket is off", "check that this line is indented like its neighbours"
    return said.removeprefix(": "), "put the value in quotes, or see https://yaml.org/spec/1.2.2/"

"""CSV, JSON Lines and JSON → a block a row. The first two are read as a stream: a file of any length takes one row of
memory."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from promptchain.records import storable
from promptchain.retrieval.texts import Block, LeftOut, Reading, clean

MAX_ROW = 16 * 1024 * 1024
"""Bytes (of CSV: characters) of one line."""
_TEXT = ("text", "content", "body")
_SHOWN = 3


class _Faults:
    """Counts the rows that are left out, and names the first ones."""

    def __init__(self) -> None:
        self.count = 0
        self.first: list[str] = []

    def add(self, line: int, why: str) -> None:
        self.count += 1
        if len(self.first) < _SHOWN:
            self.first.append(f"line {line}: {why}")

    def tell(self, reading: Reading) -> None:
        if self.count:
            more = f" and {self.count - _SHOWN} more" if self.count > _SHOWN else ""
            reading.problems.append(f"has rows that are left out ({'; '.join(self.first)}{more})")


def json_lines(reading: Reading) -> Iterator[Block]:
    """A JSON object, or a text, to a line."""
    faults, line = _Faults(), 0
    while raw := reading.file.readline(MAX_ROW + 1):
        line += 1
        if len(raw) > MAX_ROW and not raw.endswith(b"\n"):
            while (rest := reading.file.readline(MAX_ROW)) and not rest.endswith(b"\n"):
                pass
            faults.add(line, f"it is longer than {MAX_ROW:,} bytes")
        elif raw.strip():
            try:
                yield _block(_json(raw.decode("utf-8-sig" if line == 1 else "utf-8")), line, reading)
            except UnicodeDecodeError:
                faults.add(line, "it is not UTF-8")
            except ValueError as exc:
                faults.add(line, str(exc))
    faults.tell(reading)


def json_items(reading: Reading) -> Iterator[Block]:
    """A list of objects or texts, or one of them."""
    text, faults = reading.text(), _Faults()
    try:
        for line, value in _items(text):
            try:
                yield _block(value, line, reading)
            except ValueError as exc:
                faults.add(line, str(exc))
    except ValueError as exc:
        raise LeftOut(f"is not JSON: {exc}") from None
    faults.tell(reading)


def csv_rows(reading: Reading) -> Iterator[Block]:
    """The rows under a header; of a .tsv file with tabs between the cells."""
    csv.field_size_limit(max(csv.field_size_limit(), MAX_ROW))  # 128 KiB else; it counts for the whole process
    tabs = reading.name.lower().endswith(".tsv")
    text = io.TextIOWrapper(reading.file, encoding="utf-8-sig", errors="surrogateescape", newline="")
    faults = _Faults()
    try:
        rows = csv.reader(_lines(text), delimiter="\t" if tabs else ",", strict=True)
        header = _header(rows, tabs=tabs)
        while header:
            line = rows.line_num + 1
            try:
                cells = next(rows)
            except StopIteration:
                break
            except csv.Error as exc:
                faults.add(line, str(exc))
                continue
            if not cells:
                continue
            if len(cells) != len(header):
                faults.add(line, f"{len(cells)} cells under {len(header)} columns")
            elif not all(map(_is_utf8, cells)):
                faults.add(line, "it is not UTF-8")
            else:
                yield _block(dict(zip(header, cells, strict=True)), line, reading)
    finally:
        text.detach()  # it would close the file, which is hashed to its end yet
    faults.tell(reading)


def _lines(text: io.TextIOWrapper) -> Iterator[str]:
    while line := text.readline(MAX_ROW + 1):
        if len(line) > MAX_ROW:
            raise LeftOut(f"has a line of more than {MAX_ROW:,} characters")
        yield line


def _header(rows: Iterator[list[str]], *, tabs: bool) -> list[str]:
    try:
        header = next(rows, [])
    except csv.Error as exc:
        raise LeftOut(f"has a header that is not CSV: {exc}") from None
    if not all(map(_is_utf8, header)):
        raise LeftOut("has a header that is not UTF-8")
    if not tabs and len(header) == 1 and ";" in header[0]:
        raise LeftOut("has ';' between its columns, not ','")
    if double := next((name for name in header if header.count(name) > 1), None):
        raise LeftOut(f"has the column '{clean(double)}' twice")
    return header


def _is_utf8(cell: str) -> bool:
    """Whether no byte of the cell had to be taken for a surrogate (`errors="surrogateescape"`)."""
    return cell.isascii() or not any("\udc80" <= char <= "\udcff" for char in cell)


def _items(text: str) -> Iterator[tuple[int, Any]]:
    """The values of a list with the lines that they begin in, else the one value."""
    at = _skip(text, 0)
    if text[at : at + 1] != "[":
        yield text.count("\n", 0, at) + 1, _json(text)
        return
    at, line, counted = _skip(text, at + 1), 1, 0
    while text[at : at + 1] != "]":
        value, end = _decoded(text, at)
        line += text.count("\n", counted, at)
        counted = at
        yield line, value
        at = _skip(text, end)
        if text[at : at + 1] == ",":
            at = _skip(text, at + 1)
        elif text[at : at + 1] != "]":
            raise ValueError(f"a ',' or ']' is wanting in line {text.count(chr(10), 0, at) + 1}")
    if text[at + 1 :].strip():
        raise ValueError("there is more after the list")


def _skip(text: str, at: int) -> int:
    while text[at : at + 1] in (" ", "\n", "\t", "\r"):
        at += 1
    return at


def _no_number(name: str) -> Any:
    raise ValueError(f"not JSON: {name}")


_DECODER = json.JSONDecoder(parse_constant=_no_number)


def _json(text: str) -> Any:
    value, end = _decoded(text, _skip(text, 0))
    if text[end:].strip():
        raise ValueError("not JSON: there is more after the value")
    return value


def _decoded(text: str, at: int) -> tuple[Any, int]:
    """Raises ValueError, with a sentence."""
    try:
        return _DECODER.raw_decode(text, at)
    except json.JSONDecodeError as exc:
        raise ValueError(f"not JSON: {exc.msg} in line {exc.lineno} at column {exc.colno}") from None
    except RecursionError:
        raise ValueError("the JSON is nested too deep") from None


def _block(row: Any, line: int, reading: Reading) -> Block:
    """A row's text, title and other columns. Raises ValueError for what is no row."""
    if isinstance(row, str):
        row = {"text": row}
    if not isinstance(row, Mapping):
        raise ValueError("a row is an object or a text")  # noqa: TRY004 - one kind for every fault of a row
    row = storable(row)
    names = {name.lower(): name for name in reversed(row)}
    own = next((names[name] for name in _TEXT if name in names), None)
    named = names.get("title")
    title = row[named].strip() if named is not None and isinstance(row[named], str) else ""
    text = "\n".join(_named(row)) if own is None else _plain(row[own])
    meta = {name: value for name, value in row.items() if name != own and not (name == named and title)}
    return Block(clean(text), clean(title) or reading.stem, line, meta, marks=((0, line),))


def _named(row: Mapping[str, Any]) -> Iterable[str]:
    return (f"{name}: {_plain(value)}" for name, value in row.items() if value not in (None, ""))


def _plain(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
